//! All rooms, and who is in them.

use crate::id::{ConnectionId, MemberId, RoomId, StreamKey};
use crate::member::Member;
use crate::room::{Room, Terms};
use crate::stream::{Owner, Stream};
use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Rooms {
    all: HashMap<RoomId, Room>,
    by_name: HashMap<String, RoomId>,
}

impl Rooms {
    pub(super) fn get(&self, id: RoomId) -> Option<&Room> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: RoomId) -> Option<&mut Room> {
        self.all.get_mut(&id)
    }

    pub(super) fn named(&self, name: &str) -> Option<RoomId> {
        self.by_name.get(name).copied()
    }

    pub(super) fn insert(&mut self, id: RoomId, name: &str, terms: Terms) {
        self.all.insert(id, Room::new(name.to_owned(), terms));
        self.by_name.insert(name.to_owned(), id);
    }

    /// True: it was empty, and is no more.
    pub(super) fn remove_if_empty(&mut self, id: RoomId) -> bool {
        if !self.is_empty(id) {
            return false;
        }
        let room = self.all.remove(&id);
        room.is_some_and(|room| self.by_name.remove(&room.name).is_some())
    }

    /// It is there, and nobody is in it.
    pub(super) fn is_empty(&self, id: RoomId) -> bool {
        self.get(id).is_some_and(|room| room.members.is_empty())
    }

    pub(super) fn member(&self, room: RoomId, id: MemberId) -> Option<&Member> {
        self.get(room)?.member_by_id(id)
    }

    pub(super) fn member_mut(&mut self, room: RoomId, id: MemberId) -> Option<&mut Member> {
        self.get_mut(room)?.member_mut(id)
    }

    /// The member that this connection is.
    pub(super) fn member_of(&self, room: RoomId, connection: ConnectionId) -> Option<&Member> {
        self.get(room)?.member_of(connection)
    }

    /// The room of this name and who this connection is in it.
    pub(super) fn membership(&self, connection: ConnectionId, name: &str) -> Option<(RoomId, MemberId)> {
        let room = self.named(name)?;
        Some((room, self.member_of(room, connection)?.id))
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
        let Some(room) = self.get_mut(stream.room) else { return };
        match stream.owner {
            Owner::Viewer => room.viewers.push(key),
            Owner::Member(id) => {
                if let Some(member) = room.member_mut(id) {
                    let list = if stream.is_publish() { &mut member.publishes } else { &mut member.plays };
                    list.push(key);
                }
            }
        }
    }

    pub(super) fn remove_stream(&mut self, key: StreamKey, stream: &Stream) {
        let Some(room) = self.get_mut(stream.room) else { return };
        match stream.owner {
            Owner::Viewer => room.viewers.retain(|other| *other != key),
            Owner::Member(id) => {
                if let Some(member) = room.member_mut(id) {
                    member.publishes.retain(|other| *other != key);
                    member.plays.retain(|other| *other != key);
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.all.values().flat_map(|room| &room.members)
    }

    /// Sizes of the tables.
    pub(super) fn ledger(&self) -> [(&'static str, usize); 4] {
        [
            ("rooms", self.all.len() + self.by_name.len()),
            ("members", self.members().count()),
            ("streams of members", self.members().map(|m| m.publishes.len() + m.plays.len()).sum()),
            ("viewers", self.all.values().map(|room| room.viewers.len()).sum()),
        ]
    }
}
