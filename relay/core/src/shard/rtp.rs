//! A media packet's walk: header → rate → which track → open into the history → notes → other shards; and, at
//! the end of the batch, with the others of its track to every subscriber ([`crate::fanout`]).
//!
//! Each stage is one named call of [`Shard::on_rtp`]. Nothing here allocates.

use super::faults::Input;
use super::{Shard, keyframes};
use crate::fanout;
use crate::id::Ssrc;
use crate::keys::{LayerKey, TransportKey, UpKey};
use crate::media::{Event, ExtensionIds};
use crate::outbox::Outbox;
use crate::srtp::OpenError;
use crate::stats::{Count, DropReason};
use crate::time::Time;
use crate::timers::{Deadlines, TimerOwner};
use crate::track::{Tracks, UpTimer};
use crate::transport::{Phase, Receiving, SsrcUse, Transport, TransportTimer};
use crate::up::{Accepted, PacketMeta};
use crate::wire::codec::starts_keyframe;
use crate::wire::rtp::{RtpHeader, strip_padding};
use crate::wire::rtp_ext;

/// Octets of the original sequence number in front of an RTX payload (RFC 4588 §4).
const OSN_BYTES: usize = 2;

/// Values of the header extensions that mean something to the relay.
#[derive(Clone, Copy, Debug, Default)]
struct Extensions<'a> {
    mid: Option<&'a [u8]>,
    transport_seq: Option<u16>,
    audio_level: Option<u8>,
    video_orientation: Option<u8>,
}

impl<'a> Extensions<'a> {
    fn read(header: &RtpHeader, packet: &'a [u8], ids: &ExtensionIds) -> Self {
        let mut found = Self::default();
        for (id, value) in header.elements(packet) {
            if id == ids.mid {
                found.mid = Some(value).filter(|mid| !mid.is_empty());
            } else if id == ids.transport_cc {
                found.transport_seq = rtp_ext::transport_seq(value);
            } else if id == ids.audio_level {
                found.audio_level = value.first().copied();
            } else if id == ids.video_orientation {
                found.video_orientation = value.first().copied();
            }
        }
        found
    }
}

impl From<OpenError> for DropReason {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Truncated | OpenError::NoRoom => Self::RtpMalformed,
            OpenError::Replay => Self::RtpReplay,
            OpenError::Auth => Self::RtpAuth,
            OpenError::SsrcLimit => Self::RtpSsrcLimit,
        }
    }
}

impl Shard {
    /// The whole walk of a packet until it waits for the end of its batch.
    pub(super) fn on_rtp<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        packet: &[u8],
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        let header = RtpHeader::parse(packet).map_err(|_| DropReason::RtpMalformed)?;
        let Self { transports, tracks, scratch, .. } = self;
        let transport = &mut transports[key];
        let known = transport.receiving.ssrc_use(header.ssrc);
        if !transport.receiving.policer.admits(now) {
            if let Some(used) = known {
                tracks.ups[used.layer().up].policed.count += 1;
            }
            return Err(DropReason::RtpPoliced);
        }
        let used = match known {
            Some(used) => used,
            None => place_ssrc(transport, tracks, &header, packet, &mut scratch[..])?,
        };
        let len = open_into_history(transport, tracks, used, &header, packet)?;
        self.input = Input::Transport(key);
        transport.receiving.policer.charge(packet.len());
        if known.is_none() {
            // Only now: a first packet must prove itself before anything about it is remembered.
            bind_ssrc(&mut transport.receiving, tracks, header.ssrc, used);
        }
        let (len, meta, transport_seq) = read_opened(now, tracks, used, (&header, packet), len)?;
        if let Some(seq) = transport_seq {
            note_transport_seq(now, key, transport, seq, &mut self.deadlines);
        }
        let accepted = self.number(now, key, used, &header, (len, meta), outbox)?;
        self.note_accepted(now, used.layer().up, accepted.media);
        self.pass_on(now, used.layer(), accepted, outbox);
        Ok(())
    }

    /// Gives a packet its number and puts it into the history, unless it is there already.
    fn number<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        used: SsrcUse,
        header: &RtpHeader,
        (len, meta): (usize, PacketMeta),
        outbox: &mut O,
    ) -> Result<Accepted, DropReason> {
        match used {
            SsrcUse::Media(layer) => {
                if self.tracks.layer(layer).ssrc != Some(header.ssrc) {
                    self.tracks.layer_mut(layer).check_source(now, header.ssrc, len > 0)?;
                    self.follow_ssrc(now, key, layer, header.ssrc, outbox);
                }
                self.tracks.layer_mut(layer).stream.on_rtp(now, header.seq, len, meta)
            }
            SsrcUse::Rtx(layer) => {
                self.tracks.layer(layer).check_rtx(now, header.ssrc)?;
                let accepted = self.tracks.layer_mut(layer).stream.on_rtx(now, len, meta)?;
                self.counters.add(Count::RxRtxRecovered, 1);
                Ok(accepted)
            }
        }
    }

    /// A publisher continues a track under another SSRC (a new encoder): the subscribers' numbering goes on,
    /// their video waits for the new source's keyframe, and what still comes of the old one is counted.
    fn follow_ssrc<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        layer: LayerKey,
        ssrc: Ssrc,
        outbox: &mut O,
    ) {
        self.forward(layer, outbox);
        let rtx = self.transports[key].receiving.rtx_ssrcs(layer);
        if self.tracks.layer_mut(layer).follow_ssrc(now, ssrc, rtx) {
            keyframes::await_from(layer, &mut self.tracks);
        }
    }

    fn note_accepted(&mut self, now: Time, up_key: UpKey, media: bool) {
        self.counters.add(Count::RxRtp, 1);
        let up = &mut self.tracks.ups[up_key];
        if media && !up.active {
            up.active = true;
            up.timers.set(UpTimer::Silence, now + self.config.limits.silence);
            self.events.push_back(Event::Activity(up.id, true));
        }
    }

    /// A packet is in the history, whether it came from a peer or by a pipe: to other shards, then to
    /// subscribers.
    pub(super) fn pass_on<O: Outbox>(
        &mut self,
        now: Time,
        key: LayerKey,
        accepted: Accepted,
        outbox: &mut O,
    ) {
        self.counters.add(Count::UpResync, accepted.resync.into());
        let up = &mut self.tracks.ups[key.up];
        if accepted.media {
            up.layers[usize::from(key.layer)].last_packet = now;
        }
        keyframes::on_accepted(now, up, key.layer, &accepted);
        up.arm(key.up, &mut self.deadlines);
        self.ports.send(up, key.layer, &accepted, &mut self.counters);
        self.note_pending(key, accepted.seq, outbox);
    }

    /// The packet is forwarded with the others of the batch; at once if those are as many as go together.
    fn note_pending<O: Outbox>(&mut self, key: LayerKey, seq: u64, outbox: &mut O) {
        let pending = &self.tracks.layer(key).pending;
        let listed = !pending.is_empty();
        if pending.is_full() {
            self.forward(key, outbox);
        }
        self.tracks.layer_mut(key).pending.push(seq);
        if !listed {
            self.waiting.push(key);
        }
    }

    pub(super) fn forward<O: Outbox>(&mut self, key: LayerKey, outbox: &mut O) {
        let before = std::mem::replace(&mut self.input, Input::Up(key.up));
        fanout::forward(key, &mut self.tracks, &self.transports, &mut self.counters, outbox);
        self.input = before;
    }

    /// Forwards what the datagrams of a batch brought: called at the end of each. Commands and timeouts do it
    /// by themselves before they change anything.
    pub fn forward_pending<O: Outbox>(&mut self, outbox: &mut O) {
        // The list stays whole until all are served: after a panic the others go on.
        let mut served = 0;
        while let Some(&key) = self.waiting.get(served) {
            served += 1;
            self.forward(key, outbox);
        }
        self.waiting.clear();
    }
}

/// RFC 9143 §9.2: by MID if the packet has one, else by the payload type if only one m-line uses it.
fn find_use(
    ups: &[UpKey],
    tracks: &Tracks,
    header: &RtpHeader,
    packet: &[u8],
) -> Result<SsrcUse, DropReason> {
    let mut by_pt = None;
    let mut known_pt = false;
    for &up_key in ups {
        let params = &tracks.up(up_key).params;
        let used = if header.pt == params.pt {
            SsrcUse::Media(LayerKey::first(up_key))
        } else if Some(header.pt) == params.rtx_pt {
            SsrcUse::Rtx(LayerKey::first(up_key))
        } else {
            continue;
        };
        match Extensions::read(header, packet, &params.extensions).mid {
            Some(mid) if mid == params.mid.as_bytes() => return Ok(used),
            Some(_) => {}
            None if known_pt => by_pt = None,
            None => by_pt = Some(used),
        }
        known_pt = true;
    }
    by_pt.ok_or(if known_pt { DropReason::RtpUnknownSsrc } else { DropReason::RtpUnknownPt })
}

/// What a new SSRC is. One that fits nothing is opened all the same: wrong keys are the graver fault.
fn place_ssrc(
    transport: &mut Transport,
    tracks: &Tracks,
    header: &RtpHeader,
    packet: &[u8],
    scratch: &mut [u8],
) -> Result<SsrcUse, DropReason> {
    let placed = find_use(&transport.ups, tracks, header, packet);
    let Phase::Connected(session) = &mut transport.phase else { return Err(DropReason::NoKeys) };
    match placed {
        Ok(used) => {
            gives_way(&transport.receiving, tracks, used).map(|_| used).ok_or(DropReason::RtpSsrcLimit)
        }
        Err(reason) => {
            session.open.open_rtp(header, packet, scratch)?;
            Err(reason)
        }
    }
}

/// Where a new SSRC goes. If all places are taken: what has left its track longest gives way, or else what
/// the new one would replace.
fn gives_way(receiving: &Receiving, tracks: &Tracks, used: SsrcUse) -> Option<usize> {
    let ssrcs = &receiving.ssrcs;
    if !ssrcs.is_full() {
        return Some(ssrcs.len());
    }
    let has_left = |at: usize| match ssrcs[at] {
        (ssrc, SsrcUse::Media(layer)) => tracks.layer(layer).ssrc.is_some_and(|current| current != ssrc),
        (_, rtx @ SsrcUse::Rtx(_)) => ssrcs[at + 1..].iter().any(|(_, later)| *later == rtx),
    };
    let left = (0..ssrcs.len()).find(|at| has_left(*at));
    left.or_else(|| ssrcs.iter().position(|(_, other)| *other == used))
}

/// Remembers what an SSRC is, if it has a place. One that does not feed its track takes none away.
pub(super) fn bind_ssrc(receiving: &mut Receiving, tracks: &Tracks, ssrc: Ssrc, used: SsrcUse) {
    let feeds = match used {
        SsrcUse::Media(layer) => tracks.layer(layer).ssrc.is_none_or(|current| current == ssrc),
        SsrcUse::Rtx(layer) => tracks.layer(layer).is_rtx_source(ssrc),
    };
    if receiving.ssrc_use(ssrc).is_some() || (!feeds && receiving.ssrcs.is_full()) {
        return;
    }
    let Some(place) = gives_way(receiving, tracks, used) else { return };
    receiving.ssrcs.pop_at(place);
    receiving.ssrcs.push((ssrc, used));
}

/// One cipher pass from the receive buffer to the place where the plaintext stays; its length. It is not in
/// the history yet.
fn open_into_history(
    transport: &mut Transport,
    tracks: &mut Tracks,
    used: SsrcUse,
    header: &RtpHeader,
    packet: &[u8],
) -> Result<usize, DropReason> {
    let session = transport.session().ok_or(DropReason::NoKeys)?;
    let slot = tracks.layer_mut(used.layer()).stream.reserve(packet.len().saturating_sub(header.len));
    Ok(session.open.open_rtp(header, packet, slot)?.len)
}

/// What header and plaintext say of an authentic packet: its length without padding, what is kept of it, and
/// its number for transport-wide feedback.
fn read_opened(
    now: Time,
    tracks: &Tracks,
    used: SsrcUse,
    (header, packet): (&RtpHeader, &[u8]),
    len: usize,
) -> Result<(usize, PacketMeta, Option<u16>), DropReason> {
    let up = tracks.up(used.layer().up);
    let (pt, skip) = match used {
        SsrcUse::Media(_) => (Some(up.params.pt), 0),
        SsrcUse::Rtx(_) => (up.params.rtx_pt, OSN_BYTES),
    };
    if Some(header.pt) != pt {
        return Err(DropReason::RtpUnknownPt);
    }
    let history = &tracks.layer(used.layer()).stream.history;
    let payload = history.reserved().get(..len).ok_or(DropReason::RtpBadPayload)?;
    let len = strip_padding(header.padding, payload).ok_or(DropReason::RtpBadPayload)?;
    let extensions = Extensions::read(header, packet, &up.params.extensions);
    let meta = PacketMeta {
        timestamp: header.timestamp,
        marker: header.marker,
        keyframe: starts_keyframe(up.params.codec, payload.get(skip..len).unwrap_or_default()),
        arrival: now,
        audio_level: extensions.audio_level,
        video_orientation: extensions.video_orientation,
    };
    Ok((len, meta, extensions.transport_seq))
}

fn note_transport_seq(
    now: Time,
    key: TransportKey,
    transport: &mut Transport,
    seq: u16,
    deadlines: &mut Deadlines<TimerOwner>,
) {
    let Some(feedback) = &mut transport.receiving.feedback else { return };
    feedback.received(seq, now);
    if let Some(at) = feedback.poll_timeout() {
        transport.timers.set(TransportTimer::Feedback, at);
        transport.arm(key, deadlines);
    }
}
