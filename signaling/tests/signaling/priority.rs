//! Whose video goes first when a relay does not keep up: what is shown says it, or the operator.

use crate::access::{granted, signed, with_token};
use crate::edges::{Client, http, setup};
use crate::hooks::Service;
use crate::world::{PUBLISH, World};
use relay_control::Priority;
use serde_json::{Value, json};
use signaling::auth::Grant;
use signaling::config::OnFailure;
use signaling::hub::HttpRequest;
use signaling::message::{ClientMessage, StreamRequest};

fn slides(content: &str) -> String {
    PUBLISH.replace("m=video", "a=content:main\r\nm=video") + &format!("a=content:{content}\r\n")
}

#[test]
fn a_screen_goes_after_a_camera() {
    let screen = json!({"video": {"type": "screen", "width": 640}, "audio": false});
    for (constraints, sdp, expected) in [
        (Value::Null, PUBLISH.to_owned(), Priority::Medium),
        (json!({"audio": true, "video": true}), PUBLISH.to_owned(), Priority::Medium),
        (json!({"video": {"type": "Screen"}}), PUBLISH.to_owned(), Priority::Medium),
        (json!({"video": {"type": ["screen"]}}), PUBLISH.to_owned(), Priority::Medium),
        (json!("screen"), PUBLISH.to_owned(), Priority::Medium),
        (screen, PUBLISH.to_owned(), Priority::High),
        (Value::Null, slides("main"), Priority::Medium),
        (Value::Null, slides("main,Slides"), Priority::High),
        (Value::Null, slides("slides"), Priority::High),
    ] {
        let mut world = World::new();
        let a = world.enter("a", "r");
        let object = json!({"mediaSessionId": "s", "name": "n", "sdp": sdp, "custom": {"name": "r"},
            "constraints": constraints, "priority": "high"});
        world.say(a, "publishStream", object);
        assert_eq!(world.names(a), ["SDP s"]);
        assert_eq!(world.relay.priorities(), [expected], "{constraints}");
    }
}

#[test]
fn the_operators_word_stands_above_what_is_shown() {
    // Of the token, of the hook for this stream; a screen.
    for (grant, hook, screen, expected) in [
        (None, None, true, Priority::High),
        (Some(Priority::Low), None, true, Priority::Low),
        (Some(Priority::High), None, false, Priority::High),
        (Some(Priority::High), Some(Priority::VeryLow), true, Priority::VeryLow),
        (None, Some(Priority::Medium), true, Priority::Medium),
    ] {
        let mut world = World::new();
        let a = granted(&mut world, Some("a"), Grant { priority: grant, ..Grant::everything() });
        world.join(a, "r");
        let request = StreamRequest {
            media_session_id: "s".to_owned(),
            name: "n".to_owned(),
            sdp: PUBLISH.to_owned(),
            room: Some("r".to_owned()),
            screen,
            ..StreamRequest::default()
        };
        let granted = hook.map(|hook| Grant { priority: Some(hook), ..Grant::everything() });
        world.hub.handle_message(world.now, a, Ok((ClientMessage::Publish(request), Ok(granted))));
        world.pump();
        assert_eq!(world.relay.priorities(), [expected]);
    }
}

#[test]
fn whip_has_the_operators_word_and_the_offers() {
    for (priority, sdp, expected) in [
        (None, PUBLISH.to_owned(), Priority::Medium),
        (None, slides("slides"), Priority::High),
        (Some(Priority::Low), slides("slides"), Priority::Low),
    ] {
        let mut world = World::new();
        world.http(HttpRequest::Publish {
            room: "r".to_owned(),
            login: None,
            sdp,
            priority,
            rights: Grant::everything().rights(),
            record: false,
        });
        assert_eq!(world.relay.priorities(), [expected]);
    }
}

/// What was given stays in the relay, and a new signaling has nothing to add.
#[test]
fn a_priority_outlives_signaling() {
    let mut world = World::new();
    let a = granted(&mut world, Some("a"), Grant { priority: Some(Priority::Low), ..Grant::everything() });
    world.join(a, "r");
    let transport = world.published(a, "r", "s", "n");
    let world = world.restart(|_| {});
    assert_eq!(world.relay.priorities(), [Priority::Low], "asked once");
    let up_tracks = &world.relay.transports[&transport].up_tracks;
    assert!(up_tracks.iter().all(|track| track.priority() == Priority::Low));
}

#[tokio::test]
async fn a_token_with_an_unknown_priority_is_refused_with_the_words_that_help() {
    const WORDS: &str = "The token's priority must be very-low, low, medium or high";
    let keys = tempfile::tempdir().expect("directory");
    let setup = setup(|config| with_token(keys.path(), config)).await;
    let claims = |priority: &str| json!({"sub": "a", "rooms": "r", "priority": priority});
    for (priority, status) in [("urgent", 401), ("very-low", 201)] {
        let token = signed(claims(priority));
        let head = format!(
            "POST /whip/r HTTP/1.1\r\nContent-Type: application/sdp\r\nAuthorization: Bearer {token}"
        );
        let (found, _, body) = http(setup.running.http, &head, PUBLISH).await;
        assert_eq!((found, body.contains(WORDS)), (status, status == 401), "{priority}: {body}");
    }
    assert_eq!(setup.relay.priorities(), [Priority::VeryLow]);
    let mut client = Client::open(setup.running.http).await;
    client.say("connection", json!({"custom": {"login": "a", "token": signed(claims("urgent"))}})).await;
    assert_eq!(client.hear().await["data"][0]["info"], WORDS);
    setup.running.stop().await;
}

/// An answer that nobody can understand is a failure of the hook, and counts as one.
#[tokio::test]
async fn a_hook_may_answer_with_a_priority() {
    const LOW: &str = "HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{\"priority\":\"low\"}";
    const HIGH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"priority\":\"high\"}";
    const URGENT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"priority\":\"urgent\"}";
    const NUMBER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"priority\":1}";
    const WORD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";
    const NULL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"priority\":null}";
    for (session, stream, policy, expected) in [
        (WORD, LOW, OnFailure::Refuse, vec![Priority::Low]),
        (LOW, WORD, OnFailure::Refuse, vec![Priority::Low]),
        (LOW, HIGH, OnFailure::Refuse, vec![Priority::High]),
        (WORD, NULL, OnFailure::Refuse, vec![Priority::Medium]),
        (WORD, URGENT, OnFailure::Refuse, vec![]),
        (WORD, NUMBER, OnFailure::Refuse, vec![]),
        (WORD, URGENT, OnFailure::Allow, vec![Priority::Medium]),
    ] {
        let service = Service::start(&[("connect", session), ("publishStream", stream)]).await;
        let setup = setup(|config| {
            service.configure(config);
            config.auth.hook_on_failure = policy;
        })
        .await;
        let mut a = Client::connect(setup.running.http, "a").await;
        a.join("r").await;
        a.say(
            "publishStream",
            json!({"mediaSessionId": "s", "name": "n", "sdp": PUBLISH, "custom": {"name": "r"},
                "priority": "high"}),
        )
        .await;
        let heard = a.hear().await;
        assert_eq!(setup.relay.priorities(), expected, "{session} {stream}");
        if expected.is_empty() {
            assert_eq!(heard["data"][0]["info"], "Access check failed", "{stream}");
        }
        let asked = service.hears("publishStream", None).await;
        assert_eq!(asked.get("priority"), None, "what the client says is not the hook's word");
        setup.running.stop().await;
    }
}
