//! The process: what comes from the relay, from controllers and from the threads of the disk goes into
//! [`Recorder`] on one thread, and what that says is done by others.
//!
//! Invariants
//! - This thread waits for packets only, and for nothing longer than a turn.

use crate::config::Recording as Settings;
use crate::control::{Controllers, FromController, TellController, listen};
use crate::disk::{Backend, Disk, DiskStores, END};
use crate::finish::{Finishers, Report, Tell};
use crate::folder::{Lock, awaiting_hook, scan};
use crate::keeper::{self, Keeper};
use crate::mix;
use crate::programs::missing;
use crate::recorder::{Action, Recorder, Retention};
use crate::removal::clean;
use recorder_control::{Failure, Order};
use relay_port::{ClientError, ClientReader, ClientWriter, Frame, MediaTime, Message, connect};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

/// How often what waits is looked at.
const TICK: Duration = Duration::from_millis(20);
/// How long to wait for a relay before it is tried again.
const RECONNECT: Duration = Duration::from_millis(500);
/// A relay that is away for longer is told: one that is started again is there before, and one that was
/// stopped is followed by our own stop.
const TOLD_AFTER: Duration = Duration::from_secs(2);
/// How long another recorder may take to give the directory up.
const LOCK: Duration = Duration::from_secs(60);
/// How often it is looked for.
const LOCK_EVERY: Duration = Duration::from_millis(100);

/// What a recorder is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The relay's socket for local ports.
    pub port_socket: PathBuf,
    /// The name under which we are there.
    pub name: String,
    /// Our own socket.
    pub control_socket: PathBuf,
    /// Where recordings go.
    pub directory: PathBuf,
    /// How parts are written.
    pub backend: Backend,
    /// The rest.
    pub settings: Settings,
}

/// What comes from other threads.
enum Inbound {
    Relay(ClientWriter, ClientReader),
    Closed(String),
    Space(Option<Failure>),
    Report(Report),
    Controller(FromController),
}

/// Records until `stops` is set.
///
/// # Errors
/// If the directory or the control socket cannot be had.
pub fn run(options: &Options, stops: &AtomicBool) -> io::Result<()> {
    let Some(lock) = take_lock(&options.directory, stops)? else { return Ok(()) };
    let mut process = Process::start(options, lock)?;
    let connector = process.start_connector(options)?;
    let mut is_wanted = true;
    while !stops.load(Ordering::Relaxed) {
        if std::mem::take(&mut is_wanted) {
            // Without the thread there is no relay, and what there is goes on.
            let _ = connector.send(());
        }
        if let Ok(inbound) = process.inbox.recv_timeout(TICK) {
            process.handle(inbound);
        }
        if let Some((writer, reader)) = process.relay.take() {
            tracing::info!("connected to the relay");
            match process.record(writer, reader, stops) {
                Ok(()) => tracing::info!("the relay has hung up, or we end"),
                Err(why) => tracing::error!("{why}"),
            }
            is_wanted = true;
        }
        process.turn(None);
    }
    process.end();
    Ok(())
}

/// Waits for another recorder that has the directory, which may be about to end.
fn take_lock(directory: &Path, stops: &AtomicBool) -> io::Result<Option<Lock>> {
    let begun = Instant::now();
    let mut is_told = false;
    while !stops.load(Ordering::Relaxed) {
        if let Some(lock) = Lock::take(directory).map_err(|why| unusable(directory, &why))? {
            return Ok(Some(lock));
        }
        let words = format!("another recorder writes to {}", directory.display());
        if begun.elapsed() >= LOCK {
            let words = format!("{words}: stop it, or give each a directory of its own");
            return Err(io::Error::new(ErrorKind::ResourceBusy, words));
        }
        if !std::mem::replace(&mut is_told, true) {
            tracing::warn!("{words}: we wait for {} s until it ends", LOCK.as_secs());
        }
        std::thread::sleep(LOCK_EVERY);
    }
    Ok(None)
}

/// Names the key: it is what has to be changed.
fn unusable(directory: &Path, why: &io::Error) -> io::Error {
    let (directory, user) = (directory.display(), rustix::process::geteuid().as_raw());
    let words = format!(
        "recording.directory = {directory} cannot be used: {why}; make it a directory that user {user} may make or \
         write to, or name another one"
    );
    io::Error::new(why.kind(), words)
}

fn connect_at_last(socket: &Path, name: &str) -> (ClientWriter, ClientReader) {
    let (began, mut is_told) = (Instant::now(), false);
    loop {
        match connect(socket, name) {
            Ok(connected) => return connected,
            // Once for each time that it is gone, and not when both are being stopped.
            Err(why) if began.elapsed() >= TOLD_AFTER && !std::mem::replace(&mut is_told, true) => {
                tracing::warn!("{why}; it is tried again");
            }
            Err(_) => {}
        }
        std::thread::sleep(RECONNECT);
    }
}

struct Process {
    began: Instant,
    recorder: Recorder<DiskStores>,
    controllers: Controllers,
    disk: Disk,
    keeper: Keeper,
    inbox: Receiver<Inbound>,
    sent: Sender<Inbound>,
    /// A connection that is not used yet.
    relay: Option<(ClientWriter, ClientReader)>,
    keyframes: Vec<u64>,
}

impl Process {
    fn start(options: &Options, lock: Lock) -> io::Result<Self> {
        let Options { directory, settings, .. } = options;
        let of_directory = |why: io::Error| unusable(directory, &why);
        let directory = directory.canonicalize().map_err(of_directory)?;
        let (sent, inbox) = channel();
        let told: Tell = teller(&sent, Inbound::Report);
        for missing in missing(settings) {
            tracing::warn!("{missing}");
        }
        let finishers = Finishers::start(settings, &told)?;
        let closed = {
            let sent = sent.clone();
            // Whoever hears it may have ended.
            Arc::new(move |id: &str| drop(sent.send(Inbound::Closed(id.to_owned()))))
        };
        let disk = Disk::start(&directory, options.backend, closed)?;
        let left = scan(&directory).map_err(of_directory)?;
        let awaiting = awaiting_hook(&directory, &left.1);
        let is_mix = |name: &str, of: &str| mix::name_of(of).is_some_and(|mix| mix == name);
        clean(&directory, |name| awaiting.iter().any(|one| is_mix(name, &one.file)))?;
        awaiting.iter().for_each(|recording| finishers.follow(recording, &directory));
        let space = teller(&sent, Inbound::Space);
        let keeper = Keeper::start(directory.clone(), lock, settings.min_free, finishers, space)?;
        let controller: TellController = teller(&sent, Inbound::Controller);
        listen(&options.control_socket, controller).map_err(io::Error::other)?;
        let how = if disk.is_uring() { "through io_uring" } else { "plainly" };
        tracing::info!("recordings go to {}, written {how}", directory.display());
        let retention = Retention { max_age: settings.max_age, max_total_bytes: settings.max_total };
        let recorder = Recorder::new(disk.stores(), directory, retention, left, Duration::ZERO);
        let (controllers, keyframes) = (Controllers::default(), Vec::new());
        let began = Instant::now();
        Ok(Self { began, recorder, controllers, disk, keeper, inbox, sent, relay: None, keyframes })
    }

    /// A thread that connects to the relay each time that it is asked to: a relay that stands still does not
    /// answer.
    fn start_connector(&self, options: &Options) -> io::Result<Sender<()>> {
        let (sent, socket, name) = (self.sent.clone(), options.port_socket.clone(), options.name.clone());
        let (wanted, wants) = channel();
        std::thread::Builder::new().name("connector".into()).spawn(move || {
            for () in wants {
                let (writer, reader) = connect_at_last(&socket, &name);
                // Whoever wants it may have ended.
                let _ = sent.send(Inbound::Relay(writer, reader));
            }
        })?;
        Ok(wanted)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Records until the relay hangs up or a signal comes.
    fn record(
        &mut self,
        mut writer: ClientWriter,
        mut reader: ClientReader,
        stops: &AtomicBool,
    ) -> Result<(), ClientError> {
        reader.set_timeout(Some(TICK))?;
        self.recorder.handle_relay(self.now(), true);
        let mut clock = RoomClock::default();
        let recorded = self.read(&mut writer, &mut reader, &mut clock, stops);
        self.recorder.handle_relay(self.now(), false);
        self.turn(clock.now());
        recorded
    }

    fn read(
        &mut self,
        writer: &mut ClientWriter,
        reader: &mut ClientReader,
        clock: &mut RoomClock,
        stops: &AtomicBool,
    ) -> Result<(), ClientError> {
        let mut ticked = Instant::now();
        while !stops.load(Ordering::Relaxed) {
            let now = self.now();
            let read = reader.read(|frame, payload| {
                if let Frame::Message(Message::Packet(packet)) = &frame {
                    clock.hear(packet.arrival);
                }
                self.recorder.handle_frame(now, &frame, payload);
            });
            match read {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(ClientError::Io(why)) if why.kind() == ErrorKind::WouldBlock => {}
                Err(why) => return Err(why),
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.turn(clock.now());
                for track_id in std::mem::take(&mut self.keyframes) {
                    writer.send(&Frame::Message(Message::Keyframe { track_id }), &[])?;
                }
            }
        }
        Ok(())
    }

    /// All that other threads have said, what is due, and what is to be done.
    fn turn(&mut self, media: Option<MediaTime>) {
        while let Ok(inbound) = self.inbox.try_recv() {
            self.handle(inbound);
        }
        self.recorder.handle_timeout(self.now(), media, unix_ms());
        self.act();
    }

    fn handle(&mut self, inbound: Inbound) {
        let now = self.now();
        match inbound {
            Inbound::Relay(writer, reader) => self.relay = Some((writer, reader)),
            Inbound::Closed(id) => self.recorder.handle_closed(&id),
            Inbound::Space(low) => self.recorder.handle_space(low),
            Inbound::Report(report) => self.recorder.handle_report(now, report),
            Inbound::Controller(FromController::Connected(controller)) => {
                // What is not told yet is in what it hears first.
                self.act();
                self.controllers.add(controller, &self.recorder.inventory());
            }
            Inbound::Controller(FromController::Order(number, order)) => {
                if matches!(order, Order::Hello { .. }) {
                    self.controllers.note_hello(number);
                }
                self.recorder.handle_order(now, &order);
            }
            Inbound::Controller(FromController::Gone(number)) => {
                self.controllers.remove(number);
                self.recorder.handle_signaling(now, self.controllers.has_signaling());
            }
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.recorder.poll_action() {
            match action {
                Action::Keyframe(track_id) => self.keyframes.push(track_id),
                Action::Save(stored) => self.keeper.order(keeper::Order::Save(stored)),
                Action::Finish(job) => self.keeper.order(keeper::Order::Finish(job)),
                Action::Describe(recording) => self.keeper.order(keeper::Order::Describe(recording)),
                Action::Remove(recording) => self.keeper.order(keeper::Order::Remove(recording)),
                Action::Tell(notice) => self.controllers.tell(&notice),
            }
        }
    }

    /// What was taken is written; the next process goes on with what is not finished.
    fn end(mut self) {
        self.recorder.handle_stop(self.now());
        self.act();
        self.disk.end();
        self.keeper.end(END);
    }
}

/// Says it on our thread.
fn teller<T: 'static>(
    inbox: &Sender<Inbound>,
    of: impl Fn(T) -> Inbound + Send + Sync + 'static,
) -> Arc<dyn Fn(T) + Send + Sync> {
    let inbox = inbox.clone();
    // Whoever hears it may have ended.
    Arc::new(move |said| drop(inbox.send(of(said))))
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The room clock between packets: where the latest one stood, and what has passed since.
#[derive(Default)]
struct RoomClock(Option<(MediaTime, Instant)>);

impl RoomClock {
    fn hear(&mut self, arrival: MediaTime) {
        if self.now().is_none_or(|now| arrival > now) {
            self.0 = Some((arrival, Instant::now()));
        }
    }

    fn now(&self) -> Option<MediaTime> {
        let (arrival, at) = self.0?;
        let passed = i64::try_from(at.elapsed().as_nanos()).unwrap_or(i64::MAX);
        Some(MediaTime::from_nanos(arrival.as_nanos().saturating_add(passed)))
    }
}
