//! A track of a file.

use super::ebml::{elements, id, push_binary, push_float, push_master, push_text, push_uint, uint};
use relay_port::Codec;

/// Samples of Opus that its encoder looks ahead, at 48 kHz, as libopus does it in every browser: what is
/// heard comes so much later than its timestamp says.
const OPUS_PRE_SKIP: u16 = 312;
/// How long a decoder of Opus needs to converge (RFC 7845 §4.6).
const OPUS_PRE_ROLL_NANOS: u64 = 80_000_000;
/// Longest name: a login and a stream of the longest kind.
const NAME_BYTES_MAX: usize = 256;

/// What a track has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// VP8
    Vp8 {
        /// Of the first picture, in pixels.
        width: u32,
        /// Of the first picture, in pixels.
        height: u32,
    },
    /// H.264, units behind lengths of four octets.
    H264 {
        /// Of the first picture, in pixels.
        width: u32,
        /// Of the first picture, in pixels.
        height: u32,
        /// The decoder configuration (`avcC`).
        config: Vec<u8>,
    },
    /// Opus with two channels, as WebRTC always has it (RFC 7587 §7).
    Opus,
    /// G.711 µ-law, 8 kHz
    Pcmu,
    /// G.711 A-law, 8 kHz
    Pcma,
}

impl Media {
    /// Whether WebM may have it.
    #[must_use]
    pub const fn is_webm(&self) -> bool {
        matches!(self, Self::Vp8 { .. } | Self::Opus)
    }

    /// Whether it is a picture.
    #[must_use]
    pub const fn is_video(&self) -> bool {
        matches!(self, Self::Vp8 { .. } | Self::H264 { .. })
    }

    /// Which codec it is.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        match self {
            Self::Vp8 { .. } => Codec::Vp8,
            Self::H264 { .. } => Codec::H264,
            Self::Opus => Codec::Opus,
            Self::Pcmu => Codec::Pcmu,
            Self::Pcma => Codec::Pcma,
        }
    }

    /// Of an entry; `None`: our recordings do not have such.
    pub(super) fn parse(entry: &[u8]) -> Option<Self> {
        let private = content(entry, id::CODEC_PRIVATE).unwrap_or_default();
        let side = |wanted| {
            let side = content(content(entry, id::VIDEO)?, wanted)?;
            uint(side).and_then(|side| u32::try_from(side).ok())
        };
        let size = || Some((side(id::PIXEL_WIDTH)?, side(id::PIXEL_HEIGHT)?));
        Some(match content(entry, id::CODEC_ID)? {
            b"V_VP8" => size().map(|(width, height)| Self::Vp8 { width, height })?,
            b"V_MPEG4/ISO/AVC" => {
                size().map(|(width, height)| Self::H264 { width, height, config: private.to_vec() })?
            }
            b"A_OPUS" => Self::Opus,
            b"A_MS/ACM" if private.starts_with(&[7, 0]) => Self::Pcmu,
            b"A_MS/ACM" if private.starts_with(&[6, 0]) => Self::Pcma,
            _ => return None,
        })
    }

    const fn codec_id(&self) -> &'static str {
        match self {
            Self::Vp8 { .. } => "V_VP8",
            Self::H264 { .. } => "V_MPEG4/ISO/AVC",
            Self::Opus => "A_OPUS",
            Self::Pcmu | Self::Pcma => "A_MS/ACM",
        }
    }
}

/// A track of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Unique in the file and its parts; not 0.
    pub uid: u64,
    /// Shown to people; what is too long for the head is cut.
    pub name: String,
    /// How it is encoded.
    pub media: Media,
}

/// What `TrackType` says of a picture.
pub(super) const TYPE_VIDEO: u64 = 1;
const TYPE_AUDIO: u64 = 2;

impl Track {
    /// The entry of this track under a number.
    pub(super) fn push_entry(&self, out: &mut Vec<u8>, number: u16) {
        push_master(out, id::TRACK_ENTRY, |out| {
            push_uint(out, id::TRACK_NUMBER, number.into());
            push_uint(out, id::TRACK_UID, self.uid);
            push_uint(out, id::TRACK_TYPE, if self.media.is_video() { TYPE_VIDEO } else { TYPE_AUDIO });
            push_uint(out, id::FLAG_LACING, 0);
            if !self.name.is_empty() {
                push_text(out, id::NAME, cut(&self.name));
            }
            push_text(out, id::LANGUAGE, "und");
            push_text(out, id::CODEC_ID, self.media.codec_id());
            self.push_media(out);
        });
    }

    /// Reads an entry of ours back.
    pub(super) fn parse(entry: &[u8]) -> Option<Self> {
        let media = Media::parse(entry)?;
        let name = String::from_utf8(content(entry, id::NAME).unwrap_or_default().to_vec()).ok()?;
        Some(Self { uid: uint(content(entry, id::TRACK_UID)?)?, name, media })
    }

    fn push_media(&self, out: &mut Vec<u8>) {
        match &self.media {
            Media::Vp8 { width, height } => push_video(out, *width, *height),
            Media::H264 { width, height, config } => {
                push_binary(out, id::CODEC_PRIVATE, config);
                push_video(out, *width, *height);
            }
            Media::Opus => {
                push_binary(out, id::CODEC_PRIVATE, &opus_head());
                push_uint(out, id::CODEC_DELAY, u64::from(OPUS_PRE_SKIP) * 1_000_000 / 48);
                push_uint(out, id::SEEK_PRE_ROLL, OPUS_PRE_ROLL_NANOS);
                push_audio(out, 48_000.0, 2);
            }
            Media::Pcmu => push_g711(out, 7),
            Media::Pcma => push_g711(out, 6),
        }
    }
}

/// The first element with this id.
pub(super) fn content(of: &[u8], wanted: u32) -> Option<&[u8]> {
    elements(of).find(|(found, _)| *found == wanted).map(|(_, content)| content)
}

/// What of a name fits.
fn cut(name: &str) -> &str {
    let fits = |(at, char): (usize, char)| at + char.len_utf8();
    let end = name.char_indices().map(fits).take_while(|end| *end <= NAME_BYTES_MAX).last();
    &name[..end.unwrap_or(0)]
}

fn push_video(out: &mut Vec<u8>, width: u32, height: u32) {
    push_master(out, id::VIDEO, |out| {
        push_uint(out, id::PIXEL_WIDTH, width.into());
        push_uint(out, id::PIXEL_HEIGHT, height.into());
    });
}

fn push_audio(out: &mut Vec<u8>, rate_hz: f64, channels: u64) {
    push_master(out, id::AUDIO, |out| {
        push_float(out, id::SAMPLING_FREQUENCY, rate_hz);
        push_uint(out, id::CHANNELS, channels);
    });
}

/// RFC 7845 §5.1
fn opus_head() -> Vec<u8> {
    let mut out = b"OpusHead\x01\x02".to_vec();
    out.extend_from_slice(&OPUS_PRE_SKIP.to_le_bytes());
    out.extend_from_slice(&48_000u32.to_le_bytes());
    // No gain, mono or stereo.
    out.extend_from_slice(&[0, 0, 0]);
    out
}

/// Matroska has no id of its own for G.711: that of Windows, with a `WAVEFORMATEX` of this tag.
fn push_g711(out: &mut Vec<u8>, tag: u16) {
    const RATE_HZ: u32 = 8_000;
    let mut format = Vec::new();
    format.extend_from_slice(&tag.to_le_bytes());
    format.extend_from_slice(&1u16.to_le_bytes());
    format.extend_from_slice(&RATE_HZ.to_le_bytes());
    // Octets per second; octets and bits of a sample; no more behind it.
    format.extend_from_slice(&RATE_HZ.to_le_bytes());
    format.extend_from_slice(&[1, 0, 8, 0, 0, 0]);
    push_binary(out, id::CODEC_PRIVATE, &format);
    push_master(out, id::AUDIO, |out| {
        push_float(out, id::SAMPLING_FREQUENCY, RATE_HZ.into());
        push_uint(out, id::CHANNELS, 1);
        push_uint(out, id::BIT_DEPTH, 8);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back() {
        for media in [
            Media::Vp8 { width: 640, height: 480 },
            Media::H264 { width: 1_280, height: 720, config: vec![1, 66, 0xe0, 31, 0xff] },
            Media::Opus,
            Media::Pcmu,
            Media::Pcma,
        ] {
            let (track, mut out) = (Track { uid: 1 << 40, name: "alice, é".into(), media }, Vec::new());
            track.push_entry(&mut out, 300);
            let (_, entry) = elements(&out).next().expect("one");
            assert_eq!(Track::parse(entry), Some(track));
        }
        assert_eq!(Track::parse(&[]), None);
    }

    #[test]
    fn names_are_cut_between_characters() {
        for (name, want) in [
            ("alice", 5),
            ("", 0),
            (&"a".repeat(256), 256),
            (&"a".repeat(257), 256),
            // Two octets each.
            (&format!("a{}", "é".repeat(128)), 255),
        ] {
            assert_eq!(cut(name).len(), want, "{name}");
        }
    }
}
