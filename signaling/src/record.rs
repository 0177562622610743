//! What of a stream or a room is recorded, as far as it was ordered.

use recorder_control::Wanted;
use std::collections::BTreeSet;

/// Whether what somebody publishes is recorded, by itself or with its room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recorded {
    /// Nothing of it is written.
    #[default]
    No,
    /// It would be, and nothing of it is written for now.
    Paused,
    /// It may be written at any moment.
    Yes,
}

impl Recorded {
    /// As clients are told.
    pub fn word(self) -> &'static str {
        match self {
            Self::No => "off",
            Self::Paused => "paused",
            Self::Yes => "on",
        }
    }
}

/// A recording that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    /// Its id and the name of its file.
    pub(crate) wanted: Wanted,
    /// The recorder cannot write for now: there is no room on its disk.
    pub(crate) paused: bool,
}

impl Running {
    pub(crate) fn new(wanted: Wanted) -> Self {
        Self { wanted, paused: false }
    }
}

/// Of a publication.
#[derive(Debug, Default)]
pub(crate) struct StreamRecord {
    /// The stream's own recording. That of its room goes on beside it.
    pub(crate) running: Option<Running>,
    /// The file of the latest one.
    pub(crate) file: Option<String>,
    /// It was asked for, and this server records nothing.
    pub(crate) is_refused: bool,
    pub(crate) taps: Taps,
}

/// How far the relay is with the orders about a publication's tracks. They are given one after the other: one
/// that had to wait in the relay must not come behind a later one.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    /// Answers that are to come.
    pub(crate) awaited: usize,
    /// What is wanted is not what the relay was told last, or it may not have heard of it.
    pub(crate) changed: bool,
    /// Tracks that are not sent to the recorder: the relay has no room for them, or the recorder has ended
    /// them.
    pub(crate) missing: BTreeSet<u64>,
}
