//! The operator's access hook: a scripted HTTP service beside the whole server.

use crate::edges::{Client, PATIENCE, http, setup};
use crate::world::{PLAY, PUBLISH, World};
use futures_util::SinkExt;
use serde_json::{Value, json};
use signaling::auth::Grant;
use signaling::config::{AuthMode, Config, HookUrl, OnFailure};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderName;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as WireCode;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/// Answers by method with a whole HTTP response; an empty one is silence. Remembers what it was told.
pub(crate) struct Service {
    address: SocketAddr,
    told: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Service {
    pub(crate) async fn start(answers: &[(&'static str, &'static str)]) -> Self {
        let answers: Arc<HashMap<_, _>> = Arc::new(answers.iter().copied().collect());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("socket");
        let address = listener.local_addr().expect("address");
        let told = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&told);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&answers), Arc::clone(&shared)));
            }
        });
        Self { address, told }
    }

    pub(crate) fn configure(&self, config: &mut Config) {
        config.auth.mode = AuthMode::Hook;
        config.auth.hook_url = HookUrl::parse(&format!("http://{}/app", self.address));
    }

    /// Waits until a method was told with a status, or at all.
    pub(crate) async fn hears(&self, method: &str, status: Option<&str>) -> Value {
        let found = async {
            loop {
                let told = self.told.lock().expect("told").clone();
                let fits = |(name, object): &&(String, Value)| {
                    name == method && status.is_none_or(|status| object["status"] == status)
                };
                if let Some((_, object)) = told.iter().find(fits) {
                    return object.clone();
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{method} {status:?} was not told"))
    }
}

async fn answer(
    mut stream: TcpStream,
    answers: Arc<HashMap<&'static str, &'static str>>,
    told: Arc<Mutex<Vec<(String, Value)>>>,
) {
    let mut request = Vec::new();
    let (method, body) = loop {
        let mut part = [0; 4096];
        let Ok(n @ 1..) = stream.read(&mut part).await else { return };
        request.extend_from_slice(part.get(..n).unwrap_or_default());
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            let path = head.split(' ').nth(1).unwrap_or_default();
            assert!(head.starts_with("POST /app/"), "{head}");
            break (path.trim_start_matches("/app/").to_owned(), body.to_owned());
        }
    };
    let object: Value = serde_json::from_str(&body).expect("JSON");
    told.lock().expect("told").push((method.clone(), object));
    let response = answers.get(method.as_str()).copied().unwrap_or(OK);
    if response.is_empty() {
        // Silence, until the other side has enough.
        let _ = stream.read(&mut [0; 1]).await;
    } else {
        let _ = stream.write_all(response.as_bytes()).await;
    }
}

#[tokio::test]
async fn a_session_is_asked_for_and_everything_after_it_is_told() {
    let service = Service::start(&[]).await;
    let setup = setup(|config| service.configure(config)).await;
    let mut a = Client::open(setup.running.http).await;
    a.say("connection", json!({"appKey": "roomApp", "custom": {"login": "a", "mine": [1]}})).await;
    assert_eq!(a.hear().await["message"], "getUserData");
    let connect = service.hears("connect", None).await;
    assert_eq!(
        (&connect["appKey"], &connect["custom"]),
        (&json!("roomApp"), &json!({"login": "a", "mine": [1]}))
    );
    let session = connect["sessionId"].as_str().expect("session").to_owned();
    assert!(session.starts_with(connect["nodeId"].as_str().expect("node")));
    a.join("r").await;
    assert_eq!(service.hears("sendData", None).await["payload"]["command"], "join");
    let publish = json!({"mediaSessionId": "s", "name": "n", "sdp": PUBLISH, "custom": {"name": "r"}});
    a.say("publishStream", publish).await;
    assert_eq!(a.hear().await["message"], "setRemoteSDP");
    assert_eq!(service.hears("publishStream", None).await["sdp"], PUBLISH);
    assert_eq!(service.hears("StreamStatusEvent", Some("PUBLISHING")).await["sessionId"], session.as_str());
    a.say("unPublishStream", json!({"mediaSessionId": "s", "name": "n"})).await;
    service.hears("unPublishStream", None).await;
    service.hears("StreamStatusEvent", Some("UNPUBLISHED")).await;
    let established = service.hears("ConnectionStatusEvent", Some("ESTABLISHED")).await;
    assert_eq!((&established["sessionId"], &established["appKey"]), (&json!(session), &json!("roomApp")));
    drop(a);
    service.hears("ConnectionStatusEvent", Some("DISCONNECTED")).await;
    setup.running.stop().await;
}

#[tokio::test]
async fn its_refusal_is_passed_on_with_its_words() {
    const LONG: &str = "HTTP/1.1 403 Subscription has ended\r\nContent-Length: 0\r\n\r\n";
    for (response, words) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "Forbidden"),
        (LONG, "Subscription has ended"),
        ("HTTP/1.1 402 X\r\nContent-Length: 18\r\n\r\n{\"info\":\"Pay\\nup\"}", "Payup"),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 38\r\n\r\n{\"info\":\"Сначала оплата\"}",
            "Сначала оплата",
        ),
        ("HTTP/1.1 401 No\r\nContent-Length: 3\r\n\r\n[1]", "No"),
    ] {
        let service = Service::start(&[("connect", response)]).await;
        let setup = setup(|config| service.configure(config)).await;
        let mut a = Client::open(setup.running.http).await;
        a.say("connection", json!({"custom": {"login": "a"}})).await;
        assert_eq!(a.hear().await["data"][0]["info"], words);
        assert_eq!(a.closed().await, Some(WireCode::Library(4401)));
        assert_eq!(service.hears("ConnectionStatusEvent", Some("FAILED")).await["info"], words);
        setup.running.stop().await;
    }
}

#[tokio::test]
async fn joins_and_streams_are_refused_in_their_own_way_and_the_session_goes_on() {
    const NO: &str = "HTTP/1.1 403 Not today\r\nContent-Length: 0\r\n\r\n";
    let service = Service::start(&[("sendData", NO), ("publishStream", NO), ("playStream", NO)]).await;
    let setup = setup(|config| service.configure(config)).await;
    let mut a = Client::connect(setup.running.http, "a").await;
    let join = json!({"operationId": "o", "payload": {"command": "join", "options": {"name": "r"}}});
    a.say("sendData", join).await;
    let heard = a.hear().await;
    assert_eq!(
        heard["data"][0],
        json!({"operationId": "o", "status": "FAILED", "info": "Not today", "code": "forbidden"})
    );
    let options = json!({"roomConfig": {"name": "r"}, "to": "b", "text": "psst"});
    let chat = json!({"operationId": "c", "payload": {"command": "sendMessage", "options": options}});
    a.say("sendData", chat).await;
    let heard = a.hear().await;
    assert_eq!(
        heard["data"][0],
        json!({"operationId": "c", "status": "FAILED", "info": "Not today", "code": "forbidden"})
    );
    for method in ["publishStream", "playStream"] {
        a.say(method, json!({"mediaSessionId": "s", "name": "n", "sdp": "x", "custom": {"name": "r"}})).await;
        let heard = a.hear().await;
        assert_eq!(heard["data"][0]["status"], "FAILED");
        assert_eq!(heard["data"][0]["info"], "Not today");
    }
    let (status, _, words) =
        http(setup.running.http, "POST /whip/r HTTP/1.1\r\nContent-Type: application/sdp", PUBLISH).await;
    assert_eq!((status, words.trim()), (403, "Not today"));
    setup.running.stop().await;
}

#[tokio::test]
async fn a_hook_that_fails_counts_as_the_settings_say() {
    const REDIRECT: &str = "HTTP/1.1 302 Found\r\nLocation: /app/connect2\r\nContent-Length: 0\r\n\r\n";
    for response in ["", REDIRECT, "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "nonsense\r\n\r\n"] {
        for policy in [OnFailure::Refuse, OnFailure::Allow] {
            let service = Service::start(&[("connect", response)]).await;
            let setup = setup(|config| {
                service.configure(config);
                config.auth.hook_timeout = Duration::from_millis(500);
                config.auth.hook_on_failure = policy;
            })
            .await;
            let mut a = Client::open(setup.running.http).await;
            a.say("connection", json!({"custom": {"login": "a"}})).await;
            let heard = a.hear().await;
            match policy {
                OnFailure::Refuse => {
                    assert_eq!(heard["data"][0]["info"], "Access check failed", "{response}")
                }
                OnFailure::Allow => assert_eq!(heard["message"], "getUserData", "{response}"),
            }
            let asked = service.told.lock().expect("told").clone();
            assert!(asked.iter().all(|(method, _)| method != "connect2"), "redirects are not followed");
            setup.running.stop().await;
        }
    }
}

#[tokio::test]
async fn nothing_is_asked_for_a_connection_that_was_not_let_in() {
    let service = Service::start(&[]).await;
    let setup = setup(|config| service.configure(config)).await;
    let mut a = Client::open(setup.running.http).await;
    a.say("publishStream", json!({"mediaSessionId": "s", "name": "n", "sdp": "x"})).await;
    assert_eq!(a.hear().await["data"][0]["info"], "Session not ready");
    assert!(service.told.lock().expect("told").iter().all(|(method, _)| method != "publishStream"));
    setup.running.stop().await;
}

/// Whatever the hook would hear as something else than what the hub obeys, or as nothing at all.
#[tokio::test]
async fn what_cannot_be_told_to_the_hook_is_not_done() {
    const OBJECT: &str = r#"{"custom":{"login":"admin"}}"#;
    let service = Service::start(&[]).await;
    let setup = setup(|config| service.configure(config)).await;
    for data in [
        format!("[{OBJECT},0]"),
        format!("[{OBJECT},{OBJECT}]"),
        format!("[{OBJECT},null]"),
        format!("[null,{OBJECT}]"),
        format!("[[{OBJECT}]]"),
        OBJECT.to_owned(),
        "[]".to_owned(),
        "[null]".to_owned(),
        r#"[{"custom":{"login":"guest","login":"admin"}}]"#.to_owned(),
        r#"[{"custom":{"login":"guest","\u006cogin":"admin"}}]"#.to_owned(),
        r#"[{"custom":{"login":"admin"},"x":1e999}]"#.to_owned(),
        r#"[{"custom":{"login":"admin"},"x":"\ud800"}]"#.to_owned(),
    ] {
        let mut a = Client::open(setup.running.http).await;
        a.0.send(Message::text(format!(r#"{{"message":"connection","data":{data}}}"#))).await.expect("sent");
        assert_eq!(a.hear().await["message"], "fail", "{data}");
        assert!(service.told.lock().expect("told").is_empty(), "{data}");
    }
    let mut a = Client::connect(setup.running.http, "a").await;
    let join = r#"{"operationId":"j","payload":{"command":"join","options":{"name":"secret"}}}"#;
    a.0.send(Message::text(format!(r#"{{"message":"sendData","data":[{join},0]}}"#))).await.expect("sent");
    // Answered, as every sendData is.
    let heard = a.hear().await;
    assert_eq!(
        (&heard["data"][0]["operationId"], &heard["data"][0]["status"]),
        (&json!("j"), &json!("FAILED"))
    );
    let told = service.told.lock().expect("told").clone();
    assert!(told.iter().all(|(method, _)| method != "sendData"), "{told:?}");
    setup.running.stop().await;
}

#[tokio::test]
async fn the_hook_hears_what_is_done_and_not_what_the_client_calls_it() {
    let service = Service::start(&[]).await;
    let setup = setup(|config| service.configure(config)).await;
    let mut a = Client::connect(setup.running.http, "a").await;
    a.join("r").await;
    let stream = json!({"mediaSessionId": "s", "name": "n", "sdp": PUBLISH, "custom": {"name": "r"},
        "published": false, "priority": "high", "sessionId": "x", "nodeId": "x", "appKey": "x"});
    a.say("publishStream", stream).await;
    let told = service.hears("publishStream", None).await;
    assert_eq!(told["published"], true);
    assert!(told.get("priority").is_none());
    for key in ["sessionId", "nodeId", "appKey"] {
        assert_ne!(told[key], "x");
    }
    setup.running.stop().await;
}

#[tokio::test]
async fn the_hook_hears_from_which_address_a_client_comes() {
    let service = Service::start(&[]).await;
    let setup = setup(|config| service.configure(config)).await;
    for (line, address) in [
        ("", "127.0.0.1"),
        ("\r\nX-Forwarded-For: 198.51.100.9, 192.0.2.1", "192.0.2.1"),
        ("\r\nX-Forwarded-For: ::ffff:192.0.2.1", "192.0.2.1"),
        ("\r\nX-Forwarded-For: 2001:db8::1", "2001:db8::1"),
    ] {
        for (path, sdp) in [("/whip/r", PUBLISH), ("/whep/r/n", PLAY)] {
            let head = format!("POST {path} HTTP/1.1{line}");
            http(setup.running.http, &head, sdp).await;
            let told = service.told.lock().expect("told");
            let asked = told.iter().rfind(|(method, _)| method.ends_with("Stream")).expect("asked");
            assert_eq!(asked.1["remoteAddress"], address, "{path} {line}");
        }
        let mut request = "ws://localhost/".into_client_request().expect("a request");
        if let Some((name, value)) = line.trim().split_once(": ") {
            let name = HeaderName::try_from(name).expect("a name");
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        let stream = TcpStream::connect(setup.running.http).await.expect("connect");
        let mut client = Client(client_async(request, stream).await.expect("upgrade").0);
        service.told.lock().expect("told").clear();
        let hello = json!({"custom": {"login": "a"}, "remoteAddress": "203.0.113.66"});
        client.say("connection", hello).await;
        assert_eq!(client.hear().await["message"], "getUserData");
        assert_eq!(service.hears("connect", None).await["remoteAddress"], address, "{line}");
    }
    setup.running.stop().await;
}

#[tokio::test]
async fn a_login_that_is_given_twice_or_is_no_text_is_refused_by_whip() {
    let service = Service::start(&[]).await;
    let setup = setup(|config| service.configure(config)).await;
    let long = "x".repeat(257);
    for (path, status) in [
        ("/whip/r?login=guest&login=admin".to_owned(), 400),
        ("/whip/r?login=guest&%6Cogin=admin".to_owned(), 400),
        ("/whip/r?login=&login=admin".to_owned(), 400),
        ("/whip/%ff".to_owned(), 400),
        ("/whip/%zz".to_owned(), 400),
        ("/whip/r?login=%ff".to_owned(), 400),
        ("/whip/r?login=%zz".to_owned(), 400),
        ("/whip/r?x=&&login=%".to_owned(), 400),
        ("/whep/r/%4".to_owned(), 400),
        (format!("/whep/{long}/x"), 400),
        ("/whep/r/x?by=name".to_owned(), 400),
        ("/whep/r/x?by=login&by=stream".to_owned(), 400),
        (format!("/whip/{long}"), 400),
        // What nobody reads may be anything.
        ("/whip/r%2Fs?Login=admin&x=100%".to_owned(), 201),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/sdp");
        assert_eq!(http(setup.running.http, &head, PUBLISH).await.0, status, "{path}");
    }
    let told = service.told.lock().expect("told").clone();
    let asked: Vec<_> = told.iter().filter(|(method, _)| method == "publishStream").collect();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (&asked[0].1["custom"]["name"], &asked[0].1["custom"]["login"]),
        (&json!("r/s"), &Value::Null)
    );
    setup.running.stop().await;
}

#[tokio::test]
async fn the_hook_hears_what_a_viewers_name_is_of() {
    let service = Service::start(&[]).await;
    let setup = setup(|config| service.configure(config)).await;
    for (query, by) in [("", Value::Null), ("?by=login", json!("login")), ("?x=1&by=stream", json!("stream"))]
    {
        let head = format!("POST /whep/r/n{query} HTTP/1.1\r\nContent-Type: application/sdp");
        assert_eq!(http(setup.running.http, &head, PLAY).await.0, 404);
        let told = service.told.lock().expect("told").last().cloned().expect("asked");
        assert_eq!(
            (told.0.as_str(), &told.1["name"], &told.1["custom"]["by"]),
            ("playStream", &json!("n"), &by)
        );
    }
    setup.running.stop().await;
}

#[test]
fn without_a_hook_nothing_is_noted() {
    for (mode, notes) in [(AuthMode::Open, 0), (AuthMode::Hook, 1)] {
        let mut world = World::with(|config| config.auth.mode = mode);
        let id = world.open();
        let hello = json!({"message": "connection", "data": [{"custom": {"login": "a"}}]});
        world.say_text(id, &hello.to_string());
        assert_eq!(world.notes.len(), notes);
    }
}

#[test]
fn what_ends_with_a_lost_connection_is_noted_with_the_key_of_its_session() {
    let mut world = World::with(|config| config.auth.mode = AuthMode::Hook);
    let a = world.open();
    let granted = || Ok(Some(Grant::everything()));
    let hello = json!({"message": "connection", "data": [{"appKey": "myApp", "custom": {"login": "a"}}]});
    world.say_authorized(a, &hello.to_string(), granted());
    world.join(a, "r");
    world.published(a, "r", "s", "n");
    world.notes.clear();
    world.close(a, false);
    let notes = world.notes.iter().map(|(_, note)| (note["appKey"].as_str(), note["status"].as_str()));
    let expected = ["DISCONNECTED", "UNPUBLISHED"].map(|status| (Some("myApp"), Some(status)));
    assert_eq!(notes.collect::<Vec<_>>(), expected);
}
