//! A server with its clients: they join, they are measured for a while, they leave. The pieces that every kind of run is made of.

use crate::args::RunArgs;
use crate::client::{Client, Shared};
use crate::clock::{Clock, cpu_ns};
use crate::door::{Door, DoorThread, ServerCounters};
use crate::engine::{Addresses, Engine};
use crate::progress::Progress;
use crate::report;
use crate::scenario::{Cast, Plan, Role};
use crate::sending::Batch;
use crate::sink::Sink;
use crate::tally::{Counts, Tally, durations};
use crate::target::{Target, softirq_thread_ns};
use hdrhistogram::Histogram;
use relay_core::time::NtpClock;
use ringvox_client::Agreed;
use ringvox_client::dtls::{ClientFactory, ClientOptions};
use ringvox_client::mark::Filling;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Everybody is connected and served within this, or the run has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Joins under way at a time.
const IN_FLIGHT_MAX: usize = 48;
/// Memory per subscriber is the growth from here on: the first ones fill tables and pools.
const MEMORY_FROM: usize = 100;
/// How often a window says how far it is.
const SAY_EVERY: Duration = Duration::from_millis(500);
/// Frames that left later than this spoil the latencies of their window: its generator was not let run.
const LATE_NS: u64 = 2_000_000;
/// As many more windows are tried when one is spoiled.
const SPOILED_MAX: u32 = 2;

/// What one window brought.
#[derive(Clone)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    pub(crate) counts: Counts,
    pub(crate) latency: Histogram<u64>,
    pub(crate) lateness: Histogram<u64>,
    /// CPU time of the server.
    pub(crate) cpu_ns: u64,
    /// Of its threads, by name.
    pub(crate) threads_cpu_ns: BTreeMap<String, u64>,
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

    pub(crate) fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.seconds
    }

    /// Cores that the server used.
    pub(crate) fn cores(&self) -> f64 {
        self.cpu_ns as f64 / self.seconds / 1e9
    }

    /// Whether the generator sent its frames so late that latencies say more of it than of the server.
    pub(crate) fn is_spoiled(&self) -> bool {
        self.lateness.value_at_quantile(0.99) > LATE_NS
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

/// How much coming and going there was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Churn {
    pub(crate) joins: Joins,
    /// Resident memory of the server, in octets, after so many joins.
    pub(crate) memory: Vec<(u32, u64)>,
    pub(crate) own_cpu_ns: u64,
    pub(crate) counts: Counts,
}

/// Resident memory of the server, in octets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) at_start: u64,
    pub(crate) with_publishers: u64,
    pub(crate) at_end: u64,
    /// `None`: there were too few, and most of the growth is of tables and pools.
    pub(crate) per_subscriber: Option<f64>,
}

/// See the module.
pub(crate) struct Session<'a> {
    spec: &'a RunArgs,
    target: &'a Target,
    engine: Engine,
    cast: Cast,
    pub(crate) publishers: Vec<u32>,
    pub(crate) subscribers: Vec<u32>,
    /// Those who join only when a window lets them.
    pub(crate) latecomers: Vec<u32>,
    pub(crate) progress: Progress,
    memory: Memory,
    /// Memory when this many subscribers had joined.
    early_memory: Option<(usize, u64)>,
    sink: Option<Sink>,
}

impl<'a> Session<'a> {
    /// Makes the clients; nobody has joined yet.
    pub(crate) fn new(spec: &'a RunArgs, target: &'a Target, door: Box<dyn Door>) -> Result<Self, String> {
        let manners = door.manners();
        let early = Plan { one_publisher_each: manners.one_publisher_each, ..spec.plan() };
        let mut cast = Plan { subscribers: early.subscribers + spec.storm, ..early }.cast();
        let of = |role| {
            let members = cast.members.iter().enumerate();
            members.filter(move |(_, member)| member.role == role).map(|(index, _)| index as u32)
        };
        let (publishers, mut subscribers): (Vec<_>, Vec<_>) =
            (of(Role::Publisher).collect(), of(Role::Subscriber).collect());
        let latecomers = subscribers.split_off(early.cast().members.len() - publishers.len());
        if spec.storm_idle {
            latecomers.iter().for_each(|at| cast.members[*at as usize].streams.clear());
        }
        let options = ClientOptions { profiles: manners.profiles, ..ClientOptions::default() };
        let one = |ip| Addresses { publishers: ip, subscribers: ip, spread: false, ..spec.addresses() };
        let addresses = manners.local.map_or(spec.addresses(), one);
        let shared = Shared {
            clock: Clock::new(),
            ntp: NtpClock::default(),
            filling: Filling::default(),
            tally: Tally::default(),
            dtls: ClientFactory::new(&options).map_err(|why| why.to_string())?,
            check: spec.check,
            receivers: vec![0; cast.streams.len()],
            batch: Batch::default(),
            alarms: Vec::new(),
        };
        let engine = Engine::new(cast.clone(), addresses, DoorThread::start(door), shared, !spec.no_stamps)?;
        let memory = Memory { at_start: target.resident_bytes(), ..Memory::default() };
        let progress = Progress::new(spec.quiet);
        Ok(Self {
            spec,
            target,
            engine,
            cast,
            publishers,
            subscribers,
            latecomers,
            progress,
            memory,
            early_memory: None,
            sink: None,
        })
    }

    /// Lets all in but the latecomers, waits until everybody is served and the sink, if there is to be one, is in place.
    pub(crate) fn fill(&mut self) -> Result<Joins, String> {
        let (publishers, subscribers) = (self.publishers.clone(), self.subscribers.clone());
        self.join(&publishers, "publishers")?;
        self.memory.with_publishers = self.target.resident_bytes();
        let joins = self.join(&subscribers, "subscribers")?;
        self.await_media(&subscribers)?;
        let install = |device: &String| Sink::install(device, self.spec.subscriber_ip);
        self.sink = self.spec.sink.as_ref().map(install).transpose()?;
        self.set_load(self.spec.load);
        self.run_for(self.spec.settle)?;
        Ok(joins)
    }

    /// Runs without measuring.
    pub(crate) fn run_for(&mut self, time: Duration) -> Result<(), String> {
        self.engine.run_for(time)
    }

    /// From now on publishers send `load` times what the plan says: as many times as often.
    pub(crate) fn set_load(&mut self, load: f64) {
        for sending in self.engine.clients.iter_mut().flat_map(|client| &mut client.sending) {
            sending.stream.shape = self.cast.streams[sending.stream.id as usize].shape.at_load(load);
        }
    }

    /// What the clients' handshakes agreed on.
    pub(crate) fn agreed(&self) -> Option<Agreed> {
        self.engine.clients.iter().find_map(Client::agreed)
    }

    /// Lets one subscriber after another leave and another come in its place, until so many have come; `every` of them memory is
    /// read. Whoever comes gets each of its streams before it leaves.
    pub(crate) fn churn(&mut self, joins: u32, every: u32) -> Result<Churn, String> {
        let (begun, cpu, own) = (self.engine.now(), Cpu::of(self.target)?, own_cpu_ns());
        let mut slots: VecDeque<u32> = self.subscribers.iter().copied().collect();
        let mut churn = Churn::default();
        let mut waiting: VecDeque<u32> = VecDeque::new();
        let target = self.target;
        while churn.joins.count < joins {
            while waiting.len() < IN_FLIGHT_MAX
                && let Some(slot) = slots.pop_front()
            {
                let fresh = self.engine.replace(slot)?;
                self.engine.ask(fresh)?;
                waiting.push_back(fresh);
            }
            let first = waiting.pop_front().ok_or("there is nobody whose place another could take")?;
            self.engine.run_until("a newcomer", PATIENCE, |engine| {
                engine.client(first).is_some_and(|client| client.is_served())
            })?;
            slots.push_back(first);
            churn.joins.count += 1;
            if churn.joins.count.is_multiple_of(every) || churn.joins.count == 1 {
                churn.memory.push((churn.joins.count, target.resident_bytes()));
                self.progress.live(&format!("{} of {joins} have come", churn.joins.count));
            }
        }
        self.subscribers = slots.into_iter().chain(waiting).collect();
        churn.joins.seconds = self.engine.now().since(begun).as_secs_f64();
        let Cpu { measured, beside } = cpu.since(self.target)?;
        (churn.joins.cpu_ns, churn.joins.beside_cpu_ns) = (measured, beside);
        churn.own_cpu_ns = own_cpu_ns() - own;
        churn.counts = self.engine.shared.tally.counts;
        Ok(churn)
    }

    /// Lets everybody go.
    pub(crate) fn close(&mut self) -> Result<(), String> {
        self.sink = None;
        self.engine.close()
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
        self.progress.say(&format!("{} {what} joined within {seconds:.2} s", who.len()));
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

    /// A window of the spec's length, tried again if the generator was not let run in it.
    ///
    /// # Errors
    /// As [`Self::window`].
    pub(crate) fn unspoiled_window(&mut self, what: &str) -> Result<Window, String> {
        let mut window = self.window(what, self.spec.window, &[])?.0;
        for _ in 0..SPOILED_MAX {
            if !window.is_spoiled() {
                break;
            }
            self.progress.say(&format!("{what}: the generator was late, once more"));
            window = self.window(what, self.spec.window, &[])?.0;
        }
        Ok(window)
    }

    /// Measures for `length`, or until all of `storming` have joined if that takes longer.
    ///
    /// # Errors
    /// Somebody lost the connection or was not let in, or the server or the sink cannot be read.
    pub(crate) fn window(
        &mut self,
        what: &str,
        length: Duration,
        storming: &[u32],
    ) -> Result<(Window, Option<Joins>), String> {
        for at in storming {
            self.engine.clients[*at as usize].timed = false;
        }
        let server = self.engine.server_counters()?;
        let tally = &mut self.engine.shared.tally;
        (tally.latency, tally.lateness) = (durations(), durations());
        let (counts, begun) = (tally.counts, self.engine.now());
        let sunk = self.sunk()?;
        let (cpu, threads) = (Cpu::of(self.target)?, self.target.thread_cpu_ns());
        let (softirq, own) = (softirq_thread_ns(self.spec.server.first_core()), own_cpu_ns());
        let joined = if storming.is_empty() { None } else { Some(self.join(storming, "latecomers")?) };
        let end = begun + length;
        while self.engine.now() < end {
            let left = end.since(self.engine.now());
            self.progress.live(&format!("{what}: {:.1} s left", left.as_secs_f64()));
            self.engine.run_for(left.min(SAY_EVERY))?;
        }
        let Cpu { measured: cpu_ns, beside: beside_cpu_ns } = cpu.since(self.target)?;
        let threads_cpu_ns = increase(self.target.thread_cpu_ns(), &threads);
        let (softirq_ns, own_cpu_ns) =
            (softirq_thread_ns(self.spec.server.first_core()) - softirq, own_cpu_ns() - own);
        let sunk = self.sunk()?.zip(sunk).map(|(after, before)| after - before);
        let seconds = self.engine.now().since(begun).as_secs_f64();
        let tally = &self.engine.shared.tally;
        let (latency, lateness) = (tally.latency.clone(), tally.lateness.clone());
        let counts = tally.counts.since(&counts);
        let server = increase(self.engine.server_counters()?, &server);
        let window = Window {
            seconds,
            counts,
            latency,
            lateness,
            cpu_ns,
            threads_cpu_ns,
            beside_cpu_ns,
            softirq_ns,
            own_cpu_ns,
            sunk,
            server,
        };
        self.progress.say(&format!("{what}: {}", report::line(&window)));
        Ok((window, joined))
    }

    fn sunk(&self) -> Result<Option<u64>, String> {
        self.sink.as_ref().map(Sink::packets).transpose()
    }

    /// What the server's memory came to.
    pub(crate) fn memory(&self) -> Memory {
        let at_end = self.target.resident_bytes();
        let count = self.subscribers.len();
        let growth = |(early, octets): (usize, u64)| {
            (count > 2 * early).then(|| at_end.saturating_sub(octets) as f64 / (count - early) as f64)
        };
        let per_subscriber = self.early_memory.and_then(growth);
        Memory { at_end, per_subscriber, ..self.memory }
    }
}

/// CPU time of a target's processes.
struct Cpu {
    measured: u64,
    beside: Option<u64>,
}

impl Cpu {
    fn of(target: &Target) -> Result<Self, String> {
        Ok(Self { measured: target.cpu_ns()?, beside: target.beside_cpu_ns()? })
    }

    /// What came on top meanwhile.
    fn since(&self, target: &Target) -> Result<Self, String> {
        let now = Self::of(target)?;
        let beside = now.beside.zip(self.beside).map(|(now, then)| now - then);
        Ok(Self { measured: now.measured - self.measured, beside })
    }
}

fn own_cpu_ns() -> u64 {
    cpu_ns(std::process::id()).unwrap_or(0)
}

/// What grew, and by how much.
fn increase(after: BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = |(name, value): (String, u64)| {
        let delta = value.saturating_sub(before.get(&name).copied().unwrap_or(0));
        (delta > 0).then_some((name, delta))
    };
    after.into_iter().filter_map(grown).collect()
}
