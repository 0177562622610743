//! All tracks of a shard, and which of them belong together.

use super::{DownTrack, Layer, UpTrack};
use crate::id::Ssrc;
use crate::keys::{DownKey, LayerKey, OfDownTracks, OfUpTracks, UpKey};
use crate::shed::Shedding;
use crate::table::Table;
use crate::transports::Transports;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::ops::Range;

/// Received tracks.
pub type Ups = Table<UpTrack, OfUpTracks>;
/// Sent tracks.
pub type Downs = Table<DownTrack, OfDownTracks>;

/// See the module.
#[derive(Debug, Default)]
pub struct Tracks {
    /// Received.
    pub ups: Ups,
    /// Sent.
    pub downs: Downs,
    /// Which of them get nothing.
    pub shedding: Shedding,
    up_ids: HashMap<u64, UpKey, RandomState>,
    down_ids: HashMap<u64, DownKey, RandomState>,
}

impl Tracks {
    /// The up-track at `key`, which must be live.
    #[must_use]
    pub fn up(&self, key: UpKey) -> &UpTrack {
        &self.ups[key]
    }

    /// The down-track at `key`, which must be live.
    #[must_use]
    pub fn down(&self, key: DownKey) -> &DownTrack {
        &self.downs[key]
    }

    /// Whether a subscription gets nothing, because the shard does not keep up.
    #[must_use]
    pub fn is_shed(&self, down: &DownTrack) -> bool {
        down.rank < self.shedding.cut()
    }

    /// By the controller's id.
    #[must_use]
    pub fn up_key(&self, id: u64) -> Option<UpKey> {
        self.up_ids.get(&id).copied()
    }

    /// By the controller's id.
    #[must_use]
    pub fn down_key(&self, id: u64) -> Option<DownKey> {
        self.down_ids.get(&id).copied()
    }

    /// By the controller's id.
    #[must_use]
    pub fn up_by_id(&self, id: u64) -> Option<&UpTrack> {
        self.up_key(id).map(|k| self.up(k))
    }

    /// By the controller's id.
    #[must_use]
    pub fn down_by_id(&self, id: u64) -> Option<&DownTrack> {
        self.down_key(id).map(|k| self.down(k))
    }

    /// Of these down-tracks that with this SSRC, of its media or its retransmissions.
    #[must_use]
    pub fn down_by_ssrc(&self, downs: &[DownKey], ssrc: Ssrc) -> Option<DownKey> {
        downs.iter().copied().find(|key| self.down(*key).uses_ssrc(ssrc))
    }

    /// Whether a track of either direction has this id.
    #[must_use]
    pub fn is_used(&self, id: u64) -> bool {
        self.up_ids.contains_key(&id) || self.down_ids.contains_key(&id)
    }

    /// Ids of received tracks.
    #[must_use]
    pub fn up_id_count(&self) -> usize {
        self.up_ids.len()
    }

    /// Ids of sent tracks.
    #[must_use]
    pub fn down_id_count(&self) -> usize {
        self.down_ids.len()
    }

    /// Adds a received track.
    pub fn insert_up(&mut self, up: UpTrack) -> UpKey {
        let id = up.id;
        let key = self.ups.insert(up);
        self.up_ids.insert(id, key);
        key
    }

    /// Adds a sent track and lists it with what feeds it.
    pub fn insert_down(&mut self, mut down: DownTrack) -> DownKey {
        let (id, layer) = (down.id, down.layer);
        let up = &self.ups[layer.up];
        down.rank = self.shedding.add(up.params.kind, up.priority);
        let key = self.downs.insert(down);
        self.down_ids.insert(id, key);
        self.list(key, layer);
        key
    }

    fn list(&mut self, key: DownKey, layer: LayerKey) {
        let subscribers = &mut self.ups[layer.up].layers[usize::from(layer.layer)].subscribers;
        self.downs[key].place = subscribers.len() as u32;
        subscribers.push(key);
    }

    /// Takes a down-track off the list of what feeds it, without a search: a large room ends subscriber by
    /// subscriber. The last of the list has its place then.
    fn unlist(&mut self, layer: LayerKey, place: u32) {
        let subscribers = &mut self.ups[layer.up].layers[usize::from(layer.layer)].subscribers;
        subscribers.swap_remove(place as usize);
        if let Some(moved) = subscribers.get(place as usize) {
            self.downs[*moved].place = place;
        }
    }

    /// A layer, which must be there.
    #[inline]
    #[must_use]
    pub fn layer(&self, key: LayerKey) -> &Layer {
        &self.ups[key.up].layers[usize::from(key.layer)]
    }

    /// A layer, which must be there.
    #[inline]
    pub fn layer_mut(&mut self, key: LayerKey) -> &mut Layer {
        &mut self.ups[key.up].layers[usize::from(key.layer)]
    }

    /// All layers of received tracks.
    pub fn layers(&self) -> impl Iterator<Item = (LayerKey, &Layer)> {
        self.ups.iter().flat_map(|(up, track)| {
            let layers = (0..).zip(&track.layers);
            layers.map(move |(index, layer)| (LayerKey { up, layer: index }, layer))
        })
    }

    /// Feeds a down-track by another layer of its up-track from now on: its video waits for a keyframe of
    /// that one. What waits on the layer before is to be forwarded first.
    pub fn select_layer(&mut self, key: DownKey, layer: u8) {
        let before = self.downs[key].layer;
        if layer == before.layer {
            return;
        }
        debug_assert!(self.layer(before).pending.is_empty(), "forwarded first");
        let selected = LayerKey { layer, ..before };
        self.unlist(before, self.downs[key].place);
        self.list(key, selected);
        let down = &mut self.downs[key];
        down.layer = selected;
        down.stream.switch_source();
    }

    /// Removes a sent track.
    pub fn remove_down(&mut self, key: DownKey) -> DownTrack {
        let down = self.take_down(key);
        self.unlist(down.layer, down.place);
        down
    }

    /// Removes a sent track that is on no list any more.
    fn take_down(&mut self, key: DownKey) -> DownTrack {
        let down = self.downs.remove(key).expect("the caller has its key from us");
        self.down_ids.remove(&down.id);
        self.shedding.remove(down.rank);
        down
    }

    /// Sheds so many [`SHED_STEPS`](crate::shed::SHED_STEPS); the ranks that are taken back. To be called
    /// again and again: who came or went since is noticed here.
    pub fn shed(&mut self, steps: u8) -> Range<u8> {
        if steps > 0 && self.shedding.steps() == 0 {
            self.deal_ranks();
        }
        self.shedding.set(steps)
    }

    /// Subscription by subscription, so that each track has its share of every rank. Takes a moment with
    /// thousands of them, so it is done only when shedding begins.
    fn deal_ranks(&mut self) {
        self.shedding.clear();
        for (_, up) in self.ups.iter() {
            for key in up.subscribers() {
                self.downs[key].rank = self.shedding.add(up.params.kind, up.priority);
            }
        }
    }

    /// Removes a received track, and what it feeds from the transports as well.
    pub fn remove_up(&mut self, key: UpKey, transports: &mut Transports) -> UpTrack {
        let up = self.ups.remove(key).expect("the caller has its key from us");
        self.up_ids.remove(&up.id);
        for down_key in up.subscribers() {
            let down = self.take_down(down_key);
            transports[down.transport].forget_down(down_key);
        }
        up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Pt;
    use crate::media::{Codec, MediaKind, Priority};
    use crate::rng::Rng;
    use crate::table::Key;
    use crate::time::Time;
    use crate::track::{Life, Params, Source};
    use relay_port::PortId;

    const PARAMS: Params = Params { pt: Pt(96), ..Params::bare(MediaKind::Video, Codec::Vp8, 90_000) };

    /// Steps are counted in subscribers that change their place: in a list that keeps its order, all behind
    /// the one that goes.
    #[test]
    fn a_large_audience_leaves_in_as_many_steps_as_it_has_members() {
        const AUDIENCE: u64 = 2_000;
        let (mut tracks, mut rng) = (Tracks::default(), Rng::new([3; 32]));
        let source = Source::Port { port: PortId::shard(1), opening: 1, life: Life::Held };
        let up = tracks.insert_up(UpTrack::new(1, source, 1, PARAMS, Priority::Medium, Time::ZERO));
        let layer = LayerKey::first(up);
        let mut join = |id: u64| {
            let (keys, ssrcs) = ((Key::forged(0), layer), (Ssrc(1), Ssrc(2)));
            let down = DownTrack::new((id, 1), "relay", keys, PARAMS, ssrcs, &mut rng, Time::ZERO);
            tracks.insert_down(down)
        };
        let audience: Vec<DownKey> = (10..10 + AUDIENCE).map(&mut join).collect();
        let mut steps = 0;
        for key in audience {
            let before = tracks.layer(layer).subscribers.clone();
            tracks.remove_down(key);
            let after = &tracks.layer(layer).subscribers;
            assert!(after.len() == before.len() - 1 && !after.contains(&key));
            steps += after.iter().zip(&before).filter(|(after, before)| after != before).count() as u64;
            let places = after.iter().map(|key| tracks.down(*key).place);
            assert!(places.eq(0..after.len() as u32), "each knows its own");
        }
        assert!(steps < AUDIENCE, "{steps} steps");
    }
}
