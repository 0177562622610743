//! The relay as the DTLS client, for peers that are the passive side: who agrees on what, over which
//! networks, and what strangers can send meanwhile.

mod support;

use relay_core::dtls::{DtlsEngine, DtlsFactory, DtlsStatus, Fingerprint};
use relay_core::srtp::SrtpProfile;
use relay_core::time::Time;
use relay_dtls::EngineFactory;
use ringvox_client::dtls::{ClientFactory, ClientOptions, Versions};
use support::{Direction, Rng, START, drain};

/// What has to be earned before the relay's hello goes to an address that is not proven (`relay-core`).
const HELLO_BYTES_MAX: usize = 400;

struct Ends {
    relay: Box<dyn DtlsEngine>,
    peer: Box<dyn DtlsEngine>,
    now: Time,
}

impl Ends {
    fn new(options: &ClientOptions) -> Self {
        Self::with_announced(options, |fingerprint| fingerprint)
    }

    fn with_announced(options: &ClientOptions, announce: impl Fn(Fingerprint) -> Fingerprint) -> Self {
        let mut relay = EngineFactory::new().unwrap();
        let peer = ClientFactory::new(options).unwrap();
        Self {
            relay: relay.connect(START, announce(peer.fingerprint()).into()),
            peer: peer.accept(START, relay.fingerprint()),
            now: START,
        }
    }

    /// Carries what waits, after `network` made of each datagram what it likes; how many were sent.
    fn carry(&mut self, mut network: impl FnMut(Direction, Vec<u8>) -> Vec<Vec<u8>>) -> usize {
        let (up, down) = (drain(&mut *self.peer), drain(&mut *self.relay));
        let count = up.len() + down.len();
        for datagram in up.into_iter().flat_map(|datagram| network(Direction::Up, datagram)) {
            self.relay.handle_datagram(self.now, &datagram);
        }
        for datagram in down.into_iter().flat_map(|datagram| network(Direction::Down, datagram)) {
            self.peer.handle_datagram(self.now, &datagram);
        }
        count
    }

    fn run(&mut self) {
        while self.carry(|_, datagram| vec![datagram]) > 0 {}
    }

    fn ring(&mut self) -> bool {
        let Some(next) = self.relay.poll_timeout().into_iter().chain(self.peer.poll_timeout()).min() else {
            return false;
        };
        self.now = self.now.max(next);
        self.relay.handle_timeout(self.now);
        self.peer.handle_timeout(self.now);
        true
    }

    #[track_caller]
    fn assert_keyed(&mut self, what: &str) -> (&'static str, SrtpProfile, &'static str) {
        let status = (self.relay.status(), self.peer.status());
        assert!(matches!(status, (DtlsStatus::Connected, DtlsStatus::Connected)), "{what}: {status:?}");
        let (ours, theirs) = (self.relay.take_summary().unwrap(), self.peer.take_summary().unwrap());
        assert_eq!(ours.keys.local_key, theirs.keys.remote_key, "{what}");
        assert_eq!(ours.keys.local_salt, theirs.keys.remote_salt, "{what}");
        assert_eq!(ours.keys.remote_key, theirs.keys.local_key, "{what}");
        assert_eq!(ours.keys.remote_salt, theirs.keys.local_salt, "{what}");
        assert_ne!(ours.keys.local_key, ours.keys.remote_key, "{what}");
        assert!(self.relay.take_summary().is_none(), "{what}: keys are given once");
        (ours.version, ours.keys.profile, ours.group)
    }
}

fn of(versions: Versions) -> ClientOptions {
    ClientOptions { versions, ..ClientOptions::default() }
}

#[test]
fn the_servers_choice_of_version_and_profile_is_taken() {
    use SrtpProfile::{AeadAes128Gcm as Gcm128, AeadAes256Gcm as Gcm256, Aes128CmHmacSha1_80 as Sha1};
    for (versions, version) in
        [(Versions::Both, "DTLS 1.3"), (Versions::Only1_3, "DTLS 1.3"), (Versions::Only1_2, "DTLS 1.2")]
    {
        for (profiles, want) in
            [(vec![Gcm128, Sha1], Gcm128), (vec![Gcm256], Gcm256), (vec![Sha1, Gcm128], Sha1)]
        {
            let mut ends = Ends::new(&ClientOptions { profiles, ..of(versions) });
            ends.run();
            let (spoken, profile, _) = ends.assert_keyed(version);
            assert_eq!((spoken, profile), (version, want));
        }
    }
}

#[test]
fn a_server_that_prefers_another_group_asks_again() {
    for (versions, groups, want) in [
        (Versions::Both, "X25519", "x25519"),
        (Versions::Both, "P-256", "secp256r1"),
        (Versions::Only1_3, "X25519MLKEM768", "X25519MLKEM768"),
        (Versions::Only1_2, "P-256", "secp256r1"),
        (Versions::Only1_2, "X25519", "x25519"),
    ] {
        let mut ends = Ends::new(&ClientOptions { groups: groups.to_owned(), ..of(versions) });
        ends.run();
        assert_eq!(ends.assert_keyed(groups).2, want, "{versions:?}");
    }
}

#[test]
fn the_first_hello_is_one_small_datagram() {
    let mut ends = Ends::new(&ClientOptions::default());
    let hello = drain(&mut *ends.relay);
    assert_eq!(hello.len(), 1);
    assert!(hello[0].len() <= HELLO_BYTES_MAX, "{} octets", hello[0].len());
}

#[test]
fn a_server_that_is_silent_hears_the_hello_again_and_again() {
    let mut ends = Ends::new(&ClientOptions::default());
    let mut hellos = drain(&mut *ends.relay).len();
    for _ in 0..4 {
        assert!(ends.ring());
        hellos += drain(&mut *ends.relay).len();
    }
    assert!(hellos >= 5, "{hellos}");
    assert!(matches!(ends.relay.status(), DtlsStatus::Handshaking));
    // The hello that comes late is answered all the same.
    ends.ring();
    ends.run();
    ends.assert_keyed("late");
}

#[test]
fn a_server_with_another_certificate_gets_no_keys() {
    for versions in [Versions::Both, Versions::Only1_2] {
        let mut ends = Ends::with_announced(&of(versions), |mut fingerprint| {
            fingerprint[0] ^= 1;
            fingerprint
        });
        ends.run();
        for _ in 0..10 {
            ends.ring();
            ends.run();
        }
        assert!(!matches!(ends.relay.status(), DtlsStatus::Connected), "{versions:?}");
        assert!(ends.relay.take_summary().is_none(), "{versions:?}");
    }
}

#[test]
fn a_server_with_one_of_several_certificates_is_known() {
    for versions in [Versions::Both, Versions::Only1_2] {
        let mut relay = EngineFactory::new().unwrap();
        let peer = ClientFactory::new(&of(versions)).unwrap();
        let mut ends = Ends {
            relay: relay.connect(START, [[1; 32], peer.fingerprint()].into_iter().collect()),
            peer: peer.accept(START, relay.fingerprint()),
            now: START,
        };
        ends.run();
        ends.assert_keyed("the second");
    }
}

#[test]
fn a_network_that_loses_repeats_and_reorders_delays_and_ends_nothing() {
    for seed in 0..40 {
        for versions in [Versions::Both, Versions::Only1_2] {
            let mut ends = Ends::new(&of(versions));
            let (mut rng, mut late) = (Rng(seed), Vec::new());
            for _ in 0..400 {
                let sent = ends.carry(|direction, datagram| match rng.roll(10) {
                    0..2 => Vec::new(),
                    2 => {
                        late.push((direction, datagram));
                        Vec::new()
                    }
                    3 => vec![datagram.clone(), datagram],
                    _ => vec![datagram],
                });
                for (direction, datagram) in late.drain(..) {
                    match direction {
                        Direction::Up => ends.relay.handle_datagram(ends.now, &datagram),
                        Direction::Down => ends.peer.handle_datagram(ends.now, &datagram),
                    };
                }
                if sent == 0 && !ends.ring() {
                    break;
                }
            }
            ends.assert_keyed(&format!("{versions:?}, seed {seed}"));
        }
    }
}

/// Records that a stranger can write: in clear, with any number.
fn record(kind: u8, number: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, number][..], &len, body].concat()
}

/// The flight of another server, which answers another client's hello: it has not read ours.
fn flight_of_a_stranger(versions: Versions) -> Vec<Vec<u8>> {
    let stranger = ClientFactory::new(&of(versions)).unwrap();
    let other = ClientFactory::new(&of(versions)).unwrap();
    let mut server = stranger.accept(START, other.fingerprint());
    let mut client = other.connect(START, None);
    drain(&mut client).iter().for_each(|hello| {
        server.handle_datagram(START, hello);
    });
    drain(&mut *server)
}

#[test]
fn what_strangers_send_in_clear_ends_no_handshake() {
    let hello = drain(&mut ClientFactory::new(&ClientOptions::default()).unwrap().connect(START, None));
    let hello_verify = |cookie: u8| {
        let body = [0xfe, 0xff, 1, cookie];
        let header = [3, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4];
        record(22, 0, &[&header[..], &body].concat())
    };
    let mut forged = vec![
        record(21, 0, &[2, 40]),
        record(21, 1, &[1, 0]),
        record(21, 2, &[2, 80]),
        record(20, 3, &[1]),
        record(23, 4, b"data"),
        record(22, 5, &[]),
        record(22, 6, &[2, 0, 0, 70, 0, 0, 0, 0, 0, 0, 0, 70]),
        record(22, 7, &[20, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        record(22, 8, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        vec![0xff; 100],
        Vec::new(),
    ];
    forged.extend(hello);
    forged.extend(flight_of_a_stranger(Versions::Only1_2));
    for versions in [Versions::Both, Versions::Only1_2] {
        let mut ends = Ends::new(&of(versions));
        loop {
            for datagram in &forged {
                if versions == Versions::Only1_2 || !datagram.starts_with(&[22]) {
                    ends.relay.handle_datagram(ends.now, datagram);
                }
            }
            if ends.carry(|_, datagram| vec![datagram]) == 0 {
                break;
            }
        }
        ends.assert_keyed(&format!("{versions:?}"));
        // Nor does it end the association.
        for datagram in forged.iter().chain([&hello_verify(1)]) {
            assert!(!ends.relay.handle_datagram(ends.now, datagram), "{datagram:02x?}");
        }
        assert!(matches!(ends.relay.status(), DtlsStatus::Connected), "{versions:?}");
    }
}

/// Octets of the true server's flights, changed here and there: whatever comes of it, it is no panic and no
/// agreement on different keys.
#[test]
fn changed_flights_give_no_keys_that_the_peer_has_not() {
    for seed in 0..300 {
        let versions = if seed % 2 == 0 { Versions::Only1_2 } else { Versions::Both };
        let mut ends = Ends::new(&of(versions));
        let mut rng = Rng(seed);
        for _ in 0..60 {
            let sent = ends.carry(|direction, mut datagram| {
                if direction == Direction::Up && rng.roll(3) == 0 && !datagram.is_empty() {
                    let at = rng.roll(datagram.len() as u64) as usize;
                    datagram[at] ^= 1 << rng.roll(8);
                    if rng.roll(4) == 0 {
                        datagram.truncate(at);
                    }
                }
                vec![datagram]
            });
            if sent == 0 && !ends.ring() {
                break;
            }
        }
        if let (Some(ours), Some(theirs)) = (ends.relay.take_summary(), ends.peer.take_summary()) {
            assert_eq!(ours.keys.local_key, theirs.keys.remote_key, "seed {seed}");
        }
    }
}

#[test]
fn a_goodbye_of_the_peer_ends_the_association_and_ours_is_heard() {
    let mut ends = Ends::new(&ClientOptions::default());
    ends.run();
    ends.assert_keyed("connected");
    ends.peer.close();
    ends.run();
    assert!(matches!(ends.relay.status(), DtlsStatus::Closed));
    let mut ends = Ends::new(&ClientOptions::default());
    ends.run();
    ends.assert_keyed("connected");
    ends.relay.close();
    ends.run();
    assert!(matches!(ends.peer.status(), DtlsStatus::Closed));
}
