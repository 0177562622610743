//! The one WebRTC client of tests and load generators, sans-IO like the relay's core: a controlling ICE
//! agent, a DTLS client, SRTP both ways, and payloads that say where they come from.
//!
//! Invariants
//! - Time, randomness and datagrams are arguments; sockets, clocks and threads are the caller's.
//! - What a server must never send is a [`Fault`]; whether that is a panic or a count, the caller decides.
//!
//! Deliberately absent: congestion control, jitter buffers, decoding. A client takes what it gets and says
//! what it missed.

mod client;
pub mod dtls;
pub mod ice;
pub mod incoming;
mod keys;
pub mod mark;
pub mod outgoing;
pub mod seen;

pub use client::{Agreed, CheckIntervals, Client, DATAGRAM_BYTES_MAX, Fault, Received};
pub use ice::Credentials;
pub use keys::{Keys, SLOT_BYTES};
