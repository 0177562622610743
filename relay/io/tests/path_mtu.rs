//! Paths that take less than what is sent, in a network of the test's own. That takes root; without it
//! nothing is tested here.

mod support;

use relay_io::{Backend, IoOptions, Route, Run};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::Command;
use support::{on_each_backend, open_at, recv};

/// More than any path here takes, and within a datagram.
const LARGE: usize = 1_400;
const SMALL: usize = 200;

/// Whether this thread, and what it starts, has a network of its own now.
fn own_network() -> bool {
    // SAFETY: changes only which network later calls of this thread concern.
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
    if !unshared {
        eprintln!("no network of our own ({}): nothing is tested", std::io::Error::last_os_error());
    }
    unshared
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}

/// Sends one run of three, the last of them small, and one large datagram; what came.
fn send(backend: Backend, at: &str, to: Ipv4Addr, turns: usize) -> (Vec<usize>, relay_io::IoCounters) {
    let peer = UdpSocket::bind((to, 0)).expect("bound");
    peer.set_read_timeout(Some(support::DEADLINE)).expect("set");
    let mut io = open_at(backend, at, &IoOptions::default());
    let local = (at != "[::]:0").then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let route = Route { remote: peer.local_addr().expect("bound"), local };
    let mut sizes = Vec::new();
    for _ in 0..turns {
        let queue = io.send_queue();
        queue.lend(2 * LARGE + SMALL).expect("room").fill(7);
        queue.commit(&route, Run { start: 0, segment: LARGE, len: 2 * LARGE + SMALL });
        queue.lend(LARGE).expect("room").fill(8);
        queue.commit(&route, Run::single(LARGE));
        io.flush();
        // No more than its buffer holds.
        sizes.extend((0..4).map(|_| recv(&peer).len()));
    }
    sizes.sort_unstable();
    (sizes, io.counters())
}

#[test]
fn what_is_larger_than_the_interface_takes_arrives_in_fragments() {
    if !own_network() {
        return;
    }
    ip("link set lo up mtu 1300");
    on_each_backend(|backend| {
        for at in ["127.0.0.1:0", "[::]:0"] {
            let (sizes, counters) = send(backend, at, Ipv4Addr::LOCALHOST, 1);
            assert_eq!(sizes, [SMALL, LARGE, LARGE, LARGE], "{backend:?} {at}");
            assert_eq!((counters.tx_fragmented, counters.tx_sent, counters.tx_errors()), (3, 4, 0));
            assert_eq!(counters.tx_committed, 4);
        }
    });
}

/// As after an ICMP message of a router further on: the interface takes it, and the kernel knows better.
#[test]
fn what_the_kernel_knows_of_a_path_is_heeded() {
    if !own_network() {
        return;
    }
    ip("link set lo up mtu 9000");
    ip("route replace table local local 127.0.0.5 dev lo mtu 1300");
    let small = Ipv4Addr::new(127, 0, 0, 5);
    on_each_backend(|backend| {
        for at in ["127.0.0.1:0", "[::]:0"] {
            let turns = 200;
            let (sizes, counters) = send(backend, at, small, turns);
            assert_eq!(sizes.iter().filter(|size| **size == LARGE).count(), 3 * turns);
            let large = 3 * turns as u64;
            assert!(
                counters.tx_fragmented > large / 2 && counters.tx_fragmented < large,
                "{backend:?} {at}: it took some turns to find out: {counters:?}"
            );
            assert_eq!((counters.tx_sent, counters.tx_errors()), (4 * turns as u64, 0));
            // Others are not concerned.
            let (_, counters) = send(backend, at, Ipv4Addr::LOCALHOST, turns);
            assert_eq!((counters.tx_fragmented, counters.tx_gso_refused), (0, 0), "{counters:?}");
        }
    });
}
