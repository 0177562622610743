//! Names that look like others' are refused over WebSocket, WHIP and WHEP, with words that say why.

use crate::edges::{http, setup};
use crate::world::{PUBLISH, World};
use serde_json::json;
use signaling::hub::CloseCode;

/// Reads "alice" wherever it is shown.
const SPOOFS: [&str; 5] =
    ["ali\u{200b}ce", "\u{202e}ecila\u{202c}", "alice\0", "alice\n", "ali\u{2066}ce\u{2069}"];

#[test]
fn a_login_that_looks_like_anothers_is_refused() {
    for login in SPOOFS {
        let mut world = World::new();
        world.enter("alice", "r");
        let id = world.open();
        world.say(id, "connection", json!({"appKey": "roomApp", "custom": {"login": login}}));
        let refusal = world.only(id, "fail");
        assert_eq!(refusal["info"], "Login has a control or invisible character", "{login:?}");
        assert_eq!(world.closed, [(id, CloseCode::Refused)]);
    }
}

#[test]
fn rooms_and_streams_are_called_what_can_be_told_apart() {
    for name in SPOOFS {
        let mut world = World::new();
        let id = world.connect("alice");
        world.command(id, "join", json!({"name": name}));
        assert_eq!(world.names(id), ["FAILED Room name has a control or invisible character"], "{name:?}");
        world.join(id, "r");
        world.publish(id, "r", "s", name);
        assert_eq!(
            world.names(id),
            ["FAILED s (Stream name has a control or invisible character)"],
            "{name:?}"
        );
        assert!(world.relay.transports.is_empty());
    }
}

#[test]
fn people_are_called_what_they_are_called() {
    let mut world = World::new();
    for name in ["Алиса", "علی‌رضا", "נָעֳמִי", "👩‍💻 Zoe\u{308} 🏳️‍🌈", "श्रीमान्"]
    {
        let id = world.enter(name, "Дом 🏠");
        let stream = format!("Дом 🏠-{name}-1");
        world.published(id, "Дом 🏠", name, &stream);
    }
    assert_eq!(world.hub.census(), [5, 1, 5, 5]);
}

/// A room of a signaling that was less strict: its calls are taken over, and whoever comes back can leave it.
#[test]
fn what_is_called_so_already_goes_on() {
    let mut world = World::new();
    let (alice, token) = world.connect_with(json!({"login": "alice", "resumable": true}));
    world.join(alice, "r");
    world.published(alice, "r", "s", "n");
    for info in world.relay.transports.values_mut() {
        let label = String::from_utf8(info.label.clone()).expect("JSON");
        info.label = label.replace(r#""room":"r""#, r#""room":"r\u200b""#).into_bytes();
    }
    let mut world = world.restart(|_| {});
    assert_eq!(world.relay.transports.len(), 1);
    let (_alice, _) = world.connect_with(json!({"login": "alice", "resumable": true, "resume": token}));
    let bob = world.connect("bob");
    world.command(bob, "leave", json!({"name": "r\u{200b}"}));
    assert_eq!(world.names(bob), ["FAILED Not in this room"]);
    assert_eq!(world.hub.census(), [2, 1, 1, 1]);
}

#[tokio::test]
async fn whip_and_whep_refuse_them_as_well() {
    let setup = setup(|_| {}).await;
    for (path, words) in [
        ("/whip/r%00", "Room name has"),
        ("/whip/r?login=ali%E2%80%8Bce", "Login has"),
        ("/whip/r?login=alice%0A", "Login has"),
        ("/whep/%E2%80%AEr/x", "Room name has"),
        ("/whep/r/x%E2%81%A6", "Stream name has"),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/sdp");
        let (status, _, body) = http(setup.running.http, &head, PUBLISH).await;
        assert_eq!(status, 400, "{path}");
        assert!(body.starts_with(words), "{path}: {body}");
    }
    setup.running.stop().await;
}
