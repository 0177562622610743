//! What a client costs the relay's core: memory, what is left of it after many have come and gone, CPU time of a join. What a
//! storm of joins does to running streams `ringvox-load run --storm` measures.
//!
//! One process, no sockets: the real `Shard` with the real DTLS engine on one side, real ICE checks, handshakes and SRTP on
//! the other. Only the shard's calls are timed (CPU time of the thread), and memory is counted when the clients' own is freed.
//! Build it in release; figures are only comparable on one machine.
//!
//! ```text
//! ringvox-clients memory          octets per transport: not proved, idle, subscribed; growth from 100 to 2,000
//! ringvox-clients churn [JOINS]   live allocations after so many joins and leaves (100,000)
//! ringvox-clients joins [JOINS]   joins per CPU-second, by DTLS version and group (2,000)
//! ```

mod meter;
mod relay;

use meter::Heap;
use relay::{Client, Relay};
use relay_core::id::{SeqNo, Ssrc};
use relay_core::stats::Count;
use ringvox_client::dtls::{ClientOptions, Versions};
use std::ops::RangeInclusive;
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
        _ => eprintln!("ringvox-clients memory | churn [JOINS] | joins [JOINS]"),
    }
}

/// How far a client goes that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// It has a stream each way, and never sends anything: it has proved no address.
    Unproved,
    /// It has keys.
    Idle,
    /// It receives a stream.
    Subscribed,
}

fn memory() {
    for versions in [Versions::Only1_3, Versions::Only1_2] {
        let options = ClientOptions { versions, ..ClientOptions::default() };
        for extent in [Extent::Unproved, Extent::Idle, Extent::Subscribed] {
            report_growth(extent, &options);
        }
    }
}

/// Octets that each of the clients between [`FEW`] and [`MANY`] adds.
fn report_growth(extent: Extent, options: &ClientOptions) {
    let mut relay = Relay::new(options, FOREVER);
    let (mut publisher, ssrc) = relay.publisher(0);
    let mut index = 0;
    let mut grow = |numbers: RangeInclusive<u32>| {
        let joined = numbers.map(|number| join(&mut relay, number, extent)).collect();
        // A transport that is not proved does not live long enough to be served.
        if extent != Extent::Unproved {
            serve(&mut relay, (&mut publisher, ssrc, &mut index), joined);
        }
        Heap::now()
    };
    let (few, many) = (grow(1..=FEW), grow(FEW + 1..=MANY));
    let each = |all: i64| all as f64 / f64::from(MANY - FEW);
    println!(
        "{extent:?}, {:?}: {:.0} octets each, {:.0} of them Rust's in {:.1} allocations",
        options.versions,
        each(many.octets - few.octets),
        each(many.rust - few.rust),
        each(many.allocations - few.allocations)
    );
}

/// A client, and the SSRC of what it receives.
fn join(relay: &mut Relay, number: u32, extent: Extent) -> (Client, Option<Ssrc>) {
    let mut client = relay.open(number);
    if extent == Extent::Unproved {
        relay.publish(number);
        relay.subscribe(number, 0);
        return (client, None);
    }
    let ssrc = (extent == Extent::Subscribed).then(|| relay.subscribe(number, 0));
    relay.connect(&mut client);
    client.transport.forget_dtls();
    relay.now += Duration::from_millis(1);
    (client, ssrc)
}

/// Lets clients receive media and report on it, and forgets their own memory.
fn serve(
    relay: &mut Relay,
    (publisher, ssrc, index): (&mut Client, Ssrc, &mut u64),
    mut joined: Vec<(Client, Option<Ssrc>)>,
) {
    let mut sent = Vec::new();
    for _ in 0..20 {
        relay.now += Duration::from_millis(1);
        let keyframe = publisher.media(ssrc, *index, &[[0x10, 0].as_slice(), &[1; 1_000]].concat());
        *index += 1;
        sent = relay.turn(&publisher.path(), &mut [keyframe]);
    }
    for (client, ssrc) in &mut joined {
        let Some(ssrc) = *ssrc else { continue };
        let path = client.path();
        let (_, last) = sent.iter().find(|(to, _)| *to == path).expect("a subscriber is served");
        let report = client.report(ssrc, SeqNo(u16::from_be_bytes([last[2], last[3]])));
        let answer = relay.turn(&path, &mut [report]);
        assert!(!answer.is_empty(), "a NACK is answered");
    }
    drop((joined, sent));
    // Until what the engines kept for a repeated last flight is not needed any more.
    relay.now += Duration::from_secs(20);
    relay.turn(&publisher.path(), &mut []);
    relay.drop_events();
}

/// Joins and leaves in all the ways there are, and what is left of them.
fn churn(count: u32) {
    let mut relay = Relay::new(&ClientOptions::default(), CONSENT);
    let (mut publisher, _) = relay.publisher(0);
    let mut before = None;
    for number in 1..=count {
        let mut client = relay.open(number);
        relay.subscribe(number, 0);
        if number % 4 != 3 {
            relay.connect(&mut client);
        }
        match number % 4 {
            0 => relay.close(number),
            1 => {
                client.transport.close();
                relay.talk(&mut client);
            }
            // By consent, and by a check that never came.
            _ => {}
        }
        drop(client);
        // 50 joins a second, so that about 2,000 live at a time.
        relay.now += Duration::from_millis(20);
        publisher.tick(relay.now);
        relay.talk(&mut publisher);
        relay.drop_events();
        if number % 10_000 == 0 || number == count {
            let heap = Heap::now();
            let since = before.get_or_insert(heap);
            println!(
                "{number} joins: {} octets live ({:+}), {} Rust allocations ({:+}), {} transports",
                heap.octets,
                heap.octets - since.octets,
                heap.allocations,
                heap.allocations - since.allocations,
                relay.shard.transports().count()
            );
        }
    }
    println!("{:?} of the relay's CPU time, leaves included", relay.spent);
}

fn joins(count: u32) {
    for (name, versions, groups) in [
        ("DTLS 1.3, X25519MLKEM768", Versions::Only1_3, "X25519MLKEM768:X25519"),
        ("DTLS 1.3, X25519", Versions::Only1_3, "X25519"),
        ("DTLS 1.2, X25519", Versions::Only1_2, "X25519:P-256"),
    ] {
        let options = ClientOptions { versions, groups: groups.into(), ..ClientOptions::default() };
        let mut relay = Relay::new(&options, FOREVER);
        relay.publisher(0);
        let (begun, mut commands) = (relay.spent, Duration::ZERO);
        for number in 1..=count {
            let before = relay.spent;
            let mut client = relay.open(number);
            relay.subscribe(number, 0);
            commands += relay.spent - before;
            relay.connect(&mut client);
            relay.now += Duration::from_micros(100);
        }
        let all = (relay.spent - begun).as_secs_f64();
        assert_eq!(relay.shard.counters().get(Count::TransportsConnected), u64::from(count) + 1);
        println!(
            "{name}: {:.0} joins per CPU-second; {:.1} us each, {:.1} of them commands",
            f64::from(count) / all,
            all * 1e6 / f64::from(count),
            commands.as_secs_f64() * 1e6 / f64::from(count)
        );
    }
}
