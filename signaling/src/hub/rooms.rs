//! All rooms, and who is in them.

use super::context::Context;
use super::wanted;
use crate::auth::Rights;
use crate::id::{ConnectionId, Held, MemberId, RelayId, RoomId, StreamKey};
use crate::member::{Member, Playable, Presence};
use crate::message::RoomEvent;
use crate::record::Running;
use crate::refusal::Refusal;
use crate::room::{Room, Terms};
use crate::stream::{Owner, Stream};
use crate::timer::Timer;
use recorder_control::Wanted;
use std::collections::{BTreeMap, HashMap, HashSet};

#[derive(Default)]
pub(super) struct Rooms {
    all: HashMap<RoomId, Room>,
    by_name: HashMap<String, RoomId>,
    /// Those that are recorded as a whole.
    by_recording: HashMap<String, RoomId>,
    /// Recordings of rooms that are not here, by their rooms' names: an earlier signaling ordered them.
    strays: BTreeMap<String, Wanted>,
    /// Recordings that were ended while such may come: the recorder may not have heard of it yet.
    ended: HashSet<String>,
}

/// A member to be.
pub(super) struct Newcomer {
    pub(super) login: String,
    /// Digest of the secret with which its client comes back.
    pub(super) token: String,
    pub(super) app_key: String,
    pub(super) presence: Presence,
    /// By which it may take the place of another one with its login.
    pub(super) rights: Rights,
}

impl Rooms {
    pub(super) fn get(&self, id: RoomId) -> Option<&Room> {
        self.all.get(&id)
    }

    pub(super) fn named(&self, name: &str) -> Option<RoomId> {
        self.by_name.get(name).copied()
    }

    /// The room of this name, made on the relay if it is not there yet.
    pub(super) fn named_or_new(
        &mut self,
        cx: &mut Context,
        name: &str,
        (wished, record): (&Terms, bool),
        relay: Option<RelayId>,
    ) -> Result<RoomId, Refusal> {
        if let Some(id) = self.named(name) {
            return Ok(id);
        }
        if self.all.len() >= cx.config.rooms.max_rooms {
            return Err(Refusal::TooManyRooms);
        }
        let terms = wished.clone().within(&cx.config.media)?;
        let id = RoomId(cx.random_id());
        self.insert(id, name, relay.ok_or(Refusal::NoRelay)?, terms);
        let stray = self.strays.remove(name);
        let wanted = stray.or_else(|| {
            let record = (record || cx.config.recording.record_all_rooms) && cx.may_record();
            record.then(|| wanted::of_room(cx, name))
        });
        self.set_recording(id, wanted.map(Running::new));
        Ok(id)
    }

    pub(super) fn insert(&mut self, id: RoomId, name: &str, relay: RelayId, terms: Terms) {
        self.all.insert(id, Room::new(name.to_owned(), relay, terms));
        self.by_name.insert(name.to_owned(), id);
    }

    pub(super) fn remove_if_empty(&mut self, cx: &mut Context, id: RoomId) {
        if self.is_empty(id)
            && let Some(room) = self.all.remove(&id)
        {
            self.by_name.remove(&room.name);
            cx.timers.clear(Timer::RoomIdle(id));
            if let Some(running) = room.recording {
                self.by_recording.remove(&running.wanted.id);
                self.end_recording(cx, &running.wanted.id);
            }
        }
    }

    /// A room that everybody has vanished from stays for a while.
    pub(super) fn remove_later_if_empty(&self, cx: &mut Context, id: RoomId) {
        if self.is_empty(id) {
            cx.timers.set(Timer::RoomIdle(id), cx.now + cx.config.rooms.room_idle_timeout);
        }
    }

    /// The room of which this is the recording.
    pub(super) fn of_recording(&self, id: &str) -> Option<RoomId> {
        self.by_recording.get(id).copied()
    }

    /// It is recorded from now on, or no longer. Gives what ran before. The recorder is not told.
    pub(super) fn set_recording(&mut self, id: RoomId, running: Option<Running>) -> Option<Running> {
        let room = self.all.get_mut(&id)?;
        let recording = running.as_ref().map(|running| running.wanted.id.clone());
        let before = std::mem::replace(&mut room.recording, running);
        if let Some(before) = &before {
            self.by_recording.remove(&before.wanted.id);
        }
        self.by_recording.extend(recording.map(|recording| (recording, id)));
        before
    }

    /// The recorder can write its recording, or not. True: that is new.
    pub(super) fn set_paused(&mut self, id: RoomId, paused: bool) -> bool {
        let running = self.all.get_mut(&id).and_then(|room| room.recording.as_mut());
        running.is_some_and(|running| std::mem::replace(&mut running.paused, paused) != paused)
    }

    /// The recorder finishes it.
    pub(super) fn end_recording(&mut self, cx: &mut Context, id: &str) {
        cx.end_recording(id);
        let adopt_until = cx.config.rooms.adopt_grace;
        if cx.now < adopt_until && self.ended.len() < cx.config.rooms.max_rooms {
            self.ended.insert(id.to_owned());
            cx.timers.set(Timer::StrayRecordings, adopt_until);
        }
    }

    /// Whether it was ended a while ago.
    pub(super) fn has_ended(&self, recording: &str) -> bool {
        self.ended.contains(recording)
    }

    /// A room of this name may come and go on with it.
    pub(super) fn add_stray(&mut self, cx: &mut Context, room: &str, wanted: Wanted) {
        let is_other = |known: &Wanted| known.id != wanted.id;
        if self.strays.get(room).is_some_and(is_other) || self.strays.len() >= cx.config.rooms.max_rooms {
            return cx.end_recording(&wanted.id);
        }
        self.strays.insert(room.to_owned(), wanted);
        cx.timers.set(Timer::StrayRecordings, cx.config.rooms.adopt_grace);
    }

    /// Nobody has come back to these.
    pub(super) fn end_strays(&mut self, cx: &mut Context) {
        self.ended.clear();
        for wanted in std::mem::take(&mut self.strays).into_values() {
            cx.end_recording(&wanted.id);
        }
    }

    /// Somebody publishes: if it is the first one, files begin now.
    pub(super) fn note_publication(&mut self, cx: &Context, id: RoomId) {
        if cx.config.recording.enable_empty_shift_writer
            && let Some(room) = self.all.get_mut(&id)
        {
            room.began_at_ms.get_or_insert(cx.unix_ms());
        }
    }

    /// As an earlier signaling has noted it.
    pub(super) fn set_began_at(&mut self, id: RoomId, began_at_ms: u64) {
        if let Some(room) = self.all.get_mut(&id) {
            room.began_at_ms.get_or_insert(began_at_ms);
        }
    }

    /// It was made from labels.
    pub(super) fn set_labelled(&mut self, id: RoomId) {
        if let Some(room) = self.all.get_mut(&id) {
            room.is_labelled = true;
        }
    }

    /// Its members have heard what is recorded; `None`: nothing.
    pub(super) fn set_told_recorded(&mut self, id: RoomId, told: Option<String>) {
        if let Some(room) = self.all.get_mut(&id) {
            room.told_recorded = told;
        }
    }

    /// Those that are recorded as a whole.
    pub(super) fn recorded(&self) -> impl Iterator<Item = RoomId> {
        self.by_recording.values().copied()
    }

    fn is_empty(&self, id: RoomId) -> bool {
        self.get(id).is_some_and(|room| room.members().next().is_none())
    }

    pub(super) fn is_full(&self, cx: &Context, id: RoomId) -> bool {
        self.get(id).is_some_and(|room| room.is_full(cx.config.rooms.max_participants))
    }

    pub(super) fn member(&self, room: RoomId, id: MemberId) -> Option<&Member> {
        self.get(room)?.member(id)
    }

    pub(super) fn member_mut(&mut self, room: RoomId, id: MemberId) -> Option<&mut Member> {
        self.all.get_mut(&room)?.member_mut(id)
    }

    pub(super) fn add_member(&mut self, cx: &mut Context, room: RoomId, newcomer: Newcomer) -> MemberId {
        let id = MemberId(cx.number());
        let Newcomer { login, token, app_key, presence, rights } = newcomer;
        let playable = Playable::default();
        let (publishes, plays) = (Vec::new(), Vec::new());
        cx.timers.clear(Timer::RoomIdle(room));
        if let Some(room) = self.all.get_mut(&room) {
            let member = Member { id, login, token, app_key, presence, rights, playable, publishes, plays };
            room.insert_member(member);
        }
        id
    }

    /// Nobody is told.
    pub(super) fn remove_member(&mut self, cx: &mut Context, room: RoomId, id: MemberId) -> Option<Member> {
        cx.timers.clear(Timer::Detached(room, id));
        let member = self.all.get_mut(&room)?.remove_member(id)?;
        cx.note_freed(Held::Login(room, id));
        Some(member)
    }

    /// Its connection is lost; the member stays for a while, and so do its streams.
    pub(super) fn detach(&mut self, cx: &mut Context, room: RoomId, id: MemberId) {
        if let Some(member) = self.member_mut(room, id) {
            member.presence = Presence::Detached;
            cx.timers.set(Timer::Detached(room, id), cx.now + cx.config.rooms.resume_grace);
        }
    }

    /// `None`: a viewer's.
    pub(super) fn owner(&self, stream: &Stream) -> Option<&Member> {
        match stream.owner {
            Owner::Member(id) => self.member(stream.room, id),
            Owner::Viewer => None,
        }
    }

    /// Where a stream's owner can be reached.
    pub(super) fn connection_of(&self, stream: &Stream) -> Option<ConnectionId> {
        self.owner(stream)?.connection()
    }

    pub(super) fn add_stream(&mut self, key: StreamKey, stream: &Stream) {
        if let Some(room) = self.all.get_mut(&stream.room) {
            room.add_stream(key, stream);
        }
    }

    pub(super) fn remove_stream(&mut self, key: StreamKey, stream: &Stream) {
        if let Some(room) = self.all.get_mut(&stream.room) {
            room.remove_stream(key, stream);
        }
    }

    /// Everybody in the room but one member hears of a room event.
    pub(super) fn tell_others(&self, cx: &mut Context, room: RoomId, except: MemberId, event: RoomEvent<'_>) {
        if let Some(room) = self.get(room) {
            cx.send_event(&room.connections_except(except), &room.name, event);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.all.values().flat_map(Room::members)
    }

    /// Sizes of the tables.
    pub(super) fn ledger(&self) -> [(&'static str, usize); 5] {
        let recordings = self.by_recording.len() + self.strays.len() + self.ended.len();
        [
            ("recordings of rooms", recordings),
            ("rooms", self.all.len() + self.by_name.len()),
            ("members", self.members().count()),
            ("streams of members", self.members().map(|member| member.streams().count()).sum()),
            ("viewers", self.all.values().map(Room::viewers).sum()),
        ]
    }
}
