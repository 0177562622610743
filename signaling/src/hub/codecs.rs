//! Which codec a publisher is answered with.
//!
//! Nothing is transcoded, so the choice is made for those who are to play it: of the room's codecs, most wanted first,
//! the first one that every present member can play; if there is none, the most wanted one, and who cannot play it is
//! told `No common codecs` when it tries. What members can play is known from their offers; who has made none yet is
//! not in the way. WHEP players are not asked: they are no members, and nobody waits for them.

use super::Hub;
use crate::id::{MemberId, RoomId, StreamKey};
use crate::member::{Member, Presence};
use crate::refusal::Refusal;
use crate::sdp::{self, CodecPreferences, Offer, Plan, SourceTrack};
use crate::stream::Owner;
use relay_control::Codec;

impl Hub {
    /// What the creator of a room wished for, as far as this server has it.
    pub(super) fn room_codecs(
        &self,
        wished: Option<&CodecPreferences>,
    ) -> Result<Option<CodecPreferences>, Refusal> {
        let Some(wished) = wished else { return Ok(None) };
        let media = &self.config.media;
        let chosen = |wished: &[Codec], ours: &[Codec]| -> Result<Vec<Codec>, Refusal> {
            if wished.is_empty() {
                return Ok(ours.to_vec());
            }
            let both: Vec<Codec> = wished.iter().filter(|codec| ours.contains(codec)).copied().collect();
            if both.is_empty() { Err(Refusal::CodecsNotAllowed) } else { Ok(both) }
        };
        let audio = chosen(&wished.audio, &media.audio)?;
        let video = chosen(&wished.video, &media.video)?;
        Ok(Some(CodecPreferences { audio, video }))
    }

    fn newest_stream(&self, room: RoomId, member: MemberId) -> Option<StreamKey> {
        let member = self.rooms.member(room, member)?;
        let number = |key: &&StreamKey| self.streams.get(**key).map(|stream| stream.number);
        member.streams().max_by_key(number).copied()
    }

    pub(super) fn plan_publish(
        &self,
        offer: &Offer<'_>,
        room: RoomId,
        owner: Owner,
    ) -> Result<Plan, Refusal> {
        let room = self.rooms.get(room).ok_or(Refusal::Restricted)?;
        let media = &self.config.media;
        let ours = || CodecPreferences { audio: media.audio.clone(), video: media.video.clone() };
        let preferences = room.terms.codecs.clone().unwrap_or_else(ours);
        // An encoder that came by WHIP plays nothing.
        let plays = |member: &&Member| Owner::Member(member.id) != owner && member.presence != Presence::Http;
        let audience: Vec<&Member> = room.members.iter().filter(plays).collect();
        let allowed = |track: &SourceTrack| audience.iter().all(|member| member.playable.allows(track));
        Ok(sdp::answer_publish_to(offer, &preferences, allowed)?)
    }

    /// Remembers what an offer says about its author, for a signaling that comes after us as well: the label of its
    /// newest stream tells it. One, as a client that changes its mind all the time must not keep the relay busy.
    pub(super) fn note_codecs(&mut self, offer: &Offer<'_>, room: RoomId, owner: Owner, to_publish: bool) {
        let Owner::Member(id) = owner else { return };
        let newest = self.newest_stream(room, id);
        let Some(member) = self.rooms.member_mut(room, id) else { return };
        let before = member.playable.clone();
        let known = if to_publish { &mut member.playable.by_publish } else { &mut member.playable.by_play };
        let offered = sdp::offered(offer, to_publish);
        // An offer of one kind says nothing about the other.
        known.retain(|old| !offered.iter().any(|new| new.kind == old.kind));
        known.extend(offered);
        if member.playable != before
            && let Some(newest) = newest
        {
            self.write_label(newest);
        }
    }
}
