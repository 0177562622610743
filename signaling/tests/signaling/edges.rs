//! The whole server on loopback sockets, with the relay model behind a Unix socket.

use crate::panics::NoPanics;
use crate::relay_model::RelayModel;
use crate::world::{PLAY, PUBLISH};
use futures_util::{SinkExt, StreamExt};
use relay_control::{
    Command, Event, EventBody, FrameDecoder, FromRelay, Outgoing, Priority, Reply, Request, TransportState,
    TransportStateChanged, UpTrackActivity, encode_frame,
};
use serde_json::{Value, json};
use signaling::config::Config;
use signaling::server::Ended;
use signaling::start::{Running, start};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Everything here takes milliseconds; this is for machines that are busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A relay model that listens. Each transport comes up as soon as its tracks are there.
pub(crate) struct FakeRelay {
    pub(crate) model: Arc<Mutex<RelayModel>>,
    task: tokio::task::JoinHandle<()>,
}

impl FakeRelay {
    pub(crate) fn listen(path: &Path, model: RelayModel) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("socket");
        let model = Arc::new(Mutex::new(model));
        let shared = Arc::clone(&model);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, &shared).await;
            }
        });
        Self { model, task }
    }

    /// The priorities of the video that it was asked to take, in order.
    pub(crate) fn priorities(&self) -> Vec<Priority> {
        self.model.lock().expect("model").priorities()
    }

    /// Waits until the relay has this many transports: commands to it are on their way when a client is
    /// answered.
    pub(crate) async fn has_transports(&self, number: usize) {
        let reached = async {
            while self.model.lock().expect("model").transports.len() != number {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reached).await.expect("in time");
    }
}

async fn serve(mut stream: UnixStream, model: &Mutex<RelayModel>) {
    let mut decoder = FrameDecoder::default();
    let mut seq = 0;
    loop {
        let mut buffer = vec![0; 65_536];
        let Ok(n @ 1..) = stream.read(&mut buffer).await else { return };
        decoder.push(&buffer[..n]);
        let mut out = Vec::new();
        while let Some(Request { request_id, command: Some(command) }) = decoder.next().expect("frames") {
            let ends = matches!(command, Command::Shutdown(_));
            let mut frames = {
                let mut model = model.lock().expect("model");
                let came_up = comes_up(&command).filter(|_| !model.silent);
                let body = model.handle(command);
                let mut frames = vec![Outgoing::Reply(Reply { request_id, body: Some(body) })];
                if let Some(transport_id) = came_up {
                    frames.extend(events(&mut model, transport_id, &mut seq));
                }
                frames
            };
            for outgoing in frames.drain(..) {
                encode_frame(&FromRelay { outgoing: Some(outgoing) }, &mut out).expect("small");
            }
            if ends {
                return;
            }
        }
        if stream.write_all(&out).await.is_err() {
            return;
        }
    }
}

/// The model needs no second track to call a transport connected.
fn comes_up(command: &Command) -> Option<u64> {
    match command {
        Command::AddUpTrack(add) => Some(add.transport_id),
        Command::AddDownTrack(add) => Some(add.transport_id),
        _ => None,
    }
}

fn events(model: &mut RelayModel, transport_id: u64, seq: &mut u64) -> Vec<Outgoing> {
    model.set_state(transport_id, TransportState::Connected);
    if let Some(info) = model.transports.get_mut(&transport_id) {
        info.up_tracks.iter_mut().for_each(|track| track.active = true);
    }
    let tracks = model.transports.get(&transport_id).map(|info| info.up_tracks.clone()).unwrap_or_default();
    let state = TransportState::Connected as i32;
    let mut bodies =
        vec![EventBody::TransportState(TransportStateChanged { transport_id, state, reason: 0 })];
    bodies.extend(
        tracks.iter().map(|track| {
            EventBody::UpTrackActivity(UpTrackActivity { track_id: track.track_id, active: true })
        }),
    );
    let event = |body| {
        *seq += 1;
        Outgoing::Event(Event { seq: *seq, body: Some(body) })
    };
    bodies.into_iter().map(event).collect()
}

pub(crate) struct Setup {
    pub(crate) dir: TempDir,
    pub(crate) relay: FakeRelay,
    pub(crate) running: Running,
    _no_panics: NoPanics,
}

pub(crate) fn config(dir: &Path) -> Config {
    let mut config = Config::default();
    config.signaling.bind = "127.0.0.1".parse().expect("address");
    config.signaling.http_port = 0;
    config.signaling.https_port = 0;
    config.signaling.data_dir = dir.join("data");
    config.signaling.start_relay = false;
    config.control_socket = dir.join("relay.sock");
    config
}

pub(crate) async fn setup(change: impl FnOnce(&mut Config)) -> Setup {
    let dir = tempfile::tempdir().expect("directory");
    let relay = FakeRelay::listen(&dir.path().join("relay.sock"), RelayModel::new(7));
    let mut config = config(dir.path());
    change(&mut config);
    let no_panics = NoPanics::from_now_on();
    let running = start(config).await.expect("start");
    Setup { dir, relay, running, _no_panics: no_panics }
}

pub(crate) struct Client<S = TcpStream>(pub(crate) WebSocketStream<S>);

impl Client {
    pub(crate) async fn open(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.expect("connect");
        let (socket, _) =
            tokio_tungstenite::client_async("ws://localhost/any/path", stream).await.expect("upgrade");
        Self(socket)
    }

    pub(crate) async fn connect(server: SocketAddr, login: &str) -> Self {
        let mut client = Self::open(server).await;
        client.say("connection", json!({"custom": {"login": login}})).await;
        assert_eq!(client.hear().await["message"], "getUserData");
        client
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) async fn say(&mut self, message: &str, data: Value) {
        let text = json!({"message": message, "data": [data]}).to_string();
        self.0.send(Message::text(text)).await.expect("sent");
    }

    pub(crate) async fn join(&mut self, room: &str) {
        let payload = json!({"command": "join", "options": {"name": room}});
        self.say("sendData", json!({"operationId": "j", "payload": payload})).await;
        assert_eq!(self.hear().await["data"][0]["status"], "ACCEPTED");
        assert_eq!(self.hear().await["data"][0]["payload"]["name"], "STATE");
    }

    pub(crate) async fn next(&mut self) -> Message {
        timeout(PATIENCE, self.0.next()).await.expect("in time").expect("open").expect("good")
    }

    pub(crate) async fn hear(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.next().await {
                let message: Value = serde_json::from_str(&text).expect("JSON");
                if message["message"] != "ping" {
                    return message;
                }
            }
        }
    }

    pub(crate) async fn closed(mut self) -> Option<CloseCode> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("in time") {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

/// Status, head and body of one request.
pub(crate) async fn http(server: SocketAddr, head: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server).await.expect("connect");
    let request = format!(
        "{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut response = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut response)).await.expect("in time").expect("read");
    let response = String::from_utf8(response).expect("text");
    let (head, body) = response.split_once("\r\n\r\n").expect("head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("status");
    (status, head.to_lowercase(), body.to_owned())
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap_or_default()
}

#[tokio::test]
async fn two_clients_join_publish_play_and_leave() {
    let setup = setup(|_| {}).await;
    let mut a = Client::connect(setup.running.http, "a").await;
    a.join("r").await;
    let mut b = Client::connect(setup.running.http, "b").await;
    b.join("r").await;
    assert_eq!(a.hear().await["data"][0]["payload"]["name"], "JOINED");
    a.say(
        "publishStream",
        json!({"mediaSessionId": "s", "name": "n", "sdp": PUBLISH, "custom": {"name": "r"}}),
    )
    .await;
    assert_eq!(a.hear().await["message"], "setRemoteSDP");
    assert_eq!(a.hear().await["data"][0]["status"], "PUBLISHING");
    assert_eq!(b.hear().await["data"][0]["payload"]["name"], "PUBLISHED");
    b.say("playStream", json!({"mediaSessionId": "p", "name": "n", "sdp": PLAY, "custom": {"name": "r"}}))
        .await;
    assert_eq!(b.hear().await["message"], "setRemoteSDP");
    assert_eq!(b.hear().await["data"][0]["status"], "PLAYING");
    setup.relay.has_transports(2).await;
    a.0.close(None).await.expect("closed");
    for expected in ["STOPPED", "UNPUBLISHED", "LEFT"] {
        let heard = b.hear().await;
        let data = &heard["data"][0];
        assert!(data["status"] == expected || data["payload"]["name"] == expected, "{heard}");
    }
    setup.running.stop().await;
}

#[tokio::test]
async fn bad_frames_are_answered_with_the_right_close_code_and_harm_nobody() {
    let setup = setup(|_| {}).await;
    let mut witness = Client::connect(setup.running.http, "w").await;
    witness.join("r").await;
    let mut big = Client::connect(setup.running.http, "a").await;
    big.0.send(Message::text(format!("\"{}\"", "x".repeat(300 << 10)))).await.expect("sent");
    assert_eq!(big.closed().await, Some(CloseCode::Size));

    let mut binary = Client::connect(setup.running.http, "b").await;
    binary.0.send(Message::binary(vec![0xff; 100])).await.expect("sent");
    binary.say("ping", Value::Null).await;
    assert_eq!(binary.hear().await["message"], "pong");

    for (bytes, code) in [
        // Reserved bit set (RFC 6455 §5.2), masked as a client must.
        (&[0xc1, 0x80, 0, 0, 0, 0][..], CloseCode::Protocol),
        // Text that is no UTF-8 (§8.1).
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff][..], CloseCode::Invalid),
        // A frame that announces 2^40 bytes is refused before they come.
        (&[0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], CloseCode::Size),
    ] {
        let mut rude = Client::open(setup.running.http).await;
        rude.0.get_mut().write_all(bytes).await.expect("sent");
        assert_eq!(rude.closed().await, Some(code), "{bytes:x?}");
    }
    witness.say("ping", Value::Null).await;
    assert_eq!(witness.hear().await["message"], "pong");
    setup.running.stop().await;
}

#[tokio::test]
async fn who_does_not_read_is_spared_chat_then_cut_off_and_the_others_notice_nothing() {
    let setup = setup(|config| {
        config.signaling.send_queue_bytes_max = 256 << 10;
        config.signaling.send_timeout = Duration::from_millis(200);
        config.signaling.messages_per_second = 100_000;
        config.signaling.bytes_per_second = 1 << 30;
    })
    .await;
    let mut sender = Client::connect(setup.running.http, "a").await;
    sender.join("r").await;
    let mut deaf = Client::connect(setup.running.http, "deaf").await;
    deaf.join("r").await;
    assert_eq!(sender.hear().await["data"][0]["payload"]["name"], "JOINED");
    // The sockets' own buffers take a few megabytes first.
    let options = json!({"roomConfig": {"name": "r"}, "to": "deaf", "text": "x".repeat(60 << 10)});
    let message = json!({"operationId": "m", "payload": {"command": "sendMessage", "options": options}});
    let mut refused = 0;
    let left = loop {
        sender.say("sendData", message.clone()).await;
        let heard = sender.hear().await;
        if heard["message"] == "OnDataEvent" {
            break heard;
        }
        refused += usize::from(heard["data"][0]["status"] == "FAILED");
    };
    assert_eq!(left["data"][0]["payload"], json!({"roomName": "r", "name": "LEFT", "info": "deaf"}));
    assert!(refused > 0);
    drop(deaf);
    setup.running.stop().await;
}

#[tokio::test]
async fn a_connection_that_the_server_closes_ends_without_a_panic() {
    let setup = setup(|config| {
        config.signaling.keep_alive_interval = Duration::from_millis(20);
        config.signaling.keep_alive_probes = 2;
        config.signaling.health_counts = true;
    })
    .await;
    // One never says who it is, one falls silent, one is refused its login.
    let silent = Client::open(setup.running.http).await;
    let mut member = Client::connect(setup.running.http, "a").await;
    let mut refused = Client::open(setup.running.http).await;
    refused.say("connection", json!({"custom": {"login": 7}})).await;
    member.join("r").await;
    for client in [silent, member, refused] {
        // Its socket stays open until the server has given it up.
        assert!(client.closed().await.is_some());
    }
    let health = || http(setup.running.http, "GET /healthz HTTP/1.1", "");
    while !health().await.2.contains("\"connections\":0") {}
    setup.running.stop().await;
}

#[tokio::test]
async fn a_flood_is_paced_and_loses_nothing() {
    let setup = setup(|config| config.signaling.messages_per_second = 1_000).await;
    let mut client = Client::connect(setup.running.http, "a").await;
    for _ in 0..2_500 {
        client.say("ping", Value::Null).await;
    }
    for _ in 0..2_500 {
        assert_eq!(client.hear().await["message"], "pong");
    }
    setup.running.stop().await;
}

#[tokio::test]
async fn origins_are_compared_exactly() {
    let allowed = "https://good.example";
    let setup = setup(|config| config.signaling.allowed_origins = Some(vec![allowed.to_owned()])).await;
    let upgrade = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
    for (origin, good) in [
        (Some("https://good.example"), true),
        (None, true),
        (Some("https://evil-good.example"), false),
        (Some("https://good.example.evil"), false),
        (Some("http://good.example"), false),
        (Some("https://good.example:444"), false),
        (Some("https://good.example/"), false),
        (Some("https://GOOD.example"), false),
        (Some("https://good.example https://evil.example"), false),
        (Some("https://good.example\r\nOrigin: https://evil.example"), false),
        (Some("*"), false),
        (Some(""), false),
        (Some("null"), false),
    ] {
        let origin = origin.map(|origin| format!("\r\nOrigin: {origin}")).unwrap_or_default();
        let mut stream = TcpStream::connect(setup.running.http).await.expect("connect");
        let request = format!("{upgrade}{origin}\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.expect("read");
        assert_eq!(&start, if good { b"HTTP/1.1 101" } else { b"HTTP/1.1 403" }, "{origin}");
        let head = format!("POST /whip/r HTTP/1.1\r\nContent-Type: application/sdp{origin}");
        let (status, _, _) = http(setup.running.http, &head, "nonsense").await;
        assert_eq!(status, if good { 400 } else { 403 }, "{origin}");
    }
    setup.running.stop().await;
}

#[tokio::test]
async fn whip_and_whep_over_http() {
    let setup = setup(|_| {}).await;
    let server = setup.running.http;
    let post = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nContent-Type: application/sdp\r\nOrigin: https://x.example")
    };
    let (status, head, sdp) = http(server, &post("/whip/%D0%B4%D0%BE%D0%BC?login=%D1%8F"), PUBLISH).await;
    assert_eq!(status, 201, "{sdp}");
    assert!(sdp.starts_with("v=0") && header(&head, "content-type") == "application/sdp");
    let location = header(&head, "location").replacen("./", "/whip/", 1);
    assert!(location.starts_with("/whip/%d0%b4%d0%be%d0%bc/"), "{location}");
    assert_eq!(header(&head, "access-control-allow-origin"), "*");
    assert!(header(&head, "access-control-expose-headers").contains("location"));
    let tag = header(&head, "etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");

    let (status, head, _) = http(server, &post("/whep/%D0%B4%D0%BE%D0%BC/%D1%8F"), PLAY).await;
    assert_eq!(status, 201);
    let viewer = header(&head, "location").replacen("./", "/whep/%d0%b4%d0%be%d0%bc/", 1);
    let patch = |path: &str, rest: &str| {
        format!("PATCH {path} HTTP/1.1\r\nContent-Type: application/trickle-ice-sdpfrag{rest}")
    };
    let candidates = "a=candidate:1 1 udp 1 192.0.2.7 9 typ host\r\n";
    let whip = post("/whip/r");
    let wrong_type = "POST /whip/r HTTP/1.1\r\nContent-Type: text/plain".to_owned();
    let no_accept = format!("{whip}\r\nAccept: text/html");
    let no_sound = PUBLISH.replace("opus/", "vorbis/").replace("PCM", "XCM");
    let nothing = no_sound.replace("VP8", "XP8").replace("H264", "H26X");
    let too_long = "x".repeat(70_000);
    for (head, body, expected) in [
        (whip.clone(), "nonsense", 400),
        (post("/whip/r?record=yes"), PUBLISH, 400),
        (post("/whip/r?record=true&record=true"), PUBLISH, 400),
        (post("/whep/nowhere/x"), PLAY, 404),
        (no_accept, PUBLISH, 406),
        (post("/whip/%D0%B4%D0%BE%D0%BC?login=%D1%8F"), PUBLISH, 409),
        (whip.clone(), &too_long, 413),
        (wrong_type, PUBLISH, 415),
        (whip, &nothing, 422),
        ("GET /whip/r HTTP/1.1".to_owned(), "", 405),
        ("PUT /whip/r/x HTTP/1.1".to_owned(), "", 405),
        ("OPTIONS /whip/r HTTP/1.1".to_owned(), "", 204),
        (patch(&location, ""), candidates, 428),
        (patch(&location, "\r\nIf-Match: \"old\""), candidates, 412),
        (patch("/whip/r/unknown", "\r\nIf-Match: *"), candidates, 404),
        (format!("PATCH {location} HTTP/1.1\r\nContent-Type: application/sdp"), "", 415),
        (format!("DELETE {viewer} HTTP/1.1"), "", 200),
        (format!("DELETE {viewer} HTTP/1.1"), "", 404),
        (format!("DELETE {location} HTTP/1.1"), "", 200),
    ] {
        let (status, answer, words) = http(server, &head, body).await;
        assert_eq!(status, expected, "{head}: {answer} {words}");
    }
    setup.relay.has_transports(0).await;
    setup.running.stop().await;
}

#[tokio::test]
async fn pages_health_and_errors_over_http() {
    let setup = setup(|_| {}).await;
    let (status, head, body) = http(setup.running.http, "GET / HTTP/1.1", "").await;
    assert!(status == 200 && body.contains("<html"), "{head}");
    assert!(header(&head, "content-security-policy").starts_with("default-src 'self'"));
    assert_eq!(header(&head, "x-content-type-options"), "nosniff");
    let (status, _, body) = http(setup.running.http, "GET /healthz HTTP/1.1", "").await;
    assert_eq!((status, serde_json::from_str::<Value>(&body).expect("JSON")), (200, json!({"status": "ok"})));
    let long = format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(1 << 20));
    let mut stream = TcpStream::connect(setup.running.http).await.expect("connect");
    let _ = stream.write_all(long.as_bytes()).await;
    let mut start = [0; 12];
    if stream.read_exact(&mut start).await.is_ok() {
        assert_eq!(&start, b"HTTP/1.1 431");
    }
    setup.running.stop().await;
}

#[tokio::test]
async fn a_relay_that_dies_and_comes_back_serves_again() {
    let setup = setup(|_| {}).await;
    let mut a = Client::connect(setup.running.http, "a").await;
    a.join("r").await;
    let publish =
        |id: &str| json!({"mediaSessionId": id, "name": id, "sdp": PUBLISH, "custom": {"name": "r"}});
    a.say("publishStream", publish("s1")).await;
    assert_eq!(a.hear().await["message"], "setRemoteSDP");
    assert_eq!(a.hear().await["data"][0]["status"], "PUBLISHING");
    setup.relay.task.abort();
    let _ = setup.relay.task.await;
    let reborn = FakeRelay::listen(&setup.dir.path().join("relay.sock"), RelayModel::new(8));
    assert_eq!(a.hear().await["data"][0]["status"], "FAILED");
    a.say("publishStream", publish("s2")).await;
    assert_eq!(a.hear().await["message"], "setRemoteSDP");
    reborn.has_transports(1).await;
    setup.running.stop().await;
}

#[tokio::test]
async fn a_relay_that_cannot_be_started_is_reported() {
    let dir = tempfile::tempdir().expect("directory");
    for (binary, expected) in [("/nonexistent/relay", "cannot start"), ("/bin/false", "ended with")] {
        let mut config = config(dir.path());
        config.signaling.start_relay = true;
        config.signaling.relay_binary = Some(binary.into());
        let error = start(config).await.err().expect("refused").to_string();
        assert!(error.contains(expected) && error.contains(binary), "{error}");
    }
}

#[tokio::test]
async fn a_relay_that_obeys_a_newer_signaling_is_left_alone() {
    let dir = tempfile::tempdir().expect("directory");
    let mut model = RelayModel::new(7);
    model.superseded = true;
    let relay = FakeRelay::listen(&dir.path().join("relay.sock"), model);
    let error = start(config(dir.path())).await.err().expect("refused").to_string();
    assert!(error.contains("newer signaling"), "{error}");
    relay.task.abort();

    let mut setup = setup(|_| {}).await;
    let mut a = Client::connect(setup.running.http, "a").await;
    a.join("r").await;
    setup.relay.model.lock().expect("model").superseded = true;
    a.say(
        "publishStream",
        json!({"mediaSessionId": "s", "name": "n", "sdp": PUBLISH, "custom": {"name": "r"}}),
    )
    .await;
    assert_eq!(timeout(PATIENCE, setup.running.ended()).await.expect("in time"), Ended::Superseded);
    assert_eq!(a.closed().await, Some(CloseCode::Away));
    let asked = setup.relay.model.lock().expect("model").asked.clone();
    assert!(!asked.iter().any(|command| matches!(command, Command::Shutdown(_))), "{asked:?}");
}
