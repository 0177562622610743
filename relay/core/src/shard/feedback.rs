//! RTCP of the relay's own: reports, NACKs, keyframe requests and feedback to publishers, sender reports to
//! subscribers.

use crate::keys::DownKey;
use crate::outbox::Outbox;
use crate::stats::{Count, Counters};
use crate::time::{NtpClock, Time};
use crate::track::{Source, Tracks, UpTrack, Ups};
use crate::transport::{Transport, TransportTimer};
use crate::transports::Transports;
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

/// Receiver report with SDES, and REMB where it was negotiated.
pub(super) fn send_report<O: Outbox>(
    now: Time,
    transport: &mut Transport,
    ups: &mut Ups,
    counters: &mut Counters,
    outbox: &mut O,
) {
    transport.timers.set(TransportTimer::Report, now + REPORT_INTERVAL);
    let sender = transport.rtcp_ssrc;
    let mut blocks = ArrayVec::<ReportBlock, BLOCKS_MAX>::new();
    let mut remb_ssrcs = ArrayVec::<_, BLOCKS_MAX>::new();
    for &up_key in &transport.ups {
        let up = &mut ups[up_key];
        let remb = up.params.remb;
        for layer in &mut up.layers {
            let Some(ssrc) = layer.ssrc else { continue };
            if let Some(block) = layer.stream.stats.report_block(now)
                && blocks.try_push(block).is_ok()
            {
                let (expected, lost) = layer.stream.stats.last_interval();
                transport.receiving.remb.on_interval(expected, lost);
            }
            if remb {
                let _ = remb_ssrcs.try_push(ssrc);
            }
        }
    }
    let remb = transport.receiving.remb.poll(now).filter(|_| !remb_ssrcs.is_empty());
    if transport.ups.is_empty() {
        return;
    }
    transport.send_rtcp(counters, outbox, |compound| {
        compound.push(|out| rtcp::write_rr(out, sender, &blocks));
        compound.push(|out| rtcp::write_sdes_cname(out, sender, CNAME));
        if let Some(bitrate_bps) = remb {
            compound.push(|out| rtcp::write_remb(out, sender, bitrate_bps, &remb_ssrcs));
        }
    });
}

/// Transport-wide feedback, as many packets as it takes.
pub(super) fn send_transport_feedback<O: Outbox>(
    now: Time,
    transport: &mut Transport,
    counters: &mut Counters,
    outbox: &mut O,
) {
    loop {
        let Some(feedback) = &mut transport.receiving.feedback else { return };
        let report = feedback.poll_report(now);
        transport.timers.set(TransportTimer::Feedback, feedback.poll_timeout().unwrap_or(Time::MAX));
        let Some(report) = report else { return };
        let sender = transport.rtcp_ssrc;
        let media = transport.receiving.ssrcs.first().map_or(sender, |(ssrc, _)| *ssrc);
        transport.send_rtcp(counters, outbox, |compound| {
            compound.push(|out| report.write(out, sender, media));
        });
    }
}

/// Asks the publisher for missing packets (RFC 4585 §6.2.1).
pub(super) fn send_nacks<O: Outbox>(
    now: Time,
    up: &mut UpTrack,
    transports: &mut Transports,
    counters: &mut Counters,
    outbox: &mut O,
) {
    for layer in &mut up.layers {
        let seqs = layer.stream.nack.poll(now, PUBLISHER_RTT);
        let given_up = layer.stream.nack.take_given_up();
        up.lost += given_up;
        counters.add(Count::UpLost, given_up);
        let (Some(media), false) = (layer.ssrc, seqs.is_empty()) else { continue };
        let Source::Peer(key) = up.source else { continue };
        let transport = &mut transports[key];
        let sender = transport.rtcp_ssrc;
        counters.add(Count::NacksSent, seqs.len() as u64);
        transport.send_rtcp(counters, outbox, |compound| {
            compound.push(|out| rtcp::write_rr(out, sender, &[]));
            compound.push(|out| rtcp::write_nack(out, sender, media, &seqs));
        });
    }
}

/// Sender report with SDES of one down-track, on the publisher's clock as the relay knows it.
pub(super) fn send_sender_report<O: Outbox>(
    now: Time,
    down_key: DownKey,
    tracks: &mut Tracks,
    transports: &mut Transports,
    ntp: NtpClock,
    counters: &mut Counters,
    outbox: &mut O,
) {
    let Tracks { ups, downs, .. } = tracks;
    let down = &mut downs[down_key];
    let reference = ups[down.layer.up].clock_reference(down.layer.layer, transports);
    let Some(report) = down.sender_report(now, reference, ntp) else { return };
    transports[down.transport].send_rtcp(counters, outbox, |compound| {
        compound.push(|out| report.write(out));
        compound.push(|out| rtcp::write_sdes_cname(out, report.ssrc, &down.cname));
    });
}
