//! Answers a subscriber's NACKs within bounds: who asks for everything all the time must not be an amplifier.
//!
//! Invariants
//! - A packet is resent at most once per round trip, and per [`RESEND_INTERVAL_MIN`].
//! - Retransmitted octets of any second are at most [`BUDGET_PERCENT`] of the media sent in it, or
//!   [`BUDGET_BYTES_MIN`] if that is more.
//! - RTX indices are the relay's own, start below 2^15 and never repeat.

use crate::time::Time;
use std::time::Duration;

/// Retransmissions remembered. Two packets that share a place share its throttle, so this may be small.
pub const RECENT_MAX: usize = 256;
/// Shortest time between two retransmissions of a packet, for round trips near zero.
pub const RESEND_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Part of the media octets that retransmissions may add.
pub const BUDGET_PERCENT: u64 = 25;
/// Retransmitted octets a second that are always allowed: one large keyframe.
pub const BUDGET_BYTES_MIN: u64 = 50_000;
/// The budget's second is watched in this many steps.
const STEPS: usize = 8;
const STEP_NANOS: u64 = 1_000_000_000 / STEPS as u64;

/// One step of the budget.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// Media octets sent until it began.
    media_before: u64,
    /// Retransmitted in it.
    resent: u64,
}

/// See the module.
#[derive(Debug)]
pub struct RtxResponder {
    /// Until when the packets at each place (own index modulo [`RECENT_MAX`]) must not be resent.
    recent: [Time; RECENT_MAX],
    steps: [Step; STEPS],
    /// Number of the newest step since the clock's origin, and the media octets when it began.
    newest: u64,
    media_seen: u64,
    next_index: u64,
}

impl RtxResponder {
    /// `first_seq` is random (RFC 3550 §5.1); 15 bits of it are used.
    #[must_use]
    pub fn new(first_seq: u16) -> Self {
        Self {
            recent: [Time::ZERO; RECENT_MAX],
            steps: [Step::default(); STEPS],
            newest: 0,
            media_seen: 0,
            next_index: u64::from(first_seq % super::rewrite::FIRST_SEQ_MAX),
        }
    }

    /// Whether the packet `index` (own, extended) of `len` octets may be resent now. If so it is accounted
    /// for, and the answer is its RTX index. `media_octets`: sent so far on this stream, retransmissions
    /// apart.
    pub fn admit(
        &mut self,
        now: Time,
        index: u64,
        len: usize,
        media_octets: u64,
        rtt: Duration,
    ) -> Option<u64> {
        self.advance(now, media_octets);
        let place = index as usize % RECENT_MAX;
        if now < self.recent[place] || self.spent() + len as u64 > self.budget(media_octets) {
            return None;
        }
        self.recent[place] = now + rtt.max(RESEND_INTERVAL_MIN);
        self.steps[self.newest as usize % STEPS].resent += len as u64;
        let rtx_index = self.next_index;
        self.next_index += 1;
        Some(rtx_index)
    }

    /// Begins the steps that passed since the last call, as if media had flowed evenly. Called by
    /// [`RtxResponder::admit`]; now and then besides, so that the budget knows the media rate before the
    /// first NACK.
    pub fn advance(&mut self, now: Time, media_octets: u64) {
        let step = now.as_nanos() / STEP_NANOS;
        let passed = step.saturating_sub(self.newest);
        let flowed = media_octets.saturating_sub(self.media_seen);
        for back in 0..passed.min(STEPS as u64) {
            // Media of the last `back` steps came after this one began.
            let since = flowed.saturating_mul(back) / passed;
            self.steps[(step - back) as usize % STEPS] =
                Step { media_before: media_octets - since, resent: 0 };
        }
        if passed > 0 {
            self.newest = step;
            self.media_seen = media_octets;
        }
    }

    fn spent(&self) -> u64 {
        self.steps.iter().map(|s| s.resent).sum()
    }

    fn budget(&self, media_octets: u64) -> u64 {
        let oldest = self.steps[(self.newest + 1) as usize % STEPS];
        let media = media_octets.saturating_sub(oldest.media_before);
        BUDGET_BYTES_MIN.max(media / 100 * BUDGET_PERCENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    fn ms(at: u64) -> Time {
        Time::from_nanos((1_000_000 + at) * 1_000_000)
    }

    #[test]
    fn a_packet_is_resent_once_per_round_trip() {
        // (own index, ms, round trip in ms, resent)
        let table = [
            (70_000, 0, 100, true),
            (70_000, 0, 100, false),
            (70_000, 99, 100, false),
            (70_001, 99, 100, true),
            (70_000, 100, 100, true),
            (70_000 + RECENT_MAX as u64, 150, 100, false), // shares the place of 70,000
            (70_000 + RECENT_MAX as u64, 200, 0, true),
            (70_000 + RECENT_MAX as u64, 209, 0, false),
            (70_000 + RECENT_MAX as u64, 210, 0, true),
        ];
        let mut rtx = RtxResponder::new(0xffff);
        let mut next = 0x7fff;
        for (i, (index, at, rtt, resent)) in table.into_iter().enumerate() {
            let got = rtx.admit(ms(at), index, 100, 0, Duration::from_millis(rtt));
            assert_eq!(got, resent.then_some(next), "row {i}");
            next += u64::from(resent);
        }
    }

    /// Octets resent in each millisecond to somebody who asks for everything always, while media flows
    /// evenly.
    fn resent(rtx: &mut RtxResponder, media_bps: u64, from_ms: u64, until_ms: u64) -> Vec<u64> {
        let mut each = Vec::new();
        for at in from_ms..until_ms {
            let octets = at * media_bps / 8_000;
            let admitted =
                (0..20).filter(|i| rtx.admit(ms(at), at * 20 + i, 1_000, octets, RTT).is_some()).count();
            each.push(admitted as u64 * 1_000);
        }
        each
    }

    #[test]
    fn no_second_exceeds_the_budget() {
        for media_bps in [0, 450_000, 2_000_000, 20_000_000] {
            let mut rtx = RtxResponder::new(0);
            let each = resent(&mut rtx, media_bps, 0, 5_000);
            // The step that is only partly over counts in whole: up to an eighth more media.
            let budget = BUDGET_BYTES_MIN.max(media_bps / 8 * BUDGET_PERCENT / 100 * 9 / 8);
            let worst = each.windows(1_000).map(|second| second.iter().sum::<u64>()).max();
            assert!(worst.is_some_and(|worst| worst <= budget), "{worst:?} of {budget} at {media_bps} b/s");
            let all: u64 = each[1_125..].iter().sum();
            let fair = BUDGET_BYTES_MIN.max(media_bps / 8 * BUDGET_PERCENT / 100);
            assert!(all * 10 >= fair * 3 * 8, "the budget can be used: {all} at {media_bps} b/s");
        }
    }

    #[test]
    fn a_first_nack_finds_the_media_rate_known() {
        let mut rtx = RtxResponder::new(0);
        // 8 Mb/s, looked at once a second as sender reports do: a quarter of a megabyte is allowed at once.
        (0..3).for_each(|second| rtx.advance(ms(second * 1_000), second * 1_000_000));
        let admitted =
            (0..1_000).filter(|i| rtx.admit(ms(2_000), *i, 1_000, 2_000_000, RTT).is_some()).count();
        assert!((200..=250).contains(&admitted), "{admitted}");
    }

    #[test]
    fn odd_clocks_and_counts_are_survived() {
        let mut rtx = RtxResponder::new(0);
        for (now, octets) in [(Time::MAX, u64::MAX), (Time::ZERO, 0), (ms(5), u64::MAX), (Time::MAX, 0)] {
            let _ = rtx.admit(now, u64::MAX, 1_000, octets, Duration::MAX);
        }
    }
}
