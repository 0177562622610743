//! Media that stops while its client lives is told to everybody whom it concerns, and so is its coming back.

use crate::edges::{PATIENCE, http, setup};
use crate::whip_whep::{created, play, publish};
use crate::world::World;
use serde_json::{Value, json};
use signaling::hub::{MediaState, Recorded};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const AUDIO: usize = 0;
const VIDEO: usize = 1;

#[test]
fn media_that_stops_is_told_to_room_players_publisher_and_whoever_comes_later() {
    let mut world = World::new();
    let (a, b, c) = (world.enter("a", "r"), world.enter("b", "r"), world.enter("c", "r"));
    let transport = world.published(a, "r", "s1", "r-a-1");
    world.playing(b, "r", "p1", "r-a-1");
    // A camera that goes off, while the microphone goes on.
    world.track_flows(transport, VIDEO, false);
    assert_eq!(world.names(a), ["videoStopped s1"]);
    assert_eq!(world.names(b), ["videoStopped p1", "MEDIA a/r-a-1"]);
    let media = world.only(c, "OnDataEvent")["payload"]["info"].clone();
    assert_eq!(media, json!({"login": "a", "name": "r-a-1", "stopped": ["video"]}));
    // Who comes later.
    let d = world.connect("d");
    world.command(d, "join", json!({"name": "r"}));
    let state = world.listen(d)[1]["data"][0]["payload"]["info"].clone();
    assert_eq!(state[0], json!({"login": "a", "name": "r-a-1", "stopped": ["video"]}));
    world.play(d, "r", "p2", "r-a-1");
    let player = world.transport_of("p2");
    world.forget();
    world.media_up(player);
    assert_eq!(world.only(d, "notifyStreamStatusEvent")["stopped"], json!(["video"]));
    world.forget();
    // The rest stops, too; then all of it comes again.
    world.track_flows(transport, AUDIO, false);
    assert_eq!(world.names(b), ["audioStopped p1", "MEDIA a/r-a-1"]);
    world.forget();
    world.track_flows(transport, AUDIO, true);
    world.track_flows(transport, VIDEO, true);
    assert_eq!(world.names(a), ["audioResumed s1", "videoResumed s1"]);
    assert_eq!(world.names(b), ["audioResumed p1", "MEDIA a/r-a-1", "videoResumed p1", "MEDIA a/r-a-1"]);
    let last = world.listen(c).pop().expect("MEDIA");
    assert_eq!(last["data"][0]["payload"]["info"]["stopped"], json!([]));
    // What is known already is not told again.
    world.forget();
    world.track_flows(transport, VIDEO, true);
    assert!(world.listen(b).is_empty());
}

#[test]
fn what_never_comes_has_stopped_and_what_is_slow_to_come_has_not() {
    for comes in [true, false] {
        let mut world = World::new();
        let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
        world.publish(a, "r", "s1", "r-a-1");
        let transport = world.transport_of("s1");
        world.transport_state(
            transport,
            relay_control::TransportState::Connected,
            relay_control::FailReason::None,
        );
        world.track_flows(transport, AUDIO, true);
        assert_eq!(world.names(b), ["PUBLISHED a/r-a-1"], "a camera is slower than a microphone");
        world.wait(Duration::from_secs(2));
        if comes {
            world.track_flows(transport, VIDEO, true);
        }
        world.wait(Duration::from_secs(1));
        let expected: &[&str] = if comes { &[] } else { &["MEDIA a/r-a-1"] };
        assert_eq!(world.names(b), expected);
    }
}

#[test]
fn who_came_over_http_can_listen() {
    let mut world = World::new();
    let (publisher, _) = created(world.http(publish(Some("b"))));
    let transport = world.transport_of(&publisher);
    world.media_up(transport);
    let (viewer, _) = created(world.http(play("b")));
    let player = world.transport_of(&viewer);
    world.media_up(player);
    let state = |world: &World, secret: &str, published| world.hub.media_of(secret, published).map(|of| of.1);
    let flows =
        |audio, video| Some(MediaState { audio: Some(audio), video: Some(video), recorded: Recorded::No });
    assert_eq!(state(&world, &viewer, false), flows(true, true));
    assert_eq!(state(&world, &viewer, true), None, "it is no publisher's");
    world.track_flows(transport, VIDEO, false);
    for of in [transport, player] {
        assert_eq!(world.media[&of], flows(true, false));
    }
    assert_eq!(state(&world, &publisher, true), flows(true, false));
    world.track_flows(transport, VIDEO, true);
    assert_eq!(world.media[&player], flows(true, true));
    world.transport_state(
        transport,
        relay_control::TransportState::Failed,
        relay_control::FailReason::ConsentExpired,
    );
    assert_eq!((world.media[&transport], world.media[&player]), (None, None));
}

#[test]
fn the_hook_hears_of_it() {
    let mut world = World::with(|config| config.auth.mode = signaling::config::AuthMode::Hook);
    let grant = signaling::auth::Grant::everything();
    let id = world.open();
    let hello = json!({"message": "connection", "data": [{"appKey": "roomApp", "custom": {"login": "a"}}]});
    world.say_authorized(id, &hello.to_string(), Ok(Some(grant)));
    world.join(id, "r");
    let transport = world.published(id, "r", "s1", "r-a-1");
    world.track_flows(transport, AUDIO, false);
    let heard = world.notes.iter().filter(|(method, _)| *method == "StreamEvent");
    let heard: Vec<&Value> = heard.map(|(_, object)| &object["type"]).collect();
    assert_eq!(heard, ["audioStopped"]);
}

/// A client that reads slowly is told the outcome when it reads again, of what it plays and of what others play.
#[test]
fn a_slow_reader_is_told_the_outcome() {
    let mut world = World::new();
    let (a, b, c) = (world.enter("a", "r"), world.enter("b", "r"), world.enter("c", "r"));
    let transport = world.published(a, "r", "s1", "r-a-1");
    world.playing(b, "r", "p1", "r-a-1");
    for slow in [a, b, c] {
        world.hub.handle_pressure(slow, true);
    }
    for _ in 0..100 {
        world.track_flows(transport, VIDEO, false);
        world.track_flows(transport, VIDEO, true);
    }
    world.track_flows(transport, AUDIO, false);
    assert_eq!([a, b, c].map(|id| world.names(id).len()), [0; 3]);
    for slow in [a, b, c] {
        world.hub.handle_pressure(slow, false);
    }
    world.pump();
    assert_eq!(world.names(a), ["audioStopped s1", "videoResumed s1"]);
    let mut heard = world.names(b);
    heard.sort();
    assert_eq!(heard, ["MEDIA a/r-a-1", "audioStopped p1", "videoResumed p1"]);
    let media = world.only(c, "OnDataEvent")["payload"]["info"].clone();
    assert_eq!(media, json!({"login": "a", "name": "r-a-1", "stopped": ["audio"]}));
    world.forget();
    // It is told once, and of nothing that has ended meanwhile.
    world.hub.handle_pressure(c, true);
    world.track_flows(transport, AUDIO, true);
    world.say(a, "unPublishStream", json!({"mediaSessionId": "s1", "name": "r-a-1"}));
    world.forget();
    world.hub.handle_pressure(c, false);
    world.pump();
    assert!(world.names(c).is_empty());
}

/// An answer that takes its time is no idle connection.
#[tokio::test]
async fn events_outlast_the_time_of_an_idle_connection() {
    let setup = setup(|config| config.signaling.http_idle = Duration::from_millis(200)).await;
    let at = setup.running.http;
    let offer = "POST /whip/r?login=a HTTP/1.1\r\nContent-Type: application/sdp";
    let (_, head, _) = http(at, offer, crate::world::PUBLISH).await;
    let location = crate::edges::header(&head, "location");
    let location = format!("/whip/{}", location.strip_prefix("./").expect("relative"));
    let mut stream = TcpStream::connect(at).await.expect("connect");
    let listen = format!("GET {location}/events HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(listen.as_bytes()).await.expect("sent");
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("event: ") {
        assert!(timeout(PATIENCE, stream.read_buf(&mut heard)).await.expect("in time").expect("read") > 0);
    }
    // One that is idle from now on is closed, and the events are not.
    let mut idle = TcpStream::connect(at).await.expect("connect");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    timeout(PATIENCE, idle.read_to_end(&mut Vec::new())).await.expect("in time").expect("closed");
    assert_eq!(http(at, &format!("DELETE {location} HTTP/1.1"), "").await.0, 200);
    timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("in time").expect("closed");
    let heard = String::from_utf8(heard).expect("text");
    assert!(heard.ends_with("\r\n0\r\n\r\n"), "to its end: {heard}");
    assert!(heard.contains("x-accel-buffering: no\r\n"), "{heard}");
    let last = heard.rfind("event: ").map(|at| &heard[at..]);
    assert!(last.is_some_and(|last| last.starts_with("event: inactive\ndata: {\"audio\":false")), "{last:?}");
    setup.running.stop().await;
}

#[tokio::test]
async fn a_viewer_listens_by_server_sent_events() {
    let setup = setup(|_| {}).await;
    let at = setup.running.http;
    let post = |path: &str| format!("POST {path} HTTP/1.1\r\nContent-Type: application/sdp");
    let (status, _, _) = http(at, &post("/whip/r?login=a"), crate::world::PUBLISH).await;
    assert_eq!(status, 201);
    // The relay says soon that it is on the air.
    let head = loop {
        let (status, head, _) = http(at, &post("/whep/r/a"), crate::world::PLAY).await;
        if status == 201 {
            break head;
        }
        assert_eq!(status, 409, "not on the air yet");
    };
    let location = crate::edges::header(&head, "location").to_owned();
    let link = crate::edges::header(&head, "link");
    assert!(link.contains("server-sent-events") && link.contains(&format!("{location}/events")), "{link}");
    // Relative to what was asked for, as proxies on loopback are trusted.
    let location = format!("/whep/r/{}", location.strip_prefix("./").expect("relative"));
    let events = format!("{location}/events");
    let subscribe = format!("POST {events} HTTP/1.1\r\nContent-Type: application/json");
    let (status, head, _) = http(at, &subscribe, "[\"active\",\"inactive\",\"viewercount\"]").await;
    assert_eq!((status, crate::edges::header(&head, "location")), (201, "events"));
    assert_eq!(http(at, &subscribe, "7").await.0, 400);
    let preflight = format!("OPTIONS {events} HTTP/1.1\r\nOrigin: https://a.example");
    let (status, head, _) = http(at, &preflight, "").await;
    assert!(
        status == 204 && crate::edges::header(&head, "access-control-allow-methods").contains("get"),
        "{head}"
    );
    let (status, head, _) = http(at, &format!("POST {events}/ HTTP/1.1"), "").await;
    assert_eq!((status, crate::edges::header(&head, "location")), (201, "./"));
    let (status, _, body) = http(at, &format!("GET {events} HTTP/1.1\r\nAccept: application/json"), "").await;
    let state: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, state["audio"].is_boolean(), state["video"].is_boolean()), (200, true, true));
    // The stream ends with the session, and so does the request.
    let listen = format!("GET {events} HTTP/1.1\r\nAccept: text/event-stream");
    let listening = tokio::spawn(async move { http(at, &listen, "").await });
    let delete = async || http(at, &format!("DELETE {location} HTTP/1.1"), "").await.0;
    tokio::task::yield_now().await;
    assert_eq!(delete().await, 200);
    let (status, head, body) = listening.await.expect("heard");
    if status == 200 {
        assert!(head.contains("text/event-stream") && body.contains("event: "), "{head}{body}");
    } else {
        assert_eq!(status, 404, "the session was gone before");
    }
    assert_eq!(http(at, &format!("GET {events} HTTP/1.1"), "").await.0, 404);
    setup.running.stop().await;
}
