//! H.264 formats: which of them can carry which stream.

use super::offer::Format;

/// What libwebrtc takes a missing `profile-level-id` for: constrained baseline, level 3.1. RFC 6184 §8.1 says
/// baseline, level 1, but RFC 7742 §6.2 makes the parameter mandatory, so only sloppy endpoints leave it out,
/// and they mean what every browser decodes.
const DEFAULT_PROFILE_LEVEL_ID: [u8; 3] = [0x42, 0xe0, 0x1f];

/// Sub-profiles of RFC 6184 §8.1, table 5, ordered by how many players can be expected to decode them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum H264Profile {
    /// What all decode.
    ConstrainedBaseline,
    /// With FMO and ASO, in name: browsers offer it and send the constrained one.
    Baseline,
    Main,
    /// High without interlace and B-frames.
    ConstrainedHigh,
    High,
    /// High 10
    High10,
    /// High 4:2:2
    High422,
    /// 4:4:4 predictive
    PredictiveHigh444,
    /// Of this `profile_idc`, which table 5 does not have: nothing is known of who decodes it.
    Other(u8),
}

/// An H.264 format as negotiated: what a player's format is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct H264Format {
    /// The three octets: `profile_idc`, constraint flags, `level_idc`.
    pub profile_level_id: [u8; 3],
    /// What the first two mean.
    pub profile: H264Profile,
    /// 0 (single NAL units) or 1 (non-interleaved).
    pub packetization_mode: u8,
    /// `level-asymmetry-allowed=1`
    pub level_asymmetry_allowed: bool,
    /// Whether profile and level were said, and not left to the default.
    pub says_profile: bool,
    /// Whether the mode was.
    pub says_mode: bool,
}

impl H264Format {
    /// Reads the parameters of a format; `None` if we cannot pass it through.
    pub fn of(format: &Format<'_>) -> Option<Self> {
        Self::from_parameters(|name| format.parameter(name))
    }

    /// Reads what [`fmtp`](Self::fmtp) wrote.
    pub fn from_fmtp(fmtp: &str) -> Option<Self> {
        Self::of(&Format { fmtp: vec![fmtp], ..Format::default() })
    }

    fn from_parameters<'a>(parameter: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let profile_level_id = parameter("profile-level-id").and_then(parse_profile_level_id);
        let mode = parameter("packetization-mode");
        // RFC 6184 §8.1: 0 if absent. Mode 2 (interleaved) nobody speaks.
        let packetization_mode = match mode {
            None | Some("0") => 0,
            Some("1") => 1,
            Some(_) => return None,
        };
        let says_profile = profile_level_id.is_some();
        let profile_level_id = profile_level_id.unwrap_or(DEFAULT_PROFILE_LEVEL_ID);
        Some(Self {
            profile_level_id,
            profile: profile_of(profile_level_id),
            packetization_mode,
            level_asymmetry_allowed: parameter("level-asymmetry-allowed") == Some("1"),
            says_profile,
            says_mode: mode.is_some(),
        })
    }

    /// With what it does not say from a stream that it is answered with: of its own defaults for a publisher.
    pub fn completed_by(mut self, stream: &Self) -> Self {
        if !self.says_profile {
            self.profile_level_id = stream.profile_level_id;
            self.profile = stream.profile;
        }
        if !self.says_mode {
            self.packetization_mode = stream.packetization_mode;
        }
        Self { says_profile: true, says_mode: true, ..self }
    }

    /// Value of `a=fmtp` that says this.
    pub fn fmtp(&self) -> String {
        let [profile, constraints, level] = self.profile_level_id;
        format!(
            "{}packetization-mode={};profile-level-id={profile:02x}{constraints:02x}{level:02x}",
            if self.level_asymmetry_allowed { "level-asymmetry-allowed=1;" } else { "" },
            self.packetization_mode,
        )
    }

    /// How well a player that offers `self` can take the stream of a publisher that sends `source`: lower is
    /// better, `None` is not at all.
    ///
    /// RFC 6184 §8.2.2 wants profile and mode the same on both sides, which comes first here. Then, since
    /// nothing flows the other way: a decoder takes every stream of a smaller profile (in Annex A of H.264
    /// some of these lack tools, such as interlace in constrained high, that no WebRTC encoder uses), and
    /// mode 1 allows single NAL units, which are all of mode 0 (§6.2, §6.3). A lower level than the
    /// publisher's is the last resort, not a reason to refuse: browsers state the level their encoder starts
    /// with, and decode more. A player that does not say what it takes takes what comes: by RFC 6184 §8.1 it
    /// would mean a mode and a profile that nobody sends.
    pub fn rank_for(&self, source: &Self) -> Option<u32> {
        let profile = match (source.profile, self.profile) {
            _ if !self.says_profile => 4,
            (from, to) if from == to => 0,
            (H264Profile::Other(_), _) | (_, H264Profile::Other(_)) => return None,
            (H264Profile::ConstrainedBaseline, H264Profile::Baseline) => 1,
            // Browsers' "baseline" is the constrained one, whatever its flags say.
            (H264Profile::Baseline, H264Profile::ConstrainedBaseline) => 2,
            (from, to) if from < to => 3,
            _ => return None,
        };
        let mode = match (source.packetization_mode, self.packetization_mode) {
            (from, to) if from == to => 0,
            (0, 1) => 1,
            _ if !self.says_mode => 2,
            _ => return None,
        };
        let level = u32::from(self.says_profile && self.level() < source.level());
        Some(level * 100 + profile * 10 + mode)
    }

    /// Order in which a publisher's formats are chosen: what the most players decode, then mode 1, as it
    /// allows packets of any size to be fragmented.
    pub fn rank_to_publish(&self) -> (u8, H264Profile) {
        (1 - self.packetization_mode.min(1), self.profile)
    }

    /// `level_idc`, with level 1b (RFC 6184 §8.1) put between 1 and 1.1.
    fn level(&self) -> u8 {
        let [profile, constraints, level] = self.profile_level_id;
        let is_1b = level == 11 && constraints & 0x10 != 0 && profile != 0x64;
        // Twice the level leaves room for the half step.
        if is_1b { 21 } else { level.min(127) * 2 }
    }
}

fn parse_profile_level_id(value: &str) -> Option<[u8; 3]> {
    if value.len() != 6 || !value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let [_, octets @ ..] = u32::from_str_radix(value, 16).ok()?.to_be_bytes();
    Some(octets)
}

/// RFC 6184 §8.1, table 5, by the flags that tell the profiles apart: encoders set others as well.
fn profile_of([profile, constraints, _]: [u8; 3]) -> H264Profile {
    let has = |flags: u8| constraints & flags == flags;
    match profile {
        0x42 if has(0x40) => H264Profile::ConstrainedBaseline,
        0x42 => H264Profile::Baseline,
        0x4d if has(0x80) => H264Profile::ConstrainedBaseline,
        0x4d => H264Profile::Main,
        0x58 if has(0xc0) => H264Profile::ConstrainedBaseline,
        0x58 if has(0x80) => H264Profile::Baseline,
        0x64 if has(0x0c) => H264Profile::ConstrainedHigh,
        0x64 => H264Profile::High,
        0x6e => H264Profile::High10,
        0x7a => H264Profile::High422,
        0xf4 => H264Profile::PredictiveHigh444,
        other => H264Profile::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(profile_level_id: &str, mode: u8) -> H264Format {
        H264Format::from_fmtp(&format!("profile-level-id={profile_level_id};packetization-mode={mode}"))
            .unwrap()
    }

    #[test]
    fn profiles_of_rfc_6184_table_5() {
        use H264Profile as P;
        for (id, expected) in [
            ("42e01f", Some(P::ConstrainedBaseline)),
            ("42C01F", Some(P::ConstrainedBaseline)),
            ("42f00b", Some(P::ConstrainedBaseline)),
            ("4d801f", Some(P::ConstrainedBaseline)),
            ("58c01f", Some(P::ConstrainedBaseline)),
            ("42001f", Some(P::Baseline)),
            ("42a01f", Some(P::Baseline)),
            ("58801f", Some(P::Baseline)),
            ("4d001f", Some(P::Main)),
            ("4d401f", Some(P::Main)),
            ("64001f", Some(P::High)),
            ("640c1f", Some(P::ConstrainedHigh)),
            ("f4001f", Some(P::PredictiveHigh444)),
            ("6e001f", Some(P::High10)),
            ("7a001f", Some(P::High422)),
            // Flags that table 5 does not have, as encoders set them.
            ("42e81f", Some(P::ConstrainedBaseline)),
            ("420c1f", Some(P::Baseline)),
            ("4d081f", Some(P::Main)),
            ("64101f", Some(P::High)),
            ("641c1f", Some(P::ConstrainedHigh)),
            // Extended, and CAVLC 4:4:4 Intra.
            ("58001f", Some(P::Other(0x58))),
            ("2c001f", Some(P::Other(0x2c))),
            // As if nothing were said.
            ("42e1", Some(P::ConstrainedBaseline)),
            ("+2e01f", Some(P::ConstrainedBaseline)),
            ("64001g", Some(P::ConstrainedBaseline)),
        ] {
            let format = H264Format::from_fmtp(&format!("profile-level-id={id}"));
            assert_eq!(format.map(|format| format.profile), expected, "{id}");
        }
    }

    #[test]
    fn parameters_have_defaults_and_are_written_back() {
        let default = H264Format::from_fmtp("").unwrap();
        assert_eq!(default.fmtp(), "packetization-mode=0;profile-level-id=42e01f");
        let text = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f";
        assert_eq!(H264Format::from_fmtp(text).unwrap().fmtp(), text);
        assert_eq!(H264Format::from_fmtp("packetization-mode=2"), None);
        assert_eq!(H264Format::from_fmtp(" Packetization-Mode = 1 ; x").unwrap().packetization_mode, 1);
    }

    #[test]
    fn a_player_takes_its_own_profile_or_a_smaller_one() {
        // (source, player's format, playable)
        for (source, player, playable) in [
            (format("42e01f", 1), format("42e01f", 1), true),
            (format("42e01f", 1), format("42001f", 1), true),
            (format("42001f", 1), format("42e01f", 1), true),
            (format("42e01f", 1), format("4d001f", 1), true),
            (format("42e01f", 1), format("64001f", 1), true),
            (format("4d001f", 1), format("42e01f", 1), false),
            (format("64001f", 1), format("640c1f", 1), false),
            (format("42e01f", 1), format("42e01f", 0), false),
            (format("42e01f", 0), format("42e01f", 1), true),
            (format("42e034", 1), format("42e01f", 1), true),
        ] {
            assert_eq!(player.rank_for(&source).is_some(), playable, "{source:?} {player:?}");
        }
    }

    #[test]
    fn a_player_that_does_not_say_takes_what_comes() {
        let says = |fmtp: &str| H264Format::from_fmtp(fmtp).unwrap();
        let high = format("640c28", 1);
        for (player, answered) in [
            ("", Some("packetization-mode=1;profile-level-id=640c28")),
            ("packetization-mode=1", Some("packetization-mode=1;profile-level-id=640c28")),
            ("packetization-mode=0", None),
            ("profile-level-id=64001f", Some("packetization-mode=1;profile-level-id=64001f")),
            ("profile-level-id=42e01f", None),
        ] {
            let format = says(player);
            let fmtp = format.rank_for(&high).map(|_| format.completed_by(&high).fmtp());
            assert_eq!(fmtp.as_deref(), answered, "{player:?}");
        }
        assert!(format("640c28", 1).rank_for(&high) < says("").rank_for(&high), "who says it goes first");
    }

    #[test]
    fn the_best_of_several_formats_is_the_same_one() {
        let source = format("42e01f", 1);
        let better = [format("42e01f", 1), format("42001f", 1), format("64001f", 1), format("42e00d", 1)];
        let ranks: Vec<_> = better.iter().map(|player| player.rank_for(&source).unwrap()).collect();
        assert!(ranks.is_sorted(), "{ranks:?}");
        assert!(format("42e00b", 1).level() > format("42f00b", 1).level());
        assert!(format("42e00a", 1).level() < format("42f00b", 1).level());
    }
}
