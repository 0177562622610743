//! How far a stream is, and what moves it on.
//!
//! ```text
//! Negotiating ──answer sent──► Connecting ──ICE, DTLS up──► AwaitingMedia ──first RTP or 2 s──► OnAir
//!      │                            │                       (publishers only)                    │
//!      └──── 5 s ──► Ended          └──── 15 s ──► Ended              Closing ◄───DTLS closed────┘ ── 2 s ──► Ended
//! ```

use crate::id::HttpRequestId;
use crate::refusal::StreamEnd;
use relay_control::{Command, DownTrackAdded, TransportOpened};
use std::time::Duration;

/// From the offer to the relay's last reply. The relay answers in well under a millisecond; this is for the
/// moment in which it is being restarted.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// From the answer to ICE and DTLS being up.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// How long a publisher whose transport is up may keep the others waiting for its first RTP.
pub(crate) const RTP_GRACE: Duration = Duration::from_secs(2);
/// A client closes its peer connection right after it sent the stop: the stop may be the slower of the two.
pub(crate) const CLOSING_GRACE: Duration = Duration::from_secs(2);

/// How far a stream is.
#[derive(Debug, PartialEq)]
pub(crate) enum StreamState {
    /// The relay was asked; the client waits for the answer.
    Negotiating(Box<Negotiation>),
    /// The client has the answer; ICE and DTLS are running.
    Connecting {
        /// An authenticated check came.
        checked: bool,
    },
    /// A publisher whose transport is up and who has sent nothing yet.
    AwaitingMedia,
    /// Others see it.
    OnAir,
    /// The client closed the DTLS association; its message that says why may still come on the WebSocket.
    Closing {
        /// Others see it still.
        on_air: bool,
    },
    Ended {
        end: StreamEnd,
        was_on_air: bool,
        /// The request over HTTP that has got no answer yet.
        http_request: Option<HttpRequestId>,
    },
}

/// What is collected for the answer.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Negotiation {
    /// Tracks whose replies are still to come.
    pub(crate) awaited: usize,
    /// The tracks to ask for once the transport is there.
    pub(crate) tracks: Vec<Command>,
    /// The relay's half of the transport.
    pub(crate) opened: Option<TransportOpened>,
    /// For a play: SSRCs, in the order of the plan's tracks.
    pub(crate) down_tracks: Vec<DownTrackAdded>,
    /// Of a publisher: what the relay was told to take of it, 0 = its own default.
    pub(crate) max_bitrate_bps: u64,
    /// Where the answer goes, if it came over HTTP.
    pub(crate) http_request: Option<HttpRequestId>,
    /// Then the secret part of the session's URL, told once.
    pub(crate) secret: Option<String>,
}

/// What happens to a stream.
#[derive(Debug)]
pub(crate) enum Trigger {
    /// The relay has opened its transport.
    Opened(TransportOpened),
    /// The relay has added a track of a publisher.
    UpTrackAdded,
    /// The relay has added the track that has this place in the plan.
    DownTrackAdded(usize, DownTrackAdded),
    /// An authenticated check came.
    Checked,
    /// ICE and DTLS are up; whether packets of it came already, or none are waited for.
    Connected(bool),
    /// Packets of it come.
    Media,
    /// The client closed the DTLS association; whether it has no other way to say why.
    Closed(bool),
    /// The time that a stream may be where it is has passed.
    TimeOut,
    /// It is to end.
    End(StreamEnd),
}

/// What is to be done next.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    Wait,
    /// The relay is asked for these.
    AskForTracks(Vec<Command>),
    /// The client gets the answer.
    Answer(Box<Negotiation>),
    /// The owner and the others are told of it.
    Announce,
    /// It goes out of all tables, and whom it concerns is told.
    Remove,
}

impl StreamState {
    /// What comes of it.
    pub(crate) fn on(self, trigger: Trigger) -> (Self, Action) {
        use Trigger as On;
        match (self, trigger) {
            (ended @ Self::Ended { .. }, _) => (ended, Action::Wait),
            (state, On::End(end)) => state.end(end),
            (Self::Negotiating(mut negotiation), On::Opened(opened)) => {
                negotiation.opened = Some(opened);
                let tracks = std::mem::take(&mut negotiation.tracks);
                (Self::Negotiating(negotiation), Action::AskForTracks(tracks))
            }
            (Self::Negotiating(negotiation), On::UpTrackAdded) => negotiation.track_added(),
            (Self::Negotiating(mut negotiation), On::DownTrackAdded(index, added)) => {
                if let Some(place) = negotiation.down_tracks.get_mut(index) {
                    *place = added;
                }
                negotiation.track_added()
            }
            (state @ Self::Negotiating(_), On::TimeOut) => state.end(StreamEnd::ServerError),
            (Self::Connecting { .. }, On::Checked) => (Self::Connecting { checked: true }, Action::Wait),
            (Self::Connecting { .. }, On::Connected(true)) => (Self::OnAir, Action::Announce),
            (Self::Connecting { .. }, On::Connected(false)) => (Self::AwaitingMedia, Action::Wait),
            (state @ Self::Connecting { checked: false }, On::TimeOut) => state.end(StreamEnd::IceTimeout),
            (state @ Self::Connecting { .. }, On::TimeOut) => state.end(StreamEnd::DtlsFailed),
            (Self::AwaitingMedia, On::Media | On::TimeOut) => (Self::OnAir, Action::Announce),
            (state, On::Closed(true)) => state.end(StreamEnd::StoppedByUser),
            (state, On::Closed(false)) => (Self::Closing { on_air: state.is_on_air() }, Action::Wait),
            (state @ Self::Closing { .. }, On::TimeOut) => state.end(StreamEnd::DtlsFailed),
            (state, _) => (state, Action::Wait),
        }
    }

    fn end(self, end: StreamEnd) -> (Self, Action) {
        let was_on_air = self.is_on_air();
        let http_request =
            if let Self::Negotiating(negotiation) = self { negotiation.http_request } else { None };
        (Self::Ended { end, was_on_air, http_request }, Action::Remove)
    }

    /// Whether others see it: `PUBLISHED` was said, or its owner was told `PLAYING`.
    pub(crate) fn is_on_air(&self) -> bool {
        matches!(self, Self::OnAir | Self::Closing { on_air: true })
    }

    /// How long a stream may be where it is.
    pub(crate) fn limit(&self) -> Option<Duration> {
        match self {
            Self::Negotiating(_) => Some(ANSWER_LIMIT),
            Self::Connecting { .. } => Some(CONNECT_LIMIT),
            Self::AwaitingMedia => Some(RTP_GRACE),
            Self::Closing { .. } => Some(CLOSING_GRACE),
            Self::OnAir | Self::Ended { .. } => None,
        }
    }
}

impl Negotiation {
    /// With the last reply the answer can be written.
    fn track_added(mut self: Box<Self>) -> (StreamState, Action) {
        self.awaited = self.awaited.saturating_sub(1);
        if self.awaited == 0 {
            (StreamState::Connecting { checked: false }, Action::Answer(self))
        } else {
            (StreamState::Negotiating(self), Action::Wait)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiating(awaited: usize) -> StreamState {
        let http_request = Some(HttpRequestId(1));
        StreamState::Negotiating(Box::new(Negotiation { awaited, http_request, ..Negotiation::default() }))
    }

    #[test]
    fn the_answer_follows_the_last_track() {
        let (state, action) = negotiating(2).on(Trigger::Opened(TransportOpened::default()));
        assert_eq!(action, Action::AskForTracks(Vec::new()));
        let (state, action) = state.on(Trigger::UpTrackAdded);
        assert_eq!(action, Action::Wait);
        let (state, action) = state.on(Trigger::UpTrackAdded);
        assert!(matches!(action, Action::Answer(negotiation) if negotiation.opened.is_some()));
        assert_eq!(state, StreamState::Connecting { checked: false });
    }

    #[test]
    fn a_time_out_says_what_was_waited_for_and_an_end_is_the_last() {
        for (state, end, http_request) in [
            (negotiating(1), StreamEnd::ServerError, Some(HttpRequestId(1))),
            (StreamState::Connecting { checked: false }, StreamEnd::IceTimeout, None),
            (StreamState::Connecting { checked: true }, StreamEnd::DtlsFailed, None),
            (StreamState::Closing { on_air: true }, StreamEnd::DtlsFailed, None),
        ] {
            let was_on_air = state.is_on_air();
            assert!(state.limit().is_some());
            let (ended, action) = state.on(Trigger::TimeOut);
            assert_eq!(
                (&ended, action),
                (&StreamState::Ended { end, was_on_air, http_request }, Action::Remove)
            );
            let (still, action) = ended.on(Trigger::End(StreamEnd::StoppedByUser));
            assert_eq!((still, action), (StreamState::Ended { end, was_on_air, http_request }, Action::Wait));
        }
        assert_eq!(StreamState::AwaitingMedia.on(Trigger::TimeOut), (StreamState::OnAir, Action::Announce));
        assert_eq!(StreamState::OnAir.on(Trigger::TimeOut), (StreamState::OnAir, Action::Wait));
        assert_eq!(StreamState::OnAir.on(Trigger::Connected(false)), (StreamState::OnAir, Action::Wait));
    }
}
