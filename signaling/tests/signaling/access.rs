//! Who may do what: grants and refusals in the hub, tokens over WebSocket and HTTP, limits of a connection.

use crate::edges::{Client, header, http, setup};
use crate::world::{PLAY, PUBLISH, World};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use signaling::auth::Grant;
use signaling::config::{AuthMode, Config, TokenAlgorithm};
use signaling::hub::CloseCode;
use signaling::id::ConnectionId;
use signaling::refusal::Refusal;
use std::path::Path;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as WireCode;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A session whose verdict is this grant.
pub(crate) fn granted(world: &mut World, login: Option<&str>, grant: Grant) -> ConnectionId {
    let id = world.open();
    let hello = json!({"message": "connection", "data": [{"custom": {"login": login}}]});
    world.say_authorized(id, &hello.to_string(), Ok(Some(grant)));
    id
}

#[test]
fn a_refusal_has_a_code_beside_the_words() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.connect("a"));
    world.command(b, "join", json!({"name": "r"}));
    world.say(a, "pong", json!(null));
    let words = "Room already has user with such login";
    let refused = json!({"operationId": "op-join", "status": "FAILED", "info": words, "code": "login-taken"});
    assert_eq!(world.only(b, "DataStatusEvent"), refused);
    world.play(a, "r", "s", "nobody");
    let status = world.only(a, "notifyStreamStatusEvent");
    assert_eq!((&status["info"], &status["code"]), (&json!("Stream not found"), &json!("stream-not-found")));
    world.say(a, "connection", json!({}));
    assert_eq!(world.only(a, "fail")["code"], "session-open");
}

fn token_world() -> World {
    World::with(|config| config.auth.mode = AuthMode::Token)
}

#[test]
fn where_somebody_decides_a_session_without_a_verdict_is_none() {
    for mode in [AuthMode::Token, AuthMode::Hook] {
        let mut world = World::with(|config| config.auth.mode = mode);
        let id = world.open();
        world.say(id, "connection", json!({"custom": {"login": "a"}}));
        assert_eq!(world.only(id, "fail")["info"], "Forbidden");
        assert_eq!(world.closed, [(id, CloseCode::Refused)]);
        assert_eq!(world.hub.census(), [0; 4]);
    }
}

#[test]
fn the_login_is_the_tokens() {
    let alice = || Grant { login: Some("alice".to_owned()), ..Grant::everything() };
    let mut world = token_world();
    let given = granted(&mut world, Some("alice"), alice());
    assert_eq!(world.names(given), ["getUserData"]);
    let silent = granted(&mut world, None, alice());
    world.forget();
    world.join(silent, "r");
    let bob = granted(&mut world, Some("bob"), alice());
    assert_eq!(world.only(bob, "fail")["info"], "The token is for another login");
    assert_eq!(world.closed, [(bob, CloseCode::Refused)]);
}

#[test]
fn rooms_and_rights_are_those_of_the_grant() {
    let mut world = token_world();
    let everything = Grant::everything();
    let a = granted(&mut world, Some("a"), everything.clone());
    world.forget();
    world.join(a, "team-1");
    world.published(a, "team-1", "s1", "n1");
    let grant = Grant {
        rooms: Some(vec!["team-*".to_owned()]),
        publish: false,
        subscribe: false,
        record: false,
        ..everything
    };
    let b = granted(&mut world, Some("b"), grant);
    world.forget();
    for (options, expected) in [
        (json!({"name": "other"}), "FAILED The token does not allow this room"),
        (json!({"name": "team-1", "record": true}), "FAILED The token does not allow recording"),
    ] {
        world.command(b, "join", options);
        assert_eq!(world.names(b), [expected]);
    }
    world.join(b, "team-1");
    world.publish(b, "team-1", "s2", "n2");
    world.play(b, "team-1", "s3", "n1");
    assert_eq!(world.names(b), ["FAILED s2 (Restricted access)", "FAILED s3 (Restricted access)"]);
    assert_eq!(world.names(a), ["JOINED b"]);
}

#[test]
fn a_publish_that_is_to_be_recorded_needs_the_right() {
    let mut world = token_world();
    let a = granted(&mut world, Some("a"), Grant { record: false, ..Grant::everything() });
    world.forget();
    world.join(a, "r");
    let publish = |record: Value| json!({"mediaSessionId": "s", "name": "n", "sdp": PUBLISH, "custom": {"name": "r"}, "record": record});
    world.say(a, "publishStream", publish(json!(true)));
    assert_eq!(world.names(a), ["FAILED s (The token does not allow recording)"]);
    world.say(a, "publishStream", publish(json!(false)));
    assert_eq!(world.names(a), ["SDP s"]);
}

#[test]
fn what_the_operators_rules_forbid_is_refused_in_the_messages_own_way() {
    let mut world = World::new();
    let a = world.enter("a", "r");
    let before = world.hub.ledger();
    for (text, expected) in [
        (json!({"message": "publishStream", "data": [{"mediaSessionId": "s"}]}), "FAILED s (not now)"),
        (json!({"message": "playStream", "data": [{"mediaSessionId": "s"}]}), "FAILED s (not now)"),
        (
            json!({"message": "sendData", "data": [{"operationId": "o",
                "payload": {"command": "join", "options": {"name": "x"}}}]}),
            "FAILED not now",
        ),
    ] {
        world.say_authorized(a, &text.to_string(), Err(Refusal::HookRefused("not now".to_owned())));
        assert_eq!(world.names(a), [expected]);
    }
    assert_eq!(world.hub.ledger(), before);
    assert!(world.closed.is_empty());
}

#[test]
fn a_connection_has_limits_over_all_its_rooms() {
    let mut world = World::with(|config| {
        config.signaling.max_rooms_per_connection = 2;
        config.signaling.max_streams_per_connection = 3;
    });
    let a = world.enter("a", "r1");
    world.join(a, "r2");
    world.command(a, "join", json!({"name": "r3"}));
    assert_eq!(world.names(a), ["FAILED Too many rooms on one connection"]);
    world.published(a, "r1", "s1", "n1");
    world.published(a, "r2", "s2", "n2");
    world.playing(a, "r1", "p1", "n1");
    world.publish(a, "r2", "s3", "n3");
    world.play(a, "r2", "p2", "n2");
    let refused = "Too many streams on one connection";
    assert_eq!(world.names(a), [format!("FAILED s3 ({refused})"), format!("FAILED p2 ({refused})")]);
    // What ends makes room.
    world.command(a, "leave", json!({"name": "r1"}));
    world.forget();
    world.publish(a, "r2", "s3", "n3");
    assert_eq!(world.names(a), ["SDP s3"]);
    world.join(a, "r3");
    let b = world.enter("b", "r1");
    world.publish(b, "r1", "s4", "n1");
    assert_eq!(world.names(b), ["SDP s4"]);
}

// ---- over sockets ----

pub(crate) fn with_token(dir: &Path, config: &mut Config) {
    let key = dir.join("token.key");
    std::fs::write(&key, SECRET).expect("written");
    config.auth.mode = AuthMode::Token;
    config.auth.token_algorithm = Some(TokenAlgorithm::Hs256);
    config.auth.token_key = Some(key);
}

pub(crate) fn signed(claims: Value) -> String {
    let mut claims = claims;
    claims["exp"] = json!(4_000_000_000_u64);
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("signed")
}

#[tokio::test]
async fn a_websocket_session_needs_a_good_token() {
    let keys = tempfile::tempdir().expect("directory");
    let setup = setup(|config| with_token(keys.path(), config)).await;
    let old = encode(
        &Header::default(),
        &json!({"exp": 1_000_000_000}),
        &EncodingKey::from_secret(SECRET.as_bytes()),
    );
    for (token, words) in [
        (Value::Null, "A token is required"),
        (json!(7), "A token is required"),
        (json!("nonsense"), "The token is not valid"),
        (json!(old.expect("signed")), "The token has expired"),
        (json!(signed(json!({"sub": "b"}))), "The token is for another login"),
    ] {
        let mut client = Client::open(setup.running.http).await;
        client.say("connection", json!({"custom": {"login": "a", "token": token}})).await;
        let fail = client.hear().await;
        assert_eq!(fail["data"][0]["info"], words);
        assert_eq!(fail["data"][0]["apiMethod"], "ConnectionStatusEvent");
        let Message::Close(Some(frame)) = client.next().await else { panic!("no close frame") };
        assert_eq!((frame.code, frame.reason.as_str()), (WireCode::Library(4401), words));
    }
    let token = signed(json!({"sub": "a", "rooms": ["lobby"]}));
    let mut client = Client::open(setup.running.http).await;
    client.say("connection", json!({"custom": {"login": "a", "token": token}})).await;
    assert_eq!(client.hear().await["message"], "getUserData");
    client.join("lobby").await;
    setup.running.stop().await;
}

#[tokio::test]
async fn whip_and_whep_need_a_bearer_token() {
    let keys = tempfile::tempdir().expect("directory");
    let setup = setup(|config| with_token(keys.path(), config)).await;
    let bearer = |claims: Value| format!("Authorization: Bearer {}", signed(claims));
    let good = bearer(json!({"sub": "a", "rooms": "r"}));
    let viewer = bearer(json!({"rooms": "r", "publish": false}));
    for (path, authorization, body, status, challenge) in [
        ("/whip/r", String::new(), PUBLISH, 401, "bearer realm=\"ringvox\""),
        ("/whip/r", "Authorization: Basic eDp5".to_owned(), PUBLISH, 401, "bearer realm=\"ringvox\""),
        ("/whip/r", "Authorization: Bearer x".to_owned(), PUBLISH, 401, "error=\"invalid_token\""),
        ("/whip/r", format!("{good}\r\n{good}"), PUBLISH, 401, "bearer realm"),
        ("/whip/other", good.clone(), PUBLISH, 403, "error=\"insufficient_scope\""),
        ("/whip/r?login=b", good.clone(), PUBLISH, 403, "error=\"insufficient_scope\""),
        ("/whip/r?record=true", good.clone(), PUBLISH, 403, "error=\"insufficient_scope\""),
        ("/whip/r", viewer.clone(), PUBLISH, 403, "error=\"insufficient_scope\""),
        ("/whip/r", good.replace("Bearer ", "bearer  "), PUBLISH, 201, ""),
        ("/whep/r/a", String::new(), PLAY, 401, "bearer realm"),
        ("/whep/r/a", bearer(json!({"rooms": "r", "subscribe": false})), PLAY, 403, "insufficient_scope"),
        ("/whep/r/a", viewer, PLAY, 201, ""),
    ] {
        let line = if authorization.is_empty() { String::new() } else { format!("\r\n{authorization}") };
        let head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/sdp{line}");
        let (found, answer, words) = http(setup.running.http, &head, body).await;
        assert_eq!(found, status, "{head}: {answer} {words}");
        assert!(header(&answer, "www-authenticate").contains(challenge), "{answer}");
    }
    setup.running.stop().await;
}
