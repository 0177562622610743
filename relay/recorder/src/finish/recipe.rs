//! What is to be done with joined tracks for a file of some ending.
//!
//! | file | pictures | sound |
//! |---|---|---|
//! | `.mkv` | as they are | as it is |
//! | `.webm` | VP8 as it is | Opus as it is, G.711 to Opus |
//! | `.mp4` | H.264 as it is | to AAC; Opus as it is if the setting says so |
//!
//! A picture is encoded again in one case only: the publisher has changed its codec, or has another one than
//! it said, and no file of this kind can have it. Then the pictures of the codecs are laid over one another
//! in the order in which they came, and sounds are added up.
//!
//! Sound that is encoded is fitted to its timestamps bit by bit (`aresample=async`): what counts samples
//! stays in time.

use crate::config::Mp4Audio;
use crate::fitted::FITTED;
use relay_port::Codec;
use std::ffi::OsString;
use std::fmt::Write as _;

/// By its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    WebM,
    Mp4,
    Matroska,
}

impl Ending {
    pub(super) fn of(file: &str) -> Self {
        match file.rsplit_once('.') {
            Some((_, "webm")) => Self::WebM,
            Some((_, "mp4")) => Self::Mp4,
            _ => Self::Matroska,
        }
    }
}

/// A track of the joined file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) codec: Codec,
    /// In pixels, of a picture.
    pub(super) size: Option<(u32, u32)>,
    /// It goes on with another codec what another one began.
    pub(super) follows: bool,
}

/// The first picture is shown from the beginning of an MP4 file on. A track that begins later has an empty
/// edit in front (ISO/IEC 14496-12 §8.6.6), which Firefox passes over: lips would be early by as much.
const COPY_FROM_ZERO: &str = r"-c:v copy -bsf:v setts=ts=if(eq(N\,0)\,0\,TS)";

/// What FFmpeg is told between input and output; `None`: it has nothing to do.
pub(super) fn recipe(ending: Ending, inputs: &[Input], mp4_audio: Mp4Audio) -> Option<Vec<OsString>> {
    let all = |is_video: bool, codec: Codec| {
        let mut of_kind = inputs.iter().filter(|input| input.size.is_some() == is_video);
        of_kind.all(|input| input.codec == codec)
    };
    let (copies_video, copies_audio) = match ending {
        Ending::Matroska => return None,
        Ending::WebM => (all(true, Codec::Vp8), all(false, Codec::Opus)),
        Ending::Mp4 => (all(true, Codec::H264), mp4_audio == Mp4Audio::Opus && all(false, Codec::Opus)),
    };
    if ending == Ending::WebM && copies_video && copies_audio {
        return None;
    }
    let mut filters = String::new();
    let video = choose(inputs, true, copies_video, &mut filters);
    let audio = choose(inputs, false, copies_audio, &mut filters);
    let mut words = Vec::new();
    if !filters.is_empty() {
        words.extend(["-filter_complex", filters.trim_end_matches(';')].map(OsString::from));
    }
    for map in video.iter().chain(&audio) {
        words.extend(["-map", map].map(OsString::from));
    }
    let mut say = |text: &str| words.extend(text.split_whitespace().map(OsString::from));
    say(match (copies_video, ending) {
        (true, Ending::Mp4) if !video.is_empty() => COPY_FROM_ZERO,
        (true, _) => "-c:v copy",
        (false, Ending::Mp4) => "-c:v libx264 -preset veryfast -crf 23 -pix_fmt yuv420p -vsync vfr",
        (false, _) => "-c:v libvpx -deadline good -cpu-used 5 -b:v 2M -crf 20 -vsync vfr",
    });
    say(match (copies_audio, ending, mp4_audio) {
        (true, ..) => "-c:a copy",
        (false, Ending::Mp4, Mp4Audio::Aac) => "-c:a aac -b:a 128k",
        (false, ..) => "-c:a libopus -b:a 48k",
    });
    say(match ending {
        Ending::Mp4 => "-strict -2 -movflags +faststart -f mp4",
        _ => "-f webm",
    });
    Some(words)
}

/// What is mapped of a kind: the tracks as they are, or what filters make of them.
fn choose(inputs: &[Input], is_video: bool, is_copied: bool, filters: &mut String) -> Vec<String> {
    let places = inputs.iter().enumerate().filter(|(_, input)| input.size.is_some() == is_video);
    let places: Vec<usize> = places.map(|(place, _)| place).collect();
    let Some(first) = places.first() else { return Vec::new() };
    if is_copied {
        return places.iter().map(|place| format!("0:{place}")).collect();
    }
    let kind = if is_video { "v" } else { "a" };
    for place in &places {
        let filter = if is_video {
            let (width, height) = inputs[*first].size.unwrap_or_default();
            // Encoders want even sides.
            let (width, height) = (width.max(2) & !1, height.max(2) & !1);
            let fit = "force_original_aspect_ratio=decrease";
            format!("scale={width}:{height}:{fit},pad={width}:{height}:-1:-1,setsar=1")
        } else {
            FITTED.to_owned()
        };
        // A text takes what it is given.
        let _ = write!(filters, "[0:{place}]{filter}[{kind}{place}];");
    }
    let label = |place: &usize| format!("[{kind}{place}]");
    if places.iter().all(|place| !inputs[*place].follows) {
        return places.iter().map(label).collect();
    }
    if is_video {
        let mut under = label(first);
        for place in &places[1..] {
            let over = format!("[over{place}]");
            let _ = write!(filters, "{under}{}overlay=eof_action=repeat{over};", label(place));
            under = over;
        }
        return vec![under];
    }
    let labels: String = places.iter().map(label).collect();
    let _ = write!(filters, "{labels}amix=inputs={}:duration=longest:normalize=0[sound];", places.len());
    vec!["[sound]".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const VP8: Input = Input { codec: Codec::Vp8, size: Some((640, 480)), follows: false };
    const H264: Input = Input { codec: Codec::H264, size: Some((321, 241)), follows: false };
    const OPUS: Input = Input { codec: Codec::Opus, size: None, follows: false };
    const PCMU: Input = Input { codec: Codec::Pcmu, size: None, follows: false };

    fn text(ending: Ending, inputs: &[Input], mp4_audio: Mp4Audio) -> Option<String> {
        let words = recipe(ending, inputs, mp4_audio)?;
        Some(words.iter().map(|word| word.to_str().expect("ours")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn endings() {
        for (file, want) in [
            ("a.webm", Ending::WebM),
            ("a.b.mp4", Ending::Mp4),
            ("a.mkv", Ending::Matroska),
            ("webm", Ending::Matroska),
        ] {
            assert_eq!(Ending::of(file), want, "{file}");
        }
    }

    #[test]
    fn nothing_is_encoded_that_need_not_be() {
        let (aac, opus) = (Mp4Audio::Aac, Mp4Audio::Opus);
        for (ending, inputs, mp4_audio, want) in [
            (Ending::Matroska, &[VP8, H264, PCMU][..], aac, None),
            (Ending::WebM, &[VP8, OPUS], aac, None),
            (Ending::WebM, &[OPUS], aac, None),
            (
                Ending::WebM,
                &[OPUS, VP8, PCMU],
                aac,
                Some("-map 0:1 -map [a0] -map [a2] -c:v copy -c:a libopus"),
            ),
            (
                Ending::Mp4,
                &[H264, OPUS],
                aac,
                Some(r"-map 0:0 -map [a1] -c:v copy -bsf:v setts=ts=if(eq(N\,0)\,0\,TS) -c:a aac"),
            ),
            (
                Ending::Mp4,
                &[H264, OPUS],
                opus,
                Some(r"-map 0:0 -map 0:1 -c:v copy -bsf:v setts=ts=if(eq(N\,0)\,0\,TS) -c:a copy"),
            ),
            (
                Ending::Mp4,
                &[H264, PCMU],
                opus,
                Some(r"-map 0:0 -map [a1] -c:v copy -bsf:v setts=ts=if(eq(N\,0)\,0\,TS) -c:a libopus"),
            ),
            (Ending::Mp4, &[OPUS], aac, Some("-map [a0] -c:v copy -c:a aac")),
            (
                Ending::Mp4,
                &[H264],
                aac,
                Some(r"-map 0:0 -c:v copy -bsf:v setts=ts=if(eq(N\,0)\,0\,TS) -c:a aac"),
            ),
        ] {
            let text = text(ending, inputs, mp4_audio);
            assert_eq!(text.is_some(), want.is_some(), "{inputs:?}");
            assert!(text.as_deref().unwrap_or_default().contains(want.unwrap_or_default()), "{text:?}");
        }
    }

    #[test]
    fn a_picture_of_another_codec_lies_over_the_one_before() {
        let inputs = [H264, OPUS, Input { follows: true, ..VP8 }, Input { follows: true, ..PCMU }];
        let text = text(Ending::Mp4, &inputs, Mp4Audio::Opus).expect("something");
        for part in [
            "[0:2]scale=320:240:force_original_aspect_ratio=decrease,pad=320:240:-1:-1,setsar=1[v2];",
            "[v0][v2]overlay=eof_action=repeat[over2];",
            "[a1][a3]amix=inputs=2:duration=longest:normalize=0[sound] -map",
            "-map [over2] -map [sound] -c:v libx264",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
