//! Values of single attributes. Each function answers `None` if the value is not what its RFC demands.

use super::offer::{Direction, Extension, Feedback, Msid, RtpMap, Setup, Source, SourceGroup};

/// `token` of RFC 8866 §9: what may be echoed into an answer.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// `token-char` of RFC 8866 §9, plus the braces that Firefox puts around ids.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&byte)
}

/// ICE credentials: visible characters, `len` of them. RFC 8839 §5.4 allows letters, digits, `+` and `/`
/// only, but libraries exist that use more, and all we do with them is to compare.
pub(super) fn ice_credential(value: &str, len: std::ops::RangeInclusive<usize>) -> Option<&str> {
    (len.contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic())).then_some(value)
}

/// 32 octets in hexadecimal, separated by colons (RFC 8122 §5).
pub(super) fn sha256(value: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    let mut parts = value.split(':');
    for octet in &mut out {
        let part = parts.next()?;
        if part.len() != 2 || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        *octet = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(out)
}

/// RFC 4145 §4
pub(super) fn setup(value: &str) -> Option<Setup> {
    Some(match value.to_ascii_lowercase().as_str() {
        "active" => Setup::Active,
        "passive" => Setup::Passive,
        "actpass" => Setup::ActPass,
        "holdconn" => Setup::HoldConn,
        _ => return None,
    })
}

/// 0 to 127. Plain digits only: `from_str` would take a sign.
pub(super) fn payload_type(value: &str) -> Option<u8> {
    decimal(value).filter(|&number| number < 128).and_then(|number| u8::try_from(number).ok())
}

/// A decimal number without sign.
pub(super) fn decimal(value: &str) -> Option<u32> {
    if value.bytes().all(|byte| byte.is_ascii_digit()) { value.parse().ok() } else { None }
}

/// `<encoding>/<clock rate>[/<channels>]`
pub(super) fn rtpmap(value: &str) -> Option<RtpMap<'_>> {
    let mut parts = value.trim().split('/');
    let (name, clock) = (parts.next()?, parts.next()?);
    let channels = match parts.next() {
        Some(channels) => u8::try_from(decimal(channels)?).ok()?,
        None => 1,
    };
    let clock_rate_hz = decimal(clock)?;
    is_token(name).then_some(RtpMap { name, clock_rate_hz, channels })
}

/// Adds what one `a=rtcp-fb` line says, without its payload type. What we do not know is ignored.
pub(super) fn add_feedback(feedback: &mut Feedback, value: &str) {
    let mut words = value.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some("nack"), None) => feedback.nack = true,
        (Some("nack"), Some("pli")) => feedback.pli = true,
        (Some("ccm"), Some("fir")) => feedback.fir = true,
        (Some("goog-remb"), None) => feedback.remb = true,
        (Some("transport-cc"), None) => feedback.transport_cc = true,
        _ => {}
    }
}

/// `<id>[/<direction>] <uri> [...]`. `None` also for an id from 4096 to 4351, by which an offer asks for one
/// that is free (RFC 8285 §7): we leave such extensions out.
pub(super) fn extension(value: &str) -> Option<Extension<'_>> {
    let mut words = value.split_ascii_whitespace();
    let (head, uri) = (words.next()?, words.next()?);
    let (id, direction) = match head.split_once('/') {
        Some((id, direction)) => (id, Direction::from_name(direction)?),
        None => (head, Direction::SendRecv),
    };
    let id = u8::try_from(decimal(id)?).ok().filter(|id| *id > 0)?;
    Some(Extension { id, direction, uri })
}

/// `<stream> [<track>]`
pub(super) fn msid(value: &str) -> Option<Msid<'_>> {
    let mut words = value.split_ascii_whitespace();
    let stream = words.next()?;
    Some(Msid { stream, track: words.next() })
}

/// `<ssrc> <attribute>[:<value>]`
pub(super) fn source(value: &str) -> Option<Source<'_>> {
    let (ssrc, rest) = value.split_once(' ').unwrap_or((value, ""));
    let ssrc = decimal(ssrc)?;
    let (name, value) = rest.split_once(':').unwrap_or((rest, ""));
    Some(Source {
        ssrc,
        cname: (name == "cname").then_some(value),
        msid: if name == "msid" { msid(value) } else { None },
    })
}

/// `<semantics> <ssrc> <ssrc> ...`. A group of one says nothing: `Some(None)`.
pub(super) fn source_group(value: &str) -> Option<Option<SourceGroup<'_>>> {
    let mut words = value.split_ascii_whitespace();
    let (semantics, first) = (words.next()?, decimal(words.next()?)?);
    let Some(second) = words.next() else { return Some(None) };
    Some(Some(SourceGroup { semantics, first, second: decimal(second)? }))
}
