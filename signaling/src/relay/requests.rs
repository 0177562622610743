//! What the relay was asked and has not answered, in the order that it must keep. Sans-IO.
//!
//! Commands for one transport are asked one after the other: the next when the one before is answered. So
//! what the relay has no room for ([`ErrorCode::Busy`], when a large room fills) is asked again after a
//! pause, and nothing that belongs behind it gets in front of it. Only the end of a transport waits for
//! nothing that has not been asked yet: that is not wanted any more and is answered here.
//!
//! Invariants
//! - Each request is answered exactly once, by [`Requests::answered`], [`Requests::ask`],
//!   [`Requests::begin_again`] or
//!   [`Requests::forget_all`].
//! - The end of a transport is taken however much is unanswered.
//! - `Busy` is an answer only after [`BUSY_LIMIT`].

use relay_control::{Command, ErrorCode, ReplyBody};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Requests that may be unanswered at a time; more are refused at once.
pub const UNANSWERED_MAX: usize = 65_536;

/// Ends of transports that may be unanswered beside them: more than a relay has transports.
const UNANSWERED_CLOSES_MAX: usize = 2_000_000;

/// Connections that may break while a request is on its way. It may be what breaks them, so it is not sent to
/// a third.
const BREAKS_MAX: u32 = 2;

/// A request is asked again for this long. Below the hub's limit for an answer, so that the reason reaches
/// who waits.
pub const BUSY_LIMIT: Duration = Duration::from_secs(4);

/// Pauses before a request is asked again.
const BUSY_PAUSE_MIN: Duration = Duration::from_millis(4);
const BUSY_PAUSE_MAX: Duration = Duration::from_millis(250);

const _: () = assert!(BUSY_LIMIT.as_secs() < crate::stream_state::ANSWER_LIMIT.as_secs());

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not asked on this connection.
    Waiting,
    /// On its way.
    Sent,
    /// The relay had no room; asked again when it is due.
    Pausing(Instant),
}

#[derive(Debug)]
struct Request {
    command: Command,
    /// The transport whose order it keeps.
    lane: Option<u64>,
    state: State,
    /// When the relay first had no room for it, and how long to wait the next time.
    busy: Option<(Instant, Duration)>,
    /// Connections that broke while it was on its way.
    breaks: u32,
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    requests: BTreeMap<u64, Request>,
    /// By transport, in the order in which they were asked.
    lanes: HashMap<u64, VecDeque<u64>>,
    pauses: BTreeSet<(Instant, u64)>,
    ready: VecDeque<u64>,
}

impl Requests {
    /// Takes a request. The requests that are answered by that: refused, all of them.
    pub(super) fn ask(&mut self, id: u64, command: Command) -> Vec<u64> {
        let lane = command.transport_id();
        let closes = matches!(command, Command::CloseTransport(_));
        // An end that was refused would be forgotten, and its transport live on.
        let limit = if closes { UNANSWERED_MAX + UNANSWERED_CLOSES_MAX } else { UNANSWERED_MAX };
        if self.requests.len() >= limit {
            return vec![id];
        }
        self.requests.insert(id, Request { command, lane, state: State::Waiting, busy: None, breaks: 0 });
        let Some(transport) = lane else {
            self.ready.push_back(id);
            return Vec::new();
        };
        let before = self.lanes.entry(transport).or_default();
        let mut given_up = Vec::new();
        if closes {
            let sent = |id: &u64| self.requests.get(id).is_some_and(|request| request.state == State::Sent);
            let (under_way, rest): (VecDeque<u64>, VecDeque<u64>) = before.drain(..).partition(sent);
            (*before, given_up) = (under_way, rest.into());
        }
        before.push_back(id);
        for id in &given_up {
            self.remove(*id);
        }
        self.advance(transport);
        given_up
    }

    /// The relay answered. True: that is the answer; false: the request is asked again, or was none.
    pub(super) fn answered(&mut self, id: u64, body: &ReplyBody, now: Instant) -> bool {
        let Some(request) = self.requests.get_mut(&id) else { return false };
        if matches!(body, ReplyBody::Error(error) if error.code() == ErrorCode::Busy) {
            let (since, pause) = request.busy.unwrap_or((now, BUSY_PAUSE_MIN));
            if now.saturating_duration_since(since) < BUSY_LIMIT {
                // Those that found the same queue full do not come back all at once.
                let due = now + pause / 2 + pause.mul_f64((id % 64) as f64 / 128.0);
                request.busy = Some((since, (pause * 2).min(BUSY_PAUSE_MAX)));
                request.state = State::Pausing(due);
                self.pauses.insert((due, id));
                return false;
            }
        }
        let lane = request.lane;
        self.remove(id);
        if let Some(transport) = lane {
            if let Some(queue) = self.lanes.get_mut(&transport) {
                queue.retain(|other| *other != id);
            }
            self.advance(transport);
        }
        true
    }

    /// When [`Requests::next_ready`] has something again, at the latest.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.pauses.first().map(|(due, _)| *due)
    }

    /// The next request to be sent.
    pub(super) fn next_ready(&mut self, now: Instant) -> Option<(u64, Command)> {
        while let Some((_, id)) = self.pauses.first().copied().filter(|(due, _)| *due <= now) {
            self.pauses.pop_first();
            self.ready.push_back(id);
        }
        while let Some(id) = self.ready.pop_front() {
            if let Some(request) = self.requests.get_mut(&id).filter(|request| request.state != State::Sent) {
                request.state = State::Sent;
                let (command, lane) = (request.command.clone(), request.lane);
                // The end of its transport may be waiting to follow at once.
                lane.into_iter().for_each(|transport| self.advance(transport));
                return Some((id, command));
            }
        }
        None
    }

    /// A new connection to the same relay: everything is said again, in order, but what may have broken the
    /// ones before. That is answered here.
    pub(super) fn begin_again(&mut self) -> Vec<u64> {
        self.pauses.clear();
        self.ready.clear();
        let mut given_up = Vec::new();
        for (id, request) in &mut self.requests {
            request.breaks += u32::from(request.state == State::Sent);
            request.state = State::Waiting;
            if request.breaks >= BREAKS_MAX {
                given_up.push(*id);
            }
        }
        for request in given_up.iter().filter_map(|id| Some((*id, self.requests.remove(id)?))) {
            let (id, Request { lane, .. }) = request;
            let Some(transport) = lane else { continue };
            if let Some(queue) = self.lanes.get_mut(&transport) {
                queue.retain(|other| *other != id);
                if queue.is_empty() {
                    self.lanes.remove(&transport);
                }
            }
        }
        let laneless = self.requests.iter().filter(|(_, request)| request.lane.is_none());
        self.ready.extend(laneless.map(|(id, _)| *id));
        let fronts: BTreeSet<u64> = self.lanes.values().filter_map(|queue| queue.front().copied()).collect();
        self.ready.extend(fronts);
        given_up
    }

    /// The relay that all of it was meant for is gone.
    pub(super) fn forget_all(&mut self) -> Vec<u64> {
        let ids = self.requests.keys().copied().collect();
        *self = Self::default();
        ids
    }

    fn remove(&mut self, id: u64) {
        if let Some(Request { state: State::Pausing(due), .. }) = self.requests.remove(&id) {
            self.pauses.remove(&(due, id));
        }
    }

    /// Whose turn it is: the oldest of the lane, and behind it the end of the transport, for which the relay
    /// keeps order.
    fn advance(&mut self, transport: u64) {
        let Some(queue) = self.lanes.get(&transport) else { return };
        if queue.is_empty() {
            self.lanes.remove(&transport);
            return;
        }
        for id in queue {
            let Some(request) = self.requests.get(id) else { continue };
            let first = queue.front() == Some(id);
            match request.state {
                State::Sent => {}
                State::Waiting if first || matches!(request.command, Command::CloseTransport(_)) => {
                    self.ready.push_back(*id);
                    return;
                }
                State::Waiting | State::Pausing(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_control::{AddDownTrack, CloseTransport, CommandError, Done, OpenTransport, SetLabel};

    fn open(transport_id: u64) -> Command {
        Command::OpenTransport(OpenTransport { transport_id, ..OpenTransport::default() })
    }

    fn play(transport_id: u64, track_id: u64) -> Command {
        Command::AddDownTrack(AddDownTrack { transport_id, track_id, ..AddDownTrack::default() })
    }

    fn close(transport_id: u64) -> Command {
        Command::CloseTransport(CloseTransport { transport_id })
    }

    fn label(transport_id: u64) -> Command {
        Command::SetLabel(SetLabel { transport_id, label: Vec::new() })
    }

    fn busy() -> ReplyBody {
        let code = ErrorCode::Busy.into();
        ReplyBody::Error(CommandError { code, ..CommandError::default() })
    }

    fn done() -> ReplyBody {
        ReplyBody::Done(Done {})
    }

    fn ready(asked: &mut Requests, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| asked.next_ready(now)).map(|(id, _)| id).collect()
    }

    #[test]
    fn a_transport_keeps_its_order_and_others_do_not_wait_for_it() {
        let (mut asked, now) = (Requests::default(), Instant::now());
        for (id, command) in [(1, open(7)), (2, play(7, 70)), (3, open(8)), (4, label(7)), (5, play(7, 71))] {
            assert!(asked.ask(id, command).is_empty());
        }
        assert_eq!(ready(&mut asked, now), [1, 3]);
        for (id, next) in [(3, vec![]), (1, vec![2]), (2, vec![4]), (4, vec![5]), (5, vec![])] {
            assert!(asked.answered(id, &done(), now));
            assert_eq!(ready(&mut asked, now), next, "behind {id}");
        }
        assert!(!asked.answered(5, &done(), now), "once");
        assert!(asked.requests.is_empty() && asked.lanes.is_empty());
    }

    #[test]
    fn what_found_no_room_is_asked_again_and_nothing_gets_in_front_of_it() {
        let (mut asked, mut now) = (Requests::default(), Instant::now());
        let begun = now;
        for (id, command) in [(1, play(7, 70)), (2, label(7))] {
            assert!(asked.ask(id, command).is_empty());
        }
        let mut times = 0;
        while {
            assert_eq!(ready(&mut asked, now), [1]);
            times += 1;
            !asked.answered(1, &busy(), now)
        } {
            assert!(ready(&mut asked, now).is_empty(), "not at once");
            now = asked.poll_timeout().expect("a pause");
        }
        assert!(now - begun >= BUSY_LIMIT && now - begun < BUSY_LIMIT + BUSY_PAUSE_MAX, "then it is told");
        assert!(times < 50, "{times} times");
        assert_eq!(ready(&mut asked, now), [2]);
    }

    #[test]
    fn the_end_of_a_transport_follows_what_is_under_way_and_replaces_what_is_not() {
        let (mut asked, now) = (Requests::default(), Instant::now());
        for (id, command) in [(1, open(7)), (2, play(7, 70)), (3, play(7, 71))] {
            assert!(asked.ask(id, command).is_empty());
        }
        assert_eq!(ready(&mut asked, now), [1]);
        assert_eq!(asked.ask(4, close(7)), [2, 3]);
        assert_eq!(ready(&mut asked, now), [4], "the relay keeps the order");
        assert!(asked.ask(5, open(7)).is_empty());
        assert!(ready(&mut asked, now).is_empty(), "another life waits");
        assert!(asked.answered(1, &done(), now) && asked.answered(4, &done(), now));
        assert_eq!(ready(&mut asked, now), [5]);

        // In a pause as well.
        assert!(asked.ask(6, play(8, 80)).is_empty());
        assert_eq!(ready(&mut asked, now), [6]);
        assert!(!asked.answered(6, &busy(), now));
        assert_eq!(asked.ask(7, close(8)), [6]);
        assert_eq!((ready(&mut asked, now), asked.poll_timeout()), (vec![7], None));
    }

    #[test]
    fn a_new_connection_hears_everything_again_in_order() {
        let (mut asked, now) = (Requests::default(), Instant::now());
        for (id, command) in [(1, open(7)), (2, open(8)), (3, play(8, 80))] {
            assert!(asked.ask(id, command).is_empty());
        }
        assert_eq!(ready(&mut asked, now), [1, 2]);
        assert!(asked.ask(4, close(7)).is_empty());
        assert!(!asked.answered(2, &busy(), now));
        assert!(asked.begin_again().is_empty());
        assert_eq!(ready(&mut asked, now), [1, 2, 4]);
        assert_eq!(asked.poll_timeout(), None);
        assert_eq!(asked.forget_all(), [1, 2, 3, 4]);
        assert!(ready(&mut asked, now).is_empty());
    }

    #[test]
    fn what_was_on_its_way_when_two_connections_broke_is_not_sent_to_a_third() {
        let (mut asked, now) = (Requests::default(), Instant::now());
        for (id, command) in [(1, open(7)), (2, label(7)), (3, open(8))] {
            assert!(asked.ask(id, command).is_empty());
        }
        assert_eq!(ready(&mut asked, now), [1, 3]);
        assert!(asked.begin_again().is_empty());
        assert_eq!(ready(&mut asked, now), [1, 3]);
        assert!(asked.answered(3, &done(), now));
        assert_eq!(asked.begin_again(), [1]);
        assert_eq!(ready(&mut asked, now), [2], "it was not on its way");
        assert!(asked.begin_again().is_empty());
        assert_eq!(ready(&mut asked, now), [2]);
        assert_eq!(asked.begin_again(), [2]);
        assert!(ready(&mut asked, now).is_empty() && asked.requests.is_empty() && asked.lanes.is_empty());
    }

    #[test]
    fn the_end_of_a_transport_is_taken_when_nothing_else_is() {
        let (mut asked, now) = (Requests::default(), Instant::now());
        let max = UNANSWERED_MAX as u64;
        assert!((0..max).all(|id| asked.ask(id, open(id)).is_empty()));
        assert_eq!(asked.ask(max, label(7)), [max]);
        assert_eq!(asked.ask(max + 1, close(7)), [7]);
        assert!(ready(&mut asked, now).contains(&(max + 1)));
        assert!(asked.ask(max + 2, close(8)).is_empty());
        assert_eq!(ready(&mut asked, now), [max + 2]);
    }

    #[test]
    fn too_many_are_refused() {
        let mut asked = Requests::default();
        let refused = (0..).find(|id| !asked.ask(*id, open(*id)).is_empty());
        assert_eq!(refused, Some(UNANSWERED_MAX as u64));
    }
}
