//! What of the webhook outlives us: a file for each event that waits, and a list of those that were told.
//!
//! Invariants
//! - An event is on the disk before it is first sent, and in the list before its file goes: a crash between
//!   two steps sends it once more at most, and never loses it.

use super::queue::Event;
use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The list.
const DONE: &str = "done";
/// Largest file of an event.
const EVENT_BYTES_MAX: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub(super) struct Store {
    directory: PathBuf,
}

/// What was there.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) waiting: Vec<Event>,
    /// `None`: nothing was ever told from here.
    pub(super) done: Option<HashSet<String>>,
}

impl Store {
    /// Makes the directory if it is not there.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Found)> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut found = Found::default();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("json") => match read_event(&path) {
                    Ok(event) => found.waiting.push(event),
                    Err(why) => tracing::warn!("webhook: {} is passed over: {why}", path.display()),
                },
                // Half written by one that was killed.
                Some("new") => fs::remove_file(path)?,
                _ => {}
            }
        }
        match fs::read_to_string(directory.join(DONE)) {
            Ok(text) => found.done = Some(text.lines().map(str::to_owned).collect()),
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => return Err(why),
        }
        Ok((Self { directory: directory.to_owned() }, found))
    }

    /// One that is to be told.
    pub(super) fn put(&self, event: &Event) -> io::Result<()> {
        self.replace(&format!("{}.json", event.id), &serde_json::to_vec(event)?)
    }

    /// It needs not be told any more.
    pub(super) fn done(&self, id: &str) -> io::Result<()> {
        let list = self.directory.join(DONE);
        let mut list = OpenOptions::new().append(true).create(true).mode(0o600).open(list)?;
        list.write_all(format!("{id}\n").as_bytes())?;
        list.sync_data()?;
        fs::remove_file(self.directory.join(format!("{id}.json")))
    }

    /// These alone were told.
    pub(super) fn rewrite(&self, done: &HashSet<String>) -> io::Result<()> {
        let text: String = done.iter().map(|id| format!("{id}\n")).collect();
        self.replace(DONE, text.as_bytes())
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let (path, new) = (self.directory.join(name), self.directory.join(format!("{name}.new")));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        file.sync_data()?;
        fs::rename(new, path)?;
        // The name too is to be there after a power cut.
        File::open(&self.directory)?.sync_all()
    }
}

fn read_event(path: &Path) -> io::Result<Event> {
    let mut text = Vec::new();
    File::open(path)?.take(EVENT_BYTES_MAX).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_and_what_was_told_outlives_a_start() {
        let dir = tempfile::tempdir().expect("directory");
        let place = dir.path().join("webhooks");
        let event = |id: &str| Event { id: id.to_owned(), created_at_ms: 7, body: "{}".to_owned() };
        let (store, found) = Store::open(&place).expect("opened");
        assert!(found.waiting.is_empty() && found.done.is_none());
        for id in ["a-ready", "b-ready"] {
            store.put(&event(id)).expect("kept");
        }
        store.done("a-ready").expect("noted");
        fs::write(place.join("c-ready.json"), "half").expect("written");
        fs::write(place.join("d-ready.json.new"), "half").expect("written");
        let (store, found) = Store::open(&place).expect("opened");
        assert_eq!(found.waiting, [event("b-ready")]);
        assert_eq!(found.done, Some(HashSet::from(["a-ready".to_owned()])));
        assert!(!place.join("d-ready.json.new").exists());
        store.rewrite(&HashSet::new()).expect("written");
        let (_, found) = Store::open(&place).expect("opened");
        assert_eq!(found.done, Some(HashSet::new()), "from now on all that is new is told");
    }
}
