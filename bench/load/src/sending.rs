//! A stream as its publisher sends it: frames, numbers, and what it remembers for retransmission.

use crate::channel::Up;
use crate::scenario::{Kind, Stream};
use crate::source::{DESCRIPTOR_BYTES, Dice, Piece};
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::time::Time;
use relay_core::wire::rtp::HeaderFields;
use ringvox_client::mark::{Filling, Mark};
use ringvox_client::outgoing::Outgoing;
use ringvox_client::{Keys, SLOT_BYTES};

const PAST_MAX: usize = 1024;
/// Id of the transport-wide sequence number on the publishers' m-lines.
pub(crate) const TRANSPORT_SEQ_ID: u8 = 3;
/// Room for its first number below a wrap: decryption has to cope with roll-over in every long run.
const FIRST_INDEX: u64 = 60_000;

/// Octets in front of a video mark: descriptor, and the first octet of the VP8 payload header.
const VIDEO_HEAD_BYTES: usize = DESCRIPTOR_BYTES + 1;

#[derive(Clone, Copy)]
struct Past {
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

pub(crate) struct Sending {
    pub(crate) stream: Stream,
    /// As the server wants it written.
    pub(crate) up: Up,
    dice: Dice,
    numbers: Outgoing<Past>,
    pub(crate) timestamp: u32,
    picture: u16,
    pub(crate) keyframe_wanted: bool,
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
            numbers: Outgoing::new(FIRST_INDEX, PAST_MAX),
            timestamp: 0x1234_5678,
            picture: 0,
            keyframe_wanted: true,
            packets: 0,
            octets: 0,
        }
    }

    pub(crate) fn frame(&mut self, now: Time, out: &mut Packets<'_>) {
        let keyframe = std::mem::take(&mut self.keyframe_wanted);
        for piece in self.stream.shape.frame(keyframe, &mut self.dice) {
            let number = self.numbers.next() - FIRST_INDEX;
            let mark =
                Mark { room: self.stream.room, stream: self.stream.id, number, sent_ns: now.as_nanos() };
            let past = Past { timestamp: self.timestamp, picture: self.picture, keyframe, piece, mark };
            let index = self.numbers.push(past);
            self.packets += 1;
            self.octets += piece.len as u64;
            let fields = self.fields(&past, Ssrc(self.stream.ssrc()), index);
            self.write(&past, out, |keys, slot, extensions, payload| {
                keys.rtp(slot, &fields, extensions, index, payload)
            });
        }
        self.timestamp = self.timestamp.wrapping_add(self.stream.shape.ticks(self.stream.kind));
        self.picture = self.picture.wrapping_add(1);
    }

    /// Writes a retransmission (RFC 4588); nothing if it is forgotten or the kind has none.
    pub(crate) fn retransmit(&mut self, seq: SeqNo, out: &mut Packets<'_>) {
        let Some(pt) = self.up.rtx_payload_type else { return };
        let Some((index, past)) = self.numbers.recall(seq).map(|(index, past)| (index, *past)) else {
            return;
        };
        let fields = self.fields(&past, Ssrc(self.stream.rtx_ssrc()), index);
        let fields = HeaderFields { pt: Pt(pt), ..fields };
        self.write(&past, out, |keys, slot, extensions, payload| {
            keys.rtx(slot, &fields, extensions, (index, seq), payload)
        });
    }

    /// A packet as Chromium's, with transport-wide congestion control if the server has it.
    fn write(
        &self,
        past: &Past,
        out: &mut Packets<'_>,
        seal: impl FnOnce(&Keys, &mut [u8], &[(u8, &[u8])], &[u8]) -> Option<usize>,
    ) {
        let number = out.seq.to_be_bytes();
        *out.seq = out.seq.wrapping_add(1);
        let extension = self.up.transport_seq_id.map(|id| (id, &number[..]));
        let mut payload = [0; SLOT_BYTES];
        let payload = self.payload(past, out.filling, &mut payload);
        out.batch.push(|slot| seal(out.keys, slot, extension.as_slice(), payload));
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
}

/// Where packets go, what they are sealed and filled with, and how they are numbered on the transport.
pub(crate) struct Packets<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) batch: &'a mut Batch,
    pub(crate) filling: &'a Filling,
    pub(crate) seq: &'a mut u16,
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
