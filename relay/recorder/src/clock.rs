//! Where the timestamps of a track stand on the room clock.
//!
//! An RTP timestamp says how much later a frame was captured than another one of its source, by the
//! publisher's media clock. That clock begins anywhere and drifts. Sender reports say where it stands, on a
//! clock that all tracks of a publisher share, so sound and picture that go by them stay together. Before
//! the first report, and for a publisher that sends none, the shortest way that a packet had says it.
//!
//! Invariants
//! - Between two corrections frames have the distances that the publisher gave them.
//! - Sound is corrected bit by bit ([`SLEW`]), as it cannot jump; by more than [`STEP_NANOS`] it is a new
//!   clock, and corrected at once. A picture is always corrected at once, which nobody sees.
//! - A frame's time is at most [`AHEAD_NANOS`] behind its arrival and [`BEHIND_NANOS`] before it: timestamps
//!   that say otherwise begin anew.
//!
//! Deliberately absent: the wall clock, and the order of frames.

use relay_port::{Clock, MediaKind, MediaTime};

/// A correction takes this part of the time that passes: 50 ms are made good in a second.
const SLEW: i64 = 20;
/// A larger error is no drift.
const STEP_NANOS: i64 = 250_000_000;
/// A report moves the estimate by this part of what it differs, so that its own delay weighs little.
const FOLLOW: i64 = 4;
/// How long the shortest way is looked for, without reports.
const WINDOW_NANOS: i64 = 5_000_000_000;
/// No frame is captured after its arrival; clocks may differ by this.
const AHEAD_NANOS: i64 = 500_000_000;
/// The longest that a network holds a packet.
const BEHIND_NANOS: i64 = 5_000_000_000;
const SECOND: i128 = 1_000_000_000;

/// See the module.
#[derive(Clone, Debug)]
pub struct TrackClock {
    rate_hz: i128,
    kind: MediaKind,
    source: Option<Source>,
    /// A report that came before the first packet.
    early: Option<Clock>,
    /// From capture to arrival, as it was by reports, where another source continues.
    way: i64,
}

/// One source: its timestamps count from where it began.
#[derive(Clone, Debug)]
struct Source {
    number: u32,
    /// The latest timestamp, and how far it is from the first.
    timestamp: u32,
    ticks: i64,
    /// Room time of the first timestamp, as it goes into the file.
    zero: i64,
    /// The same as it is known by now.
    target: i64,
    is_reported: bool,
    /// Since when the shortest way is looked for, and the earliest `zero` that it allows.
    window: (i64, i64),
}

impl TrackClock {
    /// Of a track whose timestamps have this rate.
    #[must_use]
    pub fn new(kind: MediaKind, rate_hz: u32) -> Self {
        Self { rate_hz: rate_hz.max(1).into(), kind, source: None, early: None, way: 0 }
    }

    /// When a frame was captured. Frames come in the publisher's order.
    pub fn time_of(&mut self, source: u32, timestamp: u32, arrival: MediaTime) -> MediaTime {
        let arrival = arrival.as_nanos();
        let known = self.source.take().filter(|known| known.number == source);
        let mut known = known.unwrap_or_else(|| self.begin(source, timestamp, arrival));
        let step = i64::from(timestamp.wrapping_sub(known.timestamp).cast_signed());
        let ticks = known.ticks.saturating_add(step);
        if step > 0 {
            (known.timestamp, known.ticks) = (timestamp, ticks);
            known.correct(self.kind, self.nanos(step));
        }
        let since = self.nanos(ticks);
        let delay = arrival.saturating_sub(known.zero.saturating_add(since));
        if !(-AHEAD_NANOS..=BEHIND_NANOS).contains(&delay) {
            known =
                Source { ticks, timestamp, ..self.begin(source, timestamp, arrival.saturating_sub(since)) };
        } else if known.is_reported {
            // Down at once, up slowly: what is longer is the network's.
            let delay = delay.max(0);
            self.way = if delay < self.way { delay } else { self.way + (delay - self.way) / 256 };
        } else {
            known.note_way(arrival, since, self.way);
        }
        let time = known.zero.saturating_add(since);
        self.source = Some(known);
        MediaTime::from_nanos(time)
    }

    /// A sender report of the track's current source, on the room clock.
    pub fn handle_report(&mut self, report: Clock) {
        let rate_hz = self.rate_hz;
        let Some(known) = self.source.as_mut() else {
            self.early = Some(report);
            return;
        };
        let step = i64::from(report.timestamp.wrapping_sub(known.timestamp).cast_signed());
        let seen = report.time.as_nanos().saturating_sub(nanos(known.ticks.saturating_add(step), rate_hz));
        let error = seen.saturating_sub(known.target);
        if error.saturating_abs() > BEHIND_NANOS {
            return;
        }
        let follows = known.is_reported && error.abs() <= STEP_NANOS;
        known.target += if follows { error / FOLLOW } else { error };
        known.is_reported = true;
    }

    /// The relay counts the sources of the track anew, or the publisher has come back.
    pub fn begin_anew(&mut self) {
        (self.source, self.early) = (None, None);
    }

    /// A source whose first timestamp is at tick 0.
    fn begin(&mut self, number: u32, timestamp: u32, arrival: i64) -> Source {
        let zero = arrival.saturating_sub(self.way);
        let window = (arrival, zero);
        let mut begun =
            Source { number, timestamp, ticks: 0, zero, target: zero, is_reported: false, window };
        if let Some(report) = self.early.take() {
            let step = i64::from(report.timestamp.wrapping_sub(timestamp).cast_signed());
            let seen = report.time.as_nanos().saturating_sub(self.nanos(step));
            if (-AHEAD_NANOS..=BEHIND_NANOS).contains(&arrival.saturating_sub(seen)) {
                (begun.zero, begun.target, begun.is_reported) = (seen, seen, true);
                self.way = arrival.saturating_sub(seen).max(0);
            }
        }
        begun
    }

    fn nanos(&self, ticks: i64) -> i64 {
        nanos(ticks, self.rate_hz)
    }
}

fn nanos(ticks: i64, rate_hz: i128) -> i64 {
    let nanos = i128::from(ticks) * SECOND / rate_hz;
    nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

impl Source {
    /// Moves towards the target by what may be corrected while so much passes.
    fn correct(&mut self, kind: MediaKind, passed: i64) {
        let error = self.target.saturating_sub(self.zero);
        let most = passed / SLEW;
        let large = kind == MediaKind::Video || error.saturating_abs() > STEP_NANOS;
        self.zero = self.zero.saturating_add(if large { error } else { error.clamp(-most, most) });
    }

    /// Without reports: no packet came before it was captured, so the one with the shortest way is nearest to
    /// the truth. A longer one counts after a while, as clocks drift both ways.
    fn note_way(&mut self, arrival: i64, since: i64, way: i64) {
        let allowed = arrival.saturating_sub(since).saturating_sub(way);
        let (begin, earliest) = self.window;
        self.window.1 = earliest.min(allowed);
        self.target = self.target.min(allowed);
        if arrival.saturating_sub(begin) >= WINDOW_NANOS {
            self.target = self.window.1;
            self.window = (arrival, i64::MAX);
        }
    }
}

#[cfg(test)]
mod tests;
