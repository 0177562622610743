//! What a client costs in memory, with the real DTLS engine: octets that are live in the whole process,
//! BoringSSL's included, when the clients' own are freed. One test in a process of its own, for what others
//! allocate would be counted.

use relay_control::{CloseTransport, Command, OpenTransport, ReplyBody};
use relay_core::dtls::DtlsFactory;
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::outbox::{Path, VecOutbox};
use relay_core::time::Time;
use relay_core::wire::rtcp::ReportBlock;
use relay_core::wire::rtp::HeaderFields;
use relay_core::{Limits, Shard, ShardConfig};
use relay_dtls::EngineFactory;
use ringvox_client::dtls::{ClientFactory, ClientOptions, Versions};
use ringvox_client::incoming::write_nack;
use ringvox_client::{CheckIntervals, Client, Credentials, Received, SLOT_BYTES};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;
use tests::World;

/// Bounds: a transport that has keys, and one that receives a stream besides.
const IDLE_BYTES_MAX: i64 = 20_000;
const SUBSCRIBER_BYTES_MAX: i64 = 24_000;
/// What may be left of a thousand transports that have gone: tables keep their size.
const LEFT_BYTES_MAX: i64 = 64_000;

/// Population before and after the growth that is measured.
const FEW: u32 = 100;
const MANY: u32 = 600;
/// RFC 7675 §5.1; and where clients that say nothing more shall stay.
const CONSENT: Duration = Duration::from_secs(30);
const FOREVER: Duration = Duration::from_secs(1_000_000);
const INTERVALS: CheckIntervals =
    CheckIntervals { connecting: Duration::from_millis(500), connected: Duration::from_millis(2_500) };
/// Octets of what signaling writes on a transport.
const LABEL_BYTES: usize = 120;

#[test]
fn transports_stay_within_their_bounds_and_leave_nothing_behind() {
    for versions in [Versions::Only1_3, Versions::Only1_2] {
        let options = ClientOptions { versions, ..ClientOptions::default() };
        let (idle, subscriber) = (growth(&options, false), growth(&options, true));
        println!("{versions:?}: an idle transport {idle} octets, a subscriber {subscriber}");
        assert!((1_000..=IDLE_BYTES_MAX).contains(&idle), "{versions:?}, idle: {idle} octets");
        assert!((idle..=SUBSCRIBER_BYTES_MAX).contains(&subscriber), "{versions:?}: {subscriber} octets");
    }
    let left = left_behind();
    println!("left of a thousand joins and leaves: {left} octets");
    assert!(left <= LEFT_BYTES_MAX, "{left} octets are left");
}

/// Everything malloc has handed out, its own headers included; Rust's allocations are among it.
fn live_bytes() -> i64 {
    // SAFETY: mallinfo2 takes nothing, returns a plain structure and may be called at any time.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as i64
}

/// Octets that each of the clients between [`FEW`] and [`MANY`] adds.
fn growth(options: &ClientOptions, subscribe: bool) -> i64 {
    let mut relay = Relay::new(options, FOREVER);
    let mut publisher = relay.publisher();
    let mut grow = |numbers: RangeInclusive<u32>| {
        let joined = numbers.map(|number| relay.join(number, subscribe)).collect();
        relay.serve(&mut publisher, joined);
        live_bytes()
    };
    let (few, many) = (grow(1..=FEW), grow(FEW + 1..=MANY));
    (many - few) / i64::from(MANY - FEW)
}

/// Clients come and go in all the ways there are, 50 a second; what a thousand of them leave when many have
/// gone before.
fn left_behind() -> i64 {
    let mut relay = Relay::new(&ClientOptions::default(), CONSENT);
    let mut publisher = relay.publisher();
    let mut before = 0;
    for number in 1..=4_000 {
        let mut peer = relay.open(number);
        relay.subscribe(number);
        if number % 4 != 3 {
            relay.connect(&mut peer);
        }
        match number % 4 {
            0 => relay.close(number),
            1 => {
                peer.client.close();
                relay.talk(&mut peer);
            }
            // By consent, and by a check that never came.
            _ => {}
        }
        drop(peer);
        relay.now += Duration::from_millis(20);
        publisher.client.handle_timeout(relay.now);
        relay.talk(&mut publisher);
        while relay.shard.poll_event().is_some() {}
        if number == 3_000 {
            before = live_bytes();
        }
    }
    live_bytes() - before
}

/// A client, and the SSRC of what it sends or receives. Its address follows from its number.
struct Peer {
    number: u32,
    client: Client,
    ssrc: Option<Ssrc>,
}

impl Peer {
    fn path(&self) -> Path {
        let remote = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + self.number), 40_000));
        Path { remote, local: None }
    }

    /// A keyframe of one packet.
    fn keyframe(&mut self, index: u64) -> Vec<u8> {
        let (seq, timestamp) = (SeqNo(index as u16), index as u32 * 900);
        let ssrc = self.ssrc.expect("it publishes");
        let fields = HeaderFields { marker: true, padding: false, pt: Pt(96), seq, timestamp, ssrc };
        let payload = [[0x10, 0].as_slice(), &[1; 1_000]].concat();
        let keys = self.client.keys().expect("connected");
        let mut slot = vec![0; SLOT_BYTES];
        let len = keys.rtp(&mut slot, &fields, &[], index, &payload).expect("fits");
        slot.truncate(len);
        slot
    }

    /// A report on what it receives, with a NACK: what a subscriber's state grows by.
    fn report(&mut self, media: Ssrc, seq: SeqNo) -> Vec<u8> {
        let sender = Ssrc(0x7000_0000 + self.number);
        let block = ReportBlock { ssrc: media, ..ReportBlock::default() };
        let keys = self.client.keys().expect("connected");
        keys.rtcp(|out| write_nack(out, sender, &[block], (media, &[seq])))
    }
}

/// The real shard with the real DTLS engine.
struct Relay {
    shard: Shard,
    address: SocketAddr,
    clients: ClientFactory,
    now: Time,
    fingerprint: [u8; 32],
    /// Packets that the publisher has sent.
    sent: u64,
}

impl Relay {
    /// `consent`: how long a client that falls silent is kept.
    fn new(options: &ClientOptions, consent: Duration) -> Self {
        let server = EngineFactory::new().expect("a certificate");
        let fingerprint = server.fingerprint();
        let address = tests::world::RELAY.parse().expect("an address");
        let config = ShardConfig {
            default_max_receive_bitrate_bps: 80_000_000,
            limits: Limits { consent, ..Limits::default() },
            ..World::config(0, address)
        };
        Self {
            shard: Shard::new(config, Box::new(server), [7; 32]),
            address,
            clients: ClientFactory::new(options).expect("a certificate"),
            now: Time::from_nanos(1_000_000_000_000),
            fingerprint,
            sent: 0,
        }
    }

    fn command(&mut self, command: Command) -> ReplyBody {
        let reply = relay::convert::obey(&mut self.shard, self.now, command, &mut VecOutbox::default());
        assert!(!matches!(reply, ReplyBody::Error(_)), "refused: {reply:?}");
        reply
    }

    /// A client that the relay expects.
    fn open(&mut self, number: u32) -> Peer {
        let (Command::OpenTransport(opening), _) = World::opening(number, 1) else {
            panic!("another command")
        };
        let own = Credentials::new(&opening.remote_ufrag, &opening.remote_pwd);
        let reply = self.command(Command::OpenTransport(OpenTransport {
            remote_fingerprint_sha256: self.clients.fingerprint().to_vec(),
            more_fingerprints_sha256: Vec::new(),
            label: vec![b'x'; LABEL_BYTES],
            ..opening
        }));
        let ReplyBody::TransportOpened(opened) = reply else { panic!("{reply:?}") };
        let relay = Credentials::new(&opened.local_ufrag, &opened.local_pwd);
        Peer { number, client: Client::new(&own, &relay, self.address, INTERVALS), ssrc: None }
    }

    /// Number 0, which all others may subscribe to.
    fn publisher(&mut self) -> Peer {
        let mut peer = self.open(0);
        let (command, ssrc) = World::publication(0);
        self.command(command);
        self.connect(&mut peer);
        Peer { ssrc: Some(ssrc), ..peer }
    }

    fn subscribe(&mut self, number: u32) -> Ssrc {
        let reply = self.command(World::subscription(number, 0));
        let ReplyBody::DownTrackAdded(added) = reply else { panic!("{reply:?}") };
        Ssrc(added.ssrc)
    }

    fn close(&mut self, number: u32) {
        self.command(Command::CloseTransport(CloseTransport { transport_id: World::transport_id(number) }));
    }

    /// A client that has keys, and receives the publisher's stream if it is to.
    fn join(&mut self, number: u32, subscribe: bool) -> Peer {
        let mut peer = self.open(number);
        peer.ssrc = subscribe.then(|| self.subscribe(number));
        self.connect(&mut peer);
        peer.client.forget_dtls();
        self.now += Duration::from_millis(1);
        peer
    }

    /// Lets clients receive media and report on it, and forgets their own memory.
    fn serve(&mut self, publisher: &mut Peer, mut joined: Vec<Peer>) {
        let mut sent = Vec::new();
        for _ in 0..20 {
            self.now += Duration::from_millis(1);
            let keyframe = publisher.keyframe(self.sent);
            self.sent += 1;
            sent = self.turn(&publisher.path(), &mut [keyframe]);
        }
        for peer in &mut joined {
            let (Some(ssrc), path) = (peer.ssrc, peer.path()) else { continue };
            let (_, last) = sent.iter().find(|(to, _)| *to == path).expect("a subscriber is served");
            let report = peer.report(ssrc, SeqNo(u16::from_be_bytes([last[2], last[3]])));
            assert!(!self.turn(&path, &mut [report]).is_empty(), "a NACK is answered");
        }
        drop((joined, sent));
        // Until what the engines kept for a repeated last flight is not needed any more.
        self.now += Duration::from_secs(20);
        self.turn(&publisher.path(), &mut []);
        while self.shard.poll_event().is_some() {}
    }

    /// One turn of a worker's loop; what it sends.
    fn turn(&mut self, path: &Path, datagrams: &mut [Vec<u8>]) -> Vec<(Path, Vec<u8>)> {
        let mut outbox = VecOutbox::default();
        for datagram in datagrams {
            self.shard.handle_datagram(self.now, path, datagram, &mut outbox);
        }
        self.shard.forward_pending(&mut outbox);
        if self.shard.poll_timeout().is_some_and(|due| due <= self.now) {
            self.shard.handle_timeout(self.now, &mut outbox);
        }
        outbox.sent
    }

    /// Carries datagrams between a client and the relay until neither has more to say.
    fn talk(&mut self, peer: &mut Peer) {
        let path = peer.path();
        loop {
            let mut datagrams = peer.client.take_datagrams();
            let due = self.shard.poll_timeout().is_some_and(|due| due <= self.now);
            if datagrams.is_empty() && !due {
                return;
            }
            let sent = self.turn(&path, &mut datagrams);
            for (_, mut bytes) in sent.into_iter().filter(|(to, _)| *to == path) {
                let received = peer.client.handle_datagram(self.now, &mut bytes);
                if let Received::Reachable { mapped } = received.expect("the relay sends nothing wrong") {
                    assert_eq!(mapped, path.remote, "the relay says where a check came from");
                    // Not earlier: memory of its own is not what is measured.
                    let dtls = self.clients.connect(self.now, Some(self.fingerprint));
                    peer.client.begin_handshake(Box::new(dtls));
                }
            }
        }
    }

    /// A full join: check, handshake, keys.
    fn connect(&mut self, peer: &mut Peer) {
        peer.client.handle_timeout(self.now);
        self.talk(peer);
        assert!(peer.client.is_connected(), "client {} has no keys", peer.number);
        while self.shard.poll_event().is_some() {}
    }
}
