//! What a request says of its body and of the answer that it wants, read as generously as can be: programs
//! that send nothing but one kind of body often do not say which.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};

pub(super) const SDP: &str = "application/sdp";
pub(super) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Why a body is not read.
pub(super) type BadContent = (StatusCode, &'static str);

/// The offer in the body of a POST.
pub(super) fn offer(headers: &HeaderMap, body: &[u8]) -> Result<String, BadContent> {
    const WORDS: &str = "Send the offer itself, with Content-Type: application/sdp";
    if !may_be(headers, SDP) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, WORDS));
    }
    if !accepts_sdp(headers) {
        return Err((StatusCode::NOT_ACCEPTABLE, "The answer is application/sdp, which Accept must have"));
    }
    text(body)
}

/// Whether a path or a part of a query is text: each `%` begins an octet (RFC 3986 §2.1), and all octets are
/// UTF-8. What is not would else be another name than the client has: any two such logins were the same.
pub(super) fn is_text(escaped: &str) -> bool {
    let (mut octets, mut rest) = (Vec::new(), escaped.bytes());
    while let Some(octet) = rest.next() {
        let mut digit = || char::from(rest.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        octets.push(match octet {
            b'%' => match (digit(), digit()) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return false,
            },
            _ => octet,
        });
    }
    std::str::from_utf8(&octets).is_ok()
}

/// The candidates, or the restart of ICE, in the body of a PATCH.
pub(super) fn fragment(headers: &HeaderMap, body: &[u8]) -> Result<String, BadContent> {
    const WORDS: &str = "Send candidates with Content-Type: application/trickle-ice-sdpfrag";
    if !may_be(headers, FRAGMENT) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, WORDS));
    }
    text(body)
}

/// Which ICE session a PATCH is of. RFC 9725 §4.3.1 has it in `If-Match`; Eyevinn's SDK sends the tag back
/// under the name that it came by.
pub(super) fn if_match(headers: &HeaderMap) -> Option<String> {
    let said = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    said(header::IF_MATCH).or_else(|| said(header::ETAG))
}

/// RFC 9110 §8.3: of a body without a type the recipient may find out for itself what it is, which its parser
/// does. Parameters change nothing: SDP is UTF-8 whatever `charset` says (RFC 8866 §5).
fn may_be(headers: &HeaderMap, wanted: &str) -> bool {
    let given = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    given.is_none_or(|given| {
        let given = given.split(';').next().unwrap_or_default().trim();
        given.is_empty() || given.eq_ignore_ascii_case(wanted)
    })
}

/// RFC 9110 §12.5.1: without `Accept` anything will do. `*` alone is what `*/*` was to Java's clients.
fn accepts_sdp(headers: &HeaderMap) -> bool {
    let mut ranges = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        let value = String::from_utf8_lossy(value.as_bytes());
        let range = |one: &str| one.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        ranges.extend(value.split(',').map(range).filter(|range| !range.is_empty()));
    }
    let good = |range: &String| [SDP, "application/*", "*/*", "*"].contains(&range.as_str());
    ranges.is_empty() || ranges.iter().any(good)
}

fn text(body: &[u8]) -> Result<String, BadContent> {
    String::from_utf8(body.to_vec()).map_err(|_| (StatusCode::BAD_REQUEST, "The body is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let value = |value: &str| HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        let mut headers = HeaderMap::new();
        for (name, text) in lines {
            headers.append(name, value(text));
        }
        headers
    }

    #[test]
    fn types_are_read_as_clients_write_them() {
        for (given, good) in [
            (None, true),
            (Some(""), true),
            (Some("application/sdp"), true),
            (Some("application/SDP"), true),
            (Some("APPLICATION/SDP ; Charset=\"UTF-8\""), true),
            (Some("application/sdp; charset=utf-8"), true),
            (Some("application/sdp;"), true),
            (Some("application/json"), false),
            (Some("text/plain;charset=UTF-8"), false),
            (Some("application/sdpfrag"), false),
            (Some("application/x-www-form-urlencoded"), false),
            (Some("\u{fc}"), false),
        ] {
            let lines: Vec<_> = given.iter().map(|given| (header::CONTENT_TYPE, *given)).collect();
            let read = offer(&headers(&lines), b"v=0");
            assert_eq!(
                read.map_err(|(status, _)| status.as_u16()),
                if good { Ok("v=0".into()) } else { Err(415) }
            );
        }
    }

    #[test]
    fn who_accepts_anything_accepts_sdp() {
        for (given, good) in [
            (&[][..], true),
            (&[""][..], true),
            (&["*/*"], true),
            (&["application/json, text/plain, */*"], true),
            (&["text/html, image/gif, *; q=.2"], true),
            (&["Application/SDP;q=0.5"], true),
            (&["application/*"], true),
            (&["text/html", "application/sdp"], true),
            (&["text/html"], false),
            (&["application/sdp-next"], false),
        ] {
            let lines: Vec<_> = given.iter().map(|given| (header::ACCEPT, *given)).collect();
            assert_eq!(offer(&headers(&lines), b"v=0").is_ok(), good, "{given:?}");
        }
    }

    #[test]
    fn escapes_are_octets_of_a_text() {
        for (escaped, good) in [
            ("", true),
            ("login=a+b&c", true),
            ("/whip/%D0%B4%d0%be%D0%BC", true),
            ("login=%00", true),
            ("login=%ff", false),
            ("login=%D0", false),
            ("login=%zz", false),
            ("login=%4", false),
            ("login=%", false),
            ("login=%+4", false),
            ("login=100%", false),
            ("login=%C0%AF", false),
        ] {
            assert_eq!(is_text(escaped), good, "{escaped}");
        }
    }

    #[test]
    fn a_session_is_named_by_if_match_or_else_by_the_tag_sent_back() {
        let tag = |lines: &[(HeaderName, &str)]| if_match(&headers(lines));
        assert_eq!(tag(&[]), None);
        assert_eq!(tag(&[(header::ETAG, "\"a\"")]).as_deref(), Some("\"a\""));
        assert_eq!(tag(&[(header::ETAG, "\"a\""), (header::IF_MATCH, "\"b\"")]).as_deref(), Some("\"b\""));
    }
}
