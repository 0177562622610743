//! The connection of a local process: decodes its frames, encodes those for it, and bounds what waits to be
//! read.

use relay_core::time::Time;
use relay_port::{
    DecodeError, Decoded, Frame, FrameReader, Hello, Message, PORT_VERSION, Packet, Refusal, encode,
};
use std::time::Duration;

/// Packets are dropped while more than this waits to be read, and [`UNREAD_TAP_BYTES`] for each tap: a second
/// of ten videos.
pub const UNREAD_PACKETS_MAX: usize = 2 << 20;

/// Half a second of 1 Mbit/s: who records hundreds of streams may stand still as long as who records one.
pub const UNREAD_TAP_BYTES: usize = 64 << 10;

/// A process that leaves so much more unread is disconnected: it does not even read the messages about its
/// tracks.
pub const UNREAD_MESSAGES_MAX: usize = 256 << 10;

/// Time for a process to send its name.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

const OWN_NAME: &str = "relay";

/// Why a process was disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    Gone,
    /// It sent octets that do not decode as a frame.
    BadFrame(DecodeError),
    Refused,
    /// It did not send its name in time.
    NoHello,
    /// It left too much unread, see [`UNREAD_MESSAGES_MAX`].
    Slow,
    /// A packet of it made a shard panic.
    Fault,
}

#[derive(Debug)]
pub struct Process {
    name: Option<String>,
    hello_deadline: Time,
    reader: FrameReader,
    out: Vec<u8>,
    written: usize,
    /// Octets of packets that may wait.
    unread_max: usize,
    ended: Option<CloseReason>,
}

impl Process {
    /// One that has sent nothing yet.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Self {
            name: None,
            hello_deadline: now + HELLO_TIMEOUT,
            reader: FrameReader::default(),
            out: Vec::new(),
            written: 0,
            unread_max: UNREAD_PACKETS_MAX,
            ended: None,
        }
    }

    /// `None` until it has sent one that was accepted.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The deadline for its name; `None` once it has sent it.
    #[must_use]
    pub fn hello_deadline(&self) -> Option<Time> {
        self.name.is_none().then_some(self.hello_deadline)
    }

    /// Why the process is to be disconnected, once it is.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.ended
    }

    /// So many tracks are sent to it.
    pub(super) fn set_taps(&mut self, taps: usize) {
        self.unread_max = UNREAD_PACKETS_MAX + taps * UNREAD_TAP_BYTES;
    }

    pub fn disconnect(&mut self) {
        self.end(CloseReason::Gone);
    }

    /// Octets that wait to be written to the socket.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// `len` octets of [`Process::unread`] were written.
    pub fn wrote(&mut self, len: usize) {
        self.written += len;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        } else if self.written > self.out.len() / 2 {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
    }

    /// Hands over the next frame. `None`: there is none, or it is over.
    pub(super) fn next<T>(&mut self, take: impl FnOnce(Decoded<'_>) -> Result<T, Refusal>) -> Option<T> {
        if self.ended.is_some() {
            return None;
        }
        let refusal = match self.reader.next() {
            Ok(decoded) => match take(decoded?) {
                Ok(taken) => return Some(taken),
                Err(refusal) => refusal,
            },
            Err(why) => {
                self.end(CloseReason::BadFrame(why));
                return None;
            }
        };
        self.refuse(refusal);
        None
    }

    pub(super) fn accept_hello(&mut self, name: &str) {
        self.name = Some(name.to_owned());
        let hello = Hello { version: PORT_VERSION, name: OWN_NAME.to_owned() };
        self.send_frame(&Frame::Hello(hello));
    }

    /// Sends a refusal, which nothing waits for, and ends the connection.
    pub(super) fn refuse(&mut self, why: Refusal) {
        self.send_frame(&Frame::Refused(why));
        self.end(CloseReason::Refused);
    }

    pub(super) fn end_for_fault(&mut self) {
        self.end(CloseReason::Fault);
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        if self.hello_deadline().is_some_and(|until| until <= now) {
            self.end(CloseReason::NoHello);
        }
    }

    /// Queues a packet. False: too many octets wait to be read.
    pub(super) fn send_packet(&mut self, packet: &Packet, payload: &[u8]) -> bool {
        let has_room = self.has_room();
        has_room && encode(&Frame::Message(Message::Packet(*packet)), payload, &mut self.out)
    }

    /// Queues a message that may be lost, as the next of its kind makes up for it.
    pub(super) fn send_if_room(&mut self, message: &Message) {
        if self.has_room() {
            self.send(message);
        }
    }

    pub(super) fn send(&mut self, message: &Message) {
        self.send_frame(&Frame::Message(message.clone()));
    }

    pub(super) fn send_frame(&mut self, frame: &Frame) {
        if self.unread().len() > self.unread_max + UNREAD_MESSAGES_MAX {
            return self.end(CloseReason::Slow);
        }
        let written = encode(frame, &[], &mut self.out);
        debug_assert!(written, "no payload and a name of ours");
    }

    fn has_room(&self) -> bool {
        self.unread().len() <= self.unread_max && self.ended.is_none()
    }

    fn end(&mut self, why: CloseReason) {
        self.ended.get_or_insert(why);
    }
}
