//! In by the relay's control socket, as signaling does: plain numbers, no SDP.

use super::sdp::MID_ID;
use super::{Answered, Channel, Demands, Down, JoinAnswer, JoinRequest, ServerCounters, Up, nearest};
use crate::scenario::{Kind, Stream};
use crate::sending::TRANSPORT_SEQ_ID;
use crate::server::Server;
use relay_control::{
    AddDownTrack, AddTap, AddUpTrack, CONTROL_VERSION, Codec, Command, Connection, ExtensionIds, GetStats,
    Hello, MediaKind, OpenTransport, ReplyBody, RtpParameters,
};
use relay_core::srtp::SrtpProfile;
use ringvox_client::Credentials;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The relay answers within this, or is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Our name at a local port.
const PORT: &str = "load";
/// What our publishers send is policed by nobody: bursts and raised loads go beyond what a browser does.
const PUBLISHER_BITRATE_BPS: u64 = 100_000_000_000;

pub(crate) struct ControlChannel {
    relay: Connection,
    /// Ids of this run begin here: two runs on one relay do not meet.
    base: u64,
    next_down_track: u64,
    fingerprint: [u8; 32],
    /// `uring` or `mmsg`.
    pub(crate) back_end: String,
    /// The one that ruled when we came.
    epoch: u64,
    /// Each up-track is tapped.
    taps: bool,
}

impl ControlChannel {
    /// Connects as soon as the relay listens. Who does not command it only reads: somebody else commands.
    pub(crate) fn connect(socket: &Path, server: &mut Server, commands: bool) -> Result<Self, String> {
        let relay = Connection::new(reach(socket, server)?);
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|why| why.to_string())?;
        let mut channel = Self {
            relay,
            base: u64::from_be_bytes(seed) & 0x7fff_ffff_0000_0000,
            next_down_track: 1 << 24,
            fingerprint: [0; 32],
            back_end: String::new(),
            epoch: 0,
            taps: false,
        };
        channel.hello(0)?;
        if commands {
            channel.hello(channel.epoch + 1)?;
        }
        Ok(channel)
    }

    /// Epoch 0 only reads, and hears which epoch rules.
    fn hello(&mut self, epoch: u64) -> Result<(), String> {
        let hello = Hello { version: CONTROL_VERSION, epoch, name: "ringvox-load".into(), instance: 0 };
        match self.relay.call(Command::Hello(hello)).map_err(silent)? {
            ReplyBody::Welcome(welcome) => {
                self.fingerprint = welcome.fingerprint_sha256.try_into().map_err(|_| "a bad fingerprint")?;
                self.back_end = welcome.io_backend;
                self.epoch = welcome.epoch;
                Ok(())
            }
            other => Err(format!("no welcome: {other:?}")),
        }
    }

    /// Lets a thread be the process at a local port that gets all streams, and does nothing with them.
    pub(crate) fn tap_all(&mut self, socket: &Path) -> Result<(), String> {
        let ports = socket.with_file_name("relay-ports.sock");
        let (writer, mut reader) = relay_port::connect(&ports, PORT).map_err(|why| why.to_string())?;
        std::thread::spawn(move || {
            while matches!(reader.read(|_, _| ()), Ok(Some(()))) {}
            drop(writer);
        });
        self.taps = true;
        Ok(())
    }

    /// Taps what these publish.
    fn tap(&mut self, requests: &[JoinRequest]) -> Result<(), String> {
        let published =
            requests.iter().filter(|request| request.publishes).flat_map(|request| &request.streams);
        let tap = |stream: &Stream| {
            let (track_id, port) = (self.base + u64::from(stream.id), PORT.to_owned());
            Command::AddTap(AddTap { track_id, port, label: Vec::new() })
        };
        let replies = self.relay.call_all(published.map(tap)).map_err(silent)?;
        match replies.into_iter().find(|reply| !matches!(reply, ReplyBody::Done(_))) {
            Some(other) => Err(format!("no tap: {other:?}")),
            None => Ok(()),
        }
    }

    fn transport_id(&self, request: &JoinRequest) -> u64 {
        self.base + u64::from(request.client)
    }

    fn open(&self, request: &JoinRequest) -> Command {
        Command::OpenTransport(OpenTransport {
            transport_id: self.transport_id(request),
            room_id: self.base + u64::from(request.room),
            remote_ufrag: request.credentials.ufrag.clone(),
            remote_pwd: request.credentials.pwd.clone(),
            remote_fingerprint_sha256: request.fingerprint.to_vec(),
            more_fingerprints_sha256: Vec::new(),
            label: format!("load {}", request.client).into_bytes(),
            max_receive_bitrate_bps: PUBLISHER_BITRATE_BPS,
            dtls_client: false,
        })
    }

    fn add_track(&mut self, request: &JoinRequest, number: usize, stream: &Stream) -> Command {
        let transport_id = self.transport_id(request);
        let up_track_id = self.base + u64::from(stream.id);
        let rtp = parameters(stream, number, request.publishes);
        if request.publishes {
            return Command::AddUpTrack(AddUpTrack {
                transport_id,
                track_id: up_track_id,
                rtp,
                ssrc: stream.ssrc(),
                rtx_ssrc: stream.kind.rtx_payload_type().map_or(0, |_| stream.rtx_ssrc()),
                ..AddUpTrack::default()
            });
        }
        self.next_down_track += 1;
        Command::AddDownTrack(AddDownTrack {
            transport_id,
            track_id: self.base + self.next_down_track,
            up_track_id,
            rtp,
            cname: format!("publisher{}", stream.publisher),
        })
    }

    /// One answer for each request. A transport's tracks wait until it is there.
    fn join_all(&mut self, requests: &[JoinRequest]) -> Result<Vec<Result<JoinAnswer, String>>, String> {
        let opens: Vec<Command> = requests.iter().map(|request| self.open(request)).collect();
        let opened = self.relay.call_all(opens).map_err(silent)?;
        let mut tracks = Vec::new();
        for request in requests {
            for (number, stream) in request.streams.iter().enumerate() {
                tracks.push(self.add_track(request, number, stream));
            }
        }
        let mut added = self.relay.call_all(tracks).map_err(silent)?.into_iter();
        if self.taps {
            self.tap(requests)?;
        }
        let pairs = requests.iter().zip(opened);
        Ok(pairs.map(|(request, opened)| self.answer(request, opened, &mut added)).collect())
    }

    /// What the answers to one request's commands come to.
    fn answer(
        &self,
        request: &JoinRequest,
        opened: ReplyBody,
        added: &mut impl Iterator<Item = ReplyBody>,
    ) -> Result<JoinAnswer, String> {
        let added: Vec<ReplyBody> = added.take(request.streams.len()).collect();
        let ReplyBody::TransportOpened(opened) = opened else { return Err(format!("{opened:?}")) };
        let (mut ups, mut downs) = (Vec::new(), Vec::new());
        for (reply, stream) in added.into_iter().zip(&request.streams) {
            let up = Up::offered(stream.kind);
            match reply {
                ReplyBody::DownTrackAdded(down) => {
                    downs.push(Down::new(stream.id, stream.kind, up, (down.ssrc, down.rtx_ssrc)));
                }
                ReplyBody::UpTrackAdded(_) => ups.push(up),
                other => return Err(format!("{other:?}")),
            }
        }
        let candidates: Vec<SocketAddr> = opened
            .candidates
            .iter()
            .filter_map(|c| Some(SocketAddr::new(c.ip.parse().ok()?, u16::try_from(c.port).ok()?)))
            .collect();
        Ok(JoinAnswer {
            credentials: Credentials::new(&opened.local_ufrag, &opened.local_pwd),
            remote: nearest(request.local, &candidates)?,
            fingerprint: self.fingerprint,
            ups,
            downs,
        })
    }
}

impl Channel for ControlChannel {
    fn demands(&self) -> Demands {
        Demands { profiles: vec![SrtpProfile::AeadAes128Gcm], one_publisher_each: false, local: None }
    }

    fn join(&mut self, requests: &[JoinRequest], answered: Answered<'_>) {
        match self.join_all(requests) {
            Err(why) => requests.iter().for_each(|request| answered(request.client, Err(why.clone()))),
            Ok(answers) => {
                requests.iter().zip(answers).for_each(|(request, answer)| answered(request.client, answer));
            }
        }
    }

    fn counters(&mut self) -> Result<ServerCounters, String> {
        let stats = self.relay.call(Command::GetStats(GetStats {})).map_err(silent)?;
        let ReplyBody::Stats(stats) = stats else { return Err("no counters".to_owned()) };
        let mut sum = ServerCounters::new();
        for counter in stats.shards.into_iter().flat_map(|shard| shard.counters).chain(stats.process) {
            *sum.entry(counter.name).or_default() += counter.value;
        }
        Ok(sum)
    }

    /// A connection that does not go on will say so when something is asked.
    fn drain(&mut self) {
        let _ = self.relay.drain();
    }

    /// The clients' own goodbyes are enough.
    fn leave(&mut self) -> Result<(), String> {
        Ok(())
    }
}

fn silent(why: std::io::Error) -> String {
    format!("the relay does not answer: {why}")
}

/// Connects to a server's socket, for which a server that has just been started needs a moment.
pub(super) fn reach(socket: &Path, server: &mut Server) -> Result<UnixStream, String> {
    let until = Instant::now() + PATIENCE;
    let stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(why) if Instant::now() > until => return Err(format!("{}: {why}", socket.display())),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
        server.check()?;
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(|why| why.to_string())?;
    Ok(stream)
}

/// What browsers negotiate for this kind.
fn parameters(stream: &Stream, number: usize, up: bool) -> RtpParameters {
    let (kind, codec) = match stream.kind {
        Kind::Audio => (MediaKind::Audio, Codec::Opus),
        Kind::Video => (MediaKind::Video, Codec::Vp8),
    };
    let is_video = stream.kind == Kind::Video;
    RtpParameters {
        kind: kind.into(),
        codec: codec.into(),
        clock_rate_hz: stream.kind.clock_rate_hz(),
        payload_type: stream.kind.payload_type().into(),
        rtx_payload_type: stream.kind.rtx_payload_type().map(u32::from),
        mid: number.to_string(),
        extensions: ExtensionIds {
            mid: MID_ID.into(),
            transport_cc: if up { TRANSPORT_SEQ_ID.into() } else { 0 },
            ..ExtensionIds::default()
        },
        nack: is_video,
        pli: is_video,
        fir: is_video,
        remb: false,
        transport_cc: up,
    }
}
