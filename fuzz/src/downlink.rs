use crate::actions::Actions;
use relay_core::bwe::Estimator;
use relay_core::bwe::estimator::{MAX_BPS, MIN_BPS};
use relay_core::id::Ssrc;
use relay_core::time::Time;
use relay_core::wire::rtcp::{RtcpPacket, TRANSPORT_CC_BYTES_MAX, parse_compound, write_transport_cc};
use std::time::Duration;

/// Padding that may be due at one moment: a probe of 40 ms at twice the highest rate.
const PADDING_OCTETS_MAX: usize = 2 * MAX_BPS as usize / 8 / 25;

/// Packets to a peer, and its reports, true, false or made of any octets: the estimate stays in its range,
/// and probes in theirs.
pub fn downlink(data: &[u8]) {
    let mut actions = Actions(data);
    let mut told = Simulation {
        estimator: Estimator::new(),
        now: Time::from_nanos(1_000_000_000),
        next: 0,
        reference_time: 0,
    };
    while let Some(action) = actions.u8() {
        let done = told.act(action, &mut actions);
        told.check();
        if done.is_none() {
            break;
        }
    }
}

struct Simulation {
    estimator: Estimator,
    now: Time,
    next: u16,
    reference_time: i32,
}

impl Simulation {
    fn act(&mut self, action: u8, actions: &mut Actions<'_>) -> Option<()> {
        match action % 8 {
            0 => (0..=action >> 3).for_each(|_| self.send(1_200)),
            1 => self.send(usize::from(actions.u16()?)),
            2 => self.wait(u32::from(actions.u8()?)),
            3 => self.wait(actions.u32()?),
            // The latest packets came, one each so many ticks, all but every so-manieth.
            4 => self.report(u16::from(action >> 3), actions.u16()?.cast_signed(), actions.u8()?),
            5 => {
                let octets = actions.octets(usize::from(action >> 3) * 4);
                self.on_rtcp(&[&[0x8f, 205, 0, action >> 3], octets].concat());
            }
            6 => self.estimator.set_wanted(u64::from(actions.u32()?)),
            _ => self.estimator.on_remb(actions.u64()?),
        }
        Some(())
    }

    fn send(&mut self, octets: usize) {
        let number = self.estimator.on_sent(self.now, octets);
        assert_eq!(number.0, self.next, "in order");
        self.next = self.next.wrapping_add(1);
    }

    fn wait(&mut self, millis: u32) {
        self.now += Duration::from_millis(millis.into());
        self.reference_time = self.reference_time.wrapping_add((millis / 64) as i32);
        if self.estimator.poll_timeout().is_some_and(|at| at <= self.now) {
            self.estimator.handle_timeout(self.now);
        }
        let mut padding = 0;
        while let Some(octets) = self.estimator.poll_padding(self.now) {
            padding += octets;
            self.send(octets);
        }
        assert!(padding <= PADDING_OCTETS_MAX, "{padding} octets of padding");
    }

    fn report(&mut self, count: u16, delta: i16, lost: u8) {
        let status = |i: u16| (lost == 0 || !i.is_multiple_of(lost.into())).then_some(delta);
        let deltas: Vec<_> = (0..count).map(status).collect();
        let mut bytes = [0; TRANSPORT_CC_BYTES_MAX];
        let base = self.next.wrapping_sub(count);
        let time = self.reference_time << 8 >> 8;
        let len = write_transport_cc(&mut bytes, Ssrc(1), Ssrc(2), base, 0, time, &deltas);
        self.on_rtcp(&bytes[..len.unwrap_or(0)]);
    }

    fn on_rtcp(&mut self, bytes: &[u8]) {
        let Ok(compound) = parse_compound(bytes) else { return };
        for packet in compound {
            if let RtcpPacket::TransportCc(report) = packet {
                self.estimator.on_report(self.now, &report);
            }
        }
    }

    fn check(&self) {
        let estimate_bps = self.estimator.estimate_bps();
        assert!(estimate_bps.is_none_or(|bps| (MIN_BPS..=MAX_BPS).contains(&bps)), "{estimate_bps:?}");
        let target_bps = self.estimator.target_bps(self.now);
        assert!(target_bps > 0 && target_bps <= MAX_BPS, "{target_bps}");
        assert!(self.estimator.rtt() <= Duration::from_secs(3));
    }
}
