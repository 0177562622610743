//! The control thread: listens, reads requests, writes replies and events, and ends the process on request.
//!
//! One thread and one `poll(2)` over the listener, the connections, the signals and the eventfd that workers
//! notify. Nothing here can hold up a shard: mailboxes are bounded and never waited for.
//!
//! A panic over a controller's request is that request's answer.
//!
//! Signals: SIGTERM and SIGINT end the process cleanly, SIGHUP, SIGUSR1 and SIGUSR2 mean nothing (the relay
//! outlives whoever started it).

pub mod connection;
pub mod counts;
pub mod placement;
pub mod ports;
pub mod router;

use crate::address_watch::AddressWatch;
use crate::clock::Clock;
use crate::faults::{PerMinute, panic_text};
use crate::mailbox::Notifier;
use connection::{Connection, Ended};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use relay_control::listener::{Accepted, Listener};
use relay_control::{CommandError, ErrorCode, FromRelay, Outgoing, Reply, ReplyBody};
use router::{ConnectionId, Router};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// Control connections at one time: signaling, its successor, and some people with `ctl`.
pub const CONNECTIONS_MAX: usize = 16;

/// Panics of the router over a request within a minute; one more ends the process, as any other panic of this
/// thread does.
const PANICS_MAX: u32 = 3;

/// After `accept` failed (no descriptors left) the listener is left alone for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why the control thread ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    /// SIGTERM or SIGINT.
    Signal,
    /// A controller's `Shutdown`.
    Command,
    /// A worker thread failed.
    WorkerDied,
    /// The control thread panicked, over requests or around them.
    Panicked,
}

impl Exit {
    /// The process's exit status. Where starting again may help it is EX_SOFTWARE (sysexits.h).
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::Signal | Self::Command => 0,
            Self::WorkerDied | Self::Panicked => 70,
        }
    }
}

pub struct Control {
    listener: Listener,
    notifier: Notifier,
    signals: Option<SignalFd>,
    /// `None`: the addresses at the start are all there are (tests in one process).
    addresses: Option<AddressWatch>,
    router: Router,
    connections: BTreeMap<ConnectionId, Connection>,
    last_connection: ConnectionId,
    accept_paused_until: Option<Instant>,
    clock: Clock,
    scratch: Box<[u8; connection::READ_BYTES]>,
    panics: PerMinute,
}

/// Signals that end the process.
const ENDING: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];
/// Signals that would end it if nobody took them: a terminal that closes, and what rotates other programs'
/// logs. There is nothing here to be read again.
const PASSED_OVER: [Signal; 3] = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];

/// Blocks the signals that [`Control`] takes, for this thread and those it starts; so it is the first thing a
/// process does.
///
/// # Errors
/// When the kernel refuses.
pub fn take_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    ENDING.into_iter().chain(PASSED_OVER).for_each(|signal| set.add(signal));
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// What a turn of the loop found ready.
struct Ready {
    listener: bool,
    signals: bool,
    addresses: bool,
    connections: Vec<(ConnectionId, PollFlags)>,
}

impl Control {
    /// Puts the parts together. Without `signals` only a command ends it (tests in one process).
    #[must_use]
    pub fn new(
        listener: Listener,
        notifier: Notifier,
        signals: Option<SignalFd>,
        router: Router,
        clock: Clock,
    ) -> Self {
        Self {
            listener,
            notifier,
            signals,
            addresses: None,
            router,
            connections: BTreeMap::new(),
            last_connection: 0,
            accept_paused_until: None,
            clock,
            scratch: Connection::scratch(),
            panics: PerMinute::default(),
        }
    }

    /// Announces other addresses when the machine's change.
    #[must_use]
    pub fn watching(self, addresses: AddressWatch) -> Self {
        Self { addresses: Some(addresses), ..self }
    }

    /// Runs until something ends it, a panic of its own too. `worker_died` is asked each time the notifier
    /// rang.
    ///
    /// # Errors
    /// When waiting itself fails.
    pub fn run(&mut self, worker_died: impl Fn() -> bool) -> io::Result<Exit> {
        // Only to be dropped after a panic.
        let ended = catch_unwind(AssertUnwindSafe(|| self.turn(worker_died)));
        ended.unwrap_or_else(|panic| {
            tracing::error!("the control thread panicked: {}; the relay ends", panic_text(panic.as_ref()));
            Ok(Exit::Panicked)
        })
    }

    fn turn(&mut self, worker_died: impl Fn() -> bool) -> io::Result<Exit> {
        loop {
            let ready = self.wait()?;
            self.notifier.clear();
            if worker_died() {
                return Ok(Exit::WorkerDied);
            }
            if ready.signals && self.end_signal() {
                return Ok(Exit::Signal);
            }
            if ready.listener {
                self.accept();
            }
            self.announce(ready.addresses);
            self.read(&ready.connections);
            self.exchange();
            self.reap();
            if self.router.shutdown_asked() {
                return Ok(Exit::Command);
            }
        }
    }

    fn wait(&mut self) -> io::Result<Ready> {
        let now = Instant::now();
        self.accept_paused_until = self.accept_paused_until.filter(|until| *until > now);
        let listens = if self.accept_paused_until.is_none() { PollFlags::IN } else { PollFlags::empty() };
        let timeouts = self.connections.values().filter_map(Connection::poll_timeout);
        let look_at = self.addresses.as_ref().and_then(AddressWatch::poll_timeout);
        let wake_at = timeouts.chain(self.accept_paused_until).chain(look_at).min();
        let timeout = wake_at.map(|at| timespec(at.saturating_duration_since(now)));

        let mut fds = vec![PollFd::new(&self.notifier, PollFlags::IN), PollFd::new(&self.listener, listens)];
        fds.extend(self.connections.values().map(|c| PollFd::new(c, interest(c))));
        fds.extend(self.signals.as_ref().map(|s| PollFd::from_borrowed_fd(s.as_fd(), PollFlags::IN)));
        let changes = self.addresses.as_ref().and_then(AddressWatch::changes);
        fds.extend(changes.map(|changes| PollFd::from_borrowed_fd(changes, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
        let happened: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let (own, rest) = happened.split_at(2);
        let (of_connections, rest) = rest.split_at(self.connections.len());
        let (signals, changes) = rest.split_at(usize::from(self.signals.is_some()));
        Ok(Ready {
            listener: !own[1].is_empty(),
            signals: signals.iter().any(|flags| !flags.is_empty()),
            addresses: changes.iter().any(|flags| !flags.is_empty()),
            connections: self.connections.keys().copied().zip(of_connections.iter().copied()).collect(),
        })
    }

    /// Tells the shards of the machine's addresses, if these are others than before.
    fn announce(&mut self, changed: bool) {
        let (Some(watch), now) = (&mut self.addresses, Instant::now()) else { return };
        if changed {
            watch.handle_changes(now);
        }
        if let Some(addresses) = watch.look(now) {
            let by_all = self.router.announce(&addresses, watch.base_port());
            watch.handle_announced(addresses, by_all, now);
        }
    }

    /// Reads the waiting signals; true if one of them ends the process.
    fn end_signal(&mut self) -> bool {
        let Some(signals) = &self.signals else { return false };
        let mut ends = false;
        while let Ok(Some(info)) = signals.read_signal() {
            ends |= ENDING.into_iter().any(|signal| signal as u32 == info.ssi_signo);
        }
        ends
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok(Accepted::None) => return,
                Ok(Accepted::Peer(_)) if self.connections.len() >= CONNECTIONS_MAX => {
                    self.router.counts.refused_limit += 1;
                }
                Ok(Accepted::Peer(stream)) => {
                    self.last_connection += 1;
                    self.router.counts.connections += 1;
                    self.connections.insert(self.last_connection, Connection::new(stream, Instant::now()));
                }
                Ok(Accepted::Refused { uid }) => {
                    self.router.counts.refused_uid += 1;
                    tracing::warn!(uid, "control connection of another user refused");
                }
                Err(why) => {
                    tracing::warn!(%why, "no control connection can be accepted for a moment");
                    self.accept_paused_until = Some(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    fn read(&mut self, ready: &[(ConnectionId, PollFlags)]) {
        let now = Instant::now();
        for (id, flags) in ready {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) && connection.wants_read() {
                connection.fill(&mut self.scratch);
            }
            if flags.intersects(PollFlags::HUP | PollFlags::ERR) {
                connection.hang_up();
            }
            connection.handle_timeout(now);
        }
    }

    /// Requests to the router, its messages to the connections; again as long as that may make room for more
    /// requests, for nothing else would wake us for those that have been read already.
    fn exchange(&mut self) {
        self.router.counts.uptime_s = self.clock.uptime().as_secs();
        self.router.counts.connections_open = self.connections.len() as u64;
        loop {
            let mut moved = false;
            for (id, connection) in &mut self.connections {
                while let Some(request) = connection.next_request() {
                    moved = true;
                    let request_id = request.request_id;
                    let handle = AssertUnwindSafe(|| self.router.handle_request(*id, request));
                    if let Err(panic) = catch_unwind(handle) {
                        if self.panics.exceeds(self.clock.now(), PANICS_MAX) {
                            resume_unwind(panic);
                        }
                        // An answer ends it. Whoever gets none asks again on the next connection, until the
                        // process is given up.
                        self.router.counts.panicked += 1;
                        connection.send(&fault(request_id));
                    }
                    if self.router.has_greeted(*id) {
                        connection.said_hello();
                    }
                }
            }
            self.router.handle_shards();
            while let Some((id, message)) = self.router.poll_outgoing() {
                moved = true;
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.send(&message);
                }
            }
            self.connections.values_mut().for_each(Connection::flush);
            if !moved {
                return;
            }
        }
    }

    fn reap(&mut self) {
        let counts = &mut self.router.counts;
        let mut ended = Vec::new();
        self.connections.retain(|id, connection| {
            let Some(why) = connection.take_ended() else { return true };
            match why {
                Ended::BadFrame(_) => counts.closed_bad_frame += 1,
                Ended::Slow => counts.closed_slow += 1,
                Ended::Idle => counts.closed_idle += 1,
                Ended::ByPeer | Ended::Io(_) => {}
            }
            tracing::debug!(connection = *id, ?why, "control connection closed");
            ended.push(*id);
            false
        });
        ended.into_iter().for_each(|id| self.router.handle_closed(id));
    }
}

/// The answer to a request over which the router panicked.
fn fault(request_id: u64) -> FromRelay {
    let message = "this request made the relay panic".to_owned();
    let error = CommandError { code: ErrorCode::RelayFault.into(), message, highest_epoch: 0 };
    let reply = Reply { request_id, body: Some(ReplyBody::Error(error)) };
    FromRelay { outgoing: Some(Outgoing::Reply(reply)) }
}

fn interest(connection: &Connection) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, connection.wants_read());
    flags.set(PollFlags::OUT, connection.wants_write());
    flags
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{ControlEnd, FromShard, ToShard, WorkerEnd, mailbox};
    use relay_control::{
        CONTROL_VERSION, Command, FrameDecoder, GetStats, Hello, Request, Stats, encode_frame,
    };
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::sync::Arc;

    fn control(socket: &Path, notifier: &Notifier, shards: Vec<ControlEnd>) -> Control {
        let listener = Listener::bind(socket).expect("binds");
        let identity = router::Identity {
            boot_id: 1,
            fingerprint_sha256: [0; 32],
            io_backend: "mmsg",
            max_receive_bitrate_bps: 4_000_000,
            started_by_signaling: false,
        };
        Control::new(listener, notifier.clone(), None, Router::new(identity, shards, 1), Clock::start())
    }

    #[test]
    fn the_death_of_a_worker_ends_it_and_takes_the_socket_away() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("relay.sock");
        let notifier = Notifier::new().expect("a descriptor");
        let mut control = control(&path, &notifier, Vec::new());
        notifier.notify();
        assert_eq!(control.run(|| true).expect("waits"), Exit::WorkerDied);
        drop(control);
        assert!(!path.exists());
    }

    /// The first `count` octets of a `Hello` and a request.
    fn greets_and_asks(count: usize) -> Vec<u8> {
        let hello = Hello { version: CONTROL_VERSION, epoch: 1, instance: 0, name: "test".into() };
        let commands = [Command::Hello(hello), Command::GetStats(GetStats {})];
        let mut bytes = Vec::new();
        for (request_id, command) in (1..).zip(commands).take(count) {
            encode_frame(&Request { request_id, command: Some(command) }, &mut bytes).expect("small");
        }
        bytes
    }

    #[test]
    fn a_panic_over_request_after_request_ends_it_with_the_status_that_starts_it_again() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("relay.sock");
        let notifier = Notifier::new().expect("a descriptor");
        let wake = || panic!("a panic that the test wanted");
        let (control_end, _worker) = mailbox(notifier.clone(), Arc::new(wake));
        let mut control = control(&path, &notifier, vec![control_end]);
        let theirs: Vec<UnixStream> = (0..=PANICS_MAX)
            .map(|_| {
                let mut peer = UnixStream::connect(&path).expect("it listens");
                peer.write_all(&greets_and_asks(2)).expect("fits the socket");
                peer
            })
            .collect();
        let exit = control.run(|| false).expect("waits");
        assert_eq!((&exit, exit.status()), (&Exit::Panicked, 70));
        assert_eq!(control.router.counts.connections, u64::from(PANICS_MAX) + 1, "the last one was too many");
        drop((control, theirs));
        assert!(!path.exists());
    }

    #[test]
    fn a_panic_over_a_request_is_its_answer_and_ends_no_connection() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let notifier = Notifier::new().expect("a descriptor");
        // Commands of one controller find a shard whose waking panics.
        let wake = || panic!("a panic that the test wanted");
        let (control_end, _worker) = mailbox(notifier.clone(), Arc::new(wake));
        let mut control = control(&dir.path().join("relay.sock"), &notifier, vec![control_end]);
        let mut theirs = Vec::new();
        for id in [1, 2] {
            let (ours, peer) = UnixStream::pair().expect("a pair");
            ours.set_nonblocking(true).expect("set");
            control.connections.insert(id, Connection::new(ours, Instant::now()));
            theirs.push(peer);
        }
        for (peer, commands) in theirs.iter_mut().zip([2, 1]) {
            peer.write_all(&greets_and_asks(commands)).expect("fits the socket");
        }
        control.read(&[(1, PollFlags::IN), (2, PollFlags::IN)]);
        control.exchange();
        control.reap();
        assert_eq!(control.connections.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(control.router.counts.panicked, 1);
        assert!(control.router.has_greeted(2) && control.router.has_greeted(1));
        let (mut bytes, mut decoder) = ([0; 1024], FrameDecoder::default());
        let len = theirs[0].read(&mut bytes).expect("answers");
        decoder.push(&bytes[..len]);
        let said = std::iter::from_fn(|| decoder.next::<FromRelay>().expect("frames"));
        let faults = said.filter(|message| match &message.outgoing {
            Some(Outgoing::Reply(Reply { request_id: 2, body: Some(ReplyBody::Error(error)) })) => {
                error.code() == ErrorCode::RelayFault
            }
            _ => false,
        });
        assert_eq!(faults.count(), 1);
    }

    /// Answers all orders that wait for a shard; returns how many.
    fn obey(worker: &mut WorkerEnd) -> usize {
        let mut count = 0;
        while let Some(ToShard::Command { ticket, .. }) = worker.next_order() {
            worker.answer(FromShard::Reply { ticket, body: ReplyBody::Stats(Stats::default()) });
            count += 1;
        }
        count
    }

    #[test]
    fn requests_that_were_read_already_follow_the_replies_that_made_room_for_them() {
        const REQUESTS: u64 = 600;
        let dir = tempfile::tempdir().expect("temporary directory");
        let notifier = Notifier::new().expect("a descriptor");
        let (control_end, mut worker) = mailbox(notifier.clone(), Arc::new(|| {}));
        let mut control = control(&dir.path().join("relay.sock"), &notifier, vec![control_end]);
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("set");
        control.connections.insert(1, Connection::new(ours, Instant::now()));
        let hello = Hello { version: CONTROL_VERSION, epoch: 1, name: "test".into(), instance: 1 };
        let stats = (1..=REQUESTS).map(|id| (id, Command::GetStats(GetStats {})));
        let mut bytes = Vec::new();
        for (request_id, command) in std::iter::once((0, Command::Hello(hello))).chain(stats) {
            let request = Request { request_id, command: Some(command) };
            encode_frame(&request, &mut bytes).expect("small");
        }
        theirs.write_all(&bytes).expect("fits the socket");
        // All of it is read at once; from then on only the shard's answers wake the control thread.
        control.read(&[(1, PollFlags::IN)]);
        control.exchange();
        let mut obeyed = obey(&mut worker);
        assert!(obeyed > 0 && (obeyed as u64) < REQUESTS, "some must wait: {obeyed}");
        while (obeyed as u64) < REQUESTS {
            control.exchange();
            let more = obey(&mut worker);
            assert!(more > 0, "{obeyed} of {REQUESTS}, and nobody would wake it");
            obeyed += more;
        }
    }
}
