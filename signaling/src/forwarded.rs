//! Who asks, when reverse proxies stand in between.
//!
//! A proxy is believed only if its address is in `signaling.proxies`, and only about the hop in front of it:
//! each proxy appends whose request it took, so the list is read from its right end (where the proxy next to
//! us wrote) up to the first address that is no proxy's. What stands before that is whatever the client wrote
//! and is not looked at.
//!
//! Which header is read is a setting: a proxy that writes one of them passes the others on as they came, so
//! with a second one for where the first is missing a client could choose its address. `X-Forwarded-Host`,
//! `-Proto` and `-Prefix` are not needed: what we write of our own URLs is right at any host, scheme and
//! prefix ([`came_through_a_proxy`]).

use crate::address::{Network, Subnet};
use crate::config::{ForwardedHeader, Signaling};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// As far as it is known: the client, else the proxy that did not say whose request it was.
    pub ip: IpAddr,
    /// By which address it is counted. `None`: there are many behind a proxy that does not tell them apart.
    pub counted: Option<Subnet>,
}

/// The client of a request that came over a connection from `peer`.
pub fn client(peer: IpAddr, headers: &HeaderMap, settings: &Signaling) -> ClientAddress {
    let is_proxy = |ip: IpAddr| Network::any_contains(&settings.proxies, ip);
    let mut ip = peer;
    if is_proxy(peer) {
        for hop in hops(settings.forwarded_header, headers) {
            let Some(said) = hop else { return ClientAddress { ip, counted: None } };
            ip = said;
            if !is_proxy(ip) {
                break;
            }
        }
    }
    ClientAddress { ip, counted: (!is_proxy(ip)).then(|| ip.into()) }
}

/// What the proxies said, the one next to us first; `None` where one did not know or say it in a way we cannot
/// read.
fn hops(header: ForwardedHeader, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let name = match header {
        ForwardedHeader::XForwardedFor => "x-forwarded-for",
        ForwardedHeader::Forwarded => "forwarded",
        ForwardedHeader::XRealIp => return vec![real_ip(headers)],
        ForwardedHeader::None => return Vec::new(),
    };
    let mut hops = Vec::new();
    for value in headers.get_all(name).iter().rev() {
        let text = String::from_utf8_lossy(value.as_bytes());
        // Empty elements of a list are passed over (RFC 9110 §5.6.1).
        let full = |element: &&str| !element.is_empty();
        match header {
            ForwardedHeader::Forwarded => {
                let elements = rsplit_unquoted(&text, ',').map(str::trim).filter(full);
                hops.extend(elements.map(forwarded_for));
            }
            _ => hops.extend(text.rsplit(',').map(str::trim).filter(full).map(node)),
        }
    }
    hops
}

/// What the proxy next to us wrote over whatever there was. Of several it is not known which that is.
fn real_ip(headers: &HeaderMap) -> Option<IpAddr> {
    let mut values = headers.get_all("x-real-ip").iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    node(only.to_str().ok()?.trim())
}

/// The `for` of an element of `Forwarded` (RFC 7239 §4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = rsplit_unquoted(element, ';').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (_, value) = named.next().filter(|_| named.next().is_none())?;
    node(&unquoted(value.trim())?)
}

/// The parts between the separators that stand outside of quotes, from the right: what a client wrote on the
/// left, an open quote say, changes nothing of what proxies added. They escape no quotes.
fn rsplit_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.rsplit(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
}

/// A token as it is; of a quoted string what it stands for (RFC 9110 §5.6.4).
fn unquoted(value: &str) -> Option<String> {
    let Some(rest) = value.strip_prefix('"') else { return Some(value.to_owned()) };
    let mut text = String::new();
    let mut chars = rest.strip_suffix('"')?.chars();
    while let Some(c) = chars.next() {
        text.push(if c == '\\' { chars.next()? } else { c });
    }
    Some(text)
}

/// A node's address (RFC 7239 §6), which proxies also write without brackets or with a port. `unknown` and
/// what is obfuscated (`_name`) is none.
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    let is_port = |port: &str| port.strip_prefix(':').is_some_and(|port| !port.is_empty());
    if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let address: Ipv6Addr = address.parse().ok().filter(|_| port.is_empty() || is_port(port))?;
        return Some(IpAddr::V6(address).to_canonical());
    }
    let (address, port) = text.split_once(':')?;
    address.parse::<Ipv4Addr>().ok().filter(|_| !port.is_empty()).map(IpAddr::V4)
}

/// Headers that proxies add to what they pass on.
const OF_PROXIES: [HeaderName; 7] = [
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// Whether a proxy seems to stand in between, which may have changed the path (and host and scheme), and then
/// says what the path was in no common way. Such a client is told URLs relative to the one it asked for
/// (RFC 3986 §5.2), which are right wherever the proxy is. Others are told the path from the root: there are
/// clients of WHIP that put a `Location` behind the server's name without resolving it.
///
/// Nothing hangs on this but how a URL is written, so anybody may say it. A proxy without any setting is known
/// by HTTP/1.0 or, if it comes from a proxy's address, by not wanting the connection kept (nginx does both).
pub fn came_through_a_proxy(
    peer: IpAddr,
    version: Version,
    headers: &HeaderMap,
    settings: &Signaling,
) -> bool {
    let not_kept = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(',').any(|one| matches!(one.trim().to_ascii_lowercase().as_str(), "close" | "upgrade"))
    };
    version < Version::HTTP_11
        || OF_PROXIES.iter().any(|name| headers.contains_key(name))
        || Network::any_contains(&settings.proxies, peer)
            && headers.get_all(header::CONNECTION).iter().any(not_kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const PEER: &str = "127.0.0.1";

    fn settings(header: ForwardedHeader) -> Signaling {
        let proxies = ["127.0.0.1", "::1", "10.0.0.0/8", "2001:db8:ffff::/48"];
        let proxies = proxies.iter().map(|text| text.parse().expect(text)).collect();
        Signaling { proxies, forwarded_header: header, ..Config::default().signaling }
    }

    fn asked(peer: &str, header: ForwardedHeader, lines: &[(&'static str, &str)]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        let ClientAddress { ip, counted } = client(peer.parse().expect(peer), &headers, &settings(header));
        assert!(counted.is_none_or(|counted| counted == ip.into()));
        (ip.to_string(), counted.is_some())
    }

    #[test]
    fn x_forwarded_for_is_read_from_its_right_end() {
        for (value, ip, counted) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("198.51.100.9, 192.0.2.1", "192.0.2.1", true),
            ("198.51.100.9,192.0.2.1 , 10.1.2.3", "192.0.2.1", true),
            ("192.0.2.1:4711", "192.0.2.1", true),
            ("2001:db8::1", "2001:db8::1", true),
            ("[2001:db8::1]:4711", "2001:db8::1", true),
            ("[2001:db8::1]", "2001:db8::1", true),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1, ", "192.0.2.1", true),
            ("\", 192.0.2.1", "192.0.2.1", true),
            ("\u{a0}\u{ff}, 192.0.2.1", "192.0.2.1", true),
            // A health check of the proxies' own, and those that do not know or cannot be read.
            ("10.0.0.7", "10.0.0.7", false),
            ("192.0.2.1, unknown", PEER, false),
            ("192.0.2.1, unknown, 10.0.0.7", "10.0.0.7", false),
            ("192.0.2.1, nonsense", PEER, false),
            ("192.0.2.300", PEER, false),
            ("[192.0.2.1]", PEER, false),
            ("192.0.2.1:", PEER, false),
            ("2001:db8::1%eth0", PEER, false),
            ("", PEER, false),
            (",,,", PEER, false),
            ("\u{a0}", PEER, false),
        ] {
            let found = asked(PEER, ForwardedHeader::XForwardedFor, &[("x-forwarded-for", value)]);
            assert_eq!(found, (ip.to_owned(), counted), "{value:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_its_grammar_says() {
        for (value, ip, counted) in [
            ("for=192.0.2.1", "192.0.2.1", true),
            ("For=192.0.2.1;proto=https;by=203.0.113.43", "192.0.2.1", true),
            ("proto=https; FOR=\"192.0.2.1:80\"", "192.0.2.1", true),
            ("for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17", true),
            ("for=198.51.100.9, for=192.0.2.1", "192.0.2.1", true),
            ("for=192.0.2.1, for=\"[2001:db8:ffff::7]\"", "192.0.2.1", true),
            ("for=192.0.2.1;host=\"a, for=198.51.100.9\"", "192.0.2.1", true),
            ("host=\"a;b\";for=\"192\\.0.2.1\"", "192.0.2.1", true),
            // What clients write cannot swallow what the proxy adds.
            ("for=\", for=192.0.2.1", "192.0.2.1", true),
            ("for=\"\\, for=\"[2001:db8::1]\"", "2001:db8::1", true),
            ("for=unknown", PEER, false),
            ("for=_hidden, for=_SEVKISEK", PEER, false),
            ("for=192.0.2.1, proto=https", PEER, false),
            ("for=192.0.2.1;for=198.51.100.9", PEER, false),
            ("for=\"192.0.2.1", PEER, false),
            ("192.0.2.1", PEER, false),
            ("for=", PEER, false),
        ] {
            let found = asked(PEER, ForwardedHeader::Forwarded, &[("forwarded", value)]);
            assert_eq!(found, (ip.to_owned(), counted), "{value:?}");
        }
    }

    #[test]
    fn only_proxies_are_believed_and_only_in_the_header_that_they_write() {
        let both = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=198.51.100.9")];
        let real = [("x-real-ip", "192.0.2.1")];
        let twice = [("x-forwarded-for", "198.51.100.9"), ("x-forwarded-for", "192.0.2.1")];
        for (peer, header, lines, ip, counted) in [
            (PEER, ForwardedHeader::XForwardedFor, &both[..], "192.0.2.1", true),
            (PEER, ForwardedHeader::Forwarded, &both, "198.51.100.9", true),
            (PEER, ForwardedHeader::None, &both, PEER, false),
            ("203.0.113.5", ForwardedHeader::XForwardedFor, &both, "203.0.113.5", true),
            ("203.0.113.5", ForwardedHeader::Forwarded, &both, "203.0.113.5", true),
            ("10.255.255.255", ForwardedHeader::XForwardedFor, &both, "192.0.2.1", true),
            ("11.0.0.0", ForwardedHeader::XForwardedFor, &both, "11.0.0.0", true),
            (PEER, ForwardedHeader::XForwardedFor, &real, PEER, false),
            (PEER, ForwardedHeader::XRealIp, &real, "192.0.2.1", true),
            (PEER, ForwardedHeader::XRealIp, &both, PEER, false),
            (PEER, ForwardedHeader::XRealIp, &[real[0], real[0]], PEER, false),
            (PEER, ForwardedHeader::XRealIp, &[("x-real-ip", "198.51.100.9, 192.0.2.1")], PEER, false),
            (PEER, ForwardedHeader::XRealIp, &[("x-real-ip", "10.0.0.7")], "10.0.0.7", false),
            (PEER, ForwardedHeader::XRealIp, &[("x-real-ip", " [2001:db8::1]:4711 ")], "2001:db8::1", true),
            ("203.0.113.5", ForwardedHeader::XRealIp, &real, "203.0.113.5", true),
            (PEER, ForwardedHeader::XForwardedFor, &twice, "192.0.2.1", true),
        ] {
            assert_eq!(asked(peer, header, lines), (ip.to_owned(), counted), "{peer} {header:?} {lines:?}");
        }
    }

    #[test]
    fn a_proxy_shows_itself() {
        let settings = settings(ForwardedHeader::XForwardedFor);
        let (other, old, new) = ("192.0.2.1", Version::HTTP_10, Version::HTTP_11);
        for (peer, version, line, expected) in [
            (other, new, None, false),
            (PEER, new, None, false),
            (other, old, None, true),
            (other, new, Some(("via", "1.1 caddy")), true),
            (other, new, Some(("x-forwarded-proto", "https")), true),
            (other, new, Some(("connection", "close")), false),
            (PEER, new, Some(("connection", "keep-alive")), false),
            (PEER, new, Some(("connection", "Close")), true),
            (PEER, new, Some(("connection", "te, upgrade")), true),
        ] {
            let headers: HeaderMap = line
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            let found = came_through_a_proxy(peer.parse().expect(peer), version, &headers, &settings);
            assert_eq!(found, expected, "{peer} {version:?} {line:?}");
        }
    }
}
