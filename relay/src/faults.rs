//! Catches panics of a shard, so that they cost who caused them, or this shard at most.
//!
//! Whose input led to a panic, and what is put right after it, the shard knows ([`Shard::recover`]); here
//! is when it is given up: its tables do not agree any more, nobody's input was handled, or [`PANICS_MAX`]
//! were caught in a minute. It then ends its transports and begins anew, on the same thread, sockets and
//! queues; the other shards go on.
//!
//! Every call into the shard is caught by itself, each datagram's too: without a panic a catch is no
//! instruction, only tables for the unwinder, and with one nothing else of the batch is lost.

use relay_core::time::Time;
use relay_core::{PanicSource, Shard};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Panics that ended a transport in a minute; one more, and the shard begins anew: something is wrong that
/// does not show.
pub const PANICS_MAX: u32 = 20;

const MINUTE: Duration = Duration::from_secs(60);

/// Returns a fresh seed each time that a shard begins anew.
pub type Seeds = Box<dyn FnMut() -> [u8; 32] + Send>;

/// How often something happened in the current minute.
#[derive(Debug, Default)]
pub struct PerMinute {
    begun: Option<Time>,
    count: u32,
}

impl PerMinute {
    /// It happened; whether more than `most` times within a minute.
    pub fn exceeds(&mut self, now: Time, most: u32) -> bool {
        if self.begun.is_none_or(|begun| now.since(begun) >= MINUTE) {
            (self.begun, self.count) = (Some(now), 0);
        }
        self.count += 1;
        self.count > most
    }
}

pub struct Faults {
    shard: u32,
    seeds: Seeds,
    panics: PerMinute,
}

impl Faults {
    #[must_use]
    pub fn new(shard: u32, seeds: Seeds) -> Self {
        Self { shard, seeds, panics: PerMinute::default() }
    }

    /// Calls into the shard. `None`: it panicked, and was put right or begun anew.
    pub fn catch<T>(
        &mut self,
        shard: &mut Shard,
        now: Time,
        call: impl FnOnce(&mut Shard) -> T,
    ) -> Option<T> {
        // The shard may be left in the middle of something: that is what `caught` looks at.
        match catch_unwind(AssertUnwindSafe(|| call(shard))) {
            Ok(result) => Some(result),
            Err(panic) => {
                self.caught(shard, now, panic.as_ref());
                None
            }
        }
    }

    #[cold]
    fn caught(&mut self, shard: &mut Shard, now: Time, panic: &(dyn Any + Send)) {
        let text = panic_text(panic);
        let recovered = catch_unwind(AssertUnwindSafe(|| shard.recover(now))).unwrap_or_else(|panic| {
            Err(format!("again while it was put right: {}", panic_text(panic.as_ref())))
        });
        let proved = recovered.as_ref().is_ok_and(|source| *source != PanicSource::Unproved);
        match recovered {
            // Whoever makes us panic without being anybody could write any number of lines; the counter says
            // it.
            Ok(PanicSource::Unproved) => {}
            Ok(source) => tracing::error!(shard = self.shard, ?source, "a panic ended a transport: {text}"),
            Err(why) => return self.begin_anew(shard, &format!("{text}; {why}")),
        }
        if proved && self.panics.exceeds(now, PANICS_MAX) {
            self.begin_anew(shard, &format!("more than {PANICS_MAX} panics in a minute, the last: {text}"));
        }
    }

    /// Ends all that the shard has and lets it begin anew.
    pub fn begin_anew(&mut self, shard: &mut Shard, why: &str) {
        tracing::error!(shard = self.shard, "the shard ends its transports and begins anew: {why}");
        self.panics = PerMinute::default();
        shard.begin_anew((self.seeds)());
    }
}

/// The message of a panic.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_bears_so_many() {
        let at = |s: u64| Time::from_nanos(s * 1_000_000_000);
        let mut rate = PerMinute::default();
        assert!((0..3).all(|s| !rate.exceeds(at(s), 3)));
        assert!(rate.exceeds(at(59), 3));
        assert!(!rate.exceeds(at(60), 3), "another minute");
    }
}
