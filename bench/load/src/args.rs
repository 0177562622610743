//! The command line, turned into plain values.

use crate::capacity;
use crate::scenario::Kind;
use crate::source::{Frames, Shape};
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use relay_core::wire::rtp::FIXED_HEADER_BYTES;
use ringvox_client::dtls::Versions;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Load generator: real ICE, DTLS and SRTP clients, every packet marked and checked.
#[derive(Parser, Debug)]
#[command(name = "ringvox-load", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Action,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Action {
    /// One scenario
    Run(Box<RunArgs>),
    /// One scenario under rising load: the most that is borne, half of it, and more than it
    Sweep(Box<SweepArgs>),
    /// Subscribers come and go, and the server's memory is read meanwhile
    Churn(Box<ChurnArgs>),
    /// All scenarios, as tables
    Capacity(CapacityArgs),
    /// What this machine could do at best: cipher and sends without a relay
    Limit(Box<LimitArgs>),
    /// The recorder alone, given streams as by a relay
    Record(RecordArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Media {
    Video,
    Audio,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    Ringvox,
    Janus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChannelKind {
    /// The relay's control socket
    Control,
    /// Signaling's WHIP and WHEP
    Whip,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// Rooms
    #[arg(long, default_value_t = 1)]
    pub(crate) rooms: u32,
    /// Publishers of each room
    #[arg(long, default_value_t = 1)]
    pub(crate) publishers: u32,
    /// Subscribers of each room
    #[arg(long, default_value_t = 50)]
    pub(crate) subscribers: u32,
    /// Subscriber n of a room does not receive what its publisher n sends
    #[arg(long)]
    pub(crate) mesh: bool,
    /// Subscribers connect and receive nothing
    #[arg(long)]
    pub(crate) idle: bool,
    /// DTLS versions that clients offer: 1.2, 1.3 or both
    #[arg(long, default_value = "both", value_parser = dtls_versions)]
    pub(crate) dtls: Versions,
    /// Groups that clients offer, best first, such as X25519:P-256 [default: as Chromium]
    #[arg(long)]
    pub(crate) dtls_groups: Option<String>,
    /// What publishers send
    #[arg(long, value_enum, default_value = "video")]
    pub(crate) media: Media,
    /// Rate of a video stream
    #[arg(long, default_value_t = 1_500_000)]
    pub(crate) video_bps: u64,
    /// Frames per second of a video stream
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) fps: u32,
    /// Instead of encoder-like frames: this many equal packets at equal intervals
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=40))]
    pub(crate) burst: Option<u16>,
    /// Time between bursts, in microseconds
    #[arg(long, default_value_t = 1000)]
    pub(crate) burst_interval_us: u64,
    /// RTP packet without the tag of SRTP, in octets: of bursts, and the largest of a video frame
    #[arg(long, default_value_t = 1200, value_parser = clap::value_parser!(u16).range(60..=1400))]
    pub(crate) packet_bytes: u16,
    /// Length of a measured window, in seconds
    #[arg(long = "seconds", default_value = "5", value_parser = seconds)]
    pub(crate) window: Duration,
    /// Measured windows
    #[arg(long, default_value_t = 3)]
    pub(crate) repeat: u32,
    /// Time between the last join and the first window, in seconds
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub(crate) settle: Duration,
    /// Once all have joined, publishers send so many times as often; a sweep begins there
    #[arg(long, default_value_t = 1.0, value_parser = load)]
    pub(crate) load: f64,
    /// Joins per second; 0: as fast as they succeed
    #[arg(long, default_value_t = 0)]
    pub(crate) ramp: u32,
    /// Further subscribers of each room, which join during the first window
    #[arg(long, default_value_t = 0)]
    pub(crate) storm: u32,
    /// Those receive nothing
    #[arg(long, requires = "storm")]
    pub(crate) storm_idle: bool,
    /// Decrypt and compare one packet in N, count the others
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) check: u64,
    /// Take arrival times when the generator sees a packet instead of from the kernel
    #[arg(long)]
    pub(crate) no_stamps: bool,
    /// Address of the publishers' sockets
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) publisher_ip: IpAddr,
    /// Address of the first subscriber; each further one has the next address
    #[arg(long, default_value = "127.1.0.1")]
    pub(crate) subscriber_ip: IpAddr,
    /// Device that drops media towards subscribers at its ingress once all have joined
    #[arg(long, value_name = "DEVICE")]
    pub(crate) sink: Option<String>,
    /// With --sink: one subscriber in N gets its media all the same; 0: none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) heard_in: u32,
    /// Write everything as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// No progress
    #[arg(long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Load to end the search with; it begins with --load
    #[arg(long, default_value_t = 1000.0, value_parser = load)]
    pub(crate) to: f64,
    /// Draw latency, CPU time and what was shed as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "a number is wanted, such as 1.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|why| why.to_string())
}

fn dtls_versions(text: &str) -> Result<Versions, String> {
    match text {
        "1.2" => Ok(Versions::Only1_2),
        "1.3" => Ok(Versions::Only1_3),
        "both" => Ok(Versions::Both),
        _ => Err("1.2, 1.3 or both".to_owned()),
    }
}

fn load(text: &str) -> Result<f64, String> {
    let load: f64 = text.parse().map_err(|_| "a number is wanted, such as 1.5".to_owned())?;
    if (0.001..=10_000.0).contains(&load) { Ok(load) } else { Err("from 0.001 to 10000".to_owned()) }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ChurnArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// How many come, each in the place of one who leaves
    #[arg(long, default_value_t = 100_000)]
    pub(crate) joins: u32,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CapacityArgs {
    /// The relay
    #[arg(long, value_name = "PATH")]
    pub(crate) relay_binary: PathBuf,
    /// Core of the server
    #[arg(long, default_value_t = 1)]
    pub(crate) relay_core: u32,
    /// Core of the clients
    #[arg(long, default_value_t = 0)]
    pub(crate) client_core: u32,
    /// Length of each measured window, in seconds
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Windows of each run
    #[arg(long, default_value_t = 3)]
    pub(crate) repeat: u32,
    /// Only these tables
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(capacity::names()))]
    pub(crate) only: Vec<String>,
    /// Write the tables into this file, between its marks
    #[arg(long, value_name = "FILE")]
    pub(crate) results: Option<PathBuf>,
    /// Draw latency and CPU time over load into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) plots: Option<PathBuf>,
    /// Write everything as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Flags of the limit: those of a run that say to how many, what, where from and how long.
#[derive(Args, Clone, Debug)]
pub(crate) struct LimitArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Measure in this process
    #[arg(long, hide = true)]
    pub(crate) here: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RecordArgs {
    /// Start this recorder
    #[arg(long, value_name = "PATH")]
    pub(crate) recorder_binary: PathBuf,
    /// Publications of sound and picture, a recording each
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) streams: u32,
    /// Rate of a picture
    #[arg(long, default_value_t = 960_000)]
    pub(crate) video_bps: u64,
    /// Length of the measured window, in seconds
    #[arg(long = "seconds", default_value = "10", value_parser = seconds)]
    pub(crate) window: Duration,
    /// Where files go [default: a temporary one]
    #[arg(long, value_name = "PATH")]
    pub(crate) directory: Option<PathBuf>,
    /// Cores of the recorder, as taskset takes them
    #[arg(long)]
    pub(crate) cores: Option<String>,
    /// One more flag for the recorder; may be repeated
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) recorder_arg: Vec<String>,
}

/// Which server, and how it is started.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// Servers, one after the other, their figures side by side
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ringvox")]
    pub(crate) peer: Vec<Peer>,
    /// The signaling channel by which clients get into Ringvox
    #[arg(long, value_enum, default_value = "control")]
    pub(crate) channel: ChannelKind,
    /// Start this relay
    #[arg(long, value_name = "PATH")]
    pub(crate) relay_binary: Option<PathBuf>,
    /// Back end of the relay: uring, mmsg or auto
    #[arg(long, default_value = "auto")]
    pub(crate) io: String,
    /// Shards of the relay
    #[arg(long, default_value_t = 1)]
    pub(crate) shards: u32,
    /// First UDP port of the relay; by default another in each run, for the kernel frees a ring's socket with delay
    #[arg(long)]
    pub(crate) base_port: Option<u16>,
    /// Cores of the relay or Janus, as taskset takes them
    #[arg(long)]
    pub(crate) relay_cores: Option<String>,
    /// Network namespace of the relay or Janus
    #[arg(long)]
    pub(crate) relay_netns: Option<String>,
    /// A process at a local port of the relay gets all streams as well; not with --channel whip
    #[arg(long)]
    pub(crate) tap: bool,
    /// One more flag for the relay; may be repeated
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) relay_arg: Vec<String>,
    /// Control socket of a relay that runs already; needs --server-pid
    #[arg(long, value_name = "PATH")]
    pub(crate) control_socket: Option<PathBuf>,
    /// Process that is measured, if it is not started here
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// With --channel whip: start this signaling [default: ringvox-signaling beside the relay]
    #[arg(long, value_name = "PATH")]
    pub(crate) signaling_binary: Option<PathBuf>,
    /// With --channel whip: a server that runs already, such as http://127.0.0.1:8080; needs --server-pid
    #[arg(long, conflicts_with = "relay_binary")]
    pub(crate) url: Option<String>,
    /// Its signaling, whose CPU time is to be reported as well
    #[arg(long, value_name = "PID")]
    pub(crate) signaling_pid: Option<u32>,
    /// Janus, a path or a name
    #[arg(long, value_name = "PATH", default_value = "janus")]
    pub(crate) janus_binary: PathBuf,
    /// One more flag for Janus; may be repeated
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) janus_arg: Vec<String>,
}

impl RunArgs {
    /// How streams of this kind look; `None`: nobody sends any.
    pub(crate) fn shape(&self, kind: Kind) -> Option<Shape> {
        let is_sent = match kind {
            Kind::Audio => self.media != Media::Video,
            Kind::Video => self.media != Media::Audio,
        };
        let payload_bytes = usize::from(self.packet_bytes) - FIXED_HEADER_BYTES;
        let shape = if let Some(packets) = self.burst {
            let interval = Duration::from_micros(self.burst_interval_us);
            Shape { interval, frames: Frames::Burst { packets: packets.into(), payload_bytes } }
        } else if kind == Kind::Audio {
            let frames = Frames::Audio { bytes_min: 80, bytes_max: 120 };
            Shape { interval: Duration::from_millis(20), frames }
        } else {
            let bytes_mean = self.video_bps / u64::from(self.fps) / 8;
            let frames = Frames::Video { bytes_mean, payload_bytes_max: payload_bytes };
            Shape { interval: Duration::from_secs(1) / self.fps, frames }
        };
        is_sent.then_some(shape)
    }
}

impl ServerArgs {
    /// The relay's first UDP port.
    pub(crate) fn first_port(&self) -> u16 {
        self.base_port.unwrap_or(10_000 + 16 * (std::process::id() % 1_000) as u16)
    }

    /// The server's, for its softirq thread.
    pub(crate) fn first_core(&self) -> u32 {
        let cores = self.relay_cores.as_deref().unwrap_or("0");
        cores.split([',', '-']).next().and_then(|core| core.parse().ok()).unwrap_or(0)
    }
}
