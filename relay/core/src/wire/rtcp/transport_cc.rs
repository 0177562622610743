//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
//!
//! Sixteen octets may claim 65,535 packets that never came. [`TransportCc::received`] steps over such runs at
//! once and so does work in proportion to the octets; only [`TransportCc::statuses`] follows the claim.

use super::{fmt, pt, write_feedback};
use crate::id::Ssrc;
use crate::wire::WireError;
use crate::wire::cursor::{Reader, Writer};

/// Longest feedback that we write; the caller splits what would be longer.
pub const TRANSPORT_CC_BYTES_MAX: usize = 1200;
/// Longest run that a run-length chunk can tell.
const RUN_MAX: u16 = 0x1fff;
/// Statuses in a vector chunk of one-bit symbols.
const ONE_BIT_SYMBOLS: usize = 14;
/// Statuses in a vector chunk of two-bit symbols.
const TWO_BIT_SYMBOLS: usize = 7;

/// What happened to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symbol {
    NotReceived,
    /// A delta of one octet follows.
    Small,
    /// A delta of two octets follows.
    Large,
}

impl Symbol {
    fn of(delta: Option<i16>) -> Self {
        match delta {
            None => Self::NotReceived,
            Some(0..=255) => Self::Small,
            Some(_) => Self::Large,
        }
    }

    fn from_bits(bits: u16) -> Result<Self, WireError> {
        match bits {
            0 => Ok(Self::NotReceived),
            1 => Ok(Self::Small),
            2 => Ok(Self::Large),
            _ => Err(WireError::BadValue), // reserved
        }
    }

    const fn bits(self) -> u16 {
        match self {
            Self::NotReceived => 0,
            Self::Small => 1,
            Self::Large => 2,
        }
    }

    const fn delta_bytes(self) -> usize {
        self.bits() as usize
    }
}

/// When packets arrived, told by their receiver.
#[derive(Debug, Clone, Copy)]
pub struct TransportCc<'a> {
    /// The receiver.
    pub sender_ssrc: Ssrc,
    /// Any of the streams.
    pub media_ssrc: Ssrc,
    /// Transport-wide sequence number of the first status.
    pub base_seq: u16,
    /// Number of statuses.
    pub status_count: u16,
    /// Signed 24 bit, in units of 64 ms: where the first delta starts.
    pub reference_time_64ms: i32,
    /// Counts the feedback messages.
    pub fb_count: u8,
    chunks: Reader<'a>,
    deltas: Reader<'a>,
}

impl<'a> TransportCc<'a> {
    pub(super) fn parse(mut r: Reader<'a>) -> Result<Self, WireError> {
        let (sender_ssrc, media_ssrc) = (Ssrc(r.u32()?), Ssrc(r.u32()?));
        let (base_seq, status_count) = (r.u16()?, r.u16()?);
        let (reference_time, fb_count) = (r.u24()?, r.u8()?);
        let mut chunks = Chunks { words: r, left: status_count };
        let mut delta_bytes = 0;
        while chunks.left > 0 {
            delta_bytes += chunks.read()?.delta_bytes()?;
        }
        let deltas = chunks.words;
        if delta_bytes > deltas.rest().len() {
            return Err(WireError::Truncated);
        }
        Ok(Self {
            sender_ssrc,
            media_ssrc,
            base_seq,
            status_count,
            reference_time_64ms: (reference_time << 8).cast_signed() >> 8,
            fb_count,
            chunks: r,
            deltas,
        })
    }

    /// All statuses in order: sequence number, and for a received packet the time since the one received
    /// before it (or since the reference time) in units of 250 µs. As many as are claimed.
    #[must_use]
    pub fn statuses(&self) -> Statuses<'a> {
        Statuses {
            chunks: Chunks { words: self.chunks, left: self.status_count },
            chunk: Chunk::default(),
            deltas: self.deltas,
            seq: self.base_seq,
        }
    }

    /// Only the packets that arrived: never more than the message has octets.
    #[must_use]
    pub fn received(&self) -> Received<'a> {
        Received(self.statuses())
    }
}

/// See [`TransportCc::statuses`].
#[derive(Debug, Clone, Copy)]
pub struct Statuses<'a> {
    chunks: Chunks<'a>,
    chunk: Chunk,
    deltas: Reader<'a>,
    seq: u16,
}

impl Statuses<'_> {
    /// Steps over what is left of a run of packets that did not arrive.
    fn skip_lost_run(&mut self) {
        if matches!(self.chunk.kind, ChunkKind::Run(0)) {
            self.seq = self.seq.wrapping_add(self.chunk.left);
            self.chunk.left = 0;
        }
    }

    fn next_symbol(&mut self, skip_lost_runs: bool) -> Option<Symbol> {
        loop {
            if skip_lost_runs {
                self.skip_lost_run();
            }
            if let Some(symbol) = self.chunk.next() {
                return symbol.ok();
            }
            self.chunk = self.chunks.read().ok()?;
        }
    }

    fn step(&mut self, skip_lost_runs: bool) -> Option<(u16, Option<i16>)> {
        let delta = match self.next_symbol(skip_lost_runs)? {
            Symbol::NotReceived => None,
            Symbol::Small => Some(i16::from(self.deltas.u8().ok()?)),
            Symbol::Large => Some(self.deltas.u16().ok()?.cast_signed()),
        };
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        Some((seq, delta))
    }
}

impl Iterator for Statuses<'_> {
    type Item = (u16, Option<i16>);

    fn next(&mut self) -> Option<Self::Item> {
        self.step(false)
    }
}

/// See [`TransportCc::received`].
#[derive(Debug, Clone, Copy)]
pub struct Received<'a>(Statuses<'a>);

impl Iterator for Received<'_> {
    type Item = (u16, i16);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let (seq, Some(delta)) = self.0.step(true)? {
                return Some((seq, delta));
            }
        }
    }
}

/// The packet status chunks, and how many statuses are still to come.
#[derive(Debug, Clone, Copy)]
struct Chunks<'a> {
    words: Reader<'a>,
    left: u16,
}

impl Chunks<'_> {
    /// The next chunk, cut to the statuses that are left.
    fn read(&mut self) -> Result<Chunk, WireError> {
        if self.left == 0 {
            return Err(WireError::Truncated);
        }
        let word = self.words.u16()?;
        let (kind, capacity) = match word >> 14 {
            0 | 1 => (ChunkKind::Run(word >> 13), word & RUN_MAX),
            2 => (ChunkKind::OneBit(word << 2), ONE_BIT_SYMBOLS as u16),
            _ => (ChunkKind::TwoBit(word << 2), TWO_BIT_SYMBOLS as u16),
        };
        let left = capacity.min(self.left);
        self.left -= left;
        Ok(Chunk { kind, left })
    }
}

/// Symbols of one chunk, the next one on top.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    kind: ChunkKind,
    left: u16,
}

#[derive(Debug, Clone, Copy)]
enum ChunkKind {
    Run(u16),
    OneBit(u16),
    TwoBit(u16),
}

impl Default for Chunk {
    fn default() -> Self {
        Self { kind: ChunkKind::Run(0), left: 0 }
    }
}

impl Chunk {
    /// Octets of deltas that its symbols need. A run is not walked.
    fn delta_bytes(self) -> Result<usize, WireError> {
        match self.kind {
            ChunkKind::Run(bits) => Ok(usize::from(self.left) * Symbol::from_bits(bits)?.delta_bytes()),
            _ => self.map(|symbol| symbol.map(Symbol::delta_bytes)).sum(),
        }
    }
}

impl Iterator for Chunk {
    type Item = Result<Symbol, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let bits = match &mut self.kind {
            ChunkKind::Run(bits) => *bits,
            ChunkKind::OneBit(bits) => {
                let top = *bits >> 15;
                *bits <<= 1;
                top
            }
            ChunkKind::TwoBit(bits) => {
                let top = *bits >> 14;
                *bits <<= 2;
                top
            }
        };
        Some(Symbol::from_bits(bits))
    }
}

/// Writes feedback for `deltas.len()` packets from `base_seq` on: `None` for a lost one, otherwise the time
/// since the one received before it (since the reference time for the first) in units of 250 µs. Returns the
/// length, `None` if it does not fit into `out` or is over [`TRANSPORT_CC_BYTES_MAX`].
#[must_use]
pub fn write_transport_cc(
    out: &mut [u8],
    sender: Ssrc,
    media: Ssrc,
    base_seq: u16,
    fb_count: u8,
    reference_time_64ms: i32,
    deltas: &[Option<i16>],
) -> Option<usize> {
    let status_count = u16::try_from(deltas.len()).ok()?;
    let room = out.len().min(TRANSPORT_CC_BYTES_MAX);
    let out = out.get_mut(..room)?;
    write_feedback(out, (pt::RTPFB, fmt::TRANSPORT_CC), (sender, media), |w| {
        w.u16(base_seq)?;
        w.u16(status_count)?;
        w.u24(reference_time_64ms.cast_unsigned() & 0xff_ffff)?;
        w.u8(fb_count)?;
        let mut rest = deltas;
        while !rest.is_empty() {
            let told = write_chunk(w, rest)?;
            rest = rest.get(told..)?;
        }
        deltas.iter().flatten().try_for_each(|delta| match u8::try_from(*delta) {
            Ok(small) => w.u8(small),
            Err(_) => w.u16(delta.cast_unsigned()),
        })
    })
}

/// Writes the chunk that tells most of the next statuses, and returns how many.
fn write_chunk(w: &mut Writer<'_>, deltas: &[Option<i16>]) -> Option<usize> {
    let symbols = || deltas.iter().map(|delta| Symbol::of(*delta));
    let first = symbols().next()?;
    let run = symbols().take(usize::from(RUN_MAX)).take_while(|symbol| *symbol == first).count();
    // A vector is cut short only by the end of the message: its other symbols would count as statuses.
    let one_bit = deltas.len().min(ONE_BIT_SYMBOLS);
    let two_bit = deltas.len().min(TWO_BIT_SYMBOLS);
    let without_large = symbols().take(one_bit).all(|symbol| symbol != Symbol::Large);
    if run >= if without_large { one_bit } else { two_bit } {
        w.u16((first.bits() << 13) | u16::try_from(run).ok()?)?;
        return Some(run);
    }
    if without_large {
        let bits = symbols().take(one_bit).zip((0..ONE_BIT_SYMBOLS).rev());
        w.u16(bits.fold(0x8000, |word, (symbol, shift)| word | (symbol.bits() << shift)))?;
        return Some(one_bit);
    }
    let bits = symbols().take(two_bit).zip((0..TWO_BIT_SYMBOLS).rev());
    w.u16(bits.fold(0xc000, |word, (symbol, shift)| word | (symbol.bits() << (2 * shift))))?;
    Some(two_bit)
}
