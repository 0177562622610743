//! Networks of a test's own, which take root.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

/// Whether this thread, and what it starts, has a network of its own now.
pub fn own_network() -> bool {
    // SAFETY: changes only which network later calls of this thread concern.
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
    if !unshared {
        eprintln!("no network of our own ({}): nothing is tested", std::io::Error::last_os_error());
    }
    unshared
}

/// One of several, which lives as long as this or a socket in it.
pub struct Network(File);

impl Network {
    /// The thread is in it then. `None`: none can be had.
    pub fn new() -> Option<Self> {
        own_network().then(|| Self(File::open("/proc/thread-self/ns/net").expect("ours")))
    }

    /// What this thread does from now on concerns this network.
    pub fn enter(&self) {
        // SAFETY: changes only which network later calls of this thread concern.
        let entered = unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(entered, 0, "{}", std::io::Error::last_os_error());
    }

    /// By which `ip` finds it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

pub fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}
