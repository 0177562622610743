//! Commands that follow each other without waiting for replies.

use super::*;
use relay_control::{DownTrackAdded, RemoveTrack, RestartIce, SetLabel};

fn close(transport_id: u64) -> Command {
    Command::CloseTransport(CloseTransport { transport_id })
}

fn remove(track_id: u64) -> Command {
    Command::RemoveTrack(RemoveTrack { track_id })
}

fn label(transport_id: u64) -> Command {
    Command::SetLabel(SetLabel { transport_id, label: vec![1] })
}

fn restart(transport_id: u64) -> Command {
    Command::RestartIce(RestartIce { transport_id, ..RestartIce::default() })
}

fn down_added(track_id: u64) -> ReplyBody {
    ReplyBody::DownTrackAdded(DownTrackAdded { track_id, ssrc: 1, rtx_ssrc: 0 })
}

/// Everything that waits for a shard, in order.
fn orders(b: &mut Bench, shard: usize) -> Vec<Order> {
    std::iter::from_fn(|| b.find_command(shard)).collect()
}

#[test]
fn a_close_that_overtakes_the_reply_of_its_open_closes_it() {
    let mut b = Bench::new(2);
    let _ = b.hello(1, 1);
    assert!(b.ask(1, 1, open(5, 100)).is_empty());
    assert!(b.ask(1, 2, close(5)).is_empty(), "it is for the shard to answer");
    let given = orders(&mut b, 0);
    assert_eq!(given.iter().map(|order| &order.command).collect::<Vec<_>>(), [&open(5, 100), &close(5)]);
    assert_eq!(only_reply(&b.answer(0, given[0].ticket, opened(5))).1, 1);
    assert_eq!(only_reply(&b.answer(0, given[1].ticket, done())).1, 2);
    assert_eq!(b.router.placement.sizes(), (0, 0, 0));
}

#[test]
fn whatever_follows_an_open_finds_it() {
    let mut b = Bench::new(2);
    let _ = b.hello(1, 1);
    let said = [open(5, 100), add_up(5, 50), label(5), restart(5), remove(50), add_up(5, 50), close(5)];
    for (id, command) in (1..).zip(&said) {
        assert!(b.ask(1, id, command.clone()).is_empty(), "{command:?}");
    }
    // Gone by what was said, although nothing of it is answered.
    assert_eq!(error_code(&b.ask(1, 9, label(5))), ErrorCode::UnknownTransport);
    let given = orders(&mut b, 0);
    assert_eq!(given.iter().map(|order| &order.command).collect::<Vec<_>>(), said.iter().collect::<Vec<_>>());
    for order in given {
        let body = match order.command {
            Command::OpenTransport(_) | Command::RestartIce(_) => opened(5),
            Command::AddUpTrack(_) => ReplyBody::UpTrackAdded(UpTrackAdded { track_id: 50 }),
            _ => done(),
        };
        assert_eq!(b.answer(0, order.ticket, body).len(), 1);
    }
    assert_eq!(b.router.placement.sizes(), (0, 0, 0));
}

#[test]
fn a_transport_that_is_closed_and_opened_again_lives_whatever_its_former_life_still_says() {
    let mut b = Bench::new(2);
    let _ = b.hello(1, 1);
    assert_eq!((b.open(1, 5, 100), b.open(1, 6, 200)), (0, 1));
    let late = state(5, TransportState::Failed);
    // It failed a moment before it was closed.
    assert!(b.ask(1, 1, close(5)).is_empty());
    assert!(b.ask(1, 2, open(5, 100)).is_empty());
    let (closing, opening) = (b.next_command(0), b.next_command(0));
    assert_eq!(b.event(0, late).len(), 1);
    let _ = b.answer(0, closing.ticket, done());
    let _ = b.answer(0, opening.ticket, opened(5));
    assert_eq!(b.router.placement.shard_of_transport(5), Some(0));
    // It fails while it is opened again: that opens a new one.
    assert!(b.ask(1, 3, open(5, 100)).is_empty());
    assert!(b.ask(1, 4, add_up(5, 50)).is_empty());
    let (opening, adding) = (b.next_command(0), b.next_command(0));
    assert_eq!(b.event(0, state(5, TransportState::Failed)).len(), 1);
    let _ = b.answer(0, opening.ticket, opened(5));
    let _ = b.answer(0, adding.ticket, ReplyBody::UpTrackAdded(UpTrackAdded { track_id: 50 }));
    assert_eq!((b.router.placement.shard_of_track(50), b.router.placement.sizes()), (Some(0), (2, 2, 1)));
    // And when an open is refused, what relied on it is gone.
    let _ = b.event(0, state(5, TransportState::Failed));
    for (id, command) in [(5, open(5, 100)), (6, add_up(5, 51))] {
        assert!(b.ask(1, id, command).is_empty());
    }
    for order in orders(&mut b, 0) {
        let _ = b.answer(0, order.ticket, refusal(ErrorCode::LimitReached, "full"));
    }
    assert_eq!(b.router.placement.sizes(), (1, 1, 0));
}

/// The order that begins a pipe from shard 0, behind those that connect the two.
fn pipe_order(b: &mut Bench) -> u64 {
    std::iter::from_fn(|| b.shards[0].next_order())
        .find_map(|order| match order {
            ToShard::OpenPort { ticket, .. } => Some(ticket),
            _ => None,
        })
        .expect("a pipe is wanted")
}

#[test]
fn what_follows_a_subscription_that_waits_for_its_pipe_waits_behind_it() {
    for last in [remove(61), close(2)] {
        let mut b = spread();
        for (id, command) in [(7, add_down(2, 61)), (8, label(2)), (9, last.clone())] {
            assert!(b.ask(1, id, command).is_empty());
        }
        let _ = b.shards[1].next_order();
        let ticket = pipe_order(&mut b);
        assert!(b.find_command(1).is_none(), "not before it is piped");
        assert!(b.answer(0, ticket, done()).is_empty());
        let given = orders(&mut b, 1);
        let commands: Vec<&Command> = given.iter().map(|order| &order.command).collect();
        assert_eq!(commands, [&add_down(2, 61), &label(2), &last]);
        for (order, body) in given.iter().zip([down_added(61), done(), done()]) {
            assert_eq!(b.answer(1, order.ticket, body).len(), 1);
        }
        assert_eq!(b.router.placement.shard_of_track(61), None, "it must not appear afterwards");
    }
}

#[test]
fn what_waits_behind_a_pipe_goes_on_when_that_is_refused_and_waits_again_for_the_next() {
    let mut b = spread();
    for (id, command) in [(7, add_down(2, 61)), (8, add_down(2, 62)), (9, remove(62)), (10, close(2))] {
        assert!(b.ask(1, id, command).is_empty());
    }
    let _ = b.shards[1].next_order();
    let ticket = pipe_order(&mut b);
    let said = b.answer(0, ticket, refusal(ErrorCode::Busy, "full"));
    assert_eq!((error_code(&said), only_reply(&said).1), (ErrorCode::Busy, 7));
    let ticket = pipe_order(&mut b);
    assert!(b.answer(0, ticket, done()).is_empty());
    let given = orders(&mut b, 1);
    let commands: Vec<&Command> = given.iter().map(|order| &order.command).collect();
    assert_eq!(commands, [&add_down(2, 62), &remove(62), &close(2)]);
    for (order, (body, id)) in given.iter().zip([(down_added(62), 8), (done(), 9), (done(), 10)]) {
        assert_eq!(only_reply(&b.answer(1, order.ticket, body)).1, id);
    }
    assert_eq!(b.router.placement.sizes(), (1, 1, 1), "the publisher and its track");
}
