//! RTCP of the relay's own: reports, NACKs, keyframe requests and feedback to publishers, sender reports to subscribers.

use super::Shard;
use crate::outbox::{Outbox, Run};
use crate::room::{Source, UpTrack};
use crate::stats::{Count, Drop};
use crate::time::Time;
use crate::transport::{DownKey, Phase, TransportKey, TransportTimer, UpKey};
use crate::up::ClockReference;
use crate::wire::rtcp::{self, ReportBlock};
use arrayvec::ArrayVec;
use std::time::Duration;

/// Time between receiver reports: often enough for a publisher's loss-based control.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Round trip assumed between NACKs for one packet; the relay measures none towards publishers.
const PUBLISHER_RTT: Duration = Duration::from_millis(60);
/// Blocks in one receiver report (RFC 3550 §6.4.2: five bits of count).
const BLOCKS_MAX: usize = 31;
/// CNAME of the relay's own reports.
const CNAME: &str = "ringvox";

/// Packets written one behind the other; ends at the first that does not fit.
pub(super) struct Compound<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl Compound<'_> {
    /// Appends what `write` writes.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        let rest = self.buffer.get_mut(self.len..).unwrap_or_default();
        self.len += write(rest).unwrap_or(0);
    }
}

impl Shard {
    /// Sends one compound towards a peer; nothing if it has no keys or no address, or `fill` wrote nothing.
    fn send_rtcp<O: Outbox>(
        &mut self,
        key: TransportKey,
        outbox: &mut O,
        fill: impl FnOnce(&mut Compound<'_>),
    ) {
        let transport = &mut self.transports[key];
        let (Some(path), Phase::Connected(session)) = (transport.ice.proven(), &mut transport.phase) else {
            return;
        };
        let Ok(slot) = outbox.slot() else {
            self.counters.drop(Drop::ControlOutboxFull);
            return;
        };
        let room = slot.len().saturating_sub(crate::srtp::RTCP_OVERHEAD_MAX);
        let Some(buffer) = slot.get_mut(..room) else { return };
        let mut compound = Compound { buffer, len: 0 };
        fill(&mut compound);
        let len = compound.len;
        if len == 0 {
            return;
        }
        if let Some(total) = session.seal.seal_rtcp(len, slot) {
            outbox.commit(path, Run::single(total));
            self.count_sent(Count::TxRtcp, total);
        }
    }

    /// Receiver report with SDES, and REMB where it was negotiated.
    pub(super) fn send_report<O: Outbox>(&mut self, now: Time, key: TransportKey, outbox: &mut O) {
        let transport = &mut self.transports[key];
        transport.timers.set(TransportTimer::Report, now + REPORT_INTERVAL);
        let sender = transport.rtcp_ssrc;
        let mut blocks = ArrayVec::<ReportBlock, BLOCKS_MAX>::new();
        let mut remb_ssrcs = ArrayVec::<_, BLOCKS_MAX>::new();
        for &up_key in transport.ups.iter().take(BLOCKS_MAX) {
            let up = &mut self.tracks.ups[up_key];
            let Some(ssrc) = up.ssrc else { continue };
            if let Some(block) = up.stream.stats.report_block(now) {
                blocks.push(block);
                let (expected, lost) = up.stream.stats.last_interval();
                transport.receiving.remb.on_interval(expected, lost);
            }
            if up.params.remb {
                remb_ssrcs.push(ssrc);
            }
        }
        let remb = transport.receiving.remb.poll(now).filter(|_| !remb_ssrcs.is_empty());
        if transport.ups.is_empty() {
            return;
        }
        self.send_rtcp(key, outbox, |compound| {
            compound.push(|out| rtcp::write_rr(out, sender, &blocks));
            compound.push(|out| rtcp::write_sdes_cname(out, sender, CNAME));
            if let Some(bitrate_bps) = remb {
                compound.push(|out| rtcp::write_remb(out, sender, bitrate_bps, &remb_ssrcs));
            }
        });
    }

    /// Transport-wide feedback, as many packets as it takes.
    pub(super) fn send_transport_feedback<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        outbox: &mut O,
    ) {
        loop {
            let transport = &mut self.transports[key];
            let Some(feedback) = &mut transport.receiving.feedback else { return };
            let report = feedback.poll_report(now);
            transport.timers.set(TransportTimer::Feedback, feedback.poll_timeout().unwrap_or(Time::MAX));
            let Some(report) = report else { return };
            let sender = transport.rtcp_ssrc;
            let media = transport.receiving.ssrcs.first().map_or(sender, |(ssrc, _)| *ssrc);
            self.send_rtcp(key, outbox, |compound| compound.push(|out| report.write(out, sender, media)));
        }
    }

    /// Asks the publisher for missing packets (RFC 4585 §6.2.1).
    pub(super) fn send_nacks<O: Outbox>(&mut self, now: Time, up_key: UpKey, outbox: &mut O) {
        let up = &mut self.tracks.ups[up_key];
        let seqs = up.stream.nack.poll(now, PUBLISHER_RTT);
        let given_up = up.stream.nack.take_given_up();
        up.lost += given_up;
        self.counters.add(Count::UpLost, given_up);
        let (Some(media), false) = (up.ssrc, seqs.is_empty()) else { return };
        let Source::Peer(key) = up.source else { return };
        let sender = self.transports[key].rtcp_ssrc;
        self.counters.add(Count::NacksSent, seqs.len() as u64);
        self.send_rtcp(key, outbox, |compound| {
            compound.push(|out| rtcp::write_rr(out, sender, &[]));
            compound.push(|out| rtcp::write_nack(out, sender, media, &seqs));
        });
    }

    /// Asks the publisher for a keyframe: PLI (RFC 4585 §6.3.1), or FIR (RFC 5104 §4.3.1) if that is all it
    /// knows. The publisher behind a port is asked by its own side, which merges the requests of all ports
    /// once more.
    pub(super) fn send_keyframe_request<O: Outbox>(&mut self, now: Time, up_key: UpKey, outbox: &mut O) {
        let up = &mut self.tracks.ups[up_key];
        let key = match up.source {
            Source::Peer(key) => key,
            Source::Port { port, .. } => return self.ask_port_for_keyframe(now, up_key, port),
        };
        let (Some(()), Some(media)) = (up.stream.keyframes.poll(now), up.ssrc) else { return };
        let params = up.params;
        let transport = &mut self.transports[key];
        let sender = transport.rtcp_ssrc;
        transport.receiving.fir_seq = transport.receiving.fir_seq.wrapping_add(1);
        let fir_seq = transport.receiving.fir_seq;
        self.counters.add(Count::KeyframesAsked, 1);
        self.send_rtcp(key, outbox, |compound| {
            compound.push(|out| rtcp::write_rr(out, sender, &[]));
            if params.pli {
                compound.push(|out| rtcp::write_pli(out, sender, media));
            } else if params.fir {
                compound.push(|out| rtcp::write_fir(out, sender, media, fir_seq));
            }
        });
    }

    /// Where an up-track's timestamps stand on relay time.
    pub(super) fn clock_reference(&self, up: &UpTrack) -> Option<ClockReference> {
        match up.source {
            Source::Peer(key) => up.stream.clock_reference(&self.transports[key].receiving.clock),
            Source::Port { .. } => up.stream.port_clock_reference(),
        }
    }

    /// Sender report with SDES of one down-track, on the publisher's clock as the relay knows it.
    pub(super) fn send_sender_report<O: Outbox>(&mut self, now: Time, down_key: DownKey, outbox: &mut O) {
        let reference = self.clock_reference(self.tracks.up(self.tracks.down(down_key).up));
        let down = &mut self.tracks.downs[down_key];
        let key = down.transport;
        let Some(report) = down.sender_report(now, reference, self.config.ntp) else { return };
        let cname = down.cname;
        self.send_rtcp(key, outbox, |compound| {
            compound.push(|out| report.write(out));
            compound.push(|out| rtcp::write_sdes_cname(out, report.ssrc, &cname));
        });
    }
}
