//! What a room's file has, and when: found by reading it once, without decoding.
//!
//! Invariants
//! - Memory is bounded by tracks, clusters and times at which somebody came or fell silent, not by frames.
//! - A span of a picture begins with a keyframe, so that all in it can be decoded from there.

use crate::matroska::{ClusterPlace, FoundTrack, Reader, ScanError, blocks};
use std::collections::HashMap;
use std::fs::File;
use std::io;

/// Longest recording that is mixed: a week.
const DURATION_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// One decoder begins no closer behind another keyframe of its track: what is not remembered is decoded.
const KEYFRAMES_APART_MS: u64 = 1_000;
/// How long the last frame of a span is shown, and of sound is heard.
const LAST_MS: u64 = 40;

/// From the first frame to the end of the last one, in milliseconds of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Span {
    pub(super) begin_ms: u64,
    pub(super) end_ms: u64,
}

/// Where a decoder can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) at_ms: u64,
    /// Which cluster.
    pub(super) cluster: usize,
}

/// A track, and when there is something of it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) track: FoundTrack,
    pub(super) spans: Vec<Span>,
    keyframes: Vec<Start>,
}

impl Line {
    pub(super) const fn new(track: FoundTrack, spans: Vec<Span>) -> Self {
        Self { track, spans, keyframes: Vec::new() }
    }

    fn hear(&mut self, at_ms: u64, keyframe: bool, cluster: usize, silent_ms: u64) {
        if self.track.is_video {
            if keyframe && self.keyframes.last().is_none_or(|last| at_ms >= last.at_ms + KEYFRAMES_APART_MS) {
                self.keyframes.push(Start { at_ms, cluster });
            }
            if self.keyframes.is_empty() {
                return;
            }
        }
        let end_ms = at_ms + LAST_MS;
        match self.spans.last_mut() {
            Some(span) if at_ms <= span.end_ms.saturating_add(silent_ms) => {
                span.end_ms = span.end_ms.max(end_ms);
            }
            _ => self.spans.push(Span { begin_ms: at_ms, end_ms }),
        }
    }

    /// The last keyframe at or before a time; the first one if there is none.
    pub(super) fn start(&self, at_ms: u64) -> Option<Start> {
        let behind = self.keyframes.partition_point(|start| start.at_ms <= at_ms);
        self.keyframes.get(behind.saturating_sub(1)).copied()
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Source {
    reader: Reader,
    clusters: Vec<ClusterPlace>,
    pub(super) lines: Vec<Line>,
    pub(super) duration_ms: u64,
}

impl Source {
    /// Reads all of it; a pause of a track of more than `silent_ms` ends a span.
    pub(super) fn open(file: File, silent_ms: u64) -> Result<Self, ScanError> {
        let mut reader = Reader::open(file)?;
        let known = reader.tracks().iter().filter(|track| track.media.is_some()).cloned();
        let mut lines: Vec<Line> = known.map(|track| Line::new(track, Vec::new())).collect();
        let numbers = lines.iter().enumerate().map(|(at, line)| (line.track.number, at));
        let by_number: HashMap<u64, usize> = numbers.collect();
        let (mut clusters, mut bytes, mut duration_ms) = (Vec::new(), Vec::new(), 0);
        while let Some(place) = reader.next_cluster(&mut bytes)? {
            for block in blocks(&bytes) {
                let Some(line) = by_number.get(&block.track).and_then(|at| lines.get_mut(*at)) else {
                    continue;
                };
                if block.at_ms > DURATION_MS_MAX {
                    return Err(ScanError::NotOurs);
                }
                line.hear(block.at_ms, block.keyframe, clusters.len(), silent_ms);
            }
            clusters.push(place);
        }
        for span in lines.iter().flat_map(|line| &line.spans) {
            duration_ms = duration_ms.max(span.end_ms);
        }
        Ok(Self { reader, clusters, lines, duration_ms })
    }

    /// Whether it is still wanted.
    ///
    /// # Errors
    /// If the file has no name any more: it was removed.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.reader.is_removed()? {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the room's file was removed meanwhile"));
        }
        Ok(())
    }

    /// The cluster of this number; `None` behind the last one.
    pub(super) fn cluster(&self, number: usize) -> io::Result<Option<Vec<u8>>> {
        self.clusters.get(number).map(|place| self.reader.cluster(*place)).transpose()
    }

    /// The first cluster that may have blocks of this time.
    pub(super) fn cluster_at(&self, at_ms: u64) -> usize {
        self.clusters.partition_point(|place| place.at_ms <= at_ms).saturating_sub(1)
    }

    /// Whether the clusters from this number on all begin behind a time.
    pub(super) fn is_behind(&self, number: usize, at_ms: u64) -> bool {
        self.clusters.get(number).is_none_or(|place| place.at_ms > at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matroska::Media;

    fn line(is_video: bool) -> Line {
        let media = Some(Media::Opus);
        let track = FoundTrack { number: 1, name: String::new(), is_video, media };
        Line::new(track, Vec::new())
    }

    fn spans(line: &Line) -> Vec<(u64, u64)> {
        line.spans.iter().map(|span| (span.begin_ms, span.end_ms)).collect()
    }

    #[test]
    fn a_pause_that_is_long_ends_a_span() {
        let mut line = line(false);
        [0, 20, 40, 3_080, 6_121, 6_141].into_iter().for_each(|at_ms| line.hear(at_ms, true, 0, 3_000));
        assert_eq!(spans(&line), [(0, 3_120), (6_121, 6_181)]);
    }

    #[test]
    fn a_picture_begins_with_a_keyframe() {
        let mut line = line(true);
        for (at_ms, keyframe) in
            [(0, false), (40, false), (80, true), (120, false), (500, true), (2_000, true)]
        {
            line.hear(at_ms, keyframe, at_ms as usize, 3_000);
        }
        assert_eq!(spans(&line), [(80, 2_040)]);
        let starts =
            [0, 80, 600, 1_999, 2_000, 9_000].map(|at_ms| line.start(at_ms).map(|start| start.at_ms));
        // The one at 500 is too close to another to be remembered.
        assert_eq!(starts, [80, 80, 80, 80, 2_000, 2_000].map(Some));
    }
}
