//! Which shard each room and transport is on, and which transport each track belongs to.
//!
//! The first transport of a room goes to the shard with the fewest transports, and later ones follow it there
//! while the room stays within its budget of that shard: a small room is whole on one shard, and nothing of
//! it is piped. What comes beyond goes to further shards, the least loaded first; a room that has used up its
//! budget everywhere spreads evenly. A transport never moves; one that its shard has no place for is opened
//! on another, so that a full shard keeps nobody out of its rooms.
//!
//! The shards decide what exists; this is an index of it. It describes the state after every order given so
//! far is carried out, so a command finds what an earlier one makes whether that has been answered or not:
//! what an order makes is added when the order is given, and removed again if it is refused; what an order
//! removes is removed when the order is given. Replies are told apart by the ticket of their order, as a
//! transport may be closed and opened again before any of it is answered.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

/// Transports and tracks on one page of an inventory: a shard describes them in well under 0.1 ms, between
/// two batches.
pub const PAGE_ITEMS_MAX: usize = 64;

/// Number of an order, unique in the process.
pub type Ticket = u64;

#[derive(Clone, Debug)]
struct Room {
    /// Its transports on each shard, those being opened included.
    transports_on: Vec<usize>,
}

#[derive(Debug)]
struct Transport {
    room_id: u64,
    shard: usize,
    /// The first order that opened it, since it was last closed: its place in the inventory.
    since: Ticket,
    /// Whether the shard has confirmed it, and not reported its end since.
    alive: bool,
    /// Orders to open it, with the rooms they name, that are not answered yet.
    opening: Vec<(Ticket, u64)>,
    /// Tracks that are its own or are being added.
    tracks: Vec<u64>,
}

#[derive(Debug)]
struct Track {
    shard: usize,
    /// The transport that owns it, as confirmed by its shard.
    owner: Option<u64>,
    /// Orders to add it, with the transports they name, that are not answered yet.
    adding: Vec<(Ticket, u64)>,
}

#[derive(Debug)]
pub struct Placement {
    rooms: HashMap<u64, Room>,
    transports: HashMap<u64, Transport>,
    tracks: HashMap<u64, Track>,
    by_age: BTreeMap<Ticket, u64>,
    /// Transports on each shard, those being opened included.
    load: Vec<usize>,
    /// Transports of one room on one shard before others are used.
    budget: usize,
}

impl Placement {
    /// An empty index. A room may have `budget` transports on a shard before it uses another one.
    #[must_use]
    pub fn new(shards: usize, budget: usize) -> Self {
        Self {
            rooms: HashMap::new(),
            transports: HashMap::new(),
            tracks: HashMap::new(),
            by_age: BTreeMap::new(),
            load: vec![0; shards],
            budget,
        }
    }

    /// Where a transport is to be opened: where it already is, else with its room.
    #[must_use]
    pub fn choose(&self, transport_id: u64, room_id: u64) -> usize {
        self.shard_of_transport(transport_id).unwrap_or_else(|| self.choose_for_room(room_id))
    }

    /// Where a track that no transport sends is to be: with its room.
    #[must_use]
    pub fn choose_source(&self, room_id: u64) -> usize {
        self.choose_for_room(room_id)
    }

    /// Another shard for a transport that the room's own shard has no place for: the best of those that have
    /// not been tried.
    #[must_use]
    pub fn choose_other(&self, room_id: u64, tried: &[usize]) -> Option<usize> {
        self.best_for_room(room_id, |shard| !tried.contains(&shard))
    }

    /// A shard was ordered to open it, the one that [`Placement::choose`] returned. Answered by
    /// [`Placement::opened`] or [`Placement::not_opened`].
    pub fn opening(&mut self, transport_id: u64, room_id: u64, shard: usize, ticket: Ticket) {
        let mut is_new = false;
        let transport = self.transports.entry(transport_id).or_insert_with(|| {
            is_new = true;
            let (alive, opening, tracks) = (false, Vec::new(), Vec::new());
            Transport { room_id, shard, since: ticket, alive, opening, tracks }
        });
        debug_assert_eq!(transport.shard, shard, "a transport never moves");
        transport.opening.push((ticket, room_id));
        if is_new {
            self.by_age.insert(ticket, transport_id);
            self.add_to_room(room_id, shard);
        }
    }

    /// The shard has opened it, or replied that it was open already.
    pub fn opened(&mut self, transport_id: u64, ticket: Ticket) {
        let Some(transport) = self.transports.get_mut(&transport_id) else { return };
        let Some((_, room_id)) = take(&mut transport.opening, ticket) else { return };
        transport.alive = true;
        self.move_to_room(transport_id, room_id);
    }

    /// The shard refused to open it. True: the transport is on no shard, it was not closed meanwhile, and no
    /// track was ordered for it, which would be refused.
    pub fn not_opened(&mut self, transport_id: u64, ticket: Ticket) -> bool {
        let Some(transport) = self.transports.get_mut(&transport_id) else { return false };
        let was_awaited = take(&mut transport.opening, ticket).is_some();
        let has_tracks = !transport.tracks.is_empty();
        if was_awaited {
            self.settle(transport_id);
        }
        was_awaited && !has_tracks && !self.transports.contains_key(&transport_id)
    }

    /// The shard was ordered to close it, and so its tracks.
    pub fn closing(&mut self, transport_id: u64) {
        let Some(transport) = self.transports.remove(&transport_id) else { return };
        self.by_age.remove(&transport.since);
        for track in transport.tracks {
            self.remove_owners(track, |owner| owner == transport_id);
        }
        self.remove_from_room(transport.room_id, transport.shard);
    }

    /// Its shard says that it ended. Events keep the order of the shard's replies, so this is about an
    /// earlier transport of this id if an order to open it is not answered yet. Repeating it is no error.
    pub fn ended(&mut self, transport_id: u64, shard: usize) {
        let Some(transport) = self.transports.get_mut(&transport_id) else { return };
        if transport.shard != shard || !std::mem::take(&mut transport.alive) {
            return;
        }
        if let Some(&(ticket, _)) = transport.opening.first() {
            self.by_age.remove(&std::mem::replace(&mut transport.since, ticket));
            self.by_age.insert(ticket, transport_id);
        }
        for track_id in transport.tracks.clone() {
            if let Some(track) = self.tracks.get_mut(&track_id) {
                track.owner = track.owner.filter(|owner| *owner != transport_id);
                self.forget_track_if_gone(track_id);
            }
            self.remove_from_list(track_id, transport_id);
        }
        self.settle(transport_id);
    }

    /// A shard was ordered to add a track to one of its transports. Answered by [`Placement::added`] or
    /// [`Placement::not_added`].
    pub fn adding(&mut self, track_id: u64, transport_id: u64, ticket: Ticket) {
        let Some(transport) = self.transports.get_mut(&transport_id) else { return };
        if !transport.tracks.contains(&track_id) {
            transport.tracks.push(track_id);
        }
        let shard = transport.shard;
        let none = || Track { shard, owner: None, adding: Vec::new() };
        self.tracks.entry(track_id).or_insert_with(none).adding.push((ticket, transport_id));
    }

    /// The shard has added it, or replied that it was there already.
    pub fn added(&mut self, track_id: u64, ticket: Ticket) {
        let Some(track) = self.tracks.get_mut(&track_id) else { return };
        if let Some((_, transport_id)) = take(&mut track.adding, ticket) {
            track.owner = Some(transport_id);
        }
    }

    /// The shard has refused to add it.
    pub fn not_added(&mut self, track_id: u64, ticket: Ticket) {
        let Some(track) = self.tracks.get_mut(&track_id) else { return };
        if let Some((_, transport_id)) = take(&mut track.adding, ticket) {
            self.forget_track_if_gone(track_id);
            self.remove_from_list(track_id, transport_id);
        }
    }

    /// The shard was ordered to remove it.
    pub fn removing(&mut self, track_id: u64) {
        let Some(track) = self.tracks.get(&track_id) else { return };
        let whose: Vec<u64> = track.adding.iter().map(|(_, id)| *id).chain(track.owner).collect();
        self.remove_owners(track_id, |_| true);
        whose.into_iter().for_each(|transport_id| self.remove_from_list(track_id, transport_id));
    }

    #[must_use]
    pub fn shard_of_transport(&self, transport_id: u64) -> Option<usize> {
        self.transports.get(&transport_id).map(|t| t.shard)
    }

    #[must_use]
    pub fn room_of_transport(&self, transport_id: u64) -> Option<u64> {
        self.transports.get(&transport_id).map(|t| t.room_id)
    }

    #[must_use]
    pub fn shard_of_track(&self, track_id: u64) -> Option<usize> {
        self.tracks.get(&track_id).map(|track| track.shard)
    }

    /// The transport that owns the track, or that it is being added to.
    #[must_use]
    pub fn transport_of_track(&self, track_id: u64) -> Option<u64> {
        let track = self.tracks.get(&track_id)?;
        track.owner.or_else(|| track.adding.first().map(|(_, transport_id)| *transport_id))
    }

    /// The next transports of the inventory with their shards, oldest first, and where the page behind them
    /// begins; 0 if there is none. What is opened meanwhile is younger than all that is on a page already.
    #[must_use]
    pub fn page(&self, after: Ticket) -> (Vec<(usize, u64)>, Ticket) {
        let (mut page, mut items, mut last) = (Vec::new(), 0, after);
        for (ticket, id) in self.by_age.range((Bound::Excluded(after), Bound::Unbounded)) {
            let Some(transport) = self.transports.get(id) else { continue };
            items += 1 + transport.tracks.len();
            if items > PAGE_ITEMS_MAX && !page.is_empty() {
                return (page, last);
            }
            page.push((transport.shard, *id));
            last = *ticket;
        }
        (page, 0)
    }

    /// How many rooms, transports and tracks there are.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.rooms.len(), self.transports.len(), self.tracks.len())
    }

    /// To be called when a transport has ended or an order to open it was refused. Without another order to
    /// open it, it is removed; with one, it is in the room that the oldest such order names.
    fn settle(&mut self, transport_id: u64) {
        let Some(transport) = self.transports.get(&transport_id) else { return };
        match transport.opening.first() {
            _ if transport.alive => {}
            Some(&(_, room_id)) => self.move_to_room(transport_id, room_id),
            None => self.closing(transport_id),
        }
    }

    fn move_to_room(&mut self, transport_id: u64, room_id: u64) {
        let Some(transport) = self.transports.get_mut(&transport_id) else { return };
        let (before, shard) = (std::mem::replace(&mut transport.room_id, room_id), transport.shard);
        if before != room_id {
            self.add_to_room(room_id, shard);
            self.remove_from_room(before, shard);
        }
    }

    /// Ends the ownership of a track by the transports that `whose` selects.
    fn remove_owners(&mut self, track_id: u64, whose: impl Fn(u64) -> bool) {
        let Some(track) = self.tracks.get_mut(&track_id) else { return };
        track.owner = track.owner.filter(|owner| !whose(*owner));
        track.adding.retain(|(_, transport_id)| !whose(*transport_id));
        self.forget_track_if_gone(track_id);
    }

    /// Takes a track out of a transport's list, unless it is or will be that transport's.
    fn remove_from_list(&mut self, track_id: u64, transport_id: u64) {
        let is_its = self.tracks.get(&track_id).is_some_and(|track| {
            track.owner == Some(transport_id) || track.adding.iter().any(|(_, id)| *id == transport_id)
        });
        if !is_its && let Some(transport) = self.transports.get_mut(&transport_id) {
            transport.tracks.retain(|other| *other != track_id);
        }
    }

    fn forget_track_if_gone(&mut self, track_id: u64) {
        let Some(track) = self.tracks.get(&track_id) else { return };
        if track.owner.is_none() && track.adding.is_empty() {
            self.tracks.remove(&track_id);
        }
    }

    fn add_to_room(&mut self, room_id: u64, shard: usize) {
        let shards = self.load.len();
        let room = self.rooms.entry(room_id).or_insert_with(|| Room { transports_on: vec![0; shards] });
        room.transports_on[shard] += 1;
        self.load[shard] += 1;
    }

    fn remove_from_room(&mut self, room_id: u64, shard: usize) {
        let Some(room) = self.rooms.get_mut(&room_id) else { return };
        room.transports_on[shard] -= 1;
        self.load[shard] -= 1;
        if room.transports_on.iter().all(|transports_on| *transports_on == 0) {
            self.rooms.remove(&room_id);
        }
    }

    /// Of the shards where the room is within its budget, the one that has most of it, so that it stays
    /// together; then the least loaded one. All shards count where it is within its budget nowhere.
    fn choose_for_room(&self, room_id: u64) -> usize {
        self.best_for_room(room_id, |_| true).unwrap_or(0)
    }

    fn best_for_room(&self, room_id: u64, may: impl Fn(usize) -> bool) -> Option<usize> {
        let transports_on =
            |shard: usize| self.rooms.get(&room_id).map_or(0, |room| room.transports_on[shard]);
        let shards = || (0..self.load.len()).filter(|shard| may(*shard));
        let within = shards().filter(|shard| transports_on(*shard) < self.budget);
        let best = within.min_by_key(|shard| (std::cmp::Reverse(transports_on(*shard)), self.load[*shard]));
        best.or_else(|| shards().min_by_key(|shard| self.load[*shard]))
    }
}

/// Takes the order with this ticket out of those that wait for their answers.
fn take(waiting: &mut Vec<(Ticket, u64)>, ticket: Ticket) -> Option<(Ticket, u64)> {
    let found = waiting.iter().position(|(other, _)| *other == ticket)?;
    Some(waiting.remove(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(placement: &mut Placement, transport: u64, room: u64) -> usize {
        let shard = placement.choose(transport, room);
        placement.opening(transport, room, shard, 1);
        placement.opened(transport, 1);
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
            (0..2).for_each(|shard| p.ended(transport, shard));
            p.closing(transport);
        }
        assert_eq!((p.sizes(), p.load), ((0, 0, 0), vec![0, 0]));
    }

    #[test]
    fn a_room_beyond_its_budget_uses_more_shards() {
        let mut p = Placement::new(3, 2);
        // Another room makes shard 1 the busiest.
        assert_eq!([open(&mut p, 90, 9), open(&mut p, 91, 8), open(&mut p, 92, 9)], [0, 1, 0]);
        p.closing(90);
        p.closing(92);
        let shards: Vec<usize> = (1..=9).map(|transport| open(&mut p, transport, 100)).collect();
        assert_eq!(shards, [0, 0, 2, 2, 1, 1, 0, 2, 0], "whole, then the least loaded, then evenly");
        // Room that became free at home is used again.
        for transport in [1, 2, 7, 9] {
            p.closing(transport);
        }
        assert_eq!([10, 11].map(|transport| open(&mut p, transport, 100)), [0, 0]);
        for transport in 1..=100 {
            p.closing(transport);
        }
        assert_eq!((p.sizes(), p.load), ((0, 0, 0), vec![0, 0, 0]));
    }

    #[test]
    fn one_publisher_and_400_subscribers_use_both_shards_evenly() {
        let mut p = Placement::new(2, crate::config::Config::default().room_transports_per_shard);
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
        assert_eq!(p.choose(1, 200), 0);
        p.opening(1, 200, 0, 2);
        assert_eq!(p.room_of_transport(1), Some(100));
        p.not_opened(1, 2);
        p.closing(1);
        assert_eq!((p.sizes(), p.load), ((0, 0, 0), vec![0, 0]));
    }

    #[test]
    fn a_room_keeps_its_shard_while_a_transport_is_being_opened() {
        let mut p = Placement::new(2, 64);
        p.opening(1, 100, 0, 1);
        p.opening(1, 200, 0, 2);
        assert_eq!((p.choose(2, 100), p.choose(3, 300)), (0, 1));
        p.opening(2, 100, 0, 3);
        // The first one is refused, so the second one decides.
        p.not_opened(1, 1);
        p.opened(1, 2);
        assert_eq!((p.room_of_transport(1), p.sizes()), (Some(200), (2, 2, 0)));
        p.not_opened(2, 3);
        assert_eq!((p.sizes(), p.load), ((1, 1, 0), vec![1, 0]));
    }

    #[test]
    fn tracks_go_with_their_transport() {
        let mut p = Placement::new(2, 64);
        open(&mut p, 1, 100);
        open(&mut p, 2, 200);
        for (track, transport, ticket) in [(11, 1, 5), (11, 1, 6), (12, 1, 7), (21, 2, 8), (31, 3, 9)] {
            p.adding(track, transport, ticket);
            p.added(track, ticket);
        }
        let shards = |p: &Placement| [11, 12, 21, 31].map(|track| p.shard_of_track(track));
        assert_eq!(shards(&p), [Some(0), Some(0), Some(1), None]);
        p.removing(21);
        p.ended(1, 1);
        assert_eq!(shards(&p), [Some(0), Some(0), None, None], "another shard speaks of another life");
        p.ended(1, 0);
        assert_eq!((shards(&p), p.sizes()), ([None; 4], (1, 1, 0)));
    }

    #[test]
    fn a_transport_lists_its_tracks_and_no_others() {
        let mut p = Placement::new(1, 64);
        open(&mut p, 1, 100);
        for ticket in 2..100 {
            p.adding(ticket, 1, ticket);
            p.added(ticket, ticket);
            p.removing(ticket);
            p.adding(ticket, 1, ticket + 1000);
            p.not_added(ticket, ticket + 1000);
        }
        assert!(p.transports[&1].tracks.is_empty());
        // The other order for the same track is not answered yet.
        p.adding(11, 1, 5);
        p.adding(11, 1, 6);
        p.not_added(11, 5);
        p.added(11, 6);
        assert_eq!(p.transports[&1].tracks, [11]);
    }

    #[test]
    fn a_track_is_whose_order_was_not_refused() {
        let mut p = Placement::new(1, 64);
        open(&mut p, 1, 100);
        open(&mut p, 2, 100);
        p.adding(11, 1, 5);
        p.adding(11, 2, 6);
        assert_eq!(p.transport_of_track(11), Some(1));
        p.closing(1);
        p.not_added(11, 5);
        p.added(11, 6);
        assert_eq!((p.transport_of_track(11), p.sizes()), (Some(2), (1, 1, 1)));
    }
}
