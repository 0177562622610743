//! Certificates and keys that are renewed while the server runs, and the signals that it gets meanwhile.

use crate::edges::{Client, PATIENCE, setup};
use crate::listeners::{OTHER, alive, client, connect, program};
use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use signaling::config::{AuthMode, TokenAlgorithm};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Chain and key for localhost.
fn certificate() -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    (params.self_signed(&key).expect("signed").pem(), key.serialize_pem())
}

/// A handshake of somebody who trusts this certificate alone.
async fn shake(server: SocketAddr, trusted: &str) -> Option<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).expect("PEM")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = connect(OTHER, server).await;
    timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.expect("in time").ok()
}

/// Asks again until it is so.
async fn comes_true(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let so = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(PATIENCE, so).await.is_ok(), "never: {what}");
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_and_nobody_is_sent_away() {
    let files = tempfile::tempdir().expect("directory");
    let [chain_file, key_file] = ["fullchain.pem", "privkey.pem"].map(|name| files.path().join(name));
    let write = |path: &Path, text: &str| fs::write(path, text).expect("written");
    let (old, old_key) = certificate();
    write(&chain_file, &old);
    write(&key_file, &old_key);
    let setup = setup(|config| {
        config.signaling.tls_cert = Some(chain_file.clone());
        config.signaling.tls_key = Some(key_file.clone());
    })
    .await;
    let server = setup.running.https;
    let stream = shake(server, &old).await.expect("the first one");
    let opened = tokio_tungstenite::client_async("wss://localhost/", stream).await;
    let mut witness = Client(opened.expect("upgrade").0);

    // The key first, and the certificate a while later: between them both stay what they were.
    let (new, new_key) = certificate();
    write(&key_file, &new_key);
    setup.running.renew();
    assert!(shake(server, &old).await.is_some(), "the old pair stays");
    write(&chain_file, &new);
    comes_true("the new certificate", async || shake(server, &new).await.is_some()).await;
    assert!(shake(server, &old).await.is_none(), "the old one is not used any more");

    // One by one and then both by renaming, as certbot and Kubernetes do.
    let (third, third_key) = certificate();
    for (path, text) in [(&chain_file, &third), (&key_file, &third_key)] {
        let beside = path.with_extension("new");
        write(&beside, text);
        fs::rename(&beside, path).expect("renamed");
    }
    comes_true("the third certificate", async || shake(server, &third).await.is_some()).await;

    alive(&mut witness).await;
    setup.running.stop().await;
}

fn signed(secret: &str) -> String {
    let claims = json!({"exp": 4_000_000_000_u64, "rooms": "*"});
    encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).expect("signed")
}

/// What a session with a token of this secret hears first.
async fn answer(server: SocketAddr, secret: &str) -> String {
    let mut client = Client::open(server).await;
    client.say("connection", json!({"custom": {"login": "a", "token": signed(secret)}})).await;
    client.hear().await["message"].as_str().expect("a message").to_owned()
}

#[tokio::test]
async fn a_renewed_key_of_tokens_is_taken_and_who_is_in_stays() {
    let [old, new] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];
    let files = tempfile::tempdir().expect("directory");
    let key = files.path().join("token.key");
    fs::write(&key, old).expect("written");
    let setup = setup(|config| {
        config.auth.mode = AuthMode::Token;
        config.auth.token_algorithm = Some(TokenAlgorithm::Hs256);
        config.auth.token_key = Some(key.clone());
    })
    .await;
    let server = setup.running.http;
    let mut witness = Client::open(server).await;
    witness.say("connection", json!({"custom": {"login": "w", "token": signed(old)}})).await;
    assert_eq!(witness.hear().await["message"], "getUserData");
    // Too short to be a secret: the one before stays.
    fs::write(&key, "short").expect("written");
    setup.running.renew();
    assert_eq!(answer(server, old).await, "getUserData");
    fs::write(&key, new).expect("written");
    comes_true("the new key", async || answer(server, new).await == "getUserData").await;
    assert_eq!(answer(server, old).await, "fail");
    alive(&mut witness).await;
    setup.running.stop().await;
}

/// Whoever makes tokens has the new key at some moment, and tokens of the old one are about for as long as
/// they live.
#[tokio::test]
async fn while_keys_are_changed_tokens_of_both_are_good() {
    let [first, second] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];
    let files = tempfile::tempdir().expect("directory");
    let [key, old] = ["token.key", "token.old.key"].map(|name| files.path().join(name));
    fs::write(&key, first).expect("written");
    let setup = setup(|config| {
        config.auth.mode = AuthMode::Token;
        config.auth.token_algorithm = Some(TokenAlgorithm::Hs256);
        config.auth.token_key = Some(key.clone());
        config.auth.token_key_old = Some(old.clone());
    })
    .await;
    let server = setup.running.http;
    assert_eq!(answer(server, first).await, "getUserData");
    assert_eq!(answer(server, second).await, "fail");
    fs::rename(&key, &old).expect("renamed");
    fs::write(&key, second).expect("written");
    comes_true("the new key", async || answer(server, second).await == "getUserData").await;
    assert_eq!(answer(server, first).await, "getUserData");
    assert_eq!(answer(server, "another secret of thirty-two bytes").await, "fail");
    fs::remove_file(&old).expect("removed");
    comes_true("the old key's end", async || answer(server, first).await == "fail").await;
    assert_eq!(answer(server, second).await, "getUserData");
    setup.running.stop().await;
}

#[tokio::test]
async fn signals_for_other_programs_end_nothing_and_a_hang_up_has_the_certificate_read_again() {
    let mut program = program("-n 600").await;
    let mut witness = client(OTHER, program.http).await;
    let pid = program.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).expect("it runs");
    for signal in [Signal::USR1, Signal::USR2, Signal::PIPE, Signal::HUP] {
        kill_process(pid, signal).expect("it is ours");
    }
    comes_true("it looked", async || program.log().contains("the certificate is the same as before")).await;
    alive(&mut witness).await;
    assert!(program.child.try_wait().expect("asked").is_none());
    program.stop().await;
}
