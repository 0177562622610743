//! A client of HTTP/1.1 (RFC 9112) as far as WHIP and WHEP need one: one server, one request after the other over a
//! connection that is kept. No TLS, no redirects.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server answers within this, or is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Octets of an answer's head, and of its body.
const HEAD_BYTES_MAX: u64 = 16 << 10;
const BODY_BYTES_MAX: u64 = 1 << 20;

/// A request failed.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// This is no URL that we can use.
    Url(String),
    /// Nobody listens there, or not for long.
    Connection(String, io::Error),
    /// What came is no HTTP: what is wrong with it.
    Malformed(&'static str),
    /// Another status than the one that says yes.
    Refused { method: &'static str, path: String, status: u16, words: String },
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "{url}: give a URL such as http://127.0.0.1:8080"),
            Self::Connection(authority, why) if why.kind() == ErrorKind::ConnectionRefused => {
                write!(f, "nobody listens at {authority}: start the server, or give another --url")
            }
            Self::Connection(authority, why) => write!(f, "{authority}: {why}"),
            Self::Malformed(what) => write!(f, "the server's answer is no HTTP: {what}"),
            Self::Refused { method, path, status, words } => {
                write!(f, "{method} {path} was answered with {status}: {}", words.trim())
            }
        }
    }
}

impl std::error::Error for HttpError {}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Response {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// See the module.
pub(super) struct HttpClient {
    /// Host and port.
    authority: String,
    /// In front of every path.
    prefix: String,
    connection: Option<BufReader<TcpStream>>,
}

impl HttpClient {
    pub(super) fn new(url: &str) -> Result<Self, HttpError> {
        let wrong = || HttpError::Url(url.to_owned());
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (authority, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if authority.is_empty() || rest.contains(['?', '#', '@', ' ']) {
            return Err(wrong());
        }
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Self { authority, prefix: prefix.trim_end_matches('/').to_owned(), connection: None })
    }

    /// The path of a resource below the URL that was given.
    pub(super) fn path(&self, below: &str) -> String {
        format!("{}{below}", self.prefix)
    }

    /// The path that a `Location` means: of this server, or of the URL that it is (RFC 9110 §10.2.2).
    pub(super) fn path_of(&self, location: &str) -> Result<String, HttpError> {
        let path = match location.strip_prefix("http://") {
            Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
            None => location,
        };
        let good = path.starts_with('/') && path.bytes().all(|octet| octet.is_ascii_graphic());
        if good { Ok(path.to_owned()) } else { Err(HttpError::Malformed("a Location that is no path")) }
    }

    /// One request with its answer.
    pub(super) fn request(
        &mut self,
        method: &'static str,
        path: &str,
        body: Option<(&str, &str)>,
    ) -> Result<Response, HttpError> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.authority);
        if let Some((kind, body)) = body {
            text.push_str(&format!("Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        } else {
            text.push_str("\r\n");
        }
        let mut connection = self.connect()?;
        let lost = |why| HttpError::Connection(self.authority.clone(), why);
        connection.get_mut().write_all(text.as_bytes()).map_err(lost)?;
        let response = read_response(&mut connection).map_err(|why| match why {
            ReadError::Io(why) => lost(why),
            ReadError::Malformed(what) => HttpError::Malformed(what),
        })?;
        if !response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.connection = Some(connection);
        }
        Ok(response)
    }

    /// The kept connection unless the server has closed it meanwhile, else a new one.
    fn connect(&mut self) -> Result<BufReader<TcpStream>, HttpError> {
        if let Some(kept) = self.connection.take().filter(is_open) {
            return Ok(kept);
        }
        let open = || {
            let stream = TcpStream::connect(&self.authority)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(BufReader::new(stream))
        };
        open().map_err(|why| HttpError::Connection(self.authority.clone(), why))
    }
}

/// Nothing came unasked, not even the end.
fn is_open(connection: &BufReader<TcpStream>) -> bool {
    let stream = connection.get_ref();
    let quiet = stream.set_nonblocking(true).is_ok()
        && stream.peek(&mut [0]).is_err_and(|why| why.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).is_ok() && quiet && connection.buffer().is_empty()
}

#[derive(Debug)]
enum ReadError {
    Io(io::Error),
    Malformed(&'static str),
}

impl From<io::Error> for ReadError {
    fn from(why: io::Error) -> Self {
        Self::Io(why)
    }
}

fn read_response(reader: &mut impl BufRead) -> Result<Response, ReadError> {
    let mut left = HEAD_BYTES_MAX;
    let first = line(reader, &mut left)?;
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or(ReadError::Malformed("no status line"))?;
    let mut response = Response { status, ..Response::default() };
    loop {
        let line = line(reader, &mut left)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or(ReadError::Malformed("a header without a colon"))?;
        response.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let body = read_body(reader, &response)?;
    response.body = String::from_utf8(body).map_err(|_| ReadError::Malformed("a body that is no UTF-8"))?;
    Ok(response)
}

/// RFC 9112 §6.3
fn read_body(reader: &mut impl BufRead, response: &Response) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    if response.status == 204 || response.status == 304 {
        return Ok(body);
    }
    if response.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return read_chunks(reader);
    }
    match response.header("content-length").map(str::parse::<u64>) {
        Some(Ok(len)) if len <= BODY_BYTES_MAX => {
            reader.take(len).read_to_end(&mut body)?;
            if body.len() as u64 == len {
                Ok(body)
            } else {
                Err(ReadError::Malformed("a body that breaks off"))
            }
        }
        Some(_) => Err(ReadError::Malformed("a Content-Length that is none, or too large")),
        None => {
            reader.take(BODY_BYTES_MAX).read_to_end(&mut body)?;
            Ok(body)
        }
    }
}

/// RFC 9112 §7.1
fn read_chunks(reader: &mut impl BufRead) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    loop {
        let mut left = HEAD_BYTES_MAX;
        let head = line(reader, &mut left)?;
        let size = head.split(';').next().unwrap_or_default().trim();
        let size =
            u64::from_str_radix(size, 16).map_err(|_| ReadError::Malformed("a chunk without a size"))?;
        if size + body.len() as u64 > BODY_BYTES_MAX {
            return Err(ReadError::Malformed("a body that is too large"));
        }
        let whole = body.len() as u64 + size;
        reader.take(size).read_to_end(&mut body)?;
        if body.len() as u64 != whole {
            return Err(ReadError::Malformed("a chunk that breaks off"));
        }
        // The end of a chunk; behind the last one trailers, up to an empty line.
        while !line(reader, &mut left)?.is_empty() {}
        if size == 0 {
            return Ok(body);
        }
    }
}

/// One line without its end; `left` is what a head may still take.
fn line(reader: &mut impl BufRead, left: &mut u64) -> Result<String, ReadError> {
    let mut bytes = Vec::new();
    let len = reader.take(*left).read_until(b'\n', &mut bytes)?;
    *left -= len as u64;
    if bytes.pop() != Some(b'\n') {
        return Err(ReadError::Malformed(if *left == 0 {
            "a head that is too long"
        } else {
            "it breaks off"
        }));
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| ReadError::Malformed("a head that is no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn read(text: &str) -> Result<(u16, String), String> {
        match read_response(&mut text.as_bytes()) {
            Ok(response) => Ok((response.status, response.body)),
            Err(ReadError::Malformed(what)) => Err(what.to_owned()),
            Err(ReadError::Io(why)) => Err(why.to_string()),
        }
    }

    #[test]
    fn answers() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(20_000));
        for (text, want) in [
            ("HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nv=0rest", Ok((201, "v=0"))),
            ("HTTP/1.1 204 No Content\r\n\r\n", Ok((204, ""))),
            ("HTTP/1.0 404 Not Found\n\nno such stream", Ok((404, "no such stream"))),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
                Ok((200, "abcde")),
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", Err("a body that breaks off")),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
                Err("a Content-Length that is none, or too large"),
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", Err("a chunk without a size")),
            ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", Err("a header without a colon")),
            ("SSH-2.0-OpenSSH\r\n", Err("no status line")),
            ("HTTP/1.1 200 OK\r\n", Err("it breaks off")),
            ("", Err("it breaks off")),
            (&long, Err("a head that is too long")),
        ] {
            let want = want.map(|(status, body)| (status, body.to_owned())).map_err(str::to_owned);
            assert_eq!(read(text), want, "{text}");
        }
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
    fn a_connection_is_kept_and_made_anew_when_the_server_closed_it() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        // Two answers on the first connection, which then ends; one on the second.
        let server = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for answers in [2, 1] {
                let (stream, _) = listener.accept().expect("a client");
                let mut reader = BufReader::new(stream);
                for _ in 0..answers {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        assert_ne!(reader.read_line(&mut head).expect("a request"), 0);
                    }
                    seen.push(head.lines().next().unwrap_or_default().to_owned());
                    reader
                        .get_mut()
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        .expect("sent");
                }
            }
            seen
        });
        let mut client = HttpClient::new(&url).expect("a good URL");
        for path in ["/1", "/2"] {
            assert_eq!(client.request("DELETE", path, None).expect("an answer").body, "ok");
        }
        // Until the end of the first connection is here.
        let kept = client.connection.as_ref().expect("kept");
        assert_eq!(kept.get_ref().peek(&mut [0]).expect("the end"), 0);
        assert_eq!(client.request("DELETE", "/3", None).expect("an answer").status, 200);
        let seen = server.join().expect("the server");
        assert_eq!(seen, ["DELETE /1 HTTP/1.1", "DELETE /2 HTTP/1.1", "DELETE /3 HTTP/1.1"]);
        drop(client);
    }

    #[test]
    fn nobody_there_is_said_with_what_to_do() {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let mut client = HttpClient::new(&format!("http://127.0.0.1:{port}")).expect("a good URL");
        let why = client.request("POST", "/", None).expect_err("nobody").to_string();
        assert!(why.starts_with(&format!("nobody listens at 127.0.0.1:{port}: start the server")), "{why}");
    }
}
