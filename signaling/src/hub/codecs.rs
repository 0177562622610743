//! Which codec a publisher is answered with.
//!
//! Nothing is transcoded, so the choice is made for those who are to play it: of the room's codecs, most
//! wanted first, the first one that every present member can play; if there is none, the most wanted one, and
//! who cannot play it has the rest of the stream and is told `No common codecs` of this when it tries. What members can play is known from their
//! offers; who has made none yet does not count. WHEP players are not asked: they are no members, and
//! nobody waits for them.

use super::context::Context;
use super::label::write_label;
use super::rooms::Rooms;
use super::streams::Streams;
use crate::id::RoomId;
use crate::member::{Member, Presence};
use crate::refusal::Refusal;
use crate::sdp::{self, CodecPreferences, Offer, Plan, SourceTrack};
use crate::stream::Owner;

pub(super) fn plan_publish(
    cx: &Context,
    rooms: &Rooms,
    room: RoomId,
    owner: Owner,
    offer: &Offer<'_>,
) -> Result<Plan, Refusal> {
    let room = rooms.get(room).ok_or(Refusal::Restricted)?;
    let media = &cx.config.media;
    let ours = || CodecPreferences { audio: media.audio.clone(), video: media.video.clone() };
    let preferences = room.terms.codecs.clone().unwrap_or_else(ours);
    // An encoder that came by WHIP plays nothing.
    let plays = |member: &&Member| Owner::Member(member.id) != owner && member.presence != Presence::Http;
    let audience: Vec<&Member> = room.members().filter(plays).collect();
    let allowed = |track: &SourceTrack| audience.iter().all(|member| member.playable.allows(track));
    Ok(sdp::answer_publish_to(offer, &preferences, allowed)?)
}

/// Remembers what an offer says about its author, for a signaling that comes after us as well: the label of
/// its newest stream tells it. One, as a client that changes its mind all the time must not keep the relay
/// busy.
pub(super) fn note_codecs(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &Streams,
    (room, owner): (RoomId, Owner),
    offer: &Offer<'_>,
    to_publish: bool,
) {
    let Owner::Member(id) = owner else { return };
    let Some(member) = rooms.member_mut(room, id) else { return };
    let before = member.playable.clone();
    let known = if to_publish { &mut member.playable.by_publish } else { &mut member.playable.by_play };
    let offered = sdp::offered(offer, to_publish);
    // An offer of one kind says nothing about the other.
    known.retain(|old| !offered.iter().any(|new| new.kind == old.kind));
    known.extend(offered);
    if member.playable == before {
        return;
    }
    let number = |key: &&_| streams.get(**key).map(|stream| stream.number);
    if let Some(newest) = member.streams().max_by_key(number).copied() {
        write_label(cx, rooms, streams, newest);
    }
}
