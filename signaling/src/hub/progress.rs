//! The relay's replies and events, and what follows when a stream has moved on.

use super::offers::play_cname;
use super::relays::Found;
use super::streams::Moved;
use super::{HttpReply, Hub, Output, Purpose};
use crate::id::StreamKey;
use crate::life::{Happening, Negotiation, Next};
use crate::message::{RoomEvent, ServerMessage, Status};
use crate::refusal::{Refusal, StreamEnd};
use crate::sdp::{PlaySide, TrackSsrcs};
use crate::stream::{Owner, Role};
use crate::timer::{Time, Timer};
use relay_control::{
    Command, ErrorCode, EventBody, FailReason, Inventory, ReplyBody, TransportInfo, TransportState,
    TransportStateChanged, UpTrackActivity, Welcome,
};
use std::collections::HashSet;
use std::time::Duration;

/// After this long without the relay its streams have failed.
pub const RELAY_LOST_LIMIT: Duration = Duration::from_secs(5);

/// Those of `ours` that are not `there`. Each is looked at once, as both may be tens of thousands.
fn absent(ours: impl Iterator<Item = StreamKey>, there: impl Iterator<Item = StreamKey>) -> Vec<StreamKey> {
    let there: HashSet<StreamKey> = there.collect();
    ours.filter(|key| !there.contains(key)).collect()
}

impl Hub {
    /// The connection to the relay stands: `inventory` is all that it has.
    pub fn handle_relay_up(&mut self, now: Time, welcome: Welcome, inventory: Inventory) {
        self.timers.clear(Timer::RelayLost);
        let found = self.relays.up(welcome);
        if found == Found::Another {
            self.fail_all(now);
        }
        self.reconcile(now, &inventory);
        if found != Found::Same {
            self.adopt(now, inventory);
        } else {
            tracing::debug!(transports = inventory.transports.len(), "control connection is back");
            // Known relay, unknown transports: their end is on its way there again, or was lost.
            for info in inventory.transports {
                if !self.streams.contains(StreamKey(info.transport_id)) {
                    self.close_transport(info.transport_id);
                }
            }
        }
    }

    /// The connection to the relay broke. Media may go on; new streams wait.
    pub fn handle_relay_down(&mut self, now: Time) {
        if self.relays.lost() {
            self.timers.set(Timer::RelayLost, now + RELAY_LOST_LIMIT);
        }
    }

    pub(super) fn relay_gone(&mut self, now: Time) {
        if self.relays.gone() {
            self.fail_all(now);
        }
    }

    /// All streams are lost with the relay that carried them. Those still being negotiated end by their own timer or
    /// by the error that the link reports for their requests.
    fn fail_all(&mut self, now: Time) {
        let mut keys = self.streams.keys();
        // Plays first: their owners hear that they failed, not that the publisher stopped.
        keys.sort_by_key(|key| self.streams.publish(*key).is_some());
        for key in keys {
            self.end_stream(now, key, StreamEnd::RelayLost);
        }
    }

    /// Makes our streams agree with what the relay says it has.
    fn reconcile(&mut self, now: Time, inventory: &Inventory) {
        for info in &inventory.transports {
            let key = StreamKey(info.transport_id);
            if self.streams.contains(key) {
                self.catch_up(now, key, info);
            }
        }
        let there = inventory.transports.iter().map(|info| StreamKey(info.transport_id));
        for key in absent(self.streams.settled(), there) {
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
        let Some(purpose) = self.relays.answered(request_id) else { return };
        let mut end = StreamEnd::ServerError;
        if let Ok(ReplyBody::Error(error)) = &reply {
            if matches!(error.code(), ErrorCode::LimitReached | ErrorCode::Busy) {
                end = StreamEnd::RelayFull;
                // Clients can bring this about as often as they like.
                if let Some(count) = self.relays.note_full(now) {
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
        let Some(Moved { next, limit }) = self.streams.happened(key, happening) else { return };
        match limit {
            Some(Some(limit)) => self.timers.set(Timer::Stream(key), now + limit),
            Some(None) => self.timers.clear(Timer::Stream(key)),
            None => {}
        }
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
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.local_ufrag.clone_from(&etag);
        let session = stream.session.clone();
        let to = self.streams.get(key).and_then(|stream| self.rooms.connection_of(stream));
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
        let stream = self.streams.get(key)?;
        let mut side = self.relays.side(negotiation.opened.as_ref()?, session_id)?;
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
        let Some(stream) = self.streams.get(key) else { return };
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
            self.streams.note_proved(key);
        }
        self.happened(now, key, happening);
    }

    fn up_track_activity(&mut self, now: Time, activity: UpTrackActivity) {
        let Some(key) = self.streams.of_track(activity.track_id) else { return };
        if let Some(publish) = self.streams.publish_mut(key) {
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
        let Some(stream) = self.streams.get(key) else { return };
        let (room, name, is_publish) = (stream.room, stream.name.clone(), stream.is_publish());
        let member = match stream.owner {
            Owner::Member(id) if is_publish => self.rooms.member(room, id),
            _ => None,
        };
        let member = member.map(|member| (member.id, member.login.clone()));
        let status = if is_publish { Status::Publishing } else { Status::Playing };
        if let Some((to, object)) = self.owner_status(stream, status, None) {
            self.send_status(to, object);
        }
        if let Some((id, login)) = member {
            self.tell_others(room, id, RoomEvent::Published(&login, &name));
        }
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
