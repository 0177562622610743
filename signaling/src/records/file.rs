//! A finished file, opened and read.
//!
//! Invariants
//! - Only a regular file that stands in the directory itself is opened: the name has no slash, and no
//!   symbolic link is followed to it.
//! - What is read ahead of the client is one buffer, beside what its connection holds.
//! - Whoever takes less of a file than one may does not keep its place.

use super::range::{Representation, whole_seconds};
use crate::idle::Pause;
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
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Octets read at a time.
const READ_BYTES: u64 = 64 << 10;
/// How long a client may take for [`WINDOW_BYTES_MIN`]. A player that has enough for now, and is cut, asks for the
/// rest when it needs it.
const WINDOW: Duration = Duration::from_secs(60);
/// Octets that a client takes of a file in each [`WINDOW`], at least: 35 kbit/s, that of speech.
const WINDOW_BYTES_MIN: u64 = 256 << 10;

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

/// So many octets of it, read as the client takes them. It holds its place as long as that takes, and as long as
/// it goes on: see [`WINDOW`].
///
/// # Errors
/// The system's.
pub(super) async fn body(
    file: File,
    first: u64,
    count: u64,
    (place, connection): (Place, Option<Pause>),
) -> io::Result<Body> {
    let mut file = tokio::fs::File::from_std(file);
    file.set_max_buf_size(usize::try_from(READ_BYTES).unwrap_or(usize::MAX));
    file.seek(SeekFrom::Start(first)).await?;
    let (to, from) = mpsc::channel(1);
    tokio::spawn(async move {
        // Not by the connection's own task: that one sleeps while its client takes nothing.
        let sent = send(file, count, to).await;
        drop(place);
        if let (Err(TooSlow), Some(connection)) = (sent, connection) {
            tracing::debug!("a recording was fetched too slowly: its connection is cut");
            connection.cut();
        }
    });
    Ok(Body::from_stream(unfold(from, |mut from| async { from.recv().await.map(|read| (read, from)) })))
}

/// The client has taken less than [`WINDOW_BYTES_MIN`] in a [`WINDOW`].
struct TooSlow;

async fn send(
    mut file: tokio::fs::File,
    mut left: u64,
    to: mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), TooSlow> {
    let (mut window, mut taken) = (Instant::now() + WINDOW, 0);
    while left > 0 {
        let Ok(reserved) = timeout_at(window, to.reserve()).await else {
            if taken < WINDOW_BYTES_MIN {
                return Err(TooSlow);
            }
            (window, taken) = (Instant::now() + WINDOW, 0);
            continue;
        };
        // Else the client has gone.
        let Ok(place) = reserved else { return Ok(()) };
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
        let octets = read.as_ref().map_or(0, |octets| octets.len() as u64);
        let is_last = read.is_err();
        (left, taken) = (left.saturating_sub(octets), taken + octets);
        place.send(read);
        if is_last {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Places;
    use futures_util::StreamExt;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

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

    const LONG: u64 = 64 << 20;

    async fn fetched(count: u64) -> (Arc<Places>, axum::body::BodyDataStream) {
        let file = tempfile::tempfile().expect("file");
        file.set_len(count).expect("long");
        let places = Places::new(1, 1);
        let place = places.take(None).expect("a place");
        let body = body(file, 0, count, (place, None)).await.expect("read");
        (places, body.into_data_stream())
    }

    async fn take(octets: &mut axum::body::BodyDataStream, count: u64) {
        let mut taken = 0;
        while taken < count {
            taken += octets.next().await.expect("more").expect("read").len() as u64;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_too_little_loses_his_place_and_whoever_takes_enough_does_not() {
        let (places, mut octets) = fetched(LONG).await;
        tokio::time::sleep(WINDOW / 2).await;
        for window in 0..10 {
            take(&mut octets, WINDOW_BYTES_MIN + READ_BYTES).await;
            tokio::time::sleep(WINDOW).await;
            assert!(places.take(None).is_err(), "window {window}");
        }
        for _ in 0..2 {
            take(&mut octets, READ_BYTES).await;
            tokio::time::sleep(WINDOW / 6).await;
        }
        tokio::time::sleep(WINDOW).await;
        assert!(places.take(None).is_ok());
        // It ends before all has come.
        let mut rest = 0;
        while let Some(more) = octets.next().await {
            rest += more.expect("read").len() as u64;
        }
        assert!(rest <= 2 * READ_BYTES, "{rest}");
        // One that takes nothing at all has one window.
        let (places, _octets) = fetched(LONG).await;
        tokio::time::sleep(WINDOW - Duration::from_secs(1)).await;
        assert!(places.take(None).is_err());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(places.take(None).is_ok());
    }

    #[tokio::test]
    async fn a_file_comes_whole_and_gives_its_place_back() {
        let (places, octets) = fetched(10 * READ_BYTES + 1).await;
        let all: Vec<_> = octets.collect().await;
        let octets: usize = all.iter().map(|octets| octets.as_ref().expect("read").len()).sum();
        assert_eq!(octets as u64, 10 * READ_BYTES + 1);
        places.all_free().await;
        // And if its client goes.
        let (places, octets) = fetched(LONG).await;
        drop(octets);
        places.all_free().await;
    }
}
