//! Connection limits: so many places in all, so many per address; nobody waits for one.

use crate::address::{Shares, Subnet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A number of places.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    max_per_address: usize,
    taken: Mutex<Taken>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    shares: Shares,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All are taken.
    Full,
    /// This address, or its site, has all that one may have.
    AddressFull,
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "all places are taken",
            Self::AddressFull => "their address has all that it may have",
        })
    }
}

/// One of them, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    from: Option<Subnet>,
}

impl Places {
    /// So many, all free.
    pub(crate) fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, taken: Mutex::default(), emptied: Notify::new() })
    }

    /// A place for this address; `None` is counted in all only.
    ///
    /// # Errors
    /// See [`NoPlace`].
    pub(crate) fn take(self: &Arc<Self>, from: Option<Subnet>) -> Result<Place, NoPlace> {
        let mut taken = self.taken();
        if taken.all >= self.max {
            return Err(NoPlace::Full);
        }
        if let Some(from) = from {
            if !taken.shares.admits(from, self.max_per_address, self.max) {
                return Err(NoPlace::AddressFull);
            }
            taken.shares.add(from);
        }
        taken.all += 1;
        Ok(Place { places: Arc::clone(self), from })
    }

    /// Whether more than half of them are taken.
    pub(crate) fn is_crowded(&self) -> bool {
        self.taken().all > self.max / 2
    }

    /// Until none is taken.
    pub(crate) async fn all_free(&self) {
        loop {
            // Before the look, so that what happens behind it is heard.
            let emptied = self.emptied.notified();
            if self.taken().all == 0 {
                return;
            }
            emptied.await;
        }
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
        if let Some(from) = self.from {
            taken.shares.remove(from);
        }
        if taken.all == 0 {
            self.places.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn whoever_holds_many_networks_does_not_take_all_places() {
        let places = Places::new(20, 4);
        let net = |net: u16| Some(Subnet::from(IpAddr::from([0x2001, 0xdb8, 1, net, 0, 0, 0, 1])));
        let taken: Vec<_> = (0..60_000).filter_map(|number| places.take(net(number)).ok()).collect();
        assert_eq!(taken.len(), 10);
        assert_eq!(places.take(net(7)).err(), Some(NoPlace::AddressFull));
        let other = Some(Subnet::from(IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, 1])));
        assert!(places.take(other).is_ok());
    }

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
        assert_eq!((taken.all, taken.shares.len()), (0, 0));
    }
}
