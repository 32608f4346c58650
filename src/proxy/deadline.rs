//! Bounds the time a provider may take until the head of its answer.
//!
//! * Request: the time of an upload does not count: as long as the request body moves, the wait
//!   begins anew.
//! * Response: the body is not bounded in time: an event stream may be silent for hours, and a caller
//!   that has had enough can leave.
//! * Order: around each single attempt, so that waiting for a token does not count either.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep};
use tower::{BoxError, Layer};

use crate::http::{
    body::Body,
    replay::{Progress, ReplayBody},
    service::Service,
};

/// No head in time. The request may have been carried out.
#[derive(Debug, Error)]
#[error("no answer within {} ms", .0.as_millis())]
pub(super) struct TimedOut(Duration);

/// Applies [`Deadline`].
#[derive(Clone, Copy, Debug)]
pub(super) struct DeadlineLayer {
    limit: Duration,
}

/// Bounds the wait for a head; see the [module docs](self).
#[derive(Clone, Debug)]
pub(super) struct Deadline<S> {
    inner: S,
    limit: Duration,
}

pin_project! {
    /// Response future of [`Deadline`].
    #[derive(Debug)]
    pub(super) struct ResponseFuture<F> {
        #[pin]
        inner: F,
        #[pin]
        sleep: Sleep,
        limit: Duration,
        progress: Progress,
        frames: Option<u64>,
    }
}

// === impl DeadlineLayer ===

impl DeadlineLayer {
    /// At most `limit` without progress.
    pub(super) const fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadline {
            inner,
            limit: self.limit,
        }
    }
}

// === impl Deadline ===

impl<S> Service<Request<ReplayBody>> for Deadline<S>
where
    S: Service<Request<ReplayBody>, Response = Response<Body>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn call(&self, request: Request<ReplayBody>) -> Self::Future {
        let progress = request.body().progress();
        ResponseFuture {
            frames: progress.frames(),
            progress,
            inner: self.inner.call(request),
            sleep: sleep(self.limit),
            limit: self.limit,
        }
    }
}

// === impl ResponseFuture ===

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(answer) = this.inner.poll(cx) {
            return Poll::Ready(answer.map_err(Into::into));
        }
        loop {
            ready!(this.sleep.as_mut().poll(cx));
            let frames = this.progress.frames();
            if frames == *this.frames {
                return Poll::Ready(Err(TimedOut(*this.limit).into()));
            }
            *this.frames = frames;
            this.sleep.as_mut().reset(Instant::now() + *this.limit);
        }
    }
}
