//! Local ports as the control thread knows them: who is connected, and what was ordered.

use super::placement::Ticket;
use crate::ports::{PortsEnd, SOURCES_MAX, TAPS_MAX};
use relay_control::{AddSource, PortInfo};
use std::collections::{BTreeMap, BTreeSet};

/// A process that has sent its name.
#[derive(Debug)]
struct Known {
    name: String,
    taps: BTreeMap<u64, Tap>,
    sources: BTreeMap<u64, Source>,
    /// Shards to which it has queues.
    shards: BTreeSet<usize>,
}

/// A track that a shard was ordered to send to a process.
#[derive(Debug)]
struct Tap {
    shard: usize,
    /// The ticket of the first order: an answer to an order for a tap that has ended meanwhile is not about
    /// the one after it.
    since: Ticket,
    /// Orders that the shard has not answered.
    awaited: usize,
    /// The shard has answered that it sends the track.
    is_open: bool,
}

/// A track that a process was ordered to send.
#[derive(Debug)]
struct Source {
    shard: usize,
    ordered: AddSource,
}

#[derive(Debug, Default)]
pub struct Ports {
    /// `None`: this relay has no local ports.
    pub end: Option<PortsEnd>,
    known: BTreeMap<u32, Known>,
    /// Shards that are to be told that a process is gone, once their mailbox has room.
    leaving: Vec<(usize, u32)>,
}

impl Ports {
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        self.known.iter().find(|(_, known)| known.name == name).map(|(number, _)| *number)
    }

    /// The name of a connected process.
    #[must_use]
    pub fn name(&self, number: u32) -> Option<&str> {
        self.known.get(&number).map(|known| known.name.as_str())
    }

    /// Whether the ports' thread has room for this many orders.
    #[must_use]
    pub fn has_room(&self, orders: usize) -> bool {
        self.end.as_ref().is_some_and(|end| end.has_room(orders))
    }

    /// A process has sent its name.
    pub fn connected(&mut self, number: u32, name: String) {
        let (taps, sources, shards) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        self.known.insert(number, Known { name, taps, sources, shards });
    }

    /// A process has disconnected; returns its name.
    pub fn gone(&mut self, number: u32) -> Option<String> {
        let known = self.known.remove(&number)?;
        self.leaving.extend(known.shards.into_iter().map(|shard| (shard, number)));
        Some(known.name)
    }

    /// The list of shards to inform; the caller puts back those whose mailbox is full.
    pub fn leaving(&mut self) -> &mut Vec<(usize, u32)> {
        &mut self.leaving
    }

    /// Whether there are queues between a process and a shard.
    #[must_use]
    pub fn is_connected(&self, number: u32, shard: usize) -> bool {
        self.known.get(&number).is_some_and(|known| known.shards.contains(&shard))
    }

    pub fn connect(&mut self, number: u32, shard: usize) {
        if let Some(known) = self.known.get_mut(&number) {
            known.shards.insert(shard);
        }
    }

    /// Whether a shard has said that it sends the track to the process.
    #[must_use]
    pub fn is_tapped(&self, number: u32, track_id: u64, shard: usize) -> bool {
        let tap = self.known.get(&number).and_then(|known| known.taps.get(&track_id));
        tap.is_some_and(|tap| tap.is_open && tap.shard == shard)
    }

    /// Notes that a shard is ordered to send a track to a process. `None`: the process has as many as it may;
    /// else the tap's first ticket.
    pub fn add_tap(&mut self, number: u32, track_id: u64, shard: usize, ticket: Ticket) -> Option<Ticket> {
        let taps = &mut self.known.get_mut(&number)?.taps;
        if taps.len() >= TAPS_MAX && !taps.contains_key(&track_id) {
            return None;
        }
        let new = || Tap { shard, since: ticket, awaited: 0, is_open: false };
        let tap = taps.entry(track_id).or_insert_with(new);
        if tap.shard != shard {
            *tap = new();
        }
        tap.awaited += 1;
        Some(tap.since)
    }

    /// The shard has answered an order for the tap that began with the ticket `since`. True: it sends the
    /// track by none of them, so the tap is removed.
    pub fn tap_answered(&mut self, number: u32, track_id: u64, since: Ticket, is_open: bool) -> bool {
        let Some(known) = self.known.get_mut(&number) else { return false };
        let Some(tap) = known.taps.get_mut(&track_id).filter(|tap| tap.since == since) else { return false };
        tap.awaited -= 1;
        tap.is_open |= is_open;
        let is_refused = !tap.is_open && tap.awaited == 0;
        if is_refused {
            known.taps.remove(&track_id);
        }
        is_refused
    }

    /// Removes a tap; false if there was none.
    pub fn remove_tap(&mut self, number: u32, track_id: u64) -> bool {
        self.known.get_mut(&number).is_some_and(|known| known.taps.remove(&track_id).is_some())
    }

    /// Notes a source. False: the process has as many as it may.
    pub fn add_source(&mut self, number: u32, shard: usize, ordered: AddSource) -> bool {
        let Some(known) = self.known.get_mut(&number) else { return false };
        if known.sources.len() >= SOURCES_MAX {
            return false;
        }
        known.sources.insert(ordered.track_id, Source { shard, ordered });
        true
    }

    /// Removes a source; returns the process that sent it.
    pub fn remove_source(&mut self, track_id: u64) -> Option<u32> {
        let (number, known) =
            self.known.iter_mut().find(|(_, known)| known.sources.contains_key(&track_id))?;
        known.sources.remove(&track_id);
        Some(*number)
    }

    /// The shard that receives a source, and the order for it.
    #[must_use]
    pub fn source(&self, track_id: u64) -> Option<(usize, &AddSource)> {
        let source = self.known.values().find_map(|known| known.sources.get(&track_id))?;
        Some((source.shard, &source.ordered))
    }

    /// All of them, as the inventory lists them.
    #[must_use]
    pub fn list(&self) -> Vec<PortInfo> {
        let info = |known: &Known| PortInfo {
            port: known.name.clone(),
            taps: known.taps.keys().copied().collect(),
            sources: known.sources.values().map(|source| source.ordered.clone()).collect(),
        };
        self.known.values().map(info).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> Ports {
        let mut ports = Ports::default();
        ports.connected(1, "recorder".into());
        ports
    }

    #[test]
    fn a_tap_stays_while_one_of_its_orders_may_still_open_it() {
        for answers in [[true, false], [false, true]] {
            let mut ports = ports();
            assert_eq!([ports.add_tap(1, 5, 0, 10), ports.add_tap(1, 5, 0, 11)], [Some(10); 2]);
            assert!(!ports.is_tapped(1, 5, 0));
            assert!(answers.iter().all(|is_open| !ports.tap_answered(1, 5, 10, *is_open)));
            assert!(ports.is_tapped(1, 5, 0) && !ports.is_tapped(1, 5, 1));
        }
        let mut ports = ports();
        let _ = (ports.add_tap(1, 5, 0, 10), ports.add_tap(1, 5, 0, 11));
        assert_eq!([10; 2].map(|since| ports.tap_answered(1, 5, since, false)), [false, true]);
        assert!(ports.list()[0].taps.is_empty());
    }

    #[test]
    fn an_answer_is_about_the_tap_that_was_ordered() {
        let mut ports = ports();
        // It ends before the answer, and is ordered anew; its track has moved to another shard.
        let _ = ports.add_tap(1, 5, 0, 10);
        assert!(ports.remove_tap(1, 5));
        assert_eq!(ports.add_tap(1, 5, 0, 11), Some(11));
        assert!(!ports.tap_answered(1, 5, 10, true) && !ports.is_tapped(1, 5, 0));
        assert_eq!(ports.add_tap(1, 5, 1, 12), Some(12));
        assert!(!ports.tap_answered(1, 5, 11, true) && !ports.tap_answered(1, 5, 12, true));
        assert!(ports.is_tapped(1, 5, 1) && !ports.is_tapped(1, 5, 0));
        // The process has gone and come back.
        let _ = ports.gone(1);
        ports.connected(2, "recorder".into());
        assert!(!ports.tap_answered(1, 5, 12, true) && !ports.is_tapped(2, 5, 1));
    }
}
