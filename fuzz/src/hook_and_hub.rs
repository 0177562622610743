use crate::actions::Actions;
use relay_control::{
    CandidateAddress, Command, Done, DownTrackAdded, EventBody, Inventory, ReplyBody, TransportOpened,
    TransportState, TransportStateChanged, UpTrackActivity, UpTrackAdded, Welcome,
};
use serde_json::{Value, json};
use signaling::auth::{Grant, HookRequest, hook_request};
use signaling::config::{AuthMode, Config};
use signaling::hub::{Hub, Output};
use signaling::id::{ConnectionId, RelayId};
use signaling::message::{ClientMessage, NAME_BYTES_MAX};
use std::sync::Arc;
use std::time::Duration;

/// A client says anything, and an operator's hook allows all of it: what the hub then does is what the hook
/// heard, to the letter. A third member watches from within the rooms.
///
/// The input is a list of actions: each message is one of those that matter, with members left out, doubled,
/// spelt otherwise or of another type as the octets say; or it is text as it stands.
pub fn hook_and_hub(data: &[u8]) {
    let mut writer = Writer(Actions(data));
    let mut fixture = Fixture::new();
    for _ in 0..MESSAGES_MAX {
        let Some(text) = writer.message() else { break };
        fixture.client_says(&text);
        if fixture.over {
            break;
        }
    }
}

/// Messages of one input; rooms and streams stay below every limit of a connection.
const MESSAGES_MAX: usize = 24;

const CLIENT: ConnectionId = ConnectionId(1);
const WITNESS: ConnectionId = ConnectionId(2);
/// Its login, and the name of the stream that it publishes in each room.
const WITNESS_NAME: &str = "witness";
const DEFAULT_BPS: u64 = 4_000_000;

const PUBLISH: &str = include_str!("../../signaling/src/sdp/fixtures/chromium-publish.sdp");
const PLAY: &str = include_str!("../../signaling/src/sdp/fixtures/chromium-play.sdp");

struct Fixture {
    hub: Hub,
    let_in: bool,
    /// The client's login, as the hook received it.
    login: Value,
    /// Transports of the client: the ids of their streams, and whether they publish.
    transports: Vec<(u64, Value, bool)>,
    over: bool,
}

impl Fixture {
    fn new() -> Self {
        let mut config = Config::default();
        config.auth.mode = AuthMode::Hook;
        config.recording.directory = Some("/records".into());
        let mut seed = 0u64;
        let random = move || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        };
        let mut hub = Hub::new(Arc::new(config), Box::new(random));
        let welcome = Welcome {
            boot_id: 1,
            fingerprint_sha256: vec![0xab; 32],
            max_receive_bitrate_bps: DEFAULT_BPS,
            ..Welcome::default()
        };
        hub.handle_relay_up(Duration::ZERO, RelayId::FIRST, welcome, Inventory::default());
        for id in [CLIENT, WITNESS] {
            hub.handle_connected(Duration::ZERO, id, None);
        }
        let mut fixture =
            Self { hub, let_in: false, login: Value::Null, transports: Vec::new(), over: false };
        fixture.witness_says("connection", json!({"custom": {"login": WITNESS_NAME}}));
        fixture
    }

    fn client_says(&mut self, text: &str) {
        let parsed = ClientMessage::parse(text);
        let heard = match &parsed {
            Ok(message) => hook_request(text, message, self.let_in).expect("what was understood can be told"),
            Err(_) => None,
        };
        if let Some(heard) = &heard {
            is_what_was_written(heard, text);
        }
        let heard = heard.map(|HookRequest { method, asked, object }| (method, asked, Value::Object(object)));
        let heard = heard.unwrap_or(("", false, Value::Null));
        self.let_in |= heard.0 == "connect";
        let granted = heard.1.then(Grant::everything);
        if heard.0 == "connect" {
            self.login =
                Some(heard.2["custom"]["login"].clone()).filter(Value::is_string).unwrap_or_default();
            if self.login == WITNESS_NAME {
                // Two of one name would wait for each other, and nothing would happen in its own time.
                self.over = true;
                return;
            }
        }
        self.hub.handle_message(Duration::ZERO, CLIENT, parsed.map(|message| (message, Ok(granted))));
        let mut joined = Vec::new();
        while let Some(output) = self.hub.poll_output() {
            self.was_heard(&heard, &output, &mut joined);
            self.relay_does(output);
        }
        joined.into_iter().for_each(|room| self.witness_follows(room));
    }

    /// Nothing happens but what the hook was just asked about.
    fn was_heard(&mut self, heard: &(&'static str, bool, Value), output: &Output, joined: &mut Vec<Value>) {
        let (method, asked, object) = heard;
        match output {
            Output::Close { to, .. } => self.over |= *to == CLIENT,
            Output::Note { method: "ConnectionStatusEvent", object: note, .. }
                if note["status"] == "ESTABLISHED" =>
            {
                assert_eq!(*method, "connect");
                assert_eq!(note["custom"]["login"], self.login);
            }
            Output::Send { to, text } => {
                let said: Value = serde_json::from_str(text).expect("JSON");
                if said["message"] == "OnDataEvent" {
                    self.room_event(heard, *to, &said["data"][0]["payload"], joined);
                }
            }
            Output::Relay { command: Command::OpenTransport(open), .. } => {
                assert!(*asked, "{method} {object}");
                let label: Value = serde_json::from_slice(&open.label).expect("JSON");
                let publishes = label["role"].get("publish").is_some();
                assert_eq!(*method, if publishes { "publishStream" } else { "playStream" });
                assert_eq!(object["published"], publishes);
                for (done, heard) in [
                    (&label["session"], &object["mediaSessionId"]),
                    (&label["name"], &object["name"]),
                    (&label["room"], &object["custom"]["name"]),
                    (&label["member"]["login"], &self.login),
                ] {
                    assert_eq!(done, heard, "{object}");
                }
                let recorded = label["role"]["publish"]["record"].get("stream").is_some();
                assert_eq!(recorded, publishes && object["record"] == true, "{object}");
                let wish = object["maxBitrate"].as_f64().unwrap_or(0.0) * 1000.0;
                let limit = open.max_receive_bitrate_bps;
                assert!(limit < DEFAULT_BPS && (limit == 0 || limit as f64 == wish), "{limit} {object}");
                self.transports.push((open.transport_id, label["session"].clone(), publishes));
            }
            Output::Relay { command: Command::CloseTransport(close), .. } => {
                let stream = self.transports.iter().find(|(id, ..)| *id == close.transport_id);
                // Who plays a stream that its publisher stops has stopped as well.
                let stops = stream.is_some_and(|(_, session, publishes)| {
                    let named = *session == object["mediaSessionId"];
                    matches!(*method, "unPublishStream" | "stopStream") && named
                        || *method == "unPublishStream" && !publishes
                });
                assert!(stops || object["payload"]["command"] == "leave", "{method} {object}");
            }
            _ => {}
        }
    }

    fn room_event(
        &self,
        (method, asked, object): &(&'static str, bool, Value),
        to: ConnectionId,
        event: &Value,
        joined: &mut Vec<Value>,
    ) {
        let (command, options) = (&object["payload"]["command"], &object["payload"]["options"]);
        let heard = |expected: &str, room: &Value| {
            assert!(
                *method == "sendData" && *command == expected && event["roomName"] == *room,
                "{object} {event}"
            );
        };
        match event["name"].as_str().expect("named") {
            "STATE" => {
                heard("join", &options["name"]);
                assert!(*asked && to == CLIENT);
                joined.push(options["name"].clone());
            }
            "JOINED" => {
                heard("join", &options["name"]);
                assert_eq!(event["info"], self.login);
            }
            "LEFT" => {
                heard("leave", &options["name"]);
                assert_eq!(event["info"], self.login);
            }
            "MESSAGE" => {
                heard("sendMessage", &options["roomConfig"]["name"]);
                assert!(*asked && to == WITNESS && options["to"] == WITNESS_NAME);
                assert_eq!(event["info"], json!({"from": self.login, "text": options["text"]}));
            }
            _ => {}
        }
    }

    /// The room that the hook was told of is the one that the client is in now; there it finds a stream to
    /// play.
    fn witness_follows(&mut self, room: Value) {
        let payload = json!({"command": "join", "options": {"name": room}});
        let said = self.witness_says("sendData", json!({"operationId": "o", "payload": payload}));
        if let Some(state) = said.iter().find(|said| said["data"][0]["payload"]["name"] == "STATE") {
            let members = state["data"][0]["payload"]["info"].as_array().expect("a list");
            let is_client = |member: &Value| *member == self.login || member["login"] == self.login;
            assert!(members.iter().any(is_client), "{members:?} {}", self.login);
        }
        let stream = json!({"mediaSessionId": format!("{WITNESS_NAME} {room}"), "name": WITNESS_NAME, "sdp": PUBLISH,
            "custom": {"name": room}});
        self.witness_says("publishStream", stream);
    }

    /// Returns the messages that it receives.
    fn witness_says(&mut self, name: &str, content: Value) -> Vec<Value> {
        let text = json!({"message": name, "data": [content]}).to_string();
        let parsed = ClientMessage::parse(&text).map(|message| (message, Ok(Some(Grant::everything()))));
        self.hub.handle_message(Duration::ZERO, WITNESS, parsed);
        let mut said = Vec::new();
        while let Some(output) = self.hub.poll_output() {
            if let Output::Send { to: WITNESS, text } = &output {
                said.push(serde_json::from_str(text).expect("JSON"));
            }
            self.relay_does(output);
        }
        said
    }

    /// A relay that carries out every command, and whose transports connect at once.
    fn relay_does(&mut self, output: Output) {
        let Output::Relay { request_id, command, .. } = output else { return };
        let (mut transport, mut track) = (None, None);
        let reply = match command {
            Command::OpenTransport(open) => ReplyBody::TransportOpened(TransportOpened {
                transport_id: open.transport_id,
                shard: 0,
                local_ufrag: "ufrag".to_owned(),
                local_pwd: "password-of-the-relay-model".to_owned(),
                candidates: vec![CandidateAddress { ip: "192.0.2.1".to_owned(), port: 10_000 }],
            }),
            Command::AddUpTrack(up) => {
                (transport, track) = (Some(up.transport_id), Some(up.track_id));
                ReplyBody::UpTrackAdded(UpTrackAdded { track_id: up.track_id })
            }
            Command::AddDownTrack(down) => {
                transport = Some(down.transport_id);
                ReplyBody::DownTrackAdded(DownTrackAdded { track_id: down.track_id, ssrc: 7, rtx_ssrc: 0 })
            }
            _ => ReplyBody::Done(Done {}),
        };
        let now = Duration::ZERO;
        self.hub.handle_reply(now, request_id, Ok(reply));
        if let Some(transport_id) = transport {
            let state = TransportState::Connected as i32;
            let up = EventBody::TransportState(TransportStateChanged { transport_id, state, reason: 0 });
            self.hub.handle_event(now, RelayId::FIRST, &up);
        }
        if let Some(track_id) = track {
            let activity = UpTrackActivity { track_id, active: true };
            self.hub.handle_event(now, RelayId::FIRST, &EventBody::UpTrackActivity(activity));
        }
    }
}

/// Checked with an independent JSON reader.
fn is_what_was_written(heard: &HookRequest, text: &str) {
    let written: Value = serde_json::from_str(text).expect("JSON");
    let Some([Value::Object(written)]) = written["data"].as_array().map(Vec::as_slice) else {
        panic!("heard {:?} of {text}", heard.object);
    };
    let ours = |key: &str| matches!(key, "priority" | "published");
    let same = |(key, value): (&String, &Value)| ours(key) || heard.object.get(key) == Some(value);
    assert!(written.iter().all(same), "{:?} {text}", heard.object);
    let invented = heard.object.keys().find(|key| !ours(key) && !written.contains_key(*key));
    assert_eq!(invented, None, "{text}");
    assert!(!heard.object.contains_key("priority"));
}

/// What may stand for a name, the plain ones first.
const NAMES: [&str; 6] = ["alice", "r", "R", "witness", "комната 🎥", "m1"];
const ODD: [&str; 20] = [
    "null",
    "7",
    "-1",
    "1e3",
    "0.5",
    "18446744073709551616",
    "1e300",
    "true",
    "\"\"",
    "\"a\\u0000b\"",
    "\"\\u0061lice\"",
    "\"\\ud800\"",
    "\"\\ud83c\\udfa5\"",
    "[\"alice\"]",
    "[]",
    "{}",
    "{\"name\":\"r\",\"login\":\"alice\"}",
    "{\"name\":\"r\",\"name\":\"R\"}",
    "[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]",
    "\" r\"",
];

/// Writes what the client says.
struct Writer<'a>(Actions<'a>);

impl Writer<'_> {
    /// Nothing odd happens where the actions end.
    fn octet(&mut self) -> usize {
        self.0.u8().map_or(255, usize::from)
    }

    /// `None` when no octets are left.
    fn message(&mut self) -> Option<String> {
        if self.0.0.is_empty() {
            return None;
        }
        let sdp = |text: &str| Value::from(text).to_string();
        let (name, content) = match self.octet() % 9 {
            0 => {
                let custom =
                    [("login", self.name()), ("token", self.name()), ("resumable", "true".to_owned())];
                let custom = self.object(&custom);
                let fields =
                    [("appKey", self.name()), ("custom", custom), ("sessionId", "\"mine\"".to_owned())];
                ("connection", self.object(&fields))
            }
            1 => ("sendData", self.command("join")),
            2 => ("sendData", self.command("leave")),
            3 => ("sendData", self.command("sendMessage")),
            4 => ("publishStream", self.stream(sdp(PUBLISH))),
            5 => ("playStream", self.stream(sdp(PLAY))),
            6 => ("unPublishStream", self.stream("\"\"".to_owned())),
            7 => ("stopStream", self.stream("\"\"".to_owned())),
            _ => {
                let left = self.0.0;
                let end = left.iter().position(|octet| *octet == 0).unwrap_or(left.len());
                let text = self.0.octets(end);
                self.0.octets(1);
                return Some(String::from_utf8_lossy(text).into_owned());
            }
        };
        let data = match self.octet() {
            0 => format!("[{content},0]"),
            1 => format!("[{content},{{\"custom\":{{\"login\":\"mallory\"}}}}]"),
            2 => format!("[[{content}]]"),
            3 => content,
            4 => format!("[null,{content}]"),
            5 => "[]".to_owned(),
            6 => format!("[{content},{content}]"),
            7 => format!("\"{}\"", content.replace('\\', "\\\\").replace('"', "\\\"")),
            _ => format!("[{content}]"),
        };
        Some(self.object(&[("message", format!("\"{name}\"")), ("data", data)]))
    }

    fn name(&mut self) -> String {
        match self.octet() {
            octet @ 0..200 => format!("\"{}\"", NAMES[octet % NAMES.len()]),
            octet @ 200..250 => ODD[octet % ODD.len()].to_owned(),
            octet => format!("\"{}\"", "x".repeat(NAME_BYTES_MAX + octet - 252)),
        }
    }

    fn command(&mut self, command: &str) -> String {
        let config = [("name", self.name())];
        let config = self.object(&config);
        let options =
            [("name", self.name()), ("roomConfig", config), ("to", self.name()), ("text", self.name())];
        let options = self.object(&options);
        let payload = self.object(&[("command", format!("\"{command}\"")), ("options", options)]);
        self.object(&[("operationId", "\"o\"".to_owned()), ("payload", payload)])
    }

    fn stream(&mut self, sdp: String) -> String {
        let custom = [("name", self.name()), ("login", self.name())];
        let custom = self.object(&custom);
        let bitrate = match self.octet() {
            octet @ 0..200 => (octet * octet * octet).to_string(),
            octet => ODD[octet % ODD.len()].to_owned(),
        };
        let fields = [
            ("mediaSessionId", self.name()),
            ("name", self.name()),
            ("published", "true".to_owned()),
            ("priority", "\"high\"".to_owned()),
            ("maxBitrate", bitrate),
            ("custom", custom),
            ("sdp", sdp),
        ];
        self.object(&fields)
    }

    fn object(&mut self, fields: &[(&str, String)]) -> String {
        let mut members = Vec::new();
        for (key, value) in fields {
            let first = key.bytes().next().unwrap_or_default();
            let escaped = format!("\"\\u{first:04x}{}\"", &key[1..]);
            let upper = key.to_uppercase();
            match self.octet() {
                0 => {}
                1 => members.extend([format!("\"{key}\":{value}"), format!("\"{key}\":\"other\"")]),
                2 => members.push(format!("{escaped}:{value}")),
                3 => members.push(format!("\"{upper}\":{value}")),
                4 => members.push(format!("\"{key}\":[{value}]")),
                5 => {
                    let odd = ODD[self.octet() % ODD.len()];
                    members.push(format!("\"{key}\":{odd}"));
                }
                6 => members.push(format!("\" {key}\":{value}")),
                7 => members.extend([format!("\"{key}\":{value}"), format!("\"{upper}\":\"other\"")]),
                8 => members.extend([format!("{escaped}:\"other\""), format!("\"{key}\":{value}")]),
                9 => members.push(format!("\t\"{key}\" :\r\n {value} ")),
                _ => members.push(format!("\"{key}\":{value}")),
            }
        }
        format!("{{{}}}", members.join(","))
    }
}
