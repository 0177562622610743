//! Recording: from the packets that a port of the relay gives in clear to files.
//!
//! A packet's walk: [`groups`] knows its recording, [`depacketize`] puts packets into order and frames
//! together, [`track`] puts those on the room's [`clock`], [`recording`] into a file of [`matroska`], and
//! [`disk`] writes it.
//!
//! Invariants
//! - All that comes in is bounded: what is held of it by a named constant, what of it is bad by a count.
//! - Time is an argument: nothing here asks for it.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod clock;
pub mod config;
pub mod depacketize;
pub mod disk;
pub mod finish;
pub mod groups;
pub mod matroska;
pub mod publish;
pub mod recording;
pub mod sink;
pub mod track;
