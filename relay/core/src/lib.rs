//! The media plane of the relay, sans-IO.
//!
//! A [`Shard`] is told everything: bytes, time, randomness and commands are arguments. It opens no socket, reads no
//! clock and spawns nothing, so the same code runs under io_uring, under the fallback back end and in the simulator.

#![forbid(unsafe_code)]

pub mod command;
pub mod config;
pub mod demux;
pub mod down;
pub mod dtls;
pub mod fanout;
pub mod handshakes;
pub mod ice;
pub mod id;
pub mod keys;
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
pub mod timers;
pub mod track;
pub mod transport;
pub mod transports;
pub mod up;
pub mod wire;

pub use config::{Limits, ShardConfig};
pub use shard::{PanicSource, Shard, TransportView};
