//! The relay's end of every association, as server and as client.

use crate::certificate::Identity;
use crate::dialer::Dialer;
use crate::hello::{self, offers_what_we_need};
use crate::listener::Listener;
use crate::{DATAGRAM_BYTES_MAX, MESSAGE_BYTES_MAX, SetupError, ffi, peer};
use boring::ssl::{
    ClientHello, ExtensionType, SelectCertError, SslContext, SslContextBuilder, SslMethod, SslOptions,
    SslSessionCacheMode, SslVersion,
};
use relay_core::dtls::{DtlsEngine, DtlsFactory, Fingerprint, Fingerprints};
use relay_core::srtp::SrtpProfile;
use relay_core::time::Time;

/// Post-quantum first: current browsers send a share for it.
pub const GROUPS: &str = "X25519MLKEM768:X25519:P-256";

/// Groups that we offer as the client: in DTLS 1.2 they are the curves of the certificates, too, that the
/// server may show (RFC 8422 §5.1.1). Last come those that are wanted for that alone.
const OFFERED_GROUPS: &str = "X25519MLKEM768:X25519:P-256:P-384:P-521";

/// Of DTLS 1.2; those of 1.3 are all authenticated ciphers. Our certificate is ECDSA, and static RSA has no
/// forward secrecy.
pub const SUITES: &str =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305";

/// Suites of DTLS 1.2 that we offer as the client: the certificate is the server's then, and GStreamer's has
/// an RSA key.
const OFFERED_SUITES: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
    ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
    ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

/// Makes engines of both roles that share one certificate with a key that never leaves the process. Clones
/// share it too: one for each shard.
#[derive(Clone)]
pub struct EngineFactory {
    server: SslContext,
    client: SslContext,
    fingerprint: Fingerprint,
}

impl EngineFactory {
    /// With a new key and certificate.
    ///
    /// # Errors
    /// [`SetupError`] if BoringSSL cannot do what we need.
    pub fn new() -> Result<Self, SetupError> {
        let identity = Identity::generate()?;
        let context = |groups, suites| -> Result<SslContextBuilder, SetupError> {
            let mut context = base_context(&identity)?;
            context.set_tlsext_use_srtp(&boring_profiles(&SrtpProfile::ALL))?;
            context.set_curves_list(groups)?;
            context.set_strict_cipher_list(suites)?;
            Ok(context)
        };
        let mut server = context(GROUPS, SUITES)?;
        server.set_options(SslOptions::CIPHER_SERVER_PREFERENCE);
        server.set_select_certificate_callback(|hello| inspect(&hello));
        let client = context(OFFERED_GROUPS, OFFERED_SUITES)?.build();
        Ok(Self { server: server.build(), client, fingerprint: identity.fingerprint() })
    }
}

impl DtlsFactory for EngineFactory {
    fn accept(&mut self, now: Time, peer: Fingerprints) -> Box<dyn DtlsEngine> {
        Box::new(Listener::new(self.server.clone(), now, peer))
    }

    fn connect(&mut self, now: Time, peer: Fingerprints) -> Box<dyn DtlsEngine> {
        Box::new(Dialer::new(&self.client, now, peer))
    }

    fn may_begin(&self, datagram: &[u8]) -> bool {
        hello::may_begin(datagram)
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl std::fmt::Debug for EngineFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineFactory").finish_non_exhaustive()
    }
}

/// What both ends have in common.
///
/// # Errors
/// [`SetupError`] if BoringSSL cannot do what we need.
pub fn base_context(identity: &Identity) -> Result<SslContextBuilder, SetupError> {
    let mut context = SslContext::builder(SslMethod::dtls())?;
    context.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    context.set_max_proto_version(Some(SslVersion::DTLS1_3))?;
    context.set_private_key(&identity.key)?;
    context.set_certificate(&identity.certificate)?;
    // An association lives as long as its media: nothing to resume.
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_options(SslOptions::NO_TICKET | SslOptions::NO_QUERY_MTU);
    peer::require_certificate(&mut context);
    ffi::configure(&mut context, MESSAGE_BYTES_MAX);
    const { assert!(DATAGRAM_BYTES_MAX <= relay_core::outbox::DATAGRAM_BYTES_MAX) };
    Ok(context)
}

/// Profiles as BoringSSL names them.
#[must_use]
pub fn boring_profiles(profiles: &[SrtpProfile]) -> String {
    let names = profiles.iter().map(|profile| match profile {
        SrtpProfile::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
        SrtpProfile::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
        SrtpProfile::Aes128CmHmacSha1_80 => "SRTP_AES128_CM_SHA1_80",
    });
    names.collect::<Vec<_>>().join(":")
}

/// Refuses a ClientHello that BoringSSL would let pass.
fn inspect(hello: &ClientHello<'_>) -> Result<(), SelectCertError> {
    let extension = |id: u16| hello.get_extension(ExtensionType::from(id));
    if offers_what_we_need(extension) { Ok(()) } else { Err(SelectCertError::ERROR) }
}
