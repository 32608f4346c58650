//! Connections of HTTP/2, each shared by many requests.
//!
//! 1. The peer says how many streams it takes at once, in the first frame that it sends. Until then one
//!    is sent and the others wait; hyper never sends more than it may.
//! 2. A connection takes [`MAX_STREAMS`] at most, whatever the peer allows: as many as fit into its
//!    window of flow control. So one caller that does not read never holds up another.
//! 3. Where there is no room, another connection is opened; that is the [pool](super::pool)'s.
//! 4. A stream that the peer refused, or that is above the last one of its GOAWAY, was not processed (RFC
//!    9113 §8.7). No other failure of a request that was sent says so.
//! 5. A quiet peer is asked whether it lives, so that a connection that is dead is not used.

use std::{
    error::Error as _,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::task::AtomicWaker;
use http::{Request, Response};
use http_body::Body as _;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioTimer;

use super::{answered::Answered, connect::Stream, exchange::Failure};
use crate::{
    base::lifecycle::Lifecycle,
    http::{body::Body, executor::Executor, replay::ReplayBody},
};

/// How often a quiet connection is asked whether it lives, and how long it may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of one answer may be on its way before the caller has read it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Rule 2.
const MAX_STREAMS: usize = 64;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 64;

/// A connection; see the [module docs](self).
pub(super) struct Http2 {
    sender: SendRequest<ReplayBody>,
    streams: Arc<Streams>,
}

/// A place for one request on a connection.
pub(super) struct Slot {
    sender: SendRequest<ReplayBody>,
    place: Place,
    is_reused: bool,
}

/// Says which connection it was.
#[derive(Debug)]
pub(super) struct Which(Arc<Streams>);

/// Counts a stream until it is dropped.
pub(super) struct Place(Arc<Streams>);

/// The streams of one connection.
#[derive(Debug, Default)]
struct Streams {
    open: AtomicUsize,
    /// How many were ever opened.
    ever: AtomicUsize,
    /// What the peer allows; 0 as long as that is not known.
    allowed: AtomicUsize,
    /// Whether the peer has answered anything, and so has said what it allows.
    has_answered: AtomicBool,
    driver: AtomicWaker,
}

type Driver = Connection<Stream, ReplayBody, Executor>;

// === impl Http2 ===

impl Http2 {
    /// Speaks HTTP/2 on `stream`, driven by a task of its own.
    pub(super) async fn handshake(
        stream: Stream,
        lifecycle: &Lifecycle,
    ) -> Result<Self, hyper::Error> {
        let (sender, driver) = Builder::new(Executor(lifecycle.clone()))
            .timer(TokioTimer::new())
            .initial_max_send_streams(1)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .handshake(stream)
            .await?;
        let streams = Arc::<Streams>::default();
        drop(lifecycle.spawn(drive(driver, Arc::clone(&streams))));
        Ok(Self { sender, streams })
    }

    /// What the peer allows, or is thought to allow; 0 if nobody knows.
    pub(super) fn allowed_streams(&self) -> usize {
        self.streams.allowed.load(Ordering::Relaxed)
    }

    /// What other connections to this peer were allowed, until this one knows better.
    pub(super) fn expect_allowed(&self, streams: usize) {
        self.streams.allowed.store(streams, Ordering::Relaxed);
    }

    /// Whether it takes no more requests.
    pub(super) fn has_ended(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether one more stream may be opened at once.
    pub(super) fn has_room(&self) -> bool {
        let allowed = match self.allowed_streams() {
            0 => MAX_STREAMS,
            allowed => allowed.min(MAX_STREAMS),
        };
        self.open_streams() < allowed
    }

    pub(super) fn open_streams(&self) -> usize {
        self.streams.open.load(Ordering::Relaxed)
    }

    /// How many streams there have been; unchanged means that it was not used.
    pub(super) fn ever_opened(&self) -> usize {
        self.streams.ever.load(Ordering::Relaxed)
    }

    /// Takes a place, whether there is room or not: without, hyper lets the request wait.
    pub(super) fn slot(&self) -> Slot {
        self.streams.open.fetch_add(1, Ordering::Relaxed);
        let ever = self.streams.ever.fetch_add(1, Ordering::Relaxed);
        Slot {
            sender: self.sender.clone(),
            place: Place(Arc::clone(&self.streams)),
            is_reused: ever > 0,
        }
    }
}

/// Drives a connection, and notes what the peer allows.
async fn drive(driver: Driver, streams: Arc<Streams>) {
    let mut driver = pin!(driver);
    let ended = poll_fn(|cx| {
        streams.driver.register(cx.waker());
        let polled = driver.as_mut().poll(cx);
        if streams.has_answered.load(Ordering::Acquire) {
            let allowed = driver.current_max_send_streams().max(1);
            streams.allowed.store(allowed, Ordering::Relaxed);
        }
        polled
    });
    // Whoever waits for an answer is told by hyper how it ended.
    drop(ended.await);
}

// === impl Slot ===

impl Slot {
    /// Sends `request` and waits for the head of its answer. Dropping it resets the stream.
    pub(super) async fn exchange(
        mut self,
        request: Request<ReplayBody>,
    ) -> Result<Response<Body>, Failure> {
        let answer = self.sender.try_send_request(request).await;
        let response = answer.map_err(|error| match Failure::of(error, self.is_reused) {
            Failure::Broken(error) if is_unprocessed(&error) => {
                let by = Which(Arc::clone(&self.place.0));
                Failure::Unprocessed { error, by }
            }
            failure => failure,
        })?;
        self.place.0.answered();
        Ok(response.map(|incoming| {
            if incoming.is_end_stream() {
                Body::from(incoming)
            } else {
                Body::boxed(Answered::on_http2(incoming, self.place))
            }
        }))
    }
}

/// Rule 4. Of a GOAWAY only those streams are told that are above its last.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &h2::Error| {
        let is_refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        cause.is_remote() && (is_refused || cause.is_go_away())
    })
}

// === impl Which ===

impl Which {
    /// Whether it was this one.
    pub(super) fn is(&self, connection: &Http2) -> bool {
        Arc::ptr_eq(&self.0, &connection.streams)
    }
}

// === impl Streams ===

impl Streams {
    fn answered(&self) {
        if !self.has_answered.load(Ordering::Relaxed)
            && !self.has_answered.swap(true, Ordering::Release)
        {
            self.driver.wake();
        }
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
