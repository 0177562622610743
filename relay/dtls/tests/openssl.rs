//! OpenSSL's client against our server, and its server against our client, over loopback: another
//! implementation of DTLS 1.2 and of the exporter.
//!
//! Needs the `openssl` program; where there is none, there is nothing to compare with and the tests say so.

use relay_core::dtls::{DtlsFactory, DtlsStatus, DtlsSummary, Fingerprint};
use relay_core::time::Time;
use relay_dtls::EngineFactory;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Far more than a handshake over loopback takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The outcome of one client's handshake.
struct Outcome {
    status: DtlsStatus,
    summary: Option<DtlsSummary>,
    printed: String,
    /// Datagrams that came from the client, and that went to it.
    exchanged: (usize, usize),
}

fn openssl(args: &[&str], dir: &Path) -> Option<Vec<u8>> {
    match Command::new("openssl").args(args).current_dir(dir).stderr(Stdio::null()).output() {
        Ok(output) => {
            assert!(output.status.success(), "openssl {args:?}");
            Some(output.stdout)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("no openssl here: nothing to compare with");
            None
        }
        Err(error) => panic!("openssl: {error}"),
    }
}

/// A certificate in `dir`, and its fingerprint as OpenSSL computes it.
fn certificate(dir: &Path, kind: &[&str]) -> Option<Fingerprint> {
    let request = ["req", "-x509", "-nodes", "-subj", "/CN=peer", "-keyout", "key.pem", "-out", "cert.pem"];
    openssl(&[&request[..], kind].concat(), dir)?;
    let line = openssl(&["x509", "-in", "cert.pem", "-noout", "-fingerprint", "-sha256"], dir)?;
    let line = String::from_utf8(line).unwrap();
    let hex = line.split_once('=').unwrap().1.trim().replace(':', "");
    Some(hex::decode(hex).unwrap().try_into().unwrap())
}

fn s_client(dir: &Path, port: u16, args: &[&str]) -> Child {
    Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-cert", "cert.pem", "-key", "key.pem"])
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(File::create(dir.join("stdout")).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Serves one client until its association has ended, or it has given up.
fn serve(kind: &[&str], args: &[&str]) -> Option<Outcome> {
    let dir = tempfile::tempdir().unwrap();
    let fingerprint = certificate(dir.path(), kind)?;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut client = s_client(dir.path(), socket.local_addr().unwrap().port(), args);

    let begin = Instant::now();
    let now = || Time::from_nanos(1_000_000_000 + begin.elapsed().as_nanos() as u64);
    let mut engine = EngineFactory::new().unwrap().accept(now(), fingerprint.into());
    let (mut buffer, mut peer, mut summary, mut exchanged) = ([0; 1500], None, None, (0, 0));
    // Who repeats his hello and has not been answered will not be.
    while exchanged != (2, 0) && begin.elapsed() < PATIENCE && client.try_wait().unwrap().is_none() {
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) => {
                peer = Some(from);
                exchanged.0 += 1;
                engine.handle_datagram(now(), &buffer[..len]);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
        if engine.poll_timeout().is_some_and(|due| due <= now()) {
            engine.handle_timeout(now());
        }
        if let Some(peer) = peer {
            while let Some(len) = engine.poll_datagram(&mut buffer) {
                socket.send_to(&buffer[..len], peer).unwrap();
                exchanged.1 += 1;
            }
        }
        summary = summary.or_else(|| engine.take_summary());
        let printed = std::fs::read_to_string(dir.path().join("stdout")).unwrap_or_default();
        if printed.contains("Keying material:") {
            // Done: `Q` makes it send a close_notify and leave.
            client.stdin.take().map(|mut stdin| stdin.write_all(b"Q\n"));
        }
        if matches!(
            engine.status(),
            DtlsStatus::Closed | DtlsStatus::Failed | DtlsStatus::FingerprintMismatch
        ) {
            break;
        }
    }
    client.kill().unwrap();
    client.wait().unwrap();
    let mut printed = String::new();
    File::open(dir.path().join("stdout")).unwrap().read_to_string(&mut printed).unwrap();
    Some(Outcome { status: engine.status(), summary, printed, exchanged })
}

const EC: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"];
const P521: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"];
const RSA: [&str; 2] = ["-newkey", "rsa:2048"];

/// Both ends export the same octets.
fn assert_same_keys(outcome: &Outcome) {
    let summary = outcome.summary.as_ref().expect("connected");
    let keys = &summary.keys;
    let ours = [&keys.remote_key[..], &keys.local_key, &keys.remote_salt, &keys.local_salt].concat();
    let line =
        outcome.printed.lines().find_map(|line| line.trim().strip_prefix("Keying material: ")).unwrap();
    assert_eq!(line, hex::encode_upper(ours));
}

#[test]
fn openssl_exports_the_same_keys() {
    for (certificate, offered, len, want) in [
        (&EC[..], "SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM", "56", "AEAD_AES_128_GCM"),
        (&EC, "SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_256_GCM", "88", "AEAD_AES_256_GCM"),
        (&EC, "SRTP_AES128_CM_SHA1_80", "60", "AES128_CM_HMAC_SHA1_80"),
        (&P384, "SRTP_AEAD_AES_128_GCM", "56", "AEAD_AES_128_GCM"),
        (&P521, "SRTP_AEAD_AES_128_GCM", "56", "AEAD_AES_128_GCM"),
        (&RSA, "SRTP_AEAD_AES_128_GCM", "56", "AEAD_AES_128_GCM"),
    ] {
        let export = ["-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", len];
        let Some(outcome) = serve(certificate, &[&["-dtls1_2", "-use_srtp", offered], &export[..]].concat())
        else {
            return;
        };
        assert_same_keys(&outcome);
        let summary = outcome.summary.as_ref().unwrap();
        assert_eq!((summary.version, summary.keys.profile.name()), ("DTLS 1.2", want));
        assert!(matches!(outcome.status, DtlsStatus::Closed), "{offered}: close_notify was seen");
    }
}

/// Our client against a server with these arguments, until both have keys.
fn dial(kind: &[&str], args: &[&str]) -> Option<Outcome> {
    let dir = tempfile::tempdir().unwrap();
    let fingerprint = certificate(dir.path(), kind)?;
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("openssl")
        .args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-cert", "cert.pem", "-key", "key.pem"])
        .args(["-dtls1_2", "-verify", "1"])
        .args(args)
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(File::create(dir.path().join("stdout")).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let printed = || std::fs::read_to_string(dir.path().join("stdout")).unwrap_or_default();
    let begin = Instant::now();
    let now = || Time::from_nanos(1_000_000_000 + begin.elapsed().as_nanos() as u64);
    while !printed().contains("ACCEPT") && begin.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut engine = EngineFactory::new().unwrap().connect(now(), fingerprint.into());
    let (mut buffer, mut summary, mut exchanged) = ([0; 1500], None, (0, 0));
    while !printed().contains("Keying material:") && begin.elapsed() < PATIENCE {
        while let Some(len) = engine.poll_datagram(&mut buffer) {
            exchanged.1 += usize::from(socket.send(&buffer[..len]).is_ok());
        }
        if let Ok(len) = socket.recv(&mut buffer) {
            exchanged.0 += 1;
            engine.handle_datagram(now(), &buffer[..len]);
        }
        if engine.poll_timeout().is_some_and(|due| due <= now()) {
            engine.handle_timeout(now());
        }
        summary = summary.or_else(|| engine.take_summary());
    }
    server.kill().unwrap();
    server.wait().unwrap();
    Some(Outcome { status: engine.status(), summary, printed: printed(), exchanged })
}

#[test]
fn openssls_server_exports_the_same_keys() {
    for (certificate, offered, len, want) in [
        (&EC[..], "SRTP_AEAD_AES_128_GCM", "56", "AEAD_AES_128_GCM"),
        (&EC, "SRTP_AEAD_AES_256_GCM", "88", "AEAD_AES_256_GCM"),
        (&EC, "SRTP_AES128_CM_SHA1_80", "60", "AES128_CM_HMAC_SHA1_80"),
        (&P384, "SRTP_AEAD_AES_128_GCM", "56", "AEAD_AES_128_GCM"),
        (&P521, "SRTP_AEAD_AES_128_GCM", "56", "AEAD_AES_128_GCM"),
        (&RSA, "SRTP_AEAD_AES_128_GCM", "56", "AEAD_AES_128_GCM"),
    ] {
        let export = ["-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", len];
        // As it comes, and with a cookie that the hello must bring back (HelloVerifyRequest).
        for listens in [&[][..], &["-listen"]] {
            let args = [&["-use_srtp", offered], &export[..], listens].concat();
            let Some(outcome) = dial(certificate, &args) else { return };
            let what = format!("{offered} {certificate:?} {listens:?}: {:?}", outcome.exchanged);
            let summary = outcome.summary.as_ref().expect(&what);
            assert_eq!((summary.version, summary.keys.profile.name()), ("DTLS 1.2", want), "{what}");
            let keys = &summary.keys;
            // The client's come first (RFC 5764 §4.2).
            let ours = [&keys.local_key[..], &keys.remote_key, &keys.local_salt, &keys.remote_salt].concat();
            let printed = outcome.printed.lines();
            let line = printed.filter_map(|line| line.trim().strip_prefix("Keying material: ")).next();
            assert_eq!(line, Some(&hex::encode_upper(ours)[..]), "{what}");
        }
    }
}

/// S14: old versions, suites without authenticated encryption and unknown profiles.
#[test]
fn s14_weak_clients_are_refused() {
    let srtp = ["-use_srtp", "SRTP_AEAD_AES_128_GCM"];
    for args in [
        &["-dtls1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-dtls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"],
        &["-dtls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"],
        &["-dtls1_2", "-cipher", "AES128-GCM-SHA256"],
        &["-dtls1_2", "-cipher", "eNULL:@SECLEVEL=0"],
    ] {
        let Some(outcome) = serve(&EC, &[args, &srtp[..]].concat()) else { return };
        assert_refused(&outcome, args);
    }
    for args in [&["-dtls1_2"][..], &["-dtls1_2", "-use_srtp", "SRTP_AES128_CM_SHA1_32"]] {
        assert_refused(&serve(&EC, args).unwrap(), args);
    }
}

/// A hello that is refused gets no octet back, and the server waits for a better one: this one may be forged.
fn assert_refused(outcome: &Outcome, args: &[&str]) {
    assert!(matches!(outcome.status, DtlsStatus::Handshaking), "{args:?}: {:?}", outcome.status);
    assert!(outcome.summary.is_none());
    assert!(outcome.exchanged.0 > 0 && outcome.exchanged.1 == 0, "{args:?}: {:?}", outcome.exchanged);
}
