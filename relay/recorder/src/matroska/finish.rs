//! The last step of a file: an index, and a head that knows the length.

use super::ebml::{id, push_master, push_uint};
use super::head::{DocType, End};
use super::scan::{Cue, ScanError, Scanned, scan};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Finishes a file, whether its recorder ended or died: what is cut at its end goes, the index follows, and
/// the head says where it is and how long the file lasts. Doing it again changes nothing; dying meanwhile
/// leaves a file that plays.
///
/// # Errors
/// See [`ScanError`]; writing too.
pub fn finish(file: &File) -> Result<Scanned, ScanError> {
    finish_as(file, None)
}

/// The same, as a file of this type: whoever says so has seen that it may have the codecs.
///
/// # Errors
/// See [`finish`].
pub fn finish_as(file: &File, doc_type: Option<DocType>) -> Result<Scanned, ScanError> {
    let mut scanned = scan(|at, bytes| file.read_at(bytes, at))?;
    scanned.head.doc_type = doc_type.unwrap_or(scanned.head.doc_type);
    let (head, cues) = scanned.index();
    file.set_len(scanned.end)?;
    file.write_all_at(&cues, scanned.end)?;
    // The head points at what is there.
    file.sync_data()?;
    file.write_all_at(&head, 0)?;
    file.sync_data()?;
    Ok(scanned)
}

impl Scanned {
    /// The head that knows all, and what stands behind the last cluster.
    #[must_use]
    pub fn index(&self) -> (Vec<u8>, Vec<u8>) {
        let mut cues = Vec::new();
        push_cues(&mut cues, self.head.content(), &self.cues);
        let end = End { duration_ms: self.duration_ms, cues: (self.end, self.end + cues.len() as u64) };
        (self.head.render(Some(end)), cues)
    }
}

/// RFC 9559 §5.1.5.1: no index is empty.
pub(super) fn push_cues(out: &mut Vec<u8>, content: u64, cues: &[Cue]) {
    if cues.is_empty() {
        return;
    }
    push_master(out, id::CUES, |out| {
        for cue in cues {
            push_master(out, id::CUE_POINT, |out| {
                push_uint(out, id::CUE_TIME, cue.at_ms);
                push_master(out, id::CUE_TRACK_POSITIONS, |out| {
                    push_uint(out, id::CUE_TRACK, cue.track.into());
                    push_uint(out, id::CUE_CLUSTER_POSITION, cue.cluster - content);
                });
            });
        }
    });
}
