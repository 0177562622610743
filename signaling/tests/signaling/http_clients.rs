//! What clients of WHIP and WHEP really send: OBS (libcurl), GStreamer, browsers' players, scripts.

use crate::edges::{PATIENCE, header, http, setup};
use crate::world::{PLAY, PUBLISH};
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection that is kept between requests, as libcurl's and browsers' are.
struct Connection(BufReader<TcpStream>);

impl Connection {
    async fn open(server: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(server).await.expect("connect")))
    }

    async fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.expect("sent");
    }

    async fn ask(&mut self, head: &str, body: &str) -> (u16, String, String) {
        self.send(&format!("{head}\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        self.answer().await
    }

    /// Status, head in lower case, and body of what comes next.
    async fn answer(&mut self) -> (u16, String, String) {
        let read = async {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(self.0.read_line(&mut head).await.expect("read"), 0, "closed after {head:?}");
            }
            let head = head.to_lowercase();
            let mut body = vec![0; header(&head, "content-length").parse().unwrap_or(0)];
            self.0.read_exact(&mut body).await.expect("read");
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("status");
            (status, head, String::from_utf8(body).expect("text"))
        };
        timeout(PATIENCE, read).await.expect("in time")
    }
}

#[tokio::test]
async fn bodies_of_every_usual_type_are_taken() {
    let setup = setup(|_| {}).await;
    let mut client = Connection::open(setup.running.http).await;
    for (lines, status) in [
        ("", 201),
        ("\r\nContent-Type:", 201),
        ("\r\ncontent-type: application/SDP", 201),
        ("\r\nContent-Type: application/sdp; charset=utf-8", 201),
        ("\r\nContent-Type: application/sdp\r\nAccept: application/json, text/plain, */*", 201),
        ("\r\nContent-Type: application/sdp\r\nAuthorization: undefined", 201),
        ("\r\nContent-Type: application/json", 415),
        ("\r\nContent-Type: text/plain;charset=UTF-8", 415),
        ("\r\nContent-Type: application/sdp\r\nAccept: text/html", 406),
    ] {
        let (given, _, words) = client.ask(&format!("POST /whip/r HTTP/1.1{lines}"), PUBLISH).await;
        assert_eq!(given, status, "{lines}: {words}");
        let says_what_to_do = words.contains("application/sdp");
        assert!(status == 201 || says_what_to_do, "{words}");
    }
    let (status, _, words) = client.ask("POST /whip/r HTTP/1.1", "{\"sdp\":\"v=0\"}").await;
    assert_eq!((status, words.as_str()), (400, "SDP line 1: does not start with v=0\n"));
    setup.running.stop().await;
}

#[tokio::test]
async fn a_slash_behind_a_url_changes_nothing() {
    let setup = setup(|_| {}).await;
    let mut client = Connection::open(setup.running.http).await;
    let (status, head, words) = client.ask("POST /whip/r/?login=a HTTP/1.1", PUBLISH).await;
    assert_eq!(status, 201, "{words}");
    let session = header(&head, "location").to_owned();
    assert!(session.starts_with("/whip/r/") && !session.contains("//"), "{session}");
    let (status, head, words) = client.ask("POST /whep/r/a/ HTTP/1.1\r\nVia: 1.1 proxy", PLAY).await;
    assert_eq!(status, 201, "{words}");
    let viewer = header(&head, "location").replacen("./", "/whep/r/a/", 1);
    for (request, body, expected) in [
        (format!("PATCH {session}/ HTTP/1.1\r\nIf-Match: *"), "a=end-of-candidates\r\n", 204),
        (format!("DELETE {viewer}/ HTTP/1.1"), "", 200),
        (format!("DELETE {session}/ HTTP/1.1"), "", 200),
        (format!("DELETE {session} HTTP/1.1"), "", 404),
        ("OPTIONS /whip/r/ HTTP/1.1".to_owned(), "", 204),
        // Whom to play is not said.
        ("POST /whep/r HTTP/1.1".to_owned(), PLAY, 404),
        ("POST /whep/r/ HTTP/1.1".to_owned(), PLAY, 404),
    ] {
        let (status, _, words) = client.ask(&request, body).await;
        assert_eq!(status, expected, "{request}: {words}");
        assert!(expected != 404 || !words.contains("Only GET"), "{words}");
    }
    setup.relay.has_transports(0).await;
    setup.running.stop().await;
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_to_go_on_is_told() {
    let setup = setup(|_| {}).await;
    let mut client = Connection::open(setup.running.http).await;
    let length = PUBLISH.len();
    let head = "POST /whip/r HTTP/1.1\r\nHost: h\r\nContent-Type: application/sdp";
    client.send(&format!("{head}\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")).await;
    assert_eq!(client.answer().await.0, 100);
    client.send(PUBLISH).await;
    let (status, answer, _) = client.answer().await;
    assert_eq!(status, 201);
    let session = header(&answer, "location").to_owned();
    // A body that nobody reads is no part of the next request.
    let body = "{\"reason\":\"user hung up\"}";
    let delete = format!("DELETE {session} HTTP/1.1\r\nContent-Type: application/json");
    assert_eq!(client.ask(&delete, body).await.0, 200);
    client
        .send(&format!("{head}\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{PUBLISH}\r\n0\r\n\r\n"))
        .await;
    assert_eq!(client.answer().await.0, 201);
    setup.running.stop().await;
}

#[tokio::test]
async fn players_in_pages_may_bring_headers_of_their_own() {
    let setup = setup(|_| {}).await;
    let mut page = Connection::open(setup.running.http).await;
    let origin = "Origin: https://web.whip.example";
    // Eyevinn's SDK asks with OPTIONS what there is, and sends the tag back as `ETag`.
    let wanted = "authorization,content-type,etag,x-requested-with";
    for (path, method) in
        [("/whip/r", "POST"), ("/whip/r", "OPTIONS"), ("/whip/r/s", "PATCH"), ("/whep/r/", "POST")]
    {
        let preflight = format!(
            "OPTIONS {path} HTTP/1.1\r\n{origin}\r\nAccess-Control-Request-Method: {method}\r\n\
             Access-Control-Request-Headers: {wanted}"
        );
        let (status, head, _) = page.ask(&preflight, "").await;
        assert_eq!(status, 204, "{path}");
        assert_eq!(header(&head, "access-control-allow-headers"), wanted);
        assert!(header(&head, "access-control-allow-methods").contains(&method.to_lowercase()), "{head}");
        assert!(header(&head, "vary").contains("access-control-request-headers"), "{head}");
    }
    let (status, head, _) = page.ask(&format!("POST /whip/r HTTP/1.1\r\n{origin}"), PUBLISH).await;
    assert_eq!(status, 201);
    let (session, tag) = (header(&head, "location").to_owned(), header(&head, "etag").to_owned());
    let patch = |line: &str| {
        let kind = "Content-Type: application/trickle-ice-sdpfrag; charset=utf-8";
        format!("PATCH {session} HTTP/1.1\r\n{origin}\r\n{kind}\r\n{line}")
    };
    assert_eq!(page.ask(&patch(&format!("ETag: {tag}")), "a=end-of-candidates\r\n").await.0, 204);
    assert_eq!(page.ask(&patch("ETag: \"another\""), "a=end-of-candidates\r\n").await.0, 412);
    setup.running.stop().await;
}

/// RFC 9110 §8.6: a length in the answer to HEAD is that of GET.
#[tokio::test]
async fn head_tells_of_a_page_what_get_would() {
    let setup = setup(|_| {}).await;
    let (status, get, page) = http(setup.running.http, "GET / HTTP/1.1", "").await;
    let (head_status, head, nothing) = http(setup.running.http, "HEAD / HTTP/1.1", "").await;
    assert_eq!((status, head_status, nothing.as_str()), (200, 200, ""));
    assert_eq!(header(&head, "content-length"), page.len().to_string());
    assert_eq!(header(&head, "etag"), header(&get, "etag"));
    setup.running.stop().await;
}

/// RFC 9725 §4.2: GET and HEAD are kept for later versions of the protocol.
#[tokio::test]
async fn other_methods_are_told_which_there_are() {
    let setup = setup(|_| {}).await;
    for (request, allowed) in [
        ("GET /whip/r HTTP/1.1", "post"),
        ("HEAD /whep/r/a HTTP/1.1", "post"),
        ("PUT /whip/r/ HTTP/1.1", "post"),
        ("GET /whip/r/s HTTP/1.1", "delete"),
        ("HEAD /whep/r/a/s/ HTTP/1.1", "patch"),
    ] {
        let mut client = Connection::open(setup.running.http).await;
        let (status, head, _) = client.ask(request, "").await;
        assert_eq!(status, 405, "{request}");
        assert!(header(&head, "allow").contains(allowed), "{request}: {head}");
    }
    setup.running.stop().await;
}

/// A proxy that is set to speak the PROXY protocol finds out at once that it is not understood here.
#[tokio::test]
async fn the_proxy_protocol_is_refused() {
    let setup = setup(|_| {}).await;
    for preamble in ["PROXY TCP4 192.0.2.1 127.0.0.1 4711 8080\r\n", "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"] {
        let mut proxy = Connection::open(setup.running.http).await;
        proxy.send(&format!("{preamble}GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")).await;
        assert_eq!(proxy.answer().await.0, 400, "{preamble:?}");
    }
    setup.running.stop().await;
}
