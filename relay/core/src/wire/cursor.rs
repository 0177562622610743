//! Reading and writing in network byte order, bounds checked at each step.

use super::WireError;

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(in crate::wire) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(in crate::wire) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(in crate::wire) const fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(in crate::wire) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(in crate::wire) fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    pub(in crate::wire) fn u8(&mut self) -> Result<u8, WireError> {
        self.chunk::<1>().map(|[b]| b)
    }

    pub(in crate::wire) fn u16(&mut self) -> Result<u16, WireError> {
        self.chunk().map(u16::from_be_bytes)
    }

    pub(in crate::wire) fn u24(&mut self) -> Result<u32, WireError> {
        self.chunk::<3>().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    pub(in crate::wire) fn u32(&mut self) -> Result<u32, WireError> {
        self.chunk().map(u32::from_be_bytes)
    }

    pub(in crate::wire) fn u64(&mut self) -> Result<u64, WireError> {
        self.chunk().map(u64::from_be_bytes)
    }
}

/// Fills a slot from its front. Every step is `None` once something did not fit.
#[derive(Debug)]
pub(in crate::wire) struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    pub(in crate::wire) const fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    pub(in crate::wire) const fn len(&self) -> usize {
        self.len
    }

    /// What has been written so far.
    pub(in crate::wire) fn written(&self) -> &[u8] {
        self.out.get(..self.len).unwrap_or_default()
    }

    pub(in crate::wire) fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.out.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    pub(in crate::wire) fn zeros(&mut self, count: usize) -> Option<()> {
        let end = self.len.checked_add(count)?;
        self.out.get_mut(self.len..end)?.fill(0);
        self.len = end;
        Some(())
    }

    /// Zeros up to the next multiple of four octets.
    pub(in crate::wire) fn align4(&mut self) -> Option<()> {
        self.zeros(self.len.next_multiple_of(4) - self.len)
    }

    /// Overwrites octets that were written before.
    pub(in crate::wire) fn patch(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        let end = at.checked_add(bytes.len()).filter(|end| *end <= self.len)?;
        self.out.get_mut(at..end)?.copy_from_slice(bytes);
        Some(())
    }

    pub(in crate::wire) fn u8(&mut self, value: u8) -> Option<()> {
        self.put(&[value])
    }

    pub(in crate::wire) fn u16(&mut self, value: u16) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    pub(in crate::wire) fn u24(&mut self, value: u32) -> Option<()> {
        let [_, low @ ..] = value.to_be_bytes();
        self.put(&low)
    }

    pub(in crate::wire) fn u32(&mut self, value: u32) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    pub(in crate::wire) fn u64(&mut self, value: u64) -> Option<()> {
        self.put(&value.to_be_bytes())
    }
}
