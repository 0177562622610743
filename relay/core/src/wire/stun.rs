//! STUN (RFC 8489) as far as ICE (RFC 8445) needs it: Binding requests and their answers.
//!
//! A [`StunMessage`] is well formed; that says nothing about who sent it. [`StunMessage::verify_integrity`]
//! does.

use std::net::SocketAddr;

use aws_lc_rs::{constant_time, hmac};

use super::WireError;
use super::cursor::Reader;

mod crc;
mod write;

pub use write::{write_binding_error, write_binding_request, write_binding_success, write_path_challenge};

/// RFC 8489 §5
const MAGIC_COOKIE: u32 = 0x2112_a442;
/// RFC 8489 §5
const HEADER_BYTES: usize = 20;
/// SHA-1 output
const INTEGRITY_BYTES: usize = 20;
/// RFC 8489 §14.3: "less than 509 bytes".
const USERNAME_BYTES_MAX: usize = 508;
/// RFC 8489 §14.7
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// The Binding method (RFC 8489 §18.2).
pub const METHOD_BINDING: u16 = 1;

/// Attribute types (RFC 8489 §18.3, RFC 8445 §16.1).
mod attr {
    pub(super) const MAPPED_ADDRESS: u16 = 0x0001;
    pub(super) const USERNAME: u16 = 0x0006;
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const ERROR_CODE: u16 = 0x0009;
    pub(super) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(super) const REALM: u16 = 0x0014;
    pub(super) const NONCE: u16 = 0x0015;
    pub(super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(super) const PRIORITY: u16 = 0x0024;
    pub(super) const USE_CANDIDATE: u16 = 0x0025;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    pub(super) const ICE_CONTROLLED: u16 = 0x8029;
    pub(super) const ICE_CONTROLLING: u16 = 0x802a;
    /// Lowest type that may be ignored if unknown (RFC 8489 §14).
    pub(super) const OPTIONAL: u16 = 0x8000;
}

/// Class of a message (RFC 8489 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StunClass {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// A good answer.
    Success,
    /// A bad answer.
    Error,
}

/// A short-term credential's password for HMAC-SHA1 (RFC 8489 §9.1).
#[derive(Clone)]
pub struct IntegrityKey(Prepared);

/// The 1.2 KB of a prepared key stand apart: checks are rare, and a transport that fan-out walks over should
/// be small.
#[derive(Clone)]
enum Prepared {
    Ready(Box<hmac::Key>),
    /// The password: prepared anew for each message, which takes two more blocks of SHA-1.
    Later(Box<[u8]>),
}

impl IntegrityKey {
    /// The password is the key as it is (RFC 8489 §9.1.1); ICE passwords need no SASLprep.
    #[must_use]
    pub fn new(password: &[u8]) -> Self {
        Self(Prepared::Ready(Box::new(prepare(password))))
    }

    /// The same in 40 octets, for a peer that may never come.
    #[must_use]
    pub fn unprepared(password: &[u8]) -> Self {
        Self(Prepared::Later(password.into()))
    }

    /// Checks will come.
    pub fn prepare(&mut self) {
        if let Prepared::Later(password) = &self.0 {
            *self = Self::new(password);
        }
    }

    /// HMAC over `message` up to MESSAGE-INTEGRITY, as if the message ended right behind that attribute
    /// (RFC 8489 §14.5).
    fn tag(&self, message: &[u8]) -> Option<hmac::Tag> {
        let (kind, rest) = message.split_first_chunk::<2>()?;
        let (_, rest) = rest.split_first_chunk::<2>()?;
        let length =
            u16::try_from(message.len() - HEADER_BYTES.min(message.len()) + 4 + INTEGRITY_BYTES).ok()?;
        let mut context = match &self.0 {
            Prepared::Ready(key) => hmac::Context::with_key(key),
            Prepared::Later(password) => hmac::Context::with_key(&prepare(password)),
        };
        context.update(kind);
        context.update(&length.to_be_bytes());
        context.update(rest);
        Some(context.sign())
    }
}

impl std::fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IntegrityKey([redacted])")
    }
}

fn prepare(password: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password)
}

/// A well-formed message: type bits, cookie, lengths and the order of attributes are right.
#[derive(Debug, Clone, Copy)]
pub struct StunMessage<'a> {
    bytes: &'a [u8],
    kind: u16,
    transaction_id: [u8; 12],
    username: Option<&'a [u8]>,
    priority: Option<u32>,
    use_candidate: bool,
    controlling: Option<u64>,
    controlled: Option<u64>,
    mapped_address: Option<SocketAddr>,
    error_code: Option<u16>,
    unknown_listed: Option<&'a [u8]>,
    /// What MESSAGE-INTEGRITY covers, and its value.
    integrity: Option<(&'a [u8], &'a [u8])>,
    /// What FINGERPRINT covers, and its value.
    fingerprint: Option<(&'a [u8], u32)>,
}

impl<'a> StunMessage<'a> {
    /// Reads one message that is the whole datagram.
    ///
    /// # Errors
    /// Any [`WireError`]; nobody is owed an answer to such a datagram.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        let (kind, length, cookie) = (r.u16()?, usize::from(r.u16()?), r.u32()?);
        let transaction_id = *r.take(12)?.first_chunk().ok_or(WireError::Truncated)?;
        if kind & 0xc000 != 0 {
            return Err(WireError::BadType);
        }
        if cookie != MAGIC_COOKIE {
            return Err(WireError::BadCookie);
        }
        if length % 4 != 0 || length != r.rest().len() {
            return Err(WireError::BadLength);
        }
        let mut message = Self {
            bytes,
            kind,
            transaction_id,
            username: None,
            priority: None,
            use_candidate: false,
            controlling: None,
            controlled: None,
            mapped_address: None,
            error_code: None,
            unknown_listed: None,
            integrity: None,
            fingerprint: None,
        };
        for attribute in Attributes::of(bytes) {
            message.take_attribute(&attribute?)?;
        }
        Ok(message)
    }

    /// Notes one attribute. Of repeated ones the first counts (RFC 8489 §14), but integrity may not come
    /// twice.
    fn take_attribute(&mut self, attribute: &Attribute<'a>) -> Result<(), WireError> {
        let Attribute { kind, value, before } = *attribute;
        if self.fingerprint.is_some() {
            return Err(WireError::BadOrder); // RFC 8489 §14.7: it is the last attribute
        }
        match kind {
            attr::MESSAGE_INTEGRITY if self.integrity.is_some() => return Err(WireError::BadOrder),
            attr::MESSAGE_INTEGRITY if value.len() != INTEGRITY_BYTES => return Err(WireError::BadLength),
            attr::MESSAGE_INTEGRITY => self.integrity = Some((before, value)),
            attr::FINGERPRINT => self.fingerprint = Some((before, exactly(value, Reader::u32)?)),
            // RFC 8489 §14.5: what follows MESSAGE-INTEGRITY is not covered by it, so it is ignored.
            _ if self.integrity.is_some() => {}
            attr::USERNAME if value.len() > USERNAME_BYTES_MAX => return Err(WireError::BadLength),
            attr::USERNAME => self.username = self.username.or(Some(value)),
            attr::PRIORITY => self.priority = self.priority.or(Some(exactly(value, Reader::u32)?)),
            attr::USE_CANDIDATE if !value.is_empty() => return Err(WireError::BadLength),
            attr::USE_CANDIDATE => self.use_candidate = true,
            attr::ICE_CONTROLLED => self.controlled = self.controlled.or(Some(exactly(value, Reader::u64)?)),
            attr::ICE_CONTROLLING => {
                self.controlling = self.controlling.or(Some(exactly(value, Reader::u64)?))
            }
            attr::XOR_MAPPED_ADDRESS => {
                let address = xor_address(value, &self.transaction_id)?;
                self.mapped_address = self.mapped_address.or(Some(address));
            }
            attr::ERROR_CODE => self.error_code = self.error_code.or(Some(error_code(value)?)),
            attr::UNKNOWN_ATTRIBUTES => self.unknown_listed = self.unknown_listed.or(Some(value)),
            _ => {}
        }
        Ok(())
    }

    /// Class bits of the type.
    #[must_use]
    pub const fn class(&self) -> StunClass {
        match self.kind & 0x0110 {
            0x0000 => StunClass::Request,
            0x0010 => StunClass::Indication,
            0x0100 => StunClass::Success,
            _ => StunClass::Error,
        }
    }

    /// Method bits of the type; [`METHOD_BINDING`] is the only one that ICE knows.
    #[must_use]
    pub const fn method(&self) -> u16 {
        (self.kind & 0x000f) | ((self.kind & 0x00e0) >> 1) | ((self.kind & 0x3e00) >> 2)
    }

    /// The 96 bits that an answer repeats.
    #[must_use]
    pub const fn transaction_id(&self) -> [u8; 12] {
        self.transaction_id
    }

    /// The raw `receiver's ufrag:sender's ufrag` (RFC 8445 §7.2.2).
    #[must_use]
    pub const fn username(&self) -> Option<&'a [u8]> {
        self.username
    }

    /// PRIORITY (RFC 8445 §7.1.1).
    #[must_use]
    pub const fn priority(&self) -> Option<u32> {
        self.priority
    }

    /// USE-CANDIDATE (RFC 8445 §7.1.2).
    #[must_use]
    pub const fn use_candidate(&self) -> bool {
        self.use_candidate
    }

    /// Tie breaker in ICE-CONTROLLING (RFC 8445 §7.1.3).
    #[must_use]
    pub const fn ice_controlling(&self) -> Option<u64> {
        self.controlling
    }

    /// Tie breaker in ICE-CONTROLLED (RFC 8445 §7.1.3).
    #[must_use]
    pub const fn ice_controlled(&self) -> Option<u64> {
        self.controlled
    }

    /// XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
    #[must_use]
    pub const fn mapped_address(&self) -> Option<SocketAddr> {
        self.mapped_address
    }

    /// ERROR-CODE, 300 to 699 (RFC 8489 §14.8).
    #[must_use]
    pub const fn error_code(&self) -> Option<u16> {
        self.error_code
    }

    /// What UNKNOWN-ATTRIBUTES of an error answer lists (RFC 8489 §14.13).
    pub fn unknown_listed(&self) -> impl Iterator<Item = u16> + use<'a> {
        let (pairs, _) = self.unknown_listed.unwrap_or_default().as_chunks::<2>();
        pairs.iter().map(|pair| u16::from_be_bytes(*pair))
    }

    /// Comprehension-required attributes that we do not know (RFC 8489 §6.3.1), without those that follow
    /// MESSAGE-INTEGRITY. MESSAGE-INTEGRITY-SHA256 is one of them: ICE has no use for it.
    pub fn unknown_required(&self) -> impl Iterator<Item = u16> + use<'a> {
        Attributes::of(self.bytes)
            .map_while(Result::ok)
            .map(|attribute| attribute.kind)
            .take_while(|kind| !matches!(*kind, attr::MESSAGE_INTEGRITY | attr::FINGERPRINT))
            .filter(|kind| *kind < attr::OPTIONAL && !is_known(*kind))
    }

    /// Whether MESSAGE-INTEGRITY is there at all.
    #[must_use]
    pub const fn has_integrity(&self) -> bool {
        self.integrity.is_some()
    }

    /// Whether MESSAGE-INTEGRITY is there and made with this key. Compares in constant time.
    #[must_use]
    pub fn verify_integrity(&self, key: &IntegrityKey) -> bool {
        let Some((covered, value)) = self.integrity else { return false };
        let Some(tag) = key.tag(covered) else { return false };
        constant_time::verify_slices_are_equal(tag.as_ref(), value).is_ok()
    }

    /// Whether FINGERPRINT is right; `None` if there is none. ICE requires it (RFC 8445 §7.1).
    #[must_use]
    pub fn verify_fingerprint(&self) -> Option<bool> {
        let (covered, value) = self.fingerprint?;
        Some(crc::crc32(covered) ^ FINGERPRINT_XOR == value)
    }
}

fn is_known(kind: u16) -> bool {
    matches!(
        kind,
        attr::MAPPED_ADDRESS
            | attr::USERNAME
            | attr::MESSAGE_INTEGRITY
            | attr::ERROR_CODE
            | attr::UNKNOWN_ATTRIBUTES
            | attr::REALM
            | attr::NONCE
            | attr::XOR_MAPPED_ADDRESS
            | attr::PRIORITY
            | attr::USE_CANDIDATE
    )
}

/// One attribute and all octets of the message before it.
#[derive(Clone, Copy)]
struct Attribute<'a> {
    kind: u16,
    value: &'a [u8],
    before: &'a [u8],
}

/// Walks the attributes; ends after the first error.
struct Attributes<'a> {
    message: &'a [u8],
    rest: Reader<'a>,
}

impl<'a> Attributes<'a> {
    fn of(message: &'a [u8]) -> Self {
        Self { message, rest: Reader::new(message.get(HEADER_BYTES..).unwrap_or_default()) }
    }

    fn read(&mut self) -> Result<Attribute<'a>, WireError> {
        let start = self.message.len() - self.rest.rest().len();
        let before = self.message.get(..start).unwrap_or_default();
        let (kind, len) = (self.rest.u16()?, usize::from(self.rest.u16()?));
        let value = self.rest.take(len)?;
        self.rest.take(len.next_multiple_of(4) - len)?;
        Ok(Attribute { kind, value, before })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let attribute = self.read();
        if attribute.is_err() {
            self.rest = Reader::new(&[]);
        }
        Some(attribute)
    }
}

/// Reads a value that fills the attribute.
fn exactly<'a, T>(
    value: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, WireError>,
) -> Result<T, WireError> {
    let mut r = Reader::new(value);
    let number = read(&mut r)?;
    if r.is_empty() { Ok(number) } else { Err(WireError::BadLength) }
}

/// RFC 8489 §14.2
fn xor_address(value: &[u8], transaction_id: &[u8; 12]) -> Result<SocketAddr, WireError> {
    exactly(value, |r| {
        let (_, family, port) = (r.u8()?, r.u8()?, r.u16()?);
        let port = port ^ (MAGIC_COOKIE >> 16) as u16;
        match family {
            1 => Ok(SocketAddr::from(((r.u32()? ^ MAGIC_COOKIE).to_be_bytes(), port))),
            2 => {
                let address = u128::from_be_bytes(*r.take(16)?.first_chunk().ok_or(WireError::Truncated)?);
                Ok(SocketAddr::from(((address ^ xor_mask(transaction_id)).to_be_bytes(), port)))
            }
            _ => Err(WireError::BadValue),
        }
    })
}

/// The cookie followed by the transaction id.
fn xor_mask(transaction_id: &[u8; 12]) -> u128 {
    transaction_id.iter().fold(u128::from(MAGIC_COOKIE), |mask, b| (mask << 8) | u128::from(*b))
}

/// RFC 8489 §14.8; the reason phrase is nobody's business.
fn error_code(value: &[u8]) -> Result<u16, WireError> {
    let mut r = Reader::new(value);
    let (_, class, number) = (r.u16()?, r.u8()? & 0x07, r.u8()?);
    if !(3..=6).contains(&class) || number > 99 {
        return Err(WireError::BadValue);
    }
    Ok(u16::from(class) * 100 + u16::from(number))
}

#[cfg(test)]
mod tests;
