//! Routing: an up-track, the down-tracks it feeds on this shard, and the ports it is sent to.
//!
//! Invariants
//! - A down-track is listed by exactly one up-track, which is of the same room, kind and codec.
//! - A room is no object here: its id is compared when a subscription is made, and a packet follows
//!   subscriptions only.
//!
//! Deliberately absent: what a stream does with its packets. That is [`crate::up`] and [`crate::down`], which
//! know no tables.

pub mod down;
pub mod layer;
pub mod params;
pub mod sources;
pub mod tables;
pub mod up;

pub use down::{DownTimer, DownTrack};
pub use layer::{BURST_MAX, Layer, Pending};
pub use params::Params;
pub use sources::Sources;
pub use tables::{Downs, Tracks, Ups};
pub use up::{Life, Listener, PolicedPackets, Source, UpTimer, UpTrack};
