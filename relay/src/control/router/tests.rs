//! The router with the worker's ends of its mailboxes in our hands: no threads, no sockets.

use super::*;
use crate::control::placement::PAGE_ITEMS_MAX;
use crate::mailbox::{COMMANDS_MAX, Notifier, WorkerEnd, mailbox};
use relay_control::{
    AddUpTrack, CloseTransport, Counter, GetInventory, GetStats, OpenTransport, RequestKeyframe, Shutdown,
    Stats, TransportOpened, TransportStateChanged, UpTrackAdded,
};
use std::sync::Arc;

mod order;

/// A router and the shards it talks to.
struct Bench {
    router: Router,
    shards: Vec<WorkerEnd>,
}

impl Bench {
    fn new(shards: usize) -> Self {
        Self::with_budget(shards, 64)
    }

    fn with_budget(shards: usize, budget: usize) -> Self {
        let notifier = Notifier::new().expect("a descriptor");
        let (control, worker) = (0..shards).map(|_| mailbox(notifier.clone(), Arc::new(|| {}))).unzip();
        let identity = Identity {
            boot_id: 7,
            fingerprint_sha256: [9; 32],
            io_backend: "mmsg",
            max_receive_bitrate_bps: 4_000_000,
            started_by_signaling: false,
        };
        Self { router: Router::new(identity, control, budget), shards: worker }
    }

    /// What the router sends at once, to all connections.
    fn ask(
        &mut self,
        from: ConnectionId,
        request_id: u64,
        command: Command,
    ) -> Vec<(ConnectionId, Outgoing)> {
        self.router.handle_request(from, Request { request_id, command: Some(command) });
        self.said()
    }

    fn said(&mut self) -> Vec<(ConnectionId, Outgoing)> {
        std::iter::from_fn(|| self.router.poll_outgoing())
            .map(|(to, message)| (to, message.outgoing.expect("never empty")))
            .collect()
    }

    fn hello(&mut self, from: ConnectionId, epoch: u64) -> Vec<(ConnectionId, Outgoing)> {
        self.hello_of(1, from, epoch)
    }

    fn hello_of(&mut self, instance: u64, from: ConnectionId, epoch: u64) -> Vec<(ConnectionId, Outgoing)> {
        let name = "test".to_owned();
        self.ask(from, 0, Command::Hello(Hello { version: CONTROL_VERSION, epoch, name, instance }))
    }

    fn next_command(&mut self, shard: usize) -> Order {
        self.find_command(shard).expect("a command came")
    }

    fn find_command(&mut self, shard: usize) -> Option<Order> {
        self.shards[shard].next_order().map(|order| match order {
            ToShard::Command { ticket, command } => Order { ticket, command },
            other => panic!("no command: {other:?}"),
        })
    }

    fn answer(&mut self, shard: usize, ticket: u64, body: ReplyBody) -> Vec<(ConnectionId, Outgoing)> {
        self.shards[shard].answer(FromShard::Reply { ticket, body });
        self.router.handle_shards();
        self.said()
    }

    fn event(&mut self, shard: usize, body: EventBody) -> Vec<(ConnectionId, Outgoing)> {
        self.shards[shard].answer(FromShard::Event(body));
        self.router.handle_shards();
        self.said()
    }

    /// Opens a transport, and returns its shard.
    fn open(&mut self, from: ConnectionId, transport_id: u64, room_id: u64) -> usize {
        assert!(self.ask(from, 1, open(transport_id, room_id)).is_empty());
        let (shard, order) = (0..self.shards.len())
            .find_map(|n| self.find_command(n).map(|order| (n, order)))
            .expect("some shard got it");
        assert_eq!(self.answer(shard, order.ticket, opened(transport_id)).len(), 1);
        shard
    }
}

struct Order {
    ticket: u64,
    command: Command,
}

fn open(transport_id: u64, room_id: u64) -> Command {
    Command::OpenTransport(OpenTransport { transport_id, room_id, ..OpenTransport::default() })
}

fn opened(transport_id: u64) -> ReplyBody {
    ReplyBody::TransportOpened(TransportOpened { transport_id, ..TransportOpened::default() })
}

fn state(transport_id: u64, state: TransportState) -> EventBody {
    EventBody::TransportState(TransportStateChanged { transport_id, state: state.into(), reason: 0 })
}

fn add_up(transport_id: u64, track_id: u64) -> Command {
    Command::AddUpTrack(AddUpTrack { transport_id, track_id, ..AddUpTrack::default() })
}

#[track_caller]
fn only_reply(said: &[(ConnectionId, Outgoing)]) -> (ConnectionId, u64, &ReplyBody) {
    match said {
        [(to, Outgoing::Reply(reply))] => (*to, reply.request_id, reply.body.as_ref().expect("a body")),
        other => panic!("not one reply: {other:?}"),
    }
}

#[track_caller]
fn error_code(said: &[(ConnectionId, Outgoing)]) -> ErrorCode {
    match only_reply(said).2 {
        ReplyBody::Error(error) => error.code(),
        other => panic!("no error: {other:?}"),
    }
}

#[track_caller]
fn welcome(said: &[(ConnectionId, Outgoing)]) -> &Welcome {
    match said.last() {
        Some((_, Outgoing::Reply(Reply { body: Some(ReplyBody::Welcome(welcome)), .. }))) => welcome,
        other => panic!("no welcome: {other:?}"),
    }
}

#[test]
fn who_may_do_what() {
    let mut b = Bench::new(1);
    // Without Hello: read only.
    assert_eq!(error_code(&b.ask(1, 1, open(5, 5))), ErrorCode::HelloFirst);
    assert_eq!(error_code(&b.ask(1, 1, Command::Shutdown(Shutdown {}))), ErrorCode::HelloFirst);
    assert!(b.ask(1, 2, Command::GetStats(GetStats {})).is_empty(), "asked of the shard");
    // Epoch 0: the same, with events.
    let said = b.hello(1, 0);
    assert_eq!((welcome(&said).epoch, welcome(&said).boot_id, welcome(&said).shards), (0, 7, 1));
    assert_eq!(error_code(&b.ask(1, 3, open(5, 5))), ErrorCode::StaleEpoch);
    // Another language.
    let other = Hello { version: CONTROL_VERSION + 1, epoch: 1, ..Hello::default() };
    assert_eq!(error_code(&b.ask(2, 1, Command::Hello(other))), ErrorCode::BadRequest);
    // No command at all.
    b.router.handle_request(1, Request { request_id: 9, command: None });
    let said = b.said();
    assert_eq!((error_code(&said), only_reply(&said).1), (ErrorCode::BadRequest, 9));
    assert!(!b.router.shutdown_asked());
}

#[test]
fn the_highest_epoch_commands() {
    let mut b = Bench::new(1);
    assert_eq!(welcome(&b.hello(1, 5)).epoch, 5);
    assert!(b.ask(1, 1, open(1, 1)).is_empty(), "obeyed");

    // An older one is told who commands, and changes nothing.
    let said = b.hello(2, 4);
    assert_eq!(error_code(&said), ErrorCode::StaleEpoch);
    assert!(b.ask(1, 2, open(2, 1)).is_empty(), "5 still commands");

    // A newer one takes over: the older hears of it and is refused from then on.
    let said = b.hello(2, 6);
    assert!(
        matches!(
            &said[0],
            (
                1,
                Outgoing::Event(Event { seq: 0, body: Some(EventBody::Superseded(Superseded { epoch: 6 })) })
            )
        ),
        "{said:?}"
    );
    assert_eq!((said.len(), welcome(&said).next_event_seq, welcome(&said).epoch), (2, 1, 6));
    assert_eq!(error_code(&b.ask(1, 3, open(3, 1))), ErrorCode::StaleEpoch);
    assert!(b.ask(2, 1, open(3, 1)).is_empty(), "obeyed");

    // The same epoch on a second connection is the same controller.
    assert_eq!(welcome(&b.hello(3, 6)).epoch, 6);
    assert!(b.ask(3, 1, open(4, 1)).is_empty(), "obeyed");
    assert!(b.ask(2, 2, open(4, 1)).is_empty(), "obeyed");

    // The fence stays when everybody has gone.
    (1..=3).for_each(|connection| b.router.handle_closed(connection));
    assert_eq!(error_code(&b.hello(4, 5)), ErrorCode::StaleEpoch);
}

#[test]
fn who_is_refused_is_told_what_to_go_above_and_of_two_with_one_epoch_the_first_commands() {
    let highest = |said: &[(ConnectionId, Outgoing)]| match only_reply(said).2 {
        ReplyBody::Error(error) if error.code() == ErrorCode::StaleEpoch => error.highest_epoch,
        other => panic!("not refused: {other:?}"),
    };
    let mut b = Bench::new(1);
    let _ = b.hello_of(1, 1, 50);
    // Two newcomers whose clocks are behind, at the same moment.
    assert_eq!((highest(&b.hello_of(2, 2, 7)), highest(&b.hello_of(3, 3, 9))), (50, 50));
    assert_eq!(welcome(&b.hello_of(2, 2, 51)).epoch, 51);
    assert_eq!(highest(&b.hello_of(3, 3, 51)), 51, "it is another one's");
    assert_eq!(error_code(&b.ask(3, 1, open(1, 1))), ErrorCode::HelloFirst, "the attempt brought it nothing");
    assert!(b.ask(2, 1, open(1, 1)).is_empty(), "obeyed");
    assert_eq!(welcome(&b.hello_of(2, 4, 51)).epoch, 51, "its own, on another connection");
    assert_eq!(welcome(&b.hello_of(3, 3, 52)).epoch, 52);
    assert_eq!(highest(&b.ask(2, 2, open(1, 1))), 52, "the last one commands");
}

#[test]
fn events_have_no_gaps_and_go_to_all_who_said_hello() {
    let mut b = Bench::new(2);
    let _ = b.hello(1, 1);
    for (shard, seq) in [(0, 0), (1, 1), (0, 2)] {
        let said = b.event(shard, state(9, TransportState::Connected));
        assert!(matches!(&said[..], [(1, Outgoing::Event(event))] if event.seq == seq), "{said:?}");
    }
    let _ = b.hello(2, 0);
    let said = b.hello(2, 0);
    assert_eq!(welcome(&said).next_event_seq, 3);
    let said = b.event(0, state(9, TransportState::Closed));
    assert_eq!(said.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [1, 2]);
    b.router.handle_closed(1);
    assert_eq!(b.event(0, state(9, TransportState::Closed)).len(), 1);
}

#[test]
fn commands_find_their_shard() {
    let mut b = Bench::new(2);
    let _ = b.hello(1, 1);
    assert_eq!(b.open(1, 10, 100), 0);
    assert_eq!(b.open(1, 20, 200), 1);
    assert_eq!(b.open(1, 11, 100), 0, "with its room");
    assert_eq!(b.open(1, 20, 200), 1, "idempotent");

    assert_eq!(error_code(&b.ask(1, 1, add_up(99, 5))), ErrorCode::UnknownTransport);
    assert!(b.ask(1, 2, add_up(20, 5)).is_empty());
    let order = b.next_command(1);
    let said = b.answer(1, order.ticket, ReplyBody::UpTrackAdded(UpTrackAdded { track_id: 5 }));
    assert_eq!(only_reply(&said).1, 2);

    // An id in use on another shard is seen here.
    assert_eq!(error_code(&b.ask(1, 3, add_up(10, 5))), ErrorCode::IdInUse);
    let keyframe = |track_id| Command::RequestKeyframe(RequestKeyframe { track_id });
    assert!(b.ask(1, 4, keyframe(5)).is_empty());
    assert!(matches!(b.next_command(1).command, Command::RequestKeyframe(_)));
    assert_eq!(error_code(&b.ask(1, 5, keyframe(6))), ErrorCode::UnknownTrack);

    // Closing what is not there is done already.
    let close = |transport_id| Command::CloseTransport(CloseTransport { transport_id });
    assert!(matches!(only_reply(&b.ask(1, 6, close(99))).2, ReplyBody::Done(_)));
    assert!(b.ask(1, 7, close(20)).is_empty());
    let order = b.next_command(1);
    let _ = b.answer(1, order.ticket, done());
    assert_eq!(error_code(&b.ask(1, 8, keyframe(5))), ErrorCode::UnknownTrack, "went with its transport");
    assert!(matches!(only_reply(&b.ask(1, 9, close(20))).2, ReplyBody::Done(_)));
}

/// A room on two shards: transport 1 with up-track 5 on the first, transport 2 on the second.
fn spread() -> Bench {
    let mut b = Bench::with_budget(2, 1);
    let _ = b.hello(1, 1);
    assert_eq!((b.open(1, 1, 100), b.open(1, 2, 100)), (0, 1));
    assert!(b.ask(1, 2, add_up(1, 5)).is_empty());
    let order = b.next_command(0);
    let _ = b.answer(0, order.ticket, ReplyBody::UpTrackAdded(UpTrackAdded { track_id: 5 }));
    b
}

fn add_down(transport_id: u64, track_id: u64) -> Command {
    Command::AddDownTrack(AddDownTrack { transport_id, track_id, up_track_id: 5, ..AddDownTrack::default() })
}

#[test]
fn a_subscriber_on_another_shard_waits_for_the_pipe() {
    let mut b = spread();
    for (request, track) in [(7, 61), (8, 62)] {
        assert!(b.ask(1, request, add_down(2, track)).is_empty());
        if request == 7 {
            for (shard, peer) in [(0, 1), (1, 0)] {
                let order = b.shards[shard].next_order();
                assert!(
                    matches!(&order, Some(ToShard::Connect(ends)) if ends.port == PortId::shard(peer)),
                    "{order:?}"
                );
            }
        }
        let order = b.shards[0].next_order();
        let Some(ToShard::OpenPort { ticket, order: opened }) = order else { panic!("{order:?}") };
        assert_eq!(opened, OpenPort { track_id: 5, to: PortId::shard(1), room_id: Some(100) });
        assert!(b.shards[1].next_order().is_none(), "not before it is piped");
        assert!(b.answer(0, ticket, done()).is_empty());
        let order = b.next_command(1);
        assert_eq!(order.command, add_down(2, track));
        assert_eq!(only_reply(&b.answer(1, order.ticket, done())).1, request);
    }
    // The same shard: no pipe.
    assert!(b.ask(1, 9, add_down(1, 63)).is_empty());
    assert_eq!(b.next_command(0).command, add_down(1, 63));
}

#[test]
fn a_refused_pipe_is_a_refused_subscription() {
    let mut b = spread();
    assert!(b.ask(1, 7, add_down(2, 61)).is_empty());
    let _ = (b.shards[0].next_order(), b.shards[1].next_order());
    let order = b.shards[0].next_order();
    let Some(ToShard::OpenPort { ticket, .. }) = order else { panic!("{order:?}") };
    let said = b.answer(0, ticket, refusal(ErrorCode::Mismatch, "of another room"));
    assert_eq!((error_code(&said), only_reply(&said).1), (ErrorCode::Mismatch, 7));
    assert!(b.shards[1].next_order().is_none());
    assert_eq!(b.router.placement.shard_of_track(61), None);

    // No room in the mailbox of the one, or of the other.
    while b.ask(1, 8, add_up(1, 99)).is_empty() {}
    assert_eq!(error_code(&b.ask(1, 9, add_down(2, 61))), ErrorCode::Busy);
}

#[test]
fn a_transport_that_fails_is_forgotten() {
    let mut b = Bench::new(2);
    let _ = b.hello(1, 1);
    assert_eq!(b.open(1, 10, 100), 0);
    let _ = b.event(0, state(10, TransportState::Failed));
    assert_eq!(b.router.placement.sizes(), (0, 0, 0));
    // And so is one that was never opened.
    assert!(b.ask(1, 2, open(11, 100)).is_empty());
    let order = b.next_command(0);
    assert!(b.answer(0, order.ticket, refusal(ErrorCode::LimitReached, "full")).is_empty());
    let order = b.next_command(1);
    let said = b.answer(1, order.ticket, refusal(ErrorCode::LimitReached, "full"));
    assert_eq!(error_code(&said), ErrorCode::LimitReached);
    assert_eq!(b.router.placement.sizes(), (0, 0, 0));
}

/// A model shard's description of a page; the transports in `gone` have ended.
fn describe(b: &mut Bench, gone: &[u64]) -> Vec<(ConnectionId, Outgoing)> {
    let mut said = Vec::new();
    for shard in (0..b.shards.len()).rev() {
        let Some(order) = b.shards[shard].next_order() else { continue };
        let ToShard::Describe { ticket, transports } = order else { panic!("{order:?}") };
        assert!(transports.len() <= PAGE_ITEMS_MAX, "bounded work");
        let here = transports.into_iter().filter(|id| !gone.contains(id));
        let infos = here.map(|transport_id| TransportInfo { transport_id, ..TransportInfo::default() });
        let part = Inventory { transports: infos.collect(), ..Inventory::default() };
        said.extend(b.answer(shard, ticket, ReplyBody::Inventory(part)));
    }
    said
}

/// Asks for one page: what is on it, and where the next one begins.
fn page(b: &mut Bench, after: u64, gone: &[u64]) -> (Vec<u64>, u64) {
    let mut said = b.ask(4, 77, Command::GetInventory(GetInventory { after }));
    said.extend(describe(b, gone));
    let (to, id, body) = only_reply(&said);
    assert_eq!((to, id), (4, 77));
    let ReplyBody::Inventory(page) = body else { panic!("{body:?}") };
    assert_eq!(page.boot_id, 7);
    (page.transports.iter().map(|info| info.transport_id).collect(), page.next)
}

#[test]
fn twenty_thousand_transports_are_listed_page_by_page_while_they_come_and_go() {
    const TRANSPORTS: u64 = 20_000;
    let mut b = Bench::new(2);
    let _ = b.hello(1, 1);
    assert_eq!(page(&mut b, 0, &[]), (vec![], 0), "nothing is answered at once");
    for id in 1..=TRANSPORTS {
        b.open(1, id, id % 100);
    }
    let (mut seen, mut after, mut pages, mut youngest) = (Vec::new(), 0, 0, TRANSPORTS);
    loop {
        // One fails that was listed, one that was not; one is closed and opened again; one comes.
        let [listed, unlisted, again] = [pages + 1, TRANSPORTS - pages, 10_000 + pages].map(|id| id);
        let (here, next) = page(&mut b, after, &[unlisted]);
        seen.extend(here);
        for id in [listed, unlisted] {
            let shard = b.router.placement.shard_of_transport(id).expect("here");
            let _ = b.event(shard, state(id, TransportState::Failed));
        }
        assert!(b.ask(1, 1, Command::CloseTransport(CloseTransport { transport_id: again })).is_empty());
        let order = (0..2).find_map(|shard| b.find_command(shard).map(|order| (shard, order.ticket)));
        let (shard, ticket) = order.expect("told");
        let _ = b.answer(shard, ticket, done());
        b.open(1, again, 7);
        youngest += 1;
        b.open(1, youngest, 7);
        (after, pages) = (next, pages + 1);
        if after == 0 {
            break;
        }
    }
    assert!(pages > TRANSPORTS / PAGE_ITEMS_MAX as u64 && pages < 2 * TRANSPORTS / PAGE_ITEMS_MAX as u64);
    // What is on no page was told by an event, or opened after the last one was made; nothing else is
    // missing.
    let mut missing: Vec<u64> = (1..=youngest).filter(|id| !seen.contains(id)).collect();
    missing.retain(|id| b.router.placement.shard_of_transport(*id).is_some());
    assert!(missing.iter().all(|id| *id == youngest || *id == 10_000 + pages - 1), "{missing:?}");
}

#[test]
fn a_transport_with_many_tracks_takes_its_room_on_a_page() {
    let mut b = Bench::new(1);
    let _ = b.hello(1, 1);
    for transport in 1..=3 {
        b.open(1, transport, 1);
        for track in 0..60 {
            assert!(b.ask(1, 1, add_up(transport, transport * 100 + track)).is_empty());
            let ticket = b.next_command(0).ticket;
            let _ = b.answer(0, ticket, done());
        }
    }
    let (first, next) = page(&mut b, 0, &[]);
    let (second, _) = page(&mut b, next, &[]);
    assert_eq!((first, second), (vec![1], vec![2]));
}

#[test]
fn stats_are_gathered_from_all_shards() {
    let mut b = Bench::new(2);
    assert!(b.ask(4, 78, Command::GetStats(GetStats {})).is_empty());
    for shard in [1, 0] {
        let order = b.next_command(shard);
        let part = ShardStats { shard: shard as u32, counters: Vec::<Counter>::new() };
        let said = b.answer(
            shard,
            order.ticket,
            ReplyBody::Stats(Stats { shards: vec![part], process: Vec::new() }),
        );
        if shard == 0 {
            let ReplyBody::Stats(stats) = only_reply(&said).2 else { panic!("{said:?}") };
            assert_eq!(stats.shards.iter().map(|s| s.shard).collect::<Vec<_>>(), [0, 1]);
            assert!(stats.process.iter().any(|c| c.name == "control.requests" && c.value == 1), "{stats:?}");
        }
    }
}

#[test]
fn a_full_mailbox_is_busy_and_every_request_has_one_reply() {
    let mut b = Bench::new(1);
    let _ = b.hello(1, 1);
    let sent = COMMANDS_MAX as u64 + 10;
    let mut replies: Vec<u64> = Vec::new();
    let mut busy = 0;
    let collect = |said: Vec<(ConnectionId, Outgoing)>, replies: &mut Vec<u64>, busy: &mut u32| {
        for (_, outgoing) in said {
            let Outgoing::Reply(reply) = outgoing else { continue };
            *busy +=
                u32::from(matches!(&reply.body, Some(ReplyBody::Error(e)) if e.code() == ErrorCode::Busy));
            replies.push(reply.request_id);
        }
    };
    for id in 0..sent {
        let said = b.ask(1, id, open(id, 1));
        collect(said, &mut replies, &mut busy);
    }
    assert_eq!(busy, 10);
    while let Some(order) = b.find_command(0) {
        let said = b.answer(0, order.ticket, done());
        collect(said, &mut replies, &mut busy);
    }
    replies.sort_unstable();
    assert_eq!(replies, (0..sent).collect::<Vec<_>>());
    assert_eq!(b.router.placement.sizes(), (1, COMMANDS_MAX, 0));
}

#[test]
fn replies_to_a_connection_that_has_gone_are_dropped_by_its_owner() {
    let mut b = Bench::new(1);
    let _ = b.hello(1, 1);
    assert!(b.ask(1, 1, open(5, 5)).is_empty());
    b.router.handle_closed(1);
    let order = b.next_command(0);
    let said = b.answer(0, order.ticket, opened(5));
    assert_eq!(only_reply(&said).0, 1, "addressed to it all the same");
    assert_eq!(b.router.placement.sizes(), (1, 1, 0), "carried out");
}

#[test]
fn names_in_the_log_are_short_and_printable() {
    for (name, want) in [("signaling", "signaling"), ("a\nb\x1b[31m", "ab[31m"), ("ж", "ж")] {
        assert_eq!(printable(name), want);
    }
    assert_eq!(printable(&"x".repeat(1000)).len(), 64);
}

#[test]
fn a_full_shard_keeps_nobody_out_of_its_rooms_while_another_has_places() {
    let mut bench = Bench::new(2);
    bench.hello(1, 5);
    let home = bench.open(1, 10, 100);
    let full = || refusal(ErrorCode::LimitReached, "full");
    // The newcomer follows its room, is refused there, and is opened on the other shard: one answer.
    assert!(bench.ask(1, 2, open(11, 100)).is_empty());
    let order = bench.next_command(home);
    assert!(bench.answer(home, order.ticket, full()).is_empty());
    let order = bench.next_command(1 - home);
    assert_eq!(order.command, open(11, 100));
    let said = bench.answer(1 - home, order.ticket, opened(11));
    assert_eq!(only_reply(&said), (1, 2, &opened(11)));
    assert!(bench.ask(1, 3, Command::CloseTransport(CloseTransport { transport_id: 11 })).is_empty());
    assert!(matches!(bench.next_command(1 - home).command, Command::CloseTransport(_)));

    // All are full: each is asked once.
    assert!(bench.ask(1, 4, open(12, 100)).is_empty());
    let order = bench.next_command(home);
    assert!(bench.answer(home, order.ticket, full()).is_empty());
    let order = bench.next_command(1 - home);
    assert_eq!(error_code(&bench.answer(1 - home, order.ticket, full())), ErrorCode::LimitReached);
    assert!(bench.find_command(home).is_none());

    // Nobody wants it any more.
    assert!(bench.ask(1, 5, open(13, 100)).is_empty());
    assert!(bench.ask(1, 6, Command::CloseTransport(CloseTransport { transport_id: 13 })).is_empty());
    let order = bench.next_command(home);
    assert_eq!(error_code(&bench.answer(home, order.ticket, full())), ErrorCode::LimitReached);
    assert!(bench.find_command(1 - home).is_none());
}
