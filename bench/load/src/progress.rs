//! What a person at a terminal sees: a line that stays for whatever is done, and one that changes while it is being done.

use std::cell::Cell;
use std::io::{IsTerminal, stderr};

/// Back to the line's begin, and nothing behind it.
const WIPE: &str = "\r\x1b[K";

/// See the module. All of it goes to standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    quiet: bool,
    terminal: bool,
    /// Whether the changing line is there.
    live: Cell<bool>,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, terminal: stderr().is_terminal(), live: Cell::new(false) }
    }

    /// Something is done.
    pub(crate) fn say(&self, words: &str) {
        self.wipe();
        if !self.quiet {
            eprintln!("{words}");
        }
    }

    /// Something is being done; said only to a terminal.
    pub(crate) fn live(&self, words: &str) {
        if self.terminal && !self.quiet {
            eprint!("{WIPE}{words}");
            self.live.set(true);
        }
    }

    fn wipe(&self) {
        if self.live.take() {
            eprint!("{WIPE}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.wipe();
    }
}
