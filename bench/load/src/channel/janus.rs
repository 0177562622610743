//! In by Janus's WebSocket: its VideoRoom plugin, one handle for each client.
//!
//! A publisher offers and is answered; a subscriber gets one offer for all that it wants, and answers. Our clients begin
//! the DTLS handshake either way, and no candidate trickles. Janus is a full ICE agent, which `ringvox_client` answers.

use super::control::reach;
use super::sdp::{self, Line};
use super::{Answered, Channel, Demands, Down, JoinAnswer, JoinRequest, ServerCounters};
use super::{PUBLISHER_PATIENCE, PUBLISHER_PAUSE};
use crate::scenario::Stream;
use crate::server::Server;
use relay_core::srtp::SrtpProfile;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;
use tungstenite::{ClientRequestBuilder, Message, WebSocket};

const PLUGIN: &str = "janus.plugin.videoroom";
/// Code of VideoRoom's refusal of a publisher that it does not know.
const NO_SUCH_FEED: i64 = 428;
/// The name that its WebSocket server wants to hear.
const SUBPROTOCOL: &str = "janus-protocol";
/// Publishers of a room: no limit of a measurement.
const PUBLISHERS_MAX: u32 = 10_000;

pub(crate) struct JanusChannel {
    socket: WebSocket<UnixStream>,
    session: u64,
    /// Clients must have this address.
    local: Option<IpAddr>,
    rooms: BTreeSet<u32>,
    last_transaction: u64,
}

impl JanusChannel {
    /// Connects as soon as Janus listens. `local`: the address that all clients must have.
    pub(crate) fn connect(socket: &Path, server: &mut Server, local: Option<IpAddr>) -> Result<Self, String> {
        let stream = reach(socket, server)?;
        let uri = "ws://localhost/".parse().map_err(|why| format!("Janus: {why}"))?;
        let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
        let (socket, _) = tungstenite::client(request, stream)
            .map_err(|why| format!("Janus: its WebSocket server does not answer as one: {why}"))?;
        let mut channel = Self { socket, session: 0, local, rooms: BTreeSet::new(), last_transaction: 0 };
        channel.session = channel.create("create a session", json!({"janus": "create"}))?;
        Ok(channel)
    }

    /// Asks for something and waits until it is done. A publisher that has just connected is not known yet: whoever wants it
    /// is patient.
    fn ask(&mut self, asked: &str, mut request: Value) -> Result<Value, String> {
        if self.session != 0 {
            request["session_id"] = self.session.into();
        }
        let until = Instant::now() + PUBLISHER_PATIENCE;
        loop {
            let answer = self.exchange(asked, &mut request)?;
            match refusal(&answer) {
                None => return Ok(answer),
                Some((NO_SUCH_FEED, _)) if Instant::now() < until => std::thread::sleep(PUBLISHER_PAUSE),
                Some((code, words)) => return Err(format!("Janus refuses to {asked}: {words} ({code})")),
            }
        }
    }

    /// Sends a request and waits for its answer, past receipts and whatever else Janus says meanwhile.
    fn exchange(&mut self, asked: &str, request: &mut Value) -> Result<Value, String> {
        self.last_transaction += 1;
        let transaction = format!("t{}", self.last_transaction);
        request["transaction"] = transaction.as_str().into();
        let lost = |why| format!("Janus: asked to {asked}: {why}");
        self.socket.send(Message::text(request.to_string())).map_err(lost)?;
        loop {
            let Message::Text(text) = self.socket.read().map_err(lost)? else { continue };
            let message = serde_json::from_str(&text)
                .map_err(|why| format!("Janus: asked to {asked}, it says no JSON: {why}"))?;
            if answers(&message, &transaction) {
                return Ok(message);
            }
        }
    }

    /// Asks for a session or a handle; its id.
    fn create(&mut self, asked: &str, request: Value) -> Result<u64, String> {
        self.ask(asked, request)?["data"]["id"].as_u64().ok_or_else(|| lacks(asked, "an id"))
    }

    fn attach(&mut self) -> Result<u64, String> {
        self.create("attach to its VideoRoom", json!({"janus": "attach", "plugin": PLUGIN}))
    }

    /// Sends `body` to a handle, with a description.
    fn tell(&mut self, asked: &str, handle: u64, body: Value, jsep: Option<Value>) -> Result<Value, String> {
        let mut request = json!({"janus": "message", "handle_id": handle, "body": body});
        if let Some(jsep) = jsep {
            request["jsep"] = jsep;
        }
        self.ask(asked, request)
    }

    /// Makes the room if this is its first client.
    fn open_room(&mut self, handle: u64, room: u32) -> Result<(), String> {
        if self.rooms.insert(room) {
            let body = json!({
                "request": "create", "room": room_id(room), "publishers": PUBLISHERS_MAX, "bitrate": 0,
                "audiocodec": "opus", "videocodec": "vp8", "record": false, "notify_joining": false,
            });
            self.tell("make a room", handle, body, None)?;
        }
        Ok(())
    }

    fn publish(&mut self, request: &JoinRequest) -> Result<JoinAnswer, String> {
        let asked = "let a publisher in";
        let handle = self.attach()?;
        self.open_room(handle, request.room)?;
        let body = json!({
            "request": "joinandconfigure", "ptype": "publisher",
            "room": room_id(request.room), "id": feed(request.client),
        });
        let offer = json!({"type": "offer", "sdp": sdp::offer(request, "active")});
        let answer = self.tell(asked, handle, body, Some(offer))?;
        let (answer, lines) = sdp::read_answer(description(&answer, asked)?, request)?;
        Ok(JoinAnswer { ups: lines.iter().map(|line| line.up).collect(), ..answer })
    }

    fn subscribe(&mut self, request: &JoinRequest) -> Result<JoinAnswer, String> {
        let asked = "let a subscriber in";
        let handle = self.attach()?;
        let feeds: BTreeSet<u64> = request.streams.iter().map(|stream| feed(stream.publisher)).collect();
        if feeds.is_empty() {
            return Err("Janus lets no subscriber in that wants nothing; --idle is for Ringvox".to_owned());
        }
        let feeds: Vec<Value> = feeds.into_iter().map(|feed| json!({"feed": feed})).collect();
        let body = json!({
            "request": "join", "ptype": "subscriber", "room": room_id(request.room), "streams": feeds,
        });
        let offer = self.tell(asked, handle, body, None)?;
        let (server, lines) = sdp::read(description(&offer, asked)?, request.local)?;
        let downs = downs(&request.streams, &offer, &lines)?;
        let answer = json!({"type": "answer", "sdp": sdp::answer(request, &lines)});
        self.tell("begin", handle, json!({"request": "start"}), Some(answer))?;
        Ok(JoinAnswer { downs, ..server })
    }
}

impl Channel for JanusChannel {
    /// Both profiles that browsers have offered for years; Janus chooses.
    fn demands(&self) -> Demands {
        let profiles = vec![SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80];
        Demands { profiles, one_publisher_each: false, local: self.local }
    }

    fn join(&mut self, requests: &[JoinRequest], answered: Answered<'_>) {
        for request in requests {
            let answer = if request.publishes { self.publish(request) } else { self.subscribe(request) };
            answered(request.client, answer);
        }
    }

    /// It counts nothing that compares with the relay's.
    fn counters(&mut self) -> Result<ServerCounters, String> {
        Ok(ServerCounters::new())
    }

    /// Janus says a few words of each client unasked: connected, media flows.
    fn drain(&mut self) {
        if self.socket.get_ref().set_nonblocking(true).is_ok() {
            while self.socket.read().is_ok() {}
            let _ = self.socket.get_ref().set_nonblocking(false);
        }
    }

    /// All handles go with the session.
    fn leave(&mut self) -> Result<(), String> {
        self.ask("end the session", json!({"janus": "destroy"})).map(drop)
    }
}

/// Rooms are counted from 1.
const fn room_id(room: u32) -> u32 {
    room + 1
}

/// So are publishers.
fn feed(client: u32) -> u64 {
    u64::from(client) + 1
}

fn lacks(asked: &str, what: &str) -> String {
    format!("Janus answers without {what} when asked to {asked}")
}

/// Whether a message is what somebody waits for who asked under this name: no receipt.
fn answers(message: &Value, transaction: &str) -> bool {
    message["transaction"] == transaction && message["janus"] != "ack"
}

/// Janus's own refusal, or the plugin's: its code and its words.
fn refusal(answer: &Value) -> Option<(i64, &str)> {
    let data = &answer["plugindata"]["data"];
    let (code, words) = match answer["janus"].as_str() {
        Some("error") => (&answer["error"]["code"], &answer["error"]["reason"]),
        _ if data["error_code"].is_null() => return None,
        _ => (&data["error_code"], &data["error"]),
    };
    Some((code.as_i64().unwrap_or_default(), words.as_str().unwrap_or("without a reason")))
}

fn description<'a>(answer: &'a Value, asked: &str) -> Result<&'a str, String> {
    answer["jsep"]["sdp"].as_str().ok_or_else(|| lacks(asked, "a description"))
}

/// Each wanted stream's line: the offer says of each mid whose it is.
fn downs(wanted: &[Stream], offer: &Value, lines: &[Line]) -> Result<Vec<Down>, String> {
    let offered = offer["plugindata"]["data"]["streams"].as_array().map_or(&[][..], Vec::as_slice);
    let find = |stream: &Stream| {
        let is_it = |offered: &&Value| {
            offered["feed_id"] == feed(stream.publisher) && offered["type"] == stream.kind.name()
        };
        let mid = &offered.iter().find(is_it)?["mid"];
        lines.iter().find(|line| *mid == *line.mid)
    };
    let down = |stream: &Stream| {
        find(stream).ok_or_else(|| lacks("let a subscriber in", "one of the streams"))?.down(stream.id)
    };
    wanted.iter().map(down).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;
    use crate::scenario::Kind;

    #[test]
    fn answers_and_refusals_are_told_from_everything_else() {
        for (message, is_answer, want) in [
            (json!({"janus": "ack", "transaction": "t7"}), false, None),
            (json!({"janus": "webrtcup", "sender": 5}), false, None),
            (json!({"janus": "success", "transaction": "t6", "data": {"id": 1}}), false, None),
            (json!({"janus": "success", "transaction": "t7", "data": {"id": 1}}), true, None),
            (
                json!({"janus": "error", "transaction": "t7", "error": {"code": 458, "reason": "No such session"}}),
                true,
                Some((458, "No such session")),
            ),
            (
                json!({"janus": "event", "transaction": "t7", "plugindata": {"plugin": "janus.plugin.videoroom",
                    "data": {"videoroom": "event", "error_code": 428, "error": "No such feed (7)"}}}),
                true,
                Some((428, "No such feed (7)")),
            ),
            (json!({"janus": "error", "transaction": "t7"}), true, Some((0, "without a reason"))),
        ] {
            assert_eq!((answers(&message, "t7"), refusal(&message)), (is_answer, want), "{message}");
        }
    }

    #[test]
    fn what_an_answer_lacks_is_said() {
        let why = description(&json!({"jsep": {"type": "answer"}}), "let a publisher in").expect_err("none");
        assert_eq!(why, "Janus answers without a description when asked to let a publisher in");
    }

    #[test]
    fn streams_are_found_by_publisher_and_kind() {
        let kinds = [(Kind::Audio, 6), (Kind::Video, 6), (Kind::Audio, 7)];
        let wanted = request(false, &kinds).streams;
        let mut streams = vec![
            json!({"mindex": 0, "mid": "0", "type": "audio", "feed_id": 8, "feed_mid": "0", "send": true}),
            json!({"mindex": 1, "mid": "1", "type": "video", "feed_id": 7, "feed_mid": "1"}),
            json!({"mindex": 2, "mid": "2", "type": "audio", "feed_id": 7}),
            json!({"mindex": 3, "mid": "3", "type": "data", "feed_id": 8}),
            json!({"mindex": 4, "mid": "4", "type": "video"}),
        ];
        let offered = request(true, &[(Kind::Audio, 7), (Kind::Video, 6), (Kind::Audio, 6)]);
        let (_, lines) = sdp::read(&sdp::offer(&offered, "passive"), offered.local).expect("good");
        let downs = |streams: &[Value]| {
            let offer = json!({"plugindata": {"data": {"videoroom": "attached", "streams": streams}}});
            downs(&wanted, &offer, &lines)
        };
        let got: Vec<_> = downs(&streams)
            .expect("all are there")
            .iter()
            .map(|down| (down.stream, down.parameters.ssrc.0, down.parameters.rtx.map(|(ssrc, _)| ssrc.0)))
            .collect();
        assert_eq!(
            got,
            [(0, 0x1000_0004, None), (1, 0x1000_0002, Some(0x1000_0003)), (2, 0x1000_0000, None)]
        );
        streams.remove(0);
        let why = downs(&streams).expect_err("one is missing");
        assert_eq!(why, "Janus answers without one of the streams when asked to let a subscriber in");
    }
}
