//! Bodies of the micro-benchmarks: plain functions and the inputs they take, shared by those that time them (criterion,
//! `make bench`) and the one that counts their instructions (valgrind, `make bench-gate`).
//!
//! Invariants
//! - A body does what the relay or signaling does with the same input, through their public functions.
//! - Setting up is apart from the body, and no body opens a file or a socket. What needs one (sending) is timed only.
//! - No body depends on a package that is only measured beside ours; those live in `benches/`.
//!
//! Times are comparable within one run only, so other people's code for the same work runs beside ours. Counts are
//! comparable from one commit to the next, under one compiler.

#![allow(missing_docs, reason = "no package but this one uses the bodies, and most names say it all")]

pub mod control;
pub mod forwarding;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod srtp;
pub mod stun;

/// Packet sizes that matter: a video packet and an audio packet, in octets of payload behind twelve of header.
pub const PAYLOADS: [(&str, usize); 2] = [("1200 B", 1_188), ("120 B", 108)];
