//! Local ports as the control thread knows them: who is connected, and what was ordered.

use crate::ports::{PortsEnd, SOURCES_MAX, TAPS_MAX};
use relay_control::{AddSource, PortInfo};
use std::collections::{BTreeMap, BTreeSet};

/// A process that has sent its name.
#[derive(Debug)]
struct Known {
    name: String,
    taps: BTreeSet<u64>,
    sources: BTreeMap<u64, Source>,
    /// Shards to which it has queues.
    shards: BTreeSet<usize>,
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
        let (taps, sources, shards) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
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

    /// Notes a tap. `None`: the process has as many as it may; else whether it is new.
    pub fn add_tap(&mut self, number: u32, track_id: u64) -> Option<bool> {
        let known = self.known.get_mut(&number)?;
        if known.taps.len() >= TAPS_MAX && !known.taps.contains(&track_id) {
            return None;
        }
        Some(known.taps.insert(track_id))
    }

    /// Removes a tap; false if there was none.
    pub fn remove_tap(&mut self, number: u32, track_id: u64) -> bool {
        self.known.get_mut(&number).is_some_and(|known| known.taps.remove(&track_id))
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
            taps: known.taps.iter().copied().collect(),
            sources: known.sources.values().map(|source| source.ordered.clone()).collect(),
        };
        self.known.values().map(info).collect()
    }
}
