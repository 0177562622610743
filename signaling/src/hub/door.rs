//! The second door: WHIP (RFC 9725) publishers and WHEP players.
//!
//! A WHIP publisher is a member of the room as any other, for as long as its stream. A WHEP player is no member: it is
//! seen by nobody and counts only towards the room's limit of viewers. The URL of a session holds a secret, which
//! is all that DELETE and PATCH need; only its digest is kept.

use super::http::{HttpReply, HttpRequest, Patch};
use super::members::Visitor;
use super::offers::NewStream;
use super::session::digest;
use super::{Hub, Output, Purpose};
use crate::address::Subnet;
use crate::auth::Admitted;
use crate::id::{MemberId, RoomId, StreamKey, Ticket};
use crate::life::Life;
use crate::member::Presence;
use crate::message::RoomEvent;
use crate::names::NameOf;
use crate::refusal::{Refusal, StreamEnd};
use crate::room::Terms;
use crate::sdp::{self, write_ice_fragment};
use crate::stream::Owner;
use crate::timer::Time;
use relay_control::{Command, RestartIce, TransportOpened};
use std::fmt::Write as _;

impl Hub {
    /// An HTTP request came; `from` is whose address its stream is counted for. Its answer is an [`Output::Http`] with
    /// the same ticket, now or later.
    pub fn handle_http(&mut self, now: Time, ticket: Ticket, from: Option<Subnet>, request: HttpRequest) {
        let reply = match request {
            HttpRequest::Publish { room, login, sdp, priority } => {
                self.whip(now, (ticket, from), &room, Admitted { login, priority }, sdp).map(|()| None)
            }
            HttpRequest::Play { room, name, by, sdp } => {
                self.whep(now, (ticket, from), &room, (&name, by), sdp).map(|()| None)
            }
            HttpRequest::Delete { session, published } => self.http_stream(&session, published).map(|key| {
                self.end_stream(now, key, StreamEnd::StoppedByUser);
                Some(HttpReply::Deleted)
            }),
            HttpRequest::Patch(patch) => self.patch(ticket, &patch),
        };
        let reply = match reply {
            Ok(None) => return,
            Ok(Some(reply)) => reply,
            Err(refusal) => HttpReply::Refused(refusal),
        };
        self.outputs.push_back(Output::Http { ticket, reply });
    }

    fn whip(
        &mut self,
        now: Time,
        (ticket, from): (Ticket, Option<Subnet>),
        room_name: &str,
        Admitted { login, priority }: Admitted,
        sdp: String,
    ) -> Result<(), Refusal> {
        let login = login.unwrap_or_else(|| format!("whip-{:08x}", self.random_id() & 0xffff_ffff));
        if let Some(room) = self.rooms.named(room_name) {
            self.free_place(now, room, &login)?;
        }
        let room = self.room_or_new(room_name, &Terms::default())?;
        let member = MemberId(self.number());
        let visitor = Visitor { login: login.clone(), token: self.secret() };
        self.add_member(room, member, visitor, Presence::Http);
        let new = NewStream {
            session: self.secret(),
            name: format!("{room_name}-{login}-{:04x}", self.random_id() & 0xffff),
            room,
            owner: Owner::Member(member),
            from,
            sdp: &sdp,
            max_bitrate_bps: 0,
            screen: false,
            priority,
            ticket: Some(ticket),
        };
        match self.begin_publish(now, new) {
            Ok(_) => {
                self.tell_others(room, member, RoomEvent::Joined(&login));
                Ok(())
            }
            Err(refusal) => {
                // It was never announced, so nobody hears that it left.
                if let Some(room) = self.rooms.get_mut(room) {
                    room.members.retain(|other| other.id != member);
                }
                self.end_room_if_empty(room);
                Err(refusal)
            }
        }
    }

    /// Whether a newcomer with this login fits in. A member that is only kept for a while gives way if nothing comes of it.
    fn free_place(&mut self, now: Time, room_id: RoomId, login: &str) -> Result<(), Refusal> {
        let holder = self.rooms.get(room_id).and_then(|room| room.member(login));
        match holder.map(|holder| (holder.id, holder.presence)) {
            Some((id, Presence::Adopted)) => self.member_vanished(now, room_id, id),
            Some((id, Presence::Detached)) if !self.is_heard(room_id, id) => {
                self.member_vanished(now, room_id, id);
            }
            Some(_) => return Err(Refusal::LoginTaken),
            None => {}
        }
        if self.is_full(room_id) { Err(Refusal::RoomFull) } else { Ok(()) }
    }

    fn whep(
        &mut self,
        now: Time,
        (ticket, from): (Ticket, Option<Subnet>),
        room: &str,
        (name, by): (&str, NameOf),
        sdp: String,
    ) -> Result<(), Refusal> {
        let room = self.rooms.named(room).ok_or(Refusal::StreamNotFound)?;
        let source = match by {
            NameOf::Stream => self.streams.published(room, name)?,
            NameOf::Login => self.of_login(room, name).unwrap_or(Err(Refusal::StreamNotFound))?,
            // Logins are the operator's to give, names of streams are their publishers' to choose: so while somebody has
            // this login, it is a stream of his or none, whatever others call theirs.
            NameOf::Either => {
                self.of_login(room, name).unwrap_or_else(|| self.streams.published(room, name))?
            }
        };
        let name = self.streams.get(source).map(|stream| stream.name.clone()).unwrap_or_default();
        let new = NewStream {
            session: self.secret(),
            name,
            room,
            owner: Owner::Viewer,
            from,
            sdp: &sdp,
            max_bitrate_bps: 0,
            screen: false,
            priority: None,
            ticket: Some(ticket),
        };
        self.begin_play(now, new, source)?;
        Ok(())
    }

    /// What is played of the member with this login: the stream that is called like it, or else its first. `None`: nobody
    /// has it.
    fn of_login(&self, room: RoomId, login: &str) -> Option<Result<StreamKey, Refusal>> {
        let member = self.rooms.get(room).and_then(|room| room.member(login))?;
        let on_air = |key: &StreamKey| self.streams.is_on_air(*key);
        let own = self.streams.named(room, login);
        let own = own.filter(|key| member.publishes.contains(key)).filter(on_air);
        let first = || member.publishes.iter().copied().find(on_air);
        Some(own.or_else(first).ok_or(Refusal::StreamNotReady))
    }

    /// Streams of WebSocket clients have ids that their clients chose; those are no keys to this door.
    fn http_stream(&self, session: &str, published: bool) -> Result<StreamKey, Refusal> {
        let found = self.streams.of_session(&digest(session));
        let found = found.filter(|(_, stream)| stream.over_http && stream.is_publish() == published);
        found.map(|(key, _)| key).ok_or(Refusal::NoSuchSession)
    }

    /// RFC 9725 §4.3: candidates (which ICE-lite does not need) or an ICE restart.
    fn patch(&mut self, ticket: Ticket, patch: &Patch) -> Result<Option<HttpReply>, Refusal> {
        let key = self.http_stream(&patch.session, patch.published)?;
        let if_match = patch.if_match.as_deref().ok_or(Refusal::IfMatchRequired)?;
        let fragment = sdp::parse_ice_fragment(&patch.fragment)?;
        let Some(stream) = self.streams.get(key) else { return Err(Refusal::OtherIceSession) };
        if matches!(stream.life, Life::Negotiating(_)) || !tag_matches(if_match, &stream.local_ufrag) {
            return Err(Refusal::OtherIceSession);
        }
        let known = stream.plan.as_ref().map(|plan| plan.remote.ufrag.as_str());
        match (fragment.ufrag, fragment.pwd) {
            (Some(ufrag), Some(pwd)) if known != Some(ufrag) => {
                let (remote_ufrag, remote_pwd) = (ufrag.to_owned(), pwd.to_owned());
                if let Some(plan) = self.streams.get_mut(key).and_then(|stream| stream.plan.as_mut()) {
                    plan.remote.ufrag.clone_from(&remote_ufrag);
                    plan.remote.pwd.clone_from(&remote_pwd);
                }
                let command = RestartIce { transport_id: key.0, remote_ufrag, remote_pwd };
                self.ask_relay(Purpose::RestartIce(key, ticket), Command::RestartIce(command));
                Ok(None)
            }
            (Some(ufrag), None) if known != Some(ufrag) => {
                Err(Refusal::BadMessage("ice-ufrag without ice-pwd".into()))
            }
            _ => Ok(Some(HttpReply::Noted)),
        }
    }

    pub(super) fn ice_restarted(&mut self, key: StreamKey, ticket: Ticket, opened: TransportOpened) {
        let side = self.relays.side(&opened, 0);
        let reply = match (self.streams.get_mut(key), side) {
            (Some(stream), Some(side)) => {
                stream.local_ufrag.clone_from(&side.ufrag);
                let fragment = match &stream.plan {
                    Some(plan) => write_ice_fragment(plan, &side),
                    None => bare_fragment(&side),
                };
                HttpReply::Restarted { etag: side.ufrag, fragment }
            }
            (None, _) => HttpReply::Refused(Refusal::NoSuchSession),
            (_, None) => HttpReply::Refused(Refusal::NoRelay),
        };
        self.outputs.push_back(Output::Http { ticket, reply });
    }

    /// The session goes on as it was (RFC 9725 §4.3.2).
    pub(super) fn ice_restart_failed(&mut self, ticket: Ticket) {
        let reply = HttpReply::Refused(Refusal::IceRestartFailed);
        self.outputs.push_back(Output::Http { ticket, reply });
    }
}

/// `If-Match` (RFC 9110 §13.1.1): `*`, or a list of tags in quotes.
fn tag_matches(if_match: &str, tag: &str) -> bool {
    if_match
        .split(',')
        .map(str::trim)
        .any(|given| given == "*" || given.strip_prefix('"').and_then(|t| t.strip_suffix('"')) == Some(tag))
}

/// For a session that an earlier signaling negotiated: its m-lines are no longer known.
fn bare_fragment(side: &sdp::RelaySide) -> String {
    let mut out = format!("a=ice-lite\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", side.ufrag, side.pwd);
    for (index, (ip, port)) in side.candidates.iter().enumerate() {
        let priority = (126 << 24) + ((65_535 - index.min(65_535)) << 8) + 255;
        // Writing to a `String` cannot fail.
        let _ = write!(out, "a=candidate:{} 1 udp {priority} {ip} {port} typ host\r\n", index + 1);
    }
    out.push_str("a=end-of-candidates\r\n");
    out
}
