//! Which back end to use on this machine, and why.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::time::Duration;

use crate::IoCounters;
use crate::region::Region;
use crate::uring::{Ring, RingSizes, SetupError};
use crate::waker::Sleeper;

/// How datagrams reach the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring: multishot receive into a buffer ring.
    Uring,
    /// `recvmmsg` and `sendmmsg`.
    Mmsg,
}

impl Backend {
    /// Its name in settings and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Mmsg => "mmsg",
        }
    }
}

/// The back end asked for in the settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Setting {
    /// io_uring where it works, else the fallback.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// The fallback.
    Mmsg,
}

impl std::str::FromStr for Setting {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "mmsg" => Ok(Self::Mmsg),
            _ => Err(()),
        }
    }
}

/// A back end, and a sentence for the log that says why this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// To be given to [`Io::new`](crate::Io::new).
    pub backend: Backend,
    /// The reason for the choice, for the log.
    pub reason: String,
}

/// Why io_uring cannot serve.
#[derive(Debug)]
pub struct Unavailable {
    cause: String,
    remedy: String,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring is not usable: {} ({})", self.cause, self.remedy)
    }
}

impl std::error::Error for Unavailable {}

/// Chooses by trying: a small ring receives one datagram the way an [`Io`](crate::Io) would.
///
/// # Errors
/// If [`Setting::Uring`] asks for what does not work here.
pub fn choose(setting: Setting) -> Result<Choice, Unavailable> {
    if setting == Setting::Mmsg {
        return Ok(Choice { backend: Backend::Mmsg, reason: "recvmmsg/sendmmsg: as set".into() });
    }
    match try_ring() {
        Ok(()) => {
            let reason = format!("io_uring: multishot receive works on kernel {}", kernel_release());
            Ok(Choice { backend: Backend::Uring, reason })
        }
        Err(error) => {
            let unavailable = explain(&error, io_uring_disabled(), memlock_bytes());
            if setting == Setting::Uring {
                return Err(unavailable);
            }
            Ok(Choice { backend: Backend::Mmsg, reason: format!("recvmmsg/sendmmsg: {unavailable}") })
        }
    }
}

/// Receives a datagram over a pair of Unix sockets: needs no network, and uses all that the real one uses.
fn try_ring() -> Result<(), SetupError> {
    let at = |step| move |error| SetupError { step, error };
    let (near, far) = UnixDatagram::pair().map_err(at("socketpair"))?;
    let sleeper = Sleeper::new().map_err(at("eventfd"))?;
    let sending = Rc::new(Region::new(1).map_err(at("mmap"))?);
    let sizes = RingSizes { messages: 1, cq_entries: 8, buffers: 4 };
    let mut ring = Ring::new(&[near.as_raw_fd()], sleeper.fd(), sending, sizes)?;
    let mut counters = IoCounters::default();
    far.send(b"ringvox").map_err(at("send"))?;
    // Unix sockets deliver during the send: the first wait sees it.
    ring.wait(Some(Duration::from_secs(1)), Duration::ZERO, &mut counters).map_err(at("io_uring_enter"))?;
    let Some(taken) = ring.take() else {
        let text = format!("no datagram came ({} errors)", counters.rx_errors);
        return Err(SetupError { step: "multishot receive", error: io::Error::other(text) });
    };
    // SAFETY: the buffer has just been taken and is not given back; this is the only look at it.
    let intact = unsafe { ring.read(taken) }.is_some_and(|datagram| *datagram.bytes == *b"ringvox");
    if intact && ring.is_receiving() {
        return Ok(());
    }
    Err(SetupError { step: "multishot receive", error: io::Error::other("it ended after one datagram") })
}

/// Turns an error into what an administrator can act upon.
fn explain(error: &SetupError, disabled: Option<u8>, memlock_bytes: Option<u64>) -> Unavailable {
    let errno = error.error.raw_os_error();
    let (cause, remedy): (String, String) = match (errno, disabled) {
        (Some(libc::EPERM | libc::EACCES), Some(level @ 1..)) => (
            format!("the administrator disabled it (kernel.io_uring_disabled={level})"),
            "sysctl kernel.io_uring_disabled=0 allows it".into(),
        ),
        (Some(libc::EPERM | libc::EACCES), _) => (
            "a seccomp or security policy forbids it".into(),
            "container engines block it by default; allow io_uring_setup, _enter and _register".into(),
        ),
        (Some(libc::ENOSYS), _) => (
            "the system call does not exist".into(),
            "the kernel was built without it, or a sandbox hides it".into(),
        ),
        (Some(libc::ENOMEM), _) => (
            match memlock_bytes {
                Some(bytes) => format!("not enough memory may be locked (RLIMIT_MEMLOCK is {bytes} octets)"),
                None => "not enough memory".into(),
            },
            "raise it with ulimit -l, LimitMEMLOCK= or --ulimit memlock".into(),
        ),
        (Some(libc::EMFILE | libc::ENFILE), _) => {
            ("no descriptor is free".into(), "raise RLIMIT_NOFILE".into())
        }
        (Some(libc::EINVAL), _) => (
            format!(
                "kernel {} lacks multishot receive, buffer rings or deferred task work",
                kernel_release()
            ),
            "Linux 6.1 has them".into(),
        ),
        _ => ("it failed".into(), "unexpected".into()),
    };
    Unavailable { cause, remedy: format!("{remedy}; {}: {}", error.step, error.error) }
}

fn io_uring_disabled() -> Option<u8> {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |text| text.trim().into())
}

/// The limit on locked memory in octets; `None` if there is none.
fn memlock_bytes() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes into `limit`, which is ours.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    (result == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

impl From<SetupError> for io::Error {
    fn from(error: SetupError) -> Self {
        let unavailable = explain(&error, io_uring_disabled(), memlock_bytes());
        Self::new(error.error.kind(), unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_text_that_helps() {
        let cases = [
            (libc::EPERM, Some(2), Some(1), "kernel.io_uring_disabled=2"),
            (libc::EPERM, Some(0), None, "seccomp"),
            (libc::EACCES, None, None, "seccomp"),
            (libc::ENOSYS, None, None, "does not exist"),
            (libc::ENOMEM, Some(0), Some(65_536), "RLIMIT_MEMLOCK is 65536"),
            (libc::ENOMEM, Some(0), None, "not enough memory"),
            (libc::EMFILE, None, None, "RLIMIT_NOFILE"),
            (libc::EINVAL, None, None, "Linux 6.1"),
            (libc::EIO, None, None, "unexpected"),
        ];
        for (errno, disabled, memlock, expected) in cases {
            let error = SetupError { step: "io_uring_setup", error: io::Error::from_raw_os_error(errno) };
            let text = explain(&error, disabled, memlock).to_string();
            assert!(text.contains(expected), "{text}");
            assert!(text.contains("io_uring_setup: "), "{text}");
        }
    }
}
