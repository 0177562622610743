//! A stream as its publisher sends it: frames, numbers, and what it remembers for retransmission.

use crate::dice::Dice;
use crate::door::Up;
use crate::mark::{Filling, Mark};
use crate::scenario::{Kind, Stream};
use crate::source::{self, DESCRIPTOR_BYTES, Piece};
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::srtp::SealContext;
use relay_core::time::Time;
use relay_core::wire::rtp::{HeaderFields, write_header};
use std::collections::VecDeque;

/// Packets kept for retransmission.
const PAST_MAX: usize = 1024;
/// Room for a packet with header and tag.
const SLOT_BYTES: usize = 1600;
/// Id of the transport-wide sequence number on the publishers' m-lines.
pub(crate) const TRANSPORT_SEQ_ID: u8 = 3;
/// Room for its first number below a wrap: decryption has to cope with roll-over in every long run.
const FIRST_INDEX: u64 = 60_000;

/// Octets in front of a video mark: descriptor, and the first octet of the VP8 payload header.
const VIDEO_HEAD_BYTES: usize = DESCRIPTOR_BYTES + 1;

/// One packet as it was sent.
#[derive(Clone, Copy)]
struct Past {
    index: u64,
    timestamp: u32,
    picture: u16,
    keyframe: bool,
    piece: Piece,
    mark: Mark,
}

/// What is to be sent in one go, back to back.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) lens: Vec<usize>,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.lens.clear();
    }

    /// Lets `write` make a datagram at the end.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        let start = self.bytes.len();
        self.bytes.resize(start + SLOT_BYTES, 0);
        let len = write(&mut self.bytes[start..]).expect("every packet fits into its slot");
        self.bytes.truncate(start + len);
        self.lens.push(len);
    }
}

/// See the module.
pub(crate) struct Sending {
    pub(crate) stream: Stream,
    /// As the server wants it written.
    pub(crate) up: Up,
    dice: Dice,
    next_index: u64,
    next_rtx_index: u64,
    next_number: u64,
    timestamp: u32,
    picture: u16,
    pub(crate) keyframe_wanted: bool,
    past: VecDeque<Past>,
    /// Packets and octets for sender reports.
    pub(crate) packets: u64,
    pub(crate) octets: u64,
}

impl Sending {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            up: Up::offered(stream.kind),
            dice: Dice::new(u64::from(stream.id)),
            next_index: FIRST_INDEX,
            next_rtx_index: 1,
            next_number: 0,
            timestamp: 0x1234_5678,
            picture: 0,
            keyframe_wanted: true,
            past: VecDeque::with_capacity(PAST_MAX),
            packets: 0,
            octets: 0,
        }
    }

    pub(crate) const fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Writes the next frame.
    pub(crate) fn frame(
        &mut self,
        now: Time,
        seal: &SealContext,
        filling: &Filling,
        outgoing: &mut Outgoing<'_>,
    ) {
        let keyframe = std::mem::take(&mut self.keyframe_wanted);
        for piece in source::frame(&self.stream.shape, keyframe, &mut self.dice) {
            let past = self.next(now, piece, keyframe);
            let transport_seq = outgoing.next_seq();
            outgoing.batch.push(|slot| self.write(&past, seal, filling, slot, transport_seq));
            if self.past.len() == PAST_MAX {
                self.past.pop_front();
            }
            self.past.push_back(past);
        }
        self.timestamp = self.timestamp.wrapping_add(source::ticks(self.stream.kind, &self.stream.shape));
        self.picture = self.picture.wrapping_add(1);
    }

    fn next(&mut self, now: Time, piece: Piece, keyframe: bool) -> Past {
        let (room, stream, number) = (self.stream.room, self.stream.id, self.next_number);
        let mark = Mark { room, stream, number, sent_ns: now.as_nanos() };
        let (timestamp, picture) = (self.timestamp, self.picture);
        let past = Past { index: self.next_index, timestamp, picture, keyframe, piece, mark };
        self.next_index += 1;
        self.next_number += 1;
        self.packets += 1;
        self.octets += piece.len as u64;
        past
    }

    fn write(
        &self,
        past: &Past,
        seal: &SealContext,
        filling: &Filling,
        slot: &mut [u8],
        transport_seq: u16,
    ) -> Option<usize> {
        let ssrc = Ssrc(self.stream.ssrc());
        let header = self.write_head(slot, &self.fields(past, ssrc, past.index), transport_seq)?;
        let mut payload = [0; SLOT_BYTES];
        let payload = self.payload(past, filling, &mut payload);
        seal.seal_rtp(slot, header, ssrc, past.index, payload)
    }

    fn fields(&self, past: &Past, ssrc: Ssrc, index: u64) -> HeaderFields {
        let kind = self.stream.kind;
        HeaderFields {
            padding: false,
            // RFC 7741 §4.1: the last packet of a frame; RFC 7587 §4.1: never for Opus without DTX.
            marker: kind == Kind::Video && past.piece.last,
            pt: Pt(self.up.payload_type),
            seq: SeqNo(index as u16),
            timestamp: past.timestamp,
            ssrc,
        }
    }

    fn payload<'a>(&self, past: &Past, filling: &Filling, out: &'a mut [u8]) -> &'a [u8] {
        let out = &mut out[..past.piece.len];
        let head = match self.stream.kind {
            Kind::Audio => 0,
            Kind::Video => {
                let [high, low] = past.picture.to_be_bytes();
                let start = u8::from(past.piece.first) << 4;
                // RFC 7741 §4.2: X and S; I; M and PictureID. §4.3: the P bit is clear in a keyframe.
                let head = [0x80 | start, 0x80, 0x80 | high, low, u8::from(!past.keyframe)];
                out[..VIDEO_HEAD_BYTES].copy_from_slice(&head);
                VIDEO_HEAD_BYTES
            }
        };
        filling.write(&past.mark, &mut out[head..]);
        out
    }

    /// Writes a retransmission (RFC 4588); nothing if it is forgotten or the kind has none.
    pub(crate) fn retransmit(
        &mut self,
        seq: SeqNo,
        seal: &SealContext,
        filling: &Filling,
        outgoing: &mut Outgoing<'_>,
    ) {
        let Some(pt) = self.up.rtx_payload_type else { return };
        let index = seq.extend(self.next_index);
        let Some(first) = self.past.front().map(|past| past.index) else { return };
        let Some(past) = index.checked_sub(first).and_then(|at| self.past.get(at as usize)).copied() else {
            return;
        };
        let (ssrc, rtx_index) = (Ssrc(self.stream.rtx_ssrc()), self.next_rtx_index);
        self.next_rtx_index += 1;
        let fields = HeaderFields { pt: Pt(pt), ..self.fields(&past, ssrc, rtx_index) };
        let mut payload = [0; SLOT_BYTES];
        let payload = self.payload(&past, filling, &mut payload);
        let transport_seq = outgoing.next_seq();
        outgoing.batch.push(|slot| {
            let header = self.write_head(slot, &fields, transport_seq)?;
            seal.seal_rtx(slot, header, ssrc, rtx_index, seq, payload)
        });
    }

    /// A header as Chromium's, with transport-wide congestion control if the server has it.
    fn write_head(&self, slot: &mut [u8], fields: &HeaderFields, transport_seq: u16) -> Option<usize> {
        match self.up.transport_seq_id {
            Some(id) => write_header(slot, fields, &[(id, &transport_seq.to_be_bytes())]),
            None => write_header(slot, fields, &[]),
        }
    }
}

/// Where packets go and how they are numbered on the transport.
pub(crate) struct Outgoing<'a> {
    pub(crate) batch: &'a mut Batch,
    pub(crate) transport_seq: &'a mut u16,
}

impl Outgoing<'_> {
    const fn next_seq(&mut self) -> u16 {
        let seq = *self.transport_seq;
        *self.transport_seq = seq.wrapping_add(1);
        seq
    }
}

/// The mark in a payload that came through a server; `None` if the payload is not as it was sent.
pub(crate) fn read_mark(kind: Kind, payload: &[u8], filling: &Filling) -> Option<Mark> {
    let head = match kind {
        Kind::Audio => 0,
        // A server may rewrite the descriptor, and with it its length.
        Kind::Video => relay_core::wire::codec::vp8::parse(payload)?.len + 1,
    };
    filling.read(payload.get(head..)?)
}
