//! A client: controlling ICE agent, DTLS client, RTP sender and receiver that mends losses.

use crate::dtls;
use crate::media::Payload;
use relay_control::{DownTrackAdded, TransportOpened};
use relay_core::dtls::Fingerprint;
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::srtp::{OpenContext, SealContext, SrtpProfile};
use relay_core::time::Time;
use relay_core::wire::rtcp::{self, RtcpPacket};
use relay_core::wire::rtp::{HeaderFields, RtpHeader, strip_padding, write_header};
use relay_core::wire::stun::{
    IntegrityKey, StunClass, StunMessage, write_binding_request, write_binding_success,
};
use relay_core::wire::{Protocol, classify};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

/// Payload types the fake peers use: media and its RTX.
pub const PT: Pt = Pt(96);
/// See [`PT`].
pub const RTX_PT: Pt = Pt(97);
/// Time between ICE checks once connected (Chromium's).
const CHECK_INTERVAL: Duration = Duration::from_millis(2_500);
/// Time between attempts before that.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Time between frames.
pub const FRAME_INTERVAL: Duration = Duration::from_millis(10);
/// Packets kept for retransmission.
const SENT_MAX: usize = 2_000;

/// What it sends.
#[derive(Debug)]
pub struct Sending {
    /// Media SSRC.
    pub ssrc: Ssrc,
    /// Extended sequence number of the next packet.
    pub next_index: u64,
    next_rtx: u64,
    /// Number of the next payload.
    pub number: u32,
    /// Whether the next frame is a keyframe.
    keyframe_wanted: bool,
    /// Keyframe requests received.
    pub requests: Vec<Time>,
    sent: BTreeMap<u64, (u32, Vec<u8>)>,
}

/// What it received on one SSRC.
#[derive(Debug, Default)]
pub struct Received {
    /// Payloads with the index they came under, in order of arrival.
    pub packets: Vec<(u64, Payload)>,
    /// Indices that came, retransmissions included.
    pub seen: BTreeSet<u64>,
    /// Of them by RTX.
    pub recovered: u64,
    /// Sender reports.
    pub reports: u64,
    /// NTP time and RTP timestamp of the last of them.
    pub last_report: Option<(u64, u32)>,
    /// Number in the payload and RTP timestamp of the last packet that came first-hand.
    pub last_packet: Option<(u32, u32)>,
    /// Octets of that packet's header.
    pub last_header_bytes: usize,
}

/// A client.
pub struct Peer {
    /// Index in the world.
    pub index: u32,
    /// Room it is in.
    pub room: u64,
    /// Where it sends from.
    pub address: SocketAddr,
    /// The certificate it shows.
    pub fingerprint: Fingerprint,
    relay: SocketAddr,
    username: Vec<u8>,
    key: IntegrityKey,
    own_password: String,
    connected: bool,
    keyed: bool,
    open: OpenContext,
    seal: SealContext,
    rtcp_ssrc: Ssrc,
    /// What it sends, if anything.
    pub sending: Option<Sending>,
    /// RTX SSRC → media SSRC of what it receives.
    pub rtx_of: HashMap<Ssrc, Ssrc>,
    /// By media SSRC.
    pub received: HashMap<Ssrc, Received>,
    /// When it wants to be called.
    next: Time,
    next_check: Time,
    next_frame: Time,
    next_report: Time,
    transaction: u32,
    /// Sends media without its MID, as browsers do once the relay has shown that it knows it.
    pub without_mid: bool,
    /// Answers Binding requests of the relay, as RFC 8445 §7.3 wants; the relay must do without, too.
    pub answers: bool,
    /// Nominates with each check. Off: checks as a client behind a NAT does once it has nominated.
    pub nominates: bool,
    /// Time between its checks once connected; Chromium's.
    pub check_interval: Duration,
    /// Somebody forges its address, so it gets answers to what it never asked.
    pub attacked: bool,
    /// The answers to its hello that it got: from more than one engine if it is more than one.
    pub answers_seen: BTreeSet<Vec<u8>>,
    /// Of several answers to its hello it takes the first, as a real one does.
    pub keeps_to_first: bool,
    /// Time between its receiver reports.
    pub report_interval: Duration,
    /// Silent when false: sends nothing at all.
    pub alive: bool,
    /// Datagrams to send.
    out: Vec<Vec<u8>>,
}

impl Peer {
    /// A client that knows the relay's answer.
    #[must_use]
    pub fn new(
        index: u32,
        room: u64,
        fingerprint: Fingerprint,
        profile: SrtpProfile,
        opened: &TransportOpened,
    ) -> Self {
        let keys = dtls::keys(&fingerprint, profile);
        let candidate = opened.candidates.first().expect("the relay has a candidate");
        Self {
            index,
            room,
            address: SocketAddr::from(([10, (index >> 16) as u8, (index >> 8) as u8, index as u8], 40_000)),
            fingerprint,
            relay: format!("{}:{}", candidate.ip, candidate.port).parse().expect("an address"),
            username: format!("{}:{}", opened.local_ufrag, Self::ufrag(index)).into_bytes(),
            key: IntegrityKey::new(opened.local_pwd.as_bytes()),
            own_password: Self::PASSWORD.into(),
            connected: false,
            keyed: false,
            open: OpenContext::new(profile, &keys.local_key, &keys.local_salt),
            seal: SealContext::new(profile, &keys.remote_key, &keys.remote_salt),
            rtcp_ssrc: Ssrc(0x7000_0000 + index),
            sending: None,
            rtx_of: HashMap::new(),
            received: HashMap::new(),
            next: Time::ZERO,
            next_check: Time::ZERO,
            next_frame: Time::ZERO,
            next_report: Time::ZERO,
            transaction: 0,
            without_mid: false,
            answers: true,
            nominates: true,
            check_interval: CHECK_INTERVAL,
            attacked: false,
            answers_seen: BTreeSet::new(),
            keeps_to_first: false,
            report_interval: Duration::from_millis(40),
            alive: true,
            out: Vec::new(),
        }
    }

    /// What it announces as its password, until it restarts ICE.
    pub const PASSWORD: &'static str = "a password of the peer's own";
    /// What it announces then.
    pub const SECOND_PASSWORD: &'static str = "another password of the peer's own";

    /// The ufrag the peer with this index announces.
    #[must_use]
    pub fn ufrag(index: u32) -> String {
        format!("peer{index:08}")
    }

    /// Uses the relay's new credentials from now on.
    pub fn restart_ice(&mut self, opened: &TransportOpened, own_ufrag: &str) {
        self.username = format!("{}:{own_ufrag}", opened.local_ufrag).into_bytes();
        self.key = IntegrityKey::new(opened.local_pwd.as_bytes());
        self.own_password = Self::SECOND_PASSWORD.into();
        self.next_check = Time::ZERO;
    }

    /// Begins to send video at packet index `first_index`.
    pub fn publish(&mut self, ssrc: Ssrc, first_index: u64) {
        self.sending = Some(Sending {
            ssrc,
            next_index: first_index,
            next_rtx: 100,
            number: 0,
            keyframe_wanted: true,
            requests: Vec::new(),
            sent: BTreeMap::new(),
        });
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
        self.rtx_of.insert(Ssrc(added.rtx_ssrc), Ssrc(added.ssrc));
        self.received.entry(Ssrc(added.ssrc)).or_default();
        Ssrc(added.ssrc)
    }

    /// Whether keys are there.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.keyed
    }

    /// Takes the datagrams it wants to send.
    pub fn take_out(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.out)
    }

    /// The relay's address.
    #[must_use]
    pub fn relay(&self) -> SocketAddr {
        self.relay
    }

    /// When it wants to be called.
    #[must_use]
    pub fn next(&self) -> Time {
        if self.alive { self.next } else { Time::MAX }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Time) {
        if now >= self.next_check {
            self.check();
            if self.connected && !self.keyed {
                self.out.push(dtls::hello(&self.fingerprint));
            }
            self.next_check = now + if self.keyed { self.check_interval } else { RETRY_INTERVAL };
        }
        if self.keyed && self.sending.is_some() && now >= self.next_frame {
            self.send_frame(now);
            self.next_frame = now + FRAME_INTERVAL;
        }
        if self.keyed && !self.received.is_empty() && now >= self.next_report {
            self.send_nacks();
            self.next_report = now + self.report_interval;
        }
        let mut next = self.next_check;
        if self.keyed {
            next = next.min(if self.sending.is_some() { self.next_frame } else { Time::MAX });
            next = next.min(self.next_report.max(now + Duration::from_millis(10)));
        }
        self.next = next;
    }

    fn check(&mut self) {
        let check = self.make_check(self.nominates);
        self.out.push(check);
    }

    /// A check with an id of its own, not sent.
    pub fn make_check(&mut self, use_candidate: bool) -> Vec<u8> {
        self.make_check_as(&self.username.clone(), use_candidate)
    }

    /// The same without its own ufrag, which the relay does not look at while an ICE restart is under way.
    pub fn make_short_check(&mut self) -> Vec<u8> {
        let username = self.username.split_inclusive(|octet| *octet == b':').next().unwrap_or_default();
        self.make_check_as(&username.to_vec(), true)
    }

    fn make_check_as(&mut self, username: &[u8], use_candidate: bool) -> Vec<u8> {
        self.transaction += 1;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.transaction.to_be_bytes());
        id[4..8].copy_from_slice(&self.index.to_be_bytes());
        let mut out = vec![0; 500];
        let len =
            write_binding_request(&mut out, id, username, 1, 7, use_candidate, &self.key).expect("fits");
        out.truncate(len);
        out
    }

    fn answer(&mut self, request: &StunMessage<'_>) {
        let own = IntegrityKey::new(self.own_password.as_bytes());
        let name = self.username.split(|octet| *octet == b':').rev().collect::<Vec<_>>().join(&b':');
        if self.attacked && request.username() != Some(&name[..]) {
            return;
        }
        assert!(request.verify_integrity(&own), "signed with the peer's password");
        assert_eq!(request.username(), Some(&name[..]));
        assert!(request.ice_controlled().is_some() && !request.use_candidate());
        if self.answers {
            let mut out = vec![0; 300];
            let len = write_binding_success(&mut out, request.transaction_id(), self.relay, &own);
            out.truncate(len.expect("fits"));
            self.out.push(out);
        }
    }

    /// Sends one frame of one packet.
    pub fn send_frame(&mut self, now: Time) {
        self.send_packet(now, 200);
    }

    /// The same with a payload of `len` octets: several at one time are packets of one frame.
    pub fn send_packet(&mut self, now: Time, len: usize) {
        let Some(sending) = &mut self.sending else { return };
        let keyframe = std::mem::take(&mut sending.keyframe_wanted);
        let payload = Payload { room: self.room, sender: self.index, number: sending.number, keyframe };
        let bytes = payload.write(len);
        let (index, timestamp) = (sending.next_index, (now.as_micros() * 9 / 100) as u32);
        sending.next_index += 1;
        sending.number += 1;
        sending.sent.insert(index, (timestamp, bytes.clone()));
        while sending.sent.len() > SENT_MAX {
            sending.sent.pop_first();
        }
        let fields = HeaderFields {
            marker: true,
            padding: false,
            pt: PT,
            seq: SeqNo(index as u16),
            timestamp,
            ssrc: sending.ssrc,
        };
        let mut slot = vec![0; 1500];
        let mid: &[(u8, &[u8])] = if self.without_mid { &[] } else { &[(1, b"0")] };
        let header = write_header(&mut slot, &fields, mid).expect("fits");
        let len = self.seal.seal_rtp(&mut slot, header, sending.ssrc, index, &bytes).expect("fits");
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
        for (ssrc, seqs) in missing {
            let sender = self.rtcp_ssrc;
            self.send_rtcp(|out| {
                let mut len = rtcp::write_rr(out, sender, &[])?;
                if !seqs.is_empty() {
                    len += rtcp::write_nack(out.get_mut(len..)?, sender, ssrc, &seqs)?;
                }
                Some(len)
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

    /// Protects and queues an RTCP compound.
    pub fn send_rtcp(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        let mut slot = vec![0; 1500];
        let len = write(&mut slot[..1400]).expect("fits");
        let total = self.seal.seal_rtcp(len, &mut slot).expect("fits");
        slot.truncate(total);
        self.out.push(slot);
    }

    /// Takes a datagram. Panics on anything that the relay must never send.
    pub fn receive(&mut self, now: Time, bytes: &mut [u8]) {
        match classify(bytes) {
            Some(Protocol::Stun) => {
                let message = StunMessage::parse(bytes).expect("the relay writes good STUN");
                if message.class() == StunClass::Request {
                    self.answer(&message);
                } else if self.attacked && !message.verify_integrity(&self.key) {
                    // To whoever forged the address.
                } else if message.class() == StunClass::Success {
                    assert!(message.verify_integrity(&self.key), "signed with the relay's password");
                    assert_eq!(message.mapped_address(), Some(self.address));
                    if !self.connected {
                        self.connected = true;
                        self.next_check = now;
                        self.next = now;
                    }
                }
            }
            Some(Protocol::Dtls) => {
                if let Some(finish) = dtls::finish(&self.fingerprint, bytes) {
                    let is_first = self.answers_seen.is_empty();
                    let is_known = !self.answers_seen.insert(bytes.to_vec());
                    // A client goes on with the handshake that it has begun.
                    if !self.keyed && (is_first || is_known || !self.keeps_to_first) {
                        self.out.push(finish);
                    }
                    return;
                }
                assert_eq!(bytes, dtls::DONE);
                if !self.keyed {
                    self.keyed = true;
                    (self.next_frame, self.next_report, self.next) = (now, now, now);
                }
            }
            Some(Protocol::Rtp) => self.receive_rtp(bytes),
            Some(Protocol::Rtcp) => self.receive_rtcp(now, bytes),
            None => panic!("the relay sent {bytes:02x?}"),
        }
    }

    fn receive_rtp(&mut self, bytes: &[u8]) {
        let header = RtpHeader::parse(bytes).expect("the relay writes good RTP");
        let mut out = [0; 1500];
        // A datagram that the network repeated is the one thing that may be refused.
        let Ok(opened) = self.open.open_rtp(&header, bytes, &mut out) else { return };
        let len = strip_padding(header.padding, &out[..opened.len]).expect("the relay pads as the RFC says");
        let payload = &out[..len];
        let (ssrc, index, payload) = match self.rtx_of.get(&header.ssrc) {
            None => (header.ssrc, opened.index, payload),
            Some(media) => {
                assert_eq!(header.pt, RTX_PT);
                let (osn, payload) = payload.split_first_chunk::<2>().expect("an OSN");
                let highest = self.received.get(media).and_then(|r| r.seen.last().copied()).unwrap_or(0);
                (*media, SeqNo(u16::from_be_bytes(*osn)).extend(highest), payload)
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

    fn receive_rtcp(&mut self, now: Time, bytes: &mut [u8]) {
        let Ok(len) = self.open.open_rtcp(bytes) else { return };
        for packet in rtcp::parse_compound(&bytes[..len]).expect("the relay writes good RTCP") {
            match packet {
                RtcpPacket::Nack(nack) => nack.seqs().for_each(|seq| self.retransmit(seq)),
                RtcpPacket::Pli(pli) => {
                    let sending = self.sending.as_mut().expect("a publisher is asked");
                    assert_eq!(pli.media_ssrc, sending.ssrc);
                    sending.requests.push(now);
                    sending.keyframe_wanted = true;
                }
                RtcpPacket::Sr(sr) => {
                    let received = self.received.entry(sr.sender_ssrc).or_default();
                    received.reports += 1;
                    received.last_report = Some((sr.ntp, sr.rtp_timestamp));
                }
                _ => {}
            }
        }
    }

    fn retransmit(&mut self, seq: SeqNo) {
        let Some(sending) = &mut self.sending else { return };
        let index = seq.extend(sending.next_index);
        let Some((timestamp, payload)) = sending.sent.get(&index) else { return };
        let rtx_ssrc = Ssrc(sending.ssrc.0 + 1);
        let rtx_index = sending.next_rtx;
        sending.next_rtx += 1;
        let fields = HeaderFields {
            marker: true,
            padding: false,
            pt: RTX_PT,
            seq: SeqNo(rtx_index as u16),
            timestamp: *timestamp,
            ssrc: rtx_ssrc,
        };
        let mut slot = vec![0; 1500];
        let header = write_header(&mut slot, &fields, &[(1, b"0")]).expect("fits");
        let len = self.seal.seal_rtx(&mut slot, header, rtx_ssrc, rtx_index, seq, payload).expect("fits");
        slot.truncate(len);
        self.out.push(slot);
    }
}
