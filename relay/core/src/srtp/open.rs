//! From the receive buffer to plaintext.

use super::SrtpProfile;
use super::cipher::Cipher;
use super::keys::Half;
use super::replay::ReplayWindow;
use crate::id::{SeqNo, Ssrc};
use crate::wire::rtp::RtpHeader;
use arrayvec::ArrayVec;

/// SSRCs one peer may send with: camera and screen in three layers each with their RTX, a microphone, and some spare
/// for those that are replaced. Each costs a replay window.
pub const SSRCS_MAX: usize = 16;

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
    /// A new SSRC where the peer has [`SSRCS_MAX`] already.
    SsrcLimit,
    /// The caller's buffer is too short.
    NoRoom,
}

/// Keys for what one peer sends, and what has come so far.
///
/// All packets of an SSRC must pass through here, those of unwanted layers as well: the roll-over counter is estimated
/// from the last authentic packet, and goes wrong when 32,768 of them are kept from it.
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
    windows: Vec<ReplayWindow>,
}

impl Streams {
    /// The stream of an SSRC, which may be new.
    fn find(&mut self, ssrc: Ssrc) -> Result<Stream<'_>, OpenError> {
        match self.ssrcs.iter().position(|&known| known == ssrc) {
            Some(at) => Ok(Stream::Known(&mut self.windows[at])),
            None if self.ssrcs.is_full() => Err(OpenError::SsrcLimit),
            None => Ok(Stream::New(self, ssrc)),
        }
    }
}

enum Stream<'a> {
    Known(&'a mut ReplayWindow),
    /// Takes a place in the table only when a packet proves authentic.
    New(&'a mut Streams, Ssrc),
}

impl Stream<'_> {
    /// Indices a sequence number may stand for, likeliest first (RFC 3711 §3.3.1).
    ///
    /// Senders begin with roll-over counter 0; of a new SSRC the packets before a wrap may all be lost, so 1 is tried as
    /// well. Once a packet has proved authentic, its counter is certain and the estimate can only go wrong by a gap of
    /// 32,768 packets: no more guesses then, and garbage costs one pass.
    fn guesses(&self, seq: SeqNo) -> ArrayVec<u64, 2> {
        let mut guesses = ArrayVec::new();
        match self {
            Self::Known(window) => guesses.push(seq.extend(window.highest())),
            Self::New(..) => guesses.extend([u64::from(seq.0), u64::from(seq.0) + (1 << 16)]),
        }
        guesses
    }

    fn is_fresh(&self, index: u64) -> bool {
        match self {
            Self::Known(window) => window.is_fresh(index),
            Self::New(..) => true,
        }
    }

    fn accept(&mut self, index: u64) {
        match self {
            Self::Known(window) => window.accept(index),
            Self::New(streams, ssrc) => {
                streams.ssrcs.push(*ssrc);
                streams.windows.push(ReplayWindow::starting_with(index));
            }
        }
    }
}
