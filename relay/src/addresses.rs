//! Which addresses the relay tells its peers: the interfaces' own, or those that a 1:1 NAT gives it. And
//! which it has sockets for: the interfaces' own always.

use crate::config::{Config, Loopback};
use nix::net::if_::InterfaceFlags;
use std::net::{IpAddr, Ipv6Addr};

/// Most addresses of one shard in an answer: each costs every peer a connectivity check.
pub const ADDRESSES_MAX: usize = 16;

/// Addresses of the interfaces that are up and running.
///
/// # Errors
/// When the kernel does not list its interfaces.
pub fn of_interfaces() -> std::io::Result<Vec<IpAddr>> {
    let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    let interfaces = nix::ifaddrs::getifaddrs()?.filter(|i| i.flags.contains(wanted));
    let addresses = interfaces.filter_map(|i| i.address).filter_map(|address| {
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    });
    // Absent on a machine without IPv6. Of this thread: a process may have several networks.
    let flags = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    let passing = passing_v6(&flags);
    Ok(addresses.filter(|ip| !passing.iter().any(|passing| ip == passing)).collect())
}

/// Addresses that are not to be told to anybody new: those that another machine may have (tentative, or found
/// to be so), those on their way out (deprecated), and those that change every day (temporary, RFC 8981),
/// beside which there is one that stays. Of the kernel's list of IPv6 addresses with their flags.
fn passing_v6(list: &str) -> Vec<Ipv6Addr> {
    /// `IFA_F_TENTATIVE`, `IFA_F_DEPRECATED`, `IFA_F_DADFAILED` and `IFA_F_TEMPORARY` (linux/if_addr.h).
    const PASSING: u32 = 0x40 | 0x20 | 0x08 | 0x01;
    let passing = |line: &str| {
        let mut words = line.split_whitespace();
        let address = u128::from_str_radix(words.next()?, 16).ok()?;
        let flags = u32::from_str_radix(words.nth(3)?, 16).ok()?;
        (flags & PASSING != 0).then_some(Ipv6Addr::from(address))
    };
    list.lines().filter_map(passing).collect()
}

/// Addresses to have a socket for beside the one bound to all addresses: none if only one address was meant.
#[must_use]
pub fn bound(interfaces: &[IpAddr], config: &Config) -> Vec<IpAddr> {
    let mut own = if config.bind.is_unspecified() { own(interfaces, config) } else { Vec::new() };
    own.truncate(ADDRESSES_MAX);
    own
}

/// The interfaces' addresses that are served, best first, each once.
fn own(interfaces: &[IpAddr], config: &Config) -> Vec<IpAddr> {
    let mut own: Vec<IpAddr> = match config.bind {
        // The dual-stack socket has both families.
        IpAddr::V6(bind) if bind.is_unspecified() => interfaces.to_vec(),
        IpAddr::V4(bind) if bind.is_unspecified() => {
            interfaces.iter().copied().filter(IpAddr::is_ipv4).collect()
        }
        bind => vec![bind],
    };
    own.retain(usable);
    // A stable sort keeps the kernel's order within a rank.
    own.sort_by_key(|ip| rank(*ip));
    once_each(&mut own);
    own
}

fn once_each(ips: &mut Vec<IpAddr>) {
    let mut seen = Vec::new();
    ips.retain(|ip| {
        !seen.contains(ip) && {
            seen.push(*ip);
            true
        }
    });
}

/// The candidates' addresses, best first: never empty unless the machine has no address at all.
#[must_use]
pub fn advertised(interfaces: &[IpAddr], config: &Config) -> Vec<IpAddr> {
    // Behind a 1:1 NAT the private addresses of that family lead nowhere for a client, and tell about the
    // network.
    let replaced = |ip: &IpAddr| config.public_ip.iter().any(|public| public.is_ipv4() == ip.is_ipv4());
    let (loopback, mut outward): (Vec<IpAddr>, Vec<IpAddr>) =
        own(interfaces, config).into_iter().partition(IpAddr::is_loopback);
    outward.retain(|ip| !replaced(ip));

    let mut chosen = config.public_ip.clone();
    chosen.extend(outward);
    let with_loopback = match config.advertise_loopback {
        Loopback::Yes => true,
        Loopback::Auto => config.public_ip.is_empty(),
        Loopback::No => chosen.is_empty(),
    };
    // Last: for pages on the same machine, also when it has no network.
    chosen.extend(loopback.into_iter().filter(|_| with_loopback));
    once_each(&mut chosen);
    chosen.truncate(ADDRESSES_MAX);
    chosen
}

/// Link-local addresses need a scope that an SDP cannot carry.
fn usable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified() && !v4.is_multicast(),
        IpAddr::V6(v6) => {
            !v6.is_unicast_link_local()
                && !v6.is_unspecified()
                && !v6.is_multicast()
                && v6.to_ipv4_mapped().is_none()
        }
    }
}

/// Addresses reachable from everywhere first; among equals IPv6 first (RFC 8421 §4).
fn rank(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V6(v6) if v6.is_loopback() => 5,
        IpAddr::V4(v4) if v4.is_loopback() => 4,
        IpAddr::V6(v6) if is_unique_local(v6) => 3,
        IpAddr::V4(v4) if v4.is_private() || is_shared(v4) => 2,
        IpAddr::V4(_) => 1,
        IpAddr::V6(_) => 0,
    }
}

/// fc00::/7 (RFC 4193).
fn is_unique_local(v6: Ipv6Addr) -> bool {
    v6.octets()[0] & 0xfe == 0xfc
}

/// 100.64.0.0/10 (RFC 6598).
fn is_shared(v4: std::net::Ipv4Addr) -> bool {
    v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &str) -> Vec<IpAddr> {
        list.split_whitespace().map(|ip| ip.parse().expect("an address")).collect()
    }

    #[test]
    fn selection() {
        let any = "::";
        let machine = "127.0.0.1 ::1 10.0.0.5 fe80::1 fd00::5 203.0.113.9 2001:db8::9 169.254.1.1 100.64.0.3";
        for (interfaces, bind, public, loopback, want) in [
            (
                machine,
                any,
                "",
                Loopback::Auto,
                "2001:db8::9 203.0.113.9 10.0.0.5 100.64.0.3 fd00::5 127.0.0.1 ::1",
            ),
            (machine, any, "", Loopback::No, "2001:db8::9 203.0.113.9 10.0.0.5 100.64.0.3 fd00::5"),
            (machine, "0.0.0.0", "", Loopback::Auto, "203.0.113.9 10.0.0.5 100.64.0.3 127.0.0.1"),
            (machine, "10.0.0.5", "", Loopback::Auto, "10.0.0.5"),
            (machine, "127.0.0.1", "", Loopback::Auto, "127.0.0.1"),
            (machine, "127.0.0.9", "", Loopback::No, "127.0.0.9"),
            (machine, "10.0.0.5", "198.51.100.1", Loopback::Auto, "198.51.100.1"),
            // A NAT replaces its own family only.
            (machine, any, "198.51.100.1", Loopback::Auto, "198.51.100.1 2001:db8::9 fd00::5"),
            (machine, any, "198.51.100.1 2001:db8::1", Loopback::Auto, "198.51.100.1 2001:db8::1"),
            (machine, any, "198.51.100.1", Loopback::Yes, "198.51.100.1 2001:db8::9 fd00::5 127.0.0.1 ::1"),
            // No network: loopback whatever was said, else there would be no candidate.
            ("127.0.0.1", any, "", Loopback::No, "127.0.0.1"),
            ("127.0.0.1 fe80::1", any, "", Loopback::Auto, "127.0.0.1"),
            // An interface may list an address twice.
            ("10.0.0.5 10.0.0.5", any, "", Loopback::Auto, "10.0.0.5"),
            ("", any, "", Loopback::Auto, ""),
        ] {
            let config = Config {
                bind: bind.parse().expect("an address"),
                public_ip: ips(public),
                advertise_loopback: loopback,
                ..Config::default()
            };
            assert_eq!(
                advertised(&ips(interfaces), &config),
                ips(want),
                "{interfaces} {bind} {public} {loopback:?}"
            );
        }
    }

    #[test]
    fn addresses_that_pass_are_told_to_nobody() {
        let list = "\
            00000000000000000000000000000001 01 80 10 80       lo\n\
            20010db8000000000000000000000007 02 40 00 80     eth0\n\
            20010db8000000000000000000000008 02 40 00 c0     eth0\n\
            20010db8000000000000000000000009 02 40 00 a0     eth0\n\
            20010db800000000000000000000000a 02 40 00 01     eth0\n\
            20010db800000000000000000000000b 02 40 00 c8     eth0\n\
            nonsense\n\n20010db8 1\n";
        let want = ips("2001:db8::8 2001:db8::9 2001:db8::a 2001:db8::b");
        assert_eq!(passing_v6(list).into_iter().map(IpAddr::V6).collect::<Vec<_>>(), want);
    }

    #[test]
    fn there_are_never_too_many() {
        let many: Vec<IpAddr> = (0..100u8).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        assert_eq!(advertised(&many, &Config::default()).len(), ADDRESSES_MAX);
        assert_eq!(bound(&many, &Config::default()).len(), ADDRESSES_MAX);
    }

    #[test]
    fn this_machine_has_an_address() {
        let interfaces = of_interfaces().expect("the kernel lists interfaces");
        let addresses = advertised(&interfaces, &Config::default());
        assert!(addresses.iter().all(usable), "{addresses:?}");
    }
}
