//! `ringvox-recorder mix`: the file of a room → one MP4, with everybody who is there at each moment.
//!
//! A mix's walk: [`source`] reads the file once and knows when there is something of each track, [`plan`]
//! makes scenes of that with places of [`layout`], `sound` mixes all voices into a file, and `picture` has
//! each picture decoded in the size of its place, puts them together on a `canvas`, with `names`, and has it
//! all encoded. FFmpeg (`program`) decodes, encodes and draws letters; what is when and where is ours.
//!
//! Invariants
//! - Pictures and samples are counted: sound and picture are together at the end as at the beginning,
//!   whatever a decoder gives.
//! - Memory, and how many FFmpegs there are, is bounded by the places of a picture and a window of sound, not
//!   by how long a room lasted or how many came and went.
//! - There is no half file under the name that was wanted, whatever dies: it is made in a folder of its own,
//!   which the next try of the same name empties.
//! - A mix whose file is removed meanwhile ends, and leaves nothing.
//! - No name of a user is part of a command line, of a filter or of a path.
//!
//! Deliberately absent: who speaks, transitions.

mod canvas;
mod folder;
mod layout;
mod names;
mod picture;
mod plan;
mod program;
mod settings;
mod sound;
mod source;

pub use folder::{clear, is_being_made, is_made_in};
pub use settings::{Align, MixSettings};

use crate::matroska::ScanError;
use clap::Parser;
use folder::Folder;
use names::Names;
use picture::{Painter, pictures_of};
use program::Ffmpeg;
use recorder_control::{Recorded, Recording};
use relay_settings::wcs;
use source::Source;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Largest file of settings, or description, that is read.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// Names of files in our folder.
const SOUND: &str = "sound.mp4";
const WHOLE: &str = "whole.mp4";
/// Variables by which the recorder says where its settings have them.
pub const WCS_DIRECTORY: &str = "RINGVOX_WCS_DIRECTORY";
/// See [`WCS_DIRECTORY`].
pub const FFMPEG: &str = "RINGVOX_FFMPEG";
/// The share of the work that sound is, in percent.
const SOUND_PERCENT: u64 = 10;

/// Mixes the file of a room into one MP4: everybody who is there at each moment, and everyone's voice.
/// How far it is goes to stdout, a line such as 42% each time.
#[derive(Parser)]
#[command(name = "ringvox-recorder mix", bin_name = "ringvox-recorder mix", version)]
struct Arguments {
    /// The room's file
    file: PathBuf,
    /// How: a file such as offline_mixer.json
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// A directory with WCS's flashphoner.properties and offline_mixer.json, over which --settings counts
    /// [default: $RINGVOX_WCS_DIRECTORY]
    #[arg(long, value_name = "DIRECTORY")]
    wcs_directory: Option<PathBuf>,
    /// Where to; beside the room's file with the ending .mp4 if it is not said
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// FFmpeg [default: $RINGVOX_FFMPEG, or ffmpeg]
    #[arg(long, value_name = "PROGRAM")]
    ffmpeg: Option<PathBuf>,
}

/// Mixes, if the program's arguments say so.
#[must_use]
pub fn command(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1).peekable();
    arguments.peek().filter(|first| *first == "mix")?;
    let arguments = Arguments::parse_from(arguments);
    let shown = &mut |percent| {
        // Nobody needs to listen.
        let _ = writeln!(io::stdout(), "{percent}%");
    };
    Some(match run(&arguments, shown) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(io::stderr(), "ringvox-recorder mix: {why}");
            ExitCode::FAILURE
        }
    })
}

/// Where a room's file is mixed to if nobody says where.
#[must_use]
pub fn output_of(file: &Path) -> PathBuf {
    file.with_extension("mp4")
}

/// What the mix of a room's file of this name is called; `None`: that would be the file itself.
#[must_use]
pub fn name_of(file: &str) -> Option<String> {
    let name = output_of(Path::new(file)).into_os_string().into_string().ok()?;
    (name != file).then_some(name)
}

fn run(arguments: &Arguments, shown: &mut dyn FnMut(u64)) -> Result<(), String> {
    let mut settings = MixSettings::default();
    // As the recorder hands them to its script.
    let path = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(directory) = arguments.wcs_directory.clone().or_else(|| path(WCS_DIRECTORY)) {
        read_wcs(&directory, &mut settings)?;
    }
    if let Some(file) = &arguments.settings {
        read_settings(file, &mut settings)?;
    }
    let output = arguments.output.clone().unwrap_or_else(|| output_of(&arguments.file));
    let ffmpeg = arguments.ffmpeg.clone().or_else(|| path(FFMPEG)).unwrap_or_else(|| "ffmpeg".into());
    mix(&arguments.file, &output, &settings, &ffmpeg, shown)
}

fn read_text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(TEXT_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn read_settings(file: &Path, settings: &mut MixSettings) -> Result<(), String> {
    let named = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let text = read_text(file).map_err(|why| named(&why))?;
    for told in settings.read(&text).map_err(|why| named(&why))? {
        tracing::warn!("{}: {told}", file.display());
    }
    Ok(())
}

/// What WCS's own files say of mixing; each may be missing.
fn read_wcs(directory: &Path, settings: &mut MixSettings) -> Result<(), String> {
    let properties = directory.join(wcs::PROPERTIES);
    if let Ok(text) = read_text(&properties) {
        for (key, value) in wcs::mixer_keys(&text) {
            // Most of WCS's many keys are of mixing while a room lasts.
            if let Err(accepted) = settings.set(&key, &value) {
                tracing::warn!("{}: {key} = {value:?}: give {accepted}", properties.display());
            }
        }
    }
    let json = directory.join(wcs::OFFLINE_MIXER);
    if json.exists() { read_settings(&json, settings) } else { Ok(()) }
}

/// Mixes a file into another, which appears when it is whole. `shown` hears how far it is, in percent.
///
/// # Errors
/// In words for people.
pub fn mix(
    file: &Path,
    output: &Path,
    settings: &MixSettings,
    ffmpeg: &Path,
    shown: &mut dyn FnMut(u64),
) -> Result<(), String> {
    let opened = File::open(file).map_err(|why| format!("{}: {why}", file.display()))?;
    if file.canonicalize().ok() == output.canonicalize().ok() && output.exists() {
        return Err(format!("{} would be written over: give another --output", file.display()));
    }
    let source = Source::open(opened, settings.silent_ms).map_err(|why: ScanError| why.to_string())?;
    let has = |is_video| source.lines.iter().any(|l| l.track.is_video == is_video && !l.spans.is_empty());
    if !(settings.has_video || has(false)) || !(has(true) || has(false)) {
        return Err(format!("{}: there is nothing to mix", file.display()));
    }
    let known = known_tracks(file);
    let folder = Folder::make(output).map_err(|why| format!("{}: {why}", output.display()))?;
    let source = Arc::new(source);
    let made = make(&source, &known, settings, (&folder, ffmpeg), shown);
    let published = made.and_then(|name| folder.publish(name, output, &source));
    published.map_err(|why| format!("{}: {why}", output.display()))
}

/// Makes the file; its name in our folder.
fn make(
    source: &Arc<Source>,
    known: &[Recorded],
    settings: &MixSettings,
    (folder, ffmpeg): (&Folder, &Path),
    shown: &mut dyn FnMut(u64),
) -> io::Result<&'static str> {
    let ffmpeg = Ffmpeg::new(ffmpeg, &folder.path)?;
    let pictures = pictures_of(source, settings);
    let mut last = None;
    let mut told = |percent: u64| {
        if last < Some(percent) {
            last = Some(percent);
            shown(percent);
        }
    };
    told(0);
    let has_sound = settings.has_audio && source.lines.iter().any(|line| !line.track.is_video);
    if has_sound {
        let share = if settings.has_video { SOUND_PERCENT } else { 100 };
        let duration_ms = pictures * 1_000 / u64::from(settings.fps);
        let percent = &mut |percent| told(percent * share / 100);
        sound::mix(source, settings, &ffmpeg, (SOUND, duration_ms), percent)?;
    }
    if !settings.has_video {
        told(100);
        return Ok(SOUND);
    }
    let people = plan::people(&source.lines, settings, known);
    let plan = plan::plan(&source.lines, people, settings, pictures);
    if plan.is_crowded {
        tracing::warn!("at times more were there than have a place: those who came last were not shown");
    }
    let names = settings.shows_names.then(|| Names::new(&ffmpeg, settings.font.as_deref())).flatten();
    let mut painter = Painter { source, settings, ffmpeg: &ffmpeg, names };
    let before = if has_sound { SOUND_PERCENT } else { 0 };
    let percent = &mut |percent| told(before + percent * (100 - before) / 100);
    painter.paint(&plan, (WHOLE, has_sound.then_some(SOUND)), percent)?;
    told(100);
    Ok(WHOLE)
}

/// The tracks of a recording, from the description beside its file.
fn known_tracks(file: &Path) -> Vec<Recorded> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".json");
    let read = read_text(Path::new(&beside)).ok();
    let recording = read.and_then(|text| serde_json::from_str::<Recording>(&text).ok());
    recording.map(|recording| recording.tracks).unwrap_or_default()
}
