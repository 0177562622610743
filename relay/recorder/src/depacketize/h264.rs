//! H.264 in RTP (RFC 6184), packetization modes 0 and 1: single NAL units, STAP-A, FU-A. Units come out
//! behind their length in four octets, as MP4 and Matroska have them.

use super::parameter_sets::{Kept, PPS, ParameterSets, SPS};

/// NAL unit types (ITU-T H.264 table 7-1, RFC 6184 table 1).
const SLICE: u8 = 1;
const PARTITIONS: std::ops::RangeInclusive<u8> = 2..=4;
const IDR: u8 = 5;
const DELIMITER: u8 = 9;
const END_OF_SEQUENCE: u8 = 10;
const FILLER: u8 = 12;
const SINGLE_MAX: u8 = 23;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Not a payload of modes 0 and 1, or cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bad;

/// The units of one frame.
#[derive(Clone, Debug, Default)]
pub(super) struct Units {
    /// Parameter sets that were new, behind their lengths.
    new_sets: Vec<u8>,
    pub idr: bool,
    pub slices: bool,
    /// Some unit is referred to (nal_ref_idc).
    pub referred: bool,
    /// Where the fragmented unit begins that is not whole yet.
    fragment: Option<usize>,
}

/// Whether a frame begins with this payload, as far as can be seen (ITU-T H.264 §7.4.1.2.3).
pub(super) fn begins(payload: &[u8]) -> bool {
    let first = match payload.first().map(|head| head & 0x1f) {
        Some(STAP_A) => payload.get(3).map(|head| head & 0x1f),
        Some(FU_A) => payload.get(1).filter(|fu| *fu & 0x80 != 0).map(|fu| fu & 0x1f),
        kind => kind,
    };
    matches!(first, Some(SPS | DELIMITER))
}

impl Units {
    /// Appends a payload to the frame.
    pub(super) fn append(
        &mut self,
        payload: &[u8],
        sets: &mut ParameterSets,
        out: &mut Vec<u8>,
    ) -> Result<(), Bad> {
        let (head, rest) = payload.split_first().ok_or(Bad)?;
        let kind = head & 0x1f;
        if kind != FU_A && self.fragment.is_some() {
            // Its end was never sent.
            return Err(Bad);
        }
        match kind {
            1..=SINGLE_MAX => self.unit(payload, sets, out),
            STAP_A => self.aggregated(rest, sets, out),
            FU_A => self.fragment(*head, rest, sets, out),
            _ => Err(Bad),
        }
    }

    /// Whether a fragmented unit is not whole yet.
    pub(super) const fn is_cut(&self) -> bool {
        self.fragment.is_some()
    }

    /// The frame is whole: a keyframe's sets are with its decoder configuration, others' stay with the frame.
    pub(super) fn finish(self, frame: Vec<u8>) -> Vec<u8> {
        if self.idr || self.new_sets.is_empty() { frame } else { [self.new_sets, frame].concat() }
    }

    fn unit(&mut self, unit: &[u8], sets: &mut ParameterSets, out: &mut Vec<u8>) -> Result<(), Bad> {
        if self.note(unit, sets)? {
            push(unit, out);
        }
        Ok(())
    }

    /// Whether the unit belongs into the frame.
    fn note(&mut self, unit: &[u8], sets: &mut ParameterSets) -> Result<bool, Bad> {
        let head = *unit.first().ok_or(Bad)?;
        match head & 0x1f {
            SPS | PPS => {
                match sets.keep(unit) {
                    Kept::Same => {}
                    Kept::New => push(unit, &mut self.new_sets),
                    Kept::Refused => return Err(Bad),
                }
                self.referred = true;
                return Ok(false);
            }
            DELIMITER | END_OF_SEQUENCE..=FILLER => return Ok(false),
            kind => {
                self.slices |= kind == SLICE || kind == IDR || PARTITIONS.contains(&kind);
                self.idr |= kind == IDR;
                self.referred |= head & 0x60 != 0;
            }
        }
        Ok(true)
    }

    /// RFC 6184 §5.7.1
    fn aggregated(
        &mut self,
        mut rest: &[u8],
        sets: &mut ParameterSets,
        out: &mut Vec<u8>,
    ) -> Result<(), Bad> {
        while let Some((len, behind)) = rest.split_first_chunk::<2>() {
            let (unit, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or(Bad)?;
            if unit.first().is_some_and(|head| head & 0x1f > SINGLE_MAX) {
                return Err(Bad);
            }
            self.unit(unit, sets, out)?;
            rest = behind;
        }
        if rest.is_empty() { Ok(()) } else { Err(Bad) }
    }

    /// RFC 6184 §5.8
    fn fragment(
        &mut self,
        indicator: u8,
        rest: &[u8],
        sets: &mut ParameterSets,
        out: &mut Vec<u8>,
    ) -> Result<(), Bad> {
        let (fu, part) = rest.split_first().ok_or(Bad)?;
        let (starts, ends) = (fu & 0x80 != 0, fu & 0x40 != 0);
        match (starts, self.fragment) {
            (true, None) => {
                self.fragment = Some(out.len());
                out.extend_from_slice(&[0, 0, 0, 0, indicator & 0xe0 | fu & 0x1f]);
            }
            (false, Some(_)) => {}
            _ => return Err(Bad),
        }
        out.extend_from_slice(part);
        if let Some(start) = self.fragment.take_if(|_| ends) {
            let unit = out.split_off(start);
            self.unit(&unit[4..], sets, out)?;
        }
        Ok(())
    }
}

fn push(unit: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(unit.len() as u32).to_be_bytes());
    out.extend_from_slice(unit);
}
