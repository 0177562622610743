//! Parameter sets of H.264, and the decoder configuration that is made of them (`avcC`, ISO/IEC 14496-15
//! §5.3.3.1).

use super::bits::Bits;
use super::frame::VideoParams;
use std::collections::BTreeMap;

/// Longest parameter set that is kept; common ones have 10 to 40 octets.
const SET_BYTES_MAX: usize = 1_024;
/// Sets of one kind that are kept; the configuration has room for 31 sequence parameter sets.
const SETS_MAX: usize = 16;
/// Largest side of a picture: level 6.2 allows 16,880.
const SIDE_MAX: u32 = 16_880;

/// NAL unit types (ITU-T H.264 table 7-1).
pub(super) const SPS: u8 = 7;
pub(super) const PPS: u8 = 8;

/// The sets of a stream, each the latest of its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ParameterSets {
    sps: BTreeMap<u32, Vec<u8>>,
    pps: BTreeMap<u32, Vec<u8>>,
}

/// What a set that came was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// As the one that was there.
    Same,
    New,
    /// Not one that a decoder could use, or too many.
    Refused,
}

impl ParameterSets {
    /// Keeps a NAL unit that is a parameter set.
    pub(super) fn keep(&mut self, unit: &[u8]) -> Kept {
        let Some((head, body)) = unit.split_first().filter(|_| unit.len() <= SET_BYTES_MAX) else {
            return Kept::Refused;
        };
        let is_sps = head & 0x1f == SPS;
        let id = if is_sps { Sps::parse(unit).map(|sps| sps.id) } else { Bits::new(body).ue() };
        let sets = if is_sps { &mut self.sps } else { &mut self.pps };
        match id {
            Some(id) if sets.get(&id).is_some_and(|set| set == unit) => Kept::Same,
            Some(id) if sets.contains_key(&id) || sets.len() < SETS_MAX => {
                sets.insert(id, unit.to_vec());
                Kept::New
            }
            _ => Kept::Refused,
        }
    }

    /// What a decoder needs to begin; `None` as long as a set of either kind is missing.
    pub(super) fn params(&self) -> Option<VideoParams> {
        let first = self.sps.values().next()?;
        let sps = Sps::parse(first)?;
        self.pps.first_key_value()?;
        let [_, profile, compatible, level] = *first.first_chunk()?;
        // Lengths in four octets.
        let mut config = vec![1, profile, compatible, level, 0xff, 0xe0 | self.sps.len() as u8];
        push_sets(&self.sps, &mut config);
        config.push(self.pps.len() as u8);
        push_sets(&self.pps, &mut config);
        if is_high(profile) {
            let (luma, chroma) = sps.depth_minus_8;
            config.extend_from_slice(&[0xfc | sps.chroma_format, 0xf8 | luma, 0xf8 | chroma, 0]);
        }
        Some(VideoParams { width: sps.width, height: sps.height, config })
    }
}

fn push_sets(sets: &BTreeMap<u32, Vec<u8>>, out: &mut Vec<u8>) {
    for set in sets.values() {
        out.extend_from_slice(&(set.len() as u16).to_be_bytes());
        out.extend_from_slice(set);
    }
}

/// The parameter sets of a decoder configuration as the first units of a frame, for a decoder that has
/// others.
#[must_use]
pub fn in_band(config: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for set in sets(config).0.into_iter().flatten() {
        out.extend_from_slice(&(set.len() as u32).to_be_bytes());
        out.extend_from_slice(set);
    }
    out
}

/// The highest id that no set of a decoder configuration has; `None` if there is none, or the configuration
/// is cut.
#[must_use]
pub fn free_set_id(config: &[u8]) -> Option<u32> {
    let ([sps, pps], rest) = sets(config);
    rest?;
    let sps = sps.into_iter().map(|set| Sps::parse(set).map(|sps| sps.id));
    let pps = pps.into_iter().map(|set| Bits::new(set.get(1..)?).ue());
    let taken: Vec<Option<u32>> = sps.chain(pps).collect();
    (0..32).rev().find(|id| taken.iter().all(|taken| taken.is_some_and(|taken| taken != *id)))
}

/// A decoder configuration with one more set of each kind; `None` if it has no room for them, or is cut.
#[must_use]
pub fn with_sets(config: &[u8], more_sps: &[u8], more_pps: &[u8]) -> Option<Vec<u8>> {
    let ([mut sps, mut pps], rest) = sets(config);
    let rest = rest?;
    sps.push(more_sps);
    pps.push(more_pps);
    let mut out = config.get(..5)?.to_vec();
    for (list, mask, marks) in [(&sps, 0x1f, 0xe0), (&pps, 0xff, 0)] {
        out.push(u8::try_from(list.len()).ok().filter(|count| *count <= mask)? | marks);
        for set in list {
            out.extend_from_slice(&u16::try_from(set.len()).ok()?.to_be_bytes());
            out.extend_from_slice(set);
        }
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// The sets of a decoder configuration, of either kind, and what follows them; `None` if it is cut before.
fn sets(config: &[u8]) -> ([Vec<&[u8]>; 2], Option<&[u8]>) {
    let mut lists = [Vec::new(), Vec::new()];
    let Some(mut rest) = config.get(5..) else { return (lists, None) };
    for (list, mask) in lists.iter_mut().zip([0x1f, 0xff]) {
        let Some((count, mut sets)) = rest.split_first() else { return (lists, None) };
        for _ in 0..count & mask {
            let set = sets
                .split_first_chunk::<2>()
                .and_then(|(len, behind)| behind.split_at_checked(usize::from(u16::from_be_bytes(*len))));
            let Some((set, behind)) = set else { return (lists, None) };
            list.push(set);
            sets = behind;
        }
        rest = sets;
    }
    (lists, Some(rest))
}

/// Profiles whose sequence parameter sets say the chroma format (ITU-T H.264 §7.3.2.1.1).
fn has_chroma(profile: u8) -> bool {
    [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile)
}

/// Profiles whose decoder configuration says it too (ISO/IEC 14496-15 §5.3.3.1.2).
fn is_high(profile: u8) -> bool {
    [100, 110, 122, 144].contains(&profile)
}

/// What is needed of a sequence parameter set (ITU-T H.264 §7.3.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sps {
    id: u32,
    chroma_format: u8,
    depth_minus_8: (u8, u8),
    width: u32,
    height: u32,
}

impl Sps {
    fn parse(unit: &[u8]) -> Option<Self> {
        let ([_, profile, _, _], body) = unit.split_first_chunk()?;
        let bits = &mut Bits::new(body);
        let id = bits.ue().filter(|id| *id < 32)?;
        let (mut chroma_format, mut depth_minus_8, mut is_separate) = (1, (0, 0), false);
        if has_chroma(*profile) {
            chroma_format = small(bits, 3)?;
            is_separate = chroma_format == 3 && bits.u(1)? == 1;
            depth_minus_8 = (small(bits, 6)?, small(bits, 6)?);
            bits.u(1)?;
            skip_scaling_matrix(bits, if chroma_format == 3 { 12 } else { 8 })?;
        }
        bits.ue()?;
        skip_order_count(bits)?;
        bits.ue()?;
        bits.u(1)?;
        let macroblocks = (bits.ue()?, bits.ue()?);
        let frames_only = bits.u(1)?;
        if frames_only == 0 {
            bits.u(1)?;
        }
        bits.u(1)?;
        let (mut across, mut down) = (0, 0);
        if bits.u(1)? == 1 {
            across = bits.ue()?.checked_add(bits.ue()?)?;
            down = bits.ue()?.checked_add(bits.ue()?)?;
        }
        // §6.2, §7.4.2.1.1: cropping is counted in chroma samples, of field pairs if there are fields.
        let (unit_x, unit_y) = match chroma_format {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let (unit_x, unit_y) = if is_separate { (1, 1) } else { (unit_x, unit_y) };
        let side = |units: u32, per_unit: u32, crop: u32, crop_unit: u32| {
            let whole = units.checked_add(1)?.checked_mul(per_unit)?;
            let side = whole.checked_sub(crop.checked_mul(crop_unit)?)?;
            (1..=SIDE_MAX).contains(&side).then_some(side)
        };
        let fields = 2 - frames_only;
        let width = side(macroblocks.0, 16, across, unit_x)?;
        let height = side(macroblocks.1, 16 * fields, down, unit_y * fields)?;
        Some(Self { id, chroma_format, depth_minus_8, width, height })
    }
}

fn small(bits: &mut Bits<'_>, max: u32) -> Option<u8> {
    bits.ue().filter(|value| *value <= max).map(|value| value as u8)
}

/// §7.3.2.1.1.1
fn skip_scaling_matrix(bits: &mut Bits<'_>, lists: usize) -> Option<()> {
    if bits.u(1)? == 0 {
        return Some(());
    }
    for list in 0..lists {
        if bits.u(1)? == 0 {
            continue;
        }
        let (mut last, mut next) = (8, 8);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.se()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

/// `pic_order_cnt_type` and what follows from it.
fn skip_order_count(bits: &mut Bits<'_>) -> Option<()> {
    match bits.ue()? {
        0 => {
            bits.ue()?;
        }
        1 => {
            bits.u(1)?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue().filter(|count| *count < 256)? {
                bits.se()?;
            }
        }
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex")).collect()
    }

    /// As libx264 writes them.
    const SPS_UNITS: [(&str, &str, (u32, u32, u8)); 7] = [
        ("baseline", "6742c00dd90141fb011000000300100000030320f142a480", (320, 240, 1)),
        ("high", "6764001facd9405005bb011000000300100000030320f1831960", (1280, 720, 1)),
        (
            "main, interlaced, cropped",
            "674d4028eca03c0227ef011000000300100000030321f162d960",
            (1920, 1080, 1),
        ),
        ("4:2:2, cropped", "677a000dbcd9415087888fc044000003000400000300c83c50a658", (322, 242, 2)),
        ("4:4:4, cropped", "67f4000d919b28283fdde022000003000200000300641e28532c", (318, 238, 3)),
        ("matrices", "67640028acd940780227e5c044000003000400000300c83c60c658", (1920, 1080, 1)),
        ("10 bit", "676e000aa6cd9420db011000000300100000030320f1225960", (128, 96, 1)),
    ];

    const PPS_UNIT: [u8; 4] = [0x68, 0xce, 0x38, 0x80];

    #[test]
    fn sizes() {
        for (what, sps, want) in SPS_UNITS {
            let sps = Sps::parse(&bytes(sps)).map(|sps| (sps.width, sps.height, sps.chroma_format));
            assert_eq!(sps, Some(want), "{what}");
        }
    }

    #[test]
    fn a_set_that_is_cut_is_none() {
        for (what, sps, _) in SPS_UNITS {
            let sps = bytes(sps);
            for len in 0..6 {
                assert_eq!(Sps::parse(&sps[..len]), None, "{what} {len}");
            }
            for len in 6..sps.len() {
                let _ = Sps::parse(&sps[..len]);
            }
        }
    }

    #[test]
    fn a_configuration_needs_both_kinds_and_gives_them_back() {
        let mut sets = ParameterSets::default();
        let sps = bytes(SPS_UNITS[0].1);
        assert_eq!(sets.keep(&sps), Kept::New);
        assert_eq!(sets.params(), None);
        assert_eq!(sets.keep(&PPS_UNIT), Kept::New);
        assert_eq!(sets.keep(&PPS_UNIT), Kept::Same);
        let params = sets.params().expect("both");
        let want =
            [&[1, sps[1], sps[2], sps[3], 0xff, 0xe1, 0, sps.len() as u8][..], &sps, &[1, 0, 4], &PPS_UNIT];
        assert_eq!(params.config, want.concat());
        let units = [&[0, 0, 0, sps.len() as u8][..], &sps, &[0, 0, 0, 4], &PPS_UNIT].concat();
        assert_eq!(in_band(&params.config), units);
        (0..params.config.len()).for_each(|len| assert!(units.starts_with(&in_band(&params.config[..len]))));
    }

    #[test]
    fn sets_are_added_under_an_id_that_is_free() {
        let mut sets = ParameterSets::default();
        // High profile, whose configuration has something behind its sets.
        let sps = bytes(SPS_UNITS[1].1);
        sets.keep(&sps);
        sets.keep(&PPS_UNIT);
        let config = sets.params().expect("both").config;
        assert_eq!(free_set_id(&config), Some(31));
        // Id 31 of both kinds: ue(v) of 31 is 00000 100000.
        let (more_sps, more_pps) =
            ([0x67, 66, 0xc0, 30, 0b0000_0100, 0b0000_1011], [0x68, 0b0000_0100, 0b0000_1000]);
        let both = with_sets(&config, &more_sps, &more_pps).expect("room");
        let want = [in_band(&config), vec![]].concat();
        assert!(in_band(&both).len() == want.len() + 4 + more_sps.len() + 4 + more_pps.len());
        assert_eq!(both[both.len() - 4..], config[config.len() - 4..]);
        for len in 0..config.len() - 4 {
            assert_eq!(
                (free_set_id(&config[..len]), with_sets(&config[..len], &more_sps, &more_pps)),
                (None, None)
            );
        }
        let full = (0..30).try_fold(config, |config, _| with_sets(&config, &sps, &PPS_UNIT)).expect("room");
        assert_eq!(with_sets(&full, &sps, &PPS_UNIT), None);
    }

    #[test]
    fn sets_are_bounded() {
        let mut sets = ParameterSets::default();
        assert_eq!(sets.keep(&[]), Kept::Refused);
        assert_eq!(sets.keep(&[0x67, 1]), Kept::Refused);
        assert_eq!(sets.keep(&[&PPS_UNIT[..], &[0; 1_100]].concat()), Kept::Refused);
        // Ids 0 to 15, and one more.
        for id in 0..SETS_MAX as u32 {
            let code = (id + 1) << (31 - 2 * (id + 1).ilog2());
            assert_eq!(sets.keep(&[&[0x68][..], &code.to_be_bytes()].concat()), Kept::New, "{id}");
        }
        assert_eq!(sets.keep(&[0x68, 0b0000_1000, 0b1000_0000]), Kept::Refused);
    }
}
