//! The one body type of the outbound stack: what streams in, what streams out, and what we make
//! ourselves.
//!
//! 1. Length hints and the end of the stream are passed on as they are, so that hyper frames a
//!    relayed message as its sender did.
//! 2. A body may hold a [permit](Body::hold); it is given back when the body ends or is dropped,
//!    not when the head has been sent.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};
use tower::BoxError;

/// A body of a request or an answer; see the [module docs](self).
pub struct Body {
    kind: Kind,
    permit: Option<OwnedSemaphorePermit>,
}

enum Kind {
    Bytes(Bytes),
    Incoming(Incoming),
    /// What was read ahead, then the rest.
    Prefixed(Bytes, Box<Body>),
    Boxed(UnsyncBoxBody<Bytes, BoxError>),
}

/// What [`Body::read_up_to`] found.
#[derive(Debug)]
pub enum Read {
    /// The whole body.
    All(Bytes),
    /// More than the limit, or too slow: nothing is lost, this body still has all of it.
    TooLong(Body),
}

// === impl Body ===

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self::of(Kind::Bytes(Bytes::new()))
    }

    /// Any other body.
    pub fn boxed<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self::of(Kind::Boxed(body.map_err(Into::into).boxed_unsync()))
    }

    /// Keeps `permit` until the body ends.
    pub fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
    }

    /// Reads the whole body if it has at most `limit` bytes and ends before `deadline`. Trailers of
    /// such a body are dropped.
    ///
    /// Dropping the future loses what was read.
    pub async fn read_up_to(mut self, limit: usize, deadline: Instant) -> Result<Read, BoxError> {
        if HttpBody::size_hint(&self).lower() > limit as u64 {
            return Ok(Read::TooLong(self));
        }
        let mut read = Vec::new();
        loop {
            match timeout_at(deadline, self.frame()).await {
                Ok(None) => return Ok(Read::All(read.into())),
                Ok(Some(frame)) => {
                    if let Ok(data) = frame?.into_data() {
                        read.extend_from_slice(&data);
                    }
                    if read.len() <= limit {
                        continue;
                    }
                }
                Err(_) => {}
            }
            let kind = Kind::Prefixed(read.into(), Box::new(self));
            return Ok(Read::TooLong(Self::of(kind)));
        }
    }

    const fn of(kind: Kind) -> Self {
        Self { kind, permit: None }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = match &mut self.kind {
            Kind::Incoming(inner) => Pin::new(inner).poll_frame(cx).map_err(Into::into),
            Kind::Boxed(inner) => Pin::new(inner).poll_frame(cx),
            Kind::Prefixed(first, rest) if !first.has_remaining() => Pin::new(rest).poll_frame(cx),
            Kind::Bytes(bytes) | Kind::Prefixed(bytes, _) => {
                let bytes = mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
        };
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.permit = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Bytes(bytes) => bytes.is_empty(),
            Kind::Incoming(inner) => inner.is_end_stream(),
            Kind::Prefixed(first, rest) => first.is_empty() && rest.is_end_stream(),
            Kind::Boxed(inner) => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(inner) => inner.size_hint(),
            Kind::Prefixed(first, rest) => longer(&HttpBody::size_hint(&**rest), first.len()),
            Kind::Boxed(inner) => inner.size_hint(),
        }
    }
}

fn longer(hint: &SizeHint, by: usize) -> SizeHint {
    let by = by as u64;
    let mut sum = SizeHint::new();
    sum.set_lower(hint.lower().saturating_add(by));
    if let Some(upper) = hint.upper() {
        sum.set_upper(upper.saturating_add(by));
    }
    sum
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self::of(Kind::Incoming(incoming))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::of(Kind::Bytes(bytes))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("size", &HttpBody::size_hint(self))
            .finish_non_exhaustive()
    }
}
