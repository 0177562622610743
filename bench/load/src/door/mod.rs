//! How clients get in: each server has its own way of being asked for a transport.
//!
//! A door may block, so it lives on a thread of its own and never holds up media.

mod control;
mod http;
mod janus;
mod sdp;
mod whip;

pub(crate) use control::ControlDoor;
pub(crate) use janus::JanusDoor;
pub(crate) use whip::WhipDoor;

use crate::scenario::{Kind, Role, Stream};
use crate::sending::TRANSPORT_SEQ_ID;
use relay_core::id::{Pt, Ssrc};
use relay_core::srtp::SrtpProfile;
use ringvox_client::Credentials;
use ringvox_client::incoming::Parameters;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How often a door may tidy up while nobody asks.
const IDLE: Duration = Duration::from_millis(100);
/// A publisher that has just connected is not on the air before its first packet came: servers that say so are asked again,
/// for this long and this often.
const ON_AIR_PATIENCE: Duration = Duration::from_secs(5);
const ON_AIR_PAUSE: Duration = Duration::from_millis(20);

/// A client that wants in.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) client: u32,
    pub(crate) role: Role,
    pub(crate) room: u32,
    /// What it sends or receives.
    pub(crate) streams: Vec<Stream>,
    pub(crate) credentials: Credentials,
    pub(crate) fingerprint: [u8; 32],
    /// Its host candidate.
    pub(crate) local: SocketAddr,
}

/// What the server answered.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
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
#[derive(Clone, Copy, Debug)]
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

/// What differs from server to server.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    /// SRTP profiles that clients offer.
    pub(crate) profiles: Vec<SrtpProfile>,
    /// A transport takes the streams of one publisher only: whoever wants several publishers needs several.
    pub(crate) one_publisher_each: bool,
    /// The address that all clients must have, if the server reaches no others.
    pub(crate) local: Option<IpAddr>,
    /// Wishes that are better taken together, at most.
    pub(crate) wishes_max: usize,
}

/// Counters of a server, by name.
pub(crate) type ServerCounters = BTreeMap<String, u64>;

/// One server's way in. Each call may block.
pub(crate) trait Door: Send {
    fn manners(&self) -> Manners;

    /// One answer for each wish, in their order.
    fn join(&mut self, wishes: &[Wish]) -> Vec<Result<Grant, String>>;

    /// What the server counts, if it says.
    fn counters(&mut self) -> Result<ServerCounters, String>;

    /// Reads what the server says unasked.
    fn tidy(&mut self);

    /// Says of everybody that they leave.
    fn leave(&mut self) -> Result<(), String>;
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

enum Ask {
    Join(Box<Wish>),
    Counters,
    Leave(Sender<Result<(), String>>),
}

/// What the door's thread says.
pub(crate) enum Told {
    Joined(u32, Result<Grant, String>),
    Counters(Result<ServerCounters, String>),
}

/// A door on its thread, which ends with the handle.
pub(crate) struct DoorThread {
    asks: Sender<Ask>,
    told: Receiver<Told>,
}

impl DoorThread {
    pub(crate) fn start(door: Box<dyn Door>) -> Self {
        let (asks, asked) = channel();
        let (tell, told) = channel();
        let wishes_max = door.manners().wishes_max;
        std::thread::spawn(move || serve(door, wishes_max, &asked, &tell));
        Self { asks, told }
    }

    pub(crate) fn join(&self, wish: Wish) {
        let _ = self.asks.send(Ask::Join(Box::new(wish)));
    }

    /// What was answered meanwhile.
    pub(crate) fn poll(&self) -> Option<Told> {
        self.told.try_recv().ok()
    }

    pub(crate) fn ask_counters(&self) {
        let _ = self.asks.send(Ask::Counters);
    }

    /// Says of everybody that they leave, and waits until that is done.
    pub(crate) fn leave(&self) -> Result<(), String> {
        let (tell, told) = channel();
        let _ = self.asks.send(Ask::Leave(tell));
        told.recv().unwrap_or_else(|_| Err("the door's thread is gone".to_owned()))
    }
}

fn serve(mut door: Box<dyn Door>, wishes_max: usize, asked: &Receiver<Ask>, tell: &Sender<Told>) {
    loop {
        let mut wishes = Vec::new();
        let mut other = None;
        match asked.recv_timeout(IDLE) {
            Ok(Ask::Join(wish)) => wishes.push(*wish),
            Ok(ask) => other = Some(ask),
            Err(RecvTimeoutError::Timeout) => door.tidy(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while wishes.len() < wishes_max && other.is_none() {
            match asked.try_recv() {
                Ok(Ask::Join(wish)) => wishes.push(*wish),
                Ok(ask) => other = Some(ask),
                Err(_) => break,
            }
        }
        if !wishes.is_empty() {
            for (wish, answer) in wishes.iter().zip(door.join(&wishes)) {
                let _ = tell.send(Told::Joined(wish.client, answer));
            }
        }
        match other {
            Some(Ask::Counters) => drop(tell.send(Told::Counters(door.counters()))),
            Some(Ask::Leave(done)) => drop(done.send(door.leave())),
            Some(Ask::Join(_)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
