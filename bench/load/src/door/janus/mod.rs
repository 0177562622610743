//! In by Janus's WebSocket: its VideoRoom plugin, one handle for each client.
//!
//! A publisher offers and is answered; a subscriber gets one offer for all that it wants, and answers. Our clients begin
//! the DTLS handshake either way, and no candidate trickles. Janus is a full ICE agent, see [`crate::ice`].

mod message;

use super::control::reach;
use super::sdp::{self, Described, Line, Side};
use super::{Door, Down, Grant, Manners, ON_AIR_PATIENCE, ON_AIR_PAUSE, ServerCounters, Wish};
use crate::scenario::{Role, Stream};
use crate::target::Target;
use message::{Heard, JanusError, Offered, hear, id, lacks, offered};
use relay_core::srtp::SrtpProfile;
use serde_json::{Value, json};
use signaling::sdp::Setup;
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

/// See the module.
pub(crate) struct JanusDoor {
    socket: WebSocket<UnixStream>,
    session: u64,
    /// Clients must have this address.
    local: Option<IpAddr>,
    /// Rooms that were made.
    rooms: BTreeSet<u32>,
    last_transaction: u64,
}

impl JanusDoor {
    /// Connects as soon as Janus listens. `local`: the address that all clients must have.
    pub(crate) fn connect(socket: &Path, target: &mut Target, local: Option<IpAddr>) -> Result<Self, String> {
        let stream = reach(socket, target)?;
        let uri = "ws://localhost/".parse().map_err(|why| format!("Janus: {why}"))?;
        let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
        let (socket, _) = tungstenite::client(request, stream)
            .map_err(|why| format!("Janus: its WebSocket server does not answer as one: {why}"))?;
        let mut door = Self { socket, session: 0, local, rooms: BTreeSet::new(), last_transaction: 0 };
        let asked = "create a session";
        let answer = door.ask(asked, json!({"janus": "create"})).map_err(|why| why.words)?;
        door.session = id(&answer, asked)?;
        Ok(door)
    }

    /// Asks for something and waits until it is done.
    fn ask(&mut self, asked: &str, mut request: Value) -> Result<Value, JanusError> {
        self.last_transaction += 1;
        let transaction = format!("t{}", self.last_transaction);
        request["transaction"] = transaction.as_str().into();
        if self.session != 0 {
            request["session_id"] = self.session.into();
        }
        let lost = |why| format!("Janus: asked to {asked}: {why}");
        self.socket.send(Message::text(request.to_string())).map_err(lost)?;
        loop {
            let Message::Text(text) = self.socket.read().map_err(lost)? else { continue };
            let message = serde_json::from_str(&text)
                .map_err(|why| format!("Janus: asked to {asked}, it says no JSON: {why}"))?;
            if let Heard::Answer(answer) = hear(message, &transaction, asked)? {
                return Ok(answer);
            }
        }
    }

    fn attach(&mut self) -> Result<u64, JanusError> {
        let asked = "attach to its VideoRoom";
        Ok(id(&self.ask(asked, json!({"janus": "attach", "plugin": PLUGIN}))?, asked)?)
    }

    /// Sends `body` to a handle, with a description.
    fn tell(
        &mut self,
        asked: &str,
        handle: u64,
        body: Value,
        jsep: Option<(&str, String)>,
    ) -> Result<Value, JanusError> {
        let mut request = json!({"janus": "message", "handle_id": handle, "body": body});
        if let Some((kind, sdp)) = jsep {
            request["jsep"] = json!({"type": kind, "sdp": sdp});
        }
        self.ask(asked, request)
    }

    /// The same, until what it is about is there: a publisher that has just connected is not known yet.
    fn tell_when_on_air(&mut self, asked: &str, handle: u64, body: &Value) -> Result<Value, JanusError> {
        let until = Instant::now() + ON_AIR_PATIENCE;
        loop {
            match self.tell(asked, handle, body.clone(), None) {
                Err(JanusError { code: Some(NO_SUCH_FEED), .. }) if Instant::now() < until => {
                    std::thread::sleep(ON_AIR_PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Makes the room if this is its first client.
    fn open_room(&mut self, handle: u64, room: u32) -> Result<(), JanusError> {
        if self.rooms.insert(room) {
            let body = json!({
                "request": "create", "room": room_id(room), "publishers": PUBLISHERS_MAX, "bitrate": 0,
                "audiocodec": "opus", "videocodec": "vp8", "record": false, "notify_joining": false,
            });
            self.tell("make a room", handle, body, None)?;
        }
        Ok(())
    }

    fn publish(&mut self, wish: &Wish) -> Result<Grant, JanusError> {
        let asked = "let a publisher in";
        let handle = self.attach()?;
        self.open_room(handle, wish.room)?;
        let streams = wish.streams.iter().enumerate();
        let lines: Vec<Line> = streams
            .map(|(at, stream)| Line::offered(at, stream.kind, Some((stream.ssrc(), stream.rtx_ssrc()))))
            .collect();
        let offer = sdp::write(&side(wish), &lines);
        let body = json!({
            "request": "joinandconfigure", "ptype": "publisher", "room": room_id(wish.room), "id": feed(wish.client),
        });
        let answer = self.tell(asked, handle, body, Some(("offer", offer)))?;
        let described = sdp::read_answer(message::sdp(&answer, asked)?, lines.len())?;
        let ups = described.lines.iter().map(Line::up).collect();
        Ok(Grant { ups, ..grant(wish, &described)? })
    }

    fn subscribe(&mut self, wish: &Wish) -> Result<Grant, JanusError> {
        let asked = "let a subscriber in";
        let handle = self.attach()?;
        let feeds: BTreeSet<u64> = wish.streams.iter().map(|stream| feed(stream.publisher)).collect();
        if feeds.is_empty() {
            let why = "Janus lets no subscriber in that wants nothing; --idle is for Ringvox";
            return Err(why.to_owned().into());
        }
        let feeds: Vec<Value> = feeds.into_iter().map(|feed| json!({"feed": feed})).collect();
        let body = json!({
            "request": "join", "ptype": "subscriber", "room": room_id(wish.room), "streams": feeds,
        });
        let offer = self.tell_when_on_air(asked, handle, &body)?;
        let described = sdp::read(message::sdp(&offer, asked)?)?;
        let downs = downs(&wish.streams, &offered(&offer), &described.lines)?;
        let answer: Vec<Line> = described.lines.iter().map(Line::received).collect();
        let answer = sdp::write(&side(wish), &answer);
        self.tell("begin", handle, json!({"request": "start"}), Some(("answer", answer)))?;
        Ok(Grant { downs, ..grant(wish, &described)? })
    }
}

impl Door for JanusDoor {
    /// Both profiles that browsers have offered for years; Janus chooses.
    fn manners(&self) -> Manners {
        Manners {
            profiles: vec![SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80],
            one_publisher_each: false,
            local: self.local,
            wishes_max: 1,
        }
    }

    fn join(&mut self, wishes: &[Wish]) -> Vec<Result<Grant, String>> {
        let one = |wish: &Wish| match wish.role {
            Role::Publisher => self.publish(wish),
            Role::Subscriber => self.subscribe(wish),
        };
        wishes.iter().map(one).map(|grant| grant.map_err(|why| why.words)).collect()
    }

    /// It counts nothing that compares with the relay's.
    fn counters(&mut self) -> Result<ServerCounters, String> {
        Ok(ServerCounters::new())
    }

    /// Janus says a few words of each client unasked: connected, media flows.
    fn tidy(&mut self) {
        if self.socket.get_ref().set_nonblocking(true).is_ok() {
            while self.socket.read().is_ok() {}
            let _ = self.socket.get_ref().set_nonblocking(false);
        }
    }

    /// All handles go with the session.
    fn leave(&mut self) -> Result<(), String> {
        self.ask("end the session", json!({"janus": "destroy"})).map(drop).map_err(|why| why.words)
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

const fn side(wish: &Wish) -> Side<'_> {
    Side {
        credentials: &wish.credentials,
        fingerprint: wish.fingerprint,
        local: wish.local,
        setup: Setup::Active,
    }
}

fn grant(wish: &Wish, described: &Described) -> Result<Grant, String> {
    described.grant(wish.local)
}

/// Each wanted stream's line: the offer says of each mid whose it is.
fn downs(wanted: &[Stream], offered: &[Offered], lines: &[Line]) -> Result<Vec<Down>, String> {
    let find = |stream: &Stream| {
        let it = |offered: &&Offered| offered.feed == feed(stream.publisher) && offered.kind == stream.kind;
        let mid = &offered.iter().find(it)?.mid;
        lines.iter().find(|line| line.mid == *mid)
    };
    let pairs: Option<Vec<_>> = wanted.iter().map(|stream| Some((stream.id, find(stream)?))).collect();
    let pairs = pairs.ok_or_else(|| lacks("let a subscriber in", "one of the streams"))?;
    pairs.into_iter().map(|(id, line)| line.down(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{AudioShape, Kind, Shape};
    use std::time::Duration;

    #[test]
    fn streams_are_found_by_publisher_and_kind() {
        let audio = AudioShape { interval: Duration::from_millis(20), bytes_min: 80, bytes_max: 120 };
        let stream =
            |id, kind, publisher| Stream { id, room: 0, kind, shape: Shape::Audio(audio), publisher };
        let wanted = [stream(0, Kind::Audio, 6), stream(1, Kind::Video, 6), stream(2, Kind::Audio, 7)];
        let place = |mid: &str, feed, kind| Offered { mid: mid.to_owned(), feed, kind };
        let offered = [place("0", 8, Kind::Audio), place("a", 7, Kind::Video), place("b", 7, Kind::Audio)];
        let line = |mid: &str, kind, ssrc| Line {
            mid: mid.to_owned(),
            ..Line::offered(0, kind, Some((ssrc, ssrc + 1)))
        };
        let lines = [line("0", Kind::Audio, 10), line("a", Kind::Video, 20), line("b", Kind::Audio, 30)];
        let got = downs(&wanted, &offered, &lines).expect("all are there");
        let got: Vec<_> = got
            .iter()
            .map(|down| (down.stream, down.parameters.ssrc.0, down.parameters.rtx.map(|(ssrc, _)| ssrc.0)))
            .collect();
        assert_eq!(got, [(0, 30, None), (1, 20, Some(21)), (2, 10, None)]);
        let why = downs(&wanted, &offered[1..], &lines).expect_err("one is missing");
        assert_eq!(why, "Janus answers without one of the streams when asked to let a subscriber in");
    }
}
