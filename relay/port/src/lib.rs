//! Ports: the one border at which media in clear enters or leaves a shard of the relay.
//!
//! Behind a port is another shard, a local process or another node. All of them exchange the same few
//! [`Message`]s, and a shard does not know which of them it talks to. This package has what both sides share:
//! the messages, the entry of the bounded queue that carries them ([`Entry`], [`PortSink`]), and their
//! encoding for ports that are sockets ([`Frame`]).
//!
//! Invariants
//! - One queue for each direction, one order: whoever reads a message has read all that was said before it.
//! - A packet crosses a port once, however many listen behind it.
//! - Packets may be lost at a port, to a full queue or a slow socket. The side that lost one counts it.
//! - A packet says of which source (SSRC) of its track it is, so a lost one cannot hide that the source
//!   changed.
//! - Times are [`MediaTime`], on one clock for all ports of a relay.
//!
//! [`connect`] is the process's side of a local port.
//!
//! Deliberately absent: threads, the relay's sockets, and the queue itself.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod client;
mod message;
mod queue;
mod wire;

pub use client::{ClientError, ClientReader, ClientWriter, connect};
pub use message::{
    Clock, Codec, MediaKind, MediaTime, Message, Packet, PortId, PortKind, Priority, Track, TrackId,
};
pub use queue::{Entry, Load, PAYLOAD_BYTES_MAX, PortSink, PortWriter};
pub use wire::{
    DecodeError, Decoded, FIELDS_BYTES_MAX, FRAME_BYTES_MAX, Frame, FrameReader, Hello, LABEL_BYTES_MAX,
    NAME_BYTES_MAX, PORT_VERSION, Refusal, decode, encode, is_name,
};
