//! The fan-out: packets of one up-track to all of its subscribers, one cipher pass each from the shared plaintext.
//!
//! Packets that came in one batch are forwarded together, subscriber by subscriber: a subscriber's packets are written
//! back to back, so that those of equal size leave as one send, and its state and keys are fetched once for all of them.
//! Subscribers are served in groups of [`LANES`], which is how many keys one pass of the cipher can serve.
//!
//! Invariants
//! - A packet is read from the history and sealed straight into its place in the send memory; nothing is allocated.
//! - Packets keep the order in which they were accepted.
//! - Every packet offered to a subscriber is sent or counted under a [`DropReason`] of `Ledger::Egress`.

use crate::down::PREFIX_BYTES_MAX;
use crate::id::Ssrc;
use crate::keys::{DownKey, LayerKey};
use crate::outbox::{DATAGRAM_BYTES_MAX, LENT_BYTES_MAX, Outbox, Path, Run};
use crate::srtp::{RTP_OVERHEAD_MAX, SealContext, SealFour};
use crate::stats::{Count, Counters, DropReason};
use crate::track::down::HEADER_BYTES_MAX;
use crate::track::{BURST_MAX, DownTrack, Downs, Pending, Tracks};
use crate::transports::Transports;
use crate::up::PacketMeta;
use crate::up::history::{History, PADDING_BYTES_MAX};
use arrayvec::ArrayVec;

/// Subscribers served side by side.
pub const LANES: usize = 4;

const _: () = assert!(LANES == relay_gcm::LANES);
const _: () = assert!(LANES * BURST_MAX * DATAGRAM_BYTES_MAX <= LENT_BYTES_MAX);

/// A packet that is forwarded.
struct Packet<'a> {
    seq: u64,
    meta: PacketMeta,
    /// With padding behind it, if it was given any.
    payload: &'a [u8],
    padding: usize,
}

impl Packet<'_> {
    /// Most octets of the datagram that it becomes.
    const fn datagram_bytes_max(&self) -> usize {
        HEADER_BYTES_MAX + PREFIX_BYTES_MAX + self.payload.len() + RTP_OVERHEAD_MAX
    }
}

/// Datagrams written for a subscriber, those of equal length in one run. There are no more runs than packets.
type Runs = ArrayVec<Run, BURST_MAX>;

/// A subscriber's share of the group's memory. The runs stay where they are while groups come and go: they are long.
struct Share<'m> {
    memory: &'m mut [u8],
    /// Octets written.
    end: usize,
    runs: &'m mut Runs,
}

impl Share<'_> {
    /// Room for the next datagram, and no more: a header longer than the publisher's may make a packet too long.
    fn slot(&mut self) -> &mut [u8] {
        let room = self.memory.get_mut(self.end..).unwrap_or_default();
        let len = room.len().min(DATAGRAM_BYTES_MAX);
        room.get_mut(..len).unwrap_or_default()
    }

    fn wrote(&mut self, len: usize) {
        if !self.runs.last_mut().is_some_and(|run| run.extend(len)) {
            self.runs.push(Run { start: self.end, segment: len, len });
        }
        self.end += len;
    }

    /// Shows the subscriber what was written for it, if it wants to see that.
    fn show(&self, down: &mut DownTrack) {
        if !down.stream.keeps_sent() {
            return;
        }
        for run in self.runs.iter() {
            let written = self.memory.get(run.start..run.start + run.len).unwrap_or_default();
            written.chunks(run.segment).for_each(|datagram| down.stream.note_sent(datagram));
        }
    }
}

/// One subscriber of a group, and how much was written for it.
struct Lane<'a> {
    down: DownKey,
    path: &'a Path,
    seal: &'a SealContext,
    packets: u64,
    octets: u64,
}

impl<'a> Lane<'a> {
    fn new(down: DownKey, path: &'a Path, seal: &'a SealContext) -> Self {
        Self { down, path, seal, packets: 0, octets: 0 }
    }

    /// Seals one packet behind its header.
    fn seal(
        &mut self,
        begun: &Begun,
        prefix: &[u8],
        packet: &Packet<'_>,
        share: &mut Share<'_>,
    ) -> Result<(), DropReason> {
        let slot = share.slot();
        let len = self.seal.seal_prefixed(slot, begun.header, begun.at, prefix, packet.payload);
        share.wrote(len.ok_or(DropReason::OutboxFull)?);
        self.count(prefix.len(), packet);
        Ok(())
    }

    fn count(&mut self, prefix_len: usize, packet: &Packet<'_>) {
        self.packets += 1;
        self.octets += (prefix_len + packet.payload.len() - packet.padding) as u64;
    }
}

/// Takes the subscriber's own numbers for a packet and writes the header behind what is there.
fn begin(down: &mut DownTrack, packet: &Packet<'_>, share: &mut Share<'_>) -> Result<Begun, DropReason> {
    let numbers = down.stream.forward(packet.seq, &packet.meta)?;
    let header = down.write_media_header(share.slot(), numbers, &packet.meta, packet.padding > 0);
    Ok(Begun { header: header.ok_or(DropReason::OutboxFull)?, at: (down.ssrc, numbers.index) })
}

/// A packet with its header in place: the header's length, SSRC and index.
#[derive(Clone, Copy)]
struct Begun {
    header: usize,
    at: (Ssrc, u64),
}

/// Where the fan-out counts.
struct Totals<'a> {
    counters: &'a mut Counters,
    packets: u64,
    octets: u64,
}

/// Also when a panic ends the fan-out: what was committed until then leaves.
impl Drop for Totals<'_> {
    fn drop(&mut self) {
        self.counters.add(Count::TxRtp, self.packets);
        self.counters.add(Count::TxDatagrams, self.packets);
        self.counters.add(Count::TxBytes, self.octets);
    }
}

/// Forwards what waits on a layer of an up-track.
pub(crate) fn forward<O: Outbox>(
    key: LayerKey,
    tracks: &mut Tracks,
    transports: &Transports,
    counters: &mut Counters,
    outbox: &mut O,
) {
    let Tracks { ups, downs, shedding, .. } = tracks;
    let layer = &mut ups[key.up].layers[usize::from(key.layer)];
    let pending = std::mem::take(&mut layer.pending);
    let padding = equalize(&mut layer.stream.history, &pending);
    let packets = burst(&layer.stream.history, &pending, &padding);
    counters.add(Count::FanOut, (layer.subscribers.len() * packets.len()) as u64);
    let mut totals = Totals { counters, packets: 0, octets: 0 };
    let mut lanes = ArrayVec::<Lane<'_>, LANES>::new();
    let mut runs = <[Runs; LANES]>::default();
    let cut = shedding.cut();
    for &down_key in &layer.subscribers {
        let down = &mut downs[down_key];
        if down.rank < cut {
            totals.counters.drop_many(DropReason::Overload, packets.len() as u64);
            down.stream.await_keyframe();
            continue;
        }
        match transports[down.transport].ready() {
            Some((path, seal)) => lanes.push(Lane::new(down_key, path, seal)),
            None => totals.counters.drop_many(DropReason::SubscriberNotReady, packets.len() as u64),
        }
        if lanes.is_full() {
            serve((&mut lanes, &mut runs), &packets, downs, &mut totals, outbox);
        }
    }
    serve((&mut lanes, &mut runs), &packets, downs, &mut totals, outbox);
}

/// The packets behind the numbers.
fn burst<'a>(history: &'a History, pending: &Pending, padding: &Padding) -> ArrayVec<Packet<'a>, BURST_MAX> {
    let packet = |(seq, padding): (&u64, &usize)| {
        let meta = history.get(*seq)?.meta;
        Some(Packet { seq: *seq, meta, payload: history.padded(*seq, *padding)?, padding: *padding })
    };
    pending.iter().zip(padding).filter_map(packet).collect()
}

/// Octets of padding for each packet that waits.
type Padding = [usize; BURST_MAX];

/// Makes the packets of a frame equally long, so that they are one run: each but the last is padded to the longest, where a
/// few octets do. Encoders split a frame into packets that differ by one octet.
fn equalize(history: &mut History, pending: &Pending) -> Padding {
    let mut padding = [0; BURST_MAX];
    let mut sizes = [(0, 0); BURST_MAX];
    for (size, seq) in sizes.iter_mut().zip(pending) {
        *size = history.get(*seq).map_or((0, 0), |stored| (stored.meta.timestamp, stored.payload.len()));
    }
    let mut first = 0;
    for frame in sizes[..pending.len()].chunk_by(|a, b| a.0 == b.0) {
        let longest = frame.iter().map(|(_, len)| *len).max().unwrap_or(0);
        for (index, (_, len)) in frame.iter().enumerate().take(frame.len() - 1) {
            let count = longest - len;
            if count <= PADDING_BYTES_MAX && history.pad(pending[first + index], count) {
                padding[first + index] = count;
            }
        }
        first += frame.len();
    }
    padding
}

/// Sends the packets to a group of subscribers, and empties the group.
fn serve<O: Outbox>(
    (lanes, runs): (&mut ArrayVec<Lane<'_>, LANES>, &mut [Runs; LANES]),
    packets: &[Packet<'_>],
    downs: &mut Downs,
    totals: &mut Totals<'_>,
    outbox: &mut O,
) {
    let stride: usize = packets.iter().map(Packet::datagram_bytes_max).sum();
    if lanes.is_empty() || stride == 0 {
        return lanes.clear();
    }
    let Ok(memory) = outbox.lend(stride * lanes.len()) else {
        totals.counters.drop_many(DropReason::OutboxFull, (packets.len() * lanes.len()) as u64);
        return lanes.clear();
    };
    let share = |(memory, runs)| Share { memory, end: 0, runs };
    let shares: ArrayVec<Share<'_>, LANES> = memory.chunks_mut(stride).zip(&mut *runs).map(share).collect();
    match (lanes.as_mut_slice().try_into(), shares.into_inner()) {
        (Ok(lanes), Ok(shares)) => write_four(lanes, packets, downs, totals, shares),
        (_, Ok(shares)) => write_each(lanes, packets, downs, totals, shares),
        (_, Err(shares)) => write_each(lanes, packets, downs, totals, shares),
    }
    for (index, (lane, runs)) in lanes.iter().zip(runs).enumerate() {
        for run in &*runs {
            outbox.commit(lane.path, Run { start: index * stride + run.start, ..*run });
            totals.octets += run.len as u64;
            totals.packets += run.datagrams();
        }
        runs.clear();
    }
    lanes.clear();
}

/// One subscriber after the other.
fn write_each<'m>(
    lanes: &mut [Lane<'_>],
    packets: &[Packet<'_>],
    downs: &mut Downs,
    totals: &mut Totals<'_>,
    shares: impl IntoIterator<Item = Share<'m>>,
) {
    for (lane, mut share) in lanes.iter_mut().zip(shares) {
        let down = &mut downs[lane.down];
        for packet in packets {
            let begun = begin(down, packet, &mut share);
            let sealed = begun.and_then(|begun| lane.seal(&begun, down.stream.prefix(), packet, &mut share));
            if let Err(reason) = sealed {
                totals.counters.drop(reason);
            }
        }
        down.stream.sent(lane.packets, lane.octets);
        share.show(down);
    }
}

/// Four subscribers at once: one pass of the cipher a packet, where all of them get it under headers of one length.
fn write_four(
    lanes: &mut [Lane<'_>; LANES],
    packets: &[Packet<'_>],
    downs: &mut Downs,
    totals: &mut Totals<'_>,
    mut shares: [Share<'_>; LANES],
) {
    let Some(four) = SealFour::new(lanes.each_ref().map(|lane| lane.seal)) else {
        return write_each(lanes, packets, downs, totals, shares);
    };
    let mut downs = downs.disjoint_mut(lanes.each_ref().map(|lane| lane.down));
    for packet in packets {
        let mut begun = [None; LANES];
        for ((begun, down), share) in begun.iter_mut().zip(&mut downs).zip(&mut shares) {
            match begin(down, packet, share) {
                Ok(done) => *begun = Some(done),
                Err(reason) => totals.counters.drop(reason),
            }
        }
        let prefixes = downs.each_ref().map(|down| down.stream.prefix());
        if let Some(len) = seal_four(&four, &begun, prefixes, packet, &mut shares) {
            shares.iter_mut().for_each(|share| share.wrote(len));
            lanes.iter_mut().for_each(|lane| lane.count(prefixes[0].len(), packet));
            continue;
        }
        for (((begun, lane), prefix), share) in begun.iter().zip(&mut *lanes).zip(prefixes).zip(&mut shares) {
            let Some(begun) = begun else { continue };
            if let Err(reason) = lane.seal(begun, prefix, packet, share) {
                totals.counters.drop(reason);
            }
        }
    }
    for ((lane, down), share) in lanes.iter().zip(downs).zip(&shares) {
        down.stream.sent(lane.packets, lane.octets);
        share.show(down);
    }
}

/// The length of each datagram; `None`, and nothing is sealed, if the four differ.
fn seal_four(
    four: &SealFour<'_>,
    begun: &[Option<Begun>; LANES],
    prefixes: [&[u8]; LANES],
    packet: &Packet<'_>,
    shares: &mut [Share<'_>; LANES],
) -> Option<usize> {
    let [a, b, c, d] = *begun;
    let begun = [a?, b?, c?, d?];
    let header = begun[0].header;
    let headers_differ = begun.iter().any(|other| other.header != header);
    if headers_differ || prefixes.iter().any(|other| other.len() != prefixes[0].len()) {
        return None;
    }
    let slots = shares.each_mut().map(Share::slot);
    four.seal_prefixed(slots, header, begun.map(|begun| begun.at), prefixes, packet.payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::down::PayloadPrefix;
    use crate::ice::{Ice, LocalCredentials};
    use crate::id::{Mid, Pt, SeqNo};
    use crate::media::{Codec, ExtensionIds, MediaKind, Priority};
    use crate::outbox::VecOutbox;
    use crate::rng::Rng;
    use crate::srtp::{OpenContext, SrtpProfile};
    use crate::time::{NtpClock, Time};
    use crate::track::{Life, Params, Source, UpTrack};
    use crate::transport::{Identity, SrtpSession, Transport};
    use crate::wire::rtcp::ReportBlock;
    use crate::wire::rtp::RtpHeader;
    use relay_port::PortId;
    use std::net::SocketAddr;
    use std::time::Duration;

    const NOW: Time = Time::from_nanos(1_000_000_000);

    /// An audio track and its subscribers, of which each opens what it is sent.
    struct Room {
        tracks: Tracks,
        transports: Transports,
        counters: Counters,
        up: LayerKey,
        listeners: Vec<Listener>,
    }

    struct Listener {
        down: DownKey,
        path: Path,
        open: OpenContext,
        prefix: Vec<u8>,
    }

    const PARAMS: Params = Params {
        pt: Pt(111),
        rtx_pt: Some(Pt(112)),
        nack: true,
        ..Params::bare(MediaKind::Audio, Codec::Opus, 48_000)
    };

    fn session(profile: SrtpProfile, number: u8, four_lanes: bool) -> (SrtpSession, OpenContext) {
        let (key, salt) = (vec![number; profile.key_len()], vec![!number; profile.salt_len()]);
        let seal = SealContext::new(profile, &key, &salt);
        let seal = if four_lanes { seal.with_lane(&key, &salt) } else { seal };
        let open = || OpenContext::new(profile, &key, &salt);
        let (version, group) = ("", "");
        (SrtpSession { open: open(), seal, engine: None, profile, version, group }, open())
    }

    impl Room {
        fn new(profile: SrtpProfile, four_lanes: bool, prefixes: &[&str]) -> Self {
            Self::with(PARAMS, profile, four_lanes, prefixes)
        }

        fn with(params: Params, profile: SrtpProfile, four_lanes: bool, prefixes: &[&str]) -> Self {
            let (mut tracks, mut transports) = (Tracks::default(), Transports::default());
            let mut rng = Rng::new([5; 32]);
            let source = Source::Port { port: PortId::shard(1), opening: 1, life: Life::Held };
            let mut up = UpTrack::new(1, source, 1, PARAMS, Priority::Medium, NOW);
            up.prepare();
            let up = LayerKey::first(tracks.insert_up(up));
            let mut listeners = Vec::new();
            for (number, prefix) in (0..).zip(prefixes) {
                let path = Path { remote: SocketAddr::from(([192, 0, 2, number], 9)), local: None };
                let mut ice = Ice::new(LocalCredentials::random(&mut rng), "peer", NOW);
                let _ = ice.on_check(NOW, &path, [number; 12], true);
                let _ = ice.on_proof(NOW, &path);
                let identity = Identity {
                    id: number.into(),
                    room_id: 1,
                    label: Vec::new(),
                    fingerprints: [0; 32].into(),
                    role: crate::dtls::DtlsRole::Server,
                    remote_pwd: String::new(),
                };
                let key = transports.insert(Transport::new(identity, ice, 1_000_000, Ssrc(1), NOW));
                let (session, open) = session(profile, number, four_lanes);
                transports.connect(key, session);
                let track_id = u64::from(number) + 10;
                let ssrcs = (Ssrc(100), Ssrc(200));
                let mut down =
                    DownTrack::new((track_id, 1), "relay", (key, up), params, ssrcs, &mut rng, NOW);
                down.stream.prepare();
                down.stream.set_prefix(PayloadPrefix::new(prefix.as_bytes()).expect("short"));
                let down = tracks.insert_down(down);
                listeners.push(Listener { down, path, open, prefix: prefix.as_bytes().to_vec() });
            }
            Self { tracks, transports, counters: Counters::default(), up, listeners }
        }

        fn forward(&mut self, packets: &[(u64, Vec<u8>)]) -> VecOutbox {
            self.forward_frames(packets, 1)
        }

        /// So many packets are a frame.
        fn forward_frames(&mut self, packets: &[(u64, Vec<u8>)], of: u64) -> VecOutbox {
            let layer = self.tracks.layer_mut(self.up);
            for (seq, payload) in packets {
                let audio_level = (seq % 3 == 0).then_some(*seq as u8);
                let timestamp = (*seq / of) as u32;
                let meta = PacketMeta { timestamp, audio_level, arrival: NOW, ..PacketMeta::default() };
                assert!(layer.stream.on_port_packet(NOW, *seq, payload, meta).is_some());
                layer.pending.push(*seq);
            }
            let mut outbox = VecOutbox::default();
            forward(self.up, &mut self.tracks, &self.transports, &mut self.counters, &mut outbox);
            outbox
        }
    }

    impl Listener {
        /// Sequence numbers and payloads of what was sent to it.
        fn receive(&mut self, outbox: &VecOutbox) -> Vec<(SeqNo, Vec<u8>)> {
            let mine = outbox.sent.iter().filter(|(path, _)| *path == self.path);
            mine.map(|(_, datagram)| {
                let header = RtpHeader::parse(datagram).expect("RTP");
                let mut payload = vec![0; datagram.len()];
                let len = self.open.open_rtp(&header, datagram, &mut payload).expect("good tag").len;
                (header.seq, payload[..len].to_vec())
            })
            .collect()
        }
    }

    /// Whoever subscribes with prefixes of whatever lengths opens its own prefix and the shared rest behind it, first-hand
    /// and again by retransmission.
    #[test]
    fn each_subscriber_gets_its_own_prefix_in_front_of_the_shared_payload() {
        let rooms: [&[&str]; 7] = [
            &[""; 5],
            &["a"],
            &["one", "two", "six", "ten"],
            &["12345678", "23456789", "34567890", "45678901", "56789012"],
            &["same", "same", "same", "longer", "same"],
            &["", "", "", "x"],
            &["a", "", "c", "d", "e", "f", "g", "h"],
        ];
        let lens = [0, 1, 8, 15, 16, 17, 104, 105, 111, 112, 113, 120, 300, 1_200];
        let packets: Vec<_> = (1u64..).zip(lens.map(|len| vec![len as u8; len])).collect();
        for (profile, four_lanes) in SrtpProfile::ALL.iter().flat_map(|p| [(*p, false), (*p, true)]) {
            for prefixes in rooms {
                let mut room = Room::new(profile, four_lanes, prefixes);
                let outbox = room.forward(&packets);
                for listener in &mut room.listeners {
                    let got = listener.receive(&outbox);
                    let down = &mut room.tracks.downs[listener.down];
                    let expected =
                        packets.iter().map(|(_, payload)| [&listener.prefix[..], payload].concat());
                    let expected: Vec<_> = expected.collect();
                    let payloads: Vec<_> = got.iter().map(|(_, payload)| payload.clone()).collect();
                    assert_eq!(payloads, expected, "{profile:?} {four_lanes} {prefixes:?}");
                    let octets: usize = expected.iter().map(Vec::len).sum();
                    assert_eq!(down.stream.octets(), octets as u64);
                    let (history, transport) =
                        (&room.tracks.ups[room.up.up].layers[0].stream.history, down.transport);
                    let (transport, mut again) = (&room.transports[transport], VecOutbox::default());
                    let (seq, payload) = &got[13];
                    let counters = &mut room.counters;
                    assert_eq!(down.retransmit(NOW, *seq, history, transport, counters, &mut again), Ok(()));
                    let resent = listener.receive(&again);
                    assert_eq!(resent[0].1, [&seq.0.to_be_bytes()[..], payload].concat());
                }
                assert_eq!(room.counters.get(Count::TxRtp), (packets.len() * prefixes.len()) as u64);
            }
        }
    }

    /// RFC 3711 §9.1: what goes out under an index once more is what went out under it, to the octet.
    #[test]
    fn without_rtx_the_very_same_octets_are_sent_again() {
        let extensions = ExtensionIds { mid: 1, audio_level: 2, ..ExtensionIds::default() };
        let packets: Vec<_> =
            (1u64..17).map(|seq| (seq, vec![seq as u8; 300 + seq as usize * 7 % 5])).collect();
        for (profile, four_lanes) in SrtpProfile::ALL.iter().flat_map(|p| [(*p, false), (*p, true)]) {
            // A header with a MID of one octet and a level is as long as one with the level alone.
            for (mid, prefixes) in [("audio", &[""; 5]), ("0", &["a", "b", "c", "d", "e"])] {
                let mid = Mid::from(mid).expect("short");
                let params = Params { rtx_pt: None, extensions, mid, ..PARAMS };
                let mut room = Room::with(params, profile, four_lanes, prefixes);
                let sent = room.forward_frames(&packets, 4).sent;
                for (number, listener) in room.listeners.iter().enumerate() {
                    let own: Vec<_> = sent.iter().filter(|(path, _)| *path == listener.path).collect();
                    assert!(own.len() == packets.len() && own.iter().any(|(_, bytes)| bytes[0] & 0x20 != 0));
                    let down = &mut room.tracks.downs[listener.down];
                    if number % 2 == 0 {
                        // From here on no MID stands in its headers.
                        let block = ReportBlock { ssrc: down.ssrc, ..ReportBlock::default() };
                        down.on_report_block(NOW, &block, NtpClock::default());
                    }
                    let history = &room.tracks.ups[room.up.up].layers[0].stream.history;
                    let (transport, mut again) = (&room.transports[down.transport], VecOutbox::default());
                    let counters = &mut room.counters;
                    for (_, bytes) in &own {
                        let seq = RtpHeader::parse(bytes).expect("RTP").seq;
                        let resent = down.retransmit(NOW, seq, history, transport, counters, &mut again);
                        assert_eq!(resent, Ok(()), "{profile:?} {four_lanes}");
                    }
                    assert!(again.sent.iter().eq(own.iter().copied()), "{profile:?} {four_lanes}");
                    // Not twice at once, not what was not sent, and nothing that would differ.
                    let seq = RtpHeader::parse(&own[3].1).expect("RTP").seq;
                    let mut nack = |down: &mut DownTrack, at: Time, seq: SeqNo| {
                        down.retransmit(at, seq, history, transport, counters, &mut again)
                    };
                    assert_eq!(nack(down, NOW, seq), Err(DropReason::NackThrottled));
                    assert_eq!(nack(down, NOW, SeqNo(seq.0 + 100)), Err(DropReason::NackMiss));
                    for (other, later) in [("x", 2), ("xy", 3)] {
                        down.stream.set_prefix(PayloadPrefix::new(other.as_bytes()).expect("short"));
                        let resent = nack(down, NOW + Duration::from_secs(later), seq);
                        assert_eq!(resent, Err(DropReason::ResendDiffers));
                    }
                    assert_eq!(again.sent.len(), own.len());
                }
            }
        }
    }

    /// A subscriber gets the packets of the layer that it selects, in one numbering of its own whichever it is.
    #[test]
    fn a_subscriber_gets_the_layer_that_it_selects() {
        let mut room = Room::new(SrtpProfile::AeadAes128Gcm, false, &["", ""]);
        let (first, up) = (room.up, room.up.up);
        let second = LayerKey { up, layer: room.tracks.ups[up].add_layer(NOW) };
        room.tracks.ups[up].prepare();
        let down = room.listeners[1].down;
        let mut numbers = [Vec::new(), Vec::new()];
        for (layer, selected, seq) in
            [(first, 0, 70), (second, 0, 900), (second, 1, 901), (first, 1, 71), (first, 0, 72)]
        {
            room.tracks.select_layer(down, selected);
            room.up = layer;
            let outbox = room.forward(&[(seq, seq.to_be_bytes().to_vec())]);
            for (numbers, listener) in numbers.iter_mut().zip(&mut room.listeners) {
                for (own, payload) in listener.receive(&outbox) {
                    assert_eq!(payload, seq.to_be_bytes());
                    numbers.push((seq, own.0));
                }
            }
        }
        let [steady, switching] = numbers.map(|numbers| {
            let first = numbers[0].1;
            numbers.into_iter().map(|(seq, own)| (seq, own - first)).collect::<Vec<_>>()
        });
        assert_eq!(steady, [(70, 0), (71, 1), (72, 2)]);
        assert_eq!(switching, [(70, 0), (901, 1), (72, 2)]);
        assert_eq!(room.tracks.ups[up].subscribers().count(), 2);
    }
}
