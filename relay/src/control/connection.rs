//! One control connection: bytes to requests, messages to bytes, with a limit on everything that waits.
//!
//! A controller that sends without reading is not read from; one that does not read its events is closed.
//! Descriptors sent along (SCM_RIGHTS) are never received: plain reads make the kernel drop them.

use relay_control::{
    CommandError, ErrorCode, FRAME_BYTES_MAX, FrameDecoder, FrameError, FromRelay, Outgoing, Reply,
    ReplyBody, Request, encode_frame,
};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Requests of one connection that wait for their replies.
const IN_FLIGHT_MAX: usize = 256;

/// No further request is taken while more than this waits to be written.
const UNREAD_PAUSE_BYTES: usize = 256 << 10;

/// A connection that lets more than this wait is closed. A page of an inventory is a tenth of it, and the
/// next one is not taken before it is read, so events of a busy relay have room beside a take-over.
const UNREAD_BYTES_MAX: usize = 4 << 20;

/// Longest frame before a `Hello`: reading needs a few octets, `Hello` little more.
pub const FRAME_BYTES_MAX_BEFORE_HELLO: usize = 64 << 10;

/// Time for a first whole frame.
pub const FIRST_FRAME: Duration = Duration::from_secs(10);

/// What one read takes from the socket.
pub const READ_BYTES: usize = 64 << 10;

const _: () =
    assert!(UNREAD_PAUSE_BYTES < UNREAD_BYTES_MAX && FRAME_BYTES_MAX_BEFORE_HELLO < FRAME_BYTES_MAX);

#[derive(Debug)]
pub enum Ended {
    /// The peer closed it.
    ByPeer,
    /// The peer sent no frame in time.
    Idle,
    /// The peer sent octets that do not decode as a frame.
    BadFrame(FrameError),
    /// The peer left more than `UNREAD_BYTES_MAX` unread.
    Slow,
    /// A system call failed.
    Io(ErrorKind),
}

#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    decoder: FrameDecoder,
    first_frame_until: Option<Instant>,
    in_flight: usize,
    out: Vec<u8>,
    written: usize,
    peer_finished: bool,
    ended: Option<Ended>,
}

impl Connection {
    /// Takes a non-blocking stream.
    #[must_use]
    pub fn new(stream: UnixStream, now: Instant) -> Self {
        Self {
            stream,
            decoder: FrameDecoder::with_limit(FRAME_BYTES_MAX_BEFORE_HELLO),
            first_frame_until: Some(now + FIRST_FRAME),
            in_flight: 0,
            out: Vec::new(),
            written: 0,
            peer_finished: false,
            ended: None,
        }
    }

    /// The peer has sent `Hello`: frames up to the general limit are allowed from now on.
    pub fn said_hello(&mut self) {
        self.decoder.set_limit(FRAME_BYTES_MAX);
    }

    /// Whether to wait for bytes from the peer.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        !self.peer_finished && self.ended.is_none() && self.takes_requests()
    }

    /// Whether to wait until bytes can be written.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.unread() > 0
    }

    /// When [`Connection::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.first_frame_until
    }

    /// Ends a connection that has sent no whole frame in time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.first_frame_until.is_some_and(|until| now >= until) {
            self.end(Ended::Idle);
        }
    }

    /// Reads once; what there is more of waits for the next round, so that connections take turns.
    pub fn fill(&mut self, scratch: &mut [u8; READ_BYTES]) {
        match self.stream.read(scratch) {
            Ok(0) => self.peer_finished = true,
            Ok(len) => self.decoder.push(&scratch[..len]),
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(why) => self.end(Ended::Io(why.kind())),
        }
    }

    /// Room for [`Connection::fill`], shared by all connections.
    #[must_use]
    pub fn scratch() -> Box<[u8; READ_BYTES]> {
        Box::new([0; READ_BYTES])
    }

    /// The next request, if one is there and may be taken. It counts as under way until its reply is sent.
    pub fn next_request(&mut self) -> Option<Request> {
        if self.ended.is_some() || !self.takes_requests() {
            return None;
        }
        match self.decoder.next() {
            Ok(Some(request)) => {
                self.first_frame_until = None;
                self.in_flight += 1;
                Some(request)
            }
            Ok(None) => None,
            Err(why) => {
                self.end(Ended::BadFrame(why));
                None
            }
        }
    }

    /// Queues a reply or an event.
    pub fn send(&mut self, message: &FromRelay) {
        if matches!(message.outgoing, Some(Outgoing::Reply(_))) {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        if self.ended.is_some() {
            return;
        }
        if self.unread() > UNREAD_BYTES_MAX {
            return self.end(Ended::Slow);
        }
        self.out.drain(..self.written);
        self.written = 0;
        if encode_frame(message, &mut self.out).is_err() {
            let refused = encode_frame(&too_long(message), &mut self.out);
            debug_assert!(refused.is_ok(), "a refusal is short");
        }
    }

    pub fn flush(&mut self) {
        while self.unread() > 0 && self.ended.is_none() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(len) => self.written += len,
                Err(why) if why.kind() == ErrorKind::WouldBlock => return,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => self.end(Ended::Io(why.kind())),
            }
        }
        if self.unread() == 0 {
            self.out.clear();
            self.written = 0;
            // A page's worth of memory is not kept for the next small reply.
            self.out.shrink_to(UNREAD_PAUSE_BYTES);
        }
    }

    /// Why it is over; a peer that only finished sending still gets its replies.
    pub fn take_ended(&mut self) -> Option<Ended> {
        if self.peer_finished && self.in_flight == 0 && self.unread() == 0 && self.ended.is_none() {
            self.ended = Some(Ended::ByPeer);
        }
        self.ended.take()
    }

    /// The peer is gone for good: nothing can be written to it.
    pub fn hang_up(&mut self) {
        if self.peer_finished {
            self.end(Ended::ByPeer);
        }
    }

    fn takes_requests(&self) -> bool {
        self.in_flight < IN_FLIGHT_MAX && self.unread() < UNREAD_PAUSE_BYTES
    }

    fn unread(&self) -> usize {
        self.out.len() - self.written
    }

    fn end(&mut self, why: Ended) {
        self.ended.get_or_insert(why);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The error that is sent instead of a reply too long for a frame.
fn too_long(message: &FromRelay) -> FromRelay {
    let request_id = match &message.outgoing {
        Some(Outgoing::Reply(reply)) => reply.request_id,
        _ => 0,
    };
    let error = CommandError {
        code: ErrorCode::LimitReached.into(),
        message: format!("the answer is longer than a frame of {FRAME_BYTES_MAX} octets"),
        highest_epoch: 0,
    };
    let reply = Reply { request_id, body: Some(ReplyBody::Error(error)) };
    FromRelay { outgoing: Some(Outgoing::Reply(reply)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_control::{Command, Done, Event, GetStats, Inventory, TransportInfo};

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        ours.set_nonblocking(true).expect("set");
        (Connection::new(ours, Instant::now()), theirs)
    }

    fn reply(request_id: u64, body: ReplyBody) -> FromRelay {
        FromRelay { outgoing: Some(Outgoing::Reply(Reply { request_id, body: Some(body) })) }
    }

    fn requests(count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for id in 0..count as u64 {
            let request = Request { request_id: id, command: Some(Command::GetStats(GetStats {})) };
            encode_frame(&request, &mut bytes).expect("small");
        }
        bytes
    }

    #[test]
    fn events_that_nobody_reads_end_the_connection_at_a_limit() {
        let (mut connection, _theirs) = pair();
        let event = FromRelay { outgoing: Some(Outgoing::Event(Event { seq: 1, body: None })) };
        let mut sent = 0;
        while connection.ended.is_none() {
            connection.send(&event);
            connection.flush();
            sent += 1;
            assert!(sent < 10_000_000, "never ended");
        }
        assert!(matches!(connection.take_ended(), Some(Ended::Slow)));
        assert!(connection.out.len() <= UNREAD_BYTES_MAX + 1024);
    }

    #[test]
    fn requests_wait_while_too_many_are_under_way() {
        let (mut connection, mut theirs) = pair();
        theirs.write_all(&requests(IN_FLIGHT_MAX + 5)).expect("fits the socket");
        connection.fill(&mut Connection::scratch());
        let taken = std::iter::from_fn(|| connection.next_request()).count();
        assert_eq!(taken, IN_FLIGHT_MAX);
        assert!(!connection.wants_read());
        connection.send(&reply(0, ReplyBody::Done(Done {})));
        connection.flush();
        assert!(connection.next_request().is_some());
        assert!(connection.next_request().is_none());
    }

    #[test]
    fn requests_wait_while_replies_are_not_read() {
        let (mut connection, mut theirs) = pair();
        theirs.write_all(&requests(2)).expect("fits the socket");
        connection.fill(&mut Connection::scratch());
        assert!(connection.next_request().is_some());
        let label = vec![0; 2 << 20];
        let transports = vec![TransportInfo { label, ..TransportInfo::default() }];
        connection.send(&reply(0, ReplyBody::Inventory(Inventory { transports, ..Inventory::default() })));
        connection.flush();
        assert!(connection.wants_write() && !connection.wants_read());
        assert!(connection.next_request().is_none());
        // Read, it goes on.
        let mut rest = vec![0; 64 << 10];
        while connection.wants_write() {
            assert!(theirs.read(&mut rest).expect("reads") > 0);
            connection.flush();
        }
        assert!(connection.next_request().is_some());
    }

    #[test]
    fn an_answer_that_no_frame_holds_becomes_a_refusal() {
        let (mut connection, mut theirs) = pair();
        let transports = vec![TransportInfo { label: vec![0; FRAME_BYTES_MAX], ..TransportInfo::default() }];
        connection.send(&reply(42, ReplyBody::Inventory(Inventory { transports, ..Inventory::default() })));
        connection.flush();
        let mut bytes = [0; 1024];
        let len = theirs.read(&mut bytes).expect("reads");
        let mut decoder = FrameDecoder::default();
        decoder.push(&bytes[..len]);
        let message = decoder.next::<FromRelay>().expect("well formed").expect("whole");
        let Some(Outgoing::Reply(reply)) = message.outgoing else { panic!("a reply") };
        assert_eq!(reply.request_id, 42);
        assert!(matches!(reply.body, Some(ReplyBody::Error(e)) if e.code() == ErrorCode::LimitReached));
    }

    #[test]
    fn who_says_nothing_is_closed_and_who_spoke_once_is_not() {
        let start = Instant::now();
        for (speaks, wait, ends) in [
            (false, FIRST_FRAME - Duration::from_millis(1), false),
            (false, FIRST_FRAME + Duration::from_secs(1), true),
            (true, FIRST_FRAME * 100, false),
        ] {
            let (mut connection, mut theirs) = pair();
            if speaks {
                theirs.write_all(&requests(1)).expect("fits the socket");
                connection.fill(&mut Connection::scratch());
                assert!(connection.next_request().is_some());
            }
            connection.handle_timeout(start + wait);
            assert_eq!(matches!(connection.take_ended(), Some(Ended::Idle)), ends, "{speaks} {wait:?}");
        }
    }

    #[test]
    fn a_peer_that_is_gone_ends_it() {
        let (mut connection, theirs) = pair();
        drop(theirs);
        connection.fill(&mut Connection::scratch());
        assert!(connection.next_request().is_none());
        assert!(matches!(connection.take_ended(), Some(Ended::ByPeer)));
    }
}
