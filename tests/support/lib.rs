//! A simulated environment for the real core: fake clock, fake network, fake peers, all from one seed.
//!
//! The peers are [`ringvox_client`]s with real STUN, SRTP and RTCP; only DTLS is replaced by keys that follow
//! from the fingerprint, so that a run repeats to the bit. Nothing here is a second implementation of
//! anything in the relay.

pub mod dtls;
pub mod faults;
pub mod media;
pub mod net;
pub mod peer;
pub mod shards;
pub mod world;

pub use media::Payload;
pub use net::Link;
pub use peer::Peer;
pub use shards::Shards;
pub use world::World;
