//! When the shard wants to be called back.
//!
//! Every transport and track has its own small table of named timers ([`TimerTable`]); the shard keeps one
//! heap over their earliest deadlines ([`Deadlines`]). Moving a deadline later costs nothing: the old entry
//! fires, finds nothing due and is armed anew. Neither structure allocates once it has grown to its working
//! size.

use crate::keys::{DownKey, TransportKey, UpKey};
use crate::time::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The names of an entity's timers.
pub trait Timer: Copy {
    /// A time for each name.
    type Times: AsRef<[Time]> + AsMut<[Time]>;
    /// None is set.
    const UNSET: Self::Times;

    /// Its place among them.
    fn index(self) -> usize;
}

macro_rules! timers {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        $vis enum $name { $($(#[$vmeta])* $variant,)* }

        impl $crate::timers::Timer for $name {
            type Times = [$crate::time::Time; [$(Self::$variant),*].len()];
            const UNSET: Self::Times = [$crate::time::Time::MAX; [$(Self::$variant),*].len()];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
pub(crate) use timers;

/// When each timer of one entity fires.
#[derive(Debug)]
pub struct TimerTable<T: Timer> {
    at: T::Times,
    /// Deadline of this entity's live entry in [`Deadlines`].
    armed: Time,
}

impl<T: Timer> Default for TimerTable<T> {
    fn default() -> Self {
        Self { at: T::UNSET, armed: Time::MAX }
    }
}

impl<T: Timer> TimerTable<T> {
    fn at(&mut self, timer: T) -> &mut Time {
        &mut self.at.as_mut()[timer.index()]
    }

    /// Sets a timer to fire at `at`; [`Time::MAX`] unsets it.
    pub fn set(&mut self, timer: T, at: Time) {
        *self.at(timer) = at;
    }

    pub fn clear(&mut self, timer: T) {
        self.set(timer, Time::MAX);
    }

    /// Whether a timer is due; it is unset by this call if it is.
    pub fn take_due(&mut self, timer: T, now: Time) -> bool {
        let due = *self.at(timer) <= now;
        if due {
            self.clear(timer);
        }
        due
    }

    /// The earliest deadline, [`Time::MAX`] if none is set.
    #[must_use]
    pub fn earliest(&self) -> Time {
        self.at.as_ref().iter().copied().min().unwrap_or(Time::MAX)
    }

    /// When its live entry in [`Deadlines`] fires, [`Time::MAX`] if it has none.
    #[must_use]
    pub fn armed(&self) -> Time {
        self.armed
    }
}

/// Whom a deadline of a shard belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerOwner {
    Transport(TransportKey),
    Up(UpKey),
    Down(DownKey),
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
    pub fn arm<T: Timer>(&mut self, key: K, table: &mut TimerTable<T>) {
        let at = table.earliest();
        if at < table.armed {
            table.armed = at;
            self.heap.push(Reverse((at, key)));
        }
    }

    /// The next entity whose entry is due. Call [`Deadlines::fired`] with its table, handle what is due, then
    /// arm again.
    pub fn pop_due(&mut self, now: Time) -> Option<(Time, K)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Notes that the entry for `at` is gone. False if it was a stale one and nothing is to be done.
    #[must_use]
    pub fn fired<T: Timer>(at: Time, table: &mut TimerTable<T>) -> bool {
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

    #[must_use]
    pub fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    timers! {
        enum Named { A, B, }
    }

    const fn ms(n: u64) -> Time {
        Time::from_nanos(n * 1_000_000)
    }

    #[test]
    fn a_deadline_moved_later_fires_once_at_its_new_time() {
        let mut deadlines = Deadlines::default();
        let mut table = TimerTable::default();
        table.set(Named::A, ms(10));
        deadlines.arm(7u32, &mut table);
        table.set(Named::A, ms(30));
        deadlines.arm(7, &mut table);

        let (at, key) = deadlines.pop_due(ms(10)).expect("the old entry");
        assert_eq!(key, 7);
        assert!(Deadlines::<u32>::fired(at, &mut table));
        assert!(!table.take_due(Named::A, ms(10)));
        deadlines.arm(7, &mut table);

        assert_eq!(deadlines.pop_due(ms(29)), None);
        assert_eq!(deadlines.pop_due(ms(30)), Some((ms(30), 7)));
    }

    #[test]
    fn a_deadline_moved_earlier_leaves_a_stale_entry() {
        let mut deadlines = Deadlines::default();
        let mut table = TimerTable::default();
        table.set(Named::A, ms(50));
        deadlines.arm(1u32, &mut table);
        table.set(Named::B, ms(20));
        deadlines.arm(1, &mut table);

        let (at, _) = deadlines.pop_due(ms(60)).expect("the early entry");
        assert!(Deadlines::<u32>::fired(at, &mut table));
        assert!(table.take_due(Named::B, ms(60)));
        let (at, _) = deadlines.pop_due(ms(60)).expect("the stale entry");
        assert!(!Deadlines::<u32>::fired(at, &mut table));
        assert_eq!(deadlines.next(), None);
    }

    /// What a deadline belongs to may go before it fires, and another one may take its place and have the
    /// same deadline.
    #[test]
    fn a_deadline_of_what_went_does_not_fire_for_its_successor() {
        let (mut deadlines, mut entities) = (Deadlines::default(), Table::default());
        let mut add = |entities: &mut Table<_>| {
            let mut timers = TimerTable::default();
            timers.set(Named::A, ms(10));
            let key = entities.insert(timers);
            deadlines.arm(key, &mut entities[key]);
            key
        };
        let gone = add(&mut entities);
        assert!(entities.remove(gone).is_some());
        let successor = add(&mut entities);
        let mut fired = Vec::new();
        while let Some((at, key)) = deadlines.pop_due(ms(10)) {
            let due = entities.get_mut(key).is_some_and(|timers| Deadlines::<u32>::fired(at, timers));
            fired.push((key, due));
        }
        assert_eq!(fired, [(gone, false), (successor, true)]);
    }
}
