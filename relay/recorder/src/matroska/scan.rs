//! Reads our own files: what was written whole, and where one can seek to.

use super::ebml::{elements, head, id, uint};
use super::head::{HEAD_BYTES, Head};
use std::{fmt, io};

/// Longest cluster that is read; the muxer writes no more than it lets wait, and one block.
pub(super) const CLUSTER_BYTES_MAX: u64 = 64 << 20;
/// Longest head of an element.
pub(super) const ELEMENT_HEAD_BYTES: usize = 12;
/// Entries of the index. If there are more, every other one is left out.
const CUES_MAX: usize = 1 << 16;
/// Without a picture there is an entry this often.
const SOUND_CUE_MS: u64 = 5_000;

/// Why a file cannot be read.
#[derive(Debug)]
pub enum ScanError {
    /// Reading failed.
    Io(io::Error),
    /// Its head is not one that we wrote, or it is cut.
    NotOurs,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(why) => write!(f, "the recording cannot be read: {why}"),
            Self::NotOurs => write!(f, "it does not begin as a recording of ours"),
        }
    }
}

impl std::error::Error for ScanError {}

impl From<io::Error> for ScanError {
    fn from(why: io::Error) -> Self {
        Self::Io(why)
    }
}

/// An entry of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cue {
    /// Of the file's time.
    pub at_ms: u64,
    /// Number of the track.
    pub track: u16,
    /// Where the cluster begins, in the file.
    pub cluster: u64,
}

/// What a file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// As it was written last.
    pub head: Head,
    /// How many clusters are whole.
    pub clusters: u64,
    /// Where the last whole one ends.
    pub end: u64,
    /// Blocks by track, from number 1 on.
    pub blocks: Vec<u64>,
    /// Where the last block ends; it lasts as long as the one before it in its track.
    pub duration_ms: u64,
    /// Where one can seek to.
    pub cues: Vec<Cue>,
}

/// Reads a file by `read_at`, which gives what there is at an offset, as `FileExt::read_at` does. Ends at
/// what is cut.
///
/// # Errors
/// See [`ScanError`].
pub fn scan(read_at: impl FnMut(u64, &mut [u8]) -> io::Result<usize>) -> Result<Scanned, ScanError> {
    let mut index = None;
    let Walked { head, clusters, end } = walk(read_at, |head, begin, cluster| {
        index.get_or_insert_with(|| Index::new(head.tracks())).add(head, cluster, begin);
        Ok(true)
    })?;
    let Index { last_ms, blocks, cues, .. } = index.unwrap_or_else(|| Index::new(head.tracks()));
    let duration_ms = last_ms.into_iter().flatten().map(|(last, step)| last + step).max().unwrap_or(0);
    Ok(Scanned { head, clusters, end, blocks, duration_ms, cues: cues.list })
}

/// What was walked over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// As it was written last.
    pub head: Head,
    /// How many clusters there were.
    pub clusters: u64,
    /// Where the last one ends.
    pub end: u64,
}

/// Reads a file as [`scan`] does, cluster by cluster: `take` gets each with the place where it begins, as
/// long as it wants more of them. No more than one is in memory.
///
/// # Errors
/// See [`ScanError`], and what `take` says.
pub fn walk(
    mut read_at: impl FnMut(u64, &mut [u8]) -> io::Result<usize>,
    mut take: impl FnMut(&Head, u64, &Cluster<'_>) -> io::Result<bool>,
) -> Result<Walked, ScanError> {
    let mut bytes = Vec::new();
    fill(&mut read_at, 0, HEAD_BYTES, &mut bytes)?;
    let head = Head::parse(&bytes).ok_or(ScanError::NotOurs)?;
    let (mut clusters, mut end) = (0, HEAD_BYTES as u64);
    loop {
        fill(&mut read_at, end, ELEMENT_HEAD_BYTES, &mut bytes)?;
        let Some((id::CLUSTER, Some(len @ ..=CLUSTER_BYTES_MAX), head_len)) = self::head(&bytes) else {
            break;
        };
        fill(&mut read_at, end + head_len as u64, len as usize, &mut bytes)?;
        let Some(cluster) = Cluster::parse(&bytes).filter(|_| bytes.len() as u64 == len) else { break };
        let goes_on = take(&head, end, &cluster)?;
        clusters += 1;
        end += head_len as u64 + len;
        if !goes_on {
            break;
        }
    }
    Ok(Walked { head, clusters, end })
}

/// Reads `len` octets, or what there is of them.
pub(super) fn fill(
    read_at: &mut impl FnMut(u64, &mut [u8]) -> io::Result<usize>,
    at: u64,
    len: usize,
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    bytes.clear();
    bytes.resize(len, 0);
    let mut filled = 0;
    while filled < len {
        match read_at(at.saturating_add(filled as u64), &mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    bytes.truncate(filled);
    Ok(())
}

/// The content of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster<'a> {
    at_ms: u64,
    content: &'a [u8],
}

impl<'a> Cluster<'a> {
    /// `None` if it does not say its time, or does not end with an element.
    #[must_use]
    pub fn parse(content: &'a [u8]) -> Option<Self> {
        let (_, at_ms) = elements(content).next().filter(|(found, _)| *found == id::TIMESTAMP)?;
        let at_ms = uint(at_ms).filter(|at_ms| *at_ms <= u64::MAX / 2)?;
        let last = elements(content).last()?.1.as_ptr_range().end;
        (last == content.as_ptr_range().end).then_some(Self { at_ms, content })
    }

    /// Its blocks: track, time in milliseconds, whether it is a keyframe, and the frame.
    pub fn blocks(&self) -> impl Iterator<Item = (u8, u64, bool, &'a [u8])> {
        let at_ms = self.at_ms;
        elements(self.content).filter(|(found, _)| *found == id::SIMPLE_BLOCK).filter_map(
            move |(_, block)| {
                let ([track, t0, t1, flags], frame) = block.split_first_chunk()?;
                let at_ms = at_ms.checked_add_signed(i16::from_be_bytes([*t0, *t1]).into())?;
                Some((track & 0x7f, at_ms, flags & 0x80 != 0, frame))
            },
        )
    }
}

/// What is gathered while clusters are read.
struct Index {
    /// By track: time of the last block, and since the one before.
    last_ms: Vec<Option<(u64, u64)>>,
    blocks: Vec<u64>,
    /// A block of a picture was there.
    has_video: bool,
    cues: Cues,
}

impl Index {
    fn new(tracks: usize) -> Self {
        Self { last_ms: vec![None; tracks], blocks: vec![0; tracks], has_video: false, cues: Cues::default() }
    }

    fn add(&mut self, head: &Head, cluster: &Cluster<'_>, begin: u64) {
        let mut cued = [false; 256];
        for (track, at_ms, keyframe, _) in cluster.blocks() {
            let place = usize::from(track).wrapping_sub(1);
            let (Some(count), Some(last)) = (self.blocks.get_mut(place), self.last_ms.get_mut(place)) else {
                continue;
            };
            *count += 1;
            self.has_video |= head.is_video(track.into());
            *last = Some((at_ms, last.map_or(0, |(last, _)| at_ms.saturating_sub(last))));
            let is_picture = head.is_video(track.into());
            if self.cues.is_due(at_ms, is_picture, keyframe, self.has_video)
                && !std::mem::replace(&mut cued[usize::from(track)], true)
            {
                self.cues.push(Cue { at_ms, track: track.into(), cluster: begin });
            }
        }
    }
}

/// Entries of the index as they are found.
#[derive(Debug, Default)]
pub(super) struct Cues {
    pub(super) list: Vec<Cue>,
    /// Of how many possible entries one is made, as a power of two.
    every: u32,
    seen: usize,
}

impl Cues {
    /// Whether a block may have an entry: a keyframe of a picture, or without pictures sound now and then.
    pub(super) fn is_due(&self, at_ms: u64, is_picture: bool, keyframe: bool, has_video: bool) -> bool {
        let is_due = || self.list.last().is_none_or(|cue| at_ms >= cue.at_ms + SOUND_CUE_MS);
        if has_video { is_picture && keyframe } else { is_due() }
    }

    pub(super) fn push(&mut self, cue: Cue) {
        if self.seen.is_multiple_of(1 << self.every) {
            self.list.push(cue);
        }
        self.seen += 1;
        if self.list.len() >= CUES_MAX {
            let mut at = 0;
            self.list.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.every += 1;
        }
    }
}
