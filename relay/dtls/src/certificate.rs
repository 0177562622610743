//! Our own certificate: self-signed, ECDSA P-256, made when the process starts and never written anywhere.

use crate::SetupError;
use boring::asn1::Asn1Time;
use boring::bn::{BigNum, MsbOption};
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::x509::{X509, X509Name, X509Ref};
use relay_core::dtls::Fingerprint;

/// Browsers do not look at the dates of a DTLS-SRTP certificate; these are what theirs have.
const VALID_DAYS: u32 = 30;

/// RFC 5280 §4.1.2.2 allows 20 octets with the first bit clear.
const SERIAL_BITS: i32 = 127;

/// A key with its certificate.
pub struct Identity {
    pub(crate) key: PKey<Private>,
    pub(crate) certificate: X509,
    fingerprint: Fingerprint,
}

impl Identity {
    /// With a new key.
    ///
    /// # Errors
    /// [`SetupError`] if BoringSSL cannot do what we need.
    pub fn generate() -> Result<Self, SetupError> {
        let key = PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)?;
        let mut name = X509Name::builder()?;
        // What browsers write as well: nothing to tell one product or start from another.
        name.append_entry_by_text("CN", "WebRTC")?;
        let name = name.build();
        let mut serial = BigNum::new()?;
        serial.rand(SERIAL_BITS, MsbOption::MAYBE_ZERO, false)?;

        let mut builder = X509::builder()?;
        // X.509 v3 is numbered 2.
        builder.set_version(2)?;
        builder.set_serial_number(&*serial.to_asn1_integer()?)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
        builder.set_not_after(&*Asn1Time::days_from_now(VALID_DAYS)?)?;
        builder.set_pubkey(&key)?;
        builder.sign(&key, MessageDigest::sha256())?;
        let certificate = builder.build();
        let fingerprint = fingerprint(&certificate).ok_or_else(boring::error::ErrorStack::get)?;
        Ok(Self { key, certificate, fingerprint })
    }

    /// SHA-256 of the certificate, which signaling announces to the peer (RFC 8122).
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// SHA-256 over the DER of a certificate (RFC 8122 §5).
pub(crate) fn fingerprint(certificate: &X509Ref) -> Option<Fingerprint> {
    certificate.digest(MessageDigest::sha256()).ok()?.as_ref().try_into().ok()
}
