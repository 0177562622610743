//! Connecting to the sockets of our own processes.
//!
//! Nothing is sent to a process that could be another user's: the directory and the uid at the other end are
//! checked first.

use relay_control::{Untrusted, check_directory, trusts};
use rustix::process::{Pid, getpid};
use std::io::ErrorKind;
use std::path::Path;
use tokio::net::UnixStream;

/// Connects, if somebody listens there and nobody but our user and root could. The uid is that of who called
/// `listen`, which it has whatever becomes of the directory meanwhile.
///
/// # Errors
/// Another user could listen in its place.
pub(crate) async fn reach(socket: &Path) -> Result<Option<UnixStream>, Untrusted> {
    match check_directory(socket) {
        Err(Untrusted::Io(_, why)) if why.kind() == ErrorKind::NotFound => return Ok(None),
        checked => checked?,
    }
    let Ok(stream) = UnixStream::connect(socket).await else { return Ok(None) };
    let peer = stream.peer_cred().map_err(|why| Untrusted::Io(socket.to_owned(), why))?;
    if !trusts(peer.uid()) {
        return Err(Untrusted::Listener(socket.to_owned(), peer.uid()));
    }
    Ok(Some(stream))
}

/// Who listens at the other end, if it is another process that we can see.
pub(crate) fn listener(stream: &UnixStream) -> Option<Pid> {
    let pid = stream.peer_cred().ok().and_then(|peer| Pid::from_raw(peer.pid()?));
    pid.filter(|pid| *pid != getpid())
}

/// By chance, and not 0.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the kernel's random numbers");
    u64::from_ne_bytes(bytes).max(1)
}
