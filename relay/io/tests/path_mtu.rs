//! Paths that take less than what is sent, in networks of the test's own. That takes root; without it nothing
//! is tested here.

mod support;

use relay_io::{Backend, IoOptions, Route, Run};
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use support::network::{Network, ip, own_network};
use support::{on_each_backend, open_at, recv, send};

/// More than any path here takes, and within a datagram.
const LARGE: usize = 1_400;
const SMALL: usize = 200;

/// Sends one run of three, the last of them small, and one large datagram; what came. Those of a turn that
/// are large come in the order in which they were sent.
fn send_runs(backend: Backend, at: &str, to: Ipv4Addr, turns: usize) -> (Vec<usize>, relay_io::IoCounters) {
    let peer = UdpSocket::bind((to, 0)).expect("bound");
    peer.set_read_timeout(Some(support::DEADLINE)).expect("set");
    let mut io = open_at(backend, at, &IoOptions::default());
    let local = (at != "[::]:0").then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let route = Route { remote: peer.local_addr().expect("bound"), local };
    let mut sizes = Vec::new();
    for _ in 0..turns {
        let queue = io.send_queue();
        for (number, datagram) in (0..).zip(queue.lend(2 * LARGE + SMALL).expect("room").chunks_mut(LARGE)) {
            datagram.fill(number);
        }
        queue.commit(&route, Run { start: 0, segment: LARGE, len: 2 * LARGE + SMALL });
        queue.lend(LARGE).expect("room").fill(3);
        queue.commit(&route, Run::single(LARGE));
        io.flush();
        // No more than its buffer holds.
        let came: Vec<_> = (0..4).map(|_| recv(&peer)).collect();
        let large = came.iter().filter(|datagram| datagram.len() == LARGE);
        assert_eq!(large.map(|datagram| datagram[0]).collect::<Vec<_>>(), [0, 1, 3], "{backend:?} {at}");
        sizes.extend(came.iter().map(Vec::len));
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
            let (sizes, counters) = send_runs(backend, at, Ipv4Addr::LOCALHOST, 1);
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
            let (sizes, counters) = send_runs(backend, at, small, turns);
            assert_eq!(sizes.iter().filter(|size| **size == LARGE).count(), 3 * turns);
            let large = 3 * turns as u64;
            assert!(
                counters.tx_fragmented > large / 2 && counters.tx_fragmented < large,
                "{backend:?} {at}: it took some turns to find out: {counters:?}"
            );
            assert_eq!((counters.tx_sent, counters.tx_errors()), (4 * turns as u64, 0));
            // Others are not concerned.
            let (_, counters) = send_runs(backend, at, Ipv4Addr::LOCALHOST, turns);
            assert_eq!((counters.tx_fragmented, counters.tx_gso_refused), (0, 0), "{counters:?}");
        }
    });
}

/// A host behind a router whose further link takes 1,300 octets.
struct Tunnel {
    here: Network,
    there: Network,
    /// With it its links would go.
    _router: Network,
}

impl Tunnel {
    /// `None`: networks of our own cannot be had. `mute`: what the router says to this host is lost.
    fn new(mute: bool) -> Option<Self> {
        let (here, there, router) = (Network::new()?, Network::new()?, Network::new()?);
        router.enter();
        ip(&format!("link add near type veth peer name eth netns {}", here.path()));
        ip(&format!("link add far mtu 1300 type veth peer name eth mtu 1300 netns {}", there.path()));
        let ends =
            [(&here, "eth", 1, 1), (&there, "eth", 2, 1), (&router, "near", 1, 2), (&router, "far", 2, 2)];
        // All first: what is asked of a neighbour whose end is down is asked again a second later.
        for (network, link, ..) in ends {
            network.enter();
            ip(&format!("link set {link} up"));
        }
        for (network, link, net, host) in ends {
            network.enter();
            ip(&format!("address add 10.{net}.0.{host}/24 dev {link}"));
            ip(&format!("address add fd00:{net}::{host}/64 dev {link} nodad"));
            if host == 1 {
                ip(&format!("route add default via 10.{net}.0.2"));
                ip(&format!("-6 route add default via fd00:{net}::2"));
            }
        }
        router.enter();
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            fs::write(format!("/proc/sys/net/{setting}"), "1").expect("a router");
        }
        if mute {
            ip("route add blackhole 10.1.0.1/32");
            ip("-6 route add blackhole fd00:1::1/128");
        }
        Some(Self { here, there, _router: router })
    }

    /// Large datagrams that arrive of those that are sent until one has, or `turns` times.
    fn large(&self, backend: Backend, at: &str, to: &str, turns: usize) -> usize {
        self.there.enter();
        let peer = UdpSocket::bind(to).expect("bound");
        peer.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
        self.here.enter();
        let mut io = open_at(backend, at, &IoOptions::default());
        let remote: SocketAddr = peer.local_addr().expect("bound");
        let mut arrives = |len: usize| {
            send(io.send_queue(), &Route { remote, local: None }, &vec![7; len]);
            io.flush();
            arrives_at(&peer, len)
        };
        // The first ones wait for neighbours to be found.
        let begin = Instant::now();
        while !arrives(SMALL) {
            assert!(begin.elapsed() < support::DEADLINE, "{to} is not reached");
        }
        (0..turns).filter(|_| arrives(LARGE)).count()
    }
}

/// Whether a datagram of this size comes before the time-out; others may have waited for neighbours.
fn arrives_at(peer: &UdpSocket, len: usize) -> bool {
    loop {
        match peer.recv(&mut [0; 2048]) {
            Ok(came) if came == len => return true,
            Ok(_) => {}
            // What io_uring does for this thread interrupts it.
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// With DF a narrow link swallows what is large, and where its ICMP is lost as well, it does so for ever.
#[test]
fn a_narrow_link_further_on_swallows_nothing() {
    for mute in [false, true] {
        let Some(tunnel) = Tunnel::new(mute) else { return };
        on_each_backend(|backend| {
            for at in ["10.1.0.1:0", "0.0.0.0:0", "[::]:0"] {
                assert_eq!(tunnel.large(backend, at, "10.2.0.1:0", 10), 10, "{backend:?} {at} mute: {mute}");
            }
            // Of IPv6 the kernel cuts what it has heard of, and nobody else anything.
            let arrived = tunnel.large(backend, "[::]:0", "[fd00:2::1]:0", 10);
            assert_eq!(arrived > 0, !mute, "{backend:?}: {arrived} over IPv6, mute: {mute}");
        });
    }
}
