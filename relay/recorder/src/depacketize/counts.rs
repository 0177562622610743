//! What became of what came in.

/// What became of the packets of a track, and of its frames.
///
/// Every packet that came is held behind a hole, in the frame that is being put together, or in one of
/// `packets_*` but `packets_missing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Came behind packets with later numbers, too late or again.
    pub packets_late: u64,
    /// Came again while the first was held.
    pub packets_repeated: u64,
    /// Of a source that the track had left already.
    pub packets_left_source: u64,
    /// Brought nothing of a frame: padding, delimiters, parameter sets by themselves.
    pub packets_empty: u64,
    /// In frames that were delivered.
    pub packets_framed: u64,
    /// In frames that were dropped because packets were missing or bad.
    pub packets_damaged: u64,
    /// In frames that were dropped because they need one before, which was dropped.
    pub packets_awaiting_keyframe: u64,
    /// Never came, or too late.
    pub packets_missing: u64,
    /// Delivered.
    pub frames: u64,
    /// Dropped because packets were missing or bad.
    pub frames_damaged: u64,
    /// Dropped because they need one before, which was dropped.
    pub frames_awaiting_keyframe: u64,
}

impl Counts {
    /// Packets of which it is decided what became of them.
    #[must_use]
    pub const fn packets_decided(&self) -> u64 {
        self.packets_late
            + self.packets_repeated
            + self.packets_left_source
            + self.packets_empty
            + self.packets_framed
            + self.packets_damaged
            + self.packets_awaiting_keyframe
    }
}
