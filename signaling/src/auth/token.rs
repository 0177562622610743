//! Access tokens (RFC 7519).
//!
//! The algorithm is the one of the settings: a token that names another is refused before any key is touched
//! (RFC 8725 §3.1). Claims that are absent give little, claims of a wrong type give nothing: the token is
//! refused.

use super::{AuthError, Grant};
use crate::config::{Auth, TokenAlgorithm};
use crate::message::NAME_BYTES_MAX;
use crate::names::{Name, NameFault};
use crate::refusal::Refusal;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use relay_control::Priority;
use serde::Deserialize;
use std::io;
use std::path::Path;

/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Clocks may differ by this many seconds.
const LEEWAY_S: f64 = 60.0;
/// RFC 7518 §3.2: a key of HS256 has at least the size of its hash.
const SECRET_BYTES_MIN: usize = 32;
/// Most room patterns of a token.
const ROOMS_MAX: usize = 100;

#[derive(Deserialize)]
struct Claims {
    exp: f64,
    nbf: Option<f64>,
    sub: Option<String>,
    rooms: Option<Patterns>,
    #[serde(default = "yes")]
    publish: bool,
    #[serde(default = "yes")]
    subscribe: bool,
    #[serde(default)]
    record: bool,
    priority: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Patterns {
    One(String),
    Many(Vec<String>),
}

fn yes() -> bool {
    true
}

/// Reads tokens.
pub(super) struct TokenReader {
    key: DecodingKey,
    /// The key before it, while tokens of both are about.
    old_key: Option<DecodingKey>,
    validation: Validation,
}

impl TokenReader {
    /// With the key of the settings.
    ///
    /// # Errors
    /// The key file cannot be read or is not what the algorithm needs.
    pub(super) fn new(settings: &Auth) -> Result<Self, AuthError> {
        let (Some(algorithm), Some(path)) = (settings.token_algorithm, &settings.token_key) else {
            return Err(AuthError::Incomplete);
        };
        let key = read_key(algorithm, path)?;
        let old_key = match settings.token_key_old.as_deref().map(|path| read_key(algorithm, path)) {
            Some(Err(AuthError::File(_, why))) if why.kind() == io::ErrorKind::NotFound => None,
            other => other.transpose()?,
        };
        let mut validation = Validation::new(match algorithm {
            TokenAlgorithm::Hs256 => Algorithm::HS256,
            TokenAlgorithm::Rs256 => Algorithm::RS256,
            TokenAlgorithm::EdDsa => Algorithm::EdDSA,
        });
        // Times are compared by ourselves: the time is an argument here.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        if let Some(issuer) = &settings.token_issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        if let Some(audience) = &settings.token_audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        Ok(Self { key, old_key, validation })
    }

    /// What the token grants at this time, in seconds since 1970.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn read(&self, token: &str, now_s: f64) -> Result<Grant, Refusal> {
        if token.is_empty() {
            return Err(Refusal::TokenMissing);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TokenInvalid);
        }
        // RFC 7515 §4.1.11: extensions that must be understood; we understand none.
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::TokenInvalid)?;
        if header.crit.is_some() {
            return Err(Refusal::TokenInvalid);
        }
        let by = |key| jsonwebtoken::decode::<Claims>(token, key, &self.validation);
        let decoded = match (by(&self.key), &self.old_key) {
            (Err(why), Some(old)) if matches!(why.kind(), ErrorKind::InvalidSignature) => by(old),
            (decoded, _) => decoded,
        };
        let decoded = decoded.map_err(|why| match why.kind() {
            ErrorKind::Json(_) | ErrorKind::MissingRequiredClaim(_) => Refusal::TokenClaims,
            _ => Refusal::TokenInvalid,
        })?;
        let claims = decoded.claims;
        if now_s > claims.exp + LEEWAY_S {
            return Err(Refusal::TokenExpired);
        }
        if claims.nbf.is_some_and(|nbf| now_s + LEEWAY_S < nbf) {
            return Err(Refusal::TokenEarly);
        }
        claims.grant()
    }
}

impl Claims {
    fn grant(self) -> Result<Grant, Refusal> {
        let rooms = match self.rooms {
            None => Vec::new(),
            Some(Patterns::One(room)) => vec![room],
            Some(Patterns::Many(rooms)) => rooms,
        };
        let rooms_fit = rooms.len() <= ROOMS_MAX && rooms.iter().all(|room| room.len() <= NAME_BYTES_MAX);
        match self.sub.as_ref().map_or(Ok(()), |login| Name::Login.check(login)) {
            Ok(()) if rooms_fit => {}
            Err(refusal) if refusal.fault == NameFault::Hidden => return Err(Refusal::TokenName),
            Ok(()) | Err(_) => return Err(Refusal::TokenClaims),
        }
        let named = |name: String| Priority::from_name(&name).ok_or(Refusal::TokenPriority);
        let priority = self.priority.map(named).transpose()?;
        Ok(Grant {
            login: self.sub,
            rooms: Some(rooms),
            publish: self.publish,
            subscribe: self.subscribe,
            record: self.record,
            priority,
        })
    }
}

fn read_key(algorithm: TokenAlgorithm, path: &Path) -> Result<DecodingKey, AuthError> {
    let octets = std::fs::read(path).map_err(|why| AuthError::File(path.to_owned(), why))?;
    let unusable = |why: String| AuthError::Key(path.to_owned(), why);
    let wrong = |why: jsonwebtoken::errors::Error| unusable(why.to_string());
    match algorithm {
        TokenAlgorithm::Hs256 => secret(&octets).map_err(unusable),
        TokenAlgorithm::Rs256 => DecodingKey::from_rsa_pem(public(path, &octets)?).map_err(wrong),
        TokenAlgorithm::EdDsa => DecodingKey::from_ed_pem(public(path, &octets)?).map_err(wrong),
    }
}

fn secret(octets: &[u8]) -> Result<DecodingKey, String> {
    let secret = octets.strip_suffix(b"\n").unwrap_or(octets);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.starts_with(b"-----BEGIN") {
        // The classic mix-up: a public key, known to everybody, taken for a shared secret.
        return Err("it is a PEM file, not the secret of HS256".to_owned());
    }
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!("the secret of HS256 must have at least {SECRET_BYTES_MIN} bytes"));
    }
    Ok(DecodingKey::from_secret(secret))
}

fn public<'a>(path: &Path, octets: &'a [u8]) -> Result<&'a [u8], AuthError> {
    if octets.windows(11).any(|window| window == b"PRIVATE KEY") {
        let why = "it is a private key; give the public one and keep that one away from this server";
        return Err(AuthError::Key(path.to_owned(), why.to_owned()));
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};
    use std::io::Write as _;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: f64 = 1_800_000_000.0;
    const SOON: u64 = 1_800_000_600;

    fn file(octets: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("file");
        file.write_all(octets).expect("written");
        file
    }

    fn reader_with(
        algorithm: TokenAlgorithm,
        key: &[u8],
        change: fn(&mut Auth),
    ) -> Result<TokenReader, AuthError> {
        let file = file(key);
        let mut settings = Auth {
            token_algorithm: Some(algorithm),
            token_key: Some(file.path().to_owned()),
            ..Auth::default()
        };
        change(&mut settings);
        TokenReader::new(&settings)
    }

    fn reader() -> TokenReader {
        reader_with(TokenAlgorithm::Hs256, SECRET, |_| {}).expect("good settings")
    }

    fn signed(claims: &Value) -> String {
        encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET)).expect("signed")
    }

    #[test]
    fn claims_become_a_grant() {
        let none: Vec<String> = Vec::new();
        for (claims, login, rooms, rights) in [
            (json!({"exp": SOON}), None, none.clone(), [true, true, false]),
            (
                json!({"exp": SOON, "sub": "Алиса", "rooms": "lobby", "record": true, "iat": 1, "x": []}),
                Some("Алиса"),
                vec!["lobby".to_owned()],
                [true, true, true],
            ),
            (
                json!({"exp": SOON, "rooms": ["a", "b-*"], "publish": false, "subscribe": false}),
                None,
                vec!["a".to_owned(), "b-*".to_owned()],
                [false, false, false],
            ),
        ] {
            let [publish, subscribe, record] = rights;
            let (login, rooms) = (login.map(str::to_owned), Some(rooms));
            let expected = Grant { login, rooms, publish, subscribe, record, priority: None };
            assert_eq!(reader().read(&signed(&claims), NOW), Ok(expected), "{claims}");
        }
    }

    #[test]
    fn a_priority_has_one_of_four_names() {
        for priority in Priority::ALL {
            let token = signed(&json!({"exp": SOON, "priority": priority.name()}));
            assert_eq!(reader().read(&token, NOW).map(|grant| grant.priority), Ok(Some(priority)));
        }
        for (priority, refusal) in [
            (json!("High"), Refusal::TokenPriority),
            (json!(""), Refusal::TokenPriority),
            (json!(3), Refusal::TokenClaims),
        ] {
            let token = signed(&json!({"exp": SOON, "priority": priority}));
            assert_eq!(reader().read(&token, NOW), Err(refusal), "{priority}");
        }
    }

    #[test]
    fn claims_that_are_not_understood_grant_nothing() {
        for claims in [
            json!({}),
            json!({"exp": "soon"}),
            json!({"exp": null}),
            json!({"exp": SOON, "nbf": "x"}),
            json!({"exp": SOON, "sub": 7}),
            json!({"exp": SOON, "sub": ""}),
            json!({"exp": SOON, "sub": "x".repeat(257)}),
            json!({"exp": SOON, "rooms": 7}),
            json!({"exp": SOON, "rooms": ["a", 7]}),
            json!({"exp": SOON, "rooms": vec!["a"; 101]}),
            json!({"exp": SOON, "publish": "no"}),
            json!({"exp": SOON, "record": 1}),
            json!([]),
        ] {
            assert_eq!(reader().read(&signed(&claims), NOW), Err(Refusal::TokenClaims), "{claims}");
        }
        for login in ["a\0", "ali\u{200b}ce", "\u{202e}ecila"] {
            let token = signed(&json!({"exp": SOON, "sub": login}));
            assert_eq!(reader().read(&token, NOW), Err(Refusal::TokenName), "{login:?}");
        }
    }

    #[test]
    fn times_have_a_minute_of_leeway() {
        let at = |seconds: f64, claims: Value| reader().read(&signed(&claims), seconds).map(|_| ());
        for (now, claims, expected) in [
            (1060.0, json!({"exp": 1000}), Ok(())),
            (1060.5, json!({"exp": 1000}), Err(Refusal::TokenExpired)),
            (1060.5, json!({"exp": 1000.5}), Ok(())),
            (940.0, json!({"exp": 2000, "nbf": 1000}), Ok(())),
            (939.0, json!({"exp": 2000, "nbf": 1000}), Err(Refusal::TokenEarly)),
            (939.0, json!({"exp": 1e300, "nbf": -5}), Ok(())),
        ] {
            assert_eq!(at(now, claims.clone()), expected, "{now} {claims}");
        }
    }

    #[test]
    fn forged_tokens_are_refused() {
        let claims = json!({"exp": SOON, "rooms": "*"});
        let good = signed(&claims);
        assert!(reader().read(&good, NOW).is_ok());
        let part = |value: Value| {
            use base64::Engine as _;
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
        };
        let body = good.split('.').nth(1).expect("claims").to_owned();
        let tail = good.rsplit('.').next().expect("signature").to_owned();
        let other = EncodingKey::from_secret(b"another secret of thirty-two bytes");
        let with = |algorithm| encode(&Header::new(algorithm), &claims, &other).expect("signed");
        let critical = Header { crit: Some(vec!["x".to_owned()]), ..Header::new(Algorithm::HS256) };
        for token in [
            format!("{}.{body}.", part(json!({"alg": "none", "typ": "JWT"}))),
            format!("{}.{body}.{tail}", part(json!({"alg": "none"}))),
            format!("{}.{body}.{tail}", part(json!({"alg": "HS512", "typ": "JWT"}))),
            with(Algorithm::HS256),
            with(Algorithm::HS512),
            encode(&critical, &claims, &EncodingKey::from_secret(SECRET)).expect("signed"),
            good.trim_end_matches(|_| true).to_owned() + "x",
            good[..good.len() - 2].to_owned(),
            good.replace('.', ".."),
            format!("{good}.{tail}"),
            "a.b.c".to_owned(),
            "..".to_owned(),
            "\0".to_owned(),
            "x".repeat(100_000),
            format!("{good}{}", " ".repeat(10_000)),
        ] {
            assert_eq!(reader().read(&token, NOW), Err(Refusal::TokenInvalid), "{token:.80}");
        }
        assert_eq!(reader().read("", NOW), Err(Refusal::TokenMissing));
    }

    #[test]
    fn issuer_and_audience_are_looked_at() {
        let strict = reader_with(TokenAlgorithm::Hs256, SECRET, |settings| {
            settings.token_issuer = Some("us".to_owned());
            settings.token_audience = Some("ringvox".to_owned());
        });
        let strict = strict.expect("good settings");
        let good = |reader: &TokenReader, claims: Value| reader.read(&signed(&claims), NOW).is_ok();
        assert!(good(&strict, json!({"exp": SOON, "iss": "us", "aud": ["x", "ringvox"]})));
        for claims in [
            json!({"exp": SOON, "iss": "us"}),
            json!({"exp": SOON, "aud": "ringvox"}),
            json!({"exp": SOON, "iss": "them", "aud": "ringvox"}),
            json!({"exp": SOON, "iss": "us", "aud": "others"}),
        ] {
            assert!(!good(&strict, claims.clone()), "{claims}");
        }
        // RFC 7519 §4.1.3: meant for somebody, and nobody said that we are meant.
        assert!(!good(&reader(), json!({"exp": SOON, "aud": "ringvox"})));
    }

    #[test]
    fn ed25519_and_rsa_keys_are_read_and_pinned() {
        let private = Ed25519KeyPair::generate().expect("key");
        let der = private.to_pkcs8().expect("der");
        let pem = |label: &str, der: &[u8]| {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        // RFC 8410 §4: the fixed head of an Ed25519 public key.
        let mut public = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        public.extend_from_slice(private.public_key().as_ref());
        let public = pem("PUBLIC KEY", &public);
        let reader = reader_with(TokenAlgorithm::EdDsa, public.as_bytes(), |_| {}).expect("public key");
        let claims = json!({"exp": SOON, "rooms": "*"});
        let key = EncodingKey::from_ed_der(der.as_ref());
        let token = encode(&Header::new(Algorithm::EdDSA), &claims, &key).expect("signed");
        assert!(reader.read(&token, NOW).is_ok());
        // Key confusion: the public key as secret of an HMAC.
        let confused =
            encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(public.as_bytes()));
        assert_eq!(reader.read(&confused.expect("signed"), NOW), Err(Refusal::TokenInvalid));
        for (algorithm, key) in [
            (TokenAlgorithm::Hs256, public.as_bytes()),
            (TokenAlgorithm::Hs256, b"short".as_slice()),
            (TokenAlgorithm::Rs256, public.as_bytes()),
            (TokenAlgorithm::Rs256, SECRET),
            (TokenAlgorithm::EdDsa, SECRET),
            (TokenAlgorithm::EdDsa, pem("PRIVATE KEY", der.as_ref()).as_bytes()),
        ] {
            assert!(reader_with(algorithm, key, |_| {}).is_err(), "{algorithm:?}");
        }
    }

    #[test]
    fn rs256_tokens_are_read() {
        let private = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
        let private = private.expect("key");
        let reader = reader_with(TokenAlgorithm::Rs256, private.public_key_pem().as_bytes(), |_| {});
        let key = EncodingKey::from_rsa_pem(private.serialize_pem().as_bytes()).expect("key");
        let token = encode(&Header::new(Algorithm::RS256), &json!({"exp": SOON}), &key).expect("signed");
        assert!(reader.expect("public key").read(&token, NOW).is_ok());
    }

    #[test]
    fn a_line_break_behind_the_secret_does_not_count() {
        let with_break = [SECRET, b"\r\n"].concat();
        let reader = reader_with(TokenAlgorithm::Hs256, &with_break, |_| {}).expect("good settings");
        assert!(reader.read(&signed(&json!({"exp": SOON})), NOW).is_ok());
    }
}
