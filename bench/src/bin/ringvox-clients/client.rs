//! A client with a number: a [`ringvox_client::Client`] that panics at whatever the relay must not send.

use relay_control::TransportOpened;
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::outbox::Path;
use relay_core::time::Time;
use relay_core::wire::rtcp::ReportBlock;
use relay_core::wire::rtp::HeaderFields;
use ringvox_client::dtls::ClientFactory;
use ringvox_client::incoming::write_nack;
use ringvox_client::{CheckIntervals, Client as Transport, Credentials, Keys, Received, SLOT_BYTES};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Between checks that were not answered, and between those that keep consent.
const INTERVALS: CheckIntervals =
    CheckIntervals { connecting: Duration::from_millis(500), connected: Duration::from_millis(2_500) };

/// Where the relay is.
pub(crate) const RELAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 10_000);

/// See the module. Its address follows from its number.
pub(crate) struct Client {
    pub(crate) number: u32,
    transport: Transport,
    fingerprint: [u8; 32],
}

impl Client {
    pub(crate) fn new(number: u32, opened: &TransportOpened, relay_fingerprint: [u8; 32]) -> Self {
        let relay = Credentials::new(&opened.local_ufrag, &opened.local_pwd);
        let transport = Transport::new(&credentials(), &relay, RELAY, INTERVALS);
        Self { number, transport, fingerprint: relay_fingerprint }
    }

    pub(crate) fn path(&self) -> Path {
        path(self.number)
    }

    /// Keys are there.
    pub(crate) fn is_connected(&self) -> bool {
        self.transport.is_connected()
    }

    pub(crate) fn next(&self) -> Time {
        self.transport.poll_timeout()
    }

    pub(crate) fn tick(&mut self, now: Time) {
        self.transport.handle_timeout(now);
        assert!(!self.transport.has_ended(), "no handshake");
    }

    /// What it has to say.
    pub(crate) fn take_datagrams(&mut self) -> Vec<Vec<u8>> {
        self.transport.take_datagrams()
    }

    pub(crate) fn receive(&mut self, now: Time, bytes: &mut [u8], clients: &ClientFactory) {
        let received = self.transport.handle_datagram(now, bytes).expect("the relay sends nothing wrong");
        if let Received::Reachable { mapped } | Received::Consent { mapped } = received {
            assert_eq!(mapped, self.path().remote, "the relay says where a check came from");
        }
        if let Received::Reachable { .. } = received {
            // Not earlier: memory of its own is not what is measured.
            self.transport.begin_handshake(Box::new(clients.connect(now, Some(self.fingerprint))));
        }
    }

    /// Says goodbye as a page does that is closed.
    pub(crate) fn close(&mut self) {
        self.transport.close();
    }

    /// Forgets the association; what is measured is the relay's end.
    pub(crate) fn forget_dtls(&mut self) {
        self.transport.forget_dtls();
    }

    fn keys(&mut self) -> &mut Keys {
        self.transport.keys().expect("connected")
    }

    /// A media packet.
    pub(crate) fn media(&mut self, ssrc: Ssrc, index: u64, payload: &[u8]) -> Vec<u8> {
        let (seq, timestamp) = (SeqNo(index as u16), index as u32 * 900);
        let fields = HeaderFields { marker: true, padding: false, pt: Pt(96), seq, timestamp, ssrc };
        let mut slot = vec![0; SLOT_BYTES];
        let len = self.keys().rtp(&mut slot, &fields, &[], index, payload).expect("fits");
        slot.truncate(len);
        slot
    }

    /// A report on what it receives, with a NACK: what a subscriber's state grows by.
    pub(crate) fn report(&mut self, media: Ssrc, seq: SeqNo) -> Vec<u8> {
        let sender = Ssrc(0x7000_0000 + self.number);
        let block = ReportBlock { ssrc: media, ..ReportBlock::default() };
        self.keys().rtcp(|out| write_nack(out, sender, &[block], (media, &[seq])))
    }
}

/// As a client names itself to the relay.
pub(crate) fn credentials() -> Credentials {
    Credentials::new("peer", "a password of the peer's own")
}

/// Where the client of this number sends from.
pub(crate) fn path(number: u32) -> Path {
    Path { remote: SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + number), 40_000)), local: None }
}

/// Whose address this is.
pub(crate) fn number(remote: &SocketAddr) -> u32 {
    match remote {
        SocketAddr::V4(v4) => u32::from(*v4.ip()) - 0x0a00_0000,
        SocketAddr::V6(_) => unreachable!("clients have IPv4 addresses"),
    }
}
