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
