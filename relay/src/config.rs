//! Settings: the `[relay]` table of `ringvox.toml`, then the command line on top of it. Read once, checked once.
//!
//! Every key has a default, and a flag of the same name (`base_port` is `--base-port`). Both go through
//! `Config::set`, so a bad value is refused with the same words wherever it was written. The tables of signaling
//! in the same file are none of our business and are not looked into.

use relay_control::default_control_socket;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use tracing::level_filters::LevelFilter;

/// Tables of `ringvox.toml`; ours is the first.
const TABLES: [&str; 5] = ["relay", "signaling", "auth", "rooms", "media"];

/// More shards than this are a typing error: a shard takes a core and a port.
pub const SHARDS_MAX: u32 = 256;

/// As many addresses as are useful in one answer.
pub const PUBLIC_IPS_MAX: usize = 8;

/// A longer hold would be heard.
const MAX_HOLD_US_MAX: u32 = 5_000;
/// Default of [`Config::room_transports_per_shard`]. A keyframe of 100 packets to 64 subscribers keeps a core busy for about
/// 5 ms, which is as long as one room should hold up the others on its core.
pub const ROOM_TRANSPORTS_PER_SHARD: usize = 64;

/// The file that is read when `--config` does not name one.
const DEFAULT_FILE: &str = "ringvox.toml";

/// Which back end moves the datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoChoice {
    /// io_uring if the kernel allows it, else the other.
    Auto,
    /// io_uring, or refuse to start.
    Uring,
    /// recvmmsg, sendmmsg and epoll.
    Mmsg,
}

/// Whether loopback addresses are candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    /// Yes, as the last ones, unless `public_ip` says what to advertise.
    Auto,
    /// Always, as the last ones.
    Yes,
    /// Only if the machine has no other address.
    No,
}

/// What the relay was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Back end.
    pub io: IoChoice,
    /// Number of shards; `None`: one per core this process may use.
    pub shards: Option<u32>,
    /// UDP port of shard 0; shard `n` has this plus `n`.
    pub base_port: u16,
    /// Address the UDP sockets are bound to; `::` means all addresses of both families.
    pub bind: IpAddr,
    /// Addresses under which a 1:1 NAT makes this machine reachable.
    pub public_ip: Vec<IpAddr>,
    /// Loopback candidates.
    pub advertise_loopback: Loopback,
    /// Unix socket of the control connections.
    pub control_socket: PathBuf,
    /// Most verbose level that is logged.
    pub log: LevelFilter,
    /// What a publisher may send if signaling names no bound, bit/s.
    pub max_receive_bitrate_bps: u64,
    /// For how long a busy shard's waits may gather datagrams, in microseconds.
    pub max_hold_us: u32,
    /// Transports of one room on one shard before its next ones go to another shard.
    pub room_transports_per_shard: usize,
    /// Seal for four subscribers at once, where the processor can.
    pub four_key_cipher: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            io: IoChoice::Auto,
            shards: None,
            base_port: 10_000,
            bind: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            public_ip: Vec::new(),
            advertise_loopback: Loopback::Auto,
            control_socket: default_control_socket(),
            log: LevelFilter::INFO,
            max_receive_bitrate_bps: 4_000_000,
            max_hold_us: 500,
            room_transports_per_shard: ROOM_TRANSPORTS_PER_SHARD,
            four_key_cipher: true,
        }
    }
}

/// The keys of `[relay]` with what each accepts. The order is the one of the example file.
const KEYS: [(&str, &str); 12] = [
    ("io", "\"auto\", \"uring\" or \"mmsg\""),
    ("shards", "\"auto\" (one per core) or a number from 1 to 256"),
    ("base_port", "a port from 1 to 65535"),
    ("bind", "an IP address; \"::\" means all addresses of IPv4 and IPv6"),
    ("public_ip", "an IP address that clients can reach, or a list of at most 8 of them"),
    ("advertise_loopback", "\"auto\", \"yes\" or \"no\""),
    ("control_socket", "an absolute path of at most 100 octets"),
    ("log", "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\""),
    ("max_receive_bitrate_bps", "a number of bit/s from 64000 to 1000000000"),
    ("max_hold_us", "a number of microseconds from 0 to 5000"),
    ("room_transports_per_shard", "a number of transports from 1 to 1000000"),
    ("four_key_cipher", "\"auto\" or \"off\""),
];

/// Why the settings were refused.
#[derive(Debug)]
pub enum ConfigError {
    /// The file named by `--config` cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// It is no TOML.
    Syntax(PathBuf, Box<toml::de::Error>),
    /// A table that neither program knows.
    UnknownTable(String),
    /// A key that is not in `[relay]`.
    UnknownKey(String),
    /// A value that the key does not accept.
    BadValue {
        /// As it was written: `relay.shards` or `--shards`.
        key: String,
        /// What stands there.
        value: String,
        /// What may stand there.
        accepted: &'static str,
    },
    /// Port numbers run out.
    TooManyPorts {
        /// UDP port of shard 0.
        base_port: u16,
        /// Number of shards.
        shards: u32,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            Self::Syntax(path, why) => write!(f, "{} is not valid TOML: {why}", path.display()),
            Self::UnknownTable(name) => {
                write!(f, "unknown table [{name}]; known are [{}]", TABLES.join("], ["))
            }
            Self::UnknownKey(key) => {
                let known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
                write!(f, "unknown key relay.{key}; known are {}", known.join(", "))
            }
            Self::BadValue { key, value, accepted } => write!(f, "{key} = {value}: give {accepted}"),
            Self::TooManyPorts { base_port, shards } => write!(
                f,
                "relay.base_port = {base_port} leaves no room for {shards} shards, one port each, below 65536"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Flags of the command line, as typed.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Flags {
    /// Settings file [default: ringvox.toml in the current directory, if there is one]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// How datagrams are moved: auto, uring or mmsg [default: auto]
    #[arg(long, value_name = "BACKEND")]
    pub io: Option<String>,
    /// Number of shards, each with a core and a port [default: auto, one per core]
    #[arg(long, value_name = "N")]
    pub shards: Option<String>,
    /// UDP port of the first shard, the others follow [default: 10000]
    #[arg(long, value_name = "PORT")]
    pub base_port: Option<String>,
    /// Address to bind the UDP ports to [default: ::, all of IPv4 and IPv6]
    #[arg(long, value_name = "IP")]
    pub bind: Option<String>,
    /// Address under which a 1:1 NAT makes this machine reachable; may be repeated
    #[arg(long, value_name = "IP")]
    pub public_ip: Vec<String>,
    /// Whether 127.0.0.1 and ::1 are candidates: auto, yes or no [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub advertise_loopback: Option<String>,
    /// Control socket [default: relay.sock in $RUNTIME_DIRECTORY, /run/ringvox, $XDG_RUNTIME_DIR/ringvox or
    /// /tmp/ringvox-UID, the first that is ours]
    #[arg(long, value_name = "PATH", global = true)]
    pub control_socket: Option<String>,
    /// Log level on standard error: off, error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// What a publisher may send if signaling sets no bound, bit/s [default: 4000000]
    #[arg(long, value_name = "BPS")]
    pub max_receive_bitrate_bps: Option<String>,
    /// How long a busy shard may gather datagrams, in microseconds; 0: not at all [default: 500]
    #[arg(long, value_name = "US")]
    pub max_hold_us: Option<String>,
    /// Transports of one room on one shard before its next ones go to another shard [default: 64]
    #[arg(long, value_name = "N")]
    pub room_transports_per_shard: Option<String>,
    /// Whether four subscribers are sealed for at once where the processor can: auto or off [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub four_key_cipher: Option<String>,
}

impl Config {
    /// The defaults, the file, then the flags.
    ///
    /// # Errors
    /// The first thing that is wrong, with the key's name and what it accepts.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let (path, required) = match &flags.config {
            Some(path) => (path.as_path(), true),
            None => (Path::new(DEFAULT_FILE), false),
        };
        match std::fs::read_to_string(path) {
            Ok(text) => config.apply_file(path, &text)?,
            Err(why) if required || why.kind() != std::io::ErrorKind::NotFound => {
                return Err(ConfigError::Unreadable(path.to_owned(), why));
            }
            Err(_) => {}
        }
        config.apply_flags(flags)?;
        config.check_ports(config.shards.unwrap_or(1))?;
        Ok(config)
    }

    /// Takes the `[relay]` table of a file's text.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn apply_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let file: toml::Table =
            text.parse().map_err(|why| ConfigError::Syntax(path.to_owned(), Box::new(why)))?;
        if let Some(name) = file.keys().find(|name| !TABLES.contains(&name.as_str())) {
            return Err(ConfigError::UnknownTable(name.clone()));
        }
        let Some(relay) = file.get("relay") else { return Ok(()) };
        let Some(relay) = relay.as_table() else {
            return Err(bad_value("relay", &relay.to_string(), "a table: [relay]"));
        };
        for (key, value) in relay {
            let values = texts(value).ok_or_else(|| {
                bad_value(&format!("relay.{key}"), &value.to_string(), accepted(key).unwrap_or("no table"))
            })?;
            self.set(key, &format!("relay.{key}"), &values)?;
        }
        Ok(())
    }

    fn apply_flags(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        let single = [
            ("io", &flags.io),
            ("shards", &flags.shards),
            ("base_port", &flags.base_port),
            ("bind", &flags.bind),
            ("advertise_loopback", &flags.advertise_loopback),
            ("control_socket", &flags.control_socket),
            ("log", &flags.log),
            ("max_receive_bitrate_bps", &flags.max_receive_bitrate_bps),
            ("max_hold_us", &flags.max_hold_us),
            ("room_transports_per_shard", &flags.room_transports_per_shard),
            ("four_key_cipher", &flags.four_key_cipher),
        ];
        for (key, value) in single {
            if let Some(value) = value {
                self.set(key, &flag_name(key), std::slice::from_ref(value))?;
            }
        }
        if !flags.public_ip.is_empty() {
            self.set("public_ip", &flag_name("public_ip"), &flags.public_ip)?;
        }
        Ok(())
    }

    /// Sets one key from its textual values; `written_as` is the name the person used.
    fn set(&mut self, key: &str, written_as: &str, values: &[String]) -> Result<(), ConfigError> {
        let accepted = accepted(key).ok_or_else(|| ConfigError::UnknownKey(key.to_owned()))?;
        let understood = match values {
            _ if key == "public_ip" => self.set_public_ip(values),
            [value] => self.set_single(key, value),
            _ => None,
        };
        understood.ok_or_else(|| bad_value(written_as, &format!("{:?}", values.join(", ")), accepted))
    }

    fn set_public_ip(&mut self, values: &[String]) -> Option<()> {
        let addresses = values.iter().map(|v| v.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified()));
        let addresses: Vec<IpAddr> = addresses.collect::<Option<_>>()?;
        self.public_ip = Some(addresses).filter(|a| a.len() <= PUBLIC_IPS_MAX)?;
        Some(())
    }

    /// `None`: the value is not one that `key` accepts.
    fn set_single(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "io" => self.io = choose(value, &IO_CHOICES)?,
            "shards" if value == "auto" => self.shards = None,
            "shards" => self.shards = Some(value.parse().ok().filter(|n| (1..=SHARDS_MAX).contains(n))?),
            "base_port" => self.base_port = value.parse().ok().filter(|port| *port > 0)?,
            "bind" => self.bind = value.parse().ok()?,
            "advertise_loopback" => self.advertise_loopback = choose(value, &LOOPBACK_CHOICES)?,
            "control_socket" => self.control_socket = socket_path(value)?,
            "log" => self.log = choose(value, &LOG_CHOICES)?,
            "max_receive_bitrate_bps" => {
                let bps = value.parse().ok().filter(|bps| (64_000..=1_000_000_000).contains(bps))?;
                self.max_receive_bitrate_bps = bps;
            }
            "max_hold_us" => self.max_hold_us = value.parse().ok().filter(|us| *us <= MAX_HOLD_US_MAX)?,
            "room_transports_per_shard" => {
                let transports = value.parse().ok().filter(|n| (1..=1_000_000).contains(n))?;
                self.room_transports_per_shard = transports;
            }
            "four_key_cipher" => self.four_key_cipher = choose(value, &[("auto", true), ("off", false)])?,
            _ => return None,
        }
        Some(())
    }

    /// Whether every shard gets a port.
    ///
    /// # Errors
    /// [`ConfigError::TooManyPorts`]
    pub fn check_ports(&self, shards: u32) -> Result<(), ConfigError> {
        if u32::from(self.base_port) + shards.saturating_sub(1) > u32::from(u16::MAX) {
            return Err(ConfigError::TooManyPorts { base_port: self.base_port, shards });
        }
        Ok(())
    }
}

const IO_CHOICES: [(&str, IoChoice); 3] =
    [("auto", IoChoice::Auto), ("uring", IoChoice::Uring), ("mmsg", IoChoice::Mmsg)];

const LOOPBACK_CHOICES: [(&str, Loopback); 5] = [
    ("auto", Loopback::Auto),
    ("yes", Loopback::Yes),
    ("true", Loopback::Yes),
    ("no", Loopback::No),
    ("false", Loopback::No),
];

const LOG_CHOICES: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

fn choose<T: Copy>(value: &str, choices: &[(&str, T)]) -> Option<T> {
    choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice)
}

/// `sun_path` holds 108 octets; the lock file beside the socket needs a few more than the socket itself.
fn socket_path(value: &str) -> Option<PathBuf> {
    Some(PathBuf::from(value)).filter(|path| path.is_absolute() && value.len() <= 100)
}

fn accepted(key: &str) -> Option<&'static str> {
    KEYS.iter().find(|(name, _)| *name == key).map(|(_, accepted)| *accepted)
}

fn flag_name(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

fn bad_value(key: &str, value: &str, accepted: &'static str) -> ConfigError {
    ConfigError::BadValue { key: key.to_owned(), value: value.to_owned(), accepted }
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
    fn every_key_is_understood() {
        let text = r#"
            [relay]
            io = "mmsg"
            shards = 3
            base_port = 20000
            bind = "0.0.0.0"
            public_ip = ["203.0.113.7", "2001:db8::7"]
            advertise_loopback = "no"
            control_socket = "/run/x/relay.sock"
            log = "debug"
            max_receive_bitrate_bps = 1000000
            max_hold_us = 250
            room_transports_per_shard = 200
            four_key_cipher = "off"
            [signaling]
            whatever = 1
            [rooms]
            [media]
        "#;
        let want = Config {
            io: IoChoice::Mmsg,
            shards: Some(3),
            base_port: 20_000,
            bind: "0.0.0.0".parse().expect("address"),
            public_ip: vec!["203.0.113.7".parse().expect("v4"), "2001:db8::7".parse().expect("v6")],
            advertise_loopback: Loopback::No,
            control_socket: PathBuf::from("/run/x/relay.sock"),
            log: LevelFilter::DEBUG,
            max_receive_bitrate_bps: 1_000_000,
            max_hold_us: 250,
            room_transports_per_shard: 200,
            four_key_cipher: false,
        };
        assert_eq!(from_file(text), Ok(want));
        assert_eq!(from_file(""), Ok(Config::default()));
        for (key, _) in KEYS {
            assert!(text.contains(&format!("{key} = ")), "{key} is missing in this test");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (text, want) in [
            ("[relay]\nsharts = 1", "unknown key relay.sharts; known are io, shards, base_port"),
            ("[relya]", "unknown table [relya]; known are [relay], [signaling], [auth], [rooms], [media]"),
            ("relay = 3", "relay = 3: give a table"),
            ("[relay]\nio = \"epoll\"", "relay.io = \"epoll\": give \"auto\", \"uring\" or \"mmsg\""),
            ("[relay]\nshards = 0", "relay.shards = \"0\": give \"auto\" (one per core) or a number from 1"),
            ("[relay]\nshards = -1", "relay.shards = \"-1\""),
            ("[relay]\nshards = 1.5", "relay.shards = 1.5: give"),
            ("[relay]\nshards = [1, 2]", "relay.shards = \"1, 2\": give"),
            ("[relay]\nbase_port = 70000", "relay.base_port = \"70000\": give a port"),
            ("[relay]\nbind = \"localhost\"", "relay.bind = \"localhost\": give an IP address"),
            ("[relay]\npublic_ip = \"::\"", "relay.public_ip = \"::\": give"),
            ("[relay]\npublic_ip = [[1]]", "relay.public_ip = [[1]]: give"),
            ("[relay]\ncontrol_socket = \"x.sock\"", "give an absolute path"),
            ("[relay]\nlog = \"loud\"", "relay.log = \"loud\": give \"off\""),
            ("[relay]\nmax_receive_bitrate_bps = 5", "give a number of bit/s"),
            ("[relay]\nroom_transports_per_shard = 0", "give a number of transports"),
            ("[relay", "is not valid TOML"),
        ] {
            let error = from_file(text).expect_err(text);
            assert!(error.contains(want), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn flags_win_over_the_file_and_errors_name_the_flag() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("r.toml");
        std::fs::write(&path, "[relay]\nshards = 2\nbase_port = 3000").expect("writes");
        let flags = Flags {
            config: Some(path),
            shards: Some("4".into()),
            io: Some("mmsg".into()),
            ..Flags::default()
        };
        let config = Config::load(&flags).expect("good");
        assert_eq!((config.shards, config.base_port, config.io), (Some(4), 3000, IoChoice::Mmsg));

        let bad = Flags { base_port: Some("x".into()), ..flags.clone() };
        let error = Config::load(&bad).expect_err("bad port").to_string();
        assert_eq!(error, "--base-port = \"x\": give a port from 1 to 65535");

        let missing = Flags { config: Some(dir.path().join("none.toml")), ..Flags::default() };
        assert!(Config::load(&missing).expect_err("missing").to_string().contains("none.toml"));

        let ports = Flags { base_port: Some("65534".into()), ..flags };
        assert!(matches!(Config::load(&ports), Err(ConfigError::TooManyPorts { shards: 4, .. })));
    }
}
