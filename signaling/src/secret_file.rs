//! A secret in a file of its own, which may be renewed while we run.

use crate::renewal::Secret;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Longest secret that is read.
const SECRET_BYTES_MAX: u64 = 4 << 10;

/// The octets of the file without a line break at their end.
#[derive(Clone, Debug)]
pub(crate) struct SecretFile {
    name: &'static str,
    path: PathBuf,
    min: usize,
    /// It is of visible ASCII characters alone.
    is_visible: bool,
    octets: Arc<RwLock<Arc<[u8]>>>,
}

impl SecretFile {
    /// `name`: as people call it; it has at least `min` octets.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn new(name: &'static str, path: &Path, min: usize) -> Result<Self, String> {
        let octets = Arc::new(RwLock::new(read(path, min, false)?));
        Ok(Self { name, path: path.to_owned(), min, is_visible: false, octets })
    }

    /// One that goes into a header of HTTP, so of visible ASCII characters.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn visible(name: &'static str, path: &Path, min: usize) -> Result<Self, String> {
        let octets = Arc::new(RwLock::new(read(path, min, true)?));
        Ok(Self { name, path: path.to_owned(), min, is_visible: true, octets })
    }

    /// As it is now.
    pub(crate) fn octets(&self) -> Arc<[u8]> {
        Arc::clone(&self.octets.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(path: &Path, min: usize, is_visible: bool) -> Result<Arc<[u8]>, String> {
    let cannot = |why: std::io::Error| format!("cannot read {}: {why}", path.display());
    let mut octets = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut octets).map_err(cannot)?;
    let secret = octets.strip_suffix(b"\n").unwrap_or(&octets);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.len() < min || secret.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!("{} must have {min} to {SECRET_BYTES_MAX} bytes", path.display()));
    }
    if is_visible && !secret.iter().all(u8::is_ascii_graphic) {
        let path = path.display();
        return Err(format!("{path} must be one line of visible ASCII characters, as it goes into a header"));
    }
    Ok(secret.into())
}

impl Secret for SecretFile {
    fn name(&self) -> &'static str {
        self.name
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    fn take(&self) -> Result<(), String> {
        *self.octets.write().unwrap_or_else(PoisonError::into_inner) =
            read(&self.path, self.min, self.is_visible)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_what_stands_in_the_file_without_its_last_line_break() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("key");
        for (content, expected) in [
            ("secret-1\n", Ok("secret-1")),
            ("secret-2\r\n", Ok("secret-2")),
            ("secret\n", Err(())),
            ("", Err(())),
        ] {
            std::fs::write(&path, content).expect("written");
            let found = SecretFile::new("the key", &path, 8).map(|secret| secret.octets());
            assert_eq!(found.as_deref().map_err(|_| ()), expected.map(str::as_bytes), "{content:?}");
        }
        for (content, is_good) in [("0a-=Z", true), ("0 a", false), ("0\na", false), ("0\u{e4}", false)] {
            std::fs::write(&path, content).expect("written");
            assert_eq!(SecretFile::visible("the key", &path, 3).is_ok(), is_good, "{content:?}");
        }
        std::fs::write(&path, "first-key").expect("written");
        let secret = SecretFile::new("the key", &path, 8).expect("good");
        std::fs::write(&path, "short").expect("written");
        assert!(secret.take().is_err());
        assert_eq!(&*secret.octets(), b"first-key");
        std::fs::write(&path, "second-key").expect("written");
        assert!(secret.take().is_ok());
        assert_eq!(&*secret.octets(), b"second-key");
    }
}
