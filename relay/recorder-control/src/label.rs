//! The label of a tap: which recordings a track goes into.

use crate::{is_file_name, is_id};
use serde::{Deserialize, Serialize};

/// What a recording is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One publication.
    Stream,
    /// All publications of a room, from when it was asked for until the room ends.
    Room,
}

/// A recording that a track goes into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    /// See [`is_id`].
    pub id: String,
    /// What it is of.
    pub kind: Kind,
    /// The finished file's name, see [`is_file_name`]; its ending says in which container: `.webm`, `.mp4`
    /// or `.mkv`.
    pub file: String,
    /// When it was asked for, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// The finished file begins at this moment, in milliseconds since the Unix epoch, with a black picture
    /// and silence until the publication's own beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aligned_at_ms: Option<u64>,
}

/// The label of a tap, which says all about the track: a later one with other recordings ends those that it
/// lacks and begins those that it has more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TapLabel {
    /// The room's name, as its members gave it.
    pub room: String,
    /// Who publishes.
    pub login: String,
    /// The stream's name, without the room, the publisher and the random part if the client adds them; where
    /// nothing is left, `video` or `audio`.
    pub stream: String,
    /// The stream's whole name, as its client gave it, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which tracks belong together: the number of the publication.
    pub publication: u64,
    /// It is a screen, or a part of one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub screen: bool,
    /// One of each [`Kind`] at most.
    pub recordings: Vec<Wanted>,
}

impl TapLabel {
    /// As it is handed to the relay.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings and numbers: there is nothing that could go wrong.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads it. `None`: it is none, or names what may be none of ours.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let label: Self = serde_json::from_slice(bytes).ok()?;
        let fits = |wanted: &Wanted| is_id(&wanted.id) && is_file_name(&wanted.file);
        label.recordings.iter().all(fits).then_some(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(file: &str) -> TapLabel {
        let wanted = Wanted {
            id: "0123456789abcdef".into(),
            kind: Kind::Stream,
            file: file.into(),
            started_at_ms: 5,
            aligned_at_ms: None,
        };
        let [room, login, stream] = ["lobby", "alice", "camera"].map(str::to_owned);
        let name = Some("lobby-alice-1f2e-camera".to_owned());
        TapLabel { room, login, stream, name, publication: 7, screen: false, recordings: vec![wanted] }
    }

    #[test]
    fn a_label_is_read_as_it_was_written() {
        let written = label("a.webm");
        assert_eq!(TapLabel::read(&written.to_bytes()), Some(written));
    }

    #[test]
    fn a_label_that_names_a_path_is_none() {
        assert_eq!(TapLabel::read(&label("../a.webm").to_bytes()), None);
        assert_eq!(TapLabel::read(b"{}"), None);
    }
}
