//! Requests as far as WHIP and WHEP need them: one server, one after the other over a connection that is kept. No TLS, no
//! redirects.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Request, Uri};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};

/// A server answers within this, or is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Octets of an answer's head, and of its body.
const HEAD_BYTES_MAX: usize = 16 << 10;
const BODY_BYTES_MAX: usize = 1 << 20;

/// A request failed.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// This is no URL that we can use.
    Url(String),
    /// Nobody listens there.
    Nobody(String),
    /// What came is no answer, or none came.
    Broken(String, Box<dyn Error + Send + Sync>),
    /// Another status than the one that says yes.
    Refused { method: &'static str, path: String, status: u16, words: String },
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "{url}: give a URL such as http://127.0.0.1:8080"),
            Self::Nobody(authority) => {
                write!(f, "nobody listens at {authority}: start the server, or give another --url")
            }
            Self::Broken(authority, why) => write!(f, "{authority}: {why}"),
            Self::Refused { method, path, status, words } => {
                write!(f, "{method} {path} was answered with {status}: {}", words.trim())
            }
        }
    }
}

impl Error for HttpError {}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    headers: HeaderMap,
    pub(super) body: String,
}

impl Response {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// See the module.
pub(super) struct HttpClient {
    runtime: Runtime,
    /// Host and port.
    authority: String,
    /// In front of every path.
    prefix: String,
    kept: Option<Sender>,
}

impl HttpClient {
    pub(super) fn new(url: &str) -> Result<Self, HttpError> {
        let wrong = || HttpError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.filter(|_| uri.scheme_str() == Some("http") && uri.query().is_none());
        let authority = authority.ok_or_else(wrong)?;
        let authority = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        // A thread of its own hears at once that the server has closed an idle connection.
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|why| HttpError::Broken(authority.clone(), why.into()))?;
        Ok(Self { runtime, authority, prefix: uri.path().trim_end_matches('/').to_owned(), kept: None })
    }

    /// The path of a resource below the URL that was given.
    pub(super) fn path(&self, below: &str) -> String {
        format!("{}{below}", self.prefix)
    }

    /// The path that a `Location` means: of this server, or of the URL that it is (RFC 9110 §10.2.2).
    pub(super) fn path_of(&self, location: &str) -> Result<String, HttpError> {
        let path = location.parse::<Uri>().ok().and_then(|uri| uri.into_parts().path_and_query);
        let path = path.filter(|path| path.as_str().starts_with('/')).map(|path| path.as_str().to_owned());
        path.ok_or_else(|| HttpError::Broken(self.authority.clone(), "a Location that is no path".into()))
    }

    /// One request with its answer.
    pub(super) fn request(
        &mut self,
        method: &'static str,
        path: &str,
        body: Option<(&str, &str)>,
    ) -> Result<Response, HttpError> {
        let request = Request::builder().method(method).uri(path).header(HOST, &self.authority);
        let request = match body {
            Some((kind, body)) => request.header(CONTENT_TYPE, kind).body(Full::from(body.to_owned())),
            None => request.body(Full::default()),
        };
        let kept = self.kept.take();
        let answered = self.runtime.block_on(async {
            let exchange = exchange(&self.authority, kept, request?);
            tokio::time::timeout(PATIENCE, exchange)
                .await
                .map_err(|_| format!("no answer within {PATIENCE:?}"))?
        });
        let (kept, response) = answered.map_err(|why| match why.downcast_ref::<io::Error>() {
            Some(io) if io.kind() == ErrorKind::ConnectionRefused => {
                HttpError::Nobody(self.authority.clone())
            }
            _ => HttpError::Broken(self.authority.clone(), why),
        })?;
        self.kept = Some(kept);
        Ok(response)
    }
}

/// Over the kept connection unless the server has closed it meanwhile, else over a new one.
async fn exchange(
    authority: &str,
    kept: Option<Sender>,
    mut request: Request<Full<Bytes>>,
) -> Result<(Sender, Response), Box<dyn Error + Send + Sync>> {
    // Ready once the last answer was read to its end, which the connection's task may notice after us.
    if let Some(mut sender) = kept
        && sender.ready().await.is_ok()
    {
        match sender.try_send_request(request).await {
            Ok(response) => return Ok((sender, read(response).await?)),
            // What comes back was not sent.
            Err(mut why) => request = why.take_message().ok_or_else(|| why.into_error())?,
        }
    }
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await?;
    // What goes wrong on it the next request hears.
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    Ok((sender, read(response).await?))
}

async fn read(
    response: hyper::Response<hyper::body::Incoming>,
) -> Result<Response, Box<dyn Error + Send + Sync>> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await?.to_bytes();
    Ok(Response {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8(body.into()).map_err(|_| "a body that is no UTF-8")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// A server that gives `answers` one connection after the other, and says what it was asked for.
    fn serve(
        answers: &'static [&'static [&'static str]],
    ) -> (HttpClient, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = HttpClient::new(&format!("http://{}", listener.local_addr().expect("an address")));
        let server = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for connection in answers {
                let (stream, _) = listener.accept().expect("a client");
                let mut reader = BufReader::new(stream);
                for answer in *connection {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        assert_ne!(reader.read_line(&mut head).expect("a request"), 0);
                    }
                    seen.push(head.lines().next().unwrap_or_default().to_owned());
                    reader.get_mut().write_all(answer.as_bytes()).expect("sent");
                }
            }
            seen
        });
        (client.expect("a good URL"), server)
    }

    #[test]
    fn a_connection_is_kept_and_made_anew_when_the_server_closed_it() {
        const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let (mut client, server) = serve(&[&[OK, OK], &[OK]]);
        for path in ["/1", "/2", "/3"] {
            let response = client.request("DELETE", path, None).expect("an answer");
            assert_eq!((response.status, response.body.as_str()), (200, "ok"));
            // The server ends the first connection after its second answer.
            while path == "/2" && !client.kept.as_ref().is_some_and(Sender::is_closed) {
                std::thread::yield_now();
            }
        }
        let seen = server.join().expect("the server");
        assert_eq!(seen, ["DELETE /1 HTTP/1.1", "DELETE /2 HTTP/1.1", "DELETE /3 HTTP/1.1"]);
    }

    #[test]
    fn answers_of_no_use_end_it() {
        let (mut client, server) = serve(&[
            &["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"],
            &["SSH-2.0-OpenSSH\r\n"],
            &[
                "HTTP/1.1 201 Created\r\nLocation: /1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            ],
        ]);
        for _ in 0..2 {
            client.request("DELETE", "/", None).expect_err("no answer");
        }
        let response = client.request("POST", "/", Some(("text/plain", "x"))).expect("an answer");
        assert_eq!((response.header("location"), response.body.as_str()), (Some("/1"), "abc"));
        server.join().expect("the server");
    }

    #[test]
    fn urls_and_locations() {
        for (url, want) in [
            ("http://127.0.0.1:8080", Some(("127.0.0.1:8080", "/whip/a"))),
            ("http://localhost/", Some(("localhost:80", "/whip/a"))),
            ("http://[::1]:9/live/", Some(("[::1]:9", "/live/whip/a"))),
            ("https://localhost:8443", None),
            ("localhost:8080", None),
            ("http://", None),
        ] {
            let client = HttpClient::new(url);
            let got = client.as_ref().ok().map(|client| (client.authority.as_str(), client.path("/whip/a")));
            assert_eq!(got, want.map(|(authority, path)| (authority, path.to_owned())), "{url}");
        }
        let client = HttpClient::new("http://127.0.0.1:1").expect("a good URL");
        for (location, want) in
            [("/whip/a/1", Some("/whip/a/1")), ("http://b:2/x", Some("/x")), ("x", None), ("/x y", None)]
        {
            assert_eq!(client.path_of(location).ok().as_deref(), want, "{location}");
        }
    }

    #[test]
    fn nobody_there_is_said_with_what_to_do() {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let mut client = HttpClient::new(&format!("http://127.0.0.1:{port}")).expect("a good URL");
        let why = client.request("POST", "/", None).expect_err("nobody").to_string();
        assert!(why.starts_with(&format!("nobody listens at 127.0.0.1:{port}: start the server")), "{why}");
    }
}
