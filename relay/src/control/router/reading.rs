//! What is asked of several shards at once, and changes nothing: inventory and counters.

use super::{ConnectionId, Kind, Pending, Router};
use crate::control::counts::Counts;
use crate::control::placement::Ticket;
use crate::mailbox::{ControlEnd, ToShard};
use relay_control::{Command, Inventory, ReplyBody, ShardStats, Stats};
use std::collections::BTreeMap;

impl Router {
    /// A page of the inventory, from the shards that its transports are on.
    pub(super) fn ask_page(&mut self, from: ConnectionId, request_id: u64, after: Ticket) {
        let (page, next) = self.placement.page(after);
        let mut of_shards: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for (shard, transport_id) in page {
            of_shards.entry(shard).or_default().push(transport_id);
        }
        if !of_shards.keys().all(|shard| self.shards[*shard].has_room()) {
            return self.busy(from, request_id);
        }
        let (waiting, transports) = (of_shards.len(), Vec::new());
        let ports = if after == 0 { self.ports.list() } else { Vec::new() };
        if waiting == 0 {
            let boot_id = self.identity.boot_id;
            let body = ReplyBody::Inventory(Inventory { boot_id, transports, next, ports });
            return self.reply(from, request_id, body);
        }
        self.last_ticket += 1;
        for (shard, transports) in of_shards {
            self.shards[shard].send(ToShard::Describe { ticket: self.last_ticket, transports });
        }
        let kind = Kind::Inventory { waiting, transports, next, ports };
        self.pending.insert(self.last_ticket, Pending { from, request_id, kind });
    }

    pub(super) fn ask_all(&mut self, pending: Pending, command: &Command) {
        if !self.shards.iter().all(ControlEnd::has_room) {
            return self.busy(pending.from, pending.request_id);
        }
        self.last_ticket += 1;
        for shard in &mut self.shards {
            shard.send(ToShard::Command { ticket: self.last_ticket, command: command.clone() });
        }
        self.pending.insert(self.last_ticket, pending);
    }

    pub(super) fn whole_stats(&self, shards: &mut Vec<ShardStats>) -> ReplyBody {
        shards.sort_by_key(|part| part.shard);
        let (rooms, transports, tracks) = self.placement.sizes();
        let counts = Counts {
            epoch: self.epoch,
            rooms: rooms as u64,
            transports: transports as u64,
            tracks: tracks as u64,
            ..self.counts
        };
        let ports = self.ports.end.iter().flat_map(|end| end.counts.list());
        let process = counts.list().into_iter().chain(ports).collect();
        ReplyBody::Stats(Stats { shards: std::mem::take(shards), process })
    }
}
