//! When the shard wants to be called back.
//!
//! Every transport and track has its own small table of named timers ([`TimerTable`]); the shard keeps one heap over
//! their earliest deadlines ([`Deadlines`]). Moving a deadline later costs nothing: the old entry fires, finds nothing
//! due and is armed anew. Neither structure allocates once it has grown to its working size.

use crate::time::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Named timers of one entity; `N` is the number of names.
#[derive(Clone, Copy, Debug)]
pub struct TimerTable<const N: usize> {
    at: [Time; N],
    /// Deadline of this entity's live entry in [`Deadlines`].
    armed: Time,
}

impl<const N: usize> Default for TimerTable<N> {
    fn default() -> Self {
        Self { at: [Time::MAX; N], armed: Time::MAX }
    }
}

impl<const N: usize> TimerTable<N> {
    /// Sets timer `name` to fire at `at`.
    pub fn set(&mut self, name: usize, at: Time) {
        self.at[name] = at;
    }

    /// Sets timer `name` unless it is set to something earlier.
    pub fn set_earlier(&mut self, name: usize, at: Time) {
        self.at[name] = self.at[name].min(at);
    }

    /// Unsets timer `name`.
    pub fn clear(&mut self, name: usize) {
        self.at[name] = Time::MAX;
    }

    /// Whether `name` is due; a due timer is unset by this call.
    pub fn take_due(&mut self, name: usize, now: Time) -> bool {
        let due = self.at[name] <= now;
        if due {
            self.at[name] = Time::MAX;
        }
        due
    }

    /// The earliest deadline, [`Time::MAX`] if none is set.
    #[must_use]
    pub fn earliest(&self) -> Time {
        self.at.iter().copied().min().unwrap_or(Time::MAX)
    }

    /// When its live entry in [`Deadlines`] fires, [`Time::MAX`] if it has none.
    #[must_use]
    pub fn armed(&self) -> Time {
        self.armed
    }
}

/// The earliest deadlines of many entities.
#[derive(Debug)]
pub struct Deadlines<K> {
    heap: BinaryHeap<Reverse<(Time, K)>>,
}

impl<K: Ord> Default for Deadlines<K> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new() }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Makes sure that `key` fires no later than its table's earliest deadline.
    pub fn arm<const N: usize>(&mut self, key: K, table: &mut TimerTable<N>) {
        let at = table.earliest();
        if at < table.armed {
            table.armed = at;
            self.heap.push(Reverse((at, key)));
        }
    }

    /// The next entity whose entry is due. Call [`Deadlines::fired`] with its table, handle what is due, then arm again.
    pub fn pop_due(&mut self, now: Time) -> Option<(Time, K)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Notes that the entry for `at` is gone. False if it was a stale one and nothing is to be done.
    #[must_use]
    pub fn fired<const N: usize>(at: Time, table: &mut TimerTable<N>) -> bool {
        let live = table.armed == at;
        if live {
            table.armed = Time::MAX;
        }
        live
    }

    /// All entries in any order, stale ones among them.
    pub fn entries(&self) -> impl Iterator<Item = (Time, K)> + '_ {
        self.heap.iter().map(|Reverse(entry)| *entry)
    }

    /// When the next entry is due.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Time {
        Time::from_nanos(n * 1_000_000)
    }

    #[test]
    fn a_deadline_moved_later_fires_once_at_its_new_time() {
        let mut deadlines = Deadlines::default();
        let mut table = TimerTable::<2>::default();
        table.set(0, ms(10));
        deadlines.arm(7u32, &mut table);
        table.set(0, ms(30));
        deadlines.arm(7, &mut table);

        let (at, key) = deadlines.pop_due(ms(10)).expect("the old entry");
        assert_eq!(key, 7);
        assert!(Deadlines::<u32>::fired(at, &mut table));
        assert!(!table.take_due(0, ms(10)));
        deadlines.arm(7, &mut table);

        assert_eq!(deadlines.pop_due(ms(29)), None);
        assert_eq!(deadlines.pop_due(ms(30)), Some((ms(30), 7)));
    }

    #[test]
    fn a_deadline_moved_earlier_leaves_a_stale_entry() {
        let mut deadlines = Deadlines::default();
        let mut table = TimerTable::<1>::default();
        table.set(0, ms(50));
        deadlines.arm(1u32, &mut table);
        table.set_earlier(0, ms(20));
        deadlines.arm(1, &mut table);

        let (at, _) = deadlines.pop_due(ms(60)).expect("the early entry");
        assert!(Deadlines::<u32>::fired(at, &mut table));
        assert!(table.take_due(0, ms(60)));
        let (at, _) = deadlines.pop_due(ms(60)).expect("the stale entry");
        assert!(!Deadlines::<u32>::fired(at, &mut table));
        assert_eq!(deadlines.next(), None);
    }
}
