//! One DTLS association, either end.

use crate::MESSAGE_BYTES_MAX;
use crate::peer::{PeerCheck, Verdict};
use crate::queue::DatagramQueue;
use crate::records::{self, Accept};
use crate::{DATAGRAM_BYTES_MAX, ffi};
use boring::error::ErrorStack;
use boring::ssl::{ErrorCode, Ssl, SslContext, SslRef, SslStream, SslVersion};
use relay_core::dtls::{DtlsEngine, DtlsStatus, DtlsSummary, Fingerprints};
use relay_core::srtp::{KeyingMaterial, SrtpProfile};
use relay_core::time::Time;
use zeroize::Zeroizing;

/// Largest datagram that is looked at, in octets: BoringSSL and browsers stay below 1,500.
pub(crate) const INBOUND_BYTES_MAX: usize = 2048;

/// Octets that a client takes in before its handshake ends: what reassembly may come to hold. A handshake
/// with a post-quantum share has 3,000, and every flight may come a dozen times.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// Label of the exporter (RFC 5764 §4.2).
const EXPORTER: &str = "EXTRACTOR-dtls_srtp";

/// Which end of the association we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// One DTLS association. See [`DtlsEngine`] for what it does.
pub struct Association {
    stream: SslStream<DatagramQueue>,
    side: Side,
    state: State,
    /// The time of the last call; BoringSSL's timers count from it.
    now: Time,
    deadline: Option<Time>,
}

enum State {
    /// `budget`: octets that may still be read.
    Handshaking {
        budget: usize,
    },
    /// Until taken, what was agreed. BoringSSL is asked no more once a protected record made it give up:
    /// media needs no DTLS.
    Connected {
        summary: Option<Box<DtlsSummary>>,
        gave_up: bool,
    },
    Closed,
    Mismatch,
    Failed,
}

impl Association {
    /// The server's end, which waits for a peer with one of these fingerprints.
    pub(crate) fn server(context: &SslContext, now: Time, peer: Fingerprints) -> Self {
        Self::new(context, Side::Server, now, Some(peer))
    }

    /// The client's end: its first flight waits to be polled. The server is judged by `peer`, or not at all.
    /// `local` keys are the client's.
    ///
    /// # Panics
    /// If memory is out.
    #[must_use]
    pub fn client(context: &SslContext, now: Time, peer: Option<Fingerprints>) -> Self {
        Self::new(context, Side::Client, now, peer)
    }

    /// The client's end whose first hello fits into one datagram: it has a share of X25519 alone, and a
    /// server that prefers another group asks for that (RFC 8446 §4.1.4).
    pub(crate) fn dialing(context: &SslContext, now: Time, peer: Fingerprints) -> Self {
        let mut ssl = Ssl::new(context).expect("an association fits into memory");
        ffi::offer_x25519_share(&mut ssl);
        Self::over(ssl, Side::Client, now, Some(peer))
    }

    fn new(context: &SslContext, side: Side, now: Time, peer: Option<Fingerprints>) -> Self {
        Self::over(Ssl::new(context).expect("an association fits into memory"), side, now, peer)
    }

    fn over(mut ssl: Ssl, side: Side, now: Time, peer: Option<Fingerprints>) -> Self {
        PeerCheck::attach(&mut ssl, peer);
        ffi::shed_handshake_config(&mut ssl);
        ssl.set_mtu(DATAGRAM_BYTES_MAX as u32).expect("a sane MTU");
        let mut queue = DatagramQueue::default();
        if side == Side::Server {
            queue.note_flight();
        }
        let stream = SslStream::new(ssl, queue).expect("a BIO fits into memory");
        let state = State::Handshaking { budget: HANDSHAKE_BYTES_MAX };
        let mut association = Self { stream, side, state, now, deadline: None };
        association.set_now(now);
        association.drive();
        association
    }

    /// Lets BoringSSL read records that were chosen for it.
    pub(crate) fn feed(&mut self, now: Time, records: &[u8]) {
        self.set_now(now);
        self.stream.get_mut().inbound().extend_from_slice(records);
        self.drive();
    }

    /// The next datagram to send.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        self.stream.get_mut().pop()
    }

    /// Sends the flight again before its timer, as the peer seems not to have it.
    pub(crate) fn repeat_flight(&mut self, now: Time) {
        if let Some(deadline) = self.deadline {
            self.handle_timeout(deadline.max(now));
            self.set_now(now);
        }
    }

    /// What a server has sent in clear, once that is complete; in DTLS 1.3 it never is.
    pub(crate) fn flight(&self) -> Option<&[u8]> {
        self.stream.get_ref().flight()
    }

    /// Frees the flight, which is not needed after the handshake.
    pub(crate) fn forget_flight(&mut self) {
        self.stream.get_mut().forget_flight();
    }

    /// Whether a server has sent protected records of DTLS 1.3: it reads nothing in clear any more.
    pub(crate) fn has_sent_unified(&self) -> bool {
        self.stream.get_ref().has_sent_unified()
    }

    /// Lets BoringSSL read what is there and write what it wants.
    fn drive(&mut self) {
        if matches!(self.state, State::Handshaking { .. }) {
            self.handshake();
        }
        if matches!(self.state, State::Connected { gave_up: false, .. }) {
            self.read();
            self.stream.get_mut().release_inbound();
        }
        self.set_deadline();
    }

    fn handshake(&mut self) {
        let result = match self.side {
            Side::Client => self.stream.connect(),
            Side::Server => self.stream.accept(),
        };
        match result {
            Ok(()) => {
                self.state = match summarize(self.stream.ssl(), self.side) {
                    Some(summary) => State::Connected { summary: Some(Box::new(summary)), gave_up: false },
                    None => State::Failed,
                }
            }
            Err(error) if error.code() == ErrorCode::WANT_READ => {}
            Err(_) if PeerCheck::verdict(self.stream.ssl()) == Verdict::Mismatch => {
                self.state = State::Mismatch
            }
            Err(_) => self.state = State::Failed,
        }
    }

    /// Post-handshake: retransmissions of the peer's last flight are answered by BoringSSL, data is not for
    /// us.
    fn read(&mut self) {
        let mut ignored = [0; INBOUND_BYTES_MAX];
        loop {
            match self.stream.ssl_read(&mut ignored).map_err(|error| error.code()) {
                Ok(_) => {}
                Err(ErrorCode::WANT_READ) => return,
                Err(ErrorCode::ZERO_RETURN) => {
                    self.state = State::Closed;
                    return;
                }
                Err(_) => return self.give_up(),
            }
        }
    }

    /// BoringSSL goes no further. For a server with keys that is no end: media needs no more DTLS, and
    /// consent or signaling ends the session. A client is told: in DTLS 1.3 its refusal comes after it was
    /// done itself.
    fn give_up(&mut self) {
        match (&mut self.state, self.side) {
            (State::Connected { gave_up, .. }, Side::Server) => *gave_up = true,
            (state, _) => *state = State::Failed,
        }
    }

    fn set_now(&mut self, now: Time) {
        self.now = now;
        ffi::set_now(now);
    }

    fn set_deadline(&mut self) {
        let waits = matches!(self.state, State::Handshaking { .. } | State::Connected { gave_up: false, .. });
        self.deadline =
            if waits { ffi::timeout(self.stream.ssl()).map(|left| self.now + left) } else { None };
    }

    /// Copies what may pass of a datagram to where BoringSSL reads. A server's handshake is fed by its
    /// listener.
    fn admit(&mut self, datagram: &[u8]) -> bool {
        let inbound = self.stream.get_mut().inbound();
        match self.side {
            Side::Client => inbound.extend_from_slice(datagram),
            Side::Server => records::admit(datagram, Accept::ProtectedOnly, MESSAGE_BYTES_MAX, inbound),
        }
        let admitted = inbound.len();
        match &mut self.state {
            _ if admitted == 0 => false,
            State::Handshaking { budget } if admitted > *budget => {
                inbound.clear();
                false
            }
            State::Handshaking { budget } => {
                *budget -= admitted;
                true
            }
            State::Connected { gave_up, .. } => !*gave_up,
            State::Closed | State::Mismatch | State::Failed => false,
        }
    }
}

impl DtlsEngine for Association {
    fn handle_datagram(&mut self, now: Time, datagram: &[u8]) -> bool {
        self.set_now(now);
        if datagram.len() > INBOUND_BYTES_MAX || !self.admit(datagram) {
            return false;
        }
        self.drive();
        !matches!(self.state, State::Mismatch | State::Failed)
    }

    fn poll_datagram(&mut self, out: &mut [u8]) -> Option<usize> {
        let datagram = self.pop()?;
        out.get_mut(..datagram.len())?.copy_from_slice(&datagram);
        Some(datagram.len())
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.deadline
    }

    fn handle_timeout(&mut self, now: Time) {
        self.set_now(now);
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        if !ffi::handle_timeout(self.stream.ssl_mut()) {
            // What BoringSSL has to say about it would else be taken for the next connection's error.
            drop(ErrorStack::get());
            self.give_up();
        }
        self.set_deadline();
    }

    fn status(&self) -> DtlsStatus {
        match self.state {
            State::Handshaking { .. } => DtlsStatus::Handshaking,
            State::Connected { .. } => DtlsStatus::Connected,
            State::Closed => DtlsStatus::Closed,
            State::Mismatch => DtlsStatus::FingerprintMismatch,
            State::Failed => DtlsStatus::Failed,
        }
    }

    fn take_summary(&mut self) -> Option<DtlsSummary> {
        match &mut self.state {
            State::Connected { summary, .. } => summary.take().map(|summary| *summary),
            _ => None,
        }
    }

    fn close(&mut self) {
        ffi::set_now(self.now);
        if matches!(self.state, State::Connected { .. }) {
            // It can only fail if nothing may be sent any more, and then there is nothing to close.
            drop(self.stream.shutdown());
        }
        if matches!(self.state, State::Handshaking { .. } | State::Connected { .. }) {
            self.state = State::Closed;
        }
        self.deadline = None;
    }
}

impl std::fmt::Debug for Association {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Association")
            .field("side", &self.side)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// What a finished handshake agreed on; `None` if it lacks what we ask for, which the handshake should have
/// refused.
fn summarize(ssl: &SslRef, side: Side) -> Option<DtlsSummary> {
    if PeerCheck::verdict(ssl) != Verdict::Match {
        return None;
    }
    let id = ssl.selected_srtp_profile()?.id().as_raw();
    let profile = SrtpProfile::from_dtls_id(u16::try_from(id).ok()?)?;
    let version = match ssl.version2()? {
        SslVersion::DTLS1_3 => "DTLS 1.3",
        SslVersion::DTLS1_2 => "DTLS 1.2",
        _ => return None,
    };
    Some(DtlsSummary { keys: export(ssl, side, profile)?, version, group: group_name(ssl.curve()?) })
}

/// RFC 5764 §4.2: client key, server key, client salt, server salt.
fn export(ssl: &SslRef, side: Side, profile: SrtpProfile) -> Option<KeyingMaterial> {
    let (key_len, salt_len) = (profile.key_len(), profile.salt_len());
    let mut exported = Zeroizing::new(vec![0; 2 * (key_len + salt_len)]);
    ssl.export_keying_material(&mut exported, EXPORTER, None).ok()?;
    let (keys, salts) = exported.split_at_checked(2 * key_len)?;
    let (client_key, server_key) = keys.split_at_checked(key_len)?;
    let (client_salt, server_salt) = salts.split_at_checked(salt_len)?;
    let client = (client_key, client_salt);
    let server = (server_key, server_salt);
    let (local, remote) = match side {
        Side::Client => (client, server),
        Side::Server => (server, client),
    };
    Some(KeyingMaterial {
        profile,
        local_key: local.0.to_vec(),
        local_salt: local.1.to_vec(),
        remote_key: remote.0.to_vec(),
        remote_salt: remote.1.to_vec(),
    })
}

/// Groups as IANA's registry "TLS Supported Groups" names them.
const fn group_name(id: u16) -> &'static str {
    match id {
        23 => "secp256r1",
        24 => "secp384r1",
        25 => "secp521r1",
        29 => "x25519",
        0x11ec => "X25519MLKEM768",
        _ => "unknown",
    }
}
