//! A client that may send anything: it has keys, and what it sends of media says where it is from.

use relay_control::TransportOpened;
use relay_core::dtls::Fingerprint;
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::srtp::{SealContext, SrtpProfile};
use relay_core::wire::rtp::{FIXED_HEADER_BYTES, HeaderFields, write_header};
use relay_core::wire::stun::{IntegrityKey, write_binding_request};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use tests::dtls;

/// First octets of a media payload: VP8 (RFC 7741 §4.2), keyframe or not, room and client.
pub(super) const MARK_BYTES: usize = 4;
/// Longest datagram it sends.
const DATAGRAM_BYTES_MAX: usize = 1500;

/// How a media packet differs from a plain one.
#[derive(Clone, Copy, Default)]
pub(super) struct Packet<'a> {
    pub(super) pt: u8,
    pub(super) ssrc: u32,
    pub(super) index: u64,
    pub(super) timestamp: u32,
    /// RTX: the number of the original stands in front.
    pub(super) osn: Option<u16>,
    /// The extension block: what is "defined by profile", and whole words of elements.
    pub(super) extension: Option<(u16, &'a [u8])>,
    /// The P bit; the last octet of the payload counts.
    pub(super) padding: bool,
    pub(super) keyframe: bool,
    /// Octets of payload.
    pub(super) len: usize,
    /// What the payload is filled with.
    pub(super) fill: u8,
}

pub(super) struct Client {
    pub(super) number: u8,
    pub(super) room: u64,
    /// It has a transport, as far as it knows.
    pub(super) is_in: bool,
    /// New each time it comes in, and with it the keys.
    pub(super) fingerprint: Fingerprint,
    pub(super) profile: SrtpProfile,
    credentials: Option<(Vec<u8>, IntegrityKey)>,
    pub(super) address: SocketAddr,
    seal: SealContext,
    /// By SSRC, the index that follows the last.
    pub(super) next: HashMap<u32, u64>,
    /// Announced to it: media SSRCs with their RTX SSRCs.
    pub(super) receives: Vec<(u32, u32)>,
    /// RTX SSRCs of all times.
    pub(super) rtx: HashSet<u32>,
    transaction: u32,
}

impl Client {
    /// A client whose transport is not open yet.
    pub(super) fn new(number: u8, room: u64, profile: SrtpProfile) -> Self {
        let fingerprint = [number; 32];
        let keys = dtls::keys(&fingerprint, profile);
        Self {
            number,
            room,
            is_in: false,
            fingerprint,
            profile,
            credentials: None,
            address: Self::address(number, 0),
            seal: SealContext::new(profile, &keys.remote_key, &keys.remote_salt),
            next: HashMap::new(),
            receives: Vec::new(),
            rtx: HashSet::new(),
            transaction: 0,
        }
    }

    /// One of the addresses a client may use.
    pub(super) fn address(number: u8, nth: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, number, nth], 4_000))
    }

    pub(super) fn transport_id(number: u8) -> u64 {
        100 + u64::from(number)
    }

    /// As it is about to come in, for the `times`-th time.
    pub(super) fn renew(&mut self, times: u32) {
        self.fingerprint[1..5].copy_from_slice(&times.to_be_bytes());
        let keys = dtls::keys(&self.fingerprint, self.profile);
        self.seal = SealContext::new(self.profile, &keys.remote_key, &keys.remote_salt);
        self.next.clear();
        self.receives.clear();
    }

    /// Its transport was opened, or its ICE restarted.
    pub(super) fn learn(&mut self, opened: &TransportOpened, own_ufrag: &str) {
        let username = format!("{}:{own_ufrag}", opened.local_ufrag).into_bytes();
        self.credentials = Some((username, IntegrityKey::new(opened.local_pwd.as_bytes())));
    }

    /// A connectivity check; `None` before its transport is open.
    pub(super) fn check(&mut self, nominates: bool) -> Option<Vec<u8>> {
        let (username, key) = self.credentials.as_ref()?;
        self.transaction += 1;
        let mut id = [self.number; 12];
        id[..4].copy_from_slice(&self.transaction.to_be_bytes());
        let mut out = vec![0; 300];
        let len = write_binding_request(&mut out, id, username, 1, 7, nominates, key).expect("fits");
        out.truncate(len);
        Some(out)
    }

    /// What follows the last index of an SSRC, `ahead` numbers further; negative ones lie behind.
    pub(super) fn index(&self, ssrc: u32, ahead: i32) -> u64 {
        let next = self.next.get(&ssrc).copied().unwrap_or(u64::from(ssrc as u16 % 1_000));
        next.saturating_add_signed(ahead.into()).min((1 << 48) - 1)
    }

    /// A protected media packet.
    pub(super) fn media(&mut self, packet: &Packet<'_>) -> Vec<u8> {
        let next = self.next.entry(packet.ssrc).or_default();
        *next = (*next).max(packet.index + 1);
        let fields = HeaderFields {
            marker: packet.timestamp % 2 == 1,
            padding: packet.padding,
            pt: Pt(packet.pt & 0x7f),
            seq: SeqNo(packet.index as u16),
            timestamp: packet.timestamp,
            ssrc: Ssrc(packet.ssrc),
        };
        let mut out = vec![0; DATAGRAM_BYTES_MAX];
        let mut header = write_header(&mut out, &fields, &[]).expect("fits");
        if let Some((profile, block)) = packet.extension {
            let words = block.len() / 4;
            out[0] |= 0x10;
            out[FIXED_HEADER_BYTES..FIXED_HEADER_BYTES + 2].copy_from_slice(&profile.to_be_bytes());
            out[FIXED_HEADER_BYTES + 2..FIXED_HEADER_BYTES + 4]
                .copy_from_slice(&(words as u16).to_be_bytes());
            header += 4 + 4 * words;
            out[FIXED_HEADER_BYTES + 4..header].copy_from_slice(&block[..4 * words]);
        }
        let mut payload = packet.osn.map_or(Vec::new(), |osn| osn.to_be_bytes().to_vec());
        payload.extend([0x10, u8::from(!packet.keyframe), self.room as u8, self.number]);
        payload.resize(packet.len.min(DATAGRAM_BYTES_MAX - header - 16), packet.fill);
        let sealed = self.seal.seal_rtp(&mut out, header, Ssrc(packet.ssrc), packet.index, &payload);
        out.truncate(sealed.expect("fits"));
        out
    }

    /// A protected RTCP compound, or none if `write` wrote none.
    pub(super) fn rtcp(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Vec<u8>> {
        let mut out = vec![0; DATAGRAM_BYTES_MAX];
        let len = write(&mut out[..DATAGRAM_BYTES_MAX - 100])?;
        let sealed = self.seal.seal_rtcp(len, &mut out)?;
        out.truncate(sealed);
        Some(out)
    }
}
