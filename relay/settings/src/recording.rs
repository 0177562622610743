//! The recorder's part of `[recording]`. It is here and not in the recorder because signaling checks it as
//! well: a wrong value is to be told when the server is started, and not by a program that it starts again
//! and again.

use crate::{number, one_of, path, recording_directory, single};
use std::path::PathBuf;
use std::time::Duration;

/// Seconds of an hour.
const HOUR: u64 = 3_600;

/// How much of the disk stays free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinFree {
    /// A twentieth of it, or 1 GiB if that is less.
    Auto,
    /// So many octets.
    Bytes(u64),
    /// So much of its size.
    Percent(u8),
}

impl MinFree {
    /// In octets, of a disk of this size.
    #[must_use]
    pub fn bytes(self, size: u64) -> u64 {
        match self {
            Self::Auto => (size / 20).min(1 << 30),
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => size / 100 * u64::from(percent),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('%') {
            _ if text == "auto" => Some(Self::Auto),
            Some(percent) => percent.parse().ok().filter(|percent| *percent <= 90).map(Self::Percent),
            None => text.parse().ok().map(Self::Bytes),
        }
    }
}

/// What sound an MP4 gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mp4Audio {
    /// What every player has.
    Aac,
    /// As it was published, where that was Opus.
    Opus,
}

/// The program that is started with the file of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomScript {
    /// `on_multiple_record_hook.sh` beside our program, if it is there.
    Own,
    /// None.
    No,
    /// Another one.
    Path(PathBuf),
}

crate::settings! {
    /// `[recording]`, as far as it is the recorder's.
    pub struct Recording in "recording" {
        /// Room on the disk below which nothing is recorded: all recordings are paused until there is more
        /// again. "auto" is a twentieth of the disk, at most 1 GiB.
        min_free: MinFree = "auto",
            single("\"auto\", a number of bytes, or a percentage from \"0%\" to \"90%\"", "SIZE", MinFree::parse);
        /// Finished recordings that are older are removed.
        max_age + "_hours": Option<Duration> = 0, number("a number of hours", 1..=876_000)
            .map(|hours: u64| Some(Duration::from_secs(hours * HOUR)))
            .or("0", "0 (they are kept)", None);
        /// Of finished recordings the oldest are removed while all together have more bytes.
        max_total + "_bytes": Option<u64> = 0,
            number("a number of bytes", 1..=i64::MAX as u64).map(Some).or("0", "0 (any number)", None);
        /// Recordings whose files are made at a time, when they have ended.
        finishers: usize = 1, number("a number", 1..=64);
        /// Sound of MP4 files (H.264). "opus" is copied where it was published as Opus; not all players have
        /// it.
        mp4_audio: Mp4Audio = "aac", one_of(&[("aac", Mp4Audio::Aac), ("opus", Mp4Audio::Opus)]);
        /// A program that is started when a stream's file is ready, with the stream's whole name, as its
        /// client gave it, and the file's path as arguments, without a shell, in the directory of
        /// recordings.
        on_record_hook_script: Option<PathBuf> = (None, "/etc/ringvox/on_record_hook.sh"),
            path("a program").map(Some);
        /// A program that is started when a room's file is ready, with the file's path as its argument,
        /// without a shell, in the directory of recordings. "mix" is on_multiple_record_hook.sh beside
        /// ringvox-recorder, which mixes the room into one picture; "none" leaves it as it is.
        on_multiple_record_hook_script: RoomScript = "mix", path("a program").map(RoomScript::Path)
            .or("none", "\"none\"", RoomScript::No)
            .or("mix", "\"mix\"", RoomScript::Own);
        /// FFmpeg, which makes MP4 files and mixes; ffprobe stands beside it.
        ffmpeg: PathBuf = "ffmpeg", path("a program");
        /// A directory with flashphoner.properties and offline_mixer.json of WCS, whose keys for recording
        /// count where this file does not say them.
        wcs_directory: Option<PathBuf> = (None, "/usr/local/FlashphonerWebCallServer/conf"),
            path("a directory").map(Some);
        with directory: Option<PathBuf> = None, recording_directory;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_free() {
        for (text, size, want) in [
            ("auto", 1 << 40, 1 << 30),
            ("auto", 64 << 20, (64 << 20) / 20),
            ("0", 1 << 40, 0),
            ("5000", 1 << 40, 5_000),
            ("10%", 1_000, 100),
        ] {
            assert_eq!(MinFree::parse(text).expect(text).bytes(size), want, "{text}");
        }
    }
}
