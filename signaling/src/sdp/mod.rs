//! SDP: offers in, answers out.
//!
//! [`parse`] reads a browser's offer, [`answer_publish`] and [`answer_play`] decide what of it is used, and
//! [`Plan::write`] says so once the relay has told its side. The relay itself never sees any SDP: a [`Plan`]
//! carries the numbers it needs as [`relay_control::RtpParameters`].
//!
//! Invariants
//! - An [`Offer`] borrows the text and holds only what was understood of it: a line that nobody needs refuses
//!   nothing. A [`Plan`] owns all it holds and may outlive the offer.
//! - Time and memory are bounded by the named [`limits`]; no input panics.
//! - An answer has as many m-lines as its offer, in the same order, with at most one codec and its RTX each
//!   (RFC 9429 §5.3.1, RFC 3264 §6). A rejected one repeats the formats that were offered of it.
//! - An m-line that cannot be had is rejected ([`Plan::rejected`] says why) and costs the others nothing.
//! - All that is accepted shares one transport: one BUNDLE group, or one m-line of an offer without; rtcp-mux,
//!   we are ICE-lite and the DTLS server.
//! - Nothing from the offer is echoed without having been checked to be a token, or, of parameters that are
//!   rejected with their m-line, visible characters and spaces.
//!
//! Deliberately absent: offers of our own, renegotiation, simulcast and SVC (one layer is used), data
//! channels, candidates of the peer (ICE-lite learns addresses from checks).

mod answer;
mod attribute;
mod codec;
mod error;
mod h264;
mod ice_fragment;
pub mod limits;
mod offer;
mod parse;
mod plan;
mod write;

#[cfg(test)]
mod tests;

pub use answer::{CodecPreferences, answer_play, answer_publish, answer_publish_to, offered};
pub use error::{Refusal, SdpError, SdpErrorKind};
pub use h264::{H264Format, H264Profile};
pub use ice_fragment::{IceFragment, parse_ice_fragment, write_ice_fragment};
pub use offer::{
    Direction, Extension, Feedback, Format, Media, Msid, Offer, RtpMap, Setup, Source, SourceGroup,
    TransportAttributes,
};
pub use parse::parse;
pub use plan::{Plan, PlannedTrack, Rejected, RemoteSide, SourceTrack};
pub use write::{PlaySide, RelaySide, TrackSsrcs};
