//! Judging the peer's certificate, inside the handshake.

use crate::certificate::fingerprint;
use boring::ex_data::Index;
use boring::ssl::{Ssl, SslAlert, SslContextBuilder, SslRef, SslVerifyError, SslVerifyMode};
use relay_core::dtls::Fingerprints;
use std::sync::OnceLock;

/// What is announced of the peer, and what has come of it. Every connection carries one.
pub(crate) struct PeerCheck {
    /// `None` lets everybody in: for clients that only probe.
    pub(crate) announced: Option<Fingerprints>,
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No certificate has been received.
    Pending,
    /// The certificate is an announced one.
    Match,
    /// The certificate is another one.
    Mismatch,
}

impl PeerCheck {
    pub(crate) fn attach(ssl: &mut SslRef, announced: Option<Fingerprints>) {
        ssl.set_ex_data(index(), Self { announced, verdict: Verdict::Pending });
    }

    pub(crate) fn verdict(ssl: &SslRef) -> Verdict {
        ssl.ex_data(index()).map_or(Verdict::Pending, |check| check.verdict)
    }
}

/// Where BoringSSL keeps a connection's check.
fn index() -> Index<Ssl, PeerCheck> {
    static INDEX: OnceLock<Index<Ssl, PeerCheck>> = OnceLock::new();
    *INDEX.get_or_init(|| Ssl::new_ex_index().expect("an index is a number that BoringSSL counts up"))
}

/// Makes connections of this context demand a certificate and judge it by its fingerprint.
pub(crate) fn require_certificate(context: &mut SslContextBuilder) {
    context.set_custom_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, verify);
}

/// Comes right after the certificate, before the peer's signature is looked at (in both versions).
fn verify(ssl: &mut SslRef) -> Result<(), SslVerifyError> {
    // RFC 5764 §4.1: without use_srtp there is nothing here to do.
    if ssl.selected_srtp_profile().is_none() {
        return Err(SslVerifyError::Invalid(SslAlert::HANDSHAKE_FAILURE));
    }
    let shown = ssl.peer_certificate().as_deref().and_then(fingerprint);
    let check = ssl.ex_data_mut(index()).ok_or(SslVerifyError::Invalid(SslAlert::INTERNAL_ERROR))?;
    let matches = shown.is_some_and(|shown| check.announced.as_ref().is_none_or(|peer| peer.has(&shown)));
    check.verdict = if matches { Verdict::Match } else { Verdict::Mismatch };
    if matches { Ok(()) } else { Err(SslVerifyError::Invalid(SslAlert::BAD_CERTIFICATE)) }
}
