//! Where controller and relay meet, and what each side checks before it trusts the other.
//!
//! The threat: another user of the machine gets the media in clear, by commanding the relay or by listening
//! in its place. So both sides look at the directory before they bind or connect, and at the uid of who is at
//! the other end (SO_PEERCRED).

use rustix::process::geteuid;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why a socket's directory or its peer is not trusted.
#[derive(Debug)]
pub enum Untrusted {
    /// The directory is a symbolic link, so its owner says where it leads.
    Symlink(PathBuf),
    /// The path is not a directory.
    NoDirectory(PathBuf),
    /// Another user made it, and can put what he likes in it.
    Owner(PathBuf, u32),
    /// Other users may write to the directory.
    Open(PathBuf),
    /// Another user listens on the socket.
    Listener(PathBuf, u32),
    /// The directory cannot be examined.
    Io(PathBuf, io::Error),
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uid = geteuid().as_raw();
        let other = "or set relay.control_socket to another place";
        match self {
            Self::Symlink(path) => write!(
                f,
                "{} is a symbolic link, and the control socket is only looked for in a real directory: name that one with \
                 relay.control_socket",
                path.display()
            ),
            Self::NoDirectory(path) => write!(f, "{} is no directory: remove it, {other}", path.display()),
            Self::Owner(path, owner) => write!(
                f,
                "{} belongs to user {owner}, who could listen in the relay's place; we are user {uid}: remove it (another \
                 user may have made it first), {other}",
                path.display()
            ),
            Self::Open(path) => write!(
                f,
                "others could replace the control socket in {}: make the directory writable by its owner only \
                 (chmod 700), {other}",
                path.display()
            ),
            Self::Listener(path, owner) => write!(
                f,
                "a process of user {owner} listens on {}, not one of ours (user {uid}) or of root: end it, run both \
                 programs as one user, {other}",
                path.display()
            ),
            Self::Io(path, why) => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for Untrusted {}

/// Whether a process of this user may be at the other end: one of our own user, or of root.
#[must_use]
pub fn trusts(uid: u32) -> bool {
    trusts_as(geteuid().as_raw(), uid)
}

fn trusts_as(own: u32, uid: u32) -> bool {
    uid == own || uid == 0
}

/// Looks at the directory of a socket: only we or root may put names into it, unless it is sticky, where
/// names stay their owner's.
///
/// # Errors
/// See [`Untrusted`].
pub fn check_directory(socket: &Path) -> Result<(), Untrusted> {
    let directory = directory_of(socket);
    let untrusted = |why| Untrusted::Io(directory.to_owned(), why);
    // Not what a link leads to.
    let meta = fs::symlink_metadata(directory).map_err(untrusted)?;
    let path = directory.to_owned();
    if meta.file_type().is_symlink() {
        Err(Untrusted::Symlink(path))
    } else if !meta.is_dir() {
        Err(Untrusted::NoDirectory(path))
    } else if !trusts(meta.uid()) {
        Err(Untrusted::Owner(path, meta.uid()))
    } else if meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0 {
        Err(Untrusted::Open(path))
    } else {
        Ok(())
    }
}

/// The directory of a socket.
#[must_use]
pub fn directory_of(socket: &Path) -> &Path {
    socket.parent().unwrap_or(Path::new("/"))
}

/// The control socket if the settings name none: the first of
/// - what the service manager made for us (`$RUNTIME_DIRECTORY`, systemd.exec(5)),
/// - `/run/ringvox`, if we are root or it is ours,
/// - `ringvox` in `$XDG_RUNTIME_DIR`, if that is ours,
/// - `/tmp/ringvox-<uid>`, for containers and service accounts that have nothing better.
#[must_use]
pub fn default_control_socket() -> PathBuf {
    let uid = geteuid().as_raw();
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let is_ours =
        |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid);
    choose(uid, variable("RUNTIME_DIRECTORY"), variable("XDG_RUNTIME_DIR"), is_ours).join("relay.sock")
}

/// How the names of the other sockets end, which lie beside the control socket and begin as it does.
const PORTS: &str = "-ports";
const RECORDER: &str = "-recorder";

/// Where processes with local ports connect: beside the control socket, `relay.sock` and `relay-ports.sock`.
#[must_use]
pub fn port_socket(control: &Path) -> PathBuf {
    beside(control, PORTS)
}

/// Where the recorder says what it has: beside the control socket, `relay.sock` and `relay-recorder.sock`. So
/// two servers with sockets in one directory have a recorder each.
#[must_use]
pub fn recorder_socket(control: &Path) -> PathBuf {
    beside(control, RECORDER)
}

/// The same, of who knows only where the ports are.
#[must_use]
pub fn recorder_socket_of(port_socket: &Path) -> PathBuf {
    let stem = port_socket.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    beside(&port_socket.with_file_name(stem.strip_suffix(PORTS).unwrap_or(stem)), RECORDER)
}

fn beside(control: &Path, end: &str) -> PathBuf {
    let mut name = control.file_stem().unwrap_or_default().to_owned();
    name.push(end);
    name.push(".sock");
    control.with_file_name(name)
}

fn choose(
    uid: u32,
    runtime_directory: Option<PathBuf>,
    xdg_runtime_dir: Option<PathBuf>,
    is_ours: impl Fn(&Path) -> bool,
) -> PathBuf {
    // A list with colons between; the first is as good as any.
    let first = runtime_directory.and_then(|list| {
        let text = list.to_str()?.split(':').next()?.to_owned();
        Some(PathBuf::from(text)).filter(|path| path.is_absolute())
    });
    let run = Path::new("/run/ringvox");
    let xdg = xdg_runtime_dir.filter(|path| path.is_absolute() && is_ours(path));
    match (first, xdg) {
        (Some(directory), _) => directory,
        (None, _) if uid == 0 || is_ours(run) => run.to_owned(),
        (None, Some(xdg)) => xdg.join("ringvox"),
        (None, None) => PathBuf::from(format!("/tmp/ringvox-{uid}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_we_trust() {
        for (own, other, trusted) in
            [(1000, 1000, true), (1000, 0, true), (1000, 1001, false), (0, 1000, false)]
        {
            assert_eq!(trusts_as(own, other), trusted, "{own} of {other}");
        }
    }

    #[test]
    fn each_server_has_sockets_of_its_own() {
        for (control, ports, recorder) in [
            ("/s/relay.sock", "/s/relay-ports.sock", "/s/relay-recorder.sock"),
            ("/s/t.sock", "/s/t-ports.sock", "/s/t-recorder.sock"),
            ("/s/t", "/s/t-ports.sock", "/s/t-recorder.sock"),
            ("/s/a-ports.sock", "/s/a-ports-ports.sock", "/s/a-ports-recorder.sock"),
        ] {
            let control = Path::new(control);
            assert_eq!(port_socket(control), Path::new(ports));
            assert_eq!(recorder_socket(control), Path::new(recorder));
            assert_eq!(recorder_socket_of(Path::new(ports)), Path::new(recorder));
        }
        assert_eq!(recorder_socket_of(Path::new("/s/x")), Path::new("/s/x-recorder.sock"));
    }

    #[test]
    fn the_place_is_the_most_private_there_is() {
        let path = |text: &str| Some(PathBuf::from(text));
        let (unit, xdg) = (path("/run/unit"), path("/run/user/7"));
        for (uid, unit, xdg, ours, want) in [
            (7, unit.clone(), xdg.clone(), &["/run/ringvox", "/run/user/7"][..], "/run/unit"),
            (7, path("/run/a:/run/b"), None, &[], "/run/a"),
            (7, path("relative"), None, &[], "/tmp/ringvox-7"),
            (7, None, xdg.clone(), &["/run/ringvox", "/run/user/7"], "/run/ringvox"),
            (7, None, xdg.clone(), &["/run/user/7"], "/run/user/7/ringvox"),
            // Left over from another user's session (su), or gone.
            (7, None, xdg.clone(), &[], "/tmp/ringvox-7"),
            (7, None, path("x"), &["x"], "/tmp/ringvox-7"),
            (0, None, xdg, &[], "/run/ringvox"),
        ] {
            let is_ours = |path: &Path| ours.iter().any(|our| Path::new(our) == path);
            assert_eq!(
                choose(uid, unit.clone(), xdg.clone(), is_ours),
                Path::new(want),
                "{unit:?} {xdg:?} {ours:?}"
            );
        }
    }
}
