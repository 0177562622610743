//! The Unix socket that controllers connect to, and who may.
//!
//! Promises (the threat: any local user commands the relay)
//! - The socket is made with mode 0600 in a directory that nobody else can change; the mode is set before the name exists.
//! - A peer of another uid is refused by SO_PEERCRED, whatever the modes say; root may.
//! - A socket file left by a dead relay is replaced; one that somebody listens on is not. A lock beside it decides between
//!   relays that start at the same moment.

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 64;

/// Why there is no control socket.
#[derive(Debug)]
pub enum ListenError {
    /// Another relay has it.
    InUse(PathBuf),
    /// Something that is no socket has the name; it is left alone.
    NotASocket(PathBuf),
    /// Others could replace the socket in this directory.
    OpenDirectory(PathBuf),
    /// The kernel refused.
    Io(PathBuf, io::Error),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => {
                write!(f, "another relay listens on {}; stop it or set relay.control_socket", path.display())
            }
            Self::NotASocket(path) => {
                write!(f, "{} exists and is no socket; set relay.control_socket", path.display())
            }
            Self::OpenDirectory(path) => write!(
                f,
                "others could replace the control socket in {}: the directory must be owned by this user and writable \
                 by nobody else (chmod 700), or set relay.control_socket",
                path.display()
            ),
            Self::Io(path, why) => write!(f, "control socket {}: {why}", path.display()),
        }
    }
}

impl std::error::Error for ListenError {}

/// What became of a waiting connection.
#[derive(Debug)]
pub enum Accepted {
    /// A peer that may command.
    Peer(UnixStream),
    /// A peer of another user; already closed.
    Refused {
        /// Its uid.
        uid: u32,
    },
    /// Nobody waits.
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
        let directory = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
        check_directory(directory)?;
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
        if !may_command(uid, rustix::process::geteuid().as_raw()) {
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

/// Nobody there, or not for long: the next wait tells.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::ConnectionAborted | ErrorKind::Interrupted)
}

/// The same user, or root.
fn may_command(peer_uid: u32, own_uid: u32) -> bool {
    peer_uid == own_uid || peer_uid == 0
}

/// A directory is safe if only we (or root) can put names into it, or if it is sticky, where names stay their owner's.
fn check_directory(directory: &Path) -> Result<(), ListenError> {
    let meta = fs::metadata(directory).map_err(|why| ListenError::Io(directory.to_owned(), why))?;
    let owner_fits = meta.uid() == rustix::process::geteuid().as_raw() || meta.uid() == 0;
    let closed = meta.mode() & 0o022 == 0 || meta.mode() & 0o1000 != 0;
    if owner_fits && closed { Ok(()) } else { Err(ListenError::OpenDirectory(directory.to_owned())) }
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

/// On Linux the mode of a socket before `bind` is the mode its name gets: there is no moment with a wider one, and
/// no umask of the whole process to change.
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
    fn who_may_command() {
        for (peer, own, may) in [(1000, 1000, true), (0, 1000, true), (1001, 1000, false), (1000, 0, false)] {
            assert_eq!(may_command(peer, own), may, "{peer} commands a relay of {own}");
        }
    }
}
