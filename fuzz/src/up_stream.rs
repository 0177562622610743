use crate::actions::Actions;
use relay_core::id::{SeqNo, Ssrc};
use relay_core::media::MediaKind;
use relay_core::stats::DropReason;
use relay_core::time::Time;
use relay_core::up::Asker;
use relay_core::up::{
    Accepted, Arrival, ClockReference, NACK_LIST_MAX, PacketMeta, SenderClock, UpStream, UpStreamConfig,
};
use std::collections::HashSet;
use std::time::Duration;

/// Payloads are shorter than this.
const DATAGRAM_BYTES: u16 = 1_500;

/// A publisher's numbers, timestamps, SSRCs, retransmissions and reports, or another shard's packets, of any
/// kind and in any order: a number is forwarded once, what is accepted is in the history, and numbers go on
/// above all before.
pub fn up_stream(data: &[u8]) {
    let mut actions = Actions(data);
    let Some(first) = actions.u8() else { return };
    let mut told = Simulation::new(first);
    let piped = first & 4 != 0;
    while let Some(action) = actions.u8() {
        let done = if piped { told.piped(action, &mut actions) } else { told.peer(action, &mut actions) };
        told.check();
        if done.is_none() {
            break;
        }
    }
}

/// The stream, and what the checks know of it.
struct Simulation {
    up: UpStream,
    clock: SenderClock,
    now: Time,
    /// What the publisher would send next.
    next: u16,
    timestamp: u32,
    forwarded: HashSet<u64>,
    highest: Option<u64>,
    octets: u64,
}

impl Simulation {
    fn new(first: u8) -> Self {
        let kind = if first & 1 == 0 { MediaKind::Audio } else { MediaKind::Video };
        let config = UpStreamConfig {
            ssrc: Ssrc(1),
            kind,
            clock_rate_hz: if first & 8 == 0 { 90_000 } else { u32::MAX },
            nack: first & 2 != 0,
        };
        let mut up = UpStream::new(&config);
        up.prepare();
        Self {
            up,
            clock: SenderClock::new(),
            now: Time::from_nanos(1_000_000_000),
            next: 0,
            timestamp: 0,
            forwarded: HashSet::new(),
            highest: None,
            octets: 0,
        }
    }

    fn peer(&mut self, action: u8, actions: &mut Actions<'_>) -> Option<()> {
        match action % 16 {
            0 | 1 => self.run(self.next, u16::from(actions.u8()?)),
            2 => self.rtp(actions.u16()?, 20),
            3 => self.rtp(self.next.wrapping_add_signed(actions.u8()?.cast_signed().into()), 20),
            // So many of the last again, and some more: what a numbering that steps back looks like.
            4 => self.run(self.next.wrapping_sub(u16::from(action >> 4) + 1), u16::from(actions.u8()?)),
            5 => self.run(actions.u16()?, u16::from(actions.u8()?)),
            6 => self.rtp(self.next, usize::from(actions.u16()? % DATAGRAM_BYTES)),
            7 => self.rtx(&self.next.wrapping_sub(u16::from(actions.u8()?)).to_be_bytes()),
            8 => self.rtx(actions.octets(usize::from(action >> 4))),
            9 => self.change_ssrc(actions.u32()?),
            10 => self.timestamp = actions.u32()?,
            11 => self.wait(actions.u16()?),
            12 => self.up.on_sender_report(self.now, actions.u64()?, actions.u32()?, &mut self.clock),
            13 => self.report(),
            14 => drop(self.up.keyframes.request(self.now, Asker::Newcomer)),
            // What is reserved and not committed was never there.
            _ => self.up.reserve(usize::from(actions.u16()? % DATAGRAM_BYTES)).fill(0xee),
        }
        Some(())
    }

    fn piped(&mut self, action: u8, actions: &mut Actions<'_>) -> Option<()> {
        let seq = match action % 8 {
            0..3 => self.highest.unwrap_or(0).wrapping_add(u64::from(actions.u8()?)),
            3 => self.highest.unwrap_or(0).wrapping_sub(u64::from(actions.u16()?)),
            4 => actions.u64()?,
            5 => {
                let reference =
                    ClockReference { time: Time::from_nanos(actions.u64()?), timestamp: actions.u32()? };
                self.up.set_port_clock(reference);
                let _ = self.up.port_clock_reference();
                return Some(());
            }
            6 => {
                self.up.forget_port_clock();
                return Some(());
            }
            _ => {
                self.wait(actions.u16()?);
                return Some(());
            }
        };
        let payload = vec![seq as u8; usize::from(action >> 3) * 47];
        if let Some(accepted) = self.up.on_port_packet(self.now, seq, &payload, self.meta()) {
            assert_eq!((accepted.seq, accepted.resync), (seq, false));
            self.accepted(accepted, &payload);
        }
        Some(())
    }

    fn meta(&self) -> PacketMeta {
        let keyframe = self.timestamp.is_multiple_of(7);
        PacketMeta { timestamp: self.timestamp, keyframe, arrival: self.now, ..PacketMeta::default() }
    }

    fn run(&mut self, first: u16, count: u16) {
        for offset in 0..count {
            self.rtp(first.wrapping_add(offset), 20);
        }
    }

    fn rtp(&mut self, seq: u16, len: usize) {
        self.timestamp = self.timestamp.wrapping_add(900);
        let payload = vec![seq as u8; len];
        let room = self.up.reserve(len);
        if room.len() != len {
            return;
        }
        room.copy_from_slice(&payload);
        match self.up.on_rtp(self.now, SeqNo(seq), len, self.meta()) {
            Ok(accepted) => {
                assert_eq!(accepted.seq as u16, seq);
                self.next = seq.wrapping_add(1);
                self.accepted(accepted, &payload);
            }
            Err(reason) => assert!(matches!(
                reason,
                DropReason::RtpDuplicate | DropReason::RtpJump | DropReason::RtpTooOld
            )),
        }
    }

    fn rtx(&mut self, payload: &[u8]) {
        self.up.reserve(payload.len()).copy_from_slice(payload);
        match self.up.on_rtx(self.now, payload.len(), self.meta()) {
            Ok(accepted) => {
                assert_eq!((accepted.arrival, accepted.resync), (Arrival::Rtx, false));
                self.accepted(accepted, &payload[2..]);
            }
            Err(reason) => assert_eq!(reason, DropReason::RtxUseless),
        }
    }

    fn accepted(&mut self, accepted: Accepted, payload: &[u8]) {
        assert!(self.forwarded.insert(accepted.seq), "{accepted:?} is forwarded twice");
        let is_ahead = self.highest < Some(accepted.seq);
        assert_eq!(is_ahead, accepted.arrival == Arrival::Ahead, "{accepted:?} after {:?}", self.highest);
        assert!(is_ahead || !accepted.resync, "{accepted:?} goes back");
        let stored = self.up.packet(accepted.seq).expect("what is accepted is in the history");
        assert_eq!((stored.payload, stored.meta), (payload, self.meta()));
        self.highest = self.highest.max(Some(accepted.seq));
        self.octets += payload.len() as u64;
    }

    fn change_ssrc(&mut self, ssrc: u32) {
        self.up.change_ssrc(Ssrc(ssrc));
        self.next = ssrc as u16;
    }

    fn wait(&mut self, millis: u16) {
        self.now += Duration::from_millis(millis.into());
        let asked = self.up.nack.poll(self.now, Duration::from_millis(60));
        assert!(asked.len() <= NACK_LIST_MAX);
        let span = asked.first().zip(asked.last()).map_or(0, |(first, last)| last.distance(*first));
        assert!(span >= 0 && asked.windows(2).all(|pair| pair[1].distance(pair[0]) > 0), "{asked:?}");
        let _ = self.up.poll_keyframe(self.now);
        assert!(self.up.poll_timeout().is_none_or(|due| due > self.now), "nothing is due twice");
    }

    fn report(&mut self) {
        let _ = self.up.clock_reference(&self.clock);
        let Some(block) = self.up.stats.report_block(self.now) else { return };
        assert!((-0x80_0000..=0x7f_ffff).contains(&block.cumulative_lost));
        let (expected, lost) = self.up.stats.last_interval();
        assert!(lost <= expected);
    }

    fn check(&self) {
        assert_eq!(self.up.history.highest(), self.highest);
        assert_eq!((self.up.packets(), self.up.octets()), (self.forwarded.len() as u64, self.octets));
        assert!(self.up.nack.awaited() <= NACK_LIST_MAX);
    }
}
