//! What stands in front of the clusters, in a fixed number of octets, so that it can be written again.

use super::ebml::{
    SIZE_UNKNOWN, VOID_BYTES_MIN, elements, head, id, long_size, push_binary, push_float, push_id,
    push_master, push_text, push_uint, push_void, uint,
};
use super::track::{TYPE_VIDEO, Track};
use relay_port::MediaTime;
use std::fmt;

/// Where the clusters begin: room for [`TRACKS_MAX`] tracks with names of the common length.
pub const HEAD_BYTES: usize = 32 << 10;
/// Tracks of one file: their numbers are one octet in each block, of which the last stands for none.
pub const TRACKS_MAX: usize = 126;

/// Timestamps are milliseconds, as WebM wants it.
pub(super) const TIMESTAMP_SCALE: u64 = 1_000_000;
/// 2001-01-01T00:00:00Z, where Matroska's dates begin, in nanoseconds since the Unix epoch.
const DATE_ZERO: i64 = 978_307_200_000_000_000;
const APP: &str = concat!("Ringvox ", env!("CARGO_PKG_VERSION"));

/// The document type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocType {
    /// `.webm`: VP8 and Opus only.
    WebM,
    /// `.mkv`: everything.
    Matroska,
}

impl DocType {
    /// As in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebM => "webm",
            Self::Matroska => "matroska",
        }
    }
}

/// The head has no room for another track: go on in another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadFull;

impl fmt::Display for HeadFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the file has room for no other track")
    }
}

impl std::error::Error for HeadFull {}

/// What is known when a file begins, and when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which containers it is for.
    pub doc_type: DocType,
    /// The moment of the room clock at which the file's time begins.
    pub zero: MediaTime,
    /// The entries, one after the other.
    entries: Vec<u8>,
    /// By number, from 1 on: whether it is a picture.
    pictures: Vec<bool>,
    /// Octets that it takes.
    room: usize,
}

/// What is known when all clusters are there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct End {
    pub duration_ms: u64,
    /// Where the index begins, and where it ends, in the file; there is none if that is the same.
    pub cues: (u64, u64),
}

impl Head {
    /// No tracks yet.
    #[must_use]
    pub const fn new(doc_type: DocType) -> Self {
        let zero = MediaTime::from_nanos(0);
        Self { doc_type, zero, entries: Vec::new(), pictures: Vec::new(), room: HEAD_BYTES }
    }

    /// With all the tracks that there will be, however many, and the room that they need.
    pub(super) fn of_tracks<'a>(
        doc_type: DocType,
        zero: MediaTime,
        tracks: impl IntoIterator<Item = &'a Track>,
    ) -> Self {
        let mut head = Self { zero, ..Self::new(doc_type) };
        for (number, track) in (1..).zip(tracks) {
            track.push_entry(&mut head.entries, number);
            head.pictures.push(track.media.is_video());
        }
        head.room = HEAD_BYTES.max(head.end_of_tracks(Some(NO_END)) + VOID_BYTES_MIN);
        head
    }

    /// The tracks, from number 1 on; `None` of one that is not ours.
    pub fn list(&self) -> impl Iterator<Item = Option<Track>> {
        elements(&self.entries).map(|(_, entry)| Track::parse(entry))
    }

    /// Octets that it takes.
    pub(super) const fn room(&self) -> usize {
        self.room
    }

    /// Adds a track; its number.
    ///
    /// # Errors
    /// If there is no room.
    pub fn add(&mut self, track: &Track) -> Result<u8, HeadFull> {
        let (number, len) = (self.pictures.len() + 1, self.entries.len());
        if number > TRACKS_MAX {
            return Err(HeadFull);
        }
        track.push_entry(&mut self.entries, number as u16);
        // The seek head and the rest of the information are part of the finished head only.
        if self.end_of_tracks(Some(NO_END)) + VOID_BYTES_MIN > HEAD_BYTES {
            self.entries.truncate(len);
            return Err(HeadFull);
        }
        self.pictures.push(track.media.is_video());
        Ok(number as u8)
    }

    /// Whether the track of this number is a picture.
    #[must_use]
    pub fn is_video(&self, number: u16) -> bool {
        self.pictures.get(usize::from(number).wrapping_sub(1)) == Some(&true)
    }

    /// How many tracks there are.
    #[must_use]
    pub fn tracks(&self) -> usize {
        self.pictures.len()
    }

    /// [`Head::room`] octets.
    pub(super) fn render(&self, end: Option<End>) -> Vec<u8> {
        let mut out = self.render_tracks(end);
        push_void(&mut out, self.room);
        out
    }

    fn end_of_tracks(&self, end: Option<End>) -> usize {
        self.render_tracks(end).len()
    }

    fn render_tracks(&self, end: Option<End>) -> Vec<u8> {
        let mut out = self.render_front();
        let content = self.content();
        out.extend_from_slice(&end.map_or(SIZE_UNKNOWN, |end| long_size(end.cues.1 - content)));
        let mut info = Vec::new();
        self.push_info(&mut info, end);
        if let Some(end) = end {
            let (cues, cues_end) = end.cues;
            let entries = if cues < cues_end { 3 } else { 2 };
            let own = SEEK_HEAD_BYTES + SEEK_BYTES * entries as u64;
            let targets =
                [(id::INFO, own), (id::TRACKS, own + info.len() as u64), (id::CUES, cues - content)];
            push_seek_head(&mut out, &targets[..entries]);
        }
        out.extend_from_slice(&info);
        push_binary(&mut out, id::TRACKS, &self.entries);
        out
    }

    /// What stands before the length of the segment.
    fn render_front(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES);
        push_master(&mut out, id::EBML, |out| {
            push_uint(out, id::EBML_VERSION, 1);
            push_uint(out, id::EBML_READ_VERSION, 1);
            push_uint(out, id::EBML_MAX_ID_LENGTH, 4);
            push_uint(out, id::EBML_MAX_SIZE_LENGTH, 8);
            push_text(out, id::DOC_TYPE, self.doc_type.name());
            push_uint(out, id::DOC_TYPE_VERSION, 4);
            push_uint(out, id::DOC_TYPE_READ_VERSION, 2);
        });
        push_id(&mut out, id::SEGMENT);
        out
    }

    /// Where the segment's content begins, from which positions in the index are counted.
    pub(super) fn content(&self) -> u64 {
        (self.render_front().len() + SIZE_UNKNOWN.len()) as u64
    }

    fn push_info(&self, out: &mut Vec<u8>, end: Option<End>) {
        push_master(out, id::INFO, |out| {
            push_uint(out, id::TIMESTAMP_SCALE, TIMESTAMP_SCALE);
            if let Some(end) = end {
                push_float(out, id::DURATION, end.duration_ms as f64);
            }
            push_binary(out, id::DATE_UTC, &(self.zero.as_nanos().saturating_sub(DATE_ZERO)).to_be_bytes());
            push_text(out, id::MUXING_APP, APP);
            push_text(out, id::WRITING_APP, APP);
        });
    }

    /// Reads a head back; `None` if it is not one of ours.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEAD_BYTES)?;
        let (_, header) = elements(bytes).next().filter(|(found, _)| *found == id::EBML)?;
        let doc_type = elements(header).find(|(found, _)| *found == id::DOC_TYPE)?.1;
        let known = [DocType::WebM, DocType::Matroska];
        let doc_type = known.into_iter().find(|known| known.name().as_bytes() == doc_type)?;
        let (_, len, head_len) = head(bytes)?;
        let segment = head_len + usize::try_from(len?).ok()?;
        let (_, _, segment_head) = head(bytes.get(segment..)?).filter(|(found, ..)| *found == id::SEGMENT)?;
        let content = segment + segment_head;
        let (mut zero, mut entries) = (None, None);
        for (found, inner) in elements(bytes.get(content..)?) {
            match found {
                id::INFO => zero = elements(inner).find(|(found, _)| *found == id::DATE_UTC),
                id::TRACKS => entries = Some(inner.to_vec()),
                _ => {}
            }
        }
        let (zero, entries) = (i64::from_be_bytes(zero?.1.try_into().ok()?), entries?);
        let is_video = |(_, entry)| {
            let kind = elements(entry).find(|(found, _)| *found == id::TRACK_TYPE);
            kind.and_then(|(_, kind)| uint(kind)) == Some(TYPE_VIDEO)
        };
        let pictures: Vec<bool> = elements(&entries).map(is_video).collect();
        let zero = MediaTime::from_nanos(zero.saturating_add(DATE_ZERO));
        let parsed = Self { doc_type, zero, entries, pictures, room: HEAD_BYTES };
        let has_room = parsed.end_of_tracks(Some(NO_END)) + VOID_BYTES_MIN <= HEAD_BYTES;
        (has_room && parsed.tracks() <= TRACKS_MAX).then_some(parsed)
    }
}

/// Any, for the room that it takes.
const NO_END: End = End { duration_ms: 0, cues: (1 << 32, 2 << 32) };

/// The list itself; an entry of it: an id, and a position in eight octets.
const SEEK_HEAD_BYTES: u64 = 8;
const SEEK_BYTES: u64 = 6 + (6 + 4) + (6 + 8);

fn push_seek_head(out: &mut Vec<u8>, targets: &[(u32, u64)]) {
    let begin = out.len() as u64;
    push_master(out, id::SEEK_HEAD, |out| {
        for (target, position) in targets {
            push_master(out, id::SEEK, |out| {
                push_binary(out, id::SEEK_ID, &target.to_be_bytes());
                push_binary(out, id::SEEK_POSITION, &position.to_be_bytes());
            });
        }
    });
    debug_assert_eq!(out.len() as u64 - begin, SEEK_HEAD_BYTES + SEEK_BYTES * targets.len() as u64);
}

#[cfg(test)]
mod tests {
    use super::super::track::Media;
    use super::*;

    fn track(name: &str) -> Track {
        let media = Media::H264 { width: 1280, height: 720, config: vec![7; 50] };
        Track { uid: 7, name: name.to_owned(), media }
    }

    #[test]
    fn a_head_comes_back_finished_or_not() {
        let mut head = Head::new(DocType::Matroska);
        head.zero = MediaTime::from_nanos(1_800_000_000_123_456_789);
        assert_eq!(head.add(&track("alice")), Ok(1));
        assert_eq!(head.add(&Track { uid: 8, name: String::new(), media: Media::Opus }), Ok(2));
        assert!(head.is_video(1) && !head.is_video(2) && !head.is_video(0) && !head.is_video(3));
        for end in [None, Some(End { duration_ms: 12_345, cues: (40_000, 41_000) })] {
            let bytes = head.render(end);
            assert_eq!(bytes.len(), HEAD_BYTES);
            let (back, content) = (Head::parse(&bytes).expect("ours"), head.content());
            assert_eq!(back, head);
            assert_eq!(back.render(end), bytes);
            let found: Vec<u32> = elements(&bytes[content as usize..]).map(|(id, _)| id).collect();
            let without = [id::INFO, id::TRACKS, id::VOID];
            assert_eq!(found[found.len() - 3..], without);
            assert_eq!(found.len(), if end.is_some() { 4 } else { 3 });
        }
    }

    #[test]
    fn its_room_is_bounded() {
        let (mut few, mut many) = (Head::new(DocType::Matroska), Head::new(DocType::Matroska));
        let added = |head: &mut Head, name: &str| (0..200).filter(|_| head.add(&track(name)).is_ok()).count();
        assert_eq!(added(&mut few, &"long ".repeat(80)), 85);
        assert_eq!(added(&mut many, "somebody's camera"), TRACKS_MAX);
        assert_eq!(few.render(None).len(), HEAD_BYTES);
        assert_eq!(Head::parse(&few.render(Some(NO_END))).map(|head| head.tracks()), Some(85));
    }

    #[test]
    fn what_is_not_ours_is_none() {
        let mut head = Head::new(DocType::WebM);
        head.add(&track("")).expect("room");
        let bytes = head.render(None);
        assert!(Head::parse(&bytes[..HEAD_BYTES - 1]).is_none());
        assert!(Head::parse(&[0; HEAD_BYTES]).is_none());
        assert!(Head::parse(&[&[0x1a][..], &bytes[1..], &[0]].concat()).is_some());
        assert!(Head::parse(&[&[0x1b][..], &bytes[1..]].concat()).is_none());
    }
}
