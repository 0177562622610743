//! The ufrag and password of the relay's side (RFC 8445 §5.3).

use crate::demux::Ufrag;
use crate::rng::Rng;
use crate::wire::stun::IntegrityKey;

/// Length of a password the relay makes: 144 bits (RFC 8445 asks for 128).
const PWD_LEN: usize = 24;

/// What the relay announced about itself.
pub struct LocalCredentials {
    /// Left half of the peers' USERNAME.
    pub ufrag: Ufrag,
    pub pwd: [u8; PWD_LEN],
    /// The same for HMAC; prepared once the peer has come.
    pub key: IntegrityKey,
}

impl LocalCredentials {
    #[must_use]
    pub fn random(rng: &mut Rng) -> Self {
        let pwd = rng.ice_string::<PWD_LEN>();
        Self { ufrag: rng.ice_string(), key: IntegrityKey::unprepared(&pwd), pwd }
    }

    #[must_use]
    pub fn ufrag_text(&self) -> String {
        String::from_utf8_lossy(&self.ufrag).into_owned()
    }

    #[must_use]
    pub fn pwd_text(&self) -> String {
        String::from_utf8_lossy(&self.pwd).into_owned()
    }
}

impl std::fmt::Debug for LocalCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCredentials").field("ufrag", &self.ufrag_text()).finish_non_exhaustive()
    }
}
