//! Panics where a run wants them: at the n-th call that the core makes of what it was given, an outbox or a
//! DTLS engine. So nothing in the relay is made for it.

use relay_core::outbox::{Outbox, OutboxFull, Path, Run};
use std::cell::Cell;
use std::panic;

thread_local! {
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    static EVERY: Cell<u32> = const { Cell::new(0) };
    static HERE: Cell<bool> = const { Cell::new(true) };
}

/// The message of an intended panic.
const TEXT: &str = "a panic that a test wanted";

/// The call of [`point`] after `calls` more ones panics, once.
pub fn panic_after(calls: u32) {
    quiet();
    EVERY.set(0);
    LEFT.set(Some(calls));
}

/// Each `n`-th call panics, until [`no_more`].
pub fn panic_every(n: u32) {
    quiet();
    EVERY.set(n);
    LEFT.set(Some(n));
}

/// Nothing panics any more. True: something was still to.
pub fn no_more() -> bool {
    EVERY.set(0);
    LEFT.take().is_some()
}

/// Whether what runs now is where panics are wanted.
pub fn here(is_wanted: bool) {
    HERE.set(is_wanted);
}

/// One of the calls.
///
/// # Panics
/// If it is that one.
pub fn point() {
    match LEFT.get().filter(|_| HERE.get()) {
        None => {}
        Some(0) => {
            LEFT.set(Some(EVERY.get()).filter(|every| *every > 0));
            panic!("{TEXT}");
        }
        Some(calls) => LEFT.set(Some(calls - 1)),
    }
}

/// Keeps intended panics out of the output.
fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<String>().is_none_or(|text| text != TEXT)
                && info.payload().downcast_ref::<&str>().is_none_or(|text| *text != TEXT)
            {
                told(info);
            }
        }));
    });
}

/// An outbox whose calls are such points.
#[derive(Debug)]
pub struct Panicking<O>(pub O);

impl<O: Outbox> Outbox for Panicking<O> {
    fn lend(&mut self, bytes: usize) -> Result<&mut [u8], OutboxFull> {
        point();
        self.0.lend(bytes)
    }

    fn commit(&mut self, path: &Path, run: Run) {
        point();
        self.0.commit(path, run);
    }
}
