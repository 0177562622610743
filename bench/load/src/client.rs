//! One client of the run: a [`ringvox_client::Client`] on a socket of its own, what it sends and receives, and when.

use crate::channel::{Down, JoinAnswer};
use crate::clock::Clock;
use crate::scenario::{Kind, Member, Stream};
use crate::sending::{Batch, Packets, Sending, read_mark};
use crate::socket::Socket;
use crate::tally::{Counts, Tally};
use relay_core::id::{SeqNo, Ssrc};
use relay_core::time::{NtpClock, Time};
use relay_core::wire::rtcp::{self, RtcpIter, RtcpPacket};
use relay_core::wire::rtp::RtpHeader;
use ringvox_client::dtls::ClientFactory;
use ringvox_client::incoming::{Incoming, original, write_nack};
use ringvox_client::mark::Filling;
use ringvox_client::seen::Arrival;
use ringvox_client::{
    Agreed, CheckIntervals, Client as Transport, Credentials, DATAGRAM_BYTES_MAX, Fault, Received,
};
use std::time::Duration;

/// Checks: often until the first answer, then as in Chromium.
const INTERVALS: CheckIntervals =
    CheckIntervals { connecting: Duration::from_millis(50), connected: Duration::from_millis(2_500) };
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Time between looks for missing packets.
const NACK_INTERVAL: Duration = Duration::from_millis(50);
/// Frames that are later than this are left out.
const STALL: Duration = Duration::from_millis(500);
/// Shortest time to the next wake-up of a transport.
const TRANSPORT_PAUSE: Duration = Duration::from_millis(1);

/// What a client can be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Checks and the handshake.
    Transport,
    Report,
    Nack,
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

pub(crate) struct Receiving {
    /// Index of the stream in the scenario: what every mark on this SSRC must say.
    stream: u32,
    kind: Kind,
    incoming: Incoming,
}

impl Receiving {
    fn new(down: &Down) -> Self {
        Self { stream: down.stream, kind: down.kind, incoming: Incoming::new(down.parameters) }
    }
}

pub(crate) struct Client {
    /// Of no other client of this run; modulo their number its place among them.
    pub(crate) id: u32,
    room: u32,
    pub(crate) credentials: Credentials,
    pub(crate) socket: Socket,
    /// `None` until the server has answered.
    transport: Option<Transport>,
    /// When the transport will be woken.
    alarm: Time,
    fingerprint: [u8; 32],
    pub(crate) sending: Vec<Sending>,
    receiving: Vec<Receiving>,
    transport_seq: u16,
    /// Media packets that came, for choosing those to be checked.
    arrivals: u64,
    /// Whether its packets are in the latency histogram.
    pub(crate) timed: bool,
}

impl Client {
    pub(crate) fn new(id: u32, member: &Member, streams: &[Stream], socket: Socket) -> Self {
        let sent = if member.publishes { &member.streams[..] } else { &[] };
        let sending = sent.iter().map(|id| Sending::new(streams[*id as usize])).collect();
        let mut octets = [0; 20];
        getrandom::fill(&mut octets).expect("the system has randomness");
        Self {
            id,
            room: member.room,
            credentials: Credentials::from_octets(octets),
            socket,
            transport: None,
            alarm: Time::MAX,
            fingerprint: [0; 32],
            sending,
            receiving: Vec::new(),
            transport_seq: 0,
            arrivals: 0,
            timed: true,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.transport.as_ref().is_some_and(Transport::is_connected)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.transport.as_ref().is_some_and(Transport::has_ended)
    }

    /// Whether every stream it wants has come.
    pub(crate) fn is_served(&self) -> bool {
        self.is_connected() && self.receiving.iter().all(|r| r.incoming.seen().highest().is_some())
    }

    pub(crate) fn agreed(&self) -> Option<Agreed> {
        self.transport.as_ref().and_then(Transport::agreed)
    }

    pub(crate) fn begin(
        &mut self,
        now: Time,
        answer: &JoinAnswer,
        shared: &mut Shared,
    ) -> std::io::Result<()> {
        self.socket.connect(answer.remote)?;
        self.transport =
            Some(Transport::new(&self.credentials, &answer.credentials, answer.remote, INTERVALS));
        self.fingerprint = answer.fingerprint;
        self.receiving = answer.downs.iter().map(Receiving::new).collect();
        for (sending, up) in self.sending.iter_mut().zip(&answer.ups) {
            sending.up = *up;
        }
        self.wake_transport(now, shared);
        Ok(())
    }

    /// Does what it asked to be woken for at `due`.
    pub(crate) fn run(&mut self, now: Time, task: Task, due: Time, shared: &mut Shared) {
        let again = match task {
            _ if self.transport.is_none() || self.has_failed() => None,
            Task::Transport => {
                if due == self.alarm {
                    self.alarm = Time::MAX;
                }
                self.wake_transport(now, shared);
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

    fn wake_transport(&mut self, now: Time, shared: &mut Shared) {
        if let Some(transport) = &mut self.transport {
            transport.handle_timeout(now);
            self.settle(now, shared);
        }
    }

    /// Sends what the transport has to say, and sees to it that it is woken in time.
    fn settle(&mut self, now: Time, shared: &mut Shared) {
        let Some(transport) = &mut self.transport else { return };
        transport.take_datagrams().iter().for_each(|datagram| self.socket.send(datagram));
        let due = transport.poll_timeout();
        if due < self.alarm {
            self.alarm = due.max(now + TRANSPORT_PAUSE);
            shared.alarms.push((self.alarm, self.id, Task::Transport));
        }
    }

    /// Takes a datagram that came at `at`.
    pub(crate) fn receive(&mut self, now: Time, at: Time, bytes: &mut [u8], shared: &mut Shared) {
        let Some(transport) = &mut self.transport else { return };
        match transport.handle_datagram(now, bytes) {
            Ok(Received::Rtp(header, packet)) => self.receive_rtp(at, &header, packet, shared),
            Ok(Received::Rtcp(packets)) => self.receive_rtcp(now, packets, shared),
            Ok(Received::Transport) => self.settle(now, shared),
            Ok(Received::Consent { .. }) => {}
            Ok(Received::Reachable { .. }) => {
                transport.begin_handshake(Box::new(shared.dtls.connect(now, Some(self.fingerprint))));
                self.settle(now, shared);
            }
            Ok(Received::Connected) => {
                self.settle(now, shared);
                self.begin_media(now, shared);
            }
            Err(fault) => count(fault, &mut shared.tally.counts),
        }
    }

    /// Has keys: from now on it sends, and reports on what it receives.
    fn begin_media(&mut self, now: Time, shared: &mut Shared) {
        self.receiving.iter().for_each(|receiving| shared.receivers[receiving.stream as usize] += 1);
        // Spread over the interval, so that a thousand clients do not report at once.
        let spread = |interval: Duration| interval * (self.id * 37 % 100) / 100;
        shared.alarms.push((now + spread(REPORT_INTERVAL), self.id, Task::Report));
        if !self.receiving.is_empty() {
            shared.alarms.push((now + spread(NACK_INTERVAL), self.id, Task::Nack));
        }
        for (at, sending) in self.sending.iter().enumerate() {
            let interval = sending.stream.shape.interval;
            shared.alarms.push((now + spread(interval), self.id, Task::Frame(at as u8)));
        }
    }

    fn frame(&mut self, now: Time, at: usize, due: Time, shared: &mut Shared) -> Option<Time> {
        shared.tally.lateness.saturating_record(now.since(due).as_nanos() as u64);
        let count = self.send_packets(at, shared, |sending, packets| sending.frame(now, packets));
        let stream = &self.sending[at].stream;
        shared.tally.counts.sent += count;
        shared.tally.counts.offered += count * shared.receivers[stream.id as usize];
        // A late frame does not move the next one, but a long stall is not made up for.
        let has_stalled = now.since(due) > STALL;
        Some(if has_stalled { now } else { due } + stream.shape.interval)
    }

    /// Sends back to back what one of its streams writes; how many packets that were.
    fn send_packets(
        &mut self,
        at: usize,
        shared: &mut Shared,
        write: impl FnOnce(&mut Sending, &mut Packets<'_>),
    ) -> u64 {
        let Some(keys) = self.transport.as_mut().and_then(Transport::keys) else { return 0 };
        shared.batch.clear();
        let (batch, filling) = (&mut shared.batch, &shared.filling);
        write(&mut self.sending[at], &mut Packets { keys, batch, filling, seq: &mut self.transport_seq });
        self.socket.send_all(&shared.batch.bytes, &shared.batch.lens);
        shared.batch.lens.len() as u64
    }

    fn receive_rtp(&mut self, at: Time, header: &RtpHeader, packet: &[u8], shared: &mut Shared) {
        let counts = &mut shared.tally.counts;
        let Some(keys) = self.transport.as_mut().and_then(Transport::keys) else { return };
        let expected = self.receiving.iter_mut().find_map(|r| Some((r.incoming.expects(header.ssrc)?, r)));
        let Some(((pt, is_rtx), receiving)) = expected else {
            counts.unknown_ssrc += 1;
            return;
        };
        if header.pt != pt {
            counts.corrupt += 1;
            return;
        }
        self.arrivals += 1;
        // The first of an SSRC is always opened: its roll-over counter is certain then.
        let is_first = receiving.incoming.seen().highest().is_none();
        let mut plain = [0; DATAGRAM_BYTES_MAX];
        let payload = if is_rtx || is_first || self.arrivals.is_multiple_of(shared.check) {
            match keys.open_rtp(header, packet, &mut plain) {
                Err(fault @ Fault::Unauthentic(_)) => return count(fault, counts),
                opened => Some(opened.ok().map(|(_, payload)| payload)),
            }
        } else {
            None
        };
        if is_rtx {
            let brought = payload.flatten().and_then(original);
            if brought.is_some_and(|(seq, _)| receiving.incoming.arrived(seq) == Arrival::New) {
                counts.recovered += 1;
            }
            return;
        }
        let lost = receiving.incoming.seen().lost();
        let arrival = receiving.incoming.arrived(header.seq);
        let lost = receiving.incoming.seen().lost() - lost;
        counts.lost += lost;
        if receiving.kind == Kind::Audio {
            counts.lost_audio += lost;
        }
        match arrival {
            Arrival::New => counts.received += 1,
            Arrival::Duplicate | Arrival::TooOld => counts.duplicates += 1,
        }
        let Some(payload) = payload else { return };
        counts.checked += 1;
        match payload.and_then(|payload| read_mark(receiving.kind, payload, &shared.filling)) {
            None => counts.corrupt += 1,
            Some(mark) if (mark.room, mark.stream) != (self.room, receiving.stream) => counts.foreign += 1,
            Some(mark) if self.timed => {
                shared.tally.latency.saturating_record(at.as_nanos().saturating_sub(mark.sent_ns));
            }
            Some(_) => {}
        }
    }

    fn receive_rtcp(&mut self, now: Time, packets: RtcpIter<'_>, shared: &mut Shared) {
        for packet in packets {
            match packet {
                RtcpPacket::Sr(report) => {
                    let it = |r: &&mut Receiving| r.incoming.ssrc() == report.sender_ssrc;
                    if let Some(receiving) = self.receiving.iter_mut().find(it) {
                        receiving.incoming.on_report(now, &report);
                    }
                }
                RtcpPacket::Pli(pli) => self.refresh(pli.media_ssrc, shared),
                RtcpPacket::Fir(fir) => fir.entries().for_each(|entry| self.refresh(entry.ssrc, shared)),
                RtcpPacket::Nack(nack) => self.retransmit(nack.media_ssrc, nack.seqs(), shared),
                _ => {}
            }
        }
    }

    /// Which of its streams has this SSRC.
    fn sends(&self, ssrc: Ssrc) -> Option<usize> {
        self.sending.iter().position(|sending| sending.stream.ssrc() == ssrc.0)
    }

    fn refresh(&mut self, ssrc: Ssrc, shared: &mut Shared) {
        if let Some(at) = self.sends(ssrc) {
            self.sending[at].keyframe_wanted = true;
            shared.tally.counts.keyframes_asked += 1;
        }
    }

    fn retransmit(&mut self, ssrc: Ssrc, seqs: impl Iterator<Item = SeqNo>, shared: &mut Shared) {
        let Some(at) = self.sends(ssrc) else { return };
        shared.tally.counts.retransmitted += self.send_packets(at, shared, |sending, packets| {
            seqs.for_each(|seq| sending.retransmit(seq, packets))
        });
    }

    fn report(&mut self, now: Time, shared: &mut Shared) {
        let sender = Ssrc(self.id + 1);
        let cname = format!("client{}", self.id);
        for at in 0..self.sending.len() {
            let sending = &self.sending[at];
            let (ssrc, timestamp) = (Ssrc(sending.stream.ssrc()), sending.timestamp);
            let (packets, octets) = (sending.packets as u32, sending.octets as u32);
            let ntp = shared.ntp.ntp(now);
            self.send_rtcp(|out| {
                let len = rtcp::write_sr(out, ssrc, ntp, timestamp, packets, octets, &[])?;
                Some(len + rtcp::write_sdes_cname(out.get_mut(len..)?, ssrc, &cname)?)
            });
        }
        let blocks: Vec<_> =
            self.receiving.iter_mut().filter_map(|r| r.incoming.report(now)).take(31).collect();
        if !blocks.is_empty() {
            self.send_rtcp(|out| rtcp::write_rr(out, sender, &blocks));
        }
    }

    fn nack(&mut self, shared: &mut Shared) {
        let sender = Ssrc(self.id + 1);
        for at in 0..self.receiving.len() {
            let incoming = &self.receiving[at].incoming;
            let (ssrc, seqs) = (incoming.ssrc(), incoming.missing());
            if seqs.is_empty() || !incoming.has_rtx() {
                continue;
            }
            shared.tally.counts.nacked += seqs.len() as u64;
            self.send_rtcp(|out| write_nack(out, sender, &[], (ssrc, &seqs)));
        }
    }

    fn send_rtcp(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        if let Some(keys) = self.transport.as_mut().and_then(Transport::keys) {
            self.socket.send(&keys.rtcp(write));
        }
    }

    pub(crate) fn close(&mut self, now: Time, shared: &mut Shared) {
        if self.is_connected() {
            self.receiving.iter().for_each(|receiving| shared.receivers[receiving.stream as usize] -= 1);
        }
        if let Some(transport) = &mut self.transport {
            transport.close();
            self.settle(now, shared);
        }
    }
}

/// Puts what must not come where it is counted. A check that is refused or answered by a stranger is repeated; what became of a
/// transport that has ended, the engine sees.
const fn count(fault: Fault, counts: &mut Counts) {
    match fault {
        Fault::Unknown | Fault::Malformed(_) | Fault::Padding => counts.corrupt += 1,
        Fault::Unauthentic(_) => counts.unauthentic += 1,
        Fault::Unsigned | Fault::Misnamed | Fault::Nominates | Fault::Unasked => {}
        Fault::NoAddress | Fault::Refused(_) | Fault::NoHandshake | Fault::Closed | Fault::Early => {}
    }
}
