//! What is to be told of the settings when there is a log: they are read before it is opened.

use std::sync::{Mutex, PoisonError};

/// Most that is kept.
const TOLD_MAX: usize = 64;

static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

pub(crate) fn tell(words: String) {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() < TOLD_MAX && !told.contains(&words) {
        told.push(words);
    }
}

/// What the settings that were read since the last call have to say: lines for the log, each once.
#[must_use]
pub fn take_told() -> Vec<String> {
    std::mem::take(&mut TOLD.lock().unwrap_or_else(PoisonError::into_inner))
}
