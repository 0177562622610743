//! What one peer's downlink carries, from its reports on what it was sent.

use super::delay::DelayDetector;
use super::loss::LossControl;
use super::probe::Prober;
use super::rate::{Observed, RateControl};
use super::recent::RecentMin;
use super::sent::SentRing;
use super::throughput::Throughput;
use super::trend::Usage;
use crate::id::SeqNo;
use crate::time::Time;
use crate::wire::rtcp::TransportCc;
use std::time::Duration;

/// Where an estimate begins: sound and a small picture. Probes find more within a second.
pub const START_BPS: u64 = 300_000;
/// An estimate is never lower: less than any sound takes.
pub const MIN_BPS: u64 = 30_000;
/// Nor higher: more than a publisher may send.
pub const MAX_BPS: u64 = 100_000_000;
/// Below this part of the target being sent, that all goes well proves little.
const LIMITED_PERCENT: u64 = 80;
/// A queue of this length is waited for: the target is lowered by its length in a second.
const DRAIN_FROM: Duration = Duration::from_millis(25);
/// In which time a queue is to be gone.
const DRAIN_IN: Duration = Duration::from_millis(600);
/// What remains of the target in the meantime.
const DRAIN_MIN: f64 = 0.3;
/// After overuse, no probe for so long.
const CALM: Duration = Duration::from_millis(1_500);
/// No probe while more than so much is lost.
const PROBE_LOSS_PERCENT: u32 = 5;
/// Without a report for so long, beside a round trip, the rate is halved, and again after each such time.
const SILENCE: Duration = Duration::from_millis(600);
/// Round trip assumed until the first report, and the longest believed.
const RTT_START: Duration = Duration::from_millis(100);
const RTT_MAX: Duration = Duration::from_secs(3);
/// The shortest round trip is that of the last one to two of these.
const RTT_BEST_US: i64 = 10_000_000;
/// Time between reports assumed until the second, the longest believed, and how many of them a report may be
/// late: one that is lost says nothing.
const INTERVAL_START: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_millis(300);
const INTERVALS_LATE: u32 = 1;
/// Unit of the times in a report, and of its reference time.
const TICK_US: i64 = 250;
const REFERENCE_TICKS: i64 = 256;

/// See the module.
#[derive(Debug)]
pub struct Estimator {
    sent: SentRing,
    clock: PeerClock,
    delay: DelayDetector,
    sending: Throughput,
    arriving: Throughput,
    rate: RateControl,
    loss: LossControl,
    probe: Prober,
    rtt: Duration,
    /// The shortest of late: without a queue.
    rtt_best: RecentMin,
    /// Between two reports, smoothed.
    interval: Duration,
    /// When the oldest packet was sent of which no report has told.
    open_since: Option<Time>,
    wanted_bps: u64,
    /// When the last report came.
    reported: Option<Time>,
    /// When silence is next acted upon.
    silent_from: Option<Time>,
    /// What the peer says by itself, if that is all it says.
    remb_bps: Option<u64>,
}

impl Default for Estimator {
    fn default() -> Self {
        Self::new()
    }
}

impl Estimator {
    /// Nothing sent. All that it will ever need is allocated here.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sent: SentRing::new(),
            clock: PeerClock::default(),
            delay: DelayDetector::default(),
            sending: Throughput::default(),
            arriving: Throughput::default(),
            rate: RateControl::new(START_BPS, (MIN_BPS, MAX_BPS)),
            loss: LossControl::default(),
            probe: Prober::default(),
            rtt: RTT_START,
            rtt_best: RecentMin::new(RTT_BEST_US),
            interval: INTERVAL_START,
            open_since: None,
            wanted_bps: 0,
            reported: None,
            silent_from: None,
            remb_bps: None,
        }
    }

    /// What would be sent if the link carried it: without need there are no probes.
    pub fn set_wanted(&mut self, bps: u64) {
        self.wanted_bps = bps;
    }

    /// A packet is sent, of so many octets in all; its transport-wide number.
    #[inline]
    pub fn on_sent(&mut self, now: Time, octets: usize) -> SeqNo {
        self.sending.add(now.as_micros().cast_signed(), octets as u32);
        let number = self.sent.push(now, octets, self.probe.id());
        self.probe.on_sent(now, octets, self.rtt);
        self.open_since.get_or_insert(now);
        if self.silent_from.is_none() {
            self.silent_from = Some(now + self.rtt + SILENCE);
        }
        number
    }

    /// The peer reports on what it was sent.
    pub fn on_report(&mut self, now: Time, report: &TransportCc<'_>) {
        self.sent.on_statuses(SeqNo(report.base_seq), report.status_count);
        let mut ticks = self.clock.reference_ticks(report.reference_time_64ms);
        let (mut newest, mut last_arrived_us) = (None, 0);
        for (number, delta) in report.received() {
            ticks += i64::from(delta);
            let Some(acked) = self.sent.acknowledge(now, SeqNo(number)) else { continue };
            let arrived_us = ticks * TICK_US;
            self.delay.add(acked.sent.as_micros().cast_signed(), arrived_us);
            self.arriving.add(arrived_us, acked.octets);
            self.probe.on_acked(&acked, arrived_us);
            newest = newest.max(Some(acked.sent));
            last_arrived_us = arrived_us;
        }
        let Some(newest) = newest else { return };
        let rtt = now.since(newest).min(RTT_MAX);
        self.rtt = (self.rtt * 7 + rtt) / 8;
        self.rtt_best.add(now.as_micros().cast_signed(), rtt.as_micros() as i64);
        if let Some(before) = self.reported.replace(now) {
            self.interval = (self.interval * 7 + now.since(before).min(INTERVAL_MAX)) / 8;
        }
        let before_bps = self.target_bps(now);
        let losses = self.sent.settle(now, newest);
        self.arriving.add(last_arrived_us, losses.untold_octets as u32);
        self.open_since = self.sent.oldest_open(now);
        self.silent_from = self.open_since.map(|_| now + self.rtt + SILENCE);
        self.update_rate(now);
        self.loss.update(now, losses, before_bps, self.rate.bps());
        self.update_probe(now);
    }

    /// The peer says what it can receive (REMB). That counts as long as it does not report.
    pub fn on_remb(&mut self, bps: u64) {
        self.remb_bps = Some(bps.clamp(MIN_BPS, MAX_BPS));
    }

    /// When [`Estimator::handle_timeout`] or [`Estimator::poll_padding`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let silence = self.silent_from.filter(|_| self.reported.is_some());
        [silence, self.probe.poll_timeout()].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.reported.is_some() && self.silent_from.is_some_and(|at| now >= at) {
            self.rate.lower_to(self.target_bps(now) / 2);
            self.silent_from = Some(now + self.rtt + SILENCE);
            self.probe.put_off(now + CALM);
        }
    }

    /// Octets of padding to be sent now. Call until `None`, with [`Estimator::on_sent`] in between.
    #[must_use]
    pub fn poll_padding(&self, now: Time) -> Option<usize> {
        self.probe.poll(now)
    }

    /// What the link carries; `None` as long as nothing is known.
    #[must_use]
    pub fn estimate_bps(&self) -> Option<u64> {
        match (self.reported, self.remb_bps) {
            (None, remb_bps) => remb_bps,
            (Some(_), _) => {
                let bps = self.rate.bps();
                Some(self.loss.limit_bps().map_or(bps, |limit| bps.min(limit)).max(MIN_BPS))
            }
        }
    }

    /// What should be sent now: less than the link carries while there is a queue to wait for.
    #[must_use]
    pub fn target_bps(&self, now: Time) -> u64 {
        let bps = self.estimate_bps().unwrap_or(START_BPS);
        let queue = self.queue(now).saturating_sub(DRAIN_FROM);
        let kept = 1.0 - queue.as_secs_f64() / DRAIN_IN.as_secs_f64();
        (bps as f64 * kept.max(DRAIN_MIN)) as u64
    }

    /// How long the queue in front of the narrowest link is, at least. What reports do not tell of, though
    /// they should by now, waits in it.
    #[must_use]
    pub fn queue(&self, now: Time) -> Duration {
        let expected = self.open_since.map(|since| since + self.rtt_best() + self.interval * INTERVALS_LATE);
        let late = expected.filter(|_| self.reported.is_some()).map_or(Duration::ZERO, |at| now.since(at));
        self.delay.queue().max(late)
    }

    fn rtt_best(&self) -> Duration {
        Duration::from_micros(self.rtt_best.min().unsigned_abs()).min(RTT_MAX)
    }

    /// To the peer and back, with what its reports wait.
    #[must_use]
    pub const fn rtt(&self) -> Duration {
        self.rtt
    }

    /// Share of packets lost lately.
    #[must_use]
    pub const fn loss_percent(&self) -> u32 {
        self.loss.percent()
    }

    fn update_rate(&mut self, now: Time) {
        let bps = self.estimate_bps().unwrap_or(START_BPS);
        let sending_bps = self.sending.bitrate_bps().unwrap_or(0);
        self.rate.update(
            now,
            &Observed {
                usage: self.delay.usage(),
                arrives_bps: self.arriving.bitrate_bps().zip(self.arriving.lately_bps()),
                limited: sending_bps * 100 < bps * LIMITED_PERCENT,
                queue: self.delay.queue(),
                rtt: self.rtt,
            },
        );
    }

    fn update_probe(&mut self, now: Time) {
        if let Some(found) = self.probe.finish(now) {
            self.rate.raise_to(found.bps);
            self.loss.raise_to(found.bps);
        }
        if let Some(at) = self.rate.decreased() {
            self.probe.put_off(at + CALM);
        }
        let calm = self.delay.usage() != Usage::Over && self.delay.queue() <= DRAIN_FROM;
        if calm && self.loss.percent() <= PROBE_LOSS_PERCENT {
            self.probe.begin(now, self.target_bps(now), self.wanted_bps.min(MAX_BPS));
        }
    }
}

/// The reference times of reports have 24 bits: 12 days.
#[derive(Clone, Copy, Debug, Default)]
struct PeerClock {
    /// In units of 64 ms, unwrapped.
    last: Option<i64>,
}

impl PeerClock {
    fn reference_ticks(&mut self, reference_64ms: i32) -> i64 {
        let reference = match self.last {
            None => i64::from(reference_64ms),
            Some(last) => {
                let step = reference_64ms.wrapping_sub(last as i32) << 8 >> 8;
                last + i64::from(step)
            }
        };
        self.last = Some(reference);
        reference * REFERENCE_TICKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Ssrc;
    use crate::up::feedback::FeedbackReport;
    use crate::wire::rtcp::{RtcpPacket, parse_compound};

    fn ms(at: u64) -> Time {
        Time::from_nanos((1_000 + at) * 1_000_000)
    }

    fn report(estimator: &mut Estimator, now: Time, report: &FeedbackReport) {
        let mut bytes = [0; 1_200];
        let len = report.write(&mut bytes, Ssrc(1), Ssrc(2)).expect("fits");
        for packet in parse_compound(&bytes[..len]).expect("our own") {
            let RtcpPacket::TransportCc(report) = packet else { panic!("{packet:?}") };
            estimator.on_report(now, &report);
        }
    }

    /// Tells of `count` packets from `base` on that they came 10 ms apart.
    fn came(base: u16, count: usize, reference_time: i32) -> FeedbackReport {
        let deltas = (0..count).map(|_| Some(40)).collect();
        FeedbackReport { base_seq: base, fb_count: 0, reference_time, deltas }
    }

    #[test]
    fn nothing_is_known_before_the_first_report_and_remb_counts_until_then() {
        let mut estimator = Estimator::new();
        estimator.set_wanted(5_000_000);
        (0..20).for_each(|i| assert_eq!(estimator.on_sent(ms(i * 10), 1_000), SeqNo(i as u16)));
        estimator.handle_timeout(ms(10_000));
        assert_eq!((estimator.estimate_bps(), estimator.poll_timeout()), (None, None));
        assert_eq!(estimator.poll_padding(ms(10_000)), None);
        for (remb_bps, estimate_bps) in [(700_000, 700_000), (0, MIN_BPS), (u64::MAX, MAX_BPS)] {
            estimator.on_remb(remb_bps);
            assert_eq!(estimator.estimate_bps(), Some(estimate_bps));
        }
        report(&mut estimator, ms(10_000), &came(19, 1, 100));
        assert_eq!(estimator.estimate_bps(), Some(START_BPS));
        assert!(estimator.poll_padding(ms(10_020)).is_some(), "there is something to gain");
    }

    #[test]
    fn without_reports_the_rate_falls_and_a_queue_is_taken_to_grow() {
        let mut estimator = Estimator::new();
        for i in 0..10 {
            estimator.on_sent(ms(i * 10), 1_000);
        }
        report(&mut estimator, ms(150), &came(0, 10, 100));
        let calm_bps = estimator.target_bps(ms(150));
        assert_eq!((calm_bps, estimator.queue(ms(150))), (START_BPS, Duration::ZERO));
        estimator.on_sent(ms(200), 1_000);
        assert_eq!(estimator.target_bps(ms(300)), START_BPS);
        assert!(estimator.queue(ms(800)) > Duration::from_millis(300));
        assert!(estimator.target_bps(ms(800)) < START_BPS / 2);
        let mut fell = Vec::new();
        while let Some(at) = estimator.poll_timeout().filter(|at| *at < ms(5_000)) {
            estimator.handle_timeout(at);
            fell.extend(estimator.estimate_bps());
        }
        assert!(fell.len() >= 5 && fell.is_sorted_by(|a, b| a > b || *b == MIN_BPS), "{fell:?}");
    }

    #[test]
    fn reference_times_wrap_and_go_back() {
        let mut clock = PeerClock::default();
        let ticks = [0x7f_ffff, -0x80_0000, -0x7f_ffff, 0x7f_fffe].map(|time| clock.reference_ticks(time));
        assert_eq!(ticks.map(|at| at / REFERENCE_TICKS - 0x7f_ffff), [0, 1, 2, -1]);
    }
}
