//! Receive buffers of the io_uring back end, and the ring through which they are offered to the kernel.
//!
//! A buffer's life: *offered* in the ring → filled by the kernel, whose completion names it; now it is ours →
//! read by the caller, one datagram → offered again. At no time is it on both sides.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::datagram::Datagram;
use crate::region::Region;
use crate::socket::SocketIndex;
use crate::{DATAGRAM_BYTES_MAX, addr};

/// Octets kept for the source address of a received datagram; a multiple of 8, so that what follows is
/// aligned.
pub(crate) const NAME_BYTES: usize = addr::NAME_BYTES.next_multiple_of(8);
/// Octets kept for its control messages.
pub(crate) const CONTROL_BYTES: usize = addr::RECEIVE_CONTROL_BYTES;
/// The kernel writes `struct io_uring_recvmsg_out`: four 32-bit words.
const HEADER_BYTES: usize = 16;
const PAYLOAD_OFFSET: usize = HEADER_BYTES + NAME_BYTES + CONTROL_BYTES;
const BUFFER_BYTES: usize = PAYLOAD_OFFSET + DATAGRAM_BYTES_MAX;
/// Whole cache lines.
const BUFFER_STRIDE: usize = BUFFER_BYTES.next_multiple_of(64);
const PAGE_BYTES: usize = 4096;

/// The buffers and their ring.
pub(crate) struct BufferRing {
    /// The ring's entries, then from the next page on the buffers.
    region: Region,
    buffers_at: usize,
    /// A power of two.
    count: u16,
    /// Tail of the ring as last published.
    tail: u16,
}

impl BufferRing {
    pub(crate) fn new(count: u16) -> io::Result<Self> {
        assert!(count.is_power_of_two());
        let buffers_at = (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(PAGE_BYTES);
        let region = Region::new(buffers_at + usize::from(count) * BUFFER_STRIDE)?;
        Ok(Self { region, buffers_at, count, tail: 0 })
    }

    /// Number of buffers.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Page-aligned start of the ring, and its number of entries.
    pub(crate) fn entries(&self) -> (*mut BufRingEntry, u16) {
        (self.region.at(0, self.buffers_at).cast(), self.count)
    }

    /// Offers all buffers: once, at the start.
    pub(crate) fn offer_all(&mut self) {
        debug_assert_eq!(self.tail, 0);
        (0..self.count).for_each(|buffer| self.offer(buffer));
    }

    /// Offers a buffer that the kernel has not, and that nobody reads any more.
    pub(crate) fn offer(&mut self, buffer: u16) {
        let address = self.address(buffer);
        let index = self.tail & (self.count - 1);
        let (entries, _) = self.entries();
        // SAFETY: `index` is below the number of entries, which lie at the start of the region. The kernel
        // reads only entries between its head and the published tail; this one is not, as there are as many
        // entries as buffers and this buffer is in none. The setters leave alone the tail, which shares the
        // first entry.
        unsafe {
            let entry = &mut *entries.add(usize::from(index));
            entry.set_addr(address as u64);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `entries` is the start of the buffer ring; its first entry holds the tail, 2-aligned, which
        // the kernel only reads and which is written only here. `Release` publishes the entry before it.
        unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()) }
            .store(self.tail, Ordering::Release);
    }

    /// What the kernel wrote into `buffer`, `len` octets in all; `None` if it makes no sense.
    ///
    /// # Safety
    /// The buffer is filled and not offered again while the result lives, and no other result for it lives.
    pub(crate) unsafe fn read<'a>(&self, buffer: u16, len: u32, socket: SocketIndex) -> Option<Datagram<'a>> {
        let address = self.address(buffer);
        // SAFETY: the address is that of `BUFFER_STRIDE` octets of the region, zeroed at the start and thus
        // initialised. The kernel touches only offered buffers, and the caller lets nobody else (contract
        // above).
        let octets = unsafe { std::slice::from_raw_parts_mut(address, BUFFER_STRIDE) };
        let octets = octets.get_mut(..len as usize)?;
        let (header, octets) = octets.split_first_chunk_mut::<HEADER_BYTES>()?;
        let (name, octets) = octets.split_first_chunk_mut::<NAME_BYTES>()?;
        let (control, bytes) = octets.split_first_chunk_mut::<CONTROL_BYTES>()?;
        // struct io_uring_recvmsg_out { namelen, controllen, payloadlen, flags }.
        let word = |at: usize| header[at..].first_chunk().map(|word| u32::from_ne_bytes(*word));
        let (name_len, control_len, flags) = (word(0)? as usize, word(4)? as usize, word(12)?);
        Some(Datagram {
            socket,
            name: &name[..name_len.min(NAME_BYTES)],
            control: &control[..control_len.min(CONTROL_BYTES)],
            truncated: flags & libc::MSG_TRUNC as u32 != 0,
            bytes,
        })
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        self.region.at(self.buffers_at + usize::from(buffer) * BUFFER_STRIDE, BUFFER_STRIDE)
    }
}
