//! Tries whether the link carries more: for some tens of milliseconds padding is sent beside the media, and
//! what arrives how fast is the answer.
//!
//! Invariants
//! - One probe at a time; each lasts [`DURATION`], or as long as [`PACKETS_MIN`] packets take.
//! - A probe that found the link full makes the next one wait longer, up to [`WAIT_MAX`].

use super::sent::{Acked, ProbeId};
use crate::time::Time;
use std::time::Duration;

/// How long a probe lasts. At twice what the link carries its queue is as long at the end.
pub const DURATION: Duration = Duration::from_millis(40);
/// Fewer packets say nothing.
const PACKETS_MIN: u32 = 5;
/// Octets of a packet of padding at most, and at least: below, headers would be most of it.
const PACKET_OCTETS: (usize, usize) = (200, 1_200);
/// Packets that a probe is made of, if they may be as small.
const PACKETS_WANTED: u64 = 8;
/// What a probe tries, beside what is known.
const STEP: f64 = 2.0;
/// At first, when nothing is known.
const FIRST_STEP: f64 = 3.0;
/// Share of its packets that must arrive.
const ARRIVED_PERCENT: u64 = 80;
/// Below this share of the rate of sending the link was full, and what arrived is a little more than it
/// bears.
const FULL: f64 = 0.9;
const FULL_MARGIN: f64 = 0.95;
/// What came in faster than this, beside the rate of sending, was held and let go at once.
const COMPRESSED: f64 = 2.0;
/// Time until the next probe: after one that found more, and after one that found the link full. The latter
/// doubles.
const WAIT_FOUND: Duration = Duration::from_millis(100);
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(4);
/// Reports come so much later than a round trip takes.
const REPORTS: Duration = Duration::from_millis(300);

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The link carries so much.
    pub bps: u64,
    /// And no more.
    pub full: bool,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    first: Time,
    last: Time,
    first_us: i64,
    last_us: i64,
    /// Of the packet that arrived first and of that which was sent last: their time is not in what is
    /// measured.
    first_octets: u32,
    last_octets: u32,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    id: ProbeId,
    began: Time,
    bps: u64,
    sent_octets: u64,
    sent_packets: u32,
    acked_octets: u64,
    acked_packets: u32,
    ends: Option<Ends>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    Sends(Probe),
    /// Until when reports may come.
    Awaits(Probe, Time),
}

/// See the module.
#[derive(Debug)]
pub struct Prober {
    state: State,
    last_id: u8,
    not_before: Time,
    wait: Duration,
    /// Whether a probe has found anything yet.
    began: bool,
}

impl Default for Prober {
    fn default() -> Self {
        Self { state: State::Idle, last_id: 0, not_before: Time::ZERO, wait: WAIT_MIN, began: false }
    }
}

impl Prober {
    /// Begins a probe, if it is time for one. `target_bps` is what is sent by, `wanted_bps` what would be
    /// sent if the link had it.
    pub fn begin(&mut self, now: Time, target_bps: u64, wanted_bps: u64) {
        if !matches!(self.state, State::Idle) || now < self.not_before || wanted_bps <= target_bps {
            return;
        }
        let step = if self.began { STEP } else { FIRST_STEP };
        let bps = (target_bps as f64 * step) as u64;
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.state = State::Sends(Probe {
            id: ProbeId(self.last_id),
            began: now,
            // A little more than what is wanted, as what is found is a little less than what is tried.
            bps: bps.min(wanted_bps.saturating_add(wanted_bps / 8)).max(target_bps),
            sent_octets: 0,
            sent_packets: 0,
            acked_octets: 0,
            acked_packets: 0,
            ends: None,
        });
    }

    /// No probe for a while: the link is full.
    pub fn put_off(&mut self, until: Time) {
        self.not_before = self.not_before.max(until);
        if let State::Sends(_) = self.state {
            self.state = State::Idle;
        }
    }

    /// What packets belong to that are sent now.
    #[must_use]
    pub const fn id(&self) -> ProbeId {
        match self.state {
            State::Sends(probe) => probe.id,
            _ => ProbeId::NONE,
        }
    }

    /// Octets of padding to be sent now, in one packet.
    #[must_use]
    pub fn poll(&self, now: Time) -> Option<usize> {
        let State::Sends(probe) = &self.state else { return None };
        (self.poll_timeout()? <= now).then(|| probe.packet_octets())
    }

    /// When [`Prober::poll`] has something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let State::Sends(probe) = &self.state else { return None };
        let next = probe.sent_octets + probe.packet_octets() as u64 / 2;
        Some(probe.began + Duration::from_nanos(next.saturating_mul(8_000_000_000) / probe.bps.max(1)))
    }

    /// A packet of the probe was sent, padding or media.
    pub fn on_sent(&mut self, now: Time, octets: usize, rtt: Duration) {
        let State::Sends(probe) = &mut self.state else { return };
        probe.sent_octets += octets as u64;
        probe.sent_packets += 1;
        if now.since(probe.began) >= DURATION && probe.sent_packets >= PACKETS_MIN {
            self.state = State::Awaits(*probe, now + rtt + REPORTS);
        }
    }

    /// A packet arrived.
    pub fn on_acked(&mut self, acked: &Acked, arrived_us: i64) {
        match &mut self.state {
            State::Sends(probe) | State::Awaits(probe, _) if probe.id == acked.probe => {
                probe.on_acked(acked, arrived_us);
            }
            _ => {}
        }
    }

    /// What came of a probe, if that is known.
    pub fn finish(&mut self, now: Time) -> Option<Found> {
        let State::Awaits(probe, until) = self.state else { return None };
        if probe.acked_packets < probe.sent_packets && now < until {
            return None;
        }
        self.state = State::Idle;
        let found = probe.found();
        let full = found.is_none_or(|found| found.full);
        self.began |= found.is_some();
        self.wait = if full { (self.wait * 2).min(WAIT_MAX) } else { WAIT_MIN };
        self.not_before = now + if full { self.wait } else { WAIT_FOUND };
        found
    }
}

impl Probe {
    fn packet_octets(&self) -> usize {
        let octets = self.bps / 8 * DURATION.as_millis() as u64 / 1_000 / PACKETS_WANTED;
        (octets as usize).clamp(PACKET_OCTETS.0, PACKET_OCTETS.1)
    }

    fn on_acked(&mut self, acked: &Acked, arrived_us: i64) {
        self.acked_octets += u64::from(acked.octets);
        self.acked_packets += 1;
        let (at, octets) = (acked.sent, acked.octets);
        let ends = self.ends.get_or_insert(Ends {
            first: at,
            last: at,
            first_us: arrived_us,
            last_us: arrived_us,
            first_octets: octets,
            last_octets: octets,
        });
        ends.first = ends.first.min(at);
        if at >= ends.last {
            (ends.last, ends.last_octets) = (at, octets);
        }
        if arrived_us < ends.first_us {
            (ends.first_us, ends.first_octets) = (arrived_us, octets);
        }
        ends.last_us = ends.last_us.max(arrived_us);
    }

    fn found(&self) -> Option<Found> {
        let enough = u64::from(self.acked_packets) * 100 >= u64::from(self.sent_packets) * ARRIVED_PERCENT;
        let ends = self.ends.filter(|_| enough && self.acked_packets >= PACKETS_MIN)?;
        let bps = |octets: u64, micros: u64| (micros > 0).then(|| octets as f64 * 8e6 / micros as f64);
        let sending_us = ends.last.since(ends.first).as_micros() as u64;
        let arriving_us = (ends.last_us - ends.first_us).unsigned_abs();
        let sent = bps(self.acked_octets.saturating_sub(ends.last_octets.into()), sending_us)?;
        let arrived = bps(self.acked_octets.saturating_sub(ends.first_octets.into()), arriving_us)?;
        if arrived > sent * COMPRESSED {
            return None;
        }
        let full = arrived < sent * FULL;
        Some(Found { bps: if full { arrived * FULL_MARGIN } else { sent.min(arrived) } as u64, full })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn ms(at: u64) -> Time {
        Time::from_nanos((1_000 + at) * 1_000_000)
    }

    /// Runs a probe through a link of so many bit/s; what it found, and octets and time of it.
    fn run(prober: &mut Prober, now: &mut Time, link_bps: u64) -> (Option<Found>, u64, Duration) {
        let (mut sent, mut octets, began) = (Vec::new(), 0, *now);
        while let Some(at) = prober.poll_timeout() {
            *now = at.max(*now);
            let packet = prober.poll(*now).expect("due");
            sent.push(Acked { sent: *now, octets: packet as u32, probe: prober.id() });
            prober.on_sent(*now, packet, RTT);
            octets += packet as u64;
        }
        let lasted = now.since(began);
        let mut free = *now - lasted;
        for acked in &sent {
            free = free.max(acked.sent)
                + Duration::from_nanos(u64::from(acked.octets) * 8_000_000_000 / link_bps);
            prober.on_acked(acked, free.as_micros() as i64);
        }
        *now += RTT;
        (prober.finish(*now), octets, lasted)
    }

    #[test]
    fn a_probe_finds_what_the_link_carries() {
        for (target_bps, wanted_bps, link_bps, found_bps, full) in [
            (300_000, 5_000_000, 10_000_000, 900_000, false),
            (300_000, 5_000_000, 500_000, 475_000, true),
            (2_000_000, 2_400_000, 10_000_000, 2_700_000, false),
            (20_000_000, 100_000_000, 30_000_000, 28_500_000, true),
            (30_000, 1_000_000, 1_000_000, 90_000, false),
        ] {
            let (mut prober, mut now) = (Prober::default(), ms(0));
            prober.begin(now, target_bps, wanted_bps);
            let (found, octets, lasted) = run(&mut prober, &mut now, link_bps);
            let found = found.expect("something");
            assert!(found.bps.abs_diff(found_bps) * 20 <= found_bps, "{found:?} of {found_bps}");
            assert_eq!(found.full, full);
            assert!(lasted >= DURATION && lasted < Duration::from_millis(120), "{lasted:?}");
            assert!(octets <= 60_000 * (1 + target_bps / 3_000_000), "{octets}");
        }
    }

    #[test]
    fn it_goes_on_while_it_finds_more_and_waits_when_the_link_is_full() {
        let (mut prober, mut now, mut target_bps) = (Prober::default(), ms(0), 300_000);
        let (mut probes, began) = (0, now);
        while target_bps < 2_700_000 && probes < 100 {
            prober.begin(now, target_bps, 20_000_000);
            if prober.id() == ProbeId::NONE {
                now += Duration::from_millis(10);
                continue;
            }
            let (found, _, _) = run(&mut prober, &mut now, 3_000_000);
            target_bps = found.map_or(target_bps, |found| found.bps.max(target_bps));
            probes += 1;
        }
        assert!(
            probes <= 3 && now.since(began) < Duration::from_secs(1),
            "{probes} in {:?}",
            now.since(began)
        );
        let mut waits = Vec::new();
        while waits.len() < 4 {
            let from = now;
            while prober.id() == ProbeId::NONE {
                now += Duration::from_millis(100);
                prober.begin(now, 2_850_000, 20_000_000);
            }
            waits.push(now.since(from).as_secs());
            let _ = run(&mut prober, &mut now, 3_000_000);
        }
        assert_eq!(waits, [2, 4, 4, 4]);
    }

    #[test]
    fn nothing_is_probed_without_need_and_a_probe_of_which_too_little_came_says_nothing() {
        let mut prober = Prober::default();
        prober.begin(ms(0), 500_000, 500_000);
        assert_eq!((prober.id(), prober.poll_timeout()), (ProbeId::NONE, None));
        prober.put_off(ms(500));
        prober.begin(ms(499), 500_000, 600_000);
        assert_eq!(prober.id(), ProbeId::NONE);
        prober.begin(ms(500), 500_000, 600_000);
        while let Some(at) = prober.poll_timeout() {
            let packet = prober.poll(at).expect("due");
            prober.on_sent(at, packet, RTT);
        }
        assert_eq!(prober.finish(ms(700)), None);
        assert_eq!(prober.finish(ms(1_000)), None);
        prober.begin(ms(2_500), 500_000, 600_000);
        assert_eq!(prober.id(), ProbeId::NONE, "it waits");
        prober.begin(ms(3_100), 500_000, 600_000);
        assert_eq!(prober.id(), ProbeId(2));
    }
}
