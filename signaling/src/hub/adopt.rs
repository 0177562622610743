//! Labels on transports, and rooms rebuilt from them.
//!
//! Each transport in the relay carries a label that says whose it is. A signaling that finds a running relay rebuilds
//! rooms, members and streams from the labels and closes nothing that it understands: media flows on. The members
//! are *detached* until their clients come back with the secret of their earlier session.
//!
//! Deliberately absent from labels: chat, and members without streams; they join again and nobody misses anything.

use super::Hub;
use super::rooms::Visitor;
use super::streams::{CONNECT_LIMIT, RTP_GRACE};
use crate::participant::{
    MemberId, Owner, Phase, Presence, Publish, PublishedTrack, Role, Stream, StreamKey,
};
use crate::room::{Room, RoomId};
use crate::sdp::SourceTrack;
use crate::timer::{Time, Timer};
use relay_control::{
    CloseTransport, Command, Inventory, LABEL_BYTES_MAX, MediaKind, RtpParameters, SetLabel, TransportInfo,
    TransportState,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Form of the label; another one is not ours to read.
const LABEL_VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Label {
    version: u32,
    /// Order in which streams were made: `STATE` lists a member's camera before its screen.
    number: u64,
    room: String,
    session: String,
    name: String,
    /// Absent: a WHEP player.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member: Option<MemberLabel>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    http: bool,
    role: RoleLabel,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct MemberLabel {
    login: String,
    token: String,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum RoleLabel {
    Publish {
        audio_muted: bool,
        video_muted: bool,
        /// What the relay does not know of a track: by track id, the format parameters.
        fmtp: BTreeMap<u64, String>,
    },
    Play {
        source: u64,
    },
}

impl Hub {
    /// `None`: it would be too long.
    pub(super) fn label(&mut self, key: StreamKey, stream: &Stream) -> Option<Vec<u8>> {
        let room = self.rooms.get(&stream.room)?;
        let member = match stream.owner {
            Owner::Viewer => None,
            Owner::Member(id) => {
                let member = room.member_by_id(id)?;
                Some(MemberLabel { login: member.login.clone(), token: member.token.clone() })
            }
        };
        let role = match &stream.role {
            Role::Play { source } => RoleLabel::Play { source: source.0 },
            Role::Publish(publish) => RoleLabel::Publish {
                audio_muted: publish.audio_muted,
                video_muted: publish.video_muted,
                fmtp: publish.tracks.iter().map(|track| (track.id, track.source.fmtp())).collect(),
            },
        };
        let label = Label {
            version: LABEL_VERSION,
            number: stream.number,
            room: room.name.clone(),
            session: stream.session.clone(),
            name: stream.name.clone(),
            member,
            http: stream.over_http,
            role,
        };
        let text = serde_json::to_vec(&label).ok()?;
        if text.len() > LABEL_BYTES_MAX {
            tracing::warn!(transport = key.0, bytes = text.len(), "label is too long");
            return None;
        }
        Some(text)
    }

    /// After what it says has changed.
    pub(super) fn write_label(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.remove(&key) else { return };
        let label = self.label(key, &stream);
        self.streams.insert(key, stream);
        if let Some(label) = label {
            let command = SetLabel { transport_id: key.0, label };
            self.ask_relay(super::progress::Purpose::Nothing, Command::SetLabel(command));
        }
    }

    /// Takes over what a relay that we have not seen before is running. What cannot be understood is closed.
    pub(super) fn adopt(&mut self, now: Time, inventory: Inventory) {
        let mut found: Vec<(Label, TransportInfo)> = Vec::new();
        for info in inventory.transports {
            if self.streams.contains_key(&StreamKey(info.transport_id)) {
                continue;
            }
            match serde_json::from_slice::<Label>(&info.label) {
                Ok(label) if label.version == LABEL_VERSION && is_alive(&info) => found.push((label, info)),
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

    fn close_transport(&mut self, transport_id: u64) {
        let command = Command::CloseTransport(CloseTransport { transport_id });
        self.ask_relay(super::progress::Purpose::Nothing, command);
    }

    /// `None`: it contradicts what is here already.
    fn adopt_stream(&mut self, now: Time, label: Label, info: TransportInfo) -> Option<()> {
        let key = StreamKey(info.transport_id);
        let room = RoomId(info.room_id);
        let known = self.rooms_by_name.get(&label.room).copied();
        let clashes = known.is_some_and(|known| known != room)
            || (known.is_none() && self.rooms.contains_key(&room))
            || self.streams_by_session.contains_key(&label.session);
        if clashes {
            return None;
        }
        let role = self.adopted_role(&label, &info)?;
        if known.is_none() {
            self.rooms.insert(room, Room::new(label.room.clone()));
            self.rooms_by_name.insert(label.room.clone(), room);
        }
        let owner = match label.member {
            None => Owner::Viewer,
            Some(member) => Owner::Member(self.adopted_member(now, room, member, label.http)?),
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
            phase: self.adopted_phase(now, key, &role, &info),
            role,
            plan: None,
        };
        if let Role::Publish(publish) = &stream.role {
            for track in &publish.tracks {
                self.streams_by_track.insert(track.id, key);
            }
        }
        if let Role::Play { source } = stream.role
            && let Some(publish) = self.streams.get_mut(&source).and_then(Stream::publish_mut)
        {
            publish.players.push(key);
        }
        self.insert_stream(key, stream);
        Some(())
    }

    fn adopted_role(&self, label: &Label, info: &TransportInfo) -> Option<Role> {
        match &label.role {
            RoleLabel::Play { source } => {
                let source = StreamKey(*source);
                self.streams.get(&source)?.publish()?;
                Some(Role::Play { source })
            }
            RoleLabel::Publish { audio_muted, video_muted, fmtp } => {
                let track = |track: &relay_control::UpTrackInfo| {
                    let fmtp = fmtp.get(&track.track_id).map_or("", String::as_str);
                    let source = SourceTrack::new(track.rtp.codec(), fmtp)?;
                    Some(PublishedTrack { id: track.track_id, source })
                };
                let tracks = info.up_tracks.iter().map(track).collect::<Option<Vec<_>>>()?;
                Some(Role::Publish(Publish {
                    tracks,
                    players: Vec::new(),
                    audio_muted: *audio_muted,
                    video_muted: *video_muted,
                    active: info.up_tracks.iter().any(|track| track.active),
                }))
            }
        }
    }

    fn adopted_phase(&mut self, now: Time, key: StreamKey, role: &Role, info: &TransportInfo) -> Phase {
        let silent = matches!(role, Role::Publish(publish) if !publish.active);
        match info.state() {
            TransportState::Connected if silent => {
                self.timers.set(Timer::Stream(key), now + RTP_GRACE);
                Phase::Settling
            }
            TransportState::Connected => Phase::Running,
            state => {
                self.timers.set(Timer::Stream(key), now + CONNECT_LIMIT);
                Phase::Connecting { ice: state == TransportState::IceConnected }
            }
        }
    }

    fn adopted_member(
        &mut self,
        now: Time,
        room: RoomId,
        label: MemberLabel,
        http: bool,
    ) -> Option<MemberId> {
        if let Some(member) = self.rooms.get(&room)?.member(&label.login) {
            return (member.token == label.token).then_some(member.id);
        }
        let id = MemberId(self.number());
        let presence = if http { Presence::Http } else { Presence::Detached };
        self.add_member(room, id, Visitor { login: label.login, token: label.token }, presence);
        if !http {
            self.timers.set(Timer::Detached(room, id), now + self.config.rooms.adopt_grace);
        }
        Some(id)
    }
}

fn is_alive(info: &TransportInfo) -> bool {
    !matches!(info.state(), TransportState::Failed | TransportState::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_comes_back_as_it_went() {
        let member = Some(MemberLabel { login: "Алиса \"🎥\"".to_owned(), token: "t".to_owned() });
        let fmtp = BTreeMap::from([(1, String::new()), (u64::MAX, "packetization-mode=1".to_owned())]);
        for role in [
            RoleLabel::Play { source: 1 << 62 },
            RoleLabel::Publish { audio_muted: true, video_muted: false, fmtp },
        ] {
            let label = Label {
                version: 1,
                number: 7,
                room: "r".to_owned(),
                session: "s".to_owned(),
                name: "n".to_owned(),
                member: member
                    .as_ref()
                    .map(|m| MemberLabel { login: m.login.clone(), token: m.token.clone() }),
                http: false,
                role,
            };
            let text = serde_json::to_vec(&label).expect("plain");
            assert_eq!(serde_json::from_slice::<Label>(&text).expect("own"), label);
        }
    }

    #[test]
    fn foreign_labels_are_refused() {
        for text in ["", "{}", "null", r#"{"version":1}"#, "[1,2", r#"{"version":1,"role":{"watch":{}}}"#] {
            assert!(serde_json::from_str::<Label>(text).is_err(), "{text}");
        }
    }
}
