//! The last step of a recording: its file gets its name, and what is known of it stands beside it.
//!
//! Invariants
//! - No file is written over: a name that is taken gets `-2`, `-3` and so on.
//! - A room has its name together with that of its mix: neither is another recording's.
//! - Killed at any moment and done again, there is one file with one name: a file that has a name already is
//!   recognised by its inode.
//! - What was recorded goes only when the file and its description are on the disk.

use crate::mix;
use recorder_control::{Kind, Recording, State};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Names that are tried.
const NAMES_MAX: u32 = 1_000;

/// Gives the whole file its name in the directory, writes its description, and removes the work folder. What
/// is known of it then.
///
/// # Errors
/// If the disk refuses; all can be done again.
pub fn publish(
    directory: &Path,
    work: &Path,
    out: &Path,
    recording: &Recording,
    duration_ms: u64,
) -> io::Result<Recording> {
    let meta = fs::metadata(out)?;
    let mut ready = recording.clone();
    ready.file = link(directory, out, recording, (meta.dev(), meta.ino()))?;
    ready.state = State::Ready;
    (ready.bytes, ready.duration_ms, ready.percent, ready.failure) = (meta.len(), duration_ms, None, None);
    // Of one whose process died nobody has seen the end.
    ready.ended_at_ms.get_or_insert(ready.started_at_ms.saturating_add(duration_ms));
    write_description(directory, &ready)?;
    if let Err(why) = fs::remove_dir_all(work) {
        // The next start does this again, to the same end.
        tracing::warn!("{}: {why}", work.display());
    }
    Ok(ready)
}

/// Writes what is known of a finished recording beside its file.
///
/// # Errors
/// If the disk refuses.
pub fn write_description(directory: &Path, ready: &Recording) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(ready)?;
    write_whole(directory, &format!("{}.json", ready.file), &text)
}

/// Writes a file of this name so that there is the old one or the new one, whatever happens, and waits until
/// it is on the disk.
///
/// # Errors
/// If the disk refuses.
pub fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (path, unfinished) = (folder.join(name), folder.join(format!(".{name}.new")));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o640).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()
}

/// Names are looked for by one at a time, as a room's takes two.
static NAMES: Mutex<()> = Mutex::new(());

/// The name that the file has got.
fn link(directory: &Path, out: &Path, recording: &Recording, inode: (u64, u64)) -> io::Result<String> {
    let _one = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let file = &recording.file;
    let (stem, ending) = file.rsplit_once('.').unwrap_or((file, "mkv"));
    for number in 1..=NAMES_MAX {
        let name = if number == 1 { file.to_owned() } else { format!("{stem}-{number}.{ending}") };
        let path = directory.join(&name);
        match fs::symlink_metadata(&path) {
            Ok(taken) if (taken.dev(), taken.ino()) == inode => return Ok(name),
            Ok(_) => continue,
            Err(why) if why.kind() != ErrorKind::NotFound => return Err(why),
            Err(_) if is_taken(directory, &name, recording.kind) => continue,
            Err(_) => {}
        }
        match fs::hard_link(out, &path) {
            Ok(()) => return Ok(name),
            Err(why) if why.kind() == ErrorKind::AlreadyExists => {}
            Err(why) => return Err(why),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, format!("{file} and {NAMES_MAX} names like it are taken")))
}

/// Whether a room's mix would be called like something that is there, or this like the mix of one.
fn is_taken(directory: &Path, name: &str, kind: Kind) -> bool {
    let mix = mix::name_of(name).filter(|_| kind == Kind::Room).map(|mix| directory.join(mix));
    let is_there = |mix: &Path| fs::symlink_metadata(mix).is_ok() || mix::is_being_made(mix);
    let room = directory.join(name).with_extension("mkv");
    mix.is_some_and(|mix| is_there(&mix)) || (mix::output_of(&room) == directory.join(name) && room.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn recording() -> Recording {
        let one = Recording::new("0123456789abcdef", Kind::Stream, "a.webm", 1);
        let (room, login, stream) = ("lobby".into(), Some("../alice".into()), Some("camera".into()));
        let (ended_at_ms, percent) = (Some(2), Some(100));
        let state = State::Finishing;
        Recording { state, room, login, stream, ended_at_ms, percent, interruptions: 1, ..one }
    }

    fn work(directory: &Path) -> (PathBuf, PathBuf) {
        let work = directory.join(".work/0123456789abcdef");
        fs::create_dir_all(&work).expect("made");
        let out = work.join("out");
        fs::write(&out, "media").expect("written");
        fs::set_permissions(&out, fs::Permissions::from_mode(0o640)).expect("set");
        (work, out)
    }

    #[test]
    fn a_name_that_is_taken_stays_whose_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.webm"), "somebody's").expect("written");
        let (work, out) = work(folder.path());
        let ready = publish(folder.path(), &work, &out, &recording(), 7).expect("published");
        assert_eq!((ready.file.as_str(), ready.bytes, ready.duration_ms), ("a-2.webm", 5, 7));
        assert_eq!(fs::read(folder.path().join("a.webm")).expect("there"), b"somebody's");
        let beside = folder.path().join("a-2.webm.json");
        assert_eq!(fs::metadata(&beside).expect("there").permissions().mode() & 0o777, 0o640);
        let read: Recording = serde_json::from_slice(&fs::read(beside).expect("there")).expect("ours");
        assert_eq!(read, ready);
        assert!(!work.exists());
    }

    /// A room needs two names, of its file and of its mix.
    #[test]
    fn a_rooms_name_and_its_mixs_are_nobody_elses() {
        let room = Recording { kind: Kind::Room, file: "a.mkv".into(), ..recording() };
        let stream = Recording { file: "a.mp4".into(), ..recording() };
        for (before, recording, want) in [
            (&[][..], &room, "a.mkv"),
            (&["a.mp4"], &room, "a-2.mkv"),
            (&["a.mkv", "a-2.mp4"], &room, "a-3.mkv"),
            (&[], &stream, "a.mp4"),
            (&["a.mkv"], &stream, "a-2.mp4"),
            (&["a.webm"], &stream, "a.mp4"),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            before.iter().for_each(|name| fs::write(folder.path().join(name), "").expect("written"));
            let (work, out) = work(folder.path());
            let ready = publish(folder.path(), &work, &out, recording, 7).expect("published");
            assert_eq!(ready.file, want, "{before:?}");
        }
    }

    /// Killed behind each step, and done again.
    #[test]
    fn done_again_it_is_the_same_file() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.webm"), "somebody's").expect("written");
        let (work, out) = work(folder.path());
        let kept = folder.path().join("kept");
        fs::hard_link(&out, &kept).expect("linked");
        let first = publish(folder.path(), &work, &out, &recording(), 7).expect("published");
        fs::create_dir_all(&work).expect("made");
        fs::hard_link(&kept, &out).expect("linked");
        let again = publish(folder.path(), &work, &out, &recording(), 7).expect("published");
        assert_eq!(again, first);
        assert!(!folder.path().join("a-3.webm").exists());
    }
}
