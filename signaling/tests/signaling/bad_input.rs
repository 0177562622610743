//! Every message of the protocol with a field that is missing, wrong, huge or somebody else's.
//!
//! Whatever comes: nobody else's connection is closed, nobody else hears anything, nothing is left in the
//! tables, and what must be answered is answered, exactly once.

use crate::world::{PLAY, PUBLISH, World};
use serde_json::{Value, json};
use signaling::id::ConnectionId;
use signaling::message::ClientMessage;
use std::time::Duration;

/// Good messages, each with all its fields.
fn messages() -> Vec<(&'static str, Value)> {
    let stream = |session: &str, name: &str, sdp: &str| {
        json!({"mediaSessionId": session, "name": name, "sdp": sdp, "custom": {"name": "r"}, "record": false,
            "published": true, "hasVideo": true, "hasAudio": true, "status": "PENDING", "mediaProvider": "WebRTC",
            "bitrate": 0, "minBitrate": 0, "maxBitrate": 500, "constraints": {"audio": true, "video": true},
            "rtmpUrl": "rtmp://x/y", "transport": "UDP", "cvoExtension": true, "width": 0, "height": 0, "quality": 0,
            "localMediaInfo": {"devices": {"video": ["x"]}, "tracks": {}}})
    };
    let reference = |session: &str, name: &str| json!({"mediaSessionId": session, "name": name});
    let data = |command: &str, options: Value| json!({"operationId": "op", "payload": {"command": command, "options": options}});
    vec![
        (
            "connection",
            json!({"appKey": "roomApp", "mediaProviders": ["WebRTC"], "clientVersion": "2.0", "clientInfo": {},
                "custom": {"login": "mallory", "token": "t", "resumable": false, "resume": "x"}}),
        ),
        (
            "sendData",
            data(
                "join",
                json!({"name": "room of mallory", "record": false, "maxParticipants": 4,
            "codecs": {"video": ["vp8"], "audio": ["opus"]}}),
            ),
        ),
        ("sendData", data("leave", json!({"name": "r"}))),
        ("sendData", data("sendMessage", json!({"roomConfig": {"name": "r"}, "to": "alice", "text": "hi"}))),
        ("publishStream", stream("new", "r-mallory-1", PUBLISH)),
        ("playStream", stream("new", "n-alice", PLAY)),
        ("unPublishStream", reference("own", "n-mallory")),
        ("stopStream", reference("own-play", "n-alice")),
        ("availableStream", reference("x", "n-alice")),
        ("sendStreamEvent", json!({"mediaSessionId": "own", "type": "data", "payload": {"a": 1}})),
        ("ping", Value::Null),
        ("pong", Value::Null),
        // What is of no interest, and what only other clients say.
        ("pushLogs", json!({"logs": "x"})),
        ("sessionDebug", json!({"command": "start"})),
        ("submitBugReport", json!({"reportInfo": {"text": "x"}})),
        ("snapshot", reference("x", "n-alice")),
        ("DataStatusEvent", json!({"operationId": "op", "status": "ACCEPTED"})),
        ("webRTCMetricsClientDescription", json!({"mediaSessionId": "own"})),
        ("webRTCMetricsBatch", json!({"mediaSessionId": "own", "metrics": ["x"]})),
        ("call", json!({"callee": "x"})),
        ("answer", json!({"callId": "x"})),
        ("hangup", json!({"callId": "x"})),
        ("hold", json!({"callId": "x"})),
        ("unhold", json!({"callId": "x"})),
        ("transfer", json!({"callId": "x", "target": "y"})),
        ("sendDtmf", json!({"callId": "x", "dtmf": "1", "type": "RFC2833"})),
    ]
}

/// What stands instead of a field; `None`: nothing.
fn replacements() -> Vec<Option<Value>> {
    let deep = (0..9).fold(json!(1), |inner, _| json!([inner]));
    vec![
        None,
        Some(Value::Null),
        Some(json!(0)),
        Some(json!(-1)),
        Some(json!(1e300)),
        Some(json!(u64::MAX)),
        Some(json!(true)),
        Some(json!("")),
        Some(json!("\0\u{202e}\u{feff}<img src=x onerror=alert(1)>")),
        Some(json!("x".repeat(64 << 10))),
        Some(json!("🎥".repeat(200))),
        Some(json!([])),
        Some(json!(["x", 1, null])),
        Some(json!({})),
        Some(json!({"name": {"name": []}, "login": 7})),
        Some(deep),
    ]
}

/// Paths of all fields of an object, to any depth.
fn paths(value: &Value) -> Vec<Vec<String>> {
    let Value::Object(fields) = value else { return Vec::new() };
    let below = |(key, inner): (&String, &Value)| {
        let deeper = paths(inner).into_iter().map(|mut path| {
            path.insert(0, key.clone());
            path
        });
        std::iter::once(vec![key.clone()]).chain(deeper).collect::<Vec<_>>()
    };
    fields.iter().flat_map(below).collect()
}

fn replace(value: &mut Value, path: &[String], with: Option<Value>) {
    let Some((key, rest)) = path.split_first() else { return };
    let Value::Object(fields) = value else { return };
    match (rest, with) {
        ([], Some(with)) => {
            fields.insert(key.clone(), with);
        }
        ([], None) => {
            fields.remove(key);
        }
        (rest, with) => replace(&mut fields[key], rest, with),
    }
}

struct Stage {
    world: World,
    alice: ConnectionId,
    mallory: ConnectionId,
}

impl Stage {
    /// Alice and Mallory are in a room, both publish, Mallory plays Alice.
    fn new() -> Self {
        let mut world = World::with(|config| config.rooms.room_idle_timeout = Duration::ZERO);
        let (alice, mallory) = (world.enter("alice", "r"), world.enter("mallory", "r"));
        world.published(alice, "r", "hers", "n-alice");
        world.published(mallory, "r", "own", "n-mallory");
        world.playing(mallory, "r", "own-play", "n-alice");
        world.forget();
        Self { world, alice, mallory }
    }

    /// Alice is as she was, and no table knows of Mallory once she is gone.
    fn check(mut self, case: &str) {
        assert!(self.world.closed.iter().all(|(id, _)| *id != self.alice), "alice was closed: {case}");
        self.world.say(self.alice, "ping", Value::Null);
        let heard = self.world.names(self.alice);
        assert_eq!(heard.last().map(String::as_str), Some("pong"), "{case}");
        self.world.close(self.mallory, true);
        self.world.wait(Duration::from_secs(30));
        let mut clean = Self::new();
        clean.world.close(clean.mallory, true);
        clean.world.wait(Duration::from_secs(30));
        assert_eq!(self.world.hub.ledger(), clean.world.hub.ledger(), "{case}");
        assert_eq!(self.world.relay.transports.len(), 1, "{case}");
    }
}

#[test]
fn every_field_of_every_message_may_be_anything() {
    let mut tried = 0;
    for (message, good) in messages() {
        for path in paths(&good) {
            // One stage for all values of a field: what the one leaves behind the next would stumble over.
            let mut stage = Stage::new();
            for with in replacements() {
                let mut data = good.clone();
                replace(&mut data, &path, with.clone());
                let text = json!({"message": message, "data": [data]}).to_string();
                stage.world.say_text(stage.mallory, &text);
                let heard = stage.world.listen(stage.mallory);
                let asked = message == "sendData" && data["operationId"].as_str() == Some("op");
                let answers = heard.iter().filter(|one| one["message"] == "DataStatusEvent").count();
                assert!(!asked || answers == 1, "{answers} answers to {text:.300}");
                if message == "publishStream" || message == "playStream" {
                    assert_eq!(heard.len(), 1, "{heard:?} to {text:.300}");
                    // What was begun is stopped, so that the next one may try.
                    stage.world.say(
                        stage.mallory,
                        "stopStream",
                        json!({"mediaSessionId": "new", "name": "x"}),
                    );
                    stage.world.listen(stage.mallory);
                }
                tried += 1;
            }
            stage.check(&format!("{message} {path:?}"));
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn the_envelope_may_be_anything() {
    let good = messages();
    for with in replacements() {
        let mut stage = Stage::new();
        for (message, data) in &good {
            for text in [
                json!({"message": with, "data": [data]}),
                json!({"message": message, "data": with}),
                json!({"message": message, "data": [with]}),
                json!({"message": message, "data": data}),
                json!({"message": message}),
                json!({"data": [data]}),
                with.clone().unwrap_or_default(),
                json!([{"message": message, "data": [data]}]),
            ] {
                stage.world.say_text(stage.mallory, &text.to_string());
            }
        }
        stage.world.forget();
        // Among all these is a good `leave`; she comes back, and stops what is left.
        stage.check(&format!("{with:?}").chars().take(80).collect::<String>());
    }
}

#[test]
fn text_that_is_no_good_json_is_refused_and_may_still_be_answered() {
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let join = |options: &str| {
        let payload = format!(r#"{{"command":"join","options":{options}}}"#);
        format!(r#"{{"message":"sendData","data":[{{"operationId":"op","payload":{payload}}}]}}"#)
    };
    let good = join(r#"{"name":"r2"}"#);
    for (text, answered) in [
        (join(r#"{"name":"r2","name":"r3"}"#), true),
        (join(r#"{"name":"r2","n\u0061me":"r3"}"#), true),
        (join(&format!(r#"{{"name":"r2","x":{}}}"#, deep(20))), true),
        (join(r#"{"name":"r2","x":1e400}"#), true),
        (join(r#"{"name":"\ud800"}"#), true),
        (join(r#"{"name":"\udc00\ud800"}"#), true),
        (good.replace(r#""data""#, r#""message":"x","data""#), false),
        (deep(100_000), false),
        (good.replace('}', ""), false),
        (format!("{good}{good}"), false),
        (format!("{good}\0"), false),
        (good.replace("r2", "r\u{1}2"), false),
        (String::new(), false),
        ("\u{feff}{}".to_owned(), false),
        ("NaN".to_owned(), false),
        (format!("{good},"), false),
    ] {
        let mut stage = Stage::new();
        let before = stage.world.hub.ledger();
        stage.world.say_text(stage.mallory, &text);
        let heard = stage.world.listen(stage.mallory);
        assert_eq!(heard.len(), 1, "{text:.200}");
        if answered {
            assert_eq!(heard[0]["message"], "DataStatusEvent", "{text:.200}");
            assert_eq!(heard[0]["data"][0]["status"], "FAILED", "{text:.200}");
        }
        assert_eq!(stage.world.hub.ledger(), before, "{text:.200}");
        assert!(stage.world.closed.is_empty(), "{text:.200}");
    }
}

#[test]
fn what_is_somebody_elses_stays_hers() {
    for (message, data, expected) in [
        (
            "unPublishStream",
            json!({"mediaSessionId": "hers", "name": "n-alice"}),
            "UNPUBLISHED hers (Stopped by user)",
        ),
        (
            "stopStream",
            json!({"mediaSessionId": "hers", "name": "n-alice"}),
            "STOPPED hers (Stopped by user)",
        ),
        (
            "publishStream",
            json!({"mediaSessionId": "hers", "name": "n", "sdp": PUBLISH, "custom": {"name": "r"}}),
            "FAILED hers (MediaSessionId is already in use)",
        ),
        (
            "publishStream",
            json!({"mediaSessionId": "x", "name": "n-alice", "sdp": PUBLISH, "custom": {"name": "r"}}),
            "FAILED x (Stream name is already in use)",
        ),
        (
            "publishStream",
            json!({"mediaSessionId": "x", "name": "n", "sdp": PUBLISH, "custom": {"name": "secret"}}),
            "FAILED x (Restricted access)",
        ),
        (
            "playStream",
            json!({"mediaSessionId": "x", "name": "n-carol", "sdp": PLAY, "custom": {"name": "secret"}}),
            "FAILED x (Restricted access)",
        ),
        (
            "playStream",
            json!({"mediaSessionId": "x", "name": "n-carol", "sdp": PLAY, "custom": {"name": "r"}}),
            "FAILED x (Stream not found)",
        ),
        ("availableStream", json!({"mediaSessionId": "x", "name": "n-carol"}), "availableStream"),
        ("sendStreamEvent", json!({"mediaSessionId": "hers", "type": "audioMuted"}), ""),
        (
            "sendData",
            json!({"operationId": "o", "payload": {"command": "leave", "options": {"name": "secret"}}}),
            "FAILED Not in this room",
        ),
        (
            "sendData",
            json!({"operationId": "o", "payload": {"command": "sendMessage",
                "options": {"roomConfig": {"name": "secret"}, "to": "carol", "text": "x"}}}),
            "FAILED Not in this room",
        ),
        (
            "sendData",
            json!({"operationId": "o", "payload": {"command": "sendMessage",
                "options": {"roomConfig": {"name": "r"}, "to": "carol", "text": "x"}}}),
            "FAILED No such participant",
        ),
    ] {
        let mut stage = Stage::new();
        let carol = stage.world.enter("carol", "secret");
        stage.world.published(carol, "secret", "carols", "n-carol");
        let before = stage.world.hub.ledger();
        stage.world.say(stage.mallory, message, data.clone());
        let heard = stage.world.names(stage.mallory);
        assert_eq!(heard, if expected.is_empty() { vec![] } else { vec![expected] }, "{message} {data}");
        assert!(stage.world.listen(stage.alice).is_empty() && stage.world.listen(carol).is_empty(), "{data}");
        assert_eq!(stage.world.hub.ledger(), before, "{message} {data}");
    }
}

#[test]
fn a_name_of_a_mebibyte_costs_its_reading_and_no_more() {
    // The frame limit closes such a connection (edges.rs); this is for a server that allows it.
    let huge = "x".repeat(1 << 20);
    for (message, good) in messages() {
        for path in paths(&good) {
            let mut data = good.clone();
            replace(&mut data, &path, Some(json!(huge)));
            let text = json!({"message": message, "data": [data]}).to_string();
            if let Err(malformed) = ClientMessage::parse(&text) {
                assert!(malformed.why.len() < 200, "{}", malformed.why.len());
            }
        }
    }
}
