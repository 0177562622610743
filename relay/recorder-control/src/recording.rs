//! What is known of a recording, and what is said of it.

use crate::Kind;
use serde::{Deserialize, Serialize};

/// Where a recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is written.
    Recording,
    /// It would be written, but there is no room on the disk, or there are too many; it goes on when there
    /// is.
    Paused,
    /// It has ended, and its file is made.
    Finishing,
    /// Its file can be fetched.
    Ready,
    /// It has no file; what was written is kept as it is.
    Failed,
}

/// Why a recording has stopped or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// There is less room than `min_free`, or none.
    DiskFull,
    /// The disk is slower than what is recorded.
    DiskSlow,
    /// Reading or writing failed otherwise.
    Disk,
    /// As many are recorded as may be at a time.
    TooMany,
    /// Nothing came that could be recorded.
    Empty,
    /// The file could not be made of what was recorded.
    Finishing,
}

/// Why, for programs and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For programs.
    pub code: FailureCode,
    /// For people.
    pub info: String,
}

/// A track of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// Who published it.
    pub login: String,
    /// The stream's name.
    pub stream: String,
    /// `audio` or `video`.
    pub kind: String,
    /// As in SDP, in lower case: `vp8`, `h264`, `opus`, `pcmu`, `pcma`.
    pub codec: String,
    /// It is of a screen, or of a part of one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub screen: bool,
    /// From the recording's beginning to its own, in milliseconds.
    pub begins_ms: u64,
}

/// All that is known of a recording. The same stands beside its file, as `FILE.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recording {
    /// See [`crate::is_id`].
    pub id: String,
    /// What it is of.
    pub kind: Kind,
    /// Where it is.
    pub state: State,
    /// The room's name.
    pub room: String,
    /// Of a stream: who publishes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// Of a stream: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Of a stream: its whole name, as its client gave it, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The finished file's name.
    pub file: String,
    /// Of a room that was mixed: the mixed file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixed: Option<String>,
    /// Octets of the mixed file.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mixed_bytes: u64,
    /// When its first frame was recorded, in milliseconds since the Unix epoch; before there is one, when it
    /// was asked for.
    pub started_at_ms: u64,
    /// When it ended, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    /// From the file's beginning to its end, as far as it is written.
    #[serde(default)]
    pub duration_ms: u64,
    /// Octets on the disk, as far as it is written.
    #[serde(default)]
    pub bytes: u64,
    /// Of what is being done with it after its end: from 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// How often its process ended without finishing it, and how often it was paused: each time something
    /// is missing from it.
    #[serde(default)]
    pub interruptions: u32,
    /// In the order in which they came.
    #[serde(default)]
    pub tracks: Vec<Recorded>,
    /// Why it is paused or has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

impl Recording {
    /// One that has just begun, of which nothing more is known.
    #[must_use]
    pub fn new(id: &str, kind: Kind, file: &str, started_at_ms: u64) -> Self {
        Self {
            id: id.to_owned(),
            kind,
            state: State::Recording,
            room: String::new(),
            login: None,
            stream: None,
            name: None,
            file: file.to_owned(),
            mixed: None,
            mixed_bytes: 0,
            started_at_ms,
            ended_at_ms: None,
            duration_ms: 0,
            bytes: 0,
            percent: None,
            interruptions: 0,
            tracks: Vec::new(),
            failure: None,
        }
    }
}

/// From the recorder to signaling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "lowercase")]
pub enum Notice {
    /// The first.
    Hello {
        /// [`crate::RECORDER_CONTROL_VERSION`] of the recorder.
        version: u32,
        /// Where finished files are, as an absolute path.
        directory: String,
    },
    /// A recording is there, or has changed. While it is written, no more often than once a second.
    Recording(Box<Recording>),
    /// All that there were have been told.
    Synced,
    /// It is gone, with its files.
    Deleted {
        /// Its id.
        id: String,
    },
}

/// From signaling to the recorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "lowercase")]
pub enum Order {
    /// The first.
    Hello {
        /// [`crate::RECORDER_CONTROL_VERSION`] of signaling.
        version: u32,
    },
    /// Nothing more comes for this recording: finish it. Of a room it is what ends it; of a stream, whose
    /// end is the end of its tracks, it hurries that up. Unknown ids are ignored.
    End {
        /// Its id.
        id: String,
    },
    /// The recordings of rooms that go on, all of them: one that is not named, and into which no track goes,
    /// ends. Signaling does not say it yet: who says it must know all its rooms.
    Rooms {
        /// Their ids.
        ids: Vec<String>,
    },
    /// Removes a recording that is ready or has failed, with its files. Of one that is still recorded or
    /// finished it is ignored.
    Delete {
        /// Its id.
        id: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LINE_BYTES_MAX, TOLD_TRACKS_MAX};

    #[test]
    fn the_longest_names_fit_a_line() {
        // As long as signaling lets them be, of what JSON makes longest.
        let [login, stream] = [256, 640].map(|len| "\"".repeat(len));
        let [kind, codec] = ["video", "opus"].map(str::to_owned);
        let track = Recorded { login, stream, kind, codec, screen: true, begins_ms: u64::MAX };
        let text = r#"{"notice":"recording","id":"0123456789abcdef","kind":"room","state":"ready",
            "room":"lobby","file":"a.mkv","startedAtMs":1}"#;
        let Notice::Recording(mut read) = serde_json::from_str(text).expect("read") else { panic!("{text}") };
        read.tracks = vec![track; TOLD_TRACKS_MAX];
        let line = serde_json::to_string(&Notice::Recording(read)).expect("strings");
        assert!(line.len() + 16 * 1024 < LINE_BYTES_MAX, "{}", line.len());
    }

    #[test]
    fn lines_are_what_the_other_side_reads() {
        let order = Order::End { id: "0123456789abcdef".into() };
        let line = serde_json::to_string(&order).expect("strings");
        assert_eq!(line, r#"{"order":"end","id":"0123456789abcdef"}"#);
        assert_eq!(serde_json::from_str::<Order>(&line).expect("read"), order);
        let text = r#"{"notice":"recording","id":"0123456789abcdef","kind":"room","state":"ready",
            "room":"lobby","file":"a.mkv","startedAtMs":1,"somethingNew":true}"#;
        let Notice::Recording(read) = serde_json::from_str(text).expect("read") else { panic!("{text}") };
        assert_eq!((read.kind, read.state, read.file.as_str()), (Kind::Room, State::Ready, "a.mkv"));
        let again = serde_json::to_string(&Notice::Recording(read.clone())).expect("strings");
        assert_eq!(serde_json::from_str::<Notice>(&again).expect("read"), Notice::Recording(read));
    }
}
