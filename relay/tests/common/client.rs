//! A client on a real socket: ICE check, DTLS handshake, RTP both ways.

use super::{Controller, DEADLINE, open};
use relay_control::{Command, ReplyBody, TransportOpened};
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::time::Time;
use relay_core::wire::rtp::HeaderFields;
use ringvox_client::dtls::{ClientFactory, ClientOptions};
use ringvox_client::ice::{Agent, StunOutcome};
use ringvox_client::{
    CheckIntervals, Client as Transport, Credentials, DATAGRAM_BYTES_MAX, Fault, Received, SLOT_BYTES,
};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Time after which the transport is asked whether a check or a flight is due again.
const POLL: Duration = Duration::from_millis(50);
const INTERVALS: CheckIntervals =
    CheckIntervals { connecting: Duration::from_millis(500), connected: Duration::from_millis(2_500) };

/// As a peer of these tests names itself, and as the relay does.
fn credentials(opened: &TransportOpened) -> (Credentials, Credentials) {
    let own = Credentials::new("peer", &"p".repeat(24));
    (own, Credentials::new(&opened.local_ufrag, &opened.local_pwd))
}

/// A connectivity check by a peer that knows the password, and the address that the relay saw it come from.
pub fn check(peer: &UdpSocket, to: SocketAddr, opened: &TransportOpened) -> SocketAddr {
    let (own, relay) = credentials(opened);
    let mut agent = Agent::new(&own, &relay, to);
    let mut bytes = [0; DATAGRAM_BYTES_MAX];
    peer.set_read_timeout(Some(DEADLINE)).expect("set");
    peer.send_to(&agent.check(true), to).expect("sent");
    let (len, from) = patiently(|| peer.recv_from(&mut bytes)).expect("an answer");
    assert_eq!(from, to, "from the address that was asked");
    match agent.handle(&bytes[..len]) {
        Ok(StunOutcome::Answered(seen)) => seen,
        other => panic!("no answer: {other:?}"),
    }
}

/// A client that has completed its handshake.
pub struct Client {
    /// The relay's UDP port for it.
    pub port: u16,
    socket: UdpSocket,
    transport: Transport,
    factory: ClientFactory,
    begun: Instant,
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
        socket.connect(relay).expect("connects");
        socket.set_read_timeout(Some(POLL)).expect("set");
        let (own, server) = credentials(&opened);
        let transport = Transport::new(&own, &server, relay, INTERVALS);
        let mut client = Self { port, socket, transport, factory, begun: Instant::now() };
        while !client.transport.is_connected() {
            client.turn();
            assert!(client.begun.elapsed() < DEADLINE, "no keys");
        }
        client
    }

    fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.begun.elapsed().as_nanos()).expect("soon"))
    }

    /// Sends a packet of `ssrc` with payload type 96.
    pub fn send(&mut self, ssrc: Ssrc, seq: u16, payload: &[u8]) {
        let timestamp = u32::from(seq) * 3_000;
        let fields =
            HeaderFields { marker: true, padding: false, pt: Pt(96), seq: SeqNo(seq), timestamp, ssrc };
        let keys = self.transport.keys().expect("connected");
        let mut slot = [0; SLOT_BYTES];
        let len = keys.rtp(&mut slot, &fields, &[], seq.into(), payload).expect("fits");
        self.socket.send(&slot[..len]).expect("sent");
    }

    /// The next packet of media: its number and payload.
    pub fn receive(&mut self) -> (SeqNo, Vec<u8>) {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(media) = self.turn() {
                return media;
            }
            assert!(Instant::now() < until, "media comes");
        }
    }

    /// Whether the relay ends the association, with whatever media before it.
    pub fn is_told_the_end(&mut self) -> bool {
        let until = Instant::now() + DEADLINE;
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        while Instant::now() < until {
            let Ok(len) = self.socket.recv(&mut bytes) else { continue };
            match self.transport.handle_datagram(self.now(), &mut bytes[..len]) {
                Err(Fault::Closed) => return true,
                other => assert!(other.is_ok(), "nothing wrong comes: {other:?}"),
            }
        }
        false
    }

    /// Does what is due, and takes a datagram if one comes within a moment: of a packet of media its number
    /// and payload.
    fn turn(&mut self) -> Option<(SeqNo, Vec<u8>)> {
        let now = self.now();
        self.transport.handle_timeout(now);
        self.flush();
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        let len = self.socket.recv(&mut bytes).ok()?;
        let received = self.transport.handle_datagram(now, &mut bytes[..len]).expect("nothing wrong comes");
        let media = match received {
            Received::Reachable { mapped } | Received::Consent { mapped }
                if mapped != self.socket.local_addr().expect("bound") =>
            {
                panic!("the check came from another address than {mapped}");
            }
            Received::Reachable { .. } => {
                self.transport.begin_handshake(Box::new(self.factory.connect(now, None)));
                None
            }
            Received::Rtp(header, packet) => {
                let keys = self.transport.keys().expect("connected");
                let mut payload = [0; DATAGRAM_BYTES_MAX];
                let (_, payload) = keys.open_rtp(&header, packet, &mut payload).expect("sealed for us");
                Some((header.seq, payload.to_vec()))
            }
            _ => None,
        };
        self.flush();
        media
    }

    fn flush(&mut self) {
        for datagram in self.transport.take_datagrams() {
            self.socket.send(&datagram).expect("sent");
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
