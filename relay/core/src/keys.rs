//! Keys of a shard's tables. Each leads to one entry of one table, or to nothing: see [`Key`]. The empty
//! types keep those of one table from being taken for another's.

use crate::table::Key;

#[derive(Debug)]
pub enum OfTransports {}
#[derive(Debug)]
pub enum OfUpTracks {}
#[derive(Debug)]
pub enum OfDownTracks {}

pub(crate) type TransportKey = Key<OfTransports>;
pub(crate) type UpKey = Key<OfUpTracks>;
pub(crate) type DownKey = Key<OfDownTracks>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerKey {
    pub up: UpKey,
    /// Its place among the layers of the track, the only one is 0.
    pub layer: u8,
}

impl LayerKey {
    #[must_use]
    pub const fn first(up: UpKey) -> Self {
        Self { up, layer: 0 }
    }
}
