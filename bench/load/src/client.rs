//! One client: ICE, then DTLS, then media, over a socket of its own.

use crate::clock::Clock;
use crate::door::Grant;
use crate::ice::{Agent, Credentials, StunOutcome};
use crate::mark::Filling;
use crate::receiving::Receiving;
use crate::scenario::{Kind, Member, Role, Stream};
use crate::seen::Arrival;
use crate::sending::{Batch, Outgoing, Sending, read_mark};
use crate::socket::Socket;
use crate::tally::Tally;
use relay_core::dtls::{DtlsEngine, DtlsStatus};
use relay_core::id::{SeqNo, Ssrc};
use relay_core::srtp::{OpenContext, SealContext};
use relay_core::time::{NtpClock, Time};
use relay_core::wire::rtcp::{self, RtcpPacket};
use relay_core::wire::rtp::{RtpHeader, strip_padding};
use relay_core::wire::{Protocol, classify};
use ringvox_client::dtls::{ClientFactory, DtlsClient};
use std::time::Duration;

/// Time between checks until the first answer.
const CHECK_EARLY: Duration = Duration::from_millis(50);
/// Time between checks afterwards, as in Chromium.
const CHECK_LATER: Duration = Duration::from_millis(2_500);
/// Time between RTCP reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Time between looks for missing packets.
const NACK_INTERVAL: Duration = Duration::from_millis(50);
/// Longest datagram.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 2048;

/// What a client can be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    Check,
    Dtls,
    Report,
    Nack,
    /// Frame of the client's n-th stream.
    Frame(u8),
}

/// What all clients use.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) ntp: NtpClock,
    pub(crate) filling: Filling,
    pub(crate) tally: Tally,
    pub(crate) dtls: ClientFactory,
    /// Decrypt one packet in this many.
    pub(crate) check: u64,
    /// Connected subscribers of each stream.
    pub(crate) receivers: Vec<u64>,
    pub(crate) batch: Batch,
    /// Wake-ups wanted: when, which client, what for.
    pub(crate) alarms: Vec<(Time, u32, Task)>,
}

enum Phase {
    /// The door has not answered yet.
    Waiting,
    Checking,
    Handshaking(Box<DtlsClient>),
    Connected(Box<Session>),
    Failed,
}

/// Keys, and the association that gave them: it repeats its last flight when the peer missed it.
struct Session {
    open: OpenContext,
    seal: SealContext,
    dtls: DtlsClient,
    summary: (&'static str, &'static str, &'static str),
}

/// See the module.
pub(crate) struct Client {
    /// Of no other client of this run; modulo their number its place among them.
    pub(crate) id: u32,
    room: u32,
    pub(crate) role: Role,
    pub(crate) credentials: Credentials,
    pub(crate) socket: Socket,
    agent: Option<Agent>,
    fingerprint: [u8; 32],
    phase: Phase,
    pub(crate) sending: Vec<Sending>,
    pub(crate) receiving: Vec<Receiving>,
    transport_seq: u16,
    /// Media packets that came, for choosing those to be checked.
    arrivals: u64,
    /// Whether its packets are in the latency histogram.
    pub(crate) timed: bool,
}

impl Client {
    pub(crate) fn new(id: u32, member: &Member, streams: &[Stream], socket: Socket) -> Self {
        let own = |role| if member.role == role { &member.streams[..] } else { &[] };
        let sending = own(Role::Publisher).iter().map(|id| Sending::new(streams[*id as usize])).collect();
        Self {
            id,
            room: member.room,
            role: member.role,
            credentials: Credentials::random(),
            socket,
            agent: None,
            fingerprint: [0; 32],
            phase: Phase::Waiting,
            sending,
            receiving: Vec::new(),
            transport_seq: 0,
            arrivals: 0,
            timed: true,
        }
    }

    pub(crate) const fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected(_))
    }

    pub(crate) const fn has_failed(&self) -> bool {
        matches!(self.phase, Phase::Failed)
    }

    /// Whether every stream it wants has come.
    pub(crate) fn is_served(&self) -> bool {
        self.is_connected() && self.receiving.iter().all(|receiving| receiving.seen.highest().is_some())
    }

    /// DTLS version, group and SRTP profile.
    pub(crate) const fn agreed(&self) -> Option<(&'static str, &'static str, &'static str)> {
        match &self.phase {
            Phase::Connected(session) => Some(session.summary),
            _ => None,
        }
    }

    /// Begins, with what the door said.
    pub(crate) fn admit(&mut self, now: Time, grant: &Grant, shared: &mut Shared) -> std::io::Result<()> {
        self.socket.connect(grant.remote)?;
        self.agent = Some(Agent::new(&self.credentials, &grant.ufrag, &grant.pwd, grant.remote));
        self.fingerprint = grant.fingerprint;
        self.receiving = grant.downs.iter().map(Receiving::new).collect();
        for (sending, up) in self.sending.iter_mut().zip(&grant.ups) {
            sending.up = *up;
        }
        self.phase = Phase::Checking;
        self.run(now, Task::Check, now, shared);
        Ok(())
    }

    /// Does what it asked to be woken for at `due`.
    pub(crate) fn run(&mut self, now: Time, task: Task, due: Time, shared: &mut Shared) {
        let again = match task {
            _ if matches!(self.phase, Phase::Failed | Phase::Waiting) => None,
            Task::Check => self.check(now),
            Task::Dtls => {
                self.with_dtls(now, shared, |dtls| dtls.handle_timeout(now));
                None
            }
            Task::Report => {
                self.report(now, shared);
                Some(now + REPORT_INTERVAL)
            }
            Task::Nack => {
                self.nack(shared);
                Some(now + NACK_INTERVAL)
            }
            Task::Frame(at) => self.frame(now, usize::from(at), due, shared),
        };
        if let Some(at) = again {
            shared.alarms.push((at, self.id, task));
        }
    }

    fn check(&mut self, now: Time) -> Option<Time> {
        let mut out = [0; 400];
        let len = self.agent.as_mut()?.check(&mut out)?;
        self.socket.send(&out[..len]);
        Some(now + if matches!(self.phase, Phase::Checking) { CHECK_EARLY } else { CHECK_LATER })
    }

    /// Takes a datagram that came at `at`.
    pub(crate) fn receive(&mut self, now: Time, at: Time, bytes: &mut [u8], shared: &mut Shared) {
        match classify(bytes) {
            Some(Protocol::Rtp) => self.receive_rtp(at, bytes, shared),
            Some(Protocol::Rtcp) => self.receive_rtcp(now, bytes, shared),
            Some(Protocol::Stun) => self.receive_stun(now, bytes, shared),
            Some(Protocol::Dtls) => {
                self.with_dtls(now, shared, |dtls| {
                    dtls.handle_datagram(now, bytes);
                });
            }
            None => shared.tally.counts.corrupt += 1,
        }
    }

    fn receive_stun(&mut self, now: Time, bytes: &[u8], shared: &mut Shared) {
        let mut out = [0; 400];
        let Some(agent) = &mut self.agent else { return };
        match agent.handle(bytes, &mut out) {
            StunOutcome::Reply(len) => self.socket.send(&out[..len]),
            StunOutcome::Answered if matches!(self.phase, Phase::Checking) => {
                let dtls = shared.dtls.connect(now, Some(self.fingerprint));
                self.phase = Phase::Handshaking(Box::new(dtls));
                self.with_dtls(now, shared, |_| {});
            }
            StunOutcome::Answered | StunOutcome::Ignored => {}
        }
    }

    /// Lets `act` drive the association, then sends what it wants to send and looks what became of it.
    fn with_dtls(&mut self, now: Time, shared: &mut Shared, act: impl FnOnce(&mut DtlsClient)) {
        let dtls = match &mut self.phase {
            Phase::Handshaking(dtls) => dtls,
            Phase::Connected(session) => &mut session.dtls,
            _ => return,
        };
        act(dtls);
        let mut out = [0; DATAGRAM_BYTES_MAX];
        while let Some(len) = dtls.poll_datagram(&mut out) {
            self.socket.send(&out[..len]);
        }
        if let Some(due) = dtls.poll_timeout() {
            shared.alarms.push((due.max(now + Duration::from_millis(1)), self.id, Task::Dtls));
        }
        match dtls.status() {
            DtlsStatus::Handshaking => {}
            DtlsStatus::Connected => self.become_connected(now, shared),
            _ => self.phase = Phase::Failed,
        }
    }

    fn become_connected(&mut self, now: Time, shared: &mut Shared) {
        let Phase::Handshaking(dtls) = &mut self.phase else { return };
        let Some(summary) = dtls.take_summary() else { return };
        let keys = &summary.keys;
        let session = Session {
            open: OpenContext::new(keys.profile, &keys.remote_key, &keys.remote_salt),
            seal: SealContext::new(keys.profile, &keys.local_key, &keys.local_salt),
            summary: (summary.version, summary.group, keys.profile.name()),
            dtls: match std::mem::replace(&mut self.phase, Phase::Failed) {
                Phase::Handshaking(dtls) => *dtls,
                _ => return,
            },
        };
        self.phase = Phase::Connected(Box::new(session));
        self.receiving.iter().for_each(|receiving| shared.receivers[receiving.stream as usize] += 1);
        // Spread over the interval, so that a thousand clients do not report at once.
        let spread = |interval: Duration| interval * (self.id * 37 % 100) / 100;
        shared.alarms.push((now + spread(REPORT_INTERVAL), self.id, Task::Report));
        if self.role == Role::Subscriber {
            shared.alarms.push((now + spread(NACK_INTERVAL), self.id, Task::Nack));
        }
        for (at, sending) in self.sending.iter().enumerate() {
            let interval = crate::source::interval(&sending.stream.shape);
            shared.alarms.push((now + spread(interval), self.id, Task::Frame(at as u8)));
        }
    }

    fn frame(&mut self, now: Time, at: usize, due: Time, shared: &mut Shared) -> Option<Time> {
        let Phase::Connected(session) = &self.phase else { return None };
        let sending = &mut self.sending[at];
        let interval = crate::source::interval(&sending.stream.shape);
        shared.tally.lateness.add(now.since(due).as_nanos() as u64);
        shared.batch.clear();
        let mut outgoing = Outgoing { batch: &mut shared.batch, transport_seq: &mut self.transport_seq };
        sending.frame(now, &session.seal, &shared.filling, &mut outgoing);
        self.socket.send_all(&shared.batch.bytes, &shared.batch.lens);
        let count = shared.batch.lens.len() as u64;
        shared.tally.counts.sent += count;
        shared.tally.counts.offered += count * shared.receivers[sending.stream.id as usize];
        // A late frame does not move the next one, but a long stall is not made up for.
        Some(if now.since(due) > Duration::from_millis(500) { now + interval } else { due + interval })
    }

    fn receive_rtp(&mut self, at: Time, bytes: &[u8], shared: &mut Shared) {
        let Phase::Connected(session) = &mut self.phase else { return };
        let Ok(header) = RtpHeader::parse(bytes) else {
            shared.tally.counts.corrupt += 1;
            return;
        };
        let Some(place) = self.receiving.iter().position(|r| [r.ssrc, r.rtx_ssrc].contains(&header.ssrc))
        else {
            shared.tally.counts.unknown_ssrc += 1;
            return;
        };
        let receiving = &mut self.receiving[place];
        let is_rtx = header.ssrc != receiving.ssrc;
        if !receiving.has_payload_type(is_rtx, header.pt.0) {
            shared.tally.counts.corrupt += 1;
            return;
        }
        self.arrivals += 1;
        // The first of an SSRC is always opened: its roll-over counter is certain then.
        let checked =
            is_rtx || receiving.seen.highest().is_none() || self.arrivals.is_multiple_of(shared.check);
        let mut plain = [0; DATAGRAM_BYTES_MAX];
        let payload = if checked {
            let Ok(opened) = session.open.open_rtp(&header, bytes, &mut plain) else {
                shared.tally.counts.unauthentic += 1;
                return;
            };
            strip_padding(header.padding, &plain[..opened.len]).map(|len| &plain[..len])
        } else {
            None
        };
        if is_rtx {
            return receive_rtx(receiving, payload, shared);
        }
        let lost = receiving.seen.lost();
        let arrival = receiving.arrived(header.seq);
        let counts = &mut shared.tally.counts;
        let lost = receiving.seen.lost() - lost;
        counts.lost += lost;
        if receiving.kind == Kind::Audio {
            counts.lost_audio += lost;
        }
        match arrival {
            Arrival::New => counts.received += 1,
            Arrival::Duplicate | Arrival::TooOld => counts.duplicates += 1,
        }
        if !checked {
            return;
        }
        counts.checked += 1;
        match payload.and_then(|payload| read_mark(receiving.kind, payload, &shared.filling)) {
            None => counts.corrupt += 1,
            Some(mark) if (mark.room, mark.stream) != (self.room, receiving.stream) => counts.foreign += 1,
            Some(mark) if self.timed => {
                shared.tally.latency.add(at.as_nanos().saturating_sub(mark.sent_ns));
            }
            Some(_) => {}
        }
    }

    fn receive_rtcp(&mut self, now: Time, bytes: &mut [u8], shared: &mut Shared) {
        let Phase::Connected(session) = &mut self.phase else { return };
        let Ok(len) = session.open.open_rtcp(bytes) else {
            shared.tally.counts.unauthentic += 1;
            return;
        };
        let Ok(packets) = rtcp::parse_compound(&bytes[..len]) else {
            shared.tally.counts.corrupt += 1;
            return;
        };
        for packet in packets {
            match packet {
                RtcpPacket::Sr(report) => {
                    if let Some(r) = self.receiving.iter_mut().find(|r| r.ssrc == report.sender_ssrc) {
                        r.on_report(now, &report);
                    }
                }
                RtcpPacket::Pli(pli) => self.refresh(pli.media_ssrc, shared),
                RtcpPacket::Fir(fir) => fir.entries().for_each(|entry| self.refresh(entry.ssrc, shared)),
                RtcpPacket::Nack(nack) => self.retransmit(nack.media_ssrc, nack.seqs(), shared),
                _ => {}
            }
        }
    }

    fn refresh(&mut self, ssrc: Ssrc, shared: &mut Shared) {
        if let Some(sending) = self.sending.iter_mut().find(|sending| sending.stream.ssrc() == ssrc.0) {
            sending.keyframe_wanted = true;
            shared.tally.counts.keyframes_asked += 1;
        }
    }

    fn retransmit(&mut self, ssrc: Ssrc, seqs: impl Iterator<Item = SeqNo>, shared: &mut Shared) {
        let Phase::Connected(session) = &self.phase else { return };
        let Some(sending) = self.sending.iter_mut().find(|sending| sending.stream.ssrc() == ssrc.0) else {
            return;
        };
        shared.batch.clear();
        for seq in seqs {
            let mut outgoing = Outgoing { batch: &mut shared.batch, transport_seq: &mut self.transport_seq };
            sending.retransmit(seq, &session.seal, &shared.filling, &mut outgoing);
        }
        self.socket.send_all(&shared.batch.bytes, &shared.batch.lens);
        shared.tally.counts.retransmitted += shared.batch.lens.len() as u64;
    }

    fn report(&mut self, now: Time, shared: &mut Shared) {
        let sender = Ssrc(self.id + 1);
        let cname = format!("client{}", self.id);
        for at in 0..self.sending.len() {
            let sending = &self.sending[at];
            let (ssrc, timestamp) = (Ssrc(sending.stream.ssrc()), sending.timestamp());
            let (packets, octets) = (sending.packets as u32, sending.octets as u32);
            let ntp = shared.ntp.ntp(now);
            self.send_rtcp(|out| {
                let len = rtcp::write_sr(out, ssrc, ntp, timestamp, packets, octets, &[])?;
                Some(len + rtcp::write_sdes_cname(out.get_mut(len..)?, ssrc, &cname)?)
            });
        }
        let blocks: Vec<_> = self.receiving.iter_mut().filter_map(|r| r.report(now)).take(31).collect();
        if !blocks.is_empty() {
            self.send_rtcp(|out| rtcp::write_rr(out, sender, &blocks));
        }
    }

    fn nack(&mut self, shared: &mut Shared) {
        let sender = Ssrc(self.id + 1);
        for at in 0..self.receiving.len() {
            let (ssrc, seqs) = (self.receiving[at].ssrc, self.receiving[at].missing());
            if seqs.is_empty() || self.receiving[at].rtx_ssrc.0 == 0 {
                continue;
            }
            shared.tally.counts.nacked += seqs.len() as u64;
            self.send_rtcp(|out| {
                let len = rtcp::write_rr(out, sender, &[])?;
                Some(len + rtcp::write_nack(out.get_mut(len..)?, sender, ssrc, &seqs)?)
            });
        }
    }

    fn send_rtcp(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        let Phase::Connected(session) = &mut self.phase else { return };
        let mut slot = [0; 1500];
        let sealed = write(&mut slot[..1400]).and_then(|len| session.seal.seal_rtcp(len, &mut slot));
        if let Some(len) = sealed {
            self.socket.send(&slot[..len]);
        }
    }

    /// Says goodbye.
    pub(crate) fn close(&mut self, now: Time, shared: &mut Shared) {
        if self.is_connected() {
            self.receiving.iter().for_each(|receiving| shared.receivers[receiving.stream as usize] -= 1);
        }
        self.with_dtls(now, shared, DtlsEngine::close);
        self.phase = Phase::Failed;
    }
}

/// A retransmission: the original number stands in front (RFC 4588 §4).
fn receive_rtx(receiving: &mut Receiving, payload: Option<&[u8]>, shared: &mut Shared) {
    let Some((osn, _)) = payload.and_then(|payload| payload.split_first_chunk::<2>()) else { return };
    if receiving.arrived(SeqNo(u16::from_be_bytes(*osn))) == Arrival::New {
        shared.tally.counts.recovered += 1;
    }
}
