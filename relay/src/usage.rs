//! What a thread has used of its core.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::time::Duration;

/// What a thread has used since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, the kernel's on its behalf included.
    pub cpu: Duration,
    /// How often it gave up its core because it had nothing to do. Having the core taken away is not among
    /// it.
    pub sleeps: u64,
}

impl Usage {
    /// Of the calling thread; unchanged if the kernel does not say.
    #[must_use]
    pub fn of_this_thread() -> Self {
        getrusage(UsageWho::RUSAGE_THREAD).map_or_else(
            |_| Self::default(),
            |usage| {
                let micros = (usage.user_time() + usage.system_time()).num_microseconds();
                Self {
                    cpu: Duration::from_micros(u64::try_from(micros).unwrap_or(0)),
                    sleeps: u64::try_from(usage.voluntary_context_switches()).unwrap_or(0),
                }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_sleep_are_told_apart() {
        let before = Usage::of_this_thread();
        let mut now = before;
        // Work until the kernel has noticed.
        while now.cpu < before.cpu + Duration::from_millis(20) {
            now = Usage::of_this_thread();
        }
        // Each of these waits for something that does not come.
        let (_sender, receiver) = std::sync::mpsc::channel::<()>();
        let asleep = Usage::of_this_thread();
        assert!((0..3).all(|_| receiver.recv_timeout(Duration::from_millis(1)).is_err()));
        assert!(Usage::of_this_thread().sleeps >= asleep.sleeps + 3);
    }
}
