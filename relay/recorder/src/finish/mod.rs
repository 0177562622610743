//! What becomes of a recording that has ended: its parts → one file, on a bounded number of threads.
//!
//! What is given ([`Job`]): the recording as it is known, a work folder that nobody else uses, and its parts
//! in the order of time, of which any may be cut at its end, be empty, or be missing. Nobody writes to them
//! any more. The same job is given again after a crash, wherever it was; what was left in the work folder by
//! the one before is there then.
//!
//! What is promised (by [`make`])
//! - The whole file, and nothing that is not whole, lies in the work folder as [`Job::out`], 0640 and
//!   synchronised. If it lies there already, it is the result.
//! - Parts are not changed so that a second try would lose something.
//! - One job that fails, hangs or is killed holds up no other: what runs has a limit of its own.
//! - Progress is told in whole percents that grow.
//!
//! How: the parts are read ([`join`]). If one of them is all that is wanted, it gets its index in its place.
//! Otherwise they are joined, and FFmpeg makes what a container wants otherwise (`recipe`), with a black
//! picture in front if the file is aligned (`black`).
//!
//! What follows is done here for all: the file gets its name ([`crate::publish`]), [`Report::Ready`] is told,
//! then the programs of the operator are started (`hooks`), whose end nobody waits for.

mod black;
mod child;
mod ffmpeg;
mod hooks;
pub mod join;
mod make;
mod recipe;
mod sound;

pub use child::ChildError;
pub use ffmpeg::{Ffmpeg, FfmpegError, input};
pub(crate) use hooks::PATH as HOOK_PATH;
pub use make::make;

use make::of_disk;

use crate::config::Recording as Settings;
use crate::publish::publish;
use hooks::Hooks;
use recorder_control::{Failure, Recording};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A recording that has ended.
#[derive(Clone, Debug)]
pub struct Job {
    /// As it is known; its `file` is what it shall be called, and says by its ending in which container.
    pub recording: Recording,
    /// The file begins at this moment, in milliseconds since the Unix epoch.
    pub aligned_at_ms: Option<u64>,
    /// Where finished files go.
    pub directory: PathBuf,
    /// Its own folder.
    pub work: PathBuf,
    /// Its parts, raw Matroska of our own.
    pub parts: Vec<PathBuf>,
}

impl Job {
    /// Where the whole file lies before it has its name.
    #[must_use]
    pub fn out(&self) -> PathBuf {
        self.work.join(crate::folder::OUT)
    }
}

/// The file that was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// From its beginning to its end.
    pub duration_ms: u64,
}

/// What is told of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// How far it is.
    Progress {
        /// The recording's.
        id: String,
        /// From 0 to 100.
        percent: u8,
    },
    /// The file can be fetched: the recording as it is beside it.
    Ready(Box<Recording>),
    /// There is no file; what was written is kept.
    Failed {
        /// The recording's.
        id: String,
        /// Why.
        failure: Failure,
    },
    /// A room was mixed: a file of this name lies beside its own.
    Mixed {
        /// The recording's.
        id: String,
        /// The name of the mixed file, in the directory.
        file: String,
        /// Its octets.
        bytes: u64,
    },
}

/// Who hears of jobs, on whatever thread.
pub type Tell = Arc<dyn Fn(Report) + Send + Sync>;

/// The threads.
pub struct Finishers {
    jobs: Sender<Job>,
    hooks: Arc<Hooks>,
    tell: Tell,
    threads: Vec<JoinHandle<()>>,
}

impl Finishers {
    /// Starts as many threads as the settings say.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(settings: &Settings, tell: &Tell) -> io::Result<Self> {
        let (jobs, received) = channel();
        let (received, hooks) = (Arc::new(Mutex::new(received)), Arc::new(Hooks::start(settings)?));
        let start = |_| {
            let (received, settings, tell) = (Arc::clone(&received), settings.clone(), Arc::clone(tell));
            let (thread, hooks) = (std::thread::Builder::new().name("finisher".into()), Arc::clone(&hooks));
            thread.spawn(move || run(&received, &settings, &hooks, &tell))
        };
        let threads = (0..settings.finishers).map(start).collect::<io::Result<_>>()?;
        let tell = Arc::clone(tell);
        Ok(Self { jobs, hooks, tell, threads })
    }

    /// Starts the program that a former process has not started for a finished recording, or has not seen
    /// the end of.
    pub fn follow(&self, recording: &Recording, directory: &Path) {
        self.hooks.follow(recording, directory, true, &self.tell);
    }

    /// Does it when a thread is free. There are no more jobs than recordings.
    pub fn order(&self, job: Job) {
        // Without threads nobody is left to do it; the next start does.
        let _ = self.jobs.send(job);
    }

    /// Waits until all that was ordered is done.
    pub fn end(self) {
        drop((self.jobs, self.hooks, self.tell));
        for thread in self.threads {
            // It has said why.
            let _ = thread.join();
        }
    }
}

fn run(jobs: &Mutex<Receiver<Job>>, settings: &Settings, hooks: &Hooks, tell: &Tell) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let id = job.recording.id.clone();
        let percent = |percent| tell(Report::Progress { id: id.clone(), percent });
        let made = make(&job, settings, &percent).and_then(|made| {
            hooks.expect(&job.directory, &job.recording).map_err(|why| of_disk(&why))?;
            let published = publish(&job.directory, &job.work, &job.out(), &job.recording, made.duration_ms);
            published.map_err(|why| of_disk(&why))
        });
        match made {
            Ok(recording) => {
                tell(Report::Ready(Box::new(recording.clone())));
                hooks.follow(&recording, &job.directory, false, tell);
            }
            Err(failure) => tell(Report::Failed { id, failure }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matroska::{Block, DocType, Media, Muxer, Track, store};
    use recorder_control::{FailureCode, Kind, State};
    use relay_port::MediaTime;
    use std::fs::{self, File};
    use std::path::Path;

    fn write_part(path: &Path) {
        let mut muxer = Muxer::new(DocType::Matroska, None);
        muxer.add_track(&Track { uid: 1, name: String::new(), media: Media::Opus }).expect("room");
        for frame in 0..100 {
            let time = MediaTime::from_nanos(frame * 20_000_000);
            let block = Block { track: 1, time, keyframe: true, bytes: vec![0xf8, 0xff, 0xfe] };
            muxer.handle_block(block).expect("times grow");
        }
        muxer.handle_end();
        store(&mut muxer, &File::create(path).expect("created"));
    }

    fn job(directory: &Path) -> Job {
        let work = directory.join(".work/0123456789abcdef");
        fs::create_dir_all(&work).expect("made");
        let one = Recording::new("0123456789abcdef", Kind::Room, "lobby.mkv", 1_000);
        let (room, ended_at_ms) = ("lobby".into(), Some(3_000));
        let recording = Recording { state: State::Finishing, room, ended_at_ms, ..one };
        let parts = vec![work.join("part-1.mkv")];
        Job { recording, aligned_at_ms: None, directory: directory.to_owned(), work, parts }
    }

    fn done(job: Job) -> Vec<Report> {
        let (sent, reports) = channel();
        let sent = Mutex::new(sent);
        let tell: Tell = Arc::new(move |report| sent.lock().expect("whole").send(report).expect("heard"));
        let finishers = Finishers::start(&Settings::default(), &tell).expect("started");
        drop(tell);
        finishers.order(job);
        finishers.end();
        reports.into_iter().collect()
    }

    #[test]
    fn one_part_is_finished_and_gets_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let job = job(folder.path());
        write_part(&job.parts[0]);
        let reports = done(job.clone());
        let Some(Report::Ready(ready)) = reports.last() else { panic!("{reports:?}") };
        assert_eq!((ready.state, ready.file.as_str(), ready.duration_ms), (State::Ready, "lobby.mkv", 2_000));
        assert_eq!(ready.bytes, fs::metadata(folder.path().join("lobby.mkv")).expect("there").len());
        assert!(!job.work.exists());
    }

    #[test]
    fn what_cannot_be_made_is_kept_and_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let job = job(folder.path());
        fs::write(&job.parts[0], "something").expect("written");
        let reports = done(job.clone());
        let Some(Report::Failed { failure, .. }) = reports.last() else { panic!("{reports:?}") };
        assert_eq!(failure.code, FailureCode::Finishing);
        assert!(job.parts[0].exists());
    }
}
