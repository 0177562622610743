//! Commands of the controller: a `match` with one line per arm, each arm validated before anything changes.
//!
//! Invariant: a refused command changes nothing; a repeated one gives the same answer as the first.

use super::faults::Input;
use super::rtp::bind_ssrc;
use super::{Shard, keyframes};
use crate::command::{
    AddDownTrack, AddUpTrack, Command, LABEL_BYTES_MAX, OpenTransport, RefusalCode, Refused,
    RemoteCredentials, Reply,
};
use crate::config::Limits;
use crate::ice::Ice;
use crate::id::Ssrc;
use crate::keys::{LayerKey, TransportKey, UpKey};
use crate::outbox::Outbox;
use crate::rng::Rng;
use crate::stats::Count;
use crate::time::Time;
use crate::track::{DownTrack, Params, Source, Tracks, UpTrack};
use crate::transport::{Identity, SsrcUse, Transport};
use crate::up::Asker;
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
            Command::ProbeTransport { transport_id } => self.probe_transport(now, transport_id, outbox),
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
            return if same.room_id == c.room_id && same.fingerprints == c.fingerprints && same.role == c.role
            {
                Ok(self.opened(key))
            } else {
                Err(Refused::new(
                    RefusalCode::IdInUse,
                    "transport_id is in use with another room, fingerprint or role",
                ))
            };
        }
        self.check_room()?;
        let bitrate = c.max_receive_bitrate_bps.unwrap_or(self.config.default_max_receive_bitrate_bps);
        let identity = Identity {
            id: c.transport_id,
            room_id: c.room_id,
            label: c.label,
            fingerprints: c.fingerprints,
            role: c.role,
            remote_pwd: c.remote.pwd,
        };
        let local = self.transports.fresh_credentials(&mut self.rng);
        let (ice, rtcp_ssrc) = (Ice::new(local, &c.remote.ufrag, now), Ssrc(self.rng.next_u32() | 1));
        let mut transport = Transport::new(identity, ice, bitrate, rtcp_ssrc, now);
        transport.set_phase_limit(now + self.config.limits.ice_timeout);
        let key = self.transports.insert(transport);
        self.transports.arm(key, &mut self.deadlines);
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
        let local = self.transports.fresh_credentials(&mut self.rng);
        self.transports.restart_ice(key, local, remote);
        Ok(self.opened(key))
    }

    fn close_transport<O: Outbox>(&mut self, id: u64, outbox: &mut O) -> Reply {
        if let Some(key) = self.transports.key(id) {
            let transport = &mut self.transports[key];
            if transport.is_connected() {
                if let Some(engine) = transport.engine() {
                    engine.close();
                }
                transport.send_dtls(&mut self.scratch[..], &mut self.counters, outbox);
            }
            self.remove_transport(key);
        }
        Reply::Done
    }

    /// Closes up to `most` transports, each with its close_notify, as at the end of the process. False: none
    /// is left.
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
        let transport = &mut self.transports[key];
        if transport.ups.len() >= limit {
            return Err(Refused::new(
                RefusalCode::LimitReached,
                format!("a transport may send {limit} tracks at most"),
            ));
        }
        let room_id = transport.identity.room_id;
        let mut up = UpTrack::new(c.track_id, Source::Peer(key), room_id, c.params, c.priority, now);
        up.layers.iter_mut().for_each(|layer| layer.sources.announce(c.ssrc, c.rtx_ssrc));
        if transport.is_connected() {
            up.prepare_with(transport);
        }
        let up_key = self.tracks.insert_up(up);
        transport.ups.push(up_key);
        let layer = LayerKey::first(up_key);
        for (ssrc, used) in [(c.ssrc, SsrcUse::Media(layer)), (c.rtx_ssrc, SsrcUse::Rtx(layer))] {
            if let Some(ssrc) = ssrc {
                bind_ssrc(&mut transport.receiving, &self.tracks, ssrc, used);
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
        let Self { config, transports, tracks, deadlines, counters, rng, .. } = self;
        let transport = &mut transports[key];
        let up_key = check_subscription(transport, tracks, &config.limits, c.up_track_id, &c.params)?;
        let ssrcs = fresh_ssrcs(transport, tracks, rng);
        let (ids, layer) = ((c.track_id, c.up_track_id), LayerKey::first(up_key));
        let down = DownTrack::new(ids, &c.cname, (key, layer), c.params, ssrcs, rng, now);
        let added = down_added(&down);
        let down_key = tracks.insert_down(down);
        transport.downs.push(down_key);
        if transport.is_connected() {
            tracks.downs[down_key].stream.prepare();
            keyframes::want_all(now, transport, tracks, deadlines, counters);
        }
        tracks.downs[down_key].arm(down_key, deadlines);
        Ok(added)
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
        let Self { tracks, deadlines, counters, .. } = self;
        for layer in 0..tracks.up(up_key).layers.len() as u8 {
            let key = LayerKey { up: up_key, layer };
            keyframes::want(now, key, Asker::Newcomer, tracks, deadlines, counters);
        }
        Ok(Reply::Done)
    }

    /// Only what is authentic counts, and a muted or paused client may send nothing but a check every few
    /// seconds, so it is asked by a Binding request. RFC 8445 §2.5 has lite agents send no checks to find a
    /// path; this one finds none.
    fn probe_transport<O: Outbox>(&mut self, now: Time, id: u64, outbox: &mut O) -> Result<Reply, Refused> {
        let key = self.transport_key(id)?;
        let Self { transports, tracks, rng, counters, .. } = self;
        let transport = &transports[key];
        let packets = transport.ups.iter().map(|up| tracks.up(*up)).filter(|up| up.active);
        let heard = packets.map(|up| up.last_packet()).fold(transport.ice.last_heard(), Time::max);
        if let Some(path) = transport.ice.selected().copied() {
            transports.challenge(now, key, &path, rng, counters, outbox);
        }
        Ok(Reply::TransportProbed { transport_id: id, silence: now.since(heard) })
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

/// The up-track to subscribe to, if that is allowed.
fn check_subscription(
    transport: &Transport,
    tracks: &Tracks,
    limits: &Limits,
    up_track_id: u64,
    params: &Params,
) -> Result<UpKey, Refused> {
    let up_key = (tracks.up_key(up_track_id))
        .ok_or_else(|| Refused::new(RefusalCode::UnknownTrack, "up_track_id is no up-track of this shard"))?;
    let up = tracks.up(up_key);
    if up.room_id != transport.identity.room_id {
        return Err(Refused::new(RefusalCode::Mismatch, "the up-track belongs to another room"));
    }
    if (up.params.kind, up.params.codec) != (params.kind, params.codec) {
        return Err(Refused::new(RefusalCode::Mismatch, "the up-track has another kind or codec"));
    }
    if transport.downs.len() >= limits.down_tracks_per_transport
        || up.subscriber_count() >= limits.subscribers_per_track
    {
        let message = "no more subscriptions on this transport or track";
        return Err(Refused::new(RefusalCode::LimitReached, message));
    }
    Ok(up_key)
}

/// SSRCs that are not zero and not in use towards this peer: media and RTX.
fn fresh_ssrcs(transport: &Transport, tracks: &Tracks, rng: &mut Rng) -> (Ssrc, Ssrc) {
    let mut fresh = |not: Option<Ssrc>| loop {
        let ssrc = Ssrc(rng.next_u32());
        let taken = tracks.down_by_ssrc(&transport.downs, ssrc).is_some();
        if ssrc.0 != 0 && !taken && Some(ssrc) != not && ssrc != transport.rtcp_ssrc {
            return ssrc;
        }
    };
    let media = fresh(None);
    (media, fresh(Some(media)))
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

fn subject(command: &Command) -> Input {
    match command {
        Command::OpenTransport(OpenTransport { transport_id, .. })
        | Command::RestartIce { transport_id, .. }
        | Command::CloseTransport { transport_id }
        | Command::AddUpTrack(AddUpTrack { transport_id, .. })
        | Command::AddDownTrack(AddDownTrack { transport_id, .. })
        | Command::ProbeTransport { transport_id }
        | Command::SetLabel { transport_id, .. } => Input::TransportId(*transport_id),
        Command::RemoveTrack { track_id } | Command::RequestKeyframe { track_id } => Input::Track(*track_id),
    }
}
