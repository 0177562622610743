//! Settings: `ringvox.toml`, then the command line on top of it. Read once, checked once.
//!
//! Every key has a default. A bad value is refused with the key's name and what it accepts, with the same words
//! wherever it was written. Of `[relay]` only the control socket concerns us; the relay reads the rest itself.

mod auth;
mod error;
mod keys;

pub use auth::{Auth, AuthMode, HookSettings, HookUrl, OnFailure, TokenAlgorithm, TokenSettings};
pub use error::ConfigError;
pub(crate) use keys::{AUDIO_CODECS, VIDEO_CODECS, codec_name, codecs};

use relay_control::{Codec, default_control_socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::level_filters::LevelFilter;

/// The file that is read when `--config` does not name one.
const DEFAULT_FILE: &str = "ringvox.toml";

/// What signaling was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that was read, handed on to a relay that we start.
    pub file: Option<PathBuf>,
    /// Sockets, certificates, limits of a connection.
    pub signaling: Signaling,
    /// Who may do what.
    pub auth: Auth,
    /// Limits and times of rooms.
    pub rooms: Rooms,
    /// Codecs and bit rates.
    pub media: Media,
    /// The relay's control socket.
    pub control_socket: PathBuf,
}

/// `[signaling]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signaling {
    /// Address to listen on; `::` means all addresses of both families.
    pub bind: IpAddr,
    /// http and ws; 0 = any free one.
    pub http_port: u16,
    /// https and wss; 0 = any free one.
    pub https_port: u16,
    /// Certificate chain and key in PEM; `None` = the self-made one in [`data_dir`](Self::data_dir).
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Where the self-made certificate is kept.
    pub data_dir: PathBuf,
    /// Origins of pages that may connect, compared exactly; `None` = any.
    pub allowed_origins: Option<Vec<String>>,
    /// Open WebSockets.
    pub max_connections: usize,
    /// Connections of one address, of all kinds; `None` = what
    /// [`connections_per_address`](Self::connections_per_address) says.
    pub max_connections_per_address: Option<usize>,
    /// Streams without keys: their clients have not proved an address yet.
    pub max_unproved_streams: usize,
    /// Of these of one address.
    pub max_unproved_streams_per_address: usize,
    /// Addresses of reverse proxies: many clients are behind each, so it is not counted as one.
    pub proxies: Vec<IpAddr>,
    /// Whether these proxies say in `X-Forwarded-For` who asks.
    pub forwarded_for: bool,
    /// Whether `/healthz` tells how many connections, rooms, members and streams there are.
    pub health_counts: bool,
    /// Longest message from a client; a longer one closes the connection with 1009.
    pub message_bytes_max: usize,
    /// Most bytes that wait for a slow reader; more closes the connection with 1008.
    pub send_queue_bytes_max: usize,
    /// Longest time one message may take to be taken by the client's side.
    pub send_timeout: Duration,
    /// Sustained rate at which messages of one connection are read; faster ones wait in the socket.
    pub messages_per_second: u32,
    /// The same in bytes.
    pub bytes_per_second: u32,
    /// Rooms that one connection is in at a time.
    pub max_rooms_per_connection: usize,
    /// Streams that one connection publishes and plays at a time, in all its rooms.
    pub max_streams_per_connection: usize,
    /// Time between pings.
    pub keep_alive_interval: Duration,
    /// Unanswered pings that end a connection.
    pub keep_alive_probes: u32,
    /// Whether to start the relay when nobody listens on the control socket.
    pub start_relay: bool,
    /// The relay's program; `None` = `ringvox-relay` beside our own.
    pub relay_binary: Option<PathBuf>,
    /// Whether a clean stop of signaling stops the relay as well.
    pub stop_relay: bool,
    /// Most verbose level that is logged.
    pub log: LevelFilter,
}

/// `[rooms]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rooms {
    /// How long a room outlives members that vanished without `leave`.
    pub room_idle_timeout: Duration,
    /// Members of a room.
    pub max_participants: usize,
    /// Rooms at a time.
    pub max_rooms: usize,
    /// Streams that one member publishes at a time.
    pub max_publish_streams: usize,
    /// Streams that one member plays at a time.
    pub max_play_streams: usize,
    /// WHEP players of a room, who are not members.
    pub max_viewers: usize,
    /// How long the members found in a running relay may take to come back after a restart of signaling.
    pub adopt_grace: Duration,
    /// How long a member that asked for it may take to come back after a lost connection.
    pub resume_grace: Duration,
}

/// `[media]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Accepted video codecs, most wanted first.
    pub video: Vec<Codec>,
    /// Accepted audio codecs, most wanted first.
    pub audio: Vec<Codec>,
    /// Upper bound for one published stream, bit/s; 0 = the relay's default.
    pub max_publish_bitrate_bps: u64,
}

/// Connections of one address where the settings say "auto": an office of several hundred people behind one NAT, each
/// with a WebSocket and some with a page that is just loading.
const AUTO_PER_ADDRESS: usize = 1_000;

impl Signaling {
    /// Connections that one address may have. Left to us it is never all of a small server's.
    pub fn connections_per_address(&self) -> usize {
        self.max_connections_per_address
            .unwrap_or_else(|| AUTO_PER_ADDRESS.min(self.max_connections / 2).max(1))
    }
}

impl Default for Signaling {
    fn default() -> Self {
        Self {
            bind: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            http_port: 8080,
            https_port: 8443,
            tls: None,
            data_dir: PathBuf::from("ringvox-data"),
            allowed_origins: None,
            max_connections: 10_000,
            max_connections_per_address: None,
            // Below what one shard of the relay takes: the reason reaches the client, and one room finds its places.
            max_unproved_streams: 4_000,
            max_unproved_streams_per_address: 1_000,
            proxies: vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
            forwarded_for: false,
            health_counts: false,
            message_bytes_max: 256 << 10,
            send_queue_bytes_max: 256 << 10,
            send_timeout: Duration::from_secs(5),
            messages_per_second: 100,
            bytes_per_second: 256 << 10,
            max_rooms_per_connection: 64,
            max_streams_per_connection: 256,
            keep_alive_interval: Duration::from_secs(5),
            keep_alive_probes: 10,
            start_relay: true,
            relay_binary: None,
            stop_relay: true,
            log: LevelFilter::INFO,
        }
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            room_idle_timeout: Duration::from_secs(60),
            max_participants: 32,
            max_rooms: 10_000,
            max_publish_streams: 8,
            max_play_streams: 128,
            max_viewers: 256,
            adopt_grace: Duration::from_secs(60),
            resume_grace: Duration::from_secs(15),
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self { video: VIDEO_CODECS.to_vec(), audio: AUDIO_CODECS.to_vec(), max_publish_bitrate_bps: 0 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            signaling: Signaling::default(),
            auth: Auth::default(),
            rooms: Rooms::default(),
            media: Media::default(),
            control_socket: default_control_socket(),
        }
    }
}

/// Flags of the command line, as typed. Each is the key of the same name in `ringvox.toml`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Flags {
    /// Settings file [default: ringvox.toml in the current directory, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on [default: ::, all of IPv4 and IPv6]
    #[arg(long, value_name = "IP")]
    pub bind: Option<String>,
    /// Port of http and ws; 0 takes any free one [default: 8080]
    #[arg(long, value_name = "PORT")]
    pub http_port: Option<String>,
    /// Port of https and wss; 0 takes any free one [default: 8443]
    #[arg(long, value_name = "PORT")]
    pub https_port: Option<String>,
    /// Certificate chain (PEM) [default: made on first run, kept in the data directory]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Where the self-made certificate is kept [default: ringvox-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// The relay's control socket [default: relay.sock in $RUNTIME_DIRECTORY, /run/ringvox, $XDG_RUNTIME_DIR/ringvox or
    /// /tmp/ringvox-UID, the first that is ours]
    #[arg(long, value_name = "PATH")]
    pub control_socket: Option<String>,
    /// Whether to start the relay when nobody listens on the control socket [default: true]
    #[arg(long, value_name = "BOOL")]
    pub start_relay: Option<String>,
    /// The relay's program [default: ringvox-relay beside this one]
    #[arg(long, value_name = "FILE")]
    pub relay_binary: Option<String>,
    /// Whether stopping this program stops the relay too [default: true]
    #[arg(long, value_name = "BOOL")]
    pub stop_relay: Option<String>,
    /// Log level on standard error: off, error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
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
            Ok(text) => {
                config.apply_file(path, &text)?;
                config.file = Some(path.to_owned());
            }
            Err(why) if required || why.kind() != std::io::ErrorKind::NotFound => {
                return Err(ConfigError::Unreadable(path.to_owned(), why));
            }
            Err(_) => {}
        }
        config.apply_flags(flags)?;
        config.check_tls()?;
        match config.auth.missing() {
            Some(key) => Err(ConfigError::Missing(key)),
            None => Ok(config),
        }
    }

    fn apply_flags(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        let given = [
            ("signaling", "bind", &flags.bind),
            ("signaling", "http_port", &flags.http_port),
            ("signaling", "https_port", &flags.https_port),
            ("signaling", "tls_cert", &flags.tls_cert),
            ("signaling", "tls_key", &flags.tls_key),
            ("signaling", "data_dir", &flags.data_dir),
            ("relay", "control_socket", &flags.control_socket),
            ("signaling", "start_relay", &flags.start_relay),
            ("signaling", "relay_binary", &flags.relay_binary),
            ("signaling", "stop_relay", &flags.stop_relay),
            ("signaling", "log", &flags.log),
        ];
        for (table, key, value) in given {
            if let Some(value) = value {
                let flag = format!("--{}", key.replace('_', "-"));
                self.set(table, key, &flag, std::slice::from_ref(value))?;
            }
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), ConfigError> {
        match &self.signaling.tls {
            Some((cert, key)) if cert.as_os_str().is_empty() || key.as_os_str().is_empty() => {
                Err(ConfigError::HalfTls)
            }
            _ => Ok(()),
        }
    }
}
