//! Datagrams in and out of one UDP port, in batches, over two back ends that behave alike.
//!
//! One thread owns one [`Io`], which owns the sockets of one port. Its loop is reap, handle, flush:
//!
//! ```no_run
//! # use relay_io::*; use std::time::Duration;
//! # fn main() -> std::io::Result<()> {
//! let socket = socket::bind(&socket::SocketOptions::new("[::]:10000".parse().unwrap()))?;
//! let choice = choose(Setting::Auto).expect("the fallback always works");
//! let mut io = Io::new(choice.backend, vec![socket], &IoOptions::default())?;
//! loop {
//!     let wake = io.wait(Some(Duration::from_millis(10)))?; // reap; then read the clock once
//!     io.receive(|received, bytes, send_queue| {
//!         if let Ok(region) = send_queue.lend(bytes.len()) {
//!             region.copy_from_slice(bytes);
//!             send_queue.commit(&received.route, Run::single(bytes.len()));
//!         }
//!     });
//!     if wake.woken { /* look into the mailbox */ }
//!     io.flush();
//! }
//! # }
//! ```
//!
//! Invariants
//! - Memory the kernel may touch is either lent to it or ours, never both (the docs of `arena.rs` and
//!   `buffers.rs` tell their lives). Nothing the kernel may still touch is freed:
//!   see `Ring`'s `Drop`.
//! - Datagrams to one destination leave in the order of their commits. The only exception is the flush during
//!   which the kernel refuses a GSO run: the segments of that run are sent again, singly, behind what the
//!   same flush held.
//! - Waiting, receiving and flushing allocate nothing.
//! - The ledger closes: `committed = sent + Σ send errors + queued`, and every refusal of memory is counted.
//! - Every send is `MSG_DONTWAIT`: a full socket buffer loses datagrams (counted), it never parks memory
//!   in the kernel.
//!
//! Deliberately absent: zero-copy sends (dearer below 10 KB), SQPOLL (burns a core), connected sockets, GRO,
//! any knowledge of what the datagrams carry.
//!
//! With `relay-dtls` and `relay-gcm` this is the only package with unsafe code.

#![warn(missing_docs)]

mod addr;
mod arena;
mod buffers;
mod counters;
pub mod cpu;
mod datagram;
mod gso;
mod io;
mod message;
mod mmsg;
mod path_mtu;
mod probe;
mod region;
mod send_queue;
pub mod socket;
mod uring;
mod waker;

pub use addr::Route;
pub use counters::IoCounters;
pub use gso::Run;
pub use io::{Io, IoOptions, Received, Wake};
pub use probe::{Backend, Choice, Setting, choose};
pub use send_queue::{Full, SendQueue};
pub use waker::Waker;

/// Largest datagram sent or received, in octets; longer ones arrive cut and flagged. An Ethernet frame's
/// payload: what is longer came in IP fragments, and nothing that browsers send does.
pub const DATAGRAM_BYTES_MAX: usize = 1500;
