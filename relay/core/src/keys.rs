//! Keys of a shard's tables. Each leads to one entry of one table, or to nothing: see [`Key`].

use crate::table::Key;

/// Tells keys of transports from others.
#[derive(Debug)]
pub enum OfTransports {}
/// Tells keys of up-tracks from others.
#[derive(Debug)]
pub enum OfUpTracks {}
/// Tells keys of down-tracks from others.
#[derive(Debug)]
pub enum OfDownTracks {}

/// Of a transport.
pub type TransportKey = Key<OfTransports>;
/// Of an up-track.
pub type UpKey = Key<OfUpTracks>;
/// Of a down-track.
pub type DownKey = Key<OfDownTracks>;

/// Of a layer of an up-track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerKey {
    /// Whose layer.
    pub up: UpKey,
    /// Its place among the layers of the track, the only one is 0.
    pub layer: u8,
}

impl LayerKey {
    /// The first layer of a track.
    #[must_use]
    pub const fn first(up: UpKey) -> Self {
        Self { up, layer: 0 }
    }
}
