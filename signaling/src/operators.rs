//! Who may use the API: whoever has its key; without one in the settings, whoever sits at this machine.
//!
//! Invariants
//! - Keys are compared in constant time. The right one is let in whatever was guessed beside it: it is too long
//!   to be guessed, and whoever could keep the operator out by guessing would. An address that gives wrong ones
//!   is only told to wait.
//! - Without a key, a request counts as one of this machine only if nothing says that somebody passed it on,
//!   and if it is to a name of this machine: a page of another site, or a name that leads here, cannot have
//!   the operator's own browser ask.
//! - A ticket is for the file of one recording and for a while. It stands in URLs, which a key must not: a
//!   player of a page cannot send headers.

use crate::address::Subnet;
use crate::secret_file::SecretFile;
use crate::timer::Time;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use axum::http::{HeaderMap, header};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Octets of a key at least: it cannot be guessed, whoever tries.
pub(crate) const KEY_BYTES_MIN: usize = 32;
/// Wrong keys of one address within [`FAILURES_TIME`].
const FAILURES_MAX: u32 = 10;
/// How long they count.
const FAILURES_TIME: Duration = Duration::from_secs(60);
/// Addresses with wrong keys that are kept in mind; of more, all are counted together.
const FAILED_ADDRESSES_MAX: usize = 4_096;
/// How long a ticket is good: longer than a recording plays.
const TICKET_TIME: Duration = Duration::from_secs(12 * 3600);

/// Who asks for something that is an operator's.
pub(crate) struct Asker<'a> {
    /// The other end of the connection.
    pub(crate) peer: Option<IpAddr>,
    /// Whether a proxy seems to have passed it on.
    pub(crate) proxied: bool,
    /// By which address it is counted.
    pub(crate) counted: Option<Subnet>,
    pub(crate) headers: &'a HeaderMap,
}

/// Why it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// There is no key in the settings, and it is not from this machine.
    NotLocal,
    NoKey,
    WrongKey,
    /// Wrong keys; it is listened to again after so long.
    TooMany(Duration),
}

/// Decides who is one.
#[derive(Debug)]
pub(crate) struct Operators {
    key: Option<SecretFile>,
    failures: Mutex<Failures>,
    /// Tickets are signed with it where there is no key.
    chance: [u8; 32],
}

impl Operators {
    /// By this key; `None`: who sits at this machine.
    pub(crate) fn new(key: Option<SecretFile>) -> Self {
        let mut chance = [0; 32];
        getrandom::fill(&mut chance).expect("the kernel's random numbers");
        Self { key, failures: Mutex::default(), chance }
    }

    /// Whether a request is an operator's, at this time.
    ///
    /// # Errors
    /// See [`Denied`].
    pub(crate) fn admits(&self, asker: &Asker<'_>, now: Time) -> Result<(), Denied> {
        let Some(key) = &self.key else {
            return if is_local(asker) { Ok(()) } else { Err(Denied::NotLocal) };
        };
        let given = bearer(asker.headers).ok_or(Denied::NoKey)?;
        // Of their hashes: their lengths are the same.
        let [good, given] = [&key.octets(), given.as_bytes()].map(|octets| digest(&SHA256, octets));
        if verify_slices_are_equal(good.as_ref(), given.as_ref()).is_ok() {
            return Ok(());
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = failures.wait(asker.counted, now) {
            return Err(Denied::TooMany(wait));
        }
        failures.note(asker.counted, now);
        Err(Denied::WrongKey)
    }

    /// For the file of this recording, from this time on, in seconds since 1970.
    pub(crate) fn ticket(&self, id: &str, now_s: u64) -> String {
        let until = now_s.saturating_add(TICKET_TIME.as_secs());
        let signature = hmac::sign(&self.ticket_key(), format!("{id}.{until}").as_bytes());
        let hex = signature.as_ref().iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        format!("{until}.{hex}")
    }

    /// Whether it is one for this recording that is still good.
    pub(crate) fn takes_ticket(&self, id: &str, ticket: &str, now_s: u64) -> bool {
        let Some((until, hex)) = ticket.split_once('.') else { return false };
        let octet = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let signature: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(octet).collect();
        let good = signature.is_some_and(|signature| {
            hmac::verify(&self.ticket_key(), format!("{id}.{until}").as_bytes(), &signature).is_ok()
        });
        good && until.parse().is_ok_and(|until: u64| now_s < until)
    }

    /// With a key they outlive a restart.
    fn ticket_key(&self) -> hmac::Key {
        let secret = self.key.as_ref().map_or_else(|| Arc::from(self.chance), SecretFile::octets);
        let derived = hmac::sign(&hmac::Key::new(HMAC_SHA256, &secret), b"ringvox ticket for a recording");
        hmac::Key::new(HMAC_SHA256, derived.as_ref())
    }
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whether it was sent from this machine to this machine, by a program or by one of our own pages.
fn is_local(asker: &Asker<'_>) -> bool {
    let Asker { peer, proxied, headers, .. } = *asker;
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST).unwrap_or_default();
    let own_page = |origin: &str| {
        [("http://", host), ("https://", host)]
            .iter()
            .any(|(scheme, host)| origin.strip_prefix(scheme).is_some_and(|rest| rest == *host))
    };
    peer.is_some_and(|ip| ip.is_loopback())
        && !proxied
        && is_name_of_ours(host)
        && text(header::ORIGIN).is_none_or(own_page)
        && text(header::HeaderName::from_static("sec-fetch-site"))
            .is_none_or(|site| matches!(site, "same-origin" | "none"))
}

/// `localhost` or an address of this machine alone, with or without a port.
fn is_name_of_ours(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = without_port.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The key of `Authorization: Bearer`. Two such headers are none.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return None };
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| key.trim())
}

/// Wrong keys by address, and since when they are counted. `None`: behind a proxy that does not tell them
/// apart.
#[derive(Debug, Default)]
struct Failures(HashMap<Option<Subnet>, (u32, Time)>);

impl Failures {
    /// How long this one is not listened to.
    fn wait(&self, from: Option<Subnet>, now: Time) -> Option<Duration> {
        let (count, since) = self.0.get(&self.counted(from))?;
        (*count >= FAILURES_MAX).then(|| (*since + FAILURES_TIME).checked_sub(now)).flatten()
    }

    fn note(&mut self, from: Option<Subnet>, now: Time) {
        self.0.retain(|_, (_, since)| now < *since + FAILURES_TIME);
        let entry = self.0.entry(self.counted(from)).or_insert((0, now));
        entry.0 += 1;
    }

    fn counted(&self, from: Option<Subnet>) -> Option<Subnet> {
        from.filter(|_| self.0.len() < FAILED_ADDRESSES_MAX || self.0.contains_key(&from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    #[test]
    fn only_who_sits_here_is_local() {
        let host = |host| (header::HOST, host);
        let origin = |origin| (header::ORIGIN, origin);
        let site = |site| (HeaderName::from_static("sec-fetch-site"), site);
        for (peer, proxied, lines, expected) in [
            ("127.0.0.1", false, vec![host("localhost:8080")], true),
            ("127.0.0.1", false, vec![host("LOCALHOST")], true),
            ("127.9.9.9", false, vec![host("127.0.0.1:8080")], true),
            ("::1", false, vec![host("[::1]:8443")], true),
            ("::1", false, vec![host("[::1]")], true),
            ("127.0.0.1", false, vec![host("localhost:8080"), origin("http://localhost:8080")], true),
            ("127.0.0.1", false, vec![host("localhost:8443"), origin("https://localhost:8443")], true),
            ("127.0.0.1", false, vec![host("localhost"), site("same-origin")], true),
            ("127.0.0.1", false, vec![host("localhost"), site("none")], true),
            // Others.
            ("192.0.2.1", false, vec![host("localhost:8080")], false),
            ("127.0.0.1", true, vec![host("localhost:8080")], false),
            // A name that leads here, and pages of others.
            ("127.0.0.1", false, vec![host("rebound.example:8080")], false),
            ("127.0.0.1", false, vec![host("localhost.example")], false),
            ("127.0.0.1", false, vec![host("")], false),
            ("127.0.0.1", false, vec![], false),
            ("127.0.0.1", false, vec![host("localhost:8080"), origin("http://localhost:9000")], false),
            ("127.0.0.1", false, vec![host("localhost:8080"), origin("https://evil.example")], false),
            ("127.0.0.1", false, vec![host("localhost:8080"), origin("null")], false),
            ("127.0.0.1", false, vec![host("localhost"), site("cross-site")], false),
            ("127.0.0.1", false, vec![host("localhost"), site("same-site")], false),
        ] {
            let headers: HeaderMap =
                lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
            let asker = Asker { peer: peer.parse().ok(), proxied, counted: None, headers: &headers };
            assert_eq!(is_local(&asker), expected, "{peer} {proxied} {lines:?}");
        }
    }

    #[test]
    fn wrong_keys_are_counted_by_address_for_a_minute() {
        let from = |last: u8| Some(Subnet::from(IpAddr::from([192, 0, 2, last])));
        let at = Time::from_secs;
        let mut failures = Failures::default();
        for n in 0..FAILURES_MAX {
            assert_eq!(failures.wait(from(1), at(1)), None, "{n}");
            failures.note(from(1), at(1));
        }
        assert_eq!(failures.wait(from(1), at(11)), Some(Duration::from_secs(50)));
        assert_eq!(failures.wait(from(2), at(11)), None);
        assert_eq!(failures.wait(from(1), at(62)), None);
        failures.note(from(1), at(62));
        assert_eq!(failures.0.len(), 1);
        for number in 0..FAILED_ADDRESSES_MAX as u32 + 100 {
            failures.note(Some(Subnet::from(IpAddr::from(number.to_be_bytes()))), at(62));
        }
        assert!(failures.0.len() <= FAILED_ADDRESSES_MAX + 1, "{}", failures.0.len());
        assert!(failures.wait(from(77), at(62)).is_some(), "those beyond count together");
    }

    #[test]
    fn a_ticket_is_for_one_recording_and_a_while() {
        let operators = Operators::new(None);
        let ticket = operators.ticket("0123456789abcdef", 1_000);
        assert!(operators.takes_ticket("0123456789abcdef", &ticket, 1_000));
        assert!(operators.takes_ticket("0123456789abcdef", &ticket, 1_000 + 12 * 3600 - 1));
        assert!(!operators.takes_ticket("0123456789abcdef", &ticket, 1_000 + 12 * 3600));
        assert!(!operators.takes_ticket("0123456789abcde0", &ticket, 1_000));
        assert!(!Operators::new(None).takes_ticket("0123456789abcdef", &ticket, 1_000));
        let (until, hex) = ticket.split_once('.').expect("two parts");
        for forged in [
            format!("{}.{hex}", until.parse::<u64>().expect("a number") + 1),
            format!("+{ticket}"),
            format!("{until}."),
            format!("{until}.{}", &hex[2..]),
            format!("{until}.é{hex}"),
            ticket.to_uppercase().replace('.', ""),
            String::new(),
        ] {
            assert!(!operators.takes_ticket("0123456789abcdef", &forged, 1_000), "{forged}");
        }
    }
}
