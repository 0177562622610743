//! What may stand in the name of a member, a room or a stream.
//!
//! People tell each other apart by names, in lists of members and in logs; a name that only looks like
//! another one's is as good as that. So names hold nothing that is not seen and nothing that changes how the
//! text around them reads, as in RFC 8264 §4.3.3 (`FreeformClass`). What joins or varies visible characters
//! stays where it does that: Persian and Indic words and many emoji are written with it.
//!
//! Deliberately absent: letters of different scripts that look alike, and spaces.

use std::iter::Peekable;
use std::str::Chars;

/// Longest room name or login, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 256;
/// Longest stream name: room, login, four hexadecimal digits and a suffix.
pub const STREAM_NAME_BYTES_MAX: usize = 640;

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Login,
    Room,
    Stream,
}

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// It is none: empty, too long, or no text at all.
    Length,
    /// It has a character that is not seen or that changes how the text around it reads.
    Hidden,
}

/// A name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRefusal {
    pub name: Name,
    pub fault: NameFault,
}

impl NameRefusal {
    /// For the client.
    pub fn words(self) -> &'static str {
        match (self.name, self.fault) {
            (Name::Login, NameFault::Length) => "Login must be a text of 1 to 256 bytes",
            (Name::Room, NameFault::Length) => "Room name must be a text of 1 to 256 bytes",
            (Name::Stream, NameFault::Length) => "Stream name must be a text of 1 to 640 bytes",
            (Name::Login, NameFault::Hidden) => "Login has a control or invisible character",
            (Name::Room, NameFault::Hidden) => "Room name has a control or invisible character",
            (Name::Stream, NameFault::Hidden) => "Stream name has a control or invisible character",
        }
    }
}

impl Name {
    fn bytes_max(self) -> usize {
        match self {
            Self::Login | Self::Room => NAME_BYTES_MAX,
            Self::Stream => STREAM_NAME_BYTES_MAX,
        }
    }

    /// Whether this may be one.
    ///
    /// # Errors
    /// See [`NameFault`].
    pub fn check(self, name: &str) -> Result<(), NameRefusal> {
        let refusal = |fault| NameRefusal { name: self, fault };
        if name.is_empty() || name.len() > self.bytes_max() {
            return Err(refusal(NameFault::Length));
        }
        if is_seen(name) { Ok(()) } else { Err(refusal(NameFault::Hidden)) }
    }
}

/// What a viewer's name is the name of. Members choose the names of their streams and, in an open server,
/// their logins, so one member's login can be the name of another's stream. Who says which is meant gets that
/// or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameOf {
    /// Not said: a login, or else a stream.
    #[default]
    Either,
    /// A member: its stream of that name, or else its first.
    Login,
    /// A stream, whoever publishes it.
    Stream,
}

impl NameOf {
    /// As the query of the address says it, and as the operator's hook hears it.
    const WORDS: [(Self, &'static str); 2] = [(Self::Login, "login"), (Self::Stream, "stream")];

    /// `None`: it means nothing here.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word).map(|(name_of, _)| *name_of)
    }

    /// `None`: not said.
    pub fn word(self) -> Option<&'static str> {
        Self::WORDS.iter().find(|(name_of, _)| *name_of == self).map(|(_, word)| *word)
    }
}

const ZWNJ: char = '\u{200c}';
const ZWJ: char = '\u{200d}';
const KEYCAP: char = '\u{20e3}';
const BLACK_FLAG: char = '\u{1f3f4}';
/// England, Scotland and Wales: the only flags that are written in tags (UTS #51, RGI sequences).
const TAGGED_FLAGS: [&str; 3] = ["gbeng", "gbsct", "gbwls"];

/// Whether each character is seen, or changes how one beside it is.
fn is_seen(name: &str) -> bool {
    let mut rest = name.chars().peekable();
    // The last character, and the last one that is no mark upon another.
    let (mut before, mut base) = ('\0', '\0');
    while let Some(c) = rest.next() {
        let next = rest.peek().copied().unwrap_or('\0');
        let seen = match c {
            ZWNJ => is_virama(before) || joins_on(base) && is_arabic_letter(next),
            // Bengali writes it before the virama as well (RA ZWJ VIRAMA YA).
            ZWJ => is_virama(before) || is_virama(next) && base.is_alphabetic() || joins_emoji(before, next),
            '\u{fe0e}' | '\u{fe0f}' => is_emoji(before) || is_keycap(before) && next == KEYCAP,
            '\u{fe00}'..='\u{fe0d}' | '\u{e0100}'..='\u{e01ef}' => is_ideograph(before),
            '\u{180b}'..='\u{180f}' => is_mongolian(base),
            _ => !is_hidden(c),
        };
        if !seen {
            return false;
        }
        if c == BLACK_FLAG && is_tag(next) && !skip_flag(&mut rest) {
            return false;
        }
        before = c;
        if !is_arabic_mark(c) {
            base = c;
        }
    }
    true
}

/// Never seen, wherever it stands: controls, marks of direction, separators of lines, default ignorable
/// characters (Unicode's `DerivedCoreProperties.txt`) and noncharacters. Joiners and variation selectors are
/// none of these here.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}'
            | '\u{fdd0}'..='\u{fdef}')
        || u32::from(c) & 0xfffe == 0xfffe
}

fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0020}'..='\u{e007f}')
}

/// Takes the tags of a known flag; false: they are none.
fn skip_flag(rest: &mut Peekable<Chars<'_>>) -> bool {
    let mut letters = String::new();
    while let Some(tag) = rest.next_if(|c| is_tag(*c)) {
        match u8::try_from(u32::from(tag) - 0xe0000) {
            Ok(0x7f) => return TAGGED_FLAGS.contains(&letters.as_str()),
            Ok(letter) => letters.push(char::from(letter)),
            Err(_) => return false,
        }
    }
    false
}

/// What may be shown as an emoji.
fn is_emoji(c: char) -> bool {
    matches!(c, '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{2bff}'
        | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

fn joins_emoji(before: char, next: char) -> bool {
    (is_emoji(before) || before == '\u{fe0f}') && is_emoji(next)
}

fn is_keycap(c: char) -> bool {
    c.is_ascii_digit() || c == '#' || c == '*'
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

fn is_mongolian(c: char) -> bool {
    matches!(c, '\u{1820}'..='\u{18aa}')
}

/// RFC 5892 §A.1 and §A.2: after one of these a joiner decides how the next letter is written.
fn is_virama(c: char) -> bool {
    matches!(
        c,
        '\u{94d}'
            | '\u{9cd}'
            | '\u{a4d}'
            | '\u{acd}'
            | '\u{b4d}'
            | '\u{bcd}'
            | '\u{c4d}'
            | '\u{ccd}'
            | '\u{d3b}'
            | '\u{d3c}'
            | '\u{d4d}'
            | '\u{dca}'
            | '\u{f84}'
            | '\u{1039}'
            | '\u{103a}'
            | '\u{17d2}'
            | '\u{1b44}'
            | '\u{a9c0}'
    )
}

fn is_arabic_letter(c: char) -> bool {
    matches!(c, '\u{620}'..='\u{6ff}' | '\u{750}'..='\u{77f}' | '\u{8a0}'..='\u{8c7}')
        && c.is_alphabetic()
        && !is_arabic_mark(c)
}

fn is_arabic_mark(c: char) -> bool {
    matches!(c, '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6dc}'
        | '\u{6df}'..='\u{6e4}' | '\u{6e7}' | '\u{6e8}' | '\u{6ea}'..='\u{6ed}' | '\u{8d3}'..='\u{8ff}')
}

/// RFC 5892 §A.1: a letter that would join the next one, so that a non-joiner between them is seen. The
/// others of the script join to the right only, or not at all (Unicode's `ArabicShaping.txt`).
fn joins_on(c: char) -> bool {
    is_arabic_letter(c)
        && !matches!(c, '\u{621}'..='\u{625}' | '\u{627}' | '\u{629}' | '\u{62f}'..='\u{632}' | '\u{648}'
            | '\u{671}'..='\u{677}' | '\u{688}'..='\u{699}' | '\u{6c0}' | '\u{6c3}'..='\u{6cb}' | '\u{6cd}'
            | '\u{6cf}' | '\u{6d2}' | '\u{6d3}' | '\u{6d5}' | '\u{6ee}' | '\u{6ef}' | '\u{759}'..='\u{75b}'
            | '\u{76b}' | '\u{76c}' | '\u{771}' | '\u{773}' | '\u{774}' | '\u{778}' | '\u{779}'
            | '\u{8aa}'..='\u{8ae}' | '\u{8b1}' | '\u{8b2}' | '\u{8b9}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_are_called_is_a_name() {
        for name in [
            "alice",
            "Алиса",
            "Zoë",
            "Zoe\u{308}",
            "O’Neill-Smith (2)",
            "李小龙",
            "Nguyễn",
            "محمد",
            "دَاوُد",
            "נָעֳמִי",
            // Arabic and Latin in one; no mark of direction is needed for that.
            "Dr. محمد Smith 42",
            // Persian with a non-joiner, also behind a mark; Indic with joiners; Bengali RA ZWJ VIRAMA YA.
            "علی‌رضا",
            "پیشِ‌رو",
            "क्‍ष",
            "ශ්‍රී",
            "র‍্যাব",
            "നന്‍",
            "👩‍💻",
            "👨‍👩‍👧‍👦",
            "🏳️‍🌈",
            "👩🏽‍🚀",
            "❤️‍🔥",
            "🐦‍⬛",
            "❤️",
            "1️⃣#️⃣",
            "©️",
            "🇺🇦",
            "🏴󠁧󠁢󠁥󠁮󠁧󠁿!",
            "🏴",
            // A Japanese name with its own form of a character.
            "葛󠄀城",
            "ᠮᠣᠩᠭᠣᠯ᠋",
            "a\u{300}\u{301}\u{302}",
            " ",
            "<b>&amp;</b>",
            "__proto__",
            "a/b\\c:d",
        ] {
            assert_eq!(Name::Login.check(name), Ok(()), "{name:?}");
        }
    }

    /// Each of them is seen by nobody, or moves what stands beside it.
    const HIDDEN: &str = "\0\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{61c}\u{115f}\u{180e}\u{200b}\u{200c}\u{200d}\
        \u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2060}\u{2064}\
        \u{2066}\u{2067}\u{2068}\u{2069}\u{206f}\u{3164}\u{fe00}\u{fe0f}\u{feff}\u{ffa0}\u{fff9}\
        \u{fffe}\u{10ffff}\u{fdd0}\u{e0001}\u{e0061}\u{e0100}\u{1d173}";

    #[test]
    fn what_is_not_seen_is_no_part_of_a_name() {
        for hidden in HIDDEN.chars() {
            for name in [
                format!("alice{hidden}"),
                format!("{hidden}alice"),
                format!("ali{hidden}ce"),
                format!("жо{hidden}ра"),
                hidden.to_string(),
                format!("1{hidden}2"),
            ] {
                let refusal = NameRefusal { name: Name::Room, fault: NameFault::Hidden };
                assert_eq!(Name::Room.check(&name), Err(refusal), "{name:?}");
            }
        }
        // Joiners where there is nothing to join, selectors of nothing, tags that are no flag.
        for name in [
            "دا\u{200c}د",
            "محمد\u{200c}",
            "محمد\u{200c}\u{200c}رضا",
            "a\u{200c}محمد",
            "👩\u{200d}",
            "\u{200d}👩",
            "👩\u{200d}a",
            "👩\u{200d}\u{200d}💻",
            "❤\u{fe0f}\u{fe0f}",
            "1\u{fe0f}",
            "葛\u{e0100}\u{e0100}",
            "🏴\u{e0062}\u{e0062}\u{e007f}",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}",
            "🏴\u{e007f}",
        ] {
            assert!(Name::Stream.check(name).is_err_and(|why| why.fault == NameFault::Hidden), "{name:?}");
        }
    }

    #[test]
    fn names_are_neither_empty_nor_longer_than_they_may_be() {
        for (name, most) in [(Name::Login, 256), (Name::Room, 256), (Name::Stream, 640)] {
            assert_eq!(name.check(&"x".repeat(most)), Ok(()));
            for length in [0, most + 1] {
                let refusal = name.check(&"x".repeat(length)).expect_err("refused");
                assert_eq!(refusal.fault, NameFault::Length);
                assert!(length == 0 || refusal.words().contains(&most.to_string()));
            }
        }
    }
}
