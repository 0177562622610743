//! How clients get in: by the signaling channel, of which each server has a kind of its own.
//!
//! A channel may block, so it lives on a thread of its own and never holds up media.

mod control;
mod janus;
mod sdp;
mod whip;

pub(crate) use control::ControlChannel;
pub(crate) use janus::JanusChannel;
pub(crate) use whip::WhipChannel;

use crate::scenario::{Kind, Stream};
use crate::sending::TRANSPORT_SEQ_ID;
use relay_core::id::{Pt, Ssrc};
use relay_core::srtp::SrtpProfile;
use ringvox_client::Credentials;
use ringvox_client::incoming::Parameters;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How often a channel is read while nobody asks.
const IDLE: Duration = Duration::from_millis(100);
/// A publisher that has just connected is not known before its first packet came: servers that refuse it until then are
/// asked again, for this long and this often.
const PUBLISHER_PATIENCE: Duration = Duration::from_secs(5);
const PUBLISHER_PAUSE: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub(crate) struct JoinRequest {
    pub(crate) client: u32,
    /// It sends the streams; otherwise it receives them.
    pub(crate) publishes: bool,
    pub(crate) room: u32,
    pub(crate) streams: Vec<Stream>,
    pub(crate) credentials: Credentials,
    pub(crate) fingerprint: [u8; 32],
    /// Its host candidate.
    pub(crate) local: SocketAddr,
}

#[derive(Clone, Debug)]
pub(crate) struct JoinAnswer {
    pub(crate) credentials: Credentials,
    pub(crate) remote: SocketAddr,
    /// SHA-256 of the server's certificate.
    pub(crate) fingerprint: [u8; 32],
    /// Of a publisher: one for each of its streams, in their order.
    pub(crate) ups: Vec<Up>,
    /// Of a subscriber: one for each stream.
    pub(crate) downs: Vec<Down>,
}

/// How a publisher's stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Up {
    pub(crate) payload_type: u8,
    /// `None`: nothing is sent again.
    pub(crate) rtx_payload_type: Option<u8>,
    /// Id of the extension with the transport-wide number, if the server wants it.
    pub(crate) transport_seq_id: Option<u8>,
}

impl Up {
    /// As it is offered.
    pub(crate) const fn offered(kind: Kind) -> Self {
        Self {
            payload_type: kind.payload_type(),
            rtx_payload_type: kind.rtx_payload_type(),
            transport_seq_id: Some(TRANSPORT_SEQ_ID),
        }
    }
}

/// A stream that a subscriber will get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Down {
    /// Index in the scenario.
    pub(crate) stream: u32,
    pub(crate) kind: Kind,
    pub(crate) parameters: Parameters,
}

impl Down {
    /// An `rtx_ssrc` of 0: nothing comes again.
    fn new(stream: u32, kind: Kind, up: Up, (ssrc, rtx_ssrc): (u32, u32)) -> Self {
        let rtx = up.rtx_payload_type.filter(|_| rtx_ssrc != 0).map(|pt| (Ssrc(rtx_ssrc), Pt(pt)));
        Self { stream, kind, parameters: Parameters { ssrc: Ssrc(ssrc), pt: Pt(up.payload_type), rtx } }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Demands {
    /// SRTP profiles that clients offer.
    pub(crate) profiles: Vec<SrtpProfile>,
    /// A transport takes the streams of one publisher only: whoever wants several publishers needs several.
    pub(crate) one_publisher_each: bool,
    /// The address that all clients must have, if the server reaches no others.
    pub(crate) local: Option<IpAddr>,
}

pub(crate) type ServerCounters = BTreeMap<String, u64>;

/// Whom the answers to join requests are told, each with the client's id.
type Answered<'a> = &'a mut dyn FnMut(u32, Result<JoinAnswer, String>);

/// The signaling channel of one server. Each call may block.
pub(crate) trait Channel: Send {
    fn demands(&self) -> Demands;

    /// Lets clients in, one after the other or together.
    fn join(&mut self, requests: &[JoinRequest], answered: Answered<'_>);

    /// What the server counts, if it says.
    fn counters(&mut self) -> Result<ServerCounters, String>;

    /// Reads and forgets what the server says unasked.
    fn drain(&mut self);

    /// Says of everybody that they leave.
    fn leave(&mut self) -> Result<(), String>;
}

enum Ask {
    Join(Vec<JoinRequest>),
    Counters,
    Leave(Sender<Result<(), String>>),
}

/// What the channel's thread says.
pub(crate) enum Told {
    Joined(u32, Result<JoinAnswer, String>),
    Counters(Result<ServerCounters, String>),
}

/// A channel on its thread, which ends with the handle.
pub(crate) struct ChannelThread {
    asks: Sender<Ask>,
    pub(crate) told: Receiver<Told>,
}

impl ChannelThread {
    pub(crate) fn start(opened: Box<dyn Channel>) -> Self {
        let (asks, asked) = channel();
        let (tell, told) = channel();
        std::thread::spawn(move || serve(opened, &asked, &tell));
        Self { asks, told }
    }

    pub(crate) fn join(&self, requests: Vec<JoinRequest>) {
        let _ = self.asks.send(Ask::Join(requests));
    }

    pub(crate) fn ask_counters(&self) {
        let _ = self.asks.send(Ask::Counters);
    }

    /// Says of everybody that they leave, and waits until that is done.
    pub(crate) fn leave(&self) -> Result<(), String> {
        let (done, is_done) = channel();
        let _ = self.asks.send(Ask::Leave(done));
        is_done.recv().unwrap_or_else(|_| Err("the signaling channel's thread is gone".to_owned()))
    }
}

/// Answers that nobody waits for any more are dropped.
fn serve(mut channel: Box<dyn Channel>, asked: &Receiver<Ask>, tell: &Sender<Told>) {
    loop {
        match asked.recv_timeout(IDLE) {
            Ok(Ask::Join(requests)) => channel.join(&requests, &mut |client, answer| {
                let _ = tell.send(Told::Joined(client, answer));
            }),
            Ok(Ask::Counters) => drop(tell.send(Told::Counters(channel.counters()))),
            Ok(Ask::Leave(done)) => drop(done.send(channel.leave())),
            Err(RecvTimeoutError::Timeout) => channel.drain(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Of a server's candidates the one for `local`: of its family, and on loopback if it is, should there be such a one.
fn nearest(local: SocketAddr, candidates: &[SocketAddr]) -> Result<SocketAddr, String> {
    let same_family = || candidates.iter().filter(|remote| remote.is_ipv4() == local.is_ipv4());
    same_family()
        .find(|remote| remote.ip().is_loopback() == local.ip().is_loopback())
        .or_else(|| same_family().next())
        .copied()
        .ok_or_else(|| format!("no candidate for {} among {candidates:?}", local.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Frames, Shape};

    /// Of client 7 in room 2, with streams of these kinds and publishers.
    pub(super) fn request(publishes: bool, streams: &[(Kind, u32)]) -> JoinRequest {
        let frames = Frames::Burst { packets: 1, payload_bytes: 100 };
        let shape = Shape { interval: Duration::from_secs(1), frames };
        let stream = |(id, (kind, publisher)): (usize, &(Kind, u32))| Stream {
            id: id as u32,
            room: 2,
            kind: *kind,
            shape,
            publisher: *publisher,
        };
        JoinRequest {
            client: 7,
            publishes,
            room: 2,
            streams: streams.iter().enumerate().map(stream).collect(),
            credentials: Credentials::from_octets([9; 20]),
            fingerprint: [7; 32],
            local: SocketAddr::from(([127, 0, 0, 1], 4000)),
        }
    }

    #[test]
    fn the_nearest_candidate() {
        let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let all = ["[::1]:1", "192.0.2.2:1", "127.0.0.1:1"].map(address);
        for (local, candidates, want) in [
            ("127.0.0.1:9", &all[..], Some("127.0.0.1:1")),
            ("10.0.0.1:9", &all, Some("192.0.2.2:1")),
            ("127.1.0.5:9", &all[..2], Some("192.0.2.2:1")),
            ("[::1]:9", &all, Some("[::1]:1")),
            ("[::1]:9", &all[1..], None),
        ] {
            assert_eq!(nearest(address(local), candidates).ok(), want.map(address), "{local}");
        }
    }
}
