//! The directory of recordings: what lies where, and what a former process has left.
//!
//! ```text
//! FILE  FILE.json            finished: the file, and what is known of it
//! .work/ID/recording.json    not finished: what is needed to go on with it
//! .work/ID/part-N.mkv
//! .work/ID.hook              finished, and the operator's program is still to be started
//! MIX                        of a room's FILE, whose ending it has not
//! .MIX.mixing/               it is made there
//! ```
//!
//! Invariants
//! - Names of files are ids and [`Wanted::file`](recorder_control::Wanted::file), and nothing else that
//!   somebody chose.
//! - The directory is locked as long as a recorder has it: each would finish what the other writes.
//! - Files are 0640; folders that are made here 0750.

use crate::entry::{Found, Stored};
use crate::mix;
use crate::publish::write_whole;
use recorder_control::{FILE_NAME_BYTES_MAX, Kind, Recording, State, Wanted, is_file_name, is_id};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Finished recordings that are known; more lie there and are not told of.
pub const READY_MAX: usize = 100_000;
/// Longest description that is read.
const DESCRIPTION_BYTES_MAX: u64 = 1 << 20;
const WORK: &str = ".work";
const STORED: &str = "recording.json";
/// Behind an id.
const HOOK: &str = ".hook";
/// The file that was made, before it has its name.
pub const OUT: &str = "out";

/// Where a recording lies that is not finished.
#[must_use]
pub fn work_folder(directory: &Path, id: &str) -> PathBuf {
    directory.join(WORK).join(id)
}

/// Where a part of it lies, from 1 on.
#[must_use]
pub fn part_path(directory: &Path, id: &str, part: u32) -> PathBuf {
    work_folder(directory, id).join(format!("part-{part}.mkv"))
}

/// Makes a recording's folder. The directory itself must be there: where a disk is not mounted, nothing
/// goes.
///
/// # Errors
/// If the disk refuses.
pub fn make_work_folder(directory: &Path, id: &str) -> io::Result<PathBuf> {
    let work = work_folder(directory, id);
    for folder in [&directory.join(WORK), &work] {
        match DirBuilder::new().mode(0o750).create(folder) {
            Err(why) if why.kind() == ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    Ok(work)
}

/// The directory, for as long as it is ours.
#[derive(Debug)]
pub struct Lock {
    file: File,
    inode: (u64, u64),
}

impl Lock {
    /// Makes the directory if it is not there, and takes it. `None`: another recorder has it.
    ///
    /// # Errors
    /// If it cannot be made or opened.
    pub fn take(directory: &Path) -> io::Result<Option<Self>> {
        DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
        Self::take_made(directory)
    }

    fn take_made(directory: &Path) -> io::Result<Option<Self>> {
        let file = File::open(directory)?;
        let meta = file.metadata()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file, inode: (meta.dev(), meta.ino()) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(why)) => Err(why),
        }
    }

    /// Looks whether the directory is still the one that is locked. Another one of the same name is taken.
    ///
    /// # Errors
    /// If it is gone, or another recorder has it.
    pub fn check(&mut self, directory: &Path) -> io::Result<&File> {
        let meta = fs::metadata(directory)?;
        if (meta.dev(), meta.ino()) != self.inode {
            let taken = Self::take_made(directory)?;
            *self = taken.ok_or_else(|| io::Error::from(ErrorKind::ResourceBusy))?;
        }
        Ok(&self.file)
    }
}

/// Writes what is needed to go on with a recording.
///
/// # Errors
/// If the disk refuses.
pub fn save(directory: &Path, stored: &Stored) -> io::Result<()> {
    let work = make_work_folder(directory, &stored.wanted.id)?;
    write_whole(&work, STORED, &serde_json::to_vec_pretty(stored)?)?;
    File::open(directory.join(WORK))?.sync_all()
}

/// Says that the hook of a recording whose id this is has not been started, or has not ended if it is to be
/// started again.
#[must_use]
pub fn hook_path(directory: &Path, id: &str) -> PathBuf {
    directory.join(WORK).join(format!("{id}{HOOK}"))
}

/// What the description of a file is called.
pub(crate) fn description(directory: &Path, file: &str) -> PathBuf {
    directory.join(format!("{file}.json"))
}

/// The mix of a finished room that lies in the directory: its name and its octets.
#[must_use]
pub fn mix_of(directory: &Path, recording: &Recording) -> Option<(String, u64)> {
    let name = mix_name(directory, recording)?;
    let meta = fs::symlink_metadata(directory.join(&name)).ok()?;
    meta.is_file().then_some((name, meta.len()))
}

/// What the mix of a room is called. What has a description is a recording itself.
pub(crate) fn mix_name(directory: &Path, recording: &Recording) -> Option<String> {
    let name = mix::name_of(&recording.file).filter(|_| recording.kind == Kind::Room)?;
    (is_file_name(&name) && !description(directory, &name).exists()).then_some(name)
}

/// Finished recordings whose hook is still to be started. What says so of others goes.
#[must_use]
pub fn awaiting_hook(directory: &Path, ready: &[Recording]) -> Vec<Recording> {
    let is_live = |id: &str| work_folder(directory, id).is_dir();
    let mut awaiting = Vec::new();
    for entry in fs::read_dir(directory.join(WORK)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(HOOK)).filter(|id| is_id(id));
        let Some(id) = id else { continue };
        match ready.iter().find(|recording| recording.id == id) {
            Some(recording) if recording.mixed.is_none() => awaiting.push(recording.clone()),
            None if is_live(id) => {}
            _ => drop(fs::remove_file(entry.path())),
        }
    }
    awaiting.sort_by_key(|recording| recording.ended_at_ms);
    awaiting
}

/// What a former process has left: what is not finished, and what is ready.
///
/// # Errors
/// If the directory cannot be read.
pub fn scan(directory: &Path) -> io::Result<(Vec<Found>, Vec<Recording>)> {
    let ready = scan_ready(directory)?;
    let ids: BTreeSet<&str> = ready.iter().map(|recording| recording.id.as_str()).collect();
    let mut found = Vec::new();
    let work = match fs::read_dir(directory.join(WORK)) {
        Ok(work) => work,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok((found, ready)),
        Err(why) => return Err(why),
    };
    for entry in work {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().filter(|id| is_id(id)).map(ToOwned::to_owned) else {
            continue;
        };
        let scanned = if ids.contains(id.as_str()) {
            // Killed before the last step.
            fs::remove_dir_all(entry.path()).map(|()| None)
        } else {
            scan_work(&entry.path(), &id)
        };
        match scanned {
            Ok(one) => found.extend(one),
            // One that cannot be read keeps no other from being recorded or finished.
            Err(why) => tracing::error!("{} is left alone: {why}", entry.path().display()),
        }
    }
    Ok((found, ready))
}

fn scan_work(work: &Path, id: &str) -> io::Result<Option<Found>> {
    let (mut parts, mut bytes) = (0, 0);
    for entry in fs::read_dir(work)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("part-")?.strip_suffix(".mkv"));
        if let Some(number) = number.and_then(|number| number.parse::<u32>().ok()) {
            parts = parts.max(number);
            bytes += entry.metadata()?.len();
        }
    }
    // Killed when it was made and had no name yet; what it was made of may be it.
    if let Ok(made) = fs::metadata(work.join(OUT)) {
        parts = parts.max(1);
        bytes += made.len();
    }
    let stored = read_json::<Stored>(&work.join(STORED)).filter(|stored| {
        stored.wanted.id == id && stored.recording.id == id && is_file_name(&stored.wanted.file)
    });
    if stored.is_none() && parts == 0 {
        // Killed while it began.
        fs::remove_dir_all(work)?;
        return Ok(None);
    }
    let made_s = u64::try_from(fs::metadata(work)?.mtime()).unwrap_or(0);
    let stored = stored.unwrap_or_else(|| unknown(id, made_s.saturating_mul(1_000)));
    Ok(Some(Found { stored, parts, bytes }))
}

/// A recording of which there are only parts.
fn unknown(id: &str, started_at_ms: u64) -> Stored {
    tracing::warn!("recording {id} has no {STORED}: it is finished under its id");
    let (file, id, kind) = (format!("{id}.mkv"), id.to_owned(), Kind::Room);
    Stored::unlabelled(&Wanted { id, kind, file, started_at_ms, aligned_at_ms: None })
}

fn scan_ready(directory: &Path) -> io::Result<Vec<Recording>> {
    let mut ready = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let file = name.to_str().and_then(|name| name.strip_suffix(".json"));
        let Some(file) = file.filter(|file| is_file_name(file) && file.len() <= FILE_NAME_BYTES_MAX) else {
            continue;
        };
        let read = read_json::<Recording>(&directory.join(&name));
        let Some(recording) = read.filter(|one| is_id(&one.id) && one.file == file) else { continue };
        if !directory.join(file).is_file() {
            tracing::warn!("{file} is gone: it is forgotten");
            if let Err(why) = fs::remove_file(directory.join(&name)) {
                tracing::error!("{} stays: {why}", directory.join(&name).display());
            }
        } else if ready.len() < READY_MAX {
            let (mixed, mixed_bytes) = mix_of(directory, &recording).unzip();
            let mixed_bytes = mixed_bytes.unwrap_or_default();
            ready.push(Recording { state: State::Ready, mixed, mixed_bytes, ..recording });
        } else {
            tracing::warn!("there are more than {READY_MAX} recordings: {file} is not told of");
        }
    }
    Ok(ready)
}

/// Reads a description, within bounds.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(DESCRIPTION_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: &str = "0123456789abcdef";
    const BEGUN: &str = "0123456789abcde0";

    /// Mixed when no recorder was there, about to be, or never asked for.
    #[test]
    fn rooms_are_found_with_their_mixes_and_those_that_are_to_be_mixed() {
        let folder = tempfile::tempdir().expect("a folder");
        make_work_folder(folder.path(), MADE).expect("made");
        let all =
            [("0123456789abcd00", "a.mkv"), ("0123456789abcd01", "b.mkv"), ("0123456789abcd02", "c.mkv")];
        for (id, file) in all {
            let one = Recording { mixed: Some("gone.mp4".into()), ..Recording::new(id, Kind::Room, file, 0) };
            crate::publish::write_description(folder.path(), &one).expect("written");
            fs::write(folder.path().join(file), "a room").expect("written");
        }
        fs::write(folder.path().join("a.mp4"), "a mix").expect("written");
        for id in [all[0].0, all[1].0, "0123456789abcdff"] {
            fs::write(hook_path(folder.path(), id), "").expect("written");
        }
        let (_, ready) = scan(folder.path()).expect("read");
        let mut mixes: Vec<_> =
            ready.iter().map(|one| (one.file.as_str(), one.mixed.as_deref(), one.mixed_bytes)).collect();
        mixes.sort_unstable();
        assert_eq!(mixes, [("a.mkv", Some("a.mp4"), 5), ("b.mkv", None, 0), ("c.mkv", None, 0)]);
        let awaiting = awaiting_hook(folder.path(), &ready);
        assert_eq!(awaiting.iter().map(|one| one.file.as_str()).collect::<Vec<_>>(), ["b.mkv"]);
        let is_there = |id: &str| hook_path(folder.path(), id).exists();
        assert!(!is_there(all[0].0) && is_there(all[1].0) && !is_there("0123456789abcdff"));
    }

    #[test]
    fn a_file_that_was_made_and_has_no_name_yet_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        for id in [MADE, BEGUN] {
            make_work_folder(folder.path(), id).expect("made");
        }
        fs::write(work_folder(folder.path(), MADE).join(OUT), "all of it").expect("written");
        // Not a folder, though it is called like one.
        fs::write(work_folder(folder.path(), "0123456789abcde1"), "").expect("written");
        let (found, ready) = scan(folder.path()).expect("read");
        let found: Vec<_> =
            found.iter().map(|one| (one.stored.wanted.id.as_str(), one.parts, one.bytes)).collect();
        assert_eq!((found, ready), (vec![(MADE, 1, 9)], Vec::new()));
        assert!(!work_folder(folder.path(), BEGUN).exists(), "nothing was in it");
    }
}
