//! Addresses that come and go while the relay runs: DHCP, Wi-Fi, a fail-over.
//!
//! The kernel says that something changed (rtnetlink(7)), and what there is then is listed as at the start;
//! what the messages say is not looked at, so one that is lost costs nothing as long as another comes. Where
//! nobody may listen to it the list is made every few seconds.
//!
//! New answers, those to ICE restarts included, have the new candidates. Sockets need nothing: the one that
//! is bound to all addresses serves a new one as well, and one bound to an address that has gone serves it
//! again when it comes back.

use crate::addresses;
use crate::config::Config;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// From a change to the look: an interface that comes up brings several.
const SETTLE: Duration = Duration::from_millis(200);
/// Where the kernel tells nobody; and until what could not be announced is tried again.
const LOOK_PAUSE: Duration = Duration::from_secs(3);
/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` (linux/rtnetlink.h).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// Which addresses are announced, and when to look again.
#[derive(Debug)]
pub struct AddressWatch {
    config: Config,
    announced: Vec<IpAddr>,
    /// `None`: the kernel tells us nothing.
    changes: Option<OwnedFd>,
    look_at: Option<Instant>,
}

impl AddressWatch {
    /// Of a relay that announces these.
    #[must_use]
    pub fn new(config: &Config, announced: Vec<IpAddr>, now: Instant) -> Self {
        let changes = listen();
        if let Err(why) = &changes {
            tracing::info!(%why, "the kernel tells nothing of address changes: they are looked for");
        }
        // Once now: what changed since the list was made has been told to nobody.
        let look_at = Some(now + SETTLE);
        Self { config: config.clone(), announced, changes: changes.ok(), look_at }
    }

    /// Readable when something has changed.
    #[must_use]
    pub fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().map(AsFd::as_fd)
    }

    /// The port of the first shard; those of the others follow.
    #[must_use]
    pub fn base_port(&self) -> u16 {
        self.config.base_port
    }

    /// When [`look`](Self::look) is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.look_at
    }

    /// It is readable.
    pub fn handle_changes(&mut self, now: Instant) {
        let Some(changes) = &self.changes else { return };
        let mut message = [0; 1 << 12];
        let mut read = || recv(changes, &mut message, RecvFlags::DONTWAIT);
        // Too many: some are lost, and all of them only say that it is time to look.
        while let Ok(_) | Err(Errno::NOBUFS | Errno::INTR) = read() {}
        self.look_at.get_or_insert(now + SETTLE);
    }

    /// The addresses to announce, best first, if they are others than those announced.
    pub fn look(&mut self, now: Instant) -> Option<Vec<IpAddr>> {
        if self.look_at.is_none_or(|at| now < at) {
            return None;
        }
        self.look_at = self.changes.is_none().then(|| now + LOOK_PAUSE);
        let interfaces = match addresses::of_interfaces() {
            Ok(interfaces) => interfaces,
            Err(why) => {
                tracing::warn!(%why, "the kernel does not list its interfaces");
                self.look_at = Some(now + LOOK_PAUSE);
                return None;
            }
        };
        let found = addresses::advertised(&interfaces, &self.config);
        (found != self.announced).then_some(found)
    }

    /// All shards were told of these, or not all, and then it is tried again.
    pub fn handle_announced(&mut self, addresses: Vec<IpAddr>, by_all: bool, now: Instant) {
        if by_all {
            tracing::info!(before = ?self.announced, ?addresses, "the machine's addresses have changed");
            self.announced = addresses;
        } else {
            self.look_at = Some(now + LOOK_PAUSE);
        }
    }
}

fn listen() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // NETLINK_ROUTE is protocol 0, which is the one without a name.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}
