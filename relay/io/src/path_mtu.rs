//! IPv4 paths that take less than what is sent along them.
//!
//! Our sockets set no DF and heed no path MTU (see [`crate::socket`]): what is larger than a link further on
//! is cut by the router there, and what is larger than the *interface* takes comes back as EMSGSIZE and is
//! sent in fragments. The kernel may know better than the interface, by the MTU of a route that somebody set
//! for a tunnel: so now and then it is asked about a path that has just been used, and what is larger than
//! it says is sent in fragments from then on. Routers on the way may cut it further.
//!
//! IPv6 needs none of this: the kernel cuts what is larger than it knows of a path. Routers cut nothing
//! there, so where none of their messages arrive (ICMPv6 type 2), large datagrams are lost.
//!
//! Deliberately absent: finding an IPv6 path that swallows large datagrams and says nothing.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::RawFd;

use crate::IoCounters;
use crate::addr::Route;
use crate::socket::{get_option, set_option};

/// Headers of IPv4 without options, and of UDP.
const HEADERS: usize = 20 + 8;
/// Turns of the send queue between two questions. A question takes some microseconds: at ten thousand turns
/// a second a thousandth of a core, and one peer's video is asked about several times a second.
const TURNS: u32 = 32;
/// Larger than this is every path that hosts may rely on (RFC 791 has 576, of which 548 are ours).
const ALWAYS_FITS: usize = 548;
/// Paths that are remembered. Beyond this all are forgotten, and learnt again.
const PATHS_MAX: usize = 4096;
/// Datagrams larger than the path until the kernel is asked again: what it learnt it forgets after ten
/// minutes.
const RECHECK: u32 = 4096;

struct Small {
    /// Octets of payload that go in one piece.
    payload: usize,
    /// Larger datagrams until it is checked.
    left: u32,
}

/// The paths that take less than others.
#[derive(Default)]
pub(crate) struct PathMtus {
    small: HashMap<Ipv4Addr, Small>,
    turns: u32,
    /// By which the kernel is asked. `None`: it could not be made, or has not been needed.
    socket: Option<UdpSocket>,
}

impl PathMtus {
    /// Whether no path is known to be small: nearly always.
    pub(crate) fn is_empty(&self) -> bool {
        self.small.is_empty()
    }

    /// Whether `len` octets must be sent in fragments along `route`.
    pub(crate) fn is_too_long(&mut self, route: &Route, len: usize) -> bool {
        let IpAddr::V4(to) = route.remote.ip() else { return false };
        let Some(small) = self.small.get_mut(&to).filter(|small| small.payload < len) else { return false };
        small.left -= 1;
        if small.left == 0 {
            // Whatever comes of the question: the kernel may have no route or no descriptor just now.
            small.left = RECHECK;
            self.ask(route, len);
            return self.small.get(&to).is_some_and(|small| small.payload < len);
        }
        true
    }

    /// Which of `sends` that have completed is asked about; mostly none.
    pub(crate) fn turn(&mut self, sends: usize) -> Option<usize> {
        if sends == 0 {
            return None;
        }
        self.turns = self.turns.wrapping_add(1);
        // Another one each time, whatever their order: an odd number has no common factor with a power of
        // two, and 40,503 few with others.
        let at = (self.turns / TURNS).wrapping_mul(40_503) as usize % sends;
        self.turns.is_multiple_of(TURNS).then_some(at)
    }

    /// Takes note of what the kernel knows of the path along which `len` octets went. One that takes these
    /// is not remembered: looking it up costs each send.
    pub(crate) fn ask(&mut self, route: &Route, len: usize) {
        let IpAddr::V4(to) = route.remote.ip() else { return };
        if self.socket.is_none() {
            self.socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok();
        }
        let Some(payload) = self.socket.as_ref().and_then(|socket| payload_max(socket, route)) else {
            return;
        };
        if payload >= ETHERNET_PAYLOAD {
            self.small.remove(&to);
            return;
        }
        if payload >= len && !self.small.contains_key(&to) {
            return;
        }
        if self.small.len() >= PATHS_MAX && !self.small.contains_key(&to) {
            self.small.clear();
        }
        self.small.insert(to, Small { payload, left: RECHECK });
    }
}

/// Of an Ethernet frame: a path that takes this is like others.
const ETHERNET_PAYLOAD: usize = 1500 - HEADERS;

/// Octets of payload that the kernel believes go in one piece. It looks the route up when a socket is
/// connected, which sends nothing.
fn payload_max(socket: &UdpSocket, route: &Route) -> Option<usize> {
    socket.connect(route.remote).ok()?;
    let mtu = get_option(socket, libc::IPPROTO_IP, libc::IP_MTU).ok()?;
    Some(usize::try_from(mtu).ok()?.saturating_sub(HEADERS).max(ALWAYS_FITS))
}

/// Sends one datagram in fragments if need be; the error, or 0. The sockets' other datagrams
/// leave as before: nothing else is sent meanwhile, as sends complete before `submit` returns.
///
/// # Safety
/// `header` is that of a filled message, which stays as it is during the call.
pub(crate) unsafe fn send_fragmented(
    fd: RawFd,
    header: *const libc::msghdr,
    counters: &mut IoCounters,
) -> i32 {
    let discover = |value| set_option(&fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, value);
    if discover(libc::IP_PMTUDISC_DONT).is_err() {
        return libc::EMSGSIZE;
    }
    counters.syscalls += 3;
    // SAFETY: the header is the caller's promise.
    let sent = unsafe { libc::sendmsg(fd, header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    let errno = match sent {
        0.. => 0,
        _ => io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO),
    };
    // It was like this before, so it can be again.
    let restored = discover(libc::IP_PMTUDISC_INTERFACE);
    debug_assert!(restored.is_ok(), "{restored:?}");
    errno
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel may have no answer, as here, where a broadcast is not allowed.
    #[test]
    fn a_path_that_the_kernel_cannot_be_asked_about_stays_small() {
        let to = Ipv4Addr::BROADCAST;
        let route = Route { remote: (to, 9).into(), local: None };
        let mut paths = PathMtus::default();
        paths.small.insert(to, Small { payload: 1_000, left: 2 });
        for _ in 0..4 {
            assert!(paths.is_too_long(&route, 1_200));
        }
        let left = paths.small[&to].left;
        assert!((1..RECHECK).contains(&left), "it is asked again: {left}");
    }
}
