//! From the receive buffer to plaintext.
//!
//! Invariant: a packet is opened once in the life of its keys, however many SSRCs a peer has used meanwhile.
//!
//! A peer that begins its encoders anew takes new SSRCs each time. The windows of the [`SSRCS_MAX`] heard
//! last are kept; of one before, only its highest index. To forget that as well would let anybody who
//! recorded its packets send them again: keys and indices would fit, and the window would be empty (RFC 3711
//! §3.3.2). An SSRC that comes back goes on above that index, with its roll-over counter; what it sent before
//! and was late is refused as seen. So giving a place away is never unsafe, whoever needed it, and there is
//! room for [`RETIRED_MAX`] such SSRCs; then the peer gets no further ones until it has new keys.

use super::SrtpProfile;
use super::cipher::Cipher;
use super::keys::Half;
use super::replay::ReplayWindow;
use crate::id::{SeqNo, Ssrc};
use crate::wire::rtp::RtpHeader;
use arrayvec::ArrayVec;

/// SSRCs of one peer with a replay window each: camera and screen in three layers each with their RTX, a
/// microphone, and some spare for those that are replaced.
pub const SSRCS_MAX: usize = 16;

/// SSRCs of which only the highest index is remembered: a video that is begun anew each minute, with its RTX,
/// goes on for 17 hours. 32 KiB at most, of a peer that has keys and did that.
pub const RETIRED_MAX: usize = 2048;

/// A packet that proved authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Octets of plaintext.
    pub len: usize,
    /// Extended sequence number: roll-over counter and sequence number, 48 bits.
    pub index: u64,
}

/// Why a packet was not opened. All of them are counts, none ends anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Too short for its header, tag and trailer.
    Truncated,
    /// Seen before, or too old to tell.
    Replay,
    /// The tag is wrong.
    Auth,
    /// A new SSRC of a peer that has used [`SSRCS_MAX`] and [`RETIRED_MAX`] already.
    SsrcLimit,
    /// The caller's buffer is too short.
    NoRoom,
}

/// Keys for what one peer sends, and what has come so far.
///
/// All packets of an SSRC must pass through here, those of unwanted layers as well: the roll-over counter is
/// estimated from the last authentic packet, and goes wrong when 32,768 of them are kept from it.
pub struct OpenContext {
    profile: SrtpProfile,
    rtp: Cipher,
    rtcp: Cipher,
    rtp_streams: Streams,
    rtcp_streams: Streams,
}

impl OpenContext {
    /// Derives the session keys.
    ///
    /// # Panics
    /// If key and salt have not the profile's lengths.
    #[must_use]
    pub fn new(profile: SrtpProfile, master_key: &[u8], master_salt: &[u8]) -> Self {
        Self {
            profile,
            rtp: Cipher::derive(profile, master_key, master_salt, Half::Rtp),
            rtcp: Cipher::derive(profile, master_key, master_salt, Half::Rtcp),
            rtp_streams: Streams::default(),
            rtcp_streams: Streams::default(),
        }
    }

    /// What was agreed.
    #[must_use]
    pub const fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// Decrypts the payload of `packet`, whose header was parsed as `header`, into `out`.
    ///
    /// # Errors
    /// [`OpenError`]; then nothing has changed but `out`, which may hold anything.
    pub fn open_rtp(
        &mut self,
        header: &RtpHeader,
        packet: &[u8],
        out: &mut [u8],
    ) -> Result<Opened, OpenError> {
        let len = packet
            .len()
            .checked_sub(self.profile.rtp_tag_len())
            .and_then(|end| end.checked_sub(header.len))
            .ok_or(OpenError::Truncated)?;
        let out = out.get_mut(..len).ok_or(OpenError::NoRoom)?;
        let mut stream = self.rtp_streams.find(header.ssrc)?;
        let mut verdict = OpenError::Replay;
        for index in stream.guesses(header.seq) {
            if !stream.is_fresh(index) {
                continue;
            }
            if self.rtp.open_rtp(packet, header.len, (header.ssrc, index), out).is_some() {
                stream.accept(index);
                return Ok(Opened { len, index });
            }
            verdict = OpenError::Auth;
        }
        Err(verdict)
    }

    /// Decrypts an RTCP packet where it lies and returns the length of the plaintext at its front.
    ///
    /// # Errors
    /// [`OpenError`]; then `packet` may hold anything.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, OpenError> {
        let (ssrc, word) = self.rtcp.rtcp_fields(packet).ok_or(OpenError::Truncated)?;
        let mut stream = self.rtcp_streams.find(ssrc)?;
        if !stream.is_fresh(word.index()) {
            return Err(OpenError::Replay);
        }
        let len = self.rtcp.open_rtcp(packet, ssrc, word).ok_or(OpenError::Auth)?;
        stream.accept(word.index());
        Ok(len)
    }
}

impl std::fmt::Debug for OpenContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenContext").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// Replay windows by SSRC: kept apart (RFC 3711 §3.2.3), few enough to be searched in a row.
#[derive(Default)]
struct Streams {
    ssrcs: ArrayVec<Ssrc, SSRCS_MAX>,
    /// Parallel to `ssrcs`; grows when a new SSRC has proved authentic.
    heard: Vec<KnownStream>,
    /// Authentic packets.
    packets: u64,
    /// SSRCs that gave their place away, sorted, with their highest index.
    retired: Vec<(Ssrc, u64)>,
}

struct KnownStream {
    window: ReplayWindow,
    /// [`Streams::packets`] at its last one.
    last: u64,
}

impl Streams {
    /// The stream of an SSRC, which may be new.
    fn find(&mut self, ssrc: Ssrc) -> Result<Stream<'_>, OpenError> {
        if let Some(at) = self.ssrcs.iter().position(|&known| known == ssrc) {
            return Ok(Stream::Known(&mut self.heard[at], &mut self.packets));
        }
        match self.retired.binary_search_by_key(&ssrc, |(retired, _)| *retired) {
            Ok(at) => {
                let highest = self.retired[at].1;
                Ok(Stream::Back(self, ssrc, highest))
            }
            Err(_) if self.ssrcs.is_full() && self.retired.len() >= RETIRED_MAX => Err(OpenError::SsrcLimit),
            Err(_) => Ok(Stream::New(self, ssrc)),
        }
    }

    /// A packet of an SSRC without a place proved authentic. Of those with one, that which was silent longest
    /// gives way.
    fn take_place(&mut self, ssrc: Ssrc, window: ReplayWindow) {
        let place = |retired: &[(Ssrc, u64)], ssrc| retired.binary_search_by_key(&ssrc, |(known, _)| *known);
        if let Ok(at) = place(&self.retired, ssrc) {
            self.retired.remove(at);
        }
        self.packets += 1;
        let heard = KnownStream { window, last: self.packets };
        let oldest = self.heard.iter().enumerate().min_by_key(|(_, heard)| heard.last).map(|(at, _)| at);
        match oldest.filter(|_| self.ssrcs.is_full()) {
            None => {
                self.ssrcs.push(ssrc);
                self.heard.push(heard);
            }
            Some(oldest) => {
                let left = std::mem::replace(&mut self.ssrcs[oldest], ssrc);
                let before = std::mem::replace(&mut self.heard[oldest], heard);
                if let Err(at) = place(&self.retired, left) {
                    self.retired.insert(at, (left, before.window.highest()));
                }
            }
        }
    }
}

enum Stream<'a> {
    Known(&'a mut KnownStream, &'a mut u64),
    /// With its highest index. Takes its place again only when a packet proves authentic.
    Back(&'a mut Streams, Ssrc, u64),
    /// The same of one that was never heard.
    New(&'a mut Streams, Ssrc),
}

impl Stream<'_> {
    /// Indices a sequence number may stand for, likeliest first (RFC 3711 §3.3.1).
    ///
    /// Senders begin with roll-over counter 0; of a new SSRC the packets before a wrap may all be lost, so 1
    /// is tried as well. Once a packet has proved authentic, its counter is certain and the estimate can only
    /// go wrong by a gap of 32,768 packets: no more guesses then, and garbage costs one pass.
    fn guesses(&self, seq: SeqNo) -> ArrayVec<u64, 2> {
        let mut guesses = ArrayVec::new();
        match self {
            Self::Known(KnownStream { window, .. }, _) => guesses.push(seq.extend(window.highest())),
            Self::Back(_, _, highest) => guesses.push(seq.extend(*highest)),
            Self::New(..) => guesses.extend([u64::from(seq.0), u64::from(seq.0) + (1 << 16)]),
        }
        guesses
    }

    fn is_fresh(&self, index: u64) -> bool {
        match self {
            Self::Known(KnownStream { window, .. }, _) => window.is_fresh(index),
            Self::Back(_, _, highest) => index > *highest,
            Self::New(..) => true,
        }
    }

    fn accept(&mut self, index: u64) {
        match self {
            Self::Known(heard, packets) => {
                **packets += 1;
                heard.last = **packets;
                heard.window.accept(index);
            }
            Self::Back(streams, ssrc, highest) => {
                let mut window = ReplayWindow::full_up_to(*highest);
                window.accept(index);
                streams.take_place(*ssrc, window);
            }
            Self::New(streams, ssrc) => streams.take_place(*ssrc, ReplayWindow::starting_with(index)),
        }
    }
}
