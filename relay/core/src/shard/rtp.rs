//! A media packet's walk: header → rate → keys → open into the history → notes → other shards; and, at the end of
//! the batch, with the others of its track to every subscriber ([`crate::fanout`]).
//!
//! Each stage is one named call of [`Shard::on_rtp`]. Nothing here allocates.

use super::faults::Input;
use super::{Shard, TimerOwner};
use crate::fanout;
use crate::id::Ssrc;
use crate::outbox::Outbox;
use crate::room::UpTimer;
use crate::srtp::OpenError;
use crate::stats::{Count, Drop};
use crate::time::Time;
use crate::transport::{Phase, SSRCS_MAX, SsrcUse, TransportKey, TransportTimer, UpKey};
use crate::up::{Accepted, PacketMeta};
use crate::wire::codec::starts_keyframe;
use crate::wire::rtp::{RtpHeader, strip_padding};
use crate::wire::rtp_ext;
use relay_control::{EventBody, ExtensionIds, MediaKind, UpTrackActivity};
use std::time::Duration;

/// Octets of the original sequence number in front of an RTX payload (RFC 4588 §4).
const OSN_BYTES: usize = 2;

/// A source that was not heard for so long may have been left for one before it. Packets are not reordered by more.
const SOURCE_GONE: Duration = Duration::from_millis(200);

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
            let id = u32::from(id);
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

impl From<OpenError> for Drop {
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
    pub(super) fn on_rtp<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        packet: &[u8],
        outbox: &mut O,
    ) -> Result<(), Drop> {
        let header = RtpHeader::parse(packet).map_err(|_| Drop::RtpMalformed)?;
        let transport = &mut self.transports[key];
        if !transport.receiving.policer.admits(now) {
            return Err(Drop::RtpPoliced);
        }
        match transport.receiving.ssrc_use(header.ssrc) {
            Some(SsrcUse::Media(up)) => self.on_media(now, key, up, &header, packet, outbox),
            Some(SsrcUse::Rtx(up)) => self.on_rtx(now, key, up, &header, packet, outbox),
            None => self.on_new_ssrc(now, key, &header, packet, outbox),
        }
    }

    /// The common case: a known SSRC. Decrypted straight into the history, from where all subscribers are served.
    fn on_media<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        up_key: UpKey,
        header: &RtpHeader,
        packet: &[u8],
        outbox: &mut O,
    ) -> Result<(), Drop> {
        let (len, meta) = self.open_into_history(now, key, SsrcUse::Media(up_key), header, packet)?;
        if self.tracks.up(up_key).ssrc != Some(header.ssrc) {
            self.follow_ssrc(now, key, up_key, header.ssrc, outbox)?;
        }
        let up = &mut self.tracks.ups[up_key];
        let accepted = up.stream.on_rtp(now, header.seq, len, meta)?;
        self.accept(now, up_key, accepted, outbox);
        Ok(())
    }

    /// A publisher may continue a track under another SSRC (a new encoder): the subscribers' numbering goes on, their
    /// video waits for the new source's keyframe, and retransmissions of the old one are no longer its business. It may go
    /// back to one that it has left, but not while the one after it is heard: that is a late packet, and to follow it would
    /// spend the new source's keyframe.
    fn follow_ssrc<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        up_key: UpKey,
        ssrc: Ssrc,
        outbox: &mut O,
    ) -> Result<(), Drop> {
        let up = &mut self.tracks.ups[up_key];
        if up.left.contains(&ssrc) && now.since(up.last_packet) < SOURCE_GONE {
            return Err(Drop::RtpOldSource);
        }
        self.forward(up_key, outbox);
        let up = &mut self.tracks.ups[up_key];
        up.stream.change_ssrc(ssrc, None);
        let Some(left) = up.ssrc.replace(ssrc) else { return Ok(()) };
        up.left.retain(|known| *known != ssrc);
        if up.left.is_full() {
            up.left.remove(0);
        }
        up.left.push(left);
        up.sources = up.sources.wrapping_add(1);
        self.await_keyframes(up_key);
        self.transports[key].receiving.ssrcs.retain(|(_, used)| *used != SsrcUse::Rtx(up_key));
        Ok(())
    }

    /// Another source continues a track: its subscribers' video waits for that one's keyframe.
    pub(super) fn await_keyframes(&mut self, up_key: UpKey) {
        for &down_key in &self.tracks.ups[up_key].subscribers {
            self.tracks.downs[down_key].stream.await_keyframe();
        }
    }

    /// One cipher pass from the receive buffer to the place where the plaintext stays, and what its header says of it.
    /// The length is without padding; the packet is not in the history yet.
    fn open_into_history(
        &mut self,
        now: Time,
        key: TransportKey,
        used: SsrcUse,
        header: &RtpHeader,
        packet: &[u8],
    ) -> Result<(usize, PacketMeta), Drop> {
        let transport = &mut self.transports[key];
        let Phase::Connected(session) = &mut transport.phase else { return Err(Drop::NoKeys) };
        let (SsrcUse::Media(up_key) | SsrcUse::Rtx(up_key)) = used;
        let up = &mut self.tracks.ups[up_key];
        let slot = up.stream.reserve(packet.len().saturating_sub(header.len));
        let opened = session.open.open_rtp(header, packet, slot)?;
        self.input = Input::Transport(key);
        transport.receiving.policer.charge(packet.len());
        let (pt, skip) = match used {
            SsrcUse::Media(_) => (Some(up.params.pt), 0),
            SsrcUse::Rtx(_) => (up.params.rtx_pt, OSN_BYTES),
        };
        if Some(header.pt) != pt {
            return Err(Drop::RtpUnknownPt);
        }
        let payload = up.stream.history.reserved().get(..opened.len).ok_or(Drop::RtpBadPayload)?;
        let len = strip_padding(header.padding, payload).ok_or(Drop::RtpBadPayload)?;
        let extensions = Extensions::read(header, packet, &up.params.extensions);
        let meta = PacketMeta {
            timestamp: header.timestamp,
            marker: header.marker,
            keyframe: starts_keyframe(up.params.codec, payload.get(skip..len).unwrap_or_default()),
            arrival: now,
            audio_level: extensions.audio_level,
            video_orientation: extensions.video_orientation,
        };
        self.note_transport_seq(now, key, &extensions);
        Ok((len, meta))
    }

    /// RFC 4588: the payload is the original sequence number, then the original payload.
    fn on_rtx<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        up_key: UpKey,
        header: &RtpHeader,
        packet: &[u8],
        outbox: &mut O,
    ) -> Result<(), Drop> {
        let (len, meta) = self.open_into_history(now, key, SsrcUse::Rtx(up_key), header, packet)?;
        let accepted = self.tracks.ups[up_key].stream.on_rtx(now, len, meta)?;
        self.counters.add(Count::RxRtxRecovered, 1);
        self.accept(now, up_key, accepted, outbox);
        Ok(())
    }

    /// A first packet of an SSRC: it must prove itself before anything about it is remembered.
    fn on_new_ssrc<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        header: &RtpHeader,
        packet: &[u8],
        outbox: &mut O,
    ) -> Result<(), Drop> {
        let used = self.place_ssrc(key, header, packet);
        let transport = &mut self.transports[key];
        let session = transport.session().ok_or(Drop::NoKeys)?;
        let used = match used {
            Ok(used) => used,
            Err(reason) => {
                // Wrong keys are the graver fault, so look at the tag before naming the reason.
                session.open.open_rtp(header, packet, &mut self.scratch[..])?;
                return Err(reason);
            }
        };
        if !self.bind_ssrc(key, header.ssrc, used) {
            return Err(Drop::RtpSsrcLimit);
        }
        let outcome = match used {
            SsrcUse::Media(up) => self.on_media(now, key, up, header, packet, outbox),
            SsrcUse::Rtx(up) => self.on_rtx(now, key, up, header, packet, outbox),
        };
        if matches!(outcome, Err(Drop::RtpAuth | Drop::RtpMalformed | Drop::RtpReplay | Drop::RtpSsrcLimit)) {
            self.transports[key].receiving.ssrcs.retain(|(ssrc, _)| *ssrc != header.ssrc);
        }
        outcome
    }

    /// RFC 9143 §9.2: by MID if the packet has one, else by the payload type if only one m-line uses it.
    fn place_ssrc(&self, key: TransportKey, header: &RtpHeader, packet: &[u8]) -> Result<SsrcUse, Drop> {
        let mut by_pt = None;
        let mut known_pt = false;
        for &up_key in &self.transports[key].ups {
            let params = &self.tracks.up(up_key).params;
            let used = if header.pt == params.pt {
                SsrcUse::Media(up_key)
            } else if Some(header.pt) == params.rtx_pt {
                SsrcUse::Rtx(up_key)
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
        by_pt.ok_or(if known_pt { Drop::RtpUnknownSsrc } else { Drop::RtpUnknownPt })
    }

    /// Remembers what an SSRC is. False if the transport has its limit of them.
    pub(super) fn bind_ssrc(&mut self, key: TransportKey, ssrc: Ssrc, used: SsrcUse) -> bool {
        let ssrcs = &mut self.transports[key].receiving.ssrcs;
        if ssrcs.iter().any(|(s, _)| *s == ssrc) {
            return true;
        }
        if ssrcs.len() == SSRCS_MAX {
            return false;
        }
        ssrcs.push((ssrc, used));
        true
    }

    fn note_transport_seq(&mut self, now: Time, key: TransportKey, extensions: &Extensions<'_>) {
        let Some(seq) = extensions.transport_seq else { return };
        let transport = &mut self.transports[key];
        let Some(feedback) = &mut transport.receiving.feedback else { return };
        feedback.received(seq, now);
        if let Some(at) = feedback.poll_timeout() {
            transport.timers.set(TransportTimer::Feedback, at);
            self.deadlines.arm(TimerOwner::Transport(key), &mut transport.timers);
        }
    }

    /// An authenticated packet is in the history: note it, then pass it on.
    fn accept<O: Outbox>(&mut self, now: Time, up_key: UpKey, accepted: Accepted, outbox: &mut O) {
        self.counters.add(Count::RxRtp, 1);
        let up = &mut self.tracks.ups[up_key];
        if !up.active {
            up.active = true;
            up.timers.set(UpTimer::Silence, now + self.config.limits.silence);
            let event = UpTrackActivity { track_id: up.id, active: true };
            self.events.push_back(EventBody::UpTrackActivity(event));
        }
        self.pass_on(now, up_key, accepted, outbox);
    }

    /// A packet is in the history, whether it came from a peer or by a port: to ports, then to subscribers.
    pub(super) fn pass_on<O: Outbox>(
        &mut self,
        now: Time,
        up_key: UpKey,
        accepted: Accepted,
        outbox: &mut O,
    ) {
        self.tracks.ups[up_key].last_packet = now;
        if accepted.resync {
            self.on_resync(now, up_key);
        }
        self.arm_up(up_key);
        self.send_to_ports(up_key, &accepted);
        self.note_pending(up_key, accepted.seq, outbox);
    }

    /// The packet is forwarded with the others of the batch; at once if those are as many as go together.
    fn note_pending<O: Outbox>(&mut self, up_key: UpKey, seq: u64, outbox: &mut O) {
        let listed = !self.tracks.ups[up_key].pending.is_empty();
        if self.tracks.ups[up_key].pending.is_full() {
            self.forward(up_key, outbox);
        }
        self.tracks.ups[up_key].pending.push(seq);
        if !listed {
            self.waiting.push(up_key);
        }
    }

    pub(super) fn forward<O: Outbox>(&mut self, up_key: UpKey, outbox: &mut O) {
        let before = std::mem::replace(&mut self.input, Input::Up(up_key));
        fanout::forward(up_key, &mut self.tracks, &self.transports, &mut self.counters, outbox);
        self.input = before;
    }

    /// Forwards what the datagrams of a batch brought: called at the end of each. Commands and timeouts do it by
    /// themselves before they change anything.
    pub fn forward_pending<O: Outbox>(&mut self, outbox: &mut O) {
        // The list stays whole until all are served: after a panic the others go on.
        let mut served = 0;
        while let Some(&up_key) = self.waiting.get(served) {
            served += 1;
            self.forward(up_key, outbox);
        }
        self.waiting.clear();
    }

    /// The publisher's numbering jumped. The subscribers' goes on; what is missing only a keyframe can mend.
    fn on_resync(&mut self, now: Time, up_key: UpKey) {
        self.counters.add(Count::UpResync, 1);
        let up = &mut self.tracks.ups[up_key];
        if up.params.kind == MediaKind::Video && up.is_wanted() {
            up.stream.keyframes.request(now);
        }
    }

    /// Sets an up-track's timers from what its parts want and arms them.
    pub(super) fn arm_up(&mut self, up_key: UpKey) {
        let up = &mut self.tracks.ups[up_key];
        up.timers.set(UpTimer::Nack, up.stream.nack.poll_timeout().unwrap_or(Time::MAX));
        up.timers.set(UpTimer::Keyframe, up.stream.keyframes.poll_timeout().unwrap_or(Time::MAX));
        self.deadlines.arm(TimerOwner::Up(up_key), &mut up.timers);
    }
}
