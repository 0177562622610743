//! The end of signaling: what clients are told, and what becomes of the relay and its calls.

use crate::edges::{Client, FakeRelay, PATIENCE, config, setup};
use crate::relay_model::RelayModel;
use crate::world::PUBLISH;
use relay_control::{Command, EventBody, UpTrackActivity};
use serde_json::json;
use signaling::auth::AccessControl;
use signaling::config::StopRelay;
use signaling::edge::Input;
use signaling::recorder::RecorderHandle;
use signaling::relay::{LinkCommand, LinkEvent};
use signaling::server::{Ended, Server, Wiring};
use signaling::start::start;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Who stops it, who started the relay and what the settings say: whether the calls go on.
#[tokio::test]
async fn stopping_says_goodbye_and_ends_the_relay_that_a_signaling_started() {
    for (setting, started_by_signaling, alone, ends) in [
        (StopRelay::Auto, true, false, true),
        (StopRelay::Auto, true, true, false),
        (StopRelay::Auto, false, false, false),
        (StopRelay::Auto, false, true, false),
        (StopRelay::Yes, false, true, true),
        (StopRelay::No, true, false, false),
    ] {
        let relay_dir = tempfile::tempdir().expect("directory");
        let mut model = RelayModel::new(7);
        model.started_by_signaling = started_by_signaling;
        let relay = FakeRelay::listen(&relay_dir.path().join("relay.sock"), model);
        let mut config = config(relay_dir.path());
        config.signaling.stop_relay = setting;
        let running = start(config).await.expect("start");
        let client = Client::connect(running.http, "a").await;
        if alone {
            running.stop_alone().await;
        } else {
            running.stop().await;
        }
        let code = if ends { CloseCode::Away } else { CloseCode::Restart };
        assert_eq!(client.closed().await, Some(code), "{setting:?} {started_by_signaling} {alone}");
        let asked = relay.model.lock().expect("model").asked.clone();
        assert_eq!(matches!(asked.last(), Some(Command::Shutdown(_))), ends, "{asked:?}");
    }
}

/// The link waits for room in the queue of events before it hears the order to end the relay.
#[tokio::test]
async fn a_relay_that_has_much_to_say_ends_all_the_same() {
    let dir = tempfile::tempdir().expect("directory");
    let mut config = config(dir.path());
    config.signaling.stop_relay = StopRelay::Yes;
    let config = Arc::new(config);
    let (inputs, hub_inputs) = mpsc::channel(1);
    let (commands, mut link_commands) = mpsc::channel(1);
    let (link_events, events) = mpsc::channel(1);
    let (relay_start, _started) = oneshot::channel();
    let access = Arc::new(AccessControl::new(&config.auth, "node".to_owned()).expect("open"));
    let (recorder, recorder_events) = (RecorderHandle::of_nobody(), None);
    let wiring =
        Wiring { inputs: hub_inputs, events, commands, relay_start, access, recorder, recorder_events };
    let server = tokio::spawn(Server::new(config, wiring).run());
    // A link that is full of events, all of which it tells before it looks at its orders.
    let link = tokio::spawn(async move {
        let activity = || EventBody::UpTrackActivity(UpTrackActivity { track_id: 1, active: true });
        while link_commands.is_empty() {
            link_events.send(LinkEvent::Event(activity())).await.expect("read");
        }
        for _ in 0..100 {
            link_events.send(LinkEvent::Event(activity())).await.expect("read");
        }
        link_commands.recv().await
    });
    inputs.send(Input::Shutdown { alone: false }).await.expect("taken");
    let order = timeout(PATIENCE, link).await.expect("in time").expect("no panic");
    assert!(matches!(order, Some(LinkCommand::Shutdown(_))), "{order:?}");
    drop(order);
    assert_eq!(timeout(PATIENCE, server).await.expect("in time").expect("no panic"), Ended::Shutdown);
}

#[tokio::test]
async fn a_new_signaling_takes_over_what_the_relay_runs() {
    let first = setup(|config| config.signaling.stop_relay = StopRelay::Auto).await;
    let mut a = Client::open(first.running.http).await;
    a.say("connection", json!({"custom": {"login": "a", "resumable": true}})).await;
    let token = a.hear().await["data"][0]["authToken"].as_str().expect("token").to_owned();
    a.join("r").await;
    a.say(
        "publishStream",
        json!({"mediaSessionId": "s", "name": "n", "sdp": PUBLISH, "custom": {"name": "r"}}),
    )
    .await;
    assert_eq!(a.hear().await["message"], "setRemoteSDP");
    assert_eq!(a.hear().await["data"][0]["status"], "PUBLISHING");
    first.running.stop().await;
    assert_eq!(a.closed().await, Some(CloseCode::Restart), "come back");
    first.relay.has_transports(1).await;

    let second = start(config(first.dir.path())).await.expect("start");
    let mut a = Client::open(second.http).await;
    a.say("connection", json!({"custom": {"login": "a", "resume": token}})).await;
    assert_eq!(a.hear().await["data"][0]["authToken"], token.as_str());
    let payload = json!({"command": "join", "options": {"name": "r"}});
    a.say("sendData", json!({"operationId": "j", "payload": payload})).await;
    assert_eq!(a.hear().await["data"][0]["status"], "ACCEPTED");
    let state = a.hear().await;
    assert_eq!(state["data"][0]["payload"]["resumed"][0]["status"], "PUBLISHING");
    second.stop().await;
}
