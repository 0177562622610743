//! Decides whether a packet goes to this subscriber at all.
//!
//! Audio always does. Video begins with a keyframe: what comes before it cannot be decoded, and would only
//! make the receiver ask.

use crate::stats::DropReason;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Everything passes, always: audio.
    Always,
    /// Video that flows.
    Open,
    /// Video withheld until a keyframe starts.
    AwaitingKeyframe,
}

/// What becomes of a packet at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateVerdict {
    /// Forward it.
    Pass,
    /// Forward it: the first since the gate was shut, so numbering continues here.
    PassFirst,
    /// Count it.
    Withhold(DropReason),
}

impl Gate {
    /// For audio.
    #[must_use]
    pub fn audio() -> Self {
        Self::Always
    }

    /// For video, waiting for its first keyframe.
    #[must_use]
    pub fn video() -> Self {
        Self::AwaitingKeyframe
    }

    /// Whether a packet, in which a keyframe may start, passes.
    #[inline]
    pub fn admit(&mut self, keyframe: bool) -> GateVerdict {
        match *self {
            Self::Always | Self::Open => GateVerdict::Pass,
            Self::AwaitingKeyframe if keyframe => {
                *self = Self::Open;
                GateVerdict::PassFirst
            }
            Self::AwaitingKeyframe => GateVerdict::Withhold(DropReason::AwaitingKeyframe),
        }
    }

    /// The source is not decodable from here on until its next keyframe. No effect on audio.
    pub fn shut(&mut self) {
        if *self == Self::Open {
            *self = Self::AwaitingKeyframe;
        }
    }

    /// Whether this subscriber waits for a keyframe.
    #[must_use]
    pub fn awaits_keyframe(&self) -> bool {
        *self == Self::AwaitingKeyframe
    }
}

#[cfg(test)]
mod tests {
    use super::GateVerdict::{Pass, PassFirst, Withhold};
    use super::*;

    #[test]
    fn video_waits_for_a_keyframe_and_audio_for_nothing() {
        const WAIT: GateVerdict = Withhold(DropReason::AwaitingKeyframe);
        // Packets (does a keyframe start in it, is the gate shut before it) and what becomes of them.
        let packets =
            [(false, false), (true, false), (false, false), (true, false), (false, true), (true, false)];
        for (mut gate, expected) in
            [(Gate::video(), [WAIT, PassFirst, Pass, Pass, WAIT, PassFirst]), (Gate::audio(), [Pass; 6])]
        {
            for (i, ((keyframe, shut), expected)) in packets.iter().zip(expected).enumerate() {
                if *shut {
                    gate.shut();
                }
                assert_eq!(gate.admit(*keyframe), expected, "packet {i}");
                assert_eq!(gate.awaits_keyframe(), expected == WAIT, "packet {i}");
            }
        }
    }
}
