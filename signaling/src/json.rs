//! Strict reading of JSON from clients.
//!
//! Two readers that take the last and the first of duplicate keys see two different messages, and deep
//! nesting is a stack for the asking. So before anything is understood the whole text is checked: no
//! duplicate keys, at most
//! [`DEPTH_MAX`] levels. What a client wants carried to another one (chat text, stream data) stays raw text
//! and is never decoded and written again.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Levels of nesting. The protocol's own messages have 8.
pub const DEPTH_MAX: usize = 16;

/// Above this not every whole number is a double (2^53).
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Longest text that is carried raw to other clients: chat, stream data. A quarter of what may wait for one
/// of them.
pub const RAW_BYTES_MAX: usize = 64 << 10;

/// Checks a whole text: JSON, no duplicate keys, not too deep.
///
/// # Errors
/// What is wrong and where, for the log and the client.
pub fn check(text: &str) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    Strict { depth: 0 }.deserialize(&mut reader)?;
    reader.end()
}

struct Strict {
    depth: usize,
}

impl Strict {
    fn inner<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.inner()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(serde::de::Error::custom("duplicate key"));
            }
            seen.insert(key);
            entries.next_value_seed(self.inner()?)?;
        }
        Ok(())
    }
}

/// The members of one object, each still raw.
#[derive(Debug, Default)]
pub struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// Of an object's text; `None`: it is none.
    pub fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    /// Of an object's text; anything else has no members.
    pub fn of(text: &'a str) -> Self {
        Self::read(text).unwrap_or_default()
    }

    /// The same as a value; `None`: a member is no JSON, which [`check`] finds first.
    pub fn to_object(&self) -> Option<Map<String, Value>> {
        let member = |(key, raw): (&String, &&RawValue)| {
            Some((key.clone(), serde_json::from_str::<Value>(raw.get()).ok()?))
        };
        self.0.iter().map(member).collect()
    }

    /// Raw text of a member.
    pub fn raw(&self, key: &str) -> Option<&'a RawValue> {
        self.0.get(key).copied()
    }

    /// A string; `None` if it is anything else.
    pub fn text(&self, key: &str) -> Option<String> {
        serde_json::from_str(self.raw(key)?.get()).ok()
    }

    /// A string of 1 to `max` bytes.
    pub fn name(&self, key: &str, max: usize) -> Option<String> {
        self.text(key).filter(|text| (1..=max).contains(&text.len()))
    }

    /// A boolean; anything else counts as false.
    pub fn flag(&self, key: &str) -> bool {
        self.raw(key).is_some_and(|raw| raw.get() == "true")
    }

    /// A non-negative whole number, however it is written: `1e3` is 1000. Anything else counts as 0.
    pub fn number(&self, key: &str) -> u64 {
        let Some(raw) = self.raw(key) else { return 0 };
        serde_json::from_str(raw.get()).unwrap_or_else(|_| {
            let number: f64 = serde_json::from_str(raw.get()).unwrap_or(0.0);
            let is_whole = number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number);
            if is_whole { number as u64 } else { 0 }
        })
    }

    /// An object's members.
    pub fn object(&self, key: &str) -> Self {
        self.raw(key).map(|raw| Self::of(raw.get())).unwrap_or_default()
    }

    /// Whether the member is there and not null.
    pub fn has(&self, key: &str) -> bool {
        self.raw(key).is_some_and(|raw| raw.get() != "null")
    }
}

/// Whether a text is one JSON value, whatever it says.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strictness() {
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        let deep_objects = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
        for (text, good) in [
            (r#"{"a":1,"b":[true,null,"x",1.5,-3]}"#.to_owned(), true),
            (r#"{"a":1,"a":1}"#.to_owned(), false),
            (r#"{"x":[{"a":1,"\u0061":2}]}"#.to_owned(), false),
            (deep(16), true),
            (deep(17), false),
            (deep(100_000), false),
            (deep_objects(16), true),
            (deep_objects(17), false),
            ("1e400".to_owned(), false),
            ("{} {}".to_owned(), false),
            ("".to_owned(), false),
            ("{\"a\"".to_owned(), false),
            (r#""\ud800""#.to_owned(), false),
        ] {
            assert_eq!(check(&text).is_ok(), good, "{}", text.get(..40).unwrap_or(&text));
        }
    }

    #[test]
    fn fields_are_lenient_about_types_and_never_panic() {
        let fields = Fields::of(r#"{"s":"é\n","n":7,"f":true,"o":{"x":"y"},"z":null,"neg":-1}"#);
        assert_eq!(fields.text("s").as_deref(), Some("é\n"));
        assert_eq!(fields.text("n"), None);
        assert_eq!(fields.name("s", 3).as_deref(), Some("é\n"));
        assert_eq!(fields.name("s", 2), None);
        assert_eq!((fields.number("n"), fields.number("s"), fields.number("neg")), (7, 0, 0));
        assert!(fields.flag("f") && !fields.flag("s") && !fields.has("z"));
        assert_eq!(fields.object("o").text("x").as_deref(), Some("y"));
        assert_eq!(Fields::of("[1").text("x"), None);
        for (text, number) in
            [("1e3", 1000), ("2.0", 2), ("2.5", 0), ("1e99", 0), ("-1e99", 0), ("true", 0), ("-0", 0)]
        {
            assert_eq!(Fields::of(&format!("{{\"n\":{text}}}")).number("n"), number, "{text}");
        }
        assert_eq!(
            fields.to_object().map(|object| Value::Object(object)["o"].clone()),
            Some(json!({"x": "y"}))
        );
    }
}
