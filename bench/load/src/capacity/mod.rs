//! Every figure that says what a core can do, taken in one go and written down: `make capacity`.
//!
//! Each is a run of this very program in a process of its own, with the relay on one core and the clients on another: what a
//! row shows, its command can show again. A run that fails leaves a gap and is named at the end; the others go on.

mod record;
mod runs;
mod table;

use crate::args::CapacityArgs;
use runs::{Place, Runs};
use serde_json::{Value, json};
use table::{Table, cell, number};

/// A scenario of the tables, and the flags that make it.
type Scenario = (&'static str, &'static str);

/// What people do.
const CALLS: [Scenario; 5] = [
    ("1 → 50 video", "--subscribers 50"),
    ("1 → 200 video", "--subscribers 200 --check 8"),
    ("1 → 1,000 video", "--subscribers 1000 --check 16"),
    ("10 rooms × 10 audio", "--rooms 10 --publishers 10 --subscribers 10 --mesh --media audio"),
    (
        "10 rooms × 5 audio and video",
        "--rooms 10 --publishers 5 --subscribers 5 --mesh --media both --check 4",
    ),
];

/// What the kernel sees of them: equal packets, to 200 subscribers. The same flags make the limit.
const PACKETS: [Scenario; 3] = [
    ("1200 octets, alone", "--subscribers 200 --burst 1 --burst-interval-us 1000 --packet-bytes 1200"),
    ("1200 octets, bursts of 8", "--subscribers 200 --burst 8 --burst-interval-us 4000 --packet-bytes 1200"),
    ("120 octets, alone", "--subscribers 200 --burst 1 --burst-interval-us 1000 --packet-bytes 120"),
];

/// Under rising load: name, flags, and the picture's file name.
const SWEEPS: [(&str, &str, &str); 2] = [
    ("1 → 200 video", "--subscribers 200 --heard-in 20", "load-1x200.svg"),
    (
        "10 rooms × 5 audio and video",
        "--rooms 10 --publishers 5 --subscribers 5 --mesh --media both --heard-in 10",
        "load-10x5.svg",
    ),
];

const URING: &str = "--io uring";
const MMSG: &str = "--io mmsg";
const JANUS: &str = "--peer janus";

type Measure = fn(&mut Runs<'_>) -> Table;

/// Each with the name by which it is asked for.
const TABLES: [(&str, Measure); 7] = [
    ("delivered", delivered),
    ("sink", unheard),
    ("limit", beside_the_limit),
    ("joins", joins),
    ("churn", churn),
    ("load", loads),
    ("shards", shards),
];

/// What `--only` takes.
pub(crate) fn names() -> [&'static str; TABLES.len()] {
    TABLES.map(|(name, _)| name)
}

/// Measures everything that is wanted, prints it and writes it down.
pub(crate) fn run(args: &CapacityArgs) -> Result<(), String> {
    let mut runs = Runs::new(args)?;
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    let tables: Vec<Table> =
        TABLES.iter().filter(|(name, _)| wanted(name)).map(|(_, measure)| measure(&mut runs)).collect();
    // Before anything is written: that would make the commit a changed one.
    let machine = record::machine();
    let text = record::chapter(&machine, &tables, &runs.failures);
    println!("{text}");
    if let Some(path) = &args.results {
        record::replace(path, &text)?;
    }
    if let Some(path) = &args.json {
        let all = json!({"machine": machine, "runs": runs.all});
        crate::report::write(path, &all)?;
    }
    match runs.failures.len() {
        0 => Ok(()),
        count => Err(format!("{count} of {} runs failed", runs.all.len())),
    }
}

/// Clients on the other core receive, decrypt and compare.
fn delivered(runs: &mut Runs<'_>) -> Table {
    let mut table = Table::new(
        "Delivered over loopback",
        "µs of the server's CPU time for each packet that reached a subscriber, and latency p50 / p99 in ms",
        "scenario | io_uring | recvmmsg | Janus | packets/s | io_uring, ms | Janus, ms | KB/subscriber",
    );
    for (name, flags) in CALLS {
        let mut one = |back_end| runs.run(name, Place::Loopback, &[flags, back_end]);
        let (uring, mmsg, janus) = (one(URING), one(MMSG), one(JANUS));
        let (uring, mmsg, janus) = (uring.as_ref(), mmsg.as_ref(), janus.as_ref());
        table.rows.push(vec![
            name.to_owned(),
            cell(uring, table::us),
            cell(mmsg, table::us),
            cell(janus, table::us),
            cell(uring, table::rate),
            cell(uring, table::latency),
            cell(janus, table::latency),
            cell(uring, table::memory),
        ]);
    }
    table
}

/// The same through a veth pair, discarded and counted at its far end.
fn unheard(runs: &mut Runs<'_>) -> Table {
    let mut table = Table::new(
        "Through a veth pair, discarded at its far end",
        "µs of the relay's CPU time per packet",
        "scenario | io_uring | recvmmsg | io_uring, device without segmentation",
    );
    table.rows = CALLS.iter().map(|(name, _)| vec![(*name).to_owned()]).collect();
    for (back_end, segmentation) in [(URING, true), (MMSG, true), (URING, false)] {
        for ((name, flags), row) in CALLS.iter().zip(&mut table.rows) {
            let value = runs.run(name, Place::Veth { segmentation }, &[flags, back_end]);
            row.push(cell(value.as_ref(), table::us));
        }
    }
    table
}

/// Equal packets at an equal pace, and what this machine could do at best with the same.
fn beside_the_limit(runs: &mut Runs<'_>) -> Table {
    let mut table = Table::new(
        "Beside the limit",
        "1 → 200, through the veth pair, µs per packet; the limit is cipher and sends without a relay around them, at the same pace",
        "packets | device segments | relay | limit | share of the limit | million/CPU-s | recvmmsg",
    );
    for segmentation in [true, false] {
        for (name, flags) in PACKETS {
            let place = Place::Veth { segmentation };
            let mut one = |back_end| runs.run(name, place, &[flags, back_end]);
            let (uring, mmsg) = (one(URING), one(MMSG));
            let limit = runs.limit(name, segmentation, flags);
            let limit_us =
                limit.as_ref().and_then(|value| value["limit"]["paced_ns"].as_f64()).map(|ns| ns / 1e3);
            let us = uring.as_ref().map(table::plain_us);
            let share = us.zip(limit_us).map(|(us, limit)| 100.0 * limit / us);
            table.rows.push(vec![
                name.to_owned(),
                (if segmentation { "yes" } else { "no" }).to_owned(),
                cell(uring.as_ref(), table::us),
                cell(limit_us.as_ref(), |us| format!("{us:.2}")),
                cell(share.as_ref(), |share| format!("{share:.0} %")),
                cell(us.as_ref(), |us| format!("{:.2}", 1.0 / us)),
                cell(mmsg.as_ref(), table::us),
            ]);
        }
    }
    table
}

/// A thousand clients come at once while 50 watch.
fn joins(runs: &mut Runs<'_>) -> Table {
    let mut table = Table::new(
        "Joins",
        "full ICE, DTLS and SRTP; a storm of 1,000 transports beside 1 → 50 video, which Janus gives to the thousand as well",
        "server | joins/CPU-s | of a storm | seconds | latency of the 50, p50 / p99 ms",
    );
    for (name, back_end) in [("relay, io_uring", URING), ("relay, recvmmsg", MMSG), ("Janus", JANUS)] {
        // Janus has nothing for a subscriber of no stream.
        let idle = (back_end != JANUS)
            .then(|| runs.run("joins", Place::Loopback, &["--idle --subscribers 1000", back_end]))
            .flatten();
        let storm_flags = if back_end == JANUS { "--storm 1000" } else { "--storm 1000 --storm-idle" };
        let storm = runs.run("join storm", Place::Loopback, &["--subscribers 50", storm_flags, back_end]);
        let rate =
            |joins: &Value| cell(joins["per_cpu_second"].as_f64().as_ref(), |rate| format!("{rate:.0}"));
        table.rows.push(vec![
            name.to_owned(),
            cell(idle.as_ref(), |idle| rate(&idle["joins"])),
            cell(storm.as_ref(), |storm| rate(&storm["storm"])),
            cell(storm.as_ref(), |storm| format!("{:.2}", number(&storm["storm"]["seconds"]))),
            cell(storm.as_ref(), |storm| table::latency(&storm["windows"][0])),
        ]);
    }
    table
}

/// A hundred thousand, a few at a time.
fn churn(runs: &mut Runs<'_>) -> Table {
    let mut table = Table::new(
        "Coming and going",
        "subscribers of 1 → 200 audio leave and others come, over sockets of their own; resident memory of the relay",
        "back end | joins | joins/CPU-s | after a tenth, KB | at the end, KB",
    );
    for (name, back_end) in [("io_uring", URING), ("recvmmsg", MMSG)] {
        let Some(value) = runs.churn("coming and going", &["--subscribers 200 --media audio", back_end])
        else {
            continue;
        };
        let looks = value["resident_memory"].as_array().map(Vec::as_slice).unwrap_or_default();
        let kilobytes =
            |look: Option<&Value>| cell(look, |look| table::thousands(number(&look["bytes"]) / 1e3));
        table.rows.push(vec![
            name.to_owned(),
            table::thousands(number(&value["joins"]["count"])),
            table::thousands(number(&value["joins"]["per_cpu_second"])),
            kilobytes(looks.get(looks.len() / 10)),
            kilobytes(looks.last()),
        ]);
    }
    table
}

/// Where it stops keeping up, and half of that.
fn loads(runs: &mut Runs<'_>) -> Table {
    let mut table = Table::new(
        "The most that one core bears, half of it, and twice",
        "through the veth pair, io_uring; a part of the subscribers is out of the sink's reach and tells latencies",
        "scenario | most, packets/s | µs there | cores it had there | latency at half, p50 / p99 / p99.9 ms \
         | at twice the load: forwarded, shed | audio lost",
    );
    for (name, flags, picture) in SWEEPS {
        let Some(value) = runs.sweep(name, &[flags, URING], picture) else { continue };
        let most = &value["most"];
        let points = value["points"].as_array().map(Vec::as_slice).unwrap_or_default();
        let twice = points.iter().rfind(|point| point["purpose"] == "overload").unwrap_or(&Value::Null);
        let lost_audio: f64 =
            points.iter().map(|point| number(&point["window"]["counts"]["lost_audio"])).sum();
        table.rows.push(vec![
            name.to_owned(),
            table::thousands(number(&most["forwarded_per_second"])),
            table::us(&most["window"]),
            format!("{:.2}", number(&most["server_cores"])),
            table::latency_with_tail(&value["half"]),
            format!(
                "{}, {}",
                table::thousands(number(&twice["forwarded_per_second"])),
                table::thousands(number(&twice["shed_per_second"]))
            ),
            format!("{lost_audio:.0}"),
        ]);
    }
    table
}

/// One room on two cores, one of which the clients use as well.
fn shards(runs: &mut Runs<'_>) -> Table {
    let mut table = Table::new(
        "One room on two shards",
        "1 → 400 video, ten times the usual rate, through the veth pair; the clients share a core with a shard",
        "shards | packets/s | µs per packet | CPU time of each shard, ms/s \
         | crossings per received packet | discarded between shards",
    );
    for count in ["1", "2"] {
        let flags = "--subscribers 400 --load 10 --heard-in 40 --check 4 --shards";
        let Some(value) = runs.run("1 → 400", Place::BothCores, &[flags, count, URING]) else { continue };
        let window = &value["windows"][0];
        let seconds = number(&window["seconds"]);
        let threads = window["threads_cpu_ns"].as_object().into_iter().flatten();
        let shards = threads.filter(|(name, _)| name.starts_with("shard"));
        let shares: Vec<String> =
            shards.map(|(_, ns)| format!("{:.0}", number(ns) / seconds / 1e6)).collect();
        let crossings = number(&window["server"]["pipe.offered"]) / number(&window["server"]["rx.rtp"]);
        let discarded = ["drop.pipe_full", "drop.pipe_stale"].map(|name| number(&window["server"][name]));
        table.rows.push(vec![
            count.to_owned(),
            table::rate(&value),
            table::us(&value),
            shares.join(", "),
            format!("{crossings:.2}"),
            format!("{:.0}", discarded.iter().sum::<f64>()),
        ]);
    }
    table
}
