//! `[auth]`: who may do what.

use relay_settings::{Accepts, millis, number, one_of, path, settings, single};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

settings! {
    /// `[auth]`
    pub struct Auth in "auth" {
        /// Who decides what a client may do. "open": everybody may do everything. Fine on a laptop; a server
        /// that others reach says so loudly at start. "token": the page passes a JSON Web Token (custom.token
        /// of the session; "Authorization: Bearer" for WHIP and WHEP). Claims: "exp" (required) and "nbf",
        /// both with 60 s of leeway; "sub": the login, any if absent; "rooms": a text or a list of texts in
        /// which * stands for any characters, none if absent; "publish" and "subscribe" (default true);
        /// "record" (default false): to have streams and rooms recorded, and to fetch the files of its rooms,
        /// there also as ?token= of the URL; "priority": "very-low", "low", "medium" or "high", of the video
        /// that the bearer publishes. It is checked when the session begins. "hook": what a client asks is
        /// POSTed as JSON to hook_url with /connect, /publishStream, /playStream, /sendData or, for the file of
        /// a recording, /getRecord behind it. 2xx allows it;
        /// 4xx refuses, and the body's "info" (or the reason phrase) is what the client is told. An allowing
        /// body may be JSON with a "priority" as in tokens: to connect for all the session publishes, to
        /// publishStream for that stream, which counts more; one that is none of the four is a failure of the
        /// hook. "remoteAddress" of what a client asks is its address, behind signaling.proxies as well. What
        /// happens besides is told to /unPublishStream, /stopStream, /ConnectionStatusEvent and
        /// /StreamStatusEvent; nobody waits for those answers. Redirects are not followed. A relay that does
        /// not keep up withholds video of the lowest priority first. Where nobody says any, a shared screen
        /// has "high" and other video "medium".
        mode: AuthMode = "open",
            one_of(&[("open", AuthMode::Open), ("token", AuthMode::Token), ("hook", AuthMode::Hook)]);
        /// The only signature that is accepted, whatever a token says of itself.
        token_algorithm: Option<TokenAlgorithm> = (None, "HS256"), one_of(&[
            ("HS256", TokenAlgorithm::Hs256),
            ("RS256", TokenAlgorithm::Rs256),
            ("EdDSA", TokenAlgorithm::EdDsa),
        ]).map(Some);
        /// The secret must have at least 32 bytes; a line break at its end does not count.
        token_key: Option<PathBuf> = (None, "/etc/ringvox/token.key"),
            path("a file with the secret (HS256) or the public key in PEM").map(Some);
        /// The key before it, which is accepted as well while a new one is brought out: move the old file here
        /// and write the new one. Where this file is not, only token_key counts, so removing it ends that.
        token_key_old: Option<PathBuf> = (None, "/etc/ringvox/token.old.key"),
            path("a file as token_key is, or none yet").map(Some);
        /// What "iss" must be; not looked at without this key.
        token_issuer: Option<String> = (None, "https://login.example.com"), text().map(Some);
        /// What "aud" must contain. Without this key, a token that has "aud" is for somebody else and
        /// refused.
        token_audience: Option<String> = (None, "ringvox"), text().map(Some);
        /// What stands before /connect, /publishStream and so on.
        hook_url: Option<HookUrl> = (None, "http://127.0.0.1:9000/ringvox"), single(
            "http://host:port/path or https://host/path, without user, query and fragment",
            "URL",
            HookUrl::parse,
        ).map(Some);
        /// Time from a question to the hook until its whole answer must be there.
        hook_timeout + "_ms": Duration = 2_000, millis(100..=5_000);
        /// Questions to the hook at a time; more wait, and their waiting counts.
        hook_concurrency: usize = 64, number("a number", 1..=10_000);
        /// What counts when the hook is away, too slow or answers anything but 2xx and 4xx.
        hook_on_failure: OnFailure = "refuse", one_of(&[("refuse", OnFailure::Refuse), ("allow", OnFailure::Allow)]);
    }
}

fn text() -> Accepts<String> {
    let read = |text: &str| Some(text.to_owned()).filter(|text| (1..=256).contains(&text.len()));
    single("a text of 1 to 256 bytes", "TEXT", read)
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

/// What counts when the hook does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// No.
    Refuse,
    /// Yes.
    Allow,
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
    /// The key that the mode needs and that is not there.
    pub(super) fn missing(&self) -> Option<&'static str> {
        match self.mode {
            AuthMode::Open => None,
            AuthMode::Token if self.token_algorithm.is_none() => Some("auth.token_algorithm"),
            AuthMode::Token => self.token_key.is_none().then_some("auth.token_key"),
            AuthMode::Hook => self.hook_url.is_none().then_some("auth.hook_url"),
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
