//! RTCP from a peer. It ends here: nothing of it is relayed, and it can only speak of the peer's own tracks.

use super::faults::Input;
use super::{Shard, keyframes};
use crate::keys::TransportKey;
use crate::outbox::Outbox;
use crate::srtp::OpenError;
use crate::stats::{Count, Counters, DropReason};
use crate::time::{NtpClock, Time};
use crate::track::Tracks;
use crate::transport::{SsrcUse, Transport};
use crate::wire::rtcp::{Nack, ReportBlocks, RtcpPacket, SenderReport, parse_compound};

impl Shard {
    pub(super) fn on_rtcp<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        datagram: &mut [u8],
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        let session = self.transports[key].session().ok_or(DropReason::NoKeys)?;
        let len = session.open.open_rtcp(datagram).map_err(|error| match error {
            OpenError::Auth => DropReason::RtcpAuth,
            OpenError::Replay => DropReason::RtcpReplay,
            OpenError::Truncated | OpenError::SsrcLimit | OpenError::NoRoom => DropReason::RtcpMalformed,
        })?;
        self.input = Input::Transport(key);
        let plaintext = datagram.get(..len).ok_or(DropReason::RtcpMalformed)?;
        let compound = parse_compound(plaintext).map_err(|_| DropReason::RtcpMalformed)?;
        self.counters.add(Count::RxRtcp, 1);
        for packet in compound {
            if let Err(reason) = self.on_rtcp_packet(now, key, &packet, outbox) {
                self.counters.drop(reason);
            }
        }
        Ok(())
    }

    fn on_rtcp_packet<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        packet: &RtcpPacket<'_>,
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        let Self { config, transports, tracks, deadlines, counters, ports, .. } = self;
        let transport = &mut transports[key];
        match packet {
            // RFC 3550 §6.4: who sends and receives reports in one message.
            RtcpPacket::Sr(sr) => {
                on_report_blocks(now, config.ntp, transport, sr.blocks(), tracks, counters);
                if on_sender_report(now, transport, sr, tracks)? {
                    // The clock is the publisher's: all of its tracks follow it, here and on other shards.
                    for up_key in &transports[key].ups {
                        ports.tell_clock(tracks.up(*up_key), transports, counters);
                    }
                }
            }
            RtcpPacket::Rr(rr) => {
                on_report_blocks(now, config.ntp, transport, rr.blocks(), tracks, counters);
            }
            RtcpPacket::Nack(nack) => on_nack(now, transport, nack, tracks, counters, outbox)?,
            RtcpPacket::Pli(pli) => {
                keyframes::on_request(now, transport, pli.media_ssrc, tracks, deadlines, counters)?;
            }
            RtcpPacket::Fir(fir) => each(fir.entries(), counters, |entry, counters| {
                keyframes::on_request(now, transport, entry.ssrc, tracks, deadlines, counters)
            }),
            // Estimates of what the peer can receive: the send-side estimator will want them.
            RtcpPacket::Remb(_) | RtcpPacket::TransportCc(_) => {}
            // A BYE ends nothing: only consent, signaling or policy does.
            RtcpPacket::Sdes(_) | RtcpPacket::Bye(_) | RtcpPacket::Other { .. } => {}
        }
        Ok(())
    }
}

/// Handles every item, whatever becomes of those before it, and counts those that are of no use.
fn each<T>(
    items: impl IntoIterator<Item = T>,
    counters: &mut Counters,
    mut handle: impl FnMut(T, &mut Counters) -> Result<(), DropReason>,
) {
    for item in items {
        if let Err(reason) = handle(item, counters) {
            counters.drop(reason);
        }
    }
}

fn on_report_blocks(
    now: Time,
    ntp: NtpClock,
    transport: &Transport,
    blocks: ReportBlocks<'_>,
    tracks: &mut Tracks,
    counters: &mut Counters,
) {
    each(blocks, counters, |block, _| {
        let down_key = tracks.down_by_ssrc(&transport.downs, block.ssrc);
        let down_key = down_key.ok_or(DropReason::RtcpForeignSsrc)?;
        tracks.downs[down_key].on_report_block(now, &block, ntp);
        Ok(())
    });
}

/// Whether it says where the publisher's clock stands.
fn on_sender_report(
    now: Time,
    transport: &mut Transport,
    sr: &SenderReport<'_>,
    tracks: &mut Tracks,
) -> Result<bool, DropReason> {
    match transport.receiving.ssrc_use(sr.sender_ssrc) {
        // Late, of the source before, whose timestamps mean nothing now.
        Some(SsrcUse::Media(layer))
            if tracks.layer(layer).ssrc.is_some_and(|current| current != sr.sender_ssrc) =>
        {
            Err(DropReason::RtcpForeignSsrc)
        }
        Some(SsrcUse::Media(layer)) => {
            let stream = &mut tracks.layer_mut(layer).stream;
            stream.on_sender_report(now, sr.ntp, sr.rtp_timestamp, &mut transport.receiving.clock);
            Ok(true)
        }
        Some(SsrcUse::Rtx(_)) => Ok(false),
        None => Err(DropReason::RtcpForeignSsrc),
    }
}

fn on_nack<O: Outbox>(
    now: Time,
    transport: &Transport,
    nack: &Nack<'_>,
    tracks: &mut Tracks,
    counters: &mut Counters,
    outbox: &mut O,
) -> Result<(), DropReason> {
    let down_key = tracks.down_by_ssrc(&transport.downs, nack.media_ssrc);
    let Tracks { ups, downs, .. } = tracks;
    let down = &mut downs[down_key.ok_or(DropReason::RtcpForeignSsrc)?];
    let history = &ups[down.layer.up].layers[usize::from(down.layer.layer)].stream.history;
    each(nack.seqs(), counters, |seq, counters| {
        counters.add(Count::NacksReceived, 1);
        down.retransmit(now, seq, history, transport, counters, outbox)
    });
    Ok(())
}
