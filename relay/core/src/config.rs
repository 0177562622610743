//! What a shard is made with, and its limits.

use crate::time::NtpClock;
use std::net::SocketAddr;
use std::time::Duration;

/// Plain values, read once.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Which shard this is.
    pub shard: u32,
    /// Addresses to announce as host candidates, best first.
    pub candidates: Vec<SocketAddr>,
    /// Wall clock for sender reports.
    pub ntp: NtpClock,
    /// What a peer may send if its transport names no bound, bit/s.
    pub default_max_receive_bitrate_bps: u64,
    /// Seal for four subscribers at once where the processor can (AES-128-GCM).
    pub four_lanes: bool,
    /// See [`Limits`].
    pub limits: Limits,
}

/// Limits of one shard. All finite; a refusal is typed and visible.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Transports at one time.
    pub transports: usize,
    /// Transports without keys. One check proves no address, as its sender may be forged; only a handshake
    /// does. Each costs 4 KiB at most before that check and is gone after `ice_timeout` and `dtls_timeout`,
    /// so this is what strangers can make a shard hold. Twice what a storm of joins has under way.
    pub unproved_transports: usize,
    /// Up-tracks of one transport: a camera, a microphone, a screen with sound, and room for simulcast.
    pub up_tracks_per_transport: usize,
    /// Down-tracks of one transport.
    pub down_tracks_per_transport: usize,
    /// Down-tracks fed by one up-track.
    pub subscribers_per_track: usize,
    /// Time for a peer to prove its ICE password.
    pub ice_timeout: Duration,
    /// Time from ICE to keys.
    pub dtls_timeout: Duration,
    /// Life of consent without an authenticated check or packet (RFC 7675 §5.1).
    pub consent: Duration,
    /// Silence after which an up-track counts as inactive. Above what comes of a client that sends on: an
    /// Opus encoder in silence sends a packet every 400 ms (RFC 6716 §2.1.9), a browser a frame of a still
    /// screen every second. Below the 3 s within which people are to know.
    pub silence: Duration,
    /// Time without a subscriber after which a track from another shard is closed; at most twice this.
    pub port_idle: Duration,
    /// STUN error responses per second; beyond that a bad check is only counted.
    pub stun_errors_per_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transports: 20_000,
            unproved_transports: 4_096,
            up_tracks_per_transport: 8,
            down_tracks_per_transport: 64,
            subscribers_per_track: 10_000,
            ice_timeout: Duration::from_secs(15),
            dtls_timeout: Duration::from_secs(15),
            consent: Duration::from_secs(30),
            silence: Duration::from_millis(2_500),
            // Commands reach a shard within milliseconds; a viewer that zaps back finds the track open.
            port_idle: Duration::from_secs(5),
            stun_errors_per_s: 100,
        }
    }
}
