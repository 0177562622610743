//! What WHIP and WHEP clients ask, and the answers.

use crate::auth::Rights;
use crate::names::NameOf;
use crate::refusal::Refusal;
use crate::sdp::Rejected;
use relay_control::Priority;
use std::sync::{Arc, Weak};

/// Held by whoever waits for the answer to a request: an HTTP client may go at any time, and nothing is done
/// for one that has gone.
#[derive(Debug, Default)]
pub struct Waiter(Arc<()>);

/// Whether a [`Waiter`] is still there.
#[derive(Clone, Debug, Default)]
pub struct Awaited(Weak<()>);

impl Waiter {
    pub fn awaited(&self) -> Awaited {
        Awaited(Arc::downgrade(&self.0))
    }
}

impl Awaited {
    /// By nobody from the start.
    pub fn by_nobody() -> Self {
        Self::default()
    }

    pub fn holds(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// What a WHIP or WHEP client asks.
#[derive(Debug)]
pub enum HttpRequest {
    /// `POST /whip/{room}`
    Publish {
        room: String,
        /// The publisher's name in the room; made up if absent.
        login: Option<String>,
        sdp: String,
        /// What the operator says of its video.
        priority: Option<Priority>,
        /// By which it may take the place of another one with its login.
        rights: Rights,
        /// Its stream is to be recorded.
        record: bool,
    },
    /// `POST /whep/{room}/{name}?by=…`
    Play {
        room: String,
        /// Of what is played.
        name: String,
        /// What it is the name of.
        by: NameOf,
        sdp: String,
    },
    /// `DELETE` of a session.
    Delete {
        secret: String,
        /// WHIP or WHEP.
        published: bool,
    },
    /// `PATCH` of a session.
    Patch(Patch),
    /// An operator wants a room recorded as a whole, or one of its streams. Who may ask is decided before.
    StartRecording {
        room: String,
        /// A stream, and what that is the name of; `None`: the room.
        stream: Option<(String, NameOf)>,
    },
    /// An operator wants no more of a recording that runs. What is recorded of it is finished.
    StopRecording { id: String },
}

/// `PATCH` of a session.
#[derive(Debug)]
pub struct Patch {
    pub secret: String,
    /// WHIP or WHEP.
    pub published: bool,
    /// Value of `If-Match`.
    pub if_match: Option<String>,
    /// Body: an ICE fragment.
    pub fragment: String,
}

/// The answer to an [`HttpRequest`].
#[derive(Debug, PartialEq, Eq)]
pub enum HttpReply {
    /// 201
    Created {
        /// Secret part of the session's URL.
        secret: String,
        /// Names the ICE session; without quotes.
        etag: String,
        sdp: String,
        /// What was offered as well and cannot be had.
        rejected: Vec<Rejected>,
    },
    /// 200: the session is gone.
    Deleted,
    /// 204: candidates were noted.
    Noted,
    /// 200: ICE restarted.
    Restarted {
        /// Names the new ICE session.
        etag: String,
        /// `application/trickle-ice-sdpfrag`
        fragment: String,
    },
    /// 201, or 200 if it ran already: a recording runs. Its file is there when the recorder says so.
    Recording {
        id: String,
        /// The finished file's name.
        file: String,
        is_new: bool,
    },
    /// 204: a recording runs no more.
    RecordingStopped,
    Refused(Refusal),
}
