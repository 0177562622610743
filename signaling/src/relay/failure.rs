//! What can go wrong between the relay and us.

use std::fmt;

/// What went wrong with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkFailure {
    /// The greeting was refused, with these words.
    Refused(String),
    /// Another controller was here before, whose epoch is above ours.
    StaleEpoch(u64),
    /// The inventory was refused, with these words.
    NoInventory(String),
    /// What came is no answer to what was asked.
    Malformed(String),
    /// Nothing came in time.
    Silent,
    /// The other side closed it.
    Closed,
    /// Another user could be, or is, at the other end: nothing was said.
    Untrusted(String),
}

impl fmt::Display for LinkFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "the relay refuses us: {why}"),
            Self::StaleEpoch(epoch) => {
                write!(
                    f,
                    "a controller of epoch {epoch} was here before, so our clock is behind; going above it"
                )
            }
            Self::NoInventory(why) => write!(f, "the relay does not say what it has: {why}"),
            Self::Malformed(why) => write!(
                f,
                "what listens on the control socket does not speak as a relay does ({why}): is it one of this version?"
            ),
            Self::Silent => f.write_str("the relay does not answer on its control socket"),
            Self::Untrusted(why) => f.write_str(why),
            Self::Closed => f.write_str("the relay closed the connection"),
        }
    }
}
