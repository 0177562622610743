//! The relay's end: the real shard with the real DTLS engine, and what its calls cost. And its clients, which panic at
//! whatever it must not send.

use crate::meter::cpu;
use relay_control::{CloseTransport, Command, OpenTransport, ReplyBody};
use relay_core::dtls::DtlsFactory;
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::outbox::{Path, VecOutbox};
use relay_core::time::Time;
use relay_core::wire::rtcp::ReportBlock;
use relay_core::wire::rtp::HeaderFields;
use relay_core::{Limits, Shard, ShardConfig};
use relay_dtls::ServerFactory;
use ringvox_client::dtls::{ClientFactory, ClientOptions};
use ringvox_client::incoming::write_nack;
use ringvox_client::{CheckIntervals, Client as Transport, Credentials, Received, SLOT_BYTES};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tests::World;

const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 10_000);
/// Between checks that were not answered, and between those that keep consent.
const INTERVALS: CheckIntervals =
    CheckIntervals { connecting: Duration::from_millis(500), connected: Duration::from_millis(2_500) };
/// Octets of what signaling writes on a transport.
const LABEL_BYTES: usize = 120;

/// A client. Its address follows from its number.
pub(crate) struct Client {
    pub(crate) number: u32,
    pub(crate) transport: Transport,
}

impl Client {
    /// Where it sends from.
    pub(crate) fn path(&self) -> Path {
        let remote = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + self.number), 40_000));
        Path { remote, local: None }
    }

    pub(crate) fn tick(&mut self, now: Time) {
        self.transport.handle_timeout(now);
        assert!(!self.transport.has_ended(), "no handshake");
    }

    /// A media packet.
    pub(crate) fn media(&mut self, ssrc: Ssrc, index: u64, payload: &[u8]) -> Vec<u8> {
        let (seq, timestamp) = (SeqNo(index as u16), index as u32 * 900);
        let fields = HeaderFields { marker: true, padding: false, pt: Pt(96), seq, timestamp, ssrc };
        let keys = self.transport.keys().expect("connected");
        let mut slot = vec![0; SLOT_BYTES];
        let len = keys.rtp(&mut slot, &fields, &[], index, payload).expect("fits");
        slot.truncate(len);
        slot
    }

    /// A report on what it receives, with a NACK: what a subscriber's state grows by.
    pub(crate) fn report(&mut self, media: Ssrc, seq: SeqNo) -> Vec<u8> {
        let sender = Ssrc(0x7000_0000 + self.number);
        let block = ReportBlock { ssrc: media, ..ReportBlock::default() };
        let keys = self.transport.keys().expect("connected");
        keys.rtcp(|out| write_nack(out, sender, &[block], (media, &[seq])))
    }
}

/// See the module.
pub(crate) struct Relay {
    pub(crate) shard: Shard,
    clients: ClientFactory,
    pub(crate) now: Time,
    /// CPU time of the shard's calls.
    pub(crate) spent: Duration,
    fingerprint: [u8; 32],
}

impl Relay {
    /// `consent`: how long a client that falls silent is kept.
    pub(crate) fn new(options: &ClientOptions, consent: Duration) -> Self {
        let server = ServerFactory::new().expect("a certificate");
        let fingerprint = server.fingerprint();
        let config = ShardConfig {
            default_max_receive_bitrate_bps: 80_000_000,
            limits: Limits { consent, ..Limits::default() },
            ..World::config(0, ADDRESS)
        };
        Self {
            shard: Shard::new(config, Box::new(server), [7; 32]),
            clients: ClientFactory::new(options).expect("a certificate"),
            now: Time::from_nanos(1_000_000_000_000),
            spent: Duration::ZERO,
            fingerprint,
        }
    }

    /// A call into the shard on the relay's account, and what the shard sends.
    fn spend<T>(&mut self, call: impl FnOnce(&mut Shard, Time, &mut VecOutbox) -> T) -> (T, VecOutbox) {
        let mut outbox = VecOutbox::default();
        let start = cpu();
        let result = call(&mut self.shard, self.now, &mut outbox);
        self.spent += cpu() - start;
        (result, outbox)
    }

    fn command(&mut self, command: Command) -> ReplyBody {
        let (reply, _) = self.spend(|shard, now, outbox| ::relay::convert::obey(shard, now, command, outbox));
        assert!(!matches!(reply, ReplyBody::Error(_)), "refused: {reply:?}");
        reply
    }

    /// A client that the relay expects.
    pub(crate) fn open(&mut self, number: u32) -> Client {
        let (Command::OpenTransport(opening), _) = World::opening(number, 1) else {
            panic!("another command")
        };
        let own = Credentials::new(&opening.remote_ufrag, &opening.remote_pwd);
        let reply = self.command(Command::OpenTransport(OpenTransport {
            remote_fingerprint_sha256: self.clients.fingerprint().to_vec(),
            label: vec![b'x'; LABEL_BYTES],
            ..opening
        }));
        let ReplyBody::TransportOpened(opened) = reply else { panic!("{reply:?}") };
        let relay = Credentials::new(&opened.local_ufrag, &opened.local_pwd);
        Client { number, transport: Transport::new(&own, &relay, ADDRESS, INTERVALS) }
    }

    /// A client that publishes and has keys, and the SSRC of what it sends.
    pub(crate) fn publisher(&mut self, number: u32) -> (Client, Ssrc) {
        let mut client = self.open(number);
        let ssrc = self.publish(number);
        self.connect(&mut client);
        (client, ssrc)
    }

    /// The SSRC of what this client sends from now on.
    pub(crate) fn publish(&mut self, number: u32) -> Ssrc {
        let (command, ssrc) = World::publication(number);
        self.command(command);
        ssrc
    }

    /// The SSRC under which it receives what another publishes.
    pub(crate) fn subscribe(&mut self, number: u32, publisher: u32) -> Ssrc {
        let reply = self.command(World::subscription(number, publisher));
        let ReplyBody::DownTrackAdded(added) = reply else { panic!("{reply:?}") };
        Ssrc(added.ssrc)
    }

    pub(crate) fn close(&mut self, number: u32) {
        self.command(Command::CloseTransport(CloseTransport { transport_id: World::transport_id(number) }));
    }

    /// One turn of a worker's loop; what it sends.
    pub(crate) fn turn(&mut self, path: &Path, datagrams: &mut [Vec<u8>]) -> Vec<(Path, Vec<u8>)> {
        let ((), outbox) = self.spend(|shard, now, outbox| {
            for datagram in datagrams {
                shard.handle_datagram(now, path, datagram, outbox);
            }
            shard.forward_pending(outbox);
            if shard.poll_timeout().is_some_and(|due| due <= now) {
                shard.handle_timeout(now, outbox);
            }
        });
        outbox.sent
    }

    /// Nobody wants to be told what the shard has to tell.
    pub(crate) fn drop_events(&mut self) {
        while self.shard.poll_event().is_some() {}
    }

    /// Carries datagrams between a client and the relay until neither has more to say.
    pub(crate) fn talk(&mut self, client: &mut Client) {
        let path = client.path();
        loop {
            let mut datagrams = client.transport.take_datagrams();
            let due = self.shard.poll_timeout().is_some_and(|due| due <= self.now);
            if datagrams.is_empty() && !due {
                return;
            }
            let sent = self.turn(&path, &mut datagrams);
            for (_, mut bytes) in sent.into_iter().filter(|(to, _)| *to == path) {
                self.deliver(client, &mut bytes);
            }
        }
    }

    fn deliver(&self, client: &mut Client, bytes: &mut [u8]) {
        let (address, transport) = (client.path().remote, &mut client.transport);
        let received = transport.handle_datagram(self.now, bytes).expect("the relay sends nothing wrong");
        if let Received::Reachable { mapped } | Received::Consent { mapped } = received {
            assert_eq!(mapped, address, "the relay says where a check came from");
        }
        if let Received::Reachable { .. } = received {
            // Not earlier: memory of its own is not what is measured.
            transport.begin_handshake(Box::new(self.clients.connect(self.now, Some(self.fingerprint))));
        }
    }

    /// A full join: check, handshake, keys.
    pub(crate) fn connect(&mut self, client: &mut Client) {
        client.tick(self.now);
        self.talk(client);
        assert!(client.transport.is_connected(), "client {} has no keys", client.number);
        self.drop_events();
    }
}
