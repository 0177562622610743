//! What WHIP and WHEP clients ask, and the answers.

use crate::auth::Rights;
use crate::names::NameOf;
use crate::refusal::Refusal;
use crate::sdp::Rejected;
use relay_control::Priority;

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
    Refused(Refusal),
}
