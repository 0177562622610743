//! What strangers can do to the listeners: crowds that do not read, do not speak, or do not go. Other
//! addresses of 127.0.0.0/8 stand for other clients; 127.0.0.1 itself is a proxy's by default.

use crate::edges::{Client, FakeRelay, PATIENCE, header, setup};
use crate::relay_model::RelayModel;
use crate::world::PUBLISH_AUDIO;
use relay_control::ErrorCode;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use signaling::config::ForwardedHeader;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// More than `max_connections = 200` and what may come on top of it.
const CROWD: u16 = 1_205;
const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
pub(crate) const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Each of a crowd has an address of its own.
fn own(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

pub(crate) async fn connect(from: Ipv4Addr, server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("socket");
    socket.bind(SocketAddr::new(from.into(), 0)).expect("bound");
    timeout(PATIENCE, socket.connect(server)).await.expect("in time").expect("connected")
}

/// A connection that has room for little and takes small segments, so that the other side can send little
/// ahead.
fn narrow(from: Ipv4Addr, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("socket");
    socket.set_tcp_mss(1_000).expect("set");
    socket.set_recv_buffer_size(4 << 10).expect("set");
    socket.bind(&SocketAddr::new(from.into(), 0).into()).expect("bound");
    socket.connect(&server.into()).expect("connected");
    socket.set_nonblocking(true).expect("set");
    TcpStream::from_std(socket.into()).expect("stream")
}

/// Connections that ask for two megabytes each and never read.
async fn deaf_crowd(size: u16, from: impl Fn(u16) -> Ipv4Addr, server: SocketAddr) -> Vec<TcpStream> {
    let ask = "GET /sdk/peer.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(150);
    let mut crowd = Vec::new();
    for number in 0..size {
        let mut stream = narrow(from(number), server);
        // Who is refused may be gone before it has said all.
        let _ = stream.write_all(ask.as_bytes()).await;
        crowd.push(stream);
    }
    crowd
}

/// Status, head and body of one request over any stream; 0 for who was closed without a word.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> (u16, String, String) {
    // Who refuses may close before all is said.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut response = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut response)).await.expect("in time");
    let response = String::from_utf8(response).expect("text");
    let Some((head, body)) = response.split_once("\r\n\r\n") else { return (0, String::new(), response) };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("status");
    (status, head.to_lowercase(), body.to_owned())
}

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

async fn get(from: Ipv4Addr, server: SocketAddr) -> (u16, String, String) {
    ask(connect(from, server).await, GET).await
}

/// Nobody comes in from there. While many are refused at a time, some of them are closed without a word.
async fn is_refused(from: Ipv4Addr, server: SocketAddr) {
    let told = async {
        loop {
            let (status, head, body) = get(from, server).await;
            if status > 0 {
                return (status, header(&head, "retry-after").to_owned(), body);
            }
        }
    };
    let (status, retry, body) = timeout(PATIENCE, told).await.expect("in time");
    assert_eq!((status, retry.as_str()), (503, "5"), "{body}");
}

async fn comes_in(from: Ipv4Addr, server: SocketAddr) {
    let came_in = async { while get(from, server).await.0 != 200 {} };
    timeout(PATIENCE, came_in).await.expect("in time");
}

pub(crate) async fn alive<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>) {
    client.say("ping", Value::Null).await;
    assert_eq!(client.hear().await["message"], "pong");
}

pub(crate) async fn client(from: Ipv4Addr, server: SocketAddr) -> Client {
    let stream = connect(from, server).await;
    let opened = tokio_tungstenite::client_async("ws://localhost/", stream);
    Client(timeout(PATIENCE, opened).await.expect("in time").expect("upgrade").0)
}

/// Whether the server has not closed it; what it sent is left where it is.
fn is_open(stream: &TcpStream) -> bool {
    let error = stream.take_error().expect("asked");
    let mut octet = [0];
    let peeked = rustix::net::recv(stream, &mut octet, rustix::net::RecvFlags::PEEK);
    error.is_none() && !matches!(peeked, Ok((0, _)) | Err(rustix::io::Errno::CONNRESET))
}

#[tokio::test]
async fn one_address_that_does_not_read_takes_nobody_elses_place() {
    let setup = setup(|config| config.signaling.max_connections = 200).await;
    let server = setup.running.http;
    let mut witness = client(OTHER, server).await;
    let crowd = deaf_crowd(CROWD, |_| ONE, server).await;
    assert_eq!(get(OTHER, server).await.0, 200);
    alive(&mut client(OTHER, server).await).await;
    alive(&mut witness).await;
    // Its own address is told that it has too many.
    is_refused(ONE, server).await;
    drop(crowd);
    setup.running.stop().await;
}

#[tokio::test]
async fn a_full_server_says_so_at_once_and_its_sessions_go_on() {
    let setup = setup(|config| {
        config.signaling.max_connections = 200;
        config.signaling.send_timeout = Duration::from_secs(60);
    })
    .await;
    let server = setup.running.http;
    let mut witness = client(OTHER, server).await;
    let crowd = deaf_crowd(CROWD, own, server).await;
    is_refused(OTHER, server).await;
    alive(&mut witness).await;
    drop(crowd);
    // Their places are free as soon as they are gone.
    comes_in(OTHER, server).await;
    setup.running.stop().await;
}

#[tokio::test]
async fn who_does_not_read_is_closed_and_its_place_is_free() {
    let setup = setup(|config| {
        config.signaling.max_connections = 200;
        config.signaling.send_timeout = Duration::from_millis(100);
    })
    .await;
    let server = setup.running.http;
    let crowd = deaf_crowd(CROWD, own, server).await;
    // While all of them are still there, and wait for what they do not take.
    comes_in(OTHER, server).await;
    drop(crowd);
    setup.running.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_kept_alive_and_silent_is_closed() {
    let setup = setup(|config| config.signaling.http_idle = Duration::from_secs(1)).await;
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let next_begins = format!("{request}GET / HT");
    for said in ["", "GET / HT", request, &next_begins] {
        let mut stream = connect(OTHER, setup.running.http).await;
        stream.write_all(said.as_bytes()).await.expect("sent");
        let mut response = Vec::new();
        let end = timeout(PATIENCE, stream.read_to_end(&mut response)).await;
        assert!(matches!(end, Ok(Ok(_))), "{said:?}: {end:?}");
        assert_eq!(said.starts_with(request), response.starts_with(b"HTTP/1.1 200"), "{said}");
    }
    setup.running.stop().await;
}

async fn tls(stream: TcpStream, data: &Path) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(data.join("certificate.pem")).expect("made")).expect("root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("name");
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream);
    timeout(PATIENCE, shaken).await.expect("in time").expect("handshake")
}

#[tokio::test]
async fn silent_handshakes_hold_no_place() {
    let setup = setup(|config| config.signaling.max_connections = 200).await;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(connect(ONE, setup.running.https).await);
    }
    let stream = tls(connect(OTHER, setup.running.https).await, &setup.dir.path().join("data")).await;
    assert_eq!(ask(stream, GET).await.0, 200);
    assert!(is_open(&crowd[0]), "nobody came in before the first one's time was up");
    // They have not entered, so they count for nothing where there is no handshake.
    assert_eq!(get(ONE, setup.running.http).await.0, 200);
    setup.running.stop().await;
}

#[tokio::test]
async fn the_oldest_handshake_gives_way_where_many_addresses_are_silent() {
    let setup = setup(|_| {}).await;
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        crowd.push(connect(own(number), setup.running.https).await);
    }
    let stream = tls(connect(OTHER, setup.running.https).await, &setup.dir.path().join("data")).await;
    assert_eq!(ask(stream, GET).await.0, 200);
    assert!(!is_open(&crowd[0]) && is_open(&crowd[usize::from(CROWD) - 1]), "the oldest went");
    setup.running.stop().await;
}

#[tokio::test]
async fn a_full_server_says_so_over_tls() {
    let setup = setup(|config| config.signaling.max_connections_per_address = Some(1)).await;
    let data = setup.dir.path().join("data");
    let _first = client(ONE, setup.running.http).await;
    let stream = tls(connect(ONE, setup.running.https).await, &data).await;
    let (status, head, body) = ask(stream, GET).await;
    assert_eq!((status, header(&head, "retry-after")), (503, "5"), "{body}");
    setup.running.stop().await;
}

/// The program itself, under limits of its own.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) http: SocketAddr,
    _dir: TempDir,
    _relay: FakeRelay,
}

pub(crate) async fn program(limits: &str) -> Program {
    let dir = tempfile::tempdir().expect("directory");
    let socket = dir.path().join("relay.sock");
    let relay = FakeRelay::listen(&socket, RelayModel::new(7));
    let line = format!("ulimit {limits} && exec \"$0\" \"$@\" 2>stderr");
    let mut child = Command::new("sh")
        .args(["-c", &line, env!("CARGO_BIN_EXE_ringvox-signaling")])
        .args(["--bind", "127.0.0.1", "--http-port", "0", "--https-port", "0", "--start-relay", "false"])
        .args(["--data-dir", "data", "--control-socket", socket.to_str().expect("text")])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let port = async {
        loop {
            let line = lines.next_line().await.expect("read").expect("running");
            if let Some(port) = line.trim().strip_prefix("http://localhost:") {
                return port.trim_end_matches('/').parse::<u16>().expect("port");
            }
        }
    };
    let port = timeout(PATIENCE, port).await.expect("in time");
    // Whoever reads its words goes on doing so: a closed pipe is none of this test's business.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let http = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    Program { child, http, _dir: dir, _relay: relay }
}

impl Program {
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self._dir.path().join("stderr")).expect("log")
    }

    pub(crate) async fn stop(mut self) {
        self.child.kill().await.expect("ended");
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }
}

#[tokio::test]
async fn the_soft_limit_of_descriptors_is_no_limit_of_ours() {
    let program = program("-Sn 1024").await;
    let mut witness = client(OTHER, program.http).await;
    let crowd = deaf_crowd(1_035, own, program.http).await;
    assert_eq!(get(OTHER, program.http).await.0, 200);
    alive(&mut client(OTHER, program.http).await).await;
    alive(&mut witness).await;
    drop(crowd);
    program.stop().await;
}

#[tokio::test]
async fn what_the_hard_limit_of_descriptors_does_not_allow_is_said_and_not_promised() {
    let program = program("-n 600").await;
    assert!(program.log().contains("max_connections is 236 instead of 10000"), "{}", program.log());
    let mut witness = client(OTHER, program.http).await;
    let crowd = deaf_crowd(700, own, program.http).await;
    is_refused(OTHER, program.http).await;
    alive(&mut witness).await;
    assert!(!program.log().contains("accept:"), "{}", program.log());
    drop(crowd);
    comes_in(OTHER, program.http).await;
    program.stop().await;
}

#[tokio::test]
async fn a_signaling_whose_relay_obeys_another_says_that_it_ends() {
    let mut program = program("-n 600").await;
    program._relay.model.lock().expect("model").superseded = true;
    let mut stream = connect(ONE, program.http).await;
    stream.write_all(whip(1, "").as_bytes()).await.expect("written");
    let status = timeout(PATIENCE, program.child.wait()).await.expect("in time").expect("ended");
    assert_eq!(status.code(), Some(1));
    for words in ["newer signaling", "this one ends", "relay.control_socket"] {
        assert!(program.log().contains(words), "{words}: {}", program.log());
    }
}

fn whip(room: usize, more: &str) -> String {
    let length = PUBLISH_AUDIO.len();
    format!(
        "POST /whip/r{room} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/sdp\r\n\
         Content-Length: {length}\r\n{more}\r\n{PUBLISH_AUDIO}"
    )
}

#[tokio::test]
async fn posts_without_ice_are_few_and_told_when_to_come_again() {
    let setup = setup(|config| config.signaling.max_unproved_streams_per_address = 20).await;
    setup.relay.model.lock().expect("model").silent = true;
    let server = setup.running.http;
    for room in 0..60 {
        let (status, head, body) = ask(connect(ONE, server).await, &whip(room, "")).await;
        let expected = if room < 20 { (201, "") } else { (503, "2") };
        assert_eq!((status, header(&head, "retry-after")), expected, "{room}: {body}");
    }
    assert_eq!(setup.relay.model.lock().expect("model").transports.len(), 20);
    assert_eq!(ask(connect(OTHER, server).await, &whip(100, "")).await.0, 201);
    setup.running.stop().await;
}

#[tokio::test]
async fn who_asks_through_a_proxy_is_counted_by_what_the_proxy_says() {
    use ForwardedHeader::{Forwarded, None, XForwardedFor};
    for (header, from, more, expected) in [
        // A proxy that says nothing: nobody is counted by address.
        (None, Ipv4Addr::LOCALHOST, "X-Forwarded-For: 192.0.2.1\r\n", [201, 201]),
        (XForwardedFor, Ipv4Addr::LOCALHOST, "", [201, 201]),
        (XForwardedFor, Ipv4Addr::LOCALHOST, "X-Forwarded-For: nonsense\r\n", [201, 201]),
        (XForwardedFor, Ipv4Addr::LOCALHOST, "X-Forwarded-For: 192.0.2.7, 192.0.2.1\r\n", [201, 503]),
        (XForwardedFor, Ipv4Addr::LOCALHOST, "Forwarded: for=192.0.2.1\r\n", [201, 201]),
        (Forwarded, Ipv4Addr::LOCALHOST, "Forwarded: for=192.0.2.1\r\n", [201, 503]),
        // Only proxies are believed.
        (XForwardedFor, OTHER, "X-Forwarded-For: 192.0.2.1\r\n", [201, 503]),
    ] {
        let setup = setup(|config| {
            config.signaling.max_unproved_streams_per_address = 1;
            config.signaling.forwarded_header = header;
        })
        .await;
        setup.relay.model.lock().expect("model").silent = true;
        for (room, expected) in expected.into_iter().enumerate() {
            let stream = connect(from, setup.running.http).await;
            let (status, _, body) = ask(stream, &whip(room, more)).await;
            assert_eq!(status, expected, "{more:?} {body}");
        }
        setup.running.stop().await;
    }
}

/// An upgrade through the proxy at 127.0.0.1; the status, and the connection, which is open.
async fn upgrade(server: SocketAddr, client: &str) -> (String, TcpStream) {
    let mut stream = connect(Ipv4Addr::LOCALHOST, server).await;
    let request = format!(
        "GET /any HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         X-Forwarded-For: 203.0.113.9, {client}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut status = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut status)).await.expect("in time").expect("an answer");
    (String::from_utf8_lossy(&status[9..]).into_owned(), stream)
}

#[tokio::test]
async fn web_sockets_behind_a_proxy_are_counted_by_client() {
    let setup = setup(|config| config.signaling.max_connections_per_address = Some(2)).await;
    let server = setup.running.http;
    let mut open = Vec::new();
    for (client, expected) in [
        ("192.0.2.1", "101"),
        ("192.0.2.1", "101"),
        ("192.0.2.1", "503"),
        ("192.0.2.2", "101"),
        ("unknown", "101"),
        ("unknown", "101"),
        ("unknown", "101"),
    ] {
        let (status, stream) = upgrade(server, client).await;
        assert_eq!(status, expected, "{client}");
        open.push(stream);
    }
    setup.running.stop().await;
}

#[tokio::test]
async fn a_session_behind_a_proxy_is_where_its_location_says_at_any_prefix() {
    let setup = setup(|_| {}).await;
    let server = setup.running.http;
    for (room, from, more, start) in [
        (1, OTHER, "", "/whip/r1/"),
        (2, OTHER, "X-Forwarded-Proto: https\r\n", "./r2/"),
        (3, OTHER, "Via: 1.1 proxy\r\n", "./r3/"),
        (4, Ipv4Addr::LOCALHOST, "", "./r4/"),
    ] {
        let (status, head, body) = ask(connect(from, server).await, &whip(room, more)).await;
        assert_eq!(status, 201, "{body}");
        assert!(header(&head, "location").starts_with(start), "{more:?}: {head}");
    }
    setup.running.stop().await;
}

#[tokio::test]
async fn a_full_relay_is_told_with_the_time_to_come_again() {
    let setup = setup(|_| {}).await;
    for code in [ErrorCode::LimitReached, ErrorCode::Busy] {
        setup.relay.model.lock().expect("model").refuses = Some(code);
        let (status, head, body) = ask(connect(OTHER, setup.running.http).await, &whip(1, "")).await;
        assert_eq!((status, header(&head, "retry-after"), body.as_str()), (503, "2", "The server is full\n"));
    }
    setup.running.stop().await;
}

#[tokio::test]
async fn health_tells_strangers_nothing_but_whether_it_is_well() {
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for (counts, from, expected) in [
        (false, OTHER, r#"{"status":"ok"}"#),
        // A proxy on this machine: everybody comes from here.
        (false, Ipv4Addr::LOCALHOST, r#"{"status":"ok"}"#),
        (true, OTHER, r#"{"status":"ok","connections":0,"rooms":0,"members":0,"streams":0}"#),
    ] {
        let setup = setup(|config| config.signaling.health_counts = counts).await;
        let (status, _, body) = ask(connect(from, setup.running.http).await, request).await;
        assert_eq!((status, body.as_str()), (200, expected));
        setup.running.stop().await;
    }
}

/// Requests that two readers in a row may take for different ones (RFC 9112 §3.2, §6.3, §11.2).
#[tokio::test]
async fn requests_are_read_in_one_way_only() {
    let setup = setup(|_| {}).await;
    let post = "POST /whip/r HTTP/1.1\r\nHost: a\r\nContent-Type: application/sdp\r\n";
    for (request, expected) in [
        ("GET /healthz HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost: a@b\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET http://a/healthz HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nUpgrade: websocket\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n".to_owned(), 200),
        ("GET /healthz HTTP/1.1\r\nhost: [::1]:8080\r\nConnection: close\r\n\r\n".to_owned(), 200),
        ("GET http://a/healthz HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n".to_owned(), 200),
        (format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), 400),
        (format!("{post}Content-Length: 1, 2\r\n\r\nxx"), 400),
        (format!("{post}Content-Length: +1\r\n\r\nx"), 400),
        (format!("{post}Content-Length: -1\r\n\r\nx"), 400),
        (format!("{post}Content-Length: 99999999999999999999\r\n\r\nx"), 400),
        (format!("{post}Transfer-Encoding: gzip\r\n\r\nx"), 400),
        (format!("{post}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"), 400),
        (format!("{post}X: y\r\n z\r\nContent-Length: 0\r\n\r\n"), 400),
        // Read by its chunks, answered (400: no SDP), and then closed (RFC 9112 §6.3): what follows is no
        // request.
        (format!("{post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{GET}"), 400),
        (format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n{GET}"), 400),
    ] {
        let (status, _, body) = ask(connect(OTHER, setup.running.http).await, &request).await;
        assert_eq!(status, expected, "{request}");
        assert!(!body.contains("HTTP/1.1"), "two answers to {request}: {body}");
    }
    setup.running.stop().await;
}
