//! A finished file, opened and read.
//!
//! Invariants
//! - Only a regular file that stands in the directory itself is opened: the name has no slash, and no
//!   symbolic link is followed to it.
//! - What is read ahead of the client is one buffer.

use super::range::{Representation, whole_seconds};
use crate::places::Place;
use axum::body::{Body, Bytes};
use futures_util::stream::unfold;
use recorder_control::is_file_name;
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// Octets read at a time.
const READ_BYTES: u64 = 64 << 10;

/// Opens a file of the directory. It blocks, as disks do.
///
/// # Errors
/// The system's; `NotFound` for what is none of ours.
pub(super) fn open_file(directory: &Path, name: &str) -> io::Result<(File, Representation)> {
    if !is_file_name(name) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let directory = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Not waiting for the other end, should it be a pipe.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(&directory, name, flags, Mode::empty()).map_err(|why| match why {
        Errno::LOOP => io::ErrorKind::NotFound.into(),
        why => io::Error::from(why),
    })?);
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let etag = format!("\"{:x}-{:x}.{:x}-{:x}\"", meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino());
    let modified = whole_seconds(meta.modified().unwrap_or(SystemTime::UNIX_EPOCH));
    Ok((file, Representation { len: meta.len(), etag, modified }))
}

/// So many octets of it, read as the client takes them. It holds its place as long as it takes.
///
/// # Errors
/// The system's.
pub(super) async fn body(file: File, first: u64, count: u64, place: Place) -> io::Result<Body> {
    let mut file = tokio::fs::File::from_std(file);
    file.set_max_buf_size(usize::try_from(READ_BYTES).unwrap_or(usize::MAX));
    file.seek(SeekFrom::Start(first)).await?;
    let octets = unfold((file, count, place), |(mut file, left, place)| async move {
        if left == 0 {
            return None;
        }
        let mut buffer = vec![0; usize::try_from(left.min(READ_BYTES)).unwrap_or(0)];
        let read = match file.read(&mut buffer).await {
            // Cut meanwhile: a client is told by a connection that ends too early.
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buffer.truncate(n);
                Ok(Bytes::from(buffer))
            }
            Err(why) => Err(why),
        };
        let left = read.as_ref().map_or(0, |octets| left.saturating_sub(octets.len() as u64));
        Some((read, (file, left, place)))
    });
    Ok(Body::from_stream(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_of_the_directory_are_opened() {
        let dir = tempfile::tempdir().expect("directory");
        let records = dir.path().join("records");
        fs::create_dir_all(records.join("folder")).expect("made");
        fs::write(records.join("a.webm"), "octets").expect("written");
        fs::write(dir.path().join("secret"), "s").expect("written");
        symlink(dir.path().join("secret"), records.join("link.webm")).expect("linked");
        symlink(records.join("a.webm"), records.join("inner.webm")).expect("linked");
        let status = std::process::Command::new("mkfifo").arg(records.join("pipe")).status();
        assert!(status.expect("mkfifo").success());
        let (_, found) = open_file(&records, "a.webm").expect("opened");
        assert_eq!(found.len, 6);
        for name in [
            "../secret",
            "/etc/passwd",
            "folder",
            "folder/",
            ".",
            "..",
            "",
            "a.webm/",
            "./a.webm",
            "a.webm\0",
            "link.webm",
            "inner.webm",
            "pipe",
            "nothing.webm",
            "%2e%2e/secret",
            ".work",
            "-a",
            "A.WEBM",
        ] {
            assert!(open_file(&records, name).is_err(), "{name}");
        }
    }
}
