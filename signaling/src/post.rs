//! What we ask and tell others over HTTP: one `POST` a question, one connection a `POST`.
//!
//! Where to comes from the settings alone, so no client has a say in where we connect. Redirects are answers
//! like any other: nothing is followed. What is read is bounded; time is the caller's.

use crate::config::HookUrl;
use axum::http::{HeaderName, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// Longest body that is read.
const BODY_BYTES_MAX: usize = 16 << 10;
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Why there is no answer.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Why an address of https cannot be spoken to.
#[derive(Debug)]
pub enum NoTls {
    /// The system has no certificate authorities.
    NoRoots,
    /// TLS cannot be set up.
    Tls(rustls::Error),
}

impl fmt::Display for NoTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoots => f.write_str("it is https, and this system has no certificate authorities"),
            Self::Tls(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for NoTls {}

/// The whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) phrase: Option<String>,
    /// Empty if it was too long.
    pub(crate) body: Bytes,
}

/// Posts JSON to an address of the settings.
pub(crate) struct Poster {
    url: HookUrl,
    tls: Option<TlsConnector>,
}

impl Poster {
    /// # Errors
    /// See [`NoTls`].
    pub(crate) fn new(url: HookUrl) -> Result<Self, NoTls> {
        let tls = if url.https { Some(connector()?) } else { None };
        Ok(Self { url, tls })
    }

    pub(crate) fn url(&self) -> &HookUrl {
        &self.url
    }

    /// To what is so far below the address.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn post(
        &self,
        below: &str,
        headers: &[(HeaderName, String)],
        body: Bytes,
    ) -> Result<Answer, Fault> {
        let path = match format!("{}{below}", self.url.path) {
            path if path.is_empty() => "/".to_owned(),
            path => path,
        };
        let mut request = Request::post(path)
            .header(header::HOST, &self.url.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "ringvox")
            .header(header::CONNECTION, "close");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body))?;
        let stream = TcpStream::connect((self.url.host.as_str(), self.url.port)).await?;
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => send(stream, request).await,
            Some(tls) => {
                let name = ServerName::try_from(self.url.host.clone())?;
                send(tls.connect(name, stream).await?, request).await
            }
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Fault> {
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await?;
    // Ends with this function, whatever the other side does.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await?;
    Ok(Answer::read(response).await)
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
}

fn connector() -> Result<TlsConnector, NoTls> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(NoTls::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(NoTls::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
