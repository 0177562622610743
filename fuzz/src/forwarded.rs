use crate::actions::Actions;
use axum::http::{HeaderMap, HeaderValue, Version};
use signaling::config::{Config, ForwardedHeader, Signaling};
use signaling::forwarded::{ClientAddress, came_through_a_proxy, client};
use std::net::IpAddr;

const HEADERS: [(ForwardedHeader, &str); 4] = [
    (ForwardedHeader::XForwardedFor, "x-forwarded-for"),
    (ForwardedHeader::Forwarded, "forwarded"),
    (ForwardedHeader::XRealIp, "x-real-ip"),
    (ForwardedHeader::None, "x-other"),
];
/// Lines that a client writes.
const LINES_MAX: usize = 4;

/// A client writes anything into the headers of proxies. What is believed is what the proxies of the operator
/// wrote, and where there are none the address that the connection came from.
///
/// The input: the setting, how the proxies write, and the client's lines, each ended by an octet 0.
pub fn forwarded(data: &[u8]) {
    let mut actions = Actions(data);
    let (Some(setting), Some(how)) = (actions.u8(), actions.u8()) else { return };
    let (setting, name) = HEADERS[usize::from(setting) % HEADERS.len()];
    let mut said = HeaderMap::new();
    for line in actions.0.split(|octet| *octet == 0).take(LINES_MAX) {
        let line: Vec<u8> =
            line.iter().map(|octet| if *octet < 32 || *octet == 127 { b' ' } else { *octet }).collect();
        let (which, line) = line.split_first().map_or((0, &line[..]), |(which, rest)| (*which, rest));
        let of_all = HEADERS[usize::from(which) % HEADERS.len()].1;
        let value = HeaderValue::from_bytes(line).expect("no control characters");
        said.append(if which < 128 { name } else { of_all }, value);
    }
    nobody_but_proxies_is_believed(setting, &said);
    a_proxys_word_is_the_last(setting, name, how, &said);
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn settings(forwarded_header: ForwardedHeader, proxies: &[&str]) -> Signaling {
    let proxies = proxies.iter().map(|text| text.parse().expect("a network")).collect();
    Signaling { proxies, forwarded_header, ..Config::default().signaling }
}

fn nobody_but_proxies_is_believed(setting: ForwardedHeader, said: &HeaderMap) {
    for (proxies, peer) in [(&[][..], "127.0.0.1"), (&[], "2001:db8::7"), (&["10.0.0.0/8"], "11.0.0.1")] {
        let (settings, peer) = (settings(setting, proxies), ip(peer));
        let found = client(peer, said, &settings);
        assert_eq!(found, ClientAddress { ip: peer, counted: Some(peer.into()) });
        let _ = came_through_a_proxy(peer, Version::HTTP_11, said, &settings);
    }
}

/// One proxy or two write what they saw behind what the client wrote, or over it.
fn a_proxys_word_is_the_last(setting: ForwardedHeader, name: &'static str, how: u8, said: &HeaderMap) {
    let (near, far, seen) = ("127.0.0.1", "10.0.0.7", if how & 1 == 0 { "192.0.2.1" } else { "2001:db8::1" });
    let settings = settings(setting, &[near, "10.0.0.0/8"]);
    let hops = if how & 2 == 0 { &[seen][..] } else { &[seen, far] };
    let mut headers = said.clone();
    match setting {
        ForwardedHeader::None => {
            let found = client(ip(near), &headers, &settings);
            return assert_eq!(found, ClientAddress { ip: ip(near), counted: None });
        }
        ForwardedHeader::XRealIp => drop(headers.insert(name, HeaderValue::from_static(seen))),
        ForwardedHeader::XForwardedFor => hops.iter().for_each(|hop| add(&mut headers, name, how, hop)),
        ForwardedHeader::Forwarded => {
            let element = |hop: &str| match ip(hop) {
                IpAddr::V4(_) => format!("for={hop};proto=https"),
                IpAddr::V6(_) => format!("proto=https;for=\"[{hop}]:4711\""),
            };
            hops.iter().for_each(|hop| add(&mut headers, name, how, &element(hop)));
        }
    }
    let found = client(ip(near), &headers, &settings);
    assert_eq!(found, ClientAddress { ip: ip(seen), counted: Some(ip(seen).into()) }, "{headers:?}");
}

/// As nginx does it, which joins all lines to one, or as HAProxy, which adds a line.
fn add(headers: &mut HeaderMap, name: &'static str, how: u8, element: &str) {
    let before: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let joined = [before.join(&b", "[..]), element.as_bytes().to_vec()].join(&b", "[..]);
    if how & 4 == 0 && !before.is_empty() {
        headers.insert(name, HeaderValue::from_bytes(&joined).expect("as it came"));
    } else {
        headers.append(name, HeaderValue::from_str(element).expect("a header"));
    }
}
