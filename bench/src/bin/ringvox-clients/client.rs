//! A client with a real ICE check, the real DTLS of `relay-dtls`, and SRTP to send and to report with.

use relay_control::TransportOpened;
use relay_core::dtls::{DtlsEngine, DtlsStatus};
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::outbox::Path;
use relay_core::srtp::SealContext;
use relay_core::time::Time;
use relay_core::wire::rtcp::{ReportBlock, write_nack, write_rr};
use relay_core::wire::rtp::{HeaderFields, write_header};
use relay_core::wire::stun::{IntegrityKey, StunClass, StunMessage, write_binding_request};
use relay_core::wire::{Protocol, classify};
use ringvox_client::dtls::{ClientFactory, DtlsClient};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Between checks that were not answered, and between those that keep consent.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
const CONSENT_INTERVAL: Duration = Duration::from_millis(2_500);
/// As browsers name themselves to the relay.
pub(crate) const UFRAG: &str = "peer";

/// See the module. Its address follows from its number.
pub(crate) struct Client {
    pub(crate) number: u32,
    username: Vec<u8>,
    key: IntegrityKey,
    /// From the first answered check to the keys: memory of its own is not what is measured.
    dtls: Option<DtlsClient>,
    pub(crate) seal: Option<SealContext>,
    next_check: Time,
    checks: u32,
    fingerprint: [u8; 32],
    pub(crate) out: Vec<Vec<u8>>,
}

impl Client {
    pub(crate) fn new(number: u32, opened: &TransportOpened, relay_fingerprint: [u8; 32]) -> Self {
        Self {
            number,
            username: format!("{}:{UFRAG}", opened.local_ufrag).into_bytes(),
            key: IntegrityKey::new(opened.local_pwd.as_bytes()),
            dtls: None,
            seal: None,
            next_check: Time::ZERO,
            checks: 0,
            fingerprint: relay_fingerprint,
            out: Vec::new(),
        }
    }

    pub(crate) fn path(&self) -> Path {
        path(self.number)
    }

    /// Keys are there.
    pub(crate) fn is_connected(&self) -> bool {
        self.seal.is_some()
    }

    pub(crate) fn next(&self) -> Time {
        self.dtls.as_ref().and_then(DtlsEngine::poll_timeout).unwrap_or(Time::MAX).min(self.next_check)
    }

    pub(crate) fn tick(&mut self, now: Time) {
        if now >= self.next_check {
            self.check();
            self.next_check = now + if self.is_connected() { CONSENT_INTERVAL } else { CHECK_INTERVAL };
        }
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(now);
        }
        self.poll();
    }

    fn check(&mut self) {
        self.checks += 1;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.checks.to_be_bytes());
        id[4..8].copy_from_slice(&self.number.to_be_bytes());
        let mut out = vec![0; 300];
        let len = write_binding_request(&mut out, id, &self.username, 1, 7, true, &self.key).expect("fits");
        out.truncate(len);
        self.out.push(out);
    }

    pub(crate) fn receive(&mut self, now: Time, bytes: &[u8], clients: &ClientFactory) {
        match classify(bytes) {
            Some(Protocol::Stun) => {
                let good = StunMessage::parse(bytes).is_ok_and(|m| m.class() == StunClass::Success);
                assert!(good, "a check is refused");
                if self.dtls.is_none() && self.seal.is_none() {
                    self.dtls = Some(clients.connect(now, Some(self.fingerprint)));
                }
            }
            Some(Protocol::Dtls) => {
                if let Some(dtls) = &mut self.dtls {
                    dtls.handle_datagram(now, bytes);
                }
            }
            _ => {}
        }
        self.poll();
    }

    fn poll(&mut self) {
        let Some(dtls) = &mut self.dtls else { return };
        let mut buffer = [0; 1_500];
        while let Some(len) = dtls.poll_datagram(&mut buffer) {
            self.out.push(buffer[..len].to_vec());
        }
        assert!(
            !matches!(dtls.status(), DtlsStatus::Failed | DtlsStatus::FingerprintMismatch),
            "no handshake"
        );
        if let Some(summary) = dtls.take_summary() {
            let keys = &summary.keys;
            self.seal = Some(SealContext::new(keys.profile, &keys.local_key, &keys.local_salt));
        }
    }

    /// Says goodbye as a page does that is closed.
    pub(crate) fn close(&mut self) {
        if let Some(dtls) = &mut self.dtls {
            dtls.close();
        }
        self.poll();
    }

    /// Forgets the association; what is measured is the relay's end.
    pub(crate) fn forget_dtls(&mut self) {
        self.dtls = None;
    }

    /// A media packet.
    pub(crate) fn media(&self, ssrc: Ssrc, index: u64, payload: &[u8]) -> Vec<u8> {
        let seal = self.seal.as_ref().expect("connected");
        let (seq, timestamp) = (SeqNo(index as u16), index as u32 * 900);
        let fields = HeaderFields { marker: true, padding: false, pt: Pt(96), seq, timestamp, ssrc };
        let mut slot = vec![0; 1_500];
        let header = write_header(&mut slot, &fields, &[]).expect("fits");
        let len = seal.seal_rtp(&mut slot, header, ssrc, index, payload).expect("fits");
        slot.truncate(len);
        slot
    }

    /// A report on what it receives, with a NACK: what a subscriber's state grows by.
    pub(crate) fn report(&mut self, media: Ssrc, seq: SeqNo) -> Vec<u8> {
        let sender = Ssrc(0x7000_0000 + self.number);
        let block = ReportBlock { ssrc: media, ..ReportBlock::default() };
        let mut slot = vec![0; 1_500];
        let mut len = write_rr(&mut slot, sender, &[block]).expect("fits");
        len += write_nack(&mut slot[len..], sender, media, &[seq]).expect("fits");
        let seal = self.seal.as_mut().expect("connected");
        let len = seal.seal_rtcp(len, &mut slot).expect("fits");
        slot.truncate(len);
        slot
    }
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
