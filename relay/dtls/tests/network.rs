//! A network that loses, reorders, doubles and forges.

mod support;

use relay_core::dtls::{DtlsEngine, DtlsStatus};
use relay_core::time::Time;
use ringvox_client::dtls::{ClientOptions, Versions};
use std::time::Duration;
use support::{Direction, Pair, Rng, drain};

const VERSIONS: [Versions; 2] = [Versions::Only1_2, Versions::Only1_3];

/// The relay's time limit for a handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);

fn options(versions: Versions) -> ClientOptions {
    ClientOptions { versions, ..ClientOptions::default() }
}

/// Carries and lets timers ring until both ends are connected.
fn connect(pair: &mut Pair, mut network: impl FnMut(Direction, Vec<u8>) -> Vec<Vec<u8>>) {
    let limit = pair.now + HANDSHAKE_LIMIT;
    while !pair.is_connected() {
        if pair.carry(&mut network) == 0 {
            assert!(pair.ring(), "nothing to wait for");
            assert!(
                pair.now <= limit,
                "client {:?}, server {:?}",
                pair.client.status(),
                pair.server.status()
            );
        }
    }
    let (server, client) = pair.summaries();
    assert_eq!(server.keys.local_key, client.keys.remote_key);
}

/// Each datagram of a handshake lost once; and the first few of it, one after the other.
#[test]
fn lost_datagrams_are_sent_again() {
    for versions in VERSIONS {
        for (first, count) in (0..12).map(|at| (at, 1)).chain((1..6).map(|count| (0, count))) {
            let (mut sent, mut pair) = (0, Pair::new(&options(versions)));
            connect(&mut pair, |_, datagram| {
                sent += 1;
                if (first..first + count).contains(&(sent - 1)) { vec![] } else { vec![datagram] }
            });
        }
    }
}

/// The time is ours: nothing is sent again before its timer, and the timer doubles.
#[test]
fn a_silent_peer_is_asked_again_at_growing_intervals() {
    let mut pair = Pair::new(&options(Versions::Only1_2));
    let hello = drain(&mut pair.client);
    hello.iter().for_each(|datagram| assert!(pair.server.handle_datagram(pair.now, datagram)));
    let flight = drain(&mut *pair.server).len();
    assert!(flight > 0);
    let mut waits = Vec::new();
    for _ in 0..5 {
        let due = pair.server.poll_timeout().unwrap();
        pair.server.handle_timeout(due - Duration::from_millis(20));
        assert_eq!(drain(&mut *pair.server).len(), 0, "too early");
        pair.server.handle_timeout(due);
        assert_eq!(drain(&mut *pair.server).len(), flight);
        waits.push(due.since(pair.now));
        pair.now = due;
    }
    assert!(waits.windows(2).all(|pair| pair[1] == 2 * pair[0]), "{waits:?}");
}

#[test]
fn a_bad_network_is_endured() {
    for versions in VERSIONS {
        for seed in 0..60 {
            let mut random_u32 = Rng(seed);
            let mut pair = Pair::new(&options(versions));
            let mut late: Vec<Vec<Vec<u8>>> = vec![vec![], vec![]];
            connect(&mut pair, |direction, datagram| {
                let late = &mut late[direction as usize];
                match random_u32.roll(10) {
                    0 => vec![],
                    1..=2 => vec![datagram.clone(), datagram],
                    3..=4 => {
                        late.push(datagram);
                        vec![]
                    }
                    _ => [vec![datagram], std::mem::take(late)].concat(),
                }
            });
        }
    }
}

/// An unprotected record.
fn clear(content_type: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![content_type, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0x77, 0x77];
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    record.extend_from_slice(body);
    record
}

/// What an attacker can send who knows the five-tuple but no keys: none of it may end a handshake.
fn garbage() -> Vec<Vec<u8>> {
    let fragment = |kind: u8, message: [u8; 3], seq: u8, offset: [u8; 3], len: [u8; 3], body: &[u8]| {
        clear(22, &[&[kind][..], &message, &[0, seq], &offset, &len, body].concat())
    };
    let mut all = vec![
        vec![],
        vec![22],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 2000],
        vec![22; 2049],
        clear(21, &[2, 40]),
        clear(21, &[1, 0]),
        clear(20, &[2]),
        clear(23, b"data"),
        clear(24, &[1, 0, 4, 1, 2, 3, 4]),
        clear(26, &[0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        clear(22, &[]),
        clear(22, &[1, 2, 3]),
        // Of no length, beyond the end, 16 MiB, overlong, a server's, far ahead.
        fragment(1, [0, 0, 40], 0, [0, 0, 0], [0, 0, 0], &[]),
        fragment(1, [0, 0, 40], 0, [0, 0, 41], [0, 0, 1], &[1]),
        fragment(11, [255, 255, 255], 1, [0, 0, 0], [0, 0, 1], &[1]),
        fragment(11, [0, 0, 4], 1, [0, 0, 0], [0, 0, 40], &[1; 40]),
        fragment(2, [0, 0, 4], 0, [0, 0, 0], [0, 0, 4], &[1; 4]),
        fragment(11, [0, 0, 4], 200, [0, 0, 0], [0, 0, 4], &[1; 4]),
    ];
    // Protected records of both versions with tags that cannot be right.
    for epoch in 1..4 {
        let mut record = clear(22, &[0x5a; 64]);
        record[4] = epoch;
        all.push(record);
        all.push([&[0x2c | epoch, 0x12, 0x34, 0, 64][..], &[0x5a; 64]].concat());
    }
    all
}

#[test]
fn garbage_does_not_end_a_handshake() {
    for versions in VERSIONS {
        let mut pair = Pair::new(&options(versions));
        connect(&mut pair, |direction, datagram| match direction {
            Direction::Up => [garbage(), vec![datagram], garbage()].concat(),
            Direction::Down => vec![datagram],
        });
    }
}

/// The handshake message that a datagram in clear begins with: kind, length, number.
fn first_message(datagram: &[u8]) -> Option<(u8, u32, u8)> {
    let (kind, [l0, l1, l2], seq) = (*datagram.get(13)?, *datagram.get(14..17)?.first_chunk()?, datagram[18]);
    (datagram[0] == 22).then_some((kind, u32::from_be_bytes([0, l0, l1, l2]), seq))
}

/// A part of a message, in a record of its own.
fn part(kind: u8, message_len: u32, seq: u8, offset: u32, body: &[u8]) -> Vec<u8> {
    let u24 = |number: u32| number.to_be_bytes()[1..].to_vec();
    let head = [vec![kind], u24(message_len), vec![0, seq], u24(offset), u24(body.len() as u32)].concat();
    clear(22, &[&head[..], body].concat())
}

/// What an attacker puts before a client's message who knows what clients send: each in turn ends a handshake
/// if the server takes it at its word.
fn forgeries(datagram: &[u8]) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let Some((kind, len, seq)) = first_message(datagram) else { return vec![] };
    let junk = vec![0x5a; 60];
    let mut far = part(kind, len, seq, 0, &junk[..len.min(60) as usize]);
    far[5..11].copy_from_slice(&[0xff; 6]);
    let mut spec = clear(20, &[1]);
    spec[5..11].copy_from_slice(&[0xff; 6]);
    vec![
        ("another length", vec![part(kind, len + 1, seq, 0, &junk[..40])]),
        ("a shorter length", vec![part(kind, len / 2, seq, 0, &junk[..len.min(40) as usize / 2])]),
        ("a false beginning", vec![part(kind, len, seq, 0, &junk[..len.min(60) as usize])]),
        ("a false end", vec![part(kind, len, seq, len - 1, &[0x5a])]),
        ("a whole one", vec![part(kind, 60, seq, 0, &junk)]),
        ("a whole one as long", vec![part(kind, len, seq, 0, &vec![0x5a; len as usize])]),
        ("an empty one", vec![part(kind, 0, seq, 0, &[])]),
        ("a record number far ahead", vec![far]),
        ("ChangeCipherSpec far ahead", vec![spec]),
        ("the next message", vec![part(kind, 60, seq + 1, 0, &junk)]),
        ("a certificate", vec![part(11, 60, 1, 0, &[&[0, 0, 57, 0, 0, 54][..], &junk[..54]].concat())]),
        ("a key exchange", vec![part(16, 33, 2, 0, &[&[32][..], &junk[..32]].concat())]),
        ("a signature", vec![part(15, 64, 3, 0, &[&[4, 3, 0, 60][..], &junk].concat())]),
        ("an alert", vec![clear(21, &[2, 40])]),
    ]
}

/// One forged record must not end a handshake, and the client's own must still get through at its next try at
/// the latest.
#[test]
fn a_forgery_before_each_message_ends_no_handshake() {
    for versions in VERSIONS {
        for which in 0..14 {
            let (mut pair, mut name) = (Pair::new(&options(versions)), "");
            connect(&mut pair, |direction, datagram| {
                let forged = forgeries(&datagram).into_iter().nth(which);
                match (direction, forged) {
                    (Direction::Up, Some((which, mut forged))) => {
                        name = which;
                        forged.push(datagram);
                        forged
                    }
                    _ => vec![datagram],
                }
            });
            assert!(!name.is_empty(), "{versions:?} {which}: something was forged");
        }
    }
}

/// The same for another client's whole flight: before the true client's first, and between its first and its
/// second.
#[test]
fn another_clients_messages_end_no_handshake() {
    for versions in VERSIONS {
        for other_versions in VERSIONS {
            let mut pair = Pair::new(&options(versions));
            let mut other = Pair::new(&options(other_versions));
            for datagram in drain(&mut other.client) {
                pair.server.handle_datagram(pair.now, &datagram);
            }
            // The answers reach the true client before it has begun.
            let answers = drain(&mut *pair.server);
            // The rest of a flight that signs something else: of the other client's own handshake.
            let mut stolen = Pair::new(&options(other_versions));
            let mut flights = Vec::new();
            connect(&mut stolen, |direction, datagram| {
                if direction == Direction::Up {
                    flights.push(datagram.clone());
                }
                vec![datagram]
            });
            assert!(!answers.is_empty());
            connect(&mut pair, |direction, datagram| match direction {
                Direction::Up => [flights[2..].to_vec(), vec![datagram]].concat(),
                Direction::Down => vec![datagram],
            });
        }
    }
}

/// Good hellos of other clients, all with another random.
fn good_hello(versions: Versions) -> impl FnMut() -> Vec<u8> {
    let options = ClientOptions { groups: "X25519:P-256".to_owned(), ..options(versions) };
    let body = drain(&mut Pair::new(&options).client)[0][25..].to_vec();
    let mut n = 0u32;
    move || {
        n += 1;
        let mut body = body.clone();
        body[2..6].copy_from_slice(&n.to_be_bytes());
        part(1, body.len() as u32, 0, 0, &body)
    }
}

/// The same with cipher suites that we do not have, which is seen when an attempt is spent only. Nothing
/// comes back.
fn refused_hello(versions: Versions) -> impl FnMut() -> Vec<u8> {
    let mut good = good_hello(versions);
    move || {
        let mut hello = good();
        let suites_len = usize::from(u16::from_be_bytes([hello[61], hello[62]]));
        hello[63..63 + suites_len].fill(0x0a);
        hello
    }
}

/// How many attempts are begun in 5 s by 200 hellos a second.
fn begun_by(pair: &mut Pair, mut hello: impl FnMut() -> Vec<u8>) -> u32 {
    (0..1000).fold(0, |begun, _| {
        pair.server.handle_datagram(pair.now, &hello());
        // What is answered is not for the client.
        drain(&mut *pair.server);
        pair.now += Duration::from_millis(5);
        begun + pair.server.take_restarts()
    })
}

/// TokenBucket are bounded, in number and in time, and who keeps them busy does not keep the client out.
#[test]
fn attempts_are_bounded() {
    let mut pair = Pair::new(&options(Versions::Both));
    let begun = begun_by(&mut pair, refused_hello(Versions::Both));
    assert!((100..=200).contains(&begun), "{begun} in 5 s");
    connect(&mut pair, |_, datagram| vec![datagram]);

    // One that is answered keeps its place for half a second.
    let begun = begun_by(&mut Pair::new(&options(Versions::Both)), good_hello(Versions::Both));
    assert!((70..=100).contains(&begun), "{begun} in 5 s");
}

/// Until both ends are connected or the limit is over, in steps of 5 ms: `forge` first sends what it likes,
/// then what both ends have to say is delivered. Answers to what was forged do not reach the client.
fn connects_in(pair: &mut Pair, mut forge: impl FnMut(&mut Pair, u32)) -> bool {
    for tick in 0..HANDSHAKE_LIMIT.as_millis() as u32 / 5 {
        forge(pair, tick);
        while pair.carry(|_, datagram| vec![datagram]) > 0 {}
        if pair.is_connected() {
            return true;
        }
        pair.now += Duration::from_millis(5);
        for engine in [&mut pair.client as &mut dyn DtlsEngine, &mut *pair.server] {
            if engine.poll_timeout().is_some_and(|at| at <= pair.now) {
                engine.handle_timeout(pair.now);
            }
        }
    }
    false
}

/// Hellos of which nothing can come, in any number, cost no attempt: of junk, or of a client that has nothing
/// that we want.
#[test]
fn hellos_of_which_nothing_can_come_keep_nobody_out() {
    for versions in VERSIONS {
        let hopeless = ClientOptions { profiles: vec![], ..options(versions) };
        let hopeless = drain(&mut Pair::new(&hopeless).client).concat();
        for every in [1, 6] {
            for hello in [part(1, 60, 0, 0, &[0x5a; 60]), hopeless.clone()] {
                let mut pair = Pair::new(&options(versions));
                let forge = |pair: &mut Pair, tick: u32| {
                    let mut hello = hello.clone();
                    hello[27..31].copy_from_slice(&tick.to_be_bytes());
                    if tick.is_multiple_of(every) {
                        pair.server.handle_datagram(pair.now, &hello);
                    }
                };
                for tick in 0..200 {
                    forge(&mut pair, 1_000_000 + tick);
                    pair.now += Duration::from_millis(5);
                }
                assert_eq!(pair.server.take_restarts(), 0);
                assert!(connects_in(&mut pair, forge), "{versions:?}, one in {every}");
                assert!(pair.now.since(support::START) < Duration::from_millis(1_100), "at once");
            }
        }
    }
}

/// More hellos at once than there are attempts, ahead of the client's, once or whenever there are attempts
/// again.
#[test]
fn bursts_of_hellos_keep_nobody_out() {
    for versions in VERSIONS {
        for interval in [u32::MAX, 50, 100, 101] {
            let mut pair = Pair::new(&options(versions));
            let mut forged = refused_hello(versions);
            let connected = connects_in(&mut pair, |pair, tick| {
                for _ in 0..if tick.is_multiple_of(interval) { 20 } else { 0 } {
                    pair.server.handle_datagram(pair.now, &forged());
                }
            });
            assert!(connected, "{versions:?}, every {interval} ticks");
        }
    }
}

/// A steady stream of 40 a second that was there before leaves the client its share of the draws, one half or
/// more for each of its hellos, of which it sends six: that fewer than half of 16 clients get in, no run will
/// see.
#[test]
fn a_steady_stream_of_hellos_leaves_the_client_its_share() {
    for versions in VERSIONS {
        let gets_in = |_: &u32| {
            let (mut pair, mut forged) = (Pair::new(&options(versions)), refused_hello(versions));
            let mut forge = |pair: &mut Pair, tick: u32| {
                if tick.is_multiple_of(5) {
                    pair.server.handle_datagram(pair.now, &forged());
                }
            };
            for tick in 0..400 {
                forge(&mut pair, tick);
                pair.now += Duration::from_millis(5);
            }
            assert!(pair.server.take_restarts() > 40, "{versions:?}: attempts were spent");
            connects_in(&mut pair, forge)
        };
        let connected = (0..16).filter(gets_in).count();
        assert!(connected >= 8, "{versions:?}: {connected} of 16");
    }
}

/// What answers a forged hello is not sent again while the client waits for its own answer.
#[test]
fn answers_to_forged_hellos_are_not_repeated_beside_the_clients() {
    for versions in VERSIONS {
        let mut pair = Pair::new(&ClientOptions { groups: "X25519:P-256".to_owned(), ..options(versions) });
        let mut forged = good_hello(versions);
        pair.server.handle_datagram(pair.now, &forged());
        drain(&mut *pair.server);
        drain(&mut pair.client).iter().for_each(|datagram| {
            pair.server.handle_datagram(pair.now, datagram);
        });
        assert!(!drain(&mut *pair.server).is_empty(), "{versions:?}: lost on its way");
        for _ in 0..2_000 {
            pair.now += Duration::from_millis(5);
            if pair.server.poll_timeout().is_some_and(|at| at <= pair.now) {
                pair.server.handle_timeout(pair.now);
            }
            assert_eq!(drain(&mut *pair.server), Vec::<Vec<u8>>::new(), "{versions:?}: nobody asked");
        }
        // The client asks again, and is answered.
        connect(&mut pair, |_, datagram| vec![datagram]);
    }
}

/// A hello that is asked to be sent again may be overheard: what is forged of the second costs the client
/// nothing, be it junk with its random, the number of a message that comes later, or a good one whose answer
/// the client does not get first.
#[test]
fn a_forged_second_hello_ends_no_attempt() {
    for forgeries in 1..8u8 {
        let options = ClientOptions { groups: "P-256:X25519".to_owned(), ..options(Versions::Only1_3) };
        let mut pair = Pair::new(&options);
        for datagram in drain(&mut pair.client) {
            pair.server.handle_datagram(pair.now, &datagram);
        }
        for datagram in drain(&mut *pair.server) {
            pair.client.handle_datagram(pair.now, &datagram);
        }
        let second = drain(&mut pair.client).concat();
        let Some((1, len, 1)) = first_message(&second) else { panic!("it was not asked again") };
        let junk = part(1, 64, 1, 0, &[&second[25..59], &[0x5a; 30][..]].concat());
        let later = part(1, len, 2, 0, &second[25..]);
        let mut good = second.clone();
        *good.last_mut().unwrap() ^= 1;
        for (bit, forged) in [junk, later, good].iter().enumerate() {
            if forgeries & (1 << bit) != 0 {
                pair.server.handle_datagram(pair.now, forged);
            }
        }
        drain(&mut *pair.server);
        pair.server.handle_datagram(pair.now, &second);
        connect(&mut pair, |_, datagram| vec![datagram]);
    }
}

/// A certificate that is not the announced one is looked at a few times, whatever its key costs, and ends
/// nothing by itself.
#[test]
fn signatures_of_strangers_take_nothing_from_the_clients() {
    let mut pair = Pair::new(&options(Versions::Only1_2));
    for datagram in drain(&mut pair.client) {
        pair.server.handle_datagram(pair.now, &datagram);
    }
    let down = drain(&mut *pair.server);
    // Of another handshake: its own certificate, and a signature over something else.
    let (mut other, mut flight) = (Pair::new(&options(Versions::Only1_2)), Vec::new());
    connect(&mut other, |direction, datagram| {
        if direction == Direction::Up {
            flight.push(datagram.clone());
        }
        vec![datagram]
    });
    for _ in 0..100 {
        for datagram in &flight[1..] {
            pair.server.handle_datagram(pair.now, datagram);
        }
    }
    for datagram in &down {
        pair.client.handle_datagram(pair.now, datagram);
    }
    while pair.carry(|_, datagram| vec![datagram]) > 0 {}
    assert!(pair.is_connected(), "in the same moment: no timer had to ring");
}

/// S11: a lot of fragments that never become a message are refused in the end, and hold little memory
/// meanwhile.
#[test]
fn s11_fragments_are_bounded() {
    let mut pair = Pair::new(&options(Versions::Only1_2));
    let piece = |seq: u8, offset: u16| {
        let [o0, o1] = offset.to_be_bytes();
        let head = [11, 0, 0x40, 0, 0, seq, 0, o0, o1, 0, 0, 100];
        clear(22, &[&head[..], &[0; 100]].concat())
    };
    let taken: usize = (0..7u8)
        .flat_map(|seq| (0..163).map(move |at| (seq, at * 100)))
        .map(|(seq, offset)| piece(seq, offset))
        .filter(|datagram| pair.server.handle_datagram(pair.now, datagram))
        .map(|datagram| datagram.len())
        .sum();
    assert!(taken <= 64 * 1024, "{taken} octets");
    assert!(pair.server.take_summary().is_none());
}

/// S02: an established association is not restarted, nor ended, by what anybody can send.
#[test]
fn s02_an_established_association_ignores_what_is_in_clear() {
    for versions in VERSIONS {
        let mut pair = Pair::new(&options(versions));
        let hello = drain(&mut pair.client);
        hello.iter().for_each(|datagram| assert!(pair.server.handle_datagram(pair.now, datagram)));
        connect(&mut pair, |_, datagram| vec![datagram]);
        pair.run();
        let other = drain(&mut Pair::new(&options(versions)).client);
        for datagram in hello.iter().chain(&other).chain(&garbage()) {
            pair.server.handle_datagram(pair.now, datagram);
            assert!(matches!(pair.server.status(), DtlsStatus::Connected));
            assert_eq!(drain(&mut *pair.server), Vec::<Vec<u8>>::new(), "nothing in clear gets an answer");
        }
        pair.client.close();
        pair.run();
        assert!(matches!(pair.server.status(), DtlsStatus::Closed), "it still listens to its peer");
    }
}

/// The server is done before its last flight has arrived; the client's retransmission brings it again.
#[test]
fn a_lost_last_flight_is_sent_again() {
    for versions in VERSIONS {
        let mut pair = Pair::new(&options(versions));
        while !matches!(pair.server.status(), DtlsStatus::Connected) {
            assert!(pair.carry(|_, datagram| vec![datagram]) > 0);
        }
        assert!(!drain(&mut *pair.server).is_empty() || versions == Versions::Only1_3, "{versions:?}: lost");
        let limit = pair.now + HANDSHAKE_LIMIT;
        while !pair.is_connected()
            || pair.client.poll_timeout().is_some()
            || pair.server.poll_timeout().is_some()
        {
            if pair.carry(|_, datagram| vec![datagram]) == 0 {
                assert!(pair.ring(), "{versions:?}: nothing to wait for");
                assert!(pair.now <= limit, "{versions:?}");
            }
        }
        pair.summaries();
    }
}

#[test]
fn both_ends_can_close() {
    for versions in VERSIONS {
        for server_closes in [true, false] {
            let mut pair = Pair::new(&options(versions));
            connect(&mut pair, |_, datagram| vec![datagram]);
            pair.run();
            if server_closes {
                pair.server.close()
            } else {
                pair.client.close()
            }
            pair.run();
            assert!(matches!(pair.server.status(), DtlsStatus::Closed), "{versions:?}, {server_closes}");
            assert!(matches!(pair.client.status(), DtlsStatus::Closed), "{versions:?}, {server_closes}");
            assert_eq!((pair.server.poll_timeout(), pair.client.poll_timeout()), (None, None));
            assert!(!pair.server.handle_datagram(pair.now, b"\x16\xfe\xfd"));
        }
    }
}

/// A replayed close_notify of another association, or a torn one, is nothing.
#[test]
fn only_the_peer_can_close() {
    for versions in VERSIONS {
        let (mut pair, mut other) = (Pair::new(&options(versions)), Pair::new(&options(versions)));
        connect(&mut pair, |_, datagram| vec![datagram]);
        connect(&mut other, |_, datagram| vec![datagram]);
        pair.run();
        other.run();
        other.client.close();
        for datagram in drain(&mut other.client) {
            pair.server.handle_datagram(pair.now, &datagram);
        }
        assert!(matches!(pair.server.status(), DtlsStatus::Connected));
        pair.client.close();
        for mut datagram in drain(&mut pair.client) {
            *datagram.last_mut().unwrap() ^= 1;
            pair.server.handle_datagram(pair.now, &datagram);
        }
        assert!(matches!(pair.server.status(), DtlsStatus::Connected));
    }
}

/// A peer that never answers costs nothing after BoringSSL gave up, which is later than any driver waits.
#[test]
fn retransmission_ends() {
    let mut pair = Pair::new(&options(Versions::Both));
    drain(&mut pair.client);
    let mut rings = 0;
    while let Some(due) = pair.client.poll_timeout() {
        pair.client.handle_timeout(due);
        drain(&mut pair.client);
        pair.now = due;
        rings += 1;
        assert!(rings < 100);
    }
    assert!(pair.now.since(support::START) > HANDSHAKE_LIMIT);
    assert!(matches!(pair.client.status(), DtlsStatus::Failed));
    assert_ne!(pair.now, Time::MAX);
}
