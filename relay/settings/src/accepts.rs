//! What a key accepts: how its text is read, and the words for it in a refusal.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tracing::level_filters::LevelFilter;

type Read<T> = Box<dyn Fn(&[String]) -> Option<T>>;

/// What a key accepts. A value is read from its texts: one, or as many as a list has.
pub struct Accepts<T> {
    /// For people: "a port from 1 to 65535".
    pub(crate) words: String,
    /// What `--help` shows for the value.
    pub(crate) form: String,
    pub(crate) read: Read<T>,
}

impl<T: 'static> Accepts<T> {
    /// Accepts the texts that `read` accepts.
    pub fn new(
        words: impl Into<String>,
        form: impl Into<String>,
        read: impl Fn(&[String]) -> Option<T> + 'static,
    ) -> Self {
        Self { words: words.into(), form: form.into(), read: Box::new(read) }
    }

    /// The same values, converted to another type.
    #[must_use]
    pub fn map<U: 'static>(self, into: impl Fn(T) -> U + 'static) -> Accepts<U> {
        let read = self.read;
        Accepts::new(self.words, self.form, move |texts| read(texts).map(&into))
    }

    /// Accepts `word` as well; `words` describes it.
    #[must_use]
    pub fn or(self, word: &'static str, words: &str, value: T) -> Self
    where
        T: Clone,
    {
        let (read, form) = (self.read, format!("{word}|{}", self.form));
        let read = move |texts: &[String]| if texts == [word] { Some(value.clone()) } else { read(texts) };
        Self::new(format!("{words} or {}", self.words), form, read)
    }

    /// The value of a default, which is written as in the file.
    ///
    /// # Panics
    /// The default is not accepted.
    #[must_use]
    pub fn value(&self, default: &str) -> T {
        let texts = default.parse().ok().and_then(|value| texts(&value));
        let value = texts.and_then(|texts| (self.read)(&texts));
        value.unwrap_or_else(|| panic!("the default {default} is not {}", self.words))
    }
}

/// One text that `read` accepts.
pub fn single<T: 'static>(
    words: impl Into<String>,
    form: &str,
    read: impl Fn(&str) -> Option<T> + 'static,
) -> Accepts<T> {
    Accepts::new(words, form, move |texts| match texts {
        [text] => read(text),
        _ => None,
    })
}

/// Accepts what the type's `FromStr` accepts.
#[must_use]
pub fn parsed<T: FromStr + 'static>(words: &str, form: &str) -> Accepts<T> {
    single(words, form, |text| text.parse().ok())
}

/// A number within bounds; `what` has its unit.
#[must_use]
pub fn number<T: FromStr + PartialOrd + Display + 'static>(
    what: &str,
    bounds: RangeInclusive<T>,
) -> Accepts<T> {
    let words = format!("{what} from {} to {}", bounds.start(), bounds.end());
    single(words, "N", move |text| text.parse().ok().filter(|n| bounds.contains(n)))
}

/// A time in milliseconds.
#[must_use]
pub fn millis(bounds: RangeInclusive<u64>) -> Accepts<Duration> {
    number("a number of milliseconds", bounds).map(Duration::from_millis)
}

/// One of a few words. A second word for the same value is taken as well, and not spoken of.
#[must_use]
pub fn one_of<T: Copy + PartialEq>(choices: &'static [(&'static str, T)]) -> Accepts<T> {
    let first = |n: usize, value: &T| choices.iter().position(|(_, other)| other == value) == Some(n);
    let spoken = choices.iter().enumerate().filter(|(n, (_, value))| first(*n, value));
    let names: Vec<&str> = spoken.map(|(_, (name, _))| *name).collect();
    let words = match names.as_slice() {
        [others @ .., last] if !others.is_empty() => format!("\"{}\" or \"{last}\"", others.join("\", \"")),
        names => format!("\"{}\"", names.join("")),
    };
    single(words, &names.join("|"), |text| {
        choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
    })
}

/// A boolean: `true` or `false`.
#[must_use]
pub fn truth() -> Accepts<bool> {
    parsed("true or false", "true|false")
}

/// A path to `what`.
#[must_use]
pub fn path(what: &str) -> Accepts<PathBuf> {
    let read = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    single(format!("a path to {what}"), "PATH", read)
}

/// So many of what `item` takes; a flag is given several times.
pub fn list<T: 'static>(words: &str, count: RangeInclusive<usize>, item: Accepts<T>) -> Accepts<Vec<T>> {
    Accepts::new(words, item.form, move |texts| {
        let good = count.contains(&texts.len());
        good.then(|| texts.iter().map(|text| (item.read)(std::slice::from_ref(text))).collect())?
    })
}

/// The most verbose level that is logged.
#[must_use]
pub fn log_level() -> Accepts<LevelFilter> {
    one_of(&[
        ("off", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ])
}

/// The texts of a plain value or of a list of plain values.
pub(crate) fn texts(value: &toml::Value) -> Option<Vec<String>> {
    let plain = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    };
    match value {
        toml::Value::Array(list) => list.iter().map(plain).collect(),
        single => plain(single).map(|text| vec![text]),
    }
}
