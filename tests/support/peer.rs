//! A client of the simulation: [`ringvox_client::Client`], which panics at whatever the relay must not send,
//! with a sender and a receiver that mends losses.

use crate::dtls::{self, ClientEngine};
use crate::media::Payload;
use relay_control::{DownTrackAdded, TransportOpened};
use relay_core::dtls::Fingerprint;
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::srtp::{OpenError, SrtpProfile};
use relay_core::time::Time;
use relay_core::wire::rtcp::{self, RtcpIter, RtcpPacket};
use relay_core::wire::rtp::{HeaderFields, RtpHeader};
use relay_core::wire::stun::{StunClass, StunMessage};
use relay_core::wire::{Protocol, classify};
use ringvox_client::incoming::{original, write_nack};
use ringvox_client::outgoing::Outgoing;
use ringvox_client::{CheckIntervals, Client, Credentials, Fault, Keys, Received as Arrived, SLOT_BYTES};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

/// Payload types the fake peers use: media and its RTX.
pub const PT: Pt = Pt(96);
pub const RTX_PT: Pt = Pt(97);
/// Time between checks: before the first answer, and Chromium's from then on.
const INTERVALS: CheckIntervals =
    CheckIntervals { connecting: Duration::from_millis(100), connected: Duration::from_millis(2_500) };
pub const FRAME_INTERVAL: Duration = Duration::from_millis(10);
/// Packets kept for retransmission.
const SENT_MAX: usize = 2_000;

/// The stream that a peer sends.
#[derive(Debug)]
pub struct Sending {
    pub ssrc: Ssrc,
    /// Its packets' numbers, and the last of them: RTP timestamp and payload.
    pub packets: Outgoing<(u32, Vec<u8>)>,
    /// Number of the next payload.
    pub number: u32,
    /// Whether the next frame is a keyframe.
    keyframe_wanted: bool,
    /// Keyframe requests received.
    pub requests: Vec<Time>,
}

/// What it received on one SSRC.
#[derive(Debug, Default)]
pub struct Received {
    /// Payloads with the index they came under, in order of arrival.
    pub packets: Vec<(u64, Payload)>,
    /// Indices that came, retransmissions included.
    pub seen: BTreeSet<u64>,
    /// Those of `packets` that came as RTX.
    pub recovered: u64,
    pub reports: u64,
    /// NTP time and RTP timestamp of the last of them.
    pub last_report: Option<(u64, u32)>,
    /// Number in the payload and RTP timestamp of the last packet that came first-hand.
    pub last_packet: Option<(u32, u32)>,
    /// Octets of that packet's header.
    pub last_header_bytes: usize,
}

impl Sending {
    fn new(ssrc: Ssrc, first_index: u64) -> Self {
        let packets = Outgoing::new(first_index, SENT_MAX);
        Self { ssrc, packets, number: 0, keyframe_wanted: true, requests: Vec::new() }
    }
}

pub struct Peer {
    pub index: u32,
    /// Room it is in.
    pub room: u64,
    /// Where it sends from.
    pub address: SocketAddr,
    /// The certificate it shows.
    pub fingerprint: Fingerprint,
    pub client: Client,
    relay: SocketAddr,
    profile: SrtpProfile,
    rtcp_ssrc: Ssrc,
    /// What it sends, if anything.
    pub sending: Option<Sending>,
    /// What it sends besides on the same m-line, as layers that nobody negotiated.
    pub beside: Vec<Sending>,
    /// Packets of a keyframe.
    pub keyframe_packets: usize,
    /// Sends again under the SSRC of the media, as one without RTX.
    pub without_rtx: bool,
    /// RTX SSRC → media SSRC of what it receives.
    pub rtx_of: HashMap<Ssrc, Ssrc>,
    /// By media SSRC.
    pub received: HashMap<Ssrc, Received>,
    /// What the relay's REMB said that it may send.
    pub told_bitrates: Vec<u64>,
    /// Number of its next packet for transport-wide feedback, if it negotiated extension 3 for that.
    pub transport_seq: Option<u16>,
    /// Packets that transport-wide feedback said had come, and all that it spoke of.
    pub transport_feedback: (u64, u64),
    /// Media that overtook the end of the handshake.
    early: Vec<Vec<u8>>,
    fir_seq: u8,
    next_frame: Time,
    next_report: Time,
    /// Sends media without its MID, as browsers do once the relay has shown that it knows it.
    pub without_mid: bool,
    /// Answers Binding requests of the relay, as RFC 8445 §7.3 wants; the relay must do without, too.
    pub answers: bool,
    /// Somebody forges its address, or had it before, so it gets answers to what it never asked and media of
    /// others.
    pub attacked: bool,
    /// The answers to its hello that it got: from more than one engine if it is more than one.
    pub answers_seen: BTreeSet<Vec<u8>>,
    /// Of several answers to its hello it takes the first, as a real one does.
    pub keeps_to_first: bool,
    /// The passive side of DTLS.
    is_passive: bool,
    /// Time between its receiver reports.
    pub report_interval: Duration,
    /// Checks that it still sends.
    pub checks_left: u32,
    /// False: the peer sends nothing at all.
    pub alive: bool,
    out: Vec<Vec<u8>>,
}

impl Peer {
    /// A client for a transport that the relay has opened.
    #[must_use]
    pub fn new(
        index: u32,
        room: u64,
        fingerprint: Fingerprint,
        profile: SrtpProfile,
        opened: &TransportOpened,
    ) -> Self {
        let candidate = opened.candidates.first().expect("the relay has a candidate");
        let relay = format!("{}:{}", candidate.ip, candidate.port).parse().expect("an address");
        let own = Credentials::new(&Self::ufrag(index), Self::PASSWORD);
        Self {
            index,
            room,
            address: SocketAddr::from(([10, (index >> 16) as u8, (index >> 8) as u8, index as u8], 40_000)),
            fingerprint,
            client: Client::new(&own, &credentials(opened), relay, INTERVALS),
            relay,
            profile,
            rtcp_ssrc: Ssrc(0x7000_0000 + index),
            sending: None,
            beside: Vec::new(),
            keyframe_packets: 1,
            without_rtx: false,
            rtx_of: HashMap::new(),
            received: HashMap::new(),
            told_bitrates: Vec::new(),
            transport_seq: None,
            transport_feedback: (0, 0),
            early: Vec::new(),
            fir_seq: 0,
            next_frame: Time::ZERO,
            next_report: Time::ZERO,
            without_mid: false,
            answers: true,
            attacked: false,
            answers_seen: BTreeSet::new(),
            keeps_to_first: false,
            is_passive: false,
            report_interval: Duration::from_millis(40),
            checks_left: u32::MAX,
            alive: true,
            out: Vec::new(),
        }
    }

    /// What it announces as its password, until it restarts ICE.
    pub const PASSWORD: &'static str = "a password of the peer's own";
    /// Its ICE password after a restart.
    pub const SECOND_PASSWORD: &'static str = "another password of the peer's own";

    /// The ufrag the peer with this index announces.
    #[must_use]
    pub fn ufrag(index: u32) -> String {
        format!("peer{index:08}")
    }

    /// Uses the relay's new credentials from now on.
    pub fn restart_ice(&mut self, opened: &TransportOpened, own_ufrag: &str) {
        let own = Credentials::new(own_ufrag, Self::SECOND_PASSWORD);
        self.client.restart_ice(&own, &credentials(opened));
    }

    /// Is the passive side of DTLS from now on: the relay begins.
    pub fn wait_for_hello(&mut self) {
        self.is_passive = true;
        self.client.begin_handshake(Box::new(ClientEngine::waiting(self.fingerprint, self.profile)));
    }

    /// Begins to send video at packet index `first_index`.
    pub fn publish(&mut self, ssrc: Ssrc, first_index: u64) {
        self.sending = Some(Sending::new(ssrc, first_index));
    }

    /// Sends beside it under another SSRC.
    pub fn publish_beside(&mut self, ssrc: Ssrc, first_index: u64) {
        self.beside.push(Sending::new(ssrc, first_index));
    }

    /// Continues what it sends under another SSRC, as a new encoder would: with a keyframe.
    pub fn switch_ssrc(&mut self, ssrc: Ssrc, first_index: u64) {
        let number = self.sending.as_ref().map_or(0, |s| s.number);
        self.publish(ssrc, first_index);
        if let Some(sending) = &mut self.sending {
            sending.number = number;
        }
    }

    /// Receives a track from now on, under the SSRC that is returned.
    pub fn receives(&mut self, added: &DownTrackAdded) -> Ssrc {
        if added.rtx_ssrc != 0 {
            self.rtx_of.insert(Ssrc(added.rtx_ssrc), Ssrc(added.ssrc));
        }
        self.received.entry(Ssrc(added.ssrc)).or_default();
        Ssrc(added.ssrc)
    }

    /// Whether its handshake is complete.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.client.is_connected()
    }

    /// Takes the datagrams it wants to send.
    pub fn take_out(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.out)
    }

    #[must_use]
    pub fn relay(&self) -> SocketAddr {
        self.relay
    }

    /// When [`Peer::tick`] is due.
    #[must_use]
    pub fn next(&self) -> Time {
        let when = |wanted: bool, due: Time| if wanted { due } else { Time::MAX };
        let frame = when(self.is_keyed() && self.sending.is_some(), self.next_frame);
        let report = when(self.is_keyed() && !self.received.is_empty(), self.next_report);
        when(self.alive, self.client.poll_timeout().min(frame).min(report))
    }

    /// Sends checks, reports and repeats that are due.
    pub fn tick(&mut self, now: Time) {
        self.client.handle_timeout(now);
        for datagram in self.client.take_datagrams() {
            // Binding requests (RFC 8489 §5).
            if datagram.starts_with(&[0, 1]) {
                let Some(left) = self.checks_left.checked_sub(1) else { continue };
                self.checks_left = left;
            }
            self.out.push(datagram);
        }
        if self.is_keyed() && self.sending.is_some() && now >= self.next_frame {
            self.send_frame(now);
            let mut beside = std::mem::take(&mut self.beside);
            beside.iter_mut().for_each(|sending| self.send_of(now, sending, 200));
            self.beside = beside;
            self.next_frame = now + FRAME_INTERVAL;
        }
        if self.is_keyed() && !self.received.is_empty() && now >= self.next_report {
            self.send_nacks();
            self.next_report = now + self.report_interval;
        }
    }

    /// A check with an id of its own, not sent.
    pub fn make_check(&mut self, use_candidate: bool) -> Vec<u8> {
        self.client.make_check(None, use_candidate)
    }

    /// The same without its own ufrag, which the relay does not look at while an ICE restart is under way.
    pub fn make_short_check(&mut self) -> Vec<u8> {
        self.client.make_check(Some(""), true)
    }

    fn keys(&mut self) -> &mut Keys {
        self.client.keys().expect("keys")
    }

    /// Sends one frame, of one packet unless it is a keyframe.
    pub fn send_frame(&mut self, now: Time) {
        let keyframe = self.sending.as_ref().is_some_and(|sending| sending.keyframe_wanted);
        (0..if keyframe { self.keyframe_packets } else { 1 }).for_each(|_| self.send_packet(now, 200));
    }

    /// The same with a payload of `len` octets: several at one time are packets of one frame.
    pub fn send_packet(&mut self, now: Time, len: usize) {
        let Some(mut sending) = self.sending.take() else { return };
        self.send_of(now, &mut sending, len);
        self.sending = Some(sending);
    }

    fn send_of(&mut self, now: Time, sending: &mut Sending, len: usize) {
        let keyframe = std::mem::take(&mut sending.keyframe_wanted);
        let payload =
            Payload { room: self.room, sender: self.index, number: sending.number, keyframe }.write(len);
        let timestamp = (now.as_micros() * 9 / 100) as u32;
        let index = sending.packets.push((timestamp, payload.clone()));
        sending.number += 1;
        let fields = fields(PT, index, timestamp, sending.ssrc);
        let seq = self.transport_seq.map(u16::to_be_bytes);
        self.transport_seq = self.transport_seq.map(|seq| seq.wrapping_add(1));
        let both: [(u8, &[u8]); 2] = [(1, b"0"), (3, seq.as_ref().map_or(&[], |seq| &seq[..]))];
        let from = usize::from(self.without_mid);
        let extensions = &both[from..if seq.is_some() { 2 } else { 1 }];
        let mut slot = vec![0; SLOT_BYTES];
        let len = self.keys().rtp(&mut slot, &fields, extensions, index, &payload).expect("fits");
        slot.truncate(len);
        self.out.push(slot);
    }

    /// A packet of padding alone, as one probes a path with.
    pub fn send_padding(&mut self, now: Time, sending: &mut Sending) {
        let timestamp = (now.as_micros() * 9 / 100) as u32;
        let index = sending.packets.push((timestamp, vec![]));
        let fields = HeaderFields { padding: true, ..fields(PT, index, timestamp, sending.ssrc) };
        let mut slot = vec![0; SLOT_BYTES];
        let len = self.keys().rtp(&mut slot, &fields, &[(1, b"0")], index, &[0, 0, 0, 4]).expect("fits");
        slot.truncate(len);
        self.out.push(slot);
    }

    fn send_nacks(&mut self) {
        let mut missing = Vec::new();
        for (ssrc, received) in &self.received {
            let Some(&highest) = received.seen.last() else { continue };
            let first = received.seen.first().copied().unwrap_or(0).max(highest.saturating_sub(100));
            let seqs: Vec<SeqNo> =
                (first..highest).filter(|i| !received.seen.contains(i)).map(|i| SeqNo(i as u16)).collect();
            missing.push((*ssrc, seqs));
        }
        missing.sort_by_key(|(ssrc, _)| *ssrc);
        let sender = self.rtcp_ssrc;
        for (ssrc, seqs) in missing {
            self.send_rtcp(|out| match &seqs[..] {
                [] => rtcp::write_rr(out, sender, &[]),
                seqs => write_nack(out, sender, &[], (ssrc, seqs)),
            });
        }
    }

    /// Asks for a keyframe of what it receives.
    pub fn send_pli(&mut self) {
        let (sender, media) = (self.rtcp_ssrc, self.received.keys().copied().collect::<Vec<_>>());
        for ssrc in media {
            self.send_rtcp(|out| {
                let len = rtcp::write_rr(out, sender, &[])?;
                Some(len + rtcp::write_pli(out.get_mut(len..)?, sender, ssrc)?)
            });
        }
    }

    /// The same by FIR, each time a new one.
    pub fn send_fir(&mut self) {
        let (sender, media) = (self.rtcp_ssrc, self.received.keys().copied().collect::<Vec<_>>());
        for ssrc in media {
            self.fir_seq = self.fir_seq.wrapping_add(1);
            let seq = self.fir_seq;
            self.send_rtcp(|out| rtcp::write_fir(out, sender, ssrc, seq));
        }
    }

    /// Protects and queues an RTCP compound.
    pub fn send_rtcp(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        let datagram = self.keys().rtcp(write);
        self.out.push(datagram);
    }

    /// Takes a datagram. Panics on anything that the relay must never send.
    pub fn receive(&mut self, now: Time, bytes: &mut [u8]) {
        let protocol = classify(bytes);
        let class = StunMessage::parse(bytes).map(|message| {
            assert!(message.class() != StunClass::Request || message.ice_controlled().is_some());
            message.class()
        });
        if protocol == Some(Protocol::Dtls) && !self.goes_on_with(bytes) {
            return;
        }
        if matches!(protocol, Some(Protocol::Rtp | Protocol::Rtcp)) && !self.is_keyed() {
            self.early.push(bytes.to_vec());
            return;
        }
        match self.client.handle_datagram(now, bytes) {
            Ok(Arrived::Transport) => {}
            Ok(Arrived::Reachable { mapped }) if self.is_passive => assert_eq!(mapped, self.address),
            Ok(Arrived::Reachable { mapped }) => {
                assert_eq!(mapped, self.address);
                let engine = ClientEngine::new(now, self.fingerprint, self.profile);
                self.client.begin_handshake(Box::new(engine));
            }
            Ok(Arrived::Consent { mapped }) => assert_eq!(mapped, self.address),
            Ok(Arrived::Connected) => {
                (self.next_frame, self.next_report) = (now, now);
                for mut bytes in std::mem::take(&mut self.early) {
                    self.receive(now, &mut bytes);
                }
            }
            Ok(Arrived::Rtp(header, bytes)) => self.receive_rtp(&header, bytes),
            Ok(Arrived::Rtcp(packets)) => self.receive_rtcp(now, packets),
            // A datagram that the network repeated.
            Err(Fault::Unauthentic(OpenError::Replay)) => {}
            Err(Fault::Unauthentic(OpenError::Auth)) if self.attacked => {}
            // To whoever forged the address.
            Err(Fault::Misnamed) if self.attacked => {}
            Err(Fault::Unsigned | Fault::Refused(_)) if self.attacked && class != Ok(StunClass::Request) => {}
            Err(fault) => panic!("the relay sent what it must not, {fault:?}: {bytes:02x?}"),
        }
        let replies = self.client.take_datagrams();
        self.out.extend(replies.into_iter().filter(|_| self.answers || class != Ok(StunClass::Request)));
    }

    /// Whether a datagram of DTLS is of the handshake that it has begun: a client goes on with that one
    /// alone.
    fn goes_on_with(&mut self, bytes: &[u8]) -> bool {
        let (is_first, asks) = (self.answers_seen.is_empty(), dtls::asks(bytes));
        let is_known = asks && !self.answers_seen.insert(bytes.to_vec());
        !asks || is_first || is_known || !self.keeps_to_first
    }

    fn receive_rtp(&mut self, header: &RtpHeader, bytes: &[u8]) {
        let mut out = [0; 1500];
        let (index, payload) = match self.keys().open_rtp(header, bytes, &mut out) {
            Ok(opened) => opened,
            // A datagram that the network repeated.
            Err(Fault::Unauthentic(OpenError::Replay)) => return,
            Err(Fault::Unauthentic(OpenError::Auth)) if self.attacked => return,
            Err(fault) => panic!("the relay seals and pads as the RFCs say: {fault:?}"),
        };
        let (ssrc, index, payload) = match self.rtx_of.get(&header.ssrc) {
            None => (header.ssrc, index, payload),
            Some(media) => {
                assert_eq!(header.pt, RTX_PT);
                let (osn, payload) = original(payload).expect("an OSN");
                let highest = self.received.get(media).and_then(|r| r.seen.last().copied()).unwrap_or(0);
                (*media, osn.extend(highest), payload)
            }
        };
        let received = self.received.entry(ssrc).or_default();
        let payload = Payload::read(payload).expect("payloads arrive as they were sent");
        if ssrc == header.ssrc {
            received.last_packet = Some((payload.number, header.timestamp));
            received.last_header_bytes = header.len;
        }
        if received.seen.insert(index) {
            received.packets.push((index, payload));
            received.recovered += u64::from(ssrc != header.ssrc);
        }
    }

    fn receive_rtcp(&mut self, now: Time, packets: RtcpIter<'_>) {
        for packet in packets {
            match packet {
                RtcpPacket::Nack(nack) => nack.seqs().for_each(|seq| self.retransmit(seq)),
                RtcpPacket::Pli(pli) => {
                    let mut all = self.sending.iter_mut().chain(&mut self.beside);
                    let sending = all.find(|sending| sending.ssrc == pli.media_ssrc);
                    let sending = sending.expect("a publisher is asked for what it sends");
                    sending.requests.push(now);
                    sending.keyframe_wanted = true;
                }
                RtcpPacket::TransportCc(feedback) => {
                    self.transport_feedback.0 += feedback.received().count() as u64;
                    self.transport_feedback.1 += u64::from(feedback.status_count);
                }
                RtcpPacket::Remb(remb) => self.told_bitrates.push(remb.bitrate_bps),
                RtcpPacket::Sr(sr) => {
                    let received = self.received.entry(sr.sender_ssrc).or_default();
                    received.reports += 1;
                    received.last_report = Some((sr.ntp, sr.rtp_timestamp));
                }
                _ => {}
            }
        }
    }

    /// Sends what it has sent under a number once more, as RTX or, without that, as the same packet.
    pub fn retransmit(&mut self, seq: SeqNo) {
        let Some(sending) = &mut self.sending else { return };
        let own = seq.extend(sending.packets.next());
        let Some((index, (timestamp, payload))) = sending.packets.recall(seq) else { return };
        let mut slot = vec![0; SLOT_BYTES];
        let keys = self.client.keys().expect("who is asked again has keys");
        let mid: &[(u8, &[u8])] = &[(1, b"0")];
        let len = if self.without_rtx {
            let fields = fields(PT, own, *timestamp, sending.ssrc);
            keys.rtp(&mut slot, &fields, mid, own, payload)
        } else {
            let fields = fields(RTX_PT, index, *timestamp, Ssrc(sending.ssrc.0 + 1));
            keys.rtx(&mut slot, &fields, mid, (index, seq), payload)
        };
        let len = len.expect("fits");
        slot.truncate(len);
        self.out.push(slot);
    }
}

fn credentials(opened: &TransportOpened) -> Credentials {
    Credentials::new(&opened.local_ufrag, &opened.local_pwd)
}

fn fields(pt: Pt, index: u64, timestamp: u32, ssrc: Ssrc) -> HeaderFields {
    HeaderFields { marker: true, padding: false, pt, seq: SeqNo(index as u16), timestamp, ssrc }
}
