//! What the file of a recording is called.
//!
//! Invariants
//! - Whatever members call themselves, their rooms and streams: a name is one that
//!   [`recorder_control::is_file_name`] takes, and of what they wrote only ASCII letters, digits, `-` and `_`
//!   are in it.
//! - No two recordings have the same name, as each has its recording's id.

use recorder_control::FILE_NAME_BYTES_MAX;

/// Longest template.
const TEMPLATE_BYTES_MAX: usize = 100;
/// Longest name without ending: others are made of it (`-2`, `.json`, that of the mixed file).
const STEM_BYTES_MAX: usize = FILE_NAME_BYTES_MAX - 40;
/// Longest room, login or stream in a name.
const NAME_BYTES_MAX: usize = 48;
/// Longest id of a session or stream in a name: a UUID.
const CLIENT_ID_BYTES_MAX: usize = 36;

/// How files of streams are called, as the settings say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Element(Element),
}

/// What is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Room,
    Login,
    Stream,
    StreamName,
    SessionId,
    MediaSessionId,
    StartTime,
    StartTimeMillis,
    AudioCodec,
    VideoCodec,
    Id,
}

const ELEMENTS: [(&str, Element); 11] = [
    ("room", Element::Room),
    ("login", Element::Login),
    ("stream", Element::Stream),
    ("streamName", Element::StreamName),
    ("sessionId", Element::SessionId),
    ("mediaSessionId", Element::MediaSessionId),
    ("startTime", Element::StartTime),
    ("startTimeMillis", Element::StartTimeMillis),
    ("audioCodec", Element::AudioCodec),
    ("videoCodec", Element::VideoCodec),
    ("id", Element::Id),
];

/// What a file is named after.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) room: &'a str,
    pub(crate) login: &'a str,
    /// See [`short_name`].
    pub(crate) stream: &'a str,
    pub(crate) stream_name: &'a str,
    pub(crate) session_id: &'a str,
    pub(crate) media_session_id: &'a str,
    /// Milliseconds since the Unix epoch.
    pub(crate) started_at_ms: u64,
    pub(crate) audio_codec: Option<&'a str>,
    pub(crate) video_codec: Option<&'a str>,
    /// Of the recording.
    pub(crate) id: &'a str,
}

impl Template {
    /// `None`: it has something that cannot be had or may not stand in a name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > TEMPLATE_BYTES_MAX {
            return None;
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (plain, behind) = rest.split_once('{').unwrap_or((rest, ""));
            if !plain.bytes().all(is_plain) {
                return None;
            }
            if !plain.is_empty() {
                parts.push(Part::Text(plain.to_owned()));
            }
            if plain.len() == rest.len() {
                break;
            }
            let (name, after) = behind.split_once('}')?;
            let (_, element) = ELEMENTS.iter().find(|(known, _)| *known == name)?;
            parts.push(Part::Element(*element));
            rest = after;
        }
        Some(Self(parts))
    }

    /// The name of a stream's file.
    pub(crate) fn file(&self, subject: &Subject<'_>) -> String {
        let mut stem = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => stem.push_str(text),
                Part::Element(element) => stem.push_str(&element.text(subject)),
            }
        }
        let ending = if subject.video_codec == Some("h264") { "mp4" } else { "webm" };
        let with_id = self.has(Element::Id) && stem.len() <= STEM_BYTES_MAX;
        file(&stem, (!with_id).then_some(subject.id), ending)
    }

    fn has(&self, element: Element) -> bool {
        self.0.contains(&Part::Element(element))
    }
}

impl Element {
    fn text(self, subject: &Subject<'_>) -> String {
        match self {
            Self::Room => plain(subject.room, NAME_BYTES_MAX),
            Self::Login => plain(subject.login, NAME_BYTES_MAX),
            Self::Stream => plain(subject.stream, NAME_BYTES_MAX),
            Self::StreamName => plain(subject.stream_name, NAME_BYTES_MAX),
            Self::SessionId => plain(subject.session_id, CLIENT_ID_BYTES_MAX),
            Self::MediaSessionId => plain(subject.media_session_id, CLIENT_ID_BYTES_MAX),
            Self::StartTime => date_and_time(subject.started_at_ms),
            Self::StartTimeMillis => subject.started_at_ms.to_string(),
            Self::AudioCodec => subject.audio_codec.unwrap_or("none").to_owned(),
            Self::VideoCodec => subject.video_codec.unwrap_or("none").to_owned(),
            Self::Id => subject.id.to_owned(),
        }
    }
}

/// The name of a room's file.
pub(crate) fn of_room(room: &str, started_at_ms: u64, id: &str) -> String {
    let stem = format!("{}-{}", plain(room, NAME_BYTES_MAX), date_and_time(started_at_ms));
    file(&stem, Some(id), "mkv")
}

/// The stem in the form that a name must have, with the id behind it if it is not in it.
fn file(stem: &str, id: Option<&str>, ending: &str) -> String {
    let id = id.map_or_else(String::new, |id| format!("-{id}"));
    // All of it is ASCII by now.
    let mut stem = stem.get(..stem.len().min(STEM_BYTES_MAX - id.len())).unwrap_or_default().to_owned();
    if !stem.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        stem.insert(0, '_');
    }
    format!("{stem}{id}.{ending}")
}

fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_')
}

/// What people or clients wrote, as it may stand in a name.
fn plain(text: &str, bytes_max: usize) -> String {
    let one = |c: char| if u8::try_from(c).is_ok_and(is_plain) { c } else { '_' };
    text.chars().take(bytes_max).map(one).collect()
}

/// The vendor's client calls a stream of a room `<room>-<login>-<4 hexadecimal digits>`, with a `-` and what
/// its page says behind it, as `screenShare`. This is what the page says, or else whether there is a picture;
/// any other name is its own.
pub(crate) fn short_name<'a>(room: &str, login: &str, name: &'a str, has_video: bool) -> &'a str {
    let rest = name.strip_prefix(room).and_then(|rest| rest.strip_prefix('-'));
    let rest = rest.and_then(|rest| rest.strip_prefix(login)?.strip_prefix('-'));
    let digits = |rest: &&str| rest.bytes().take(4).filter(u8::is_ascii_hexdigit).count() == 4;
    match rest.filter(digits).and_then(|rest| rest.get(4..)) {
        Some("") if has_video => "video",
        Some("") => "audio",
        Some(suffix) => suffix.strip_prefix('-').filter(|suffix| !suffix.is_empty()).unwrap_or(name),
        None => name,
    }
}

/// In UTC, as `20260131T235959Z`.
fn date_and_time(unix_ms: u64) -> String {
    const DAY: u64 = 86_400;
    let seconds = unix_ms / 1_000;
    let (days, of_day) = (seconds / DAY, seconds % DAY);
    // Days since 1 March of the year 0: leap days are the last of their years then, and 400 years have always
    // as many days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z", era * 400 + year)
}

#[cfg(test)]
mod tests {
    use super::*;
    use recorder_control::is_file_name;

    const ID: &str = "0123456789abcdef";

    fn subject<'a>() -> Subject<'a> {
        Subject {
            room: "lobby",
            login: "alice",
            stream: "screenShare",
            stream_name: "lobby-alice-1f2e-screenShare",
            session_id: "5e55",
            media_session_id: "7059",
            started_at_ms: 1_764_333_162_345,
            audio_codec: Some("opus"),
            video_codec: Some("vp8"),
            id: ID,
        }
    }

    #[test]
    fn elements_are_put_in() {
        for (template, expected) in [
            ("{room}-{login}-{stream}-{startTime}", "lobby-alice-screenShare-20251128T123242Z-ID.webm"),
            ("stream-{mediaSessionId}-{login}", "stream-7059-alice-ID.webm"),
            ("{streamName}_{audioCodec}_{videoCodec}", "lobby-alice-1f2e-screenShare_opus_vp8-ID.webm"),
            ("{id}", "ID.webm"),
            ("-{id}{sessionId}", "_-ID5e55.webm"),
            ("{startTimeMillis}", "1764333162345-ID.webm"),
            ("x", "x-ID.webm"),
        ] {
            let template = Template::parse(template).expect(template);
            assert_eq!(template.file(&subject()), expected.replace("ID", ID));
        }
        let template = Template::parse("{room}-{login}-{stream}-{videoCodec}").expect("good");
        let camera = Subject { stream: "video", video_codec: Some("h264"), ..subject() };
        assert_eq!(template.file(&camera), format!("lobby-alice-video-h264-{ID}.mp4"));
        let sound = Subject { video_codec: None, ..subject() };
        assert_eq!(template.file(&sound), format!("lobby-alice-screenShare-none-{ID}.webm"));
        assert_eq!(of_room("lobby", 0, ID), format!("lobby-19700101T000000Z-{ID}.mkv"));
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        for text in [
            "",
            "{endTime}",
            "{duration}",
            "{endTimeMillis}",
            "{Room}",
            "{room",
            "a/b",
            "..",
            "a b",
            "}",
            "ä",
            "{}",
        ] {
            assert_eq!(Template::parse(text), None, "{text}");
        }
        assert_eq!(Template::parse(&"a".repeat(TEMPLATE_BYTES_MAX + 1)), None);
    }

    #[test]
    fn streams_of_the_vendors_client_are_called_as_people_call_them() {
        for (room, login, name, expected) in [
            ("lobby", "alice", "lobby-alice-1f2e", "video"),
            ("lobby", "alice", "lobby-alice-1f2e-screenShare", "screenShare"),
            ("lobby", "alice", "lobby-alice-camera", "lobby-alice-camera"),
            ("lobby", "alice", "lobby-alice-1f2e-", "lobby-alice-1f2e-"),
            ("lobby", "alice", "lobby-alice-1f2", "lobby-alice-1f2"),
            ("lobby", "alice", "lobby-alice-1f2ex", "lobby-alice-1f2ex"),
            ("lobby", "alice", "camera", "camera"),
            ("a-b", "c-d", "a-b-c-d-0000-e-f", "e-f"),
            ("комната", "🎥", "комната-🎥-00ff-ä", "ä"),
            ("r", "l", "r-l-äö", "r-l-äö"),
        ] {
            assert_eq!(short_name(room, login, name, true), expected, "{name}");
        }
        assert_eq!(short_name("lobby", "alice", "lobby-alice-1f2e", false), "audio");
    }

    #[test]
    fn times_are_of_the_calendar() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_709_164_800, "20240229T000000Z"),
            (1_735_689_599, "20241231T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(date_and_time(seconds * 1_000), expected);
        }
    }

    /// What members may try: paths, controls, tricks of writing, lengths.
    fn hostile() -> Vec<String> {
        let seeds = [
            "..",
            "/",
            "\\",
            "\0",
            "%2e%2e%2f",
            "\u{202e}gpj",
            "CON",
            "NUL.webm",
            "-rf",
            "--",
            "\n",
            "\r\n",
            "🎥",
            "$(id)",
            "`id`",
            ";",
            "|",
            "&",
            "'",
            "\"",
            "*",
            "?",
            "~",
            "{id}",
            "{room}",
            ".",
            ".hidden",
            "a.mp4",
            " ",
            "\t",
            "ä",
            "\u{301}",
            "\u{200d}",
            "/etc/passwd",
            "C:\\a",
            "file:///a",
            "a\u{0}b",
            "_",
            "",
            "<x>",
        ];
        let mut names: Vec<String> = seeds.iter().map(|seed| (*seed).to_owned()).collect();
        for seed in seeds {
            for form in ["../{}", "{}/..", "-{}", "a{}b", ".{}.", "{}{}", "{}\n"] {
                names.push(form.replace("{}", seed));
            }
            names.push(seed.repeat(4_096 / seed.len().max(1)));
            names.push(format!("{}{seed}", "x".repeat(NAME_BYTES_MAX - 1)));
        }
        names
    }

    #[test]
    fn no_name_is_a_path_whatever_members_call_themselves() {
        let names = hostile();
        assert!(names.len() >= 400, "{}", names.len());
        let longest = "{room}{login}{stream}{streamName}{sessionId}{mediaSessionId}{startTime}";
        for template in
            ["{room}-{login}-{stream}-{startTime}", "{stream}", "{id}-{stream}", longest, "-{login}"]
        {
            let template = Template::parse(template).expect(template);
            for name in &names {
                let hostile = Subject {
                    room: name,
                    login: name,
                    stream: short_name(name, name, name, true),
                    stream_name: name,
                    session_id: name,
                    media_session_id: name,
                    ..subject()
                };
                for file in [template.file(&hostile), of_room(name, u64::MAX, ID)] {
                    assert!(is_file_name(&file), "{name:?}: {file:?}");
                    assert!(file.contains(ID), "{name:?}: {file:?}");
                    assert_eq!(file.matches('.').count(), 1, "{name:?}: {file:?}");
                    assert!(file.len() + "-mixed-1000.json".len() <= FILE_NAME_BYTES_MAX, "{file:?}");
                }
            }
        }
    }
}
