//! Who counts as one when something is counted by address.
//!
//! An IPv4 address is one customer or one office behind a NAT. Of IPv6 whoever has one address has the whole
//! /64 around it (RFC 6177 §2 gives an end site that much at least), so 2^64 addresses count as one. An end
//! site may have a /48 as well, and with it 65,536 such, so all of a /48 together have a bound of their own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A /48 may have as much as so many of its /64, but no more than half of all, unless one of them may have
/// that alone.
pub(crate) const SITE_SHARE: usize = 4;

/// An address as far as it is counted: IPv4 whole, IPv6 its first 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet(IpAddr);

impl Subnet {
    /// The /48 around it.
    fn site(self) -> Option<Ipv6Addr> {
        match self.0 {
            IpAddr::V6(v6) => {
                let [a, b, c, ..] = v6.segments();
                Some(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
            }
            IpAddr::V4(_) => None,
        }
    }
}

/// A range of addresses: `10.0.0.0/8`, or one address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix: u32,
}

impl Network {
    /// Whether one of these holds the address.
    pub(crate) fn any_contains(networks: &[Self], ip: IpAddr) -> bool {
        networks.iter().any(|network| network.contains(ip))
    }

    fn contains(self, ip: IpAddr) -> bool {
        match (self.base, ip) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => {
                (base.to_bits() ^ ip.to_bits()).checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                (base.to_bits() ^ ip.to_bits()).checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Not an address, or a prefix longer than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNetwork;

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, prefix)| (a, Some(prefix)));
        let base: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let bits: u32 = if base.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), |prefix| prefix.parse().map_err(|_| NoNetwork))?;
        match (base, base.to_canonical()) {
            _ if prefix > bits => Err(NoNetwork),
            // ::ffff:a.b.c.d/p: addresses are looked at in their own form.
            (IpAddr::V6(_), base @ IpAddr::V4(_)) => {
                Ok(Self { base, prefix: prefix.checked_sub(96).ok_or(NoNetwork)? })
            }
            (base, _) => Ok(Self { base, prefix }),
        }
    }
}

/// How much each address has of something that is short.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    by_address: HashMap<Subnet, usize>,
    by_site: HashMap<Ipv6Addr, usize>,
}

impl Shares {
    /// Whether it may have one more, where one address may have `most` and all together `all`. Of an address
    /// at least one.
    pub(crate) fn admits(&self, from: Subnet, most: usize, all: usize) -> bool {
        let most = most.max(1);
        let most_of_site = most.saturating_mul(SITE_SHARE).min(all / 2).max(most);
        let of_site = from.site().map_or(0, |site| self.by_site.get(&site).copied().unwrap_or(0));
        self.of(from) < most && of_site < most_of_site
    }

    /// What it has.
    pub(crate) fn of(&self, from: Subnet) -> usize {
        self.by_address.get(&from).copied().unwrap_or(0)
    }

    /// It has one more.
    pub(crate) fn add(&mut self, from: Subnet) {
        *self.by_address.entry(from).or_default() += 1;
        if let Some(site) = from.site() {
            *self.by_site.entry(site).or_default() += 1;
        }
    }

    /// It has one less.
    pub(crate) fn remove(&mut self, from: Subnet) {
        decrease(&mut self.by_address, &from);
        if let Some(site) = from.site() {
            decrease(&mut self.by_site, &site);
        }
    }

    /// Entries of both tables.
    pub(crate) fn len(&self) -> usize {
        self.by_address.len() + self.by_site.len()
    }
}

/// An entry of 0 is none.
pub(crate) fn decrease<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl From<IpAddr> for Subnet {
    fn from(ip: IpAddr) -> Self {
        // A socket of both families shows IPv4 as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2): all of IPv4 would be
        // one /64.
        match ip.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_site_has_its_share_and_no_more() {
        let subnet = |site: u16, net: u16| Subnet::from(IpAddr::from([0x2001, 0xdb8, site, net, 0, 0, 0, 1]));
        for (most, all, of_site) in [(3, 100, 12), (3, 16, 8), (3, 4, 3), (0, 100, 4)] {
            let mut shares = Shares::default();
            let mut taken = Vec::new();
            for net in 0..u16::MAX {
                while shares.admits(subnet(1, net), most, all) {
                    shares.add(subnet(1, net));
                    taken.push(subnet(1, net));
                }
            }
            assert_eq!(taken.len(), of_site, "{most} of {all}");
            assert!(shares.admits(subnet(2, 0), most, all), "another site");
            assert!(shares.admits(Subnet::from(IpAddr::from([192, 0, 2, 1])), most, all));
            shares.remove(taken.swap_remove(0));
            assert!(shares.admits(subnet(1, 99), most, all));
            taken.into_iter().for_each(|from| shares.remove(from));
            assert_eq!(shares.len(), 0);
        }
    }

    #[test]
    fn networks() {
        let holds = |network: &str, ip: &str| {
            let ip = ip.parse::<IpAddr>().expect(ip).to_canonical();
            Network::any_contains(&[network.parse().expect(network)], ip)
        };
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3/8", "10.255.0.1", "9.255.255.255"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.6/31", "::ffff:192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "203.0.113.1", "::1"),
            ("::/0", "2001:db8::1", "203.0.113.1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "::2"),
            ("::ffff:192.0.2.0/120", "192.0.2.255", "192.0.3.0"),
        ] {
            assert!(holds(network, inside), "{inside} in {network}");
            assert!(!holds(network, outside), "{outside} in {network}");
        }
        for text in
            ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/-1", "10.0.0.0/", "a/8", "::ffff:0:0/95"]
        {
            assert_eq!(text.parse::<Network>(), Err(NoNetwork), "{text}");
        }
    }

    #[test]
    fn what_counts_as_one() {
        let subnet = |text: &str| Subnet::from(text.parse::<IpAddr>().expect(text));
        for (a, b, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("::1", "127.0.0.1", false),
        ] {
            assert_eq!(subnet(a) == subnet(b), same, "{a} {b}");
        }
    }
}
