//! How clients get in: each server has its own way of being asked for a transport.
//!
//! A door may block, so it lives on a thread of its own and never holds up media.

mod control;

pub(crate) use control::ControlDoor;

use crate::ice::Credentials;
use crate::scenario::{Role, Stream};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How often a door may tidy up while nobody asks.
const IDLE: Duration = Duration::from_millis(100);
/// Wishes taken together at most.
const WISHES_MAX: usize = 64;

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
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
    pub(crate) remote: SocketAddr,
    /// SHA-256 of the server's certificate.
    pub(crate) fingerprint: [u8; 32],
    pub(crate) downs: Vec<Down>,
}

/// A stream that a subscriber will get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Down {
    /// Index in the scenario.
    pub(crate) stream: u32,
    pub(crate) ssrc: u32,
    /// 0: none.
    pub(crate) rtx_ssrc: u32,
}

/// Counters of a server, by name.
pub(crate) type ServerCounters = BTreeMap<String, u64>;

/// One server's way in. Each call may block.
pub(crate) trait Door: Send {
    /// One answer for each wish, in their order.
    fn join(&mut self, wishes: &[Wish]) -> Vec<Result<Grant, String>>;

    /// What the server counts, if it says.
    fn counters(&mut self) -> Result<ServerCounters, String>;

    /// Reads what the server says unasked.
    fn tidy(&mut self);
}

enum Ask {
    Join(Box<Wish>),
    Counters,
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
        std::thread::spawn(move || serve(door, &asked, &tell));
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
}

fn serve(mut door: Box<dyn Door>, asked: &Receiver<Ask>, tell: &Sender<Told>) {
    loop {
        let mut wishes = Vec::new();
        let mut counters = false;
        match asked.recv_timeout(IDLE) {
            Ok(Ask::Join(wish)) => wishes.push(*wish),
            Ok(Ask::Counters) => counters = true,
            Err(RecvTimeoutError::Timeout) => door.tidy(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while wishes.len() < WISHES_MAX && !counters {
            match asked.try_recv() {
                Ok(Ask::Join(wish)) => wishes.push(*wish),
                Ok(Ask::Counters) => counters = true,
                Err(_) => break,
            }
        }
        if !wishes.is_empty() {
            for (wish, answer) in wishes.iter().zip(door.join(&wishes)) {
                let _ = tell.send(Told::Joined(wish.client, answer));
            }
        }
        if counters {
            let _ = tell.send(Told::Counters(door.counters()));
        }
    }
}
