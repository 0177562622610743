//! Starting the parts in order, running them, and ending them.

use crate::address_watch::AddressWatch;
use crate::addresses;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, IoChoice};
use crate::control::router::{Identity, Router};
use crate::control::{Control, Exit};
use crate::driver::ShardDriver;
use crate::faults::panic_text;
use crate::mailbox::{ControlEnd, Notifier, mailbox};
use crate::overload::OverloadControl;
use crate::ports;
use crate::worker::Worker;
use nix::sys::signalfd::SignalFd;
use relay_control::listener::{ListenError, Listener};
use relay_control::{STARTED_BY_SIGNALING, port_socket};
use relay_core::Shard;
use relay_core::config::{Limits, ShardConfig};
use relay_core::dtls::DtlsFactory;
use relay_core::time::NtpClock;
use relay_dtls::{EngineFactory, SetupError};
use relay_io::{Backend, Io, IoOptions, Setting, Waker, socket};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Why the relay did not start.
#[derive(Debug)]
pub enum StartError {
    /// Settings that do not fit this machine.
    Config(ConfigError),
    Control(ListenError),
    /// The chosen back end does not work here.
    Backend(String),
    /// A UDP port is taken or forbidden.
    Bind(SocketAddr, io::Error),
    /// No certificate, or BoringSSL lacks something.
    Dtls(SetupError),
    /// Another system call failed.
    Io(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(why) => why.fmt(f),
            Self::Control(why) => why.fmt(f),
            Self::Backend(why) => write!(f, "{why}; relay.io = \"auto\" chooses what works"),
            Self::Bind(address, why) => {
                write!(f, "UDP {address}: {why}; choose other ports with relay.base_port")
            }
            Self::Dtls(why) => why.fmt(f),
            Self::Io(what, why) => write!(f, "{what}: {why}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A relay whose threads run and whose sockets are bound.
pub struct Relay {
    control: Control,
    ports: ports::PortsThread,
    workers: Workers,
}

/// The worker threads and what they share with the one that started them.
struct Workers {
    threads: Vec<JoinHandle<()>>,
    wakers: Vec<Waker>,
    stop: Arc<AtomicBool>,
    failure: FirstFailure,
}

/// Why the first worker ended before its time.
type FirstFailure = Arc<OnceLock<String>>;

/// What every worker needs.
#[derive(Clone)]
struct WorkerSetup {
    clock: Clock,
    ntp: NtpClock,
    interfaces: Vec<IpAddr>,
    addresses: Vec<IpAddr>,
    backend: Backend,
    may_fall_back: bool,
    bitrate_bps: u64,
    hold_max: Duration,
    four_lanes: bool,
    notifier: Notifier,
    stop: Arc<AtomicBool>,
    failure: FirstFailure,
}

impl Relay {
    /// Starts everything. `signals` come from [`crate::control::take_signals`].
    ///
    /// # Errors
    /// The first thing that did not work; nothing is left running.
    pub fn start(config: &Config, signals: Option<SignalFd>) -> Result<Self, StartError> {
        let listener = Listener::bind(&config.control_socket).map_err(StartError::Control)?;
        let ports = Listener::bind(&port_socket(&config.control_socket)).map_err(StartError::Control)?;
        let cores = relay_io::cpu::available().map_err(|why| StartError::Io("list of cores", why))?;
        let shards = config.shards.unwrap_or(u32::try_from(cores.len()).unwrap_or(1)).max(1);
        config.check_ports(shards).map_err(StartError::Config)?;
        let backend = choose_backend(config.io)?;
        let interfaces =
            addresses::of_interfaces().map_err(|why| StartError::Io("list of interfaces", why))?;
        let (addresses, own) =
            (addresses::advertised(&interfaces, config), addresses::bound(&interfaces, config));
        let dtls = EngineFactory::new().map_err(StartError::Dtls)?;
        let clock = Clock::start();
        let notifier = Notifier::new().map_err(|why| StartError::Io("eventfd", why))?;
        let mut workers = Workers::none();
        let setup = WorkerSetup {
            clock,
            ntp: clock.ntp(),
            interfaces,
            addresses,
            backend,
            may_fall_back: config.io == IoChoice::Auto,
            bitrate_bps: config.max_receive_bitrate_bps,
            hold_max: Duration::from_micros(config.max_hold_us.into()),
            four_lanes: config.four_key_cipher,
            notifier: notifier.clone(),
            stop: Arc::clone(&workers.stop),
            failure: Arc::clone(&workers.failure),
        };
        let mut ends = Vec::new();
        for number in 0..shards {
            let core = cores.get(number as usize % cores.len().max(1)).copied();
            let sockets = bind(config, number, &own)?;
            ends.push(workers.spawn(&setup, number, core, sockets, dtls.clone())?);
        }
        let identity = identity(&dtls, backend, config.max_receive_bitrate_bps)?;
        tell(config, shards, &setup);
        let mut router = Router::new(identity, ends, config.room_transports_per_shard);
        let (ports, end) = ports::spawn(ports, notifier.clone(), clock, config.max_receive_bitrate_bps)
            .map_err(|why| StartError::Io("ports' thread", why))?;
        router.serve_ports(end);
        let watch = AddressWatch::new(config, setup.addresses, Instant::now());
        let control = Control::new(listener, notifier, signals, router, clock).watching(watch);
        Ok(Self { control, ports, workers })
    }

    /// Runs until a signal, a command or the failure of a worker, and ends all threads.
    ///
    /// # Errors
    /// When the control thread cannot wait any more.
    pub fn run(mut self) -> io::Result<Exit> {
        let failure = Arc::clone(&self.workers.failure);
        let exit = self.control.run(|| failure.get().is_some());
        // The socket file goes away with `control`, before a successor could find a relay that is ending.
        drop(self.control);
        drop(self.ports);
        drop(self.workers);
        exit
    }
}

impl Workers {
    fn none() -> Self {
        Self { threads: Vec::new(), wakers: Vec::new(), stop: Arc::default(), failure: Arc::default() }
    }

    /// Starts one worker. Its ring must be made by the thread that uses it, so the thread reports when it is
    /// ready.
    fn spawn(
        &mut self,
        setup: &WorkerSetup,
        number: u32,
        core: Option<usize>,
        sockets: Vec<UdpSocket>,
        dtls: EngineFactory,
    ) -> Result<ControlEnd, StartError> {
        let seed = random()?;
        let port = sockets[0].local_addr().map_err(|why| StartError::Io("UDP port", why))?.port();
        let config = ShardConfig {
            shard: number,
            candidates: setup.addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect(),
            ntp: setup.ntp,
            default_max_receive_bitrate_bps: setup.bitrate_bps,
            four_lanes: setup.four_lanes,
            limits: Limits::default(),
        };
        let (ready, report) = sync_channel(1);
        let (setup, shard) = (setup.clone(), (config, dtls, seed));
        let name = format!("shard-{number}");
        let body = move || run_worker(&setup, core, sockets, shard, &ready);
        let thread = std::thread::Builder::new().name(name).spawn(body);
        self.threads.push(thread.map_err(|why| StartError::Io("shard thread", why))?);
        let report = report.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended")));
        let (end, waker) = report.map_err(|why| StartError::Io("back end of a shard", why))?;
        self.wakers.push(waker);
        Ok(end)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wakers.iter().for_each(Waker::wake);
        for thread in self.threads.drain(..) {
            // It catches its own panics.
            let _ = thread.join();
        }
    }
}

/// What goes into a [`Shard`].
type ShardParts = (ShardConfig, EngineFactory, [u8; 32]);

/// A worker thread from start to end.
fn run_worker(
    setup: &WorkerSetup,
    core: Option<usize>,
    sockets: Vec<UdpSocket>,
    (config, dtls, seed): ShardParts,
    ready: &SyncSender<io::Result<(ControlEnd, Waker)>>,
) {
    let number = config.shard;
    if let Some(Err(why)) = core.map(relay_io::cpu::pin_current_thread) {
        tracing::warn!(shard = number, core, %why, "the shard is not pinned to its core");
    }
    let io = match open_io(setup, number, sockets) {
        Ok(io) => io,
        Err(why) => return drop(ready.send(Err(why))),
    };
    let (waker, wake) = (io.waker(), io.waker());
    let (control_end, mail) = mailbox(setup.notifier.clone(), Arc::new(move || wake.wake()));
    let shard = Shard::new(config, Box::new(dtls), seed);
    let stop = Arc::clone(&setup.stop);
    let seeds = || random().expect("the kernel's random numbers");
    let driver = ShardDriver::new(number, shard, mail, Box::new(seeds));
    let overload = OverloadControl::new(setup.clock.now(), setup.hold_max);
    let mut worker = Worker { driver, io, clock: setup.clock, overload, stop };
    if ready.send(Ok((control_end, waker))).is_err() {
        return;
    }
    guard(number, &setup.failure, &setup.notifier, || worker.run());
}

/// Runs a worker; if it ends before its time, by an error or a panic, the control thread learns why.
fn guard(number: u32, failure: &FirstFailure, notifier: &Notifier, run: impl FnOnce() -> io::Result<()>) {
    let why = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => return,
        Ok(Err(why)) => format!("shard {number} cannot wait for its socket: {why}"),
        Err(panic) => format!("shard {number} panicked: {}", panic_text(panic.as_ref())),
    };
    tracing::error!("{why}; the relay ends");
    // Only the first is kept; the log has all of them.
    let _ = failure.set(why);
    notifier.notify();
}

/// The probe's ring was small; a real one may not fit RLIMIT_MEMLOCK, and each shard locks some more.
fn open_io(setup: &WorkerSetup, number: u32, sockets: Vec<UdpSocket>) -> io::Result<Io> {
    let options = IoOptions::default();
    if setup.backend != Backend::Uring || !setup.may_fall_back {
        return Io::new(setup.backend, sockets, &options);
    }
    let spare = sockets.iter().map(UdpSocket::try_clone).collect::<io::Result<_>>()?;
    Io::new(Backend::Uring, sockets, &options).or_else(|why| {
        tracing::warn!(shard = number, %why, "the shard falls back to recvmmsg and sendmmsg");
        Io::new(Backend::Mmsg, spare, &options)
    })
}

fn choose_backend(choice: IoChoice) -> Result<Backend, StartError> {
    let setting = match choice {
        IoChoice::Auto => Setting::Auto,
        IoChoice::Uring => Setting::Uring,
        IoChoice::Mmsg => Setting::Mmsg,
    };
    let choice = relay_io::choose(setting).map_err(|why| StartError::Backend(why.to_string()))?;
    tracing::info!(backend = choice.backend.name(), why = %choice.reason, "back end chosen");
    Ok(choice.backend)
}

/// Binds the shard's port, and beside it each of the machine's own addresses. A machine without IPv6 gets
/// IPv4 alone when all addresses were meant.
fn bind(config: &Config, shard: u32, own: &[IpAddr]) -> Result<Vec<UdpSocket>, StartError> {
    let port = u32::from(config.base_port) + shard;
    let port = u16::try_from(port).unwrap_or(u16::MAX);
    let address = SocketAddr::new(config.bind, port);
    let options = socket::SocketOptions::new(address);
    let bound = socket::bind(&options).map_err(|why| StartError::Bind(address, why))?;
    let granted = socket::granted_buffers(&bound).map(|granted| granted.recv_bytes);
    if let Some(bytes) = granted.ok().filter(|bytes| shard == 0 && *bytes < RECV_BUFFER_BYTES_MIN) {
        tracing::warn!(
            bytes,
            "small UDP receive buffers: bursts will be lost; raise net.core.rmem_max to {RECV_BUFFER_BYTES_MIN}"
        );
    }
    let beside = socket::bind_beside(&bound, own, &options).unwrap_or_else(|why| {
        // The address may just have been removed. This only makes sends slower: the first socket serves all
        // addresses.
        tracing::warn!(shard, %why, "no sockets for the machine's single addresses: sends cost more");
        Vec::new()
    });
    Ok(std::iter::once(bound).chain(beside).collect())
}

/// Below this a burst of keyframes of a hundred publishers does not fit while the shard is busy for 10 ms.
const RECV_BUFFER_BYTES_MIN: usize = 4 << 20;

fn identity(
    dtls: &EngineFactory,
    backend: Backend,
    max_receive_bitrate_bps: u64,
) -> Result<Identity, StartError> {
    Ok(Identity {
        boot_id: u64::from_be_bytes(random()?),
        fingerprint_sha256: dtls.fingerprint(),
        io_backend: backend.name(),
        max_receive_bitrate_bps,
        started_by_signaling: std::env::var_os(STARTED_BY_SIGNALING).is_some(),
    })
}

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|why| StartError::Io("random numbers", io::Error::other(why.to_string())))?;
    Ok(bytes)
}

fn tell(config: &Config, shards: u32, setup: &WorkerSetup) {
    if setup.addresses.is_empty() {
        tracing::warn!("no address to tell clients: set relay.public_ip, or bring an interface up");
    }
    if !config.bind.is_unspecified() && !setup.interfaces.contains(&config.bind) {
        tracing::warn!(
            "relay.bind = \"{}\" is the address of no interface: nobody is served until it comes",
            config.bind
        );
    }
    tracing::info!(
        shards,
        ports = %format_args!("{}-{}", config.base_port, u32::from(config.base_port) + shards - 1),
        addresses = ?setup.addresses,
        control = %config.control_socket.display(),
        "relay ready"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_ends_before_its_time_is_told_with_its_reason() {
        let notifier = Notifier::new().expect("a descriptor");
        let run = |worker: fn() -> io::Result<()>| {
            let failure = FirstFailure::default();
            guard(3, &failure, &notifier, worker);
            failure.get().cloned()
        };
        assert_eq!(run(|| Ok(())), None);
        let failed = run(|| Err(io::Error::other("no ring"))).expect("told");
        assert_eq!(failed, "shard 3 cannot wait for its socket: no ring");
        assert_eq!(run(|| panic!("text")).as_deref(), Some("shard 3 panicked: text"));
        let number = run(|| panic!("number {}", 7));
        assert_eq!(number.as_deref(), Some("shard 3 panicked: number 7"));
        let neither = run(|| std::panic::panic_any(7));
        assert_eq!(neither.as_deref(), Some("shard 3 panicked: (no message)"));
    }
}
