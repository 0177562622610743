//! Places that clients take: so many in all, so many per address, none waited for.

use crate::address::Subnet;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A number of places.
#[derive(Debug)]
pub struct Places {
    max: usize,
    max_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<Subnet, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// All are taken.
    Full,
    /// This address has all that one address may have.
    AddressFull,
}

/// One of them, given back when dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    from: Option<Subnet>,
}

impl Places {
    /// So many, all free.
    pub fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, taken: Mutex::default() })
    }

    /// A place for this address; `None` is counted in all only.
    ///
    /// # Errors
    /// See [`NoPlace`].
    pub fn take(self: &Arc<Self>, from: Option<Subnet>) -> Result<Place, NoPlace> {
        let mut taken = self.taken();
        if taken.all >= self.max {
            return Err(NoPlace::Full);
        }
        if let Some(from) = from {
            let of_address = taken.by_address.entry(from).or_default();
            // Never for one that has none yet, so no empty entry is left behind.
            if *of_address >= self.max_per_address.max(1) {
                return Err(NoPlace::AddressFull);
            }
            *of_address += 1;
        }
        taken.all += 1;
        Ok(Place { places: Arc::clone(self), from })
    }

    /// Whoever panicked with it had changed nothing by halves.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(from) = self.from else { return };
        if let Some(of_address) = taken.by_address.get_mut(&from) {
            *of_address -= 1;
            if *of_address == 0 {
                taken.by_address.remove(&from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn places_end_per_address_and_in_all_and_come_back() {
        let from = |last: u8| Some(Subnet::from(IpAddr::from([192, 0, 2, last])));
        let places = Places::new(4, 2);
        let first = [places.take(from(1)), places.take(from(1))];
        assert_eq!(places.take(from(1)).err(), Some(NoPlace::AddressFull));
        let second = [places.take(from(2)), places.take(None)];
        assert!(first.iter().chain(&second).all(Result::is_ok));
        assert_eq!(places.take(from(3)).err(), Some(NoPlace::Full));
        assert_eq!(places.take(None).err(), Some(NoPlace::Full));
        drop(first);
        assert!(places.take(from(1)).is_ok());
        drop(second);
        let taken = places.taken();
        assert!(taken.all == 0 && taken.by_address.is_empty(), "{taken:?}");
    }
}
