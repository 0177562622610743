//! Whether there is room on the disk.
//!
//! Invariants
//! - Between too little and enough there is a distance, so that recordings do not flap.
//!
//! Deliberately absent: asking the disk.

use crate::config::MinFree;
use recorder_control::{Failure, FailureCode};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    min_free: MinFree,
    is_low: bool,
}

impl Space {
    /// Enough so far.
    #[must_use]
    pub const fn new(min_free: MinFree) -> Self {
        Self { min_free, is_low: false }
    }

    /// So many octets are free, of so many. Why nothing may be written; `None`: it may.
    pub fn handle(&mut self, free: u64, size: u64) -> Option<Failure> {
        let min = self.min_free.bytes(size);
        let enough = if self.is_low { min.saturating_add(min / 4) } else { min };
        self.is_low = free < enough;
        let info = || {
            let (free, min) = (free >> 10, min >> 10);
            format!(
                "{free} KiB of the disk are free, less than the {min} KiB of recording.min_free: make room"
            )
        };
        self.is_low.then(|| Failure { code: FailureCode::DiskFull, info: info() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_too_little_must_be_more_than_enough() {
        let mut space = Space::new(MinFree::Bytes(1_000));
        for (free, is_low) in
            [(1_000, false), (999, true), (1_000, true), (1_249, true), (1_250, false), (1_000, false)]
        {
            assert_eq!(space.handle(free, 1 << 30).is_some(), is_low, "{free}");
        }
        let mut none = Space::new(MinFree::Bytes(0));
        assert!(none.handle(0, 1 << 30).is_none());
    }
}
