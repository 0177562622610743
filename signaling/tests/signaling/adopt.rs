//! Signaling killed and started again, connections lost, members resumed (fault F02).

use crate::relay_model::RelayModel;
use crate::world::World;
use relay_control::{Command, FailReason, Inventory, TransportInfo, TransportState};
use serde_json::{Value, json};
use signaling::hub::CloseCode;
use signaling::hub::SILENCE;
use signaling::id::{ConnectionId, RelayId};
use std::time::Duration;

/// Two members who publish and play each other, with the tokens of their sessions.
fn call() -> (World, [String; 2]) {
    let mut world = World::new();
    let (a, token_a) = world.connect_with(json!({"login": "a", "resumable": true}));
    let (b, token_b) = world.connect_with(json!({"login": "b", "resumable": true}));
    for (id, login) in [(a, "a"), (b, "b")] {
        world.join(id, "r");
        world.published(id, "r", &format!("s-{login}"), &format!("r-{login}-1"));
    }
    world.playing(a, "r", "p-a", "r-b-1");
    world.playing(b, "r", "p-b", "r-a-1");
    (world, [token_a, token_b])
}

fn closes(world: &World) -> usize {
    world.relay.asked.iter().filter(|command| matches!(command, Command::CloseTransport(_))).count()
}

fn resume(world: &mut World, login: &str, token: &str) -> (ConnectionId, Value) {
    let custom = json!({"login": login, "resume": token, "resumable": true});
    let (id, continued) = world.connect_with(custom);
    assert_eq!(continued, token, "the token goes on");
    world.command(id, "join", json!({"name": "r"}));
    let heard = world.listen(id);
    assert_eq!(heard[0]["data"][0]["status"], "ACCEPTED");
    (id, heard[1]["data"][0]["payload"].clone())
}

#[test]
fn after_a_kill_media_flows_on_and_clients_resume() {
    let (world, [token_a, token_b]) = call();
    let mut world = world.restart(|_| {});
    assert_eq!((world.relay.transports.len(), closes(&world)), (4, 0));

    let (a, state) = resume(&mut world, "a", &token_a);
    assert_eq!(state["info"], json!([{"login": "b", "name": "r-b-1"}]));
    assert_eq!(
        state["resumed"],
        json!([
            {"mediaSessionId": "s-a", "name": "r-a-1", "published": true, "status": "PUBLISHING"},
            {"mediaSessionId": "p-a", "name": "r-b-1", "published": false, "status": "PLAYING"},
        ])
    );
    let (b, _) = resume(&mut world, "b", &token_b);
    assert!(world.listen(a).is_empty(), "nobody came and nobody left");

    // Their own streams obey them again, under the old ids.
    world.say(a, "sendStreamEvent", json!({"mediaSessionId": "s-a", "type": "audioMuted"}));
    assert_eq!(world.names(b), ["audioMuted p-b"]);
    world.say(a, "unPublishStream", json!({"mediaSessionId": "s-a", "name": "r-a-1"}));
    assert_eq!(world.names(a), ["UNPUBLISHED s-a (Stopped by user)"]);
    assert_eq!(world.names(b), ["STOPPED p-b (Stopped by publisher stop)", "UNPUBLISHED a/r-a-1"]);
    // And new ones are made beside them, in the same room of the relay.
    world.publish(a, "r", "s-a2", "r-a-2");
    let rooms: Vec<u64> = world.relay.transports.values().map(|info| info.room_id).collect();
    assert!(rooms.windows(2).all(|pair| pair[0] == pair[1]), "{rooms:?}");
}

#[test]
fn the_mute_state_survives() {
    let (mut world, [token_a, _]) = call();
    let (a, _) = resume(&mut world, "a", &token_a);
    world.say(a, "sendStreamEvent", json!({"mediaSessionId": "s-a", "type": "videoMuted"}));
    let mut world = world.restart(|_| {});
    let c = world.enter("c", "r");
    world.play(c, "r", "p-c", "r-a-1");
    world.media_up(world.transport_of("p-c"));
    let status = world.listen(c).pop().expect("PLAYING");
    assert_eq!(status["data"][0]["videoState"], json!({"muted": true}));
}

#[test]
fn a_newcomer_finds_the_detached_members() {
    let (world, _) = call();
    let mut world = world.restart(|_| {});
    let c = world.connect("c");
    world.command(c, "join", json!({"name": "r"}));
    let state = world.listen(c).pop().expect("STATE")["data"][0]["payload"].clone();
    assert_eq!(state["info"], json!([{"login": "a", "name": "r-a-1"}, {"login": "b", "name": "r-b-1"}]));
    assert_eq!(state.get("resumed"), None);
    world.command(c, "sendMessage", json!({"roomConfig": {"name": "r"}, "to": "a", "text": "x"}));
    assert_eq!(world.names(c), ["FAILED The participant is not connected"]);
}

#[test]
fn who_does_not_come_back_is_removed() {
    let (world, [token_a, _]) = call();
    let mut world = world.restart(|config| config.rooms.adopt_grace = Duration::from_secs(30));
    let (a, _) = resume(&mut world, "a", &token_a);
    world.wait(Duration::from_secs(30));
    assert_eq!(world.names(a), ["STOPPED p-a (Stopped by publisher stop)", "UNPUBLISHED b/r-b-1", "LEFT b"]);
    assert_eq!(world.relay.transports.len(), 1);
}

#[test]
fn the_limit_of_a_room_survives() {
    let mut world = World::new();
    for login in ["a", "b"] {
        let (id, _) = world.connect_with(json!({"login": login, "resumable": true}));
        world.command(id, "join", json!({"name": "r", "maxParticipants": 2}));
        world.forget();
        world.published(id, "r", &format!("s-{login}"), &format!("r-{login}-1"));
    }
    let mut world = world.restart(|_| {});
    let third = world.connect("c");
    world.command(third, "join", json!({"name": "r", "maxParticipants": 9}));
    assert_eq!(world.names(third), ["FAILED Room is full"]);
}

/// Written before rooms had limits and wishes.
#[test]
fn labels_of_an_older_signaling_are_understood() {
    let (mut world, [token_a, _]) = call();
    for info in world.relay.transports.values_mut() {
        let mut label: Value = serde_json::from_slice(&info.label).expect("JSON");
        label.as_object_mut().expect("object").remove("terms");
        let member = label["member"].as_object_mut().expect("member");
        member.retain(|key, _| key == "login" || key == "token");
        info.label = label.to_string().into_bytes();
    }
    let mut world = world.restart(|_| {});
    assert_eq!((world.relay.transports.len(), closes(&world)), (4, 0));
    resume(&mut world, "a", &token_a);
    let c = world.enter("c", "r");
    world.publish(c, "r", "s-c", "r-c-1");
    assert_eq!(world.names(c), ["SDP s-c"]);
}

/// A client that changes its mind all the time must not keep the relay busy.
#[test]
fn new_knowledge_is_written_once_and_the_same_again_not_at_all() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.published(a, "r", "s-a", "r-a-1");
    for session in ["s1", "s2", "s3"] {
        world.published(b, "r", session, session);
    }
    let writes = |world: &World| {
        world.relay.asked.iter().filter(|command| matches!(command, Command::SetLabel(_))).count()
    };
    assert_eq!(writes(&world), 0, "a new stream's own label says it");
    world.playing(b, "r", "p1", "r-a-1");
    assert_eq!(writes(&world), 1);
    world.playing(b, "r", "p2", "r-a-1");
    assert_eq!(writes(&world), 1);
}

#[test]
fn a_vendor_client_that_joins_again_takes_its_login() {
    let (world, [_, token_b]) = call();
    let mut world = world.restart(|_| {});
    let (b, _) = resume(&mut world, "b", &token_b);
    let a = world.connect("a");
    world.command(a, "join", json!({"name": "r"}));
    // Its earlier page closed its streams, or they are silent.
    world.wait(SILENCE);
    assert_eq!(world.names(a), ["ACCEPTED", "STATE"]);
    let heard = world.names(b);
    assert_eq!(
        heard,
        ["STOPPED p-b (Stopped by publisher stop)", "UNPUBLISHED a/r-a-1", "LEFT a", "JOINED a"]
    );
    assert_eq!(world.relay.transports.len(), 1);
}

/// Labels are shown to people by `ringvox-relay ctl inventory`.
#[test]
fn labels_hold_no_secret() {
    let (world, secrets) = call();
    for transport in world.relay.inventory().transports {
        let label = String::from_utf8_lossy(&transport.label).into_owned();
        assert!(label.contains("token"), "{label}");
        assert!(!secrets.iter().any(|secret| label.contains(secret.as_str())), "{label}");
    }
}

#[test]
fn a_wrong_token_is_no_token() {
    let (world, _) = call();
    let mut world = world.restart(|_| {});
    for token in ["0".repeat(48), "short".to_owned(), "x".repeat(48)] {
        let (id, own) = world.connect_with(json!({"login": "a", "resume": token}));
        assert_eq!(own == token, token == "0".repeat(48));
        world.command(id, "join", json!({"name": "r"}));
        world.wait(SILENCE);
        let state = world.listen(id).pop().expect("STATE");
        assert_eq!(state["data"][0]["payload"].get("resumed"), None);
        world.close(id, true);
    }
}

#[test]
fn what_is_not_understood_or_contradicts_is_closed() {
    let (world, _) = call();
    let mut world = World::without_relay(|_| {}, world.relay);
    let mut inventory = world.relay.inventory();
    let alien = |id, label: &[u8]| TransportInfo {
        transport_id: id,
        label: label.to_vec(),
        ..TransportInfo::default()
    };
    inventory.transports.push(alien(1, b"not ours"));
    inventory.transports.push(alien(2, br#"{"version":9}"#));
    inventory.transports.push(alien(3, &[0xff; 40]));
    // A play whose source is not there.
    let orphan =
        inventory.transports.iter().find(|info| !info.down_tracks.is_empty()).cloned().expect("a play");
    let label = String::from_utf8(orphan.label.clone()).expect("JSON");
    let source = label.split("\"source\":").nth(1).expect("source").trim_end_matches('}').to_owned();
    let label = label.replace(&source, "77").replace("p-", "q-");
    inventory.transports.push(TransportInfo { transport_id: 4, label: label.into_bytes(), ..orphan });
    world.relay_up_with(inventory);
    assert_eq!(closes(&world), 4);
    assert_eq!(world.relay.transports.len(), 4);
}

#[test]
fn a_half_made_stream_found_in_the_relay_ends_by_its_timer() {
    let mut world = World::new();
    let (a, token) = world.connect_with(json!({"login": "a", "resumable": true}));
    world.join(a, "r");
    world.publish(a, "r", "s1", "r-a-1");
    let mut world = world.restart(|_| {});
    let (a, state) = resume(&mut world, "a", &token);
    assert_eq!(state["resumed"][0]["status"], "PENDING");
    world.wait(Duration::from_secs(15));
    assert_eq!(world.names(a), ["FAILED s1 (Failed by ICE timeout)"]);
}

#[test]
fn a_lost_connection_keeps_its_member_only_if_it_asked_for_it() {
    for (resumable, clean, kept) in [(true, false, true), (true, true, false), (false, false, false)] {
        let mut world = World::new();
        let (a, token) = world.connect_with(json!({"login": "a", "resumable": resumable}));
        world.join(a, "r");
        world.published(a, "r", "s-a", "r-a-1");
        let b = world.enter("b", "r");
        world.forget();
        world.close(a, clean);
        assert_eq!(world.listen(b).is_empty(), kept, "{resumable} {clean}");
        assert_eq!(world.relay.transports.len(), usize::from(kept));
        if kept {
            let (a, state) = resume(&mut world, "a", &token);
            assert_eq!(state["resumed"][0]["mediaSessionId"], "s-a");
            assert!(world.listen(b).is_empty());
            world.close(a, false);
            world.wait(Duration::from_secs(15));
            assert_eq!(world.names(b), ["UNPUBLISHED a/r-a-1", "LEFT a"]);
        }
    }
}

#[test]
fn a_client_that_is_faster_than_the_servers_own_discovery_takes_over() {
    let (mut world, [token_a, _]) = call();
    let (again, state) = resume(&mut world, "a", &token_a);
    assert_eq!(state["resumed"].as_array().map(Vec::len), Some(2));
    assert!(matches!(world.closed.as_slice(), [(_, CloseCode::Replaced)]));
    world.say(again, "stopStream", json!({"mediaSessionId": "p-a", "name": "r-b-1"}));
    assert_eq!(world.names(again), ["STOPPED p-a (Stopped by user)"]);
}

#[test]
fn while_detached_streams_may_end() {
    let (mut world, [token_a, _]) = call();
    let a = ConnectionId(1);
    world.close(a, false);
    let failed = world.transport_of("p-a");
    world.transport_state(failed, TransportState::Failed, FailReason::ConsentExpired);
    let (_, state) = resume(&mut world, "a", &token_a);
    assert_eq!(state["resumed"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_restarted_relay_fails_all_streams_and_serves_new_ones() {
    let (mut world, _) = call();
    let (a, b) = (ConnectionId(1), ConnectionId(2));
    world.hub.handle_relay_down(world.now, RelayId::FIRST);
    world.relay = RelayModel::new(2);
    world.relay_up();
    for (id, own, play, other) in [(a, "s-a", "p-a", "b/r-b-1"), (b, "s-b", "p-b", "a/r-a-1")] {
        let mut heard = world.names(id);
        heard.sort();
        let mut expected = vec![
            format!("FAILED {other}"),
            format!("FAILED {own} (Stream failed)"),
            format!("FAILED {play} (Stream failed)"),
        ];
        expected.sort();
        assert_eq!(heard, expected);
    }
    world.published(a, "r", "s-new", "r-a-9");
    assert_eq!(world.relay.transports.len(), 1);
}

#[test]
fn a_broken_control_connection_to_a_living_relay_harms_nothing() {
    let (mut world, _) = call();
    let (a, b) = (ConnectionId(1), ConnectionId(2));
    world.hub.handle_relay_down(world.now, RelayId::FIRST);
    world.wait(Duration::from_secs(4));
    world.relay_up();
    world.wait(Duration::from_secs(4));
    assert!(world.listen(a).is_empty() && world.listen(b).is_empty());
    assert_eq!((world.relay.transports.len(), closes(&world)), (4, 0));
}

/// Its close was lost with the line, or with a queue that was full.
#[test]
fn a_transport_that_nobody_knows_any_more_is_closed_when_the_line_is_back() {
    let (mut world, _) = call();
    world.hub.handle_relay_down(world.now, RelayId::FIRST);
    let forgotten = TransportInfo { transport_id: 77, ..TransportInfo::default() };
    world.relay.transports.insert(77, forgotten);
    world.relay_up();
    assert_eq!((world.relay.transports.len(), closes(&world)), (4, 1));
    assert!(!world.relay.transports.contains_key(&77));
}

#[test]
fn events_that_were_missed_are_caught_up() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.publish(a, "r", "s1", "r-a-1");
    world.published(b, "r", "s2", "r-b-1");
    world.hub.handle_relay_down(world.now, RelayId::FIRST);
    let (up, gone) = (world.transport_of("s1"), world.transport_of("s2"));
    world.relay.set_state(up, TransportState::Connected);
    world.relay.transports.get_mut(&up).expect("there").up_tracks[0].active = true;
    world.relay.transports.remove(&gone);
    world.relay_up();
    assert_eq!(world.names(a), ["PUBLISHING s1", "FAILED b/r-b-1"]);
    assert_eq!(world.names(b), ["PUBLISHED a/r-a-1", "FAILED s2 (Stream failed)"]);
}

#[test]
fn a_relay_that_stays_away_fails_the_streams() {
    let (mut world, _) = call();
    let a = ConnectionId(1);
    world.hub.handle_relay_down(world.now, RelayId::FIRST);
    world.wait(Duration::from_secs(5));
    assert_eq!(world.names(a).len(), 3);
    world.publish(a, "r", "s9", "r-a-9");
    assert_eq!(world.names(a), ["FAILED s9 (Stream failed)"]);
    world.relay_up_with(Inventory { boot_id: 1, ..Inventory::default() });
    world.publish(a, "r", "s10", "r-a-10");
    assert_eq!(world.names(a), ["SDP s10"]);
}
