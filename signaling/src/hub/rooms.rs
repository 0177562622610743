//! All rooms, and who is in them.

use super::context::Context;
use crate::auth::Rights;
use crate::id::{ConnectionId, Held, MemberId, RelayId, RoomId, StreamKey};
use crate::member::{Member, Playable, Presence};
use crate::message::RoomEvent;
use crate::refusal::Refusal;
use crate::room::{Room, Terms};
use crate::stream::{Owner, Stream};
use crate::timer::Timer;
use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Rooms {
    all: HashMap<RoomId, Room>,
    by_name: HashMap<String, RoomId>,
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
        wished: &Terms,
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
        }
    }

    /// A room that everybody has vanished from stays for a while.
    pub(super) fn remove_later_if_empty(&self, cx: &mut Context, id: RoomId) {
        if self.is_empty(id) {
            cx.timers.set(Timer::RoomIdle(id), cx.now + cx.config.rooms.room_idle_timeout);
        }
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
    pub(super) fn ledger(&self) -> [(&'static str, usize); 4] {
        [
            ("rooms", self.all.len() + self.by_name.len()),
            ("members", self.members().count()),
            ("streams of members", self.members().map(|member| member.streams().count()).sum()),
            ("viewers", self.all.values().map(Room::viewers).sum()),
        ]
    }
}
