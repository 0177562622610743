//! Which datagrams leave together as one GSO send, and when to stop trying.

use crate::DATAGRAM_BYTES_MAX;

/// Most segments in one send. The kernel takes 128 since 6.9 and 64 before.
pub(crate) const SEGMENTS_MAX: usize = 64;
/// Most octets in one send: an IP datagram holds 65,535 with its headers, and 65,507 of UDP payload go in
/// practice.
const RUN_BYTES_MAX: usize = 60_000;
/// Refusals in a row, without a single GSO send taken in between, after which GSO is given up.
const STRIKES_MAX: u32 = 16;

const _: () = assert!(RUN_BYTES_MAX + DATAGRAM_BYTES_MAX < 65_507);

/// Datagrams of one destination that lie back to back in the region lent last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where the first begins, from the start of the region.
    pub start: usize,
    /// Octets of every datagram but the last, which may be shorter.
    pub segment: usize,
    /// Octets in all.
    pub len: usize,
}

impl Run {
    /// One datagram at the start of the region.
    #[must_use]
    pub const fn single(len: usize) -> Self {
        Self { start: 0, segment: len, len }
    }

    /// Datagrams in it. An empty one travels alone.
    #[must_use]
    pub const fn count(&self) -> usize {
        if self.len <= self.segment { 1 } else { self.len.div_ceil(self.segment) }
    }

    /// Whether it says of `len` octets where each datagram ends, and all fit.
    pub(crate) const fn is_sound(&self) -> bool {
        self.segment <= DATAGRAM_BYTES_MAX && (self.segment > 0 || self.len == 0)
    }

    /// Splits off what one send may carry, at most `segments` datagrams of it.
    pub(crate) fn split(&mut self, segments: usize) -> Option<Self> {
        let rest = self.len;
        let most = RUN_BYTES_MAX.checked_div(self.segment).unwrap_or(1).min(SEGMENTS_MAX);
        let len = rest.min(most.min(segments).saturating_mul(self.segment));
        let first = Self { len, ..*self };
        self.start += len;
        self.len -= len;
        (first.len > 0).then_some(first)
    }
}

/// Whether GSO is in use on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gso {
    Off,
    /// With the number of refusals since a send was taken.
    On(u32),
}

impl Gso {
    pub(crate) fn is_on(self) -> bool {
        self != Self::Off
    }

    /// Whether `errno` of a GSO send may be the fault of GSO, so that single sends are worth trying.
    pub(crate) fn blames(errno: i32) -> bool {
        matches!(errno, libc::EIO | libc::EINVAL | libc::EOPNOTSUPP | libc::EMSGSIZE)
    }

    /// Notes a refusal that single sends may cure.
    ///
    /// EIO and EOPNOTSUPP tell of the device and end GSO. EINVAL and EMSGSIZE may as well tell of one path
    /// (segments larger than its MTU, a source address that has gone), so only a row of them does.
    pub(crate) fn refused(&mut self, errno: i32) {
        *self = match *self {
            Self::On(strikes)
                if !matches!(errno, libc::EIO | libc::EOPNOTSUPP) && strikes + 1 < STRIKES_MAX =>
            {
                Self::On(strikes + 1)
            }
            _ => Self::Off,
        };
    }

    /// Notes a GSO send that the kernel took.
    pub(crate) fn taken(&mut self) {
        if self.is_on() {
            *self = Self::On(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_cut_where_one_send_ends() {
        /// Segment, octets, most segments; then (start, octets, datagrams) of each send.
        type Case = ((usize, usize, usize), &'static [(usize, usize, usize)]);
        let cases: &[Case] = &[
            ((100, 100, 64), &[(0, 100, 1)]),
            ((100, 260, 64), &[(0, 260, 3)]),
            ((100, 260, 1), &[(0, 100, 1), (100, 100, 1), (200, 60, 1)]),
            ((1, 65, 64), &[(0, 64, 64), (64, 1, 1)]),
            ((1, 65, 1000), &[(0, 64, 64), (64, 1, 1)]),
            ((1500, 41 * 1500, 64), &[(0, 60_000, 40), (60_000, 1500, 1)]),
            ((0, 0, 64), &[]),
        ];
        for ((segment, len, most), expected) in cases {
            let mut run = Run { start: 0, segment: *segment, len: *len };
            assert!(run.is_sound());
            let parts = std::iter::from_fn(|| run.split(*most)).map(|p| (p.start, p.len, p.count()));
            assert_eq!(parts.collect::<Vec<_>>(), *expected, "{segment} {len} {most}");
        }
        for run in [Run { start: 0, segment: 0, len: 1 }, Run::single(DATAGRAM_BYTES_MAX + 1)] {
            assert!(!run.is_sound(), "{run:?}");
        }
        assert_eq!(Run::single(0).count(), 1, "an empty datagram is one");
    }

    #[test]
    fn a_device_without_gso_ends_it_and_a_bad_path_does_not() {
        let mut gso = Gso::On(0);
        for _ in 0..STRIKES_MAX - 1 {
            gso.refused(libc::EINVAL);
        }
        assert!(gso.is_on());
        gso.taken();
        assert_eq!(gso, Gso::On(0));
        for _ in 0..STRIKES_MAX {
            gso.refused(libc::EMSGSIZE);
        }
        assert_eq!(gso, Gso::Off);
        gso.taken();
        assert_eq!(gso, Gso::Off);

        let mut gso = Gso::On(0);
        gso.refused(libc::EIO);
        assert_eq!(gso, Gso::Off);
        assert!(!Gso::blames(libc::EAGAIN));
        assert!(!Gso::blames(libc::ENETUNREACH));
    }
}
