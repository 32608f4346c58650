//! The body of an answer that was not whole when its head came.
//!
//! 1. On HTTP/1.1 the connection comes along, and moves as the body is read: a caller that does not read
//!    slows nobody down but the provider.
//! 2. The connection goes back to the pool as soon as nothing more is to come, which may be before the
//!    last bytes are read. A body that is dropped earlier takes its connection with it.
//! 3. On HTTP/2 the stream's place is kept until the body has ended.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{http1::Http1, http2::Place, origin::Origin};

/// The rest of an answer; see the [module docs](self).
pub(super) struct Answered {
    incoming: Incoming,
    source: Source,
}

/// Where the rest comes from.
enum Source {
    Http1(Arc<Origin>, Box<Http1>),
    Http2(#[expect(dead_code, reason = "held until it is dropped")] Place),
    /// All of it is here, or will never be.
    Ended,
}

// === impl Answered ===

impl Answered {
    /// `incoming` comes from `connection`.
    pub(super) const fn on_http1(
        incoming: Incoming,
        origin: Arc<Origin>,
        connection: Box<Http1>,
    ) -> Self {
        Self {
            incoming,
            source: Source::Http1(origin, connection),
        }
    }

    /// `incoming` takes a `place`.
    pub(super) const fn on_http2(incoming: Incoming, place: Place) -> Self {
        Self {
            incoming,
            source: Source::Http2(place),
        }
    }
}

impl Body for Answered {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let polled = if let Source::Http2(_) = this.source {
            Pin::new(&mut this.incoming).poll_frame(cx)
        } else {
            this.source.drive(cx);
            // Nobody else could fill it: a waker would only wake this very task.
            let mut cx = Context::from_waker(Waker::noop());
            Pin::new(&mut this.incoming).poll_frame(&mut cx)
        };
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            this.source = Source::Ended;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

// === impl Source ===

impl Source {
    fn drive(&mut self, cx: &Context<'_>) {
        let Self::Http1(_, connection) = self else {
            return;
        };
        connection.drive(cx);
        if !connection.is_idle() && !connection.has_ended() {
            return;
        }
        if let Self::Http1(origin, connection) = std::mem::replace(self, Self::Ended)
            && connection.is_idle()
        {
            origin.put_back(connection);
        }
    }
}
