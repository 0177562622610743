//! The client's end of DTLS: what it offers, and associations of the same shape as the server's.

use boring::ssl::{SslContext, SslVersion};
use relay_core::dtls::{DtlsEngine, Fingerprint, Fingerprints};
use relay_core::srtp::SrtpProfile;
use relay_core::time::Time;
use relay_dtls::{
    Association, GROUPS, Identity, Listener, SUITES, SetupError, base_context, boring_profiles,
};

/// A client-side association: the same verbs as the server's. `local` keys are the client's.
pub type DtlsClient = Association;

/// DTLS versions that a client offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// As current browsers do.
    #[default]
    Both,
    /// As older browsers do.
    Only1_2,
    Only1_3,
}

/// What a client offers.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// SRTP profiles, best first; none leaves `use_srtp` out.
    pub profiles: Vec<SrtpProfile>,
    pub versions: Versions,
    /// Groups, best first, as BoringSSL names them, separated by colons.
    pub groups: String,
}

impl Default for ClientOptions {
    /// What current Chromium offers, in its order: SHA-1 first.
    fn default() -> Self {
        Self {
            profiles: vec![
                SrtpProfile::Aes128CmHmacSha1_80,
                SrtpProfile::AeadAes128Gcm,
                SrtpProfile::AeadAes256Gcm,
            ],
            versions: Versions::Both,
            groups: GROUPS.to_owned(),
        }
    }
}

/// Makes DTLS clients that share one certificate.
pub struct ClientFactory {
    context: SslContext,
    fingerprint: Fingerprint,
}

impl ClientFactory {
    /// With a new key and certificate.
    ///
    /// # Errors
    /// [`SetupError`] if the options name something unknown, or BoringSSL cannot do what we need.
    pub fn new(options: &ClientOptions) -> Result<Self, SetupError> {
        let identity = Identity::generate()?;
        let mut context = base_context(&identity)?;
        let (min, max) = match options.versions {
            Versions::Both => (SslVersion::DTLS1_2, SslVersion::DTLS1_3),
            Versions::Only1_2 => (SslVersion::DTLS1_2, SslVersion::DTLS1_2),
            Versions::Only1_3 => (SslVersion::DTLS1_3, SslVersion::DTLS1_3),
        };
        context.set_min_proto_version(Some(min))?;
        context.set_max_proto_version(Some(max))?;
        context.set_curves_list(&options.groups)?;
        context.set_strict_cipher_list(SUITES)?;
        if !options.profiles.is_empty() {
            context.set_tlsext_use_srtp(&boring_profiles(&options.profiles))?;
        }
        Ok(Self { context: context.build(), fingerprint: identity.fingerprint() })
    }

    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Starts a handshake: the ClientHello waits to be polled. The server is judged by `peer`, or not at all.
    ///
    /// # Panics
    /// If memory is out.
    #[must_use]
    pub fn connect(&self, now: Time, peer: Option<Fingerprint>) -> DtlsClient {
        Association::client(&self.context, now, peer.map(Fingerprints::from))
    }

    /// The passive side: waits for the hello of a client that is judged by `peer`.
    #[must_use]
    pub fn accept(&self, now: Time, peer: Fingerprint) -> Box<dyn DtlsEngine> {
        Box::new(Listener::new(self.context.clone(), now, peer.into()))
    }
}

impl std::fmt::Debug for ClientFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientFactory").finish_non_exhaustive()
    }
}
