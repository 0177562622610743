//! Settings: `ringvox.toml`, then the command line on top of it. Read once, checked once.
//!
//! Of `[relay]` only the control socket concerns us; the relay reads the rest itself.

mod api;
mod auth;
mod recording;

pub use api::Api;
pub use auth::{Auth, AuthMode, HookUrl, OnFailure, TokenAlgorithm};
pub use recording::Recording;
pub use relay_settings::recording::Recording as OfRecorder;
pub use relay_settings::{Error as ConfigError, Settings};

use crate::address::Network;
use crate::names::{NAME_BYTES_MAX, STREAM_NAME_BYTES_MAX};
use crate::tls::CertificateSource;
use relay_control::{Codec, default_control_socket};
use relay_settings::{
    Accepts, Key, list, log_level, millis, number, one_of, parsed, path, settings, single, truth,
};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tracing::level_filters::LevelFilter;

/// Flags of the command line.
pub type Flags = relay_settings::Flags<Config>;

/// Longest list of origins or proxies.
const LIST_MAX: usize = 100;

/// The header in which proxies say whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses, each added behind those before it.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Real-IP`: one address, written over what was there.
    XRealIp,
    /// Proxies do not say it.
    None,
}

/// Whether a clean stop of signaling stops the relay too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopRelay {
    /// The one that a signaling started, unless a service manager ends signaling alone.
    Auto,
    /// Always.
    Yes,
    /// Never.
    No,
}

impl StopRelay {
    /// `started_by_signaling` is the relay's; `alone`: whoever ends us manages the relay as well.
    pub(crate) fn ends(self, started_by_signaling: bool, alone: bool) -> bool {
        match self {
            Self::Auto => started_by_signaling && !alone,
            Self::Yes => true,
            Self::No => false,
        }
    }
}

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
    /// What is recorded.
    pub recording: Recording,
    /// The recorder's keys of `[recording]`: only looked at here.
    pub recorder: OfRecorder,
    /// Who may use the interface for programs.
    pub api: Api,
    /// The relay's control socket.
    pub control_socket: PathBuf,
}

settings! {
    /// `[signaling]`
    pub struct Signaling in "signaling" {
        /// Address to listen on.
        bind: IpAddr = "::", parsed("an IP address; \"::\" means all addresses of IPv4 and IPv6", "IP");
        /// Port of http and ws. Pages that are not on localhost get no camera over http.
        http_port: u16 = 8080, port();
        /// Port of https and wss.
        https_port: u16 = 8443, port();
        /// Certificate chain. Without one a certificate is made on first run and kept in data_dir. A renewed
        /// chain and key are taken within seconds, or at once by SIGHUP.
        tls_cert: Option<PathBuf> = (None, "/etc/ringvox/fullchain.pem"), path("a PEM file").map(Some);
        /// Private key of the certificate.
        tls_key: Option<PathBuf> = (None, "/etc/ringvox/privkey.pem"), path("a PEM file").map(Some);
        /// Where the self-made certificate is kept.
        data_dir: PathBuf = "ringvox-data", path("a directory");
        /// Pages of which origins may open WebSockets and use WHIP and WHEP. With a list, the server's own
        /// address must stand there too for the built-in pages to work; without one, only they may read the
        /// API.
        allowed_origins: Option<Vec<String>> = "*", origins();
        /// WebSockets at a time. 1000 other connections come on top. The limit of file descriptors is raised
        /// as far as the system allows; where that is too little, fewer connections are taken, and the log
        /// says how many.
        max_connections: usize = 10_000, number("a number", 1..=1_000_000);
        /// Connections of one address (IPv6: of one /64) of all kinds at a time. "auto": 1000, but at most
        /// half of max_connections. One more is refused with 503. Enough for an office of several hundred
        /// people behind one NAT. All of an IPv6 /48 together have four times as many, but at most half of
        /// all.
        max_connections_per_address: Option<usize> = "auto",
            number("a number", 1..=1_000_000).map(Some).or("auto", "\"auto\"", None);
        // Below what one shard of the relay takes: the reason reaches the client, and one room finds its
        // places.
        /// How long an HTTP connection is kept without a request. A little more than proxies keep theirs
        /// (nginx a minute), so that they end it and no request is lost. Where half of all places are taken,
        /// 5 s at most.
        http_idle + "_ms": Duration = 65_000, millis(1_000..=600_000);
        /// Streams at a time, published or played, whose clients have not proved an address yet by ICE and
        /// DTLS. That takes a browser well under a second. More are refused: 503 with Retry-After for WHIP
        /// and WHEP, FAILED on a WebSocket.
        max_unproved_streams: usize = 4_000, number("a number", 1..=1_000_000);
        /// Of such streams, how many one address may have at a time; a /48 as above.
        max_unproved_streams_per_address: usize = 1_000, number("a number", 1..=1_000_000);
        /// Reverse proxies in front of this server, by address or network ("10.0.0.0/8"). What they say of
        /// who asks is believed; connections of their own are not counted by address, as many clients come
        /// from there. Where there is no proxy, [] lets local programs count as well.
        proxies: Vec<Network> = ["127.0.0.1", "::1"], list(
            "a list of IP addresses and networks",
            0..=LIST_MAX,
            parsed("", "IP[/BITS]"),
        );
        /// In which header they say it: "x-forwarded-for", "forwarded" (RFC 7239), "x-real-ip" or "none". They
        /// must set or extend it in every request, or clients choose their address. What is counted by address is
        /// counted by that one then, and it stands in the log. With "none", or where a proxy does not say it,
        /// what comes from there is not counted by address; let the proxy limit each client.
        forwarded_header: ForwardedHeader = "x-forwarded-for", one_of(&[
            ("x-forwarded-for", ForwardedHeader::XForwardedFor),
            ("forwarded", ForwardedHeader::Forwarded),
            ("x-real-ip", ForwardedHeader::XRealIp),
            ("none", ForwardedHeader::None),
        ]);
        /// Whether /healthz tells everybody how many connections, rooms, members and streams there are. Else
        /// it tells only whether the server is well ("ok") or without its relay ("degraded").
        health_counts: bool = false, truth();
        /// Longest message from a client; a longer one closes the connection with code 1009.
        message_bytes_max: usize = 262_144, number("a number of bytes", 64 << 10..=1 << 20);
        /// Most bytes that wait for a client that does not read, besides what is in a room that it enters and
        /// what one room can have to say at once; more closes the connection with code 1008.
        send_queue_bytes_max: usize = 262_144, number("a number of bytes", 64 << 10..=64 << 20);
        /// Longest time in which a client may take 64 KiB; longer closes the connection with code 1008.
        send_timeout + "_ms": Duration = 5_000, millis(100..=60_000);
        /// Messages of one connection that are read per second; what comes faster waits in its socket.
        messages_per_second: u32 = 100, number("a number", 1..=100_000);
        /// Bytes of one connection that are read per second.
        bytes_per_second: u32 = 262_144, number("a number of bytes", 16 << 10..=1 << 30);
        /// Rooms that one connection may be in at a time.
        max_rooms_per_connection: usize = 64, number("a number", 1..=1_000);
        /// Streams that one connection may publish and play at a time, in all its rooms.
        max_streams_per_connection: usize = 256, number("a number", 1..=10_000);
        /// A WebSocket of which nothing came for so long, not even its browser's answer to one of the three
        /// pings meanwhile, is gone.
        socket_silence + "_ms": Duration = 14_000, millis(300..=600_000);
        /// Time between pings that the page itself answers.
        keep_alive_interval + "_ms": Duration = 5_000, millis(100..=60_000);
        /// This many pings in a row without a sign of life end the connection.
        keep_alive_probes: u32 = 10, number("a number", 1..=100);
        /// Whether to start the relay when nobody listens on its control socket.
        start_relay: bool = true, truth();
        /// The relay's program. The default is ringvox-relay beside ringvox-signaling.
        relay_binary: Option<PathBuf> = (None, "/usr/local/bin/ringvox-relay"), path("a program").map(Some);
        /// Whether a clean stop of signaling stops the relay, and so all calls, too. A crash never does.
        /// "auto": a relay that a signaling started, unless a service manager ends us by SIGTERM (systemctl
        /// restart); one that was started by itself goes on, and the next signaling takes its calls over.
        stop_relay: StopRelay = "auto", one_of(&[
            ("auto", StopRelay::Auto),
            ("yes", StopRelay::Yes),
            ("true", StopRelay::Yes),
            ("no", StopRelay::No),
            ("false", StopRelay::No),
        ]);
        /// Log level on standard error. The environment variable RUST_LOG overrides it, and may name
        /// modules, as in "signaling::relay=debug".
        log: LevelFilter = "info", log_level();
    }
}

settings! {
    /// `[rooms]`
    pub struct Rooms in "rooms" {
        /// How long a room lives on when its last member vanished without leaving.
        room_idle_timeout + "_ms": Duration = 60_000, millis(0..=86_400_000);
        /// Members of a room. One more is refused with "Room is full". Who creates a room may ask for less
        /// (maxParticipants).
        max_participants: usize = 32, number("a number", 1..=1_000);
        /// Rooms at a time.
        max_rooms: usize = 10_000, number("a number", 1..=1_000_000);
        /// Streams that one member publishes at a time.
        max_publish_streams: usize = 8, number("a number", 1..=64);
        /// Streams that one member plays at a time.
        max_play_streams: usize = 128, number("a number", 1..=1_000);
        /// WHEP players of a room; they are not members.
        max_viewers: usize = 256, number("a number", 0..=100_000);
        /// After a restart of signaling: how long the members found in the running relay may take to come
        /// back.
        adopt_grace + "_ms": Duration = 60_000, millis(0..=3_600_000);
        /// After a lost connection: how long a member that asked for it (custom.resumable) may take to come
        /// back.
        resume_grace + "_ms": Duration = 15_000, millis(0..=3_600_000);
    }
}

settings! {
    /// `[media]`
    pub struct Media in "media" {
        /// Accepted video codecs. A publisher gets the first one that its browser has; nothing is transcoded.
        video: Vec<Codec> = ["vp8", "h264"],
            codec_list("a list of \"vp8\" and \"h264\", most wanted first", &VIDEO_CODECS);
        /// Accepted audio codecs.
        audio: Vec<Codec> = ["opus", "pcmu", "pcma"],
            codec_list("a list of \"opus\", \"pcmu\" and \"pcma\", most wanted first", &AUDIO_CODECS);
        /// Upper bound of one published stream.
        max_publish_bitrate_bps: u64 = 0,
            number("bit/s", 64_000..=1_000_000_000).or("0", "0 (the relay's default)", 0);
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
            recording: Recording::default(),
            recorder: OfRecorder::default(),
            api: Api::default(),
            control_socket: default_control_socket(),
        }
    }
}

impl Settings for Config {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let mut keys = vec![relay_settings::control_socket(&mut self.control_socket)];
        keys.extend(self.signaling.keys());
        keys.extend(self.auth.keys());
        keys.extend(self.rooms.keys());
        keys.extend(self.media.keys());
        keys.extend(self.api.keys());
        let mut recording = self.recording.keys();
        // The directory first: without it the others do nothing.
        recording.rotate_right(1);
        keys.extend(recording);
        // The recorder's own keys: what is wrong with them is told here, before it is started.
        let of_recorder = self.recorder.keys().into_iter().filter(|key| !key.is_shared());
        keys.extend(of_recorder.map(Key::checked_only));
        keys
    }
}

/// Longest event of a room and longest status of a stream: all names as long as they may be, each octet of
/// them escaped in JSON, and the rest.
const EVENT_BYTES_MAX: usize = 2 * (2 * NAME_BYTES_MAX + STREAM_NAME_BYTES_MAX) + 512;

impl Config {
    /// What may wait for a client: everybody in its room may lose their streams and leave, all at once, and a
    /// client that reads is not to be cut off for that.
    pub fn send_queue_bytes_max(&self) -> usize {
        let Rooms { max_participants, max_publish_streams, max_play_streams, .. } = self.rooms;
        let of_others = max_participants * (max_publish_streams + 1);
        let events = of_others + max_publish_streams + max_play_streams;
        self.signaling.send_queue_bytes_max + events * EVENT_BYTES_MAX
    }

    /// The defaults, the file, then the flags.
    ///
    /// # Errors
    /// The first thing that is wrong, with the key's name and what it accepts.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let (mut config, file) = relay_settings::load::<Self>(flags)?;
        config.file = file;
        if config.signaling.tls_cert.is_some() != config.signaling.tls_key.is_some() {
            let why = "signaling.tls_cert and signaling.tls_key belong together: give both or neither";
            return Err(ConfigError::Conflict(why.to_owned()));
        }
        let all = config.recording.record_all_streams || config.recording.record_all_rooms;
        if all && !config.recording.is_on() {
            let why = "recording.directory is missing: record_all_streams and record_all_rooms need it";
            return Err(ConfigError::Conflict(why.to_owned()));
        }
        if config.recording.webhook.is_some() && config.recording.webhook_secret.is_none() {
            let why = "recording.webhook_secret is missing: recording.webhook needs it";
            return Err(ConfigError::Conflict(why.to_owned()));
        }
        match config.auth.missing() {
            Some(key) => Err(ConfigError::Conflict(format!("{key} is missing: auth.mode needs it"))),
            None => Ok(config),
        }
    }
}

/// Connections of one address where the settings say "auto": an office of several hundred people behind one
/// NAT, each with a WebSocket and some with a page that is just loading.
const AUTO_PER_ADDRESS: usize = 1_000;

impl Signaling {
    /// Connections that one address may have. Left to us it is never all of a small server's.
    pub fn connections_per_address(&self) -> usize {
        self.max_connections_per_address
            .unwrap_or_else(|| AUTO_PER_ADDRESS.min(self.max_connections / 2).max(1))
    }

    /// Certificate chain and key in PEM, or the self-made one in [`data_dir`](Self::data_dir).
    pub(crate) fn certificate(&self) -> CertificateSource {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => CertificateSource::Given(certificate.clone(), key.clone()),
            _ => CertificateSource::SelfMade(self.data_dir.clone()),
        }
    }
}

fn port() -> Accepts<u16> {
    parsed("a port from 0 to 65535; 0 takes any free one", "PORT")
}

fn origins() -> Accepts<Option<Vec<String>>> {
    let origin = single("", "ORIGIN", |text| is_origin(text).then(|| text.to_owned()));
    let some = list("a list of origins such as \"https://example.com\"", 1..=LIST_MAX, origin);
    some.map(Some).or("*", "\"*\"", None)
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

fn codec_list(words: &str, known: &'static [Codec]) -> Accepts<Vec<Codec>> {
    Accepts::new(words, "CODEC", |names| codecs(names, known))
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};
    use std::path::Path;

    fn from_text(text: &str) -> Result<Config, String> {
        Config::from_text(Path::new("ringvox.toml"), text).map_err(|why| why.to_string())
    }

    #[test]
    fn good_values_are_taken() {
        let config = from_text(
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
    fn what_does_not_go_together_is_refused() {
        for (arguments, expected) in [
            (&["--tls-cert", "x.pem"][..], "signaling.tls_cert and signaling.tls_key belong together"),
            (&["--tls-key", "x.pem"], "signaling.tls_cert and signaling.tls_key belong together"),
            (&["--http-port", "x"], "--http-port = \"x\": give a port from 0 to 65535"),
            (&["--allowed-origins", "*", "--allowed-origins", "https://a.example"], "--allowed-origins = "),
        ] {
            let command = Flags::augment_args(clap::Command::new("ringvox-signaling"));
            let matches = command.get_matches_from(["ringvox-signaling"].iter().chain(arguments));
            let error =
                Config::load(&Flags::from_arg_matches(&matches).expect("flags")).expect_err("refused");
            assert!(error.to_string().starts_with(expected), "{arguments:?}: {error}");
        }
        let mode = |mode| Auth { mode, ..Auth::default() }.missing();
        assert_eq!(mode(AuthMode::Open), None);
        assert_eq!(mode(AuthMode::Token), Some("auth.token_algorithm"));
        assert_eq!(mode(AuthMode::Hook), Some("auth.hook_url"));
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
            ("[rooom]\n", "unknown table [rooom]; known are [relay], [signaling], [auth], [rooms], [media],"),
            ("[auth]\nmode = \"closed\"", "auth.mode = \"closed\": give \"open\", \"token\" or \"hook\""),
            ("[auth]\ntoken_algorithm = \"none\"", "auth.token_algorithm = \"none\": give \"HS256\""),
            ("[auth]\nhook_url = \"ftp://x\"", "auth.hook_url = \"ftp://x\": give http://"),
            ("[auth]\nhook_timeout_ms = 0", "auth.hook_timeout_ms"),
            ("rooms = 3", "rooms = 3: give a table: [rooms]"),
            ("[rooms", "is not valid TOML"),
            ("[recording]\nserv = true", "unknown key recording.serv; known are directory, start_recorder"),
            (
                "[recording]\nmax_age_hours = \"3d\"",
                "recording.max_age_hours = \"3d\": give 0 (they are kept) or a number of hours",
            ),
            ("[recording]\nmin_free = \"91%\"", "recording.min_free = \"91%\": give \"auto\""),
            ("[recording]\nffmpeg = \"\"", "recording.ffmpeg = \"\": give a path to a program"),
            ("[recording]\nwebhook = \"ftp://x\"", "recording.webhook = \"ftp://x\": give http://"),
            (
                "[recording]\nstream_record_policy_template = \"{streamName}-{duration}\"",
                "{duration} cannot be had, as a file is named when its recording begins",
            ),
        ] {
            let error = from_text(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
