//! How long an HTTP connection may say nothing: little while a request is on its way, a minute between two.
//!
//! A proxy in front keeps its connections for a minute (nginx, Caddy), and one that we close in the moment in
//! which it sends the next request is an error to its client. Whoever begins a head and does not end it holds
//! a place for nothing, and so do idle ones when places get scarce.

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Where a connection is between two requests; the connection and its service share it.
#[derive(Clone, Debug)]
pub(crate) struct Pause {
    phase: Arc<Mutex<(Phase, Option<Waker>)>>,
    /// Request line and headers must be there so long after their first octet.
    head: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Of a head some octets may be here; the rest must be by then.
    Head(Instant),
    /// Nothing of the next request is here; something must be by then.
    Idle(Instant),
    /// A request is being answered, for as long as the body of the answer takes, or the connection is no HTTP
    /// any more: others look after it.
    Busy,
    /// It is to end, whatever is under way.
    Cut,
}

impl Pause {
    /// The first head is waited for as if it had begun.
    pub(crate) fn new(head: Duration) -> Self {
        Self { phase: Arc::new(Mutex::new((Phase::Head(Instant::now() + head), None))), head }
    }

    pub(crate) fn request_began(&self) {
        self.set(Phase::Busy);
    }

    /// The answer has been given, and the next request may come for so long.
    pub(crate) fn answered(&self, idle: Duration) {
        self.set(Phase::Idle(Instant::now() + idle));
    }

    /// Ends the connection, though an answer is under way: its client takes too little of it.
    pub(crate) fn cut(&self) {
        self.set(Phase::Cut);
    }

    fn octets_came(&self) {
        if let Phase::Idle(_) = self.phase() {
            self.set(Phase::Head(Instant::now() + self.head));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase() {
            Phase::Head(until) | Phase::Idle(until) => Some(until),
            Phase::Busy | Phase::Cut => None,
        }
    }

    fn phase(&self) -> Phase {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Who reads meanwhile has no deadline to wait for, and learns of the next one by being woken.
    fn set(&self, phase: Phase) {
        let mut shared = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        // It ends for good.
        if shared.0 != Phase::Cut {
            shared.0 = phase;
        }
        if phase != Phase::Busy
            && let Some(waker) = shared.1.take()
        {
            waker.wake();
        }
    }

    /// Until there is a deadline again, or never more anything but this error.
    fn wait_while_busy(&self, context: &Context<'_>) -> Poll<io::Error> {
        let mut shared = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.0 == Phase::Cut {
            return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "it was cut"));
        }
        shared.1 = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A connection whose reads end when it has said nothing for too long.
pub(crate) struct Paused<S> {
    stream: S,
    pause: Pause,
    timer: Pin<Box<Sleep>>,
}

impl<S> Paused<S> {
    pub(crate) fn new(stream: S, pause: Pause) -> Self {
        let timer = Box::pin(sleep_until(pause.deadline().unwrap_or_else(Instant::now)));
        Self { stream, pause, timer }
    }
}

impl<S: Read + Unpin> Read for Paused<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            this.pause.octets_came();
            return Poll::Ready(read);
        }
        let Some(deadline) = this.pause.deadline() else {
            return this.pause.wait_while_busy(context).map(Err);
        };
        if this.timer.deadline() != deadline {
            this.timer.as_mut().reset(deadline);
        }
        ready!(this.timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no request came in time")))
    }
}

impl<S: Write + Unpin> Write for Paused<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(context, bytes) {
            Poll::Pending => this.pause.wait_while_busy(context).map(Err),
            written => written,
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write_vectored(context, bytes) {
            Poll::Pending => this.pause.wait_while_busy(context).map(Err),
            written => written,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// The body of an answer, which says when it has ended, or is given up.
pub(crate) struct Answering<F: FnMut()> {
    body: axum::body::Body,
    ended: F,
}

impl<F: FnMut()> Answering<F> {
    pub(crate) fn new(body: axum::body::Body, ended: F) -> Self {
        Self { body, ended }
    }
}

impl<F: FnMut() + Unpin> Body for Answering<F> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<F: FnMut()> Drop for Answering<F> {
    fn drop(&mut self) {
        (self.ended)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[test]
    fn a_head_has_little_time_and_a_pause_between_requests_much() {
        let (head, idle) = (Duration::from_secs(5), Duration::from_secs(65));
        let left = |pause: &Pause| pause.deadline().map(|at| at.duration_since(Instant::now()));
        let about = |left: Option<Duration>, of: Duration| {
            left.is_some_and(|left| left <= of && left > of - Duration::from_secs(2))
        };
        let pause = Pause::new(head);
        assert!(about(left(&pause), head), "the first one");
        pause.request_began();
        pause.octets_came();
        assert_eq!(left(&pause), None, "a body, or a WebSocket");
        pause.answered(idle);
        assert!(about(left(&pause), idle));
        pause.octets_came();
        assert!(about(left(&pause), head), "the next head has begun");
        let begun = pause.deadline();
        pause.octets_came();
        assert_eq!(pause.deadline(), begun, "an octet now and then gains no time");
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_ends_though_its_client_takes_nothing() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let pause = Pause::new(Duration::from_secs(5));
        pause.request_began();
        let mut stream = Paused::new(hyper_util::rt::TokioIo::new(ours), pause.clone());
        let written = poll_fn(|context| Pin::new(&mut stream).poll_write(context, &[0; 16])).await;
        assert_eq!(written.expect("room"), 16);
        let waits = tokio::spawn(async move {
            tokio::task::yield_now().await;
            pause.cut();
            pause.answered(Duration::from_secs(65));
        });
        let written = poll_fn(|context| Pin::new(&mut stream).poll_write(context, &[0; 16])).await;
        assert_eq!(written.expect_err("cut").kind(), io::ErrorKind::TimedOut);
        waits.await.expect("no panic");
        let mut octets = [0; 4];
        let mut buffer = hyper::rt::ReadBuf::new(&mut octets);
        let ended = poll_fn(|context| Pin::new(&mut stream).poll_read(context, buffer.unfilled())).await;
        assert_eq!(ended.expect_err("cut").kind(), io::ErrorKind::TimedOut);
    }
}
