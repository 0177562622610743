//! A real worker on its thread, with real sockets, and a DTLS engine that panics.

mod common;

use common::client::check;
use common::{eventually, open};
use relay::clock::Clock;
use relay::driver::ShardDriver;
use relay::mailbox::{ControlEnd, FromShard, Notifier, ToShard, mailbox};
use relay::overload::OverloadControl;
use relay::worker::Worker;
use relay_control::{Command, EventBody, GetStats, ReplyBody, TransportOpened, TransportState};
use relay_core::config::{Limits, ShardConfig};
use relay_core::dtls::{DtlsEngine, DtlsFactory, Fingerprint, Fingerprints};
use relay_core::time::Time;
use relay_core::{Shard, stats::Count};
use relay_io::{Backend, Io, IoOptions};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// A factory whose engines panic.
struct Panics;

impl DtlsFactory for Panics {
    fn accept(&mut self, _: Time, _: Fingerprints) -> Box<dyn DtlsEngine> {
        panic!("a panic that the test wanted");
    }

    fn connect(&mut self, _: Time, _: Fingerprints) -> Box<dyn DtlsEngine> {
        panic!("a panic that the test wanted");
    }

    fn fingerprint(&self) -> Fingerprint {
        [0; 32]
    }
}

/// The body of a worker thread; it reports its mailbox.
fn live(stop: Arc<AtomicBool>, report: &mpsc::Sender<(ControlEnd, SocketAddr)>) {
    let clock = Clock::start();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    drop(socket);
    let socket = relay_io::socket::bind(&relay_io::socket::SocketOptions::new(address)).expect("bound again");
    let io = Io::new(Backend::Mmsg, vec![socket], &IoOptions::default()).expect("a back end");
    let config = ShardConfig {
        shard: 0,
        candidates: vec![address],
        ntp: clock.ntp(),
        default_max_receive_bitrate_bps: 1_000_000,
        four_lanes: false,
        limits: Limits::default(),
    };
    let shard = Shard::new(config, Box::new(Panics), [1; 32]);
    let waker = io.waker();
    let (control, mail) = mailbox(Notifier::new().expect("a descriptor"), Arc::new(move || waker.wake()));
    let driver = ShardDriver::new(0, shard, mail, Box::new(|| [2; 32]));
    let overload = OverloadControl::new(clock.now(), Duration::ZERO);
    report.send((control, address)).expect("heard");
    Worker { driver, io, clock, overload, stop }.run().expect("ends when told to");
}

struct Ends {
    control: ControlEnd,
    said: Vec<FromShard>,
    tickets: u64,
}

impl Ends {
    fn ask(&mut self, command: Command) -> ReplyBody {
        self.tickets += 1;
        let ticket = self.tickets;
        assert!(self.control.send(ToShard::Command { ticket, command }));
        eventually("a reply", || {
            self.said.extend(self.control.receive());
            let at = self
                .said
                .iter()
                .position(|said| matches!(said, FromShard::Reply { ticket: t, .. } if *t == ticket))?;
            let FromShard::Reply { body, .. } = self.said.remove(at) else { return None };
            Some(body)
        })
    }

    fn open(&mut self, id: u64) -> TransportOpened {
        match self.ask(open(id, 1)) {
            ReplyBody::TransportOpened(opened) => opened,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until there were so many panics. No transport fails meanwhile.
    fn wait_for_panics(&mut self, count: u64) {
        eventually("a panic", || (self.count(Count::Panics) == count).then_some(()));
        self.said.extend(self.control.receive());
        let failed = |said: &FromShard| matches!(said, FromShard::Event(EventBody::TransportState(s)) if s.state() == TransportState::Failed);
        assert!(!self.said.iter().any(failed), "{count} panics ended a transport");
    }

    fn count(&mut self, what: Count) -> u64 {
        let ReplyBody::Stats(stats) = self.ask(Command::GetStats(GetStats {})) else { panic!("no stats") };
        let counter = stats.shards[0].counters.iter().find(|counter| counter.name == what.name());
        counter.expect("a counter of the shard").value
    }
}

#[test]
fn a_panic_in_a_handshake_ends_no_transport_and_the_worker_serves_on() {
    let stop = Arc::new(AtomicBool::new(false));
    let (report, reported) = mpsc::channel();
    let worker = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || live(stop, &report)
    });
    let (control, address) = reported.recv().expect("it lives");
    let mut ends = Ends { control, said: Vec::new(), tickets: 0 };
    let (victim, other) = (ends.open(1), ends.open(2));
    let peers = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
    check(&peers[0], address, &victim);
    check(&peers[1], address, &other);
    // The first octet says that it is DTLS; nobody reads further. Anybody may have sent it, as often as he
    // likes.
    for panics in 1..=20 {
        peers[0].send_to(&[22, 254, 253, 0], address).expect("sent");
        ends.wait_for_panics(panics);
    }
    // Both are there, and begin again with the next hello.
    for (peer, opened) in peers.iter().zip([&victim, &other]) {
        check(peer, address, opened);
    }
    assert_eq!(ends.count(Count::PanicTransports), 0);
    assert_eq!(ends.count(Count::PanicRestarts), 0);
    // Whoever comes next is served by the same shard.
    let next = ends.open(3);
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a port");
    check(&peer, address, &next);
    stop.store(true, Ordering::Relaxed);
    ends.control.wake();
    worker.join().expect("it did not panic");
}
