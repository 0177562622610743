//! One job: parts → the whole file.

use super::black::black;
use super::ffmpeg::{Ffmpeg, FfmpegError, input};
use super::join::{Plan, Planned};
use super::recipe::{Ending, Input, recipe};
use super::{Job, Made};
use crate::config::Recording as Settings;
use crate::matroska::{DocType, Media, ScanError, finish_as};
use crate::publish::write_whole;
use recorder_control::{Failure, FailureCode};
use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// FFmpeg is killed when it takes longer than this, and so many times as long as the recording: copying is a
/// hundred times faster than that, encoding a picture on a busy machine is not.
const FFMPEG_LIMIT: Duration = Duration::from_secs(600);
const FFMPEG_TIMES: u64 = 20;
/// Sound that begins so much later is preceded by silence in what FFmpeg is given, or it would keep all
/// pictures up to then in memory.
const LATE_MS: u64 = 5_000;
/// Of what is made with FFmpeg, so much is done when the parts are joined.
const JOINED_PERCENT: u8 = 20;
/// How long the file lasts that lies there already.
const MADE: &str = "made.json";

/// Makes the file; see the module.
///
/// # Errors
/// Why there is none.
pub fn make(job: &Job, settings: &Settings, percent: &dyn Fn(u8)) -> Result<Made, Failure> {
    let told = Cell::new(None);
    let percent = |now: u8| {
        if told.get().is_none_or(|told| now > told) {
            told.set(Some(now));
            percent(now);
        }
    };
    percent(0);
    let made = match Made::of(job) {
        Some(made) => made,
        None => make_new(job, settings, &percent)?,
    };
    percent(100);
    Ok(made)
}

impl Made {
    /// What a try before this one has made.
    fn of(job: &Job) -> Option<Self> {
        let text = fs::read(job.work.join(MADE)).ok().filter(|_| job.out().is_file())?;
        serde_json::from_slice(&text).ok()
    }

    /// Says that this file is the whole one.
    fn finish(self, job: &Job, file: &Path) -> Result<Self, Failure> {
        let rename = || {
            write_whole(&job.work, MADE, &serde_json::to_vec(&self)?)?;
            fs::rename(file, job.out())?;
            File::open(&job.work)?.sync_all()
        };
        rename().map_err(|why| of_disk(&why)).map(|()| self)
    }
}

fn make_new(job: &Job, settings: &Settings, percent: &dyn Fn(u8)) -> Result<Made, Failure> {
    let mut plan = Plan::new(&job.parts, job.aligned_at_ms).map_err(|why| of_disk(&why))?;
    if plan.is_empty() {
        return Err(nothing(job, &plan));
    }
    let ending = Ending::of(&job.recording.file);
    let inputs: Vec<Input> = plan.tracks().map(input_of).collect();
    let Some(words) = recipe(ending, &inputs, settings.mp4_audio) else {
        let doc_type = if ending == Ending::WebM { DocType::WebM } else { DocType::Matroska };
        return copy(job, plan, doc_type, settings, percent);
    };
    plan.begin_late_sound(LATE_MS);
    let (made, joined) = (Made { duration_ms: plan.duration_ms() }, job.work.join("joined.mkv"));
    let source = match plan.whole() {
        Some(part) => part.to_owned(),
        None => {
            let part = |now: u8| percent((u32::from(now) * u32::from(JOINED_PERCENT) / 100) as u8);
            write(job, plan, &joined, DocType::Matroska, settings, &part)?;
            joined.clone()
        }
    };
    let made_by = |now: u8| {
        percent((u32::from(JOINED_PERCENT) + u32::from(now) * u32::from(100 - JOINED_PERCENT) / 100) as u8);
    };
    let file = job.work.join("encoded");
    encode(job, settings, &source, words, made, &file, &made_by)?;
    // It goes with the folder otherwise.
    let _ = fs::remove_file(joined);
    made.finish(job, &file)
}

/// Without FFmpeg, but for a black picture.
fn copy(
    job: &Job,
    plan: Plan,
    doc_type: DocType,
    settings: &Settings,
    percent: &dyn Fn(u8),
) -> Result<Made, Failure> {
    let made = Made { duration_ms: plan.duration_ms() };
    if let Some(part) = plan.whole() {
        let file = File::options().read(true).write(true).open(part).map_err(|why| of_disk(&why))?;
        let finished = finish_as(&file, Some(doc_type));
        finished.map_err(|why| match why {
            ScanError::Io(why) => of_disk(&why),
            why => failure(&why),
        })?;
        return made.finish(job, part);
    }
    let joined = job.work.join("joined");
    write(job, plan, &joined, doc_type, settings, percent)?;
    made.finish(job, &joined)
}

/// Joins the parts.
fn write(
    job: &Job,
    mut plan: Plan,
    path: &Path,
    doc_type: DocType,
    settings: &Settings,
    percent: &dyn Fn(u8),
) -> Result<(), Failure> {
    let stops = AtomicBool::new(false);
    let ffmpeg = ffmpeg(job, settings, 0, &stops);
    let wanted: Vec<(usize, Media)> =
        plan.without_picture().map(|(place, planned)| (place, planned.track.media.clone())).collect();
    for (place, media) in wanted {
        let black = black(&media, &ffmpeg).map_err(|why| of_ffmpeg(&why))?;
        plan.set_black(place, black.frames, black.config);
    }
    create(path).and_then(|file| plan.write(file, doc_type, percent)).map_err(|why| of_disk(&why))
}

/// Anew, whatever a try before this one has left.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != ErrorKind::NotFound => Err(why),
        _ => File::options().write(true).create_new(true).mode(0o640).open(path),
    }
}

fn encode(
    job: &Job,
    settings: &Settings,
    source: &Path,
    words: Vec<OsString>,
    made: Made,
    file: &Path,
    percent: &dyn Fn(u8),
) -> Result<(), Failure> {
    // With our permissions; FFmpeg writes it over.
    drop(create(file).map_err(|why| of_disk(&why))?);
    let mut arguments = vec!["-y".into(), "-copyts".into()];
    arguments.extend(input(source));
    arguments.extend(words);
    arguments.push(file.into());
    let stops = AtomicBool::new(false);
    ffmpeg(job, settings, made.duration_ms, &stops)
        .run(&arguments, percent)
        .map_err(|why| of_ffmpeg(&why))?;
    File::open(file).and_then(|file| file.sync_all()).map_err(|why| of_disk(&why))
}

fn ffmpeg<'a>(job: &'a Job, settings: &'a Settings, duration_ms: u64, stops: &'a AtomicBool) -> Ffmpeg<'a> {
    let limit = FFMPEG_LIMIT + Duration::from_millis(duration_ms.saturating_mul(FFMPEG_TIMES));
    Ffmpeg { program: &settings.ffmpeg, directory: &job.work, duration_ms, limit, stops }
}

fn input_of(planned: &Planned) -> Input {
    let size = match planned.track.media {
        Media::Vp8 { width, height } | Media::H264 { width, height, .. } => Some((width, height)),
        Media::Opus | Media::Pcmu | Media::Pcma => None,
    };
    Input { codec: planned.track.media.codec(), size, follows: planned.follows.is_some() }
}

fn nothing(job: &Job, plan: &Plan) -> Failure {
    if plan.unreadable == 0 {
        return Failure { code: FailureCode::Empty, info: "nothing was recorded".into() };
    }
    let info = format!("what is in {} cannot be read: it is kept", job.work.display());
    Failure { code: FailureCode::Finishing, info }
}

fn of_ffmpeg(why: &FfmpegError) -> Failure {
    let code =
        if matches!(why, FfmpegError::DiskFull) { FailureCode::DiskFull } else { FailureCode::Finishing };
    Failure { code, info: why.to_string() }
}

pub(super) fn of_disk(why: &io::Error) -> Failure {
    let is_full = matches!(why.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let code = if is_full { FailureCode::DiskFull } else { FailureCode::Disk };
    Failure { code, info: why.to_string() }
}

fn failure(why: &dyn std::error::Error) -> Failure {
    Failure { code: FailureCode::Finishing, info: why.to_string() }
}
