//! Waking the thread that waits, from any other.
//!
//! Waking a sleeping thread costs its waker microseconds, so the eventfd is written only when the other side
//! sleeps, and once for all who call in between. The protocol, on one byte:
//!
//! - the waker puts its message into a queue, then swaps in `NOTIFIED`; if it took out `SLEEPING` it writes
//!   the eventfd;
//! - the waiting thread moves `RUNNING` to `SLEEPING` before it blocks (finding `NOTIFIED` it does not
//!   block), and after it swaps in `RUNNING`; if it took out `NOTIFIED` it looks into the queues.
//!
//! All are read-modify-writes of one location, so whoever sees the other's value also sees what was queued
//! before it: no wake-up is lost. A late write of the eventfd costs one empty turn of the loop.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const RUNNING: u8 = 0;
const SLEEPING: u8 = 1;
const NOTIFIED: u8 = 2;

/// Ends a [`wait`](crate::Io::wait) of another thread. Calls made before that thread looks are one wake-up.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    event: File,
}

impl Waker {
    /// Queue the message first, then call this.
    pub fn wake(&self) {
        if self.0.state.swap(NOTIFIED, Ordering::AcqRel) == SLEEPING {
            // Fails only if 2^64 - 2 writes went unread, or the descriptor is gone with its Io: nobody waits
            // then.
            let _ = (&self.0.event).write(&1_u64.to_ne_bytes());
        }
    }
}

/// The waiting side.
pub(crate) struct Sleeper(Arc<Shared>);

impl Sleeper {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers; returns a new descriptor or -1.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is open (checked), new, and owned by nobody else.
        let event = unsafe { File::from_raw_fd(fd) };
        Ok(Self(Arc::new(Shared { state: AtomicU8::new(RUNNING), event })))
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.0))
    }

    /// Whether the caller may block: nobody called since the last [`woke`](Self::woke).
    pub(crate) fn may_sleep(&self) -> bool {
        self.0.state.compare_exchange(RUNNING, SLEEPING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether somebody called. To be asked after every wait, before the queues are looked at.
    pub(crate) fn woke(&self) -> bool {
        self.0.state.swap(RUNNING, Ordering::AcqRel) == NOTIFIED
    }

    /// The eventfd: blocking, so a ring can wait for a read of it.
    pub(crate) fn fd(&self) -> RawFd {
        self.0.event.as_raw_fd()
    }

    /// Empties the eventfd, which is known to be readable.
    pub(crate) fn drain(&self) {
        let mut count = [0; 8];
        let _ = (&self.0.event).read(&mut count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_coalesce_and_none_is_lost() {
        let sleeper = Sleeper::new().unwrap();
        let waker = sleeper.waker();
        assert!(!sleeper.woke());

        // While running: remembered, and no write.
        waker.wake();
        waker.wake();
        assert!(!sleeper.may_sleep());
        assert!(sleeper.woke());
        assert!(!sleeper.woke());

        // While sleeping: one write for all.
        assert!(sleeper.may_sleep());
        waker.wake();
        waker.wake();
        let mut count = [0; 8];
        (&sleeper.0.event).read_exact(&mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
        assert!(sleeper.woke());
    }
}
