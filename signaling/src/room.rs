//! One room: who is here, in the order of coming. Tables and questions only; what happens in a room is decided in
//! [`crate::hub`], which owns all rooms.
//!
//! Invariants
//! - A login is in a room at most once.
//! - Members are told about in the order in which they came, streams in the order in which they were published.

use crate::id::{ConnectionId, MemberId, StreamKey};
use crate::member::{Member, Presence};
use crate::sdp::CodecPreferences;
use crate::stream::Stream;
use serde_json::{Value, json};

/// What the member that creates a room may wish for it. Who comes later finds it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Most wanted first; `None` = as the server has them.
    pub codecs: Option<CodecPreferences>,
    /// Members at a time, within the server's own limit; `None` = that one.
    pub max_participants: Option<usize>,
}

/// One room.
#[derive(Debug)]
pub struct Room {
    /// As the client spelt it. Never parsed.
    pub name: String,
    /// In the order of coming.
    pub members: Vec<Member>,
    /// As its creator wished.
    pub terms: Terms,
    /// WHEP players, who are not members.
    pub viewers: Vec<StreamKey>,
}

impl Room {
    /// An empty one.
    pub fn new(name: String, terms: Terms) -> Self {
        Self { name, members: Vec::new(), terms, viewers: Vec::new() }
    }

    /// Whether nobody else fits in; `most` is the server's limit.
    pub fn is_full(&self, most: usize) -> bool {
        self.members.len() >= self.terms.max_participants.map_or(most, |wished| wished.min(most))
    }

    /// By login.
    pub fn member(&self, login: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.login == login)
    }

    /// By number.
    pub fn member_by_id(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// By number, to be changed.
    pub fn member_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    /// The member that this connection is.
    pub fn member_of(&self, connection: ConnectionId) -> Option<&Member> {
        self.members.iter().find(|member| member.presence == Presence::Attached(connection))
    }

    /// Where to reach everybody but one.
    pub fn connections_except(&self, id: MemberId) -> Vec<ConnectionId> {
        self.members.iter().filter(|member| member.id != id).filter_map(Member::connection).collect()
    }

    /// The content of `STATE` for a newcomer: one entry a stream that is on the air, one plain string for a member
    /// without any. Nobody stands there both ways: a string behind its objects would wipe its streams in the page.
    pub fn state<'a>(
        &self,
        newcomer: MemberId,
        stream: impl Fn(StreamKey) -> Option<&'a Stream>,
    ) -> Vec<Value> {
        let mut entries = Vec::new();
        for member in self.members.iter().filter(|member| member.id != newcomer) {
            let before = entries.len();
            let on_air = member.publishes.iter().filter_map(|key| stream(*key)).filter(|s| s.is_on_air());
            entries.extend(on_air.map(|stream| json!({"login": member.login, "name": stream.name})));
            if entries.len() == before {
                entries.push(Value::String(member.login.clone()));
            }
        }
        entries
    }
}
