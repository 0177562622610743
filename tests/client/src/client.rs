//! One client's transport: checks until one is answered, then a handshake, then keys.

use crate::ice::{Agent, Credentials, StunOutcome};
use crate::keys::Keys;
use relay_core::dtls::{DtlsEngine, DtlsStatus};
use relay_core::srtp::{OpenError, SrtpProfile};
use relay_core::time::Time;
use relay_core::wire::rtcp::RtcpIter;
use relay_core::wire::rtp::RtpHeader;
use relay_core::wire::{Protocol, WireError, classify};
use std::net::SocketAddr;
use std::time::Duration;

/// Octets of the longest datagram.
pub const DATAGRAM_BYTES_MAX: usize = 2048;

/// What a server must never send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Neither STUN, DTLS, RTP nor RTCP (RFC 7983).
    Unknown,
    /// STUN, RTP or RTCP that is not as its RFC says.
    Malformed(WireError),
    /// STUN without the signature that it must have.
    Unsigned,
    /// A check whose USERNAME is not ours.
    Misnamed,
    /// A check of the controlled side that nominates (RFC 8445 §7.1.2).
    Nominates,
    /// A response to none of our checks.
    Unasked,
    /// An answer that does not say where the check came from.
    NoAddress,
    /// A check was refused, with this code.
    Refused(Option<u16>),
    /// The handshake failed, or the server is not the announced one.
    NoHandshake,
    /// The server sent close_notify.
    Closed,
    /// SRTP or SRTCP before the handshake is complete.
    Early,
    /// SRTP or SRTCP whose tag is wrong, or that is replayed.
    Unauthentic(OpenError),
    /// RTP padding that is longer than its packet, or empty.
    Padding,
}

/// What a received datagram was.
#[derive(Debug)]
pub enum Received<'a> {
    /// STUN or DTLS that needs no action by the caller.
    Transport,
    /// A check was answered for the first time: the path is there, and [`Client::begin_handshake`] comes
    /// next.
    Reachable {
        /// XOR-MAPPED-ADDRESS: our address as the server sees it.
        mapped: SocketAddr,
    },
    /// A check was answered again: consent goes on.
    Consent {
        /// XOR-MAPPED-ADDRESS: our address as the server sees it.
        mapped: SocketAddr,
    },
    /// The handshake is complete.
    Connected,
    /// An SRTP packet, not yet decrypted.
    Rtp(RtpHeader, &'a [u8]),
    /// A compound of RTCP packets, decrypted.
    Rtcp(RtcpIter<'a>),
}

#[derive(Clone, Copy, Debug)]
pub struct CheckIntervals {
    /// Until the first response.
    pub connecting: Duration,
    /// After it, for consent (RFC 7675).
    pub connected: Duration,
}

/// DTLS version, group and SRTP profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// As [`relay_core::dtls::DtlsSummary`] has it.
    pub version: &'static str,
    pub group: &'static str,
    /// The negotiated SRTP profile.
    pub profile: SrtpProfile,
}

enum State {
    Checking,
    Reachable,
    Handshaking(Box<dyn DtlsEngine>),
    /// The association stays: it repeats its last flight when the server missed it.
    Connected {
        keys: Box<Keys>,
        agreed: Agreed,
        dtls: Option<Box<dyn DtlsEngine>>,
    },
    /// Why; `None` if the client closed it.
    Ended(Option<Fault>),
}

pub struct Client {
    pub intervals: CheckIntervals,
    /// Nominates with each check. Off: checks as a client behind a NAT does once it has nominated.
    pub nominates: bool,
    agent: Agent,
    next_check: Time,
    state: State,
    /// Datagrams that wait to be sent.
    out: Vec<Vec<u8>>,
}

impl Client {
    /// Towards a server at `remote`. The first check is due at once.
    #[must_use]
    pub fn new(
        own: &Credentials,
        server: &Credentials,
        remote: SocketAddr,
        intervals: CheckIntervals,
    ) -> Self {
        let agent = Agent::new(own, server, remote);
        Self {
            intervals,
            nominates: true,
            agent,
            next_check: Time::ZERO,
            state: State::Checking,
            out: Vec::new(),
        }
    }

    /// Goes on under new names and secrets; a check is due at once, and the keys stay.
    pub fn restart_ice(&mut self, own: &Credentials, server: &Credentials) {
        self.agent.restart(own, server);
        self.next_check = Time::ZERO;
    }

    /// A check beside those that are due, under our own name or another; it is for the caller to send.
    #[must_use]
    pub fn make_check(&mut self, own_ufrag: Option<&str>, nominates: bool) -> Vec<u8> {
        match own_ufrag {
            Some(name) => self.agent.check_as(name, nominates),
            None => self.agent.check(nominates),
        }
    }

    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected { .. })
    }

    /// Whether the transport has ended.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// What the handshake negotiated.
    #[must_use]
    pub const fn agreed(&self) -> Option<Agreed> {
        match &self.state {
            State::Connected { agreed, .. } => Some(*agreed),
            _ => None,
        }
    }

    /// The SRTP keys, once there are any.
    pub fn keys(&mut self) -> Option<&mut Keys> {
        match &mut self.state {
            State::Connected { keys, .. } => Some(keys),
            _ => None,
        }
    }

    /// Takes the datagrams that wait to be sent.
    pub fn take_datagrams(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.out)
    }

    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Time {
        let dtls = match &self.state {
            State::Handshaking(dtls) => dtls.poll_timeout(),
            State::Connected { dtls, .. } => dtls.as_ref().and_then(|dtls| dtls.poll_timeout()),
            State::Ended(_) => return Time::MAX,
            State::Checking | State::Reachable => None,
        };
        dtls.map_or(self.next_check, |due| due.min(self.next_check))
    }

    /// Checks, and repeats a flight, when it is time to.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.has_ended() {
            return;
        }
        if now >= self.next_check {
            self.out.push(self.agent.check(self.nominates));
            let wait = if matches!(self.state, State::Checking) {
                self.intervals.connecting
            } else {
                self.intervals.connected
            };
            self.next_check = now + wait;
        }
        if self.dtls().and_then(|dtls| dtls.poll_timeout()).is_some_and(|due| due <= now) {
            self.drive(|dtls| dtls.handle_timeout(now));
        }
    }

    /// Goes on with the client's end of an association, once the server is [`Received::Reachable`].
    pub fn begin_handshake(&mut self, engine: Box<dyn DtlsEngine>) {
        self.state = State::Handshaking(engine);
        self.drive(|_| {});
    }

    /// Takes a datagram. After the end nothing matters any more.
    ///
    /// # Errors
    /// [`Fault`]; none but [`Fault::NoHandshake`] and [`Fault::Closed`] ends anything.
    pub fn handle_datagram<'a>(&mut self, now: Time, bytes: &'a mut [u8]) -> Result<Received<'a>, Fault> {
        if self.has_ended() {
            return Ok(Received::Transport);
        }
        match classify(bytes).ok_or(Fault::Unknown)? {
            Protocol::Rtp => {
                let header = RtpHeader::parse(bytes).map_err(Fault::Malformed)?;
                if self.is_connected() { Ok(Received::Rtp(header, bytes)) } else { Err(Fault::Early) }
            }
            Protocol::Rtcp => Ok(Received::Rtcp(self.keys().ok_or(Fault::Early)?.open_rtcp(bytes)?)),
            Protocol::Stun => self.handle_stun(bytes),
            Protocol::Dtls => {
                let was_connected = self.is_connected();
                self.drive(|dtls| {
                    dtls.handle_datagram(now, bytes);
                });
                match self.state {
                    State::Ended(why) => Err(why.unwrap_or(Fault::NoHandshake)),
                    State::Connected { .. } if !was_connected => Ok(Received::Connected),
                    _ => Ok(Received::Transport),
                }
            }
        }
    }

    fn handle_stun(&mut self, bytes: &[u8]) -> Result<Received<'static>, Fault> {
        match self.agent.handle(bytes)? {
            StunOutcome::Answered(mapped) if matches!(self.state, State::Checking) => {
                self.state = State::Reachable;
                Ok(Received::Reachable { mapped })
            }
            StunOutcome::Answered(mapped) => Ok(Received::Consent { mapped }),
            StunOutcome::Reply(reply) => {
                self.out.push(reply);
                Ok(Received::Transport)
            }
        }
    }

    /// Sends close_notify and ends; what waits to be sent is still to be taken.
    pub fn close(&mut self) {
        self.drive(|dtls| dtls.close());
        self.state = State::Ended(None);
    }

    /// Lets the association go: from now on a flight that the server missed is not repeated.
    pub fn forget_dtls(&mut self) {
        if let State::Connected { dtls, .. } = &mut self.state {
            *dtls = None;
        }
    }

    fn dtls(&mut self) -> Option<&mut Box<dyn DtlsEngine>> {
        match &mut self.state {
            State::Handshaking(dtls) => Some(dtls),
            State::Connected { dtls, .. } => dtls.as_mut(),
            _ => None,
        }
    }

    /// Lets `act` drive the association, takes what it wants to send and looks what became of it.
    fn drive(&mut self, act: impl FnOnce(&mut Box<dyn DtlsEngine>)) {
        let Some(dtls) = self.dtls() else { return };
        act(dtls);
        let (mut out, mut buffer) = (Vec::new(), [0; DATAGRAM_BYTES_MAX]);
        while let Some(len) = dtls.poll_datagram(&mut buffer) {
            out.push(buffer[..len].to_vec());
        }
        let status = dtls.status();
        self.out.append(&mut out);
        self.state = match (std::mem::replace(&mut self.state, State::Ended(None)), status) {
            (state, DtlsStatus::Handshaking) | (state @ State::Connected { .. }, DtlsStatus::Connected) => {
                state
            }
            (State::Handshaking(dtls), DtlsStatus::Connected) => connected(dtls),
            (_, DtlsStatus::Closed) => State::Ended(Some(Fault::Closed)),
            _ => State::Ended(Some(Fault::NoHandshake)),
        };
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("agent", &self.agent).finish_non_exhaustive()
    }
}

fn connected(mut dtls: Box<dyn DtlsEngine>) -> State {
    let Some(summary) = dtls.take_summary() else { return State::Ended(Some(Fault::NoHandshake)) };
    let agreed = Agreed { version: summary.version, group: summary.group, profile: summary.keys.profile };
    State::Connected { keys: Box::new(Keys::new(&summary.keys)), agreed, dtls: Some(dtls) }
}
