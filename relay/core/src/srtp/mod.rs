//! SRTP and SRTCP (RFC 3711, RFC 7714), profiles of DTLS-SRTP (RFC 5764).

/// Protection profiles, best first: the order in which the relay chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    /// 0x0007, RFC 7714
    AeadAes128Gcm,
    /// 0x0008, RFC 7714
    AeadAes256Gcm,
    /// 0x0001, RFC 3711
    Aes128CmHmacSha1_80,
}

/// Master keys and salts of one association, seen from the relay.
#[derive(Clone)]
pub struct KeyingMaterial {
    /// What was agreed.
    pub profile: SrtpProfile,
    /// Master key for what we send.
    pub local_key: Vec<u8>,
    /// Master salt for what we send.
    pub local_salt: Vec<u8>,
    /// Master key for what the peer sends.
    pub remote_key: Vec<u8>,
    /// Master salt for what the peer sends.
    pub remote_salt: Vec<u8>,
}

impl std::fmt::Debug for KeyingMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyingMaterial").field("profile", &self.profile).finish_non_exhaustive()
    }
}
