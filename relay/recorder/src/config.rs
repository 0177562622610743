//! Settings: what the recorder reads of the `[recording]` table of `ringvox.toml`. The other keys of that
//! table are signaling's.

use relay_control::{default_control_socket, port_socket};
use relay_settings::{Key, control_socket, number, one_of, path, recording_directory, settings, single};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use relay_settings::{Error as ConfigError, Settings};

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

settings! {
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
        /// A program that is started when a stream's file is ready, with the stream's name and the file's
        /// path as arguments, without a shell, in the directory of recordings.
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

/// What the recorder was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is recorded, and how it is kept.
    pub recording: Recording,
    /// The relay's control socket, beside which the others are.
    pub relay_socket: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self { recording: Recording::default(), relay_socket: default_control_socket() }
    }
}

impl Settings for Config {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let mut keys = vec![control_socket(&mut self.relay_socket)];
        let mut own = self.recording.keys();
        // The directory first: without it the others do nothing.
        own.rotate_right(1);
        keys.extend(own);
        keys
    }
}

impl Config {
    /// The defaults and the file; see [`relay_settings::read`].
    ///
    /// # Errors
    /// The first thing that is wrong, with the key's name and what it accepts.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        relay_settings::read(file).map(|(config, _)| config)
    }

    /// Where the relay gives tracks.
    #[must_use]
    pub fn port_socket(&self) -> PathBuf {
        port_socket(&self.relay_socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_text(text: &str) -> Result<Config, String> {
        Config::from_text(Path::new("ringvox.toml"), text).map_err(|why| why.to_string())
    }

    #[test]
    fn every_key_is_understood() {
        let text = r#"
            [relay]
            control_socket = "/run/x/relay.sock"
            shards = 3
            [recording]
            directory = "/records"
            min_free = "10%"
            max_age_hours = 24
            max_total_bytes = 1000000000
            finishers = 2
            mp4_audio = "opus"
            on_record_hook_script = "/bin/a"
            on_multiple_record_hook_script = "none"
            ffmpeg = "/usr/bin/ffmpeg"
            wcs_directory = "/wcs"
            record_all_streams = true
        "#;
        let config = from_text(text).expect("good");
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(config.port_socket(), Path::new("/run/x/relay-ports.sock"));
        let want = Recording {
            directory: path("/records"),
            min_free: MinFree::Percent(10),
            max_age: Some(Duration::from_secs(86_400)),
            max_total: Some(1_000_000_000),
            finishers: 2,
            mp4_audio: Mp4Audio::Opus,
            on_record_hook_script: path("/bin/a"),
            on_multiple_record_hook_script: RoomScript::No,
            ffmpeg: "/usr/bin/ffmpeg".into(),
            wcs_directory: path("/wcs"),
        };
        assert_eq!(config.recording, want);
    }

    #[test]
    fn a_refusal_names_the_key_and_what_it_accepts() {
        for (text, want) in [
            ("min_free = \"91%\"", "recording.min_free = \"91%\": give \"auto\", a number of bytes, or"),
            ("min_fre = 1", "unknown key recording.min_fre; known are directory, "),
            ("finishers = 0", "recording.finishers = \"0\": give a number from 1 to 64"),
        ] {
            let refused = from_text(&format!("[recording]\n{text}")).expect_err("refused");
            assert!(refused.starts_with(want), "{refused}");
        }
    }

    #[test]
    fn what_wcs_says_counts_where_we_say_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (conf, bin) = (folder.path().join("conf"), folder.path().join("bin"));
        std::fs::create_dir_all(&conf).expect("made");
        std::fs::create_dir_all(&bin).expect("made");
        let hook = bin.join("on_record_hook.sh");
        std::fs::write(&hook, "").expect("written");
        let properties =
            "on_record_hook_script=on_record_hook.sh\non_multiple_record_hook_script = \\\n gone.sh\n";
        std::fs::write(conf.join("flashphoner.properties"), properties).expect("written");
        let text = format!("[recording]\nwcs_directory = \"{}\"\n", conf.display());
        let read = from_text(&text).expect("good").recording;
        assert_eq!(read.on_record_hook_script, Some(hook));
        assert_eq!(read.on_multiple_record_hook_script, RoomScript::Own);
        let told = relay_settings::take_told();
        assert!(told.iter().any(|told| told.contains("\"gone.sh\": there is no such file")), "{told:?}");
        let read = from_text(&format!("{text}on_record_hook_script = \"/bin/a\"")).expect("good").recording;
        assert_eq!(read.on_record_hook_script, Some("/bin/a".into()));
    }

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
