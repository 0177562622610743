//! Datagrams to send, written straight into memory that the caller lends.
//!
//! Invariants
//! - A region belongs to the outbox again when it was committed; what is not committed of it sends nothing.
//! - Datagrams to one destination leave in the order of their commits.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// Largest datagram the relay sends or receives, in octets.
pub const DATAGRAM_BYTES_MAX: usize = 1500;

/// Most octets that are ever lent at once: a burst for a group of subscribers (see [`crate::fanout`]).
pub const LENT_BYTES_MAX: usize = 128 << 10;

/// One end-to-end path: where a datagram came from or goes to, and the local address it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The peer.
    pub remote: SocketAddr,
    /// Our address on a machine with several; `None` lets the kernel choose.
    pub local: Option<IpAddr>,
}

/// In as few words as it has: each received packet is looked up by its path.
impl Hash for Path {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.remote.ip() {
            IpAddr::V4(ip) => state.write_u64(u64::from(ip.to_bits()) << 16 | u64::from(self.remote.port())),
            IpAddr::V6(ip) => {
                state.write_u128(ip.to_bits());
                state.write_u16(self.remote.port());
            }
        }
        match self.local {
            Some(IpAddr::V4(ip)) => state.write_u32(ip.to_bits()),
            Some(IpAddr::V6(ip)) => state.write_u128(ip.to_bits()),
            None => {}
        }
    }
}

/// Why nothing was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxFull;

/// Datagrams to one destination that lie back to back: they can leave as one send, cut by the kernel or the
/// card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where the first begins, from the start of the region lent last.
    pub start: usize,
    /// Octets of every datagram but the last, which may be shorter.
    pub segment: usize,
    /// Octets in all.
    pub len: usize,
}

impl Run {
    /// One datagram at the start of the region.
    #[must_use]
    pub const fn single(len: usize) -> Self {
        Self { start: 0, segment: len, len }
    }

    /// Datagrams in it.
    #[must_use]
    pub const fn datagrams(&self) -> u64 {
        if self.len <= self.segment { 1 } else { self.len.div_ceil(self.segment) as u64 }
    }

    /// Takes in a datagram of `len` octets that lies behind it, if it can leave with the others.
    pub const fn extend(&mut self, len: usize) -> bool {
        let whole = self.segment > 0 && self.len.is_multiple_of(self.segment);
        if !whole || len == 0 || len > self.segment {
            return false;
        }
        self.len += len;
        true
    }
}

/// Where the core writes datagrams.
pub trait Outbox {
    /// Lends `bytes` octets, [`LENT_BYTES_MAX`] at most, for the datagrams that are committed next.
    ///
    /// # Errors
    /// [`OutboxFull`] when the kernel has not given back enough memory; the caller counts and drops.
    fn lend(&mut self, bytes: usize) -> Result<&mut [u8], OutboxFull>;

    /// Sends datagrams of the region lent last along `path`. Several runs of a region may be sent, none of
    /// them twice.
    fn commit(&mut self, path: &Path, run: Run);

    /// Lends room for one datagram of any length.
    ///
    /// # Errors
    /// As [`Outbox::lend`].
    fn slot(&mut self) -> Result<&mut [u8], OutboxFull> {
        self.lend(DATAGRAM_BYTES_MAX)
    }
}

/// An outbox that keeps datagrams in memory, for tests and the simulator.
#[derive(Debug, Default)]
pub struct VecOutbox {
    /// What was committed, in order.
    pub sent: Vec<(Path, Vec<u8>)>,
    /// How many of them each run held, in order.
    pub runs: Vec<usize>,
    lent: Vec<u8>,
}

impl Outbox for VecOutbox {
    fn lend(&mut self, bytes: usize) -> Result<&mut [u8], OutboxFull> {
        self.lent = vec![0; bytes];
        Ok(&mut self.lent)
    }

    fn commit(&mut self, path: &Path, run: Run) {
        assert!(run.segment <= DATAGRAM_BYTES_MAX, "{run:?}: the back ends take no longer ones");
        let before = self.sent.len();
        let bytes = &self.lent[run.start..][..run.len];
        self.sent.extend(bytes.chunks(run.segment.max(1)).map(|datagram| (*path, datagram.to_vec())));
        self.runs.push(self.sent.len() - before);
    }
}

/// Counts and forgets: for benches of the core alone.
#[derive(Debug)]
pub struct NullOutbox {
    lent: Box<[u8]>,
    /// Datagrams committed.
    pub datagrams: u64,
    /// Octets committed.
    pub bytes: u64,
}

impl Default for NullOutbox {
    fn default() -> Self {
        Self { lent: vec![0; LENT_BYTES_MAX].into(), datagrams: 0, bytes: 0 }
    }
}

impl Outbox for NullOutbox {
    fn lend(&mut self, bytes: usize) -> Result<&mut [u8], OutboxFull> {
        self.lent.get_mut(..bytes).ok_or(OutboxFull)
    }

    fn commit(&mut self, _: &Path, run: Run) {
        self.datagrams += run.len.div_ceil(run.segment.max(1)) as u64;
        self.bytes += run.len as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_takes_equal_datagrams_and_one_shorter_at_the_end() {
        // Octets of a destination's datagrams; then the runs as (segment, octets).
        for (lens, expected) in [
            (&[100][..], &[(100, 100)][..]),
            (&[100, 100, 60], &[(100, 260)]),
            (&[100, 60, 60], &[(100, 160), (60, 60)]),
            (&[60, 100, 100], &[(60, 60), (100, 200)]),
            (&[100, 100, 60, 100], &[(100, 260), (100, 100)]),
            (&[100, 0, 100], &[(100, 100), (0, 0), (100, 100)]),
        ] {
            let mut runs: Vec<Run> = Vec::new();
            for &len in lens {
                if !runs.last_mut().is_some_and(|run| run.extend(len)) {
                    let start = runs.last().map_or(0, |run| run.start + run.len);
                    runs.push(Run { start, ..Run::single(len) });
                }
            }
            let found: Vec<_> = runs.iter().map(|run| (run.segment, run.len)).collect();
            assert_eq!(found, expected, "{lens:?}");
        }
    }
}
