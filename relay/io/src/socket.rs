//! The UDP sockets of a shard: made and bound here, or handed over.
//!
//! The first takes whatever comes to the port. Beside it, each address of the machine may have a socket bound
//! to it ([`bind_beside`]): a send through one of those needs not say its source address, which saves the
//! kernel a control message to read and a look-up, a tenth of an unbatched send.

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::addr::{Family, Route};

/// Options of a UDP socket.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// Where to bind. `[::]:port` takes IPv4 as well, and only that on a machine without IPv6.
    pub bind: SocketAddr,
    /// Receive buffer wanted, in octets as the kernel counts them (its book-keeping included).
    pub recv_buffer_bytes: usize,
    /// Send buffer wanted.
    pub send_buffer_bytes: usize,
}

impl SocketOptions {
    /// Buffers wanted by default: at 200,000 datagrams a second of 1,200 octets, 8 MiB is about 15 ms of a
    /// stall.
    pub const BUFFER_BYTES: usize = 8 << 20;

    /// Default buffers at `bind`.
    #[must_use]
    pub const fn new(bind: SocketAddr) -> Self {
        Self { bind, recv_buffer_bytes: Self::BUFFER_BYTES, send_buffer_bytes: Self::BUFFER_BYTES }
    }
}

/// Buffers the kernel granted, in octets: it gives less than was asked for without saying so
/// (`net.core.rmem_max`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantedBuffers {
    /// Octets of the receive buffer.
    pub recv_bytes: usize,
    /// Octets of the send buffer.
    pub send_bytes: usize,
}

/// Makes and binds a socket.
///
/// # Errors
/// What `socket` and `bind` say. A port in use is refused: two relays sharing one would each get half of the
/// datagrams.
pub fn bind(options: &SocketOptions) -> io::Result<UdpSocket> {
    let socket = match bind_to(options.bind) {
        Err(error) if options.bind.ip().is_unspecified() && lacks_ipv6(&error) => {
            bind_to((Ipv4Addr::UNSPECIFIED, options.bind.port()).into())?
        }
        result => result?,
    };
    prepare(socket, options)
}

/// Binds a socket to each of `ips` on the port of `first`, which is bound to all addresses. What comes to one
/// of them no longer arrives at `first`. Nobody else can share the port, before or after.
///
/// # Errors
/// What `socket`, `setsockopt` and `bind` say; an address that has just gone away is one.
pub fn bind_beside(first: &UdpSocket, ips: &[IpAddr], options: &SocketOptions) -> io::Result<Vec<UdpSocket>> {
    let port = first.local_addr()?.port();
    set_option(first, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    let sockets = ips.iter().map(|ip| bind_one_beside(SocketAddr::new(*ip, port), options)).collect();
    set_option(first, libc::SOL_SOCKET, libc::SO_REUSEPORT, 0)?;
    sockets
}

fn bind_one_beside(addr: SocketAddr, options: &SocketOptions) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    socket.bind(&addr.into())?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 0)?;
    prepare(socket, options)
}

/// The index of one of an `Io`'s sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketIndex(pub(crate) u8);

impl SocketIndex {
    pub(crate) const FIRST: Self = Self(0);
}

/// The sockets of an `Io`: at least one.
pub(crate) struct Sockets(Vec<Bound>);

struct Bound {
    socket: UdpSocket,
    family: Family,
    /// The one address that it receives for and sends from; `None`: each datagram says.
    local: Option<IpAddr>,
    /// The kernel's count of discards when we took the socket over.
    drops_before: u32,
}

impl Sockets {
    /// Most sockets of an `Io`.
    pub(crate) const COUNT_MAX: usize = 32;

    pub(crate) fn new(sockets: Vec<UdpSocket>) -> io::Result<Self> {
        if !(1..=Self::COUNT_MAX).contains(&sockets.len()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "sockets: 1 to 32"));
        }
        let bound = |socket: UdpSocket| {
            let family = family_of(&socket)?;
            let ip = socket.local_addr()?.ip();
            let drops_before = kernel_drops(&socket).unwrap_or(0);
            Ok(Bound { socket, family, local: (!ip.is_unspecified()).then_some(ip), drops_before })
        };
        sockets.into_iter().map(bound).collect::<io::Result<_>>().map(Self)
    }

    pub(crate) fn fds(&self) -> Vec<RawFd> {
        self.0.iter().map(|bound| bound.socket.as_raw_fd()).collect()
    }

    /// The source address of each socket.
    pub(crate) fn sources(&self) -> Sources {
        Sources(self.0.iter().map(|bound| (bound.local, bound.family)).collect())
    }

    pub(crate) fn first(&self) -> &UdpSocket {
        &self.0[0].socket
    }

    /// Datagrams the kernel discarded on arrival since we took the sockets over.
    pub(crate) fn drops(&self) -> u64 {
        let drops = |bound: &Bound| {
            let drops = kernel_drops(&bound.socket).unwrap_or(bound.drops_before);
            u64::from(drops.wrapping_sub(bound.drops_before))
        };
        self.0.iter().map(drops).sum()
    }
}

/// Address and family of each socket.
pub(crate) struct Sources(Vec<(Option<IpAddr>, Family)>);

impl Sources {
    /// The socket bound to the address that `route` leaves from; else the first.
    pub(crate) fn choose(&self, route: &Route) -> SocketIndex {
        let fits = |(local, _): &(Option<IpAddr>, Family)| local.is_some() && *local == route.local;
        // There are at most `Sockets::COUNT_MAX`.
        self.0.iter().position(fits).map_or(SocketIndex::FIRST, |index| SocketIndex(index as u8))
    }

    /// The address that `socket` is bound to, if it is only one.
    pub(crate) fn local(&self, socket: SocketIndex) -> Option<IpAddr> {
        self.0[usize::from(socket.0)].0
    }

    pub(crate) fn family(&self, socket: SocketIndex) -> Family {
        self.0[usize::from(socket.0)].1
    }

    #[cfg(test)]
    pub(crate) fn one(family: Family) -> Self {
        Self(vec![(None, family)])
    }
}

/// Takes over a bound socket, for example one inherited from whoever may open the port. `options.bind` is not
/// used.
///
/// # Errors
/// `InvalidInput` if it is no bound UDP socket.
pub fn from_fd(fd: OwnedFd, options: &SocketOptions) -> io::Result<UdpSocket> {
    let socket = Socket::from(fd);
    let is_ip = matches!(socket.domain()?, Domain::IPV4 | Domain::IPV6);
    let is_udp = is_ip && socket.r#type()? == Type::DGRAM && socket.protocol()? == Some(Protocol::UDP);
    let is_bound = is_udp && socket.local_addr()?.as_socket().is_some_and(|addr| addr.port() != 0);
    if !is_bound {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is no bound UDP socket"));
    }
    prepare(socket, options)
}

/// The buffers of `socket`.
///
/// # Errors
/// What `getsockopt` says.
pub fn granted_buffers(socket: &UdpSocket) -> io::Result<GrantedBuffers> {
    let socket = socket2::SockRef::from(socket);
    Ok(GrantedBuffers { recv_bytes: socket.recv_buffer_size()?, send_bytes: socket.send_buffer_size()? })
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn bind_to(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if !addr.ip().is_unspecified() {
        // An address of a fail-over may come later.
        let (level, option) = match addr {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_FREEBIND),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND),
        };
        set_option(&socket, level, option, 1)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn prepare(socket: Socket, options: &SocketOptions) -> io::Result<UdpSocket> {
    socket.set_cloexec(true)?;
    // The ring waits on a blocking descriptor by itself; on a non-blocking one its receive would fail at
    // once.
    socket.set_nonblocking(false)?;
    let family = family(&socket)?;
    let ip = socket.local_addr()?.as_socket().map(|addr| addr.ip());
    if ip.is_none_or(|ip| ip.is_unspecified()) {
        let (level, option) = match family {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_PKTINFO),
            // Tells the destination of IPv4 datagrams too, as a v4-mapped address.
            Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        };
        set_option(&socket, level, option, 1)?;
    }
    leave_whole(&socket, ip)?;
    // Beyond the system's limit if we may, else up to it: see `granted_buffers`.
    let buffers = [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, options.recv_buffer_bytes),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, options.send_buffer_bytes),
    ];
    for (forced, plain, bytes) in buffers {
        // The kernel doubles what it is told, for its book-keeping.
        let value = i32::try_from(bytes / 2).unwrap_or(i32::MAX);
        set_option(&socket, libc::SOL_SOCKET, forced, value)
            .or_else(|_| set_option(&socket, libc::SOL_SOCKET, plain, value))?;
    }
    Ok(socket.into())
}

/// IPv4 datagrams leave whole and without DF: where the path is narrower further on, a router cuts them. With
/// DF it would discard them and say so, and in many networks nobody hears it. What the interface itself does
/// not take is refused (EMSGSIZE) and sent again without this option ([`crate::path_mtu`]). What ICMP says of
/// a path is not taken, so nobody can forge it.
fn leave_whole(socket: &Socket, ip: Option<IpAddr>) -> io::Result<()> {
    // A socket of one IPv6 address sends no IPv4.
    if ip.is_some_and(|ip| ip.is_ipv6() && !ip.is_unspecified()) {
        return Ok(());
    }
    set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_INTERFACE)
}

fn family(socket: &Socket) -> io::Result<Family> {
    Ok(if socket.domain()? == Domain::IPV6 { Family::V6 } else { Family::V4 })
}

pub(crate) fn family_of(socket: &UdpSocket) -> io::Result<Family> {
    Ok(if socket2::SockRef::from(socket).domain()? == Domain::IPV6 { Family::V6 } else { Family::V4 })
}

/// Whether the kernel knows UDP_SEGMENT (4.18).
pub(crate) fn has_gso(socket: &UdpSocket) -> bool {
    set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

/// Datagrams the kernel discarded on arrival since the socket was made, modulo 2^32.
///
/// SO_MEMINFO tells at any time; the SO_RXQ_OVFL control message tells the same number, but only with the
/// next datagram, and costs a walk over it in each.
pub(crate) fn kernel_drops(socket: &UdpSocket) -> io::Result<u32> {
    /// SK_MEMINFO_DROPS, the last of SK_MEMINFO_VARS words (linux/sock_diag.h).
    const DROPS: usize = 8;
    let mut words = [0_u32; DROPS + 1];
    let mut len = size_of_val(&words) as libc::socklen_t;
    let (level, option, at) = (libc::SOL_SOCKET, libc::SO_MEMINFO, words.as_mut_ptr().cast());
    // SAFETY: the call writes at most `len` octets into `words`, both ours.
    if unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, at, &mut len) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if (len as usize) < size_of_val(&words) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(words[DROPS])
}

pub(crate) fn get_option(socket: &impl AsRawFd, level: i32, option: i32) -> io::Result<i32> {
    let mut value = 0_i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the call writes at most `len` octets into `value`, both ours.
    if unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &mut len) } != 0
    {
        return Err(io::Error::last_os_error());
    }
    Ok(value)
}

pub(crate) fn set_option(socket: &impl AsRawFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    let at = (&raw const value).cast();
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the call reads `len` octets of `value`, which outlives it.
    if unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, at, len) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
