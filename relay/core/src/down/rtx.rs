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
/// Length of a step.
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
    recent: Box<[Time; RECENT_MAX]>,
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
            recent: Box::new([Time::ZERO; RECENT_MAX]),
            steps: [Step::default(); STEPS],
            newest: 0,
            media_seen: 0,
            next_index: u64::from(first_seq % super::rewrite::FIRST_SEQ_MAX),
        }
    }

    /// Whether the packet `index` (own, extended) of `len` octets may be resent now. If so it is accounted for, and
    /// the answer is its RTX index. `media_octets`: sent so far on this stream, retransmissions apart.
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
    /// [`RtxResponder::admit`]; now and then besides, so that the budget knows the media rate before the first NACK.
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
