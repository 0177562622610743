//! What must hold between the tables of a shard whenever none of its functions runs.
//!
//! Costs as much as there are transports and tracks, so it is for tests, and for whoever has to know whether
//! a shard can still be trusted: after a panic was caught in it, say.
//!
//! Deliberately absent: the ledgers, which are of counters and not of tables; see
//! [`Ledger`](crate::stats::Ledger).

use super::Shard;
use crate::keys::{DownKey, LayerKey, TransportKey, UpKey};
use crate::time::Time;
use crate::timers::{Timer, TimerOwner, TimerTable};
use crate::track::{Life, Source, UpTrack};
use crate::transport::{Phase, Transport};
use relay_port::{Load, PortId};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// `Err` with the words of `what` unless `holds`.
fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

fn ensure_distinct<T: Hash + Eq>(
    items: impl IntoIterator<Item = T>,
    what: impl FnOnce() -> String,
) -> Result<(), String> {
    let mut seen = HashSet::new();
    ensure(items.into_iter().all(|item| seen.insert(item)), what)
}

impl Shard {
    /// Looks whether the tables agree: each index between them leads both ways, the demultiplexer knows
    /// exactly the living transports, subscriptions stay in their room, every deadline is armed, and the
    /// counts are right.
    ///
    /// # Errors
    /// The first thing that does not hold, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_transports()?;
        self.check_handshakes()?;
        self.check_ups()?;
        self.check_loads()?;
        self.check_downs()?;
        self.check_waiting()?;
        self.check_deadlines()
    }

    fn check_transports(&self) -> Result<(), String> {
        let limits = &self.config.limits;
        ensure(self.transports.len() <= limits.transports, || {
            format!("{} transports, {} allowed", self.transports.len(), limits.transports)
        })?;
        ensure(self.transports.unproved() <= limits.unproved_transports, || {
            format!("{} transports without keys", self.transports.unproved())
        })?;
        self.transports.check()?;
        for (key, transport) in self.transports.iter() {
            self.check_transport(key, transport)
                .map_err(|what| format!("transport {}: {what}", transport.identity.id))?;
        }
        Ok(())
    }

    fn check_transport(&self, key: TransportKey, transport: &Transport) -> Result<(), String> {
        ensure(!matches!(transport.phase, Phase::Ice) || transport.ice.selected().is_none(), || {
            format!("waits for a check and has {:?} selected", transport.ice.selected())
        })?;
        ensure_distinct(&transport.ups, || "lists an up-track twice".into())?;
        ensure_distinct(&transport.downs, || "lists a down-track twice".into())?;
        for up_key in &transport.ups {
            let up = self.tracks.ups.get(*up_key);
            ensure(up.is_some_and(|up| up.source == Source::Peer(key)), || {
                format!("lists an up-track at {up_key:?} that is not its own")
            })?;
        }
        for down_key in &transport.downs {
            let down = self.tracks.downs.get(*down_key);
            ensure(down.is_some_and(|down| down.transport == key), || {
                format!("lists a down-track at {down_key:?} that is not its own")
            })?;
        }
        let ssrcs = &transport.receiving.ssrcs;
        ensure_distinct(ssrcs.iter().map(|(ssrc, _)| ssrc), || "an SSRC has two uses".into())?;
        for (ssrc, used) in ssrcs {
            ensure(transport.ups.contains(&used.layer().up), || {
                format!("SSRC {} is of {used:?}, which is not its own", ssrc.0)
            })?;
        }
        let senders = transport.downs.iter().filter_map(|key| self.tracks.downs.get(*key));
        let own = senders.flat_map(|down| [Some(down.ssrc), down.offered_rtx_ssrc()]);
        ensure_distinct(own.flatten().chain([transport.rtcp_ssrc]), || {
            "an SSRC of ours has two uses towards it".into()
        })
    }

    fn check_handshakes(&self) -> Result<(), String> {
        let mut held = HashMap::<TransportKey, u8>::new();
        for key in self.handshakes.keys() {
            *held.entry(key).or_default() += 1;
            ensure(self.transports.get(key).is_some(), || {
                format!("a handshake of no transport, at {key:?}")
            })?;
        }
        for (key, transport) in self.transports.iter() {
            let (counted, waiting) = (transport.dtls_waiting, held.get(&key).copied().unwrap_or(0));
            ensure(counted == waiting, || {
                format!("transport {} counts {counted} datagrams of {waiting}", transport.identity.id)
            })?;
        }
        Ok(())
    }

    fn check_ups(&self) -> Result<(), String> {
        ensure(self.tracks.up_id_count() == self.tracks.ups.len(), || {
            format!("{} ids of {} up-tracks", self.tracks.up_id_count(), self.tracks.ups.len())
        })?;
        for (key, up) in self.tracks.ups.iter() {
            self.check_up(key, up).map_err(|what| format!("up-track {}: {what}", up.id))?;
        }
        Ok(())
    }

    fn check_up(&self, key: UpKey, up: &UpTrack) -> Result<(), String> {
        ensure(self.tracks.up_key(up.id) == Some(key), || "its id leads elsewhere".into())?;
        match up.source {
            Source::Peer(transport_key) => {
                let transport = self.transports.get(transport_key);
                ensure(transport.is_some_and(|t| t.ups.contains(&key)), || {
                    "its transport does not list it".into()
                })?;
                ensure(transport.is_some_and(|t| t.identity.room_id == up.room_id), || {
                    "is of another room than its transport".into()
                })?;
            }
            Source::Port { life, .. } => {
                ensure(up.ports.is_empty() || life == Life::Held, || {
                    "is sent on, and its home is elsewhere".into()
                })?;
            }
        }
        ensure_distinct(up.ports.iter().map(|listener| listener.port), || "is sent to a port twice".into())?;
        ensure(up.ports.iter().all(|listener| self.ports.is_connected(listener.port)), || {
            "is sent to a port that is not connected".into()
        })?;
        ensure_distinct(up.subscribers(), || "lists a subscriber twice".into())?;
        for (index, layer) in (0..).zip(&up.layers) {
            let fed = LayerKey { up: key, layer: index };
            for (place, down_key) in (0..).zip(&layer.subscribers) {
                let down = self.tracks.downs.get(*down_key);
                ensure(down.is_some_and(|down| down.layer == fed && down.up_track_id == up.id), || {
                    format!("lists a subscriber at {down_key:?} that is not fed by {fed:?}")
                })?;
                ensure(down.is_some_and(|down| down.place == place), || {
                    format!("lists a subscriber at {down_key:?} in another place than it knows")
                })?;
            }
        }
        Ok(())
    }

    /// Queues to ports have room for what goes over them, and no more.
    fn check_loads(&self) -> Result<(), String> {
        let mut loads: HashMap<PortId, Load> = HashMap::new();
        for (_, up) in self.tracks.ups.iter() {
            for listener in &up.ports {
                *loads.entry(listener.port).or_default().of(up.params.kind) += 1;
            }
            if let Source::Port { port, .. } = up.source {
                loads.entry(port).or_default().back += 1;
            }
        }
        for (port, load) in self.ports.loads() {
            let needed = loads.get(&port).copied().unwrap_or_default();
            ensure(load == needed, || format!("the queue to {port:?} is for {load:?}, not {needed:?}"))?;
        }
        Ok(())
    }

    fn check_downs(&self) -> Result<(), String> {
        ensure(self.tracks.down_id_count() == self.tracks.downs.len(), || {
            format!("{} ids of {} down-tracks", self.tracks.down_id_count(), self.tracks.downs.len())
        })?;
        // Each list holds what is its own and nothing twice, so equal sums mean that nothing is missing.
        let fed: usize = self.tracks.ups.iter().map(|(_, up)| up.subscribers().count()).sum();
        let sent: usize = self.transports.iter().map(|(_, transport)| transport.downs.len()).sum();
        ensure(fed == self.tracks.downs.len() && sent == fed, || {
            format!("{} down-tracks, {fed} fed, {sent} sent", self.tracks.downs.len())
        })?;
        for (key, down) in self.tracks.downs.iter() {
            self.check_down(key).map_err(|what| format!("down-track {}: {what}", down.id))?;
        }
        self.tracks.shedding.check(self.tracks.downs.iter().map(|(_, down)| down.rank))
    }

    fn check_down(&self, key: DownKey) -> Result<(), String> {
        let down = self.tracks.down(key);
        ensure(self.tracks.down_key(down.id) == Some(key), || "its id leads elsewhere".into())?;
        ensure(self.tracks.up_key(down.id).is_none(), || "an up-track has its id".into())?;
        let (Some(up), Some(transport)) =
            (self.tracks.ups.get(down.layer.up), self.transports.get(down.transport))
        else {
            return Err("its up-track or its transport is gone".into());
        };
        ensure(up.room_id == transport.identity.room_id, || "leads into another room".into())?;
        let (theirs, own) = ((up.params.kind, up.params.codec), (down.params.kind, down.params.codec));
        ensure(theirs == own, || format!("{theirs:?} is sent as {own:?}"))
    }

    /// What waits for the end of a batch is listed, so that it does not wait for ever.
    fn check_waiting(&self) -> Result<(), String> {
        ensure(self.waiting.iter().all(|key| self.tracks.ups.contains(key.up)), || {
            "an up-track that is gone waits to be forwarded".into()
        })?;
        for (key, layer) in self.tracks.layers() {
            ensure(layer.pending.is_empty() || self.waiting.contains(&key), || {
                format!("packets of {key:?} wait and nobody knows")
            })?;
        }
        Ok(())
    }

    /// No timer is forgotten: whoever has one set is in the heap no later than it is due.
    fn check_deadlines(&self) -> Result<(), String> {
        let entries: HashSet<(Time, TimerOwner)> = self.deadlines.entries().collect();
        let armed = |owner: TimerOwner, (at, due): (Time, Time)| {
            let is_listed = at == Time::MAX || entries.contains(&(at, owner));
            ensure(is_listed && at <= due, || format!("{owner:?} is due at {due:?} and armed for {at:?}"))
        };
        fn times<T: Timer>(table: &TimerTable<T>) -> (Time, Time) {
            (table.armed(), table.earliest())
        }
        for (key, transport) in self.transports.iter() {
            armed(TimerOwner::Transport(key), times(&transport.timers))?;
        }
        for (key, up) in self.tracks.ups.iter() {
            armed(TimerOwner::Up(key), times(&up.timers))?;
        }
        for (key, down) in self.tracks.downs.iter() {
            armed(TimerOwner::Down(key), times(&down.timers))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{AddDownTrack, AddUpTrack, Command, OpenTransport, RemoteCredentials};
    use crate::config::{Limits, ShardConfig};
    use crate::dtls::{DtlsEngine, DtlsFactory, DtlsRole, Fingerprint, Fingerprints};
    use crate::id::{Cname, Pt, Ssrc};
    use crate::media::{Codec, MediaKind, Priority};
    use crate::outbox::NullOutbox;
    use crate::outbox::Path;
    use crate::time::NtpClock;
    use crate::track::Params;
    use crate::transport::{SsrcUse, TransportTimer};
    use std::net::SocketAddr;

    type Damage = fn(&mut Shard, Keys);

    /// What [`shard`] holds.
    #[derive(Clone, Copy)]
    struct Keys {
        sender: TransportKey,
        receiver: TransportKey,
        up: UpKey,
    }

    struct NoDtls;

    impl DtlsFactory for NoDtls {
        fn accept(&mut self, _: Time, _: Fingerprints) -> Box<dyn DtlsEngine> {
            unreachable!("nobody gets that far")
        }

        fn connect(&mut self, _: Time, _: Fingerprints) -> Box<dyn DtlsEngine> {
            unreachable!("nobody gets that far")
        }

        fn fingerprint(&self) -> Fingerprint {
            [0; 32]
        }
    }

    /// Two transports of a room: the first sends a track, the second receives it.
    fn shard() -> Shard {
        let config = ShardConfig {
            shard: 0,
            candidates: Vec::new(),
            ntp: NtpClock::default(),
            default_max_receive_bitrate_bps: 1_000_000,
            four_lanes: false,
            limits: Limits::default(),
        };
        let mut shard = Shard::new(config, Box::new(NoDtls), [1; 32]);
        let params = Params { pt: Pt(96), ..Params::bare(MediaKind::Video, Codec::Vp8, 90_000) };
        let open = |transport_id| {
            Command::OpenTransport(OpenTransport {
                transport_id,
                room_id: 1,
                remote: RemoteCredentials {
                    ufrag: "peer".into(),
                    pwd: "a password of the peer's own".into(),
                },
                fingerprints: [0; 32].into(),
                role: DtlsRole::Server,
                label: Vec::new(),
                max_receive_bitrate_bps: None,
            })
        };
        let (ssrc, rtx_ssrc, priority) = (Some(Ssrc(7)), None, Priority::Medium);
        let up = AddUpTrack { transport_id: 1, track_id: 11, params, ssrc, rtx_ssrc, priority };
        let cname = Cname::from("relay").expect("short");
        let down = AddDownTrack { transport_id: 2, track_id: 21, up_track_id: 11, params, cname };
        for command in [open(1), open(2), Command::AddUpTrack(up), Command::AddDownTrack(down)] {
            let reply = shard.handle_command(Time::ZERO, command, &mut NullOutbox::default());
            assert!(reply.is_ok(), "{reply:?}");
        }
        shard
    }

    #[test]
    fn what_does_not_agree_is_found() {
        assert_eq!(shard().check_invariants(), Ok(()));
        let damages: [(&str, Damage); 15] = [
            ("an id without a transport", |s, k| {
                assert!(s.transports.indices_mut().0.insert(9, k.sender).is_none())
            }),
            ("a transport without an id", |s, _| assert!(s.transports.indices_mut().0.remove(&1).is_some())),
            ("a transport that is gone", |s, k| drop(s.transports.remove(k.receiver))),
            ("an address of nobody", |s, k| {
                let remote = SocketAddr::from(([1, 1, 1, 1], 1));
                let (_, demux) = s.transports.indices_mut();
                assert_eq!(demux.bind(Path { remote, local: None }, k.sender), None);
            }),
            ("a ufrag of nobody", |s, k| {
                assert!(s.transports.indices_mut().1.add_ufrag(*b"12345678", k.sender))
            }),
            ("a forgotten ufrag", |s, k| {
                let ufrag = s.transports[k.sender].ice.local.ufrag;
                s.transports.indices_mut().1.remove_ufrag(&ufrag);
            }),
            ("a lost place in the queue", |s, k| s.transports[k.sender].dtls_waiting = 1),
            ("a track without an owner", |s, k| s.transports[k.sender].ups.clear()),
            ("a track listed twice", |s, k| s.transports[k.sender].ups.push(k.up)),
            ("an SSRC of a foreign track", |s, k| {
                s.transports[k.receiver]
                    .receiving
                    .ssrcs
                    .push((Ssrc(5), SsrcUse::Media(LayerKey::first(k.up))));
            }),
            ("a subscriber that is not listed", |s, k| s.tracks.ups[k.up].layers[0].subscribers.clear()),
            ("a subscriber that takes itself for another", |s, k| {
                let down = s.transports[k.receiver].downs[0];
                s.tracks.downs[down].place = 1;
            }),
            ("another room", |s, k| s.transports[k.receiver].identity.room_id = 2),
            ("packets that wait unseen", |s, k| s.tracks.ups[k.up].layers[0].pending.push(1)),
            ("a timer that is not armed", |s, k| {
                s.transports[k.sender].timers.set(TransportTimer::Report, Time::ZERO)
            }),
        ];
        for (what, damage) in damages {
            let mut shard = shard();
            let [sender, receiver] = [1, 2].map(|id| shard.transports.key(id).expect("was made"));
            let up = shard.tracks.up_key(11).expect("was made");
            damage(&mut shard, Keys { sender, receiver, up });
            assert!(shard.check_invariants().is_err(), "{what}");
        }
    }
}
