//! Send slots, and the queue of what was written into them.
//!
//! A slot's life: *free* → *lent* to the caller (one at a time) → *queued* behind its destination by a commit
//! → *in flight*, when a run of its destination is taken for a send → *free* again when that send completes.
//! Only free, lent and queued slots are ours to touch; a slot in flight is the kernel's.
//!
//! Queued slots are chained per destination, so that a flush finds what can leave as one GSO send while the
//! order within each destination is kept. Everything is allocated up front.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use crate::DATAGRAM_BYTES_MAX;
use crate::addr::Route;
use crate::gso::Run;
use crate::region::Region;

/// Distance between slots: whole cache lines, and not a multiple of 4 KiB, which would crowd their headers
/// into a few cache sets.
const SLOT_STRIDE: usize = DATAGRAM_BYTES_MAX.next_multiple_of(64);
/// Ends a chain, marks an empty bucket.
const NONE: u32 = u32::MAX;

/// Index of a slot.
pub(crate) type SlotIndex = u32;

#[derive(Clone, Copy)]
struct Slot {
    len: u16,
    next: SlotIndex,
}

/// Datagrams queued for one destination, oldest first.
struct Group {
    route: Route,
    head: SlotIndex,
    tail: SlotIndex,
    bucket: usize,
}

/// Slots of one destination that leave together: a chain of `run.count` from `first`.
#[derive(Clone, Copy)]
pub(crate) struct Chain {
    pub(crate) route: Route,
    pub(crate) first: SlotIndex,
    pub(crate) run: Run,
}

/// Slots and queue of one outbox.
pub(crate) struct Pool {
    region: Rc<Region>,
    slots: Box<[Slot]>,
    free: Vec<SlotIndex>,
    lent: Option<(SlotIndex, Route)>,
    groups: Vec<Group>,
    /// The first group that may have something queued.
    cursor: usize,
    /// The group of the last commit.
    last: usize,
    /// Open addressing from route to group, at most half full.
    table: Box<[u32]>,
    /// Chosen per pool, so that peers cannot choose addresses that share a bucket.
    seed: u64,
    queued: usize,
}

impl Pool {
    pub(crate) fn new(slots: usize) -> io::Result<Self> {
        assert!(slots > 0);
        assert!(slots < NONE as usize / 2);
        Ok(Self {
            region: Rc::new(Region::new(slots * SLOT_STRIDE)?),
            slots: vec![Slot { len: 0, next: NONE }; slots].into(),
            // Popped from the back: the slot used last is used next, while it is in the cache.
            free: (0..slots as SlotIndex).rev().collect(),
            lent: None,
            groups: Vec::with_capacity(slots),
            cursor: 0,
            last: 0,
            table: vec![NONE; (slots * 2).next_power_of_two()].into(),
            seed: RandomState::new().build_hasher().finish(),
            queued: 0,
        })
    }

    /// The memory of the slots, to be kept alive while the kernel may use any of them.
    pub(crate) fn memory(&self) -> Rc<Region> {
        Rc::clone(&self.region)
    }

    /// Whether the next [`lend`](Self::lend) would fail.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.lent.is_none() && self.free.is_empty()
    }

    /// Datagrams committed and not yet taken.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Lends a free slot for a datagram along `route`; one lent before and not committed is lent again.
    pub(crate) fn lend(&mut self, route: &Route) -> Option<&mut [u8]> {
        let slot = match self.lent {
            Some((slot, _)) => slot,
            None => self.free.pop()?,
        };
        self.lent = Some((slot, *route));
        // SAFETY: the slot lies inside the region (`address` asserts it), which lives as long as `self`, is
        // zeroed at the start and thus initialised. It is in no chain and not in flight, so neither the
        // kernel nor another reference touches it; the exclusive borrow of `self` keeps it so until the
        // caller lets go.
        Some(unsafe { std::slice::from_raw_parts_mut(self.address(slot), DATAGRAM_BYTES_MAX) })
    }

    /// Queues the first `len` octets of the slot lent last; returns whether there was one.
    pub(crate) fn commit(&mut self, len: usize) -> bool {
        assert!(len <= DATAGRAM_BYTES_MAX);
        let Some((slot, route)) = self.lent.take() else { return false };
        // The assertion above makes the cast lossless.
        self.slots[slot as usize] = Slot { len: len as u16, next: NONE };
        let index = self.group(&route);
        let group = &mut self.groups[index];
        match group.head {
            NONE => group.head = slot,
            _ => self.slots[group.tail as usize].next = slot,
        }
        group.tail = slot;
        self.last = index;
        self.queued += 1;
        true
    }

    /// Takes the next send: a run if `gso`, else one datagram. Its slots are in flight until released. When
    /// done taking, call [`settle`](Self::settle).
    pub(crate) fn take(&mut self, gso: bool) -> Option<Chain> {
        while let Some(group) = self.groups.get_mut(self.cursor) {
            if group.head == NONE {
                self.cursor += 1;
                continue;
            }
            let first = group.head;
            let mut run = Run::start(usize::from(self.slots[first as usize].len));
            let mut next = self.slots[first as usize].next;
            while gso && next != NONE && run.extend(usize::from(self.slots[next as usize].len)) {
                next = self.slots[next as usize].next;
            }
            group.head = next;
            self.queued -= run.count;
            return Some(Chain { route: group.route, first, run });
        }
        None
    }

    /// Splits the first datagram off a chain, for sending its members singly.
    pub(crate) fn split_first(&self, chain: &mut Chain) -> Option<Chain> {
        let remaining = chain.run.count.checked_sub(1)?;
        let Slot { len, next } = self.slots[chain.first as usize];
        let single = Chain { run: Run::start(usize::from(len)), ..*chain };
        chain.first = next;
        chain.run.count = remaining;
        Some(single)
    }

    /// Address and length of each datagram of a chain.
    pub(crate) fn datagrams(&self, chain: &Chain) -> impl Iterator<Item = (*mut u8, usize)> + '_ {
        let mut next = chain.first;
        (0..chain.run.count).map(move |_| {
            let slot = self.slots[next as usize];
            let address = self.address(next);
            next = slot.next;
            (address, usize::from(slot.len))
        })
    }

    /// The kernel is done with these slots.
    pub(crate) fn release(&mut self, chain: &Chain) {
        let mut slot = chain.first;
        for _ in 0..chain.run.count {
            let next = self.slots[slot as usize].next;
            self.free.push(slot);
            slot = next;
        }
        debug_assert!(self.free.len() <= self.slots.len());
    }

    fn address(&self, slot: SlotIndex) -> *mut u8 {
        self.region.at(slot as usize * SLOT_STRIDE, DATAGRAM_BYTES_MAX)
    }

    /// The group of `route`, made if there is none.
    fn group(&mut self, route: &Route) -> usize {
        // Fan-out visits the same destinations in the same order for every packet, and bursts stay at one.
        for likely in [self.last + 1, self.last] {
            if self.groups.get(likely).is_some_and(|group| group.route == *route) {
                return likely;
            }
        }
        let (bucket, found) = self.find(route);
        if let Some(index) = found {
            return index;
        }
        self.table[bucket] = self.groups.len() as u32;
        self.groups.push(Group { route: *route, head: NONE, tail: NONE, bucket });
        debug_assert!(self.groups.len() <= self.slots.len());
        self.groups.len() - 1
    }

    /// The bucket of `route`, and its group if there is one.
    fn find(&self, route: &Route) -> (usize, Option<usize>) {
        let mask = self.table.len() - 1;
        let mut bucket = self.hash(route) as usize & mask;
        // Ends: the table is at most half full, as each group has at least one slot of its own (see
        // `settle`).
        while let Some(group) = self.groups.get(self.table[bucket] as usize) {
            if group.route == *route {
                return (bucket, Some(self.table[bucket] as usize));
            }
            bucket = (bucket + 1) & mask;
        }
        (bucket, None)
    }

    /// Forgets the groups that have nothing queued: all of them, unless the kernel took less than it was
    /// given.
    pub(crate) fn settle(&mut self) {
        self.cursor = 0;
        self.last = 0;
        for group in &self.groups {
            self.table[group.bucket] = NONE;
        }
        self.groups.retain(|group| group.head != NONE);
        for index in 0..self.groups.len() {
            // Every bucket is empty but those of the groups put back already, so this finds a free one.
            let (bucket, _) = self.find(&self.groups[index].route);
            self.table[bucket] = index as u32;
            self.groups[index].bucket = bucket;
        }
    }

    fn hash(&self, route: &Route) -> u64 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mix = |hash: u64, word: u64| {
            let product = u128::from(hash ^ word) * u128::from(ODD);
            (product as u64) ^ (product >> 64) as u64
        };
        // The local address rarely tells routes apart and is compared anyway.
        let hash = match route.remote.ip() {
            IpAddr::V4(ip) => mix(self.seed, u64::from(ip.to_bits())),
            IpAddr::V6(ip) => mix(mix(self.seed, ip.to_bits() as u64), (ip.to_bits() >> 64) as u64),
        };
        mix(hash, u64::from(route.remote.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(n: u16) -> Route {
        Route { remote: ([10, 0, 0, (n >> 8) as u8], n).into(), local: None }
    }

    fn commit(pool: &mut Pool, to: u16, bytes: &[u8]) {
        pool.lend(&route(to)).unwrap()[..bytes.len()].copy_from_slice(bytes);
        assert!(pool.commit(bytes.len()));
    }

    /// Takes a chain and reads it as the kernel would.
    fn read(pool: &Pool, chain: &Chain) -> Vec<Vec<u8>> {
        // SAFETY: the chain was taken and not released: nothing writes to its slots.
        pool.datagrams(chain)
            .map(|(at, len)| unsafe { std::slice::from_raw_parts(at, len) }.to_vec())
            .collect()
    }

    #[test]
    fn datagrams_are_grouped_by_destination_in_order() {
        let mut pool = Pool::new(8).unwrap();
        for packet in 0..3 {
            commit(&mut pool, 1, &[packet; 4]);
            commit(&mut pool, 2, &vec![packet + 10; 3 + usize::from(packet)]);
        }
        assert_eq!(pool.queued(), 6);
        let mut seen = Vec::new();
        let mut chains = Vec::new();
        while let Some(chain) = pool.take(true) {
            seen.push((chain.route.remote.port(), read(&pool, &chain)));
            chains.push(chain);
        }
        pool.settle();
        assert_eq!(
            seen,
            [
                (1, vec![vec![0; 4], vec![1; 4], vec![2; 4]]),
                (2, vec![vec![10; 3]]),
                (2, vec![vec![11; 4]]),
                (2, vec![vec![12; 5]]),
            ]
        );
        assert_eq!(pool.queued(), 0);
        assert_eq!(pool.free.len(), 2);
        chains.iter().for_each(|chain| pool.release(chain));
        assert_eq!(pool.free.len(), 8);
    }

    #[test]
    fn an_uncommitted_slot_is_lent_again_and_an_empty_pool_says_so() {
        let mut pool = Pool::new(2).unwrap();
        let first = pool.lend(&route(1)).unwrap().as_ptr();
        assert_eq!(pool.lend(&route(2)).unwrap().as_ptr(), first);
        assert!(pool.commit(5));
        assert!(!pool.commit(5), "nothing is lent");
        commit(&mut pool, 2, b"x");
        assert!(pool.is_exhausted());
        assert!(pool.lend(&route(1)).is_none());
        let chain = pool.take(true).unwrap();
        assert_eq!((chain.route, chain.run.count), (route(2), 2));
        assert!(pool.lend(&route(1)).is_none(), "in flight, not free");
        pool.release(&chain);
        assert!(pool.lend(&route(1)).is_some());
    }

    #[test]
    fn what_was_not_taken_keeps_its_place() {
        let mut pool = Pool::new(64).unwrap();
        for n in 0..20 {
            commit(&mut pool, n, &[1]);
        }
        let taken: Vec<Chain> = (0..10).map(|_| pool.take(true).unwrap()).collect();
        pool.settle();
        taken.iter().for_each(|chain| pool.release(chain));
        for n in 0..20 {
            commit(&mut pool, n, &[2]);
        }
        let mut seen = vec![Vec::new(); 20];
        while let Some(chain) = pool.take(true) {
            seen[usize::from(chain.route.remote.port())].extend(read(&pool, &chain).concat());
            pool.release(&chain);
        }
        for (n, bytes) in seen.iter().enumerate() {
            assert_eq!(bytes, if n < 10 { &[2][..] } else { &[1, 2] }, "{n}");
        }
    }

    #[test]
    fn a_chain_splits_into_its_datagrams() {
        let mut pool = Pool::new(4).unwrap();
        for bytes in [&b"abc"[..], b"def", b"g"] {
            commit(&mut pool, 1, bytes);
        }
        let mut chain = pool.take(true).unwrap();
        let mut singles = Vec::new();
        while let Some(single) = pool.split_first(&mut chain) {
            assert_eq!(single.run.count, 1);
            singles.extend(read(&pool, &single));
            pool.release(&single);
        }
        assert_eq!(singles, [&b"abc"[..], b"def", b"g"]);
        assert_eq!(pool.free.len(), 4);
    }

    #[test]
    fn every_destination_may_be_another_one() {
        let mut pool = Pool::new(512).unwrap();
        for round in 0..3 {
            for n in 0..512 {
                commit(&mut pool, n * 7 + round, &[0]);
            }
            let mut count = 0;
            while let Some(chain) = pool.take(true) {
                pool.release(&chain);
                count += 1;
            }
            pool.settle();
            assert_eq!(count, 512);
            assert!(pool.table.iter().all(|&group| group == NONE));
        }
    }
}
