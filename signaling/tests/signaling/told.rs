//! Nobody is recorded untold, and nothing is told that is not so: signaling, recorder and relay in whatever order
//! they come and go.

use crate::recordings::{publish, recorded, recording, wanted};
use crate::relay_model::RelayModel;
use crate::whip_whep::{created, play, publish as whip};
use crate::world::{PUBLISH, World};
use recorder_control::{Kind, Order, State, Wanted};
use relay_control::{Command, ErrorCode};
use serde_json::{Value, json};
use signaling::config::Config;
use signaling::hub::{HttpReply, HttpRequest, Recorded};
use signaling::id::ConnectionId;

fn on(config: &mut Config) {
    config.recording.directory = Some("/records".into());
}

fn end(wanted: &Wanted) -> Order {
    Order::End { id: wanted.id.clone() }
}

fn resumable(world: &mut World, login: &str, record: bool) -> (ConnectionId, String) {
    let (id, token) = world.connect_with(json!({"login": login, "resumable": true}));
    world.command(id, "join", json!({"name": "r", "record": record}));
    world.forget();
    (id, token)
}

/// What the member hears that comes back.
fn resumed(world: &mut World, login: &str, token: &str) -> Vec<String> {
    let (id, _) = world.connect_with(json!({"login": login, "resume": token, "resumable": true}));
    world.command(id, "join", json!({"name": "r"}));
    world.names(id)
}

/// The label of a publication as a signaling has left it that could not write what is recorded.
fn forget_recordings(relay: &mut RelayModel) {
    for info in relay.transports.values_mut() {
        let mut label: Value = serde_json::from_slice(&info.label).expect("JSON");
        label["role"]["publish"].as_object_mut().expect("a publication").remove("record");
        info.label = label.to_string().into_bytes();
    }
}

#[test]
fn what_no_label_names_is_ended_when_signaling_is_started_again() {
    let mut world = recording(|_| {});
    let (a, token) = resumable(&mut world, "a", true);
    let transport = recorded(&mut world, a, "n1");
    let both = wanted(&world, transport);
    both.iter().for_each(|wanted| world.recording_is(wanted, "r", State::Recording));
    forget_recordings(&mut world.relay);
    let mut world = world.restart(on);
    let mut ended = world.orders.clone();
    ended.sort_by_key(|order| format!("{order:?}"));
    let mut expected: Vec<Order> = both.iter().map(end).collect();
    expected.sort_by_key(|order| format!("{order:?}"));
    assert_eq!(ended, expected, "the recorder writes nothing that nobody is told of");
    assert!(world.relay.taps.is_empty(), "nor does the relay send it");
    assert_eq!(resumed(&mut world, "a", &token), ["ACCEPTED", "STATE"]);
    // Should the order be lost, it is given again with each thing that the recorder tells of it.
    world.orders.clear();
    world.recording_is(&both[0], "r", State::Recording);
    world.recording_is(&both[1], "r", State::Paused);
    assert_eq!(world.orders, [end(&both[0]), end(&both[1])]);
}

/// The recorder may be found before the relay: then nobody knows yet what is wanted.
#[test]
fn what_the_recorder_tells_before_the_relay_is_there_counts_afterwards() {
    for is_wanted in [true, false] {
        let mut world = recording(|_| {});
        let (a, token) = resumable(&mut world, "a", true);
        let transport = recorded(&mut world, a, "n1");
        let both = wanted(&world, transport);
        if !is_wanted {
            forget_recordings(&mut world.relay);
        }
        let mut world = World::without_relay(on, world.relay);
        both.iter().for_each(|wanted| world.recording_is(wanted, "r", State::Recording));
        assert!(world.orders.is_empty(), "it may be wanted");
        world.relay_up();
        assert_eq!(world.orders.len(), if is_wanted { 0 } else { 2 });
        assert_eq!(wanted(&world, transport).len(), if is_wanted { 2 } else { 0 });
        let heard = resumed(&mut world, "a", &token);
        assert_eq!(heard.len(), if is_wanted { 3 } else { 2 }, "{heard:?}");
    }
}

/// It ended while signaling was away.
#[test]
fn what_has_ended_meanwhile_is_not_told_as_recorded() {
    let mut world = recording(|_| {});
    let (a, token) = resumable(&mut world, "a", true);
    let transport = recorded(&mut world, a, "n1");
    let both = wanted(&world, transport);
    let mut world = World::without_relay(on, world.relay);
    world.recording_is(&both[0], "r", State::Ready);
    world.recording_is(&both[1], "r", State::Failed);
    world.relay_up();
    assert_eq!(resumed(&mut world, "a", &token), ["ACCEPTED", "STATE"]);
    assert!(world.relay.taps.is_empty());
}

#[test]
fn what_was_paused_before_is_told_as_paused() {
    let mut world = recording(|_| {});
    let (a, token) = resumable(&mut world, "a", true);
    let transport = recorded(&mut world, a, "n1");
    wanted(&world, transport).iter().for_each(|wanted| world.recording_is(wanted, "r", State::Paused));
    let mut world = world.restart(on);
    assert_eq!(resumed(&mut world, "a", &token), ["ACCEPTED", "STATE", "RECORDING room a/n1 paused"]);
}

/// Stopped while the recorder was away; then signaling, which would have told it, is started again as well.
#[test]
fn a_stop_is_not_lost_with_both_processes() {
    let mut world = recording(|_| {});
    let (a, token) = resumable(&mut world, "a", true);
    let transport = recorded(&mut world, a, "n1");
    let both = wanted(&world, transport);
    both.iter().for_each(|wanted| world.recording_is(wanted, "r", State::Recording));
    world.recorder(false);
    for wanted in &both {
        let stop = HttpRequest::StopRecording { id: wanted.id.clone() };
        assert_eq!(world.http(stop), Some(&HttpReply::RecordingStopped));
    }
    let recordings = std::mem::take(&mut world.recordings);
    let mut world = world.restart(on);
    assert!(world.orders.is_empty());
    // The recorder is back, and finds what it had not finished.
    world.recorder(true);
    recordings.values().for_each(|recording| world.hub.handle_recording(world.now, recording));
    world.pump();
    assert_eq!(world.orders.len(), 2);
    assert!(both.iter().all(|wanted| world.orders.contains(&end(wanted))));
    assert!(world.relay.taps.is_empty());
    assert_eq!(resumed(&mut world, "a", &token), ["ACCEPTED", "STATE"]);
}

#[test]
fn a_label_is_written_before_the_relay_hears_of_a_recording_and_of_its_end() {
    let mut world = recording(|_| {});
    let a = world.enter("a", "r");
    world.published(a, "r", "s1", "n1");
    let asked = |world: &mut World, request: HttpRequest| {
        world.relay.asked.clear();
        let reply = world.http(request).cloned_id();
        let kinds = world.relay.asked.iter().map(|command| match command {
            Command::SetLabel(_) => "label",
            Command::AddTap(_) => "tap",
            Command::RemoveTap(_) => "no tap",
            other => panic!("{other:?}"),
        });
        (reply, kinds.collect::<Vec<_>>())
    };
    let start = HttpRequest::StartRecording { room: "r".to_owned(), stream: None };
    let (id, order) = asked(&mut world, start);
    assert_eq!(order, ["label", "tap", "tap"]);
    let (_, order) = asked(&mut world, HttpRequest::StopRecording { id });
    assert_eq!(order, ["label", "no tap", "no tap"]);
}

/// The id that a reply names.
trait Id {
    fn cloned_id(self) -> String;
}

impl Id for Option<&HttpReply> {
    fn cloned_id(self) -> String {
        match self {
            Some(HttpReply::Recording { id, .. }) => id.clone(),
            _ => String::new(),
        }
    }
}

/// Whoever cannot be recorded with a label that says so is refused when it comes, and not recorded untold.
#[test]
fn a_publication_has_room_in_its_label_for_all_that_may_be_recorded() {
    let mut refused = 0;
    for octets in (0..=640).step_by(8) {
        let mut world = recording(|_| {});
        let [room, login] = ["\"".repeat(256), "\\".repeat(256)];
        let a = world.connect(&login);
        world.command(a, "join", json!({"name": room}));
        world.forget();
        let (name, session) = (format!("n{}", "\"".repeat(octets.min(639))), "\u{1}".repeat(128));
        let object =
            json!({"mediaSessionId": session, "name": name, "sdp": PUBLISH, "custom": {"name": room}});
        world.say(a, "publishStream", object);
        if world.relay.transports.is_empty() {
            refused += 1;
            assert_eq!(world.names(a).len(), 1, "it is told");
            continue;
        }
        let transport = *world.relay.transports.keys().next().expect("one");
        world.media_up(transport);
        for stream in [None, Some((name.clone(), signaling::names::NameOf::Stream))] {
            world.http(HttpRequest::StartRecording { room: room.clone(), stream });
        }
        let label: Value = serde_json::from_slice(&world.relay.transports[&transport].label).expect("JSON");
        for kind in ["stream", "room"] {
            assert!(label["role"]["publish"]["record"][kind]["id"].is_string(), "{octets}: {label}");
        }
    }
    assert!((1..81).contains(&refused), "{refused} of 81");
}

#[test]
fn the_file_of_a_recording_that_was_stopped_is_known_after_a_restart() {
    let mut world = recording(|_| {});
    let (a, token) = resumable(&mut world, "a", false);
    let transport = recorded(&mut world, a, "n1");
    let [stream] = &*wanted(&world, transport) else { panic!("one") };
    world.http(HttpRequest::StopRecording { id: stream.id.clone() });
    let mut world = world.restart(on);
    let (a, _) = world.connect_with(json!({"login": "a", "resume": token, "resumable": true}));
    world.command(a, "join", json!({"name": "r"}));
    world.forget();
    world.say(a, "unPublishStream", json!({"mediaSessionId": "s-n1", "name": "n1"}));
    let status = world.only(a, "notifyStreamStatusEvent");
    assert_eq!((&status["record"], &status["recordName"]), (&json!(true), &json!(stream.file)));
}

#[test]
fn paused_is_only_what_is_written_nowhere() {
    let mut world = recording(|_| {});
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    let of_a = recorded(&mut world, a, "n1");
    let of_b = recorded(&mut world, b, "n2");
    let [of_a, of_b] = [of_a, of_b].map(|transport| wanted(&world, transport)[0].clone());
    world.recording_is(&of_a, "r", State::Paused);
    assert!(world.listen(b).is_empty(), "b is recorded");
    world.recording_is(&of_b, "r", State::Paused);
    assert_eq!(world.names(b), ["RECORDING a/n1 b/n2 paused"]);
    world.recording_is(&of_b, "r", State::Recording);
    assert_eq!(world.names(b), ["RECORDING a/n1 b/n2"]);
    // The only one that is written leaves.
    world.say(b, "unPublishStream", json!({"mediaSessionId": "s-n2", "name": "n2"}));
    assert_eq!(world.names(a).last().map(String::as_str), Some("RECORDING a/n1 paused"));
}

#[test]
fn in_a_recorded_room_it_counts_what_of_it_reaches_the_recorder() {
    let mut world = recording(|_| {});
    let (a, _) = resumable(&mut world, "a", true);
    world.relay.refuses_taps = Some(ErrorCode::LimitReached);
    publish(&mut world, a, "n1", false);
    world.media_up(world.transport_of("s-n1"));
    assert_eq!(world.names(a).last().map(String::as_str), Some("RECORDING room paused"));
    world.say(a, "unPublishStream", json!({"mediaSessionId": "s-n1", "name": "n1"}));
    assert_eq!(world.names(a).last().map(String::as_str), Some("RECORDING room"), "who comes next is");
}

#[test]
fn clients_over_http_are_told_of_what_flows_in_their_sessions() {
    let mut world = recording(|_| {});
    let a = world.enter("a", "r");
    let (encoder, _) = created(world.http(whip(Some("encoder"))));
    world.media_up(world.transport_of(&encoder));
    let (viewer, _) = created(world.http(play("encoder")));
    let transports = [&encoder, &viewer].map(|session| world.transport_of(session));
    world.media_up(transports[1]);
    let told = |world: &World| transports.map(|of| world.media[&of].expect("it lives").recorded);
    let now = |world: &World| {
        [(&encoder, true), (&viewer, false)]
            .map(|(of, published)| world.hub.media_of(of, published).expect("it lives").1.recorded)
    };
    assert_eq!(now(&world), [Recorded::No; 2]);
    // Another one's stream is none of theirs.
    recorded(&mut world, a, "n1");
    assert_eq!(now(&world), [Recorded::No; 2]);
    let start = |stream: Option<&str>| HttpRequest::StartRecording {
        room: "r".to_owned(),
        stream: stream.map(|login| (login.to_owned(), signaling::names::NameOf::Login)),
    };
    for stream in [Some("encoder"), None] {
        let id = world.http(start(stream)).cloned_id();
        assert_eq!((told(&world), now(&world)), ([Recorded::Yes; 2], [Recorded::Yes; 2]), "{stream:?}");
        let wanted = wanted(&world, transports[0]).into_iter().find(|wanted| wanted.id == id).expect("ours");
        assert_eq!(wanted.kind, if stream.is_some() { Kind::Stream } else { Kind::Room });
        for (state, expected) in [(State::Paused, Recorded::Paused), (State::Recording, Recorded::Yes)] {
            world.recording_is(&wanted, "r", state);
            assert_eq!((told(&world), now(&world)), ([expected; 2], [expected; 2]));
        }
        world.recorder(false);
        assert_eq!(told(&world), [Recorded::Paused; 2]);
        world.recorder(true);
        assert_eq!(told(&world), [Recorded::Yes; 2]);
        world.http(HttpRequest::StopRecording { id });
        assert_eq!((told(&world), now(&world)), ([Recorded::No; 2], [Recorded::No; 2]));
    }
    world.http(start(None));
    let world = world.restart(on);
    assert_eq!(now(&world), [Recorded::Yes; 2], "it goes on, and who listens again is told");
}
