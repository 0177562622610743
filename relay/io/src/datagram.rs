//! What both back ends hand up: received datagrams and completed sends.

use crate::socket::SocketIndex;

/// A received datagram as the kernel laid it out.
pub(crate) struct Datagram<'a> {
    /// The socket that received it.
    pub(crate) socket: SocketIndex,
    pub(crate) name: &'a [u8],
    pub(crate) control: &'a [u8],
    pub(crate) truncated: bool,
    pub(crate) bytes: &'a mut [u8],
}

/// A completed send: the index of its message and the kernel's answer, octets or a negative errno.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) message: u16,
    pub(crate) result: i32,
}
