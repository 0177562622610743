//! `sendMessage` (protocol section 3.4).

use crate::world::World;
use serde_json::json;

#[test]
fn text_of_any_kind_arrives_as_it_was_sent() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.forget();
    for text in [
        r#""Привет, Алиса! 你好 🎥 ñ""#,
        r#""line1\nline2\u0000 \"quoted\" <b>&amp;</b>""#,
        r#""\u041f\u0440\u0438""#,
        r#"{"a":[1,2.50,1e3,null,true],"b":{"c":"d"}}"#,
        "12345678901234567890123456789",
        "0.1000000000000000055511151231257827",
        "\"\"",
        "null",
    ] {
        let payload = format!(
            r#"{{"command":"sendMessage","options":{{"roomConfig":{{"name":"r"}},"to":"b","text":{text}}}}}"#
        );
        let message =
            format!(r#"{{"message":"sendData","data":[{{"operationId":"o","payload":{payload}}}]}}"#);
        let mut raw = Vec::new();
        let parsed = signaling::message::ClientMessage::parse(&message);
        world.hub.handle_message(world.now, a, parsed.map(|message| (message, Ok(None))));
        while let Some(output) = world.hub.poll_output() {
            if let signaling::hub::Output::Send { to, text } = output {
                raw.push((to, text));
            }
        }
        let [(first, event), (second, answer)] = raw.as_slice() else { panic!("{raw:?}") };
        assert_eq!((*first, *second), (b, a));
        assert!(event.contains(&format!(r#""info":{{"from":"a","text":{text}}}"#)), "{event}");
        assert!(answer.contains("ACCEPTED"));
    }
}

#[test]
fn only_members_write_and_only_to_members() {
    let mut world = World::new();
    let (a, _b) = (world.enter("a", "r"), world.enter("b", "r"));
    let stranger = world.enter("c", "other");
    world.forget();
    for (from, room, to, answer) in [
        (a, "r", "b", "ACCEPTED"),
        (a, "r", "a", "FAILED No such participant"),
        (a, "r", "c", "FAILED No such participant"),
        (a, "other", "c", "FAILED Not in this room"),
        (a, "nowhere", "c", "FAILED Not in this room"),
        (stranger, "r", "a", "FAILED Not in this room"),
    ] {
        let options = json!({"roomConfig": {"name": room}, "to": to, "text": "x"});
        world.command(from, "sendMessage", options);
        assert_eq!(world.names(from), [answer], "{room} {to}");
    }
    world.command(a, "sendMessage", json!({"roomConfig": {"name": "r"}, "to": "b"}));
    assert_eq!(world.names(a), ["FAILED No text"]);
}

#[test]
fn nobody_is_talked_to_death() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.published(a, "r", "s1", "n");
    world.playing(b, "r", "p1", "n");
    let chat = |text: &str| json!({"roomConfig": {"name": "r"}, "to": "b", "text": text});
    world.command(a, "sendMessage", chat(&"x".repeat(64 << 10)));
    assert_eq!(world.names(a), ["FAILED Text is longer than 65536 bytes"]);
    world.hub.handle_pressure(b, true);
    world.command(a, "sendMessage", chat("x"));
    assert_eq!(world.names(a), ["FAILED The participant does not read fast enough"]);
    world.say(a, "sendStreamEvent", json!({"mediaSessionId": "s1", "type": "data", "payload": {}}));
    for event in ["audioMuted", "videoMuted", "videoUnmuted"] {
        world.say(a, "sendStreamEvent", json!({"mediaSessionId": "s1", "type": event}));
    }
    assert!(world.names(b).is_empty());
    // Once it reads again it hears how things are, each once.
    world.hub.handle_pressure(b, false);
    world.pump();
    assert_eq!(world.names(b), ["audioMuted p1", "videoUnmuted p1"]);
    world.hub.handle_pressure(b, true);
    world.hub.handle_pressure(b, false);
    world.pump();
    assert!(world.names(b).is_empty(), "nothing was withheld");
    world.command(a, "sendMessage", chat("x"));
    assert_eq!(world.names(a), ["ACCEPTED"]);
}

#[test]
fn what_was_withheld_is_not_told_of_streams_that_are_gone() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.published(a, "r", "s1", "n1");
    world.published(a, "r", "s2", "n2");
    for (session, name) in [("p1", "n1"), ("p2", "n2"), ("p3", "n2")] {
        world.playing(b, "r", session, name);
    }
    world.hub.handle_pressure(b, true);
    for session in ["s1", "s2"] {
        world.say(a, "sendStreamEvent", json!({"mediaSessionId": session, "type": "videoMuted"}));
    }
    world.say(a, "unPublishStream", json!({"mediaSessionId": "s1", "name": "n1"}));
    world.say(b, "stopStream", json!({"mediaSessionId": "p3", "name": "n2"}));
    world.forget();
    assert!(world.hub.ledger().contains(&("missed notes", 1)), "nothing is kept for streams that are gone");
    world.hub.handle_pressure(b, false);
    world.pump();
    assert_eq!(world.names(b), ["audioUnmuted p2", "videoMuted p2"]);
}
