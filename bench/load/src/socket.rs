//! One UDP socket of a client: its own 5-tuple, arrivals stamped by the kernel, equal packets sent in one call.

use crate::clock::Clock;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use relay_core::time::Time;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Receive buffer wanted: some 20 ms of a fast stream while the generator does other things.
const RECV_BUFFER_BYTES: usize = 2 << 20;
/// Longest run in one call, in packets (the kernel takes 64 or more) and octets (an IP packet has 65,535).
const RUN_PACKETS_MAX: usize = 64;
const RUN_BYTES_MAX: usize = 60_000;

pub(crate) struct Socket {
    udp: UdpSocket,
    stamped: bool,
    control: Vec<u8>,
}

impl Socket {
    /// Bound to `local`, whose port may be 0. Stamps make the kernel read its clock for every packet of the machine.
    pub(crate) fn bind(local: SocketAddr, stamped: bool) -> io::Result<Self> {
        let udp = UdpSocket::bind(local)?;
        udp.set_nonblocking(true)?;
        if setsockopt(&udp, sockopt::RcvBufForce, &RECV_BUFFER_BYTES).is_err() {
            setsockopt(&udp, sockopt::RcvBuf, &RECV_BUFFER_BYTES)?;
        }
        if stamped {
            setsockopt(&udp, sockopt::ReceiveTimestampns, &true)?;
        }
        Ok(Self { udp, stamped, control: nix::cmsg_space!(nix::sys::time::TimeSpec) })
    }

    pub(crate) fn connect(&self, remote: SocketAddr) -> io::Result<()> {
        self.udp.connect(remote)
    }

    pub(crate) fn local(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// The next datagram's length and arrival; `None` if there is none, or the peer's port is closed.
    pub(crate) fn receive(&mut self, clock: &Clock, buffer: &mut [u8]) -> Option<(usize, Time)> {
        if !self.stamped {
            return self.udp.recv(buffer).ok().map(|len| (len, clock.now()));
        }
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let got = recvmsg::<SockaddrIn>(self.udp.as_raw_fd(), &mut slices, Some(&mut self.control), flags);
        let got = got.ok()?;
        let stamp = got.cmsgs().ok()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(clock.of_stamp(stamp)),
            _ => None,
        });
        Some((got.bytes, stamp.unwrap_or_else(|| clock.now())))
    }

    /// Sends one datagram. What the kernel refuses is lost, as on any network.
    pub(crate) fn send(&self, datagram: &[u8]) {
        let _ = self.udp.send(datagram);
    }

    /// Sends datagrams that lie back to back in `bytes`; runs of equal length share a call.
    pub(crate) fn send_all(&self, bytes: &[u8], lens: &[usize]) {
        let (mut bytes, mut lens) = (bytes, lens);
        while let Some(&len) = lens.first() {
            let limit = RUN_PACKETS_MAX.min(RUN_BYTES_MAX / len.max(1));
            let count = lens.iter().take(limit).take_while(|other| **other == len).count();
            let (run, rest) = bytes.split_at(len * count);
            self.send_run(run, len, count);
            (bytes, lens) = (rest, &lens[count..]);
        }
    }

    fn send_run(&self, run: &[u8], len: usize, count: usize) {
        let segment = u16::try_from(len).unwrap_or(u16::MAX);
        let segments = [ControlMessage::UdpGsoSegments(&segment)];
        let control: &[ControlMessage<'_>] = if count > 1 { &segments } else { &[] };
        let slices = [IoSlice::new(run)];
        let sent =
            sendmsg::<SockaddrIn>(self.udp.as_raw_fd(), &slices, control, MsgFlags::MSG_DONTWAIT, None);
        if sent.is_err() && count > 1 {
            run.chunks(len).for_each(|datagram| self.send(datagram));
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.udp.as_fd()
    }
}
