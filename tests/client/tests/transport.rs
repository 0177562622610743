//! A client and the engine that the relay has, with the test as their network.

use relay_core::dtls::{DtlsEngine, DtlsFactory};
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::srtp::OpenError;
use relay_core::time::Time;
use relay_core::wire::rtcp::write_rr;
use relay_core::wire::rtp::HeaderFields;
use relay_core::wire::stun::{IntegrityKey, StunMessage, write_binding_success};
use relay_dtls::EngineFactory;
use ringvox_client::dtls::{ClientFactory, ClientOptions};
use ringvox_client::{CheckIntervals, Client, Credentials, Fault, Keys, Received, SLOT_BYTES};
use std::net::SocketAddr;
use std::time::Duration;

const INTERVALS: CheckIntervals =
    CheckIntervals { connecting: Duration::from_millis(50), connected: Duration::from_millis(2_500) };
const START: Time = Time::from_nanos(1_000_000_000_000);

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn server_credentials() -> Credentials {
    Credentials::from_octets([2; 20])
}

fn client() -> Client {
    Client::new(&Credentials::from_octets([1; 20]), &server_credentials(), address(1), INTERVALS)
}

/// The answer to the only check that waits.
fn answer(client: &mut Client) -> Vec<u8> {
    let [check] = &client.take_datagrams()[..] else { panic!("one check") };
    let id = StunMessage::parse(check).expect("a check").transaction_id();
    let mut out = vec![0; 400];
    let key = IntegrityKey::new(server_credentials().pwd.as_bytes());
    let len = write_binding_success(&mut out, id, address(7), &key).expect("fits");
    out.truncate(len);
    out
}

/// A client with keys, and the server's end.
fn connected() -> (Client, Box<dyn DtlsEngine>, Keys) {
    let (mut client, mut relay) = (client(), EngineFactory::new().expect("a certificate"));
    let factory = ClientFactory::new(&ClientOptions::default()).expect("a certificate");
    client.handle_timeout(START);
    let mut reply = answer(&mut client);
    let reached = client.handle_datagram(START, &mut reply);
    assert!(matches!(reached, Ok(Received::Reachable { mapped }) if mapped == address(7)), "{reached:?}");
    client.begin_handshake(Box::new(factory.connect(START, Some(relay.fingerprint()))));
    let mut engine = relay.accept(START, factory.fingerprint().into());
    let mut flights = 0;
    while !client.is_connected() {
        for datagram in client.take_datagrams() {
            engine.handle_datagram(START, &datagram);
        }
        carry(&mut *engine, &mut client).expect("nothing wrong comes");
        flights += 1;
        assert!(flights < 9, "no handshake");
    }
    for datagram in client.take_datagrams() {
        engine.handle_datagram(START, &datagram);
    }
    let keys = engine.take_summary().expect("the server is done as well").keys;
    (client, engine, Keys::new(&keys))
}

/// All that the server has to say; the last fault of it.
fn carry(engine: &mut dyn DtlsEngine, client: &mut Client) -> Result<(), Fault> {
    let (mut out, mut result) = ([0; 1500], Ok(()));
    while let Some(len) = engine.poll_datagram(&mut out) {
        result = result.and(client.handle_datagram(START, &mut out[..len]).map(|_| ()));
    }
    result
}

#[test]
fn checks_come_often_until_one_is_answered() {
    let mut client = client();
    assert!(client.poll_timeout() <= START);
    client.handle_timeout(START);
    assert_eq!((client.take_datagrams().len(), client.poll_timeout()), (1, START + INTERVALS.connecting));
    client.handle_timeout(START + INTERVALS.connecting / 2);
    assert!(client.take_datagrams().is_empty(), "nothing is due");
    client.handle_timeout(START + INTERVALS.connecting);
    let mut reply = answer(&mut client);
    let reached = client.handle_datagram(START, &mut reply);
    assert!(matches!(reached, Ok(Received::Reachable { .. })), "{reached:?}");
    let again = client.handle_datagram(START, &mut reply);
    assert!(matches!(again, Ok(Received::Consent { .. })), "{again:?}");
    client.handle_timeout(client.poll_timeout());
    assert_eq!(client.poll_timeout(), START + 2 * INTERVALS.connecting + INTERVALS.connected);
}

#[test]
fn media_goes_both_ways_and_what_is_wrong_with_it_is_told() {
    let (mut client, _, mut server) = connected();
    let (ssrc, seq) = (Ssrc(7), SeqNo(1));
    let fields = HeaderFields { marker: true, padding: false, pt: Pt(96), seq, timestamp: 5, ssrc };
    let mut slot = [0; SLOT_BYTES];
    let len = server.rtp(&mut slot, &fields, &[], 1, b"a picture").expect("fits");
    let mut early = slot;
    let fault = self::client().handle_datagram(START, &mut early[..len]).expect_err("no keys");
    assert_eq!(fault, Fault::Early);
    let picture = (1, b"a picture".to_vec());
    for want in [Ok(picture), Err(Fault::Unauthentic(OpenError::Replay))] {
        let Ok(Received::Rtp(header, packet)) = client.handle_datagram(START, &mut slot[..len]) else {
            panic!("RTP")
        };
        let mut plain = [0; SLOT_BYTES];
        let opened = client.keys().expect("connected").open_rtp(&header, packet, &mut plain);
        assert_eq!(opened.map(|(index, payload)| (index, payload.to_vec())), want);
    }
    let mut report = server.rtcp(|out| write_rr(out, ssrc, &[]));
    let mut changed = report.clone();
    *changed.last_mut().expect("a tag") ^= 1;
    let fault = client.handle_datagram(START, &mut changed).expect_err("a changed octet");
    assert_eq!(fault, Fault::Unauthentic(OpenError::Auth));
    assert!(matches!(client.handle_datagram(START, &mut report), Ok(Received::Rtcp(_))));
    assert_eq!(client.handle_datagram(START, &mut [200; 40]).expect_err("nothing known"), Fault::Unknown);
}

#[test]
fn a_server_that_leaves_ends_it() {
    let (mut client, mut engine, _) = connected();
    engine.close();
    assert_eq!(carry(&mut *engine, &mut client), Err(Fault::Closed));
    assert!(client.has_ended());
    assert_eq!(client.poll_timeout(), Time::MAX);
}
