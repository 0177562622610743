//! A page-aligned block of zeroed memory that the kernel may write into or read from while we hold only
//! pointers.

use std::io;
use std::ptr::{self, NonNull};

/// Anonymous private memory, unmapped on drop. Hands out raw pointers only: who may touch which part when is
/// for the owner to say, because the kernel is the other party.
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
}

impl Region {
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory that exists; a
        // zero length or lack of memory is answered by MAP_FAILED, checked below.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }

    /// Address of the `len` octets at `offset`, which lie inside the region.
    pub(crate) fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset <= self.len);
        assert!(len <= self.len - offset);
        // SAFETY: `offset` is within the one mapping that `base` points to, by the assertions above.
        unsafe { self.base.as_ptr().add(offset) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are those of the mapping made in `new`, unmapped only here. Owners keep a
        // region until no operation of the kernel refers to it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
