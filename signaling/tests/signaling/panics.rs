//! A task that panics is an error that tokio keeps to itself, so somebody has to count.

use std::cell::Cell;
use std::panic;
use std::sync::Once;

thread_local! {
    /// A test's runtime has one thread, the test's own.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Fails the test if a task of its runtime panicked while this lived.
#[derive(Debug)]
pub(crate) struct NoPanics(u32);

impl NoPanics {
    pub(crate) fn from_now_on() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let print = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                PANICS.set(PANICS.get() + 1);
                print(info);
            }));
        });
        Self(PANICS.get())
    }
}

impl Drop for NoPanics {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(PANICS.get(), self.0, "a task panicked: what it said stands above");
        }
    }
}

#[tokio::test]
async fn a_panic_of_a_task_is_noticed() {
    let guard = NoPanics::from_now_on();
    assert!(tokio::spawn(async { panic!("on purpose") }).await.is_err());
    let noticed = panic::catch_unwind(panic::AssertUnwindSafe(|| drop(guard)));
    assert!(noticed.is_err());
}
