//! Addresses and control messages as the kernel lays them out, written and read as plain octets.
//!
//! On a dual-stack (AF_INET6) socket IPv4 peers appear as v4-mapped addresses; that form stays inside this
//! module.

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Where a datagram came from or goes to, and which of our addresses it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The peer's address.
    pub remote: SocketAddr,
    /// Our address, on a machine with several; `None` lets the kernel choose.
    pub local: Option<IpAddr>,
}

/// Octets of the longest socket address, `sockaddr_in6`.
pub(crate) const NAME_BYTES: usize = size_of::<libc::sockaddr_in6>();
const NAME_V4_BYTES: usize = size_of::<libc::sockaddr_in>();

/// A `cmsghdr`: a size_t length, an int level, an int type.
const CMSG_HEADER: usize = size_of::<usize>() + 8;
/// Octets for the control messages of one received datagram: packet info of either family.
pub(crate) const RECEIVE_CONTROL_BYTES: usize = cmsg_space(size_of::<libc::in6_pktinfo>());
/// Octets for the control messages of one send: packet info and the GSO segment size.
pub(crate) const SEND_CONTROL_BYTES: usize = RECEIVE_CONTROL_BYTES + cmsg_space(2);

const fn cmsg_align(len: usize) -> usize {
    len.next_multiple_of(size_of::<usize>())
}

const fn cmsg_space(data: usize) -> usize {
    CMSG_HEADER + cmsg_align(data)
}

/// Address family of the socket: decides how IPv4 peers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    /// IPv6, dual-stack or not.
    V6,
}

/// Writes `addr` for a socket of `family`; returns the length of the `sockaddr`.
pub(crate) fn write_name(out: &mut [u8; NAME_BYTES], addr: SocketAddr, family: Family) -> usize {
    let v6 = match (addr, family) {
        (SocketAddr::V4(v4), Family::V4) => {
            *out = [0; NAME_BYTES];
            out[0..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            out[2..4].copy_from_slice(&v4.port().to_be_bytes());
            out[4..8].copy_from_slice(&v4.ip().octets());
            return NAME_V4_BYTES;
        }
        (SocketAddr::V4(v4), Family::V6) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0),
        (SocketAddr::V6(v6), _) => v6,
    };
    out[0..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
    out[2..4].copy_from_slice(&v6.port().to_be_bytes());
    out[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
    out[8..24].copy_from_slice(&v6.ip().octets());
    out[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
    NAME_BYTES
}

/// Reads a `sockaddr`; v4-mapped addresses become IPv4 ones.
pub(crate) fn read_name(name: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = name.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let (word, rest) = rest.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes(*port);
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => Some(SocketAddrV4::new(Ipv4Addr::from(*word), port).into()),
        libc::AF_INET6 => {
            let (ip, rest) = rest.split_first_chunk::<16>()?;
            let (scope, _) = rest.split_first_chunk::<4>()?;
            let ip = Ipv6Addr::from(*ip);
            // The flow label a peer chose says nothing about the path back: left out, so that routes compare
            // equal.
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddrV4::new(v4, port).into(),
                None => SocketAddrV6::new(ip, port, 0, u32::from_ne_bytes(*scope)).into(),
            })
        }
        _ => None,
    }
}

/// Control messages being written: one aligned block.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Control {
    pub(crate) bytes: [u8; SEND_CONTROL_BYTES],
    pub(crate) len: usize,
}

impl Control {
    #[cfg(test)]
    pub(crate) const EMPTY: Self = Self { bytes: [0; SEND_CONTROL_BYTES], len: 0 };

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let at = self.len;
        let data_at = at + CMSG_HEADER;
        let int = size_of::<usize>();
        self.bytes[at..at + int].copy_from_slice(&(CMSG_HEADER + data.len()).to_ne_bytes());
        self.bytes[at + int..at + int + 4].copy_from_slice(&level.to_ne_bytes());
        self.bytes[at + int + 4..data_at].copy_from_slice(&kind.to_ne_bytes());
        self.bytes[data_at..data_at + data.len()].copy_from_slice(data);
        self.len = at + cmsg_space(data.len());
    }

    /// Asks for `local` as the source address. An address of the other family than `remote` is left to the
    /// kernel.
    pub(crate) fn push_source(&mut self, remote: SocketAddr, local: Option<IpAddr>, family: Family) {
        match (local, family) {
            (Some(IpAddr::V4(v4)), Family::V4) if remote.is_ipv4() => {
                // in_pktinfo: interface (0 = any), the source to use, the destination (ignored on send).
                let mut info = [0; size_of::<libc::in_pktinfo>()];
                info[4..8].copy_from_slice(&v4.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            (Some(ip), Family::V6) if ip.is_ipv4() == remote.is_ipv4() => {
                let ip = match ip {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                // in6_pktinfo: the source to use, interface (0 = any).
                let mut info = [0; size_of::<libc::in6_pktinfo>()];
                info[..16].copy_from_slice(&ip.octets());
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            _ => {}
        }
    }

    /// Asks for the send to be cut into datagrams of `bytes` octets each.
    pub(crate) fn push_segment(&mut self, bytes: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &bytes.to_ne_bytes());
    }
}

/// The local address in the control messages of a received datagram.
pub(crate) fn read_local(mut control: &[u8]) -> Option<IpAddr> {
    while let Some((header, _)) = control.split_first_chunk::<CMSG_HEADER>() {
        let (len, kind) = header.split_first_chunk::<{ size_of::<usize>() }>()?;
        let (level, kind) = kind.split_first_chunk::<4>()?;
        let (kind, _) = kind.split_first_chunk::<4>()?;
        let len = usize::from_ne_bytes(*len);
        let data = control.get(CMSG_HEADER..len)?;
        match (i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind)) {
            // ipi_spec_dst: the address a reply has to leave from.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let ip: [u8; 4] = *data.get(4..)?.first_chunk()?;
                return Some(Ipv4Addr::from(ip).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let ip: [u8; 16] = *data.first_chunk()?;
                let ip = Ipv6Addr::from(ip);
                return Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4));
            }
            _ => control = control.get(cmsg_align(len)..)?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn names_survive_a_round_trip() {
        let cases = [
            ("127.0.0.1:5000", Family::V4, NAME_V4_BYTES),
            ("127.0.0.1:5000", Family::V6, NAME_BYTES),
            ("[2001:db8::7]:65535", Family::V6, NAME_BYTES),
            ("[fe80::1%3]:9", Family::V6, NAME_BYTES),
        ];
        for (text, family, expected) in cases {
            let mut name = [0xee; NAME_BYTES];
            let len = write_name(&mut name, addr(text), family);
            assert_eq!(len, expected, "{text}");
            assert_eq!(read_name(&name[..len]), Some(addr(text)), "{text}");
            assert_eq!(read_name(&name[..len.min(7)]), None, "{text} cut");
        }
        assert_eq!(read_name(&[0; NAME_BYTES]), None, "AF_UNSPEC");
    }

    #[test]
    fn control_lengths_agree_with_the_c_library() {
        // SAFETY: CMSG_SPACE only computes; it takes no pointer.
        let (info, segment) = unsafe { (libc::CMSG_SPACE(20), libc::CMSG_SPACE(2)) };
        assert_eq!(RECEIVE_CONTROL_BYTES, info as usize);
        assert_eq!(SEND_CONTROL_BYTES, (info + segment) as usize);
        assert_eq!(CMSG_HEADER, size_of::<libc::cmsghdr>());
    }

    #[test]
    fn packet_info_survives_a_round_trip() {
        let cases = [
            ("127.0.0.2", "10.0.0.1:1", Family::V4, true),
            ("127.0.0.2", "10.0.0.1:1", Family::V6, true),
            ("2001:db8::1", "[2001:db8::2]:1", Family::V6, true),
            ("2001:db8::1", "10.0.0.1:1", Family::V6, false),
            ("2001:db8::1", "10.0.0.1:1", Family::V4, false),
        ];
        for (local, remote, family, kept) in cases {
            let local: IpAddr = local.parse().unwrap();
            let mut control = Control::EMPTY;
            control.push_segment(1200);
            control.push_source(addr(remote), Some(local), family);
            if family == Family::V4 && kept {
                // in_pktinfo as received carries the same address in ipi_spec_dst.
                assert_eq!(control.len, cmsg_space(2) + cmsg_space(12));
            }
            assert_eq!(read_local(&control.bytes[..control.len]), kept.then_some(local), "{local} {remote}");
        }
    }

    #[test]
    fn hostile_control_lengths_are_refused() {
        for len in [0_usize, 1, CMSG_HEADER - 1, 4096, usize::MAX] {
            let mut control = [0; RECEIVE_CONTROL_BYTES];
            control[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(read_local(&control), None, "{len}");
        }
    }
}
