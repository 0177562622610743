//! Settings: what the recorder reads of the `[recording]` table of `ringvox.toml`. The other keys of that
//! table are signaling's.

use relay_control::{default_control_socket, port_socket};
use relay_settings::{Key, control_socket};
use std::path::{Path, PathBuf};

pub use relay_settings::recording::{MinFree, Mp4Audio, Recording, RoomScript};
pub use relay_settings::{Error as ConfigError, Settings};

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
    use std::time::Duration;

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
        let ours =
            format!("{text}on_record_hook_script = \"/bin/a\"\non_multiple_record_hook_script = \"none\"\n");
        let properties = format!("{properties}record_dir = /r\nrecord_rotation=1\nport_from=1\n");
        std::fs::write(conf.join("flashphoner.properties"), properties).expect("written");
        let read = from_text(&ours).expect("good").recording;
        assert_eq!(read.on_record_hook_script, Some("/bin/a".into()));
        // What ours overrides is no news; what does nothing is told in one line.
        let mut told = relay_settings::take_told();
        told.retain(|told| told.contains(folder.path().to_str().expect("text")));
        assert!(told.len() == 1 && told[0].contains(": record_dir, record_rotation count for"), "{told:?}");
    }
}
