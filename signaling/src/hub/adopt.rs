//! Rooms rebuilt from the labels on transports.
//!
//! A signaling that finds a running relay rebuilds rooms, members and streams from the labels ([`super::label`]) and
//! closes nothing that it understands: media flows on. The members are *detached* until their clients come back with
//! the secret of their earlier session.

use super::label::{Label, MemberLabel, RoleLabel};
use super::members::Visitor;
use super::unproved::Asker;
use super::{Hub, Purpose};
use crate::id::{MemberId, RoomId, StreamKey};
use crate::life::Life;
use crate::member::{Member, Presence};
use crate::room::Terms;
use crate::sdp::SourceTrack;
use crate::stream::{Owner, Publish, PublishedTrack, Role, Stream};
use crate::timer::{Time, Timer};
use relay_control::{
    CloseTransport, Command, Inventory, MediaKind, RtpParameters, TransportInfo, TransportState,
};

impl Hub {
    /// Takes over what a relay that we have not seen before is running. What cannot be understood is closed.
    pub(super) fn adopt(&mut self, now: Time, inventory: Inventory) {
        let mut found: Vec<(Label, TransportInfo)> = Vec::new();
        for info in inventory.transports {
            if self.streams.contains(StreamKey(info.transport_id)) {
                continue;
            }
            match Label::read(&info.label) {
                Some(label) if is_alive(&info) => found.push((label, info)),
                _ => self.close_transport(info.transport_id),
            }
        }
        // Publishers first: a play needs its source.
        found.sort_by_key(|(label, _)| (matches!(label.role, RoleLabel::Play { .. }), label.number));
        let total = found.len();
        let mut adopted = 0;
        for (label, info) in found {
            self.last_number = self.last_number.max(label.number);
            let transport_id = info.transport_id;
            if self.adopt_stream(now, label, info).is_some() {
                adopted += 1;
            } else {
                self.close_transport(transport_id);
            }
        }
        if total > 0 {
            tracing::info!(
                adopted,
                total,
                rooms = self.rooms.len(),
                "took over the transports of a running relay"
            );
        }
    }

    pub(super) fn close_transport(&mut self, transport_id: u64) {
        let command = Command::CloseTransport(CloseTransport { transport_id });
        self.ask_relay(Purpose::Nothing, command);
    }

    /// `None`: it contradicts what is here already.
    fn adopt_stream(&mut self, now: Time, label: Label, info: TransportInfo) -> Option<()> {
        let key = StreamKey(info.transport_id);
        let room = RoomId(info.room_id);
        let known = self.rooms.named(&label.room);
        let clashes = known.is_some_and(|known| known != room)
            || (known.is_none() && self.rooms.get(room).is_some())
            || self.streams.of_session(&label.session).is_some();
        if clashes {
            return None;
        }
        let role = self.adopted_role(&label, &info)?;
        if known.is_none() {
            let terms = self.adopted_terms(label.terms.read());
            self.rooms.insert(room, &label.room, terms);
        }
        let owner = match label.member {
            None => Owner::Viewer,
            Some(member) => {
                Owner::Member(self.adopted_member(now, room, member, (label.number, label.http))?)
            }
        };
        let parameters: Vec<&RtpParameters> = match &role {
            Role::Publish(_) => info.up_tracks.iter().map(|track| &track.rtp).collect(),
            Role::Play { .. } => info.down_tracks.iter().map(|track| &track.rtp).collect(),
        };
        let stream = Stream {
            number: label.number,
            session: label.session,
            name: label.name,
            room,
            owner,
            has_audio: Stream::has(&parameters, MediaKind::Audio),
            has_video: Stream::has(&parameters, MediaKind::Video),
            over_http: label.http,
            local_ufrag: info.opened.as_ref().map(|opened| opened.local_ufrag.clone()).unwrap_or_default(),
            life: self.adopted_life(now, key, &role, &info),
            role,
            plan: None,
        };
        self.insert_stream(key, stream);
        if label.outdated {
            self.write_label(key);
        }
        Some(())
    }

    fn adopted_role(&self, label: &Label, info: &TransportInfo) -> Option<Role> {
        match &label.role {
            RoleLabel::Play { source } => {
                let source = StreamKey(*source);
                self.streams.publish(source)?;
                Some(Role::Play { source })
            }
            RoleLabel::Publish { audio_muted, video_muted, fmtp } => {
                let track = |track: &relay_control::UpTrackInfo| {
                    let fmtp = fmtp.get(&track.track_id).map_or("", String::as_str);
                    let source = SourceTrack::new(track.rtp.codec(), fmtp)?;
                    Some(PublishedTrack { id: track.track_id, source, flows: track.active })
                };
                let tracks = info.up_tracks.iter().map(track).collect::<Option<Vec<_>>>()?;
                Some(Role::Publish(Publish {
                    tracks,
                    players: Vec::new(),
                    audio_muted: *audio_muted,
                    video_muted: *video_muted,
                    has_sent: info.up_tracks.iter().any(|track| track.active),
                }))
            }
        }
    }

    fn adopted_life(&mut self, now: Time, key: StreamKey, role: &Role, info: &TransportInfo) -> Life {
        let silent = matches!(role, Role::Publish(publish) if !publish.has_sent);
        let life = match info.state() {
            TransportState::Connected if silent => Life::AwaitingMedia,
            TransportState::Connected => Life::OnAir,
            state => {
                // Who asked for it, the relay does not know.
                self.streams.note_unproved(key, Asker::Unknown);
                Life::Connecting { checked: state == TransportState::IceConnected }
            }
        };
        if let Some(limit) = life.limit() {
            self.timers.set(Timer::Stream(key), now + limit);
        }
        life
    }

    /// The settings may be others than those under which the room was made.
    fn adopted_terms(&self, terms: Terms) -> Terms {
        let codecs = self.room_codecs(terms.codecs.as_ref()).unwrap_or_default();
        Terms { codecs, ..terms }
    }

    /// Whose stream it is. What is known of what it plays stands in all its labels; the newest one knows best.
    fn adopted_member(
        &mut self,
        now: Time,
        room: RoomId,
        label: MemberLabel,
        (number, http): (u64, bool),
    ) -> Option<MemberId> {
        let playable = label.playable();
        let newest = |member: &Member| {
            member.streams().filter_map(|key| self.streams.get(*key)).map(|stream| stream.number).max()
        };
        let known = self.rooms.get(room)?.member(&label.login);
        if let Some((id, newest, token)) = known.map(|member| (member.id, newest(member), &member.token)) {
            if *token != label.token {
                return None;
            }
            if newest.is_none_or(|newest| newest < number) {
                self.rooms.member_mut(room, id)?.playable = playable;
            }
            return Some(id);
        }
        let id = MemberId(self.number());
        let presence = if http { Presence::Http } else { Presence::Adopted };
        self.add_member(room, id, Visitor { login: label.login, token: label.token }, presence);
        self.rooms.member_mut(room, id)?.playable = playable;
        if !http {
            self.timers.set(Timer::Detached(room, id), now + self.config.rooms.adopt_grace);
        }
        Some(id)
    }
}

fn is_alive(info: &TransportInfo) -> bool {
    !matches!(info.state(), TransportState::Failed | TransportState::Closed)
}
