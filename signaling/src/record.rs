//! What of a stream or a room is recorded, as far as it was ordered.

use recorder_control::Wanted;

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
    /// A track is not sent to the recorder: the relay has no room for it, or the recorder has ended it.
    pub(crate) missing: bool,
}
