//! Matroska (RFC 9559) and WebM: our own small muxer, and the reader that finishes a file.
//!
//! A file is a head of fixed length, then clusters, then the index:
//!
//! ```text
//! EBML header · Segment (length unknown) · Info · Tracks · Void …   HEAD_BYTES, written anew in place
//! Cluster · Cluster · …                                             each appended whole
//! Cues                                                              by `finish`, with length and duration
//! ```
//!
//! Invariants
//! - Whatever was appended is playable: a file that is cut anywhere behind its head has all its clusters but
//!   the last.
//! - A track that comes later is a track like the others: the head has room for it, and is written again in
//!   its place before the first cluster that needs it.
//! - Blocks of a track have times that grow; a cluster's blocks are in the order of time, and no cluster is
//!   longer than [`CLUSTER_NANOS`].
//! - A file is finished the same way whether its recorder ended or died: what is needed is read from the
//!   file.
//!
//! Deliberately absent: files (bytes come out, [`Written`]), lacing, and all that our files do not have: the
//! reader reads what the muxer wrote.

mod ebml;
mod finish;
mod head;
mod muxer;
mod read;
mod scan;
mod track;
mod writer;

#[cfg(test)]
pub(crate) use muxer::store;

pub use finish::{finish, finish_as};
pub use head::{DocType, HEAD_BYTES, Head, HeadFull, TRACKS_MAX};
pub use muxer::{Block, CLUSTER_NANOS, Muxer, SKEW_NANOS, Written};
pub use read::{ClusterPlace, FoundBlock, FoundTrack, Reader, blocks};
pub use scan::{Cluster, Cue, ScanError, Scanned, Walked, scan, walk};
pub use track::{Media, Track};
pub use writer::Writer;
