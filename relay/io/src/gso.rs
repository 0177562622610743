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

/// Grows a run one datagram at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// Octets of every datagram but the last, which may be shorter.
    pub(crate) segment: usize,
    /// Datagrams.
    pub(crate) count: usize,
    /// Octets in all.
    pub(crate) bytes: usize,
    closed: bool,
}

impl Run {
    pub(crate) const fn start(len: usize) -> Self {
        // An empty datagram would vanish inside a longer send: it travels alone.
        Self { segment: len, count: 1, bytes: len, closed: len == 0 }
    }

    /// Takes the next datagram of the destination if it can travel in the same send.
    pub(crate) const fn extend(&mut self, len: usize) -> bool {
        if self.closed || len == 0 || len > self.segment {
            return false;
        }
        if self.count == SEGMENTS_MAX || self.bytes + len > RUN_BYTES_MAX {
            return false;
        }
        self.count += 1;
        self.bytes += len;
        self.closed = len < self.segment;
        true
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

    /// Cuts a destination's datagrams into runs: (segment, count).
    fn runs(lens: &[usize]) -> Vec<(usize, usize)> {
        let mut runs: Vec<Run> = Vec::new();
        for &len in lens {
            if !runs.last_mut().is_some_and(|run| run.extend(len)) {
                runs.push(Run::start(len));
            }
        }
        runs.iter().map(|run| (run.segment, run.count)).collect()
    }

    #[test]
    fn runs_are_of_equal_size_and_the_last_may_be_shorter() {
        /// Sizes in, (segment, count) out.
        type Case = (&'static [usize], &'static [(usize, usize)]);
        let cases: &[Case] = &[
            (&[], &[]),
            (&[100], &[(100, 1)]),
            (&[100, 100], &[(100, 2)]),
            (&[100, 100, 60], &[(100, 3)]),
            (&[100, 60, 60], &[(100, 2), (60, 1)]),
            (&[60, 100], &[(60, 1), (100, 1)]),
            (&[100, 100, 60, 100], &[(100, 3), (100, 1)]),
            (&[0, 0, 100, 0, 100], &[(0, 1), (0, 1), (100, 1), (0, 1), (100, 1)]),
            (&[1; 65], &[(1, 64), (1, 1)]),
            (&[1500; 41], &[(1500, 40), (1500, 1)]),
        ];
        for (lens, expected) in cases {
            assert_eq!(&runs(lens), expected, "{lens:?}");
        }
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
