//! Commands of the controller: a `match` with one line per arm, each arm validated before anything changes.
//!
//! Invariant: a refused command changes nothing; a repeated one gives the same answer as the first.

use super::Shard;
use super::faults::Input;
use crate::command::{
    AddDownTrack, AddUpTrack, Command, LABEL_BYTES_MAX, OpenTransport, RefusalCode, Refused,
    RemoteCredentials, Reply,
};
use crate::ice::{Ice, LocalCredentials};
use crate::id::Ssrc;
use crate::keys::{LayerKey, TransportKey, UpKey};
use crate::outbox::Outbox;
use crate::stats::Count;
use crate::time::Time;
use crate::track::{DownTrack, Params, Source, UpTrack};
use crate::transport::{Identity, Phase, SsrcUse, Transport};
use std::borrow::Cow;

/// Bounds of ICE credentials in characters (RFC 8839 §5.4).
const UFRAG_CHARS: std::ops::RangeInclusive<usize> = 4..=256;
const PWD_CHARS: std::ops::RangeInclusive<usize> = 22..=256;

fn bad_request(message: impl Into<Cow<'static, str>>) -> Refused {
    Refused::new(RefusalCode::BadRequest, message)
}

impl Shard {
    /// Obeys one command.
    ///
    /// # Errors
    /// Why it is refused; then nothing has changed.
    pub fn handle_command<O: Outbox>(
        &mut self,
        now: Time,
        command: Command,
        outbox: &mut O,
    ) -> Result<Reply, Refused> {
        self.forward_pending(outbox);
        self.input = subject(&command);
        let answer = match command {
            Command::OpenTransport(c) => self.open_transport(now, c),
            Command::RestartIce { transport_id, remote } => self.restart_ice(transport_id, remote),
            Command::CloseTransport { transport_id } => Ok(self.close_transport(transport_id, outbox)),
            Command::AddUpTrack(c) => self.add_up_track(now, &c),
            Command::AddDownTrack(c) => self.add_down_track(now, &c),
            Command::RemoveTrack { track_id } => Ok(self.remove_track(track_id)),
            Command::RequestKeyframe { track_id } => self.request_keyframe(now, track_id),
            Command::SetLabel { transport_id, label } => self.set_label(transport_id, label),
        };
        self.input = Input::None;
        answer
    }

    fn open_transport(&mut self, now: Time, c: OpenTransport) -> Result<Reply, Refused> {
        check_credentials(&c.remote)?;
        check_label(&c.label)?;
        if let Some(key) = self.transports.key(c.transport_id) {
            let same = &self.transports[key].identity;
            return if same.room_id == c.room_id && same.fingerprint == c.fingerprint {
                Ok(self.opened(key))
            } else {
                Err(Refused::new(
                    RefusalCode::IdInUse,
                    "transport_id is in use with another room or fingerprint",
                ))
            };
        }
        self.check_room()?;
        let bitrate = c.max_receive_bitrate_bps.unwrap_or(self.config.default_max_receive_bitrate_bps);
        let identity = Identity {
            id: c.transport_id,
            room_id: c.room_id,
            label: c.label,
            fingerprint: c.fingerprint,
            remote_pwd: c.remote.pwd,
        };
        let local = self.fresh_credentials();
        let (ice, rtcp_ssrc) = (Ice::new(local, &c.remote.ufrag, now), Ssrc(self.rng.next_u32() | 1));
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
        Err(Refused::new(RefusalCode::LimitReached, reached))
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

    fn opened(&self, key: TransportKey) -> Reply {
        Reply::TransportOpened(self.view(key).opened())
    }

    fn restart_ice(&mut self, id: u64, remote: RemoteCredentials) -> Result<Reply, Refused> {
        check_credentials(&remote)?;
        let key = self.transport_key(id)?;
        let transport = &self.transports[key];
        let repeated = transport.ice.remote_ufrag == remote.ufrag.as_bytes()
            && transport.identity.remote_pwd == remote.pwd;
        if repeated {
            return Ok(self.opened(key));
        }
        let local = self.fresh_credentials();
        let announced = self.demux.add_ufrag(local.ufrag, key);
        debug_assert!(announced, "fresh credentials are unique");
        let transport = &mut self.transports[key];
        transport.identity.remote_pwd = remote.pwd;
        let has_come = !matches!(transport.phase, Phase::Ice);
        if let Some(older) = transport.ice.restart(local, &remote.ufrag) {
            self.demux.remove_ufrag(&older.ufrag);
        }
        if has_come {
            transport.ice.local.key.prepare();
        }
        Ok(self.opened(key))
    }

    fn close_transport<O: Outbox>(&mut self, id: u64, outbox: &mut O) -> Reply {
        if let Some(key) = self.transports.key(id) {
            if let Some(session) = self.transports[key].session() {
                if let Some(engine) = &mut session.engine {
                    engine.close();
                }
                self.send_dtls(key, outbox);
            }
            self.remove_transport(key);
        }
        Reply::Done
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

    fn add_up_track(&mut self, now: Time, c: &AddUpTrack) -> Result<Reply, Refused> {
        let key = self.transport_key(c.transport_id)?;
        c.params.check().map_err(bad_request)?;
        let added = Reply::UpTrackAdded { track_id: c.track_id };
        if let Some(up) = self.tracks.up_by_id(c.track_id) {
            return if up.source == Source::Peer(key) && up.params == c.params && up.priority == c.priority {
                Ok(added)
            } else {
                Err(Refused::new(RefusalCode::IdInUse, "track_id is in use with other parameters"))
            };
        }
        if self.tracks.is_used(c.track_id) {
            return Err(Refused::new(RefusalCode::IdInUse, "track_id is in use by a down-track"));
        }
        let limit = self.config.limits.up_tracks_per_transport;
        if self.transports[key].ups.len() >= limit {
            return Err(Refused::new(
                RefusalCode::LimitReached,
                format!("a transport may send {limit} tracks at most"),
            ));
        }
        let room_id = self.transports[key].identity.room_id;
        let up = UpTrack::new(c.track_id, Source::Peer(key), room_id, c.params, c.priority, now);
        let up_key = self.tracks.insert_up(up);
        self.transports[key].ups.push(up_key);
        if self.transports[key].is_connected() {
            self.prepare_up(key, up_key);
        }
        let layer = LayerKey::first(up_key);
        for (ssrc, used) in [(c.ssrc, SsrcUse::Media(layer)), (c.rtx_ssrc, SsrcUse::Rtx(layer))] {
            if let Some(ssrc) = ssrc {
                self.bind_ssrc(now, key, ssrc, used);
            }
        }
        Ok(added)
    }

    fn add_down_track(&mut self, now: Time, c: &AddDownTrack) -> Result<Reply, Refused> {
        let key = self.transport_key(c.transport_id)?;
        c.params.check().map_err(bad_request)?;
        if c.cname.is_empty() {
            return Err(bad_request("cname is empty"));
        }
        if let Some(down) = self.tracks.down_by_id(c.track_id) {
            return if down.transport == key && down.params == c.params && down.up_track_id == c.up_track_id {
                Ok(down_added(down))
            } else {
                Err(Refused::new(RefusalCode::IdInUse, "track_id is in use with other parameters"))
            };
        }
        if self.tracks.is_used(c.track_id) {
            return Err(Refused::new(RefusalCode::IdInUse, "track_id is in use by an up-track"));
        }
        let up_key = self.check_subscription(key, c.up_track_id, &c.params)?;
        let ssrcs = self.fresh_ssrcs(key);
        let (ids, layer) = ((c.track_id, c.up_track_id), LayerKey::first(up_key));
        let down = DownTrack::new(ids, &c.cname, (key, layer), c.params, ssrcs, &mut self.rng, now);
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
        let up_key = self.tracks.up_key(up_track_id).ok_or_else(|| {
            Refused::new(RefusalCode::UnknownTrack, "up_track_id is no up-track of this shard")
        })?;
        let up = self.tracks.up(up_key);
        if up.room_id != self.transports[key].identity.room_id {
            return Err(Refused::new(RefusalCode::Mismatch, "the up-track belongs to another room"));
        }
        if (up.params.kind, up.params.codec) != (params.kind, params.codec) {
            return Err(Refused::new(RefusalCode::Mismatch, "the up-track has another kind or codec"));
        }
        let limits = &self.config.limits;
        if self.transports[key].downs.len() >= limits.down_tracks_per_transport
            || up.subscriber_count() >= limits.subscribers_per_track
        {
            return Err(Refused::new(
                RefusalCode::LimitReached,
                "no more subscriptions on this transport or track",
            ));
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

    fn remove_track(&mut self, track_id: u64) -> Reply {
        if let Some(up_key) = self.tracks.up_key(track_id) {
            self.remove_up(up_key);
        } else if let Some(down_key) = self.tracks.down_key(track_id) {
            self.remove_down(down_key);
        }
        Reply::Done
    }

    fn request_keyframe(&mut self, now: Time, track_id: u64) -> Result<Reply, Refused> {
        let up_key = self.tracks.up_key(track_id).ok_or_else(|| {
            Refused::new(RefusalCode::UnknownTrack, "track_id is no up-track of this shard")
        })?;
        for layer in 0..self.tracks.up(up_key).layers.len() as u8 {
            self.want_keyframe(now, LayerKey { up: up_key, layer });
        }
        Ok(Reply::Done)
    }

    fn set_label(&mut self, id: u64, label: Vec<u8>) -> Result<Reply, Refused> {
        check_label(&label)?;
        let key = self.transport_key(id)?;
        self.transports[key].identity.label = label;
        Ok(Reply::Done)
    }

    fn transport_key(&self, id: u64) -> Result<TransportKey, Refused> {
        self.transports.key(id).ok_or_else(|| {
            Refused::new(RefusalCode::UnknownTransport, "no transport with this id on this shard")
        })
    }
}

fn check_credentials(remote: &RemoteCredentials) -> Result<(), Refused> {
    if !UFRAG_CHARS.contains(&remote.ufrag.len()) {
        return Err(bad_request("remote_ufrag must have 4 to 256 characters"));
    }
    if !PWD_CHARS.contains(&remote.pwd.len()) {
        return Err(bad_request("remote_pwd must have 22 to 256 characters"));
    }
    Ok(())
}

fn check_label(label: &[u8]) -> Result<(), Refused> {
    if label.len() > LABEL_BYTES_MAX {
        return Err(bad_request(format!("label has more than {LABEL_BYTES_MAX} octets")));
    }
    Ok(())
}

fn down_added(down: &DownTrack) -> Reply {
    Reply::DownTrackAdded { track_id: down.id, ssrc: down.ssrc, rtx_ssrc: down.offered_rtx_ssrc() }
}

/// Whom a command is about.
fn subject(command: &Command) -> Input {
    match command {
        Command::OpenTransport(OpenTransport { transport_id, .. })
        | Command::RestartIce { transport_id, .. }
        | Command::CloseTransport { transport_id }
        | Command::AddUpTrack(AddUpTrack { transport_id, .. })
        | Command::AddDownTrack(AddDownTrack { transport_id, .. })
        | Command::SetLabel { transport_id, .. } => Input::TransportId(*transport_id),
        Command::RemoveTrack { track_id } | Command::RequestKeyframe { track_id } => Input::Track(*track_id),
    }
}
