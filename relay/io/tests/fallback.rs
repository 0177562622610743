//! Where io_uring is forbidden or starved, the choice says why and the relay works all the same.

mod support;

use relay_io::{Backend, IoOptions, Setting, choose};
use support::*;

fn assert_serves(backend: Backend) {
    let mut io = open(backend, &IoOptions::default());
    let peer = peer();
    peer.send_to(b"works", v4(&io)).unwrap();
    turn(&mut io, 1, echo);
    assert_eq!(recv(&peer), b"works");
}

/// Makes `io_uring_setup` fail with `errno` on this thread from now on, as the profiles of container engines
/// do.
fn forbid_io_uring(errno: i32) {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        // The number of the system call is the first word of struct seccomp_data.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: takes plain integers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: `filter` names the four instructions above; the kernel copies them during the call.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) }, 0);
}

#[test]
fn a_seccomp_profile_without_io_uring_means_the_fallback() {
    for (errno, text) in [(libc::EPERM, "policy"), (libc::ENOSYS, "does not exist")] {
        // A filter stays with its thread.
        std::thread::spawn(move || {
            forbid_io_uring(errno);
            let choice = choose(Setting::Auto).unwrap();
            assert_eq!(choice.backend, Backend::Mmsg);
            assert!(choice.reason.contains(text) || choice.reason.contains("disabled"), "{}", choice.reason);
            let refused = choose(Setting::Uring).unwrap_err().to_string();
            assert!(refused.contains("io_uring_setup"), "{refused}");
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let error = relay_io::Io::new(Backend::Uring, vec![socket], &IoOptions::default()).err().unwrap();
            assert!(error.to_string().contains("io_uring is not usable"), "{error}");
            assert_serves(choice.backend);
        })
        .join()
        .unwrap();
    }
}

#[test]
fn little_locked_memory_still_serves() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes into `limit`, which is ours.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) }, 0);
    limit.rlim_cur = 0;
    // SAFETY: the call reads `limit`, which is ours.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) }, 0);
    match choose(Setting::Uring) {
        // Kernels since 5.12 charge rings to the memory control group instead.
        Ok(choice) => assert_serves(choice.backend),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let choice = choose(Setting::Auto).unwrap();
    assert!(!choice.reason.is_empty());
    assert_serves(choice.backend);
}

#[test]
fn a_forced_fallback_needs_no_probe() {
    let choice = choose("mmsg".parse().unwrap()).unwrap();
    assert_eq!((choice.backend, choice.backend.name()), (Backend::Mmsg, "mmsg"));
    assert!("epoll".parse::<Setting>().is_err());
}
