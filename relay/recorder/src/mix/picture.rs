//! Everybody on one picture.
//!
//! Each picture that is shown has an FFmpeg of its own, which decodes it from the last keyframe on, and gives
//! it in the size of its place, as many a second as the mixed picture has. We put them together, and one
//! FFmpeg encodes it all.
//!
//! Invariants
//! - There are exactly as many pictures as were planned, whatever the decoders give: one that says nothing
//!   more shows its last picture, one that gave none the background.
//! - No more decoders run than there are places; one is started anew only where the size of its place
//!   changes.

use super::canvas::{Canvas, Mask, bytes_of, yuv};
use super::layout::Rect;
use super::names::Names;
use super::plan::{Cell, Content, Plan, Scene, picture_at};
use super::program::{Encoder, Fed, Feed, Ffmpeg};
use super::settings::MixSettings;
use super::source::{Source, Span};
use std::io;
use std::process::Command;
use std::sync::Arc;

/// Smallest letters.
const LETTERS_MIN: u32 = 10;
/// Behind the names of those who are heard and not seen.
const TILE: [u8; 3] = [0x2c, 0x30, 0x38];

/// The preset that leaves out the most, and what of that costs little and is worth much: with it files are
/// smaller than those of `superfast` at three quarters of its time (`bench/RESULTS.md`).
const FASTEST: &str = "ultrafast";
const FASTEST_PARAMS: &str = "cabac=1:aq-mode=1:no-deblock=0:bframes=3";

/// A decoder, and the picture that it gave last.
struct Decoder {
    line: usize,
    span: Span,
    size: (u32, u32),
    fed: Fed,
    shown: Vec<u8>,
    next: Vec<u8>,
    has_shown: bool,
    is_over: bool,
}

impl Decoder {
    fn is_for(&self, line: usize, span: Span, rect: Rect) -> bool {
        (self.line, self.span, self.size) == (line, span, (rect.width, rect.height))
    }

    /// The picture that is due; `None`: there was none yet.
    fn poll_picture(&mut self) -> Option<&[u8]> {
        if !self.is_over {
            self.is_over = self.fed.read(&mut self.next) < self.next.len();
            if !self.is_over {
                std::mem::swap(&mut self.shown, &mut self.next);
                self.has_shown = true;
            }
        }
        self.has_shown.then_some(&self.shown)
    }
}

/// What is needed for all pictures.
pub(super) struct Painter<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) settings: &'a MixSettings,
    pub(super) ffmpeg: &'a Ffmpeg,
    pub(super) names: Option<Names>,
}

impl Painter<'_> {
    /// Writes all pictures, and the sound of a file of FFmpeg's folder, into another one.
    pub(super) fn paint(
        &mut self,
        plan: &Plan,
        (file, sound): (&str, Option<&str>),
        percent: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let (settings, mut decoders) = (self.settings, Vec::new());
        let pictures = plan.scenes.last().map_or(0, |scene| scene.end);
        let mut encoder = Encoder::start(encode(self.ffmpeg, settings, file, sound))?;
        let mut canvas = Canvas::new(settings.width, settings.height);
        for scene in &plan.scenes {
            canvas.fill(canvas.whole(), yuv(settings.background));
            let labels = self.labels(scene, plan);
            for (cell, label) in scene.cells.iter().zip(&labels) {
                if cell.content == Content::Name {
                    canvas.fill(cell.rect, yuv(TILE));
                    write(&mut canvas, cell, label.as_ref());
                }
            }
            self.keep_decoders(scene, &mut decoders)?;
            for picture in scene.begin..scene.end {
                percent(picture * 100 / pictures);
                self.source.check()?;
                for (cell, label) in scene.cells.iter().zip(&labels) {
                    let Content::Picture(line, span) = cell.content else { continue };
                    let decoder =
                        decoders.iter_mut().find(|d: &&mut Decoder| d.is_for(line, span, cell.rect));
                    if let Some(picture) = decoder.and_then(Decoder::poll_picture) {
                        canvas.put(cell.rect, picture);
                    }
                    write(&mut canvas, cell, label.as_ref());
                }
                encoder.write(canvas.bytes())?;
            }
        }
        encoder.end()
    }

    /// The names of a scene, by cell.
    fn labels(&mut self, scene: &Scene, plan: &Plan) -> Vec<Option<Mask>> {
        let Some(names) = &mut self.names else { return vec![None; scene.cells.len()] };
        let label = |cell: &Cell| {
            let size = match cell.content {
                Content::Name => cell.rect.height / 10,
                Content::Picture(..) => cell.rect.height / 18,
            };
            let name = &plan.people[cell.person].label;
            names.draw(name, size.max(LETTERS_MIN), cell.rect.width).cloned()
        };
        scene.cells.iter().map(label).collect()
    }

    /// Ends decoders that a scene has no place for, and starts those that it needs.
    fn keep_decoders(&self, scene: &Scene, decoders: &mut Vec<Decoder>) -> io::Result<()> {
        let wanted = scene.cells.iter().filter_map(|cell| match cell.content {
            Content::Picture(line, span) => Some((line, span, cell.rect)),
            Content::Name => None,
        });
        let wanted: Vec<(usize, Span, Rect)> = wanted.collect();
        decoders.retain(|d| wanted.iter().any(|(line, span, rect)| d.is_for(*line, *span, *rect)));
        for (line, span, rect) in wanted {
            if !decoders.iter().any(|d| d.is_for(line, span, rect)) {
                decoders.push(self.decoder(line, span, rect, scene.begin)?);
            }
        }
        Ok(())
    }

    /// A decoder whose first picture is that of this number.
    fn decoder(&self, line: usize, span: Span, rect: Rect, picture: u64) -> io::Result<Decoder> {
        let fps = u64::from(self.settings.fps);
        let at_ms = picture * 1_000 / fps;
        // Whatever is shown at this picture was captured up to half a picture later.
        let start = self.source.lines[line].start(at_ms + 500 / fps);
        let (from_ms, cluster) = start.map_or((at_ms, 0), |start| (start.at_ms, start.cluster));
        // A whole second, so that its pictures are ours in all frame rates.
        let zero_s = from_ms.min(at_ms) / 1_000;
        let (zero_ms, lines) = (zero_s * 1_000, vec![line]);
        let feed = Feed { lines, cluster, from_ms, until_ms: span.end_ms, zero_ms };
        let first = (picture - zero_s * fps) as f64 / fps as f64;
        let fed = Fed::start(decode(self.ffmpeg, self.settings, rect, first), self.source, feed)?;
        let len = bytes_of(rect.width as usize, rect.height as usize);
        let (shown, next) = (vec![0; len], vec![0; len]);
        let size = (rect.width, rect.height);
        Ok(Decoder { line, span, size, fed, shown, next, has_shown: false, is_over: false })
    }
}

/// How many pictures a recording has.
pub(super) fn pictures_of(source: &Source, settings: &MixSettings) -> u64 {
    picture_at(source.duration_ms, settings.fps).max(1)
}

fn write(canvas: &mut Canvas, cell: &Cell, label: Option<&Mask>) {
    let Some(label) = label else { return };
    let (width, height) = (label.width as u32, label.height as u32);
    let Rect { x, y, .. } = cell.rect;
    if width > cell.rect.width || height > cell.rect.height {
        return;
    }
    let (right, down) = (cell.rect.width - width, cell.rect.height - height);
    let (right, down) = match cell.content {
        Content::Name => (right / 4 * 2, down / 4 * 2),
        Content::Picture(..) => (0, down),
    };
    canvas.write(x + right, y + down, label);
}

fn decode(ffmpeg: &Ffmpeg, settings: &MixSettings, rect: Rect, first: f64) -> Command {
    let Rect { width, height, .. } = rect;
    let [red, green, blue] = settings.background;
    let colour = format!("0x{red:02x}{green:02x}{blue:02x}");
    let fit = if settings.crops {
        // Large enough for what is not very long or very wide; of that all but the middle goes. The size in
        // between is one that does not change when the picture's does.
        let (wide, high) = (2 * width, 4 * height);
        format!(
            "scale=w='2*trunc(min(max({width},{height}*a),{wide})/2)':\
             h='2*trunc(min(max({height},{width}/a),{high})/2)':flags=fast_bilinear,\
             pad=w={wide}:h={high}:x=-1:y=-1:color={colour}:eval=frame,crop={width}:{height}"
        )
    } else {
        format!(
            "scale=w={width}:h={height}:force_original_aspect_ratio=decrease:force_divisible_by=2:\
             flags=fast_bilinear,pad=w={width}:h={height}:x=-1:y=-1:color={colour}:eval=frame"
        )
    };
    let filter = format!("fps={}:start_time={first:.6},{fit},setsar=1,format=yuv420p", settings.fps);
    let mut command = ffmpeg.command();
    // A picture that changes its size goes through the same filters: new ones would begin to count anew.
    command.args(["-copyts", "-threads", "1", "-reinit_filter", "0", "-f", "matroska", "-i", "pipe:0"]);
    command.args(["-map", "0:v:0", "-vf", &filter, "-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1"]);
    command
}

fn encode(ffmpeg: &Ffmpeg, settings: &MixSettings, file: &str, sound: Option<&str>) -> Command {
    let size = format!("{}x{}", settings.width, settings.height);
    let mut command = ffmpeg.command();
    command.args(["-f", "rawvideo", "-pix_fmt", "yuv420p", "-video_size", &size]);
    command.args(["-framerate", &settings.fps.to_string(), "-i", "pipe:0"]);
    if let Some(sound) = sound {
        command.args(["-i", sound, "-map", "0:v", "-map", "1:a", "-c:a", "copy"]);
    }
    command.args(["-c:v", "libx264", "-preset", &settings.preset, "-crf", &settings.crf.to_string()]);
    if settings.preset == FASTEST {
        command.args(["-x264-params", FASTEST_PARAMS]);
    }
    // Seekable every few seconds, and by every player.
    command.args(["-g", &(settings.fps * 4).to_string(), "-pix_fmt", "yuv420p"]);
    if let Some(kbps) = settings.video_kbps {
        command.args(["-maxrate", &format!("{kbps}k"), "-bufsize", &format!("{}k", kbps * 2)]);
    }
    for option in ["-colorspace", "-color_primaries", "-color_trc"] {
        command.args([option, "smpte170m"]);
    }
    command.args(["-color_range", "tv", "-movflags", "+faststart", "-f", "mp4", "-y", file]);
    command
}
