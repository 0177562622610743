//! Where parts go.

use crate::matroska::Written;
use recorder_control::FailureCode;
use std::{fmt, io};

/// Makes the parts of recordings.
pub trait Stores {
    /// Of one recording.
    type Store: Store;

    /// Of the recording of this id.
    fn store(&mut self, id: &str) -> Self::Store;
}

/// Makes the parts of one recording.
pub trait Store {
    /// What it makes.
    type Sink: Sink;

    /// Begins the file of a part, from 1 on.
    ///
    /// # Errors
    /// See [`SinkError`].
    fn create(&mut self, part: u32) -> Result<Self::Sink, SinkError>;
}

/// One file. Nothing waits for it: it takes what it is given into a queue with a limit.
pub trait Sink {
    /// Takes what is to be written.
    ///
    /// # Errors
    /// See [`SinkError`], of this or of what was taken before. Nothing may be written after.
    fn write(&mut self, written: Written) -> Result<(), SinkError>;

    /// All was written that there will be, or may be.
    fn finish(self);
}

/// Why a file cannot go on.
#[derive(Debug)]
pub enum SinkError {
    /// What waits for the disk has reached its limit.
    Full,
    /// The disk refused.
    Io(io::Error),
}

impl SinkError {
    /// For programs.
    #[must_use]
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Full => FailureCode::DiskSlow,
            Self::Io(why) => match why.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureCode::DiskFull,
                _ => FailureCode::Disk,
            },
        }
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "the disk is slower than what is recorded"),
            Self::Io(why) => write!(f, "the recording cannot be written: {why}"),
        }
    }
}

impl std::error::Error for SinkError {}

impl From<io::Error> for SinkError {
    fn from(why: io::Error) -> Self {
        Self::Io(why)
    }
}
