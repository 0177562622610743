//! From text to [`Offer`]: lines, m-lines, attributes, and what m-lines inherit from the session level.
//!
//! Only what no offer can be answered without is refused: its size, its version, its m-lines. Of everything
//! else what is not understood is left out, as if it had not been said, so that a line that nobody needs
//! costs nothing. Where something needed is missing because it was not understood, the answer is refused with
//! that line ([`Media::fault`]).
//!
//! Of attributes that are said twice, the first counts; of fingerprints all do.

use super::attribute;
use super::error::{SdpError, SdpErrorKind};
use super::limits::{
    EXTENSIONS_MAX, FINGERPRINTS_MAX, FMTP_LINES_MAX, FORMATS_MAX, MEDIA_MAX, PWD_BYTES, SDP_BYTES_MAX,
    SOURCE_GROUPS_MAX, SOURCES_MAX, UFRAG_BYTES,
};
use super::offer::{Direction, Format, Media, Offer};
use relay_control::MediaKind;

/// Parses a session description.
///
/// # Errors
/// The first line that is wrong, and how.
pub fn parse(text: &str) -> Result<Offer<'_>, SdpError> {
    let mut parser = Parser::default();
    let mut lines = lines(text)?;
    match lines.next() {
        Some(line) if line.text == "v=0" => {}
        Some(line) => return Err(line.error(SdpErrorKind::NoVersion)),
        None => return Err(SdpError { line: 1, kind: SdpErrorKind::NoVersion }),
    }
    for line in lines {
        parser.line(line)?;
    }
    parser.finish()
}

/// One line without its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// From 1.
    pub(super) number: usize,
    /// At least `x=`.
    pub(super) text: &'a str,
}

impl<'a> Line<'a> {
    pub(super) fn error(self, kind: SdpErrorKind) -> SdpError {
        SdpError { line: self.number, kind }
    }

    /// Name and value if this is an attribute.
    pub(super) fn attribute(self) -> Option<(&'a str, &'a str)> {
        let attribute = self.text.strip_prefix("a=")?;
        Some(attribute.split_once(':').map_or((attribute, ""), |(name, value)| (name, value.trim())))
    }
}

/// The lines of a text that have the form of one, without white space around them. They end with LF, CR or
/// both.
pub(super) fn lines(text: &str) -> Result<impl Iterator<Item = Line<'_>>, SdpError> {
    if text.len() > SDP_BYTES_MAX {
        return Err(SdpError { line: 0, kind: SdpErrorKind::TooLong });
    }
    let text = text.trim_start_matches('\u{feff}');
    let end = if text.contains('\n') { '\n' } else { '\r' };
    let numbered = text.split(end).zip(1..);
    // A CR elsewhere ends a line as well: whoever reads an answer may take it for one.
    let pieces = numbered.flat_map(|(line, number)| line.split('\r').map(move |text| (text, number)));
    Ok(pieces.filter_map(|(text, number)| {
        let text = text.trim_matches([' ', '\t']);
        matches!(text.as_bytes(), [letter, b'=', ..] if letter.is_ascii_alphabetic())
            .then_some(Line { number, text })
    }))
}

/// The session level is a [`Media`] too: what an m-line may inherit has the same shape there.
#[derive(Default)]
struct Parser<'a> {
    session: Media<'a>,
    offer: Offer<'a>,
    has_bundle: bool,
}

impl<'a> Parser<'a> {
    fn line(&mut self, line: Line<'a>) -> Result<(), SdpError> {
        if let Some(value) = line.text.strip_prefix("m=") {
            return self.media_line(line, value);
        }
        let Some((name, value)) = line.attribute() else { return Ok(()) };
        // Names are compared without case: at least one old endpoint writes `a=Setup`.
        let mut buffer = [0; 24];
        let Some(lower) = buffer.get_mut(..name.len()) else { return Ok(()) };
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        let name = std::str::from_utf8(lower).unwrap_or_default();
        match self.section_attribute(line.number, name, value) {
            Ok(true) => {}
            Ok(false) => self.media_attribute(name, value),
            Err(kind) => {
                let fault = &mut self.section().fault;
                *fault = fault.or(Some(line.error(kind)));
            }
        }
        Ok(())
    }

    /// The one that is being read.
    fn section(&mut self) -> &mut Media<'a> {
        self.offer.media.last_mut().unwrap_or(&mut self.session)
    }

    /// `m=<media> <port>[/<number>] <protocol> <format> ...`. An answer repeats media and
    /// protocol, so they are tokens. One with a media whose rest is none of this is kept, to be rejected.
    fn media_line(&mut self, line: Line<'a>, value: &'a str) -> Result<(), SdpError> {
        if self.offer.media.len() == MEDIA_MAX {
            return Err(line.error(SdpErrorKind::TooManyMediaLines));
        }
        let (name, rest) = word(value).unwrap_or((value, ""));
        if !attribute::is_token(name) {
            return Err(line.error(SdpErrorKind::BadMediaLine));
        }
        let words = || {
            let (port, rest) = word(rest)?;
            let (protocol, formats) = word(rest).unwrap_or((rest, ""));
            let port = attribute::decimal(port.split('/').next()?)?;
            Some((u16::try_from(port).ok()?, protocol, formats)).filter(|_| is_protocol(protocol))
        };
        let well_formed = words();
        let (port, protocol, format_list) = well_formed.unwrap_or((0, MALFORMED_PROTOCOL, ""));
        let kind = match name {
            "audio" => Some(MediaKind::Audio),
            "video" => Some(MediaKind::Video),
            _ => None,
        };
        let formats = kind.map(|_| formats(format_list)).unwrap_or_default();
        self.offer.media.push(Media {
            line: line.number,
            kind,
            name,
            malformed: well_formed.is_none(),
            port,
            protocol,
            format_list,
            formats,
            ..Media::default()
        });
        Ok(())
    }

    /// Attributes that have a meaning at both levels. `Ok(false)`: it is none of them.
    ///
    /// # Errors
    /// How a value is wrong that an answer may not do without.
    fn section_attribute(&mut self, line: usize, name: &str, value: &'a str) -> Result<bool, SdpErrorKind> {
        let at_session = self.offer.media.is_empty();
        let section = self.section();
        let transport = &mut section.transport;
        match name {
            "group" if at_session => self.group(value),
            "ice-lite" => self.offer.ice_lite = true,
            "ice-ufrag" => {
                let ufrag = attribute::ice_credential(value, UFRAG_BYTES).ok_or(SdpErrorKind::BadUfrag)?;
                transport.ufrag = transport.ufrag.or(Some(ufrag));
            }
            "ice-pwd" => {
                let pwd = attribute::ice_credential(value, PWD_BYTES).ok_or(SdpErrorKind::BadPassword)?;
                transport.pwd = transport.pwd.or(Some(pwd));
            }
            "ice-options" => transport.ice_options = transport.ice_options.or(Some(value)),
            "fingerprint" => {
                let known = &mut transport.fingerprints_sha256;
                let sha256 = fingerprint(value)?.filter(|sha256| !known.contains(sha256));
                known.extend(sha256.filter(|_| known.len() < FINGERPRINTS_MAX));
            }
            "setup" => {
                let setup = attribute::setup(value).ok_or(SdpErrorKind::BadAttribute("setup"))?;
                transport.setup = transport.setup.or(Some((setup, line)));
            }
            "sendrecv" | "sendonly" | "recvonly" | "inactive" => {
                section.direction = section.direction.or(Direction::from_name(name));
            }
            "extmap" => add_extension(section, value),
            "rtcp-mux" | "rtcp-mux-only" => section.rtcp_mux = true,
            "extmap-allow-mixed" => section.extmap_allow_mixed = true,
            "candidate" => section.candidates += 1,
            "end-of-candidates" => section.end_of_candidates = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `BUNDLE <mid> ...`; other semantics (`LS`, `MID`) say nothing to us.
    fn group(&mut self, value: &'a str) {
        let mut words = value.split_ascii_whitespace();
        if words.next() == Some("BUNDLE") && !self.has_bundle {
            self.has_bundle = true;
            self.offer.bundle = words.take(MEDIA_MAX).collect();
        }
    }

    /// Attributes of an m-line only. Those of kinds we never use are not looked at, but for the mid.
    fn media_attribute(&mut self, name: &str, value: &'a str) {
        if name == "mid" {
            return self.mid(value);
        }
        let Some(media) = self.offer.media.last_mut().filter(|media| media.kind.is_some()) else { return };
        match name {
            "rtpmap" | "fmtp" | "rtcp-fb" => format_attribute(media, name, value),
            "ssrc" => add_source(media, value),
            "ssrc-group" => {
                let group = attribute::source_group(value).filter(|_| media.groups.len() < SOURCE_GROUPS_MAX);
                media.groups.extend(group.flatten());
            }
            "msid" => media.msid = media.msid.or(attribute::msid(value)),
            "rtcp-rsize" => media.rtcp_rsize = true,
            "bundle-only" => media.bundle_only = true,
            "rid" => media.rids += 1,
            "simulcast" => media.simulcast = true,
            "content" => {
                media.slides |= value.split(',').any(|word| word.trim().eq_ignore_ascii_case("slides"));
            }
            _ => {}
        }
    }

    /// An m-line whose mid is another's has none, and is in no group (RFC 9143 §5).
    fn mid(&mut self, value: &'a str) {
        let is_taken = self.offer.media.iter().any(|media| media.mid == Some(value));
        let Some(media) = self.offer.media.last_mut() else { return };
        if attribute::is_token(value) && !is_taken {
            media.mid = media.mid.or(Some(value));
        }
    }

    fn finish(mut self) -> Result<Offer<'a>, SdpError> {
        if self.offer.media.is_empty() {
            return Err(SdpError { line: 0, kind: SdpErrorKind::NoMedia });
        }
        for media in &mut self.offer.media {
            inherit(media, &self.session);
            for format in &mut media.formats {
                format.feedback = format.feedback.union(media.feedback);
            }
        }
        Ok(self.offer)
    }
}

/// What an m-line does not say for itself, the session level says for it (RFC 8866 §5.13).
fn inherit<'a>(media: &mut Media<'a>, session: &Media<'a>) {
    let (own, default) = (&mut media.transport, &session.transport);
    own.ufrag = own.ufrag.or(default.ufrag);
    own.pwd = own.pwd.or(default.pwd);
    own.ice_options = own.ice_options.or(default.ice_options);
    if own.fingerprints_sha256.is_empty() {
        own.fingerprints_sha256.clone_from(&default.fingerprints_sha256);
    }
    own.setup = own.setup.or(default.setup);
    media.direction = media.direction.or(session.direction);
    media.fault = media.fault.or(session.fault);
    media.rtcp_mux |= session.rtcp_mux;
    media.extmap_allow_mixed |= session.extmap_allow_mixed;
    for extension in &session.extensions {
        if media.extensions.iter().all(|own| own.id != extension.id && own.uri != extension.uri) {
            media.extensions.push(*extension);
        }
    }
}

/// What an answer rejects an m-line with that has no protocol.
const MALFORMED_PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";

/// The first word of a text, and what is behind it.
fn word(text: &str) -> Option<(&str, &str)> {
    let (word, rest) = text.split_once([' ', '\t'])?;
    Some((word, rest.trim_start_matches([' ', '\t'])))
}

/// The list of an m-line. One that repeats a payload type says it once.
fn formats(list: &str) -> Vec<Format<'_>> {
    let mut formats: Vec<Format<'_>> = Vec::new();
    for payload_type in list.split_ascii_whitespace().filter_map(attribute::payload_type) {
        let known = formats.iter().any(|format| format.payload_type == payload_type);
        if !known && formats.len() < FORMATS_MAX {
            formats.push(Format { payload_type, ..Format::default() });
        }
    }
    formats
}

/// `a=rtpmap`, `a=fmtp`, `a=rtcp-fb`: about one payload type that the m-line lists, or all.
fn format_attribute<'a>(media: &mut Media<'a>, name: &str, value: &'a str) {
    let (of, value) = word(value).unwrap_or((value, ""));
    if of == "*" && name == "rtcp-fb" {
        return attribute::add_feedback(&mut media.feedback, value);
    }
    let Some(payload_type) = attribute::payload_type(of) else { return };
    let Some(format) = media.formats.iter_mut().find(|format| format.payload_type == payload_type) else {
        return;
    };
    match name {
        "rtpmap" => format.rtpmap = format.rtpmap.or(attribute::rtpmap(value)),
        "fmtp" if format.fmtp.len() < FMTP_LINES_MAX => format.fmtp.push(value),
        "fmtp" => {}
        _ => attribute::add_feedback(&mut format.feedback, value),
    }
}

fn add_source<'a>(media: &mut Media<'a>, value: &'a str) {
    let Some(source) = attribute::source(value) else { return };
    if let Some(known) = media.sources.iter_mut().find(|known| known.ssrc == source.ssrc) {
        known.cname = known.cname.or(source.cname);
        known.msid = known.msid.or(source.msid);
    } else if media.sources.len() < SOURCES_MAX {
        media.sources.push(source);
    }
}

fn add_extension<'a>(section: &mut Media<'a>, value: &'a str) {
    let Some(extension) = attribute::extension(value) else { return };
    let known = section.extensions.iter().any(|known| known.id == extension.id);
    if !known && section.extensions.len() < EXTENSIONS_MAX {
        section.extensions.push(extension);
    }
}

/// `<hash> <octets>`. Only SHA-256 is of use to us, so only that is checked.
fn fingerprint(value: &str) -> Result<Option<[u8; 32]>, SdpErrorKind> {
    let (hash, octets) = word(value).unwrap_or((value, ""));
    if !hash.eq_ignore_ascii_case("sha-256") {
        return Ok(None);
    }
    attribute::sha256(octets.trim()).map(Some).ok_or(SdpErrorKind::BadFingerprint)
}

/// `UDP/TLS/RTP/SAVPF`: tokens with slashes.
fn is_protocol(text: &str) -> bool {
    text.split('/').all(attribute::is_token)
}
