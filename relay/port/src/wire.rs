//! The encoding of messages for a port that is a stream of octets.
//!
//! ```text
//! 0                    4      5                  7
//! +--------------------+------+------------------+--------------+-------------+
//! | length of the rest | kind | length of fields | fields       | payload     |
//! |                    |      |                  | of this kind | of a packet |
//! +--------------------+------+------------------+--------------+-------------+
//! ```
//! All numbers are big-endian. A later version may add kinds, fields behind those of a kind and values of an
//! enumeration; it changes nothing else. So a reader skips a frame of a kind that it does not know or with a
//! value that it does not know ([`Decoded::Unknown`]), and fields behind those that it knows.
//!
//! Each side says [`Hello`] first. Bad input is a [`DecodeError`], after which the stream cannot be used
//! further.

use crate::message::{Clock, Codec, MediaKind, MediaTime, Message, Packet, Priority, Track, TrackId};
use crate::queue::PAYLOAD_BYTES_MAX;
use std::fmt;

/// Version of this encoding, told in [`Hello`]: which kinds and fields the other side knows.
pub const PORT_VERSION: u32 = 1;
/// Longest fields of a frame: some two times the longest of this version.
pub const FIELDS_BYTES_MAX: usize = 8 << 10;
/// Octets of the length.
const LENGTH_BYTES: usize = 4;
/// Octets of kind and length of the fields.
const HEAD_BYTES: usize = 3;
/// Longest frame, the length not included.
pub const FRAME_BYTES_MAX: usize = HEAD_BYTES + FIELDS_BYTES_MAX + PAYLOAD_BYTES_MAX;
/// Longest label of a track.
pub const LABEL_BYTES_MAX: usize = 4096;
/// Longest name of a process at a port.
pub const NAME_BYTES_MAX: usize = 64;

const _: () = assert!(
    NAME_BYTES_MAX < FIELDS_BYTES_MAX
        && LABEL_BYTES_MAX + 10 <= FIELDS_BYTES_MAX
        && FIELDS_BYTES_MAX <= u16::MAX as usize
);

/// The first frame of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The sender's [`PORT_VERSION`].
    pub version: u32,
    /// Of the process, see [`is_name`]; the relay's own is `relay`.
    pub name: String,
}

/// Why the relay ends the connection of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// It did not say [`Hello`] first, or one that makes no sense.
    BadHello = 1,
    /// Another process is connected under this name.
    NameTaken = 2,
    /// As many processes are connected as may be.
    TooMany = 3,
}

impl Refusal {
    const ALL: [Self; 3] = [Self::BadHello, Self::NameTaken, Self::TooMany];
}

/// A frame of the stream between a process and the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first frame in both directions.
    Hello(Hello),
    /// The relay refuses the process and closes the connection.
    Refused(Refusal),
    /// To who has a track, or can make it: it is wanted, as described. Packets may follow; an end is
    /// [`Message::Close`].
    Want {
        /// The id under which it is to come.
        track_id: TrackId,
        /// The track's description.
        track: Track,
    },
    /// To who has tapped a track: what was said with the order, opaque to the relay. It comes before the
    /// track begins, and again when it is another one.
    Label {
        /// The track.
        track_id: TrackId,
        /// At most [`LABEL_BYTES_MAX`].
        label: Vec<u8>,
    },
    /// A message as between shards.
    Message(Message),
}

/// Why a stream cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A frame announces so many octets, which are more than [`FRAME_BYTES_MAX`].
    TooLong(usize),
    /// A frame is shorter than its head.
    TooShort(usize),
    /// A frame's fields are longer than [`FIELDS_BYTES_MAX`] or than the frame.
    FieldsLength(usize),
    /// A packet's payload is longer than [`PAYLOAD_BYTES_MAX`].
    PayloadLength(usize),
    /// The fields of a frame of this kind are cut short.
    Fields(u8),
    /// A name is not valid, see [`is_name`].
    Name,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(len) => write!(f, "a frame of {len} octets; {FRAME_BYTES_MAX} are allowed"),
            Self::TooShort(len) => write!(f, "a frame of {len} octets; {HEAD_BYTES} are needed"),
            Self::FieldsLength(len) => {
                write!(f, "fields of {len} octets in a shorter frame, or over {FIELDS_BYTES_MAX}")
            }
            Self::PayloadLength(len) => {
                write!(f, "a payload of {len} octets; {PAYLOAD_BYTES_MAX} are allowed")
            }
            Self::Fields(kind) => write!(f, "the fields of a frame of kind {kind} end too early"),
            Self::Name => write!(
                f,
                "a name has 1 to {NAME_BYTES_MAX} octets, each a letter, a digit, '.', '_' or '-' (ASCII)"
            ),
        }
    }
}

impl std::error::Error for DecodeError {}

/// A decoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A frame, and the payload of a packet; empty for all else.
    Frame(Frame, &'a [u8]),
    /// A frame of a later version.
    Unknown {
        /// The frame's kind.
        kind: u8,
    },
}

/// Whether a process may call itself so: 1 to [`NAME_BYTES_MAX`] ASCII letters, digits, `.`, `_` and `-`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}

/// Numbers of the kinds.
mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const REFUSED: u8 = 2;
    pub(super) const WANT: u8 = 3;
    pub(super) const LABEL: u8 = 4;
    pub(super) const BEGIN: u8 = 16;
    pub(super) const PACKET: u8 = 17;
    pub(super) const CLOCK: u8 = 18;
    pub(super) const END: u8 = 19;
    pub(super) const KEYFRAME: u8 = 20;
    pub(super) const FAULT: u8 = 21;
    pub(super) const RESET: u8 = 22;
    pub(super) const CLOSE: u8 = 23;
}

/// Bits of a packet's flags.
mod flag {
    pub(super) const MARKER: u8 = 1;
    pub(super) const KEYFRAME: u8 = 2;
    pub(super) const AUDIO_LEVEL: u8 = 4;
    pub(super) const VIDEO_ORIENTATION: u8 = 8;
}

/// Bits of a track's flags.
const TRACK_CONNECTED: u8 = 1;
const TRACK_HELD: u8 = 2;

/// Appends a frame to `out`; `payload` is a packet's. False, and nothing is written: the payload or a label
/// is too long, the name is none, or there is no message.
#[must_use]
pub fn encode(frame: &Frame, payload: &[u8], out: &mut Vec<u8>) -> bool {
    let payload = if matches!(frame, Frame::Message(Message::Packet(_))) { payload } else { &[] };
    let named = !matches!(frame, Frame::Hello(hello) if !is_name(&hello.name));
    let Some(kind) = kind_of(frame).filter(|_| named && payload.len() <= PAYLOAD_BYTES_MAX) else {
        return false;
    };
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES + HEAD_BYTES]);
    write_fields(frame, out);
    let fields = out.len() - start - LENGTH_BYTES - HEAD_BYTES;
    out.extend_from_slice(payload);
    let len = (out.len() - start - LENGTH_BYTES) as u32;
    out[start..start + LENGTH_BYTES].copy_from_slice(&len.to_be_bytes());
    out[start + 4] = kind;
    out[start + 5..start + 7].copy_from_slice(&(fields as u16).to_be_bytes());
    true
}

fn kind_of(frame: &Frame) -> Option<u8> {
    Some(match frame {
        Frame::Hello(_) => kind::HELLO,
        Frame::Refused(_) => kind::REFUSED,
        Frame::Want { .. } => kind::WANT,
        Frame::Label { label, .. } if label.len() > LABEL_BYTES_MAX => return None,
        Frame::Label { .. } => kind::LABEL,
        Frame::Message(message) => match message {
            Message::Empty => return None,
            Message::Begin { .. } => kind::BEGIN,
            Message::Packet(_) => kind::PACKET,
            Message::Clock { .. } => kind::CLOCK,
            Message::End { .. } => kind::END,
            Message::Keyframe { .. } => kind::KEYFRAME,
            Message::Fault { .. } => kind::FAULT,
            Message::Reset { .. } => kind::RESET,
            Message::Close { .. } => kind::CLOSE,
        },
    })
}

fn write_fields(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Hello(hello) => {
            out.extend_from_slice(&hello.version.to_be_bytes());
            out.push(hello.name.len() as u8);
            out.extend_from_slice(hello.name.as_bytes());
        }
        Frame::Refused(why) => out.push(*why as u8),
        Frame::Want { track_id, track } => {
            out.extend_from_slice(&track_id.to_be_bytes());
            write_track(track, out);
        }
        Frame::Label { track_id, label } => {
            out.extend_from_slice(&track_id.to_be_bytes());
            out.extend_from_slice(&(label.len() as u16).to_be_bytes());
            out.extend_from_slice(label);
        }
        Frame::Message(message) => write_message(message, out),
    }
}

fn write_message(message: &Message, out: &mut Vec<u8>) {
    match message {
        Message::Empty => {}
        Message::Begin { track_id, opening, track } => {
            out.extend_from_slice(&track_id.to_be_bytes());
            out.extend_from_slice(&opening.to_be_bytes());
            write_track(track, out);
        }
        Message::Packet(packet) => write_packet(packet, out),
        Message::Clock { track_id, clock } => {
            out.extend_from_slice(&track_id.to_be_bytes());
            out.extend_from_slice(&clock.time.as_nanos().to_be_bytes());
            out.extend_from_slice(&clock.timestamp.to_be_bytes());
        }
        Message::End { track_id } | Message::Keyframe { track_id } | Message::Fault { track_id } => {
            out.extend_from_slice(&track_id.to_be_bytes());
        }
        Message::Reset { opening } => out.extend_from_slice(&opening.to_be_bytes()),
        Message::Close { track_id, opening } => {
            out.extend_from_slice(&track_id.to_be_bytes());
            out.extend_from_slice(&opening.to_be_bytes());
        }
    }
}

fn write_track(track: &Track, out: &mut Vec<u8>) {
    out.extend_from_slice(&track.room_id.to_be_bytes());
    out.extend_from_slice(&[track.kind as u8, track.codec as u8]);
    out.extend_from_slice(&track.clock_rate_hz.to_be_bytes());
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = bit(track.connected, TRACK_CONNECTED) | bit(track.held, TRACK_HELD);
    out.extend_from_slice(&[track.priority as u8, flags]);
}

fn write_packet(packet: &Packet, out: &mut Vec<u8>) {
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = bit(packet.marker, flag::MARKER)
        | bit(packet.keyframe, flag::KEYFRAME)
        | bit(packet.audio_level.is_some(), flag::AUDIO_LEVEL)
        | bit(packet.video_orientation.is_some(), flag::VIDEO_ORIENTATION);
    out.extend_from_slice(&packet.track_id.to_be_bytes());
    out.extend_from_slice(&packet.seq.to_be_bytes());
    out.extend_from_slice(&packet.source.to_be_bytes());
    out.extend_from_slice(&packet.timestamp.to_be_bytes());
    out.extend_from_slice(&packet.arrival.as_nanos().to_be_bytes());
    let (level, orientation) = (packet.audio_level, packet.video_orientation);
    out.extend_from_slice(&[flags, level.unwrap_or(0), orientation.unwrap_or(0)]);
}

/// The first frame of `bytes` and how many octets it takes; `None` if more are needed.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(bytes: &[u8]) -> Result<Option<(Decoded<'_>, usize)>, DecodeError> {
    let Some(len) = frame_len(bytes)? else { return Ok(None) };
    let Some(frame) = bytes.get(LENGTH_BYTES..LENGTH_BYTES + len) else { return Ok(None) };
    let Some(([kind, high, low], rest)) = frame.split_first_chunk::<HEAD_BYTES>() else {
        return Err(DecodeError::TooShort(len));
    };
    let fields = usize::from(u16::from_be_bytes([*high, *low]));
    if fields > rest.len() || fields > FIELDS_BYTES_MAX {
        return Err(DecodeError::FieldsLength(fields));
    }
    let (fields, payload) = rest.split_at(fields);
    let decoded = match read_frame(*kind, Fields(fields)) {
        Ok(frame @ Frame::Message(Message::Packet(_))) if payload.len() <= PAYLOAD_BYTES_MAX => {
            Decoded::Frame(frame, payload)
        }
        Ok(Frame::Message(Message::Packet(_))) => return Err(DecodeError::PayloadLength(payload.len())),
        Ok(frame) => Decoded::Frame(frame, &[]),
        Err(Bad::Unknown) => Decoded::Unknown { kind: *kind },
        Err(Bad::Short) => return Err(DecodeError::Fields(*kind)),
        Err(Bad::Name) => return Err(DecodeError::Name),
    };
    Ok(Some((decoded, LENGTH_BYTES + len)))
}

/// As announced; `None` if not even that is there.
fn frame_len(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let Some((length, _)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let len = u32::from_be_bytes(*length) as usize;
    match len {
        ..HEAD_BYTES => Err(DecodeError::TooShort(len)),
        HEAD_BYTES..=FRAME_BYTES_MAX => Ok(Some(len)),
        _ => Err(DecodeError::TooLong(len)),
    }
}

/// Why the fields of a frame could not be decoded.
enum Bad {
    Unknown,
    Short,
    Name,
}

/// Fields not read yet.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Bad::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, Bad> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Bad> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Bad> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn time(&mut self) -> Result<MediaTime, Bad> {
        Ok(MediaTime::from_nanos(i64::from_be_bytes(self.array()?)))
    }

    fn name(&mut self) -> Result<String, Bad> {
        let len = usize::from(self.u8()?);
        let (name, rest) = self.0.split_at_checked(len).ok_or(Bad::Short)?;
        self.0 = rest;
        let name = std::str::from_utf8(name).ok().filter(|name| is_name(name)).ok_or(Bad::Name)?;
        Ok(name.to_owned())
    }

    fn label(&mut self) -> Result<Vec<u8>, Bad> {
        let len = usize::from(u16::from_be_bytes(self.array()?));
        let (label, rest) = self.0.split_at_checked(len).ok_or(Bad::Short)?;
        self.0 = rest;
        Ok(label.to_vec())
    }

    fn track(&mut self) -> Result<Track, Bad> {
        let (room_id, kind, codec) = (self.u64()?, self.u8()?, self.u8()?);
        let (clock_rate_hz, priority, flags) = (self.u32()?, self.u8()?, self.u8()?);
        let kinds = [MediaKind::Audio, MediaKind::Video];
        Ok(Track {
            room_id,
            kind: kinds.into_iter().find(|known| *known as u8 == kind).ok_or(Bad::Unknown)?,
            codec: Codec::ALL.into_iter().find(|known| *known as u8 == codec).ok_or(Bad::Unknown)?,
            clock_rate_hz,
            priority: Priority::ALL.into_iter().find(|p| *p as u8 == priority).ok_or(Bad::Unknown)?,
            connected: flags & TRACK_CONNECTED != 0,
            held: flags & TRACK_HELD != 0,
        })
    }

    fn packet(&mut self) -> Result<Packet, Bad> {
        let (track_id, seq, source) = (self.u64()?, self.u64()?, self.u32()?);
        let (timestamp, arrival) = (self.u32()?, self.time()?);
        let [flags, level, orientation] = self.array()?;
        Ok(Packet {
            track_id,
            seq,
            source,
            timestamp,
            arrival,
            marker: flags & flag::MARKER != 0,
            keyframe: flags & flag::KEYFRAME != 0,
            audio_level: (flags & flag::AUDIO_LEVEL != 0).then_some(level),
            video_orientation: (flags & flag::VIDEO_ORIENTATION != 0).then_some(orientation),
        })
    }
}

fn read_frame(kind: u8, mut fields: Fields<'_>) -> Result<Frame, Bad> {
    match kind {
        kind::HELLO => Ok(Frame::Hello(Hello { version: fields.u32()?, name: fields.name()? })),
        kind::REFUSED => {
            let code = fields.u8()?;
            let why = Refusal::ALL.into_iter().find(|known| *known as u8 == code);
            why.map(Frame::Refused).ok_or(Bad::Unknown)
        }
        kind::LABEL => Ok(Frame::Label { track_id: fields.u64()?, label: fields.label()? }),
        kind::WANT => Ok(Frame::Want { track_id: fields.u64()?, track: fields.track()? }),
        _ => read_message(kind, fields).map(Frame::Message),
    }
}

fn read_message(kind: u8, mut fields: Fields<'_>) -> Result<Message, Bad> {
    Ok(match kind {
        kind::BEGIN => {
            let (track_id, opening) = (fields.u64()?, fields.u64()?);
            Message::Begin { track_id, opening, track: fields.track()? }
        }
        kind::PACKET => Message::Packet(fields.packet()?),
        kind::CLOCK => {
            let track_id = fields.u64()?;
            let clock = Clock { time: fields.time()?, timestamp: fields.u32()? };
            Message::Clock { track_id, clock }
        }
        kind::END => Message::End { track_id: fields.u64()? },
        kind::KEYFRAME => Message::Keyframe { track_id: fields.u64()? },
        kind::FAULT => Message::Fault { track_id: fields.u64()? },
        kind::RESET => Message::Reset { opening: fields.u64()? },
        kind::CLOSE => Message::Close { track_id: fields.u64()?, opening: fields.u64()? },
        _ => return Err(Bad::Unknown),
    })
}

/// Cuts a stream into frames. It holds what was pushed and not read: push no more before
/// [`FrameReader::next`] wants it.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
    read: usize,
}

impl FrameReader {
    /// Appends octets that were read from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame; `None` if more octets are needed.
    ///
    /// # Errors
    /// See [`DecodeError`].
    #[expect(clippy::should_implement_trait, reason = "what it gives borrows from it")]
    pub fn next(&mut self) -> Result<Option<Decoded<'_>>, DecodeError> {
        let decoded = decode(&self.bytes[self.read..])?;
        Ok(decoded.map(|(decoded, len)| {
            self.read += len;
            decoded
        }))
    }
}

#[cfg(test)]
mod tests;
