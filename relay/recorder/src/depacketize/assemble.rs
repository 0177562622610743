//! Frames from packets that are in order.

use super::counts::Counts;
use super::frame::{FRAME_BYTES_MAX, Frame};
use super::parameter_sets::ParameterSets;
use super::{audio, h264, vp8};
use relay_port::{Codec, Packet};
use std::collections::VecDeque;

/// See the module.
#[derive(Debug)]
pub(super) struct Assembler {
    codec: Codec,
    open: Option<Open>,
    /// Whether the packet before ended a frame.
    at_begin: bool,
    /// Packets were missing before one that brought nothing.
    gap: bool,
    awaits_keyframe: bool,
    /// Of the frame before.
    picture_id: Option<vp8::PictureId>,
    sets: ParameterSets,
    ready: VecDeque<Frame>,
}

/// A frame of video that is not whole yet.
#[derive(Debug)]
struct Open {
    /// Its first packet.
    first: Packet,
    packets: u64,
    bytes: Vec<u8>,
    /// A packet is missing or bad.
    damaged: bool,
    /// No other frame refers to it, by all that was seen of it.
    disposable: bool,
    units: h264::Units,
}

impl Assembler {
    pub(super) fn new(codec: Codec) -> Self {
        Self {
            codec,
            open: None,
            at_begin: false,
            gap: false,
            awaits_keyframe: is_video(codec),
            picture_id: None,
            sets: ParameterSets::default(),
            ready: VecDeque::new(),
        }
    }

    pub(super) fn poll_frame(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }

    pub(super) const fn awaits_keyframe(&self) -> bool {
        self.awaits_keyframe
    }

    /// Packets of the frame that is not whole yet.
    pub(super) fn pending(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.packets)
    }

    /// Takes a packet; `lost`: some are missing between it and the one before.
    pub(super) fn handle_packet(&mut self, packet: &Packet, payload: &[u8], lost: bool, counts: &mut Counts) {
        if payload.is_empty() {
            self.gap |= lost;
            counts.packets_empty += 1;
        } else if is_video(self.codec) {
            let lost = std::mem::take(&mut self.gap) || lost;
            self.handle_video(packet, payload, lost, counts);
        } else {
            self.handle_audio(packet, payload, counts);
        }
    }

    /// What follows has nothing to do with what was before.
    pub(super) fn end_source(&mut self, counts: &mut Counts) {
        if let Some(open) = self.open.as_mut() {
            open.damaged = true;
        }
        self.close(counts);
        (self.at_begin, self.gap, self.picture_id) = (false, false, None);
        self.awaits_keyframe = is_video(self.codec);
    }

    fn handle_audio(&mut self, packet: &Packet, payload: &[u8], counts: &mut Counts) {
        let Some(ticks) = audio::ticks(self.codec, payload) else {
            counts.packets_damaged += 1;
            counts.frames_damaged += 1;
            return;
        };
        counts.packets_framed += 1;
        self.deliver(frame_of(packet, ticks, payload.to_vec()), counts);
    }

    fn deliver(&mut self, frame: Frame, counts: &mut Counts) {
        counts.frames += 1;
        self.ready.push_back(frame);
    }

    fn handle_video(&mut self, packet: &Packet, payload: &[u8], lost: bool, counts: &mut Counts) {
        if let Some(open) = self.open.as_mut()
            && open.first.timestamp != packet.timestamp
        {
            // Its last packet had no marker, or is missing.
            open.damaged |= lost;
            self.close(counts);
        }
        match self.open.as_mut() {
            Some(open) => open.damaged |= lost,
            None => self.open = Some(Open::new(packet)),
        }
        match self.codec {
            Codec::Vp8 => self.append_vp8(payload, lost),
            _ => self.append_h264(payload, lost),
        }
        let Some(open) = self.open.as_mut() else { return };
        open.packets += 1;
        if open.bytes.len() > FRAME_BYTES_MAX {
            (open.damaged, open.bytes, open.units) = (true, Vec::new(), h264::Units::default());
        }
        // Parameter sets with a marker of their own belong to the frame behind them.
        let units = &open.units;
        let has_picture = self.codec == Codec::Vp8 || units.slices || units.is_cut() || open.damaged;
        if packet.marker && has_picture {
            self.close(counts);
        }
    }

    fn append_vp8(&mut self, payload: &[u8], lost: bool) {
        let Some(open) = self.open.as_mut() else { return };
        let parsed = vp8::parse(payload);
        let is_first = open.packets == 0;
        if is_first {
            let picture_id = parsed.and_then(|parsed| parsed.picture_id);
            let follows = (picture_id.zip(self.picture_id)).is_some_and(|(own, before)| own.follows(before));
            // Frames before this one may be missing, and it may refer to them.
            self.awaits_keyframe |= lost && !follows;
            self.picture_id = picture_id;
        }
        let Some(parsed) = parsed else {
            (open.damaged, open.disposable) = (true, false);
            return;
        };
        // RFC 7741 §4.2: S and PID 0 are with the first packet of each frame, and with it alone.
        open.damaged |= parsed.begins != is_first;
        open.disposable &= parsed.disposable;
        if !open.damaged {
            open.bytes.extend_from_slice(parsed.part);
        }
    }

    fn append_h264(&mut self, payload: &[u8], lost: bool) {
        let Some(open) = self.open.as_mut() else { return };
        if open.packets == 0 {
            self.awaits_keyframe |= lost;
            open.damaged |= !h264::begins(payload) && (lost || !self.at_begin);
        }
        // Parameter sets are taken from damaged frames too.
        let is_bad = open.units.append(payload, &mut self.sets, &mut open.bytes).is_err();
        open.damaged |= is_bad;
        open.disposable &= !is_bad && !open.units.referred;
    }

    fn close(&mut self, counts: &mut Counts) {
        let Some(mut open) = self.open.take() else { return };
        self.at_begin = true;
        if open.units.is_cut() {
            (open.damaged, open.disposable) = (true, false);
        }
        if open.damaged {
            self.awaits_keyframe |= !open.disposable;
            counts.frames_damaged += 1;
            counts.packets_damaged += open.packets;
            return;
        }
        if open.bytes.is_empty() || (self.codec == Codec::H264 && !open.units.slices) {
            counts.packets_empty += open.packets;
            return;
        }
        let keyframe = if self.codec == Codec::Vp8 { vp8::is_keyframe(&open.bytes) } else { open.units.idr };
        let params = keyframe.then(|| match self.codec {
            Codec::Vp8 => vp8::params(&open.bytes),
            _ => self.sets.params(),
        });
        match params {
            // A keyframe that says nothing of its picture.
            Some(None) => {
                self.awaits_keyframe = true;
                counts.frames_damaged += 1;
                counts.packets_damaged += open.packets;
                return;
            }
            Some(Some(_)) => self.awaits_keyframe = false,
            None if self.awaits_keyframe => {
                counts.frames_awaiting_keyframe += 1;
                counts.packets_awaiting_keyframe += open.packets;
                return;
            }
            None => {}
        }
        counts.packets_framed += open.packets;
        let bytes = open.units.finish(open.bytes);
        let frame = Frame { keyframe, params: params.flatten(), ..frame_of(&open.first, 0, bytes) };
        self.deliver(frame, counts);
    }
}

impl Open {
    fn new(first: &Packet) -> Self {
        Self {
            first: *first,
            packets: 0,
            bytes: Vec::new(),
            damaged: false,
            disposable: true,
            units: h264::Units::default(),
        }
    }
}

const fn is_video(codec: Codec) -> bool {
    matches!(codec, Codec::Vp8 | Codec::H264)
}

fn frame_of(first: &Packet, ticks: u32, bytes: Vec<u8>) -> Frame {
    Frame {
        source: first.source,
        timestamp: first.timestamp,
        arrival: first.arrival,
        ticks,
        keyframe: ticks > 0,
        params: None,
        bytes,
    }
}
