//! What lives where: rooms and transports on shards, tracks on transports.
//!
//! The first transport of a room goes to the shard with the fewest transports, later ones of the same room follow it. A
//! room keeps its shard as long as it has a transport or one is being opened. The shards are truth; this is the index
//! that finds them, fed by their replies and events.

use std::collections::HashMap;

#[derive(Clone, Copy, Debug)]
struct Room {
    shard: usize,
    /// Transports, and those being opened.
    holders: usize,
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
}

impl Placement {
    /// Nothing lives anywhere.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self {
            rooms: HashMap::new(),
            transports: HashMap::new(),
            tracks: HashMap::new(),
            load: vec![0; shards],
        }
    }

    /// Where a transport is to be opened: where it already is, else with its room. Followed by exactly one of
    /// [`Placement::opened`] and [`Placement::not_opened`] with the same room.
    pub fn open(&mut self, transport_id: u64, room_id: u64) -> usize {
        let existing = self.transports.get(&transport_id).map(|t| t.shard);
        let least = self.least_loaded();
        let room = self.rooms.entry(room_id).or_insert(Room { shard: least, holders: 0 });
        room.holders += 1;
        self.load[room.shard] += 1;
        existing.unwrap_or(room.shard)
    }

    /// The shard opened it, or says that it was open.
    pub fn opened(&mut self, transport_id: u64, room_id: u64, shard: usize) {
        if self.transports.contains_key(&transport_id) {
            return self.not_opened(room_id);
        }
        self.transports.insert(transport_id, Transport { room_id, shard, tracks: Vec::new() });
    }

    /// The shard refused.
    pub fn not_opened(&mut self, room_id: u64) {
        self.release(room_id);
    }

    /// The transport ended, and its tracks with it. Saying it twice is no error.
    pub fn ended(&mut self, transport_id: u64) {
        let Some(transport) = self.transports.remove(&transport_id) else { return };
        for track in transport.tracks {
            self.tracks.remove(&track);
        }
        self.release(transport.room_id);
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

    fn release(&mut self, room_id: u64) {
        let Some(room) = self.rooms.get_mut(&room_id) else { return };
        room.holders -= 1;
        self.load[room.shard] -= 1;
        if room.holders == 0 {
            self.rooms.remove(&room_id);
        }
    }

    fn least_loaded(&self) -> usize {
        (0..self.load.len()).min_by_key(|shard| self.load[*shard]).unwrap_or(0)
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
        let mut p = Placement::new(2);
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
    fn opening_again_goes_to_the_same_shard_and_counts_once() {
        let mut p = Placement::new(2);
        assert_eq!(open(&mut p, 1, 100), 0);
        assert_eq!(open(&mut p, 1, 100), 0);
        // The same id in another room: its own shard answers that the id is in use.
        assert_eq!(p.open(1, 200), 0);
        p.not_opened(200);
        p.ended(1);
        assert_eq!((p.sizes(), p.load), ((0, 0, 0), vec![0, 0]));
    }

    #[test]
    fn a_room_keeps_its_shard_while_a_transport_is_being_opened() {
        let mut p = Placement::new(2);
        let first = p.open(1, 100);
        let second = p.open(1, 100);
        p.not_opened(100);
        assert_eq!(p.open(2, 100), first);
        p.opened(1, 100, second);
        p.opened(2, 100, first);
        assert_eq!(p.sizes(), (1, 2, 0));
    }

    #[test]
    fn tracks_go_with_their_transport() {
        let mut p = Placement::new(2);
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
