//! Signaling: rooms, members and policy. It holds no media.
//!
//! ```text
//! browser ──WebSocket──► ws ──ClientMessage──► hub ──Command──► relay link ──control socket──► ringvox-relay
//!         ──HTTP───────► rest ──HttpRequest──►  │  ◄──Event, Reply──┘
//!         ◄──text, status──────────────Output───┘
//! ```
//!
//! - [`hub`] is truth about rooms: one sans-IO state machine, told everything, its time included.
//! - [`message`] is the client protocol, [`sdp`] the session descriptions: neither reaches the relay.
//! - [`auth`] decides who may do what before the hub is told.
//! - [`ws`], [`rest`], [`web`], [`relay`] are edges: sockets in, sockets out; [`edge`] is what they share.
//! - [`server`] puts them together.
//!
//! Invariants
//! - Signaling may be killed at any moment: media flows on, and the next signaling rebuilds the rooms from
//!   the labels on the relay's transports (`hub/adopt.rs`).
//! - Every queue, table and name has a limit, and the refusal is typed and visible to who caused it.
//! - What a client sends never panics and never ends another client's session.

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "a library for this workspace's programs, tests and benches only")]

pub mod address;
mod api;
pub mod auth;
mod backoff;
pub mod config;
mod deadline;
mod descriptors;
pub mod edge;
mod events;
mod file_name;
pub mod forwarded;
pub mod hub;
pub mod id;
mod idle;
pub mod json;
mod listen;
pub mod log;
mod log_limit;
mod member;
pub mod message;
pub mod names;
mod operators;
mod places;
pub mod post;
mod process;
mod reach;
mod record;
pub mod recorder;
mod records;
pub mod refusal;
mod refused;
pub mod relay;
mod renewal;
mod rest;
mod room;
pub mod sdp;
mod secret_file;
mod send_queue;
pub mod server;
pub mod start;
mod stream;
mod stream_state;
mod timer;
mod tls;
mod web;
mod webhook;
mod ws;
