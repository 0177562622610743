//! Text of a client becomes a [`ClientMessage`].

use super::{ID_BYTES_MAX, NAME_BYTES_MAX, StreamEventType};
use crate::config;
use crate::json::{self, Fields};
use crate::names::{Name, NameFault, NameRefusal};
use crate::refusal::Refusal;
use crate::room::Terms;
use crate::sdp::CodecPreferences;
use relay_control::Codec;
use serde_json::value::RawValue;

/// What a client says.
#[derive(Debug)]
pub enum ClientMessage {
    Connection(Hello),
    Ping,
    /// A sign of life, nothing more.
    Pong,
    /// A room command. Answered exactly once.
    Data {
        /// Echoed in the answer.
        operation_id: String,
        command: Result<RoomCommand, Refusal>,
    },
    Publish(StreamRequest),
    Play(StreamRequest),
    Unpublish(StreamRef),
    Stop(StreamRef),
    /// A note to the players of an own stream.
    StreamEvent {
        /// The publisher's.
        media_session_id: String,
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
    pub login: Login,
    /// The member is kept for a while if the connection is lost.
    pub resumable: bool,
    /// `authToken` of an earlier session.
    pub resume: Option<String>,
    /// `custom.token`.
    pub token: Option<String>,
}

/// What stands in `custom.login`.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// Nothing: good enough for pages that use no rooms.
    #[default]
    Absent,
    Name(String),
    /// Nothing that may be one.
    Bad(NameRefusal),
}

/// Room commands inside `sendData`.
#[derive(Debug)]
pub enum RoomCommand {
    Join {
        room: String,
        /// The room is to be recorded, if this member creates it.
        record: bool,
        /// What holds in the room, if this member creates it.
        terms: Terms,
    },
    Leave {
        room: String,
    },
    /// Chat to one member.
    Message {
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
    pub media_session_id: String,
    pub name: String,
    pub sdp: String,
    /// Room (`custom.name`).
    pub room: Option<String>,
    /// The stream is to be recorded.
    pub record: bool,
    /// Wish of the publisher, kbit/s; 0 = none.
    pub max_bitrate_kbps: u64,
    /// It shows a screen (`constraints.video.type`).
    pub screen: bool,
}

#[derive(Debug, Default)]
pub struct StreamRef {
    pub media_session_id: String,
    pub name: String,
}

/// A message that is refused before it is understood.
#[derive(Debug)]
pub struct Malformed {
    /// By which a `sendData` can still be answered.
    pub operation_id: Option<String>,
    /// For the client and the log.
    pub why: String,
}

impl Malformed {
    /// What cannot be understood may still show by which id its sender waits for the answer.
    fn new(text: &str, why: String) -> Self {
        let envelope = Fields::of(text);
        let items: Vec<&RawValue> =
            envelope.raw("data").and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
        let content = items.first().map(|item| Fields::of(item.get())).unwrap_or_default();
        Self { operation_id: content.name("operationId", ID_BYTES_MAX), why }
    }
}

/// A message as it is written: its name, and the object that it is about.
///
/// Nobody else reads a client's text. Had the operator's hook a reader of its own, the two would sooner or
/// later take some text differently, and a client could ask for one thing and get another.
#[derive(Debug)]
pub struct Written<'a> {
    /// Which message it is.
    pub name: String,
    /// `None`: `data` is not an array of exactly one object.
    pub content: Option<Fields<'a>>,
}

impl<'a> Written<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// [`Malformed`]: not JSON, duplicate keys, too deep, or without a name.
    pub fn read(text: &'a str) -> Result<Self, Malformed> {
        json::check(text).map_err(|why| Malformed::new(text, why.to_string()))?;
        let envelope = Fields::of(text);
        let Some(name) = envelope.text("message") else {
            return Err(Malformed::new(text, "no message name".to_owned()));
        };
        let items: Option<Vec<&'a RawValue>> =
            envelope.raw("data").and_then(|data| serde_json::from_str(data.get()).ok());
        let content = match items.as_deref() {
            Some([item]) => Fields::read(item.get()),
            _ => None,
        };
        Ok(Self { name, content })
    }
}

/// Messages that are about something; what `data` holds in others is not looked at.
const CONTENTFUL: [&str; 8] = [
    "connection",
    "sendData",
    "publishStream",
    "playStream",
    "unPublishStream",
    "stopStream",
    "availableStream",
    "sendStreamEvent",
];

impl ClientMessage {
    /// Reads one text message.
    ///
    /// # Errors
    /// [`Malformed`]: not JSON, duplicate keys, too deep, not about one object, or a stream message without
    /// an id.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let Written { name, content } = Written::read(text)?;
        if !CONTENTFUL.contains(&name.as_str()) {
            return Ok(match name.as_str() {
                "ping" => Self::Ping,
                "pong" => Self::Pong,
                _ => Self::Ignored,
            });
        }
        let Some(content) = content else {
            return Err(Malformed::new(text, "data must be an array of one object".to_owned()));
        };
        let malformed = |why: String| Malformed::new(text, why);
        let needs_id = |media_session_id: &str| match media_session_id.len() {
            0 => Err(malformed("MediaSessionId is null".to_owned())),
            1..=ID_BYTES_MAX => Ok(()),
            _ => Err(malformed("mediaSessionId is too long".to_owned())),
        };
        Ok(match name.as_str() {
            "connection" => Self::Connection(hello(&content)),
            "sendData" => match content.name("operationId", ID_BYTES_MAX) {
                Some(operation_id) => {
                    Self::Data { operation_id, command: room_command(&content.object("payload")) }
                }
                None => return Err(malformed("sendData without operationId".to_owned())),
            },
            _ => {
                let media_session_id = content.text("mediaSessionId").unwrap_or_default();
                needs_id(&media_session_id)?;
                stream_message(&name, media_session_id, &content)
            }
        })
    }
}

fn hello(content: &Fields<'_>) -> Hello {
    let custom = content.object("custom");
    let login = match named(&custom, "login", Name::Login) {
        _ if !custom.has("login") => Login::Absent,
        Ok(name) => Login::Name(name),
        Err(refusal) => Login::Bad(refusal),
    };
    Hello {
        app_key: content.name("appKey", ID_BYTES_MAX).unwrap_or_default(),
        login,
        resumable: custom.flag("resumable"),
        resume: custom.name("resume", ID_BYTES_MAX),
        token: custom.text("token"),
    }
}

/// A name that something is to be called by from now on.
fn named(fields: &Fields<'_>, key: &str, name: Name) -> Result<String, NameRefusal> {
    let text = fields.text(key).ok_or(NameRefusal { name, fault: NameFault::Length })?;
    name.check(&text).map(|()| text)
}

fn room_command(payload: &Fields<'_>) -> Result<RoomCommand, Refusal> {
    let bad = |words: &'static str| Refusal::BadMessage(words.into());
    let options = payload.object("options");
    // Looked up only. A room of an older signaling may be called what no new one is; its members can leave
    // it.
    let bad_name = || Refusal::BadName(NameRefusal { name: Name::Room, fault: NameFault::Length });
    let room = |fields: &Fields<'_>| fields.name("name", NAME_BYTES_MAX).ok_or_else(bad_name);
    match payload.text("command").as_deref() {
        Some("join") => Ok(RoomCommand::Join {
            room: named(&options, "name", Name::Room).map_err(Refusal::BadName)?,
            record: options.flag("record"),
            terms: Terms {
                codecs: room_codecs(&options).map_err(bad)?,
                max_participants: max_participants(&options).map_err(bad)?,
            },
        }),
        Some("leave") => Ok(RoomCommand::Leave { room: room(&options)? }),
        Some("sendMessage") => Ok(RoomCommand::Message {
            room: room(&options.object("roomConfig"))?,
            to: options.name("to", NAME_BYTES_MAX).ok_or(bad("No addressee"))?,
            text: chat_text(options.raw("text")).map_err(bad)?,
        }),
        Some(_) => Err(bad("Unknown command")),
        None => Err(bad("No command")),
    }
}

/// `options.codecs`: lists by kind, most wanted first; a kind that is not named is as the server has it.
fn room_codecs(options: &Fields<'_>) -> Result<Option<CodecPreferences>, &'static str> {
    const BAD: &str = "Codecs must be lists of names, such as {\"video\":[\"h264\"],\"audio\":[\"opus\"]}";
    if !options.has("codecs") {
        return Ok(None);
    }
    let lists = options.object("codecs");
    let list = |kind: &str, known: &[Codec]| match lists.raw(kind) {
        None => Ok(Vec::new()),
        Some(raw) => {
            let names: Vec<String> = serde_json::from_str(raw.get()).map_err(|_| BAD)?;
            config::codecs(&names, known).ok_or(BAD)
        }
    };
    let video = list("video", &config::VIDEO_CODECS)?;
    let audio = list("audio", &config::AUDIO_CODECS)?;
    if video.is_empty() && audio.is_empty() { Err(BAD) } else { Ok(Some(CodecPreferences { audio, video })) }
}

/// `options.maxParticipants`. What is more than the server's own limit means that one.
fn max_participants(options: &Fields<'_>) -> Result<Option<usize>, &'static str> {
    match (options.has("maxParticipants"), options.number("maxParticipants")) {
        (false, _) => Ok(None),
        (true, 0) => Err("maxParticipants must be a whole number from 1"),
        (true, most) => Ok(Some(usize::try_from(most).unwrap_or(usize::MAX))),
    }
}

fn chat_text(text: Option<&RawValue>) -> Result<Box<RawValue>, &'static str> {
    match text {
        None => Err("No text"),
        Some(text) if text.get().len() > json::RAW_BYTES_MAX => Err("Text is longer than 65536 bytes"),
        Some(text) => Ok(text.to_owned()),
    }
}

fn stream_message(name: &str, media_session_id: String, content: &Fields<'_>) -> ClientMessage {
    let stream_name = content.text("name").unwrap_or_default();
    match name {
        "publishStream" | "playStream" => {
            let request = StreamRequest {
                media_session_id,
                name: stream_name,
                sdp: content.text("sdp").unwrap_or_default(),
                room: content.object("custom").text("name"),
                record: content.flag("record"),
                max_bitrate_kbps: content.number("maxBitrate"),
                screen: content.object("constraints").object("video").text("type").as_deref()
                    == Some("screen"),
            };
            if name == "playStream" { ClientMessage::Play(request) } else { ClientMessage::Publish(request) }
        }
        "unPublishStream" => ClientMessage::Unpublish(StreamRef { media_session_id, name: stream_name }),
        "stopStream" => ClientMessage::Stop(StreamRef { media_session_id, name: stream_name }),
        "availableStream" => ClientMessage::Available(StreamRef { media_session_id, name: stream_name }),
        _ => {
            let event = content.text("type").and_then(|name| StreamEventType::from_name(&name));
            let payload = content.raw("payload").filter(|raw| raw.get().len() <= json::RAW_BYTES_MAX);
            match event {
                Some(StreamEventType::Data) if payload.is_none_or(|raw| !raw.get().starts_with('{')) => {
                    ClientMessage::Ignored
                }
                Some(event) => ClientMessage::StreamEvent {
                    media_session_id,
                    event,
                    payload: payload.filter(|_| event == StreamEventType::Data).map(ToOwned::to_owned),
                },
                None => ClientMessage::Ignored,
            }
        }
    }
}
