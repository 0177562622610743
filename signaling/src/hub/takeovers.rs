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
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Nothing came for so long: the holder is gone, unless it answers when it is asked.
pub const SILENCE: Duration = Duration::from_secs(2);

/// How long a WebSocket may take to answer a ping, from when that has left.
pub const PONG_LIMIT: Duration = Duration::from_secs(2);

/// How long a client without one may take to answer the relay, which asks three times meanwhile.
pub const ANSWER_PATIENCE: Duration = Duration::from_millis(600);

/// How often the relay is asked.
pub(super) const STEP: Duration = Duration::from_millis(250);

/// What the relay heard so shortly after somebody came was on its way before.
pub(super) const UNDER_WAY: Duration = Duration::from_millis(100);

/// A relay that does not say how its transports are leaves the holder what it has, and so does a ping that
/// waits behind what the holder has not read, or whose answer we do not read.
pub const GIVE_UP: Duration = Duration::from_secs(4);

/// Whoever looks so much later than he wanted has heard nobody meanwhile.
const PAUSE: Duration = Duration::from_millis(500);

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
    /// Those whose holders have shown life since they were looked at last. All others have timers: nothing of
    /// what happens meanwhile costs by how many there are.
    touched: BTreeSet<Held>,
}

struct Takeover {
    since: Time,
    claimants: Vec<Claimant>,
    /// How many of the holder's transports were asked.
    asked: usize,
    /// When the ping left, or we began to read again.
    pinged: Option<Time>,
    /// Replies of the relay that are to come.
    awaited: usize,
    /// When the timer is due.
    next_look: Time,
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
            pinged: None,
            awaited: 0,
            next_look: now,
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
        let held = Held::Login(room, member);
        if let Some(takeover) = self.all.get_mut(&held) {
            takeover.lives = true;
            self.touched.insert(held);
        }
    }

    /// Those to look at: their holders live, or what they hold has become free.
    fn take_touched(&mut self, freed: Vec<Held>) -> BTreeSet<Held> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.extend(freed);
        touched.retain(|held| self.all.contains_key(held));
        touched
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
    /// A pause of this process, as of a machine that is moved, is no silence of the holder: what it said
    /// meanwhile has not been read yet.
    fn note_pause(&mut self, now: Time) {
        let pause = now.saturating_sub(self.next_look);
        if pause > PAUSE {
            self.since += pause;
            self.pinged = self.pinged.map(|at| at + pause);
        }
    }

    /// `listens`: whether what the holder says on its WebSocket is read; `None`: it has none.
    fn verdict(&self, now: Time, listens: Option<bool>) -> Verdict {
        if self.lives || self.last_heard > self.since + UNDER_WAY {
            return Verdict::Lives;
        }
        let give_up = self.since + GIVE_UP;
        let answered_by = match listens {
            None => Some(self.since + ANSWER_PATIENCE),
            Some(listens) => self.pinged.filter(|_| listens).map(|at| at + PONG_LIMIT),
        };
        let Some(answered_by) = answered_by.filter(|by| self.awaited == 0 && *by <= give_up) else {
            let next = if self.awaited > 0 { give_up } else { give_up.min(now + STEP) };
            return if now >= give_up { Verdict::Lives } else { Verdict::Wait(next) };
        };
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

/// Asks the relay when it last heard of a stream's client, and to ask that one. False: there is no such
/// stream.
pub(super) fn probe(cx: &mut Context, streams: &Streams, key: StreamKey, purpose: Purpose) -> bool {
    let Some(stream) = streams.get(key) else { return false };
    cx.ask_relay(stream.relay, purpose, Command::ProbeTransport(ProbeTransport { transport_id: key.0 }));
    true
}

/// When the relay last heard of a client: never of one that it does not have, and just now if nobody knows,
/// as the connection to it is lost.
pub(super) fn heard(now: Time, reply: &Result<ReplyBody, ()>) -> Time {
    match reply {
        Ok(ReplyBody::TransportProbed(probed)) => now.saturating_sub(Duration::from_millis(probed.silent_ms)),
        Ok(_) => Time::ZERO,
        Err(()) => Time::MAX,
    }
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
        Claimant::Publication(_, publication) => publication.awaited.holds(),
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

    /// The ping of a WebSocket has left: it was behind all that its client was told before.
    pub fn handle_pinged(&mut self, now: Time, id: ConnectionId) {
        self.cx.now = now;
        self.note_pinged(id, |pinged| {
            pinged.get_or_insert(now);
        });
    }

    /// What a client says is read no longer for a while, or again: its answer to a ping waits meanwhile.
    pub fn handle_listens(&mut self, now: Time, id: ConnectionId, listens: bool) {
        self.cx.now = now;
        self.connections.set_listens(id, listens);
        if listens {
            self.note_pinged(id, |pinged| *pinged = pinged.map(|_| now));
        }
    }

    fn note_pinged(&mut self, id: ConnectionId, change: impl Fn(&mut Option<Time>)) {
        if self.takeovers.is_empty() {
            return;
        }
        for (room, member) in self.connections.memberships(id).to_vec() {
            let held = Held::Login(room, member);
            if let Some(takeover) = self.takeovers.all.get_mut(&held) {
                change(&mut takeover.pinged);
                self.judge(held);
            }
        }
    }

    pub(super) fn note_life(&mut self, id: ConnectionId) {
        if self.takeovers.is_empty() {
            return;
        }
        for (room, member) in self.connections.memberships(id) {
            self.takeovers.note_life(*room, *member);
        }
        self.settle_takeovers();
    }

    /// Asks the relay when it last heard of the holder, and to ask that one.
    pub(super) fn probe_holder(&mut self, held: Held) {
        let asked = transports(&self.connections, &self.rooms, &self.streams, held);
        let Some(takeover) = self.takeovers.all.get_mut(&held) else { return };
        takeover.note_pause(self.cx.now);
        if takeover.awaited == 0 {
            let number = asked.len().min(PROBED_MAX);
            let first = takeover.asked % asked.len().max(1);
            takeover.asked = first + number;
            for key in asked.into_iter().cycle().skip(first).take(number) {
                takeover.awaited +=
                    usize::from(probe(&mut self.cx, &self.streams, key, Purpose::Probe(held)));
            }
        }
        self.judge(held);
    }

    /// When the relay last heard of the holder, along one of its transports.
    pub(super) fn holder_probed(&mut self, held: Held, reply: &Result<ReplyBody, ()>) {
        let now = self.cx.now;
        let Some(takeover) = self.takeovers.all.get_mut(&held) else { return };
        takeover.awaited = takeover.awaited.saturating_sub(1);
        takeover.last_heard = takeover.last_heard.max(heard(now, reply));
        self.judge(held);
    }

    fn judge(&mut self, held: Held) {
        let listens = socket(&self.rooms, held).map(|socket| self.connections.listens(socket));
        let Some(takeover) = self.takeovers.all.get_mut(&held) else { return };
        match takeover.verdict(self.cx.now, listens) {
            Verdict::Wait(until) => {
                takeover.next_look = until;
                self.cx.timers.set(Timer::Takeover(held), until);
            }
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
        if !publication.awaited.holds() {
            // Nobody reads it, and the room hears of nobody.
            return self.cx.reply(http_request, HttpReply::Refused(Refusal::NoSuchSession));
        }
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
        let freed = self.cx.take_freed();
        for held in self.takeovers.take_touched(freed) {
            if is_held(&self.rooms, &self.streams, held) { self.judge(held) } else { self.let_in(held) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_takeovers_only_those_are_looked_at_that_something_happened_to() {
        let held = |number| Held::Login(RoomId(number), MemberId(number));
        let mut takeovers = Takeovers::default();
        for number in 0..1_000 {
            let claimant = Claimant::Connection(ConnectionId(number));
            assert!(matches!(takeovers.add(Time::ZERO, held(number), claimant), Ok(true)));
        }
        assert!(takeovers.take_touched(Vec::new()).is_empty());
        takeovers.note_life(RoomId(7), MemberId(7));
        takeovers.note_life(RoomId(7), MemberId(8));
        let freed = vec![held(9), held(9), Held::StreamName(StreamKey(9)), held(5_000)];
        assert_eq!(takeovers.take_touched(freed), BTreeSet::from([held(7), held(9)]));
        assert!(takeovers.take_touched(Vec::new()).is_empty(), "once");
    }
}
