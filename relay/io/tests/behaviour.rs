//! What both back ends do alike, on loopback.

mod support;

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use relay_io::{Backend, DATAGRAM_BYTES_MAX, IoOptions, Route, Run, socket};
use support::*;

/// A datagram of `len` octets that tells its number, if it has room.
fn numbered(n: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![n as u8; len];
    let mark = &(n as u32).to_be_bytes()[..len.min(4)];
    bytes[..mark.len()].copy_from_slice(mark);
    bytes
}

#[test]
fn echo_keeps_order_and_content_for_every_peer() {
    on_each_backend(|backend| {
        let mut io = open(backend, &IoOptions::default());
        let port = io.local_addr().unwrap().port();
        let mut peers = vec![(peer(), v4(&io)), (peer(), v4(&io))];
        if io.local_addr().unwrap().is_ipv6() {
            peers.push((try_peer("[::1]:0").unwrap(), format!("[::1]:{port}").parse().unwrap()));
        }
        // Every size from nothing to what fits an Ethernet frame, in portions that the peers' buffers hold.
        for sizes in (0..=1472).collect::<Vec<_>>().chunks(50) {
            for &size in sizes {
                for (peer, at) in &peers {
                    peer.send_to(&numbered(size, size), at).unwrap();
                }
            }
            turn(&mut io, sizes.len() * peers.len(), echo);
            for (peer, at) in &peers {
                for &size in sizes {
                    assert_eq!(recv_from(peer), (numbered(size, size), *at), "{backend:?}");
                }
            }
        }
        assert_ledger(&mut io);
        assert_eq!(io.counters().tx_errors() + io.counters().rx_kernel_drops, 0);
    });
}

#[test]
fn runs_arrive_as_single_datagrams_with_their_bounds() {
    on_each_backend(|backend| {
        for gso in [true, false] {
            let mut io = open(backend, &IoOptions { gso, ..IoOptions::default() });
            let (near, far) = (peer(), peer());
            // Runs: equal ones, a shorter last one, single ones, none at all. Each to two destinations out of
            // one region.
            let runs: [&[usize]; 6] = [&[1200; 70], &[1200, 37], &[300, 300, 1], &[0], &[1], &[1500; 3]];
            let sizes = runs.concat();
            let mut n = 0;
            for run in runs {
                let len: usize = run.iter().sum();
                let mut bytes = Vec::new();
                for (index, &size) in run.iter().enumerate() {
                    bytes.extend(numbered(n + index, size));
                }
                bytes.extend((0..run.len()).flat_map(|index| numbered(n + index, 64)));
                io.send_queue().lend(bytes.len()).unwrap().copy_from_slice(&bytes);
                io.send_queue().commit(&to(addr(&near)), Run { start: 0, segment: run[0], len });
                io.send_queue()
                    .commit(&to(addr(&far)), Run { start: len, segment: 64, len: bytes.len() - len });
                n += run.len();
            }
            io.flush();
            for (n, &size) in sizes.iter().enumerate() {
                assert_eq!(recv(&near), numbered(n, size), "{backend:?}, {n}");
                assert_eq!(recv(&far), numbered(n, 64), "{backend:?}, {n}");
            }
            assert!(is_quiet(&near) && is_quiet(&far));
            assert_ledger(&mut io);
            let counters = io.counters();
            assert_eq!(counters.tx_sent, 2 * sizes.len() as u64);
            assert_eq!(counters.tx_bytes, sizes.iter().map(|size| *size as u64 + 64).sum::<u64>());
            assert_eq!(counters.tx_gso_runs > 0, gso, "{counters:?}");
            assert!(!gso || counters.tx_gso_segments > counters.tx_sent * 8 / 10, "{counters:?}");
        }
    });
}

#[test]
fn any_mix_of_sizes_and_destinations_arrives_in_order() {
    on_each_backend(|backend| {
        // Small enough that the send queue flushes itself now and then.
        let mut io =
            open(backend, &IoOptions { arena_bytes: 24 * 1500, messages: 3, ..IoOptions::default() });
        let peers: Vec<UdpSocket> = (0..5).map(|_| peer()).collect();
        let mut expected = vec![Vec::new(); peers.len()];
        let mut random = 1_u32;
        let mut next = |below: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as usize % below
        };
        for n in 0..600 {
            let (peer, size) = (next(peers.len()), [200, 200, 200, 90, 1472, 0][next(6)]);
            send(io.send_queue(), &to(addr(&peers[peer])), &numbered(n, size));
            expected[peer].push(numbered(n, size));
            if n % 100 == 0 {
                io.flush();
            }
        }
        io.flush();
        for (peer, expected) in peers.iter().zip(expected) {
            for bytes in expected {
                assert_eq!(recv(peer), bytes, "{backend:?}");
            }
            assert!(is_quiet(peer));
        }
        assert_ledger(&mut io);
        assert_eq!(io.counters().tx_full, 0);
    });
}

#[test]
fn replies_leave_from_the_address_the_datagram_was_sent_to() {
    on_each_backend(|backend| {
        for at in ["[::]:0", "0.0.0.0:0"] {
            let mut io = open_at(backend, at, &IoOptions::default());
            let peer = peer();
            for local in [[127, 0, 0, 2], [127, 0, 0, 1], [127, 9, 9, 9]] {
                let at = (local, io.local_addr().unwrap().port()).into();
                // A run of two, so that the source address and the segment size travel together.
                for _ in 0..2 {
                    peer.send_to(b"where am I", at).unwrap();
                }
                turn(&mut io, 2, |received, bytes, send_queue| {
                    assert_eq!(received.route, Route { remote: addr(&peer), local: Some(local.into()) });
                    echo(received, bytes, send_queue);
                });
                for _ in 0..2 {
                    assert_eq!(recv_from(&peer), (b"where am I".to_vec(), at), "{backend:?}");
                }
            }
        }
    });
}

#[test]
fn what_exceeds_a_slot_arrives_cut_and_flagged() {
    on_each_backend(|backend| {
        let mut io = open(backend, &IoOptions::default());
        let peer = peer();
        let cases = [(1500, false), (1501, true), (2048, true), (60_000, true), (3, false)];
        for (size, _) in cases {
            peer.send_to(&numbered(7, size), v4(&io)).unwrap();
        }
        let mut seen = Vec::new();
        turn(&mut io, cases.len(), |received, bytes, _| {
            assert_eq!(bytes, &numbered(7, bytes.len())[..]);
            seen.push((bytes.len(), received.truncated));
        });
        assert_eq!(seen, cases.map(|(size, cut)| (size.min(DATAGRAM_BYTES_MAX), cut)), "{backend:?}");
        assert_eq!(io.counters().rx_truncated, 3);
    });
}

#[test]
fn a_dead_destination_does_not_harm_the_others() {
    on_each_backend(|backend| {
        let mut io = open(backend, &IoOptions::default());
        let dead = addr(&peer());
        let live = peer();
        for n in 0..50 {
            send(io.send_queue(), &to(dead), b"nobody listens");
            send(io.send_queue(), &to(addr(&live)), &numbered(n, 100));
            io.flush();
        }
        for n in 0..50 {
            assert_eq!(recv(&live), numbered(n, 100), "{backend:?}");
        }
        // The ICMP errors do not end the receive either.
        live.send_to(b"still there?", v4(&io)).unwrap();
        turn(&mut io, 1, echo);
        assert_eq!(recv(&live), b"still there?");
        assert_ledger(&mut io);
        assert_eq!((io.counters().tx_errors(), io.counters().rx_errors), (0, 0));
    });
}

#[test]
fn refused_sends_are_counted_by_kind_and_the_rest_goes_out() {
    on_each_backend(|backend| {
        let mut io = open_at(backend, "0.0.0.0:0", &IoOptions::default());
        let live = peer();
        let foreign = Route { remote: addr(&live), local: Some([203, 0, 113, 7].into()) };
        let wrong_family = to("[::1]:9".parse().unwrap());
        for n in 0..3 {
            // Broadcast needs a permission the socket has not; then a run, refused whole and then one by one.
            send(io.send_queue(), &to("255.255.255.255:9".parse().unwrap()), &numbered(n, 1 + n));
            send(io.send_queue(), &foreign, b"not our address");
            send(io.send_queue(), &wrong_family, b"IPv6 on an IPv4 socket");
            send(io.send_queue(), &to(addr(&live)), &numbered(n, 8));
        }
        io.flush();
        for n in 0..3 {
            assert_eq!(recv(&live), numbered(n, 8), "{backend:?}");
        }
        assert_ledger(&mut io);
        let counters = io.counters();
        assert_eq!((counters.tx_sent, counters.tx_errors()), (3, 9), "{counters:?}");
        let kinds = [counters.tx_error_not_permitted, counters.tx_error_source_gone, counters.tx_error_other];
        assert_eq!(kinds, [3; 3], "{counters:?}");
        assert!(io.send_queue().uses_gso(addr(&live).ip()), "a bad route is no reason to do without GSO");
    });
}

/// As after a fail-over: clients that were known at that address are answered from it until they check anew.
#[test]
fn what_should_leave_from_an_address_that_has_gone_is_counted_as_that() {
    if !network::own_network() {
        return;
    }
    network::ip("link set lo up");
    on_each_backend(|backend| {
        for (local, bound, prefix) in [
            ("10.9.9.1", "10.9.9.1:0", "32 dev lo"),
            ("10.9.9.1", "0.0.0.0:0", "32 dev lo"),
            // Without the search for duplicates, which ends when it likes.
            ("fd00:9::1", "[::]:0", "128 dev lo nodad"),
        ] {
            network::ip(&format!("address add {local}/{prefix}"));
            let mut io = open_at(backend, bound, &IoOptions::default());
            let live = if local.contains(':') { try_peer("[::1]:0").unwrap() } else { peer() };
            let route = Route { remote: addr(&live), local: Some(local.parse().unwrap()) };
            send(io.send_queue(), &route, b"it is there");
            io.flush();
            assert_eq!(recv_from(&live).1.ip(), route.local.unwrap());
            network::ip(&format!("address del {local}/{}", prefix.trim_end_matches(" nodad")));
            for n in 0..5 {
                send(io.send_queue(), &route, &numbered(n, 9));
            }
            io.flush();
            let counters = io.counters();
            let gone = (counters.tx_error_source_gone, counters.tx_errors(), counters.tx_sent);
            assert_eq!(gone, (5, 5, 1), "{backend:?} {local} at {bound}: {counters:?}");
        }
    });
}

#[test]
fn a_socket_that_refuses_gso_falls_back_to_single_sends() {
    on_each_backend(|backend| {
        let socket = socket::bind(&socket::SocketOptions::new("127.0.0.1:0".parse().unwrap())).unwrap();
        disable_checksums(&socket);
        let mut io = relay_io::Io::new(backend, vec![socket], &IoOptions::default()).unwrap();
        let peer = peer();
        for round in 0..20 {
            let run: Vec<u8> = (0..10).flat_map(|n| numbered(round * 10 + n, 500)).collect();
            io.send_queue().lend(run.len()).unwrap().copy_from_slice(&run);
            io.send_queue().commit(&to(addr(&peer)), Run { start: 0, segment: 500, len: run.len() });
            io.flush();
            for n in 0..10 {
                assert_eq!(recv(&peer), numbered(round * 10 + n, 500), "{backend:?}");
            }
        }
        let counters = io.counters();
        assert_eq!((counters.tx_sent, counters.tx_errors(), counters.tx_gso_runs), (200, 0, 0));
        assert_eq!((counters.tx_gso_refused, counters.tx_gso_avoided), (2, 18), "tried again after a while");
        assert!(!io.send_queue().uses_gso(addr(&peer).ip()));
    });
}

/// The kernel cuts a GSO send only if it also computes the checksums.
fn disable_checksums(socket: &UdpSocket) {
    use std::os::fd::AsRawFd;
    let on = 1_i32;
    let (level, option, at) = (libc::SOL_SOCKET, libc::SO_NO_CHECK, (&raw const on).cast());
    // SAFETY: the call reads four octets of `on`, which outlives it.
    assert_eq!(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, at, 4) }, 0);
}

#[test]
fn wakers_end_a_wait_once_for_all_calls_before_it() {
    on_each_backend(|backend| {
        let mut io = open(backend, &IoOptions::default());
        let waker = io.waker();
        for _ in 0..3 {
            for _ in 0..5 {
                waker.wake();
            }
            assert!(io.wait(None).unwrap().woken, "{backend:?}");
            let wake = io.wait(Some(Duration::ZERO)).unwrap();
            assert_eq!((wake.woken, wake.datagrams), (false, 0), "{backend:?}");
        }
        // From another thread, while this one most likely sleeps.
        let waiter = std::thread::spawn(move || waker.wake());
        while !io.wait(None).unwrap().woken {}
        waiter.join().unwrap();
    });
}

#[test]
fn no_wake_up_is_lost() {
    const MESSAGES: usize = 20_000;
    on_each_backend(|backend| {
        let mut io = open(backend, &IoOptions::default());
        let mailbox = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (waker, mailbox) = (io.waker(), Arc::clone(&mailbox));
                std::thread::spawn(move || {
                    for _ in 0..MESSAGES {
                        mailbox.fetch_add(1, Ordering::Relaxed);
                        waker.wake();
                    }
                })
            })
            .collect();
        // With one lost the last wait would run into its limit.
        let deadline = Instant::now() + DEADLINE;
        let mut taken = 0;
        while taken < 2 * MESSAGES {
            if io.wait(Some(DEADLINE)).unwrap().woken {
                taken += mailbox.swap(0, Ordering::Relaxed);
            }
            assert!(Instant::now() < deadline, "{backend:?}: {taken}");
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_wait_ends_with_its_timeout() {
    on_each_backend(|backend| {
        let mut io = open(backend, &IoOptions::default());
        for timeout in [0, 1, 300, 5_000] {
            let wake = io.wait(Some(Duration::from_micros(timeout))).unwrap();
            assert_eq!((wake.woken, wake.datagrams), (false, 0), "{backend:?}");
        }
        // A hold gathers; it does not lose what came.
        io.set_hold(Duration::from_millis(1));
        let peer = peer();
        peer.send_to(b"held", v4(&io)).unwrap();
        turn(&mut io, 1, echo);
        assert_eq!(recv(&peer), b"held");
    });
}

#[test]
fn a_flood_is_handed_over_in_batches() {
    on_each_backend(|backend| {
        let mut io = open(backend, &IoOptions { batch: 16, ..IoOptions::default() });
        let peer = peer();
        for n in 0..100 {
            peer.send_to(&numbered(n, 30), v4(&io)).unwrap();
        }
        let mut seen = 0;
        while seen < 100 {
            // Commands get their turn meanwhile: what is left over does not hide a wake-up.
            io.waker().wake();
            let wake = io.wait(Some(DEADLINE)).unwrap();
            assert!(wake.woken);
            let taken = io.receive(|_, bytes, _| {
                assert_eq!(bytes, &numbered(seen, 30)[..], "{backend:?}");
                seen += 1;
            });
            assert!(taken <= 16);
        }
        assert_eq!(io.receive(|_, _, _| unreachable!()), 0);
    });
}

/// A ring of 8 with 16 buffers under more packets than it can take: nothing stalls, nothing goes uncounted.
#[test]
fn tiny_rings_survive_a_flood_and_the_ledger_closes() {
    const PACKETS: u64 = 50_000;
    on_each_backend(|backend| {
        let options = IoOptions {
            arena_bytes: 16 * 1500,
            messages: 4,
            recv_buffers: 16,
            cq_entries: 8,
            ..IoOptions::default()
        };
        let mut io = open(backend, &options);
        let at = v4(&io);
        let sink = peer();
        let sink_at = addr(&sink);
        let flood = std::thread::spawn(move || {
            let peer = peer();
            for n in 0..PACKETS {
                peer.send_to(&(n as u32).to_be_bytes(), at).unwrap();
            }
        });
        let deadline = Instant::now() + DEADLINE;
        loop {
            io.wait(Some(Duration::from_millis(10))).unwrap();
            io.receive(|_, bytes, send_queue| {
                // Fan-out of three, so that sends and receives compete for the completion queue.
                for _ in 0..3 {
                    send(send_queue, &to(sink_at), bytes);
                }
            });
            io.flush();
            let counters = io.counters();
            if counters.rx_datagrams + counters.rx_kernel_drops == PACKETS && flood.is_finished() {
                break;
            }
            assert!(Instant::now() < deadline, "{backend:?} stalled: {counters:?}");
        }
        flood.join().unwrap();
        assert_ledger(&mut io);
        let counters = io.counters();
        assert_eq!(counters.tx_committed, 3 * counters.rx_datagrams);
        assert_eq!(
            (counters.tx_full, counters.rx_unaddressed, counters.rx_errors),
            (0, 0, 0),
            "{counters:?}"
        );
        if backend == Backend::Uring {
            assert!(counters.rx_rearms > 0, "16 buffers do not last: {counters:?}");
        }
    });
}

#[test]
fn what_the_kernel_discards_is_counted() {
    on_each_backend(|backend| {
        let small = socket::SocketOptions {
            recv_buffer_bytes: 16 << 10,
            ..socket::SocketOptions::new("127.0.0.1:0".parse().unwrap())
        };
        let socket = socket::bind(&small).unwrap();
        let peer = peer();
        // Discards of the time before are not ours to explain.
        for _ in 0..100 {
            peer.send_to(&[0; 1000], socket.local_addr().unwrap()).unwrap();
        }
        let left = std::iter::from_fn(|| socket.recv_from(&mut [0; 1]).ok()).take(1).count();
        let mut io = relay_io::Io::new(backend, vec![socket], &IoOptions::default()).unwrap();
        while io.wait(Some(Duration::ZERO)).unwrap().datagrams > 0 {
            io.receive(|_, _, _| {});
        }
        let (before, first) = (io.counters().rx_datagrams, io.counters().rx_kernel_drops);
        assert_eq!((left, first), (1, 0), "{backend:?}");
        for _ in 0..500 {
            peer.send_to(&[0; 1000], io.local_addr().unwrap()).unwrap();
        }
        while io.wait(Some(Duration::ZERO)).unwrap().datagrams > 0 {
            io.receive(|_, _, _| {});
        }
        let counters = io.counters();
        assert!(counters.rx_kernel_drops > 0);
        assert_eq!(counters.rx_datagrams - before + counters.rx_kernel_drops, 500, "{backend:?}");
    });
}

#[test]
fn dropping_an_io_frees_its_port_whatever_is_under_way() {
    on_each_backend(|backend| {
        let peer = peer();
        let mut at = "127.0.0.1:0".to_string();
        for round in 0..20 {
            let mut io = open_at(backend, &at, &IoOptions { recv_buffers: 16, ..IoOptions::default() });
            at = io.local_addr().unwrap().to_string();
            let _ = io.send_queue().lend(100).unwrap();
            for n in 0..round {
                send(io.send_queue(), &to(addr(&peer)), &numbered(n, 100));
            }
            if round % 2 == 0 {
                io.flush();
            }
            if round % 3 == 0 {
                peer.send_to(b"never read", v4(&io)).unwrap();
                io.wait(Some(DEADLINE)).unwrap();
            }
            let waker = io.waker();
            drop(io);
            waker.wake();
        }
    });
}

#[test]
fn sockets_are_handed_over() {
    on_each_backend(|backend| {
        let options = socket::SocketOptions::new("[::]:0".parse().unwrap());
        let inherited = UdpSocket::bind("127.0.0.1:0").unwrap();
        inherited.set_nonblocking(true).unwrap();
        let socket = socket::from_fd(inherited.into(), &options).unwrap();
        assert!(socket::granted_buffers(&socket).unwrap().recv_bytes > 0);
        let mut io = relay_io::Io::new(backend, vec![socket], &IoOptions::default()).unwrap();
        let peer = peer();
        peer.send_to(b"hello", io.local_addr().unwrap()).unwrap();
        turn(&mut io, 1, echo);
        assert_eq!(recv(&peer), b"hello", "{backend:?}");

        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let unix = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let unbound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        for fd in [tcp.into(), unix.into(), unbound.into()] {
            let error = socket::from_fd(fd, &options).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn bad_options_are_refused() {
    let good = IoOptions::default();
    let cases = [
        IoOptions { arena_bytes: 0, ..good },
        IoOptions { messages: 0, ..good },
        IoOptions { batch: 0, ..good },
        IoOptions { recv_buffers: 0, ..good },
        IoOptions { recv_buffers: 1000, ..good },
        IoOptions { cq_entries: 0, ..good },
    ];
    for options in cases {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = relay_io::Io::new(Backend::Mmsg, vec![socket], &options).err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{options:?}");
    }
}

#[test]
fn each_address_has_a_socket_beside_the_first() {
    on_each_backend(|backend| {
        let options = socket::SocketOptions::new("[::]:0".parse().unwrap());
        let first = socket::bind(&options).unwrap();
        let port = first.local_addr().unwrap().port();
        let beside = socket::bind_beside(&first, &[[127, 0, 0, 1].into()], &options).unwrap();
        let sockets = std::iter::once(first).chain(beside).collect();
        let mut io = relay_io::Io::new(backend, sockets, &IoOptions::default()).unwrap();
        // The second address has no socket of its own; both answer from where they were asked.
        let (near, far) = (peer(), peer());
        let asked = [(&near, Ipv4Addr::new(127, 0, 0, 1)), (&far, Ipv4Addr::new(127, 0, 0, 2))];
        for (peer, ip) in asked {
            for size in [10, 20] {
                peer.send_to(&vec![7; size], (ip, port)).unwrap();
            }
        }
        let mut routes = Vec::new();
        turn(&mut io, 4, |received, bytes, send_queue| {
            routes.push(received.route);
            // Two in one run as well as single ones.
            send_queue.lend(bytes.len()).unwrap().copy_from_slice(bytes);
            send_queue.commit(&received.route, Run { start: 0, segment: 10, len: bytes.len() });
        });
        for (peer, ip) in asked {
            let route = Route { remote: addr(peer), local: Some(ip.into()) };
            assert_eq!(routes.iter().filter(|seen| **seen == route).count(), 2, "{routes:?}");
            for _ in 0..3 {
                let (bytes, from) = recv_from(peer);
                assert_eq!((bytes, from), (vec![7; 10], (ip, port).into()));
            }
        }
        assert_eq!(io.counters().tx_sent, 6);
        // Nobody else gets a share of the port.
        for taken in ["[::]", "0.0.0.0", "127.0.0.1"] {
            let taken = format!("{taken}:{port}").parse().unwrap();
            let error = socket::bind(&socket::SocketOptions::new(taken)).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{taken}");
        }
    });
}
