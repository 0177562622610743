//! Who comes back gets in: somebody wants what another one holds, and the holder must show that it lives.
//!
//! A client that crashed leaves behind a member of its own login, or a stream of the name that it publishes
//! again. Whoever comes with the same right takes that over as soon as the holder is silent: nothing authentic
//! came along any of its transports for [`SILENCE`], and where it has a WebSocket, that answers no ping
//! either. Whoever lives is never displaced, whatever it sends: a browser answers the ping of a WebSocket
//! while its page hangs, and every ICE agent answers a Binding request though its microphone is off.
//!
//! Invariants
//! - What is not authentic is no sign of life: the relay says what it opened with the peer's own keys.
//! - Who waits is answered in finite time ([`GIVE_UP`]), in the order of coming.
//! - Nobody is displaced for a claimant that has gone.
//! - A client lives in all its rooms or in none, and loses only what is claimed.

use super::Hub;
use super::connections::{Connections, WaitsFor};
use super::context::{CloseCode, Context};
use super::end::{end_member, end_stream};
use super::http::HttpReply;
use super::relays::Purpose;
use super::rooms::Rooms;
use super::streams::Streams;
use super::whip_whep::{self, Publication};
use crate::id::{ConnectionId, Held, HttpRequestId, MemberId, RoomId, StreamKey};
use crate::message::RoomEvent;
use crate::refusal::{Refusal, StreamEnd};
use crate::timer::{Time, Timer};
use relay_control::{Command, ProbeTransport, ReplyBody};
use std::collections::BTreeMap;
use std::time::Duration;

/// Nothing came for so long: the holder is gone, unless it answers when it is asked.
pub const SILENCE: Duration = Duration::from_secs(2);

/// How long a WebSocket may take to answer a ping.
pub const PONG_LIMIT: Duration = Duration::from_secs(2);

/// How long a client without one may take to answer the relay, which asks three times meanwhile.
pub const ANSWER_PATIENCE: Duration = Duration::from_millis(600);

/// How often the relay is asked.
pub(super) const STEP: Duration = Duration::from_millis(250);

/// What the relay heard so shortly after somebody came was on its way before.
pub(super) const UNDER_WAY: Duration = Duration::from_millis(100);

/// A relay that does not say how its transports are leaves the holder what it has.
pub(super) const GIVE_UP: Duration = Duration::from_secs(4);

/// Who may wait for the same thing.
const CLAIMANTS_MAX: usize = 64;

/// Transports of a client that are asked at a time, as one that answers is enough. The next ones are asked
/// [`STEP`] later.
const PROBED_MAX: usize = 8;

/// Who wants it.
pub(super) enum Claimant {
    /// Its message waits in [`Connections`].
    Connection(ConnectionId),
    Publication(HttpRequestId, Box<Publication>),
}

#[derive(Default)]
pub(super) struct Takeovers {
    all: BTreeMap<Held, Takeover>,
}

struct Takeover {
    since: Time,
    claimants: Vec<Claimant>,
    /// How many of the holder's transports were asked.
    asked: usize,
    /// Replies of the relay that are to come.
    awaited: usize,
    /// When the relay last heard of it.
    last_heard: Time,
    lives: bool,
}

enum Verdict {
    Lives,
    Silent,
    /// Until then nobody knows.
    Wait(Time),
}

impl Takeovers {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// One more wants it. `Err`: too many do. True: it is the first.
    fn add(&mut self, now: Time, held: Held, claimant: Claimant) -> Result<bool, Claimant> {
        let begun = self.all.contains_key(&held);
        let takeover = self.all.entry(held).or_insert_with(|| Takeover {
            since: now,
            claimants: Vec::new(),
            asked: 0,
            awaited: 0,
            last_heard: Time::ZERO,
            lives: false,
        });
        if takeover.claimants.len() >= CLAIMANTS_MAX {
            return Err(claimant);
        }
        takeover.claimants.push(claimant);
        Ok(!begun)
    }

    /// Those who wait for a sign of life of this member are refused at the next opportunity.
    pub(super) fn note_life(&mut self, room: RoomId, member: MemberId) {
        if let Some(takeover) = self.all.get_mut(&Held::Login(room, member)) {
            takeover.lives = true;
        }
    }

    fn remove(&mut self, cx: &mut Context, held: Held) -> Vec<Claimant> {
        cx.timers.clear(Timer::Takeover(held));
        self.all.remove(&held).map(|takeover| takeover.claimants).unwrap_or_default()
    }

    /// Sizes of the table.
    pub(super) fn ledger(&self) -> [(&'static str, usize); 1] {
        [("takeovers", self.all.len() + self.all.values().map(|one| one.claimants.len()).sum::<usize>())]
    }
}

impl Takeover {
    fn verdict(&self, now: Time, has_socket: bool) -> Verdict {
        if self.lives || self.last_heard > self.since + UNDER_WAY {
            return Verdict::Lives;
        }
        if self.awaited > 0 {
            let late = now >= self.since + GIVE_UP;
            return if late { Verdict::Lives } else { Verdict::Wait(self.since + GIVE_UP) };
        }
        let answered_by = self.since + if has_socket { PONG_LIMIT } else { ANSWER_PATIENCE };
        let until = answered_by.max(self.last_heard + SILENCE);
        if now >= until { Verdict::Silent } else { Verdict::Wait(until.min(now + STEP)) }
    }
}

/// The holder's WebSocket; `None` if it has none.
fn socket(rooms: &Rooms, held: Held) -> Option<ConnectionId> {
    let Held::Login(room, member) = held else { return None };
    rooms.member(room, member)?.connection()
}

/// The transports by which it is heard: the member's own, then those of its client's other rooms.
fn transports(connections: &Connections, rooms: &Rooms, streams: &Streams, held: Held) -> Vec<StreamKey> {
    let (room, id) = match held {
        Held::StreamName(key) => return vec![key],
        Held::Login(room, id) => (room, id),
    };
    let elsewhere = socket(rooms, held).map(|socket| connections.memberships(socket)).unwrap_or_default();
    let elsewhere = elsewhere.iter().filter(|membership| **membership != (room, id));
    std::iter::once(&(room, id))
        .chain(elsewhere)
        .filter_map(|(room, id)| rooms.member(*room, *id))
        .flat_map(|member| member.streams().copied())
        .filter(|key| streams.contains(*key))
        .collect()
}

fn is_held(rooms: &Rooms, streams: &Streams, held: Held) -> bool {
    match held {
        Held::StreamName(key) => streams.contains(key),
        Held::Login(room, member) => rooms.member(room, member).is_some(),
    }
}

fn waits(connections: &Connections, held: Held, claimant: &Claimant) -> bool {
    match claimant {
        Claimant::Connection(id) => connections.waits_for(*id) == Some(WaitsFor::Holder(held)),
        Claimant::Publication(..) => true,
    }
}

impl Hub {
    /// Somebody wants what another one holds: that one is asked for a sign of life.
    pub(super) fn claim(&mut self, held: Held, claimant: Claimant) {
        match self.takeovers.add(self.cx.now, held, claimant) {
            Ok(true) => {
                if let Some(holder) = socket(&self.rooms, held) {
                    self.cx.ask_for_life(holder);
                }
                self.probe_holder(held);
            }
            Ok(false) => {}
            Err(claimant) => self.refuse_claimant(held, claimant),
        }
    }

    /// A frame that is no message came of a WebSocket: its browser is there.
    pub fn handle_heard(&mut self, now: Time, id: ConnectionId) {
        self.cx.now = now;
        self.note_life(id);
    }

    pub(super) fn note_life(&mut self, id: ConnectionId) {
        if self.takeovers.is_empty() {
            return;
        }
        for (room, member) in self.connections.memberships(id).to_vec() {
            self.takeovers.note_life(room, member);
        }
        self.settle_takeovers();
    }

    /// Asks the relay when it last heard of the holder, and to ask that one.
    pub(super) fn probe_holder(&mut self, held: Held) {
        let asked = transports(&self.connections, &self.rooms, &self.streams, held);
        let Some(takeover) = self.takeovers.all.get_mut(&held) else { return };
        if takeover.awaited == 0 {
            let number = asked.len().min(PROBED_MAX);
            let first = takeover.asked % asked.len().max(1);
            takeover.asked = first + number;
            for key in asked.into_iter().cycle().skip(first).take(number) {
                let Some(stream) = self.streams.get(key) else { continue };
                let command = Command::ProbeTransport(ProbeTransport { transport_id: key.0 });
                self.cx.ask_relay(stream.relay, Purpose::Probe(held), command);
                takeover.awaited += 1;
            }
        }
        self.judge(held);
    }

    /// When the relay last heard of the holder, along one of its transports. One that it does not have says
    /// nothing.
    pub(super) fn holder_probed(&mut self, held: Held, reply: &Result<ReplyBody, ()>) {
        let now = self.cx.now;
        let Some(takeover) = self.takeovers.all.get_mut(&held) else { return };
        takeover.awaited = takeover.awaited.saturating_sub(1);
        match reply {
            Ok(ReplyBody::TransportProbed(probed)) => {
                let heard = now.saturating_sub(Duration::from_millis(probed.silent_ms));
                takeover.last_heard = takeover.last_heard.max(heard);
            }
            Ok(_) => {}
            // Nobody knows.
            Err(()) => takeover.lives = true,
        }
        self.judge(held);
    }

    fn judge(&mut self, held: Held) {
        let has_socket = socket(&self.rooms, held).is_some();
        let Some(takeover) = self.takeovers.all.get(&held) else { return };
        match takeover.verdict(self.cx.now, has_socket) {
            Verdict::Wait(until) => self.cx.timers.set(Timer::Takeover(held), until),
            Verdict::Lives => {
                for claimant in self.takeovers.remove(&mut self.cx, held) {
                    self.refuse_claimant(held, claimant);
                }
            }
            Verdict::Silent => {
                let wanted =
                    takeover.claimants.iter().any(|claimant| waits(&self.connections, held, claimant));
                if wanted {
                    self.displace(held);
                }
                self.let_in(held);
            }
        }
    }

    fn displace(&mut self, held: Held) {
        let holder = socket(&self.rooms, held);
        tracing::info!(?held, "silent: somebody with the same right takes its place");
        match held {
            Held::StreamName(key) => {
                end_stream(&mut self.cx, &mut self.rooms, &mut self.streams, key, StreamEnd::Replaced);
            }
            Held::Login(room, member) => match holder {
                Some(holder) if self.connections.memberships(holder).len() <= 1 => {
                    self.close(holder, CloseCode::Replaced, true);
                }
                _ => self.displace_member(holder, (room, member)),
            },
        }
    }

    /// Whoever may have this login need not have any right in the other rooms of its holder, who hears which
    /// one it has lost.
    fn displace_member(&mut self, holder: Option<ConnectionId>, (room, member): (RoomId, MemberId)) {
        let (cx, rooms, streams) = (&mut self.cx, &mut self.rooms, &mut self.streams);
        let login = rooms.member(room, member).map(|member| member.login.clone()).unwrap_or_default();
        end_member(cx, rooms, streams, (room, member), StreamEnd::Replaced);
        if let (Some(holder), Some(of)) = (holder, rooms.get(room)) {
            cx.send_event(&[holder], &of.name, RoomEvent::Replaced(&login));
            self.connections.forget_membership(holder, room);
        }
        rooms.remove_later_if_empty(cx, room);
    }

    /// What they wanted is free: each asks again. The first has it then, and the others wait for that one.
    fn let_in(&mut self, held: Held) {
        for claimant in self.takeovers.remove(&mut self.cx, held) {
            match claimant {
                Claimant::Connection(id) => {
                    if let Some((message, verdict)) =
                        self.connections.take_waiting(id, WaitsFor::Holder(held))
                    {
                        self.dispatch(id, message, verdict);
                        self.run_backlog(id);
                    }
                }
                Claimant::Publication(http_request, publication) => {
                    self.begin_publication(http_request, *publication);
                }
            }
        }
    }

    fn refuse_claimant(&mut self, held: Held, claimant: Claimant) {
        let refusal = match held {
            Held::Login(..) => Refusal::LoginTaken,
            Held::StreamName(_) => Refusal::StreamNameTaken,
        };
        match claimant {
            Claimant::Connection(id) => {
                if let Some((message, _)) = self.connections.take_waiting(id, WaitsFor::Holder(held)) {
                    self.refuse(id, message, refusal);
                    self.run_backlog(id);
                }
            }
            Claimant::Publication(http_request, _) => {
                self.cx.reply(http_request, HttpReply::Refused(refusal));
            }
        }
    }

    /// A WHIP client publishes, now or when the holder of its login has proved to be gone.
    pub(super) fn begin_publication(&mut self, http_request: HttpRequestId, publication: Publication) {
        let (cx, rooms, streams) = (&mut self.cx, &mut self.rooms, &mut self.streams);
        match whip_whep::publish(cx, rooms, streams, &self.relays, http_request, &publication) {
            Ok(None) => {}
            Ok(Some(held)) => self.claim(held, Claimant::Publication(http_request, Box::new(publication))),
            Err(refusal) => self.cx.reply(http_request, HttpReply::Refused(refusal)),
        }
    }

    /// After whatever happened: what is free is given to those who wait for it, and who has shown that it
    /// lives keeps what it has.
    pub(super) fn settle_takeovers(&mut self) {
        let settled = |(held, takeover): (&Held, &Takeover)| {
            let free = !is_held(&self.rooms, &self.streams, *held);
            (free || takeover.lives).then_some((*held, free))
        };
        let settled: Vec<(Held, bool)> = self.takeovers.all.iter().filter_map(settled).collect();
        for (held, free) in settled {
            if free { self.let_in(held) } else { self.judge(held) }
        }
    }
}
