//! Datagrams to send, written straight into slots that the caller lends.
//!
//! Invariants
//! - A slot is written at most once and belongs to the outbox again after `commit`; dropping it without a commit sends nothing.
//! - Datagrams to one destination leave in the order of their commits.

use std::net::{IpAddr, SocketAddr};

/// Largest datagram the relay sends or receives, in octets.
pub const DATAGRAM_BYTES_MAX: usize = 1500;

/// One end-to-end path: where a datagram came from or goes to, and the local address it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The peer.
    pub remote: SocketAddr,
    /// Our address on a machine with several; `None` lets the kernel choose.
    pub local: Option<IpAddr>,
}

/// Why no slot was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxFull;

/// Where the core writes datagrams.
pub trait Outbox {
    /// Lends the next free slot, at least [`DATAGRAM_BYTES_MAX`] octets long, for a datagram along `path`.
    ///
    /// # Errors
    /// [`OutboxFull`] when the kernel has not given back enough slots; the caller counts and drops.
    fn slot(&mut self, path: &Path) -> Result<&mut [u8], OutboxFull>;

    /// Sends the first `len` octets of the slot lent last. Called exactly once per lent slot that is to be sent.
    fn commit(&mut self, len: usize);
}

/// An outbox that keeps datagrams in memory, for tests and the simulator.
#[derive(Debug, Default)]
pub struct VecOutbox {
    /// What was committed, in order.
    pub sent: Vec<(Path, Vec<u8>)>,
    lent: Option<(Path, Vec<u8>)>,
}

impl Outbox for VecOutbox {
    fn slot(&mut self, path: &Path) -> Result<&mut [u8], OutboxFull> {
        let (_, bytes) = self.lent.insert((*path, vec![0; DATAGRAM_BYTES_MAX]));
        Ok(bytes)
    }

    fn commit(&mut self, len: usize) {
        if let Some((path, mut bytes)) = self.lent.take() {
            bytes.truncate(len);
            self.sent.push((path, bytes));
        }
    }
}

/// Counts and forgets: for benches of the core alone.
#[derive(Debug)]
pub struct NullOutbox {
    slot: [u8; DATAGRAM_BYTES_MAX],
    /// Datagrams committed.
    pub datagrams: u64,
    /// Octets committed.
    pub bytes: u64,
}

impl Default for NullOutbox {
    fn default() -> Self {
        Self { slot: [0; DATAGRAM_BYTES_MAX], datagrams: 0, bytes: 0 }
    }
}

impl Outbox for NullOutbox {
    fn slot(&mut self, _: &Path) -> Result<&mut [u8], OutboxFull> {
        Ok(&mut self.slot)
    }

    fn commit(&mut self, len: usize) {
        self.datagrams += 1;
        self.bytes += len as u64;
    }
}
