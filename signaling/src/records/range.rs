//! Which part of a file a request gets (RFC 9110 §13 and §14). Pure.

use axum::http::{HeaderMap, HeaderName, header};
use std::time::{Duration, SystemTime};

/// What can be said of a file before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Representation {
    pub(super) len: u64,
    /// With its quotes; a strong one, as finished files do not change.
    pub(super) etag: String,
    /// In whole seconds.
    pub(super) modified: SystemTime,
}

/// What a request gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    /// 200
    Whole,
    /// 206: from this octet on, so many, at least one.
    Part(u64, u64),
    /// 304
    NotModified,
    /// 412
    Failed,
    /// 416
    Unsatisfiable,
}

/// As RFC 9110 §13.2.2 orders the conditions.
pub(super) fn select(headers: &HeaderMap, file: &Representation) -> Selected {
    let tags = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    if headers.contains_key(header::IF_MATCH) {
        if !tags(header::IF_MATCH).any(|listed| lists(listed, &file.etag, false)) {
            return Selected::Failed;
        }
    } else if date(headers, &header::IF_UNMODIFIED_SINCE).is_some_and(|since| file.modified > since) {
        return Selected::Failed;
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        if tags(header::IF_NONE_MATCH).any(|listed| lists(listed, &file.etag, true)) {
            return Selected::NotModified;
        }
    } else if date(headers, &header::IF_MODIFIED_SINCE).is_some_and(|since| file.modified <= since) {
        return Selected::NotModified;
    }
    let mut ranges = headers.get_all(header::RANGE).iter();
    match (ranges.next().and_then(|value| value.to_str().ok()), ranges.next()) {
        (Some(wanted), None) if is_same(headers, file) => part(wanted, file.len),
        _ => Selected::Whole,
    }
}

/// Whether the list has the tag. `weak`: how `If-None-Match` compares (§13.1.2).
fn lists(listed: &str, etag: &str, weak: bool) -> bool {
    listed.split(',').map(str::trim).any(|one| {
        let one = if weak { one.strip_prefix("W/").unwrap_or(one) } else { one };
        one == "*" || one == etag
    })
}

/// What is no date is not looked at (§13.1.3), nor are several.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    httpdate::parse_http_date(only.to_str().ok()?.trim()).ok()
}

/// Whether the file is still what a part of it was fetched of (§13.1.5).
fn is_same(headers: &HeaderMap, file: &Representation) -> bool {
    let Some(of) = headers.get(header::IF_RANGE) else { return true };
    let Ok(of) = of.to_str() else { return false };
    of.trim() == file.etag || httpdate::parse_http_date(of).is_ok_and(|date| date == file.modified)
}

/// One range of octets (§14.1.2). Several, another unit or what cannot be read: all of it (§14.2).
fn part(wanted: &str, len: u64) -> Selected {
    let Some((unit, set)) = wanted.split_once('=') else { return Selected::Whole };
    let Some((first, last)) = set.trim().split_once('-') else { return Selected::Whole };
    if !unit.eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Selected::Whole;
    }
    // Digits only: a sign is none of them.
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    let number = |text: &str| text.parse().unwrap_or(u64::MAX);
    match (first, last) {
        ("", last) if is_number(last) => match number(last).min(len) {
            0 => Selected::Unsatisfiable,
            count => Selected::Part(len - count, count),
        },
        (first, last) if is_number(first) && (last.is_empty() || is_number(last)) => {
            let first = number(first);
            let last = if last.is_empty() { u64::MAX } else { number(last) };
            if last < first {
                return Selected::Whole;
            }
            if first >= len {
                return Selected::Unsatisfiable;
            }
            Selected::Part(first, last.min(len - 1) - first + 1)
        }
        _ => Selected::Whole,
    }
}

/// As HTTP counts time.
pub(super) fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sunday, 06-Nov-94 08:49:36 GMT";

    fn selected(len: u64, lines: &[(HeaderName, &str)]) -> Selected {
        let modified = httpdate::parse_http_date(THEN).expect("a date");
        let file = Representation { len, etag: "\"a\"".to_owned(), modified };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        select(&headers, &file)
    }

    #[test]
    fn a_range_is_a_part_or_all_or_none() {
        use Selected::{Part, Unsatisfiable, Whole};
        for (range, len, expected) in [
            ("bytes=0-0", 10, Part(0, 1)),
            ("bytes=0-", 10, Part(0, 10)),
            ("bytes=3-5", 10, Part(3, 3)),
            ("Bytes=3-99", 10, Part(3, 7)),
            ("bytes=9-18446744073709551616", 10, Part(9, 1)),
            ("bytes=-3", 10, Part(7, 3)),
            ("bytes=-99", 10, Part(0, 10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=18446744073709551616-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-5", 0, Unsatisfiable),
            ("bytes=5-3", 10, Whole),
            ("bytes=0-1,3-4", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes", 10, Whole),
            ("lines=1-2", 10, Whole),
            ("", 10, Whole),
        ] {
            assert_eq!(selected(len, &[(header::RANGE, range)]), expected, "{range} of {len}");
        }
        let twice = [(header::RANGE, "bytes=0-0"), (header::RANGE, "bytes=1-1")];
        assert_eq!(selected(10, &twice), Whole);
    }

    #[test]
    fn conditions_come_before_the_range() {
        use Selected::{Failed, NotModified, Part, Whole};
        let range = (header::RANGE, "bytes=1-2");
        for (name, value, expected) in [
            (header::IF_MATCH, "\"a\"", Part(1, 2)),
            (header::IF_MATCH, "\"b\", \"a\"", Part(1, 2)),
            (header::IF_MATCH, "*", Part(1, 2)),
            (header::IF_MATCH, "W/\"a\"", Failed),
            (header::IF_MATCH, "\"b\"", Failed),
            (header::IF_NONE_MATCH, "\"b\"", Part(1, 2)),
            (header::IF_NONE_MATCH, "\"b\", W/\"a\"", NotModified),
            (header::IF_NONE_MATCH, "*", NotModified),
            (header::IF_MODIFIED_SINCE, EARLIER, Part(1, 2)),
            (header::IF_MODIFIED_SINCE, THEN, NotModified),
            (header::IF_MODIFIED_SINCE, LATER, NotModified),
            (header::IF_MODIFIED_SINCE, "yesterday", Part(1, 2)),
            (header::IF_UNMODIFIED_SINCE, EARLIER, Failed),
            (header::IF_UNMODIFIED_SINCE, THEN, Part(1, 2)),
            (header::IF_RANGE, "\"a\"", Part(1, 2)),
            (header::IF_RANGE, "W/\"a\"", Whole),
            (header::IF_RANGE, "\"b\"", Whole),
            (header::IF_RANGE, THEN, Part(1, 2)),
            (header::IF_RANGE, LATER, Whole),
            (header::IF_RANGE, EARLIER, Whole),
        ] {
            let found = selected(10, &[range.clone(), (name.clone(), value)]);
            assert_eq!(found, expected, "{name}: {value}");
        }
        let both = [(header::IF_NONE_MATCH, "\"b\""), (header::IF_MODIFIED_SINCE, LATER)];
        assert_eq!(selected(10, &both), Whole, "a tag is looked at alone");
    }
}
