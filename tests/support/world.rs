//! One shard, many peers, one clock.

use crate::dtls::{CarefulFactory, Factory};
use crate::net::{Link, Net};
use crate::peer::{PT, Peer, RTX_PT};
use relay::convert;
use relay_control::{
    AddDownTrack, AddUpTrack, Codec, Command, EventBody, ExtensionIds, FailReason, MediaKind, OpenTransport,
    ReplyBody, RestartIce, RtpParameters, TransportInfo, TransportState,
};
use relay_core::dtls::{DtlsFactory, Fingerprint};
use relay_core::id::Ssrc;
use relay_core::outbox::{Path, VecOutbox};
use relay_core::srtp::SrtpProfile;
use relay_core::stats::{Count, Counters, DropReason, Ledger};
use relay_core::time::{NtpClock, Time};
use relay_core::wire::{Protocol, classify};
use relay_core::{Limits, Shard, ShardConfig};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

/// Datagrams that somebody who listens remembers.
const OVERHEARD_MAX: usize = 256;

/// Where the simulated relay listens.
pub const RELAY: &str = "198.51.100.1:10000";

pub struct World {
    pub now: Time,
    pub shard: Shard,
    /// The fake network.
    pub net: Net,
    pub peers: Vec<Peer>,
    /// Events of the shard, with their times.
    pub events: Vec<(Time, EventBody)>,
    /// Datagrams the relay sent to each address.
    pub sent_to: HashMap<SocketAddr, u64>,
    /// Octets on each path.
    pub traffic: HashMap<Path, Traffic>,
    /// The last datagrams that reached the relay, with their paths, for tests that eavesdrop.
    pub overheard: VecDeque<(Path, Vec<u8>)>,
    /// How many there were in all, those that are not remembered any more included.
    pub overheard_ever: usize,
    profile: SrtpProfile,
    /// Which packets left under which numbers: address, SSRC, sequence number and timestamp → the hash of all
    /// octets.
    egress: HashMap<(SocketAddr, u32, u16, u32), u64>,
    /// Those that left once more.
    pub repeated: u64,
    relay: SocketAddr,
}

/// The negotiated numbers all fake peers share.
#[must_use]
pub fn video_parameters() -> RtpParameters {
    RtpParameters {
        kind: MediaKind::Video.into(),
        codec: Codec::Vp8.into(),
        clock_rate_hz: 90_000,
        payload_type: PT.0.into(),
        rtx_payload_type: Some(RTX_PT.0.into()),
        mid: "0".into(),
        extensions: ExtensionIds { mid: 1, ..ExtensionIds::default() },
        nack: true,
        pli: true,
        fir: true,
        remb: true,
        transport_cc: false,
    }
}

/// Octets on one path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// To the relay.
    pub received: u64,
    /// From it.
    pub sent: u64,
    /// Media among `sent`.
    pub media: u64,
}

impl World {
    /// An empty shard and a network without loss.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_profile(seed, SrtpProfile::AeadAes128Gcm)
    }

    /// The same for another SRTP profile.
    #[must_use]
    pub fn with_profile(seed: u64, profile: SrtpProfile) -> Self {
        Self::with_engines(seed, profile, Box::new(Factory(profile)))
    }

    /// One in which nobody ends a handshake who does not read what the relay sends.
    #[must_use]
    pub fn careful(seed: u64) -> Self {
        let profile = SrtpProfile::AeadAes128Gcm;
        Self::with_engines(seed, profile, Box::new(CarefulFactory(profile)))
    }

    fn with_engines(seed: u64, profile: SrtpProfile, engines: Box<dyn DtlsFactory>) -> Self {
        let relay: SocketAddr = RELAY.parse().expect("an address");
        let config = Self::config(0, relay);
        let mut bytes = [0x57; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Self {
            now: Time::from_nanos(1_000_000_000_000),
            shard: Shard::new(config, engines, bytes),
            net: Net::new(Link::GOOD, seed),
            peers: Vec::new(),
            events: Vec::new(),
            sent_to: HashMap::new(),
            traffic: HashMap::new(),
            overheard: VecDeque::new(),
            overheard_ever: 0,
            profile,
            egress: HashMap::new(),
            repeated: 0,
            relay,
        }
    }

    /// The configuration of a shard.
    #[must_use]
    pub fn config(shard: u32, address: SocketAddr) -> ShardConfig {
        ShardConfig {
            shard,
            candidates: vec![address],
            ntp: NtpClock { ntp_at_zero: 3_900_000_000 << 32 },
            default_max_receive_bitrate_bps: 8_000_000,
            four_lanes: true,
            limits: Limits::default(),
        }
    }

    /// Sends a command, which must not be refused.
    pub fn command(&mut self, command: Command) -> ReplyBody {
        let reply = self.try_command(command);
        assert!(!matches!(reply, ReplyBody::Error(_)), "refused: {reply:?}");
        reply
    }

    pub fn try_command(&mut self, command: Command) -> ReplyBody {
        let mut outbox = VecOutbox::default();
        let reply = convert::obey(&mut self.shard, self.now, command, &mut outbox);
        self.carry(outbox);
        reply
    }

    /// What runs, as a controller reads it.
    #[must_use]
    pub fn inventory(&self) -> Vec<TransportInfo> {
        convert::inventory(&self.shard)
    }

    /// The controller's id of a peer's transport.
    #[must_use]
    pub fn transport_id(peer: u32) -> u64 {
        1_000_000 + u64::from(peer)
    }

    /// The controller's id of a peer's up-track.
    #[must_use]
    pub fn up_track_id(peer: u32) -> u64 {
        2_000_000 + u64::from(peer)
    }

    /// Opens a transport for a new client in a room; returns the client's index.
    pub fn join(&mut self, room: u64) -> u32 {
        let index = u32::try_from(self.peers.len()).expect("few");
        let (command, fingerprint) = Self::opening(index, room);
        let ReplyBody::TransportOpened(opened) = self.command(command) else { panic!("not opened") };
        self.peers.push(Peer::new(index, room, fingerprint, self.profile, &opened));
        index
    }

    /// The same for one of whom these fingerprints are announced, given its own.
    pub fn join_announced(&mut self, room: u64, announce: impl Fn(Fingerprint) -> Vec<Fingerprint>) -> u32 {
        let index = u32::try_from(self.peers.len()).expect("few");
        let (Command::OpenTransport(mut open), own) = Self::opening(index, room) else { unreachable!() };
        let mut all = announce(own).into_iter().map(Vec::from);
        open.remote_fingerprint_sha256 = all.next().expect("at least one");
        open.more_fingerprints_sha256 = all.collect();
        let ReplyBody::TransportOpened(opened) = self.command(Command::OpenTransport(open)) else {
            panic!("not opened")
        };
        self.peers.push(Peer::new(index, room, own, self.profile, &opened));
        index
    }

    /// The same for one that is the passive side of DTLS.
    pub fn join_passive(&mut self, room: u64) -> u32 {
        let index = u32::try_from(self.peers.len()).expect("few");
        let (Command::OpenTransport(open), fingerprint) = Self::opening(index, room) else { unreachable!() };
        let command = Command::OpenTransport(OpenTransport { dtls_client: true, ..open });
        let ReplyBody::TransportOpened(opened) = self.command(command) else { panic!("not opened") };
        let mut peer = Peer::new(index, room, fingerprint, self.profile, &opened);
        peer.wait_for_hello();
        self.peers.push(peer);
        index
    }

    /// The command for it, and the client's certificate.
    #[must_use]
    pub fn opening(index: u32, room: u64) -> (Command, Fingerprint) {
        let mut fingerprint = [0; 32];
        fingerprint[..4].copy_from_slice(&index.to_be_bytes());
        let command = Command::OpenTransport(OpenTransport {
            transport_id: Self::transport_id(index),
            room_id: room,
            remote_ufrag: Peer::ufrag(index),
            remote_pwd: Peer::PASSWORD.into(),
            remote_fingerprint_sha256: fingerprint.to_vec(),
            more_fingerprints_sha256: Vec::new(),
            label: b"label".to_vec(),
            max_receive_bitrate_bps: 0,
            dtls_client: false,
        });
        (command, fingerprint)
    }

    /// A peer begins to publish; its packets are numbered from `first_index`.
    pub fn publish(&mut self, peer: u32, first_index: u64) {
        let (command, ssrc) = Self::publication(peer);
        self.command(command);
        self.peers[peer as usize].publish(ssrc, first_index);
    }

    /// The command for it, and the SSRC that it names.
    #[must_use]
    pub fn publication(peer: u32) -> (Command, Ssrc) {
        let ssrc = Ssrc(0x1000_0000 + peer * 16);
        let command = Command::AddUpTrack(AddUpTrack {
            transport_id: Self::transport_id(peer),
            track_id: Self::up_track_id(peer),
            rtp: video_parameters(),
            ssrc: ssrc.0,
            rtx_ssrc: ssrc.0 + 1,
            ..AddUpTrack::default()
        });
        (command, ssrc)
    }

    /// A peer subscribes to another's track; the SSRC it will get it under.
    pub fn subscribe(&mut self, peer: u32, publisher: u32) -> Ssrc {
        let reply = self.command(Self::subscription(peer, publisher));
        let ReplyBody::DownTrackAdded(added) = reply else { panic!("{reply:?}") };
        self.peers[peer as usize].receives(&added)
    }

    /// The command that subscribes a peer.
    #[must_use]
    pub fn subscription(peer: u32, publisher: u32) -> Command {
        Command::AddDownTrack(AddDownTrack {
            transport_id: Self::transport_id(peer),
            track_id: 3_000_000 + u64::from(peer) * 1_000 + u64::from(publisher),
            up_track_id: Self::up_track_id(publisher),
            rtp: video_parameters(),
            cname: format!("peer{publisher}"),
        })
    }

    pub fn restart_ice(&mut self, peer: u32) {
        self.restart_ice_as(peer, format!("again{peer:08}"));
    }

    /// The same with a ufrag of the peer's choice.
    pub fn restart_ice_as(&mut self, peer: u32, own: String) {
        let reply = self.command(Command::RestartIce(RestartIce {
            transport_id: Self::transport_id(peer),
            remote_ufrag: own.clone(),
            remote_pwd: Peer::SECOND_PASSWORD.into(),
        }));
        let ReplyBody::TransportOpened(opened) = reply else { panic!("{reply:?}") };
        self.peers[peer as usize].restart_ice(&opened, &own);
    }

    /// Advances the clock, and delivers and handles all that is due.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timer = self.shard.poll_timeout().unwrap_or(Time::MAX);
            let peers = self.peers.iter().map(Peer::next).min().unwrap_or(Time::MAX);
            let next = timer.min(peers).min(self.net.next().unwrap_or(Time::MAX)).max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.now;
        for peer in self.peers.iter_mut().filter(|p| p.next() <= now) {
            peer.tick(now);
            for bytes in peer.take_out() {
                self.net.send(now, peer.address, peer.relay(), &bytes);
            }
        }
        let mut outbox = VecOutbox::default();
        while let Some(mut in_flight) = self.net.deliver(now) {
            if in_flight.to == self.relay {
                let path = Path { remote: in_flight.from, local: None };
                self.traffic.entry(path).or_default().received += in_flight.bytes.len() as u64;
                if self.overheard.len() == OVERHEARD_MAX {
                    self.overheard.pop_front();
                }
                self.overheard.push_back((path, in_flight.bytes.clone()));
                self.overheard_ever += 1;
                self.shard.handle_datagram(now, &path, &mut in_flight.bytes, &mut outbox);
            } else if let Some(peer) = self.peers.iter_mut().find(|p| p.address == in_flight.to && p.alive) {
                peer.receive(now, &mut in_flight.bytes);
                for bytes in peer.take_out() {
                    self.net.send(now, peer.address, peer.relay(), &bytes);
                }
            }
        }
        self.shard.handle_timeout(now, &mut outbox);
        self.carry(outbox);
    }

    /// The end of a worker's turn: what is due happens.
    pub fn turn(&mut self) {
        let mut outbox = VecOutbox::default();
        self.shard.handle_timeout(self.now, &mut outbox);
        self.carry(outbox);
    }

    /// Sends raw octets to the relay from any address.
    pub fn inject(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.inject_along(Path { remote: from, local: None }, bytes);
    }

    /// Injects a datagram along a path, to any of the relay's addresses.
    pub fn inject_along(&mut self, path: Path, bytes: &[u8]) {
        let mut outbox = VecOutbox::default();
        self.traffic.entry(path).or_default().received += bytes.len() as u64;
        self.shard.handle_datagram(self.now, &path, &mut bytes.to_vec(), &mut outbox);
        self.shard.forward_pending(&mut outbox);
        self.carry(outbox);
    }

    /// What went along the path between an address and the relay.
    #[must_use]
    pub fn traffic(&self, remote: SocketAddr) -> Traffic {
        self.traffic.get(&Path { remote, local: None }).copied().unwrap_or_default()
    }

    fn carry(&mut self, outbox: VecOutbox) {
        for (path, bytes) in outbox.sent {
            if classify(&bytes) == Some(Protocol::Rtp) {
                self.check_egress(path.remote, &bytes);
            }
            *self.sent_to.entry(path.remote).or_default() += 1;
            let traffic = self.traffic.entry(path).or_default();
            traffic.sent += bytes.len() as u64;
            if matches!(classify(&bytes), Some(Protocol::Rtp | Protocol::Rtcp)) {
                traffic.media += bytes.len() as u64;
            }
            self.net.send(self.now, self.relay, path.remote, &bytes);
        }
        while let Some(event) = self.shard.poll_event() {
            self.events.push((self.now, convert::event_body(event)));
        }
    }

    /// Invariant 5: one (key, SSRC, sequence number, roll-over) is used for one packet, the very octets of
    /// which may be sent again. The peer's address stands for its key; a run is too short for the roll-over
    /// to come round twice, so the header's timestamp tells rounds apart.
    fn check_egress(&mut self, to: SocketAddr, bytes: &[u8]) {
        let field = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four octets"));
        let seq = u16::from_be_bytes([bytes[2], bytes[3]]);
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(before) = self.egress.insert((to, field(8), seq, field(4)), hash) {
            assert_eq!(before, hash, "index used twice towards {to}");
            self.repeated += 1;
        }
    }

    /// All ledgers balance (invariant 3): nothing is unexplained. And the shard's tables agree.
    pub fn assert_ledger(&self) {
        assert_eq!(self.shard.check_invariants(), Ok(()));
        Self::assert_ledger_of(self.shard.counters(), self.sent_to.values().sum());
    }

    /// The same for any shard that has sent so many datagrams.
    pub fn assert_ledger_of(c: &Counters, datagrams: u64) {
        let dropped = |ledger| -> u64 {
            DropReason::ALL.iter().filter(|d| d.ledger() == ledger).map(|d| c.dropped(*d)).sum()
        };
        let consumed: u64 =
            [Count::RxStun, Count::RxDtls, Count::RxRtp, Count::RxRtcp].iter().map(|w| c.get(*w)).sum();
        assert_eq!(c.get(Count::RxDatagrams), consumed + dropped(Ledger::Datagram), "received");
        assert_eq!(c.get(Count::FanOut), c.get(Count::TxRtp) + dropped(Ledger::Egress), "fanned out");
        let sent: u64 = [Count::TxStun, Count::TxDtls, Count::TxRtp, Count::TxRtx, Count::TxRtcp]
            .iter()
            .map(|w| c.get(*w))
            .sum();
        assert_eq!(c.get(Count::TxDatagrams), sent, "sent");
        assert_eq!(c.get(Count::TxDatagrams), datagrams, "sent");
        assert_eq!(
            c.get(Count::PipeOffered),
            c.get(Count::PipeSent) + dropped(Ledger::PipeOut),
            "to other shards"
        );
        assert_eq!(
            c.get(Count::PipeReceived),
            c.get(Count::PipeAccepted) + dropped(Ledger::PipeIn),
            "from other shards"
        );
    }

    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.shard.counters().dropped(reason)
    }

    /// Whether a peer's transport came to this end.
    #[must_use]
    pub fn failed(&self, peer: u32, why: FailReason) -> Option<Time> {
        self.events.iter().find_map(|(at, event)| match event {
            EventBody::TransportState(s)
                if s.transport_id == Self::transport_id(peer)
                    && s.state() == TransportState::Failed
                    && s.reason() == why =>
            {
                Some(*at)
            }
            _ => None,
        })
    }
}
