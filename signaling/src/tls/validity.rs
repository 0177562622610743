//! From when until when a certificate is valid (RFC 5280 §4.1.2.5).
//!
//! A reader of just enough DER for that. It reads files of the operator's, no input from the network.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// In seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: i64,
    not_after: i64,
}

/// Why a certificate is of no use at this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutOfDate {
    /// Its time has not come.
    NotYet,
    /// Its time is over.
    Expired,
}

impl fmt::Display for OutOfDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotYet => "is not valid yet",
            Self::Expired => "has expired",
        })
    }
}

impl Validity {
    /// Of a certificate in DER; `None`: it is none that can be read.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let mut outer = Der(certificate);
        let mut certificate = Der(outer.value(SEQUENCE)?);
        let mut tbs = Der(certificate.value(SEQUENCE)?);
        if tbs.0.first() == Some(&VERSION) {
            tbs.value(VERSION)?;
        }
        tbs.value(INTEGER)?; // serial number
        tbs.value(SEQUENCE)?; // signature algorithm
        tbs.value(SEQUENCE)?; // issuer
        let mut validity = Der(tbs.value(SEQUENCE)?);
        Some(Self { not_before: validity.time()?, not_after: validity.time()? })
    }

    /// What is wrong with it at this time.
    pub(super) fn check(self, now: SystemTime) -> Option<OutOfDate> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        if now < self.not_before {
            return Some(OutOfDate::NotYet);
        }
        (now > self.not_after).then_some(OutOfDate::Expired)
    }
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// What is still to be read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next element, if it is of this kind.
    fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, value) = self.next()?;
        (found == tag).then_some(value)
    }

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match usize::from(*first) {
            short @ ..0x80 => (short, rest),
            long => {
                let (octets, rest) = rest.split_at_checked(long - 0x80).filter(|(of, _)| of.len() <= 4)?;
                (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
            }
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, value))
    }

    fn time(&mut self) -> Option<i64> {
        let (tag, value) = self.next()?;
        let digits = std::str::from_utf8(value).ok()?.strip_suffix('Z')?;
        let (year, rest) = match tag {
            // RFC 5280 §4.1.2.5.1: two digits are of 1950 to 2049.
            UTC_TIME => {
                let (year, rest) = two(digits)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            GENERALIZED_TIME => {
                let (century, rest) = two(digits)?;
                let (year, rest) = two(rest)?;
                (century * 100 + year, rest)
            }
            _ => return None,
        };
        let (month, rest) = two(rest)?;
        let (day, rest) = two(rest)?;
        let (hour, rest) = two(rest)?;
        let (minute, rest) = two(rest)?;
        let (second, rest) = two(rest)?;
        let fits = rest.is_empty() && (1..=12).contains(&month) && (1..=31).contains(&day);
        fits.then(|| ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
    }
}

/// A number of two digits, and what follows it.
fn two(text: &str) -> Option<(i64, &str)> {
    let (digits, rest) = text.split_at_checked(2)?;
    let number = digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())??;
    Some((number, rest))
}

/// Since 1970-01-01, in the Gregorian calendar, with years from March: the leap day is the last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use std::time::Duration;

    fn certificate(from: i32, to: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 3, 1);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn times_of_both_kinds_are_read() {
        // 2050 and later have four digits.
        for (from, to, expected) in [
            (2000, 2024, (946_684_800, 1_709_251_200)),
            (1999, 2049, (915_148_800, 2498169600)),
            (2026, 2060, (1_767_225_600, 2845324800)),
        ] {
            let validity = Validity::of(&certificate(from, to)).expect("read");
            assert_eq!((validity.not_before, validity.not_after), expected, "{from} {to}");
        }
    }

    #[test]
    fn what_is_out_of_date_is_known() {
        let validity = Validity::of(&certificate(2020, 2024)).expect("read");
        for (seconds, expected) in [
            (1_577_836_799, Some(OutOfDate::NotYet)),
            (1_577_836_800, None),
            (1_709_251_200, None),
            (1_709_251_201, Some(OutOfDate::Expired)),
        ] {
            assert_eq!(validity.check(UNIX_EPOCH + Duration::from_secs(seconds)), expected, "{seconds}");
        }
    }

    #[test]
    fn what_is_cut_anywhere_is_none() {
        let whole = certificate(2020, 2024);
        assert!((0..whole.len()).all(|end| Validity::of(&whole[..end]).is_none()));
    }
}
