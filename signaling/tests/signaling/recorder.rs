//! The recorder comes and goes, and so do signaling and the relay: what is recorded goes on.

use crate::recordings::{ledger, publish, recorded, recording, wanted};
use crate::relay_model::RelayModel;
use crate::world::World;
use recorder_control::{Kind, Order, PORT_NAME, State, Wanted};
use relay_control::{Command, ErrorCode, EventBody, PortTrackEnded, TransportState};
use serde_json::json;
use signaling::config::Config;
use signaling::id::RelayId;
use std::time::Duration;

fn on(config: &mut Config) {
    config.recording.directory = Some("/records".into());
}

fn of_room(id: &str) -> Wanted {
    let (id, file) = (id.to_owned(), "r-20251128T120000Z.mkv".to_owned());
    Wanted { id, kind: Kind::Room, file, started_at_ms: 1, aligned_at_ms: None }
}

fn orders_of_taps(world: &World) -> usize {
    world.relay.asked.iter().filter(|asked| asked.is_of_ports()).count()
}

#[test]
fn a_recorder_that_is_started_again_gets_the_same_again() {
    let mut world = recording(|_| {});
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    let transport = recorded(&mut world, a, "n1");
    let before = world.taps(transport);
    world.recorder(false);
    assert_eq!([a, b].map(|id| world.names(id)), [["RECORDING a/n1 paused"], ["RECORDING a/n1 paused"]]);
    assert!(world.taps(transport).is_empty());
    // What begins meanwhile is recorded when it is back.
    publish(&mut world, b, "n2", true);
    let second = world.transport_of("s-n2");
    world.media_up(second);
    assert_eq!(world.names(b)[2..], ["RECORDING a/n1 b/n2 paused"]);
    world.forget();
    world.recorder(true);
    assert_eq!((world.taps(transport), world.taps(second).len()), (before, 2));
    assert_eq!([a, b].map(|id| world.names(id)), [["RECORDING a/n1 b/n2"], ["RECORDING a/n1 b/n2"]]);
    // The port says "connected" of a process that has taken the place of another one.
    world.relay.taps.clear();
    world.recorder(true);
    assert_eq!(world.relay.taps.len(), 4);
    assert!(world.listen(a).is_empty(), "nothing is new for people");
}

#[test]
fn a_recorder_that_is_not_there_at_first_is_waited_for() {
    let mut world = World::with(on);
    let a = world.connect("a");
    world.command(a, "join", json!({"name": "r", "record": true}));
    assert_eq!(world.names(a), ["ACCEPTED", "STATE", "RECORDING room paused"]);
    let transport = recorded(&mut world, a, "n1");
    assert_eq!(orders_of_taps(&world), 0, "the relay would refuse them");
    // It has gone again before the relay heard of the orders.
    world.hub.handle_event(
        world.now,
        RelayId::FIRST,
        &EventBody::Port(relay_control::PortChanged { port: PORT_NAME.to_owned(), connected: true }),
    );
    world.pump();
    assert_eq!(orders_of_taps(&world), 2);
    world.wait(Duration::from_secs(30));
    assert_eq!(orders_of_taps(&world), 2, "the relay says when it comes");
    world.forget();
    world.recorder(false);
    world.recorder(true);
    assert_eq!(wanted(&world, transport).len(), 2);
    // A process of another name is not ours.
    world.forget();
    let other = relay_control::PortChanged { port: "mixer".to_owned(), connected: false };
    world.hub.handle_event(world.now, RelayId::FIRST, &EventBody::Port(other));
    world.pump();
    assert!(world.listen(a).is_empty());
}

#[test]
fn what_the_relay_has_no_room_for_is_ordered_again_and_people_hear_of_it() {
    let mut world = recording(|_| {});
    let a = world.enter("a", "r");
    world.relay.refuses_taps = Some(ErrorCode::LimitReached);
    publish(&mut world, a, "n1", true);
    let transport = world.transport_of("s-n1");
    world.media_up(transport);
    assert_eq!(world.names(a)[2..], ["RECORDING a/n1 paused"]);
    world.wait(Duration::from_secs(10));
    assert_eq!(orders_of_taps(&world), 22, "two tracks, once a second");
    world.relay.refuses_taps = None;
    world.wait(Duration::from_secs(1));
    assert_eq!((world.taps(transport).len(), world.names(a)), (2, vec!["RECORDING a/n1".to_owned()]));
    world.wait(Duration::from_secs(10));
    assert_eq!(orders_of_taps(&world), 24);
    // The recorder ends a track of its own accord.
    let (track_id, port) = (*world.relay.taps.keys().next().expect("a tap"), PORT_NAME.to_owned());
    let last = *world.relay.taps.keys().last().expect("a tap");
    for (track_id, heard) in [(track_id, &[][..]), (last, &["RECORDING a/n1 paused".to_owned()])] {
        world.relay.taps.remove(&track_id);
        let ended = PortTrackEnded { port: port.clone(), track_id, source: false };
        world.hub.handle_event(world.now, RelayId::FIRST, &EventBody::PortTrackEnded(ended));
        world.pump();
        assert_eq!(world.names(a), heard, "as long as one is written it is recorded");
    }
    world.wait(Duration::from_secs(1));
    assert_eq!((world.taps(transport).len(), world.names(a)), (2, vec!["RECORDING a/n1".to_owned()]));
    // Of what has ended nothing is ordered any more.
    world.relay.refuses_taps = Some(ErrorCode::Busy);
    let ended = PortTrackEnded { port: PORT_NAME.to_owned(), track_id, source: false };
    world.hub.handle_event(world.now, RelayId::FIRST, &EventBody::PortTrackEnded(ended));
    world.say(a, "unPublishStream", json!({"mediaSessionId": "s-n1", "name": "n1"}));
    let before = orders_of_taps(&world);
    world.wait(Duration::from_secs(5));
    assert_eq!(orders_of_taps(&world), before);
}

#[test]
fn orders_about_a_track_do_not_overtake_each_other() {
    let mut world = recording(|_| {});
    let a = world.enter("a", "r");
    let transport = world.published(a, "r", "s1", "n1");
    world.relay_mute = true;
    let start = |stream: Option<&str>| signaling::hub::HttpRequest::StartRecording {
        room: "r".to_owned(),
        stream: stream.map(|name| (name.to_owned(), signaling::names::NameOf::Stream)),
    };
    world.relay.asked.clear();
    world.http(start(Some("n1")));
    world.http(start(None));
    // Its answers come now.
    world.relay_mute = false;
    assert_eq!(world.relay.taps.len(), 0);
    world.answer_unheard();
    let labels: Vec<usize> = world.taps(transport).iter().map(|label| label.recordings.len()).collect();
    assert_eq!(labels, [2, 2]);
    let taps = world.relay.asked.iter().filter(|asked| matches!(asked, Command::AddTap(_)));
    assert_eq!(taps.count(), 4, "one order after the other");
}

#[test]
fn an_end_that_did_not_reach_the_relay_is_ordered_again() {
    let mut world = recording(|_| {});
    let a = world.enter("a", "r");
    let transport = recorded(&mut world, a, "n1");
    let id = wanted(&world, transport)[0].id.clone();
    world.relay_mute = true;
    world.http(signaling::hub::HttpRequest::StopRecording { id });
    world.relay_mute = false;
    world.refuse_unheard();
    assert_eq!(world.taps(transport).len(), 2);
    world.wait(Duration::from_secs(1));
    assert!(world.taps(transport).is_empty());
}

#[test]
fn a_signaling_that_is_started_again_goes_on_with_what_is_recorded() {
    let mut world = recording(|_| {});
    let (a, token) = world.connect_with(json!({"login": "a", "resumable": true}));
    world.command(a, "join", json!({"name": "r", "record": true}));
    let transport = recorded(&mut world, a, "n1");
    let before = world.taps(transport);
    assert_eq!(before[0].recordings.len(), 2);
    let mut world = world.restart(on);
    assert_eq!(world.taps(transport), before);
    let orders = world.relay.asked.iter().filter(|asked| matches!(asked, Command::AddTap(_))).count();
    assert_eq!(orders, 4, "it is said again, as the recorder may be another one");
    // The recorder tells of both; nothing follows.
    for wanted in &before[0].recordings {
        world.recording_is(wanted, "r", State::Recording);
    }
    let (a, _) = world.connect_with(json!({"login": "a", "resume": token, "resumable": true}));
    world.command(a, "join", json!({"name": "r"}));
    assert_eq!(world.names(a), ["ACCEPTED", "STATE", "RECORDING room a/n1"]);
    world.say(a, "unPublishStream", json!({"mediaSessionId": "s-n1", "name": "n1"}));
    let status = world.listen(a)[0]["data"][0].clone();
    assert_eq!(status["recordName"], before[0].recordings[0].file.as_str());
    world.command(a, "leave", json!({"name": "r"}));
    assert_eq!(world.orders, [Order::End { id: before[0].recordings[1].id.clone() }]);
}

#[test]
fn a_signaling_that_records_no_more_ends_what_is_recorded() {
    let mut world = recording(|_| {});
    let a = world.connect("a");
    world.command(a, "join", json!({"name": "r", "record": true}));
    let transport = recorded(&mut world, a, "n1");
    let room = wanted(&world, transport)[1].clone();
    let mut world = world.restart(|_| {});
    world.recording_is(&room, "r", State::Recording);
    assert_eq!(world.orders, [Order::End { id: room.id }]);
    assert!(world.taps(transport).is_empty());
}

#[test]
fn a_room_in_which_nobody_publishes_is_found_again_by_its_name() {
    let mut world = World::with(|config| {
        on(config);
        // Nobody answers its pings here.
        config.signaling.keep_alive_probes = 100;
    });
    let [found, lost] = ["0123456789abcdef", "fedcba9876543210"].map(of_room);
    world.recording_is(&found, "r", State::Recording);
    world.recording_is(&lost, "gone", State::Paused);
    world.recording_is(&lost, "gone", State::Paused);
    assert!(world.orders.is_empty());
    let a = world.connect("a");
    // Its client wants it again, and it is recorded already.
    world.command(a, "join", json!({"name": "r", "record": true}));
    assert_eq!(world.names(a), ["ACCEPTED", "STATE", "RECORDING room paused"]);
    world.recorder(true);
    let transport = recorded(&mut world, a, "n1");
    let files: Vec<String> = wanted(&world, transport).into_iter().map(|wanted| wanted.file).collect();
    assert_eq!(files[1], found.file);
    world.wait(Duration::from_secs(59));
    assert!(world.orders.is_empty());
    world.wait(Duration::from_secs(1));
    assert_eq!(world.orders, [Order::End { id: lost.id }]);
    // Its end was lost on the way: it is said again.
    world.command(a, "leave", json!({"name": "r"}));
    world.orders.clear();
    world.recording_is(&found, "r", State::Recording);
    assert_eq!(world.orders, [Order::End { id: found.id }]);
}

#[test]
fn a_room_that_is_there_already_goes_on_with_its_recording() {
    let mut world = World::with(on);
    world.recorder(true);
    let a = world.enter("a", "r");
    let transport = world.published(a, "r", "s1", "n1");
    let found = of_room("0123456789abcdef");
    world.recording_is(&found, "r", State::Recording);
    assert_eq!(world.names(a), ["RECORDING room"]);
    assert_eq!(wanted(&world, transport), [found]);
    // A second one of the name is none of its.
    let other = of_room("fedcba9876543210");
    world.recording_is(&other, "r", State::Recording);
    world.wait(Duration::from_secs(60));
    assert_eq!(world.orders, [Order::End { id: other.id }]);
}

#[test]
fn what_has_just_been_ended_is_not_taken_up_again() {
    let mut world = recording(|_| {});
    let a = world.connect("a");
    world.command(a, "join", json!({"name": "r", "record": true}));
    let transport = recorded(&mut world, a, "n1");
    let room = wanted(&world, transport)[1].clone();
    world.command(a, "leave", json!({"name": "r"}));
    world.forget();
    let b = world.enter("b", "r");
    // Told before the recorder heard that it has ended.
    world.recording_is(&room, "r", State::Recording);
    assert!(world.listen(b).is_empty());
    assert_eq!(world.orders, [Order::End { id: room.id.clone() }, Order::End { id: room.id }]);
    assert_eq!(ledger(&world, "recordings of rooms"), 1, "a note of its end");
    world.wait(Duration::from_secs(60));
    assert_eq!(ledger(&world, "recordings of rooms"), 0);
}

#[test]
fn a_room_outlives_its_relay_and_its_recording_as_well() {
    let mut world = recording(|_| {});
    let a = world.connect("a");
    world.command(a, "join", json!({"name": "r", "record": true}));
    let transport = recorded(&mut world, a, "n1");
    let [stream, room] = &*wanted(&world, transport) else { panic!("two") };
    world.hub.handle_relay_down(world.now, RelayId::FIRST);
    world.relay = RelayModel::new(2);
    world.relay_up();
    let heard = world.listen(a);
    assert_eq!(heard[0]["data"][0]["recordName"], stream.file.as_str());
    world.forget();
    world.recorder(true);
    publish(&mut world, a, "n2", true);
    let second = world.transport_of("s-n2");
    world.media_up(second);
    let after = wanted(&world, second);
    assert_eq!(after[1], *room);
    assert_ne!(after[0].id, stream.id, "a publication has died");
    assert!(world.orders.is_empty());
}

#[test]
fn a_connection_to_the_relay_that_broke_loses_no_order() {
    let mut world = recording(|_| {});
    let a = world.enter("a", "r");
    world.hub.handle_relay_down(world.now, RelayId::FIRST);
    let transport = {
        publish(&mut world, a, "n1", true);
        world.transport_of("s-n1")
    };
    world.relay.taps.clear();
    world.relay.set_state(transport, TransportState::Connected);
    world.relay_up();
    assert_eq!(world.taps(transport).len(), 2);
}
