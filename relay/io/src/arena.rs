//! Memory for datagrams to send: a few arenas, filled one behind the other and begun anew when the kernel is
//! done.
//!
//! A region's life: *lent* to the caller (one at a time) → the runs in it are *kept*, each with a user of its
//! arena → *released* when their sends complete. An arena without users is free again, and so is everything
//! in it. What the kernel takes at once (nearly always, with `MSG_DONTWAIT`) leaves the first arena free at
//! every flush, so that the same few lines stay in the cache.
//!
//! Only lent memory is ours to touch; what is kept is read by the kernel. Everything is allocated up front.

use std::io;
use std::rc::Rc;

use crate::region::Region;

/// Arenas of a send queue. More than one is used only while the kernel holds on to sends.
const ARENAS: usize = 4;
/// Regions begin at cache lines.
const ALIGN: usize = 64;

/// Which arena something lies in.
pub(crate) type ArenaIndex = u8;

#[derive(Clone, Copy, Default)]
struct Arena {
    /// Octets lent or kept, from its start.
    used: usize,
    /// Runs kept and not released.
    users: u32,
}

/// The region lent last: offsets into its arena.
#[derive(Clone, Copy)]
struct Lent {
    start: usize,
    end: usize,
}

/// A kept piece of memory.
#[derive(Clone, Copy)]
pub(crate) struct Kept {
    /// Offset into the whole.
    pub(crate) at: usize,
    pub(crate) arena: ArenaIndex,
}

/// See the module.
pub(crate) struct Arenas {
    region: Rc<Region>,
    arenas: [Arena; ARENAS],
    arena_bytes: usize,
    current: usize,
    lent: Option<Lent>,
}

impl Arenas {
    /// Arenas of `arena_bytes` octets each.
    pub(crate) fn new(arena_bytes: usize) -> io::Result<Self> {
        assert!(arena_bytes > 0);
        let arena_bytes = arena_bytes.next_multiple_of(ALIGN);
        Ok(Self {
            region: Rc::new(Region::new(ARENAS * arena_bytes)?),
            arenas: [Arena::default(); ARENAS],
            arena_bytes,
            current: 0,
            lent: None,
        })
    }

    /// The memory, to be kept alive while the kernel may use any of it.
    pub(crate) fn memory(&self) -> Rc<Region> {
        Rc::clone(&self.region)
    }

    /// Whether the current arena has room for `bytes` octets.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.arena_bytes - self.used_of_current()
    }

    /// Makes a free arena the current one. False: there is none.
    pub(crate) fn advance(&mut self) -> bool {
        let free = self.arenas.iter().position(|arena| arena.users == 0);
        free.inspect(|free| self.current = *free).is_some()
    }

    /// Lends `bytes` octets of the current arena, which has the room. What was lent before and not kept is
    /// forgotten.
    pub(crate) fn lend(&mut self, bytes: usize) -> &mut [u8] {
        let start = self.used_of_current();
        let end = start + bytes;
        assert!(end <= self.arena_bytes);
        self.arenas[self.current].used = start;
        self.lent = Some(Lent { start, end });
        let at = self.region.at(self.current * self.arena_bytes + start, bytes);
        // SAFETY: the octets lie inside the region (`at` asserts it), which lives as long as `self`, is
        // zeroed at the start and thus initialised. They lie behind everything kept in this arena, or the
        // arena has no users: so the kernel reads none of them, and the exclusive borrow of `self` keeps
        // other references away until the caller lets go.
        unsafe { std::slice::from_raw_parts_mut(at, bytes) }
    }

    /// Keeps `len` octets from `start` of the region lent last, until released; `None` if they are not in it.
    pub(crate) fn keep(&mut self, start: usize, len: usize) -> Option<Kept> {
        let lent = self.lent?;
        let from = lent.start.checked_add(start)?;
        let to = from.checked_add(len).filter(|to| *to <= lent.end)?;
        let arena = &mut self.arenas[self.current];
        arena.used = arena.used.max(to.next_multiple_of(ALIGN)).min(self.arena_bytes);
        arena.users += 1;
        // There are a handful of arenas.
        Some(Kept { at: self.current * self.arena_bytes + from, arena: self.current as ArenaIndex })
    }

    /// One more user of an arena that has some: a kept piece is sent in parts.
    pub(crate) fn share(&mut self, arena: ArenaIndex) {
        self.arenas[usize::from(arena)].users += 1;
    }

    /// The kernel is done with a kept piece.
    pub(crate) fn release(&mut self, arena: ArenaIndex) {
        let arena = &mut self.arenas[usize::from(arena)];
        debug_assert!(arena.users > 0);
        arena.users -= 1;
    }

    /// Address of `len` kept octets.
    pub(crate) fn address(&self, at: usize, len: usize) -> *mut u8 {
        self.region.at(at, len)
    }

    fn used_of_current(&self) -> usize {
        let Arena { used, users } = self.arenas[self.current];
        if users == 0 { 0 } else { used }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arena_is_begun_anew_when_its_last_user_is_gone() {
        let mut arenas = Arenas::new(256).unwrap();
        let first = arenas.lend(100).as_ptr();
        let kept = arenas.keep(0, 100).unwrap();
        let also = arenas.keep(10, 20).unwrap();
        assert_eq!(arenas.lend(100).as_ptr() as usize - first as usize, 128, "behind it, at a cache line");
        assert!(arenas.has_room(128) && !arenas.has_room(129));
        arenas.release(kept.arena);
        assert_ne!(arenas.lend(100).as_ptr(), first);
        arenas.release(also.arena);
        assert_eq!(arenas.lend(256).as_ptr(), first);
    }

    #[test]
    fn what_is_not_kept_is_lent_again() {
        let mut arenas = Arenas::new(256).unwrap();
        assert!(arenas.keep(0, 1).is_none(), "nothing is lent");
        let first = arenas.lend(200).as_ptr();
        assert_eq!(arenas.lend(256).as_ptr(), first);
        arenas.lend(100);
        for (start, len) in [(0, 101), (100, 1), (usize::MAX, 1), (1, usize::MAX)] {
            assert!(arenas.keep(start, len).is_none(), "{start} {len}");
        }
        assert!(arenas.keep(100, 0).is_some());
    }

    #[test]
    fn a_held_arena_gives_way_to_the_next_until_all_are_held() {
        let mut arenas = Arenas::new(64).unwrap();
        let mut held = Vec::new();
        for _ in 0..ARENAS {
            assert!(arenas.advance() && arenas.has_room(64));
            arenas.lend(64).fill(held.len() as u8);
            held.push(arenas.keep(0, 64).unwrap());
        }
        assert!(!arenas.advance() && !arenas.has_room(1));
        for (n, kept) in held.iter().enumerate() {
            // SAFETY: kept, so nobody writes to it.
            let bytes = unsafe { std::slice::from_raw_parts(arenas.address(kept.at, 64), 64) };
            assert_eq!(bytes, [n as u8; 64]);
        }
        arenas.share(held[2].arena);
        arenas.release(held[2].arena);
        assert!(!arenas.advance(), "shared");
        arenas.release(held[2].arena);
        assert!(arenas.advance() && arenas.has_room(64));
    }
}
