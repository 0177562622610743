//! Settings of the programs: `ringvox.toml`, then the command line on top of it.
//!
//! A key is written once, as a field of a table in [`settings!`]: its doc, name, type, default and what it
//! accepts. From that come the field, its default, the flag with its help, the refusal of a bad value, and
//! the lines of `ringvox.toml.example`. Each program looks into its own tables only.

#![warn(missing_docs)]

mod accepts;
mod error;
mod flags;
mod key;
pub mod recording;
mod told;
pub mod wcs;

pub use accepts::{Accepts, list, log_level, millis, number, one_of, parsed, path, single, truth};
pub use error::Error;
pub use flags::Flags;
pub use key::{Key, control_socket, example, recording_directory};
pub use told::take_told;

use std::path::{Path, PathBuf};

/// Tables of `ringvox.toml`. The first two are named after programs; their keys are also flags.
const TABLES: [&str; 7] = ["relay", "signaling", "auth", "rooms", "media", "api", RECORDING];
/// A table of two programs: signaling and the recorder each read their keys of it and pass over the other's.
const RECORDING: &str = "recording";
/// All keys of [`RECORDING`], so that each of the two knows an unknown one.
pub const RECORDING_KEYS: &[&str] = &[
    "directory",
    "start_recorder",
    "recorder_binary",
    "record_all_streams",
    "record_all_rooms",
    "stream_record_policy_template",
    "enable_empty_shift_writer",
    "serve",
    "webhook",
    "webhook_secret",
    "min_free",
    "max_age_hours",
    "max_total_bytes",
    "finishers",
    "mp4_audio",
    "on_record_hook_script",
    "on_multiple_record_hook_script",
    "ffmpeg",
    "wcs_directory",
];

/// The file that is read when `--config` does not name one.
const DEFAULT_FILE: &str = "ringvox.toml";

/// The settings of one program.
pub trait Settings: Default {
    /// Its keys, in the order of the example file.
    fn keys(&mut self) -> Vec<Key<'_>>;

    /// The defaults, and on top of them the tables of a file's text that are this program's.
    ///
    /// # Errors
    /// The first thing that is wrong, with the key's name and what it accepts.
    fn from_text(path: &Path, text: &str) -> Result<Self, Error> {
        let mut settings = Self::default();
        let file: toml::Table = text.parse().map_err(|why| Error::Syntax(path.to_owned(), Box::new(why)))?;
        if let Some(name) = file.keys().find(|name| !TABLES.contains(&name.as_str())) {
            return Err(Error::UnknownTable(name.clone(), &TABLES));
        }
        let mut keys = settings.keys();
        for (table, content) in &file {
            if keys.iter().any(|key| key.table == table) {
                let content = content.as_table().ok_or_else(|| Error::not_a_table(table, content))?;
                content.iter().try_for_each(|(name, value)| set(&mut keys, table, name, value))?;
            }
        }
        if keys.iter().any(|key| key.table == RECORDING) {
            wcs::fill(&file, &mut keys);
        }
        drop(keys);
        Ok(settings)
    }
}

fn set(keys: &mut [Key<'_>], table: &str, name: &str, value: &toml::Value) -> Result<(), Error> {
    let of_table = keys.iter_mut().filter(|key| key.table == table);
    let (mut found, others): (Vec<_>, Vec<_>) = of_table.partition(|key| key.name == name);
    match found.first_mut() {
        Some(key) => key.set(&format!("{table}.{name}"), accepts::texts(value).ok_or(value)),
        // In the other program's table; it is the one that checks it.
        None if others.iter().all(|key| key.shared) => Ok(()),
        None if table == RECORDING && RECORDING_KEYS.contains(&name) => Ok(()),
        None => {
            let own = others.iter().map(|key| key.name).collect();
            let known = if table == RECORDING { RECORDING_KEYS.to_vec() } else { own };
            Err(Error::UnknownKey { key: format!("{table}.{name}"), known })
        }
    }
}

/// The defaults, the file, then the flags; and the file that was read.
///
/// # Errors
/// The first thing that is wrong, with the key's name and what it accepts.
pub fn load<S: Settings>(flags: &Flags<S>) -> Result<(S, Option<PathBuf>), Error> {
    let (mut settings, file) = read(flags.config.as_deref())?;
    flags.apply(&mut settings)?;
    Ok((settings, file))
}

/// The defaults, then the file of this name, or the one of the usual name if there is one; and the file that
/// was read.
///
/// # Errors
/// The first thing that is wrong, with the key's name and what it accepts.
pub fn read<S: Settings>(config: Option<&Path>) -> Result<(S, Option<PathBuf>), Error> {
    let path = config.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((S::from_text(path, &text)?, Some(path.to_owned()))),
        Err(why) if config.is_none() && why.kind() == std::io::ErrorKind::NotFound => {
            Ok((S::default(), None))
        }
        Err(why) => Err(Error::Unreadable(path.to_owned(), why)),
    }
}

/// Makes a table of `ringvox.toml`: a struct with its defaults and its keys.
///
/// A field is a key: its doc is the text of the example file, and its first sentence is the flag's help.
/// Behind its type stands the default, as it would stand in the file, then what is accepted. A default that
/// cannot be written there is `(value, "what the example shows")`. A unit in the key's name that the type
/// already tells follows a `+`: `pause + "_ms": Duration`. Keys that other tables' owners read too come last,
/// after `with`, and have a function that describes them.
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $name:ident in $table:literal {
            $($(#[doc = $doc:literal])+ $field:ident $(+ $unit:literal)?: $type:ty = $default:tt, $accepts:expr;)+
            $(with $shared:ident: $shared_type:ty = $shared_default:expr, $key:expr;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)+
            $(
                /// A key that the other program reads too.
                pub $shared: $shared_type,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $crate::settings!(@value $default, $accepts),)+
                    $($shared: $shared_default,)*
                }
            }
        }

        impl $crate::Settings for $name {
            fn keys(&mut self) -> Vec<$crate::Key<'_>> {
                vec![
                    $($crate::Key::new(
                        ($table, concat!(stringify!($field) $(, $unit)?)),
                        &[$($doc),+],
                        $crate::settings!(@shown $default),
                        $accepts,
                        &mut self.$field,
                    ),)+
                    $($key(&mut self.$shared),)*
                ]
            }
        }
    };
    (@value ($default:expr, $shown:literal), $accepts:expr) => { $default };
    (@value $default:tt, $accepts:expr) => { $accepts.value(stringify!($default)) };
    (@shown ($default:expr, $shown:literal)) => { (false, stringify!($shown)) };
    (@shown $default:tt) => { (true, stringify!($default)) };
}
