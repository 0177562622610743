//! The recorder's control socket: who is there, what they order, what they are told.
//!
//! Invariants
//! - The directory and the users are checked as at the relay's control socket; the socket is 0600.
//! - All controllers may order: what they order names a recording, and doing it twice is doing it once.
//! - A line is at most [`LINE_BYTES_MAX`] octets; who sends a longer one, or one that is no JSON object, is
//!   cut off.
//! - Who does not read is cut off when [`UNREAD_MAX`] notices wait for him, or one of them for
//!   [`WRITE_TIMEOUT`].
//!
//! Deliberately absent: what orders mean.

use recorder_control::{LINE_BYTES_MAX, Notice, Order};
use relay_control::listener::{Accepted, ListenError, Listener};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Controllers at a time: signaling, and people who look.
const CONTROLLERS_MAX: usize = 8;
/// Notices that wait for a controller; what it hears first counts as one.
const UNREAD_MAX: usize = 4_096;
/// How long the socket of a controller may take nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nothing is accepted after that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What comes from controllers.
#[derive(Debug)]
pub enum FromController {
    /// One has connected, and wants to hear all.
    Connected(Controller),
    /// One of this number orders.
    Order(u64, Order),
    /// One is gone.
    Gone(u64),
}

/// Hears controllers, on whatever thread.
pub type TellController = Arc<dyn Fn(FromController) + Send + Sync>;

/// One controller: lines to it.
#[derive(Debug)]
pub struct Controller {
    number: u64,
    lines: SyncSender<Arc<[u8]>>,
    stream: UnixStream,
    has_said_hello: bool,
}

impl Controller {
    fn send(&self, lines: Arc<[u8]>) -> bool {
        let taken = self.lines.try_send(lines).is_ok();
        if !taken {
            tracing::warn!("a controller does not read: it is cut off");
            // It may be gone already.
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        taken
    }
}

/// All controllers that are connected.
#[derive(Debug, Default)]
pub struct Controllers(BTreeMap<u64, Controller>);

impl Controllers {
    /// One more, which hears these first.
    pub fn add(&mut self, controller: Controller, inventory: &[Notice]) {
        if controller.send(inventory.iter().flat_map(line).collect()) {
            self.0.insert(controller.number, controller);
        }
    }

    /// One has said Hello.
    pub fn note_hello(&mut self, number: u64) {
        if let Some(controller) = self.0.get_mut(&number) {
            controller.has_said_hello = true;
        }
    }

    /// One is gone.
    pub fn remove(&mut self, number: u64) {
        self.0.remove(&number);
    }

    /// Whether one is there that has said Hello.
    #[must_use]
    pub fn has_signaling(&self) -> bool {
        self.0.values().any(|controller| controller.has_said_hello)
    }

    /// All hear it.
    pub fn tell(&mut self, notice: &Notice) {
        if !self.0.is_empty() {
            let line: Arc<[u8]> = line(notice).into();
            self.0.retain(|_, controller| controller.send(Arc::clone(&line)));
        }
    }
}

fn line(notice: &Notice) -> Vec<u8> {
    // Strings and numbers: there is nothing that could go wrong.
    let mut line = serde_json::to_vec(notice).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Listens on a socket for as long as the process lives.
///
/// # Errors
/// See [`ListenError`].
pub fn listen(socket: &Path, told: TellController) -> Result<(), ListenError> {
    let listener = Listener::bind(socket)?;
    let spawned = std::thread::Builder::new().name("control".into()).spawn(move || accept(&listener, &told));
    spawned.map(drop).map_err(|why| ListenError::Io(socket.to_owned(), why))
}

fn accept(listener: &Listener, told: &TellController) {
    let connected = Arc::new(AtomicUsize::new(0));
    for number in 1.. {
        let stream = loop {
            // It says so again when it is ready.
            let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], None);
            match listener.accept() {
                Ok(Accepted::Peer(stream)) if connected.load(Ordering::Relaxed) < CONTROLLERS_MAX => {
                    break stream;
                }
                Ok(Accepted::Peer(_)) => {
                    tracing::warn!("{CONTROLLERS_MAX} controllers are connected: one more is refused")
                }
                Ok(Accepted::Refused { uid }) => tracing::warn!("a controller of user {uid} is refused"),
                Ok(Accepted::None) => {}
                Err(why) => {
                    tracing::error!("no controller can be accepted: {why}");
                    std::thread::sleep(ACCEPT_PAUSE);
                }
            }
        };
        connected.fetch_add(1, Ordering::Relaxed);
        if let Err(why) = serve(number, stream, told, &connected) {
            connected.fetch_sub(1, Ordering::Relaxed);
            tracing::error!("a controller cannot be served: {why}");
        }
    }
}

fn serve(
    number: u64,
    stream: UnixStream,
    told: &TellController,
    connected: &Arc<AtomicUsize>,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let (lines, waiting) = sync_channel(UNREAD_MAX);
    let (to_write, to_read) = (stream.try_clone()?, stream.try_clone()?);
    let named = || std::thread::Builder::new().name("controller".into());
    named().spawn(move || write(to_write, &waiting))?;
    let (told, connected) = (Arc::clone(told), Arc::clone(connected));
    named().spawn(move || {
        told(FromController::Connected(Controller { number, lines, stream, has_said_hello: false }));
        if let Err(why) = read(&to_read, &mut |order| told(FromController::Order(number, order))) {
            tracing::warn!("a controller is cut off: {why}");
        }
        let _ = to_read.shutdown(Shutdown::Both);
        told(FromController::Gone(number));
        connected.fetch_sub(1, Ordering::Relaxed);
    })?;
    Ok(())
}

fn write(mut stream: UnixStream, lines: &Receiver<Arc<[u8]>>) {
    for line in lines {
        if stream.write_all(&line).is_err() {
            // The reading side notices.
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// Until the other side hangs up.
fn read(stream: &UnixStream, take: &mut dyn FnMut(Order)) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
        match read {
            Ok(0) => return Ok(()),
            Ok(_) if line.len() > LINE_BYTES_MAX => {
                return Err(io::Error::new(ErrorKind::InvalidData, "its line is too long"));
            }
            Ok(_) => match parse(&line)? {
                Some(order) => take(order),
                None => tracing::warn!("an order that is not known is passed over"),
            },
            Err(why) if why.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(why) => return Err(why),
        }
    }
}

/// An order; `None`: one of a later version.
fn parse(line: &[u8]) -> serde_json::Result<Option<Order>> {
    let value: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line)?;
    Ok(serde_json::from_value(value.into()).ok())
}
