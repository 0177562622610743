//! One room: who is here, in the order of coming. Tables and questions only; what happens in a room is
//! decided in
//! [`crate::hub`], which owns all rooms.
//!
//! Invariants
//! - A login is in a room at most once.
//! - Members are told about in the order in which they came, streams in the order in which they were
//!   published.

use crate::config::Media;
use crate::id::{ConnectionId, MemberId, RelayId, StreamKey};
use crate::member::Member;
use crate::record::Running;
use crate::refusal::Refusal;
use crate::sdp::CodecPreferences;
use crate::stream::{Owner, Stream};
use relay_control::Codec;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What the member that creates a room may wish for it. Who comes later finds it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Most wanted first; `None` = as the server has them.
    pub codecs: Option<CodecPreferences>,
    /// Members at a time, within the server's own limit; `None` = that one.
    pub max_participants: Option<usize>,
}

impl Terms {
    /// The same, as far as this server has it.
    pub(crate) fn within(self, media: &Media) -> Result<Self, Refusal> {
        let Some(wished) = &self.codecs else { return Ok(self) };
        let chosen = |wished: &[Codec], ours: &[Codec]| -> Result<Vec<Codec>, Refusal> {
            if wished.is_empty() {
                return Ok(ours.to_vec());
            }
            let both: Vec<Codec> = wished.iter().filter(|codec| ours.contains(codec)).copied().collect();
            if both.is_empty() { Err(Refusal::CodecsNotAllowed) } else { Ok(both) }
        };
        let audio = chosen(&wished.audio, &media.audio)?;
        let video = chosen(&wished.video, &media.video)?;
        Ok(Self { codecs: Some(CodecPreferences { audio, video }), ..self })
    }
}

#[derive(Debug)]
pub(crate) struct Room {
    /// As the client spelt it. Never parsed.
    pub(crate) name: String,
    /// Where its media is.
    pub(crate) relay: RelayId,
    /// As its creator wished.
    pub(crate) terms: Terms,
    /// Of the room as a whole.
    pub(crate) recording: Option<Running>,
    /// It was found in a relay: the labels of its publications say whether it is recorded.
    pub(crate) is_labelled: bool,
    /// When its first publication began, in milliseconds since the Unix epoch, if files begin then.
    pub(crate) began_at_ms: Option<u64>,
    /// What its members have last heard is recorded; `None`: nothing.
    pub(crate) told_recorded: Option<String>,
    /// In the order of coming, which is that of their numbers.
    members: BTreeMap<MemberId, Member>,
    by_login: HashMap<String, MemberId>,
    /// Streams of WHEP players, who are not members.
    viewers: BTreeSet<StreamKey>,
}

impl Room {
    pub(crate) fn new(name: String, relay: RelayId, terms: Terms) -> Self {
        let (members, by_login, viewers) = (BTreeMap::new(), HashMap::new(), BTreeSet::new());
        Self {
            name,
            relay,
            terms,
            recording: None,
            is_labelled: false,
            began_at_ms: None,
            told_recorded: None,
            members,
            by_login,
            viewers,
        }
    }

    /// Whether nobody else fits in; `most` is the server's limit.
    pub(crate) fn is_full(&self, most: usize) -> bool {
        self.members.len() >= self.terms.max_participants.map_or(most, |wished| wished.min(most))
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(crate) fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    pub(crate) fn member_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.members.get_mut(&id)
    }

    pub(crate) fn member_named(&self, login: &str) -> Option<&Member> {
        self.member(*self.by_login.get(login)?)
    }

    pub(crate) fn insert_member(&mut self, member: Member) {
        self.by_login.insert(member.login.clone(), member.id);
        self.members.insert(member.id, member);
    }

    pub(crate) fn remove_member(&mut self, id: MemberId) -> Option<Member> {
        let member = self.members.remove(&id)?;
        self.by_login.remove(&member.login);
        Some(member)
    }

    /// Notes whose stream it is.
    pub(crate) fn add_stream(&mut self, key: StreamKey, stream: &Stream) {
        match stream.owner {
            Owner::Viewer => drop(self.viewers.insert(key)),
            Owner::Member(id) => {
                let member = self.members.get_mut(&id);
                member.into_iter().for_each(|member| member.streams_mut(stream.is_publish()).push(key));
            }
        }
    }

    pub(crate) fn remove_stream(&mut self, key: StreamKey, stream: &Stream) {
        match stream.owner {
            Owner::Viewer => drop(self.viewers.remove(&key)),
            Owner::Member(id) => {
                let streams = self.members.get_mut(&id).map(|m| m.streams_mut(stream.is_publish()));
                streams.into_iter().for_each(|streams| streams.retain(|other| *other != key));
            }
        }
    }

    pub(crate) fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// All viewers' streams, those from `start` on first.
    pub(crate) fn viewers_from(&self, start: StreamKey) -> impl Iterator<Item = StreamKey> {
        self.viewers.range(start..).chain(self.viewers.range(..start)).copied()
    }

    /// Where to reach everybody but one.
    pub(crate) fn connections_except(&self, id: MemberId) -> Vec<ConnectionId> {
        self.members().filter(|member| member.id != id).filter_map(Member::connection).collect()
    }

    /// The content of `STATE` for a newcomer: one entry a stream that is on the air, one plain string for a
    /// member without any. Nobody stands there both ways: a string behind its objects would wipe its streams
    /// in the page.
    pub(crate) fn state<'a>(
        &self,
        newcomer: MemberId,
        stream: impl Fn(StreamKey) -> Option<&'a Stream>,
    ) -> Vec<Value> {
        let mut entries = Vec::new();
        for member in self.members().filter(|member| member.id != newcomer) {
            let before = entries.len();
            let on_air = member.publishes.iter().filter_map(|key| stream(*key)).filter(|s| s.is_on_air());
            entries.extend(on_air.map(|stream| stream.for_room(&member.login)));
            if entries.len() == before {
                entries.push(Value::String(member.login.clone()));
            }
        }
        entries
    }
}
