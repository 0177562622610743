//! The keys: what each accepts, and where its value goes.

use super::{Config, ConfigError};
use relay_control::Codec;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::level_filters::LevelFilter;

/// Tables of `ringvox.toml`; the first one is the relay's.
pub(super) const TABLES: [&str; 5] = ["relay", "signaling", "auth", "rooms", "media"];

/// Longest list (origins, codecs).
const LIST_MAX: usize = 100;

/// Table, key, what it accepts. The order is the one of the example file.
const KEYS: [(&str, &str, &str); 47] = [
    ("signaling", "bind", "an IP address; \"::\" means all addresses of IPv4 and IPv6"),
    ("signaling", "http_port", "a port from 0 to 65535; 0 takes any free one"),
    ("signaling", "https_port", "a port from 0 to 65535; 0 takes any free one"),
    ("signaling", "tls_cert", "a path to a PEM file"),
    ("signaling", "tls_key", "a path to a PEM file"),
    ("signaling", "data_dir", "a path to a directory"),
    ("signaling", "allowed_origins", "\"*\" or a list of origins such as \"https://example.com\""),
    ("signaling", "max_connections", "a number from 1 to 1000000"),
    ("signaling", "max_connections_per_address", "\"auto\" or a number from 1 to 1000000"),
    ("signaling", "max_unproved_streams", "a number from 1 to 1000000"),
    ("signaling", "max_unproved_streams_per_address", "a number from 1 to 1000000"),
    ("signaling", "proxies", "a list of IP addresses"),
    ("signaling", "forwarded_for", "true or false"),
    ("signaling", "health_counts", "true or false"),
    ("signaling", "message_bytes_max", "a number of bytes from 65536 to 1048576"),
    ("signaling", "send_queue_bytes_max", "a number of bytes from 65536 to 67108864"),
    ("signaling", "send_timeout_ms", "a number of milliseconds from 100 to 60000"),
    ("signaling", "messages_per_second", "a number from 1 to 100000"),
    ("signaling", "bytes_per_second", "a number of bytes from 16384 to 1073741824"),
    ("signaling", "max_rooms_per_connection", "a number from 1 to 1000"),
    ("signaling", "max_streams_per_connection", "a number from 1 to 10000"),
    ("signaling", "keep_alive_interval_ms", "a number of milliseconds from 100 to 60000"),
    ("signaling", "keep_alive_probes", "a number from 1 to 100"),
    ("signaling", "start_relay", "true or false"),
    ("signaling", "relay_binary", "a path to a program"),
    ("signaling", "stop_relay", "true or false"),
    ("signaling", "log", "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\""),
    ("auth", "mode", "\"open\", \"token\" or \"hook\""),
    ("auth", "token_algorithm", "\"HS256\", \"RS256\" or \"EdDSA\""),
    ("auth", "token_key", "a path to a file with the secret (HS256) or the public key in PEM"),
    ("auth", "token_issuer", "a text of 1 to 256 bytes"),
    ("auth", "token_audience", "a text of 1 to 256 bytes"),
    ("auth", "hook_url", "http://host:port/path or https://host/path, without user, query and fragment"),
    ("auth", "hook_timeout_ms", "a number of milliseconds from 100 to 5000"),
    ("auth", "hook_concurrency", "a number from 1 to 10000"),
    ("auth", "hook_on_failure", "\"refuse\" or \"allow\""),
    ("rooms", "room_idle_timeout_ms", "a number of milliseconds from 0 to 86400000"),
    ("rooms", "max_participants", "a number from 1 to 1000"),
    ("rooms", "max_rooms", "a number from 1 to 1000000"),
    ("rooms", "max_publish_streams", "a number from 1 to 64"),
    ("rooms", "max_play_streams", "a number from 1 to 1000"),
    ("rooms", "max_viewers", "a number from 0 to 100000"),
    ("rooms", "adopt_grace_ms", "a number of milliseconds from 0 to 3600000"),
    ("rooms", "resume_grace_ms", "a number of milliseconds from 0 to 3600000"),
    ("media", "video", "a list of \"vp8\" and \"h264\", most wanted first"),
    ("media", "audio", "a list of \"opus\", \"pcmu\" and \"pcma\", most wanted first"),
    ("media", "max_publish_bitrate_bps", "0 (the relay's default) or bit/s from 64000 to 1000000000"),
];

/// The one key of `[relay]` that we read.
const CONTROL_SOCKET: &str = "an absolute path of at most 100 octets";

impl Config {
    /// Takes the tables of a file's text.
    ///
    /// # Errors
    /// The first thing that is wrong, with the key's name and what it accepts.
    pub fn apply_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let file: toml::Table =
            text.parse().map_err(|why| ConfigError::Syntax(path.to_owned(), Box::new(why)))?;
        for (table, content) in &file {
            if !TABLES.contains(&table.as_str()) {
                return Err(ConfigError::UnknownTable(table.clone()));
            }
            let keys = content.as_table().ok_or_else(|| ConfigError::NotATable(table.clone()))?;
            for (key, value) in keys {
                if table == "relay" && key != "control_socket" {
                    continue; // The relay's own business; it checks it.
                }
                let written = format!("{table}.{key}");
                let values = texts(value).ok_or_else(|| bad_value(&written, value, accepted(table, key)))?;
                self.set(table, key, &written, &values)?;
            }
        }
        Ok(())
    }

    /// Sets one key from its textual values; `written` is the name that the person used.
    pub(super) fn set(
        &mut self,
        table: &str,
        key: &str,
        written: &str,
        values: &[String],
    ) -> Result<(), ConfigError> {
        let accepted = accepted(table, key).ok_or_else(|| ConfigError::UnknownKey {
            table: table.to_owned(),
            key: key.to_owned(),
            known: KEYS.iter().filter(|(t, ..)| *t == table).map(|(_, key, _)| *key).collect(),
        })?;
        let understood = match (key, values) {
            ("allowed_origins" | "proxies" | "video" | "audio", _) => self.set_list(key, values),
            (_, [value]) => match table {
                "signaling" => self.set_signaling(key, value),
                "auth" => self.auth.set(key, value),
                "rooms" => self.set_rooms(key, value),
                _ => self.set_other(key, value),
            },
            _ => None,
        };
        understood.ok_or_else(|| bad_value(written, format!("{:?}", values.join(", ")), Some(accepted)))
    }

    /// `None`: the value is not one that `key` accepts. The same in the three below.
    fn set_list(&mut self, key: &str, values: &[String]) -> Option<()> {
        if values.len() > LIST_MAX {
            return None;
        }
        match key {
            "video" => self.media.video = codecs(values, &VIDEO_CODECS)?,
            "audio" => self.media.audio = codecs(values, &AUDIO_CODECS)?,
            "proxies" => {
                let addresses =
                    values.iter().map(|value| value.parse::<IpAddr>().map(|ip| ip.to_canonical()));
                self.signaling.proxies = addresses.collect::<Result<_, _>>().ok()?;
            }
            _ if values == ["*"] => self.signaling.allowed_origins = None,
            _ => {
                let good = values.iter().all(|origin| is_origin(origin)) && !values.is_empty();
                self.signaling.allowed_origins = Some(values.to_vec()).filter(|_| good);
                self.signaling.allowed_origins.as_ref()?;
            }
        }
        Some(())
    }

    fn set_signaling(&mut self, key: &str, value: &str) -> Option<()> {
        let s = &mut self.signaling;
        match key {
            "bind" => s.bind = value.parse().ok()?,
            "http_port" => s.http_port = value.parse().ok()?,
            "https_port" => s.https_port = value.parse().ok()?,
            "tls_cert" => s.tls.get_or_insert_default().0 = path(value)?,
            "tls_key" => s.tls.get_or_insert_default().1 = path(value)?,
            "data_dir" => s.data_dir = path(value)?,
            "max_connections" => s.max_connections = number(value, 1..=1_000_000)?,
            "max_connections_per_address" if value == "auto" => s.max_connections_per_address = None,
            "max_connections_per_address" => {
                s.max_connections_per_address = Some(number(value, 1..=1_000_000)?);
            }
            "max_unproved_streams" => s.max_unproved_streams = number(value, 1..=1_000_000)?,
            "max_unproved_streams_per_address" => {
                s.max_unproved_streams_per_address = number(value, 1..=1_000_000)?;
            }
            "forwarded_for" => s.forwarded_for = value.parse().ok()?,
            "health_counts" => s.health_counts = value.parse().ok()?,
            "message_bytes_max" => s.message_bytes_max = number(value, (64 << 10)..=(1 << 20))?,
            "send_queue_bytes_max" => s.send_queue_bytes_max = number(value, (64 << 10)..=(64 << 20))?,
            "send_timeout_ms" => s.send_timeout = millis(value, 100..=60_000)?,
            "messages_per_second" => s.messages_per_second = number(value, 1..=100_000)?,
            "bytes_per_second" => s.bytes_per_second = number(value, (16 << 10)..=(1 << 30))?,
            "max_rooms_per_connection" => s.max_rooms_per_connection = number(value, 1..=1_000)?,
            "max_streams_per_connection" => s.max_streams_per_connection = number(value, 1..=10_000)?,
            "keep_alive_interval_ms" => s.keep_alive_interval = millis(value, 100..=60_000)?,
            "keep_alive_probes" => s.keep_alive_probes = number(value, 1..=100)?,
            "start_relay" => s.start_relay = value.parse().ok()?,
            "relay_binary" => s.relay_binary = Some(path(value)?),
            "stop_relay" => s.stop_relay = value.parse().ok()?,
            "log" => {
                let levels = ["off", "error", "warn", "info", "debug", "trace"];
                s.log = levels.contains(&value).then(|| value.parse::<LevelFilter>().ok())??;
            }
            _ => return None,
        }
        Some(())
    }

    fn set_rooms(&mut self, key: &str, value: &str) -> Option<()> {
        let r = &mut self.rooms;
        match key {
            "room_idle_timeout_ms" => r.room_idle_timeout = millis(value, 0..=86_400_000)?,
            "max_participants" => r.max_participants = number(value, 1..=1_000)?,
            "max_rooms" => r.max_rooms = number(value, 1..=1_000_000)?,
            "max_publish_streams" => r.max_publish_streams = number(value, 1..=64)?,
            "max_play_streams" => r.max_play_streams = number(value, 1..=1_000)?,
            "max_viewers" => r.max_viewers = number(value, 0..=100_000)?,
            "adopt_grace_ms" => r.adopt_grace = millis(value, 0..=3_600_000)?,
            "resume_grace_ms" => r.resume_grace = millis(value, 0..=3_600_000)?,
            _ => return None,
        }
        Some(())
    }

    fn set_other(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "control_socket" => {
                let path = PathBuf::from(value);
                self.control_socket = Some(path).filter(|p| p.is_absolute() && value.len() <= 100)?;
            }
            "max_publish_bitrate_bps" if value == "0" => self.media.max_publish_bitrate_bps = 0,
            "max_publish_bitrate_bps" => {
                self.media.max_publish_bitrate_bps = number(value, 64_000..=1_000_000_000)?;
            }
            _ => return None,
        }
        Some(())
    }
}

fn accepted(table: &str, key: &str) -> Option<&'static str> {
    if (table, key) == ("relay", "control_socket") {
        return Some(CONTROL_SOCKET);
    }
    KEYS.iter().find(|(t, k, _)| (*t, *k) == (table, key)).map(|(_, _, accepted)| *accepted)
}

pub(super) fn number<T: std::str::FromStr + PartialOrd>(value: &str, range: RangeInclusive<T>) -> Option<T> {
    value.parse().ok().filter(|n| range.contains(n))
}

pub(super) fn millis(value: &str, range: RangeInclusive<u64>) -> Option<Duration> {
    number(value, range).map(Duration::from_millis)
}

pub(super) fn path(value: &str) -> Option<PathBuf> {
    Some(PathBuf::from(value)).filter(|_| !value.is_empty())
}

/// `scheme://host` or `scheme://host:port`, as browsers write it: no path, no trailing slash.
fn is_origin(value: &str) -> bool {
    let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ', '?', '#', '@']))
}

/// Video codecs that can be passed through.
pub(crate) const VIDEO_CODECS: [Codec; 2] = [Codec::Vp8, Codec::H264];
/// Audio codecs that can be passed through.
pub(crate) const AUDIO_CODECS: [Codec; 3] = [Codec::Opus, Codec::Pcmu, Codec::Pcma];

/// By their names: each at most once, at least one.
pub(crate) fn codecs(values: &[String], known: &[Codec]) -> Option<Vec<Codec>> {
    let mut chosen = Vec::new();
    for value in values {
        let codec = *known.iter().find(|codec| codec_name(**codec) == value)?;
        if chosen.contains(&codec) {
            return None;
        }
        chosen.push(codec);
    }
    Some(chosen).filter(|chosen| !chosen.is_empty())
}

/// As settings, rooms and labels call it.
pub(crate) fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus",
        Codec::Pcmu => "pcmu",
        Codec::Pcma => "pcma",
        Codec::Vp8 => "vp8",
        Codec::H264 => "h264",
    }
}

fn bad_value(key: &str, value: impl ToString, accepted: Option<&'static str>) -> ConfigError {
    ConfigError::BadValue {
        key: key.to_owned(),
        value: value.to_string(),
        accepted: accepted.unwrap_or("a key that exists"),
    }
}

/// The textual form of a plain value or of a list of plain values.
fn texts(value: &toml::Value) -> Option<Vec<String>> {
    let plain = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    };
    match value {
        toml::Value::Array(list) => list.iter().map(plain).collect(),
        single => plain(single).map(|text| vec![text]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(text: &str) -> Result<Config, String> {
        let mut config = Config::default();
        config.apply_file(Path::new("ringvox.toml"), text).map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn good_values_are_taken() {
        let config = from_file(
            "[signaling]\nbind = \"127.0.0.1\"\nhttp_port = 0\nallowed_origins = [\"https://a.example\"]\n\
             start_relay = false\nsend_timeout_ms = 250\n[rooms]\nmax_participants = 3\n\
             [media]\nvideo = [\"h264\"]\n[relay]\nbase_port = 1\ncontrol_socket = \"/tmp/x.sock\"\n",
        )
        .expect("good");
        assert_eq!(config.signaling.bind.to_string(), "127.0.0.1");
        assert_eq!(config.signaling.http_port, 0);
        assert_eq!(config.signaling.allowed_origins, Some(vec!["https://a.example".to_owned()]));
        assert!(!config.signaling.start_relay);
        assert_eq!(config.signaling.send_timeout, Duration::from_millis(250));
        assert_eq!(config.rooms.max_participants, 3);
        assert_eq!(config.media.video, [Codec::H264]);
        assert_eq!(config.control_socket, Path::new("/tmp/x.sock"));
    }

    #[test]
    fn bad_ones_are_refused_with_the_key_and_what_it_accepts() {
        for (text, expected) in [
            (
                "[signaling]\nhttp_port = 70000",
                "signaling.http_port = \"70000\": give a port from 0 to 65535",
            ),
            ("[signaling]\nhttp_prot = 1", "unknown key signaling.http_prot; known are bind, http_port"),
            ("[rooms]\nmax_participants = 0", "rooms.max_participants = \"0\": give a number from 1 to 1000"),
            ("[rooms]\nmax_participants = [1, 2]", "rooms.max_participants = \"1, 2\": give a number"),
            ("[media]\nvideo = [\"av1\"]", "media.video = \"av1\": give a list of \"vp8\" and \"h264\""),
            ("[media]\nvideo = [\"vp8\", \"vp8\"]", "media.video"),
            ("[media]\naudio = []", "media.audio = \"\": give a list"),
            ("[media]\nmax_publish_bitrate_bps = 5", "give 0 (the relay's default) or"),
            ("[signaling]\nallowed_origins = [\"https://a.example/\"]", "signaling.allowed_origins"),
            ("[signaling]\nlog = \"loud\"", "signaling.log = \"loud\": give \"off\""),
            ("[signaling]\ntls_cert = 1.5", "signaling.tls_cert = 1.5: give a path"),
            ("[relay]\ncontrol_socket = \"x\"", "relay.control_socket = \"x\": give an absolute path"),
            ("[rooom]\n", "unknown table [rooom]; known are [relay], [signaling], [auth], [rooms], [media]"),
            ("[auth]\nmode = \"closed\"", "auth.mode = \"closed\": give \"open\", \"token\" or \"hook\""),
            ("[auth]\ntoken_algorithm = \"none\"", "auth.token_algorithm = \"none\": give \"HS256\""),
            ("[auth]\nhook_url = \"ftp://x\"", "auth.hook_url = \"ftp://x\": give http://"),
            ("[auth]\nhook_timeout_ms = 0", "auth.hook_timeout_ms"),
            ("rooms = 3", "rooms must be a table"),
            ("[rooms", "is not valid TOML"),
        ] {
            let error = from_file(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn every_key_of_the_list_has_a_place() {
        for (table, key, _) in KEYS {
            let tried = [
                "true",
                "1",
                "100",
                "70000",
                "::",
                "info",
                "x",
                "https://x",
                "vp8",
                "opus",
                "open",
                "HS256",
                "refuse",
                "20000",
                "auto",
            ];
            let taken = tried
                .iter()
                .any(|value| Config::default().set(table, key, key, &[(*value).to_owned()]).is_ok());
            assert!(taken, "{table}.{key}");
        }
    }

    #[test]
    fn the_example_file_shows_every_key_with_its_default() {
        let example = include_str!("../../../ringvox.toml.example");
        let setting = |line: &'static str| {
            let (key, _) = line.strip_prefix("# ")?.split_once(" = ")?;
            key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then_some(line.get(2..)?)
        };
        let has_no_default = |line: &str| {
            ["tls_", "relay_binary", "control_socket", "public_ip", "token_", "hook_url"]
                .iter()
                .any(|key| line.starts_with(key))
        };
        let uncommented: Vec<&str> = example
            .lines()
            .map(|line| setting(line).unwrap_or(line))
            .filter(|line| !line.starts_with('#') && !has_no_default(line))
            .collect();
        let uncommented = uncommented.join("\n");
        assert_eq!(from_file(&uncommented).as_ref(), Ok(&Config::default()), "{uncommented}");
        for (_, key, _) in KEYS {
            assert!(example.contains(&format!("# {key} = ")), "{key} is not in the example");
        }
    }
}
