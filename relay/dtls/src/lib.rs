//! DTLS 1.3 and 1.2 for DTLS-SRTP (RFC 9147, RFC 6347, RFC 5764) on BoringSSL, sans-IO: datagrams in,
//! datagrams out.
//!
//! Invariants
//! - No socket, no thread, no clock: BoringSSL is told the `now` of whoever drives the engine (see `ffi.rs`).
//! - The peer's certificate is judged by its SHA-256 alone (RFC 8122), inside the handshake: before its key
//!   verifies a signature, and long before any key is exported. No chain, name or date counts.
//! - The server chooses: SRTP profile, group and cipher suite follow our order, whatever the client's is.
//! - What came without protection never ends a handshake (see `listener.rs`, and `dialer.rs` for what a
//!   client cannot know), and nothing unprotected reaches an established association (RFC 9147 §4.5.2; see
//!   `records.rs`).
//!
//! Deliberately absent: application data, resumption, 0-RTT, renegotiation, cookies (whoever drives an engine
//! gives it datagrams of a 5-tuple that ICE validated) and a limit on the length of a handshake (the
//! driver's).
//!
//! [`EngineFactory`] makes the relay's engines of both roles. [`Association`] is either end, so whoever tests
//! or measures a server makes clients of [`base_context`] and [`Association::client`].

#![warn(missing_docs)]

mod admission;
mod assembly;
mod association;
mod certificate;
mod dialer;
mod factory;
mod ffi;
mod hello;
mod listener;
mod peer;
mod queue;
mod records;
mod signature;

pub use association::Association;
pub use certificate::Identity;
pub use dialer::Dialer;
pub use factory::{EngineFactory, GROUPS, SUITES, base_context, boring_profiles};
pub use listener::Listener;

/// Largest datagram an engine writes, in octets: what passes every path of a network with an MTU of 1,280
/// (RFC 8200 §5) below IPv6, UDP and a tunnel.
pub const DATAGRAM_BYTES_MAX: usize = 1200;

/// Largest handshake message, in octets: a certificate of a browser has 300, and 16 KiB leave room for RSA
/// and a chain.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// BoringSSL refused something that depends on no input: out of memory, or built without what we need.
#[derive(Debug)]
pub struct SetupError(boring::error::ErrorStack);

impl From<boring::error::ErrorStack> for SetupError {
    fn from(stack: boring::error::ErrorStack) -> Self {
        Self(stack)
    }
}

impl std::fmt::Display for SetupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DTLS cannot be set up: {}", self.0)
    }
}

impl std::error::Error for SetupError {}
