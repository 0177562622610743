//! Recording: from the packets that a port of the relay gives in clear to files.
//!
//! A packet's walk: [`taps`] knows its track, [`depacketize`] puts packets into order and frames together,
//! [`track`] puts those on the room's [`clock`], [`recorder`] knows the recordings they go into,
//! [`recording`] puts them into a part of [`matroska`], and [`disk`] writes it. When a recording has ended
//! ([`lifetime`]), [`finish`] makes its file and [`publish`] gives it its name. [`run`] has the threads.
//!
//! Invariants
//! - All that comes in is bounded: what is held of it by a named constant, what of it is bad by a count.
//! - Time is an argument: but for [`run`], [`disk`], [`keeper`] and [`control`], nothing here asks for it.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod clock;
pub mod config;
pub mod control;
pub mod depacketize;
pub mod disk;
pub mod entry;
pub mod finish;
mod fitted;
pub mod folder;
pub mod keeper;
pub mod lifetime;
pub mod matroska;
pub mod mix;
mod programs;
pub mod publish;
pub mod recorder;
pub mod recording;
pub mod removal;
pub mod run;
pub mod sink;
pub mod space;
pub mod taps;
pub mod track;
