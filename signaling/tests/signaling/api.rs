//! `/api/v1` and the webhook, beside a recorder that says what a test wants.

use crate::edges::{PATIENCE, Setup, header, http};
use crate::record_files::{FakeRecorder, Line, answers, recording, started, status};
use aws_lc_rs::hmac;
use recorder_control::{Failure, FailureCode, Notice, Order, Recording, State};
use serde_json::{Value, json};
use signaling::config::{Config, HookUrl};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn with_key(dir: &Path, config: &mut Config) {
    let key = dir.join("api.key");
    fs::write(&key, format!("{KEY}\n")).expect("written");
    config.api.key = Some(key);
}

fn head(method: &str, path: &str) -> String {
    format!("{method} /api/v1{path} HTTP/1.1\r\nAuthorization: Bearer {KEY}")
}

async fn ask(server: SocketAddr, method: &str, path: &str, body: &str) -> (u16, Value) {
    let (status, _, body) = http(server, &head(method, path), body).await;
    (status, serde_json::from_str(&body).unwrap_or_default())
}

async fn code(server: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let (status, content) = ask(server, method, path, body).await;
    assert!(content["detail"].as_str().is_some_and(|words| !words.is_empty()), "{path}: {content}");
    (status, content["code"].as_str().expect("a code").to_owned())
}

/// A server with three recordings, of which the recorder has told.
async fn three() -> (FakeRecorder, Line, Setup) {
    let (recorder, setup) = started(with_key).await;
    let line = recorder
        .tell(&[
            recording(1, "lobby", State::Ready),
            recording(2, "lobby", State::Recording),
            recording(3, "кухня", State::Failed),
        ])
        .await;
    answers(setup.running.http, &head("GET", "/recordings/0000000000000003"), 200).await;
    (recorder, line, setup)
}

#[tokio::test]
async fn recordings_are_listed_in_pages() {
    let (_recorder, _line, setup) = three().await;
    let server = setup.running.http;
    let ids = |content: &Value| -> Vec<String> {
        let all = content["recordings"].as_array().expect("a list").iter();
        all.map(|one| one["id"].as_str().expect("an id").trim_start_matches('0').to_owned()).collect()
    };
    for (query, expected) in [
        ("", &["3", "2", "1"][..]),
        ("?limit=1000", &["3", "2", "1"]),
        ("?room=lobby", &["2", "1"]),
        ("?room=%D0%BA%D1%83%D1%85%D0%BD%D1%8F", &["3"]),
        ("?room=lobby&state=ready", &["1"]),
        ("?state=paused", &[]),
        ("?from=1002", &["3", "2"]),
        ("?from=1002&until=1003", &["2"]),
        ("?room=&state=&after=", &["3", "2", "1"]),
    ] {
        let (status, content) = ask(server, "GET", &format!("/recordings{query}"), "").await;
        assert_eq!(
            (status, ids(&content), &content["next"]),
            (200, to_strings(expected), &Value::Null),
            "{query}"
        );
        assert_eq!(content["recorder"], true);
    }
    let (_, first) = ask(server, "GET", "/recordings?limit=2", "").await;
    let next = first["next"].as_str().expect("more");
    let (_, last) = ask(server, "GET", &format!("/recordings?limit=2&after={next}"), "").await;
    assert_eq!((ids(&first), ids(&last)), (to_strings(&["3", "2"]), to_strings(&["1"])));
    for query in [
        "?limit=0",
        "?limit=1001",
        "?limit=x",
        "?state=gone",
        "?after=x",
        "?room=a&room=b",
        "?from=x",
        "?until=-1",
    ] {
        assert_eq!(
            code(server, "GET", &format!("/recordings{query}"), "").await,
            (400, "bad-request".into())
        );
    }
    setup.running.stop().await;
}

#[tokio::test]
async fn changes_are_told_and_waited_for() {
    let (_recorder, mut line, setup) = three().await;
    let server = setup.running.http;
    let (_, list) = ask(server, "GET", "/recordings", "").await;
    let mark = list["changes"].as_str().expect("a mark").to_owned();
    let path = |mark: &str, more: &str| format!("/recordings/changes?since={mark}{more}");
    let (status, none) = ask(server, "GET", &path(&mark, ""), "").await;
    assert_eq!((status, &none["recordings"], &none["gone"]), (200, &json!([]), &json!([])));
    // Who waits hears it at once.
    let waiting = path(none["changes"].as_str().expect("a mark"), "&wait=10");
    let waiting = tokio::spawn(async move { ask(server, "GET", &waiting, "").await });
    line.say(&Notice::Recording(Box::new(recording(2, "lobby", State::Ready)))).await;
    let (_, news) = timeout(PATIENCE, waiting).await.expect("in time").expect("no panic");
    assert_eq!(
        (&news["recordings"][0]["id"], &news["recordings"][1]),
        (&json!("0000000000000002"), &Value::Null)
    );
    assert!(news["recordings"][0]["link"].is_string() && news["recorder"] == true);
    line.say(&Notice::Deleted { id: "0000000000000003".into() }).await;
    answers(server, &head("GET", "/recordings/0000000000000003"), 404).await;
    let (_, all) = ask(server, "GET", &path(&mark, "&room=lobby"), "").await;
    assert_eq!(
        (all["recordings"].as_array().map(Vec::len), &all["gone"]),
        (Some(1), &json!(["0000000000000003"]))
    );
    for other in ["0-0", "x", "0-99999999999", &format!("{mark}9")] {
        let refused = code(server, "GET", &path(other, ""), "").await;
        assert_eq!(refused, (410, "changes-forgotten".into()), "{other}");
    }
    for query in ["", "?since=", &format!("?since={mark}&wait=11"), &format!("?since={mark}&limit=0")] {
        let refused = code(server, "GET", &format!("/recordings/changes{query}"), "").await;
        assert_eq!(refused, (400, "bad-request".into()), "{query}");
    }
    setup.running.stop().await;
}

#[tokio::test]
async fn whatever_is_wrong_is_said_in_one_shape() {
    let (_recorder, _line, setup) = three().await;
    let server = setup.running.http;
    let long = "a".repeat(20_000);
    for (method, path, body, expected) in [
        ("POST", "/recordings", long.as_str(), (413, "too-large")),
        ("GET", "/recordings/%ff", "", (404, "recording-not-found")),
        ("GET", "/recordings/%ff/file", "", (404, "recording-not-found")),
        ("POST", "/recordings/%ff/stop", "", (404, "recording-not-found")),
        ("DELETE", "/recordings/..%2f..", "", (404, "recording-not-found")),
        ("PUT", "/recordings", "", (405, "method-not-allowed")),
        ("GET", "/nothing", "", (404, "not-found")),
        ("POST", "/recordings", "[1", (400, "bad-request")),
        ("POST", "/recordings", r#"["a",null,null]"#, (400, "bad-request")),
        ("POST", "/recordings", r#"{"room":"a","room":"b"}"#, (400, "bad-request")),
        ("POST", "/recordings", r#"{"room":"a","login":""}"#, (400, "bad-name")),
        ("POST", "/recordings", r#"{"room":"a","login":"b","stream":"c"}"#, (400, "bad-request")),
        ("POST", "/recordings", r#"{"room":"nowhere"}"#, (404, "room-not-found")),
    ] {
        let (status, head_of, body) = http(server, &head(method, path), body).await;
        assert_eq!(header(&head_of, "content-type"), "application/problem+json", "{method} {path}: {body}");
        let content: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, content["code"].as_str()), (expected.0, Some(expected.1)), "{method} {path}");
        assert_eq!(content["status"], status, "{method} {path}");
    }
    let (_, content) = ask(server, "POST", "/recordings", r#"{"room":"a","login":""}"#).await;
    assert!(content["detail"].as_str().is_some_and(|words| words.starts_with("Login")), "{content}");
    setup.running.stop().await;
}

fn to_strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn a_file_is_fetched_by_its_link_and_by_the_key() {
    let (_recorder, mut line, setup) = three().await;
    let server = setup.running.http;
    let (_, one) = ask(server, "GET", "/recordings/0000000000000001", "").await;
    let link = one["link"].as_str().expect("a link");
    assert!(link.starts_with("/api/v1/recordings/0000000000000001/file?ticket="), "{link}");
    assert_eq!(one["mixedLink"], Value::Null);
    let whole = "octets of 0000000000000001";
    let part = format!("GET {link} HTTP/1.1\r\nRange: bytes=0-5");
    let (status, head_of, body) = http(server, &part, "").await;
    assert_eq!((status, body.as_str(), header(&head_of, "content-range")), (206, "octets", "bytes 0-5/26"));
    let (status, _, body) = http(server, &head("GET", "/recordings/0000000000000001/file"), "").await;
    assert_eq!((status, body.as_str()), (200, whole));
    let forged = link.replace("0000000000000001/", "0000000000000003/");
    assert_eq!(http(server, &format!("GET {forged} HTTP/1.1"), "").await.0, 401);
    let file = "/api/v1/recordings/0000000000000001/file";
    assert_eq!(http(server, &format!("GET {file} HTTP/1.1"), "").await.0, 401);
    for (path, expected) in [
        ("/recordings/0000000000000001/file?mixed=true", "no-file"),
        ("/recordings/0000000000000002/file", "no-file"),
        ("/recordings/0000000000000009/file", "recording-not-found"),
    ] {
        assert_eq!(code(server, "GET", path, "").await, (404, expected.into()), "{path}");
    }
    let (_, other) = ask(server, "GET", "/recordings/0000000000000002", "").await;
    assert_eq!(other["link"], Value::Null);
    // A room that was mixed has two.
    fs::write(setup.dir.path().join("records/mixed.mp4"), "mixed").expect("written");
    let mixed = Recording { mixed: Some("mixed.mp4".into()), ..recording(1, "lobby", State::Ready) };
    line.say(&Notice::Recording(Box::new(mixed))).await;
    let path = head("GET", "/recordings/0000000000000001/file?mixed=true");
    assert_eq!(answers(server, &path, 200).await.1, "mixed");
    setup.running.stop().await;
}

#[tokio::test]
async fn what_has_ended_is_deleted() {
    let (_recorder, mut line, setup) = three().await;
    let server = setup.running.http;
    let running = code(server, "DELETE", "/recordings/0000000000000002", "").await;
    assert_eq!(running, (409, "not-ended".into()));
    let unknown = code(server, "DELETE", "/recordings/0000000000000009", "").await;
    assert_eq!(unknown, (404, "recording-not-found".into()));
    let deleted =
        tokio::spawn(async move { ask(server, "DELETE", "/recordings/0000000000000001", "").await });
    // What runs was ordered by nobody here, and is ended.
    let deletion = loop {
        match line.order().await {
            Order::End { id } => assert_eq!(id, "0000000000000002"),
            other => break other,
        }
    };
    assert_eq!(deletion, Order::Delete { id: "0000000000000001".into() });
    line.say(&Notice::Deleted { id: "0000000000000001".into() }).await;
    assert_eq!(deleted.await.expect("no panic").0, 204);
    assert_eq!(ask(server, "GET", "/recordings/0000000000000001", "").await.0, 404);
    drop(line);
    let away = async {
        while code(server, "DELETE", "/recordings/0000000000000003", "").await
            != (503, "recorder-away".into())
        {}
    };
    timeout(PATIENCE, away).await.expect("in time");
    setup.running.stop().await;
}

#[tokio::test]
async fn only_an_operator_is_listened_to() {
    let (_recorder, _line, setup) = three().await;
    let server = setup.running.http;
    let with = |line: &str| format!("GET /api/v1/recordings HTTP/1.1\r\n{line}");
    for (line, expected) in [
        ("X: y".to_owned(), (401, "key-missing")),
        (format!("Authorization: Basic {KEY}"), (401, "key-missing")),
        (format!("Authorization: Bearer {KEY}\r\nAuthorization: Bearer {KEY}"), (401, "key-missing")),
        (format!("Authorization: Bearer {KEY}0"), (401, "key-wrong")),
    ] {
        let (status, head, body) = http(server, &with(&line), "").await;
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, body["code"].as_str()), (expected.0, Some(expected.1)), "{line}");
        assert!(header(&head, "www-authenticate").starts_with("bearer realm="), "{head}");
    }
    for (method, path, expected) in [
        ("GET", "/nothing", (404, "not-found")),
        ("POST", "/nothing", (404, "not-found")),
        ("PUT", "/recordings", (405, "method-not-allowed")),
        ("GET", "/recordings/0000000000000001/stop", (405, "method-not-allowed")),
        ("GET", "/recordings/nothing", (404, "recording-not-found")),
        ("GET", "/recordings/..%2f..%2fsecret", (404, "recording-not-found")),
    ] {
        let (status, expected) = (code(server, method, path, "").await, (expected.0, expected.1.to_owned()));
        assert_eq!(status, expected, "{method} {path}");
    }
    // Who guesses is told to wait, and does not keep the operator out who shares his address.
    let wrong = with(&format!("Authorization: Bearer {KEY}1"));
    let mut last = (0, String::new(), String::new());
    for _ in 0..12 {
        last = http(server, &wrong, "").await;
    }
    // Behind a proxy's address, as 127.0.0.1 is one here, all are counted together.
    assert_eq!(last.0, 429, "{}", last.2);
    assert!(header(&last.1, "retry-after").parse::<u64>().is_ok_and(|wait| (1..=60).contains(&wait)));
    assert_eq!(ask(server, "GET", "/recordings", "").await.0, 200);
    setup.running.stop().await;
}

/// The key gives all that is recorded: a page of another site has no business here, unless the operator says so.
#[tokio::test]
async fn pages_of_other_origins_may_not_read_what_the_api_says() {
    let page = "https://pages.example";
    let lines = |method: &str, path: &str, origin: &str| {
        format!("{method} {path} HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\nOrigin: {origin}")
    };
    let paths = ["/api/v1/recordings", "/api/v1/recordings/0000000000000001/file", "/api/v1/nothing"];
    let (recorder, setup) = started(with_key).await;
    let server = setup.running.http;
    let _line = recorder.tell(&[recording(1, "lobby", State::Ready)]).await;
    for (method, path) in ["GET", "OPTIONS"].iter().flat_map(|method| paths.map(|path| (method, path))) {
        let (_, head, _) = http(server, &lines(method, path, page), "").await;
        assert!(!head.contains("access-control-allow-"), "{method} {path}: {head}");
        assert!(header(&head, "vary").contains("origin"), "{method} {path}: {head}");
    }
    // What is watched is for pages of others.
    let (_, head, _) = http(server, &lines("GET", "/records/nothing", page), "").await;
    assert_eq!(header(&head, "access-control-allow-origin"), "*");
    setup.running.stop().await;
    let (_recorder, setup) = started(|dir, config| {
        with_key(dir, config);
        config.signaling.allowed_origins = Some(vec![page.to_owned()]);
    })
    .await;
    let server = setup.running.http;
    for (origin, expected) in [(page, (200, page)), ("https://evil.example", (403, ""))] {
        let (status, head, _) = http(server, &lines("GET", "/api/v1/recordings", origin), "").await;
        assert_eq!((status, header(&head, "access-control-allow-origin")), expected);
    }
    setup.running.stop().await;
}

/// Without a key: this machine alone, and no page of others, nobody behind a proxy.
#[tokio::test]
async fn without_a_key_only_this_machine_is_listened_to() {
    let (_recorder, setup) = started(|_, config| config.signaling.proxies.clear()).await;
    let server = setup.running.http;
    let with = |lines: &str| format!("GET /api/v1/recordings HTTP/1.1{lines}");
    for (lines, expected) in [
        ("", 200),
        ("\r\nSec-Fetch-Site: same-origin", 200),
        ("\r\nX-Forwarded-For: 192.0.2.1", 403),
        ("\r\nVia: 1.1 proxy", 403),
        ("\r\nOrigin: https://evil.example", 403),
        ("\r\nSec-Fetch-Site: cross-site", 403),
    ] {
        assert_eq!(status(server, &with(lines)).await, expected, "{lines}");
    }
    setup.running.stop().await;
}

/// A webhook that answers as it is told and keeps what it hears.
struct Receiver {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<(String, String)>>>,
}

impl Receiver {
    async fn start(answers: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("socket");
        let address = listener.local_addr().expect("address");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&heard);
        tokio::spawn(async move {
            let mut answers = answers.iter().copied();
            while let Ok((stream, _)) = listener.accept().await {
                let (head, body) = request(stream, answers.next().unwrap_or(204)).await;
                shared.lock().expect("heard").push((head, body));
            }
        });
        Self { address, heard }
    }

    async fn hears(&self, number: usize) -> Vec<(String, String)> {
        let heard = async {
            loop {
                let heard = self.heard.lock().expect("heard").clone();
                if heard.len() >= number {
                    return heard;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, heard).await.expect("in time")
    }
}

async fn request(mut stream: TcpStream, status: u16) -> (String, String) {
    let mut octets = Vec::new();
    loop {
        let mut part = [0; 4096];
        let n = stream.read(&mut part).await.expect("read");
        octets.extend_from_slice(&part[..n]);
        let text = String::from_utf8_lossy(&octets).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length: usize = header(&head.to_lowercase(), "content-length").parse().expect("a length");
        if body.len() >= length {
            let answer =
                format!("HTTP/1.1 {status} Done\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("sent");
            return (head.to_owned(), body.to_owned());
        }
    }
}

const SECRET: &str = "0123456789abcdef";

fn with_webhook(dir: &Path, config: &mut Config, receiver: &Receiver) {
    fs::write(dir.join("webhook.key"), SECRET).expect("written");
    config.recording.webhook = HookUrl::parse(&format!("http://{}/hook", receiver.address));
    config.recording.webhook_secret = Some(dir.join("webhook.key"));
}

#[tokio::test]
async fn a_webhook_is_told_of_each_end_until_it_takes_it() {
    // A redirect is no answer that counts.
    let receiver = Receiver::start(&[500, 302]).await;
    let kept = tempfile::tempdir().expect("directory");
    let data = kept.path().join("data");
    let (recorder, setup) = started(|dir, config| {
        with_webhook(dir, config, &receiver);
        config.signaling.data_dir.clone_from(&data);
    })
    .await;
    // What had ended before is not told.
    let mut line =
        recorder.tell(&[recording(1, "lobby", State::Ready), recording(2, "lobby", State::Recording)]).await;
    line.say(&Notice::Recording(Box::new(recording(2, "lobby", State::Ready)))).await;
    let heard = receiver.hears(3).await;
    for (head, body) in &heard {
        assert!(head.starts_with("POST /hook HTTP/1.1"), "{head}");
        let content: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(
            (&content["id"], &content["type"]),
            (&json!("0000000000000002-ready"), &json!("recording.ready"))
        );
        assert_eq!(content["link"], "/records/file2.webm");
        assert_eq!(content["recording"]["room"], "lobby");
        let signed = header(&head.to_lowercase(), "ringvox-signature").to_owned();
        let (at, v1) = signed.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect("two parts");
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let good = hmac::sign(&key, format!("{at}.{body}").as_bytes());
        let good: String = good.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(v1, good);
    }
    let failure = Some(Failure { code: FailureCode::Empty, info: "nothing came".into() });
    let failed = Recording { failure, ..recording(3, "lobby", State::Failed) };
    line.say(&Notice::Recording(Box::new(failed))).await;
    let heard = receiver.hears(4).await;
    assert!(
        heard[3].1.contains("\"recording.failed\"") && heard[3].1.contains("nothing came"),
        "{:?}",
        heard[3]
    );
    let settled = async {
        while waiting(&data) > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, settled).await.expect("in time");
    setup.running.stop().await;
}

fn waiting(data: &Path) -> usize {
    let names = fs::read_dir(data.join("webhooks")).expect("a directory").flatten();
    names.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "json")).count()
}

#[tokio::test]
async fn what_could_not_be_told_is_told_after_a_start_and_nothing_twice() {
    let kept = tempfile::tempdir().expect("directory");
    let run = async |receiver: &Receiver, states: [State; 3]| -> (Line, Setup) {
        let (recorder, setup) = started(|dir, config| {
            with_webhook(dir, config, receiver);
            config.signaling.data_dir = kept.path().to_owned();
        })
        .await;
        let all: Vec<_> = (1..).zip(states).map(|(n, state)| recording(n, "lobby", state)).collect();
        (recorder.tell(&all).await, setup)
    };
    let deaf = Receiver::start(&[503; 1_000]).await;
    let (mut line, setup) = run(&deaf, [State::Ready, State::Recording, State::Recording]).await;
    line.say(&Notice::Recording(Box::new(recording(2, "lobby", State::Ready)))).await;
    deaf.hears(1).await;
    setup.running.stop().await;
    assert_eq!(waiting(kept.path()), 1);
    // The third has ended while nobody was there.
    let receiver = Receiver::start(&[]).await;
    let (_line, setup) = run(&receiver, [State::Ready, State::Ready, State::Ready]).await;
    let mut heard: Vec<_> = receiver.hears(2).await.into_iter().map(|(_, body)| body).collect();
    heard.sort();
    assert!(heard[0].contains("0000000000000002-ready") && heard[1].contains("0000000000000003-ready"));
    let settled = async {
        while waiting(kept.path()) > 0 {
            tokio::task::yield_now().await
        }
    };
    timeout(PATIENCE, settled).await.expect("in time");
    setup.running.stop().await;
    let (mut line, setup) = run(&receiver, [State::Ready, State::Ready, State::Ready]).await;
    line.say(&Notice::Recording(Box::new(recording(4, "lobby", State::Ready)))).await;
    let heard = receiver.hears(3).await;
    assert!(heard[2].1.contains("0000000000000004-ready"), "nothing was told twice");
    setup.running.stop().await;
}

#[tokio::test]
async fn a_key_or_secret_that_cannot_be_used_is_said_at_the_start() {
    for (content, change) in [
        ("short", (|path, config| config.api.key = Some(path)) as fn(std::path::PathBuf, &mut Config)),
        ("short", |path, config| {
            config.recording.webhook = HookUrl::parse("http://127.0.0.1:9/");
            config.recording.webhook_secret = Some(path);
        }),
    ] {
        let dir: TempDir = tempfile::tempdir().expect("directory");
        let key = dir.path().join("key");
        fs::write(&key, content).expect("written");
        let mut config = crate::edges::config(dir.path());
        config.recording.directory = Some(dir.path().join("records"));
        change(key, &mut config);
        let Err(why) = signaling::start::start(config).await else { panic!("it starts") };
        assert!(why.to_string().contains("must have"), "{why}");
    }
}
