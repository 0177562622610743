//! Local ports of the real process: two shards, real clients, and processes at its port socket.

mod common;

use common::client::Client;
use common::running::Running;
use common::{Controller, eventually};
use relay::config::Config;
use relay::ctl::{self, CodecName, Question};
use relay::ports::PROCESSES_MAX;
use relay_control::{
    AddDownTrack, AddUpTrack, Codec, Command, EventBody, MediaKind, PortChanged, ReplyBody, RtpParameters,
    port_socket,
};
use relay_core::id::Ssrc;
use relay_port::{ClientError, ClientReader, Frame, MediaTime, Message, Packet, Refusal, connect};
use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

const ROOM: u64 = 9;
const TRACK: u64 = 11;
const SOURCE: u64 = 12;

/// A relay whose rooms use both shards, and whose sources may send as fast as these tests do.
fn start() -> Running {
    let max_receive_bitrate_bps = 1_000_000_000;
    Running::start_as(Config { room_transports_per_shard: 2, max_receive_bitrate_bps, ..Config::default() })
}

fn video() -> RtpParameters {
    RtpParameters {
        kind: MediaKind::Video.into(),
        codec: Codec::Vp8.into(),
        clock_rate_hz: 90_000,
        payload_type: 96,
        mid: "0".into(),
        pli: true,
        ..RtpParameters::default()
    }
}

/// A VP8 packet that says its number; the first one starts a keyframe (RFC 7741 §4.2, §4.3).
fn picture(number: u16) -> Vec<u8> {
    let number = number.to_be_bytes();
    [&[0x10, u8::from(number != [0, 0])][..], &number, &[0x5a; 1000]].concat()
}

fn down(controller: &mut Controller, transport_id: u64, up_track_id: u64) {
    let (track_id, cname) = (transport_id * 1_000 + up_track_id, "room".to_owned());
    let down = AddDownTrack { transport_id, track_id, up_track_id, rtp: video(), cname };
    let reply = controller.call(Command::AddDownTrack(down));
    assert!(matches!(reply, ReplyBody::DownTrackAdded(_)), "{reply:?}");
}

/// Reads frames until `what` accepts one.
fn until<T>(reader: &mut ClientReader, what: impl Fn(Frame, &[u8]) -> Option<T>) -> T {
    loop {
        match reader.read(&what).expect("frames") {
            Some(Some(found)) => return found,
            Some(None) => {}
            None => panic!("the relay hung up"),
        }
    }
}

#[test]
fn a_publication_is_tapped_and_a_stuck_process_costs_a_counter() {
    const PACKETS: u16 = 4_000;
    let relay = start();
    let mut controller = Controller::connect(&relay.socket);
    controller.welcome(1);
    let mut clients: Vec<Client> = (1..=3).map(|id| Client::join(&mut controller, id, ROOM)).collect();
    let up = AddUpTrack { transport_id: 1, track_id: TRACK, rtp: video(), ssrc: 7, ..AddUpTrack::default() };
    let reply = controller.call(Command::AddUpTrack(up));
    assert!(matches!(reply, ReplyBody::UpTrackAdded(_)), "{reply:?}");
    [2, 3].into_iter().for_each(|id| down(&mut controller, id, TRACK));
    assert_ne!(clients[1].port, clients[2].port, "on both shards");

    let (_writer, mut recorder) = relay.port("recorder");
    let _stuck = relay.port("stuck");
    for name in ["recorder", "stuck"] {
        eventually("it is known", || {
            relay.ctl(Question::Inventory)["ports"]
                .as_array()?
                .iter()
                .find(|port| port["port"] == name)
                .cloned()
        });
        assert_eq!(
            relay.ctl(Question::Tap { port: name.into(), track_id: TRACK, label: String::new() }),
            Value::Object([].into_iter().collect())
        );
    }
    let (publisher, subscribers) = clients.split_first_mut().expect("three");
    for number in 0..PACKETS {
        publisher.send(Ssrc(7), number, &picture(number));
        for subscriber in subscribers.iter_mut() {
            assert!(subscriber.receive().1 == picture(number), "packet {number}");
        }
        let payload = until(&mut recorder, |frame, payload| {
            matches!(frame, Frame::Message(Message::Packet(_))).then(|| payload.to_vec())
        });
        assert!(payload == picture(number), "tapped packet {number}");
    }
    // What the kernel and the relay hold of 4 MB is not all of it.
    let dropped =
        eventually("the stuck one is noticed", || Some(relay.count("port.dropped.slow")).filter(|n| *n > 0));
    let stats = relay.ctl(Question::Stats);
    let of = |name: &str| stats["process"][name].as_u64().expect("a counter");
    assert_eq!(of("port.out.received"), 2 * u64::from(PACKETS));
    assert_eq!(of("port.out.written") + of("port.dropped.slow"), 2 * u64::from(PACKETS), "{dropped}");
    assert_eq!(stats["total"]["drop.pipe_full"], 0);
    let untap = Question::Untap { port: "recorder".into(), track_id: TRACK };
    relay.ctl(untap);
    until(&mut recorder, |frame, _| {
        (frame == Frame::Message(Message::End { track_id: TRACK })).then_some(())
    });
}

#[test]
fn a_process_publishes_to_both_shards_and_its_end_is_told() {
    const PACKETS: u16 = 400;
    let relay = start();
    let mut controller = Controller::connect(&relay.socket);
    controller.welcome(1);
    let mut clients: Vec<Client> = (1..=3).map(|id| Client::join(&mut controller, id, ROOM)).collect();
    let (mut player, mut asked) = relay.port("player");
    let source = |codec| Question::Source { port: "player".into(), track_id: SOURCE, room_id: ROOM, codec };
    eventually("it is known", || ctl::ask(&relay.socket, source(CodecName::Vp8)).ok());
    assert!(ctl::ask(&relay.socket, source(CodecName::H264)).is_err(), "the id is in use");
    until(&mut asked, |frame, _| matches!(frame, Frame::Want { track_id: SOURCE, .. }).then_some(()));
    [1, 3].into_iter().for_each(|id| down(&mut controller, id, SOURCE));
    let wanted = Frame::Message(Message::Keyframe { track_id: SOURCE });
    until(&mut asked, |frame, _| (frame == wanted).then_some(()));
    for number in 0..PACKETS {
        let packet = Packet {
            track_id: SOURCE,
            seq: u64::from(number),
            source: 0,
            timestamp: u32::from(number) * 3_000,
            arrival: MediaTime::from_nanos(i64::from(number) * 33_333_333),
            marker: true,
            keyframe: number == 0,
            audio_level: None,
            video_orientation: None,
        };
        player.send(&Frame::Message(Message::Packet(packet)), &picture(number)).expect("sent");
        for subscriber in [0, 2] {
            assert!(clients[subscriber].receive().1 == picture(number), "packet {number}");
        }
    }
    assert_eq!(relay.count("port.in.sent"), u64::from(PACKETS));
    player.hang_up();
    let gone = PortChanged { port: "player".into(), connected: false };
    eventually("its end is told", || {
        (controller.next_event().body == Some(EventBody::Port(gone.clone()))).then_some(())
    });
    eventually("its subscribers' tracks are gone", || {
        let inventory = relay.ctl(Question::Inventory);
        let transports = inventory["transports"].as_array().expect("a list");
        let downs = |t: &Value| t["down_tracks"].as_array().expect("a list").len();
        (transports.iter().map(downs).sum::<usize>() == 0).then_some(())
    });
}

#[test]
fn the_port_socket_is_private_and_refuses_with_reasons() {
    let relay = start();
    let socket = port_socket(&relay.socket);
    let mode = std::fs::metadata(&socket).expect("exists").mode();
    assert_eq!(
        (socket.file_name().expect("a name").to_str(), mode & 0o777),
        (Some("relay-ports.sock"), 0o600)
    );
    let first = relay.port("one");
    let refused = connect(&socket, "one").expect_err("the name is taken");
    assert!(matches!(refused, ClientError::Refused(Refusal::NameTaken)), "{refused}");
    assert!(matches!(connect(&socket, "a b"), Err(ClientError::Unwritable)));
    let mut garbage = UnixStream::connect(&socket).expect("connects");
    garbage.write_all(&[0xff; 64]).expect("sent");
    eventually("it is counted", || (relay.count("port.closed.bad_frame") == 1).then_some(()));
    drop(first);
    eventually("the name is free", || connect(&socket, "one").ok().map(drop));
    // Those before may not be gone yet.
    let one_more = |n: usize| eventually("a place", || connect(&socket, &format!("many-{n}")).ok());
    let many: Vec<_> = (0..PROCESSES_MAX).map(one_more).collect();
    let refused = connect(&socket, "too-many").expect_err("one too many");
    assert!(matches!(refused, ClientError::Refused(Refusal::TooMany)), "{refused}");
    assert!(relay.count("port.refused.limit") > 0);
    drop(many);
}
