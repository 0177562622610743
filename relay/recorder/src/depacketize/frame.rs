//! What comes out.

use relay_port::MediaTime;

/// Longest frame: four seconds of what a publisher may send. A keyframe of a screen in 4K has half of it.
pub const FRAME_BYTES_MAX: usize = 2 << 20;

/// A frame: an access unit of video, a packet of audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Of which source of the track it is.
    pub source: u32,
    /// RTP timestamp.
    pub timestamp: u32,
    /// When its first packet was received.
    pub arrival: MediaTime,
    /// How long it lasts, in ticks of the RTP clock; 0 of video.
    pub ticks: u32,
    /// Whether a decoder can begin with it.
    pub keyframe: bool,
    /// Of a keyframe of video: what a decoder must know.
    pub params: Option<VideoParams>,
    /// As the codec has it; of H.264 units behind their lengths, without the parameter sets of `params`.
    pub bytes: Vec<u8>,
}

/// What a decoder of video must know before it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoParams {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Of H.264 the decoder configuration (`avcC`), of VP8 empty.
    pub config: Vec<u8>,
}
