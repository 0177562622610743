//! A [`ServerMessage`] becomes text.

use super::StreamEventType;
use crate::refusal::{Reason, Refusal, StreamEnd};
use crate::sdp::Rejected;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// What the server says.
#[derive(Debug)]
pub enum ServerMessage<'a> {
    /// The session is ESTABLISHED.
    UserData {
        app_key: &'a str,
        /// The session's own secret; also what `custom.resume` takes.
        auth_token: &'a str,
    },
    /// Refusal of a session or of a malformed message.
    Fail {
        /// Which part of the API.
        api_method: &'a str,
        reason: &'a Reason,
    },
    Ping,
    /// Answer to the client's ping.
    Pong,
    /// Answer to `sendData`; `None` = accepted.
    DataStatus {
        operation_id: &'a str,
        /// Why it was refused.
        refusal: Option<Refusal>,
    },
    Room {
        room: &'a str,
        event: RoomEvent<'a>,
        /// Unique; nobody reads it.
        operation_id: String,
    },
    /// The answer to an offer.
    RemoteSdp {
        media_session_id: &'a str,
        sdp: &'a str,
    },
    /// See [`StreamStatus::to_json`].
    StreamStatus(&'a Value),
    /// A note about a stream that one plays.
    StreamEvent {
        /// The player's own `mediaSessionId`.
        media_session_id: &'a str,
        event: StreamEventType,
        /// As the publisher gave it.
        payload: Option<&'a RawValue>,
    },
    /// Answer to `availableStream`.
    Available {
        /// Echo of `mediaSessionId`.
        media_session_id: &'a str,
        /// Whether the stream is published.
        available: bool,
    },
}

#[derive(Debug)]
pub enum RoomEvent<'a> {
    /// Once per join, to the one who joined.
    State {
        /// See [`crate::room::Room::state`].
        members: Vec<Value>,
        /// Own streams that lived on, after a resume.
        resumed: Option<Vec<Value>>,
    },
    Joined(&'a str),
    Left(&'a str),
    /// To a member that another session with its login has replaced, while it goes on in other rooms: its
    /// login. The vendor's client passes over it.
    Replaced(&'a str),
    /// See [`crate::stream::Stream::for_room`].
    Published(Value),
    /// Login and stream name.
    Unpublished(&'a str, &'a str),
    /// Login and name of a stream that failed.
    Failed(&'a str, &'a str),
    /// Login and stream name, and of which kinds the media has stopped.
    Media(&'a str, &'a str, Vec<&'static str>),
    /// What is recorded of the room: all of it each time.
    Recording {
        /// The room as a whole.
        room: bool,
        /// Streams that are recorded by themselves.
        streams: Vec<RecordedStream<'a>>,
        /// Nothing of it is written for now.
        paused: bool,
    },
    Message {
        from: &'a str,
        /// As it came.
        text: &'a RawValue,
    },
}

/// A stream as [`RoomEvent::Recording`] names it.
#[derive(Debug, Serialize)]
pub struct RecordedStream<'a> {
    pub login: &'a str,
    pub name: &'a str,
}

/// Content of `notifyStreamStatusEvent`.
#[derive(Debug)]
pub struct StreamStatus<'a> {
    pub media_session_id: &'a str,
    pub name: &'a str,
    /// Never missing: the vendor's client would store `undefined`.
    pub status: Status,
    /// Why it ended.
    pub reason: Option<Reason>,
    /// Publisher or player.
    pub published: bool,
    /// As negotiated.
    pub has_video: bool,
    /// As negotiated.
    pub has_audio: bool,
    /// What was offered as well and cannot be had.
    pub rejected: &'a [Rejected],
    /// Mute state of audio and video, told to players.
    pub muted: Option<(bool, bool)>,
    /// Of which kinds the media does not come, told to players.
    pub stopped: Vec<&'static str>,
    pub record: RecordStatus<'a>,
}

/// What the publisher of a stream is told of its recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordStatus<'a> {
    /// It is recorded, or was when it ended.
    pub is_recorded: bool,
    /// The file, once the stream has ended.
    pub name: Option<&'a str>,
    /// It was asked for and cannot be had.
    pub is_refused: bool,
}

/// States of a stream that the server tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Pending,
    Publishing,
    Playing,
    Unpublished,
    Stopped,
    Failed,
}

impl Status {
    /// Of a publisher's or a player's stream that has ended.
    pub fn ended(end: StreamEnd, publish: bool) -> Self {
        match (end.is_failure(), publish) {
            (true, _) => Self::Failed,
            (false, true) => Self::Unpublished,
            (false, false) => Self::Stopped,
        }
    }

    /// As the protocol spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Publishing => "PUBLISHING",
            Self::Playing => "PLAYING",
            Self::Unpublished => "UNPUBLISHED",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
        }
    }
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    message: &'a str,
    data: T,
}

fn envelope(message: &str, data: impl Serialize) -> String {
    // Maps with string keys and no failing `Serialize`: there is nothing that could go wrong.
    serde_json::to_string(&Envelope { message, data }).unwrap_or_default()
}

impl ServerMessage<'_> {
    /// The text that goes on the wire.
    pub fn to_text(&self) -> String {
        match self {
            Self::UserData { app_key, auth_token } => envelope(
                "getUserData",
                [json!({"appKey": app_key, "status": "ESTABLISHED", "authToken": auth_token,
                    "mediaProviders": ["WebRTC"]})],
            ),
            Self::Fail { api_method, reason: Reason { code, words } } => envelope(
                "fail",
                [json!({"apiMethod": api_method, "status": "FAILED", "info": words, "code": code})],
            ),
            Self::Ping => envelope("ping", [Value::Null]),
            Self::Pong => envelope("pong", [Value::Null]),
            Self::DataStatus { operation_id, refusal: None } => {
                envelope("DataStatusEvent", [json!({"operationId": operation_id, "status": "ACCEPTED"})])
            }
            Self::DataStatus { operation_id, refusal: Some(refusal) } => {
                let Reason { code, words } = refusal.reason();
                envelope(
                    "DataStatusEvent",
                    [json!({"operationId": operation_id, "status": "FAILED", "info": words, "code": code})],
                )
            }
            Self::Room { room, event, operation_id } => room_event(room, event, operation_id),
            Self::RemoteSdp { media_session_id, sdp } => envelope("setRemoteSDP", [media_session_id, sdp]),
            Self::StreamStatus(status) => envelope("notifyStreamStatusEvent", [status]),
            Self::StreamEvent { media_session_id, event, payload } => {
                #[derive(Serialize)]
                #[serde(rename_all = "camelCase")]
                struct Content<'a> {
                    media_session_id: &'a str,
                    r#type: &'a str,
                    payload: Option<&'a RawValue>,
                }
                envelope(
                    "notifyStreamEvent",
                    [Content { media_session_id, r#type: event.name(), payload: *payload }],
                )
            }
            // The status is a string: the vendor's client takes a boolean `true` as "not available".
            Self::Available { media_session_id, available } => envelope(
                "availableStream",
                [json!({"id": media_session_id, "status": available.to_string(),
                    "info": if *available { Value::Null } else { "Stream not found".into() }})],
            ),
        }
    }
}

fn room_event(room: &str, event: &RoomEvent<'_>, operation_id: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Content<'a, T> {
        operation_id: &'a str,
        payload: Payload<'a, T>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a, T> {
        room_name: &'a str,
        name: &'a str,
        info: T,
        #[serde(skip_serializing_if = "Option::is_none")]
        resumed: Option<&'a [Value]>,
    }
    fn text<T: Serialize>(
        room: &str,
        name: &str,
        info: T,
        operation_id: &str,
        resumed: Option<&[Value]>,
    ) -> String {
        let payload = Payload { room_name: room, name, info, resumed };
        envelope("OnDataEvent", [Content { operation_id, payload }])
    }
    let stream = |login: &str, name: &str| json!({"login": login, "name": name});
    match event {
        RoomEvent::State { members, resumed } => {
            text(room, "STATE", members, operation_id, resumed.as_deref())
        }
        RoomEvent::Joined(login) => text(room, "JOINED", login, operation_id, None),
        RoomEvent::Left(login) => text(room, "LEFT", login, operation_id, None),
        RoomEvent::Replaced(login) => text(room, "REPLACED", login, operation_id, None),
        RoomEvent::Published(stream) => text(room, "PUBLISHED", stream, operation_id, None),
        RoomEvent::Unpublished(login, name) => {
            text(room, "UNPUBLISHED", stream(login, name), operation_id, None)
        }
        RoomEvent::Failed(login, name) => text(room, "FAILED", stream(login, name), operation_id, None),
        RoomEvent::Media(login, name, stopped) => {
            let mut info = stream(login, name);
            info["stopped"] = stopped.clone().into();
            text(room, "MEDIA", info, operation_id, None)
        }
        RoomEvent::Recording { room: whole, streams, paused } => {
            let info = json!({"room": whole, "streams": streams, "paused": paused});
            text(room, "RECORDING", info, operation_id, None)
        }
        RoomEvent::Message { from, text: words } => {
            #[derive(Serialize)]
            struct Words<'a> {
                from: &'a str,
                text: &'a RawValue,
            }
            text(room, "MESSAGE", Words { from, text: words }, operation_id, None)
        }
    }
}

impl StreamStatus<'_> {
    /// The object of the message; also what the access hook is told.
    pub fn to_json(&self) -> Value {
        let mut content = json!({
            "mediaSessionId": self.media_session_id, "name": self.name, "status": self.status.name(),
            "published": self.published, "hasVideo": self.has_video, "hasAudio": self.has_audio,
            // As it is, whatever the publish asked for.
            "record": self.record.is_recorded, "mediaProvider": "WebRTC",
        });
        if let Some(name) = self.record.name {
            content["recordName"] = name.into();
        }
        if let Some(Reason { code, words }) = &self.reason {
            content["info"] = words.as_ref().into();
            content["code"] = (*code).into();
        }
        let mut info = Vec::new();
        if self.reason.is_none() && !self.rejected.is_empty() {
            let mut rejected = Vec::new();
            for one in self.rejected {
                let Reason { code, words } = Refusal::from(one.why).reason();
                info.push(format!("{}: {words}", one.media()));
                rejected.push(json!({"kind": one.media(), "code": code, "info": words}));
            }
            content["rejected"] = rejected.into();
        }
        if self.reason.is_none() && self.record.is_refused {
            info.push(Refusal::RecordingOff.reason().words.into_owned());
        }
        if !info.is_empty() {
            // The vendor's client hands this to its page.
            content["info"] = info.join(", ").into();
        }
        if !self.stopped.is_empty() {
            content["stopped"] = self.stopped.clone().into();
        }
        if let Some((audio, video)) = self.muted {
            content["audioState"] = json!({"muted": audio});
            content["videoState"] = json!({"muted": video});
        }
        content
    }
}
