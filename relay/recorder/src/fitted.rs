//! How FFmpeg is told to put sound where its timestamps say.

/// A filter: sound at 48 kHz from 0 on, in which gaps are silence and a clock that drifts is followed
/// without a jump.
///
/// It follows as fast as [`crate::clock`] corrects, by a twentieth. `flags=res`: it resamples from the
/// beginning. If it began to only where there is first something to correct, FFmpeg 5.1 would begin to count
/// anew there, and put all that follows later by as much as the sound began after 0.
pub(crate) const FITTED: &str = "aresample=48000:async=2400:first_pts=0:flags=res";
