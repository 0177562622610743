//! A client on a real socket: ICE check, DTLS handshake, RTP both ways.

use super::{Controller, DEADLINE, open};
use relay_control::{Command, ReplyBody, TransportOpened};
use relay_core::dtls::{DtlsEngine, DtlsStatus};
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::srtp::{OpenContext, SealContext};
use relay_core::time::Time;
use relay_core::wire::rtp::{HeaderFields, RtpHeader, write_header};
use relay_core::wire::stun::{IntegrityKey, StunMessage, write_binding_request};
use relay_core::wire::{Protocol, classify};
use relay_dtls::client::{ClientFactory, ClientOptions, DtlsClient};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Time after which the DTLS engine is asked whether a flight is due again.
const DTLS_POLL: Duration = Duration::from_millis(50);

/// A connectivity check by a peer that knows the password, and the address that the relay saw it come from.
pub fn check(peer: &UdpSocket, to: SocketAddr, opened: &TransportOpened) -> SocketAddr {
    let key = IntegrityKey::new(opened.local_pwd.as_bytes());
    let username = format!("{}:peer", opened.local_ufrag);
    let mut bytes = [0; 1500];
    let len =
        write_binding_request(&mut bytes, [5; 12], username.as_bytes(), 1, 2, true, &key).expect("fits");
    peer.set_read_timeout(Some(DEADLINE)).expect("set");
    peer.send_to(&bytes[..len], to).expect("sent");
    let (len, from) = patiently(|| peer.recv_from(&mut bytes)).expect("an answer");
    assert_eq!(from, to, "from the address that was asked");
    let answer = StunMessage::parse(&bytes[..len]).expect("STUN");
    assert!(answer.verify_integrity(&key));
    answer.mapped_address().expect("an address")
}

/// A connected client.
pub struct Client {
    /// The relay's port that it was told.
    pub port: u16,
    socket: UdpSocket,
    open: OpenContext,
    seal: SealContext,
    engine: DtlsClient,
    start: Instant,
}

impl Client {
    /// Joins a room with a transport of this id.
    pub fn join(controller: &mut Controller, transport_id: u64, room_id: u64) -> Self {
        let factory = ClientFactory::new(&ClientOptions::default()).expect("a client");
        let Command::OpenTransport(mut command) = open(transport_id, room_id) else { unreachable!() };
        command.remote_fingerprint_sha256 = factory.fingerprint().to_vec();
        // A test sends as fast as it is answered: seconds of video in a moment.
        command.max_receive_bitrate_bps = 1_000_000_000;
        let opened = match controller.call(Command::OpenTransport(command)) {
            ReplyBody::TransportOpened(opened) => opened,
            other => panic!("not opened: {other:?}"),
        };
        let port = u16::try_from(opened.candidates[0].port).expect("a port");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let relay = SocketAddr::from(([127, 0, 0, 1], port));
        check(&socket, relay, &opened);
        socket.connect(relay).expect("connects");
        let start = Instant::now();
        let (open, seal, engine) = handshake(&socket, &factory, start);
        socket.set_read_timeout(Some(DEADLINE)).expect("set");
        Self { port, socket, open, seal, engine, start }
    }

    /// Sends a packet of `ssrc` with payload type 96.
    pub fn send(&self, ssrc: Ssrc, seq: u16, payload: &[u8]) {
        let timestamp = u32::from(seq) * 3_000;
        let fields =
            HeaderFields { marker: true, padding: false, pt: Pt(96), seq: SeqNo(seq), timestamp, ssrc };
        let mut slot = [0; 1500];
        let header = write_header(&mut slot, &fields, &[]).expect("fits");
        let len = self.seal.seal_rtp(&mut slot, header, ssrc, seq.into(), payload).expect("fits");
        self.socket.send(&slot[..len]).expect("sent");
    }

    /// Whether the relay ends the association: its next DTLS record after the handshake, with whatever media before it.
    pub fn is_told_the_end(&mut self) -> bool {
        let mut bytes = [0; 1500];
        let mut ended = false;
        while let Ok(len) = patiently(|| self.socket.recv(&mut bytes)) {
            if classify(&bytes[..len]) == Some(Protocol::Dtls) {
                self.engine.handle_datagram(self.now(), &bytes[..len]);
            }
            ended = matches!(self.engine.status(), DtlsStatus::Closed);
            if ended {
                break;
            }
        }
        ended
    }

    fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).expect("soon"))
    }

    /// The next packet of media: its number and payload.
    pub fn receive(&mut self) -> (SeqNo, Vec<u8>) {
        let mut bytes = [0; 1500];
        loop {
            let len = patiently(|| self.socket.recv(&mut bytes)).expect("media comes");
            if classify(&bytes[..len]) != Some(Protocol::Rtp) {
                continue;
            }
            let header = RtpHeader::parse(&bytes[..len]).expect("RTP");
            let mut payload = [0; 1500];
            let opened = self.open.open_rtp(&header, &bytes[..len], &mut payload).expect("sealed for us");
            return (header.seq, payload[..opened.len].to_vec());
        }
    }
}

/// A ring that this thread had (the probe's) ends in its own time, and interrupts us.
fn patiently<T>(mut receive: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match receive() {
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

fn handshake(
    socket: &UdpSocket,
    factory: &ClientFactory,
    start: Instant,
) -> (OpenContext, SealContext, DtlsClient) {
    let now = || Time::from_nanos(u64::try_from(start.elapsed().as_nanos()).expect("soon"));
    let mut engine: DtlsClient = factory.connect(now(), None);
    let mut bytes = [0; 2048];
    socket.set_read_timeout(Some(DTLS_POLL)).expect("set");
    loop {
        while let Some(len) = engine.poll_datagram(&mut bytes) {
            socket.send(&bytes[..len]).expect("sent");
        }
        if let Some(summary) = engine.take_summary() {
            let keys = summary.keys;
            return (
                OpenContext::new(keys.profile, &keys.remote_key, &keys.remote_salt),
                SealContext::new(keys.profile, &keys.local_key, &keys.local_salt),
                engine,
            );
        }
        match socket.recv(&mut bytes) {
            Ok(len) if classify(&bytes[..len]) == Some(Protocol::Dtls) => {
                engine.handle_datagram(now(), &bytes[..len]);
            }
            _ => engine.handle_timeout(now()),
        }
        assert!(start.elapsed() < DEADLINE, "no keys");
    }
}
