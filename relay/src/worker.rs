//! One thread = one core = one [`Shard`] with its own socket. The only media loop.
//!
//! reap → handle → commands → timeouts → flush. The clock is read once for the whole batch, and once behind it.
//!
//! A panic inside the loop is caught, logged with its shard, and ends the process (see [`crate::Relay`]): what it left
//! behind in the shard cannot be trusted. Signaling starts a new relay. That a panic costs one session only is not built yet.

use crate::clock::Clock;
use crate::mailbox::{FromShard, WorkerEnd};
use crate::pace::Pace;
use relay_control::{Command, Counter, Inventory, ReplyBody, ShardStats, Stats};
use relay_core::Shard;
use relay_core::outbox::{self, OutboxFull, Path, Run};
use relay_core::time::Time;
use relay_io::{Io, Route};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Commands handled between two batches of datagrams: opening transports must not hold up media.
const COMMANDS_PER_TURN_MAX: usize = 32;

/// A worker turns at least this often, whatever happens.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// See the module.
pub struct Worker {
    /// Number of the shard.
    pub number: u32,
    /// The media plane of this core.
    pub shard: Shard,
    /// Its socket.
    pub io: Io,
    /// Its mailbox.
    pub mail: WorkerEnd,
    /// The process's clock.
    pub clock: Clock,
    /// How it keeps up.
    pub pace: Pace,
    /// Set when the process ends.
    pub stop: Arc<AtomicBool>,
}

impl Worker {
    /// Runs until told to stop.
    ///
    /// # Errors
    /// When waiting for the socket fails for good.
    pub fn run(&mut self) -> io::Result<()> {
        let (mut busy, mut ended) = (false, self.clock.now());
        while !self.stop.load(Ordering::Relaxed) {
            let wait = if busy { Duration::ZERO } else { self.time_to_wait(ended) };
            self.io.wait(Some(wait))?;
            let now = self.clock.now();
            let full = self.handle_datagrams(now);
            busy = self.handle_commands(now);
            if self.shard.poll_timeout().is_some_and(|due| due <= now) {
                self.shard.handle_timeout(now, &mut Lender(self.io.outbox()));
            }
            self.tell_events();
            self.io.flush();
            self.mail.ring_if_answered();
            ended = self.clock.now();
            self.keep_pace(now, ended, full);
        }
        Ok(())
    }

    fn time_to_wait(&self, now: Time) -> Duration {
        let due = self.shard.poll_timeout();
        due.map_or(WAIT_MAX, |due| due.since(now).min(WAIT_MAX))
    }

    fn keep_pace(&mut self, begun: Time, ended: Time, full: bool) {
        self.pace.turned(begun, ended, full);
        self.io.set_hold(self.pace.hold());
        self.shard.shed(ended, self.pace.shed());
    }

    /// True: the batch was full, so more datagrams wait.
    fn handle_datagrams(&mut self, now: Time) -> bool {
        let shard = &mut self.shard;
        let handed = self.io.receive(|received, datagram, outbox| {
            if received.truncated {
                return shard.handle_truncated(datagram.len());
            }
            let path = Path { remote: received.route.remote, local: received.route.local };
            shard.handle_datagram(now, &path, datagram, &mut Lender(outbox));
        });
        self.shard.forward_pending(&mut Lender(self.io.outbox()));
        handed == self.io.batch()
    }

    /// True: more commands wait.
    fn handle_commands(&mut self, now: Time) -> bool {
        for _ in 0..COMMANDS_PER_TURN_MAX {
            let Some(order) = self.mail.next_command() else { return false };
            let body = match order.command {
                Command::GetInventory(_) => self.inventory(),
                Command::GetStats(_) => self.stats(),
                command => self.shard.handle_command(now, command, &mut Lender(self.io.outbox())),
            };
            self.mail.answer(FromShard::Reply { ticket: order.ticket, body });
            // What a command caused is told before the next command's answer.
            self.tell_events();
        }
        true
    }

    /// Events stay in the shard while there is no room for them; draining the mailbox wakes us.
    fn tell_events(&mut self) {
        while self.mail.has_room() {
            let Some(event) = self.shard.poll_event() else { return };
            self.mail.answer(FromShard::Event(event));
        }
    }

    fn inventory(&self) -> ReplyBody {
        ReplyBody::Inventory(Inventory { boot_id: 0, transports: self.shard.inventory() })
    }

    fn stats(&self) -> ReplyBody {
        let io = self.io.counters();
        let counters = self.shard.counters().iter().chain(io.iter());
        let counters = counters.map(|(name, value)| Counter { name: name.to_owned(), value }).collect();
        let shards = vec![ShardStats { shard: self.number, counters }];
        ReplyBody::Stats(Stats { shards, process: Vec::new() })
    }
}

/// The back end's memory, as the core sees it.
struct Lender<'a>(&'a mut relay_io::Outbox);

impl outbox::Outbox for Lender<'_> {
    fn lend(&mut self, bytes: usize) -> Result<&mut [u8], OutboxFull> {
        self.0.lend(bytes).map_err(|relay_io::Full| OutboxFull)
    }

    fn commit(&mut self, path: &Path, Run { start, segment, len }: Run) {
        let route = Route { remote: path.remote, local: path.local };
        self.0.commit(&route, relay_io::Run { start, segment, len });
    }
}

const _: () = assert!(relay_io::DATAGRAM_BYTES_MAX == outbox::DATAGRAM_BYTES_MAX);
