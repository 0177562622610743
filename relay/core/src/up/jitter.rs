//! Reception statistics of one SSRC: sequence validation, loss and jitter as in RFC 3550 appendix A.
//!
//! Invariants
//! - Extended numbers handed out never fall behind a restart: a restart continues above the highest one
//!   before.
//! - A large jump is believed only when a second packet follows it in order (A.1); the first is refused.
//!
//! Where we differ from A.1: no probation for a new source, because every packet here was authenticated.

use crate::id::{SeqNo, Ssrc};
use crate::time::Time;
use crate::wire::rtcp::ReportBlock;

/// Largest forward step taken without question (A.1 MAX_DROPOUT).
pub const DROPOUT_MAX: i16 = 3000;
/// Largest backward step taken as a late packet (A.1 MAX_MISORDER is 100; retransmissions on the media SSRC
/// come later than that, and the history reaches this far).
pub const MISORDER_MAX: i16 = 1024;
/// Extended numbers begin in this cycle, so that a late packet before the first one has a number too.
const FIRST_CYCLE: u64 = 1 << 16;
/// A transit-time step of more than this many seconds is a new timestamp base, not jitter.
const JITTER_STEP_SECONDS_MAX: u32 = 5;

/// What a sequence number meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeqVerdict {
    /// First of the source, or ahead of all before it. The extended number.
    Ahead(u64),
    /// Behind the highest: reordered or repeated. The extended number.
    Late(u64),
    /// A large jump that nothing confirms yet: drop it.
    Suspect,
    /// The jump is confirmed by this packet, or it is the first of another SSRC. The number is above all
    /// before.
    Restart(u64),
}

/// A sender report as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrArrival {
    /// NTP timestamp of the publisher.
    pub ntp: u64,
    /// The RTP timestamp of that same moment.
    pub rtp_timestamp: u32,
    /// When it came in.
    pub arrival: Time,
}

/// See the module.
#[derive(Debug)]
pub struct ReceiverStats {
    ssrc: Ssrc,
    clock_rate_hz: u32,
    /// First and highest extended number since the start or the last restart.
    range: Option<(u64, u64)>,
    /// Number that would confirm a jump.
    confirms_jump: Option<SeqNo>,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    last_interval: (u64, u64),
    transit: Option<u32>,
    /// Jitter times 16 (A.8).
    jitter_q4: u32,
    last_sr: Option<SrArrival>,
    next_base: u64,
}

impl ReceiverStats {
    /// Statistics of `ssrc`, whose timestamps tick at `clock_rate_hz`.
    #[must_use]
    pub fn new(ssrc: Ssrc, clock_rate_hz: u32) -> Self {
        Self {
            ssrc,
            clock_rate_hz,
            range: None,
            confirms_jump: None,
            received: 0,
            expected_prior: 0,
            received_prior: 0,
            last_interval: (0, 0),
            transit: None,
            jitter_q4: 0,
            last_sr: None,
            next_base: FIRST_CYCLE,
        }
    }

    /// The same track continues under another SSRC. Extended numbers go on well above all before.
    pub fn change_ssrc(&mut self, ssrc: Ssrc) {
        let next_base = self.range.map_or(self.next_base, |(_, highest)| ((highest >> 16) + 2) << 16);
        *self = Self { next_base, ..Self::new(ssrc, self.clock_rate_hz) };
    }

    /// Takes the header of an authenticated packet that came first-hand (not by RTX).
    pub fn received(&mut self, seq: SeqNo, timestamp: u32, arrival: Time) -> SeqVerdict {
        let verdict = self.place(seq);
        match verdict {
            SeqVerdict::Suspect => return verdict,
            SeqVerdict::Restart(_) => self.transit = None,
            SeqVerdict::Ahead(_) | SeqVerdict::Late(_) => {}
        }
        self.received += 1;
        self.update_jitter(timestamp, arrival);
        verdict
    }

    /// The source's numbering begins anew with the packet `seq`, which [`ReceiverStats::received`] took for a
    /// late one. Its extended number now.
    pub fn restart_at(&mut self, seq: SeqNo) -> u64 {
        let highest = self.range.map_or(self.next_base, |(_, highest)| highest);
        let start = self.restart(highest, seq);
        self.received = 1;
        self.transit = None;
        start
    }

    /// The extended number of a retransmission's original, without counting it. `None` before the first
    /// packet.
    #[must_use]
    pub fn extend_original(&self, osn: SeqNo) -> Option<u64> {
        self.range.map(|(_, highest)| osn.extend(highest))
    }

    /// Notes a sender report (RFC 3550 §6.4.1).
    pub fn on_sender_report(&mut self, now: Time, ntp: u64, rtp_timestamp: u32) {
        self.last_sr = Some(SrArrival { ntp, rtp_timestamp, arrival: now });
    }

    /// The last sender report.
    #[must_use]
    pub fn last_sr(&self) -> Option<SrArrival> {
        self.last_sr
    }

    /// The report block for now; begins a new interval. `None` if nothing came since the last one (RFC 3550
    /// §6.4).
    pub fn report_block(&mut self, now: Time) -> Option<ReportBlock> {
        let (_, highest) = self.range.filter(|_| self.received != self.received_prior)?;
        let expected = self.expected();
        let expected_interval = expected.saturating_sub(self.expected_prior);
        let received_interval = self.received - self.received_prior;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        self.expected_prior = expected;
        self.received_prior = self.received;
        self.last_interval = (expected_interval, lost_interval);
        let fraction = (lost_interval << 8).checked_div(expected_interval).unwrap_or(0);
        let (lsr, dlsr) =
            self.last_sr.map_or((0, 0), |sr| (Time::compact_ntp(sr.ntp), compact(now, sr.arrival)));
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: self.cumulative_lost(),
            highest_seq: highest.wrapping_sub(FIRST_CYCLE) as u32,
            jitter: self.jitter_q4 >> 4,
            lsr,
            dlsr,
        })
    }

    /// Packets expected and lost in the interval that the last report block closed.
    #[must_use]
    pub fn last_interval(&self) -> (u64, u64) {
        self.last_interval
    }

    /// Packets received first-hand since the start or the last restart.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.received
    }

    /// Packets missing first-hand since then, clamped to 24 bit signed (A.3); negative with duplicates.
    #[must_use]
    pub fn cumulative_lost(&self) -> i32 {
        let lost = self.expected().cast_signed() - self.received.cast_signed();
        lost.clamp(-0x80_0000, 0x7f_ffff) as i32
    }

    /// Highest extended number.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.range.map(|(_, highest)| highest)
    }

    fn expected(&self) -> u64 {
        self.range.map_or(0, |(base, highest)| highest - base + 1)
    }

    fn place(&mut self, seq: SeqNo) -> SeqVerdict {
        let Some((base, highest)) = self.range else {
            let first = self.next_base + u64::from(seq.0);
            self.range = Some((first, first));
            let continues = self.next_base != FIRST_CYCLE;
            return if continues { SeqVerdict::Restart(first) } else { SeqVerdict::Ahead(first) };
        };
        let step = seq.distance(SeqNo(highest as u16));
        if (1..=DROPOUT_MAX).contains(&step) {
            let ahead = highest + u64::from(step.unsigned_abs());
            self.range = Some((base, ahead));
            self.confirms_jump = None;
            return SeqVerdict::Ahead(ahead);
        }
        if (-MISORDER_MAX..=0).contains(&step) {
            return SeqVerdict::Late(highest - u64::from(step.unsigned_abs()));
        }
        if self.confirms_jump.replace(SeqNo(seq.0.wrapping_add(1))) != Some(seq) {
            return SeqVerdict::Suspect;
        }
        SeqVerdict::Restart(self.restart(highest, seq))
    }

    /// A.1 init_seq, on the next number with these low 16 bits that is above `highest`: a whole cycle above,
    /// if they are those of `highest` itself.
    fn restart(&mut self, highest: u64, seq: SeqNo) -> u64 {
        let next = highest + 1;
        let start = next + u64::from(seq.0.wrapping_sub(next as u16));
        self.range = Some((start, start));
        self.confirms_jump = None;
        self.received = 0;
        self.expected_prior = 0;
        self.received_prior = 0;
        start
    }

    /// RFC 3550 A.8, in integers.
    fn update_jitter(&mut self, timestamp: u32, arrival: Time) {
        let transit = ticks(arrival, self.clock_rate_hz).wrapping_sub(timestamp);
        let Some(before) = self.transit.replace(transit) else { return };
        let step = transit.wrapping_sub(before).cast_signed().unsigned_abs();
        if step > self.clock_rate_hz.saturating_mul(JITTER_STEP_SECONDS_MAX) {
            return;
        }
        let decay = self.jitter_q4.saturating_add(8) >> 4;
        self.jitter_q4 = self.jitter_q4.saturating_add(step) - decay;
    }
}

/// `time` in units of a media clock, modulo 2^32.
pub(crate) fn ticks(time: Time, clock_rate_hz: u32) -> u32 {
    let (seconds, rest) = (time.as_nanos() / 1_000_000_000, time.as_nanos() % 1_000_000_000);
    let rate = u64::from(clock_rate_hz);
    seconds.wrapping_mul(rate).wrapping_add(rest * rate / 1_000_000_000) as u32
}

/// Time from `earlier` to `now` in 1/65536 s, as DLSR wants it.
fn compact(now: Time, earlier: Time) -> u32 {
    let elapsed = now.since(earlier).as_nanos();
    u32::try_from(elapsed * 65_536 / 1_000_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: u64 = FIRST_CYCLE;

    fn ms(at: u64) -> Time {
        Time::from_nanos((1_000 + at) * 1_000_000)
    }

    fn stats() -> ReceiverStats {
        ReceiverStats::new(Ssrc(7), 90_000)
    }

    #[test]
    fn sequence_numbers_are_placed_as_in_a_1() {
        use SeqVerdict::{Ahead, Late, Restart, Suspect};
        // Numbers in order of arrival with what each must mean.
        let table: &[&[(u16, SeqVerdict)]] = &[
            &[(5, Ahead(C + 5)), (6, Ahead(C + 6)), (6, Late(C + 6)), (5, Late(C + 5)), (4, Late(C + 4))],
            &[
                (65_535, Ahead(C + 65_535)),
                (0, Ahead(2 * C)),
                (65_535, Late(2 * C - 1)),
                (1, Ahead(2 * C + 1)),
            ],
            &[(0, Ahead(C)), (65_535, Late(C - 1)), (1, Ahead(C + 1))],
            &[(10, Ahead(C + 10)), (138, Ahead(C + 138)), (10, Late(C + 10))],
            &[(10, Ahead(C + 10)), (3_010, Ahead(C + 3_010)), (6_011, Suspect), (3_011, Ahead(C + 3_011))],
            &[(2_000, Ahead(C + 2_000)), (976, Late(C + 976)), (975, Suspect), (2_001, Ahead(C + 2_001))],
            // ±(2^15 − 1) and 2^15: believed at the second packet, and always forward.
            &[(0, Ahead(C)), (32_767, Suspect), (32_768, Restart(C + 32_768)), (32_769, Ahead(C + 32_769))],
            &[(0, Ahead(C)), (32_768, Suspect), (32_769, Restart(C + 32_769))],
            &[(40_000, Ahead(C + 40_000)), (7_233, Suspect), (7_234, Restart(2 * C + 7_234))],
            &[
                (40_000, Ahead(C + 40_000)),
                (30_000, Suspect),
                (30_001, Restart(2 * C + 30_001)),
                (30_000, Late(2 * C + 30_000)),
            ],
            // Two strays that do not follow one another confirm nothing.
            &[
                (1, Ahead(C + 1)),
                (9_000, Suspect),
                (20_000, Suspect),
                (9_001, Suspect),
                (2, Ahead(C + 2)),
                (9_002, Suspect),
            ],
        ];
        for case in table {
            let mut stats = stats();
            for (i, (seq, verdict)) in case.iter().enumerate() {
                assert_eq!(stats.received(SeqNo(*seq), 0, ms(0)), *verdict, "step {i} of {case:?}");
            }
        }
    }

    #[test]
    fn reports_count_as_in_a_3() {
        // (numbers since the last report, fraction, cumulative, highest)
        let mut stats = stats();
        assert_eq!(stats.report_block(ms(0)), None);
        for (seqs, fraction, cumulative, highest) in [
            (vec![65_530, 65_531, 65_532, 65_533], 0, 0, 65_533),
            (vec![65_535, 0, 1], 64, 1, 65_537),
            (vec![65_534, 2], 0, 0, 65_538),
            (vec![2, 2, 3], 0, -2, 65_539),
            (vec![13], 230, 7, 65_549),
        ] {
            for seq in &seqs {
                let _ = stats.received(SeqNo(*seq), 0, ms(0));
            }
            let block = stats.report_block(ms(0)).expect("something came");
            let got = (block.ssrc, block.fraction_lost, block.cumulative_lost, block.highest_seq);
            assert_eq!(got, (Ssrc(7), fraction, cumulative, highest), "after {seqs:?}");
        }
        assert_eq!(stats.last_interval(), (10, 9));
        assert_eq!(stats.report_block(ms(0)), None, "nothing came since");
    }

    #[test]
    fn a_restart_is_above_all_before() {
        for (seq, start) in [(999, 2 * C + 999), (1_000, 2 * C + 1_000), (1_001, C + 1_001), (0, 2 * C)] {
            let mut stats = stats();
            assert_eq!(stats.received(SeqNo(1_000), 0, ms(0)), SeqVerdict::Ahead(C + 1_000));
            assert_eq!(stats.restart_at(SeqNo(seq)), start, "at {seq}");
            assert_eq!(stats.highest(), Some(start));
        }
    }

    #[test]
    fn a_restart_begins_the_counts_anew() {
        let mut stats = stats();
        for seq in [1, 5, 30_000, 30_001, 30_003] {
            let _ = stats.received(SeqNo(seq), 0, ms(0));
        }
        let block = stats.report_block(ms(0)).expect("something came");
        assert_eq!((block.fraction_lost, block.cumulative_lost, block.highest_seq), (85, 1, 30_003));
    }

    #[test]
    fn jitter_follows_a_8() {
        // Packets 20 ms apart on a 90 kHz clock, given how late each came, in ms: jitter by the integer code
        // of A.8.
        for (late, jitter) in [
            (vec![0, 0, 0, 0], 0),
            (vec![7, 7, 7, 7], 0),
            (vec![0, 10], 56),
            (vec![0, 10, 0], 109),
            (vec![10, 0], 56),
            (vec![0, 10, 0, 10, 0, 10, 0], 289),
        ] {
            let mut stats = stats();
            for (i, late) in late.iter().enumerate() {
                let i = i as u64;
                let _ = stats.received(
                    SeqNo(i as u16),
                    (i as u32 * 1_800).wrapping_sub(2_000),
                    ms(i * 20 + late),
                );
            }
            let block = stats.report_block(ms(1_000)).expect("something came");
            assert_eq!(block.jitter, jitter, "lateness {late:?}");
        }
    }

    #[test]
    fn a_new_timestamp_base_is_no_jitter() {
        let mut stats = stats();
        let _ = stats.received(SeqNo(1), 0, ms(0));
        let _ = stats.received(SeqNo(2), 0x7000_0000, ms(20));
        let _ = stats.received(SeqNo(3), 0x7000_0000 + 1_800, ms(40));
        assert_eq!(stats.report_block(ms(50)).map(|b| b.jitter), Some(0));
    }

    #[test]
    fn the_last_sender_report_is_echoed() {
        let mut stats = stats();
        let _ = stats.received(SeqNo(1), 0, ms(0));
        stats.on_sender_report(ms(100), 0x1122_3344_5566_7788, 5);
        let block = stats.report_block(ms(350)).expect("something came");
        assert_eq!((block.lsr, block.dlsr), (0x3344_5566, 16_384));
    }

    #[test]
    fn another_ssrc_continues_well_above() {
        let mut stats = stats();
        let _ = stats.received(SeqNo(40_000), 0, ms(0));
        stats.change_ssrc(Ssrc(8));
        stats.change_ssrc(Ssrc(9));
        assert_eq!(stats.extend_original(SeqNo(1)), None);
        assert_eq!(stats.received(SeqNo(50_000), 0, ms(1)), SeqVerdict::Restart(3 * C + 50_000));
        assert_eq!(stats.report_block(ms(2)).map(|b| (b.ssrc, b.cumulative_lost)), Some((Ssrc(9), 0)));
    }

    #[test]
    fn ticks_do_not_drift_or_overflow() {
        for (nanos, rate, want) in [
            (0, 90_000, 0),
            (1_000_000_000, 90_000, 90_000),
            (1_500_000_000, 48_000, 72_000),
            (86_400_000_000_000, 90_000, (86_400u64 * 90_000) as u32),
            (u64::MAX, u32::MAX, 1_780_626_091),
        ] {
            assert_eq!(ticks(Time::from_nanos(nanos), rate), want, "{nanos} ns at {rate} Hz");
        }
    }
}
