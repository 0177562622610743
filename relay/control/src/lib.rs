//! The language between signaling and relay.
//!
//! A controller (signaling, or `ringvox-relay ctl`) connects to the relay's Unix stream socket and exchanges
//! length-delimited frames: [`Request`] one way, [`Reply`] and [`Event`] (both inside [`FromRelay`]) the
//! other.
//!
//! Invariants
//! - A command is **idempotent by the ids it carries**. Ids are chosen by the controller (random 64 bit);
//!   sending a command twice has the effect of sending it once and gives the same answer.
//! - Every [`Request`] gets exactly one [`Reply`] with the same `request_id`; replies of one shard keep their
//!   order.
//! - Commands are **ordered per transport**: those that name one transport, or a track of it, are obeyed in
//!   the order in which they came, whether the earlier ones have been answered or not. So a
//!   [`CloseTransport`] sent right behind its [`OpenTransport`] closes it, and a track removed while its
//!   [`AddDownTrack`] is under way does not appear afterwards. A command that is refused is left out, those
//!   behind it are not: whoever says again what was [`ErrorCode::Busy`] sees to the order himself. Between
//!   transports there is no order; what needs another transport's track waits for the reply that it is there.
//! - What is about local ports ([`Command::is_of_ports`]) is obeyed from everybody who may connect.
//! - A controller names its `epoch` in [`Hello`]. The relay obeys the highest epoch seen, of two controllers
//!   with the same one the first, and answers commands of others with [`ErrorCode::StaleEpoch`] and the epoch
//!   that commands.
//! - Events carry a sequence number per relay process, so a controller sees a gap and asks for the inventory.
//! - The relay never sees SDP: everything here is already negotiated numbers.
//!
//! Deliberately absent: rooms' members, logins, chat. A `label` is opaque to the relay; it is what a new
//! controller needs to re-adopt the transport.

#![warn(missing_docs)]

/// Set in the environment of a relay that a signaling starts, which it then says in its [`Welcome`].
pub const STARTED_BY_SIGNALING: &str = "RINGVOX_STARTED_BY_SIGNALING";

mod codec;
mod command;
mod connection;
mod event;
pub mod listener;
mod place;

pub use codec::{FRAME_BYTES_MAX, FrameDecoder, FrameError, encode_frame};
pub use command::*;
pub use connection::Connection;
pub use event::*;
pub use place::{
    Untrusted, check_directory, default_control_socket, directory_of, port_socket, recorder_socket,
    recorder_socket_of, trusts,
};
