//! The control socket of a running relay, with real workers, in this process.

mod common;

use common::running::Running;
use common::{Controller, eventually, open, process_counter};
use relay::Relay;
use relay::config::Config;
use relay::control::CONNECTIONS_MAX;
use relay::ctl::{self, Question};
use relay_control::{
    CloseTransport, Command, ErrorCode, EventBody, GetInventory, GetStats, Outgoing, ReplyBody, Request,
    SetLabel, encode_frame,
};
use std::io::{IoSlice, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

fn code(body: &ReplyBody) -> Option<ErrorCode> {
    match body {
        ReplyBody::Error(error) => Some(error.code()),
        _ => None,
    }
}

#[test]
fn a_session_from_hello_to_close() {
    let relay = Running::start();
    let mut c = relay.connect();
    assert_eq!(code(&c.call(open(1, 1))), Some(ErrorCode::HelloFirst));
    let welcome = c.welcome(1);
    assert_eq!((welcome.shards, welcome.io_backend.as_str(), welcome.epoch), (2, "mmsg", 1));
    assert_eq!(welcome.fingerprint_sha256.len(), 32);

    let opened = c.open(11, 1);
    assert_eq!(opened.candidates.len(), 1);
    assert_eq!(opened.candidates[0].ip, "127.0.0.1");
    assert_eq!(c.open(11, 1), opened, "idempotent");
    assert_eq!(c.open(12, 1).shard, opened.shard, "a room stays whole");
    let elsewhere = c.open(21, 2);
    assert_ne!(elsewhere.shard, opened.shard, "rooms spread");
    assert_ne!(elsewhere.candidates[0].port, opened.candidates[0].port, "a port for each shard");

    assert_eq!(code(&c.call(open(11, 2))), Some(ErrorCode::IdInUse));
    let label = SetLabel { transport_id: 21, label: vec![0xff, 0xfe] };
    assert!(matches!(c.call(Command::SetLabel(label)), ReplyBody::Done(_)));
    let close = Command::CloseTransport(CloseTransport { transport_id: 12 });
    assert!(matches!(c.call(close.clone()), ReplyBody::Done(_)));
    assert!(matches!(c.call(close), ReplyBody::Done(_)), "closing twice is no error");

    let ReplyBody::Inventory(inventory) = c.call(Command::GetInventory(GetInventory::default())) else {
        panic!("inventory")
    };
    assert_eq!(inventory.boot_id, welcome.boot_id);
    let mut ids: Vec<u64> = inventory.transports.iter().map(|t| t.transport_id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [11, 21]);
}

#[test]
fn transports_that_are_closed_before_they_are_answered_leave_nothing() {
    const PAIRS: u64 = 100;
    let relay = Running::start();
    let mut c = relay.connect();
    c.welcome(1);
    for id in 1..=PAIRS {
        c.send(Some(open(id, id % 7)));
        c.send(Some(Command::CloseTransport(CloseTransport { transport_id: id })));
    }
    for _ in 0..2 * PAIRS {
        let Some(Outgoing::Reply(reply)) = c.next_message() else { panic!("a reply") };
        assert_eq!(reply.body.as_ref().and_then(code), None, "{reply:?}");
    }
    let stats = c.stats();
    let shards = stats.shards.iter().flat_map(|shard| &shard.counters);
    let closed: u64 = shards.filter(|c| c.name == "transport.closed").map(|c| c.value).sum();
    assert_eq!((closed, process_counter(&stats, "control.transports")), (PAIRS, 0));
}

#[test]
fn a_successor_adopts_what_runs_and_the_predecessor_is_fenced() {
    let relay = Running::start();
    let mut old = relay.connect();
    old.welcome(10);
    let opened = old.open(1, 1);

    let mut new = relay.connect();
    let welcome = new.welcome(11);
    let ReplyBody::Inventory(inventory) = new.call(Command::GetInventory(GetInventory::default())) else {
        panic!("inventory")
    };
    assert_eq!(inventory.transports[0].opened.as_ref(), Some(&opened));

    let Some(Outgoing::Event(event)) = old.next_message() else { panic!("an event") };
    assert!(matches!(event.body, Some(EventBody::Superseded(s)) if s.epoch == 11));
    assert_eq!(event.seq + 1, welcome.next_event_seq);
    assert_eq!(code(&old.call(open(2, 1))), Some(ErrorCode::StaleEpoch));
    assert!(matches!(old.call(Command::GetStats(GetStats {})), ReplyBody::Stats(_)), "it can still read");
    assert_eq!(code(&old.hello(10)), Some(ErrorCode::StaleEpoch));
    assert_eq!(new.open(1, 1), opened);
}

#[test]
fn bad_frames_close_their_connection_only() {
    let relay = Running::start();
    let mut good = relay.connect();
    good.welcome(1);
    let before_hello = |len: u32| len.to_be_bytes().to_vec();
    let cases: [(&str, Vec<u8>); 5] = [
        ("1 GiB", before_hello(1 << 30)),
        ("longest number", before_hello(u32::MAX)),
        ("over 64 KiB before Hello", before_hello((64 << 10) + 1)),
        ("garbage", vec![0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in &cases {
        let mut bad = relay.connect();
        bad.stream.write_all(bytes).expect("written");
        assert!(bad.is_closed_by_relay(), "{what}");
        good.open(1, 1);
    }
    assert_eq!(process_counter(&good.stats(), "control.closed.bad_frame"), cases.len() as u64);

    // After Hello the frame may be long; what is in it is refused by content.
    let label = vec![0; 1 << 20];
    let reply = good.call(Command::SetLabel(SetLabel { transport_id: 1, label }));
    assert_eq!(code(&reply), Some(ErrorCode::BadRequest));
    let id = good.send(None);
    assert_eq!(code(&good.reply(id)), Some(ErrorCode::BadRequest), "a request without a command");
}

#[test]
fn half_frames_and_silence_harm_nobody() {
    let relay = Running::start();
    let mut frame = Vec::new();
    encode_frame(&Request { request_id: 1, command: Some(Command::GetStats(GetStats {})) }, &mut frame)
        .expect("small");
    let mut half = Vec::new();
    for cut in 0..frame.len() {
        let mut c = relay.connect();
        c.stream.write_all(&frame[..cut]).expect("written");
        if half.len() < CONNECTIONS_MAX / 2 {
            half.push(c);
        }
    }
    // The other halves, one octet at a time.
    for (cut, c) in half.iter_mut().enumerate() {
        for octet in &frame[cut..] {
            c.stream.write_all(&[*octet]).expect("written");
        }
        assert!(matches!(c.reply(1), ReplyBody::Stats(_)));
    }
}

#[test]
fn a_peer_that_finished_sending_still_gets_its_replies() {
    let relay = Running::start();
    let mut c = relay.connect();
    let ids: Vec<u64> =
        (0..300).map(|_| c.send(Some(Command::GetInventory(GetInventory::default())))).collect();
    c.stream.shutdown(std::net::Shutdown::Write).expect("shut");
    for id in ids {
        assert!(matches!(c.reply(id), ReplyBody::Inventory(_)));
    }
    assert!(c.is_closed_by_relay());
}

#[test]
fn one_who_sends_and_never_reads_is_not_read_from_and_others_are_served() {
    let relay = Running::start();
    let mut slow = relay.connect();
    slow.welcome(1);
    slow.stream.set_nonblocking(true).expect("set");
    let mut frame = Vec::new();
    encode_frame(&Request { request_id: 1, command: Some(Command::GetStats(GetStats {})) }, &mut frame)
        .expect("small");
    // Until its own send buffer is full: the relay takes no more of it.
    let many = frame.repeat(1000);
    eventually("the relay stops reading", || slow.stream.write_all(&many).err());
    let mut other = relay.connect();
    other.welcome(1);
    other.open(1, 1);
    drop(slow);
    drop(other);
    relay.until_connections(0);
}

#[test]
fn a_hundred_connections() {
    let relay = Running::start();
    let mut all: Vec<Controller> = (0..100).map(|_| relay.connect()).collect();
    let mut served = 0;
    for c in &mut all {
        let mut bytes = Vec::new();
        encode_frame(&Request { request_id: 1, command: Some(Command::GetStats(GetStats {})) }, &mut bytes)
            .expect("small");
        // Those over the limit are closed; the write may notice.
        let _ = c.stream.write_all(&bytes);
        served += usize::from(c.next_message().is_some());
    }
    assert_eq!(served, CONNECTIONS_MAX);
    drop(all);
    relay.until_connections(0);
    let mut c = relay.connect();
    assert!(process_counter(&c.stats(), "control.refused.limit") >= 100 - CONNECTIONS_MAX as u64);
}

#[test]
fn descriptors_sent_along_are_dropped() {
    let relay = Running::start();
    let mut c = relay.connect();
    let (near, far) = UnixStream::pair().expect("pair");
    send_with_descriptor(&c.stream, far);
    assert!(matches!(c.reply(1), ReplyBody::Stats(_)));
    // The relay holds no copy of the far end: reading from ours ends.
    near.set_read_timeout(Some(common::DEADLINE)).expect("set");
    assert_eq!(std::io::Read::read(&mut &near, &mut [0]).expect("closed, not timed out"), 0);
}

fn send_with_descriptor(stream: &UnixStream, descriptor: UnixStream) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut frame = Vec::new();
    encode_frame(&Request { request_id: 1, command: Some(Command::GetStats(GetStats {})) }, &mut frame)
        .expect("small");
    let descriptors = [descriptor.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(stream, &[IoSlice::new(&frame)], &mut ancillary, SendFlags::empty()).expect("sent");
}

#[test]
fn ctl_prints_json() {
    let relay = Running::start();
    let mut c = relay.connect();
    c.welcome(1);
    c.open(0xabc, 1);
    let json = |question| -> serde_json::Value {
        let text = ctl::ask(&relay.socket, question).expect("answered");
        serde_json::from_str(&text).expect("JSON")
    };
    let inventory = json(Question::Inventory);
    assert_eq!(inventory["transports"][0]["transport_id"], "0000000000000abc");
    assert_eq!(inventory["transports"][0]["label"], "label");
    assert_eq!(inventory["transports"][0]["state"], "new");
    let stats = json(Question::Stats);
    assert_eq!(stats["total"]["transport.opened"], 1);
    assert_eq!(stats["process"]["control.epoch"], 1);
    assert_eq!(stats["shards"].as_array().map(Vec::len), Some(2));
    c.open(0xabd, 1);

    let error = ctl::ask(Path::new("/nonexistent/relay.sock"), Question::Stats).expect_err("nobody there");
    assert!(error.to_string().contains("/nonexistent/relay.sock"));
}

#[test]
fn a_second_relay_on_the_same_socket_is_refused() {
    let relay = Running::start();
    let config = Config { control_socket: relay.socket.clone(), shards: Some(1), ..Config::default() };
    let error = Relay::start(&config, None).err().expect("refused").to_string();
    assert!(error.contains("another process listens"), "{error}");
    relay.connect().welcome(1);
}
