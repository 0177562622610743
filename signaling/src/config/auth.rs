//! `[auth]`: who may do what.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// `[auth]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Who decides.
    pub mode: AuthMode,
    /// With [`AuthMode::Token`].
    pub token: TokenSettings,
    /// With [`AuthMode::Hook`].
    pub hook: HookSettings,
}

/// Who decides about access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Nobody: everybody may do everything.
    Open,
    /// Whoever signs tokens.
    Token,
    /// An HTTP service of the operator's.
    Hook,
}

/// How tokens are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSettings {
    /// The only one that is taken, whatever a token's header says.
    pub algorithm: Option<TokenAlgorithm>,
    /// File with the secret (HS256) or the public key in PEM.
    pub key: Option<PathBuf>,
    /// What `iss` must be; `None` = not looked at.
    pub issuer: Option<String>,
    /// What `aud` must contain; `None` = a token with an audience is for somebody else.
    pub audience: Option<String>,
}

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256 and a shared secret.
    Hs256,
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// Ed25519.
    EdDsa,
}

/// How the operator's service is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSettings {
    /// What stands before `/connect`, `/publishStream`, ...
    pub url: Option<HookUrl>,
    /// From the question to the end of the answer.
    pub timeout: Duration,
    /// Questions at a time; more wait, and their waiting counts.
    pub concurrency: usize,
    /// When there is no answer that can be understood.
    pub on_failure: OnFailure,
}

/// What counts when the hook does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// No.
    Refuse,
    /// Yes.
    Allow,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: AuthMode::Open,
            token: TokenSettings::default(),
            hook: HookSettings {
                url: None,
                timeout: Duration::from_secs(2),
                concurrency: 64,
                on_failure: OnFailure::Refuse,
            },
        }
    }
}

/// `http://host[:port][/path]` or the same with https; nothing of it ever comes from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookUrl {
    /// Whether TLS is spoken.
    pub https: bool,
    /// As it is looked up and as the certificate must say; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Value of the `Host` header.
    pub authority: String,
    /// Without the slash at its end.
    pub path: String,
}

impl HookUrl {
    /// `None`: not of that form.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: axum::http::Uri = text.parse().ok()?;
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        let plain = uri.query().is_none() && !authority.as_str().contains('@') && !text.contains('#');
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        (plain && !host.is_empty()).then(|| Self {
            https,
            host,
            port: authority.port_u16().unwrap_or(if https { 443 } else { 80 }),
            authority: authority.to_string(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http{}://{}{}", if self.https { "s" } else { "" }, self.authority, self.path)
    }
}

impl Auth {
    /// `None`: the value is not one that `key` accepts.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Option<()> {
        let text = || Some(value.to_owned()).filter(|value| (1..=256).contains(&value.len()));
        match (key, value) {
            ("mode", "open") => self.mode = AuthMode::Open,
            ("mode", "token") => self.mode = AuthMode::Token,
            ("mode", "hook") => self.mode = AuthMode::Hook,
            ("token_algorithm", "HS256") => self.token.algorithm = Some(TokenAlgorithm::Hs256),
            ("token_algorithm", "RS256") => self.token.algorithm = Some(TokenAlgorithm::Rs256),
            ("token_algorithm", "EdDSA") => self.token.algorithm = Some(TokenAlgorithm::EdDsa),
            ("token_key", _) => self.token.key = Some(super::keys::path(value)?),
            ("token_issuer", _) => self.token.issuer = Some(text()?),
            ("token_audience", _) => self.token.audience = Some(text()?),
            ("hook_url", _) => self.hook.url = Some(HookUrl::parse(value)?),
            ("hook_timeout_ms", _) => self.hook.timeout = super::keys::millis(value, 100..=5_000)?,
            ("hook_concurrency", _) => self.hook.concurrency = super::keys::number(value, 1..=10_000)?,
            ("hook_on_failure", "refuse") => self.hook.on_failure = OnFailure::Refuse,
            ("hook_on_failure", "allow") => self.hook.on_failure = OnFailure::Allow,
            _ => return None,
        }
        Some(())
    }

    /// The key that the mode needs and that is not there.
    pub(super) fn missing(&self) -> Option<&'static str> {
        match self.mode {
            AuthMode::Open => None,
            AuthMode::Token if self.token.algorithm.is_none() => Some("auth.token_algorithm"),
            AuthMode::Token => self.token.key.is_none().then_some("auth.token_key"),
            AuthMode::Hook => self.hook.url.is_none().then_some("auth.hook_url"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_url_is_an_address_and_a_path() {
        for (text, expected) in [
            ("http://localhost:9000", Some(("localhost", 9000, ""))),
            ("https://hooks.example/rooms/v1/", Some(("hooks.example", 443, "/rooms/v1"))),
            ("http://[::1]:81/a", Some(("::1", 81, "/a"))),
            ("http://127.0.0.1/", Some(("127.0.0.1", 80, ""))),
            ("ftp://host/", None),
            ("file:///etc/passwd", None),
            ("http://user:secret@host/", None),
            ("http://host/?a=b", None),
            ("http://host/#a", None),
            ("http:///a", None),
            ("/a", None),
            ("host:80", None),
            ("", None),
        ] {
            let url = HookUrl::parse(text);
            let found = url.as_ref().map(|url| (url.host.as_str(), url.port, url.path.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
