//! What a client costs the relay: memory, CPU time of a join, and what a storm of joins does to running streams.
//!
//! One process, no sockets: the real `Shard` with the real DTLS engine on one side, real ICE checks, handshakes and SRTP on
//! the other. Only the shard's calls are timed (CPU time of the thread), and memory is counted when the clients' own is freed.
//! Build it in release; figures are only comparable on one machine.
//!
//! ```text
//! ringvox-clients memory          octets per idle transport and per subscriber, growth from 100 to 2,000
//! ringvox-clients churn [JOINS]   live allocations after so many joins and leaves (100,000)
//! ringvox-clients joins [JOINS]   joins per CPU-second, by DTLS version and group (2,000)
//! ringvox-clients storm [JOINS]   forwarding latency while so many clients join at once (2,000)
//! ```

mod client;
mod meter;
mod site;
mod storm;

use client::Client;
use meter::Heap;
use relay_core::id::{SeqNo, Ssrc};
use relay_core::media::{Event, TransportEvent};
use relay_core::stats::Count;
use ringvox_client::dtls::{ClientOptions, Versions};
use site::{STREAM, Site};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: meter::Counting = meter::Counting;

/// Population before and after the growth that is measured.
const FEW: u32 = 100;
const MANY: u32 = 2_000;
/// RFC 7675 §5.1; and where clients that say nothing more shall stay.
const CONSENT: Duration = Duration::from_secs(30);
const FOREVER: Duration = Duration::from_secs(1_000_000);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let count = arguments.next().map(|n| n.parse().expect("a number of joins"));
    match what.as_str() {
        "memory" => memory(),
        "churn" => churn(count.unwrap_or(100_000)),
        "joins" => joins(count.unwrap_or(2_000)),
        "storm" => storm::run(count.unwrap_or(2_000)),
        _ => eprintln!("ringvox-clients memory | churn [JOINS] | joins [JOINS] | storm [JOINS]"),
    }
}

fn memory() {
    for versions in [Versions::Only1_3, Versions::Only1_2] {
        let options = ClientOptions { versions, ..ClientOptions::default() };
        report_growth(&format!("idle transport, {versions:?}"), &options, false);
        report_growth(&format!("subscriber, {versions:?}"), &options, true);
    }
}

/// Octets that each of the clients between [`FEW`] and [`MANY`] adds.
fn report_growth(what: &str, options: &ClientOptions, subscribe: bool) {
    let mut site = Site::new(options, FOREVER);
    let mut publisher = site.open(0);
    site.publish(&publisher, STREAM);
    site.connect(&mut publisher);
    let mut index = 0;
    let few = populate(&mut site, &mut publisher, 1..=FEW, subscribe, &mut index);
    let many = populate(&mut site, &mut publisher, FEW + 1..=MANY, subscribe, &mut index);
    let each = |all: i64| all as f64 / f64::from(MANY - FEW);
    let (octets, rust) = (each(many.octets - few.octets), each(many.rust - few.rust));
    println!(
        "{what}: {octets:.0} octets each, {rust:.0} of them Rust's in {:.1} allocations",
        each(many.allocations - few.allocations)
    );
}

/// Lets clients join, receive media and report on it, and forgets their own memory. What lives then.
fn populate(
    site: &mut Site,
    publisher: &mut Client,
    numbers: std::ops::RangeInclusive<u32>,
    subscribe: bool,
    index: &mut u64,
) -> Heap {
    let mut joined: Vec<(Client, Option<Ssrc>)> = Vec::new();
    for number in numbers {
        let mut client = site.open(number);
        let ssrc = subscribe.then(|| site.subscribe(&client, STREAM));
        site.connect(&mut client);
        client.forget_dtls();
        joined.push((client, ssrc));
        site.now += Duration::from_millis(1);
    }
    let mut sent = Vec::new();
    for _ in 0..20 {
        site.now += Duration::from_millis(1);
        let keyframe = publisher.media(STREAM.ssrc, *index, &[[0x10, 0].as_slice(), &[1; 1_000]].concat());
        *index += 1;
        sent = site.turn(&publisher.path(), &mut [keyframe]).sent;
    }
    for (client, ssrc) in &mut joined {
        let Some(ssrc) = *ssrc else { continue };
        let path = client.path();
        let (_, last) = sent.iter().find(|(to, _)| *to == path).expect("a subscriber is served");
        let report = client.report(ssrc, SeqNo(u16::from_be_bytes([last[2], last[3]])));
        let answer = site.turn(&path, &mut [report]).sent;
        assert!(!answer.is_empty(), "a NACK is answered");
    }
    drop((joined, sent));
    // Until what the engines kept for a repeated last flight is not needed any more.
    site.now += Duration::from_secs(20);
    site.turn(&publisher.path(), &mut []);
    site.events();
    Heap::now()
}

/// Joins and leaves in all the ways there are, and what is left of them.
fn churn(count: u32) {
    let mut site = Site::new(&ClientOptions::default(), CONSENT);
    let mut publisher = site.open(0);
    site.publish(&publisher, STREAM);
    site.connect(&mut publisher);
    let mut before = None;
    for number in 1..=count {
        let mut client = site.open(number);
        site.subscribe(&client, STREAM);
        if number % 4 != 3 {
            site.connect(&mut client);
        }
        match number % 4 {
            0 => site.close(number),
            1 => {
                client.close();
                site.talk(&mut client);
            }
            // By consent, and by a check that never came.
            _ => {}
        }
        drop(client);
        // 50 joins a second, so that about 2,000 live at a time.
        site.now += Duration::from_millis(20);
        publisher.tick(site.now);
        site.talk(&mut publisher);
        site.events();
        if number % 10_000 == 0 || number == count {
            let heap = Heap::now();
            let since = before.get_or_insert(heap);
            println!(
                "{number} joins: {} octets live ({:+}), {} Rust allocations ({:+}), {} transports",
                heap.octets,
                heap.octets - since.octets,
                heap.allocations,
                heap.allocations - since.allocations,
                site.shard.transport_count()
            );
        }
    }
    println!("{:?} of the relay's CPU time, leaves included", site.spent);
}

fn joins(count: u32) {
    for (name, versions, groups) in [
        ("DTLS 1.3, X25519MLKEM768", Versions::Only1_3, "X25519MLKEM768:X25519"),
        ("DTLS 1.3, X25519", Versions::Only1_3, "X25519"),
        ("DTLS 1.2, X25519", Versions::Only1_2, "X25519:P-256"),
    ] {
        let options = ClientOptions { versions, groups: groups.into(), ..ClientOptions::default() };
        let mut site = Site::new(&options, FOREVER);
        let mut publisher = site.open(0);
        site.publish(&publisher, STREAM);
        site.connect(&mut publisher);
        site.spent = Duration::ZERO;
        let (mut commands, mut all) = (Duration::ZERO, Duration::ZERO);
        for number in 1..=count {
            let mut client = site.open(number);
            site.subscribe(&client, STREAM);
            commands += std::mem::take(&mut site.spent);
            site.connect(&mut client);
            all += std::mem::take(&mut site.spent);
            site.now += Duration::from_micros(100);
        }
        all += commands;
        assert_eq!(site.shard.counters().get(Count::TransportsConnected), u64::from(count) + 1);
        println!(
            "{name}: {:.0} joins per CPU-second; {:.1} us each, {:.1} of them commands",
            f64::from(count) / all.as_secs_f64(),
            all.as_secs_f64() * 1e6 / f64::from(count),
            commands.as_secs_f64() * 1e6 / f64::from(count)
        );
    }
}

/// Whether an event tells that a transport has keys.
const fn is_connected(event: &Event) -> bool {
    matches!(event, Event::Transport(_, TransportEvent::Connected))
}
