use relay::control::router::{Identity, Router};
use relay::driver::{OrderOutcome, ShardDriver};
use relay::mailbox::{ControlEnd, Notifier, mailbox};
use relay_control::{
    AddDownTrack, AddUpTrack, CONTROL_VERSION, CloseTransport, Codec, Command, GetInventory, Hello,
    Inventory, MediaKind, OpenTransport, Outgoing, RemoveTrack, ReplyBody, Request, RtpParameters, SetLabel,
};
use relay_core::Shard;
use relay_core::config::{Limits, ShardConfig};
use relay_core::dtls::{DtlsEngine, DtlsFactory, Fingerprint, Fingerprints};
use relay_core::outbox::VecOutbox;
use relay_core::time::{NtpClock, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const SHARDS: u32 = 3;
const TRANSPORTS: u64 = 6;
/// A transport has these of its own, the first of which it sends.
const TRACKS: u64 = 3;
const CONTROLLER: u64 = 1;

/// The control language as the relay obeys it, with real shards, mailboxes and pipes: a controller that waits
/// for no reply gets exactly one for each request, what it said last about a transport or track is what is so
/// in the end, and the inventory is what the shards have. Each action takes two octets; workers turn only
/// when an action says so.
pub fn control_order(data: &[u8]) {
    let mut world = World::new();
    for action in data.chunks_exact(2).take(512) {
        world.act(action[0], action[1].into());
    }
    world.end();
}

/// No datagram comes, so no peer ever shakes hands.
struct NoDtls;

impl DtlsFactory for NoDtls {
    fn accept(&mut self, _: Time, _: Fingerprints) -> Box<dyn DtlsEngine> {
        unreachable!("nothing is received")
    }

    fn connect(&mut self, _: Time, _: Fingerprints) -> Box<dyn DtlsEngine> {
        unreachable!("nothing is received")
    }

    fn fingerprint(&self) -> Fingerprint {
        [0; 32]
    }
}

/// The last command about an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// It was to be made, by the request with this id.
    Made(u64),
    Gone,
}

struct World {
    router: Router,
    drivers: Vec<ShardDriver>,
    now: Time,
    last_id: u64,
    replies: BTreeMap<u64, ReplyBody>,
    transports: BTreeMap<u64, Last>,
    tracks: BTreeMap<u64, Last>,
    /// A transport may have ended by itself.
    time_passed: bool,
}

impl World {
    fn new() -> Self {
        let notifier = Notifier::new().expect("a descriptor");
        let shard = |number: u32| -> (ControlEnd, ShardDriver) {
            let (control, mail) = mailbox(notifier.clone(), Arc::new(|| {}));
            let config = ShardConfig {
                shard: number,
                candidates: vec!["192.0.2.1:10000".parse().expect("an address")],
                ntp: NtpClock { ntp_at_zero: 0 },
                default_max_receive_bitrate_bps: 1_000_000,
                four_lanes: false,
                limits: Limits::default(),
            };
            let seed = [u8::try_from(number).expect("few"); 32];
            (
                control,
                ShardDriver::new(
                    number,
                    Shard::new(config, Box::new(NoDtls), seed),
                    mail,
                    Box::new(move || seed),
                ),
            )
        };
        let (ends, drivers) = (0..SHARDS).map(shard).unzip();
        let identity = Identity {
            boot_id: 1,
            fingerprint_sha256: [0; 32],
            io_backend: "none",
            max_receive_bitrate_bps: 1_000_000,
            started_by_signaling: false,
        };
        let mut world = Self {
            // One transport of a room on a shard, then the next: pipes everywhere.
            router: Router::new(identity, ends, 1),
            drivers,
            now: Time::from_nanos(1_000_000_000),
            last_id: 0,
            replies: BTreeMap::new(),
            transports: BTreeMap::new(),
            tracks: BTreeMap::new(),
            time_passed: false,
        };
        let (version, name) = (CONTROL_VERSION, "fuzz".to_owned());
        world.ask(Command::Hello(Hello { version, epoch: 1, name, instance: 1 }));
        world
    }

    fn act(&mut self, action: u8, operand: u64) {
        let transport_id = 1 + operand % TRANSPORTS;
        let track_id = transport_id * 10 + operand / TRANSPORTS % TRACKS;
        match action % 10 {
            0 | 1 => {
                let id = self.ask(Command::OpenTransport(OpenTransport {
                    transport_id,
                    room_id: 1 + operand / 128,
                    remote_ufrag: "peer".to_owned(),
                    remote_pwd: "a password of the peer's own".to_owned(),
                    remote_fingerprint_sha256: vec![1; 32],
                    ..OpenTransport::default()
                }));
                self.transports.insert(transport_id, Last::Made(id));
            }
            2 => {
                self.ask(Command::CloseTransport(CloseTransport { transport_id }));
                self.transports.insert(transport_id, Last::Gone);
                for track in 0..TRACKS {
                    self.tracks.insert(transport_id * 10 + track, Last::Gone);
                }
            }
            3 | 4 => {
                let id = self.ask(if track_id.is_multiple_of(10) {
                    let rtp = audio();
                    Command::AddUpTrack(AddUpTrack { transport_id, track_id, rtp, ..AddUpTrack::default() })
                } else {
                    let up_track_id = (1 + operand / 7 % TRANSPORTS) * 10;
                    let (rtp, cname) = (audio(), "c".to_owned());
                    Command::AddDownTrack(AddDownTrack { transport_id, track_id, up_track_id, rtp, cname })
                });
                self.tracks.insert(track_id, Last::Made(id));
            }
            5 => {
                self.ask(Command::RemoveTrack(RemoveTrack { track_id }));
                self.tracks.insert(track_id, Last::Gone);
            }
            6 => drop(self.ask(Command::SetLabel(SetLabel { transport_id, label: vec![1] }))),
            7 | 8 => self.turn((operand % u64::from(SHARDS)) as usize),
            _ if operand >= 250 => {
                self.now += Duration::from_secs(16);
                self.time_passed = true;
            }
            _ => self.listen(),
        }
    }

    fn ask(&mut self, command: Command) -> u64 {
        self.last_id += 1;
        self.router.handle_request(CONTROLLER, Request { request_id: self.last_id, command: Some(command) });
        self.listen();
        self.last_id
    }

    /// A worker's turn.
    fn turn(&mut self, number: usize) {
        let (now, driver, mut outbox) = (self.now, &mut self.drivers[number], VecOutbox::default());
        driver.handle_ports(now, &mut outbox);
        while !matches!(driver.handle_order(now, &mut outbox), OrderOutcome::Nothing) {}
        driver.shard.handle_timeout(now, &mut outbox);
        driver.send_events();
        driver.shard.ring_ports();
    }

    fn listen(&mut self) {
        self.router.handle_shards();
        while let Some((to, message)) = self.router.poll_outgoing() {
            assert_eq!(to, CONTROLLER);
            if let Some(Outgoing::Reply(reply)) = message.outgoing {
                let before = self.replies.insert(reply.request_id, reply.body.expect("a body"));
                assert!(before.is_none(), "two replies to {}", reply.request_id);
            }
        }
    }

    fn settle(&mut self) {
        // A subscription crosses from control to one shard, back, to another and back; what waits behind it
        // as well.
        while {
            let before = self.replies.len();
            for _ in 0..4 {
                (0..SHARDS as usize).for_each(|number| self.turn(number));
                self.listen();
            }
            before != self.replies.len()
        } {}
    }

    fn inventory(&mut self) -> BTreeMap<u64, BTreeSet<u64>> {
        let (mut all, mut after) = (BTreeMap::new(), 0);
        loop {
            let id = self.ask(Command::GetInventory(GetInventory { after }));
            self.settle();
            let Some(ReplyBody::Inventory(Inventory { transports, next, .. })) = self.replies.get(&id) else {
                panic!("no page")
            };
            for info in transports {
                let tracks = info.up_tracks.iter().map(|track| track.track_id);
                let tracks = tracks.chain(info.down_tracks.iter().map(|track| track.track_id)).collect();
                assert!(all.insert(info.transport_id, tracks).is_none(), "{} twice", info.transport_id);
            }
            after = *next;
            if after == 0 {
                return all;
            }
        }
    }

    fn end(&mut self) {
        self.settle();
        assert!((1..=self.last_id).all(|id| self.replies.contains_key(&id)), "a request without its reply");
        let listed = self.inventory();
        let lives: Vec<u64> = self
            .drivers
            .iter()
            .flat_map(|driver| {
                relay::convert::inventory(&driver.shard).into_iter().map(|info| info.transport_id)
            })
            .collect();
        assert_eq!(lives.len(), listed.len(), "{lives:?} live, {listed:?} are listed");
        assert!(lives.iter().all(|id| listed.contains_key(id)), "{lives:?} live, {listed:?} are listed");
        for (id, last) in &self.transports {
            let here = listed.contains_key(id);
            match last {
                Last::Gone => assert!(!here, "transport {id} was closed last"),
                Last::Made(by) if matches!(self.replies[by], ReplyBody::TransportOpened(_)) => {
                    assert!(here || self.time_passed, "transport {id} was opened last");
                }
                Last::Made(_) => {}
            }
        }
        let tracks: BTreeSet<u64> = listed.values().flatten().copied().collect();
        for (id, last) in &self.tracks {
            assert!(*last != Last::Gone || !tracks.contains(id), "track {id} was removed last");
        }
    }
}

fn audio() -> RtpParameters {
    RtpParameters {
        kind: MediaKind::Audio.into(),
        codec: Codec::Opus.into(),
        clock_rate_hz: 48_000,
        payload_type: 111,
        ..RtpParameters::default()
    }
}
