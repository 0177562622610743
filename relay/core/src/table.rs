//! Tables whose keys never lead to anything but what they were made for.
//!
//! Invariants
//! - A [`Key`] that has outlived its entry finds nothing, whatever stands in its place now: each insertion of a table has a
//!   number of its own, which is part of the key. It comes again after 2^32 insertions; no key waits for so long.
//! - A table holds room for half as many again as it has entries when it grows, and gives the end back when it empties.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// Places that a full table grows by at least.
const GROWTH_MIN: usize = 16;
/// No vacant place.
const NONE: u32 = u32::MAX;

/// A place in a table and what was put there. `Of` tells the tables apart.
pub struct Key<Of> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> Of>,
}

impl<Of> Key<Of> {
    /// Its place, where others may stand before and after.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    const fn place(self) -> (u32, u32) {
        (self.index, self.generation)
    }

    /// One that no table gave out.
    #[cfg(test)]
    pub(crate) const fn forged(index: u32) -> Self {
        Self { index, generation: NONE, of: PhantomData }
    }
}

// Derived, these would ask the same of `Of`.
impl<Of> Clone for Key<Of> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Of> Copy for Key<Of> {}

impl<Of> PartialEq for Key<Of> {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl<Of> Eq for Key<Of> {}

impl<Of> PartialOrd for Key<Of> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<Of> Ord for Key<Of> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl<Of> Hash for Key<Of> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.place().hash(state);
    }
}

impl<Of> fmt::Debug for Key<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.index, self.generation)
    }
}

#[derive(Debug)]
enum Place<T> {
    Vacant { next: u32 },
    Taken { generation: u32, value: T },
}

/// See the module.
#[derive(Debug)]
pub struct Table<T, Of = T> {
    places: Vec<Place<T>>,
    len: usize,
    /// The first of the vacant places, each of which leads to the next.
    vacant: u32,
    insertions: u32,
    /// With so few entries, or fewer, it is time to look for places to give back.
    look_at: usize,
    of: PhantomData<fn() -> Of>,
}

impl<T, Of> Default for Table<T, Of> {
    fn default() -> Self {
        Self { places: Vec::new(), len: 0, vacant: NONE, insertions: 0, look_at: 0, of: PhantomData }
    }
}

impl<T, Of> Table<T, Of> {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entry.
    ///
    /// # Panics
    /// If there are 2^32 - 1 already.
    pub fn insert(&mut self, value: T) -> Key<Of> {
        let generation = self.insertions;
        self.insertions = generation.wrapping_add(1);
        let taken = Place::Taken { generation, value };
        let index = match self.places.get(self.vacant as usize) {
            Some(Place::Vacant { next }) => std::mem::replace(&mut self.vacant, *next),
            _ => self.places.len() as u32,
        };
        match self.places.get_mut(index as usize) {
            Some(place) => *place = taken,
            None => self.push(taken),
        }
        self.len += 1;
        if self.len * 2 >= self.places.capacity() {
            self.look_at = self.places.capacity() / 4;
        }
        Key { index, generation, of: PhantomData }
    }

    /// Grows by half where a `Vec` would double, and hold as much again for nobody.
    fn push(&mut self, place: Place<T>) {
        assert!(self.places.len() < NONE as usize, "a table of 2^32 entries");
        if self.places.len() == self.places.capacity() {
            self.places.reserve_exact((self.places.len() / 2).max(GROWTH_MIN));
        }
        self.places.push(place);
    }

    /// The entry, if it is there still.
    #[inline]
    #[must_use]
    pub fn get(&self, key: Key<Of>) -> Option<&T> {
        match self.places.get(key.index as usize)? {
            Place::Taken { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The entry, if it is there still.
    #[inline]
    pub fn get_mut(&mut self, key: Key<Of>) -> Option<&mut T> {
        match self.places.get_mut(key.index as usize)? {
            Place::Taken { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Several entries at once, by keys that all differ and whose entries are there by an invariant of whoever holds them.
    ///
    /// # Panics
    /// If that is not so.
    #[inline]
    pub fn disjoint_mut<const N: usize>(&mut self, keys: [Key<Of>; N]) -> [&mut T; N] {
        let Ok(places) = self.places.get_disjoint_mut(keys.map(|key| key.index as usize)) else {
            not_disjoint(&keys)
        };
        let mut keys = keys.into_iter();
        places.map(|place| match (place, keys.next()) {
            (Place::Taken { generation, value }, Some(key)) if *generation == key.generation => value,
            (_, key) => not_disjoint(key.as_slice()),
        })
    }

    /// The key of what stands at a place now.
    #[must_use]
    pub fn key_at(&self, index: u32) -> Option<Key<Of>> {
        match self.places.get(index as usize)? {
            Place::Taken { generation, .. } => Some(Key { index, generation: *generation, of: PhantomData }),
            Place::Vacant { .. } => None,
        }
    }

    /// Whether the entry is there still.
    #[must_use]
    pub fn contains(&self, key: Key<Of>) -> bool {
        self.get(key).is_some()
    }

    /// Takes an entry out, if it is there still.
    pub fn remove(&mut self, key: Key<Of>) -> Option<T> {
        self.get(key)?;
        let vacated = Place::Vacant { next: self.vacant };
        let place = std::mem::replace(self.places.get_mut(key.index as usize)?, vacated);
        self.vacant = key.index;
        self.len -= 1;
        self.give_back();
        match place {
            Place::Taken { value, .. } => Some(value),
            Place::Vacant { .. } => None,
        }
    }

    /// Gives back the places behind the last entry, if most of the table is empty. Looks each time that what is left has
    /// halved, and again from the beginning only when the table was half full meanwhile: so a removal costs nothing on the whole,
    /// whoever keeps a place at the end, and whoever comes and goes.
    fn give_back(&mut self) {
        if self.len > self.look_at || self.places.capacity() <= (self.len * 4).max(GROWTH_MIN) {
            return;
        }
        self.look_at = self.len / 2;
        let is_taken = |place: &Place<T>| matches!(place, Place::Taken { .. });
        let end = self.places.iter().rposition(is_taken).map_or(0, |last| last + 1);
        self.places.truncate(end);
        self.places.shrink_to_fit();
        self.vacant = NONE;
        for (index, place) in self.places.iter_mut().enumerate().rev() {
            if let Place::Vacant { next } = place {
                *next = std::mem::replace(&mut self.vacant, index as u32);
            }
        }
    }

    /// All entries, by place.
    pub fn iter(&self) -> impl Iterator<Item = (Key<Of>, &T)> {
        self.places.iter().zip(0..).filter_map(|(place, index)| match place {
            Place::Taken { generation, value } => {
                Some((Key { index, generation: *generation, of: PhantomData }, value))
            }
            Place::Vacant { .. } => None,
        })
    }

    /// All entries, by place.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(|place| match place {
            Place::Taken { value, .. } => Some(value),
            Place::Vacant { .. } => None,
        })
    }
}

#[cold]
#[inline(never)]
fn gone<Of>(key: Key<Of>) -> ! {
    panic!("the entry at {key:?} is gone")
}

#[cold]
#[inline(never)]
fn not_disjoint<Of>(keys: &[Key<Of>]) -> ! {
    panic!("an entry of {keys:?} is gone, or asked for twice")
}

/// For keys whose entry is there by an invariant of whoever holds them.
impl<T, Of> Index<Key<Of>> for Table<T, Of> {
    type Output = T;

    #[inline]
    fn index(&self, key: Key<Of>) -> &T {
        self.get(key).unwrap_or_else(|| gone(key))
    }
}

impl<T, Of> IndexMut<Key<Of>> for Table<T, Of> {
    #[inline]
    fn index_mut(&mut self, key: Key<Of>) -> &mut T {
        self.get_mut(key).unwrap_or_else(|| gone(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_finds_nothing_after_its_entry_went_even_if_the_place_was_given_back() {
        let mut table: Table<_> = Table::default();
        let keys = ['a'; GROWTH_MIN + 1].map(|value| table.insert(value));
        let first = keys[0];
        keys.iter().for_each(|key| assert_eq!(table.remove(*key), Some('a')));
        assert!(table.places.is_empty(), "an empty table holds no place");
        let second = table.insert('b');
        assert_eq!(first.index, second.index);
        assert_eq!((table.remove(first), table.get(first), table.get(second)), (None, None, Some(&'b')));
        assert!(!table.contains(Key::forged(7)));
    }

    #[test]
    fn several_entries_can_be_changed_at_once() {
        let table = || {
            let mut table: Table<_> = Table::default();
            let keys = [1, 2, 3].map(|value| table.insert(value));
            (table, keys)
        };
        let (mut changed, keys) = table();
        let [last, first] = changed.disjoint_mut([keys[2], keys[0]]);
        std::mem::swap(last, first);
        assert_eq!(keys.map(|key| changed[key]), [3, 2, 1]);
        let panics = |wrong: fn([Key<i32>; 3]) -> [Key<i32>; 2]| {
            let (mut table, keys) = table();
            table.remove(keys[1]);
            table.insert(4);
            std::panic::catch_unwind(move || table.disjoint_mut(wrong(keys)).map(|n| *n)).is_err()
        };
        assert!(panics(|[a, ..]| [a, a]), "asked for twice");
        assert!(panics(|[a, gone, _]| [a, gone]), "another stands there now");
        assert!(panics(|[a, ..]| [Key::forged(9), a]), "no such place");
    }

    #[test]
    fn a_place_costs_what_its_entry_does_and_eight_octets_at_most() {
        assert_eq!(size_of::<Key<u8>>(), size_of::<usize>());
        assert_eq!(size_of::<Place<Box<[u8; 99]>>>(), 16);
        assert_eq!(size_of::<Place<[u64; 9]>>(), 8 * 9 + 8);
    }

    #[test]
    fn room_grows_by_half_and_is_given_back() {
        let mut table: Table<_> = Table::default();
        let keys: Vec<_> = (0..1_000).map(|n| table.insert(n)).collect();
        assert!(table.places.capacity() <= 1_500, "{} places of 1,000", table.places.capacity());
        keys[10..].iter().rev().for_each(|key| assert!(table.remove(*key).is_some()));
        assert!(table.places.capacity() <= 64, "{} places of 10", table.places.capacity());
        assert_eq!(table.iter().map(|(_, n)| *n).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    }

    /// What was looked for is known, so the last place that went is the first that is taken again.
    #[test]
    fn who_comes_and_goes_makes_nobody_look_again() {
        let mut table = Table::<u32>::default();
        let keys: Vec<_> = (0..4_096).map(|n| table.insert(n)).collect();
        let stays = |index: usize| index < 1_023 || index == 3_000 || index == 4_095;
        let leaving = keys.iter().enumerate().filter(|(index, _)| !stays(*index));
        leaving.for_each(|(_, key)| assert!(table.remove(*key).is_some()));
        assert_eq!(table.len(), 1_025);
        let mut guest = keys[3_000];
        for round in 0..100 {
            assert!(table.remove(guest).is_some());
            guest = table.insert(round);
            assert_eq!(guest.index(), 3_000, "round {round}");
        }
    }

    proptest! {
        /// Whatever comes and goes: each key finds what was put there until it is taken out, and nothing ever after.
        #[test]
        fn keys_find_their_own(steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..400)) {
            let (mut table, mut here, mut gone): (Table<_>, _, _) = (Table::default(), Vec::new(), Vec::new());
            for (number, (leaves, index)) in steps.into_iter().enumerate() {
                if leaves && !here.is_empty() {
                    let (key, value) = here.swap_remove(index.index(here.len()));
                    prop_assert_eq!(table.remove(key), Some(value));
                    gone.push(key);
                } else {
                    here.push((table.insert(number), number));
                }
                prop_assert_eq!(table.len(), here.len());
                prop_assert!(here.iter().all(|(key, value)| table.get(*key) == Some(value)));
                prop_assert!(gone.iter().all(|key| table.get(*key).is_none()));
            }
            here.sort_unstable();
            prop_assert_eq!(table.iter().map(|(key, value)| (key, *value)).collect::<Vec<_>>(), here);
        }
    }
}
