//! What the tests of both back ends share: loopback peers, and a loop with a deadline.
#![allow(dead_code, unreachable_pub)] // Each test binary uses a part of it.

pub mod network;

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use relay_io::{Backend, Io, IoOptions, Received, Route, Run, SendQueue, Setting, choose, socket};

/// How long anything may take. Reached only by a failure.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Runs `test` on every back end that works here.
pub fn on_each_backend(test: impl Fn(Backend)) {
    test(Backend::Mmsg);
    match choose(Setting::Uring) {
        Ok(choice) => test(choice.backend),
        Err(error) => eprintln!("without io_uring: {error}"),
    }
}

/// A dual-stack `Io` on a port of its own, or an IPv4 one if the machine has no IPv6.
pub fn open(backend: Backend, options: &IoOptions) -> Io {
    open_at(backend, "[::]:0", options)
}

pub fn open_at(backend: Backend, at: &str, options: &IoOptions) -> Io {
    let socket = socket::bind(&socket::SocketOptions::new(at.parse().unwrap())).unwrap();
    Io::new(backend, vec![socket], options).unwrap()
}

/// The address of `io` on loopback, as an IPv4 peer sees it.
pub fn v4(io: &Io) -> SocketAddr {
    ([127, 0, 0, 1], io.local_addr().unwrap().port()).into()
}

pub fn to(remote: SocketAddr) -> Route {
    Route { remote, local: None }
}

/// A peer; none if its family does not exist here.
pub fn try_peer(at: &str) -> Option<UdpSocket> {
    let peer = UdpSocket::bind(at).ok()?;
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    Some(peer)
}

pub fn peer() -> UdpSocket {
    try_peer("127.0.0.1:0").unwrap()
}

pub fn addr(peer: &UdpSocket) -> SocketAddr {
    peer.local_addr().unwrap()
}

/// The next datagram of a peer.
pub fn recv(peer: &UdpSocket) -> Vec<u8> {
    recv_from(peer).0
}

pub fn recv_from(peer: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = [0; 65_536];
    loop {
        match peer.recv_from(&mut bytes) {
            // What io_uring does for this thread interrupts it.
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            came => {
                let (len, from) = came.expect("a datagram within the deadline");
                return (bytes[..len].to_vec(), from);
            }
        }
    }
}

/// Whether a peer has nothing to read.
pub fn is_quiet(peer: &UdpSocket) -> bool {
    peer.set_nonblocking(true).unwrap();
    let quiet = peer.recv(&mut [0; 1]).is_err();
    peer.set_nonblocking(false).unwrap();
    quiet
}

pub fn send(send_queue: &mut SendQueue, route: &Route, bytes: &[u8]) {
    send_queue.lend(bytes.len()).unwrap().copy_from_slice(bytes);
    send_queue.commit(route, Run::single(bytes.len()));
}

pub fn echo(received: &Received, bytes: &mut [u8], send_queue: &mut SendQueue) {
    send(send_queue, &received.route, bytes);
}

/// Waits, receives and flushes until `handled` datagrams were handed over.
pub fn turn(io: &mut Io, handled: usize, mut on_datagram: impl FnMut(&Received, &mut [u8], &mut SendQueue)) {
    let deadline = Instant::now() + DEADLINE;
    let mut count = 0;
    while count < handled {
        assert!(Instant::now() < deadline, "{count} of {handled}; {:?}", io.counters());
        io.wait(Some(Duration::from_millis(100))).unwrap();
        count += io.receive(&mut on_datagram);
        io.flush();
    }
    assert_eq!(count, handled);
}

/// Every datagram committed stands in a counter.
pub fn assert_ledger(io: &mut Io) {
    let counters = io.counters();
    let queued = io.send_queue().queued() as u64;
    assert_eq!(counters.tx_committed, counters.tx_sent + counters.tx_errors() + queued, "{counters:?}");
}
