//! A key of the file, bound to the field that holds its value.

use crate::accepts::{Accepts, path, single, texts};
use crate::{Error, TABLES};
use std::path::PathBuf;

/// Puts a value where it belongs, if it is accepted.
type Set<'a> = Box<dyn FnMut(&[String]) -> bool + 'a>;

/// A key, and the field that its value is stored in.
pub struct Key<'a> {
    pub(crate) table: &'static str,
    pub(crate) name: &'static str,
    doc: &'static [&'static str],
    /// What the example file shows, and whether that is the default.
    shown: toml::Value,
    shows_default: bool,
    accepted: String,
    pub(crate) form: String,
    /// Whether another program reads it as well.
    pub(crate) shared: bool,
    /// Whether this program only looks whether the value is good, for another one.
    pub(crate) checked_only: bool,
    set: Set<'a>,
}

impl<'a> Key<'a> {
    /// Binds a key to its field. The example shows `shown`, which may be the default.
    ///
    /// # Panics
    /// What the example shows is not what a file may hold.
    pub fn new<T: 'static>(
        (table, name): (&'static str, &'static str),
        doc: &'static [&'static str],
        (shows_default, shown): (bool, &str),
        accepts: Accepts<T>,
        field: &'a mut T,
    ) -> Self {
        let shown = shown.parse().expect("a value of TOML");
        let Accepts { words: accepted, form, read } = accepts;
        let set = Box::new(move |texts: &[String]| read(texts).map(|value| *field = value).is_some());
        let (shared, checked_only) = (false, false);
        Self { table, name, doc, shown, shows_default, accepted, form, shared, checked_only, set }
    }

    /// The same key in a program that only checks it, for the one whose it is.
    #[must_use]
    pub fn checked_only(self) -> Self {
        Self { checked_only: true, ..self }
    }

    /// Sets it; `written` is the name that the person used.
    pub(crate) fn set(
        &mut self,
        written: &str,
        value: Result<Vec<String>, &toml::Value>,
    ) -> Result<(), Error> {
        if value.as_ref().is_ok_and(|texts| (self.set)(texts)) {
            return Ok(());
        }
        let value = value.map_or_else(ToString::to_string, |texts| format!("{:?}", texts.join(", ")));
        Err(Error::BadValue { key: written.to_owned(), value, accepted: self.accepted.clone() })
    }

    /// Whether another program reads it as well.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Its table and its name in the file.
    #[must_use]
    pub fn place(&self) -> (&'static str, &'static str) {
        (self.table, self.name)
    }

    pub(crate) fn is_flag(&self) -> bool {
        TABLES[..2].contains(&self.table)
    }

    /// The flag's help: the first sentence, and everything.
    pub(crate) fn help(&self) -> (String, String) {
        let lines: Vec<&str> = self.doc.iter().map(|line| line.trim()).collect();
        let default = texts(&self.shown).filter(|texts| self.shows_default && !texts.is_empty());
        let default = default.map_or(String::new(), |texts| format!(" [default: {}]", texts.join(", ")));
        let all = lines.join(" ");
        let first = all.split(". ").next().unwrap_or_default().trim_end_matches('.');
        let long = format!("{}\nTakes {}{default}", lines.join("\n"), self.accepted);
        (format!("{first}{default}"), long)
    }
}

/// The lines of `ringvox.toml.example` for these keys.
#[must_use]
pub fn example(keys: &[Key<'_>]) -> String {
    let mut text = String::new();
    let mut table = "";
    for key in keys {
        if table != key.table {
            table = key.table;
            text.push_str(&format!("\n[{table}]\n"));
        }
        key.doc.iter().for_each(|line| text.push_str(&format!("#{line}\n")));
        text.push_str(&format!("# {} = {} # {}\n", key.name, key.shown, key.accepted));
    }
    text
}

/// The one key that both programs read: `relay.control_socket`.
pub fn control_socket(field: &mut PathBuf) -> Key<'_> {
    let doc = &[
        " Where signaling and relay meet. The default is relay.sock in the first of these that is there and ours:",
        " $RUNTIME_DIRECTORY (which systemd sets), /run/ringvox (as root always), $XDG_RUNTIME_DIR/ringvox,",
        " /tmp/ringvox-UID. The directory must belong to the user that runs both programs, or to root, be no symbolic",
        " link, and be writable by nobody else; each program asks the kernel for the user at the other end and refuses",
        " any but its own and root.",
    ];
    // `sun_path` holds 108 octets, and the names of the sockets beside it are up to 14 octets longer.
    let accepts = single("an absolute path of at most 90 octets", "PATH", |text| {
        Some(PathBuf::from(text)).filter(|path| path.is_absolute() && text.len() <= 90)
    });
    let shown = (false, "\"/run/ringvox/relay.sock\"");
    Key { shared: true, ..Key::new(("relay", "control_socket"), doc, shown, accepts, field) }
}

/// The key that signaling and the recorder both read: `recording.directory`.
pub fn recording_directory(field: &mut Option<PathBuf>) -> Key<'_> {
    let doc = &[
        " Where recordings are kept: a directory of their own, which belongs to the user that runs the programs.",
        " Without it nothing is recorded.",
    ];
    let shown = (false, "\"/var/lib/ringvox/records\"");
    let key = Key::new(("recording", "directory"), doc, shown, path("a directory").map(Some), field);
    Key { shared: true, ..key }
}
