//! Removing a recording, so that nothing of it stays whatever dies meanwhile, and what dies meanwhile leaves.
//!
//! Invariants
//! - The description of a finished file goes first, to a name by which the next start knows that the rest is
//!   to go. The file goes before its mix: who makes a mix looks for the file when the mix has its name.
//! - What has a description of its own is not removed with another one.
//!
//! Deliberately absent: which recordings are removed.

use crate::folder::{description, hook_path, mix_name, read_json, work_folder};
use crate::mix;
use recorder_control::{FILE_NAME_BYTES_MAX, Recording, State, is_file_name};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

const ENDING: &str = ".json.removing";
/// Behind a name: the new description, before it takes the place of the old one.
const NEW: &str = ".json.new";

/// Removes a finished recording, or one that has failed. What is not there is passed over.
///
/// # Errors
/// If the disk refuses; the next start goes on with it.
pub fn remove(directory: &Path, recording: &Recording) -> io::Result<()> {
    gone(fs::remove_dir_all(work_folder(directory, &recording.id)))?;
    gone(fs::remove_file(hook_path(directory, &recording.id)))?;
    if recording.state == State::Ready && is_file_name(&recording.file) {
        let removing = directory.join(format!(".{}{ENDING}", recording.file));
        gone(fs::rename(description(directory, &recording.file), &removing))?;
        remove_files(directory, recording)?;
        gone(fs::remove_file(removing))?;
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn remove_files(directory: &Path, recording: &Recording) -> io::Result<()> {
    gone(fs::remove_file(directory.join(&recording.file)))?;
    // Told of or not, it has this name.
    let Some(mix) = mix_name(directory, recording).map(|name| directory.join(name)) else { return Ok(()) };
    mix::clear(&mix)?;
    gone(fs::remove_file(mix))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// What processes that died have left in the directory, but for recordings: removals are finished, and what
/// is half written goes. `is_mixed_again`: whether somebody is about to make this mix, who finds what was
/// left of it.
///
/// # Errors
/// If the directory cannot be read.
pub fn clean(directory: &Path, is_mixed_again: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let Some(hidden) = name.to_str().and_then(|name| name.strip_prefix('.')) else { continue };
        let of = |ending: &str| {
            let file = hidden.strip_suffix(ending);
            file.filter(|file| is_file_name(file) && file.len() <= FILE_NAME_BYTES_MAX)
        };
        let cleaned = if let Some(file) = of(ENDING) {
            go_on(directory, file, &path)
        } else if of(NEW).is_some() {
            fs::remove_file(&path)
        } else if let Some(mix) = name.to_str().and_then(mix::is_made_in).filter(|mix| is_file_name(mix)) {
            if is_mixed_again(mix) { Ok(()) } else { mix::clear(&directory.join(mix)) }
        } else {
            Ok(())
        };
        if let Err(why) = cleaned {
            tracing::error!("{} stays: {why}", path.display());
        }
    }
    Ok(())
}

/// With a removal that did not come to its end.
fn go_on(directory: &Path, file: &str, removing: &Path) -> io::Result<()> {
    // Where there is a description, another recording has got the name.
    let read = read_json::<Recording>(removing).filter(|read| read.file == file);
    if let Some(recording) = read.filter(|_| !description(directory, file).exists()) {
        tracing::warn!("{file} was being removed: the rest of it goes");
        remove_files(directory, &recording)?;
    }
    fs::remove_file(removing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use recorder_control::Kind;
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    fn recording(file: &str, kind: Kind) -> Recording {
        Recording { state: State::Ready, ..Recording::new("0123456789abcdef", kind, file, 0) }
    }

    fn write(directory: &Path, names: &[&str]) {
        for name in names {
            fs::write(directory.join(name), "something").expect("written");
        }
    }

    fn names(directory: &Path) -> BTreeSet<String> {
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.expect("read").file_name().into_string().expect("one of ours")
        };
        fs::read_dir(directory).expect("read").map(name).collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// With a mix that nobody has told of, and others of like names that are somebody's.
    #[test]
    fn a_room_goes_with_its_mix_and_with_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let others = ["a-2.mkv", "a-2.mkv.json", "a-2.mp4", "b.mp4", "b.mp4.json", "a.webm"];
        for (kind, files, left) in [
            (Kind::Room, &["a.mkv", "a.mkv.json", "a.mp4"][..], &[][..]),
            (Kind::Room, &["a.mkv", "a.mkv.json"], &[]),
            // It is another recording.
            (Kind::Room, &["a.mkv", "a.mkv.json", "a.mp4", "a.mp4.json"], &["a.mp4", "a.mp4.json"]),
            (Kind::Stream, &["a.mkv", "a.mkv.json", "a.mp4"], &["a.mp4"]),
        ] {
            write(folder.path(), &[files, &others[..]].concat());
            let work = folder.path().join(".a.mp4.mixing");
            fs::create_dir_all(&work).expect("made");
            write(&work, &["sound.mp4"]);
            remove(folder.path(), &recording("a.mkv", kind)).expect("removed");
            let has_work = kind == Kind::Stream || !left.is_empty();
            assert_eq!(work.exists(), has_work, "{files:?}");
            let _ = fs::remove_dir_all(work);
            assert_eq!(names(folder.path()), set(&[left, &others[..]].concat()), "{files:?}");
            left.iter().for_each(|name| fs::remove_file(folder.path().join(name)).expect("there"));
        }
    }

    /// Killed behind each step, and started again.
    #[test]
    fn a_removal_that_was_begun_is_finished() {
        let one = recording("a.mkv", Kind::Room);
        let text = serde_json::to_vec(&one).expect("plain");
        for left in [&["a.mkv", "a.mp4"][..], &["a.mp4"], &[]] {
            let folder = tempfile::tempdir().expect("a folder");
            write(folder.path(), left);
            fs::write(folder.path().join(".a.mkv.json.removing"), &text).expect("written");
            clean(folder.path(), |_| false).expect("cleaned");
            assert_eq!(names(folder.path()), set(&[]), "{left:?}");
        }
        // Meanwhile another one has got the name.
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), &["a.mkv", "a.mkv.json"]);
        fs::write(folder.path().join(".a.mkv.json.removing"), &text).expect("written");
        clean(folder.path(), |_| false).expect("cleaned");
        assert_eq!(names(folder.path()), set(&["a.mkv", "a.mkv.json"]));
    }

    #[test]
    fn what_is_half_written_goes_and_what_is_being_written_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), &[".a.mkv.json.new", ".profile", ".b.json", "c.mkv", ".x y.json.new"]);
        let made: Vec<PathBuf> =
            ["dead", "again", "live"].map(|name| folder.path().join(format!(".{name}.mp4.mixing"))).into();
        for folder in &made {
            fs::create_dir(folder).expect("made");
            write(folder, &["lock", "whole.mp4"]);
        }
        let lock = File::open(made[2].join("lock")).expect("there");
        lock.lock().expect("free");
        assert!(mix::is_being_made(&folder.path().join("live.mp4")));
        assert!(!mix::is_being_made(&folder.path().join("dead.mp4")));
        clean(folder.path(), |mix| mix == "again.mp4").expect("cleaned");
        let left = [".again.mp4.mixing", ".b.json", ".live.mp4.mixing", ".profile", ".x y.json.new", "c.mkv"];
        assert_eq!(names(folder.path()), set(&left));
    }
}
