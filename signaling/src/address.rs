//! Who counts as one when something is counted by address.
//!
//! An IPv4 address is one customer or one office behind a NAT. Of IPv6 whoever has one address has the whole /64
//! around it (RFC 6177 §2 gives an end site that much at least), so 2^64 addresses count as one.

use std::net::{IpAddr, Ipv6Addr};

/// An address as far as it is counted: IPv4 whole, IPv6 its first 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet(IpAddr);

impl From<IpAddr> for Subnet {
    fn from(ip: IpAddr) -> Self {
        // A socket of both families shows IPv4 as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2): all of IPv4 would be one /64.
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
