//! A Unix socket that processes of this machine connect to, and who may.
//!
//! Promises (the threat: any local user commands the relay or the recorder)
//! - The socket is made with mode 0600 in a directory that nobody else can change (and that is no symbolic
//!   link); the mode is set before the name exists.
//! - A peer of another uid is refused by SO_PEERCRED, whatever the modes say; root may.
//! - A socket file left by a dead process is replaced; one that somebody listens on is not. A lock beside it
//!   decides between those that start at the same moment.

use crate::place::{Untrusted, check_directory, directory_of, trusts};
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 64;

/// Why there is no socket.
#[derive(Debug)]
pub enum ListenError {
    /// Another process listens on it.
    InUse(PathBuf),
    /// Something that is no socket has the name; it is left alone.
    NotASocket(PathBuf),
    /// Other users could replace the socket.
    Directory(Untrusted),
    /// A system call failed.
    Io(PathBuf, io::Error),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => {
                write!(
                    f,
                    "another process listens on {}; stop it or set relay.control_socket",
                    path.display()
                )
            }
            Self::NotASocket(path) => {
                write!(f, "{} exists and is no socket; set relay.control_socket", path.display())
            }
            Self::Directory(why) => why.fmt(f),
            Self::Io(path, why) => write!(f, "socket {}: {why}", path.display()),
        }
    }
}

impl std::error::Error for ListenError {}

/// The result of accepting a connection.
#[derive(Debug)]
pub enum Accepted {
    /// A peer that may command.
    Peer(UnixStream),
    /// A peer of another user; already closed.
    Refused {
        /// Whose it is.
        uid: u32,
    },
    /// No connection waits.
    None,
}

/// The listening socket. Dropping it removes the file.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Held for life; the kernel releases it when the process ends, however it ends.
    _lock: File,
}

impl Listener {
    /// Makes the directory, the lock and the socket.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let io = |why: io::Error| ListenError::Io(path.to_owned(), why);
        // A link that leads nowhere, or to a file, is no reason to complain of something else.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory_of(path));
        check_directory(path).map_err(|why| match (why, made) {
            (Untrusted::Io(..), Err(why)) => io(why),
            (why, _) => ListenError::Directory(why),
        })?;
        let lock = take_lock(path)?;
        remove_stale(path)?;
        let socket = bind_private(path).map_err(io)?;
        Ok(Self { socket: UnixListener::from(socket), path: path.to_owned(), _lock: lock })
    }

    /// Takes the next connection, not blocking.
    ///
    /// # Errors
    /// As `accept(2)`, for example for want of descriptors.
    pub fn accept(&self) -> io::Result<Accepted> {
        let stream = match self.socket.accept() {
            Ok((stream, _)) => stream,
            Err(why) if is_passing(why.kind()) => return Ok(Accepted::None),
            Err(why) => return Err(why),
        };
        let uid = rustix::net::sockopt::socket_peercred(&stream)?.uid.as_raw();
        if !trusts(uid) {
            return Ok(Accepted::Refused { uid });
        }
        stream.set_nonblocking(true)?;
        Ok(Accepted::Peer(stream))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The lock is still held: the file is ours.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether `accept` failed for a moment only, so that waiting again is the answer.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::ConnectionAborted | ErrorKind::Interrupted)
}

fn take_lock(path: &Path) -> Result<File, ListenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let io = |why: io::Error| ListenError::Io(PathBuf::from(&name), why);
    let lock =
        OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&name).map_err(io)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ListenError::InUse(path.to_owned())),
        Err(why) => Err(io(why.into())),
    }
}

/// Removes a socket that nobody listens on. We hold the lock, so nobody is about to.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let io = |why: io::Error| ListenError::Io(path.to_owned(), why);
    match fs::symlink_metadata(path) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(()),
        Err(why) => return Err(io(why)),
        Ok(meta) if !meta.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ListenError::InUse(path.to_owned())),
        Err(why) if why.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(io),
        Err(why) => Err(io(why)),
    }
}

/// On Linux the mode of a socket before `bind` is the mode its name gets: there is no moment with a wider
/// one, and no umask of the whole process to change.
fn bind_private(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("made/relay.sock");
        (dir, path)
    }

    fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(path).expect("exists").mode() & 0o777
    }

    #[test]
    fn the_socket_is_private_and_goes_away() {
        let (_dir, path) = place();
        let listener = Listener::bind(&path).expect("binds");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("parent")), 0o700);
        drop(listener);
        assert!(!path.exists());
        Listener::bind(&path).expect("binds again");
    }

    #[test]
    fn a_second_relay_is_refused_and_disturbs_nothing() {
        let (_dir, path) = place();
        let first = Listener::bind(&path).expect("binds");
        assert!(matches!(Listener::bind(&path), Err(ListenError::InUse(_))));
        let _client = UnixStream::connect(&path).expect("still there");
        assert!(matches!(first.accept(), Ok(Accepted::Peer(_))));
    }

    #[test]
    fn a_socket_somebody_else_listens_on_is_left_alone() {
        let (_dir, path) = place();
        fs::create_dir(path.parent().expect("parent")).expect("creates");
        let _other = UnixListener::bind(&path).expect("binds");
        assert!(matches!(Listener::bind(&path), Err(ListenError::InUse(_))));
        assert!(path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let (_dir, path) = place();
        fs::create_dir(path.parent().expect("parent")).expect("creates");
        drop(UnixListener::bind(&path).expect("binds"));
        assert!(path.exists(), "std leaves the file behind, as a killed relay does");
        drop(Listener::bind(&path).expect("replaces it"));

        fs::write(&path, "precious").expect("writes");
        assert!(matches!(Listener::bind(&path), Err(ListenError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    }

    #[test]
    fn a_directory_others_can_write_is_refused() {
        for (bits, fine) in [(0o700, true), (0o755, true), (0o770, false), (0o777, false), (0o1777, true)] {
            let (_dir, path) = place();
            let parent = path.parent().expect("parent");
            fs::create_dir(parent).expect("creates");
            fs::set_permissions(parent, fs::Permissions::from_mode(bits)).expect("chmod");
            assert_eq!(Listener::bind(&path).is_ok(), fine, "mode {bits:o}");
        }
    }

    #[test]
    fn a_link_or_another_users_directory_is_refused_with_words_that_help() {
        let (dir, path) = place();
        let (parent, target) = (path.parent().expect("parent"), dir.path().join("target"));
        for there in [true, false] {
            if there {
                fs::create_dir(&target).expect("creates");
            }
            std::os::unix::fs::symlink(&target, parent).expect("links");
            let why = Listener::bind(&path).expect_err("refused").to_string();
            assert!(why.contains("symbolic link") && why.contains("relay.control_socket"), "{why}");
            fs::remove_file(parent).expect("removes");
            let _ = fs::remove_dir(&target);
        }
        fs::write(parent, "a file").expect("writes");
        let why = Listener::bind(&path).expect_err("refused").to_string();
        assert!(why.contains("no directory"), "{why}");
        fs::remove_file(parent).expect("removes");

        if !rustix::process::geteuid().is_root() {
            return eprintln!("only root can be two users: not tested");
        }
        fs::create_dir(parent).expect("creates");
        std::os::unix::fs::chown(parent, Some(65_534), None).expect("chown");
        let why = Listener::bind(&path).expect_err("refused").to_string();
        assert!(why.contains("belongs to user 65534") && why.contains("remove it"), "{why}");
    }
}
