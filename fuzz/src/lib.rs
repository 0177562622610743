//! Fuzz bodies: what must hold for any bytes at the places where bytes of strangers come in.
//!
//! A body takes any bytes, and panics where a promise is broken. libFuzzer runs them with coverage
//! (`fuzz_targets/`, see `README.md`); `cargo test -p fuzz` runs each over its committed `corpus/` and over
//! mutations of it, so a find stays found: its input becomes a corpus file.

#![forbid(unsafe_code)]

mod actions;
mod control_frame;
mod control_order;
mod depacketize;
mod downlink;
mod dtls_client;
mod forwarded;
mod gcm_seal;
mod hook_and_hub;
mod matroska;
mod paths;
mod port_frame;
mod rtcp;
mod rtp;
mod sdp;
mod shard;
mod srtp_open;
mod stun;
mod up_stream;
mod websocket_message;

pub use control_frame::control_frame;
pub use control_order::control_order;
pub use depacketize::depacketize;
pub use downlink::downlink;
pub use dtls_client::dtls_client;
pub use forwarded::forwarded;
pub use gcm_seal::gcm_seal;
pub use hook_and_hub::hook_and_hub;
pub use matroska::matroska;
pub use paths::paths;
pub use port_frame::port_frame;
pub use rtcp::rtcp;
pub use rtp::rtp;
pub use sdp::sdp;
pub use shard::shard;
pub use srtp_open::srtp_open;
pub use stun::stun;
pub use up_stream::up_stream;
pub use websocket_message::websocket_message;

/// Takes any bytes; panics where a promise is broken.
pub type Body = fn(&[u8]);

/// Every body with its name, which is also that of its corpus.
pub const TARGETS: [(&str, Body); 19] = [
    ("stun", stun),
    ("rtp", rtp),
    ("rtcp", rtcp),
    ("srtp_open", srtp_open),
    ("gcm_seal", gcm_seal),
    ("sdp", sdp),
    ("websocket_message", websocket_message),
    ("control_frame", control_frame),
    ("control_order", control_order),
    ("up_stream", up_stream),
    ("shard", shard),
    ("paths", paths),
    ("hook_and_hub", hook_and_hub),
    ("port_frame", port_frame),
    ("dtls_client", dtls_client),
    ("forwarded", forwarded),
    ("depacketize", depacketize),
    ("matroska", matroska),
    ("downlink", downlink),
];

/// Those of them whose input is a list of actions. One input takes milliseconds, so `generators.rs` runs
/// generated ones for a minute rather than each mutation of a corpus.
pub const ACTION_TARGETS: [&str; 5] = ["control_order", "up_stream", "shard", "paths", "hook_and_hub"];
