//! In by the relay's control socket, as signaling does: plain numbers, no SDP.

use super::sdp::MID_ID;
use super::{Door, Down, Grant, Manners, ServerCounters, Up, Wish, nearest};
use crate::scenario::{Kind, Role, Stream};
use crate::sending::TRANSPORT_SEQ_ID;
use crate::target::Target;
use relay_control::{
    AddDownTrack, AddUpTrack, CONTROL_VERSION, Codec, Command, ExtensionIds, FrameDecoder, FromRelay,
    GetStats, Hello, MediaKind, OpenTransport, Outgoing, ReplyBody, Request, RtpParameters, encode_frame,
};
use relay_core::srtp::SrtpProfile;
use ringvox_client::Credentials;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The relay answers within this, or is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// What our publishers send is policed by nobody: bursts and raised loads go beyond what a browser does.
const PUBLISHER_BITRATE_BPS: u64 = 100_000_000_000;
/// Wishes whose commands go out in one piece.
const WISHES_MAX: usize = 64;

/// See the module.
pub(crate) struct ControlDoor {
    stream: UnixStream,
    decoder: FrameDecoder,
    last_request: u64,
    /// Ids of this run begin here: two runs on one relay do not meet.
    base: u64,
    next_down_track: u64,
    fingerprint: [u8; 32],
    /// `uring` or `mmsg`.
    back_end: String,
    /// The one that ruled when we came.
    epoch: u64,
}

impl ControlDoor {
    /// Connects as soon as the relay listens, and commands it.
    pub(crate) fn connect(socket: &Path, target: &mut Target) -> Result<Self, String> {
        let mut door = Self::watch(socket, target)?;
        door.command()?;
        Ok(door)
    }

    /// Connects as soon as the relay listens, and only reads: somebody else commands it.
    pub(crate) fn watch(socket: &Path, target: &mut Target) -> Result<Self, String> {
        let stream = reach(socket, target)?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|why| why.to_string())?;
        let base = u64::from_be_bytes(seed) & 0x7fff_ffff_0000_0000;
        let mut door = Self {
            stream,
            decoder: FrameDecoder::default(),
            last_request: 0,
            base,
            next_down_track: 1 << 24,
            fingerprint: [0; 32],
            back_end: String::new(),
            epoch: 0,
        };
        door.hello(0)?;
        Ok(door)
    }

    pub(crate) fn back_end(&self) -> &str {
        &self.back_end
    }

    fn command(&mut self) -> Result<(), String> {
        self.hello(self.epoch + 1)
    }

    /// Epoch 0 only reads, and hears which epoch rules.
    fn hello(&mut self, epoch: u64) -> Result<(), String> {
        let hello = Hello { version: CONTROL_VERSION, epoch, name: "ringvox-load".into(), instance: 0 };
        match self.call(Command::Hello(hello))? {
            ReplyBody::Welcome(welcome) => {
                self.fingerprint = welcome.fingerprint_sha256.try_into().map_err(|_| "a bad fingerprint")?;
                self.back_end = welcome.io_backend;
                self.epoch = welcome.epoch;
                Ok(())
            }
            other => Err(format!("no welcome: {other:?}")),
        }
    }

    fn call(&mut self, command: Command) -> Result<ReplyBody, String> {
        self.call_all(vec![command])?.pop().ok_or_else(|| "no answer".to_owned())
    }

    /// Sends all, then reads all answers, which come in the same order.
    fn call_all(&mut self, commands: Vec<Command>) -> Result<Vec<ReplyBody>, String> {
        let (mut bytes, count, first) = (Vec::new(), commands.len(), self.last_request + 1);
        for command in commands {
            self.last_request += 1;
            let request = Request { request_id: self.last_request, command: Some(command) };
            encode_frame(&request, &mut bytes).map_err(|why| why.to_string())?;
        }
        self.stream.write_all(&bytes).map_err(|why| format!("the relay does not read: {why}"))?;
        let mut replies: Vec<Option<ReplyBody>> = vec![None; count];
        let mut left = count;
        while left > 0 {
            if let Outgoing::Reply(reply) = self.next_message()? {
                let at = reply.request_id.checked_sub(first).ok_or("an answer to nothing")? as usize;
                *replies.get_mut(at).ok_or("an answer to nothing")? = reply.body;
                left -= 1;
            }
        }
        replies.into_iter().map(|reply| reply.ok_or_else(|| "an empty answer".to_owned())).collect()
    }

    fn next_message(&mut self) -> Result<Outgoing, String> {
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(message) = self.decoder.next::<FromRelay>().map_err(|why| why.to_string())? {
                return message.outgoing.ok_or_else(|| "an empty message".to_owned());
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("the relay closed the control connection".to_owned()),
                Ok(len) => self.decoder.push(&chunk[..len]),
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(format!("the relay does not answer: {why}")),
            }
        }
    }

    fn transport_id(&self, wish: &Wish) -> u64 {
        self.base + u64::from(wish.client)
    }

    fn open(&self, wish: &Wish) -> Command {
        Command::OpenTransport(OpenTransport {
            transport_id: self.transport_id(wish),
            room_id: self.base + u64::from(wish.room),
            remote_ufrag: wish.credentials.ufrag.clone(),
            remote_pwd: wish.credentials.pwd.clone(),
            remote_fingerprint_sha256: wish.fingerprint.to_vec(),
            label: format!("load {}", wish.client).into_bytes(),
            max_receive_bitrate_bps: PUBLISHER_BITRATE_BPS,
        })
    }

    fn add_track(&mut self, wish: &Wish, number: usize, stream: &Stream) -> Command {
        let (transport_id, up_track_id) = (self.transport_id(wish), self.base + u64::from(stream.id));
        match wish.role {
            Role::Publisher => Command::AddUpTrack(AddUpTrack {
                transport_id,
                track_id: up_track_id,
                rtp: parameters(stream, number, true),
                ssrc: stream.ssrc(),
                rtx_ssrc: stream.kind.rtx_payload_type().map_or(0, |_| stream.rtx_ssrc()),
                ..AddUpTrack::default()
            }),
            Role::Subscriber => {
                self.next_down_track += 1;
                Command::AddDownTrack(AddDownTrack {
                    transport_id,
                    track_id: self.base + self.next_down_track,
                    up_track_id,
                    rtp: parameters(stream, number, false),
                    cname: format!("publisher{}", stream.publisher),
                })
            }
        }
    }

    /// The answers to all commands of each wish. A transport's tracks wait until it is there.
    fn join_all(&mut self, wishes: &[Wish]) -> Result<Vec<(ReplyBody, Vec<ReplyBody>)>, String> {
        let opens = wishes.iter().map(|wish| self.open(wish)).collect();
        let opened = self.call_all(opens)?;
        let mut tracks = Vec::new();
        for wish in wishes {
            for (number, stream) in wish.streams.iter().enumerate() {
                tracks.push(self.add_track(wish, number, stream));
            }
        }
        let mut added = self.call_all(tracks)?.into_iter();
        let per_wish = wishes.iter().map(|wish| added.by_ref().take(wish.streams.len()).collect());
        Ok(opened.into_iter().zip(per_wish.collect::<Vec<_>>()).collect())
    }
}

impl Door for ControlDoor {
    fn manners(&self) -> Manners {
        Manners {
            profiles: vec![SrtpProfile::AeadAes128Gcm],
            one_publisher_each: false,
            local: None,
            wishes_max: WISHES_MAX,
        }
    }

    fn join(&mut self, wishes: &[Wish]) -> Vec<Result<Grant, String>> {
        match self.join_all(wishes) {
            Err(why) => wishes.iter().map(|_| Err(why.clone())).collect(),
            Ok(answers) => {
                let pairs = wishes.iter().zip(answers);
                pairs.map(|(wish, (opened, added))| grant(wish, opened, added, self.fingerprint)).collect()
            }
        }
    }

    fn counters(&mut self) -> Result<ServerCounters, String> {
        let ReplyBody::Stats(stats) = self.call(Command::GetStats(GetStats {}))? else {
            return Err("no counters".to_owned());
        };
        let mut sum = ServerCounters::new();
        for counter in stats.shards.into_iter().flat_map(|shard| shard.counters).chain(stats.process) {
            *sum.entry(counter.name).or_default() += counter.value;
        }
        Ok(sum)
    }

    fn tidy(&mut self) {
        let mut chunk = [0; 16 << 10];
        if self.stream.set_nonblocking(true).is_err() {
            return;
        }
        while let Ok(len @ 1..) = self.stream.read(&mut chunk) {
            self.decoder.push(&chunk[..len]);
            while let Ok(Some(_)) = self.decoder.next::<FromRelay>() {}
        }
        let _ = self.stream.set_nonblocking(false);
    }

    /// The clients' own goodbyes are enough.
    fn leave(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// Connects to a server's socket, for which a server that has just been started needs a moment.
pub(super) fn reach(socket: &Path, target: &mut Target) -> Result<UnixStream, String> {
    let until = Instant::now() + PATIENCE;
    let stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(why) if Instant::now() > until => return Err(format!("{}: {why}", socket.display())),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
        target.check()?;
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(|why| why.to_string())?;
    Ok(stream)
}

/// What the answers to one wish's commands come to.
fn grant(
    wish: &Wish,
    opened: ReplyBody,
    added: Vec<ReplyBody>,
    fingerprint: [u8; 32],
) -> Result<Grant, String> {
    let ReplyBody::TransportOpened(opened) = opened else { return Err(format!("{opened:?}")) };
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    for (reply, stream) in added.into_iter().zip(&wish.streams) {
        let kind = stream.kind;
        match reply {
            ReplyBody::DownTrackAdded(down) => {
                downs.push(Down::new(stream.id, kind, Up::offered(kind), (down.ssrc, down.rtx_ssrc)));
            }
            ReplyBody::UpTrackAdded(_) => ups.push(Up::offered(kind)),
            other => return Err(format!("{other:?}")),
        }
    }
    let candidates = opened.candidates.iter();
    let candidates: Vec<SocketAddr> = candidates
        .filter_map(|c| Some(SocketAddr::new(c.ip.parse().ok()?, u16::try_from(c.port).ok()?)))
        .collect();
    let remote = nearest(wish.local, &candidates)?;
    let credentials = Credentials::new(&opened.local_ufrag, &opened.local_pwd);
    Ok(Grant { credentials, remote, fingerprint, ups, downs })
}

/// What browsers negotiate for this kind.
fn parameters(stream: &Stream, number: usize, up: bool) -> RtpParameters {
    let video = stream.kind == Kind::Video;
    RtpParameters {
        kind: (if video { MediaKind::Video } else { MediaKind::Audio }) as i32,
        codec: (if video { Codec::Vp8 } else { Codec::Opus }) as i32,
        clock_rate_hz: stream.kind.clock_rate_hz(),
        payload_type: u32::from(stream.kind.payload_type()),
        rtx_payload_type: stream.kind.rtx_payload_type().map(u32::from),
        mid: number.to_string(),
        extensions: ExtensionIds {
            mid: u32::from(MID_ID),
            transport_cc: if up { u32::from(TRANSPORT_SEQ_ID) } else { 0 },
            ..ExtensionIds::default()
        },
        nack: video,
        pli: video,
        fir: video,
        remb: false,
        transport_cc: up,
    }
}
