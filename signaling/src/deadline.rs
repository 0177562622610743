//! Deadlines for writing to a TCP connection: who does not read is not waited for.
//!
//! HTTP/1.1 has no word for "I have stopped reading", and TCP keeps a connection with a closed window for as
//! long as the peer's kernel answers probes. So a writer that cannot go on has two limits: one without any
//! progress, and one from the first octet that had to wait until everything is out, for those who read an
//! octet now and then.

use crate::places::Place;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriteLimits {
    /// Without one octet taken.
    pub(crate) stalled: Duration,
    /// Until everything is out.
    pub(crate) whole: Duration,
}

/// A TCP connection whose writes have deadlines. Reading is left alone.
#[derive(Debug)]
pub(crate) struct Deadlined {
    stream: TcpStream,
    limits: WriteLimits,
    /// While something waits to be written.
    waiting: Option<Waiting>,
    /// Behind the stream, so that the place is free only when the descriptor is.
    place: Option<Place>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Deadlined {
    /// Nothing waits yet.
    pub(crate) fn new(stream: TcpStream, limits: WriteLimits) -> Self {
        Self { stream, limits, waiting: None, place: None }
    }

    /// Keeps a place for as long as the connection lives, whatever becomes of it: a WebSocket outlives the
    /// HTTP that it began with.
    pub(crate) fn hold(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// The kernel took some: what is behind it may take as long again, but not for ever.
    fn progressed(&mut self) {
        if let Some(Waiting { since, timer }) = &mut self.waiting {
            let next = (Instant::now() + self.limits.stalled).min(*since + self.limits.whole);
            timer.as_mut().reset(next);
        }
    }

    /// The kernel takes no more: waits for it, or gives up.
    fn held_up<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let limits = self.limits;
        let waiting = self.waiting.get_or_insert_with(|| {
            let since = Instant::now();
            let timer = Box::pin(sleep_until(since + limits.stalled.min(limits.whole)));
            Waiting { since, timer }
        });
        ready!(waiting.timer.as_mut().poll(context));
        // What the kernel holds for this peer goes with the connection (RST); it would be kept for minutes
        // otherwise.
        let _ = self.stream.set_zero_linger();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }

    fn after<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        match written {
            Poll::Pending => self.held_up(context),
            done @ Poll::Ready(_) => {
                self.progressed();
                done
            }
        }
    }
}

impl AsyncRead for Deadlined {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Deadlined {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.after(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.after(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// A socket has nothing to flush: those who write through us flush when they have nothing left to write.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().waiting = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
