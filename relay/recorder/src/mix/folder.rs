//! The folder in which a mix is made.
//!
//! Invariants
//! - It lies beside the file that is wanted, so that what is made needs only get its name.
//! - It is locked as long as somebody works in it; what is in one that is not locked was left by somebody who
//!   died, and is of use to nobody.

use super::source::Source;
use std::ffi::OsString;
use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const ENDING: &str = ".mixing";

/// `None`: the path names no file.
fn folder_of(output: &Path) -> Option<PathBuf> {
    let mut hidden = OsString::from(".");
    hidden.push(output.file_name()?);
    hidden.push(ENDING);
    Some(output.with_file_name(hidden))
}

/// The name of the mix that is made in a folder of this name.
#[must_use]
pub fn is_made_in(folder: &str) -> Option<&str> {
    folder.strip_prefix('.')?.strip_suffix(ENDING)
}

/// Whether somebody is making this file.
#[must_use]
pub fn is_being_made(output: &Path) -> bool {
    let lock = folder_of(output).and_then(|folder| File::open(folder.join(LOCK)).ok());
    lock.is_some_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Removes what somebody who has died left of the making of this file.
///
/// # Errors
/// If the disk refuses.
pub fn clear(output: &Path) -> io::Result<()> {
    let Some(folder) = folder_of(output).filter(|folder| folder.is_dir()) else { return Ok(()) };
    // Held while it is removed.
    match lock(&folder)? {
        Some(_lock) => fs::remove_dir_all(folder),
        None => Ok(()),
    }
}

/// `None`: somebody works there.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let lock = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(why)) => Err(why),
    }
}

/// The folder in which a file is made, beside it, so that it needs only get its name.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Locked while we are there.
    _lock: File,
}

impl Folder {
    pub(super) fn make(output: &Path) -> io::Result<Self> {
        let path = folder_of(output).ok_or(io::ErrorKind::IsADirectory)?;
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists && path.symlink_metadata()?.is_dir() => {}
            Err(why) => return Err(why),
        }
        fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        let lock = lock(&path)?.ok_or_else(|| io::Error::other("it is being mixed already"))?;
        // Who was here before has died.
        for entry in fs::read_dir(&path)?.flatten().filter(|entry| entry.file_name() != LOCK) {
            fs::remove_file(entry.path())?;
        }
        Ok(Self { path, _lock: lock })
    }

    /// Gives a file of it its name, when it is on the disk.
    pub(super) fn publish(&self, name: &str, output: &Path, source: &Source) -> io::Result<()> {
        source.check()?;
        let made = self.path.join(name);
        let file = File::open(&made)?;
        file.set_permissions(Permissions::from_mode(0o640))?;
        file.sync_all()?;
        fs::rename(&made, output)?;
        // Whoever removes a recording removes its mix behind its file: one of both has seen the other.
        if let Err(why) = source.check() {
            fs::remove_file(output)?;
            return Err(why);
        }
        let directory = output.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(why) = fs::remove_dir_all(&self.path) {
            tracing::warn!("{}: {why}", self.path.display());
        }
    }
}
