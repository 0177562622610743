//! The media plane of the relay, sans-IO.
//!
//! A [`Shard`] is told everything: bytes, time, randomness and commands are arguments. It opens no socket, reads no
//! clock and spawns nothing, so the same code runs under io_uring, under the fallback back end and in the simulator.

#![forbid(unsafe_code)]

pub mod dtls;
pub mod id;
pub mod outbox;
pub mod srtp;
pub mod stats;
pub mod time;
pub mod wire;
pub mod up;
pub mod down;
