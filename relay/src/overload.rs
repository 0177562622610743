//! Overload control of a worker: how long its waits gather datagrams, and how much video it sheds when that
//! is not enough.
//!
//! Sans-IO: it is told the times and the thread's usage. An idle shard adds no delay. A busy one lets a wait
//! gather for a moment, because packets that are handled together cost less: the hold grows with the share of
//! time the shard works, up to a setting. A thread that even so never goes to sleep does not keep up:
//! datagrams pile up in the kernel, which would discard them blindly, checks and audio included. Then video
//! is shed, an eighth of the subscriptions at a time, until the thread sleeps again. Then as much is restored
//! at once as there is room for, judging by what the rest costs.
//!
//! Whether a batch was full says less: io_uring completes 32 receives of a socket at a time, however many
//! more wait. But one that was not full says that nothing more waited. So work that is only done while
//! nothing else is to do, handshakes and commands, counts as idle time: a thread that would have slept but
//! for them keeps up, however many join at once.

use crate::usage::Usage;
use relay_core::shed::SHED_STEPS;
use relay_core::time::Time;
use std::time::Duration;

/// Below this share of working time a wait holds nothing: latency is worth more than a core that is half idle
/// anyway.
const HOLD_FROM: f64 = 0.6;
/// At this share of working time a wait gathers for the longest time.
const HOLD_FULL: f64 = 0.9;
/// The share of working time is measured over windows of this length.
const WINDOW: Duration = Duration::from_millis(10);
/// Weight of the newest window in the moving average of the share.
const NEWEST: f64 = 0.3;
/// A thread that has not slept for this long does not keep up.
const SHED_AFTER: Duration = Duration::from_millis(50);
/// After this long with room to spare, shed video is restored, as much as there is room for.
const RESTORE_AFTER: Duration = Duration::from_millis(250);
/// If more must be shed within this time after a restoration, the pause before the next one doubles, up to a
/// limit: video that comes and goes is worse than video that stays away.
const RELAPSE_WITHIN: Duration = Duration::from_secs(1);
const RESTORE_AFTER_MAX: Duration = Duration::from_secs(2);
/// Lower bound of a step's measured cost, as a share of time: smaller values may be noise.
const STEP_COST_MIN: f64 = 0.02;
/// Below this share of working time there is room to spare.
const SPARE_BELOW: f64 = 0.8;

/// A batch of fewer datagrams has taken all that there were: io_uring completes so many receives of a socket
/// at a time.
pub const FULL_BATCH: usize = 32;

#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// When its wait ended.
    pub begun: Time,
    pub ended: Time,
    /// Datagrams that it received.
    pub received: usize,
    /// It did not wait, because handshakes or commands were deferred to it.
    pub kept_awake: bool,
    /// Time spent on them, if they kept it awake.
    pub deferred: Duration,
}

#[derive(Debug)]
pub struct OverloadControl {
    hold_max: Duration,
    /// When the window began, the usage until then, and the time worked in the window.
    window: Time,
    usage: Usage,
    worked: Duration,
    /// Also in the window: the time spent on deferred work, and whether the thread would have slept without
    /// it.
    deferred: Duration,
    idle: bool,
    /// Share of time worked, 0 to 1.
    share: f64,
    /// Since when the thread has not slept.
    awake_since: Option<Time>,
    /// Since when there has been room to spare.
    spare_since: Option<Time>,
    shed: u8,
    /// The last restoration, unless something has been shed since.
    restored: Option<Restored>,
    /// How long there must be room to spare before the next restoration.
    pause: Duration,
}

/// The last time that shed video was restored.
#[derive(Clone, Copy, Debug)]
struct Restored {
    at: Time,
    /// The shedding step until then.
    shed: u8,
    share: f64,
}

impl OverloadControl {
    /// `hold_max`: the longest time that a wait gathers datagrams.
    #[must_use]
    pub fn new(now: Time, hold_max: Duration) -> Self {
        Self {
            hold_max,
            window: now,
            usage: Usage::default(),
            worked: Duration::ZERO,
            deferred: Duration::ZERO,
            idle: false,
            share: 0.0,
            awake_since: None,
            spare_since: None,
            shed: 0,
            restored: None,
            pause: RESTORE_AFTER,
        }
    }

    /// A turn ends. True: [`Self::measure`] is due.
    #[must_use]
    pub fn end_turn(&mut self, turn: &Turn) -> bool {
        self.worked += turn.ended.since(turn.begun);
        self.deferred += turn.deferred;
        self.idle |= turn.kept_awake && turn.received < FULL_BATCH;
        turn.ended.since(self.window) >= WINDOW
    }

    /// Takes the thread's usage so far into account, and adjusts hold and shedding.
    pub fn measure(&mut self, now: Time, usage: Usage) {
        let passed = now.since(self.window);
        // Turns leave out what the kernel does in a wait, receiving; CPU time leaves out that others had the
        // core.
        let used = self.worked.max(usage.cpu.saturating_sub(self.usage.cpu)).saturating_sub(self.deferred);
        let newest = (used.as_secs_f64() / passed.as_secs_f64()).min(1.0);
        self.share += (newest - self.share) * NEWEST;
        let awake = usage.sleeps == self.usage.sleeps && !self.idle;
        self.awake_since = awake.then(|| self.awake_since.unwrap_or(self.window));
        let spare = !awake && self.share < SPARE_BELOW;
        self.spare_since = spare.then(|| self.spare_since.unwrap_or(self.window));
        (self.window, self.usage, self.worked) = (now, usage, Duration::ZERO);
        (self.deferred, self.idle) = (Duration::ZERO, false);
        self.adjust(now);
    }

    fn adjust(&mut self, now: Time) {
        let lasted = |since: Option<Time>, limit| since.is_some_and(|since| now.since(since) >= limit);
        if lasted(self.awake_since, SHED_AFTER) {
            self.shed = (self.shed + 1).min(SHED_STEPS);
            self.awake_since = Some(now);
            if self.restored.take().is_some_and(|restored| now.since(restored.at) < RELAPSE_WITHIN) {
                self.pause = (self.pause * 2).min(RESTORE_AFTER_MAX);
            }
        } else if self.shed > 0 && lasted(self.spare_since, self.pause) {
            let left = self.bearable();
            self.restored = Some(Restored { at: now, shed: self.shed, share: self.share });
            self.shed = left;
            self.spare_since = Some(now);
        } else if self.restored.is_some_and(|restored| now.since(restored.at) >= RELAPSE_WITHIN) {
            self.pause = RESTORE_AFTER;
        }
    }

    /// The least that must be shed: if all work grows with what is forwarded, or, where that was seen, if it
    /// grows as it did when something was taken back before. One step is taken back in any case: when all is
    /// shed, nothing says yet what video costs.
    fn bearable(&self) -> u8 {
        let forwarded = |shed: u8| f64::from(SHED_STEPS - shed);
        let step = self.restored.map(|before| {
            let steps = f64::from(before.shed.saturating_sub(self.shed).max(1));
            ((self.share - before.share) / steps).max(STEP_COST_MIN)
        });
        let bears = |left: &u8| {
            let by_all = self.share * forwarded(*left) <= SPARE_BELOW * forwarded(self.shed);
            let by_step = |step: f64| self.share + step * f64::from(self.shed - left) <= SPARE_BELOW;
            by_all || step.is_some_and(by_step)
        };
        (0..self.shed).find(bears).unwrap_or(self.shed - 1)
    }

    /// For how long the next wait gathers datagrams.
    #[must_use]
    pub fn hold(&self) -> Duration {
        let degree = ((self.share - HOLD_FROM) / (HOLD_FULL - HOLD_FROM)).clamp(0.0, 1.0);
        self.hold_max.mul_f64(degree)
    }

    /// How many of [`SHED_STEPS`] of the video subscriptions get nothing.
    #[must_use]
    pub fn shed(&self) -> u8 {
        self.shed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD_MAX: Duration = Duration::from_micros(1000);

    /// A simulated thread with its own clock.
    struct Thread {
        overload: OverloadControl,
        now: Time,
        usage: Usage,
    }

    impl Thread {
        fn new(hold_max: Duration) -> Self {
            let now = Time::from_nanos(1_000_000_000);
            Self { overload: OverloadControl::new(now, hold_max), now, usage: Usage::default() }
        }

        /// Turns of `period` µs, of which `work` is worked, for `span`; what is left of them is slept if
        /// there is a wait.
        fn turns(&mut self, (period, work): (u64, u64), sleeps: bool, span: Duration) {
            self.turns_with_waits((period, work, 0), sleeps, span);
        }

        /// In each wait the kernel works for `receive` µs.
        fn turns_with_waits(
            &mut self,
            (period, work, receive): (u64, u64, u64),
            sleeps: bool,
            span: Duration,
        ) {
            let end = self.now + span;
            while self.now < end {
                let begun = self.now + Duration::from_micros(period - work);
                self.now = begun + Duration::from_micros(work);
                self.usage.cpu += Duration::from_micros(work + receive);
                self.usage.sleeps += u64::from(sleeps);
                let turn =
                    Turn { begun, ended: self.now, received: 1, kept_awake: false, deferred: Duration::ZERO };
                self.end(&turn);
            }
        }

        /// Turns of `media` and `deferred` µs without a wait, as handshakes wait; each takes `received`
        /// datagrams.
        fn turns_of_a_storm(&mut self, (media, deferred): (u64, u64), received: usize, span: Duration) {
            let end = self.now + span;
            let deferred = Duration::from_micros(deferred);
            while self.now < end {
                let begun = self.now;
                self.now = begun + Duration::from_micros(media) + deferred;
                self.usage.cpu += self.now.since(begun);
                self.end(&Turn { begun, ended: self.now, received, kept_awake: true, deferred });
            }
        }

        fn end(&mut self, turn: &Turn) {
            if self.overload.end_turn(turn) {
                self.overload.measure(self.now, self.usage);
            }
        }
    }

    #[test]
    fn handshakes_are_idle_time() {
        let mut thread = Thread::new(HOLD_MAX);
        // A third of the time for media, the rest for those who join: seconds of it shed nothing.
        thread.turns_of_a_storm((300, 600), FULL_BATCH - 1, Duration::from_secs(3));
        assert_eq!(thread.overload.shed(), 0);
        assert_eq!(thread.overload.hold(), Duration::ZERO, "a third of the time is not much");
        // Media that keeps the thread busy by itself sheds, whoever joins meanwhile.
        thread.turns_of_a_storm((3_000, 600), FULL_BATCH, Duration::from_millis(120));
        assert_eq!(thread.overload.shed(), 2);
        // It was taken back while still more joined.
        thread.turns_of_a_storm((100, 600), 5, Duration::from_secs(1));
        assert_eq!(thread.overload.shed(), 0);
    }

    #[test]
    fn the_hold_follows_the_share_of_work() {
        for (period, work, receive, least, most) in [
            (1000, 0, 0, 0, 0),
            (1000, 590, 0, 0, 0),
            (1000, 750, 0, 450, 550),
            (1000, 400, 350, 450, 550),
            (1000, 900, 0, 980, 1000),
            (1000, 990, 0, 1000, 1000),
        ] {
            let mut thread = Thread::new(HOLD_MAX);
            thread.turns_with_waits((period, work, receive), true, Duration::from_secs(1));
            let held = thread.overload.hold().as_micros();
            assert!((least..=most).contains(&held), "{work} and {receive} of {period}: {held} µs");
            assert_eq!(thread.overload.shed(), 0);
        }
        let mut never = Thread::new(Duration::ZERO);
        never.turns((1000, 990), true, Duration::from_secs(1));
        assert_eq!(never.overload.hold(), Duration::ZERO);
    }

    #[test]
    fn what_does_not_keep_up_sheds_step_by_step_and_takes_it_back() {
        let mut thread = Thread::new(HOLD_MAX);
        // A short burst is what buffers are for.
        thread.turns((200, 200), false, Duration::from_millis(40));
        assert_eq!(thread.overload.shed(), 0);
        thread.turns((200, 200), false, Duration::from_millis(120));
        assert_eq!(thread.overload.shed(), 3);
        // Most of the time may go by in the kernel, while it receives.
        thread.turns_with_waits((200, 80, 120), false, Duration::from_secs(2));
        assert_eq!(thread.overload.shed(), SHED_STEPS, "all video is the most");
        // Keeping up, but only just: stays as it is.
        thread.turns((200, 190), true, Duration::from_secs(2));
        assert_eq!(thread.overload.shed(), SHED_STEPS);
        thread.turns((1000, 90), true, Duration::from_millis(400));
        assert_eq!(thread.overload.shed(), SHED_STEPS - 1, "one step, to see what video costs");
        thread.turns((1000, 90), true, Duration::from_millis(250));
        assert_eq!(thread.overload.shed(), 0, "and then all that will be borne");
    }

    #[test]
    fn no_more_is_taken_back_than_will_be_borne() {
        for (work, left) in [(700, 5), (390, 4), (190, 0)] {
            let mut thread = Thread::new(HOLD_MAX);
            thread.turns((200, 200), false, Duration::from_millis(310));
            assert_eq!(thread.overload.shed(), 6);
            // Until the share is known, and the pause is over.
            thread.turns((1000, work), true, Duration::from_millis(350));
            assert_eq!(thread.overload.shed(), left, "{work} of 1000 with two of eight parts");
        }
    }

    #[test]
    fn what_a_step_costs_is_seen_where_receiving_costs_most() {
        let mut thread = Thread::new(HOLD_MAX);
        thread.turns((200, 200), false, Duration::from_secs(1));
        assert_eq!(thread.overload.shed(), SHED_STEPS);
        // Half of the time goes into what nobody gets, and each step costs 3 % more.
        let cost = |shed: u8| (1000, 200 + 30 * u64::from(SHED_STEPS - shed), 300);
        let mut taken_back = Vec::new();
        while thread.overload.shed() > 0 && taken_back.len() < 200 {
            let shed = thread.overload.shed();
            thread.turns_with_waits(cost(shed), true, Duration::from_millis(10));
            taken_back.push(shed - thread.overload.shed());
        }
        taken_back.retain(|steps| *steps > 0);
        assert_eq!(taken_back, [1, 7]);
    }

    #[test]
    fn whoever_takes_back_too_much_waits_longer_before_the_next_time() {
        let mut thread = Thread::new(HOLD_MAX);
        thread.turns((200, 200), false, Duration::from_millis(110));
        assert_eq!(thread.overload.shed(), 2);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let (shed, begun) = (thread.overload.shed(), thread.now);
            while thread.overload.shed() == shed {
                thread.turns((1000, 700), true, Duration::from_millis(10));
            }
            pauses.push(thread.now.since(begun).as_millis() / 100);
            // Too much already.
            while thread.overload.shed() < shed {
                thread.turns((200, 200), false, Duration::from_millis(10));
            }
        }
        let doubled = pauses.windows(2).all(|pair| pair[1] >= 2 * pair[0] - 1 || pair[1] >= 20);
        assert!(doubled && pauses[0] <= 4 && pauses[5] <= 22, "{pauses:?}");
        // Borne, it is as quick as ever.
        let calm = |thread: &mut Thread, span| thread.turns((1000, 100), true, Duration::from_millis(span));
        calm(&mut thread, 4_000);
        assert_eq!(thread.overload.shed(), 0);
        thread.turns((200, 200), false, Duration::from_millis(110));
        calm(&mut thread, 600);
        assert_eq!(thread.overload.shed(), 0);
    }
}
