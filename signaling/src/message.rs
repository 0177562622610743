//! What client and server say to each other: the WCS room protocol on the WebSocket.
//!
//! Every message is `{"message": <name>, "data": <array>}`. Here text becomes a [`ClientMessage`] and a
//! [`ServerMessage`] becomes text; what they mean is decided elsewhere. Invariants
//! - A server message always has `data`, an array (a `ping` without it throws in the vendor's page).
//! - A stream message always has a `status`.
//! - Text of users is never decoded, trimmed or escaped: it leaves as the JSON it came as.
//! - A message that cannot be understood keeps the id by which it can still be answered.

use crate::json::{self, Fields};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Longest room name or login, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 256;
/// Longest stream name: room, login, four hexadecimal digits and a suffix.
pub const STREAM_NAME_BYTES_MAX: usize = 640;
/// Longest id a client may choose (they are UUIDs).
pub const ID_BYTES_MAX: usize = 128;

/// What a client says.
#[derive(Debug)]
pub enum ClientMessage {
    /// Opens the session.
    Connection(Hello),
    /// Wants a pong.
    Ping,
    /// A sign of life, nothing more.
    Pong,
    /// A room command. Answered exactly once.
    Data {
        /// Echoed in the answer.
        operation_id: String,
        /// What is asked; `Err` is the refusal.
        command: Result<RoomCommand, &'static str>,
    },
    /// Wants to publish.
    Publish(StreamRequest),
    /// Wants to play.
    Play(StreamRequest),
    /// Stops publishing.
    Unpublish(StreamRef),
    /// Stops playing.
    Stop(StreamRef),
    /// A note to the players of an own stream.
    StreamEvent {
        /// The publisher's.
        session: String,
        /// Which note.
        event: StreamEventType,
        /// Any JSON object with [`StreamEventType::Data`].
        payload: Option<Box<RawValue>>,
    },
    /// Asks whether a stream is published.
    Available(StreamRef),
    /// Known and of no interest, or not known at all.
    Ignored,
}

/// Content of `connection`.
#[derive(Debug, Default)]
pub struct Hello {
    /// Echoed.
    pub app_key: String,
    /// The participant's name.
    pub login: Login,
    /// The member is kept for a while if the connection is lost.
    pub resumable: bool,
    /// `authToken` of an earlier session.
    pub resume: Option<String>,
}

/// What stands in `custom.login`.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// Nothing: good enough for pages that use no rooms.
    #[default]
    Absent,
    /// A name.
    Name(String),
    /// No string, empty or too long.
    Bad,
}

/// Room commands inside `sendData`.
#[derive(Debug)]
pub enum RoomCommand {
    /// Enters a room.
    Join {
        /// Which.
        room: String,
    },
    /// Leaves it.
    Leave {
        /// Which.
        room: String,
    },
    /// Chat to one member.
    Message {
        /// In which room.
        room: String,
        /// The addressee's login.
        to: String,
        /// Any JSON, as it came.
        text: Box<RawValue>,
    },
}

/// `publishStream` and `playStream`.
#[derive(Debug, Default)]
pub struct StreamRequest {
    /// `mediaSessionId`: made by the client, key of every later message about the stream.
    pub session: String,
    /// Stream name.
    pub name: String,
    /// The offer.
    pub sdp: String,
    /// Room (`custom.name`).
    pub room: Option<String>,
    /// Wish of the publisher, kbit/s; 0 = none.
    pub max_bitrate_kbps: u64,
}

/// Names a stream.
#[derive(Debug, Default)]
pub struct StreamRef {
    /// `mediaSessionId`.
    pub session: String,
    /// Stream name.
    pub name: String,
}

/// The notes of `sendStreamEvent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum StreamEventType {
    AudioMuted,
    AudioUnmuted,
    VideoMuted,
    VideoUnmuted,
    Data,
}

impl StreamEventType {
    const ALL: [(Self, &'static str); 5] = [
        (Self::AudioMuted, "audioMuted"),
        (Self::AudioUnmuted, "audioUnmuted"),
        (Self::VideoMuted, "videoMuted"),
        (Self::VideoUnmuted, "videoUnmuted"),
        (Self::Data, "data"),
    ];

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(event, _)| *event)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(event, _)| *event == self).map_or("data", |(_, name)| name)
    }
}

/// A message that is refused before it is understood.
#[derive(Debug)]
pub struct Malformed {
    /// By which a `sendData` can still be answered.
    pub operation_id: Option<String>,
    /// For the client and the log.
    pub why: String,
}

impl ClientMessage {
    /// Reads one text message.
    ///
    /// # Errors
    /// [`Malformed`]: not JSON, duplicate keys, too deep, or a stream message without an id.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let envelope = Fields::of(text);
        let data = envelope.raw("data").map_or("[]", RawValue::get);
        let content = Fields::of_first(data);
        let malformed =
            |why: String| Malformed { operation_id: content.name("operationId", ID_BYTES_MAX), why };
        json::check(text).map_err(|why| malformed(why.to_string()))?;
        let Some(name) = envelope.text("message") else {
            return Err(malformed("no message name".to_owned()));
        };
        let needs_session = |session: &str| match session.len() {
            0 => Err(malformed("MediaSessionId is null".to_owned())),
            1..=ID_BYTES_MAX => Ok(()),
            _ => Err(malformed("mediaSessionId is too long".to_owned())),
        };
        Ok(match name.as_str() {
            "connection" => Self::Connection(hello(&content)),
            "ping" => Self::Ping,
            "pong" => Self::Pong,
            "sendData" => match content.name("operationId", ID_BYTES_MAX) {
                Some(operation_id) => {
                    Self::Data { operation_id, command: room_command(&content.object("payload")) }
                }
                None => return Err(malformed("sendData without operationId".to_owned())),
            },
            "publishStream" | "playStream" | "unPublishStream" | "stopStream" | "availableStream"
            | "sendStreamEvent" => {
                let session = content.text("mediaSessionId").unwrap_or_default();
                needs_session(&session)?;
                stream_message(&name, session, &content)
            }
            _ => Self::Ignored,
        })
    }
}

fn hello(content: &Fields<'_>) -> Hello {
    let custom = content.object("custom");
    let login = match (custom.has("login"), custom.name("login", NAME_BYTES_MAX)) {
        (false, _) => Login::Absent,
        (true, Some(name)) => Login::Name(name),
        (true, None) => Login::Bad,
    };
    Hello {
        app_key: content.name("appKey", ID_BYTES_MAX).unwrap_or_default(),
        login,
        resumable: custom.flag("resumable"),
        resume: custom.name("resume", ID_BYTES_MAX),
    }
}

fn room_command(payload: &Fields<'_>) -> Result<RoomCommand, &'static str> {
    const BAD_NAME: &str = "Room name must be a text of 1 to 256 bytes";
    let options = payload.object("options");
    let room = |fields: &Fields<'_>| fields.name("name", NAME_BYTES_MAX).ok_or(BAD_NAME);
    match payload.text("command").as_deref() {
        Some("join") => Ok(RoomCommand::Join { room: room(&options)? }),
        Some("leave") => Ok(RoomCommand::Leave { room: room(&options)? }),
        Some("sendMessage") => Ok(RoomCommand::Message {
            room: room(&options.object("roomConfig"))?,
            to: options.name("to", NAME_BYTES_MAX).ok_or("No addressee")?,
            text: options.raw("text").ok_or("No text")?.to_owned(),
        }),
        Some(_) => Err("Unknown command"),
        None => Err("No command"),
    }
}

fn stream_message(name: &str, session: String, content: &Fields<'_>) -> ClientMessage {
    let stream_name = content.text("name").unwrap_or_default();
    match name {
        "publishStream" | "playStream" => {
            let request = StreamRequest {
                session,
                name: stream_name,
                sdp: content.text("sdp").unwrap_or_default(),
                room: content.object("custom").text("name"),
                max_bitrate_kbps: content.number("maxBitrate"),
            };
            if name == "playStream" { ClientMessage::Play(request) } else { ClientMessage::Publish(request) }
        }
        "unPublishStream" => ClientMessage::Unpublish(StreamRef { session, name: stream_name }),
        "stopStream" => ClientMessage::Stop(StreamRef { session, name: stream_name }),
        "availableStream" => ClientMessage::Available(StreamRef { session, name: stream_name }),
        _ => {
            let event = content.text("type").and_then(|name| StreamEventType::from_name(&name));
            let payload = content.raw("payload").filter(|raw| raw.get().len() <= json::RAW_BYTES_MAX);
            match event {
                Some(StreamEventType::Data) if payload.is_none_or(|raw| !raw.get().starts_with('{')) => {
                    ClientMessage::Ignored
                }
                Some(event) => ClientMessage::StreamEvent {
                    session,
                    event,
                    payload: payload.filter(|_| event == StreamEventType::Data).map(ToOwned::to_owned),
                },
                None => ClientMessage::Ignored,
            }
        }
    }
}

/// What the server says.
#[derive(Debug)]
pub enum ServerMessage<'a> {
    /// The session is ESTABLISHED.
    UserData {
        /// Echo.
        app_key: &'a str,
        /// The session's own secret; also what `custom.resume` takes.
        auth_token: &'a str,
    },
    /// Refusal of a session or of a malformed message.
    Fail {
        /// Which part of the API.
        api_method: &'a str,
        /// Why.
        info: &'a str,
    },
    /// Keep-alive.
    Ping,
    /// Answer to the client's ping.
    Pong,
    /// Answer to `sendData`; `None` = accepted.
    DataStatus {
        /// Echo.
        operation_id: &'a str,
        /// Why it was refused.
        refusal: Option<&'a str>,
    },
    /// A room event.
    Room {
        /// In which.
        room: &'a str,
        /// What.
        event: RoomEvent<'a>,
        /// Unique; nobody reads it.
        operation_id: String,
    },
    /// The answer to an offer.
    RemoteSdp {
        /// `mediaSessionId`.
        session: &'a str,
        /// The answer.
        sdp: &'a str,
    },
    /// Status of a stream.
    StreamStatus(StreamStatus<'a>),
    /// A note about a stream that one plays.
    StreamEvent {
        /// The player's own `mediaSessionId`.
        session: &'a str,
        /// Which note.
        event: StreamEventType,
        /// As the publisher gave it.
        payload: Option<&'a RawValue>,
    },
    /// Answer to `availableStream`.
    Available {
        /// Echo of `mediaSessionId`.
        session: &'a str,
        /// Whether the stream is published.
        available: bool,
    },
}

/// Room events.
#[derive(Debug)]
pub enum RoomEvent<'a> {
    /// Once per join, to the one who joined.
    State {
        /// See [`crate::room::Room::state`].
        members: Vec<Value>,
        /// Own streams that lived on, after a resume.
        resumed: Option<Vec<Value>>,
    },
    /// Somebody came.
    Joined(&'a str),
    /// Somebody went.
    Left(&'a str),
    /// Login and stream name.
    Published(&'a str, &'a str),
    /// Login and stream name.
    Unpublished(&'a str, &'a str),
    /// Login and name of a stream that failed.
    Failed(&'a str, &'a str),
    /// Chat.
    Message {
        /// Login.
        from: &'a str,
        /// As it came.
        text: &'a RawValue,
    },
}

/// Content of `notifyStreamStatusEvent`.
#[derive(Debug)]
pub struct StreamStatus<'a> {
    /// `mediaSessionId`.
    pub session: &'a str,
    /// Stream name.
    pub name: &'a str,
    /// Never missing: the vendor's client would store `undefined`.
    pub status: Status,
    /// Why; see section 11 of the protocol for the vendor's own words.
    pub info: Option<&'a str>,
    /// Publisher or player.
    pub published: bool,
    /// As negotiated.
    pub has_video: bool,
    /// As negotiated.
    pub has_audio: bool,
    /// Mute state of audio and video, told to players.
    pub muted: Option<(bool, bool)>,
}

/// States of a stream that the server tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the protocol's own words")]
pub enum Status {
    Pending,
    Publishing,
    Playing,
    Unpublished,
    Stopped,
    Failed,
}

impl Status {
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
            Self::Fail { api_method, info } => {
                envelope("fail", [json!({"apiMethod": api_method, "status": "FAILED", "info": info})])
            }
            Self::Ping => envelope("ping", [Value::Null]),
            Self::Pong => envelope("pong", [Value::Null]),
            Self::DataStatus { operation_id, refusal: None } => {
                envelope("DataStatusEvent", [json!({"operationId": operation_id, "status": "ACCEPTED"})])
            }
            Self::DataStatus { operation_id, refusal: Some(info) } => envelope(
                "DataStatusEvent",
                [json!({"operationId": operation_id, "status": "FAILED", "info": info})],
            ),
            Self::Room { room, event, operation_id } => room_event(room, event, operation_id),
            Self::RemoteSdp { session, sdp } => envelope("setRemoteSDP", [session, sdp]),
            Self::StreamStatus(status) => envelope("notifyStreamStatusEvent", [status.to_json()]),
            Self::StreamEvent { session, event, payload } => {
                #[derive(Serialize)]
                #[serde(rename_all = "camelCase")]
                struct Content<'a> {
                    media_session_id: &'a str,
                    r#type: &'a str,
                    payload: Option<&'a RawValue>,
                }
                envelope(
                    "notifyStreamEvent",
                    [Content { media_session_id: session, r#type: event.name(), payload: *payload }],
                )
            }
            // The status is a string: the vendor's client takes a boolean `true` as "not available".
            Self::Available { session, available } => envelope(
                "availableStream",
                [json!({"id": session, "status": available.to_string(),
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
        RoomEvent::Published(login, name) => text(room, "PUBLISHED", stream(login, name), operation_id, None),
        RoomEvent::Unpublished(login, name) => {
            text(room, "UNPUBLISHED", stream(login, name), operation_id, None)
        }
        RoomEvent::Failed(login, name) => text(room, "FAILED", stream(login, name), operation_id, None),
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
    fn to_json(&self) -> Value {
        let mut content = json!({
            "mediaSessionId": self.session, "name": self.name, "status": self.status.name(),
            "published": self.published, "hasVideo": self.has_video, "hasAudio": self.has_audio,
            // Nothing is recorded yet, whatever the publish asked for.
            "record": false, "mediaProvider": "WebRTC",
        });
        if let Some(info) = self.info {
            content["info"] = info.into();
        }
        if let Some((audio, video)) = self.muted {
            content["audioState"] = json!({"muted": audio});
            content["videoState"] = json!({"muted": video});
        }
        content
    }
}
