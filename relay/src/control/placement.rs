//! What lives where: rooms and transports on shards, tracks on transports.
//!
//! The first transport of a room goes to the shard with the fewest transports, and later ones follow it there while the room
//! stays within its budget of that shard: a small room is whole on one shard, and nothing of it is piped. What comes beyond
//! goes to further shards, the least loaded first; a room that has used up its budget everywhere spreads evenly. A transport
//! never moves. The shards are truth; this is the index that finds them, fed by their replies and events.

use std::collections::HashMap;

#[derive(Clone, Debug)]
struct Room {
    /// Transports, and those being opened, for each shard.
    holders: Vec<usize>,
}

#[derive(Debug)]
struct Transport {
    room_id: u64,
    shard: usize,
    tracks: Vec<u64>,
}

/// See the module.
#[derive(Debug)]
pub struct Placement {
    rooms: HashMap<u64, Room>,
    transports: HashMap<u64, Transport>,
    /// Track to its transport.
    tracks: HashMap<u64, u64>,
    /// Sum of the rooms' holders, for each shard.
    load: Vec<usize>,
    /// Transports of one room on one shard before others are used.
    budget: usize,
}

impl Placement {
    /// Nothing lives anywhere. A room may have `budget` transports on a shard before it uses another one.
    #[must_use]
    pub fn new(shards: usize, budget: usize) -> Self {
        Self {
            rooms: HashMap::new(),
            transports: HashMap::new(),
            tracks: HashMap::new(),
            load: vec![0; shards],
            budget,
        }
    }

    /// Where a transport is to be opened: where it already is, else with its room. Followed by exactly one of
    /// [`Placement::opened`] and [`Placement::not_opened`] with the same room and shard.
    pub fn open(&mut self, transport_id: u64, room_id: u64) -> usize {
        let existing = self.transports.get(&transport_id).map(|t| t.shard);
        let shard = existing.unwrap_or_else(|| self.choose(room_id));
        let shards = self.load.len();
        let room = self.rooms.entry(room_id).or_insert_with(|| Room { holders: vec![0; shards] });
        room.holders[shard] += 1;
        self.load[shard] += 1;
        shard
    }

    /// The shard opened it, or says that it was open.
    pub fn opened(&mut self, transport_id: u64, room_id: u64, shard: usize) {
        if self.transports.contains_key(&transport_id) {
            return self.not_opened(room_id, shard);
        }
        self.transports.insert(transport_id, Transport { room_id, shard, tracks: Vec::new() });
    }

    /// The shard refused.
    pub fn not_opened(&mut self, room_id: u64, shard: usize) {
        self.release(room_id, shard);
    }

    /// The transport ended, and its tracks with it. Saying it twice is no error.
    pub fn ended(&mut self, transport_id: u64) {
        let Some(transport) = self.transports.remove(&transport_id) else { return };
        for track in transport.tracks {
            self.tracks.remove(&track);
        }
        self.release(transport.room_id, transport.shard);
    }

    /// A track was added to a transport.
    pub fn track_added(&mut self, track_id: u64, transport_id: u64) {
        let Some(transport) = self.transports.get_mut(&transport_id) else { return };
        if self.tracks.insert(track_id, transport_id).is_none() {
            transport.tracks.push(track_id);
        }
    }

    /// A track was removed.
    pub fn track_removed(&mut self, track_id: u64) {
        let Some(transport_id) = self.tracks.remove(&track_id) else { return };
        if let Some(transport) = self.transports.get_mut(&transport_id) {
            transport.tracks.retain(|t| *t != track_id);
        }
    }

    /// Where a transport lives.
    #[must_use]
    pub fn shard_of_transport(&self, transport_id: u64) -> Option<usize> {
        self.transports.get(&transport_id).map(|t| t.shard)
    }

    /// The room of a transport.
    #[must_use]
    pub fn room_of_transport(&self, transport_id: u64) -> Option<u64> {
        self.transports.get(&transport_id).map(|t| t.room_id)
    }

    /// Where a track lives.
    #[must_use]
    pub fn shard_of_track(&self, track_id: u64) -> Option<usize> {
        self.tracks.get(&track_id).and_then(|t| self.shard_of_transport(*t))
    }

    /// Rooms, transports and tracks known.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.rooms.len(), self.transports.len(), self.tracks.len())
    }

    fn release(&mut self, room_id: u64, shard: usize) {
        let Some(room) = self.rooms.get_mut(&room_id) else { return };
        room.holders[shard] -= 1;
        self.load[shard] -= 1;
        if room.holders.iter().all(|holders| *holders == 0) {
            self.rooms.remove(&room_id);
        }
    }

    /// Of the shards where the room is within its budget, the one that has most of it, so that it stays together; then the
    /// least loaded one. All shards count where it is within its budget nowhere.
    fn choose(&self, room_id: u64) -> usize {
        let holders = |shard: usize| self.rooms.get(&room_id).map_or(0, |room| room.holders[shard]);
        let within = (0..self.load.len()).filter(|shard| holders(*shard) < self.budget);
        let best = within.min_by_key(|shard| (std::cmp::Reverse(holders(*shard)), self.load[*shard]));
        best.or_else(|| (0..self.load.len()).min_by_key(|shard| self.load[*shard])).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(placement: &mut Placement, transport: u64, room: u64) -> usize {
        let shard = placement.open(transport, room);
        placement.opened(transport, room, shard);
        shard
    }

    #[test]
    fn rooms_spread_and_stay_whole() {
        let mut p = Placement::new(2, 64);
        assert_eq!(open(&mut p, 1, 100), 0);
        assert_eq!(open(&mut p, 2, 100), 0);
        assert_eq!(open(&mut p, 3, 200), 1);
        assert_eq!(open(&mut p, 4, 100), 0, "its room is there");
        assert_eq!(open(&mut p, 5, 300), 1, "fewer transports");
        assert_eq!(p.sizes(), (3, 5, 0));
        for transport in 1..=5 {
            p.ended(transport);
            p.ended(transport);
        }
        assert_eq!((p.sizes(), p.load), ((0, 0, 0), vec![0, 0]));
    }

    #[test]
    fn a_room_beyond_its_budget_uses_more_shards() {
        let mut p = Placement::new(3, 2);
        // Another room makes shard 1 the busiest.
        assert_eq!([open(&mut p, 90, 9), open(&mut p, 91, 8), open(&mut p, 92, 9)], [0, 1, 0]);
        p.ended(90);
        p.ended(92);
        let shards: Vec<usize> = (1..=9).map(|transport| open(&mut p, transport, 100)).collect();
        assert_eq!(shards, [0, 0, 2, 2, 1, 1, 0, 2, 0], "whole, then the least loaded, then evenly");
        // Room that became free at home is used again.
        for transport in [1, 2, 7, 9] {
            p.ended(transport);
        }
        assert_eq!([10, 11].map(|transport| open(&mut p, transport, 100)), [0, 0]);
        for transport in 1..=100 {
            p.ended(transport);
        }
        assert_eq!((p.sizes(), p.load), ((0, 0, 0), vec![0, 0, 0]));
    }

    #[test]
    fn one_publisher_and_400_subscribers_use_both_shards_evenly() {
        let mut p = Placement::new(2, crate::config::ROOM_TRANSPORTS_PER_SHARD);
        for transport in 0..401 {
            open(&mut p, transport, 100);
        }
        assert_eq!(p.load, [201, 200]);
    }

    #[test]
    fn opening_again_goes_to_the_same_shard_and_counts_once() {
        let mut p = Placement::new(2, 64);
        assert_eq!(open(&mut p, 1, 100), 0);
        assert_eq!(open(&mut p, 1, 100), 0);
        // The same id in another room: its own shard answers that the id is in use.
        assert_eq!(p.open(1, 200), 0);
        p.not_opened(200, 0);
        p.ended(1);
        assert_eq!((p.sizes(), p.load), ((0, 0, 0), vec![0, 0]));
    }

    #[test]
    fn a_room_keeps_its_shard_while_a_transport_is_being_opened() {
        let mut p = Placement::new(2, 64);
        let first = p.open(1, 100);
        let second = p.open(1, 100);
        p.not_opened(100, second);
        assert_eq!(p.open(2, 100), first);
        p.opened(1, 100, second);
        p.opened(2, 100, first);
        assert_eq!(p.sizes(), (1, 2, 0));
    }

    #[test]
    fn tracks_go_with_their_transport() {
        let mut p = Placement::new(2, 64);
        open(&mut p, 1, 100);
        open(&mut p, 2, 200);
        p.track_added(11, 1);
        p.track_added(11, 1);
        p.track_added(21, 2);
        p.track_added(31, 3);
        assert_eq!(
            (p.shard_of_track(11), p.shard_of_track(21), p.shard_of_track(31)),
            (Some(0), Some(1), None)
        );
        p.track_removed(21);
        p.ended(1);
        assert_eq!((p.shard_of_track(11), p.shard_of_track(21)), (None, None));
        assert_eq!(p.sizes(), (1, 1, 0));
    }
}
