use crate::actions::Actions;
use relay_control::EventBody;
use relay_core::id::Ssrc;
use relay_core::outbox::Path;
use relay_core::stats::Count;
use relay_core::wire::stun::StunMessage;
use relay_core::wire::{Protocol, classify};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tests::World;

/// A publisher and its viewer; somebody with credentials of his own, in another room; and clients that join
/// later.
const PUBLISHER: usize = 0;
const VIEWER: usize = 1;
const ATTACKER: usize = 2;
/// Clients of one input.
const PEERS_MAX: usize = 6;
/// Ids that the relay remembers of a transport.
const IDS_REMEMBERED: usize = 64;
/// A client that was silent for less must not lose its transport.
const SILENCE_BORNE: Duration = Duration::from_secs(25);
/// What is under way, or waits for the end of a batch.
const UNDER_WAY: usize = 12;
/// Simulated time of one input.
const ACTIONS_MAX: Duration = Duration::from_secs(60);

/// A call beside somebody who forges source addresses and sends again what he overhears, while clients fall
/// silent and NATs give them other ports: nobody who is not there gets media, or more than three times what
/// came from his address; the call goes on; and a check is good for one address.
pub fn paths(data: &[u8]) {
    let mut told = Simulation::new();
    let mut actions = Actions(data);
    while told.act(&mut actions).is_some() && told.world.now.since(told.begin) < ACTIONS_MAX {
        told.check();
    }
    told.end();
}

struct Simulation {
    world: World,
    begin: relay_core::time::Time,
    ssrc: Ssrc,
    /// Where clients are or have been, by address.
    homes: HashMap<SocketAddr, usize>,
    /// The last new ids of each client, and where they came from.
    ids: HashMap<[u8; 8], VecDeque<([u8; 12], Path)>>,
    /// The publisher or the viewer fell silent or moved, so something may be missing.
    disturbed: bool,
    longest_silence: Duration,
    silence: Duration,
    moves: u8,
    /// The first packet that the viewer got.
    first: Option<u32>,
}

impl Simulation {
    fn new() -> Self {
        let mut world = World::careful(7);
        let begin = world.now;
        let (publisher, viewer, _) = (world.join(1), world.join(1), world.join(2));
        world.publish(publisher, 1);
        let ssrc = world.subscribe(viewer, publisher);
        for peer in &mut world.peers {
            peer.attacked = true;
            peer.client.intervals.connected = Duration::from_secs(1);
        }
        world.run(Duration::from_millis(500));
        let homes = world.peers.iter().enumerate().map(|(index, peer)| (peer.address, index)).collect();
        let zero = Duration::ZERO;
        let mut told = Self {
            world,
            begin,
            ssrc,
            homes,
            ids: HashMap::new(),
            disturbed: false,
            longest_silence: zero,
            silence: zero,
            moves: 0,
            first: None,
        };
        told.first = told.numbers().first().copied();
        assert!(told.first.is_some(), "the call begins");
        told
    }

    fn numbers(&self) -> Vec<u32> {
        self.world.peers[VIEWER].received[&self.ssrc].packets.iter().map(|(_, p)| p.number).collect()
    }

    /// An address: of a client, or of nobody; and one of ours.
    fn path(&self, choice: u8) -> Path {
        let index = usize::from(choice & 15);
        let nobody = SocketAddr::from(([192, 0, 2, choice & 15], 9));
        let remote = self.world.peers.get(index).map_or(nobody, |peer| peer.address);
        let second = IpAddr::from([198, 51, 100, 2]);
        Path { remote, local: (choice & 0x80 != 0).then_some(second) }
    }

    fn act(&mut self, actions: &mut Actions<'_>) -> Option<()> {
        match actions.u8()? % 13 {
            // Time.
            0..=3 => self.run(Duration::from_millis(actions.u8()?.into())),
            4 => self.run(Duration::from_millis(actions.u16()?.into()) / 8),
            // Somebody's good check from anywhere: the attacker's mostly.
            5 => {
                let (who, from, nominates) = (ATTACKER, actions.u8()?, actions.u8()? & 1 == 0);
                self.forge_check(who, from, nominates);
            }
            6 => {
                let (who, from) = (actions.u8()?, actions.u8()?);
                self.forge_check(usize::from(who >> 1) % self.world.peers.len(), from, who & 1 == 0);
            }
            // What was overheard, from anywhere.
            7 => {
                let (back, from) = (usize::from(actions.u8()?), self.path(actions.u8()?));
                let at = self.world.overheard.len().checked_sub(1 + back)?;
                let (_, bytes) = self.world.overheard[at].clone();
                self.inject(from, &bytes);
            }
            // Anything else that anybody can write.
            8 => {
                let (from, kind, len) = (self.path(actions.u8()?), actions.u8()?, actions.u8()?);
                let bytes = match kind & 1 {
                    0 => tests::dtls::hello(&self.world.peers[ATTACKER].fingerprint),
                    _ => [&[kind][..], actions.octets(len.into())].concat(),
                };
                self.inject(from, &bytes);
            }
            9 => self.silence(usize::from(actions.u8()?)),
            10 => self.rebind(usize::from(actions.u8()?)),
            11 => {
                let (ufrag, from) = (actions.u8()?, self.path(actions.u8()?));
                self.restart(ufrag, &from);
            }
            _ => self.join(actions.u8()?),
        }
        Some(())
    }

    fn run(&mut self, time: Duration) {
        let silent = self.world.peers[..ATTACKER].iter().any(|peer| !peer.alive);
        self.silence = if silent { self.silence + time } else { Duration::ZERO };
        self.longest_silence = self.longest_silence.max(self.silence);
        let before = self.world.overheard_ever;
        self.world.run(time);
        let came = self.world.overheard_ever - before;
        if came > self.world.overheard.len() {
            // More than is remembered, checks perhaps among it: the relay may have forgotten what we know.
            self.ids.clear();
        }
        // Ids of the checks that came meanwhile.
        let fresh: Vec<_> = (self.world.overheard.iter().rev().take(came))
            .filter(|(_, bytes)| classify(bytes) == Some(Protocol::Stun))
            .cloned()
            .collect();
        for (path, bytes) in fresh.into_iter().rev() {
            self.note_id(path, &bytes);
        }
    }

    fn forge_check(&mut self, who: usize, from: u8, nominates: bool) {
        let (check, from) = (self.world.peers[who].make_check(nominates), self.path(from));
        self.inject(from, &check);
    }

    /// The attacker begins its ICE anew, with a ufrag of any length, and checks as it may meanwhile.
    fn restart(&mut self, ufrag: u8, from: &Path) {
        let id = World::transport_id(ATTACKER as u32);
        if !self.world.inventory().iter().any(|transport| transport.transport_id == id) {
            return;
        }
        let short = self.world.peers[ATTACKER].make_short_check();
        self.world.restart_ice_as(ATTACKER as u32, "u".repeat(4 + usize::from(ufrag) % 253));
        self.inject(*from, &short);
    }

    fn inject(&mut self, from: Path, bytes: &[u8]) {
        let before = self.world.shard.counters().get(Count::RxStun);
        self.world.inject_along(from, bytes);
        if self.world.shard.counters().get(Count::RxStun) > before && bytes[..2] == [0, 1] {
            let home = self.homes.contains_key(&from.remote);
            let seen =
                self.ids_of(bytes).iter().find(|(id, _)| id[..] == bytes[8..20]).map(|(_, path)| *path);
            let elsewhere = seen.filter(|path| *path != from);
            assert!(elsewhere.is_none() || home, "an id is good for one path: {elsewhere:?}, {from:?}");
            self.note_id(from, bytes);
        }
    }

    /// Each client counts its checks from one, so an id is told by the ufrag that it came with.
    fn ids_of(&mut self, check: &[u8]) -> &mut VecDeque<([u8; 12], Path)> {
        let username = StunMessage::parse(check).expect("the relay took it").username();
        let whose = *username.and_then(|name| name.first_chunk()).expect("a ufrag of the relay");
        self.ids.entry(whose).or_default()
    }

    fn note_id(&mut self, path: Path, check: &[u8]) {
        if check[..2] != [0, 1] {
            return;
        }
        let id: [u8; 12] = check[8..20].try_into().expect("an id");
        let ids = self.ids_of(check);
        match ids.iter_mut().find(|(seen, _)| *seen == id) {
            Some(known) => known.1 = path,
            None => ids.push_back((id, path)),
        }
        if ids.len() > IDS_REMEMBERED {
            ids.pop_front();
        }
    }

    fn silence(&mut self, choice: usize) {
        let who = choice % self.world.peers.len();
        self.disturbed |= who < ATTACKER;
        let peer = &mut self.world.peers[who];
        peer.alive = !peer.alive;
    }

    /// A client's NAT gives it another port.
    fn rebind(&mut self, choice: usize) {
        let who = choice % self.world.peers.len();
        self.disturbed |= who < ATTACKER;
        self.moves = self.moves.saturating_add(1);
        let address = SocketAddr::from(([203, 0, 113, self.moves], 5_000));
        self.world.peers[who].address = address;
        self.homes.insert(address, who);
    }

    /// A client comes; perhaps where one is that fell silent.
    fn join(&mut self, choice: u8) {
        if self.world.peers.len() == PEERS_MAX {
            return;
        }
        let index = self.world.join(1) as usize;
        let old = (ATTACKER + 1..index).find(|old| choice & 1 == 0 && !self.world.peers[*old].alive);
        if let Some(old) = old {
            let address = self.world.peers[old].address;
            self.world.peers[old].address = SocketAddr::from(([203, 0, 114, old as u8], 5_000));
            self.world.peers[index].address = address;
        }
        let peer = &mut self.world.peers[index];
        (peer.attacked, peer.answers) = (true, choice & 2 == 0);
        self.homes.insert(peer.address, index);
    }

    fn check(&self) {
        for (path, traffic) in &self.world.traffic {
            let home = self.homes.get(&path.remote);
            if home.is_none() {
                assert!(traffic.sent <= 3 * traffic.received, "reflected to {path:?}: {traffic:?}");
            }
            let takes_part = home.is_some_and(|who| *who < ATTACKER);
            assert!(takes_part || traffic.media == 0, "media to {path:?}: {traffic:?}");
        }
        let invariants = self.world.shard.check_invariants();
        assert_eq!(invariants, Ok(()));
    }

    fn end(mut self) {
        // Handshakes that wait for the end of a turn have their place in the ledger then.
        self.run(Duration::from_millis(50));
        if self.longest_silence > SILENCE_BORNE {
            return self.world.assert_ledger();
        }
        for who in [PUBLISHER, VIEWER] {
            let id = World::transport_id(who as u32);
            let failed = self.world.events.iter().find(|(_, event)| {
                matches!(event, EventBody::TransportState(s) if s.transport_id == id && s.reason != 0)
            });
            assert!(failed.is_none(), "{who} lost its transport: {failed:?}");
        }
        let (sent, numbers) = (self.sent(), self.numbers());
        if !self.disturbed {
            let expected = (sent - self.first.unwrap_or(0)) as usize;
            assert!(numbers.len() + UNDER_WAY >= expected, "{} of {expected} packets", numbers.len());
            return self.world.assert_ledger();
        }
        self.world.peers[PUBLISHER].alive = true;
        self.world.peers[VIEWER].alive = true;
        self.run(Duration::from_secs(3));
        let before = self.numbers().len();
        self.run(Duration::from_secs(1));
        let flowed = self.numbers().len() - before;
        assert!(flowed >= 90, "the call goes on: {flowed} packets in a second");
        self.check();
        self.world.assert_ledger();
    }

    fn sent(&self) -> u32 {
        self.world.peers[PUBLISHER].sending.as_ref().map_or(0, |sending| sending.number)
    }
}
