//! Input that is a list of actions: numbers taken off the front, until there are none.

/// The octets that are left.
pub(crate) struct Actions<'a>(pub(crate) &'a [u8]);

impl<'a> Actions<'a> {
    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    /// `None` when no octets are left.
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.chunk::<1>().map(|[octet]| octet)
    }

    /// `None` when no octets are left.
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.chunk().map(u16::from_be_bytes)
    }

    /// `None` when no octets are left.
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.chunk().map(u32::from_be_bytes)
    }

    /// `None` when no octets are left.
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.chunk().map(u64::from_be_bytes)
    }

    /// As many octets as there are, `len` at most.
    pub(crate) fn octets(&mut self, len: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(len.min(self.0.len()));
        self.0 = tail;
        head
    }
}
