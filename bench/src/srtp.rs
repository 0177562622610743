//! SRTP: protect, unprotect, refuse what came before.

use crate::rtp::{SSRC, write_bare};
use relay_core::id::SeqNo;
use relay_core::srtp::{OpenContext, OpenError, ReplayWindow, SealContext, SealFour, SrtpProfile};
use relay_core::wire::rtp::RtpHeader;

/// As much as a datagram holds.
const SLOT: usize = 1_500;

pub fn master(profile: SrtpProfile) -> (Vec<u8>, Vec<u8>) {
    (vec![1; profile.key_len()], vec![2; profile.salt_len()])
}

pub struct Sealing {
    context: SealContext,
    slot: Vec<u8>,
    payload: Vec<u8>,
    index: u64,
}

impl Sealing {
    pub fn new(profile: SrtpProfile, len: usize) -> Self {
        let (key, salt) = master(profile);
        Self {
            context: SealContext::new(profile, &key, &salt),
            slot: vec![0; SLOT],
            payload: vec![0x5a; len],
            index: 0,
        }
    }

    pub fn seal(&mut self) -> Option<usize> {
        self.index += 1;
        let len = write_bare(&mut self.slot, SeqNo(self.index as u16), 90_000)?;
        self.context.seal_rtp(&mut self.slot, len, SSRC, self.index, &self.payload)
    }

    pub fn packet(&self, len: usize) -> &[u8] {
        &self.slot[..len]
    }
}

pub struct SealingFour {
    contexts: [SealContext; 4],
    slots: [Vec<u8>; 4],
    payload: Vec<u8>,
    index: u64,
}

impl SealingFour {
    /// With a payload of `len` octets; `None` where the processor cannot.
    pub fn new(len: usize) -> Option<Self> {
        let profile = SrtpProfile::AeadAes128Gcm;
        let (key, salt) = master(profile);
        relay_gcm::is_supported().then(|| Self {
            contexts: std::array::from_fn(|_| SealContext::new(profile, &key, &salt).with_lane(&key, &salt)),
            slots: std::array::from_fn(|_| vec![0; SLOT]),
            payload: vec![0x5a; len],
            index: 0,
        })
    }

    /// Lays the keys side by side, writes four headers and seals, as for a packet that comes alone.
    pub fn seal(&mut self) -> Option<usize> {
        let [a, b, c, d] = &self.contexts;
        let four = SealFour::new([a, b, c, d])?;
        self.index += 1;
        let mut len = 0;
        for slot in &mut self.slots {
            len = write_bare(slot, SeqNo(self.index as u16), 90_000)?;
        }
        let slots = self.slots.each_mut().map(Vec::as_mut_slice);
        four.seal_rtp(slots, len, [(SSRC, self.index); 4], &self.payload)
    }
}

pub struct Opening {
    context: OpenContext,
    out: Vec<u8>,
}

impl Opening {
    pub fn new(profile: SrtpProfile) -> Self {
        let (key, salt) = master(profile);
        Self { context: OpenContext::new(profile, &key, &salt), out: vec![0; SLOT] }
    }

    /// Unprotects a packet; its payload's length.
    pub fn open(&mut self, packet: &[u8]) -> Result<usize, OpenError> {
        let header = RtpHeader::parse(packet).map_err(|_| OpenError::Truncated)?;
        Ok(self.context.open_rtp(&header, packet, &mut self.out)?.len)
    }
}

/// `count` protected packets with payloads of `len` octets, numbered from `first`.
pub fn packets(profile: SrtpProfile, len: usize, first: u64, count: u64) -> Vec<Vec<u8>> {
    let mut sealing = Sealing { index: first, ..Sealing::new(profile, len) };
    (0..count).filter_map(|_| sealing.seal().map(|len| sealing.packet(len).to_vec())).collect()
}

/// A packet, and a receiver that has had it.
pub fn replayed(profile: SrtpProfile) -> (Opening, Vec<u8>) {
    let packet = packets(profile, 1_188, 0, 1).remove(0);
    let mut opening = Opening::new(profile);
    opening.open(&packet).expect("the first time");
    (opening, packet)
}

/// A replay window alone, and the next index.
pub struct Replaying {
    window: ReplayWindow,
    next: u64,
}

impl Default for Replaying {
    fn default() -> Self {
        Self { window: ReplayWindow::starting_with(1), next: 2 }
    }
}

impl Replaying {
    /// Judges and notes the packet that comes `lost` behind the last one.
    pub fn after_a_gap(&mut self, lost: u64) -> bool {
        let index = self.next + lost;
        self.next = index + 1;
        self.judge(index)
    }

    /// Judges and notes two packets that overtook one another.
    pub fn swapped(&mut self) -> bool {
        let index = self.next;
        self.next += 2;
        self.judge(index + 1) && self.judge(index)
    }

    /// Refuses the last packet once more.
    pub fn repeated(&self) -> bool {
        !self.window.is_fresh(self.next - 1)
    }

    fn judge(&mut self, index: u64) -> bool {
        let fresh = self.window.is_fresh(index);
        if fresh {
            self.window.accept(index);
        }
        fresh
    }
}
