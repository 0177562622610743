//! Named timers: each stands in the table at most once, and one can ask which of them is due.

use crate::id::{ConnectionId, Held, MemberId, RelayId, RoomId, StreamKey};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Monotonic time since a moment that the caller chose.
pub(crate) type Time = Duration;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The first message of a connection.
    Hello(ConnectionId),
    /// The next ping.
    KeepAlive(ConnectionId),
    /// Somebody wants what another one holds: the next look at whether that one lives.
    Takeover(Held),
    /// Somebody wants a viewer's place: the next look at whether all of them live.
    ViewerPlaces(RoomId),
    /// The next thing that must happen to a stream; see [`crate::stream_state`].
    Stream(StreamKey),
    /// Media of a publisher that is on the air should have come by now.
    Media(StreamKey),
    /// An order about what of a publication goes to the recorder came to nothing, and is given again.
    Taps(StreamKey),
    /// Recordings of rooms that nobody has come back to.
    StrayRecordings,
    /// A detached member's time runs out.
    Detached(RoomId, MemberId),
    /// An empty room's time runs out.
    RoomIdle(RoomId),
    /// A relay is gone for too long.
    RelayLost(RelayId),
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Time, Timer)>,
    at: HashMap<Timer, Time>,
}

impl Timers {
    /// Starts it, or moves it.
    pub(crate) fn set(&mut self, timer: Timer, at: Time) {
        self.clear(timer);
        self.at.insert(timer, at);
        self.due.insert((at, timer));
    }

    /// Stops it, if it runs.
    pub(crate) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.due.remove(&(at, timer));
        }
    }

    pub(crate) fn runs(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    pub(crate) fn len(&self) -> usize {
        self.at.len()
    }

    /// When the first one is due.
    pub(crate) fn next(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes one that is due.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        let (_, timer) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.clear(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_stands_once_and_fires_once() {
        let mut timers = Timers::default();
        let (a, b) = (Timer::RelayLost(RelayId::FIRST), Timer::RoomIdle(RoomId(1)));
        timers.set(a, Time::from_secs(5));
        timers.set(b, Time::from_secs(3));
        timers.set(a, Time::from_secs(1));
        assert_eq!(timers.next(), Some(Time::from_secs(1)));
        assert_eq!(timers.pop_due(Time::from_millis(999)), None);
        assert_eq!(timers.pop_due(Time::from_secs(9)), Some(a));
        assert_eq!(timers.pop_due(Time::from_secs(9)), Some(b));
        assert_eq!(timers.pop_due(Time::from_secs(9)), None);
        timers.set(a, Time::from_secs(1));
        timers.clear(a);
        assert_eq!(timers.next(), None);
    }
}
