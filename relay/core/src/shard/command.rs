//! Commands of the controller: a `match` with one line per arm, each arm validated before anything changes.
//!
//! Invariant: a refused command changes nothing; a repeated one gives the same answer as the first.

use super::Shard;
use super::faults::Input;
use crate::control::{check_params, down_added, priority};
use crate::ice::{Ice, LocalCredentials};
use crate::id::Ssrc;
use crate::keys::{LayerKey, TransportKey, UpKey};
use crate::outbox::Outbox;
use crate::stats::Count;
use crate::time::Time;
use crate::track::{DownTrack, Params, Source, UpTrack};
use crate::transport::{Identity, Phase, SsrcUse, Transport};
use relay_control as control;
use relay_control::{Command, CommandError, ErrorCode, LABEL_BYTES_MAX, ReplyBody};

type Refused = CommandError;

/// Bounds of ICE credentials in characters (RFC 8839 §5.4).
const UFRAG_CHARS: std::ops::RangeInclusive<usize> = 4..=256;
const PWD_CHARS: std::ops::RangeInclusive<usize> = 22..=256;
/// RTCP CNAME, as the control language promises.
const CNAME_BYTES_MAX: usize = 64;

fn refuse(code: ErrorCode, message: impl Into<String>) -> Refused {
    CommandError { code: code.into(), message: message.into(), highest_epoch: 0 }
}

const DONE: ReplyBody = ReplyBody::Done(control::Done {});

impl Shard {
    /// Obeys one command. Commands of the process (`Hello`, `GetInventory`, …) never get here and are refused.
    pub fn handle_command<O: Outbox>(&mut self, now: Time, command: Command, outbox: &mut O) -> ReplyBody {
        self.forward_pending(outbox);
        self.input = subject(&command);
        let answer = match command {
            Command::OpenTransport(c) => self.open_transport(now, c),
            Command::RestartIce(c) => self.restart_ice(&c),
            Command::CloseTransport(c) => Ok(self.close_transport(c.transport_id, outbox)),
            Command::AddUpTrack(c) => self.add_up_track(now, c),
            Command::AddDownTrack(c) => self.add_down_track(now, c),
            Command::RemoveTrack(c) => Ok(self.remove_track(c.track_id)),
            Command::RequestKeyframe(c) => self.request_keyframe(now, c.track_id),
            Command::SetLabel(c) => self.set_label(c),
            Command::Hello(_)
            | Command::GetInventory(_)
            | Command::GetStats(_)
            | Command::Shutdown(_)
            | Command::AddTap(_)
            | Command::RemoveTap(_)
            | Command::AddSource(_)
            | Command::RemoveSource(_) => {
                Err(refuse(ErrorCode::BadRequest, "this command is for the process, not for a shard"))
            }
        };
        self.input = Input::None;
        answer.unwrap_or_else(ReplyBody::Error)
    }

    fn open_transport(&mut self, now: Time, c: control::OpenTransport) -> Result<ReplyBody, Refused> {
        let fingerprint = check_open(&c)?;
        if let Some(key) = self.transports.key(c.transport_id) {
            let same = &self.transports[key].identity;
            return if same.room_id == c.room_id && same.fingerprint == fingerprint {
                Ok(self.opened(key))
            } else {
                Err(refuse(ErrorCode::IdInUse, "transport_id is in use with another room or fingerprint"))
            };
        }
        self.check_room()?;
        let bitrate = match c.max_receive_bitrate_bps {
            0 => self.config.default_max_receive_bitrate_bps,
            bps => bps,
        };
        let identity = Identity {
            id: c.transport_id,
            room_id: c.room_id,
            label: c.label,
            fingerprint,
            remote_pwd: c.remote_pwd,
        };
        let local = self.fresh_credentials();
        let (ice, rtcp_ssrc) = (Ice::new(local, &c.remote_ufrag, now), Ssrc(self.rng.next_u32() | 1));
        let transport = Transport::new(identity, ice, bitrate, rtcp_ssrc, now);
        let key = self.insert_transport(transport);
        self.transports[key].set_phase_limit(now + self.config.limits.ice_timeout);
        self.arm_transport(key);
        self.counters.add(Count::TransportsOpened, 1);
        Ok(self.opened(key))
    }

    /// Whether one more transport may be opened.
    fn check_room(&mut self) -> Result<(), Refused> {
        let limits = &self.config.limits;
        let reached = if self.transports.len() >= limits.transports {
            format!("this shard holds its limit of {} transports", limits.transports)
        } else if self.transports.unproved() >= limits.unproved_transports {
            format!("{} transports have no keys yet; retry", limits.unproved_transports)
        } else {
            return Ok(());
        };
        self.counters.add(Count::TransportsRefused, 1);
        Err(refuse(ErrorCode::LimitReached, reached))
    }

    fn insert_transport(&mut self, transport: Transport) -> TransportKey {
        let ufrag = transport.ice.local.ufrag;
        let key = self.transports.insert(transport);
        let announced = self.demux.add_ufrag(ufrag, key);
        debug_assert!(announced, "fresh credentials are unique");
        key
    }

    /// Credentials whose ufrag nobody else has on this shard.
    fn fresh_credentials(&mut self) -> LocalCredentials {
        loop {
            let local = LocalCredentials::random(&mut self.rng);
            if self.demux.by_username(&[&local.ufrag[..], b":"].concat()).is_none() {
                return local;
            }
        }
    }

    fn opened(&self, key: TransportKey) -> ReplyBody {
        ReplyBody::TransportOpened(self.transport_opened(key))
    }

    fn restart_ice(&mut self, c: &control::RestartIce) -> Result<ReplyBody, Refused> {
        check_credentials(&c.remote_ufrag, &c.remote_pwd)?;
        let key = self.transport_key(c.transport_id)?;
        let transport = &self.transports[key];
        let repeated = transport.ice.remote_ufrag == c.remote_ufrag.as_bytes()
            && transport.identity.remote_pwd == c.remote_pwd;
        if repeated {
            return Ok(self.opened(key));
        }
        let local = self.fresh_credentials();
        let announced = self.demux.add_ufrag(local.ufrag, key);
        debug_assert!(announced, "fresh credentials are unique");
        let transport = &mut self.transports[key];
        transport.identity.remote_pwd.clone_from(&c.remote_pwd);
        let has_come = !matches!(transport.phase, Phase::Ice);
        if let Some(older) = transport.ice.restart(local, &c.remote_ufrag) {
            self.demux.remove_ufrag(&older.ufrag);
        }
        if has_come {
            transport.ice.local.key.prepare();
        }
        Ok(self.opened(key))
    }

    fn close_transport<O: Outbox>(&mut self, id: u64, outbox: &mut O) -> ReplyBody {
        if let Some(key) = self.transports.key(id) {
            if let Some(session) = self.transports[key].session() {
                if let Some(engine) = &mut session.engine {
                    engine.close();
                }
                self.send_dtls(key, outbox);
            }
            self.remove_transport(key);
        }
        DONE
    }

    /// Closes up to `most` transports, each with its close_notify, as at the end of the process. False: none is left.
    pub fn close_some<O: Outbox>(&mut self, most: usize, outbox: &mut O) -> bool {
        self.forward_pending(outbox);
        let ids: Vec<u64> = self.transports.iter().take(most).map(|(_, t)| t.identity.id).collect();
        for id in &ids {
            self.close_transport(*id, outbox);
        }
        !ids.is_empty()
    }

    fn add_up_track(&mut self, now: Time, c: control::AddUpTrack) -> Result<ReplyBody, Refused> {
        let key = self.transport_key(c.transport_id)?;
        let params = check_params(&c.rtp).map_err(|e| refuse(ErrorCode::BadRequest, e))?;
        let priority = priority(c.priority).ok_or_else(|| {
            let names = "0 (medium), 1 (very low), 2 (low) or 3 (high)";
            refuse(ErrorCode::BadRequest, format!("priority is {}, not {names}", c.priority))
        })?;
        let added = ReplyBody::UpTrackAdded(control::UpTrackAdded { track_id: c.track_id });
        if let Some(up) = self.tracks.up_by_id(c.track_id) {
            return if up.source == Source::Peer(key) && up.params == params && up.priority == priority {
                Ok(added)
            } else {
                Err(refuse(ErrorCode::IdInUse, "track_id is in use with other parameters"))
            };
        }
        if self.tracks.is_used(c.track_id) {
            return Err(refuse(ErrorCode::IdInUse, "track_id is in use by a down-track"));
        }
        let limit = self.config.limits.up_tracks_per_transport;
        if self.transports[key].ups.len() >= limit {
            return Err(refuse(
                ErrorCode::LimitReached,
                format!("a transport may send {limit} tracks at most"),
            ));
        }
        let room_id = self.transports[key].identity.room_id;
        let up = UpTrack::new(c.track_id, Source::Peer(key), room_id, params, priority, now);
        let up_key = self.tracks.insert_up(up);
        self.transports[key].ups.push(up_key);
        if self.transports[key].is_connected() {
            self.prepare_up(key, up_key);
        }
        let layer = LayerKey::first(up_key);
        for (ssrc, used) in [(c.ssrc, SsrcUse::Media(layer)), (c.rtx_ssrc, SsrcUse::Rtx(layer))] {
            if ssrc != 0 {
                self.bind_ssrc(now, key, Ssrc(ssrc), used);
            }
        }
        Ok(added)
    }

    fn add_down_track(&mut self, now: Time, c: control::AddDownTrack) -> Result<ReplyBody, Refused> {
        let key = self.transport_key(c.transport_id)?;
        let params = check_params(&c.rtp).map_err(|e| refuse(ErrorCode::BadRequest, e))?;
        if c.cname.len() > CNAME_BYTES_MAX || c.cname.is_empty() {
            return Err(refuse(
                ErrorCode::BadRequest,
                format!("cname must have 1 to {CNAME_BYTES_MAX} octets"),
            ));
        }
        if let Some(down) = self.tracks.down_by_id(c.track_id) {
            return if down.transport == key && down.params == params && down.up_track_id == c.up_track_id {
                Ok(down_added(down))
            } else {
                Err(refuse(ErrorCode::IdInUse, "track_id is in use with other parameters"))
            };
        }
        if self.tracks.is_used(c.track_id) {
            return Err(refuse(ErrorCode::IdInUse, "track_id is in use by an up-track"));
        }
        let up_key = self.check_subscription(key, c.up_track_id, &params)?;
        let ssrcs = self.fresh_ssrcs(key);
        let (ids, layer) = ((c.track_id, c.up_track_id), LayerKey::first(up_key));
        let down = DownTrack::new(ids, &c.cname, (key, layer), params, ssrcs, &mut self.rng, now);
        let added = down_added(&down);
        let down_key = self.tracks.insert_down(down);
        self.transports[key].downs.push(down_key);
        if self.transports[key].is_connected() {
            self.tracks.downs[down_key].stream.prepare();
            self.ask_keyframes_for(now, key);
        }
        self.tracks.downs[down_key].arm(down_key, &mut self.deadlines);
        Ok(added)
    }

    /// The up-track to subscribe to, if that is allowed.
    fn check_subscription(
        &self,
        key: TransportKey,
        up_track_id: u64,
        params: &Params,
    ) -> Result<UpKey, Refused> {
        let up_key = self
            .tracks
            .up_key(up_track_id)
            .ok_or_else(|| refuse(ErrorCode::UnknownTrack, "up_track_id is no up-track of this shard"))?;
        let up = self.tracks.up(up_key);
        if up.room_id != self.transports[key].identity.room_id {
            return Err(refuse(ErrorCode::Mismatch, "the up-track belongs to another room"));
        }
        if (up.params.kind, up.params.codec) != (params.kind, params.codec) {
            return Err(refuse(ErrorCode::Mismatch, "the up-track has another kind or codec"));
        }
        let limits = &self.config.limits;
        if self.transports[key].downs.len() >= limits.down_tracks_per_transport
            || up.subscriber_count() >= limits.subscribers_per_track
        {
            return Err(refuse(ErrorCode::LimitReached, "no more subscriptions on this transport or track"));
        }
        Ok(up_key)
    }

    /// SSRCs that are not zero and not in use towards this peer: media and RTX.
    fn fresh_ssrcs(&mut self, key: TransportKey) -> (Ssrc, Ssrc) {
        let mut fresh = |not: Option<Ssrc>| loop {
            let ssrc = Ssrc(self.rng.next_u32());
            let taken = self.transports[key].downs.iter().any(|d| self.tracks.down(*d).uses_ssrc(ssrc));
            if ssrc.0 != 0 && !taken && Some(ssrc) != not && ssrc != self.transports[key].rtcp_ssrc {
                return ssrc;
            }
        };
        let media = fresh(None);
        (media, fresh(Some(media)))
    }

    fn remove_track(&mut self, track_id: u64) -> ReplyBody {
        if let Some(up_key) = self.tracks.up_key(track_id) {
            self.remove_up(up_key);
        } else if let Some(down_key) = self.tracks.down_key(track_id) {
            self.remove_down(down_key);
        }
        DONE
    }

    fn request_keyframe(&mut self, now: Time, track_id: u64) -> Result<ReplyBody, Refused> {
        let up_key = self
            .tracks
            .up_key(track_id)
            .ok_or_else(|| refuse(ErrorCode::UnknownTrack, "track_id is no up-track of this shard"))?;
        for layer in 0..self.tracks.up(up_key).layers.len() as u8 {
            self.want_keyframe(now, LayerKey { up: up_key, layer });
        }
        Ok(DONE)
    }

    fn set_label(&mut self, c: control::SetLabel) -> Result<ReplyBody, Refused> {
        check_label(&c.label)?;
        let key = self.transport_key(c.transport_id)?;
        self.transports[key].identity.label = c.label;
        Ok(DONE)
    }

    fn transport_key(&self, id: u64) -> Result<TransportKey, Refused> {
        self.transports
            .key(id)
            .ok_or_else(|| refuse(ErrorCode::UnknownTransport, "no transport with this id on this shard"))
    }
}

fn check_open(c: &control::OpenTransport) -> Result<[u8; 32], Refused> {
    check_credentials(&c.remote_ufrag, &c.remote_pwd)?;
    check_label(&c.label)?;
    c.remote_fingerprint_sha256
        .as_slice()
        .try_into()
        .map_err(|_| refuse(ErrorCode::BadRequest, "remote_fingerprint_sha256 must have 32 octets"))
}

fn check_credentials(ufrag: &str, pwd: &str) -> Result<(), Refused> {
    if !UFRAG_CHARS.contains(&ufrag.len()) {
        return Err(refuse(ErrorCode::BadRequest, "remote_ufrag must have 4 to 256 characters"));
    }
    if !PWD_CHARS.contains(&pwd.len()) {
        return Err(refuse(ErrorCode::BadRequest, "remote_pwd must have 22 to 256 characters"));
    }
    Ok(())
}

fn check_label(label: &[u8]) -> Result<(), Refused> {
    if label.len() > LABEL_BYTES_MAX {
        return Err(refuse(ErrorCode::BadRequest, format!("label has more than {LABEL_BYTES_MAX} octets")));
    }
    Ok(())
}

/// Whom a command is about.
fn subject(command: &Command) -> Input {
    match command {
        Command::RemoveTrack(c) => Input::Track(c.track_id),
        Command::RequestKeyframe(c) => Input::Track(c.track_id),
        other => other.transport_id().map_or(Input::None, Input::TransportId),
    }
}
