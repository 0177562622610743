//! What signaling and the recorder say to each other.
//!
//! Two ways, with one thing each:
//! - *What goes into which recording* is the label of a tap ([`TapLabel`]): signaling orders the tap from the
//!   relay, and the relay hands the label on before the track's first packet. So a recorder that is started
//!   again learns it with the track, and a recording outlives signaling.
//! - *What has become of recordings* goes over the recorder's own control socket as JSON, one object a line:
//!   [`Notice`]s to signaling, [`Order`]s from it. The first notice is [`Notice::Hello`], then every
//!   recording that there is, then [`Notice::Synced`], then whatever changes.
//!
//! Invariants
//! - An id names one recording for ever. All parts, files and orders of it have it.
//! - Fields may come: a reader passes over those that it does not know, and does without those that are
//!   missing from an older side.
//! - No name that a user chose is part of a path: [`Wanted::file`] is checked by [`is_file_name`].
//!
//! Deliberately absent: sockets, and the names of files that are not finished.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod label;
mod recording;

pub use label::{Kind, TapLabel, Wanted};
pub use recording::{Failure, FailureCode, Notice, Order, Recorded, Recording, State};

/// Version of what is said on the control socket.
pub const RECORDER_CONTROL_VERSION: u32 = 1;
/// Longest line on the control socket.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Tracks of a recording that are told; more are recorded and not told.
pub const TOLD_TRACKS_MAX: usize = 256;
/// Longest name of a file.
pub const FILE_NAME_BYTES_MAX: usize = 200;
/// Octets of an id.
pub const ID_BYTES_MAX: usize = 32;
/// The name under which the recorder is at the relay's port.
pub const PORT_NAME: &str = "recorder";

/// Whether a recording may have this id: 8 to [`ID_BYTES_MAX`] lower-case hexadecimal digits.
#[must_use]
pub fn is_id(id: &str) -> bool {
    let digit = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
    (8..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(digit)
}

/// Whether a finished file may be called so: up to [`FILE_NAME_BYTES_MAX`] ASCII letters, digits, `.`, `_`
/// and `-`, the first of them a letter, a digit or `_`.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'_';
    let fits = |octet: u8| plain(octet) || matches!(octet, b'.' | b'-');
    (1..=FILE_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_no_paths() {
        for name in ["a.webm", "lobby-alice-1f.mp4", "_", &"a".repeat(FILE_NAME_BYTES_MAX)] {
            assert!(is_file_name(name), "{name}");
        }
        let long = "a".repeat(FILE_NAME_BYTES_MAX + 1);
        for name in
            ["", ".", "..", "../a", "a/b", "-a", ".a", "a b", "ä", "a\0", "a\n", "%2e", "C:\\a", &long]
        {
            assert!(!is_file_name(name), "{name}");
        }
    }

    #[test]
    fn ids_are_hexadecimal() {
        assert!(is_id("0123456789abcdef") && is_id("01234567"));
        for id in ["", "0123456", "0123456789ABCDEF", "../01234567", &"0".repeat(33)] {
            assert!(!is_id(id), "{id}");
        }
    }
}
