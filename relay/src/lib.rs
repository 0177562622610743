//! The relay process: everything that has a thread, a file or a socket. What it does with packets is in
//! [`relay_core`].
//!
//! # The map
//!
//! ```text
//!  controllers ──Unix socket──► control ──► router ──► mailbox ──► worker ──► relay_core::Shard
//!      ◄── replies, events ──      (one thread)      (bounded)    (one per core)    │
//!  browsers ───────────────────────── UDP ─────────► relay_io::Io ◄─── outbox ──────┘
//! ```
//!
//! - [`config`]: `ringvox.toml` and the command line, as plain values. [`addresses`]: what we tell peers to
//!   send to; [`address_watch`]: that this has changed.
//! - [`listener`]: who may connect. [`control`]: frames (`connection`), which shard and which epoch
//!   (`router`, `placement`).
//! - [`convert`]: the protocol's types and the core's, each made of the other.
//! - [`mailbox`]: the bounded queues between the control thread and the workers.
//! - [`worker`]: the media loop. [`driver`]: all of it but the socket and the clock. [`overload`]: how long a
//!   busy worker gathers datagrams, and when it sheds video. [`pipe`]: the queue from one shard to another.
//! - [`ports`]: local processes that get up-tracks in clear or give them, on a thread of their own, behind
//!   the same queues.
//! - [`clock`]: the only clock. [`log`]: lines that nobody waits for. [`ctl`]: JSON for people.
//!
//! # One packet's walk
//!
//! `relay_io` reaps a batch of datagrams; [`worker::Worker::run`] reads the clock once and hands each to
//! `Shard::handle_datagram` with the outbox. There it is told apart by its first octet, checked against the
//! validated 5-tuples, opened once and kept once as plaintext. At the end of the batch
//! `Shard::forward_pending` seals it for each subscriber straight into send memory, and the same turn of the
//! loop flushes all of it with one submission.
//!
//! # One command's walk
//!
//! The control thread cuts a frame out of a connection; the router checks the epoch, finds the shard and puts
//! the command into its mailbox, which wakes the worker. Between two batches the worker makes it one of the
//! core's ([`convert`]) and calls `Shard::handle_command`; the reply goes back with the command's ticket.
//!
//! # A packet's way to another shard
//!
//! A room that outgrows its budget on one shard has transports on others. A subscription across shards makes
//! the router connect the two by a pair of [`pipe`]s and order the publisher's shard to write each accepted
//! packet of the track once; the other worker reads its pipes in every turn and its shard forwards from
//! there. To a local process it goes the same way, with the ports' thread ([`ports`]) in the other worker's
//! place.
//!
//! # Invariants
//!
//! - No lock, no allocation and no log line while a packet is forwarded; threads share bounded queues and
//!   nothing else.
//! - The process outlives whoever started it: a hang-up, a closed standard error or a controller that
//!   vanishes changes nothing for media. Only SIGTERM, SIGINT or a controller's `Shutdown` ends it, and a
//!   thread that cannot go on.
//! - A panic ends the transport whose input led to it, or else its shard's transports, or the control
//!   connection whose request it was ([`faults`], [`control`]). Where that is of no use, because a worker or
//!   the control thread panics again and again, the process ends with status 70, peers are told, and whoever
//!   supervises it starts it again.
//! - Memory is not readable by other processes of the user, nor dumped to a core (keys are in it).
//! - Deliberately absent: SDP, logins, tokio, and recording, which is a process at a local port.

#![forbid(unsafe_code)]

pub mod address_watch;
pub mod addresses;
pub mod clock;
pub mod config;
pub mod control;
pub mod convert;
pub mod ctl;
pub mod driver;
pub mod faults;
pub mod log;
pub mod mailbox;
pub mod overload;
pub mod pipe;
pub mod ports;
mod start;
pub mod usage;
pub mod worker;

pub use start::{Relay, StartError};
