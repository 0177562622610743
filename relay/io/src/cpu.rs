//! Which core a thread runs on.

use std::io;
use std::mem::{size_of, zeroed};

/// Cores this thread may run on, ascending.
///
/// # Errors
/// What `sched_getaffinity` says (only a machine with more than 1,024 cores makes it fail).
pub fn available() -> io::Result<Vec<usize>> {
    // SAFETY: `cpu_set_t` is a bit array; all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: the call writes at most the given size into `set`, which is ours; pid 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: CPU_ISSET reads bit `core` of `set`, and `core` is below the number of its bits.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}

/// Keeps the calling thread on `core`.
///
/// # Errors
/// `InvalidInput` if there is no such core, or it is not open to this process.
pub fn pin_current_thread(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no core {core}")));
    }
    // SAFETY: `cpu_set_t` is a bit array; all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: CPU_SET writes bit `core` of `set`, and `core` is below the number of its bits (checked above).
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the call reads the given size from `set`, which is ours; pid 0 is the calling thread.
    if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_core() {
        std::thread::spawn(|| {
            let cores = available().unwrap();
            let core = *cores.last().unwrap();
            pin_current_thread(core).unwrap();
            assert_eq!(available().unwrap(), [core]);
            assert!(pin_current_thread(usize::MAX).is_err());
            assert!(pin_current_thread(1023).is_err() || cores.contains(&1023));
        })
        .join()
        .unwrap();
    }
}
