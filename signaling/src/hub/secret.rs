//! Secrets that clients are given, and the digests that stand for them where others may read.

/// Labels are shown by `ringvox-relay ctl inventory`, so they hold digests.
pub(super) fn digest(secret: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    hash.as_ref().iter().take(24).map(|octet| format!("{octet:02x}")).collect()
}

/// Whether it has the form of one of ours; a client does not choose a guessable one by accident.
pub(super) fn is_secret(token: &str) -> bool {
    token.len() == 48 && token.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
