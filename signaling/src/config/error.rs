//! Why settings were refused: always the key, what stands there, and what may stand there.

use std::fmt;
use std::path::PathBuf;

/// Why the settings were refused.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// It is no TOML.
    Syntax(PathBuf, Box<toml::de::Error>),
    /// A table that neither program knows.
    UnknownTable(String),
    /// Something else where a table should be.
    NotATable(String),
    /// A key that the table does not have.
    UnknownKey {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// The keys it has.
        known: Vec<&'static str>,
    },
    /// A value that the key does not accept.
    BadValue {
        /// As it was written: `signaling.http_port` or `--http-port`.
        key: String,
        /// What stands there.
        value: String,
        /// What may stand there.
        accepted: &'static str,
    },
    /// A certificate without a key, or the other way round.
    HalfTls,
    /// `auth.mode` needs this key.
    Missing(&'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            Self::Syntax(path, why) => write!(f, "{} is not valid TOML: {why}", path.display()),
            Self::UnknownTable(name) => {
                write!(f, "unknown table [{name}]; known are [{}]", super::keys::TABLES.join("], ["))
            }
            Self::NotATable(name) => write!(f, "{name} must be a table: [{name}]"),
            Self::UnknownKey { table, key, known } => {
                write!(f, "unknown key {table}.{key}; known are {}", known.join(", "))
            }
            Self::BadValue { key, value, accepted } => write!(f, "{key} = {value}: give {accepted}"),
            Self::Missing(key) => write!(f, "{key} is missing: auth.mode needs it"),
            Self::HalfTls => {
                f.write_str("signaling.tls_cert and signaling.tls_key belong together: give both or neither")
            }
        }
    }
}

impl std::error::Error for ConfigError {}
