//! One request on one connection of HTTP/1.1, until the head of its answer.
//!
//! 1. The connection is driven here: the request, its body and the answer move in the caller's task.
//! 2. When the head has come, the connection goes back to the pool if the answer has no more to come;
//!    else it goes on with the [body](super::answered).
//! 3. But if the caller is still sending, it gets a task of its own: a caller may want to send all of it
//!    before it reads, and would wait for ever if only reading moved what it sends.
//! 4. Dropping it closes the connection: nothing half sent or half read is ever used again.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use hyper::body::Incoming;

use super::{answered::Answered, http1::Http1, http2::Which, origin::Origin};
use crate::http::{body::Body, replay::ReplayBody};

/// Future of an answer; see the [module docs](self).
pub(super) struct Exchange {
    origin: Arc<Origin>,
    /// `None` once it is done.
    connection: Option<Box<Http1>>,
}

/// Why there is no answer on this connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// Not a byte was sent, and here is the request.
    Refused {
        request: Box<Request<ReplayBody>>,
        error: hyper::Error,
        /// Whether the connection had served before.
        is_reused: bool,
    },
    /// It was sent, and the peer says that it was not processed.
    Unprocessed { error: hyper::Error, by: Which },
    /// The request may have been carried out.
    Broken(hyper::Error),
}

// === impl Exchange ===

impl Exchange {
    /// Sends `request` on `connection`, which must be idle and of `origin`.
    pub(super) fn begin(
        origin: Arc<Origin>,
        mut connection: Box<Http1>,
        mut request: Request<ReplayBody>,
    ) -> Self {
        origin.address_http1(&mut request);
        connection.send(request);
        Self {
            origin,
            connection: Some(connection),
        }
    }

    /// Whom it talks to.
    pub(super) const fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }
}

impl Future for Exchange {
    type Output = Result<Response<Body>, Failure>;

    #[expect(clippy::expect_used, reason = "a future polled after it is done")]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let connection = this.connection.as_mut().expect("polled after completion");
        let answer = ready!(connection.poll_answer(cx));
        let is_reused = connection.is_reused;
        let connection = this.connection.take();
        Poll::Ready(match (answer, connection) {
            (Ok(response), Some(connection)) => {
                Ok(response.map(|body| settle(&this.origin, connection, body)))
            }
            (Ok(response), None) => Ok(response.map(Body::from)),
            (Err(error), _) => Err(Failure::of(error, is_reused)),
        })
    }
}

/// What is to become of a connection whose answer begins with `incoming`.
fn settle(origin: &Arc<Origin>, connection: Box<Http1>, incoming: Incoming) -> Body {
    if connection.is_idle() {
        origin.put_back(connection);
    } else if connection.has_ended() {
        drop(connection);
    } else if connection.is_uploading() {
        let rest = finish(Arc::clone(origin), connection);
        drop(origin.lifecycle().spawn(rest));
    } else {
        let origin = Arc::clone(origin);
        return Body::boxed(Answered::on_http1(incoming, origin, connection));
    }
    Body::from(incoming)
}

/// Drives a connection until it is idle again, or has ended.
async fn finish(origin: Arc<Origin>, mut connection: Box<Http1>) {
    let is_idle = poll_fn(|cx| {
        connection.drive(cx);
        if connection.is_idle() {
            Poll::Ready(true)
        } else if connection.has_ended() {
            Poll::Ready(false)
        } else {
            Poll::Pending
        }
    });
    if is_idle.await {
        origin.put_back(connection);
    }
}

// === impl Failure ===

impl Failure {
    /// Reads hyper's word.
    pub(super) fn of(
        mut error: hyper::client::conn::TrySendError<Request<ReplayBody>>,
        is_reused: bool,
    ) -> Self {
        match error.take_message() {
            Some(request) => Self::Refused {
                request: Box::new(request),
                error: error.into_error(),
                is_reused,
            },
            None => Self::Broken(error.into_error()),
        }
    }
}
