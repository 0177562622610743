//! Local ports: processes of this machine that get up-tracks in clear, or give them, over a Unix socket.
//!
//! [`local`] is what goes where, [`process`] the octets of one process, `run.rs` the one thread that owns
//! their sockets. It stands behind the same queues as another shard, so a process that is stuck costs a
//! counter and never a shard's time.

pub mod counts;
mod link;
pub mod local;
pub mod process;
mod run;

pub use counts::Counts;
pub use link::{PortsEnd, ThreadEnd, link};
pub use local::{FromPorts, LocalPorts, ToPorts};
pub use run::{PortsThread, spawn};

/// Processes that are connected at one time: a recorder, protocol gateways, and some started by hand.
pub const PROCESSES_MAX: usize = 16;

/// Taps of one process: a recorder of two thousand people with sound and picture. Each costs a few hundred
/// octets.
pub const TAPS_MAX: usize = 4_096;

/// Sources of one process. Each has a history of its own.
pub const SOURCES_MAX: usize = 256;
