//! When a recording ends.
//!
//! Invariants
//! - A recording into which a track goes does not end by itself.
//! - One whose tracks may come back is waited for, and never for ever.
//!
//! Deliberately absent: what is written, and orders to end.

use recorder_control::Kind;
use std::time::Duration;

/// A stream whose tracks have all ended goes on if another one comes within this: a codec that changes ends
/// one tap and begins another.
const BETWEEN_TRACKS: Duration = Duration::from_secs(2);
/// How long the tracks of a stream may take to come back when both relay and signaling are there.
const RETURN: Duration = Duration::from_secs(10);
/// The same when they are not.
const RETURN_MAX: Duration = Duration::from_secs(60);
/// How long a room without tracks goes on when nobody is there who could end it.
const ABANDONED: Duration = Duration::from_secs(15 * 60);

/// Who is there that could order taps, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// The relay's port.
    pub relay: Option<Duration>,
    /// A signaling that has said Hello.
    pub signaling: Option<Duration>,
}

/// Whether tracks go into a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Some do.
    Live,
    /// All have ended, at this time.
    Trackless(Duration),
    /// They were lost with a process, ours or the relay, and may come back; since this time.
    Returning(Duration),
}

impl Lifetime {
    /// Whether the recording has ended.
    #[must_use]
    pub fn has_ended(self, kind: Kind, now: Duration, present: Present) -> bool {
        match (self, kind) {
            (Self::Live, _) => false,
            (Self::Trackless(since), Kind::Stream) => now >= since + BETWEEN_TRACKS,
            (Self::Trackless(since), Kind::Room) => present.signaling.is_none() && now >= since + ABANDONED,
            (Self::Returning(since), _) => {
                let both = present.relay.zip(present.signaling);
                let both = both.map(|(relay, signaling)| since.max(relay).max(signaling) + RETURN);
                now >= both.unwrap_or(since + RETURN_MAX)
            }
        }
    }

    /// The connection to the relay is gone, and all tracks with it.
    #[must_use]
    pub fn without_relay(self, kind: Kind, now: Duration) -> Self {
        match (self, kind) {
            (Self::Live, Kind::Stream) => Self::Returning(now),
            // Its members come back, or signaling ends it.
            (Self::Live, Kind::Room) => Self::Trackless(now),
            (other, _) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second at which it ends, if it does within an hour.
    fn ends(lifetime: Lifetime, kind: Kind, present: impl Fn(u64) -> Present) -> Option<u64> {
        (0..3_600).find(|s| lifetime.has_ended(kind, Duration::from_secs(*s), present(*s)))
    }

    fn present(relay: Option<u64>, signaling: Option<u64>) -> impl Fn(u64) -> Present {
        let at = |since: Option<u64>, now: u64| since.filter(|s| *s <= now).map(Duration::from_secs);
        move |now| Present { relay: at(relay, now), signaling: at(signaling, now) }
    }

    #[test]
    fn when_a_recording_ends() {
        let at = Duration::from_secs(100);
        let (both, nobody) = ((Some(0), Some(0)), (None, None));
        for (lifetime, kind, (relay, signaling), want) in [
            (Lifetime::Live, Kind::Stream, nobody, None),
            (Lifetime::Live, Kind::Room, nobody, None),
            (Lifetime::Trackless(at), Kind::Stream, both, Some(102)),
            (Lifetime::Trackless(at), Kind::Stream, nobody, Some(102)),
            // Signaling ends it.
            (Lifetime::Trackless(at), Kind::Room, both, None),
            (Lifetime::Trackless(at), Kind::Room, (Some(0), None), Some(1_000)),
            (Lifetime::Returning(at), Kind::Stream, both, Some(110)),
            (Lifetime::Returning(at), Kind::Room, both, Some(110)),
            (Lifetime::Returning(at), Kind::Stream, (Some(120), Some(0)), Some(130)),
            (Lifetime::Returning(at), Kind::Stream, (Some(0), Some(130)), Some(140)),
            (Lifetime::Returning(at), Kind::Stream, (Some(0), None), Some(160)),
            (Lifetime::Returning(at), Kind::Stream, nobody, Some(160)),
            (Lifetime::Returning(at), Kind::Stream, (Some(159), Some(159)), Some(169)),
        ] {
            let ended = ends(lifetime, kind, present(relay, signaling));
            assert_eq!(ended, want, "{lifetime:?} {kind:?} {relay:?} {signaling:?}");
        }
    }

    #[test]
    fn without_a_relay_streams_wait_and_rooms_go_on() {
        let (early, now) = (Duration::from_secs(1), Duration::from_secs(9));
        for (lifetime, kind, want) in [
            (Lifetime::Live, Kind::Stream, Lifetime::Returning(now)),
            (Lifetime::Live, Kind::Room, Lifetime::Trackless(now)),
            (Lifetime::Trackless(early), Kind::Stream, Lifetime::Trackless(early)),
            (Lifetime::Returning(early), Kind::Room, Lifetime::Returning(early)),
        ] {
            assert_eq!(lifetime.without_relay(kind, now), want, "{lifetime:?} {kind:?}");
        }
    }
}
