//! A worker but for its socket: a shard, its mailbox, and the pipes from other shards.
//!
//! Apart from [`crate::worker`], so that simulated runs of several shards are told of orders and pipes by the same code.
//!
//! Invariant: what another shard wrote before an order was given is read before that order is obeyed. So a subscriber
//! always finds the track that was piped for it, and an inventory shows nothing that a command before it removed.

use crate::mailbox::{FromShard, PipeEnds, ToShard, WorkerEnd};
use crate::pipe::PipeReceiver;
use relay_control::{Command, Counter, Inventory, ReplyBody, ShardStats, Stats};
use relay_core::Shard;
use relay_core::outbox::Outbox;
use relay_core::time::Time;

/// What came of asking for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// There was none.
    Nothing,
    /// It was obeyed.
    Done,
    /// It was obeyed, and took so long that media is to be served before the next one.
    DoneAtLength,
    /// Counters are wanted; to be answered by [`Station::tell_stats`] before the next order.
    Stats(u64),
}

/// See the module.
pub struct Station {
    number: u32,
    /// The media plane of this core.
    pub shard: Shard,
    mail: WorkerEnd,
    /// From which shard, and the queue.
    pipes: Vec<(u32, PipeReceiver)>,
}

impl Station {
    /// Shard `number` with its mailbox, not connected to any other.
    #[must_use]
    pub fn new(number: u32, shard: Shard, mail: WorkerEnd) -> Self {
        Self { number, shard, mail, pipes: Vec::new() }
    }

    /// Handles what other shards have written up to now, and forwards all that waits: it ends a batch.
    pub fn handle_pipes<O: Outbox>(&mut self, now: Time, outbox: &mut O) {
        let Self { shard, pipes, .. } = self;
        for (from, pipe) in pipes {
            // Not what comes meanwhile: a busy neighbour must not keep us here.
            for _ in 0..pipe.waiting() {
                pipe.handle(|entry| shard.handle_piped(now, *from, entry, outbox));
            }
        }
        shard.forward_pending(outbox);
    }

    /// Obeys one order of the control thread, if there is one and room for its reply. What happened before is told before:
    /// the end of a transport must not be taken for that of one which the order opens under the same id.
    pub fn handle_order<O: Outbox>(&mut self, now: Time, outbox: &mut O) -> Ordered {
        self.tell_events();
        let Some(order) = self.mail.next_order() else { return Ordered::Nothing };
        self.handle_pipes(now, outbox);
        let (ticket, body) = match order {
            ToShard::Connect(ends) => {
                self.connect(*ends);
                return Ordered::Done;
            }
            ToShard::OpenPipe { ticket, pipe } => (ticket, self.shard.open_pipe(pipe)),
            ToShard::Command { ticket, command: Command::GetStats(_) } => return Ordered::Stats(ticket),
            ToShard::Describe { ticket, transports } => {
                let transports = self.shard.describe(&transports);
                self.answer(ticket, ReplyBody::Inventory(Inventory { boot_id: 0, transports, next: 0 }));
                return Ordered::DoneAtLength;
            }
            ToShard::Command { ticket, command } => (ticket, self.shard.handle_command(now, command, outbox)),
        };
        self.answer(ticket, body);
        Ordered::Done
    }

    /// Answers [`Ordered::Stats`]: the shard's counters, then what its back end has counted.
    pub fn tell_stats(&mut self, ticket: u64, io: impl Iterator<Item = Counter>) {
        let counters = self.shard.counters().iter();
        let counters = counters.map(|(name, value)| Counter { name: name.to_owned(), value });
        let shards = vec![ShardStats { shard: self.number, counters: counters.chain(io).collect() }];
        self.answer(ticket, ReplyBody::Stats(Stats { shards, process: Vec::new() }));
    }

    /// Events stay in the shard while there is no room for them; draining the mailbox wakes us.
    pub fn tell_events(&mut self) {
        while self.mail.has_room() {
            let Some(event) = self.shard.poll_event() else { return };
            self.mail.answer(FromShard::Event(event));
        }
    }

    /// Rings the control thread's bell if anything was said since the last time: once per batch.
    pub fn ring_if_answered(&mut self) {
        self.mail.ring_if_answered();
    }

    /// What an order caused is told before the next order's answer.
    fn answer(&mut self, ticket: u64, body: ReplyBody) {
        self.mail.answer(FromShard::Reply { ticket, body });
        self.tell_events();
    }

    fn connect(&mut self, ends: PipeEnds) {
        self.shard.connect_pipe(ends.peer, Box::new(ends.to));
        self.pipes.push((ends.peer, ends.from));
    }
}
