//! Stands between a caller's socket and hyper's HTTP/1 parser, which is more lenient than a proxy
//! may be, and keeps the times that hyper does not.
//!
//! 1. What two parsers could frame differently is refused (RFC 9112 §11.2): [`scan`] has the list.
//!    Within a head, the offending byte is replaced by NUL, which makes hyper answer 400 and close.
//!    Within a body, where an answer may be under way, the connection is cut.
//! 2. Everything else passes byte for byte. HTTP/2 is recognised by its preface and not looked at.
//! 3. Whether a caller has left whose request is under way is seen [here](Guard::poll_left): hyper would
//!    take a buffer for looking, for every request.
//! 4. A connection that says nothing is closed after [`FIRST_BYTE`], one that stops midway through a
//!    head after [`HEAD`], one without a request between [`IDLE`] and twice that. A request under way
//!    has no limit here.
//! 5. A connection of HTTP/1.1 that has neither a request nor anything left to write is
//!    [at rest](Guard::is_at_rest) after [`REST`] to twice that. Who serves it may then forget all that hyper
//!    has of it, buffers above all, until it [wakes](Guard::poll_woken).

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::coop::has_budget_remaining,
    time::{Instant, Sleep, sleep},
};

mod scan;

use scan::{Scan, Within};

/// How much is read at once of what comes while a request is under way. Few callers send anything.
const AHEAD: usize = 512;

/// How long a new connection may say nothing. Clients that connect ahead of need get their time.
pub const FIRST_BYTE: Duration = Duration::from_secs(30);
/// How long a request's head may take from its first pause on.
pub const HEAD: Duration = Duration::from_secs(15);
/// How long a connection may be without a request, at least. Longer than the 60 s after which many
/// clients give an idle connection up by themselves, so that it is they who close it.
pub const IDLE: Duration = Duration::from_secs(75);
/// How long a connection may be without a request before it is at rest. Callers who ask more often do not
/// pay for buffers that come and go.
pub const REST: Duration = Duration::from_secs(1);

/// Guards one connection; see the [module docs](self). Clones are the same: one for hyper, one for who
/// watches.
pub struct Guard<T>(Arc<Mutex<Gate<T>>>);

struct Gate<T> {
    inner: T,
    scan: Scan,
    requests: Requests,
    timer: Pin<Box<Sleep>>,
    /// Whom the timer wakes as it is set; `None` once it was set anew.
    woken: Option<Waker>,
    phase: Phase,
    lately: Lately,
    /// Whether something is still to be written, and cannot be.
    write_waits: bool,
    closed: bool,
    /// What a caller sent while its last request was under way. Looked at, and not read by hyper yet.
    ahead: Bytes,
    /// What hyper is still to be fed after a refusal: it looks at a head that came in pieces only
    /// once that has an end.
    ending: &'static [u8],
}

/// Counts the requests under way on one connection.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Counts>);

/// One request under way; ends when it is dropped.
#[derive(Debug)]
pub struct Underway(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    underway: AtomicUsize,
    begun: AtomicBool,
}

/// A caller's framing cannot be trusted within a body.
#[derive(Debug, Error)]
#[error("the request's body is framed ambiguously: {0}")]
struct Ambiguous(scan::Violation);

/// What the timer is set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    First,
    Head,
    Idle,
}

/// What has happened since the timer was last looked at, while it is set for [`Phase::Idle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lately {
    Something,
    Nothing,
    /// Nor between that and the time before.
    NothingForLong,
}

// === impl Requests ===

impl Requests {
    /// Begins a request.
    pub fn begin(&self) -> Underway {
        self.0.underway.fetch_add(1, Ordering::Relaxed);
        self.0.begun.store(true, Ordering::Relaxed);
        Underway(Arc::clone(&self.0))
    }

    /// Whether none is under way.
    pub fn none(&self) -> bool {
        self.0.underway.load(Ordering::Relaxed) == 0
    }

    /// Whether there has been one, under way or over.
    pub fn any_begun(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.underway.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Guard ===

impl<T> Guard<T> {
    /// Guards `inner`; `requests` tells whether it is idle.
    pub fn new(inner: T, requests: Requests) -> Self {
        Self(Arc::new(Mutex::new(Gate {
            inner,
            scan: Scan::new(),
            requests,
            timer: Box::pin(sleep(FIRST_BYTE)),
            woken: None,
            phase: Phase::First,
            lately: Lately::Nothing,
            write_waits: false,
            closed: false,
            ahead: Bytes::new(),
            ending: b"",
        })))
    }
}

impl<T: AsyncRead + Unpin> Guard<T> {
    /// Whether the caller has left, who has sent all of a request. Never ready while hyper is to read.
    pub fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.lock().poll_left(cx)
    }

    /// Whether nothing is under way, on either side, and nothing was for a while.
    pub fn is_at_rest(&self) -> bool {
        self.0.lock().is_at_rest()
    }

    /// Waits, in place of hyper, at a connection at rest: `true` when something has come, which is there to
    /// be read; `false` if the connection is over.
    pub fn poll_woken(&self, cx: &mut Context<'_>) -> Poll<bool> {
        self.0.lock().poll_woken(cx)
    }
}

impl<T> Clone for Guard<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

// === impl Gate ===

impl<T> Gate<T> {
    /// Whether the connection's time is up. Called only when there is nothing to read.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let phase = match self.scan.within() {
            Within::Nothing => Phase::First,
            Within::Head => Phase::Head,
            Within::Between => Phase::Idle,
            // A slow body is the business of whoever waits for it; HTTP/2 has its pings.
            Within::Body | Within::Http2 => return Poll::Pending,
        };
        if phase != self.phase {
            self.phase = phase;
            let limit = if phase == Phase::Head { HEAD } else { REST };
            self.set_timer(limit);
        }
        loop {
            ready!(self.poll_timer(cx));
            let busy = self.lately == Lately::Something || !self.requests.none();
            if phase != Phase::Idle || (self.lately == Lately::NothingForLong && !busy) {
                return Poll::Ready(());
            }
            // Looking only now and then spares every request the price of setting a timer.
            let (lately, limit) = if busy {
                (Lately::Nothing, REST)
            } else {
                (Lately::NothingForLong, IDLE)
            };
            self.lately = lately;
            self.set_timer(limit);
        }
    }

    fn is_at_rest(&self) -> bool {
        let is_quiet = self.lately == Lately::NothingForLong && !self.write_waits;
        is_quiet && !self.closed && self.scan.within() == Within::Between && self.requests.none()
    }

    fn set_timer(&mut self, limit: Duration) {
        self.timer.as_mut().reset(Instant::now() + limit);
        self.woken = None;
    }

    /// Asks the timer only where it has something new to tell or to learn: asking costs more than
    /// looking at a head.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waits = self
            .woken
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()));
        if waits && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        // Without budget the timer does not even look who asks.
        let is_heard = has_budget_remaining();
        let polled = self.timer.as_mut().poll(cx);
        self.woken = (is_heard && polled.is_pending()).then(|| cx.waker().clone());
        polled
    }

    /// Looks at what has been read into `buf` after the first `before` bytes.
    fn inspect(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let read = buf.filled().get(before..).unwrap_or_default();
        let Err((at, violation)) = self.scan.advance(read) else {
            return Ok(());
        };
        tracing::debug!(%violation, "a caller's request was refused by its framing");
        self.closed = true;
        if self.scan.within() == Within::Body {
            buf.set_filled(before);
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                Ambiguous(violation),
            ));
        }
        self.ending = b"\r\n\r\n";
        buf.set_filled(before + at + 1);
        if let Some(byte) = buf.filled_mut().last_mut() {
            *byte = 0;
        }
        Ok(())
    }
}

impl<T: AsyncRead + Unpin> Gate<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let now = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(now));
            return Poll::Ready(Ok(()));
        }
        if self.closed {
            let (now, later) = self
                .ending
                .split_at_checked(buf.remaining())
                .unwrap_or((self.ending, b""));
            buf.put_slice(now);
            self.ending = later;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                self.lately = Lately::Something;
                Poll::Ready(self.inspect(buf, before))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(self.poll_late(cx));
                // To hyper, the caller has closed its side.
                self.closed = true;
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_whole = self.scan.within() == Within::Between;
        if !is_whole || !self.ahead.is_empty() || self.closed {
            return Poll::Pending;
        }
        let mut room = [0; AHEAD];
        let mut buf = ReadBuf::new(&mut room);
        match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf)) {
            Ok(()) if buf.filled().is_empty() => Poll::Ready(()),
            Err(_broken) => Poll::Ready(()),
            Ok(()) => {
                self.lately = Lately::Something;
                // It has begun another request, which hyper reads after this one.
                let inspected = self.inspect(&mut buf, 0);
                self.ahead = Bytes::copy_from_slice(buf.filled());
                inspected.map_or(Poll::Ready(()), |()| Poll::Pending)
            }
        }
    }
}

impl<T: AsyncRead + Unpin> Gate<T> {
    fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut room = [0; AHEAD];
        let mut buf = ReadBuf::new(&mut room);
        match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                self.lately = Lately::Something;
                // So that its timer is set anew.
                self.phase = Phase::First;
                let inspected = self.inspect(&mut buf, 0);
                self.ahead = Bytes::copy_from_slice(buf.filled());
                Poll::Ready(inspected.is_ok())
            }
            Poll::Ready(_over) => Poll::Ready(false),
            Poll::Pending => {
                ready!(self.poll_late(cx));
                Poll::Ready(false)
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.lock().poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut gate = self.0.lock();
        gate.lately = Lately::Something;
        let written = Pin::new(&mut gate.inner).poll_write(cx, buf);
        gate.write_waits = written.is_pending();
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gate = self.0.lock();
        gate.lately = Lately::Something;
        let written = Pin::new(&mut gate.inner).poll_write_vectored(cx, bufs);
        gate.write_waits = written.is_pending();
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.0.lock().inner.is_write_vectored()
    }
}

impl<T: fmt::Debug> fmt::Debug for Guard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gate = self.0.lock();
        f.debug_struct("Guard")
            .field("inner", &gate.inner)
            .field("scan", &gate.scan)
            .field("phase", &gate.phase)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
