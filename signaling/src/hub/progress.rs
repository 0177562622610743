//! The relay's replies and events, and what follows when a stream has moved on.

use super::streams::{RELAY_LOST_LIMIT, play_cname};
use super::{HttpReply, Hub, Output, Purpose, RelaySight};
use crate::id::StreamKey;
use crate::life::{Happening, Life, Negotiation, Next};
use crate::message::{RoomEvent, ServerMessage, Status};
use crate::refusal::{Refusal, StreamEnd};
use crate::sdp::{PlaySide, RelaySide, TrackSsrcs};
use crate::stream::{Owner, Role, Stream};
use crate::timer::{Time, Timer};
use relay_control::{
    Command, ErrorCode, EventBody, FailReason, Inventory, ReplyBody, TransportInfo, TransportOpened,
    TransportState, TransportStateChanged, UpTrackActivity, Welcome,
};
use std::collections::HashSet;

/// Those of `ours` that are not `there`. Each is looked at once, as both may be tens of thousands.
fn absent(ours: impl Iterator<Item = StreamKey>, there: impl Iterator<Item = StreamKey>) -> Vec<StreamKey> {
    let there: HashSet<StreamKey> = there.collect();
    ours.filter(|key| !there.contains(key)).collect()
}

impl Hub {
    /// The connection to the relay stands: `inventory` is all that it has.
    pub fn handle_relay_up(&mut self, now: Time, welcome: Welcome, inventory: Inventory) {
        self.timers.clear(Timer::RelayLost);
        let before = match &self.relay {
            RelaySight::Never => None,
            RelaySight::Up(welcome) | RelaySight::Lost(welcome) => Some(welcome.boot_id),
            RelaySight::Gone(boot_id) => Some(*boot_id),
        };
        let restarted = before.is_some_and(|boot_id| boot_id != welcome.boot_id);
        self.relay = RelaySight::Up(welcome);
        if restarted {
            self.fail_all(now);
        }
        self.reconcile(now, &inventory);
        if before.is_none() || restarted {
            self.adopt(now, inventory);
        } else {
            tracing::debug!(transports = inventory.transports.len(), "control connection is back");
            // Known relay, unknown transports: their end is on its way there again, or was lost.
            for info in inventory.transports {
                if !self.streams.contains_key(&StreamKey(info.transport_id)) {
                    self.close_transport(info.transport_id);
                }
            }
        }
    }

    /// The connection to the relay broke. Media may go on; new streams wait.
    pub fn handle_relay_down(&mut self, now: Time) {
        let RelaySight::Up(welcome) = &self.relay else { return };
        self.relay = RelaySight::Lost(welcome.clone());
        self.timers.set(Timer::RelayLost, now + RELAY_LOST_LIMIT);
    }

    pub(super) fn relay_gone(&mut self, now: Time) {
        if let RelaySight::Lost(welcome) = &self.relay {
            self.relay = RelaySight::Gone(welcome.boot_id);
            self.fail_all(now);
        }
    }

    /// All streams are lost with the relay that carried them. Those still being negotiated end by their own timer or
    /// by the error that the link reports for their requests.
    fn fail_all(&mut self, now: Time) {
        let mut keys: Vec<StreamKey> = self.streams.keys().copied().collect();
        // Plays first: their owners hear that they failed, not that the publisher stopped.
        keys.sort_by_key(|key| self.streams.get(key).is_some_and(Stream::is_publish));
        for key in keys {
            self.end_stream(now, key, StreamEnd::RelayLost);
        }
    }

    /// Makes our streams agree with what the relay says it has.
    fn reconcile(&mut self, now: Time, inventory: &Inventory) {
        for info in &inventory.transports {
            let key = StreamKey(info.transport_id);
            if self.streams.contains_key(&key) {
                self.catch_up(now, key, info);
            }
        }
        let settled = self.streams.iter().filter(|(_, stream)| !matches!(stream.life, Life::Negotiating(_)));
        let there = inventory.transports.iter().map(|info| StreamKey(info.transport_id));
        for key in absent(settled.map(|(key, _)| *key), there) {
            self.end_stream(now, key, StreamEnd::RelayLost);
        }
    }

    /// Events that were missed while the connection was down.
    fn catch_up(&mut self, now: Time, key: StreamKey, info: &TransportInfo) {
        for track in &info.up_tracks {
            self.up_track_activity(now, UpTrackActivity { track_id: track.track_id, active: track.active });
        }
        let reason = FailReason::ConsentExpired as i32;
        self.transport_state(now, &TransportStateChanged { transport_id: key.0, state: info.state, reason });
    }

    /// The reply to a request of ours. `Err`: the connection to the relay ended before it came.
    pub fn handle_reply(&mut self, now: Time, request_id: u64, reply: Result<ReplyBody, ()>) {
        let Some(purpose) = self.requests.remove(&request_id) else { return };
        let mut end = StreamEnd::ServerError;
        if let Ok(ReplyBody::Error(error)) = &reply {
            if matches!(error.code(), ErrorCode::LimitReached | ErrorCode::Busy) {
                end = StreamEnd::RelayFull;
                // Clients can bring this about as often as they like.
                if let Some(count) = self.relay_full.note(now) {
                    tracing::warn!(count, ?purpose, "refused by a limit of the relay: {}", error.message);
                }
            } else {
                tracing::warn!(?purpose, code = error.code, "relay refused: {}", error.message);
            }
        }
        let (key, happening) = match (purpose, reply) {
            (Purpose::Nothing, _) => return,
            (Purpose::RestartIce(key, ticket), Ok(ReplyBody::TransportOpened(opened))) => {
                return self.ice_restarted(key, ticket, opened);
            }
            (Purpose::RestartIce(_, ticket), _) => return self.ice_restart_failed(ticket),
            (Purpose::Open(key), Ok(ReplyBody::TransportOpened(opened))) => (key, Happening::Opened(opened)),
            (Purpose::UpTrack(key), Ok(ReplyBody::UpTrackAdded(_))) => (key, Happening::UpTrackAdded),
            (Purpose::DownTrack(key, index), Ok(ReplyBody::DownTrackAdded(added))) => {
                (key, Happening::DownTrackAdded(index, added))
            }
            (Purpose::Open(key) | Purpose::UpTrack(key) | Purpose::DownTrack(key, _), _) => {
                (key, Happening::End(end))
            }
        };
        self.happened(now, key, happening);
    }

    /// Moves a stream on, and does what follows.
    pub(super) fn happened(&mut self, now: Time, key: StreamKey, happening: Happening) {
        let Some(mut stream) = self.streams.remove(&key) else { return };
        let before = std::mem::discriminant(&stream.life);
        let next;
        (stream.life, next) = stream.life.after(happening);
        if std::mem::discriminant(&stream.life) != before {
            match stream.life.limit() {
                Some(limit) => self.timers.set(Timer::Stream(key), now + limit),
                None => self.timers.clear(Timer::Stream(key)),
            }
        }
        self.streams.insert(key, stream);
        match next {
            Next::Wait => {}
            Next::AskForTracks(commands) => self.ask_for_tracks(key, commands),
            Next::Answer(negotiation) => self.answer(now, key, *negotiation),
            Next::Announce => self.announce(key),
            Next::Remove => self.remove_ended(now, key),
        }
    }

    fn ask_for_tracks(&mut self, key: StreamKey, commands: Vec<Command>) {
        for (index, command) in commands.into_iter().enumerate() {
            let purpose = match command {
                Command::AddDownTrack(_) => Purpose::DownTrack(key, index),
                _ => Purpose::UpTrack(key),
            };
            self.ask_relay(purpose, command);
        }
    }

    fn answer(&mut self, now: Time, key: StreamKey, negotiation: Negotiation) {
        let http = negotiation.ticket.zip(negotiation.secret.clone());
        let Some((etag, sdp)) = self.write_answer(key, &negotiation) else {
            self.end_stream(now, key, StreamEnd::ServerError);
            if let Some((ticket, _)) = http {
                let reply = HttpReply::Refused(Refusal::Ended(StreamEnd::ServerError));
                self.outputs.push_back(Output::Http { ticket, reply });
            }
            return;
        };
        let Some(stream) = self.streams.get_mut(&key) else { return };
        stream.local_ufrag.clone_from(&etag);
        let session = stream.session.clone();
        let to = self.streams.get(&key).and_then(|stream| self.connection_of(stream));
        if let Some(to) = to {
            self.send(to, &ServerMessage::RemoteSdp { session: &session, sdp: &sdp });
        }
        if let Some((ticket, session)) = http {
            self.outputs.push_back(Output::Http { ticket, reply: HttpReply::Created { session, etag, sdp } });
        }
    }

    /// The relay's ICE user fragment, and the answer with it.
    fn write_answer(&mut self, key: StreamKey, negotiation: &Negotiation) -> Option<(String, String)> {
        let session_id = self.random_id();
        let stream = self.streams.get(&key)?;
        let mut side = self.relay_side(negotiation.opened.as_ref()?, session_id)?;
        if let Role::Play { source } = stream.role {
            let ssrcs = negotiation.down_tracks.iter().map(|track| TrackSsrcs {
                ssrc: track.ssrc,
                rtx_ssrc: Some(track.rtx_ssrc).filter(|ssrc| *ssrc != 0),
            });
            let cname = play_cname(source);
            side.play = Some(PlaySide { stream_id: cname.clone(), cname, ssrcs: ssrcs.collect() });
        } else if self.config.media.max_publish_bitrate_bps > 0 {
            side.max_video_bitrate_bps = Some(self.config.media.max_publish_bitrate_bps);
        }
        let sdp = stream.plan.as_ref()?.write(&side);
        Some((side.ufrag, sdp))
    }

    /// `None`: the relay said something that cannot be put into an answer.
    pub(super) fn relay_side(&self, opened: &TransportOpened, session_id: u64) -> Option<RelaySide> {
        let (RelaySight::Up(welcome) | RelaySight::Lost(welcome)) = &self.relay else { return None };
        let candidate = |address: &relay_control::CandidateAddress| {
            Some((address.ip.parse().ok()?, u16::try_from(address.port).ok()?))
        };
        Some(RelaySide {
            ufrag: opened.local_ufrag.clone(),
            pwd: opened.local_pwd.clone(),
            fingerprint_sha256: welcome.fingerprint_sha256.as_slice().try_into().ok()?,
            candidates: opened.candidates.iter().filter_map(candidate).collect(),
            session_id,
            max_video_bitrate_bps: None,
            play: None,
        })
    }

    /// Something happened in the relay.
    pub fn handle_event(&mut self, now: Time, event: &EventBody) {
        match event {
            EventBody::TransportState(change) => self.transport_state(now, change),
            EventBody::UpTrackActivity(activity) => self.up_track_activity(now, *activity),
            EventBody::Superseded(_) | EventBody::Port(_) | EventBody::PortTrackEnded(_) => {}
        }
    }

    fn transport_state(&mut self, now: Time, change: &TransportStateChanged) {
        let key = StreamKey(change.transport_id);
        let Some(stream) = self.streams.get(&key) else { return };
        let happening = match TransportState::try_from(change.state) {
            Ok(TransportState::IceConnected) => Happening::Checked,
            Ok(TransportState::Connected) => {
                Happening::Connected(stream.publish().is_none_or(|publish| publish.has_sent))
            }
            Ok(TransportState::Failed) => match change.reason() {
                FailReason::IceTimeout => Happening::End(StreamEnd::IceTimeout),
                FailReason::ConsentExpired => Happening::End(StreamEnd::ConsentLost),
                FailReason::DtlsFingerprint => Happening::End(StreamEnd::DtlsFingerprint),
                FailReason::DtlsFailed => Happening::End(StreamEnd::DtlsFailed),
                FailReason::DtlsClosed => Happening::Closed(stream.over_http),
                FailReason::None | FailReason::RelayFault => Happening::End(StreamEnd::ServerError),
            },
            Ok(TransportState::Closed) => Happening::End(StreamEnd::ServerError),
            Ok(TransportState::New) | Err(_) => return,
        };
        // Not with the first check: whoever has the password can send it from any address.
        if matches!(happening, Happening::Connected(_)) {
            self.unproved.remove(key);
        }
        self.happened(now, key, happening);
    }

    fn up_track_activity(&mut self, now: Time, activity: UpTrackActivity) {
        let Some(key) = self.streams_by_track.get(&activity.track_id).copied() else { return };
        if let Some(publish) = self.streams.get_mut(&key).and_then(Stream::publish_mut) {
            publish.has_sent |= activity.active;
            let track = publish.tracks.iter_mut().find(|track| track.id == activity.track_id);
            track.into_iter().for_each(|track| track.flows = activity.active);
        }
        if activity.active {
            self.happened(now, key, Happening::Media);
        }
    }

    /// The owner hears `PUBLISHING` or `PLAYING`; then the others hear of a published stream.
    fn announce(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.remove(&key) else { return };
        let status = if stream.is_publish() { Status::Publishing } else { Status::Playing };
        self.tell_owner(&stream, status, None);
        let member = match stream.owner {
            Owner::Member(id) if stream.is_publish() => {
                self.rooms.get(&stream.room).and_then(|r| r.member_by_id(id))
            }
            _ => None,
        };
        if let Some((id, login)) = member.map(|member| (member.id, member.login.clone())) {
            self.tell_others(stream.room, id, RoomEvent::Published(&login, &stream.name));
        }
        self.streams.insert(key, stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn what_is_absent_is_found_by_looking_at_each_once() {
        const MANY: u64 = 20_000;
        let steps = Cell::new(0);
        let step = |key| {
            steps.set(steps.get() + 1);
            StreamKey(key)
        };
        let lost = absent((0..MANY).map(step), (1..MANY + 5).map(step));
        assert_eq!((lost, steps.get()), (vec![StreamKey(0)], 2 * MANY + 4));
    }
}
