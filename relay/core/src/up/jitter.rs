//! Reception statistics of one SSRC: sequence validation, loss and jitter as in RFC 3550 appendix A.
//!
//! Invariants
//! - Extended numbers handed out never fall behind a restart: a restart continues above the highest one before.
//! - A large jump is believed only when a second packet follows it in order (A.1); the first is refused.
//!
//! Where we differ from A.1: no probation for a new source, because every packet here was authenticated.

use crate::id::{SeqNo, Ssrc};
use crate::time::Time;
use crate::wire::rtcp::ReportBlock;

/// Largest forward step taken without question (A.1 MAX_DROPOUT).
pub const DROPOUT_MAX: i16 = 3000;
/// Largest backward step taken as a late packet (A.1 MAX_MISORDER is 100; retransmissions on the media SSRC come
/// later than that, and the history reaches this far).
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
    /// The jump is confirmed by this packet, or it is the first of another SSRC. The number is above all before.
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

    /// The extended number of a retransmission's original, without counting it. `None` before the first packet.
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

    /// The report block for now; begins a new interval. `None` if nothing came since the last one (RFC 3550 §6.4).
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
        self.restart(highest, seq)
    }

    /// A.1 init_seq, on the next number with these low 16 bits above `highest`.
    fn restart(&mut self, highest: u64, seq: SeqNo) -> SeqVerdict {
        let start = highest + u64::from(seq.0.wrapping_sub(highest as u16));
        self.range = Some((start, start));
        self.confirms_jump = None;
        self.received = 0;
        self.expected_prior = 0;
        self.received_prior = 0;
        SeqVerdict::Restart(start)
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
