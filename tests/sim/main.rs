//! Behaviour by simulation: the real core, a fake clock, a lossy fake network, fake peers. Every run is a
//! seed.

mod batches;
mod downlink;
mod faults;
mod handshake;
mod hostile;
mod inventory;
mod media;
mod paths;
mod pipes;
mod ports;
mod session;
mod shedding;
mod storm;

/// Seeds that every lossy test runs with; one that ever failed stays here.
pub(crate) fn seeds() -> impl Iterator<Item = u64> {
    include_str!("seeds.txt").lines().filter_map(|line| line.split('#').next()?.trim().parse().ok())
}
