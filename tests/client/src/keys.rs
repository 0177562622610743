//! SRTP of one client: what it sends is sealed under its keys, what comes is opened under the server's.

use crate::Fault;
use relay_core::id::SeqNo;
use relay_core::srtp::{KeyingMaterial, OpenContext, SealContext};
use relay_core::wire::rtcp::{RtcpIter, parse_compound};
use relay_core::wire::rtp::{HeaderFields, RtpHeader, strip_padding, write_header};

/// Octets of a slot that any packet fits into, with header extensions and tag.
pub const SLOT_BYTES: usize = 1600;
/// Octets of a compound of RTCP, without what SRTP adds.
const RTCP_BYTES_MAX: usize = 1400;

pub struct Keys {
    open: OpenContext,
    seal: SealContext,
}

impl Keys {
    /// As the client's end of a handshake says: `local` keys are the client's.
    #[must_use]
    pub fn new(keys: &KeyingMaterial) -> Self {
        Self {
            open: OpenContext::new(keys.profile, &keys.remote_key, &keys.remote_salt),
            seal: SealContext::new(keys.profile, &keys.local_key, &keys.local_salt),
        }
    }

    /// Writes a packet of media with index `index` into `slot` and gives its length.
    #[must_use]
    pub fn rtp(
        &self,
        slot: &mut [u8],
        fields: &HeaderFields,
        extensions: &[(u8, &[u8])],
        index: u64,
        payload: &[u8],
    ) -> Option<usize> {
        let header = write_header(slot, fields, extensions)?;
        self.seal.seal_rtp(slot, header, fields.ssrc, index, payload)
    }

    /// Writes the retransmission of packet `original` (RFC 4588).
    #[must_use]
    pub fn rtx(
        &self,
        slot: &mut [u8],
        fields: &HeaderFields,
        extensions: &[(u8, &[u8])],
        (index, original): (u64, SeqNo),
        payload: &[u8],
    ) -> Option<usize> {
        let header = write_header(slot, fields, extensions)?;
        self.seal.seal_rtx(slot, header, fields.ssrc, index, original, payload)
    }

    /// The compound that `write` writes, protected.
    ///
    /// # Panics
    /// If it does not fit into a datagram.
    #[must_use]
    pub fn rtcp(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
        let mut slot = vec![0; SLOT_BYTES];
        let len = write(&mut slot[..RTCP_BYTES_MAX]).and_then(|len| self.seal.seal_rtcp(len, &mut slot));
        slot.truncate(len.expect("a report fits"));
        slot
    }

    /// Opens a packet of media into `out`: its index, and its payload without padding.
    ///
    /// # Errors
    /// [`Fault`] if it is not the server's, was seen before, or pads as no RFC allows.
    pub fn open_rtp<'a>(
        &mut self,
        header: &RtpHeader,
        packet: &[u8],
        out: &'a mut [u8],
    ) -> Result<(u64, &'a [u8]), Fault> {
        let opened = self.open.open_rtp(header, packet, out).map_err(Fault::Unauthentic)?;
        let len = strip_padding(header.padding, &out[..opened.len]).ok_or(Fault::Padding)?;
        Ok((opened.index, &out[..len]))
    }

    /// Opens a compound of RTCP where it lies.
    ///
    /// # Errors
    /// [`Fault`] if it is not the server's, was seen before, or holds anything malformed.
    pub fn open_rtcp<'a>(&mut self, packet: &'a mut [u8]) -> Result<RtcpIter<'a>, Fault> {
        let len = self.open.open_rtcp(packet).map_err(Fault::Unauthentic)?;
        parse_compound(&packet[..len]).map_err(Fault::Malformed)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("profile", &self.seal.profile()).finish_non_exhaustive()
    }
}
