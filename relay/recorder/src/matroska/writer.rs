//! Blocks that are all known to come → a whole file in one go, with its index.

use super::ebml::{id, push_id, push_master, push_uint};
use super::finish::push_cues;
use super::head::{DocType, End, Head};
use super::scan::{Cue, Cues};
use super::track::Track;
use relay_port::MediaTime;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;

/// Longest cluster; block times in it are 16 bits.
const CLUSTER_MS: i64 = 1_000;
/// A cluster with more ends with the block that it has.
const CLUSTER_BYTES: usize = 4 << 20;

/// Writes a finished file. Unlike the [`Muxer`](super::Muxer) it knows all tracks when it begins, so they may
/// be any number, and it waits for nothing: blocks come in the order in which they shall stand there.
#[derive(Debug)]
pub struct Writer {
    file: io::BufWriter<File>,
    head: Head,
    has_video: bool,
    /// By number, from 1 on: when its last block was, and whether the cluster has an entry of the index.
    tracks: Vec<(Option<u64>, bool)>,
    /// Blocks of the cluster that is not written yet.
    blocks: Vec<u8>,
    cluster_ms: i64,
    end: u64,
    cues: Cues,
}

impl Writer {
    /// Begins it. `zero`: where its time begins.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn new(file: File, doc_type: DocType, zero: MediaTime, tracks: &[Track]) -> io::Result<Self> {
        let head = Head::of_tracks(doc_type, zero, tracks);
        let mut file = io::BufWriter::with_capacity(1 << 20, file);
        file.write_all(&head.render(None))?;
        Ok(Self {
            file,
            has_video: tracks.iter().any(|track| track.media.is_video()),
            tracks: vec![(None, false); tracks.len()],
            blocks: Vec::new(),
            cluster_ms: 0,
            end: head.room() as u64,
            cues: Cues::default(),
            head,
        })
    }

    /// Writes a block of the track with this number, at this time of the file; one that does not come after
    /// the one before comes a millisecond after it.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&mut self, number: u16, at_ms: u64, keyframe: bool, bytes: &[u8]) -> io::Result<()> {
        let is_picture = self.head.is_video(number);
        let last = self.tracks[usize::from(number) - 1].0;
        let at_ms = last.map_or(at_ms, |last| at_ms.max(last + 1));
        let at = at_ms.cast_signed();
        let is_new = self.blocks.is_empty()
            || (is_picture && keyframe)
            || (at - self.cluster_ms).abs() >= CLUSTER_MS
            || self.blocks.len() >= CLUSTER_BYTES;
        if is_new {
            self.write_cluster()?;
            self.cluster_ms = at;
        }
        push_block(&mut self.blocks, number, (at - self.cluster_ms) as i16, keyframe, bytes);
        let (last, is_cued) = &mut self.tracks[usize::from(number) - 1];
        *last = Some(at_ms);
        if self.cues.is_due(at_ms, is_picture, keyframe, self.has_video) && !std::mem::replace(is_cued, true)
        {
            self.cues.push(Cue { at_ms, track: number, cluster: self.end });
        }
        Ok(())
    }

    fn write_cluster(&mut self) -> io::Result<()> {
        if self.blocks.is_empty() {
            return Ok(());
        }
        let mut out = Vec::with_capacity(self.blocks.len() + 32);
        push_master(&mut out, id::CLUSTER, |out| {
            push_uint(out, id::TIMESTAMP, self.cluster_ms.unsigned_abs());
            out.extend_from_slice(&self.blocks);
        });
        self.blocks.clear();
        self.tracks.iter_mut().for_each(|track| track.1 = false);
        self.end += out.len() as u64;
        self.file.write_all(&out)
    }

    /// Writes the index, and the head that knows all; waits until it is on the disk.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn end(mut self, duration_ms: u64) -> io::Result<()> {
        self.write_cluster()?;
        let mut cues = Vec::new();
        push_cues(&mut cues, self.head.content(), &self.cues.list);
        self.file.write_all(&cues)?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let end = End { duration_ms, cues: (self.end, self.end + cues.len() as u64) };
        file.write_all_at(&self.head.render(Some(end)), 0)?;
        file.sync_all()
    }
}

/// RFC 9559 §10.2, with numbers of one or two octets.
fn push_block(out: &mut Vec<u8>, number: u16, after_ms: i16, keyframe: bool, bytes: &[u8]) {
    let wide = number >= 0x7f;
    let len = bytes.len() + 4 + usize::from(wide);
    push_id(out, id::SIMPLE_BLOCK);
    out.extend_from_slice(&(1 << 28 | len as u32).to_be_bytes());
    if wide {
        out.extend_from_slice(&(0x4000 | number).to_be_bytes());
    } else {
        out.push(0x80 | number as u8);
    }
    out.extend_from_slice(&after_ms.to_be_bytes());
    out.push(if keyframe { 0x80 } else { 0 });
    out.extend_from_slice(bytes);
}
