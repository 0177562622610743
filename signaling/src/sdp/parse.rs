//! From text to [`Offer`]: lines, m-lines, attributes, and what m-lines inherit from the session level.
//!
//! Tolerated: LF without CR, empty lines, attribute names in any case, unknown attributes and lines, sections
//! that we shall never use. Not tolerated: values we do understand and that are wrong.

use super::attribute;
use super::error::{SdpError, SdpErrorKind};
use super::limits::{
    CANDIDATES_MAX, EXTENSIONS_MAX, FINGERPRINTS_MAX, FMTP_LINES_MAX, FORMATS_MAX, LINE_BYTES_MAX, MEDIA_MAX,
    MID_BYTES_MAX, PWD_BYTES, RIDS_MAX, SDP_BYTES_MAX, SOURCE_GROUPS_MAX, SOURCES_MAX, UFRAG_BYTES,
};
use super::offer::{Direction, Format, Media, Offer};
use relay_control::MediaKind;

/// Parses a session description.
///
/// # Errors
/// The first line that is wrong, and how.
pub fn parse(text: &str) -> Result<Offer<'_>, SdpError> {
    let mut parser = Parser::default();
    let mut first = true;
    for line in lines(text)? {
        let line = line?;
        if first && line.text != "v=0" {
            return Err(line.error(SdpErrorKind::NoVersion));
        }
        first = false;
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

/// The lines of a text, checked for length, control characters and form. Empty ones are left out.
pub(super) fn lines(text: &str) -> Result<impl Iterator<Item = Result<Line<'_>, SdpError>>, SdpError> {
    if text.len() > SDP_BYTES_MAX {
        return Err(SdpError { line: 0, kind: SdpErrorKind::TooLong });
    }
    Ok(text.split('\n').enumerate().filter_map(|(index, text)| {
        let text = text.strip_suffix('\r').unwrap_or(text);
        let line = Line { number: index + 1, text: text.trim_end_matches(' ') };
        if text.len() > LINE_BYTES_MAX {
            return Some(Err(line.error(SdpErrorKind::LineTooLong)));
        }
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Some(Err(line.error(SdpErrorKind::ControlCharacter)));
        }
        match line.text.as_bytes() {
            [] => None,
            [letter, b'=', ..] if letter.is_ascii_alphabetic() => Some(Ok(line)),
            _ => Some(Err(line.error(SdpErrorKind::NotALine))),
        }
    }))
}

/// The session level is a [`Media`] too: what an m-line may inherit has the same shape there.
#[derive(Default)]
struct Parser<'a> {
    session: Media<'a>,
    offer: Offer<'a>,
    has_bundle: bool,
    /// Of the section that is being read.
    fingerprints: usize,
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
        let result = match self.section_attribute(name, value) {
            Ok(false) => self.media_attribute(name, value),
            Ok(true) => Ok(()),
            Err(kind) => Err(kind),
        };
        result.map_err(|kind| line.error(kind))
    }

    /// `m=<media> <port>[/<number>] <protocol> <format> ...`
    fn media_line(&mut self, line: Line<'a>, value: &'a str) -> Result<(), SdpError> {
        if self.offer.media.len() == MEDIA_MAX {
            return Err(line.error(SdpErrorKind::TooMany("m-lines", MEDIA_MAX)));
        }
        let mut words = value.splitn(4, ' ');
        let (Some(name), Some(port), Some(protocol), Some(format_list)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(line.error(SdpErrorKind::BadMediaLine));
        };
        let port =
            port.split('/').next().and_then(attribute::decimal).and_then(|port| u16::try_from(port).ok());
        let tokens = format_list.split_ascii_whitespace().all(attribute::is_token);
        let (Some(port), true) = (port, attribute::is_token(name) && is_protocol(protocol) && tokens) else {
            return Err(line.error(SdpErrorKind::BadMediaLine));
        };
        let kind = match name {
            "audio" => Some(MediaKind::Audio),
            "video" => Some(MediaKind::Video),
            _ => None,
        };
        let formats = match kind {
            Some(_) => formats(format_list).map_err(|kind| line.error(kind))?,
            None => Vec::new(),
        };
        self.fingerprints = 0;
        self.offer.media.push(Media {
            line: line.number,
            kind,
            name,
            port,
            protocol,
            format_list,
            formats,
            ..Media::default()
        });
        Ok(())
    }

    /// Attributes that have a meaning at both levels. `Ok(false)`: it is none of them.
    fn section_attribute(&mut self, name: &str, value: &'a str) -> Result<bool, SdpErrorKind> {
        let at_session = self.offer.media.is_empty();
        let section = self.offer.media.last_mut().unwrap_or(&mut self.session);
        let transport = &mut section.transport;
        match name {
            "group" if at_session => self.group(value)?,
            "ice-lite" => self.offer.ice_lite = true,
            "ice-ufrag" => {
                transport.ufrag =
                    Some(attribute::ice_credential(value, UFRAG_BYTES).ok_or(SdpErrorKind::BadUfrag)?);
            }
            "ice-pwd" => {
                transport.pwd =
                    Some(attribute::ice_credential(value, PWD_BYTES).ok_or(SdpErrorKind::BadPassword)?);
            }
            "ice-options" => transport.ice_options = Some(value),
            "fingerprint" => {
                count(&mut self.fingerprints, "fingerprints", FINGERPRINTS_MAX)?;
                let sha256 = fingerprint(value)?;
                transport.fingerprint_sha256 = transport.fingerprint_sha256.or(sha256);
            }
            "setup" => {
                transport.setup = Some(attribute::setup(value).ok_or(SdpErrorKind::BadAttribute("setup"))?);
            }
            "sendrecv" | "sendonly" | "recvonly" | "inactive" => {
                section.direction = Direction::from_name(name)
            }
            "extmap" => add_extension(section, value)?,
            "extmap-allow-mixed" => section.extmap_allow_mixed = true,
            "candidate" => count(&mut section.candidates, "candidates", CANDIDATES_MAX)?,
            "end-of-candidates" => section.end_of_candidates = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `BUNDLE <mid> ...`; other semantics (`LS`, `MID`) say nothing to us.
    fn group(&mut self, value: &'a str) -> Result<(), SdpErrorKind> {
        let mut words = value.split_ascii_whitespace();
        if words.next() != Some("BUNDLE") || self.has_bundle {
            return Ok(());
        }
        self.has_bundle = true;
        self.offer.bundle = words.take(MEDIA_MAX + 1).collect();
        if self.offer.bundle.len() > MEDIA_MAX {
            return Err(SdpErrorKind::TooMany("bundled mids", MEDIA_MAX));
        }
        Ok(())
    }

    /// Attributes of an m-line only. Those of kinds we never use are not looked at, but for the mid.
    fn media_attribute(&mut self, name: &str, value: &'a str) -> Result<(), SdpErrorKind> {
        if name == "mid" {
            return self.mid(value);
        }
        let Some(media) = self.offer.media.last_mut().filter(|media| media.kind.is_some()) else {
            return Ok(());
        };
        match name {
            "rtpmap" | "fmtp" | "rtcp-fb" => format_attribute(media, name, value)?,
            "ssrc" => add_source(media, value)?,
            "ssrc-group" => {
                let group = attribute::source_group(value).ok_or(SdpErrorKind::BadAttribute("ssrc-group"))?;
                room(media.groups.len(), "ssrc-groups", SOURCE_GROUPS_MAX)?;
                media.groups.extend(group);
            }
            "msid" => {
                let msid = attribute::msid(value).ok_or(SdpErrorKind::BadAttribute("msid"))?;
                media.msid = media.msid.or(Some(msid));
            }
            "rtcp-mux" => media.rtcp_mux = true,
            "rtcp-rsize" => media.rtcp_rsize = true,
            "bundle-only" => media.bundle_only = true,
            "rid" => count(&mut media.rids, "rids", RIDS_MAX)?,
            "simulcast" => media.simulcast = true,
            "content" => {
                media.slides |= value.split(',').any(|word| word.trim().eq_ignore_ascii_case("slides"))
            }
            _ => {}
        }
        Ok(())
    }

    fn mid(&mut self, value: &'a str) -> Result<(), SdpErrorKind> {
        if !attribute::is_token(value) || value.len() > MID_BYTES_MAX {
            return Err(SdpErrorKind::BadAttribute("mid"));
        }
        if self.offer.media.iter().any(|media| media.mid == Some(value)) {
            return Err(SdpErrorKind::DuplicateMid);
        }
        let Some(media) = self.offer.media.last_mut() else { return Ok(()) };
        match media.mid.replace(value) {
            Some(_) => Err(SdpErrorKind::DuplicateMid),
            None => Ok(()),
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
    own.fingerprint_sha256 = own.fingerprint_sha256.or(default.fingerprint_sha256);
    own.setup = own.setup.or(default.setup);
    media.direction = media.direction.or(session.direction);
    media.extmap_allow_mixed |= session.extmap_allow_mixed;
    for extension in &session.extensions {
        if media.extensions.iter().all(|own| own.id != extension.id && own.uri != extension.uri) {
            media.extensions.push(*extension);
        }
    }
}

/// The list of an m-line. One that repeats a payload type says it once.
fn formats(list: &str) -> Result<Vec<Format<'_>>, SdpErrorKind> {
    let mut formats: Vec<Format<'_>> = Vec::new();
    for word in list.split_ascii_whitespace() {
        let payload_type = attribute::payload_type(word).ok_or(SdpErrorKind::BadPayloadType)?;
        room(formats.len(), "formats", FORMATS_MAX)?;
        if formats.iter().all(|format| format.payload_type != payload_type) {
            formats.push(Format { payload_type, ..Format::default() });
        }
    }
    Ok(formats)
}

/// `a=rtpmap`, `a=fmtp`, `a=rtcp-fb`: about one payload type, or all. One that the m-line does not list is
/// ignored.
fn format_attribute<'a>(media: &mut Media<'a>, name: &str, value: &'a str) -> Result<(), SdpErrorKind> {
    let (of, value) = value.split_once(' ').unwrap_or((value, ""));
    if of == "*" && name == "rtcp-fb" {
        attribute::add_feedback(&mut media.feedback, value);
        return Ok(());
    }
    let payload_type = attribute::payload_type(of).ok_or(SdpErrorKind::BadPayloadType)?;
    let Some(format) = media.formats.iter_mut().find(|format| format.payload_type == payload_type) else {
        return Ok(());
    };
    match name {
        "rtpmap" => {
            format.rtpmap = Some(attribute::rtpmap(value).ok_or(SdpErrorKind::BadAttribute("rtpmap"))?);
        }
        "fmtp" => {
            room(format.fmtp.len(), "fmtp lines of a format", FMTP_LINES_MAX)?;
            format.fmtp.push(value);
        }
        _ => attribute::add_feedback(&mut format.feedback, value),
    }
    Ok(())
}

fn add_source<'a>(media: &mut Media<'a>, value: &'a str) -> Result<(), SdpErrorKind> {
    let source = attribute::source(value).ok_or(SdpErrorKind::BadAttribute("ssrc"))?;
    if let Some(known) = media.sources.iter_mut().find(|known| known.ssrc == source.ssrc) {
        known.cname = known.cname.or(source.cname);
        known.msid = known.msid.or(source.msid);
        return Ok(());
    }
    room(media.sources.len(), "SSRCs", SOURCES_MAX)?;
    media.sources.push(source);
    Ok(())
}

fn add_extension<'a>(section: &mut Media<'a>, value: &'a str) -> Result<(), SdpErrorKind> {
    let extension = match attribute::extension(value).ok_or(SdpErrorKind::BadAttribute("extmap"))? {
        Ok(Some(extension)) => extension,
        Ok(None) => return Ok(()),
        Err(_) => return Err(SdpErrorKind::BadExtensionId),
    };
    if section.extensions.iter().any(|known| known.id == extension.id) {
        return Err(SdpErrorKind::DuplicateExtension);
    }
    room(section.extensions.len(), "header extensions", EXTENSIONS_MAX)?;
    section.extensions.push(extension);
    Ok(())
}

/// `<hash> <octets>`. Only SHA-256 is of use to us, so only that is checked.
fn fingerprint(value: &str) -> Result<Option<[u8; 32]>, SdpErrorKind> {
    let (hash, octets) = value.split_once(' ').ok_or(SdpErrorKind::BadFingerprint)?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return Ok(None);
    }
    attribute::sha256(octets.trim()).map(Some).ok_or(SdpErrorKind::BadFingerprint)
}

/// `UDP/TLS/RTP/SAVPF`: tokens with slashes.
fn is_protocol(text: &str) -> bool {
    text.split('/').all(attribute::is_token)
}

/// Room for one more?
fn room(len: usize, what: &'static str, max: usize) -> Result<(), SdpErrorKind> {
    if len < max { Ok(()) } else { Err(SdpErrorKind::TooMany(what, max)) }
}

fn count(counter: &mut usize, what: &'static str, max: usize) -> Result<(), SdpErrorKind> {
    room(*counter, what, max)?;
    *counter += 1;
    Ok(())
}
