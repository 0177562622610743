//! Everybody's voice as one sound.
//!
//! Windows of [`WINDOW_MS`] are decoded one after the other, each by as many FFmpegs, one at a time, as it
//! has [`INPUTS_MAX`] tracks. So memory and processes are bounded however many people come and go. Each
//! window begins a little before the end of the one before, and fades in where that fades out: a decoder
//! that begins anew is not heard. What is the same at the end of all windows, the limiter and the encoder,
//! sees one sound without an end; so there is no priming of an encoder in the middle.
//!
//! Invariants
//! - There are exactly as many samples as the pictures last: sound cannot drift from them.
//! - What cannot be decoded is silence.

use super::program::{Encoder, Fed, Feed, Ffmpeg};
use super::settings::MixSettings;
use super::source::Source;
use crate::fitted::FITTED;
use crate::matroska::Media;
use std::io;
use std::path::Path;
use std::sync::Arc;

const RATE_HZ: u64 = 48_000;
const CHANNELS: usize = 2;
/// How much is decoded at once. What FFmpeg holds of a track that waits for another is no more than this.
const WINDOW_MS: u64 = 30_000;
/// Tracks of one FFmpeg.
const INPUTS_MAX: usize = 12;
/// What a decoder is given to converge (RFC 7845 §4.6 wants 80 ms), and to find its time.
const PRE_ROLL_MS: u64 = 400;
/// How long one window fades into the next.
const FADE_MS: u64 = 20;
/// Tracks that end shortly before a window sound into it no more.
const BLOCK_MS: u64 = 60;
/// The limiter hears this far ahead, so its sound comes so much later.
const LIMITER_MS: u64 = 5;

const fn samples(ms: u64) -> usize {
    (ms * RATE_HZ / 1_000) as usize
}

/// Octets of so many samples of all channels, as FFmpeg has them.
const fn octets(samples: usize) -> usize {
    samples * CHANNELS * size_of::<f32>()
}

/// Writes the sound of so many milliseconds into a file of FFmpeg's folder.
pub(super) fn mix(
    source: &Arc<Source>,
    settings: &MixSettings,
    ffmpeg: &Ffmpeg,
    (file, duration_ms): (&str, u64),
    percent: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let mut encoder = Encoder::start(encode(ffmpeg, settings, file))?;
    let mut faded: Vec<f32> = Vec::new();
    let mut octets = Vec::new();
    let mut begin_ms = 0;
    while begin_ms < duration_ms {
        percent(begin_ms * 100 / duration_ms);
        source.check()?;
        let end_ms = (begin_ms + WINDOW_MS).min(duration_ms);
        let is_last = end_ms == duration_ms;
        // Up to where the next one has faded in.
        let until_ms = if is_last { end_ms } else { end_ms + FADE_MS };
        let mut mixed = window(source, ffmpeg, begin_ms, until_ms)?;
        fade(&faded, &mut mixed);
        faded = mixed.split_off(samples(end_ms - begin_ms) * CHANNELS);
        if is_last {
            // What pushes the last of it out of the limiter.
            mixed.resize(mixed.len() + samples(LIMITER_MS) * CHANNELS, 0.0);
        }
        octets.clear();
        octets.extend(mixed.iter().flat_map(|sample| sample.to_le_bytes()));
        encoder.write(&octets)?;
        begin_ms = end_ms;
    }
    encoder.end()
}

/// The end of one window into the beginning of the next.
fn fade(out: &[f32], into: &mut [f32]) {
    let frames = (out.len() / CHANNELS) as f32;
    for (at, (sample, before)) in into.iter_mut().zip(out).enumerate() {
        let gain = ((at / CHANNELS) as f32 + 0.5) / frames;
        *sample = *sample * gain + *before * (1.0 - gain);
    }
}

/// All tracks from a moment to another.
fn window(source: &Arc<Source>, ffmpeg: &Ffmpeg, begin_ms: u64, until_ms: u64) -> io::Result<Vec<f32>> {
    let mut mixed = vec![0.0; samples(until_ms - begin_ms) * CHANNELS];
    let zero_ms = begin_ms.saturating_sub(PRE_ROLL_MS);
    let is_heard = |at: &usize| {
        let line = &source.lines[*at];
        let touches =
            line.spans.iter().any(|span| span.begin_ms < until_ms && span.end_ms + BLOCK_MS > begin_ms);
        !line.track.is_video && touches
    };
    let heard: Vec<usize> = (0..source.lines.len()).filter(is_heard).collect();
    for lines in heard.chunks(INPUTS_MAX) {
        let feed = Feed {
            lines: lines.to_vec(),
            cluster: source.cluster_at(zero_ms),
            from_ms: zero_ms,
            until_ms: until_ms + BLOCK_MS,
            zero_ms,
        };
        let mut fed = Fed::start(decode(ffmpeg, source, lines), source, feed)?;
        let skipped = octets(samples(begin_ms - zero_ms));
        let mut bytes = vec![0; skipped + octets(mixed.len() / CHANNELS)];
        let filled = fed.read(&mut bytes);
        let heard = bytes.get(skipped..filled).unwrap_or_default().as_chunks().0;
        for (sample, bytes) in mixed.iter_mut().zip(heard) {
            let decoded = f32::from_le_bytes(*bytes);
            *sample += if decoded.is_finite() { decoded } else { 0.0 };
        }
    }
    Ok(mixed)
}

/// Each track gets its samples where its times say: gaps are silence, a clock that drifts is followed without
/// a jump. None ends, as FFmpeg 5.1 loses the rest of the others where one does; who reads ends it.
fn decode(ffmpeg: &Ffmpeg, source: &Source, lines: &[usize]) -> std::process::Command {
    let mut graph = String::new();
    for (input, line) in lines.iter().enumerate() {
        let is_mono = !matches!(source.lines[*line].track.media, Some(Media::Opus));
        // As loud on both sides as it is.
        let stereo = if is_mono { "pan=stereo|c0=c0|c1=c0," } else { "" };
        graph += &format!(
            "[0:{input}]{stereo}{FITTED},\
             aformat=sample_fmts=flt:channel_layouts=stereo,apad[a{input}];"
        );
    }
    (0..lines.len()).for_each(|input| graph += &format!("[a{input}]"));
    graph += &format!("amix=inputs={}:duration=longest:dropout_transition=0:normalize=0[mixed]", lines.len());
    let mut command = ffmpeg.command();
    command.args(["-copyts", "-threads", "1", "-f", "matroska", "-i", "pipe:0"]);
    command.args(["-filter_complex", &graph, "-map", "[mixed]", "-f", "f32le", "-ar", "48000", "-ac", "2"]);
    command.arg("pipe:1");
    command
}

fn encode(ffmpeg: &Ffmpeg, settings: &MixSettings, file: &str) -> std::process::Command {
    let limiter = format!(
        "alimiter=limit=0.9:attack={LIMITER_MS}:release=50:level=disabled,atrim=start_sample={},\
         asetpts=PTS-STARTPTS",
        samples(LIMITER_MS)
    );
    let mut command = ffmpeg.command();
    command.args(["-f", "f32le", "-ar", "48000", "-ac", "2", "-i", "pipe:0", "-af", &limiter]);
    command.args(["-c:a", "aac", "-b:a", &format!("{}k", settings.audio_kbps)]);
    command.args(["-movflags", "+faststart", "-f", "mp4", "-y"]).arg(Path::new(file));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_fade_into_each_other() {
        let mut into = vec![1.0; 10];
        fade(&[3.0; 4], &mut into);
        assert_eq!(into, [2.5, 2.5, 1.5, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        fade(&[], &mut into);
        assert_eq!(into[0], 2.5);
    }
}
