//! Files with secrets that are renewed while we run: the certificate, the key of tokens.
//!
//! They are read again and again rather than watched by inotify: a symbolic link may be swapped somewhere on
//! the way (certbot, Kubernetes), a directory may be a network's, and two small files a second cost nothing.
//!
//! Invariants
//! - What cannot be used changes nothing: the secret in use stays, one log line says why, and it is tried
//!   again.
//! - Files are taken once they have stayed as they are from one look to the next: a chain that is half
//!   written, or a certificate whose key comes a moment later, is no pair that somebody gave us. Whoever says
//!   that they are ready (SIGHUP) does not wait for that.

use aws_lc_rs::digest::{SHA256, digest};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// From one look to the next. What is new is in use after two of them.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Longest file that is looked at.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A secret in files.
pub(crate) trait Secret: Send {
    /// As people call it.
    fn name(&self) -> &'static str;
    /// Where it is.
    fn files(&self) -> Vec<PathBuf>;
    /// Before each look, for who makes the files itself.
    ///
    /// # Errors
    /// In words.
    fn prepare(&self) -> Result<(), String> {
        Ok(())
    }
    /// Reads the files and uses what is in them from now on.
    ///
    /// # Errors
    /// In words; the one before stays in use.
    fn take(&self) -> Result<(), String>;
}

/// Keeps secrets fresh until it is dropped.
pub(crate) struct Renewal {
    wanted: Arc<Notify>,
    task: AbortHandle,
}

impl Renewal {
    /// Of secrets that have just been taken. Must be called within the runtime.
    pub(crate) fn of(secrets: Vec<Box<dyn Secret>>) -> Self {
        let wanted = Arc::new(Notify::new());
        let task = tokio::spawn(look_on(secrets, Arc::clone(&wanted))).abort_handle();
        Self { wanted, task }
    }

    /// Looks now, and takes what is there.
    pub(crate) fn now(&self) {
        self.wanted.notify_one();
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look_on(secrets: Vec<Box<dyn Secret>>, wanted: Arc<Notify>) {
    let first = tokio::task::spawn_blocking(move || secrets.into_iter().map(Watched::new).collect());
    let Ok(mut all): Result<Vec<Watched>, _> = first.await else { return };
    loop {
        let ordered = tokio::select! {
            () = wanted.notified() => true,
            () = tokio::time::sleep(LOOK_PAUSE) => false,
        };
        let looked = tokio::task::spawn_blocking(move || {
            all.iter_mut().for_each(|watched| watched.look(ordered));
            all
        });
        match looked.await {
            Ok(watched) => all = watched,
            Err(why) => return tracing::error!("certificates and keys are not renewed any more: {why}"),
        }
    }
}

/// What stands in a file, or why that cannot be said.
type Content = Result<[u8; 32], String>;

struct Watched {
    secret: Box<dyn Secret>,
    /// At the last look.
    seen: Vec<Content>,
    /// Of the secret in use.
    taken: Vec<Content>,
    /// What was said of the one that is not.
    complaint: Option<String>,
}

impl Watched {
    /// Takes it once more: the files may be others already than those that were read for the start, and what
    /// they are compared with must be no newer than what is in use. A pipe is read once and never again.
    fn new(secret: Box<dyn Secret>) -> Self {
        let seen = contents(&secret.files());
        let readable = seen.iter().all(Result::is_ok);
        let taken = if readable && secret.take().is_err() { Vec::new() } else { seen.clone() };
        Self { secret, seen, taken, complaint: None }
    }

    fn look(&mut self, ordered: bool) {
        if let Err(why) = self.secret.prepare() {
            return self.complain(why);
        }
        let now = contents(&self.secret.files());
        let settled = now == self.seen;
        self.seen.clone_from(&now);
        if now == self.taken {
            self.complaint = None;
            if ordered {
                tracing::info!("{} is the same as before", self.secret.name());
            }
            return;
        }
        if !settled && !ordered {
            return;
        }
        if let Some(why) = now.iter().find_map(|content| content.as_ref().err()) {
            return self.complain(why.clone());
        }
        match self.secret.take() {
            Ok(()) => {
                tracing::info!("{} was renewed: it is used from now on", self.secret.name());
                self.taken = now;
                self.complaint = None;
            }
            Err(why) => self.complain(why),
        }
    }

    /// Once for each reason.
    fn complain(&mut self, why: String) {
        if self.complaint.as_ref() != Some(&why) {
            let name = self.secret.name();
            tracing::warn!("{name} is not renewed, and the one before stays in use until it can be: {why}");
            self.complaint = Some(why);
        }
    }
}

fn contents(files: &[PathBuf]) -> Vec<Content> {
    let content = |path: &PathBuf| read(path).map_err(|why| format!("cannot read {}: {why}", path.display()));
    files.iter().map(content).collect()
}

fn read(path: &Path) -> io::Result<[u8; 32]> {
    // Looked at before it is opened: opening a pipe waits for somebody to write.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file, so it cannot be read again"));
    }
    let mut octets = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &octets).as_ref());
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::Mutex;
    use tempfile::TempDir;

    /// Two files that belong together when they begin with the same letter.
    struct Pair(PathBuf, Arc<Mutex<Vec<String>>>);

    impl Secret for Pair {
        fn name(&self) -> &'static str {
            "the pair"
        }

        fn files(&self) -> Vec<PathBuf> {
            ["one", "other"].map(|name| self.0.join(name)).into()
        }

        fn take(&self) -> Result<(), String> {
            let [one, other] = ["one", "other"].map(|name| fs::read_to_string(self.0.join(name)));
            let (one, other) = (one.expect("read"), other.expect("read"));
            if one.get(..1) != other.get(..1) {
                return Err("they do not fit".to_owned());
            }
            self.1.lock().expect("no panic").push(one);
            Ok(())
        }
    }

    fn pair() -> (TempDir, Watched, Arc<Mutex<Vec<String>>>) {
        let dir = tempfile::tempdir().expect("directory");
        put(&dir, "a1", "a1");
        let taken = Arc::default();
        let watched = Watched::new(Box::new(Pair(dir.path().to_owned(), Arc::clone(&taken))));
        assert_eq!(std::mem::take(&mut *taken.lock().expect("no panic")), ["a1"], "as it is now");
        (dir, watched, taken)
    }

    fn put(dir: &TempDir, one: &str, other: &str) {
        fs::write(dir.path().join("one"), one).expect("written");
        fs::write(dir.path().join("other"), other).expect("written");
    }

    #[test]
    fn what_has_settled_is_taken_and_what_does_not_fit_is_not() {
        let (dir, mut watched, taken) = pair();
        let taken = || taken.lock().expect("no panic").clone();
        watched.look(false);
        assert!(taken().is_empty(), "nothing is new");
        put(&dir, "b1", "b1");
        watched.look(false);
        assert!(taken().is_empty(), "it may be half written");
        put(&dir, "b2", "b2");
        watched.look(false);
        assert!(taken().is_empty());
        watched.look(false);
        assert_eq!(taken(), ["b2"]);
        watched.look(false);
        // One after the other.
        put(&dir, "c1", "b2");
        (0..3).for_each(|_| watched.look(false));
        assert_eq!(watched.complaint.as_deref(), Some("they do not fit"));
        assert_eq!(taken(), ["b2"]);
        put(&dir, "c1", "c1");
        (0..2).for_each(|_| watched.look(false));
        assert_eq!((taken(), watched.complaint.as_deref()), (vec!["b2".to_owned(), "c1".to_owned()], None));
    }

    #[test]
    fn who_says_that_it_is_ready_does_not_wait() {
        let (dir, mut watched, taken) = pair();
        put(&dir, "b", "b");
        watched.look(true);
        assert_eq!(*taken.lock().expect("no panic"), ["b"]);
    }

    #[test]
    fn files_that_are_away_for_a_while_cost_nothing() {
        let (dir, mut watched, taken) = pair();
        fs::remove_file(dir.path().join("one")).expect("removed");
        (0..3).for_each(|_| watched.look(false));
        assert!(watched.complaint.as_ref().is_some_and(|why| why.contains("one")), "{:?}", watched.complaint);
        fs::create_dir(dir.path().join("one")).expect("made");
        (0..2).for_each(|_| watched.look(false));
        assert!(watched.complaint.as_ref().is_some_and(|why| why.contains("no regular file")));
        fs::remove_dir(dir.path().join("one")).expect("removed");
        put(&dir, "a1", "a1");
        (0..2).for_each(|_| watched.look(false));
        assert_eq!(watched.complaint, None);
        assert!(taken.lock().expect("no panic").is_empty(), "they are as they were");
    }

    #[test]
    fn a_symbolic_link_on_the_way_may_be_swapped() {
        let dir = tempfile::tempdir().expect("directory");
        let version = |letter: &str| {
            let version = dir.path().join(letter);
            fs::create_dir(&version).expect("made");
            for name in ["one", "other"] {
                fs::write(version.join(name), letter).expect("written");
            }
            symlink(&version, dir.path().join("new")).expect("linked");
            fs::rename(dir.path().join("new"), dir.path().join("current")).expect("swapped");
        };
        version("a");
        let taken = Arc::default();
        let mut watched = Watched::new(Box::new(Pair(dir.path().join("current"), Arc::clone(&taken))));
        version("b");
        (0..2).for_each(|_| watched.look(false));
        assert_eq!(*taken.lock().expect("no panic"), ["a", "b"]);
    }

    #[test]
    fn what_changed_between_the_start_and_the_first_look_is_in_use() {
        let dir = tempfile::tempdir().expect("directory");
        put(&dir, "b", "a");
        let taken = Arc::default();
        let mut watched = Watched::new(Box::new(Pair(dir.path().to_owned(), Arc::clone(&taken))));
        // Half of it had been written.
        put(&dir, "b", "b");
        (0..2).for_each(|_| watched.look(false));
        assert_eq!(*taken.lock().expect("no panic"), ["b"]);
    }
}
