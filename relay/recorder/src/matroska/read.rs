//! Reads a finished recording again: its tracks, and block by block what they have.
//!
//! Invariants
//! - Whatever the file is, no more of it is in memory than its tracks, a few octets for each cluster, and one
//!   cluster at a time.
//! - A file that is cut has all its clusters but the last.
//!
//! Deliberately absent: lacing, which our files do not have (such blocks are passed over).

use super::ebml::{elements, head, id, uint, vint};
use super::head::TIMESTAMP_SCALE;
use super::scan::{CLUSTER_BYTES_MAX, ELEMENT_HEAD_BYTES, ScanError, fill};
use super::track::{Media, TYPE_VIDEO, content};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

/// Longest list of tracks.
const TRACKS_BYTES_MAX: u64 = 16 << 20;

/// A track as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTrack {
    /// As blocks have it.
    pub number: u64,
    /// What it is called, whatever octets that were.
    pub name: String,
    /// Whether it is a picture.
    pub is_video: bool,
    /// What it has; `None` if our recordings do not have such.
    pub media: Option<Media>,
}

/// Where a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterPlace {
    /// Where its content begins, in the file.
    at: u64,
    len: u32,
    /// When it begins.
    pub at_ms: u64,
}

/// A block of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundBlock<'a> {
    /// Number of its track.
    pub track: u64,
    /// Of the file's time.
    pub at_ms: u64,
    /// Whether a decoder can begin with it.
    pub keyframe: bool,
    /// As the codec has it.
    pub bytes: &'a [u8],
}

/// See the module.
#[derive(Debug)]
pub struct Reader {
    file: File,
    /// Of which the next element begins here.
    next: u64,
    tracks: Vec<FoundTrack>,
}

impl Reader {
    /// Reads up to the tracks.
    ///
    /// # Errors
    /// See [`ScanError`].
    pub fn open(file: File) -> Result<Self, ScanError> {
        let mut reader = Self { file, next: 0, tracks: Vec::new() };
        let (found, len, at) = reader.element()?.ok_or(ScanError::NotOurs)?;
        let (id::EBML, Some(len)) = (found, len) else { return Err(ScanError::NotOurs) };
        reader.next = at.saturating_add(len);
        let (id::SEGMENT, _, at) = reader.element()?.ok_or(ScanError::NotOurs)? else {
            return Err(ScanError::NotOurs);
        };
        reader.next = at;
        loop {
            let (found, len, at) = reader.element()?.ok_or(ScanError::NotOurs)?;
            let len = len.filter(|len| *len <= TRACKS_BYTES_MAX || found == id::VOID);
            let len = len.ok_or(ScanError::NotOurs)?;
            reader.next = at.saturating_add(len);
            match found {
                id::INFO => reader.check_scale(at, len)?,
                id::TRACKS => {
                    let bytes = reader.bytes(at, len)?.ok_or(ScanError::NotOurs)?;
                    let entries = elements(&bytes).filter(|(found, _)| *found == id::TRACK_ENTRY);
                    reader.tracks = entries.filter_map(|(_, entry)| track(entry)).collect();
                    return Ok(reader);
                }
                id::CLUSTER => return Err(ScanError::NotOurs),
                _ => {}
            }
        }
    }

    /// In the order of the file.
    #[must_use]
    pub fn tracks(&self) -> &[FoundTrack] {
        &self.tracks
    }

    /// The next cluster, whose content is put into `bytes`; `None` behind the last whole one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn next_cluster(&mut self, bytes: &mut Vec<u8>) -> io::Result<Option<ClusterPlace>> {
        while let Some((found, len, at)) = self.element()? {
            let Some(len) = len else { return Ok(None) };
            self.next = at.saturating_add(len);
            if found != id::CLUSTER {
                continue;
            }
            if len > CLUSTER_BYTES_MAX {
                return Ok(None);
            }
            let Some(content) = self.bytes(at, len)? else { return Ok(None) };
            let Some(at_ms) = cluster_ms(&content) else { continue };
            *bytes = content;
            return Ok(Some(ClusterPlace { at, len: len as u32, at_ms }));
        }
        Ok(None)
    }

    /// Whether its file has no name any more.
    ///
    /// # Errors
    /// If the disk does not say.
    pub fn is_removed(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// Reads a cluster again.
    ///
    /// # Errors
    /// If it cannot be read, or is not there any more.
    pub fn cluster(&self, place: ClusterPlace) -> io::Result<Vec<u8>> {
        self.bytes(place.at, place.len.into())?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn check_scale(&self, at: u64, len: u64) -> Result<(), ScanError> {
        let bytes = self.bytes(at, len)?.ok_or(ScanError::NotOurs)?;
        let scale = elements(&bytes).find(|(found, _)| *found == id::TIMESTAMP_SCALE);
        // RFC 9559 §5.1.2.9: milliseconds are the default.
        let is_ms = scale.is_none_or(|(_, scale)| uint(scale) == Some(TIMESTAMP_SCALE));
        is_ms.then_some(()).ok_or(ScanError::NotOurs)
    }

    /// The head of the element that comes: id, length of its content, where that begins. `None` at the end.
    fn element(&self) -> io::Result<Option<(u32, Option<u64>, u64)>> {
        let mut bytes = Vec::new();
        let mut read_at = |at, out: &mut [u8]| self.file.read_at(out, at);
        fill(&mut read_at, self.next, ELEMENT_HEAD_BYTES, &mut bytes)?;
        Ok(head(&bytes).map(|(found, len, head_len)| (found, len, self.next + head_len as u64)))
    }

    fn bytes(&self, at: u64, len: u64) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::InvalidData)?];
        match self.file.read_exact_at(&mut bytes, at) {
            Ok(()) => Ok(Some(bytes)),
            Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(why) => Err(why),
        }
    }
}

fn cluster_ms(content: &[u8]) -> Option<u64> {
    let (_, at_ms) = elements(content).find(|(found, _)| *found == id::TIMESTAMP)?;
    uint(at_ms).filter(|at_ms| *at_ms <= u64::MAX / 2)
}

/// The blocks of a cluster's content.
pub fn blocks(content: &[u8]) -> impl Iterator<Item = FoundBlock<'_>> {
    let cluster_ms = cluster_ms(content).unwrap_or_default();
    elements(content).filter_map(move |(found, content)| match found {
        id::SIMPLE_BLOCK => block(cluster_ms, content, None),
        id::BLOCK_GROUP => {
            let (_, inner) = elements(content).find(|(found, _)| *found == id::BLOCK)?;
            let refers = elements(content).any(|(found, _)| found == id::REFERENCE_BLOCK);
            block(cluster_ms, inner, Some(!refers))
        }
        _ => None,
    })
}

/// RFC 9559 §10.1, §10.2
fn block(cluster_ms: u64, content: &[u8], keyframe: Option<bool>) -> Option<FoundBlock<'_>> {
    let (track, track_len) = vint(content, 8, true)?;
    let ([t0, t1, flags], bytes) = content.get(track_len..)?.split_first_chunk()?;
    let at_ms = cluster_ms.checked_add_signed(i16::from_be_bytes([*t0, *t1]).into())?;
    let is_laced = flags & 0x06 != 0;
    let keyframe = keyframe.unwrap_or(flags & 0x80 != 0);
    (!is_laced).then_some(FoundBlock { track, at_ms, keyframe, bytes })
}

fn track(entry: &[u8]) -> Option<FoundTrack> {
    let number = content(entry, id::TRACK_NUMBER).and_then(uint)?;
    let is_video = content(entry, id::TRACK_TYPE).and_then(uint) == Some(TYPE_VIDEO);
    let name = String::from_utf8_lossy(content(entry, id::NAME).unwrap_or_default()).into_owned();
    // Without a codec it is no track.
    content(entry, id::CODEC_ID)?;
    Some(FoundTrack { number, name, is_video, media: Media::parse(entry) })
}

#[cfg(test)]
mod tests {
    use super::super::head::DocType;
    use super::super::muxer::{Block, Muxer, store};
    use super::super::track::Track;
    use super::*;
    use relay_port::MediaTime;

    fn file(tracks: &[Track], blocks: &[(u8, i64, bool)]) -> File {
        let mut muxer = Muxer::new(DocType::Matroska, Some(MediaTime::from_nanos(0)));
        tracks.iter().for_each(|track| assert!(muxer.add_track(track).is_ok()));
        for (track, ms, keyframe) in blocks {
            let time = MediaTime::from_nanos(ms * 1_000_000);
            let block = Block { track: *track, time, keyframe: *keyframe, bytes: vec![*track; 3] };
            muxer.handle_block(block).expect("times grow");
        }
        muxer.handle_end();
        let file = tempfile::tempfile().expect("a file");
        store(&mut muxer, &file);
        file
    }

    fn all(reader: &mut Reader) -> Vec<(u64, u64, bool)> {
        let (mut found, mut bytes) = (Vec::new(), Vec::new());
        while let Some(place) = reader.next_cluster(&mut bytes).expect("readable") {
            assert_eq!(reader.cluster(place).expect("there"), bytes);
            found.extend(blocks(&bytes).map(|block| (block.track, block.at_ms, block.keyframe)));
        }
        found
    }

    #[test]
    fn tracks_and_blocks_come_back() {
        let named = |uid, name: &str, media| Track { uid, name: name.into(), media };
        let tracks = [
            named(1, "alice/camera", Media::Vp8 { width: 640, height: 360 }),
            named(2, "alice/camera", Media::Opus),
            named(3, "bob/دوربین", Media::H264 { width: 320, height: 240, config: vec![1, 2, 3] }),
            named(4, "", Media::Pcmu),
            named(5, "x", Media::Pcma),
        ];
        let written = [(1, 0, true), (2, 0, true), (2, 20, true), (1, 40, false), (5, 900, true)];
        let file = file(&tracks, &written);
        let mut reader = Reader::open(file.try_clone().expect("a copy")).expect("ours");
        let read: Vec<_> = reader.tracks().iter().map(|t| (t.name.clone(), t.media.clone())).collect();
        assert_eq!(read, tracks.clone().map(|track| (track.name, Some(track.media))));
        let want: Vec<(u64, u64, bool)> =
            written.iter().map(|(track, ms, key)| (u64::from(*track), *ms as u64, *key)).collect();
        assert_eq!(all(&mut reader), want);
        // Cut, it has all but the last cluster.
        file.set_len(file.metadata().expect("there").len() - 1).expect("cut");
        assert_eq!(all(&mut Reader::open(file).expect("ours")), want[..4]);
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        for bytes in [&b""[..], b"RIFF....WAVE", &[0x1a, 0x45, 0xdf, 0xa3, 0x80], &[0x1a, 0x45, 0xdf, 0xa3]] {
            let file = tempfile::tempfile().expect("a file");
            file.write_all_at(bytes, 0).expect("written");
            assert!(matches!(Reader::open(file), Err(ScanError::NotOurs)), "{bytes:?}");
        }
    }
}
