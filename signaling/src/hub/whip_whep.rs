//! WHIP (RFC 9725) publishers and WHEP players.
//!
//! A WHIP publisher is a member of the room as any other, for as long as its stream. A WHEP player is no
//! member: it is seen by nobody and counts only towards the room's limit of viewers. The URL of a session
//! holds a secret, which is all that DELETE and PATCH need; only its digest is kept.

use super::codecs::plan_publish;
use super::context::Context;
use super::end::{end_member, end_stream};
use super::http::{Awaited, HttpReply, HttpRequest, Patch};
use super::members::{Admission, admit};
use super::offers::{NewStream, PublishWish, begin_play, begin_publish};
use super::recordings;
use super::relays::{Purpose, Relays, RemoteIce};
use super::rooms::{Newcomer, Rooms};
use super::secret::digest;
use super::sources::source;
use super::streams::Streams;
use super::unproved::Requester;
use crate::address::Subnet;
use crate::auth::Admitted;
use crate::id::{Held, HttpRequestId, MemberId, RoomId, StreamKey};
use crate::member::Presence;
use crate::message::RoomEvent;
use crate::names::NameOf;
use crate::refusal::{Refusal, StreamEnd};
use crate::room::Terms;
use crate::sdp::{self, write_ice_fragment};
use crate::stream::{Owner, Stream};
use crate::stream_state::StreamState;
use relay_control::{Command, ReplyBody, RestartIce};
use std::fmt::Write as _;

/// What came of a request.
pub(super) enum Handled {
    Replied(HttpReply),
    /// The reply comes later.
    Later,
    /// It publishes, if nobody who lives has its login.
    Publication(Publication),
    /// It plays, if the room has a place for it.
    Viewing(Viewing),
}

/// What a WHIP client wants to publish.
pub(super) struct Publication {
    room: String,
    admitted: Admitted,
    sdp: String,
    requester: Requester,
    /// Whether its client is still there.
    pub(super) awaited: Awaited,
}

/// What a WHEP client wants to play.
pub(super) struct Viewing {
    pub(super) room: String,
    name: String,
    by: NameOf,
    sdp: String,
    requester: Requester,
    /// Whether its client is still there.
    pub(super) awaited: Awaited,
}

/// A request as it came: `address` is the one that its stream is counted by.
pub(super) fn handle_request(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    (http_request, address, awaited): (HttpRequestId, Option<Subnet>, Awaited),
    request: HttpRequest,
) -> Result<Handled, Refusal> {
    let requester = Requester::new(address, None);
    match request {
        HttpRequest::Publish { room, login, sdp, priority, rights, record } => {
            let admitted = Admitted { login, priority, rights, record };
            Ok(Handled::Publication(Publication { room, admitted, sdp, requester, awaited }))
        }
        HttpRequest::Play { room, name, by, sdp } => {
            Ok(Handled::Viewing(Viewing { room, name, by, sdp, requester, awaited }))
        }
        HttpRequest::Delete { secret, published } => {
            let key = http_stream(streams, &secret, published)?;
            end_stream(cx, rooms, streams, key, StreamEnd::StoppedByUser);
            Ok(Handled::Replied(HttpReply::Deleted))
        }
        HttpRequest::Patch(patch) => self::patch(cx, streams, http_request, &patch),
        HttpRequest::StartRecording { room, stream } => {
            let stream = stream.as_ref().map(|(name, by)| (name.as_str(), *by));
            recordings::start(cx, rooms, streams, &room, stream).map(Handled::Replied)
        }
        HttpRequest::StopRecording { id } => recordings::stop(cx, rooms, streams, &id).map(Handled::Replied),
    }
}

/// A viewer comes in.
pub(super) fn play(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    relays: &Relays,
    http_request: HttpRequestId,
    viewing: &Viewing,
) -> Result<(), Refusal> {
    let Viewing { room, name, by, sdp, requester, .. } = viewing;
    let room = rooms.named(room).ok_or(Refusal::StreamNotFound)?;
    let source = source(rooms, streams, room, name, *by)?;
    let name = streams.get(source).map(|stream| stream.name.clone()).unwrap_or_default();
    let (id, owner, http_request) = (cx.secret(), Owner::Viewer, Some(http_request));
    let new = NewStream { id, name, room, owner, requester: *requester, sdp, http_request };
    begin_play(cx, rooms, streams, relays, new, source)
}

/// A publisher comes in with its stream. `Some`: if nobody who lives holds this.
pub(super) fn publish(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    relays: &Relays,
    http_request: HttpRequestId,
    publication: &Publication,
) -> Result<Option<Held>, Refusal> {
    let Publication { room: room_name, admitted, sdp, requester, .. } = publication;
    let Admitted { login, priority, rights, record } = admitted;
    let login = login.clone().unwrap_or_else(|| format!("whip-{:08x}", cx.random_id() & 0xffff_ffff));
    let (token, app_key, presence) = (cx.secret(), String::new(), Presence::Http);
    let newcomer = Newcomer { login: login.clone(), token, app_key, presence, rights: *rights };
    match admit(cx, rooms, streams, room_name, &newcomer) {
        Admission::Open => {}
        Admission::Refused(refusal) => return Err(refusal),
        Admission::Resume(..) | Admission::Inside(..) => return Err(Refusal::LoginTaken),
        Admission::Contest(room, holder) if repeats(rooms, streams, (room, holder), sdp) => {
            end_member(cx, rooms, streams, (room, holder), StreamEnd::Replaced);
            rooms.remove_later_if_empty(cx, room);
        }
        Admission::Contest(room, holder) => {
            // Nobody is displaced for an offer of which nothing can be had.
            plan_publish(cx, rooms, room, Owner::Member(holder), &sdp::parse(sdp)?)?;
            return Ok(Some(Held::Login(room, holder)));
        }
    }
    let room = rooms.named_or_new(cx, room_name, (&Terms::default(), false), relays.for_new_room())?;
    let member = rooms.add_member(cx, room, newcomer);
    let name = format!("{room_name}-{login}-{:04x}", cx.random_id() & 0xffff);
    let (id, owner, http_request) = (cx.secret(), Owner::Member(member), Some(http_request));
    let new = NewStream { id, name, room, owner, requester: *requester, sdp, http_request };
    let wish = PublishWish { priority: *priority, record: *record, ..PublishWish::default() };
    let begun = begin_publish(cx, rooms, streams, relays, new, wish);
    if begun.is_ok() {
        rooms.tell_others(cx, room, member, RoomEvent::Joined(&login));
    } else {
        // It was never announced, so nobody hears that it left.
        rooms.remove_member(cx, room, member);
        rooms.remove_if_empty(cx, room);
    }
    begun.map(|()| None)
}

/// Whether it is the offer of the holder itself that comes again, which was not heard of since: its client has
/// not got the answer. Nobody else knows the passwords that stand in it.
fn repeats(rooms: &Rooms, streams: &Streams, (room, holder): (RoomId, MemberId), sdp: &str) -> bool {
    let offer = digest(sdp);
    let Some(holder) = rooms.member(room, holder).filter(|holder| holder.presence == Presence::Http) else {
        return false;
    };
    let is_repeated = |stream: &Stream| {
        let waits =
            matches!(stream.state, StreamState::Negotiating(_) | StreamState::Connecting { checked: false });
        waits && stream.offer == offer
    };
    holder.publishes.iter().filter_map(|key| streams.get(*key)).any(is_repeated)
}

/// Streams of WebSocket clients have ids that their clients chose; those open nothing here.
pub(super) fn http_stream(streams: &Streams, secret: &str, published: bool) -> Result<StreamKey, Refusal> {
    let found = streams.with_id(&digest(secret));
    let found = found.filter(|(_, stream)| stream.over_http && stream.is_publish() == published);
    found.map(|(key, _)| key).ok_or(Refusal::NoSuchSession)
}

/// RFC 9725 §4.3: candidates (which ICE-lite does not need) or an ICE restart. One whose answer was lost comes
/// again as it was, and is answered again: the relay knows that it is none of its own.
fn patch(
    cx: &mut Context,
    streams: &Streams,
    http_request: HttpRequestId,
    patch: &Patch,
) -> Result<Handled, Refusal> {
    let key = http_stream(streams, &patch.secret, patch.published)?;
    let if_match = patch.if_match.as_deref().ok_or(Refusal::IfMatchRequired)?;
    let fragment = sdp::parse_ice_fragment(&patch.fragment)?;
    let Some(stream) = streams.get(key) else { return Err(Refusal::OtherIceSession) };
    let known = stream.plan.as_ref().map(|plan| (plan.remote.ufrag.as_str(), plan.remote.pwd.as_str()));
    let before = stream.ufrag_before.as_deref();
    let repeated = before.is_some_and(|before| if_match.trim() == "*" || tag_matches(if_match, before))
        && known == fragment.ufrag.zip(fragment.pwd);
    let current = tag_matches(if_match, &stream.local_ufrag);
    if matches!(stream.state, StreamState::Negotiating(_)) || !(current || repeated) {
        return Err(Refusal::OtherIceSession);
    }
    let is_new = fragment.ufrag.is_some_and(|ufrag| known.is_none_or(|(known, _)| known != ufrag));
    match (fragment.ufrag, fragment.pwd) {
        (Some(ufrag), Some(pwd)) if is_new || repeated => {
            let (remote_ufrag, remote_pwd) = (ufrag.to_owned(), pwd.to_owned());
            let remote = RemoteIce { ufrag: remote_ufrag.clone(), pwd: remote_pwd.clone() };
            let command = RestartIce { transport_id: key.0, remote_ufrag, remote_pwd };
            let purpose = Purpose::RestartIce(key, http_request, remote);
            cx.ask_relay(stream.relay, purpose, Command::RestartIce(command));
            Ok(Handled::Later)
        }
        (Some(_), None) if is_new => Err(Refusal::BadMessage("ice-ufrag without ice-pwd".into())),
        _ => Ok(Handled::Replied(HttpReply::Noted)),
    }
}

/// The relay has restarted ICE, or has not: then the session goes on as it was (RFC 9725 §4.3.2), and the
/// client may try the same again.
pub(super) fn ice_restarted(
    streams: &mut Streams,
    relays: &Relays,
    (key, remote): (StreamKey, &RemoteIce),
    reply: Result<ReplyBody, ()>,
) -> HttpReply {
    let Ok(ReplyBody::TransportOpened(opened)) = reply else {
        return HttpReply::Refused(Refusal::IceRestartFailed);
    };
    let Some(stream) = streams.get(key) else { return HttpReply::Refused(Refusal::NoSuchSession) };
    let Some(side) = relays.side(stream.relay, &opened, 0) else {
        return HttpReply::Refused(Refusal::NoRelay);
    };
    let fragment = match &stream.plan {
        Some(plan) => write_ice_fragment(plan, &side),
        None => bare_fragment(&side),
    };
    streams.set_remote_ice(key, &remote.ufrag, &remote.pwd);
    streams.set_local_ufrag(key, &side.ufrag);
    HttpReply::Restarted { etag: side.ufrag, fragment }
}

/// `If-Match` (RFC 9110 §13.1.1): `*`, or a list of tags in quotes. Ours names an ICE session and no octets,
/// so one that a proxy made weak on its way is as good, and so is one that lost its quotes.
fn tag_matches(if_match: &str, tag: &str) -> bool {
    if_match.split(',').map(str::trim).any(|given| {
        let given = given.strip_prefix("W/").unwrap_or(given);
        given == "*" || given.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(given) == tag
    })
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
