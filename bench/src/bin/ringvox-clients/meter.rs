//! What is counted: octets that are live, Rust's and BoringSSL's, and the thread's CPU time. All unsafe of this tool.

use nix::time::{ClockId, clock_gettime};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Live Rust allocations, and their octets as asked for.
static ALLOCATIONS: AtomicI64 = AtomicI64::new(0);
static OCTETS: AtomicI64 = AtomicI64::new(0);

/// The system's allocator with a count. BoringSSL calls malloc itself, so that `heap` has both.
pub(crate) struct Counting;

impl Counting {
    fn add(allocations: i64, octets: i64) {
        ALLOCATIONS.fetch_add(allocations, Ordering::Relaxed);
        OCTETS.fetch_add(octets, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed to the system's allocator unchanged; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(1, layout.size() as i64);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::add(1, layout.size() as i64);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::add(-1, -(layout.size() as i64));
        // SAFETY: the pointer came from `System` through one of the functions above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::add(0, size as i64 - layout.size() as i64);
        // SAFETY: the pointer came from `System` through one of the functions above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What lives on the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heap {
    /// Everything malloc has handed out, its own headers included.
    pub(crate) octets: i64,
    /// Of them asked for by Rust.
    pub(crate) rust: i64,
    /// Rust's allocations.
    pub(crate) allocations: i64,
}

impl Heap {
    /// As it is now.
    pub(crate) fn now() -> Self {
        // SAFETY: mallinfo2 takes nothing, returns a plain structure and may be called at any time.
        let info = unsafe { libc::mallinfo2() };
        Self {
            octets: (info.uordblks + info.hblkhd) as i64,
            rust: OCTETS.load(Ordering::Relaxed),
            allocations: ALLOCATIONS.load(Ordering::Relaxed),
        }
    }
}

/// CPU time of this thread.
pub(crate) fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("it exists on every Linux").into()
}
