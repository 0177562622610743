//! A server with its clients: they join, they are measured for a while, they leave. The pieces that every kind of run is
//! made of, and the two simple kinds.

use crate::args::RunArgs;
use crate::channel::{Channel, ChannelThread, ServerCounters};
use crate::client::{Client, Shared};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::report;
use crate::scenario::Scenario;
use crate::sending::Batch;
use crate::server::{CpuTime, Server, increase};
use crate::sink::Sink;
use crate::tally::{Counts, Tally, durations};
use hdrhistogram::Histogram;
use relay_core::time::{NtpClock, Time};
use ringvox_client::dtls::{ClientFactory, ClientOptions};
use ringvox_client::mark::Filling;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// Everybody is connected and served within this, or the run has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const IN_FLIGHT_MAX: usize = 48;
/// Memory per subscriber is the growth from here on: the first ones fill tables and pools.
const MEMORY_FROM: usize = 100;
/// How often memory is read while subscribers come and go.
const CHURN_LOOKS: u32 = 20;
/// Frames that left later than this spoil the latencies of their window: its generator was not let run.
const LATE_NS: u64 = 2_000_000;
/// As many more windows are tried when one is spoiled.
const SPOILED_MAX: u32 = 2;

/// One scenario: publishers join, then subscribers, then windows are measured.
pub(crate) fn run(args: &RunArgs, server: &Server, channel: Box<dyn Channel>) -> Result<Value, String> {
    let mut run = Run::new(args, server, channel)?;
    let joins = run.fill()?;
    let (mut storm, mut windows) = (None, Vec::new());
    for number in 1..=args.repeat {
        let what = format!("window {number} of {}", args.repeat);
        windows.push(if number == 1 && !run.latecomers.is_empty() {
            let (window, joined) = run.window(&what, args.window, &run.latecomers.clone())?;
            storm = joined;
            window
        } else {
            run.unspoiled_window(&what)?
        });
    }
    let agreed = run.engine.clients.iter().find_map(Client::agreed);
    let value = json!({
        "dtls_version": agreed.map(|agreed| agreed.version),
        "dtls_group": agreed.map(|agreed| agreed.group),
        "srtp_profile": agreed.map(|agreed| agreed.profile.name()),
        "publishers": run.publishers.len(),
        "subscribers": run.subscribers.len() + run.latecomers.len(),
        "joins": joins.json(),
        "storm": storm.as_ref().map(Joins::json),
        "memory": run.memory(),
        "windows": windows.iter().map(report::window).collect::<Vec<_>>(),
        "summary": report::summary(&windows),
    });
    run.close()?;
    Ok(value)
}

/// Fills the rooms, then lets subscribers come and go.
pub(crate) fn churn(
    args: &RunArgs,
    joins: u32,
    server: &Server,
    channel: Box<dyn Channel>,
) -> Result<Value, String> {
    let mut run = Run::new(args, server, channel)?;
    run.fill()?;
    let value = run.churn(joins, (joins / CHURN_LOOKS).max(1))?;
    run.close()?;
    Ok(value)
}

#[derive(Clone)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    pub(crate) counts: Counts,
    pub(crate) latency: Histogram<u64>,
    pub(crate) lateness: Histogram<u64>,
    pub(crate) cpu: CpuTime,
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
        self.cpu.server as f64 / self.forwarded().max(1) as f64
    }

    /// Forwarding latency that this share of the packets stays below, in milliseconds.
    pub(crate) fn latency_ms(&self, share: f64) -> f64 {
        self.latency.value_at_quantile(share) as f64 / 1e6
    }

    pub(crate) fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.seconds
    }

    pub(crate) fn cores(&self) -> f64 {
        self.per_second(self.cpu.server) / 1e9
    }

    /// Whether the generator sent its frames so late that latencies say more of it than of the server.
    pub(crate) fn is_spoiled(&self) -> bool {
        self.lateness.value_at_quantile(0.99) > LATE_NS
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Joins {
    count: u32,
    seconds: f64,
    cpu: CpuTime,
}

impl Joins {
    fn json(&self) -> Value {
        json!({
            "count": self.count,
            "seconds": self.seconds,
            "per_second": f64::from(self.count) / self.seconds,
            "cpu_ns": self.cpu.server,
            "beside_cpu_ns": self.cpu.beside,
            "per_cpu_second": f64::from(self.count) * 1e9 / self.cpu.server.max(1) as f64,
        })
    }
}

pub(crate) struct Run<'a> {
    args: &'a RunArgs,
    server: &'a Server,
    pub(crate) engine: Engine,
    publishers: Vec<u32>,
    subscribers: Vec<u32>,
    /// Those who join only when a window lets them.
    latecomers: Vec<u32>,
    /// Resident memory of the server in octets: at the start, and with all publishers.
    early_memory: (u64, u64),
    /// The same when this many subscribers had joined.
    memory_with: Option<(usize, u64)>,
    sink: Option<Sink>,
}

impl<'a> Run<'a> {
    /// Makes the clients; nobody has joined yet.
    pub(crate) fn new(
        args: &'a RunArgs,
        server: &'a Server,
        channel: Box<dyn Channel>,
    ) -> Result<Self, String> {
        let demands = channel.demands();
        let scenario = Scenario::new(args, demands.one_publisher_each);
        let groups = args.dtls_groups.clone().unwrap_or(ClientOptions::default().groups);
        let options = ClientOptions { profiles: demands.profiles, versions: args.dtls, groups };
        let shared = Shared {
            clock: Clock::new(),
            ntp: NtpClock::default(),
            filling: Filling::default(),
            tally: Tally::default(),
            dtls: ClientFactory::new(&options).map_err(|why| why.to_string())?,
            check: args.check,
            receivers: vec![0; scenario.streams.len()],
            batch: Batch::default(),
            alarms: Vec::new(),
        };
        Ok(Self {
            args,
            server,
            publishers: scenario.ids(|member| member.publishes),
            subscribers: scenario.ids(|member| !member.publishes && !member.is_late),
            latecomers: scenario.ids(|member| member.is_late),
            engine: Engine::new(scenario, args, demands.local, ChannelThread::start(channel), shared)?,
            early_memory: (server.measured.resident_bytes(), 0),
            memory_with: None,
            sink: None,
        })
    }

    /// Lets all in but the latecomers, waits until everybody is served and the sink, if there is to be one, is in place.
    pub(crate) fn fill(&mut self) -> Result<Joins, String> {
        let (publishers, subscribers) = (self.publishers.clone(), self.subscribers.clone());
        self.join(&publishers, "publishers")?;
        self.early_memory.1 = self.server.measured.resident_bytes();
        let joins = self.join(&subscribers, "subscribers")?;
        self.await_media(&subscribers)?;
        let install = |device: &String| Sink::install(device, self.args.subscriber_ip);
        self.sink = self.args.sink.as_ref().map(install).transpose()?;
        self.engine.set_load(self.args.load);
        self.engine.run_for(self.args.settle)?;
        Ok(joins)
    }

    /// Lets one subscriber after another leave and another come in its place, until so many have come; `every` of them memory is
    /// read. Whoever comes gets each of its streams before it leaves.
    fn churn(&mut self, joins: u32, every: u32) -> Result<Value, String> {
        let (begun, cpu) = (self.engine.now(), self.cpu()?);
        let mut places: VecDeque<u32> = self.subscribers.iter().copied().collect();
        let mut waiting: VecDeque<u32> = VecDeque::new();
        let mut memory = Vec::new();
        for count in 1..=joins {
            while waiting.len() < IN_FLIGHT_MAX
                && let Some(place) = places.pop_front()
            {
                let newcomer = self.engine.replace(place)?;
                self.engine.ask(newcomer)?;
                waiting.push_back(newcomer);
            }
            let first = waiting.pop_front().ok_or("there is nobody whose place another could take")?;
            self.engine.run_until("a newcomer", PATIENCE, |engine| {
                engine.client(first).is_some_and(|client| client.is_served())
            })?;
            places.push_back(first);
            if count.is_multiple_of(every) || count == 1 {
                memory.push(json!({"joins": count, "bytes": self.server.measured.resident_bytes()}));
                self.say(&format!("{count} of {joins} have come"));
            }
        }
        let joins = Joins { count: joins, seconds: self.seconds_since(begun), cpu: self.cpu()?.since(&cpu) };
        Ok(json!({
            "joins": joins.json(),
            "resident_memory": memory,
            "generator_cpu_ns": joins.cpu.own,
            "counts": self.engine.shared.tally.counts.json(),
        }))
    }

    pub(crate) fn close(&mut self) -> Result<(), String> {
        self.sink = None;
        self.engine.close()
    }

    /// Lets clients in, at the ramp's pace, until all are connected.
    fn join(&mut self, who: &[u32], what: &str) -> Result<Joins, String> {
        let (begun, cpu) = (self.engine.now(), self.cpu()?);
        let (pace, server) = (f64::from(self.args.ramp), self.server);
        let (mut asked, mut connected) = (0, 0);
        let mut memory_with = self.memory_with;
        self.engine.run_until(what, PATIENCE, |engine| {
            connected +=
                who[connected..].iter().take_while(|at| engine.clients[**at as usize].is_connected()).count();
            if connected >= MEMORY_FROM && memory_with.is_none() {
                memory_with = Some((connected, server.measured.resident_bytes()));
            }
            let due = (engine.now().since(begun).as_secs_f64() * pace) as usize;
            let due = if pace == 0.0 { who.len() } else { due };
            let allowed = due.min(who.len()).min(connected + IN_FLIGHT_MAX);
            for at in &who[asked.min(allowed)..allowed] {
                // A socket that has no address cannot be: it was bound.
                let _ = engine.ask(*at);
            }
            asked = asked.max(allowed);
            connected == who.len()
        })?;
        self.memory_with = memory_with;
        let (count, seconds) = (who.len() as u32, self.seconds_since(begun));
        self.say(&format!("{count} {what} joined within {seconds:.2} s"));
        Ok(Joins { count, seconds, cpu: self.cpu()?.since(&cpu) })
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
    pub(crate) fn unspoiled_window(&mut self, what: &str) -> Result<Window, String> {
        let mut window = self.window(what, self.args.window, &[])?.0;
        for _ in 0..SPOILED_MAX {
            if !window.is_spoiled() {
                break;
            }
            self.say(&format!("{what}: the generator was late, once more"));
            window = self.window(what, self.args.window, &[])?.0;
        }
        Ok(window)
    }

    /// Measures for `length`, or until all of `storming` have joined if that takes longer.
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
        let (sunk, cpu) = (self.sunk()?, self.cpu()?);
        let joined = if storming.is_empty() { None } else { Some(self.join(storming, "latecomers")?) };
        let end = begun + length;
        self.engine.run_for(end.since(self.engine.now()))?;
        let cpu = self.cpu()?.since(&cpu);
        let sunk = self.sunk()?.zip(sunk).map(|(after, before)| after - before);
        let seconds = self.seconds_since(begun);
        let tally = &self.engine.shared.tally;
        let (latency, lateness) = (tally.latency.clone(), tally.lateness.clone());
        let counts = tally.counts.since(&counts);
        let server = increase(self.engine.server_counters()?, &server);
        let window = Window { seconds, counts, latency, lateness, cpu, sunk, server };
        self.say(&format!("{what}: {}", report::line(&window)));
        Ok((window, joined))
    }

    /// What a person at a terminal wants to know.
    fn say(&self, words: &str) {
        if !self.args.quiet {
            eprintln!("{words}");
        }
    }

    fn sunk(&self) -> Result<Option<u64>, String> {
        self.sink.as_ref().map(Sink::packets).transpose()
    }

    fn cpu(&self) -> Result<CpuTime, String> {
        CpuTime::now(self.server, self.args.server.first_core())
    }

    fn seconds_since(&self, begun: Time) -> f64 {
        self.engine.now().since(begun).as_secs_f64()
    }

    /// What the server's resident memory came to. For each subscriber only if there were many: most of the growth is of tables
    /// and pools at first.
    fn memory(&self) -> Value {
        let (at_start, with_publishers) = self.early_memory;
        let at_end = self.server.measured.resident_bytes();
        let count = self.subscribers.len();
        let per_subscriber = self
            .memory_with
            .filter(|(early, _)| count > 2 * early)
            .map(|(early, octets)| at_end.saturating_sub(octets) as f64 / (count - early) as f64);
        json!({
            "at_start_bytes": at_start,
            "with_publishers_bytes": with_publishers,
            "at_end_bytes": at_end,
            "per_subscriber_bytes": per_subscriber,
        })
    }
}
