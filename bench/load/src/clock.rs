//! Both clocks of the machine: CLOCK_MONOTONIC for everything, CLOCK_REALTIME because the kernel stamps arrivals with it.

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use relay_core::time::Time;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    realtime_ahead_ns: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let mut clock = Self { realtime_ahead_ns: 0 };
        clock.adjust();
        clock
    }

    /// Follows adjustments of the wall clock; call it now and then.
    pub(crate) fn adjust(&mut self) {
        let monotonic = read(ClockId::CLOCK_MONOTONIC);
        self.realtime_ahead_ns = read(ClockId::CLOCK_REALTIME) - monotonic;
    }

    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(read(ClockId::CLOCK_MONOTONIC))
    }

    /// A stamp of the kernel on the monotonic clock.
    pub(crate) fn of_stamp(&self, stamp: TimeSpec) -> Time {
        Time::from_nanos(nanos(stamp).saturating_sub(self.realtime_ahead_ns))
    }
}

/// CPU time that a process and all its threads, ended ones as well, have used so far; `None` if it is gone.
pub(crate) fn cpu_ns(pid: u32) -> Option<u64> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).ok()?);
    clock_gettime(nix::time::clock_getcpuclockid(pid).ok()?).ok().map(nanos)
}

/// CPU time of the calling thread so far, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, nanos)
}

fn nanos(time: TimeSpec) -> u64 {
    u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
}
