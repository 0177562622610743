//! Who needs a keyframe, when a publisher is asked for one, and who waits until it comes.
//!
//! A subscriber's video begins with a keyframe, so it waits for one ([`Gate`](crate::down::Gate)) when it is new, when another
//! source continues the track, and when it was withheld. Whoever waits has one asked for; so does a subscriber by PLI or FIR,
//! and a jump of the publisher's numbering. All requests for a track are merged
//! ([`KeyframeRequests`](crate::up::KeyframeRequests)), which decides when one leaves.

use super::Shard;
use crate::id::Ssrc;
use crate::keys::{DownKey, LayerKey, TransportKey, UpKey};
use crate::media::MediaKind;
use crate::outbox::Outbox;
use crate::stats::{Count, DropReason};
use crate::time::Time;
use crate::track::{Source, Tracks, UpTrack};
use crate::up::Accepted;
use crate::wire::rtcp;

/// The publisher's numbering jumped. The subscribers' goes on; what is missing only a keyframe can mend.
pub(super) fn on_accepted(now: Time, up: &mut UpTrack, layer: u8, accepted: &Accepted) {
    if accepted.resync && up.params.kind == MediaKind::Video && up.is_wanted() {
        up.layers[usize::from(layer)].stream.keyframes.request(now);
    }
}

impl Shard {
    /// A subscriber asks, by PLI or FIR. Not for what is withheld: that begins with one when it is taken back.
    pub(super) fn on_keyframe_request(
        &mut self,
        now: Time,
        key: TransportKey,
        media: Ssrc,
    ) -> Result<(), DropReason> {
        let down_key = self.down_by_ssrc(key, media).ok_or(DropReason::RtcpForeignSsrc)?;
        let down = self.tracks.down(down_key);
        if self.tracks.is_shed(down) {
            return Err(DropReason::KeyframeShed);
        }
        self.want_keyframe(now, down.layer);
        Ok(())
    }

    /// Another source continues a track: its subscribers' video waits for that one's keyframe.
    pub(super) fn await_keyframes(&mut self, layer: LayerKey) {
        let Tracks { ups, downs, .. } = &mut self.tracks;
        for &down_key in &ups[layer.up].layers[usize::from(layer.layer)].subscribers {
            downs[down_key].stream.await_keyframe();
        }
    }

    /// A subscriber is ready: its video begins at the next keyframe.
    pub(super) fn ask_keyframes_for(&mut self, now: Time, key: TransportKey) {
        for index in 0..self.transports[key].downs.len() {
            let down = self.tracks.down(self.transports[key].downs[index]);
            if !self.tracks.is_shed(down) {
                self.want_keyframe(now, down.layer);
            }
        }
    }

    /// The shard does not keep up, or does again: `steps` of [`SHED_STEPS`](crate::shed::SHED_STEPS) of the video
    /// subscriptions get nothing, those of the lowest priority first. What is taken back begins at a keyframe, which is
    /// asked for.
    pub fn shed(&mut self, now: Time, steps: u8) {
        let restored = self.tracks.shed(steps);
        if restored.is_empty() {
            return;
        }
        let waits = |key: &DownKey| {
            let down = self.tracks.down(*key);
            restored.contains(&down.rank) && down.stream.awaits_keyframe()
        };
        let layers = self.tracks.layers().filter(|(_, layer)| layer.subscribers.iter().any(waits));
        let layers: Vec<LayerKey> = layers.map(|(key, _)| key).collect();
        for layer in layers {
            self.want_keyframe(now, layer);
        }
    }

    /// It is asked for when the timer fires, merged with other requests.
    pub(super) fn want_keyframe(&mut self, now: Time, key: LayerKey) {
        let up = &mut self.tracks.ups[key.up];
        if up.params.kind != MediaKind::Video {
            return;
        }
        if up.layers[usize::from(key.layer)].stream.keyframes.request(now) {
            self.counters.add(Count::KeyframesMerged, 1);
        }
        up.arm(key.up, &mut self.deadlines);
    }

    /// Asks the publisher: by PLI (RFC 4585 §6.3.1), or FIR (RFC 5104 §4.3.1) if that is all it knows. The publisher
    /// behind a port is asked by its own side, which merges the requests of all ports once more.
    pub(super) fn send_keyframe_request<O: Outbox>(&mut self, now: Time, up_key: UpKey, outbox: &mut O) {
        let up = &mut self.tracks.ups[up_key];
        let key = match up.source {
            Source::Peer(key) => key,
            Source::Port { port, .. } => return self.ask_port_for_keyframe(now, up_key, port),
        };
        let transport = &mut self.transports[key];
        let sender = transport.rtcp_ssrc;
        for layer in &mut up.layers {
            let (Some(()), Some(media)) = (layer.stream.keyframes.poll(now), layer.ssrc) else { continue };
            let fir_seq = transport.receiving.next_fir_seq();
            self.counters.add(Count::KeyframesAsked, 1);
            transport.send_rtcp(&mut self.counters, outbox, |compound| {
                compound.push(|out| rtcp::write_rr(out, sender, &[]));
                if up.params.pli {
                    compound.push(|out| rtcp::write_pli(out, sender, media));
                } else if up.params.fir {
                    compound.push(|out| rtcp::write_fir(out, sender, media, fir_seq));
                }
            });
        }
    }
}
