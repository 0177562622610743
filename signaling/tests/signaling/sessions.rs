//! Opening a session, keep-alive, order, malformed messages (protocol sections 1, 2 and 12).

use crate::world::World;
use serde_json::{Value, json};
use signaling::hub::{BACKLOG_MAX, CloseCode, HELLO_LIMIT, PONG_LIMIT};
use std::time::Duration;

#[test]
fn connection_is_answered_with_what_the_client_needs_and_no_more() {
    let mut world = World::new();
    let id = world.open();
    world.say(
        id,
        "connection",
        json!({"appKey": "roomApp", "custom": {"login": "Алиса 🎥", "token": "jwt"}}),
    );
    let user = world.only(id, "getUserData");
    let keys: Vec<&String> = user.as_object().expect("object").keys().collect();
    assert_eq!(keys, ["appKey", "status", "authToken", "mediaProviders"]);
    assert_eq!((&user["appKey"], &user["status"]), (&json!("roomApp"), &json!("ESTABLISHED")));
}

#[test]
fn tokens_differ_between_sessions() {
    let mut world = World::new();
    let (_, first) = world.connect_with(json!({"login": "a"}));
    let (_, second) = world.connect_with(json!({"login": "a"}));
    assert!(first != second && first.len() >= 32, "{first} {second}");
}

#[test]
fn bad_logins_are_refused_with_a_reason_and_a_close_code() {
    for login in [json!(""), json!(7), json!("x".repeat(257)), json!({})] {
        let mut world = World::new();
        let id = world.open();
        world.say(id, "connection", json!({"custom": {"login": login}}));
        let fail = world.only(id, "fail");
        assert_eq!(fail["apiMethod"], "ConnectionStatusEvent");
        assert_eq!(fail["info"], "Login must be a text of 1 to 256 bytes");
        assert_eq!(world.closed, [(id, CloseCode::Refused)]);
    }
}

#[test]
fn a_page_without_login_may_connect_but_not_join() {
    let mut world = World::new();
    let (id, _) = world.connect_with(json!({}));
    world.command(id, "join", json!({"name": "r"}));
    assert_eq!(world.names(id), ["FAILED Login is required"]);
}

#[test]
fn nothing_is_done_before_the_session_is_open() {
    let mut world = World::new();
    let id = world.open();
    world.command(id, "join", json!({"name": "r"}));
    world.publish(id, "r", "s1", "r-x-1");
    world.play(id, "r", "s2", "r-x-1");
    world.say(id, "unPublishStream", json!({"mediaSessionId": "s1", "name": "n"}));
    world.say(id, "whatever", json!({}));
    assert_eq!(
        world.names(id),
        [
            "FAILED Session not ready",
            "FAILED s1 (Session not ready)",
            "FAILED s2 (Session not ready)",
            "UNPUBLISHED s1 (Stopped by user)",
        ]
    );
}

#[test]
fn a_silent_socket_is_closed() {
    let mut world = World::new();
    let id = world.open();
    world.wait(HELLO_LIMIT);
    assert_eq!(world.closed, [(id, CloseCode::NoHello)]);
}

#[test]
fn a_second_connection_message_changes_nothing() {
    let mut world = World::new();
    let id = world.enter("a", "r");
    world.say(id, "connection", json!({"custom": {"login": "b"}}));
    assert_eq!(world.only(id, "fail")["info"], "The session is open already");
    assert!(world.closed.is_empty());
}

/// A client that is not sure whether it was heard says it again, and hears the same again.
#[test]
fn the_same_connection_message_is_answered_again() {
    let mut world = World::new();
    let (id, token) = world.connect_with(json!({"login": "a"}));
    world.join(id, "r");
    world.say(id, "connection", json!({"appKey": "roomApp", "custom": {"login": "a"}}));
    assert_eq!(world.only(id, "getUserData")["authToken"], token.as_str());
    for other in [json!({"appKey": "x", "custom": {"login": "a"}}), json!({"appKey": "roomApp"})] {
        world.say(id, "connection", other);
        assert_eq!(world.only(id, "fail")["code"], "session-open");
    }
    world.command(id, "leave", json!({"name": "r"}));
    assert_eq!(world.names(id), ["ACCEPTED"]);
}

#[test]
fn pings_go_out_every_five_seconds_and_ten_unanswered_ones_end_the_connection() {
    let mut world = World::new();
    let id = world.connect("a");
    for _ in 0..10 {
        world.wait(Duration::from_secs(5));
    }
    let pings = world.heard.remove(&id).expect("pings");
    assert_eq!(pings.len(), 10);
    assert!(pings.iter().all(|ping| *ping == json!({"message": "ping", "data": [null]})));
    assert!(world.closed.is_empty());
    world.wait(Duration::from_secs(5));
    assert_eq!(world.closed, [(id, CloseCode::GoingAway)]);
}

#[test]
fn any_message_is_a_sign_of_life() {
    for message in ["pong", "ping", "whatever"] {
        let mut world = World::new();
        let id = world.connect("a");
        for _ in 0..20 {
            world.wait(Duration::from_secs(40));
            world.say(id, message, Value::Null);
        }
        assert!(world.closed.is_empty(), "{message}");
    }
}

#[test]
fn the_clients_own_ping_is_answered() {
    let mut world = World::new();
    let id = world.connect("a");
    world.say(id, "ping", Value::Null);
    assert_eq!(world.listen(id), [json!({"message": "pong", "data": [null]})]);
}

#[test]
fn malformed_messages_are_answered_and_harm_nobody() {
    for (text, expected) in [
        ("", "fail"),
        ("{", "fail"),
        ("[]", "fail"),
        ("{\"message\":7}", "fail"),
        (r#"{"message":"publishStream","data":[{}]}"#, "fail"),
        (r#"{"message":"publishStream","data":[]}"#, "fail"),
        (r#"{"message":"sendData","data":[{"payload":{}}]}"#, "fail"),
        (
            r#"{"message":"sendData","data":[{"operationId":"o","operationId":"p"}]}"#,
            "FAILED Malformed message: ",
        ),
        (r#"{"message":"sendData","data":[{"operationId":"o","payload":1}]}"#, "FAILED No command"),
        (
            r#"{"message":"sendData","data":[{"operationId":"o","payload":{"command":"fly"}}]}"#,
            "FAILED Unknown command",
        ),
        (
            r#"{"message":"sendData","data":[{"operationId":"o","payload":{"command":"join","options":{"name":""}}}]}"#,
            "FAILED Room name must be a text of 1 to 256 bytes",
        ),
        (
            r#"{"message":"sendData","data":[{"operationId":"o","payload":{"command":"sendMessage","options":{"roomConfig":{"name":"r"},"to":"b","text":"\ud800"}}}]}"#,
            "FAILED Malformed message: ",
        ),
    ] {
        let mut world = World::new();
        let id = world.connect("a");
        world.say_text(id, text);
        let heard = world.names(id);
        assert!(heard.len() == 1 && heard[0].starts_with(expected), "{text}: {heard:?}");
        assert!(world.closed.is_empty());
    }
}

#[test]
fn known_and_unknown_messages_of_no_interest_are_ignored() {
    let mut world = World::new();
    let id = world.connect("a");
    for message in
        ["pushLogs", "sessionDebug", "submitBugReport", "call", "webRTCMetricsBatch", "DataStatusEvent", "x"]
    {
        world.say(id, message, json!({"a": 1}));
    }
    assert!(world.listen(id).is_empty() && world.closed.is_empty());
}

#[test]
fn messages_behind_a_waiting_join_keep_their_order_and_have_a_limit() {
    let mut world = World::new();
    world.enter("a", "r");
    let second = world.connect("a");
    world.command(second, "join", json!({"name": "r"}));
    world.command(second, "leave", json!({"name": "r"}));
    assert!(world.listen(second).is_empty());
    world.wait(PONG_LIMIT);
    assert_eq!(world.names(second), ["ACCEPTED", "STATE", "ACCEPTED"]);

    world.enter("b", "r");
    let flooder = world.connect("b");
    world.command(flooder, "join", json!({"name": "r"}));
    for _ in 0..=BACKLOG_MAX {
        world.command(flooder, "leave", json!({"name": "r"}));
    }
    assert_eq!(world.closed.last(), Some(&(flooder, CloseCode::Backlog)));
}
