//! One subscriber's view of an up-track: numbers of its own, written and sealed straight into a send slot.
//!
//! Invariants
//! - A packet's payload is read from the up-track's history and nowhere else.
//! - An index is used for one packet only, whether that packet found a slot or not.
//! - A retransmission goes out under the RTX SSRC; without one as the very octets that were sent, or not at
//!   all ([`SentPackets`](crate::down::SentPackets)).

use super::Params;
use crate::down::{
    DownStream, DownStreamConfig, KeyframeBudget, PREFIX_BYTES_MAX, Repair, Rewritten, SameAgain,
};
use crate::id::{Cname, SeqNo, Ssrc};
use crate::keys::{DownKey, LayerKey, TransportKey};
use crate::outbox::{Outbox, Run};
use crate::rng::Rng;
use crate::stats::{Count, Counters, DropReason};
use crate::time::{NtpClock, Time};
use crate::timers::{Deadlines, TimerOwner, TimerTable, timers};
use crate::transport::Transport;
use crate::up::history::History;
use crate::up::{ClockReference, PacketMeta};
use crate::wire::rtcp::{ReportBlock, write_sr};
use crate::wire::rtp::{FIXED_HEADER_BYTES, HeaderFields, write_header};
use arrayvec::ArrayVec;
use std::time::Duration;

/// How soon to look again whether a first sender report can be made.
const FIRST_REPORT_POLL: Duration = Duration::from_millis(250);
/// Extensions on one packet: MID, audio level, orientation.
const EXTENSIONS_MAX: usize = 3;
/// Octets of the longest header: fixed part, and extensions of 16, 1 and 1 octets in the one-byte form.
pub(crate) const HEADER_BYTES_MAX: usize = FIXED_HEADER_BYTES + 4 + (17 + 2 + 2usize).next_multiple_of(4);

timers! {
    /// The timers of a down-track.
    pub enum DownTimer {
        /// The next sender report.
        Report,
        /// A keyframe request that had to wait.
        Keyframe,
    }
}

/// A track that a peer receives.
#[derive(Debug)]
pub struct DownTrack {
    /// What fan-out touches: numbers and counts.
    pub stream: DownStream,
    /// Whose.
    pub transport: TransportKey,
    /// What feeds it.
    pub layer: LayerKey,
    /// Its place in the order in which video is withheld; see [`Shedding`](crate::shed::Shedding).
    pub rank: u8,
    /// Ours, on the media.
    pub ssrc: Ssrc,
    /// Ours, on its retransmissions; unused if none were negotiated.
    pub rtx_ssrc: Ssrc,
    /// As negotiated, checked.
    pub params: Params,
    /// The subscriber has reported on the SSRC, so it knows which m-line it belongs to and needs no MID any
    /// more. Or there is none: an extension has one octet at least (RFC 8285 §4.2).
    mid_known: bool,
    /// When it wants to be looked at.
    pub timers: TimerTable<DownTimer>,
    /// How often it may have a keyframe asked for.
    pub keyframes: KeyframeBudget,
    /// Its index among the subscribers of its layer.
    pub place: u32,
    /// The controller's id.
    pub id: u64,
    /// The controller's id of what feeds it.
    pub up_track_id: u64,
    /// For SDES.
    pub cname: Cname,
}

/// A sender report about to be written.
#[derive(Clone, Copy, Debug)]
pub struct OwnReport {
    /// Whose.
    pub ssrc: Ssrc,
    info: crate::down::SenderInfo,
}

impl OwnReport {
    /// Writes the packet.
    #[must_use]
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let i = &self.info;
        write_sr(out, self.ssrc, i.ntp, i.rtp_timestamp, i.packets, i.octets, &[])
    }
}

impl DownTrack {
    /// Nothing sent yet. The ids are the controller's, its own and that of the up-track.
    #[must_use]
    pub fn new(
        (id, up_track_id): (u64, u64),
        cname: &str,
        (transport, layer): (TransportKey, LayerKey),
        params: Params,
        (ssrc, rtx_ssrc): (Ssrc, Ssrc),
        rng: &mut Rng,
        now: Time,
    ) -> Self {
        let stream = DownStream::new(&DownStreamConfig {
            kind: params.kind,
            clock_rate_hz: params.clock_rate_hz,
            repair: match params.rtx_pt {
                Some(_) => Repair::Rtx,
                None if params.nack => Repair::Same,
                None => Repair::None,
            },
            first_seq: rng.next_u32() as u16,
            first_rtx_seq: rng.next_u32() as u16,
            timestamp_offset: rng.next_u32(),
        });
        let mut timers = TimerTable::default();
        timers.set(DownTimer::Report, now + FIRST_REPORT_POLL);
        Self {
            stream,
            transport,
            layer,
            rank: 0,
            ssrc,
            rtx_ssrc,
            params,
            mid_known: params.extensions.mid == 0 || params.mid.is_empty(),
            timers,
            keyframes: KeyframeBudget::default(),
            place: 0,
            id,
            up_track_id,
            cname: Cname::from(cname).unwrap_or_default(),
        }
    }

    /// The SSRC of its retransmissions, if they were negotiated.
    #[must_use]
    pub fn offered_rtx_ssrc(&self) -> Option<Ssrc> {
        self.params.rtx_pt.map(|_| self.rtx_ssrc)
    }

    /// Whether an SSRC that the peer names is this track's.
    #[must_use]
    pub fn uses_ssrc(&self, ssrc: Ssrc) -> bool {
        ssrc == self.ssrc || Some(ssrc) == self.offered_rtx_ssrc()
    }

    /// Writes the header of a media packet under its own numbers; its length, `None` if it does not fit.
    #[inline]
    pub fn write_media_header(
        &self,
        out: &mut [u8],
        numbers: Rewritten,
        meta: &PacketMeta,
        padding: bool,
    ) -> Option<usize> {
        let fields = self.media_fields(numbers, meta, padding);
        self.write_header(out, &fields, meta)
    }

    #[inline]
    fn media_fields(&self, numbers: Rewritten, meta: &PacketMeta, padding: bool) -> HeaderFields {
        HeaderFields {
            marker: meta.marker,
            padding,
            pt: self.params.pt,
            seq: numbers.seq(),
            timestamp: numbers.timestamp,
            ssrc: self.ssrc,
        }
    }

    /// Answers one number of a NACK: by a packet on the RTX SSRC (RFC 4588), or by the same once more.
    ///
    /// # Errors
    /// Why nothing is sent.
    pub fn retransmit<O: Outbox>(
        &mut self,
        now: Time,
        seq: SeqNo,
        history: &History,
        transport: &Transport,
        counters: &mut Counters,
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        let Some(rtx_pt) = self.params.rtx_pt else {
            return self.send_same(now, seq, history, transport, counters, outbox);
        };
        let (path, seal) = transport.ready().ok_or(DropReason::NackMiss)?;
        let resend = self.stream.on_nack(now, seq, history)?;
        let slot = outbox.slot().map_err(|_| DropReason::ControlOutboxFull)?;
        let fields = HeaderFields {
            marker: resend.stored.meta.marker,
            padding: false,
            pt: rtx_pt,
            seq: SeqNo(resend.rtx_index as u16),
            timestamp: resend.timestamp,
            ssrc: self.rtx_ssrc,
        };
        // RFC 4588 §4: the original sequence number stands in front of the payload.
        let mut prefix = ArrayVec::<u8, { 2 + PREFIX_BYTES_MAX }>::from_iter(resend.osn.0.to_be_bytes());
        prefix.extend(resend.prefix.iter().copied());
        let at = (self.rtx_ssrc, resend.rtx_index);
        let len = self
            .write_header(slot, &fields, &resend.stored.meta)
            .and_then(|header| seal.seal_prefixed(slot, header, at, &prefix, resend.stored.payload))
            .ok_or(DropReason::ControlOutboxFull)?;
        outbox.commit(path, Run::single(len));
        counters.sent(Count::TxRtx, len);
        Ok(())
    }

    /// Seals a packet once more as it was, and sends it if that is what came of it.
    fn send_same<O: Outbox>(
        &mut self,
        now: Time,
        seq: SeqNo,
        history: &History,
        transport: &Transport,
        counters: &mut Counters,
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        let (path, seal) = transport.ready().ok_or(DropReason::NackMiss)?;
        let SameAgain { numbers, sent, prefix, stored, up } = self.stream.on_nack_same(now, seq, history)?;
        let around = usize::from(sent.header_len) + prefix.len() + seal.profile().rtp_tag_len();
        let padded = usize::from(sent.len).checked_sub(around).ok_or(DropReason::ResendDiffers)?;
        let padding = padded.checked_sub(stored.payload.len()).ok_or(DropReason::ResendDiffers)?;
        let payload = history.padded(up, padding).filter(|payload| payload.len() == padded);
        let payload = payload.ok_or(DropReason::ResendDiffers)?;
        let slot = outbox.slot().map_err(|_| DropReason::ControlOutboxFull)?;
        let at = (self.ssrc, numbers.index);
        let fields = self.media_fields(numbers, &stored.meta, padding > 0);
        // The MID was left out from some packet on. Both forms may be of one length, as extensions are padded to
        // words: then the tag says which it was.
        let again = [self.mid_known, !self.mid_known].into_iter().find_map(|mid_known| {
            let header = self.write_header_as(slot, &fields, &stored.meta, mid_known)?;
            let same = header == usize::from(sent.header_len);
            let len = seal.seal_prefixed(slot, same.then_some(header)?, at, &prefix, payload)?;
            slot.get(..len).is_some_and(|datagram| sent.is(datagram)).then_some(len)
        });
        let len = again.ok_or(DropReason::ResendDiffers)?;
        outbox.commit(path, Run::single(len));
        counters.sent(Count::TxRtx, len);
        Ok(())
    }

    /// The header with this subscriber's extension ids: MID until it is known, then what the publisher said
    /// of the packet.
    #[inline]
    fn write_header(&self, slot: &mut [u8], fields: &HeaderFields, meta: &PacketMeta) -> Option<usize> {
        self.write_header_as(slot, fields, meta, self.mid_known)
    }

    fn write_header_as(
        &self,
        slot: &mut [u8],
        fields: &HeaderFields,
        meta: &PacketMeta,
        mid_known: bool,
    ) -> Option<usize> {
        let ids = &self.params.extensions;
        let (level, orientation) = ([meta.audio_level.unwrap_or(0)], [meta.video_orientation.unwrap_or(0)]);
        let mut elements = ArrayVec::<(u8, &[u8]), EXTENSIONS_MAX>::new();
        if !mid_known {
            elements.push((ids.mid, self.params.mid.as_bytes()));
        }
        if meta.audio_level.is_some() && ids.audio_level != 0 {
            elements.push((ids.audio_level, &level));
        }
        if meta.video_orientation.is_some() && ids.video_orientation != 0 {
            elements.push((ids.video_orientation, &orientation));
        }
        write_header(slot, fields, &elements)
    }

    /// A sender report, if one is due; sets the timer for the next.
    pub fn sender_report(
        &mut self,
        now: Time,
        reference: Option<ClockReference>,
        ntp: NtpClock,
    ) -> Option<OwnReport> {
        let info = reference.and_then(|r| self.stream.poll_report(now, ntp, r));
        let next = self.stream.poll_report_timeout().filter(|at| *at > now);
        self.timers.set(DownTimer::Report, next.unwrap_or(now + FIRST_REPORT_POLL));
        info.map(|info| OwnReport { ssrc: self.ssrc, info })
    }

    /// Makes sure that its timers are looked at.
    pub fn arm(&mut self, key: DownKey, deadlines: &mut Deadlines<TimerOwner>) {
        deadlines.arm(TimerOwner::Down(key), &mut self.timers);
    }

    /// The subscriber's report on this track.
    pub fn on_report_block(&mut self, now: Time, block: &ReportBlock, ntp: NtpClock) {
        if block.ssrc == self.ssrc {
            self.mid_known = true;
            self.stream.on_report_block(now, ntp, block);
        }
    }
}
