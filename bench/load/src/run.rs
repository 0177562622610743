//! One run: publishers join, then subscribers, then windows are measured.

use crate::client::Shared;
use crate::clock::Clock;
use crate::door::{Door, DoorThread, ServerCounters};
use crate::engine::{Addresses, Engine};
use crate::histogram::Histogram;
use crate::mark::Filling;
use crate::scenario::{Cast, Plan, Role};
use crate::sending::Batch;
use crate::sink::Sink;
use crate::tally::{Counts, Tally};
use crate::target::{ProcessError, Target, softirq_thread_ns};
use relay_core::time::NtpClock;
use relay_dtls::client::{ClientFactory, ClientOptions};
use std::time::Duration;

/// Everybody is connected and served within this, or the run has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Joins under way at a time.
const IN_FLIGHT_MAX: usize = 48;
/// Memory per subscriber is the growth from here on: the first ones fill tables and pools.
const MEMORY_FROM: usize = 100;

/// What a run does.
#[derive(Clone, Debug)]
pub(crate) struct RunSpec {
    pub(crate) plan: Plan,
    pub(crate) addresses: Addresses,
    /// Joins per second; 0: as fast as they succeed.
    pub(crate) ramp: u32,
    /// Time between the last join and the first window.
    pub(crate) settle: Duration,
    pub(crate) window: Duration,
    /// Windows.
    pub(crate) repeat: u32,
    /// Subscribers that join during the first window.
    pub(crate) storm: u32,
    /// Decrypt one packet in this many.
    pub(crate) check: u64,
    pub(crate) stamped: bool,
    /// Device whose ingress drops media.
    pub(crate) sink: Option<String>,
    /// Core of the server, for its softirq thread.
    pub(crate) server_core: u32,
    pub(crate) quiet: bool,
}

/// What one window brought.
#[derive(Clone)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    pub(crate) counts: Counts,
    pub(crate) latency: Histogram,
    pub(crate) lateness: Histogram,
    /// CPU time of the server.
    pub(crate) cpu_ns: u64,
    /// Of the process beside it, if there is one.
    pub(crate) beside_cpu_ns: Option<u64>,
    /// Of the softirq thread on its core.
    pub(crate) softirq_ns: u64,
    /// CPU time of the generator.
    pub(crate) own_cpu_ns: u64,
    /// Packets that the sink saw.
    pub(crate) sunk: Option<u64>,
    /// Increase of the server's counters.
    pub(crate) server: ServerCounters,
}

impl Window {
    /// Packets that reached a subscriber, or would have.
    pub(crate) fn forwarded(&self) -> u64 {
        self.sunk.unwrap_or(self.counts.received + self.counts.recovered)
    }

    pub(crate) fn cpu_ns_per_packet(&self) -> f64 {
        self.cpu_ns as f64 / self.forwarded().max(1) as f64
    }
}

/// How joining went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Joins {
    pub(crate) count: u32,
    pub(crate) seconds: f64,
    pub(crate) cpu_ns: u64,
    /// Of the process beside the server, if there is one.
    pub(crate) beside_cpu_ns: Option<u64>,
}

/// Resident memory of the server, in octets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) at_start: u64,
    pub(crate) with_publishers: u64,
    pub(crate) at_end: u64,
    pub(crate) per_subscriber: f64,
}

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) agreed: (&'static str, &'static str, &'static str),
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) joins: Joins,
    /// Joins of the storm, if there was one.
    pub(crate) storm: Option<Joins>,
    pub(crate) memory: Memory,
    pub(crate) windows: Vec<Window>,
}

/// Runs it.
pub(crate) fn run(spec: &RunSpec, target: &Target, door: Box<dyn Door>) -> Result<Outcome, String> {
    let manners = door.manners();
    let early = Plan { one_publisher_each: manners.one_publisher_each, ..spec.plan };
    let cast = Plan { subscribers: early.subscribers + spec.storm, ..early }.cast();
    let stormers = cast.members.len() - early.cast().members.len();
    let mut runner = Runner::new(spec, target, cast, door)?;
    runner.memory.at_start = target.resident_bytes();
    let publishers = runner.indices(Role::Publisher);
    let mut subscribers = runner.indices(Role::Subscriber);
    let late = subscribers.split_off(subscribers.len() - stormers);
    runner.join(&publishers, "publishers")?;
    runner.memory.with_publishers = target.resident_bytes();
    let joins = runner.join(&subscribers, "subscribers")?;
    runner.await_media(&subscribers)?;
    runner.engine.run_for(spec.settle)?;
    let sink = runner.install_sink()?;
    let mut storm = None;
    let mut windows = Vec::new();
    for number in 0..spec.repeat {
        let storming = if number == 0 { &late[..] } else { &[] };
        let (window, joined) = runner.window(storming, sink.as_ref())?;
        runner.say(&format!("window {} of {}: {}", number + 1, spec.repeat, crate::report::line(&window)));
        windows.push(window);
        storm = storm.or(joined);
    }
    runner.memory.at_end = target.resident_bytes();
    let agreed = runner.engine.clients.iter().find_map(crate::client::Client::agreed);
    let memory = runner.memory(subscribers.len());
    drop(sink);
    runner.engine.close()?;
    Ok(Outcome {
        agreed: agreed.unwrap_or_default(),
        publishers: publishers.len(),
        subscribers: subscribers.len() + late.len(),
        joins,
        storm,
        memory,
        windows,
    })
}

struct Runner<'a> {
    spec: &'a RunSpec,
    target: &'a Target,
    engine: Engine,
    cast: Cast,
    memory: Memory,
    /// Memory when this many subscribers had joined.
    early_memory: Option<(usize, u64)>,
}

impl<'a> Runner<'a> {
    fn new(spec: &'a RunSpec, target: &'a Target, cast: Cast, door: Box<dyn Door>) -> Result<Self, String> {
        let manners = door.manners();
        let options = ClientOptions { profiles: manners.profiles, ..ClientOptions::default() };
        let one = |ip| Addresses { publishers: ip, subscribers: ip, spread: false };
        let addresses = manners.local.map_or(spec.addresses, one);
        let shared = Shared {
            clock: Clock::new(),
            ntp: NtpClock::default(),
            filling: Filling::new(),
            tally: Tally::default(),
            dtls: ClientFactory::new(&options).map_err(|why| why.to_string())?,
            check: spec.check.max(1),
            receivers: vec![0; cast.streams.len()],
            batch: Batch::default(),
            alarms: Vec::new(),
        };
        let door = DoorThread::start(door);
        let engine = Engine::new(cast.clone(), addresses, door, shared, spec.stamped)?;
        Ok(Self { spec, target, engine, cast, memory: Memory::default(), early_memory: None })
    }

    fn say(&self, words: &str) {
        if !self.spec.quiet {
            eprintln!("{words}");
        }
    }

    fn indices(&self, role: Role) -> Vec<u32> {
        let members = self.cast.members.iter().enumerate();
        members.filter(|(_, member)| member.role == role).map(|(index, _)| index as u32).collect()
    }

    /// Lets clients in, at the ramp's pace, until all are connected.
    fn join(&mut self, who: &[u32], what: &str) -> Result<Joins, String> {
        let (begun, cpu) = (self.engine.now(), Cpu::of(self.target)?);
        let pace = self.spec.ramp;
        let mut next = 0;
        let mut connected = 0;
        let target = self.target;
        let mut early = self.early_memory;
        self.engine.run_until(what, PATIENCE, |engine| {
            connected +=
                who[connected..].iter().take_while(|at| engine.clients[**at as usize].is_connected()).count();
            if connected >= MEMORY_FROM && early.is_none() {
                early = Some((connected, target.resident_bytes()));
            }
            let due = if pace == 0 {
                who.len()
            } else {
                (engine.now().since(begun).as_secs_f64() * f64::from(pace)) as usize
            };
            let allowed = due.min(who.len()).min(connected + IN_FLIGHT_MAX);
            for at in &who[next.min(allowed)..allowed] {
                // A socket that has no address cannot be: it was bound.
                let _ = engine.ask(*at);
            }
            next = next.max(allowed);
            connected == who.len()
        })?;
        self.early_memory = early;
        let seconds = self.engine.now().since(begun).as_secs_f64();
        let Cpu { measured: cpu_ns, beside: beside_cpu_ns } = cpu.since(self.target)?;
        let joins = Joins { count: who.len() as u32, seconds, cpu_ns, beside_cpu_ns };
        self.say(&format!("{} {what} joined within {seconds:.2} s", who.len()));
        Ok(joins)
    }

    /// Waits until every subscriber got something of each stream.
    fn await_media(&mut self, who: &[u32]) -> Result<(), String> {
        let mut served = 0;
        self.engine.run_until("media at every subscriber", PATIENCE, |engine| {
            served += who[served..].iter().take_while(|at| engine.clients[**at as usize].is_served()).count();
            served == who.len()
        })
    }

    fn install_sink(&self) -> Result<Option<Sink>, String> {
        let install = |device: &String| Sink::install(device, self.spec.addresses.subscribers);
        self.spec.sink.as_ref().map(install).transpose()
    }

    fn window(&mut self, storming: &[u32], sink: Option<&Sink>) -> Result<(Window, Option<Joins>), String> {
        for at in storming {
            self.engine.clients[*at as usize].timed = false;
        }
        let server = self.engine.server_counters()?;
        let tally = &mut self.engine.shared.tally;
        (tally.latency, tally.lateness) = (Histogram::default(), Histogram::default());
        let (counts, begun) = (tally.counts, self.engine.now());
        let sunk = sink.map(Sink::packets).transpose()?;
        let cpu = Cpu::of(self.target)?;
        let (softirq, own) = (softirq_thread_ns(self.spec.server_core), own_cpu_ns());
        let joined = if storming.is_empty() { None } else { Some(self.join(storming, "latecomers")?) };
        self.engine.run_for(self.spec.window.saturating_sub(self.engine.now().since(begun)))?;
        let Cpu { measured: cpu_ns, beside: beside_cpu_ns } = cpu.since(self.target)?;
        let (softirq_ns, own_cpu_ns) =
            (softirq_thread_ns(self.spec.server_core) - softirq, own_cpu_ns() - own);
        let sunk = sink.map(Sink::packets).transpose()?.zip(sunk).map(|(after, before)| after - before);
        let seconds = self.engine.now().since(begun).as_secs_f64();
        let tally = &self.engine.shared.tally;
        let (latency, lateness) = (tally.latency.clone(), tally.lateness.clone());
        let counts = difference(&tally.counts, &counts);
        let server = increase(self.engine.server_counters()?, &server);
        let window = Window {
            seconds,
            counts,
            latency,
            lateness,
            cpu_ns,
            beside_cpu_ns,
            softirq_ns,
            own_cpu_ns,
            sunk,
            server,
        };
        Ok((window, joined))
    }

    fn memory(&self, subscribers: usize) -> Memory {
        let (from, octets) = match self.early_memory {
            Some((count, octets)) if subscribers > 2 * count => (count, octets),
            _ => (0, self.memory.with_publishers),
        };
        let growth = self.memory.at_end.saturating_sub(octets) as f64;
        Memory { per_subscriber: growth / (subscribers - from).max(1) as f64, ..self.memory }
    }
}

/// CPU time of a target's processes.
struct Cpu {
    measured: u64,
    beside: Option<u64>,
}

impl Cpu {
    fn of(target: &Target) -> Result<Self, String> {
        let words = |why: ProcessError| why.to_string();
        Ok(Self { measured: target.cpu_ns().map_err(words)?, beside: target.beside_cpu_ns().map_err(words)? })
    }

    /// What came on top meanwhile.
    fn since(&self, target: &Target) -> Result<Self, String> {
        let now = Self::of(target)?;
        let beside = now.beside.zip(self.beside).map(|(now, then)| now - then);
        Ok(Self { measured: now.measured - self.measured, beside })
    }
}

fn own_cpu_ns() -> u64 {
    crate::clock::cpu_ns(std::process::id()).unwrap_or(0)
}

fn difference(after: &Counts, before: &Counts) -> Counts {
    Counts {
        sent: after.sent - before.sent,
        offered: after.offered - before.offered,
        received: after.received - before.received,
        checked: after.checked - before.checked,
        recovered: after.recovered - before.recovered,
        duplicates: after.duplicates - before.duplicates,
        lost: after.lost - before.lost,
        foreign: after.foreign - before.foreign,
        corrupt: after.corrupt - before.corrupt,
        unauthentic: after.unauthentic - before.unauthentic,
        unknown_ssrc: after.unknown_ssrc - before.unknown_ssrc,
        nacked: after.nacked - before.nacked,
        keyframes_asked: after.keyframes_asked - before.keyframes_asked,
        retransmitted: after.retransmitted - before.retransmitted,
    }
}

fn increase(after: ServerCounters, before: &ServerCounters) -> ServerCounters {
    let grown = |(name, value): (String, u64)| {
        let delta = value.saturating_sub(before.get(&name).copied().unwrap_or(0));
        (delta > 0).then_some((name, delta))
    };
    after.into_iter().filter_map(grown).collect()
}
