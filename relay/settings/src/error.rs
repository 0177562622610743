//! Why settings were refused: always the key, what stands there, and what may stand there.

use std::fmt;
use std::path::PathBuf;

/// Why the settings were refused.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// The file is not valid TOML.
    Syntax(PathBuf, Box<toml::de::Error>),
    /// A table that neither program knows, and those they know.
    UnknownTable(String, &'static [&'static str]),
    /// A key that its table does not have.
    UnknownKey {
        /// The key's name, with its table.
        key: String,
        /// The keys that the table has.
        known: Vec<&'static str>,
    },
    /// A value that the key does not accept.
    BadValue {
        /// As it was written: `signaling.http_port` or `--http-port`.
        key: String,
        /// The value that was given.
        value: String,
        /// The values that are accepted.
        accepted: String,
    },
    /// Values that are good by themselves and not together.
    Conflict(String),
}

impl Error {
    pub(crate) fn not_a_table(name: &str, value: &toml::Value) -> Self {
        let accepted = format!("a table: [{name}]");
        Self::BadValue { key: name.to_owned(), value: value.to_string(), accepted }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            Self::Syntax(path, why) => write!(f, "{} is not valid TOML: {why}", path.display()),
            Self::UnknownTable(name, known) => {
                let known = known.join("], [");
                write!(
                    f,
                    "unknown table [{name}]; known are [{known}], and each key stands below one of them"
                )
            }
            Self::UnknownKey { key, known } => write!(f, "unknown key {key}; known are {}", known.join(", ")),
            Self::BadValue { key, value, accepted } => write!(f, "{key} = {value}: give {accepted}"),
            Self::Conflict(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}
