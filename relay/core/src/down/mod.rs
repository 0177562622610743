//! The sending side of a track: what one subscriber gets of an up-track, in numbers of the relay's own.
//!
//! Invariants
//! - Every call is told the time; nothing here reads a clock, sends or logs, nor allocates after
//!   [`DownStream::prepare`].
//! - No own index is given to two different packets, so no (key, SSRC, index) is used twice, provided that
//!   each packet of the up-track is offered once (the history refuses the second). Under an index that was
//!   used only the same octets go out again ([`resend`]).
//! - What is withheld or refused names its [`crate::stats::DropReason`].
//!
//! Deliberately absent: header and cipher (`wire`, `srtp`), and the subscriber's address and keys
//! (`transport`).

pub mod keyframes;
pub mod layer;
pub mod prefix;
pub mod reports;
pub mod resend;
pub mod rewrite;
pub mod rtx;
pub mod stream;

pub use keyframes::{Grant, KeyframeBudget};
pub use layer::Gate;
pub use prefix::{PREFIX_BYTES_MAX, PayloadPrefix};
pub use reports::{SenderInfo, SenderReports};
pub use resend::{SentPacket, SentPackets};
pub use rewrite::{Rewriter, Rewritten};
pub use rtx::RtxResponder;
pub use stream::{DownStream, DownStreamConfig, Repair, Resend, SameAgain};
