//! Message headers for sends: one block per send that may be under way at a time.

use std::cell::UnsafeCell;
use std::mem::zeroed;
use std::ptr;

use crate::addr::{Control, NAME_BYTES, Route, write_name};
use crate::arena::{ArenaIndex, Arenas};
use crate::gso::Run;
use crate::socket::{SocketIndex, Sources};

/// What the kernel reads of one send: header, address, control messages, and where the datagrams lie. The
/// header points into the block itself, so a block never moves.
#[repr(C)]
struct Block {
    header: libc::msghdr,
    name: [u8; NAME_BYTES],
    control: Control,
    piece: libc::iovec,
}

/// Ours about one send: the memory it holds, and the error it may cure.
#[derive(Clone, Copy)]
pub(crate) struct PendingSend {
    pub(crate) route: Route,
    /// The socket to send from.
    pub(crate) socket: SocketIndex,
    /// Where the datagrams lie, from the start of the arenas.
    pub(crate) run: Run,
    /// Datagrams in it.
    pub(crate) count: usize,
    /// Has this as a user until the send completes.
    pub(crate) arena: ArenaIndex,
    /// To be cut: its destination takes no GSO sends now.
    pub(crate) singly: bool,
    /// The kernel refused a GSO send of this datagram.
    pub(crate) refused_as_gso: bool,
}

/// A fixed number of blocks. A block is free, or holds a [`PendingSend`] and is the kernel's to read until it
/// completes.
pub(crate) struct Messages {
    blocks: Box<[UnsafeCell<Block>]>,
    sends: Box<[Option<PendingSend>]>,
    free: Vec<u16>,
    sources: Sources,
}

impl Messages {
    pub(crate) fn new(count: u16, sources: Sources) -> Self {
        // SAFETY: `Block` is made of integers, arrays of them and raw pointers: all zeros is a valid value of
        // each.
        let block = || UnsafeCell::new(unsafe { zeroed::<Block>() });
        Self {
            blocks: (0..count).map(|_| block()).collect(),
            sends: vec![None; usize::from(count)].into(),
            free: (0..count).rev().collect(),
            sources,
        }
    }

    /// The source address of each socket.
    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Whether all blocks are under way.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.free.is_empty()
    }

    /// Whether no block is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.free.len() == self.blocks.len()
    }

    /// Fills a free block; its index, or `None` when all are under way.
    pub(crate) fn build(&mut self, arenas: &Arenas, send: &PendingSend) -> Option<u16> {
        let index = self.free.pop()?;
        let PendingSend { route, run, count, socket, .. } = *send;
        let block = self.blocks[usize::from(index)].get();
        // SAFETY: the block is free: no reference to it is alive (none outlives this function) and the kernel
        // does not read it. `block` comes from an `UnsafeCell` in a box that is never reallocated.
        let block = unsafe { &mut *block };
        let family = self.sources.family(socket);
        let name_len = write_name(&mut block.name, route.remote, family);
        block.control.len = 0;
        if self.sources.local(socket).is_none() {
            block.control.push_source(route.remote, route.local, family);
        }
        if count > 1 {
            // A segment is at most a datagram, which is below 2^16.
            block.control.push_segment(run.segment as u16);
        }
        block.piece = libc::iovec { iov_base: arenas.address(run.start, run.len).cast(), iov_len: run.len };
        block.header.msg_namelen = name_len as libc::socklen_t;
        block.header.msg_iovlen = 1;
        block.header.msg_controllen = block.control.len as _;
        self.sends[usize::from(index)] = Some(*send);
        Some(index)
    }

    /// The header of a filled block, for the kernel to read. Valid until the block is
    /// [`finish`](Self::finish)ed.
    pub(crate) fn header(&self, index: u16) -> *const libc::msghdr {
        let block = self.blocks[usize::from(index)].get();
        // SAFETY: `block` points to a live block (see `build`), of which no reference is alive. Only places
        // inside it are named, so that the pointers may be used as long as the block lives.
        unsafe {
            let header = ptr::addr_of_mut!((*block).header);
            (*header).msg_name = ptr::addr_of_mut!((*block).name).cast();
            (*header).msg_iov = ptr::addr_of_mut!((*block).piece);
            (*header).msg_control = match (*header).msg_controllen {
                0 => ptr::null_mut(),
                _ => ptr::addr_of_mut!((*block).control.bytes).cast(),
            };
            header
        }
    }

    /// Whether the header says no more than where to and what: a plain send does as well.
    pub(crate) fn is_plain(&self, index: u16) -> bool {
        let block = self.blocks[usize::from(index)].get();
        // SAFETY: `block` points to a live block (see `build`), to which nobody writes.
        unsafe { (*block).header.msg_controllen == 0 }
    }

    /// What a filled block carries.
    pub(crate) fn send(&self, index: u16) -> Option<&PendingSend> {
        self.sends.get(usize::from(index))?.as_ref()
    }

    /// The send completed: frees the block and tells what it carried.
    pub(crate) fn finish(&mut self, index: u16) -> Option<PendingSend> {
        let send = self.sends.get_mut(usize::from(index))?.take()?;
        self.free.push(index);
        Some(send)
    }
}
