//! What became of every datagram on the way through the kernel: plain integers with one writer, read by copy.

/// Counters of one [`Io`](crate::Io).
///
/// `tx_committed = tx_sent + Σ tx_error_* + datagrams still queued`; `rx_datagrams` is what reached the
/// caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// Datagrams handed to the caller.
    pub rx_datagrams: u64,
    /// Their octets, as received (after a cut).
    pub rx_bytes: u64,
    /// Of them longer than [`DATAGRAM_BYTES_MAX`](crate::DATAGRAM_BYTES_MAX), cut.
    pub rx_truncated: u64,
    /// Discarded by the kernel: full socket buffer or bad checksum (`SK_MEMINFO_DROPS`).
    pub rx_kernel_drops: u64,
    /// Discarded here: the kernel named no source address that we understand.
    pub rx_unaddressed: u64,
    /// Receive calls or completions that failed.
    pub rx_errors: u64,
    /// Times the multishot receive ended and was armed again (io_uring).
    pub rx_rearms: u64,
    /// Of them because no receive buffer was free: datagrams waited in the socket buffer meanwhile
    /// (io_uring).
    pub rx_no_buffers: u64,
    /// Datagrams committed to the send queue.
    pub tx_committed: u64,
    /// Datagrams the kernel took.
    pub tx_sent: u64,
    /// Their octets.
    pub tx_bytes: u64,
    /// Regions and datagrams refused because the kernel still held all memory or messages.
    pub tx_full: u64,
    /// GSO sends that the kernel took.
    pub tx_gso_runs: u64,
    /// Datagrams in them.
    pub tx_gso_segments: u64,
    /// GSO sends that the kernel refused; their datagrams were sent again, singly.
    pub tx_gso_refused: u64,
    /// Runs that were sent singly because their destination had refused one, or GSO is off.
    pub tx_gso_avoided: u64,
    /// Datagrams larger than their path takes, of IPv4, that were sent in fragments. They are in `tx_sent`.
    pub tx_fragmented: u64,
    /// Datagrams lost to a full socket buffer (EAGAIN).
    pub tx_error_again: u64,
    /// Datagrams lost to a full device queue or lack of memory (ENOBUFS, ENOMEM).
    pub tx_error_no_buffers: u64,
    /// Datagrams forbidden by a firewall or policy (EPERM, EACCES).
    pub tx_error_not_permitted: u64,
    /// Datagrams to where no route leads (ENETUNREACH, EHOSTUNREACH and the like).
    pub tx_error_unreachable: u64,
    /// Datagrams that should leave from an address that the machine has not (any more). IPv6 lets a socket
    /// that is bound to such a one send on, which no error tells.
    pub tx_error_source_gone: u64,
    /// Datagrams larger than the path that could not be sent in fragments either (EMSGSIZE).
    pub tx_error_too_big: u64,
    /// Datagrams refused for other reasons.
    pub tx_error_other: u64,
    /// System calls that waited, received or sent.
    pub syscalls: u64,
    /// Times completions did not fit the completion queue; none are lost, the kernel keeps them (io_uring).
    pub cq_overflows: u64,
    /// Submissions that the kernel put off (io_uring).
    pub submit_errors: u64,
}

impl IoCounters {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("io.rx_datagrams", self.rx_datagrams),
            ("io.rx_bytes", self.rx_bytes),
            ("io.rx_truncated", self.rx_truncated),
            ("io.rx_kernel_drops", self.rx_kernel_drops),
            ("io.rx_unaddressed", self.rx_unaddressed),
            ("io.rx_errors", self.rx_errors),
            ("io.rx_rearms", self.rx_rearms),
            ("io.rx_no_buffers", self.rx_no_buffers),
            ("io.tx_committed", self.tx_committed),
            ("io.tx_sent", self.tx_sent),
            ("io.tx_bytes", self.tx_bytes),
            ("io.tx_full", self.tx_full),
            ("io.tx_gso_runs", self.tx_gso_runs),
            ("io.tx_gso_segments", self.tx_gso_segments),
            ("io.tx_gso_refused", self.tx_gso_refused),
            ("io.tx_gso_avoided", self.tx_gso_avoided),
            ("io.tx_fragmented", self.tx_fragmented),
            ("io.tx_error_again", self.tx_error_again),
            ("io.tx_error_no_buffers", self.tx_error_no_buffers),
            ("io.tx_error_not_permitted", self.tx_error_not_permitted),
            ("io.tx_error_unreachable", self.tx_error_unreachable),
            ("io.tx_error_source_gone", self.tx_error_source_gone),
            ("io.tx_error_too_big", self.tx_error_too_big),
            ("io.tx_error_other", self.tx_error_other),
            ("io.syscalls", self.syscalls),
            ("io.cq_overflows", self.cq_overflows),
            ("io.submit_errors", self.submit_errors),
        ]
        .into_iter()
    }

    /// Datagrams lost on the way out, all kinds.
    #[must_use]
    pub fn tx_errors(&self) -> u64 {
        self.tx_error_again
            + self.tx_error_no_buffers
            + self.tx_error_not_permitted
            + self.tx_error_unreachable
            + self.tx_error_source_gone
            + self.tx_error_too_big
            + self.tx_error_other
    }

    /// Counts `datagrams` lost to `errno`.
    pub(crate) fn lost(&mut self, errno: i32, datagrams: u64) {
        let counter = match errno {
            libc::EAGAIN => &mut self.tx_error_again,
            libc::ENOBUFS | libc::ENOMEM => &mut self.tx_error_no_buffers,
            libc::EPERM | libc::EACCES => &mut self.tx_error_not_permitted,
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::ECONNREFUSED => &mut self.tx_error_unreachable,
            libc::EMSGSIZE => &mut self.tx_error_too_big,
            _ => &mut self.tx_error_other,
        };
        *counter += datagrams;
    }
}
