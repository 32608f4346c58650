//! A connection that still reads when it cannot write any more.
//!
//! Some servers refuse a request without reading its body: they answer, close, and reset whoever goes on
//! sending. Then writing fails while the answer is there to be read. hyper gives up at the first error;
//! so the error is held back here until reading has come to its end, too.
//!
//! 1. After a write failed, nothing more is written: writing is pending.
//! 2. Reading goes on. Where it ends, it ends with the error that was held back: a body that lasts until
//!    the connection closes is not known to be whole (RFC 9112 §8).
//! 3. Reading has [`PATIENCE`]; then the error is told.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use tokio::time::{Sleep, sleep};

/// How long reading may go on after a write failed. What is left to read has arrived already.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much is read at once then.
const PIECE: usize = 4096;

/// Reads on after a failed write; see the [module docs](self).
#[derive(Debug)]
pub(super) struct Patient<T> {
    inner: T,
    held_back: Option<HeldBack>,
}

#[derive(Debug)]
struct HeldBack {
    error: Option<io::Error>,
    patience: Pin<Box<Sleep>>,
}

// === impl Patient ===

impl<T> Patient<T> {
    pub(super) const fn new(inner: T) -> Self {
        Self {
            inner,
            held_back: None,
        }
    }

    /// Pending instead of an error, as long as there may be something to read.
    fn hold_back<V>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut T, &mut Context<'_>) -> Poll<io::Result<V>>,
    ) -> Poll<io::Result<V>> {
        if self.held_back.is_none() {
            match write(&mut self.inner, cx) {
                Poll::Ready(Err(error)) => {
                    self.held_back = Some(HeldBack {
                        error: Some(error),
                        patience: Box::pin(sleep(PATIENCE)),
                    });
                    // What made writing fail may have been noticed by no reader yet.
                    cx.waker().wake_by_ref();
                }
                polled => return polled,
            }
        }
        match &mut self.held_back {
            Some(held) if held.error.is_some() => {
                ready!(held.patience.as_mut().poll(cx));
                Poll::Ready(Err(held.tell()))
            }
            _ => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl<T: Read + Unpin> Read for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(held) = &mut this.held_back else {
            return Pin::new(&mut this.inner).poll_read(cx, buffer);
        };
        // Through a buffer of our own, which tells how much has come.
        let mut piece = [0; PIECE];
        let room = buffer.remaining().min(PIECE);
        let mut read = ReadBuf::new(piece.get_mut(..room).unwrap_or_default());
        let polled = ready!(Pin::new(&mut this.inner).poll_read(cx, read.unfilled()));
        Poll::Ready(if polled.is_err() || read.filled().is_empty() {
            Err(held.tell())
        } else {
            buffer.put_slice(read.filled());
            Ok(())
        })
    }
}

impl<T: Write + Unpin> Write for Patient<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.hold_back(cx, |inner, cx| Pin::new(inner).poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.hold_back(cx, |inner, cx| Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

// === impl HeldBack ===

impl HeldBack {
    /// The error, the first time; that it is broken, from then on.
    fn tell(&mut self) -> io::Error {
        let error = self.error.take();
        error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}
