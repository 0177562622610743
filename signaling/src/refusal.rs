//! What a client is told when something is not done, or ends: a code for programs, and words for people.
//!
//! Clients go by the codes, so they stay as they are. Many of the words are the vendor's own, and pages of
//! theirs compare them, so those stay as well.

use crate::names::NameRefusal;
use crate::sdp::{self, SdpError};
use std::borrow::Cow;

/// As it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// For programs.
    pub code: &'static str,
    /// For people: `info` in messages.
    pub words: Cow<'static, str>,
}

/// One line for each: name, status over HTTP, code, and the words unless it brings its own.
macro_rules! table {
    ($(#[$about:meta])* $table:ident: $($name:ident $(($own:ty))? = $status:literal $code:literal $words:literal;)*) => {
        $(#[$about])*
        pub enum $table {
            $(#[doc = concat!("`", $code, "` ", $words)] $name $(($own))?,)*
        }

        impl $table {
            /// All codes.
            pub const CODES: &'static [&'static str] = &[$($code),*];

            fn row(&self) -> (u16, &'static str, &'static str) {
                match self {
                    $(Self::$name { .. } => ($status, $code, $words),)*
                }
            }
        }
    };
}

table! {
    /// Why what a client asks for is not done.
    #[derive(Clone, Debug, PartialEq, Eq)]
    Refusal:
    BadMessage(Cow<'static, str>) = 400 "bad-message" "";
    SessionNotReady = 409 "session-not-ready" "Session not ready";
    SessionOpen = 409 "session-open" "The session is open already";
    LoginRequired = 400 "login-required" "Login is required";
    BadName(NameRefusal) = 400 "bad-name" "";
    Forbidden = 403 "forbidden" "Forbidden";
    HookRefused(String) = 403 "forbidden" "";
    HookUnauthorized(String) = 401 "forbidden" "";
    HookFailed = 403 "access-check-failed" "Access check failed";
    TokenMissing = 401 "token-missing" "A token is required";
    TokenInvalid = 401 "token-invalid" "The token is not valid";
    TokenExpired = 401 "token-expired" "The token has expired";
    TokenEarly = 401 "token-invalid" "The token is not valid yet";
    TokenClaims = 401 "token-invalid" "The claims of the token are not understood";
    TokenName = 401 "token-invalid" "The token's login has a control or invisible character";
    TokenPriority = 401 "token-invalid" "The token's priority must be very-low, low, medium or high";
    TokenLogin = 403 "not-allowed" "The token is for another login";
    TokenScope = 403 "not-allowed" "The token does not allow this";
    TokenRoom = 403 "not-allowed" "The token does not allow this room";
    TokenRecording = 403 "not-allowed" "The token does not allow recording";
    Restricted = 409 "not-allowed" "Restricted access";

    LoginTaken = 409 "login-taken" "Room already has user with such login";
    RoomFull = 503 "room-full" "Room is full";
    TooManyRooms = 503 "too-many-rooms" "Too many rooms";
    TooManyRoomsOfConnection = 503 "too-many-rooms" "Too many rooms on one connection";
    CodecsNotAllowed = 422 "codecs-not-allowed" "None of these codecs is allowed on this server";
    NotInRoom = 404 "not-in-room" "Not in this room";
    NoSuchParticipant = 404 "no-such-participant" "No such participant";
    ParticipantAway = 503 "participant-away" "The participant is not connected";
    ParticipantSlow = 503 "participant-away" "The participant does not read fast enough";

    StreamIdTaken = 409 "stream-id-taken" "MediaSessionId is already in use";
    StreamNameTaken = 409 "stream-name-taken" "Stream name is already in use";
    NamesTooLong = 409 "bad-name" "Names are too long";
    StreamNotFound = 404 "stream-not-found" "Stream not found";
    StreamNotReady = 409 "stream-not-ready" "Publish stream is not ready";
    TooManyStreams = 503 "too-many-streams" "Too many streams";
    TooManyStreamsOfConnection = 503 "too-many-streams" "Too many streams on one connection";
    TooManyUnproved = 503 "server-busy" "Too many streams are being set up";
    BadOffer(SdpError) = 400 "bad-offer" "";
    NoCommonCodecs = 422 "no-common-codecs" "No common codecs";
    OneOfAKind = 422 "one-of-a-kind" "Only one m-line of a kind is taken";
    OfferNotUsable(sdp::Refusal) = 422 "bad-offer" "";
    NoRelay = 503 "relay-lost" "Stream failed";
    Ended(StreamEnd) = 503 "server-error" "";

    RoomNotFound = 404 "room-not-found" "No such room";
    RecordingNotFound = 404 "recording-not-found" "No such recording is running";
    RecordingOff = 503 "recording-off" "Recording is not set up on this server";

    NoSuchSession = 404 "session-not-found" "No such session";
    OtherIceSession = 412 "other-ice-session" "If-Match names another ICE session";
    IfMatchRequired = 428 "if-match-required" "If-Match is required";
    IceRestartFailed = 503 "ice-restart-failed" "ICE restart failed";
    ShuttingDown = 503 "shutting-down" "Shutting down";
    ServerError = 503 "server-error" "Internal error";
}

table! {
    /// Why a stream ended.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    StreamEnd:
    StoppedByUser = 200 "stopped" "Stopped by user";
    SessionEnded = 200 "session-ended" "Stopped by session disconnect";
    PublisherStopped = 200 "publisher-stopped" "Stopped by publisher stop";
    Replaced = 200 "replaced" "Replaced by a newer session";
    IceTimeout = 503 "ice-timeout" "Failed by ICE timeout";
    ConsentLost = 503 "ice-lost" "Failed by ICE keep alive";
    DtlsFingerprint = 503 "dtls-fingerprint" "Failed by DTLS fingerprint error";
    DtlsFailed = 503 "dtls-failed" "Failed by DTLS error";
    RelayFull = 503 "server-busy" "The server is full";
    RelayLost = 503 "relay-lost" "Stream failed";
    ServerError = 503 "server-error" "Failed by error";
}

impl Refusal {
    /// What the client is told.
    pub fn reason(&self) -> Reason {
        let (_, code, words) = self.row();
        let words = match self {
            Self::BadMessage(words) => words.clone(),
            Self::HookRefused(words) | Self::HookUnauthorized(words) => words.clone().into(),
            Self::BadName(why) => why.words().into(),
            Self::BadOffer(why) => why.to_string().into(),
            Self::OfferNotUsable(why) => why.to_string().into(),
            Self::Ended(end) => return end.reason(),
            _ => words.into(),
        };
        Reason { code, words }
    }

    /// Over HTTP.
    pub fn http_status(&self) -> u16 {
        self.row().0
    }
}

impl From<SdpError> for Refusal {
    fn from(why: SdpError) -> Self {
        Self::BadOffer(why)
    }
}

impl From<sdp::Refusal> for Refusal {
    fn from(why: sdp::Refusal) -> Self {
        match why {
            sdp::Refusal::NoCommonCodecs => Self::NoCommonCodecs,
            sdp::Refusal::OneOfAKind => Self::OneOfAKind,
            sdp::Refusal::BadLine(line) => Self::BadOffer(line),
            other => Self::OfferNotUsable(other),
        }
    }
}

impl StreamEnd {
    /// What its client is told.
    pub fn reason(self) -> Reason {
        let (_, code, words) = self.row();
        Reason { code, words: words.into() }
    }

    /// Nobody wanted it to end.
    pub fn is_failure(self) -> bool {
        self.row().0 != 200
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A code that is not written down is none that a client can go by.
    #[test]
    fn every_code_is_documented() {
        let page = include_str!("../web/sdk/README.md");
        for code in Refusal::CODES.iter().chain(StreamEnd::CODES) {
            assert!(page.contains(&format!("`{code}`")), "{code}");
        }
    }
}
