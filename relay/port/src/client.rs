//! The process's side of a local port: blocking, for helpers that do one thing.

use crate::wire::{DecodeError, Decoded, Frame, FrameReader, Hello, PORT_VERSION, Refusal, encode};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What one read takes from the socket.
const READ_BYTES: usize = 64 << 10;

/// Why a port cannot be used further.
#[derive(Debug)]
pub enum ClientError {
    /// Reading or writing failed.
    Io(io::Error),
    /// The relay sent octets that do not decode as a frame.
    BadFrame(DecodeError),
    /// The relay refused the connection.
    Refused(Refusal),
    /// The name is not valid, or the payload too long for a frame.
    Unwritable,
    /// Another user, with this uid, listens on the socket.
    Untrusted(u32),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(why) => write!(f, "the relay's port: {why}"),
            Self::BadFrame(why) => write!(f, "the relay's port: {why}"),
            Self::Refused(Refusal::BadHello) => write!(f, "the relay does not understand our Hello"),
            Self::Refused(Refusal::NameTaken) => write!(f, "another process is connected under this name"),
            Self::Refused(Refusal::TooMany) => write!(f, "the relay has as many local ports as it may"),
            Self::Unwritable => write!(f, "the name is not valid, or the payload too long for a frame"),
            Self::Untrusted(uid) => write!(f, "a process of user {uid} listens on the relay's port socket"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<io::Error> for ClientError {
    fn from(why: io::Error) -> Self {
        Self::Io(why)
    }
}

/// The writing half.
#[derive(Debug)]
pub struct ClientWriter {
    stream: UnixStream,
    out: Vec<u8>,
}

/// The reading half.
#[derive(Debug)]
pub struct ClientReader {
    stream: UnixStream,
    reader: FrameReader,
    scratch: Vec<u8>,
}

/// Connects to a relay's port socket under a name, and waits until the relay has accepted it.
///
/// The relay must be one of our own user or of root; root may connect to anybody's.
///
/// # Errors
/// See [`ClientError`].
pub fn connect(socket: &Path, name: &str) -> Result<(ClientWriter, ClientReader), ClientError> {
    let stream = UnixStream::connect(socket)?;
    let listener = socket_peercred(&stream).map_err(io::Error::from)?.uid.as_raw();
    if !is_trusted(geteuid().as_raw(), listener) {
        return Err(ClientError::Untrusted(listener));
    }
    let mut reader = ClientReader {
        stream: stream.try_clone()?,
        reader: FrameReader::default(),
        scratch: vec![0; READ_BYTES],
    };
    let mut writer = ClientWriter { stream, out: Vec::new() };
    let hello = Hello { version: PORT_VERSION, name: name.to_owned() };
    match writer.send(&Frame::Hello(hello), &[]) {
        // A relay that is full refuses without listening, and may have closed already: what it said can
        // still be read.
        Err(ClientError::Io(error)) if error.kind() == ErrorKind::BrokenPipe => {}
        sent => sent?,
    }
    loop {
        let greeted = reader.read(|frame, _| matches!(frame, Frame::Hello(_)))?;
        match greeted {
            Some(true) => return Ok((writer, reader)),
            Some(false) => {}
            None => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
        }
    }
}

/// Whether a process of user `own` gives its media to a relay of user `listener`.
fn is_trusted(own: u32, listener: u32) -> bool {
    listener == own || listener == 0 || own == 0
}

impl ClientWriter {
    /// Sends a frame; `payload` is a packet's.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn send(&mut self, frame: &Frame, payload: &[u8]) -> Result<(), ClientError> {
        self.out.clear();
        if !encode(frame, payload, &mut self.out) {
            return Err(ClientError::Unwritable);
        }
        Ok(self.stream.write_all(&self.out)?)
    }

    /// Closes the connection, which ends the reading half too.
    pub fn hang_up(&self) {
        // It may have ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl ClientReader {
    /// Waits for the next frame and hands it over with a packet's payload; frames of later versions are
    /// skipped. `None`: the relay hung up.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn read<T>(&mut self, take: impl FnOnce(Frame, &[u8]) -> T) -> Result<Option<T>, ClientError> {
        loop {
            match self.reader.next().map_err(ClientError::BadFrame)? {
                Some(Decoded::Frame(Frame::Refused(why), _)) => return Err(ClientError::Refused(why)),
                Some(Decoded::Frame(frame, payload)) => return Ok(Some(take(frame, payload))),
                Some(Decoded::Unknown { .. }) => continue,
                None => {}
            }
            match self.stream.read(&mut self.scratch) {
                Ok(0) => return Ok(None),
                Ok(len) => self.reader.push(&self.scratch[..len]),
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(why.into()),
            }
        }
    }

    /// How long [`ClientReader::read`] waits for octets; then it is an error of the kind `WouldBlock`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_timeout(&self, timeout: Option<std::time::Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_relay_of_another_user_is_not_trusted() {
        for (own, listener, trusted) in
            [(1000, 1000, true), (1000, 0, true), (1000, 1001, false), (0, 1000, true), (0, 0, true)]
        {
            assert_eq!(is_trusted(own, listener), trusted, "{own} {listener}");
        }
    }

    /// Which of the two comes first is chance; either way the reason is heard.
    #[test]
    fn who_is_refused_before_it_has_spoken_hears_why() {
        let socket = std::env::temp_dir().join(format!("ringvox-port-client-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&socket).expect("binds");
        let (mut refused, mut heard) = (Vec::new(), Vec::new());
        assert!(encode(&Frame::Refused(Refusal::TooMany), &[], &mut refused));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..200 {
                    let (mut stream, _) = listener.accept().expect("accepts");
                    stream.write_all(&refused).expect("written");
                }
            });
            for _ in 0..200 {
                heard.push(connect(&socket, "late").map(|_| ()).expect_err("refused").to_string());
            }
        });
        std::fs::remove_file(&socket).expect("was there");
        let why = ClientError::Refused(Refusal::TooMany).to_string();
        assert_eq!(heard, vec![why; 200]);
    }
}
