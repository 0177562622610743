//! Which datagrams leave together as one GSO send, and when to stop trying.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::DATAGRAM_BYTES_MAX;

/// Most segments in one send. The kernel takes 128 since 6.9 and 64 before.
pub(crate) const SEGMENTS_MAX: usize = 64;
/// Most octets in one send: an IP datagram holds 65,535 with its headers, and 65,507 of UDP payload go in
/// practice.
const RUN_BYTES_MAX: usize = 60_000;
/// Runs to a destination that are sent as single datagrams after the kernel refused one as GSO; each further
/// refusal doubles the number.
const SINGLY_FIRST: u32 = 16;
/// Upper bound of the doublings: a destination that accepts GSO again should soon get it.
const SINGLY_DOUBLINGS_MAX: u32 = 10;
/// Destinations that are remembered as refusing. Beyond this all are forgotten, and GSO is tried again.
const REFUSING_MAX: usize = 4096;

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

/// Which destinations get GSO sends: all but, for a while, those for which the kernel refused one. The
/// reason, a device without GSO or a small path MTU, concerns only that destination.
#[derive(Debug, Default)]
pub(crate) struct Gso {
    is_on: bool,
    refusing: HashMap<IpAddr, Refusal>,
}

/// What is remembered of a destination for which the kernel refused a GSO send.
#[derive(Clone, Copy, Debug, Default)]
struct Refusal {
    /// Refusals without an accepted GSO send in between.
    times: u32,
    /// Runs that are still to be sent as single datagrams.
    singly: u32,
}

impl Gso {
    pub(crate) fn new(is_on: bool) -> Self {
        Self { is_on, refusing: HashMap::new() }
    }

    /// Whether the next run to `to` may be a GSO send.
    pub(crate) fn allows(&self, to: IpAddr) -> bool {
        self.is_on
            && (self.refusing.is_empty() || self.refusing.get(&to).is_none_or(|known| known.singly == 0))
    }

    /// Notes a run that went singly because of what is known of `to`.
    pub(crate) fn sent_singly(&mut self, to: IpAddr) {
        if let Some(known) = self.refusing.get_mut(&to) {
            known.singly = known.singly.saturating_sub(1);
        }
    }

    /// Whether `errno` of a GSO send may be the fault of GSO, so that single sends are worth trying.
    pub(crate) fn may_be_its_fault(errno: i32) -> bool {
        matches!(errno, libc::EIO | libc::EINVAL | libc::EOPNOTSUPP | libc::EMSGSIZE)
    }

    /// Notes a refusal that single sends have cured: of the device (EIO, EOPNOTSUPP), or of the path
    /// (segments larger than its MTU, a source address that has gone).
    pub(crate) fn refused(&mut self, to: IpAddr) {
        if self.refusing.len() >= REFUSING_MAX && !self.refusing.contains_key(&to) {
            self.refusing.clear();
        }
        let known = self.refusing.entry(to).or_default();
        // Several runs of one flush count once.
        if known.singly == 0 {
            known.singly = SINGLY_FIRST << known.times.min(SINGLY_DOUBLINGS_MAX);
            known.times += 1;
        }
    }

    /// Notes a GSO send that the kernel took.
    pub(crate) fn taken(&mut self, to: IpAddr) {
        if !self.refusing.is_empty() {
            self.refusing.remove(&to);
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
    fn a_destination_that_refuses_rests_longer_each_time_and_no_other_does() {
        let (bad, good) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut gso = Gso::new(true);
        let rests = |gso: &mut Gso| {
            gso.refused(bad);
            gso.refused(bad);
            let singly = std::iter::from_fn(|| (!gso.allows(bad)).then(|| gso.sent_singly(bad))).count();
            assert!(gso.allows(good));
            u32::try_from(singly).unwrap()
        };
        assert_eq!([rests(&mut gso), rests(&mut gso), rests(&mut gso)], [16, 32, 64]);
        let longest = (0..20).map(|_| rests(&mut gso)).max();
        assert_eq!(longest, Some(SINGLY_FIRST << SINGLY_DOUBLINGS_MAX));
        gso.taken(bad);
        assert!(gso.refusing.is_empty());
        assert_eq!(rests(&mut gso), SINGLY_FIRST, "well again");
        assert!(!Gso::new(false).allows(good));
        assert!(!Gso::may_be_its_fault(libc::EAGAIN));
        assert!(!Gso::may_be_its_fault(libc::ENETUNREACH));
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let mut gso = Gso::new(true);
        for n in 0..3 * REFUSING_MAX as u32 {
            gso.refused(IpAddr::from(n.to_be_bytes()));
            assert!(gso.refusing.len() <= REFUSING_MAX);
        }
    }
}
