//! What a peer's downlink carries: an estimate of ours from the peer's transport-wide feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01), after draft-ietf-rmcat-gcc-02.
//!
//! What it is for: choosing what a subscriber is sent, so that no queue grows in front of its link. Nothing
//! asks it yet: the shard neither numbers what it sends nor reads the reports, so far. How it does on thirty
//! links is in `tests/sim/downlink/table.md`.
//!
//! [`Estimator`] is told what is sent ([`sent`]) and what is reported of it. Delays ([`delay`], [`trend`])
//! and losses ([`loss`]) limit the rate ([`rate`]); probes ([`probe`]) find what the media does not ask for.
//!
//! Invariants
//! - Every call is told the time; nothing here reads a clock, sends or logs, nor allocates after
//!   [`Estimator::new`].
//! - Whatever a peer reports, it costs work in proportion to the report and to [`sent::SENT_MAX`], and the
//!   estimate stays between [`estimator::MIN_BPS`] and [`estimator::MAX_BPS`]. Who lies harms his own
//!   downlink.
//! - Probes are within what is tried: twice the target, for some tens of milliseconds.

pub mod delay;
pub mod estimator;
pub mod loss;
pub mod probe;
pub mod rate;
pub mod recent;
pub mod sent;
pub mod throughput;
pub mod trend;

pub use estimator::Estimator;
