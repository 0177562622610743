//! The operator's access hook: one `POST` a question, one connection a `POST`.
//!
//! The address is the settings' own and the path one of a fixed list, so no client has a say in where we
//! connect. Redirects are answers like any other that is neither 2xx nor 4xx: a failure. Time and concurrency
//! are bounded, and what a failure counts for is a setting.

use super::{AuthError, line_end};
use crate::config::{Auth, HookUrl, OnFailure};
use crate::names::is_hidden;
use crate::refusal::Refusal;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use relay_control::Priority;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longest body that is read: for the reason of a refusal, or for what is said to a yes.
const BODY_BYTES_MAX: usize = 16 << 10;
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Longest reason that is passed on.
const INFO_BYTES_MAX: usize = 200;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// The whole answer.
struct Answer {
    status: StatusCode,
    phrase: Option<String>,
    /// Empty if it was too long.
    body: Bytes,
}

/// Asks.
pub(super) struct Hook {
    url: HookUrl,
    timeout: Duration,
    on_failure: OnFailure,
    places: Semaphore,
    tls: Option<TlsConnector>,
}

impl Hook {
    /// For the address of the settings.
    ///
    /// # Errors
    /// https is wanted and the system has no certificate authorities.
    pub(super) fn new(settings: &Auth) -> Result<Self, AuthError> {
        let url = settings.hook_url.clone().ok_or(AuthError::Incomplete)?;
        let tls = if url.https { Some(connector()?) } else { None };
        let places = Semaphore::new(settings.hook_concurrency);
        Ok(Self { tls, url, timeout: settings.hook_timeout, on_failure: settings.hook_on_failure, places })
    }

    /// Asks; in finite time. What a hook that says yes may say besides: the priority of the video that is
    /// published.
    ///
    /// # Errors
    /// The answer was no, or there was none and that counts as no.
    pub(super) async fn ask(
        &self,
        method: &'static str,
        object: &Value,
    ) -> Result<Option<Priority>, Refusal> {
        let asked = timeout(self.timeout, async {
            let _place = self.places.acquire().await?;
            self.post(method, object).await
        });
        let why = match asked.await {
            Ok(Ok(answer)) if answer.status.is_success() => match answer.priority() {
                Ok(priority) => return Ok(priority),
                Err(why) => why.to_owned(),
            },
            Ok(Ok(answer)) if answer.status.is_client_error() => return Err(answer.refused()),
            Ok(Ok(answer)) => format!("it answered {}", answer.status),
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => format!("no answer within {:?}", self.timeout),
        };
        tracing::warn!("access hook {}/{method}: {why}", self.url);
        match self.on_failure {
            OnFailure::Allow => Ok(None),
            OnFailure::Refuse => Err(Refusal::HookFailed),
        }
    }

    /// Tells; the answer does not matter. Has a connection of its own, so that questions need not wait for
    /// it.
    ///
    /// # Errors
    /// Why it could not be told.
    pub(super) async fn tell(&self, method: &'static str, object: &Value) -> Result<(), String> {
        match timeout(self.timeout, self.post(method, object)).await {
            Ok(Ok(answer)) if answer.status.is_success() => Ok(()),
            Ok(Ok(answer)) => Err(answer.status.to_string()),
            Ok(Err(fault)) => Err(fault.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    async fn post(&self, method: &'static str, object: &Value) -> Result<Answer, Fault> {
        let stream = TcpStream::connect((self.url.host.as_str(), self.url.port)).await?;
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.post_on(stream, method, object).await,
            Some(tls) => {
                let name = ServerName::try_from(self.url.host.clone())?;
                self.post_on(tls.connect(name, stream).await?, method, object).await
            }
        }
    }

    async fn post_on(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        method: &'static str,
        object: &Value,
    ) -> Result<Answer, Fault> {
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await?;
        // Ends with this function, whatever the other side does.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let request = Request::post(format!("{}/{method}", self.url.path))
            .header(header::HOST, &self.url.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "ringvox")
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(object.to_string())))?;
        let response = sender.send_request(request).await?;
        Ok(Answer::read(response).await)
    }
}

impl Answer {
    async fn read(response: Response<Incoming>) -> Self {
        let status = response.status();
        let phrase = response.extensions().get::<hyper::ext::ReasonPhrase>();
        let phrase = phrase.map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned());
        let phrase = phrase.or_else(|| status.canonical_reason().map(str::to_owned));
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        Self { status, phrase, body: body.map(|body| body.to_bytes()).unwrap_or_default() }
    }

    /// What is not JSON says nothing. `Err`: what is wrong with what it says.
    fn priority(&self) -> Result<Option<Priority>, &'static str> {
        let body = serde_json::from_slice::<Value>(&self.body).unwrap_or_default();
        let named = |name: &Value| {
            let known = name.as_str().and_then(Priority::from_name);
            known.ok_or("its priority must be \"very-low\", \"low\", \"medium\" or \"high\"")
        };
        let said = body.get("priority").filter(|name| !name.is_null());
        said.map(named).transpose()
    }

    /// With `info` of a JSON body, or the reason phrase.
    fn refused(self) -> Refusal {
        let custom = serde_json::from_slice::<Value>(&self.body).ok();
        let custom = custom.and_then(|body| body.get("info")?.as_str().map(tidy));
        let words = custom.filter(|info| !info.is_empty()).or_else(|| self.phrase.as_deref().map(tidy));
        match words.filter(|words| !words.is_empty()) {
            Some(words) if self.status == StatusCode::UNAUTHORIZED => Refusal::HookUnauthorized(words),
            Some(words) => Refusal::HookRefused(words),
            None => Refusal::Forbidden,
        }
    }
}

/// One line of bounded length that reads as it is written: it goes into messages and close frames.
fn tidy(words: &str) -> String {
    let mut line: String = words.chars().filter(|c| !is_hidden(*c)).collect();
    line.truncate(line_end(&line, INFO_BYTES_MAX));
    line.trim().to_owned()
}

fn connector() -> Result<TlsConnector, AuthError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(AuthError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(AuthError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
