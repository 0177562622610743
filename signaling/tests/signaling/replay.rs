//! Captured sessions of the unmodified vendor SDK, replayed: what the clients said goes in, and what they
//! heard from a server that was proved against them must come out, per client in the same order.
//!
//! Ids made by the server differ; SDP is replaced by whole offers of the same browser. One difference is ours
//! on purpose: `leave` also stops what the leaver plays, so that nothing flows to somebody outside the room.

use crate::world::{PLAY, PUBLISH, World};
use serde_json::{Value, json};
use signaling::id::ConnectionId;
use std::collections::{HashMap, HashSet};

const SESSIONS: &str = include_str!("fixtures/sessions.jsonl");

#[derive(Default)]
struct Replay {
    peers: HashMap<String, ConnectionId>,
    stopped_by_leave: HashSet<String>,
}

#[test]
fn conference_of_two_tabs() {
    replay("conference", 90);
}

#[test]
fn recorded_stream() {
    replay("recorded stream", 8);
}

fn replay(session: &str, at_least: usize) {
    let mut world = World::with(|config| config.recording.directory = Some("/records".into()));
    let mut replay = Replay::default();
    let mut lines = 0;
    for (number, line) in SESSIONS.lines().enumerate() {
        let line: Value = serde_json::from_str(line).expect("fixture");
        if line["session"] != session {
            continue;
        }
        lines += 1;
        let peer = line["peer"].as_str().expect("peer");
        match line["dir"].as_str().expect("direction") {
            "c2s" => replay.said(&mut world, peer, line["msg"].clone()),
            "s2c" => replay.heard(&mut world, peer, &line["msg"], number + 1),
            _ => {
                if let Some(id) = replay.peers.remove(peer) {
                    world.close(id, true);
                    world.heard.remove(&id);
                }
            }
        }
    }
    assert!(lines >= at_least, "{lines} lines of {session}");
    for (peer, id) in replay.peers {
        let mut heard = world.listen(id);
        heard.retain(|message| !is_ours(message));
        assert_eq!(heard, Vec::<Value>::new(), "{peer} heard more");
    }
}

impl Replay {
    fn said(&mut self, world: &mut World, peer: &str, mut message: Value) {
        if message["message"] == "connection" {
            let id = world.open();
            self.peers.insert(peer.to_owned(), id);
        }
        match message["message"].as_str() {
            Some("publishStream") => message["data"][0]["sdp"] = json!(PUBLISH),
            Some("playStream") => message["data"][0]["sdp"] = json!(PLAY),
            _ => {}
        }
        world.say_text(self.peers[peer], &message.to_string());
    }

    fn heard(&mut self, world: &mut World, peer: &str, expected: &Value, line: usize) {
        // What the captured server said to a socket that was closed already.
        let Some(id) = self.peers.get(peer).copied() else { return };
        let status = &expected["data"][0]["status"];
        if status == "PUBLISHING" || status == "PLAYING" {
            let session = expected["data"][0]["mediaSessionId"].as_str().expect("id");
            world.media_up(world.transport_of(session));
        }
        let actual = loop {
            let next = world.heard.get_mut(&id).and_then(std::collections::VecDeque::pop_front);
            let next = next.unwrap_or_else(|| panic!("line {line}: {peer} did not hear {expected}"));
            if !is_ours(&next) && !self.is_stop_by_leave(&next, expected) {
                break next;
            }
        };
        assert_eq!(comparable(&actual), comparable(expected), "line {line}, heard by {peer}");
    }

    fn is_stop_by_leave(&mut self, actual: &Value, expected: &Value) -> bool {
        let session = actual["data"][0]["mediaSessionId"].as_str().unwrap_or_default().to_owned();
        actual["data"][0]["status"] == "STOPPED"
            && expected["message"] == "DataStatusEvent"
            && self.stopped_by_leave.insert(session)
    }
}

/// An event that the vendor's server has not, and that its client passes over.
fn is_ours(message: &Value) -> bool {
    message["data"][0]["payload"]["name"] == "RECORDING"
}

/// A message without what a server may choose.
fn comparable(message: &Value) -> Value {
    let mut message = message.clone();
    let name = message["message"].as_str().unwrap_or_default().to_owned();
    let content = &mut message["data"][0];
    match name.as_str() {
        "getUserData" => *content = json!({"appKey": content["appKey"], "status": content["status"]}),
        "OnDataEvent" => content["operationId"] = Value::Null,
        "notifyStreamStatusEvent" => {
            let content = content.as_object_mut().expect("object");
            // Mute states and codes may always be told.
            for key in ["audioState", "videoState", "code"] {
                content.remove(key);
            }
            if let Some(name) = content.get_mut("recordName") {
                assert!(name.as_str().is_some_and(|name| name.ends_with(".webm")), "{name}");
                *name = Value::Null;
            }
        }
        "DataStatusEvent" => {
            content.as_object_mut().expect("object").remove("code");
        }
        "setRemoteSDP" => {
            let sdp = &mut message["data"][1];
            assert!(
                *sdp == "answer" || sdp.as_str().is_some_and(|text| text.starts_with("v=0\r\n")),
                "{sdp}"
            );
            *sdp = Value::Null;
        }
        _ => {}
    }
    message
}
