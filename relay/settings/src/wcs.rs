//! WCS's `flashphoner.properties`: what of it is a setting of ours.
//!
//! Invariants
//! - What `ringvox.toml` says counts, whatever stands here.
//! - Nothing here is fatal: what is not understood, or cannot be had, is told once.

use crate::Key;
use crate::told::tell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;

/// WCS's settings.
pub const PROPERTIES: &str = "flashphoner.properties";
/// WCS's settings of the mixer.
pub const OFFLINE_MIXER: &str = "offline_mixer.json";

/// Largest file that is read.
const BYTES_MAX: u64 = 4 << 20;
/// What WCS calls its own script that mixes: ours is called so too.
const MIX_SCRIPT: &str = "on_multiple_record_hook.sh";
/// The formats in which we record.
const FORMATS: [&str; 2] = ["h264-mp4", "vp8-webm"];

/// The keys of recording that are read.
const READ: [&str; 5] = [
    "stream_record_policy",
    "stream_record_policy_template",
    "on_record_hook_script",
    "on_multiple_record_hook_script",
    "record_formats",
];
/// Whose program has this key tells what is of nobody: the recorder.
const OF_RECORDER: (&str, &str) = ("recording", "mp4_audio");

/// A setting of ours that a key of WCS's says.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    place: (&'static str, &'static str),
    /// WCS's key.
    key: &'static str,
    value: String,
}

/// Sets the keys that the file lacks from WCS's settings, if it names their directory.
pub(crate) fn fill(file: &toml::Table, keys: &mut [Key<'_>]) {
    let of = |table: &str, name: &str| file.get(table).and_then(|table| table.get(name));
    let Some(directory) = of("recording", "wcs_directory").and_then(toml::Value::as_str) else { return };
    let path = Path::new(directory).join(PROPERTIES);
    let text = match read(&path) {
        Ok(text) => text,
        Err(why)
            if why.kind() == io::ErrorKind::NotFound && Path::new(directory).join(OFFLINE_MIXER).exists() =>
        {
            return;
        }
        Err(why) => return tell(format!("recording.wcs_directory: {}: {why}", path.display())),
    };
    let wcs = properties(&text);
    let (said, refused) = settings(&wcs, Path::new(directory));
    // Each program tells of its own keys.
    let is_own = |(table, name): (&str, &str)| {
        keys.iter().any(|key| key.place() == (table, name) && !key.checked_only)
    };
    // What ringvox.toml says counts, so nothing of WCS's is missed there.
    let counts = |(table, name): (&str, &str)| is_own((table, name)) && of(table, name).is_none();
    if is_own(OF_RECORDER) {
        tell_unused(&path, &wcs);
    }
    let refused: Vec<String> =
        refused.into_iter().filter(|(place, _)| counts(*place)).map(|(_, why)| why).collect();
    refused.into_iter().for_each(|why| tell(format!("{}: {why}", path.display())));
    for Said { place, key, value } in said {
        let own = keys.iter_mut().find(|own| own.place() == place && !own.checked_only);
        if let Some(own) = own.filter(|_| of(place.0, place.1).is_none())
            && let Err(why) = own.set(key, Ok(vec![value]))
        {
            tell(format!("{}: {why}; {}.{} is as it was", path.display(), place.0, place.1));
        }
    }
}

/// WCS's keys of recording that do nothing here, in one line.
fn tell_unused(path: &Path, wcs: &BTreeMap<String, String>) {
    let unused: Vec<&str> = wcs.keys().map(String::as_str).filter(|key| is_unused(key)).collect();
    if !unused.is_empty() {
        tell(format!(
            "{}: {} count for nothing here; README.md lists the keys that do, and ringvox.toml.example what \
             [recording] has instead",
            path.display(),
            unused.join(", ")
        ));
    }
}

/// Whether a key is of recording by its name, and none that is read.
fn is_unused(key: &str) -> bool {
    let of_recording =
        key.split('_').any(|word| matches!(word, "record" | "recorder" | "records" | "recording"));
    of_recording && !READ.contains(&key)
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
    // Java's own encoding of such files is Latin-1; who has anything else in them writes UTF-8 today.
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|bad| bad.into_bytes().iter().map(|b| char::from(*b)).collect()))
}

/// A key of ours and the words about what cannot be had of it.
type Refused = ((&'static str, &'static str), String);

/// What WCS's settings say in ours.
fn settings(wcs: &BTreeMap<String, String>, directory: &Path) -> (Vec<Said>, Vec<Refused>) {
    let (mut said, mut refused) = (Vec::new(), Vec::new());
    let mut say = |name: (&'static str, &'static str), key, value: &str| {
        said.push(Said { place: name, key, value: value.to_owned() });
    };
    let get = |key: &str| wcs.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let template = ("recording", "stream_record_policy_template");
    match get("stream_record_policy") {
        Some("streamName") => say(template, "stream_record_policy", "{streamName}"),
        Some("template") | None => {
            if let Some(value) = get("stream_record_policy_template") {
                say(template, "stream_record_policy_template", value);
            }
        }
        Some(other) => {
            refused
                .push((template, format!("stream_record_policy = {other:?}: give template or streamName")));
        }
    }
    for (key, name) in [
        ("enable_empty_shift_writer", ("recording", "enable_empty_shift_writer")),
        ("room_idle_timeout", ("rooms", "room_idle_timeout_ms")),
    ] {
        if let Some(value) = get(key) {
            say(name, key, value);
        }
    }
    for key in ["on_record_hook_script", "on_multiple_record_hook_script"] {
        match get(key) {
            None => {}
            Some(MIX_SCRIPT) => say(("recording", key), key, "mix"),
            Some(value) => match script(directory, value) {
                Some(path) => say(("recording", key), key, &path.display().to_string()),
                None => {
                    refused.push((("recording", key), format!("{key} = {value:?}: there is no such file")))
                }
            },
        }
    }
    let formats = get("record_formats").unwrap_or_default().split(',').map(str::trim);
    for other in formats.filter(|format| !format.is_empty() && !FORMATS.contains(format)) {
        let why = format!("record_formats = {other:?}: H.264 is recorded as MP4, VP8 as WebM");
        refused.push((OF_RECORDER, why));
    }
    (said, refused)
}

/// WCS looks for a script in its folder `bin`, beside that of its settings.
fn script(directory: &Path, value: &str) -> Option<PathBuf> {
    let parent = directory.parent().unwrap_or(directory);
    let places = [parent.join("bin").join(value), directory.join(value)];
    places.into_iter().find(|path| path.is_file()).and_then(|path| std::path::absolute(path).ok())
}

/// The keys and values of a file of Java's properties; of those that stand there twice the last one counts.
#[must_use]
pub fn properties(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut chars = text.chars().peekable();
    while chars.peek().is_some() {
        skip_blank(&mut chars);
        match chars.peek() {
            None => break,
            Some('\n') => drop(chars.next()),
            Some('#' | '!') => drop(chars.by_ref().find(|c| *c == '\n')),
            Some(_) => {
                let key = word(&mut chars, |c| matches!(c, '=' | ':' | ' ' | '\t' | '\u{c}'));
                skip_blank(&mut chars);
                // One separator, and blanks around it.
                if chars.next_if(|c| matches!(c, '=' | ':')).is_some() {
                    skip_blank(&mut chars);
                }
                let value = word(&mut chars, |_| false);
                chars.next();
                found.insert(key, value.trim_end().to_owned());
            }
        }
    }
    found
}

/// Blanks within a line, and ends of lines that do not count.
fn skip_blank(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| matches!(c, ' ' | '\t' | '\u{c}')).is_some() || skip_continuation(chars) {}
}

/// A backslash at the end of a line, and the blanks that the next one begins with.
fn skip_continuation(chars: &mut Peekable<Chars<'_>>) -> bool {
    let mut ahead = chars.clone();
    if ahead.next() != Some('\\') || ahead.next() != Some('\n') {
        return false;
    }
    *chars = ahead;
    while chars.next_if(|c| matches!(c, ' ' | '\t' | '\u{c}')).is_some() {}
    true
}

/// Up to where `ends` says, or the end of the line, with its escapes resolved.
fn word(chars: &mut Peekable<Chars<'_>>, ends: impl Fn(char) -> bool) -> String {
    let mut word = String::new();
    let mut units: Vec<u16> = Vec::new();
    loop {
        if skip_continuation(chars) {
            continue;
        }
        let Some(c) = chars.next_if(|c| *c != '\n' && !ends(*c)) else { break };
        let escaped = if c == '\\' { chars.next() } else { None };
        if escaped == Some('u') {
            if let Some(unit) = unit(chars) {
                units.push(unit);
            }
            continue;
        }
        // Characters beyond 16 bits are two escapes.
        word += &String::from_utf16_lossy(&std::mem::take(&mut units));
        word.push(match (c, escaped) {
            ('\\', Some('t')) => '\t',
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('f')) => '\u{c}',
            ('\\', Some(other)) => other,
            ('\\', None) => break,
            _ => c,
        });
    }
    word + &String::from_utf16_lossy(&units)
}

/// Four hexadecimal digits; `None`, and nothing taken, if there are fewer.
fn unit(chars: &mut Peekable<Chars<'_>>) -> Option<u16> {
    let mut ahead = chars.clone();
    let digits: String = ahead.by_ref().take(4).collect();
    let is_hex = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let unit = is_hex.then(|| u16::from_str_radix(&digits, 16).ok()).flatten()?;
    *chars = ahead;
    Some(unit)
}

/// What begins with `mixer_`, by the names that the mixer's own file has for it: `mixer_video_width` is
/// `mixerVideoWidth`.
#[must_use]
pub fn mixer_keys(text: &str) -> Vec<(String, String)> {
    let of_mixer = properties(text).into_iter().filter(|(key, _)| key.starts_with("mixer_"));
    let camel = |key: String| {
        let mut words = key.split('_');
        let mut camel = words.next().unwrap_or_default().to_owned();
        for word in words {
            let mut chars = word.chars();
            camel.extend(chars.next().map(|c| c.to_ascii_uppercase()));
            camel.push_str(chars.as_str());
        }
        camel
    };
    of_mixer.map(|(key, value)| (camel(key), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_as_java_reads_them() {
        let text = "\u{feff}# comment = no\r\n! neither: this\n\n  a=1\nb : two words  \nc 3\nd\n\
                    e=\\u00e4\\ud83d\\ude00\\t.\nf\\=g\\:h\\ i = x=y:z\n\
                    list=a,\\\n     b,\\\n\tc\npath=C:\\\\dir\nlast\\\n  =4\na = again\nbad=\\u12\nend=x\\";
        let want = [
            ("a", "again"),
            ("b", "two words"),
            ("bad", "12"),
            ("c", "3"),
            ("d", ""),
            ("e", "ä😀\t."),
            ("end", "x"),
            ("f=g:h i", "x=y:z"),
            ("last", "4"),
            ("list", "a,b,c"),
            ("path", "C:\\dir"),
        ];
        let found = properties(text);
        let found: Vec<(&str, &str)> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, want);
        assert!(properties("").is_empty() && properties("\\").len() < 2);
    }

    #[test]
    fn what_wcs_says_in_our_words() {
        let directory = Path::new("/nowhere/conf");
        let said = |text: &str| {
            let (said, refused) = settings(&properties(text), directory);
            let said = said.into_iter().map(|said| format!("{}={}", said.place.1, said.value));
            (said.collect::<Vec<_>>().join(" "), refused.into_iter().map(|(_, why)| why).collect::<Vec<_>>())
        };
        for (text, want) in [
            ("port_from=31000\nrecord_formats=h264-mp4,vp8-webm\nmixer_video_width=7", ""),
            (
                "stream_record_policy=streamName\nstream_record_policy_template=x",
                "stream_record_policy_template={streamName}",
            ),
            (
                "stream_record_policy=template\nstream_record_policy_template=stream-{login}",
                "stream_record_policy_template=stream-{login}",
            ),
            (
                "room_idle_timeout=5000\nenable_empty_shift_writer=true",
                "enable_empty_shift_writer=true room_idle_timeout_ms=5000",
            ),
            (
                "on_multiple_record_hook_script=on_multiple_record_hook.sh",
                "on_multiple_record_hook_script=mix",
            ),
        ] {
            assert_eq!(said(text), (want.to_owned(), Vec::new()), "{text}");
        }
        for (text, want) in [
            ("stream_record_policy=x", "stream_record_policy = \"x\": give template or streamName"),
            ("record_formats = h264-mkv", "record_formats = \"h264-mkv\": H.264 is recorded as MP4"),
            ("on_record_hook_script = a.sh", "on_record_hook_script = \"a.sh\": there is no such file"),
        ] {
            let (said, refused) = said(text);
            assert!(said.is_empty() && refused.len() == 1 && refused[0].starts_with(want), "{refused:?}");
        }
    }

    #[test]
    fn keys_of_recording_that_do_nothing_are_known() {
        for key in ["record_dir", "record_rotation", "stream_record_policy_x", "enable_record", "recorder_x"]
        {
            assert!(is_unused(key), "{key}");
        }
        for key in READ.into_iter().chain(["port_from", "mixer_video_width", "room_idle_timeout", "recordx"])
        {
            assert!(!is_unused(key), "{key}");
        }
    }

    #[test]
    fn keys_of_the_mixer() {
        let text = "mixer_video_width=640\nmixer_layout_class = a.GridLayout\nrtc=1\nmixer_mcu_audio=true\n";
        let want =
            [("mixerLayoutClass", "a.GridLayout"), ("mixerMcuAudio", "true"), ("mixerVideoWidth", "640")];
        let want = want.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(mixer_keys(text), want);
    }
}
