//! Blocks of all tracks of a file → its head and clusters.

use super::ebml::{id, push_id, push_master, push_uint};
use super::head::{DocType, Head, HeadFull};
use super::track::Track;
use relay_port::MediaTime;
use std::collections::VecDeque;

/// Longest cluster. With [`SKEW_NANOS`] and the time between two frames: half a second is lost with the
/// process.
pub const CLUSTER_NANOS: i64 = 200_000_000;
/// How far tracks may be behind one another before a cluster is written without the later one.
pub const SKEW_NANOS: i64 = 250_000_000;
/// What waits for the end of its cluster; more is written at once.
const WAITING_BYTES_MAX: usize = 8 << 20;
const MS: i64 = 1_000_000;

/// A frame for the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Number of its track.
    pub track: u8,
    /// When it is shown or heard, on the room clock.
    pub time: MediaTime,
    /// Whether a decoder can begin with it.
    pub keyframe: bool,
    /// As the codec has it.
    pub bytes: Vec<u8>,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// In place of the first [`HEAD_BYTES`](super::HEAD_BYTES) octets of the file.
    Head(Vec<u8>),
    /// At the end of the file.
    Cluster(Vec<u8>),
}

/// A block is refused: one of its track with a later time, or of the same millisecond, was there before, or
/// the file begins later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLate;

/// A block that waits for the end of its cluster.
#[derive(Debug)]
struct Waiting {
    at_ms: i64,
    track: u8,
    /// A cluster begins with it, so that one can seek to it.
    is_cut: bool,
    keyframe: bool,
    bytes: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub struct Muxer {
    head: Head,
    /// The head that was written last lacks a track.
    head_is_due: bool,
    /// Where the file's time begins, in milliseconds of the room clock; set with the first cluster.
    zero_ms: Option<i64>,
    /// By number, from 1 on: the time of the last block.
    last_ms: Vec<Option<i64>>,
    /// In the order of time.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    out: VecDeque<Written>,
}

impl Muxer {
    /// A file without tracks. `zero`: where its time begins; without it, with the first block.
    #[must_use]
    pub fn new(doc_type: DocType, zero: Option<MediaTime>) -> Self {
        let mut head = Head::new(doc_type);
        head.zero = zero.unwrap_or_default();
        Self {
            head,
            head_is_due: true,
            zero_ms: zero.map(ms),
            last_ms: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            out: VecDeque::new(),
        }
    }

    /// A further track; its number.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn add_track(&mut self, track: &Track) -> Result<u8, HeadFull> {
        let number = self.head.add(track)?;
        self.head_is_due = true;
        self.last_ms.push(None);
        Ok(number)
    }

    /// The document type.
    #[must_use]
    pub const fn doc_type(&self) -> DocType {
        self.head.doc_type
    }

    /// Takes a block.
    ///
    /// # Errors
    /// If it would go back in time.
    pub fn handle_block(&mut self, block: Block) -> Result<(), TooLate> {
        let at_ms = ms(block.time);
        let last = self.last_ms.get_mut(usize::from(block.track) - 1).expect("a number of ours");
        if last.is_some_and(|last| at_ms <= last) || self.zero_ms.is_some_and(|zero| at_ms < zero) {
            return Err(TooLate);
        }
        *last = Some(at_ms);
        self.waiting_bytes += block.bytes.len();
        let place = self.waiting.partition_point(|waiting| waiting.at_ms <= at_ms);
        let is_cut = block.keyframe && self.head.is_video(block.track.into());
        let Block { track, keyframe, bytes, .. } = block;
        self.waiting.insert(place, Waiting { at_ms, track, is_cut, keyframe, bytes });
        self.write_until(self.complete_ms());
        if self.waiting_bytes > WAITING_BYTES_MAX {
            self.handle_end();
        }
        Ok(())
    }

    /// Writes what waited for long enough, at this moment of the room clock.
    pub fn handle_timeout(&mut self, now: MediaTime) {
        self.write_until(ms(now).saturating_sub(SKEW_NANOS / MS));
    }

    /// When [`Muxer::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<MediaTime> {
        let first = self.waiting.front()?.at_ms.saturating_mul(MS);
        Some(MediaTime::from_nanos(first.saturating_add(CLUSTER_NANOS + SKEW_NANOS)))
    }

    /// Writes all that waits.
    pub fn handle_end(&mut self) {
        while !self.waiting.is_empty() {
            self.write_cluster();
        }
    }

    /// What is to be written next.
    pub fn poll_written(&mut self) -> Option<Written> {
        self.out.pop_front()
    }

    /// Up to where all tracks have come that are not too far behind.
    fn complete_ms(&self) -> i64 {
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        for at_ms in self.last_ms.iter().flatten() {
            (first, last) = (first.min(*at_ms), last.max(*at_ms));
        }
        first.max(last.saturating_sub(SKEW_NANOS / MS))
    }

    fn write_until(&mut self, until_ms: i64) {
        while self.waiting.front().is_some_and(|first| first.at_ms + CLUSTER_NANOS / MS <= until_ms) {
            self.write_cluster();
        }
    }

    /// One cluster: from the first block that waits up to the next keyframe, or for [`CLUSTER_NANOS`].
    fn write_cluster(&mut self) {
        let Some(first_ms) = self.waiting.front().map(|first| first.at_ms) else { return };
        let zero_ms = *self.zero_ms.get_or_insert_with(|| {
            self.head.zero = MediaTime::from_nanos(first_ms * MS);
            first_ms
        });
        if std::mem::take(&mut self.head_is_due) {
            self.out.push_back(Written::Head(self.head.render(None)));
        }
        let end_ms = first_ms + CLUSTER_NANOS / MS;
        let belongs = |(at, block): (usize, &Waiting)| block.at_ms < end_ms && (at == 0 || !block.is_cut);
        let count = self.waiting.iter().enumerate().take_while(|(at, block)| belongs((*at, block))).count();
        let mut out = Vec::new();
        push_master(&mut out, id::CLUSTER, |out| {
            push_uint(out, id::TIMESTAMP, (first_ms - zero_ms).unsigned_abs());
            for block in self.waiting.drain(..count) {
                self.waiting_bytes -= block.bytes.len();
                push_block(out, first_ms, &block);
            }
        });
        self.out.push_back(Written::Cluster(out));
    }
}

/// To the nearest millisecond.
const fn ms(time: MediaTime) -> i64 {
    time.as_nanos().saturating_add(MS / 2).div_euclid(MS)
}

/// RFC 9559 §10.2: track, time since the cluster's, flags.
fn push_block(out: &mut Vec<u8>, cluster_ms: i64, block: &Waiting) {
    let len = 4 + block.bytes.len();
    push_id(out, id::SIMPLE_BLOCK);
    out.extend_from_slice(&(1 << 28 | len as u32).to_be_bytes());
    out.push(0x80 | block.track);
    out.extend_from_slice(&((block.at_ms - cluster_ms) as i16).to_be_bytes());
    out.push(if block.keyframe { 0x80 } else { 0 });
    out.extend_from_slice(&block.bytes);
}

/// The file of a muxer that has ended.
#[cfg(test)]
pub(crate) fn store(muxer: &mut Muxer, file: &std::fs::File) {
    use std::os::unix::fs::FileExt;
    let mut end = super::head::HEAD_BYTES as u64;
    while let Some(written) = muxer.poll_written() {
        match written {
            Written::Head(bytes) => file.write_all_at(&bytes, 0).expect("written"),
            Written::Cluster(bytes) => {
                file.write_all_at(&bytes, end).expect("written");
                end += bytes.len() as u64;
            }
        }
    }
}
