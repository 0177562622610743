//! Drives one shard: its mailbox, the queues of its ports, and the recovery from its panics.
//!
//! The worker ([`crate::worker`]) adds the socket and the clock. They are apart so that simulations of
//! several shards run the same code with a network and a clock of their own.
//!
//! Invariant: what another shard wrote before an order was given is read before that order is obeyed. So a
//! subscriber always finds the track that was piped for it, and an inventory shows nothing that a command
//! before it removed.
//!
//! Each call into the shard that handles something is caught if it panics, see [`crate::faults`].

use crate::convert;
use crate::faults::{Faults, Seeds};
use crate::mailbox::{FromShard, PipeEnds, ToShard, WorkerEnd};
use crate::pipe::PipeReceiver;
use relay_control::{Command, CommandError, Counter, ErrorCode, Inventory, ReplyBody, ShardStats, Stats};
use relay_core::Shard;
use relay_core::outbox::{Outbox, Path};
use relay_core::time::Time;
use relay_port::PortId;

/// What [`ShardDriver::handle_order`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderOutcome {
    /// No order waited.
    Nothing,
    /// It was obeyed.
    Done,
    /// It was obeyed, and was so long that media is to be served before the next one.
    DoneSlow,
    /// Counters are wanted. The caller answers with [`ShardDriver::send_stats`] before it asks for the next
    /// order.
    Stats(u64),
}

pub struct ShardDriver {
    number: u32,
    /// The media plane of this core.
    pub shard: Shard,
    mail: WorkerEnd,
    /// The port that each queue comes from, and the queue.
    ports: Vec<(PortId, PipeReceiver)>,
    faults: Faults,
}

impl ShardDriver {
    /// Shard `number` with its mailbox, not connected to any other. `seeds` are for when it must begin anew.
    #[must_use]
    pub fn new(number: u32, shard: Shard, mail: WorkerEnd, seeds: Seeds) -> Self {
        Self { number, shard, mail, ports: Vec::new(), faults: Faults::new(number, seeds) }
    }

    /// See [`Shard::handle_datagram`].
    pub fn handle_datagram<O: Outbox>(
        &mut self,
        now: Time,
        path: &Path,
        datagram: &mut [u8],
        outbox: &mut O,
    ) {
        let handle = |shard: &mut Shard| shard.handle_datagram(now, path, datagram, outbox);
        self.faults.catch(&mut self.shard, now, handle);
    }

    /// See [`Shard::handle_handshakes`].
    pub fn handle_handshakes<O: Outbox>(&mut self, now: Time, outbox: &mut O) {
        self.faults.catch(&mut self.shard, now, |shard| shard.handle_handshakes(now, outbox));
    }

    /// See [`Shard::handle_deadlines`].
    pub fn handle_deadlines<O: Outbox>(&mut self, now: Time, outbox: &mut O) {
        self.faults.catch(&mut self.shard, now, |shard| shard.handle_deadlines(now, outbox));
    }

    /// Something around the shard panicked, so who knows what it had begun.
    pub fn begin_anew(&mut self, why: &str) {
        self.faults.begin_anew(&mut self.shard, why);
    }

    /// Handles what is written at the ports up to now, and forwards all that waits: it ends a batch.
    pub fn handle_ports<O: Outbox>(&mut self, now: Time, outbox: &mut O) {
        let Self { shard, ports, faults, .. } = self;
        for (from, pipe) in ports {
            // Not what comes meanwhile: a busy neighbour must not keep us here.
            for _ in 0..pipe.waiting() {
                pipe.handle(|entry| {
                    faults.catch(shard, now, |shard| shard.handle_entry(now, *from, entry, outbox));
                });
            }
        }
        // Each panic takes away a track of those that wait.
        while faults.catch(shard, now, |shard| shard.forward_pending(outbox)).is_none() {}
    }

    /// Obeys one order of the control thread, if there is one and room for its reply. What happened before is
    /// told before: the end of a transport must not be taken for that of one which the order opens under the
    /// same id.
    pub fn handle_order<O: Outbox>(&mut self, now: Time, outbox: &mut O) -> OrderOutcome {
        self.send_events();
        let Some(order) = self.mail.next_order() else { return OrderOutcome::Nothing };
        self.handle_ports(now, outbox);
        let (ticket, body) = match order {
            ToShard::Connect(ends) => {
                self.connect(*ends);
                return OrderOutcome::Done;
            }
            ToShard::Disconnect(port) => {
                self.disconnect(now, port, outbox);
                return OrderOutcome::Done;
            }
            ToShard::Announce(candidates) => {
                self.shard.announce(candidates);
                return OrderOutcome::Done;
            }
            ToShard::OpenPort { ticket, order } => {
                (ticket, self.faults.catch(&mut self.shard, now, |shard| convert::open_port(shard, order)))
            }
            ToShard::Command { ticket, command: Command::GetStats(_) } => return OrderOutcome::Stats(ticket),
            ToShard::Describe { ticket, transports } => {
                let describe = |shard: &mut Shard| {
                    let transports = convert::describe(shard, &transports);
                    ReplyBody::Inventory(Inventory { transports, ..Inventory::default() })
                };
                let page = self.faults.catch(&mut self.shard, now, describe);
                self.answer(ticket, page.unwrap_or_else(fault));
                return OrderOutcome::DoneSlow;
            }
            ToShard::Command { ticket, command } => {
                let obey = |shard: &mut Shard| convert::obey(shard, now, command, outbox);
                (ticket, self.faults.catch(&mut self.shard, now, obey))
            }
        };
        self.answer(ticket, body.unwrap_or_else(fault));
        OrderOutcome::Done
    }

    /// Answers [`OrderOutcome::Stats`]: the shard's counters, then what its back end has counted.
    pub fn send_stats(&mut self, ticket: u64, io: impl Iterator<Item = Counter>) {
        let counters = self.shard.counters().iter();
        let counters = counters.map(|(name, value)| Counter { name: name.to_owned(), value });
        let shards = vec![ShardStats { shard: self.number, counters: counters.chain(io).collect() }];
        self.answer(ticket, ReplyBody::Stats(Stats { shards, process: Vec::new() }));
    }

    /// Events stay in the shard while there is no room for them; draining the mailbox wakes us.
    pub fn send_events(&mut self) {
        while self.mail.has_room() {
            let Some(event) = self.shard.poll_event() else { return };
            self.mail.answer(FromShard::Event(convert::event_body(event)));
        }
    }

    /// Notifies the control thread if there is an answer since the last call; called once per batch.
    pub fn notify_if_answered(&mut self) {
        self.mail.notify_if_answered();
    }

    /// What an order caused is told before the next order's answer.
    fn answer(&mut self, ticket: u64, body: ReplyBody) {
        self.mail.answer(FromShard::Reply { ticket, body });
        self.send_events();
    }

    fn connect(&mut self, ends: PipeEnds) {
        self.shard.connect_port(ends.port, Box::new(ends.to));
        self.ports.push((ends.port, ends.from));
    }

    /// `handle_order` has read before what was written at this port.
    fn disconnect<O: Outbox>(&mut self, now: Time, port: PortId, outbox: &mut O) {
        self.faults.catch(&mut self.shard, now, |shard| shard.disconnect_port(port, outbox));
        self.ports.retain(|(other, _)| *other != port);
    }
}

/// The answer to an order that made the shard panic.
fn fault() -> ReplyBody {
    let message = "a fault of the relay; what the command is about has ended".to_owned();
    ReplyBody::Error(CommandError { code: ErrorCode::RelayFault.into(), message, highest_epoch: 0 })
}
