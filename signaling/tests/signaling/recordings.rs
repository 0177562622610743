//! What is recorded, and who hears of it: the hub with a recorder that is always there.

use crate::access::granted;
use crate::whip_whep::{created, publish as whip};
use crate::world::{EPOCH_MS, PUBLISH, PUBLISH_AUDIO, World};
use recorder_control::{Kind, Order, State, Wanted, is_file_name};
use relay_control::{Command, FailReason, TransportState};
use serde_json::{Value, json};
use signaling::auth::Grant;
use signaling::config::{AuthMode, Config};
use signaling::hub::{HttpReply, HttpRequest};
use signaling::id::ConnectionId;
use signaling::names::NameOf;
use signaling::refusal::Refusal;
use std::time::Duration;

/// A server that records, with its recorder at the relay's port.
pub(crate) fn recording(change: impl FnOnce(&mut Config)) -> World {
    let mut world = World::with(|config| {
        config.recording.directory = Some("/records".into());
        change(config);
    });
    world.recorder(true);
    world
}

pub(crate) fn publish(world: &mut World, id: ConnectionId, name: &str, record: bool) {
    let object = json!({"mediaSessionId": format!("s-{name}"), "name": name, "sdp": PUBLISH,
        "custom": {"name": "r"}, "record": record});
    world.say(id, "publishStream", object);
}

/// A stream on the air that is recorded, and everybody's ears emptied.
pub(crate) fn recorded(world: &mut World, id: ConnectionId, name: &str) -> u64 {
    publish(world, id, name, true);
    let transport = world.transport_of(&format!("s-{name}"));
    world.media_up(transport);
    world.forget();
    transport
}

/// What goes on of a transport, the same of each of its tracks.
pub(crate) fn wanted(world: &World, transport: u64) -> Vec<Wanted> {
    let labels = world.taps(transport);
    assert!(labels.windows(2).all(|pair| pair[0] == pair[1]), "{labels:?}");
    labels.first().map(|label| label.recordings.clone()).unwrap_or_default()
}

fn unpublish(world: &mut World, id: ConnectionId, name: &str) {
    world.say(id, "unPublishStream", json!({"mediaSessionId": format!("s-{name}"), "name": name}));
}

/// The first member of a room that it wants recorded.
fn creator(world: &mut World, login: &str, record: bool) -> (ConnectionId, Vec<String>) {
    let id = world.connect(login);
    world.command(id, "join", json!({"name": "r", "record": record}));
    let heard = world.names(id);
    (id, heard)
}

pub(crate) fn ledger(world: &World, table: &str) -> usize {
    world.hub.ledger().iter().find(|(name, _)| *name == table).expect("a table").1
}

#[test]
fn a_stream_is_recorded_from_its_first_packet_on_and_its_owner_hears_the_name() {
    let mut world = recording(|_| {});
    let (a, b) = (world.enter("alice", "r"), world.enter("b", "r"));
    world.forget();
    world.relay.asked.clear();
    publish(&mut world, a, "r-alice-1f2e-screenShare", true);
    // The taps are ordered when its client has keys, before its first packet.
    let transport = world.transport_of("s-r-alice-1f2e-screenShare");
    assert_eq!(world.names(a), ["SDP s-r-alice-1f2e-screenShare"]);
    world.transport_state(transport, TransportState::IceConnected, FailReason::None);
    assert!(world.taps(transport).is_empty());
    world.transport_state(transport, TransportState::Connected, FailReason::None);
    let labels = world.taps(transport);
    assert_eq!(labels.len(), 2, "sound and picture");
    let label = labels[0].clone();
    assert_eq!((&*label.room, &*label.login, &*label.stream), ("r", "alice", "screenShare"));
    let [wanted] = &*label.recordings else { panic!("{label:?}") };
    assert_eq!(wanted.file, format!("r-alice-screenShare-20251128T123242Z-{}.webm", wanted.id));
    assert_eq!((wanted.kind, wanted.started_at_ms, wanted.aligned_at_ms), (Kind::Stream, EPOCH_MS, None));
    world.media_up(transport);
    let heard = world.listen(a);
    assert_eq!(heard[0]["data"][0]["record"], true);
    assert_eq!(heard[0]["data"][0].get("recordName"), None);
    let event = json!({"room": false, "paused": false,
        "streams": [{"login": "alice", "name": "r-alice-1f2e-screenShare"}]});
    assert_eq!((heard.len(), &heard[1]["data"][0]["payload"]["info"]), (2, &event));
    assert_eq!(
        world.names(b),
        ["PUBLISHED alice/r-alice-1f2e-screenShare", "RECORDING alice/r-alice-1f2e-screenShare"]
    );
    let newcomer = world.connect("c");
    world.command(newcomer, "join", json!({"name": "r"}));
    let state = world.names(newcomer);
    assert_eq!(state, ["ACCEPTED", "STATE", "RECORDING alice/r-alice-1f2e-screenShare"]);
    world.forget();
    unpublish(&mut world, a, "r-alice-1f2e-screenShare");
    let heard = world.listen(a);
    let status = &heard[0]["data"][0];
    assert_eq!((&status["status"], &status["record"]), (&json!("UNPUBLISHED"), &json!(true)));
    assert_eq!(status["recordName"], wanted.file.as_str());
    assert_eq!(world.names(b), ["UNPUBLISHED alice/r-alice-1f2e-screenShare", "RECORDING"]);
    assert!(world.orders.is_empty() && world.relay.taps.is_empty(), "its tracks end it");
    assert_eq!(ledger(&world, "recordings of streams"), 0);
}

#[test]
fn what_nobody_asks_for_is_not_recorded() {
    let mut world = recording(|_| {});
    let (a, _) = creator(&mut world, "a", false);
    publish(&mut world, a, "n1", false);
    let transport = world.transport_of("s-n1");
    world.media_up(transport);
    let heard = world.listen(a);
    assert_eq!((heard.len(), &heard[1]["data"][0]["record"]), (2, &json!(false)), "{heard:?}");
    unpublish(&mut world, a, "n1");
    assert_eq!(world.only(a, "notifyStreamStatusEvent").get("recordName"), None);
    let taps = world.relay.asked.iter().filter(|asked| asked.is_of_ports()).count();
    assert_eq!((taps, world.orders.len()), (0, 0));
}

#[test]
fn a_stream_that_fails_has_a_name_too() {
    let mut world = recording(|_| {});
    let a = world.enter("a", "r");
    let transport = recorded(&mut world, a, "n1");
    let file = wanted(&world, transport)[0].file.clone();
    world.transport_state(transport, TransportState::Failed, FailReason::ConsentExpired);
    let status = &world.listen(a)[0]["data"][0];
    assert_eq!((&status["status"], &status["recordName"]), (&json!("FAILED"), &json!(file)));
}

#[test]
fn a_server_that_records_nothing_says_so_and_goes_on() {
    let mut world = World::new();
    let (a, heard) = creator(&mut world, "a", true);
    assert_eq!(heard, ["ACCEPTED", "STATE"]);
    publish(&mut world, a, "n1", true);
    let transport = world.transport_of("s-n1");
    world.media_up(transport);
    let heard = world.listen(a);
    let status = &heard[1]["data"][0];
    assert_eq!((&status["status"], &status["record"]), (&json!("PUBLISHING"), &json!(false)));
    assert_eq!(status["info"], "Recording is not set up on this server");
    assert_eq!(heard.len(), 2);
    unpublish(&mut world, a, "n1");
    assert_eq!(world.only(a, "notifyStreamStatusEvent").get("recordName"), None);
    let start = HttpRequest::StartRecording { room: "r".to_owned(), stream: None };
    assert_eq!(world.http(start), Some(&HttpReply::Refused(Refusal::RecordingOff)));
}

#[test]
fn a_room_is_recorded_if_its_first_member_wants_it_until_it_ends() {
    let mut world = recording(|_| {});
    let (a, heard) = creator(&mut world, "a", true);
    assert_eq!(heard, ["ACCEPTED", "STATE", "RECORDING room"]);
    let b = world.connect("b");
    world.command(b, "join", json!({"name": "r", "record": false}));
    assert_eq!(world.names(b), ["ACCEPTED", "STATE", "RECORDING room"]);
    world.forget();
    let [of_a, of_b] = [(a, "n1"), (b, "n2")].map(|(id, name)| {
        publish(&mut world, id, name, false);
        let transport = world.transport_of(&format!("s-{name}"));
        world.media_up(transport);
        transport
    });
    let of_room = wanted(&world, of_a);
    assert_eq!((of_room.len(), &wanted(&world, of_b)), (1, &of_room));
    assert_eq!(of_room[0].file, format!("r-20251128T123242Z-{}.mkv", of_room[0].id));
    assert_eq!(of_room[0].kind, Kind::Room);
    let statuses: Vec<Value> =
        world.listen(a).into_iter().filter(|m| m["message"] == "notifyStreamStatusEvent").collect();
    assert_eq!(statuses[0]["data"][0]["record"], false, "it is no recording of the stream");
    for id in [a, b] {
        assert!(world.orders.is_empty(), "the room goes on");
        world.command(id, "leave", json!({"name": "r"}));
    }
    assert_eq!(world.orders, [Order::End { id: of_room[0].id.clone() }]);
    // A new room of the name is another one.
    let (_, heard) = creator(&mut world, "a", false);
    assert_eq!(heard, ["ACCEPTED", "STATE"]);
}

#[test]
fn a_later_member_does_not_decide() {
    let mut world = recording(|_| {});
    creator(&mut world, "a", false);
    let (_, heard) = creator(&mut world, "b", true);
    assert_eq!(heard, ["ACCEPTED", "STATE"]);
}

#[test]
fn a_room_that_everybody_vanished_from_is_recorded_until_its_time_is_over() {
    let mut world = recording(|_| {});
    let (a, _) = creator(&mut world, "a", true);
    world.close(a, false);
    world.wait(Duration::from_secs(59));
    assert!(world.orders.is_empty());
    let (a, heard) = creator(&mut world, "a", false);
    assert_eq!(heard, ["ACCEPTED", "STATE", "RECORDING room"], "the same room goes on");
    world.close(a, false);
    world.wait(Duration::from_secs(60));
    assert_eq!(world.orders.len(), 1);
    assert!(world.hub.ledger().iter().all(|(_, size)| *size == 0), "{:?}", world.hub.ledger());
}

#[test]
fn settings_have_all_recorded() {
    let mut world = recording(|config| {
        config.recording.record_all_streams = true;
        config.recording.record_all_rooms = true;
    });
    // Not by who may ask for it, but by the operator.
    let a = granted(&mut world, Some("a"), Grant { record: false, ..Grant::everything() });
    world.join_recorded(a, "r");
    publish(&mut world, a, "n1", false);
    let transport = world.transport_of("s-n1");
    world.media_up(transport);
    let kinds: Vec<Kind> = wanted(&world, transport).iter().map(|wanted| wanted.kind).collect();
    assert_eq!(kinds, [Kind::Stream, Kind::Room]);
    let (encoder, _) = created(world.http(whip(Some("encoder"))));
    world.media_up(world.transport_of(&encoder));
    assert_eq!(world.relay.taps.len(), 4);
}

#[test]
fn an_encoder_asks_in_its_address() {
    let mut world = recording(|_| {});
    let a = world.enter("a", "r");
    let mut request = whip(Some("encoder"));
    if let HttpRequest::Publish { record, .. } = &mut request {
        *record = true;
    }
    let (session, _) = created(world.http(request));
    let transport = world.transport_of(&session);
    world.transport_state(transport, TransportState::Connected, FailReason::None);
    let file = wanted(&world, transport)[0].file.clone();
    assert!(file.starts_with("r-encoder-video-2025"), "{file}");
    assert!(!file.contains(&session), "its URL is a secret");
    world.media_up(transport);
    let heard = world.names(a);
    assert!(heard.last().is_some_and(|last| last.starts_with("RECORDING encoder/r-encoder-")), "{heard:?}");
}

#[test]
fn the_container_is_that_of_the_codec_and_the_template_is_the_operators() {
    for (sdp, video, expected) in
        [(PUBLISH, "vp8", ".webm"), (PUBLISH, "h264", ".mp4"), (PUBLISH_AUDIO, "vp8", ".webm")]
    {
        let mut world = recording(|config| {
            config.media.video =
                vec![if video == "vp8" { relay_control::Codec::Vp8 } else { relay_control::Codec::H264 }];
        });
        let a = world.enter("../../etc", "r");
        world.say(
            a,
            "publishStream",
            json!({"mediaSessionId": "s", "name": "a/../b", "sdp": sdp, "custom": {"name": "r"}, "record": true}),
        );
        let transport = world.transport_of("s");
        world.media_up(transport);
        let file = wanted(&world, transport)[0].file.clone();
        assert!(is_file_name(&file) && file.ends_with(expected), "{file}");
        assert!(file.starts_with("r-______etc-a____b-2025"), "{file}");
    }
}

#[test]
fn an_operator_starts_and_stops_what_runs() {
    let mut world = recording(|_| {});
    let a = world.enter("a", "r");
    let transport = world.published(a, "r", "s1", "n1");
    let start = |stream: Option<(&str, NameOf)>| HttpRequest::StartRecording {
        room: "r".to_owned(),
        stream: stream.map(|(name, by)| (name.to_owned(), by)),
    };
    let stop = |id: &str| HttpRequest::StopRecording { id: id.to_owned() };
    for (request, refusal) in [
        (HttpRequest::StartRecording { room: "x".to_owned(), stream: None }, Refusal::RoomNotFound),
        (start(Some(("n2", NameOf::Stream))), Refusal::StreamNotFound),
        (start(Some(("b", NameOf::Login))), Refusal::StreamNotFound),
        (stop("0123456789abcdef"), Refusal::RecordingNotFound),
    ] {
        assert_eq!(world.http(request), Some(&HttpReply::Refused(refusal)));
    }
    let stream = match world.http(start(Some(("a", NameOf::Either)))) {
        Some(HttpReply::Recording { id, is_new: true, .. }) => id.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(world.names(a), ["RECORDING a/n1"]);
    let [of_stream] = &*wanted(&world, transport) else { panic!("one") };
    assert_eq!(of_stream.id, stream);
    // Again: it goes on as it is.
    match world.http(start(Some(("n1", NameOf::Stream)))) {
        Some(HttpReply::Recording { id, file, is_new: false }) => {
            assert_eq!((id, file), (&stream, &of_stream.file));
        }
        other => panic!("{other:?}"),
    }
    let room = match world.http(start(None)) {
        Some(HttpReply::Recording { id, is_new: true, .. }) => id.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(world.names(a), ["RECORDING room a/n1"]);
    let ids = |world: &World| wanted(world, transport).into_iter().map(|w| w.id).collect::<Vec<_>>();
    assert_eq!(ids(&world), [stream.clone(), room.clone()]);
    assert_eq!(world.http(stop(&stream)), Some(&HttpReply::RecordingStopped));
    assert_eq!((ids(&world), world.names(a)), (vec![room.clone()], vec!["RECORDING room".to_owned()]));
    assert_eq!(world.orders, [Order::End { id: stream }], "should the relay be out of reach");
    world.orders.clear();
    assert_eq!(world.http(stop(&room)), Some(&HttpReply::RecordingStopped));
    assert_eq!((world.relay.taps.len(), world.names(a)), (0, vec!["RECORDING".to_owned()]));
    assert_eq!(world.orders, [Order::End { id: room }]);
    // What was recorded of it is told at its end.
    unpublish(&mut world, a, "n1");
    world.say(a, "unPublishStream", json!({"mediaSessionId": "s1", "name": "n1"}));
    let heard = world.listen(a);
    let names: Vec<&str> = heard.iter().filter_map(|m| m["data"][0]["recordName"].as_str()).collect();
    assert_eq!(names, [of_stream.file.as_str()]);
}

#[test]
fn aligned_files_begin_when_the_rooms_first_stream_began() {
    let mut world = recording(|config| config.recording.enable_empty_shift_writer = true);
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.wait(Duration::from_secs(1));
    publish(&mut world, a, "n1", false);
    world.wait(Duration::from_secs(1));
    let of_b = recorded(&mut world, b, "n2");
    let aligned = |world: &World, transport| wanted(world, transport)[0].aligned_at_ms;
    assert_eq!(aligned(&world, of_b), Some(EPOCH_MS + 1_000));
    assert_eq!(wanted(&world, of_b)[0].started_at_ms, EPOCH_MS + 2_000);
    let mut world = world.restart(|config| {
        config.recording.directory = Some("/records".into());
        config.recording.enable_empty_shift_writer = true;
    });
    assert_eq!(aligned(&world, of_b), Some(EPOCH_MS + 1_000));
    let c = world.enter_recorded("c", "r");
    world.wait(Duration::from_secs(5));
    let of_c = recorded(&mut world, c, "n3");
    assert_eq!(aligned(&world, of_c), Some(EPOCH_MS + 1_000));
}

#[test]
fn the_operators_hook_hears_of_it() {
    let mut world = recording(|config| config.auth.mode = AuthMode::Hook);
    let a = granted(&mut world, Some("a"), Grant::everything());
    world.join_recorded(a, "r");
    let transport = recorded(&mut world, a, "n1");
    let Wanted { id, file, .. } = wanted(&world, transport)[0].clone();
    unpublish(&mut world, a, "n1");
    let of = |event: &str| {
        json!({"appKey": "", "mediaSessionId": "s-n1", "name": "n1", "type": event,
            "payload": {"recordName": file, "recordId": id}})
    };
    let told: Vec<&Value> =
        world.notes.iter().filter(|(method, _)| *method == "StreamEvent").map(|(_, object)| object).collect();
    assert_eq!(told, [&of("recordStarted"), &of("recordStopped")]);
}

#[test]
fn the_longest_names_have_room_in_all_labels() {
    let mut world = recording(|config| {
        config.recording.record_all_rooms = true;
        config.recording.enable_empty_shift_writer = true;
    });
    let [room, login, name] = ["\"".repeat(256), "\\".repeat(256), "\"".repeat(640)];
    let a = world.connect(&login);
    world.join_recorded(a, &room);
    let object = json!({"mediaSessionId": "s", "name": name, "sdp": PUBLISH, "custom": {"name": room},
        "record": true});
    world.say(a, "publishStream", object);
    let transport = world.transport_of("s");
    world.media_up(transport);
    let label = world.taps(transport)[0].clone();
    assert_eq!((label.room, label.login, label.stream), (room, login, name));
    assert_eq!(label.recordings.len(), 2);
    let labelled = world.relay.transports.values().all(|info| {
        let label: Value = serde_json::from_slice(&info.label).expect("JSON");
        label["role"]["publish"]["record"]["room"]["id"] == label_id(&label_of(&world))
    });
    assert!(labelled);
}

fn label_of(world: &World) -> Vec<Wanted> {
    world.relay.transports.keys().flat_map(|transport| wanted(world, *transport)).collect()
}

fn label_id(wanted: &[Wanted]) -> &str {
    &wanted.iter().find(|wanted| wanted.kind == Kind::Room).expect("the room's").id
}

#[test]
fn what_the_recorder_has_ended_runs_no_more() {
    let mut world = recording(|_| {});
    let (a, _) = creator(&mut world, "a", true);
    let transport = recorded(&mut world, a, "n1");
    let [stream, room] = &*wanted(&world, transport) else { panic!("two") };
    world.recording_is(stream, "r", State::Recording);
    assert!(world.listen(a).is_empty());
    world.recording_is(stream, "r", State::Paused);
    assert!(world.listen(a).is_empty(), "the room's file is still written");
    world.recording_is(room, "r", State::Paused);
    assert_eq!(world.names(a), ["RECORDING room a/n1 paused"]);
    world.recording_is(stream, "r", State::Recording);
    assert_eq!(world.names(a), ["RECORDING room a/n1"]);
    world.recording_is(room, "r", State::Recording);
    assert!(world.listen(a).is_empty());
    world.recording_is(stream, "r", State::Failed);
    assert_eq!((world.names(a), wanted(&world, transport).len()), (vec!["RECORDING room".to_owned()], 1));
    world.recording_is(room, "r", State::Finishing);
    assert_eq!((world.names(a), world.relay.taps.len()), (vec!["RECORDING".to_owned()], 0));
    assert!(world.orders.is_empty());
    unpublish(&mut world, a, "n1");
    assert_eq!(world.only(a, "notifyStreamStatusEvent").get("recordName"), None, "it has no file");
}

#[test]
fn who_reads_slowly_hears_how_it_is_when_he_reads_again() {
    let mut world = recording(|_| {});
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.hub.handle_pressure(b, true);
    world.forget();
    for number in 0..100 {
        recorded(&mut world, a, &format!("n{number}"));
        unpublish(&mut world, a, &format!("n{number}"));
    }
    recorded(&mut world, a, "last");
    world.forget();
    world.hub.handle_pressure(b, false);
    world.pump();
    assert_eq!(world.names(b), ["RECORDING a/last"]);
    let commands = world.relay.asked.iter().filter(|asked| matches!(asked, Command::AddTap(_))).count();
    assert_eq!(commands, 2 * 101, "each once");
}
