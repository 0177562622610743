//! The datagrams of one association: what BoringSSL takes for a socket.
//!
//! Boundaries survive both ways: a read takes at most one datagram, a write makes exactly one.

use crate::assembly::Flight;
use crate::records::{self, Part};
use std::collections::VecDeque;
use std::io::{self, Read, Write};

/// Datagrams that wait to be sent. A server's flight has 3 and a client's 4, retransmissions come a timer
/// apart; what does not fit is lost, as it would be in a network, and sent again.
const OUTBOUND_MAX: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct DatagramQueue {
    inbound: Vec<u8>,
    outbound: VecDeque<Vec<u8>>,
    sent_unified: bool,
    /// The server's unprotected flight.
    flight: Option<Box<Flight>>,
}

impl DatagramQueue {
    /// The buffer for the next datagram to be read; what was in it and has not been read is gone.
    pub(crate) fn inbound(&mut self) -> &mut Vec<u8> {
        self.inbound.clear();
        &mut self.inbound
    }

    /// Gives the inbound buffer's memory back: after the handshake datagrams are rare, and associations many.
    pub(crate) fn release_inbound(&mut self) {
        self.inbound = Vec::new();
    }

    /// The next datagram to send; behind the last one nothing is kept.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let datagram = self.outbound.pop_front();
        if self.outbound.is_empty() {
            self.outbound = VecDeque::new();
        }
        datagram
    }

    /// Records the unprotected flight from now on.
    pub(crate) fn note_flight(&mut self) {
        self.flight = Some(Box::default());
    }

    /// Frees the recorded flight and records no more.
    pub(crate) fn forget_flight(&mut self) {
        self.flight = None;
    }

    /// A server's first flight in clear, once it is complete.
    pub(crate) fn flight(&self) -> Option<&[u8]> {
        self.flight.as_ref()?.octets()
    }

    /// Whether a protected record of DTLS 1.3 was ever written: from then on the peer has keys as well.
    pub(crate) const fn has_sent_unified(&self) -> bool {
        self.sent_unified
    }
}

impl Read for DatagramQueue {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.inbound.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = self.inbound.len().min(buf.len());
        buf[..len].copy_from_slice(&self.inbound[..len]);
        self.inbound.clear();
        Ok(len)
    }
}

impl Write for DatagramQueue {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.sent_unified = self.sent_unified || records::has_unified_record(datagram);
        if let Some(flight) = &mut self.flight {
            for part in records::parts(datagram) {
                if let Part::Fragment(fragment) = part {
                    flight.note(&fragment);
                }
            }
        }
        if self.outbound.len() < OUTBOUND_MAX {
            self.outbound.push_back(datagram.to_vec());
        }
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_datagram_boundaries() {
        let mut queue = DatagramQueue::default();
        assert_eq!(queue.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        queue.inbound().extend_from_slice(b"abcdef");
        assert_eq!(queue.read(&mut [0; 4]).unwrap(), 4, "the rest of a datagram is lost, as from a socket");
        assert!(queue.read(&mut [0; 4]).is_err());
        queue.write_all(b"one").unwrap();
        queue.write_all(b"two").unwrap();
        assert_eq!(queue.pop().as_deref(), Some(&b"one"[..]));
        assert_eq!(queue.pop().as_deref(), Some(&b"two"[..]));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn is_bounded() {
        let mut queue = DatagramQueue::default();
        for _ in 0..10 * OUTBOUND_MAX {
            queue.write_all(&[0; 100]).unwrap();
        }
        assert_eq!(queue.outbound.len(), OUTBOUND_MAX);
    }
}
