//! `ringvox-relay ctl …`: asks a running relay and prints its answer as JSON, for people and scripts.
//!
//! It says no `Hello`, so it can neither command nor supersede a controller: it reads, and orders what local
//! ports do. ICE passwords are left out.

use base64::Engine as _;
use relay_control::{
    AddSource, AddTap, CandidateAddress, Codec, Command, Connection, Counter, DownTrackInfo, GetInventory,
    GetStats, Inventory, MediaKind, PortInfo, RemoveSource, RemoveTap, ReplyBody, RtpParameters, Stats,
    TransportInfo, TransportState, Untrusted, UpTrackInfo, trusts,
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A relay that says nothing for this long is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What to ask.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Question {
    /// Every transport with its tracks
    Inventory,
    /// All counters: of each shard, of all together, and of the process
    Stats,
    /// Send an up-track to a process at a local port
    Tap {
        /// The name that the process gave itself
        port: String,
        /// As in the inventory
        #[arg(value_parser = id)]
        track_id: u64,
        /// What the process is told of it before it begins
        #[arg(long, default_value = "")]
        label: String,
    },
    /// Send it no longer
    Untap {
        /// The name that the process gave itself
        port: String,
        /// As in the inventory
        #[arg(value_parser = id)]
        track_id: u64,
    },
    /// Take an up-track from a process at a local port
    Source {
        /// The name that the process gave itself
        port: String,
        /// 16 hexadecimal digits that no other track has
        #[arg(value_parser = id)]
        track_id: u64,
        /// As in the inventory
        #[arg(value_parser = id)]
        room_id: u64,
        /// How it is encoded
        codec: CodecName,
    },
    /// Take it no longer
    Unsource {
        /// As it was ordered
        #[arg(value_parser = id)]
        track_id: u64,
    },
}

/// A codec, as people write it.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub enum CodecName {
    /// RFC 7587
    Opus,
    /// G.711 µ-law
    Pcmu,
    /// G.711 A-law
    Pcma,
    /// RFC 7741
    Vp8,
    /// RFC 6184
    H264,
}

/// An id as the inventory writes it.
fn id(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| "an id has up to 16 hexadecimal digits".to_owned())
}

/// What a source of this codec is.
fn parameters(codec: CodecName) -> RtpParameters {
    let (kind, codec, clock_rate_hz) = match codec {
        CodecName::Opus => (MediaKind::Audio, Codec::Opus, 48_000),
        CodecName::Pcmu => (MediaKind::Audio, Codec::Pcmu, 8_000),
        CodecName::Pcma => (MediaKind::Audio, Codec::Pcma, 8_000),
        CodecName::Vp8 => (MediaKind::Video, Codec::Vp8, 90_000),
        CodecName::H264 => (MediaKind::Video, Codec::H264, 90_000),
    };
    RtpParameters { kind: kind.into(), codec: codec.into(), clock_rate_hz, ..RtpParameters::default() }
}

/// The order about a local port that is asked for.
fn order(question: Question) -> Option<Command> {
    Some(match question {
        Question::Inventory | Question::Stats => return None,
        Question::Tap { port, track_id, label } => {
            Command::AddTap(AddTap { track_id, port, label: label.into_bytes() })
        }
        Question::Untap { port, track_id } => Command::RemoveTap(RemoveTap { track_id, port }),
        Question::Source { port, track_id, room_id, codec } => {
            let rtp = parameters(codec);
            Command::AddSource(AddSource { track_id, room_id, port, rtp, priority: 0 })
        }
        Question::Unsource { track_id } => Command::RemoveSource(RemoveSource { track_id }),
    })
}

/// Why there is no answer.
#[derive(Debug)]
pub enum CtlError {
    /// No relay there.
    Connect(PathBuf, io::Error),
    /// It did not answer.
    Io(io::Error),
    /// It answered something else.
    Refused(String),
}

impl fmt::Display for CtlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(path, why) => {
                write!(f, "no relay answers on {}: {why} (see --control-socket)", path.display())
            }
            Self::Io(why) => write!(f, "the relay does not answer: {why}"),
            Self::Refused(why) => write!(f, "the relay refused: {why}"),
        }
    }
}

impl std::error::Error for CtlError {}

/// Asks the relay behind `socket` and returns the JSON text of its answer.
///
/// # Errors
/// See [`CtlError`].
pub fn ask(socket: &Path, question: Question) -> Result<String, CtlError> {
    let stream = UnixStream::connect(socket).map_err(|why| CtlError::Connect(socket.to_owned(), why))?;
    let listener =
        rustix::net::sockopt::socket_peercred(&stream).map_err(|why| CtlError::Io(why.into()))?.uid;
    // Root may ask anybody's relay.
    if !trusts(listener.as_raw()) && !rustix::process::geteuid().is_root() {
        let why = Untrusted::Listener(socket.to_owned(), listener.as_raw());
        return Err(CtlError::Refused(why.to_string()));
    }
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(CtlError::Io)?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(CtlError::Io)?;
    let mut relay = Connection::new(stream);
    let json = match question {
        Question::Inventory => serde_json::to_string_pretty(&inventory_json(&all_pages(&mut relay)?)),
        Question::Stats => match relay.call(Command::GetStats(GetStats {})).map_err(CtlError::Io)? {
            ReplyBody::Stats(stats) => serde_json::to_string_pretty(&stats_json(&stats)),
            other => return Err(unexpected(other)),
        },
        other => match order(other).map(|command| relay.call(command)).transpose().map_err(CtlError::Io)? {
            None | Some(ReplyBody::Done(_)) => return Ok("{}".to_owned()),
            Some(other) => return Err(unexpected(other)),
        },
    };
    json.map_err(|why| CtlError::Refused(why.to_string()))
}

/// The whole inventory. It ends, as each page lists younger transports than the one before.
fn all_pages(relay: &mut Connection) -> Result<Inventory, CtlError> {
    let mut whole = Inventory::default();
    loop {
        let command = Command::GetInventory(GetInventory { after: whole.next });
        match relay.call(command).map_err(CtlError::Io)? {
            ReplyBody::Inventory(page) => {
                let last = page.next <= whole.next;
                (whole.boot_id, whole.next) = (page.boot_id, page.next);
                whole.transports.extend(page.transports);
                whole.ports.extend(page.ports);
                if last {
                    return Ok(whole);
                }
            }
            other => return Err(unexpected(other)),
        }
    }
}

fn unexpected(body: ReplyBody) -> CtlError {
    match body {
        ReplyBody::Error(error) => CtlError::Refused(error.message),
        other => CtlError::Refused(format!("an answer to something else: {other:?}")),
    }
}

#[derive(Serialize)]
struct InventoryJson<'a> {
    boot_id: String,
    transports: Vec<TransportJson<'a>>,
    ports: Vec<PortJson<'a>>,
}

/// A process at a local port.
#[derive(Serialize)]
struct PortJson<'a> {
    port: &'a str,
    taps: Vec<String>,
    sources: Vec<SourceJson<'a>>,
}

#[derive(Serialize)]
struct SourceJson<'a> {
    track_id: String,
    room_id: String,
    #[serde(flatten)]
    rtp: RtpJson<'a>,
    priority: &'static str,
}

#[derive(Serialize)]
struct TransportJson<'a> {
    transport_id: String,
    room_id: String,
    shard: u32,
    state: &'static str,
    /// Present if the label is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    /// Present if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    label_base64: Option<String>,
    remote_address: &'a str,
    dtls_version: &'a str,
    dtls_group: &'a str,
    srtp_profile: &'a str,
    local_ufrag: &'a str,
    candidates: Vec<String>,
    up_tracks: Vec<UpTrackJson<'a>>,
    down_tracks: Vec<DownTrackJson<'a>>,
}

#[derive(Serialize)]
struct UpTrackJson<'a> {
    track_id: String,
    #[serde(flatten)]
    rtp: RtpJson<'a>,
    ssrc: u32,
    active: bool,
    packets: u64,
    bytes: u64,
    keyframes: u64,
    lost: u64,
    priority: &'static str,
}

#[derive(Serialize)]
struct DownTrackJson<'a> {
    track_id: String,
    up_track_id: String,
    #[serde(flatten)]
    rtp: RtpJson<'a>,
    ssrc: u32,
    rtx_ssrc: u32,
    packets: u64,
    bytes: u64,
    retransmissions: u64,
}

#[derive(Serialize)]
struct RtpJson<'a> {
    kind: &'static str,
    codec: &'static str,
    clock_rate_hz: u32,
    payload_type: u32,
    rtx_payload_type: Option<u32>,
    mid: &'a str,
}

#[derive(Serialize)]
struct StatsJson {
    shards: Vec<ShardJson>,
    /// Sums over the shards.
    total: Map<String, Value>,
    process: Map<String, Value>,
}

#[derive(Serialize)]
struct ShardJson {
    shard: u32,
    counters: Map<String, Value>,
}

fn inventory_json(inventory: &Inventory) -> InventoryJson<'_> {
    InventoryJson {
        boot_id: hex(inventory.boot_id),
        transports: inventory.transports.iter().map(transport_json).collect(),
        ports: inventory.ports.iter().map(port_json).collect(),
    }
}

fn port_json(port: &PortInfo) -> PortJson<'_> {
    PortJson {
        port: &port.port,
        taps: port.taps.iter().copied().map(hex).collect(),
        sources: port.sources.iter().map(source_json).collect(),
    }
}

fn source_json(source: &AddSource) -> SourceJson<'_> {
    SourceJson {
        track_id: hex(source.track_id),
        room_id: hex(source.room_id),
        rtp: rtp_json(&source.rtp),
        priority: source.priority().name(),
    }
}

fn transport_json(t: &TransportInfo) -> TransportJson<'_> {
    let text = std::str::from_utf8(&t.label).ok();
    let binary = || base64::engine::general_purpose::STANDARD.encode(&t.label);
    TransportJson {
        transport_id: hex(t.transport_id),
        room_id: hex(t.room_id),
        shard: t.shard,
        state: state_name(t.state()),
        label: text,
        label_base64: text.is_none().then(binary),
        remote_address: &t.remote_address,
        dtls_version: &t.dtls_version,
        dtls_group: &t.dtls_group,
        srtp_profile: &t.srtp_profile,
        local_ufrag: t.opened.as_ref().map_or("", |o| &o.local_ufrag),
        candidates: t.opened.iter().flat_map(|o| &o.candidates).map(candidate_text).collect(),
        up_tracks: t.up_tracks.iter().map(up_track_json).collect(),
        down_tracks: t.down_tracks.iter().map(down_track_json).collect(),
    }
}

fn up_track_json(t: &UpTrackInfo) -> UpTrackJson<'_> {
    UpTrackJson {
        track_id: hex(t.track_id),
        rtp: rtp_json(&t.rtp),
        ssrc: t.ssrc,
        active: t.active,
        packets: t.packets,
        bytes: t.bytes,
        keyframes: t.keyframes,
        lost: t.lost,
        priority: t.priority().name(),
    }
}

fn down_track_json(t: &DownTrackInfo) -> DownTrackJson<'_> {
    DownTrackJson {
        track_id: hex(t.track_id),
        up_track_id: hex(t.up_track_id),
        rtp: rtp_json(&t.rtp),
        ssrc: t.ssrc,
        rtx_ssrc: t.rtx_ssrc,
        packets: t.packets,
        bytes: t.bytes,
        retransmissions: t.retransmissions,
    }
}

fn rtp_json(rtp: &RtpParameters) -> RtpJson<'_> {
    RtpJson {
        kind: match rtp.kind() {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
        },
        codec: match rtp.codec() {
            Codec::Opus => "opus",
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::Vp8 => "VP8",
            Codec::H264 => "H264",
        },
        clock_rate_hz: rtp.clock_rate_hz,
        payload_type: rtp.payload_type,
        rtx_payload_type: rtp.rtx_payload_type,
        mid: &rtp.mid,
    }
}

fn stats_json(stats: &Stats) -> StatsJson {
    let mut total: Map<String, Value> = Map::new();
    for counter in stats.shards.iter().flat_map(|shard| &shard.counters) {
        let sum = total.get(&counter.name).and_then(Value::as_u64).unwrap_or(0);
        total.insert(counter.name.clone(), sum.saturating_add(counter.value).into());
    }
    let shards = stats.shards.iter();
    StatsJson {
        shards: shards.map(|s| ShardJson { shard: s.shard, counters: counters_json(&s.counters) }).collect(),
        total,
        process: counters_json(&stats.process),
    }
}

fn counters_json(counters: &[Counter]) -> Map<String, Value> {
    counters.iter().map(|c| (c.name.clone(), c.value.into())).collect()
}

fn state_name(state: TransportState) -> &'static str {
    match state {
        TransportState::New => "new",
        TransportState::IceConnected => "ice_connected",
        TransportState::Connected => "connected",
        TransportState::Failed => "failed",
        TransportState::Closed => "closed",
    }
}

/// Ids are 64 random bits: JSON numbers would be rounded by half of the programs that read them.
fn hex(id: u64) -> String {
    format!("{id:016x}")
}

fn candidate_text(candidate: &CandidateAddress) -> String {
    if candidate.ip.contains(':') {
        format!("[{}]:{}", candidate.ip, candidate.port)
    } else {
        format!("{}:{}", candidate.ip, candidate.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_control::{ShardStats, TransportOpened};
    use serde_json::json;

    fn transport(label: &[u8]) -> TransportInfo {
        let candidate = |ip: &str| CandidateAddress { ip: ip.into(), port: 10_000 };
        let rtp = RtpParameters {
            kind: MediaKind::Video.into(),
            codec: Codec::Vp8.into(),
            payload_type: 96,
            rtx_payload_type: Some(97),
            clock_rate_hz: 90_000,
            mid: "1".into(),
            ..RtpParameters::default()
        };
        TransportInfo {
            transport_id: u64::MAX,
            room_id: 1,
            state: TransportState::Connected.into(),
            label: label.to_vec(),
            up_tracks: vec![UpTrackInfo { track_id: 5, rtp: rtp.clone(), ..UpTrackInfo::default() }],
            down_tracks: vec![DownTrackInfo { track_id: 6, up_track_id: 5, rtp, ..DownTrackInfo::default() }],
            opened: Some(TransportOpened {
                local_ufrag: "ufra".into(),
                local_pwd: "never shown".into(),
                candidates: vec![candidate("203.0.113.1"), candidate("2001:db8::1")],
                ..TransportOpened::default()
            }),
            ..TransportInfo::default()
        }
    }

    #[test]
    fn inventory_is_readable_and_keeps_secrets() {
        let inventory = Inventory {
            next: 0,
            ports: vec![PortInfo { port: "recorder".into(), taps: vec![5], sources: vec![] }],
            boot_id: 0xab,
            transports: vec![transport("Комната".as_bytes()), transport(&[0xff])],
        };
        let text = serde_json::to_string(&inventory_json(&inventory)).expect("serializes");
        assert!(!text.contains("never shown"));
        let json: Value = serde_json::from_str(&text).expect("parses");
        assert_eq!(json["boot_id"], "00000000000000ab");
        assert_eq!(json["ports"], json!([{"port": "recorder", "taps": ["0000000000000005"], "sources": []}]));
        let first = &json["transports"][0];
        assert_eq!(first["transport_id"], "ffffffffffffffff");
        assert_eq!(first["state"], "connected");
        assert_eq!(first["label"], "Комната");
        assert_eq!(first["candidates"], json!(["203.0.113.1:10000", "[2001:db8::1]:10000"]));
        assert_eq!(first["up_tracks"][0]["codec"], "VP8");
        assert_eq!(first["up_tracks"][0]["priority"], "medium");
        assert_eq!(first["down_tracks"][0]["up_track_id"], "0000000000000005");
        let second = &json["transports"][1];
        assert_eq!((&second["label"], &second["label_base64"]), (&Value::Null, &json!("/w==")));
    }

    #[test]
    fn stats_are_summed_over_shards() {
        let shard = |shard, value| {
            let counters = vec![Counter { name: "rx.datagrams".into(), value }];
            ShardStats { shard, counters }
        };
        let process = vec![Counter { name: "control.requests".into(), value: 9 }];
        let json =
            serde_json::to_value(stats_json(&Stats { shards: vec![shard(0, 3), shard(1, 4)], process }));
        let json = json.expect("serializes");
        assert_eq!(json["shards"][1], json!({"shard": 1, "counters": {"rx.datagrams": 4}}));
        assert_eq!(json["total"], json!({"rx.datagrams": 7}));
        assert_eq!(json["process"], json!({"control.requests": 9}));
    }
}
