//! Plays a video to one browser: the relay's controller and a process at its port in one.

use crate::{ivf, vp8};
use relay_control::{
    AddDownTrack, AddSource, CONTROL_VERSION, Codec, Command, DownTrackAdded, ErrorCode, FrameDecoder,
    FromRelay, Hello, MediaKind, OpenTransport, Outgoing, ReplyBody, Request, RtpParameters, TransportOpened,
    encode_frame, port_socket,
};
use relay_port::{ClientWriter, Frame, MediaTime, Message, Packet, connect};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const SOURCE: u64 = 1;
const ROOM: u64 = 1;

/// Frames per second.
const RATE: u32 = 25;
/// Time between two of them.
const PICTURE: Duration = Duration::from_millis(1_000 / RATE as u64);

/// The parts of an offer that are needed.
#[derive(Debug, Default)]
struct Offer {
    ufrag: String,
    pwd: String,
    fingerprint: Vec<u8>,
    mid: String,
    payload_type: u32,
}

/// Plays the file again and again, until standard input ends.
pub(crate) fn play(control: &Path, name: &str, file: &Path) -> Result<(), Box<dyn Error>> {
    let file = fs::read(file)?;
    let frames = ivf::frames(&file);
    let offer = read_offer()?;
    let (writer, mut reader) = connect(&port_socket(control), name)?;
    let mut relay = Control::connect(control)?;
    let (opened, added, fingerprint) = relay.order(name, &offer)?;
    io::stdout().write_all(answer(&offer, &opened, added, &fingerprint).as_bytes())?;
    io::stdout().flush()?;
    let (wanted_in, wanted) = channel();
    std::thread::spawn(move || {
        while let Ok(Some(said)) = reader.read(|frame, _| frame) {
            if matches!(said, Frame::Message(Message::Keyframe { .. })) && wanted_in.send(()).is_err() {
                return;
            }
        }
    });
    let (end_in, end) = channel();
    std::thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        end_in.send(())
    });
    stream(writer, &frames, &wanted, &end)
}

/// A picture each 40 ms. Whenever a keyframe is wanted the file begins again, with its first one.
fn stream(
    mut writer: ClientWriter,
    frames: &[&[u8]],
    wanted: &Receiver<()>,
    end: &Receiver<()>,
) -> Result<(), Box<dyn Error>> {
    let (begun, mut at, mut seq) = (Instant::now(), 0, 0);
    for picture in 0u32.. {
        if wanted.try_iter().count() > 0 || at == frames.len() {
            at = 0;
        }
        let frame = frames.get(at).ok_or("the file has no frames")?;
        at += 1;
        let parts: Vec<Vec<u8>> = vp8::payloads(frame).collect();
        for (index, payload) in parts.iter().enumerate() {
            let packet = Packet {
                track_id: SOURCE,
                seq,
                source: 0,
                timestamp: picture.wrapping_mul(90_000 / RATE),
                arrival: MediaTime::from_nanos(i64::from(picture) * PICTURE.as_nanos() as i64),
                marker: index + 1 == parts.len(),
                keyframe: index == 0 && vp8::is_keyframe(frame),
                audio_level: None,
                video_orientation: None,
            };
            writer.send(&Frame::Message(Message::Packet(packet)), payload)?;
            seq += 1;
        }
        let next = (begun + PICTURE * (picture + 1)).saturating_duration_since(Instant::now());
        match end.recv_timeout(next) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(())
}

/// Reads lines up to one that has only a full stop.
fn read_offer() -> Result<Offer, Box<dyn Error>> {
    let mut offer = Offer::default();
    for line in io::stdin().lines() {
        let line = line?;
        let value = |name: &str| line.trim().strip_prefix(name).map(str::to_owned);
        if line.trim() == "." {
            return Ok(offer);
        } else if let Some(ufrag) = value("a=ice-ufrag:") {
            offer.ufrag = ufrag;
        } else if let Some(pwd) = value("a=ice-pwd:") {
            offer.pwd = pwd;
        } else if let Some(octets) = value("a=fingerprint:sha-256 ") {
            let octets = octets.split(':').map(|octet| u8::from_str_radix(octet, 16));
            offer.fingerprint = octets.collect::<Result<_, _>>()?;
        } else if let Some(mid) = value("a=mid:") {
            offer.mid = mid;
        } else if let Some((pt, "VP8/90000")) = value("a=rtpmap:").as_deref().and_then(|v| v.split_once(' '))
        {
            offer.payload_type = pt.parse()?;
        }
    }
    Err("no offer".into())
}

fn answer(offer: &Offer, opened: &TransportOpened, added: DownTrackAdded, fingerprint: &[u8]) -> String {
    let fingerprint: Vec<String> = fingerprint.iter().map(|octet| format!("{octet:02X}")).collect();
    let (pt, mut sdp) = (offer.payload_type, String::new());
    for line in [
        "v=0".into(),
        "o=- 1 1 IN IP4 127.0.0.1".into(),
        "s=-".into(),
        "t=0 0".into(),
        "a=ice-lite".into(),
        format!("a=group:BUNDLE {}", offer.mid),
        format!("m=video 9 UDP/TLS/RTP/SAVPF {pt}"),
        "c=IN IP4 0.0.0.0".into(),
        format!("a=mid:{}", offer.mid),
        "a=sendonly".into(),
        "a=rtcp-mux".into(),
        "a=setup:passive".into(),
        format!("a=ice-ufrag:{}", opened.local_ufrag),
        format!("a=ice-pwd:{}", opened.local_pwd),
        format!("a=fingerprint:sha-256 {}", fingerprint.join(":")),
        format!("a=rtpmap:{pt} VP8/90000"),
        format!("a=rtcp-fb:{pt} nack pli"),
        "a=msid:play video".into(),
        format!("a=ssrc:{} cname:play", added.ssrc),
    ] {
        let _ = write!(sdp, "{line}\r\n");
    }
    for (index, candidate) in opened.candidates.iter().enumerate() {
        let (priority, ip, port) = (2_130_706_431 - index, &candidate.ip, candidate.port);
        let _ = write!(sdp, "a=candidate:{index} 1 udp {priority} {ip} {port} typ host\r\n");
    }
    sdp + ".\r\n"
}

/// A control connection that asks and waits.
struct Control {
    stream: UnixStream,
    decoder: FrameDecoder,
    last_id: u64,
}

impl Control {
    fn connect(socket: &Path) -> Result<Self, Box<dyn Error>> {
        let stream = UnixStream::connect(socket)?;
        Ok(Self { stream, decoder: FrameDecoder::default(), last_id: 0 })
    }

    /// A transport for the browser, the port's process as a source, and a track from this to that.
    fn order(
        &mut self,
        name: &str,
        offer: &Offer,
    ) -> Result<(TransportOpened, DownTrackAdded, Vec<u8>), Box<dyn Error>> {
        let hello = Hello { version: CONTROL_VERSION, epoch: 1, name: name.to_owned(), instance: 1 };
        let ReplyBody::Welcome(welcome) = self.call(Command::Hello(hello))? else {
            return Err("no welcome".into());
        };
        let open = OpenTransport {
            transport_id: 1,
            room_id: ROOM,
            remote_ufrag: offer.ufrag.clone(),
            remote_pwd: offer.pwd.clone(),
            remote_fingerprint_sha256: offer.fingerprint.clone(),
            ..OpenTransport::default()
        };
        let ReplyBody::TransportOpened(opened) = self.call(Command::OpenTransport(open))? else {
            return Err("no transport".into());
        };
        let rtp = RtpParameters {
            kind: MediaKind::Video.into(),
            codec: Codec::Vp8.into(),
            clock_rate_hz: 90_000,
            payload_type: offer.payload_type,
            mid: offer.mid.clone(),
            pli: true,
            ..RtpParameters::default()
        };
        let source = AddSource {
            track_id: SOURCE,
            room_id: ROOM,
            port: name.to_owned(),
            rtp: rtp.clone(),
            priority: 0,
        };
        self.until_known(&Command::AddSource(source))?;
        let (track_id, up_track_id, cname) = (2, SOURCE, "play".to_owned());
        let down = AddDownTrack { transport_id: 1, track_id, up_track_id, rtp, cname };
        match self.call(Command::AddDownTrack(down))? {
            ReplyBody::DownTrackAdded(added) => Ok((opened, added, welcome.fingerprint_sha256)),
            other => Err(format!("no track: {other:?}").into()),
        }
    }

    /// The control thread may learn of our port a moment after us.
    fn until_known(&mut self, command: &Command) -> Result<(), Box<dyn Error>> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match self.call(command.clone())? {
                ReplyBody::Done(_) => return Ok(()),
                ReplyBody::Error(why) if why.code() == ErrorCode::UnknownPort && Instant::now() < until => {
                    std::thread::yield_now();
                }
                other => return Err(format!("no source: {other:?}").into()),
            }
        }
    }

    fn call(&mut self, command: Command) -> Result<ReplyBody, Box<dyn Error>> {
        self.last_id += 1;
        let mut bytes = Vec::new();
        encode_frame(&Request { request_id: self.last_id, command: Some(command) }, &mut bytes)?;
        self.stream.write_all(&bytes)?;
        let mut chunk = [0; 4_096];
        loop {
            match self.decoder.next::<FromRelay>()?.and_then(|said| said.outgoing) {
                Some(Outgoing::Reply(reply)) if reply.request_id == self.last_id => {
                    return reply.body.ok_or_else(|| "an empty reply".into());
                }
                Some(_) => continue,
                None => {}
            }
            let len = self.stream.read(&mut chunk)?;
            if len == 0 {
                return Err("the relay hung up".into());
            }
            self.decoder.push(&chunk[..len]);
        }
    }
}
