//! A network that delays, loses, repeats and reorders, as its seed says.

use relay_core::rng::Rng;
use relay_core::time::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;

/// What a link does to datagrams, in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The shortest delay.
    pub delay: Duration,
    /// Random additional delay, which reorders datagrams.
    pub jitter: Duration,
    /// Share of datagrams lost, in percent.
    pub loss_percent: u32,
    /// Share of datagrams delivered twice, in percent.
    pub duplicate_percent: u32,
}

impl Link {
    /// A delay of 10 ms, no loss, no reordering.
    pub const GOOD: Self = Self {
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        loss_percent: 0,
        duplicate_percent: 0,
    };

    /// Loss, with some jitter and duplicates.
    #[must_use]
    pub const fn lossy(loss_percent: u32) -> Self {
        Self {
            delay: Duration::from_millis(15),
            jitter: Duration::from_millis(8),
            loss_percent,
            duplicate_percent: 1,
        }
    }
}

/// A datagram between sender and receiver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InFlight {
    at: Time,
    order: u64,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
pub struct Net {
    link: Link,
    rng: Rng,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    order: u64,
    /// Datagrams lost so far.
    pub lost: u64,
}

impl Net {
    /// A network with no datagram in flight.
    #[must_use]
    pub fn new(link: Link, seed: u64) -> Self {
        let mut bytes = [0x4e; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Self { link, rng: Rng::new(bytes), in_flight: BinaryHeap::new(), order: 0, lost: 0 }
    }

    /// Changes the link from now on.
    pub fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    pub fn send(&mut self, now: Time, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if self.percent(self.link.loss_percent) {
            self.lost += 1;
            return;
        }
        let copies = 1 + u32::from(self.percent(self.link.duplicate_percent));
        for _ in 0..copies {
            let jitter_us = self.link.jitter.as_micros() as u32;
            let extra = if jitter_us == 0 { 0 } else { self.rng.next_u32() % jitter_us };
            let at = now + self.link.delay + Duration::from_micros(extra.into());
            self.order += 1;
            self.in_flight.push(Reverse(InFlight { at, order: self.order, from, to, bytes: bytes.to_vec() }));
        }
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        self.in_flight.peek().map(|Reverse(f)| f.at)
    }

    /// A datagram that has arrived.
    pub fn deliver(&mut self, now: Time) -> Option<InFlight> {
        (self.next()? <= now).then(|| self.in_flight.pop().map(|Reverse(f)| f)).flatten()
    }

    fn percent(&mut self, percent: u32) -> bool {
        percent > 0 && self.rng.next_u32() % 100 < percent
    }
}
