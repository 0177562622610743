//! The media plane of the relay, sans-IO.
//!
//! A [`Shard`] is told everything: bytes, time, randomness and commands are arguments. It opens no socket,
//! reads no clock and spawns nothing, so the same code runs under io_uring, under the fallback back end and
//! in the simulator.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod bwe;
pub mod command;
pub mod config;
mod demux;
pub mod down;
pub mod dtls;
pub mod fanout;
pub mod handshakes;
mod ice;
pub mod id;
mod keys;
pub mod media;
pub mod outbox;
pub mod policer;
pub mod port;
mod ports;
pub mod rng;
pub mod shard;
pub mod shed;
pub mod srtp;
pub mod stats;
pub mod table;
pub mod time;
mod timers;
pub mod track;
pub mod transport;
mod transports;
pub mod up;
pub mod wire;

pub use config::{Limits, ShardConfig};
pub use shard::{PanicSource, Shard, TransportView};
