//! RTCP from a peer. It ends here: nothing of it is relayed, and it can only speak of the peer's own tracks.

use super::Shard;
use super::faults::Input;
use crate::id::Ssrc;
use crate::keys::{DownKey, TransportKey};
use crate::outbox::Outbox;
use crate::srtp::OpenError;
use crate::stats::{Count, DropReason};
use crate::time::Time;
use crate::track::Tracks;
use crate::transport::SsrcUse;
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
        self.each(compound, |shard, packet| shard.on_rtcp_packet(now, key, &packet, outbox));
        Ok(())
    }

    /// Handles every item, whatever becomes of those before it, and counts those that are of no use.
    fn each<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut handle: impl FnMut(&mut Self, T) -> Result<(), DropReason>,
    ) {
        for item in items {
            if let Err(reason) = handle(self, item) {
                self.counters.drop(reason);
            }
        }
    }

    fn on_rtcp_packet<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        packet: &RtcpPacket<'_>,
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        match packet {
            // RFC 3550 §6.4: who sends and receives reports in one message.
            RtcpPacket::Sr(sr) => {
                self.on_report_blocks(now, key, sr.blocks());
                self.on_sender_report(now, key, sr)
            }
            RtcpPacket::Rr(rr) => {
                self.on_report_blocks(now, key, rr.blocks());
                Ok(())
            }
            RtcpPacket::Nack(nack) => self.on_nack(now, key, nack, outbox),
            RtcpPacket::Pli(pli) => self.on_keyframe_request(now, key, pli.media_ssrc),
            RtcpPacket::Fir(fir) => {
                self.each(fir.entries(), |shard, entry| shard.on_keyframe_request(now, key, entry.ssrc));
                Ok(())
            }
            // Estimates of what the peer can receive: the send-side estimator will want them.
            RtcpPacket::Remb(_) | RtcpPacket::TransportCc(_) => Ok(()),
            // A BYE ends nothing: only consent, signaling or policy does.
            RtcpPacket::Sdes(_) | RtcpPacket::Bye(_) | RtcpPacket::Other { .. } => Ok(()),
        }
    }

    fn on_report_blocks(&mut self, now: Time, key: TransportKey, blocks: ReportBlocks<'_>) {
        self.each(blocks, |shard, block| {
            let down_key = shard.down_by_ssrc(key, block.ssrc).ok_or(DropReason::RtcpForeignSsrc)?;
            shard.tracks.downs[down_key].on_report_block(now, &block, shard.config.ntp);
            Ok(())
        });
    }

    fn on_sender_report(
        &mut self,
        now: Time,
        key: TransportKey,
        sr: &SenderReport<'_>,
    ) -> Result<(), DropReason> {
        let transport = &mut self.transports[key];
        match transport.receiving.ssrc_use(sr.sender_ssrc) {
            Some(SsrcUse::Media(layer)) => {
                let stream = &mut self.tracks.layer_mut(layer).stream;
                stream.on_sender_report(now, sr.ntp, sr.rtp_timestamp, &mut transport.receiving.clock);
                // The clock is the publisher's: all of its tracks follow it, here and on other shards.
                for index in 0..self.transports[key].ups.len() {
                    self.tell_clock(self.transports[key].ups[index]);
                }
                Ok(())
            }
            Some(SsrcUse::Rtx(_)) => Ok(()),
            None => Err(DropReason::RtcpForeignSsrc),
        }
    }

    fn on_nack<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        nack: &Nack<'_>,
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        let down_key = self.down_by_ssrc(key, nack.media_ssrc).ok_or(DropReason::RtcpForeignSsrc)?;
        self.each(nack.seqs(), |shard, seq| {
            shard.counters.add(Count::NacksReceived, 1);
            let Tracks { ups, downs, .. } = &mut shard.tracks;
            let down = &mut downs[down_key];
            let history = &ups[down.layer.up].layers[usize::from(down.layer.layer)].stream.history;
            down.retransmit(now, seq, history, &shard.transports[key], &mut shard.counters, outbox)
        });
        Ok(())
    }

    /// The down-track of this peer with this SSRC, media or RTX.
    pub(super) fn down_by_ssrc(&self, key: TransportKey, ssrc: Ssrc) -> Option<DownKey> {
        self.transports[key].downs.iter().copied().find(|d| self.tracks.down(*d).uses_ssrc(ssrc))
    }
}
