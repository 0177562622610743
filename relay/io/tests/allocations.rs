//! The packet path allocates nothing.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use relay_io::IoOptions;
use support::*;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `alloc` above, that is from `System`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: `at` came from `alloc` above, that is from `System`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn waiting_receiving_fanning_out_and_flushing_allocate_nothing() {
    on_each_backend(|backend| {
        let mut io = open(backend, &IoOptions { arena_bytes: 64 << 10, ..IoOptions::default() });
        let peer = peer();
        let subscribers: Vec<_> = (0..100).map(|_| support::peer()).collect();
        let routes: Vec<_> = subscribers.iter().map(|peer| to(addr(peer))).collect();
        let at = v4(&io);
        let waker = io.waker();
        let before = ALLOCATIONS.with(Cell::get);
        let mut handled = 0;
        for _ in 0..50 {
            for size in [1100, 1100, 80, 700] {
                peer.send_to(&[7; 1100][..size], at).unwrap();
            }
            waker.wake();
            while handled % 4 != 0 || handled == 0 || io.wait(Some(Duration::ZERO)).unwrap().datagrams > 0 {
                handled += io.receive(|_, bytes, send_queue| {
                    for route in &routes {
                        send(send_queue, route, bytes);
                    }
                });
                io.flush();
                io.wait(Some(Duration::from_millis(1))).unwrap();
            }
        }
        assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "{backend:?}");
        let counters = io.counters();
        assert_eq!((counters.rx_datagrams, counters.tx_sent), (200, 20_000), "{backend:?}");
    });
}
