//! Whoever reads is told, however much there is; whoever is gone is found.

use crate::edges::{Client, setup};
use crate::world::PUBLISH_AUDIO;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

const MEMBERS: usize = 12;
const STREAMS: usize = 8;

/// As long as it may be, of what JSON makes longest.
fn longest(number: usize, bytes: usize) -> String {
    format!("{number:03}{}", "\\\"".repeat(bytes)).chars().take(bytes).collect()
}

async fn publisher(server: SocketAddr, number: usize) -> Client {
    let mut client = Client::connect(server, &longest(number, 256)).await;
    client.join("r").await;
    for stream in 0..STREAMS {
        let name = longest(number * STREAMS + stream, 640);
        let session = format!("s{number}-{stream}");
        let room = json!({"name": "r"});
        let request = json!({"mediaSessionId": session, "name": name, "sdp": PUBLISH_AUDIO, "custom": room});
        client.say("publishStream", request).await;
        while client.hear().await["data"][0]["status"] != "PUBLISHING" {}
    }
    client
}

#[tokio::test]
async fn a_room_that_is_longer_than_the_queue_reaches_who_reads_and_so_does_its_end() {
    let setup = setup(|config| config.signaling.send_queue_bytes_max = 64 << 10).await;
    let server = setup.running.http;
    let mut publishers = Vec::new();
    for number in 0..MEMBERS {
        publishers.push(publisher(server, number).await);
    }
    let mut newcomer = Client::connect(server, "newcomer").await;
    let join = json!({"operationId": "j", "payload": {"command": "join", "options": {"name": "r"}}});
    newcomer.say("sendData", join).await;
    assert_eq!(newcomer.hear().await["data"][0]["status"], "ACCEPTED");
    let state = newcomer.hear().await;
    let entries = state["data"][0]["payload"]["info"].as_array().expect("STATE").clone();
    assert_eq!(entries.len(), MEMBERS * STREAMS);
    assert!(state.to_string().len() > 128 << 10, "{} octets", state.to_string().len());
    assert!(entries.iter().any(|entry| entry["name"] == longest(95, 640).as_str()));
    // All of them go at once.
    drop(publishers);
    let (mut unpublished, mut left) = (0, 0);
    while left < MEMBERS {
        let heard = newcomer.hear().await;
        match heard["data"][0]["payload"]["name"].as_str() {
            Some("UNPUBLISHED") => unpublished += 1,
            Some("LEFT") => left += 1,
            _ => {}
        }
    }
    assert_eq!(unpublished, MEMBERS * STREAMS);
    setup.running.stop().await;
}

#[tokio::test]
async fn a_socket_that_answers_no_ping_is_gone_and_one_that_does_is_not() {
    let setup = setup(|config| {
        config.signaling.socket_silence = Duration::from_millis(600);
        // So that it is not the page's own keep-alive that ends somebody here.
        config.signaling.keep_alive_interval = Duration::from_secs(60);
    })
    .await;
    let mut alive = Client::connect(setup.running.http, "alive").await;
    alive.join("r").await;
    let mut gone = Client::connect(setup.running.http, "gone").await;
    gone.join("r").await;
    assert_eq!(alive.hear().await["data"][0]["payload"]["name"], "JOINED");
    // Nobody reads at its end, so nothing answers; the other one's library does while it waits.
    let left = alive.hear().await["data"][0]["payload"].clone();
    assert_eq!(left, json!({"roomName": "r", "name": "LEFT", "info": "gone"}));
    drop(gone);
    setup.running.stop().await;
}

/// Nobody reads at its end, so nothing answers the ping that goes when somebody wants its login.
#[tokio::test]
async fn a_dead_socket_gives_way_to_the_same_login() {
    let setup = setup(|_| {}).await;
    let mut dead = Client::connect(setup.running.http, "a").await;
    dead.join("r").await;
    let mut back = Client::connect(setup.running.http, "a").await;
    back.join("r").await;
    drop(dead);
    setup.running.stop().await;
}
