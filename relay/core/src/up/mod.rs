//! The receiving side of a track: what one publisher's SSRC sends us, until it stands in the history.
//!
//! Invariants
//! - Every call is told the time; nothing here reads a clock, sends or logs, nor allocates after
//!   [`UpStream::prepare`].
//! - Any sequence of inputs is survived: a publisher may lie about numbers, timestamps and reports, and gets
//!   at most the state that these fixed arrays hold.
//! - Extended sequence numbers of one [`UpStream`] only ever grow at a resync, so the history and every
//!   subscriber's numbering can trust "higher is newer".
//!
//! Deliberately absent: decryption, packet formats (`wire`), and who receives what (`down`).

pub mod clock;
pub mod feedback;
pub mod history;
pub mod jitter;
pub mod keyframe;
pub mod keyframe_share;
pub mod loss;
pub mod remb;
pub mod stream;

pub use clock::{ClockReference, SenderClock};
pub use feedback::TransportFeedback;
pub use history::{History, PacketMeta, Stored};
pub use jitter::{ReceiverStats, SeqVerdict, SrArrival};
pub use keyframe::{Asker, KeyframeRequests};
pub use loss::{LossVerdict, NACK_LIST_MAX, NackGenerator};
pub use remb::RembEstimator;
pub use stream::{Accepted, Arrival, UpStream, UpStreamConfig};
