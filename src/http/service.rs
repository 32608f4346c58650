//! Services that are called through `&self`: what the outbound stack is made of.
//!
//! 1. Nothing here is ever not ready. What has no room for a request answers so; nobody waits for room.
//! 2. So a request clones no service. A layer that needs what is inside it for longer than a call, to call
//!    it once more, shares it.
//! 3. A service of `tower`'s, such as a router, is made one of these by [`Ready`].
//! 4. All of HTTP is compiled for each type of service. A listener where a request may cost two more
//!    allocations takes [`Erased`], which is one type for all of them.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::{BoxError, ServiceExt, util::Oneshot};

use super::body::Body;

pub use hyper::service::Service;

/// A service of `tower`'s, cloned for each request and waited for until it is ready.
#[derive(Clone, Copy, Debug)]
pub struct Ready<S>(pub S);

/// A service of any type that answers with any body.
#[derive(Clone)]
pub struct Erased(Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>);

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

/// Gives requests another kind of body first.
#[derive(Clone, Copy, Debug)]
pub struct MapBody<S, F> {
    inner: S,
    map: F,
}

pin_project! {
    /// Response future of a layer that passes a request on, or refuses it.
    #[derive(Debug)]
    pub struct Gated<F, R> {
        #[pin]
        state: State<F, R>,
    }
}

pin_project! {
    #[project = StateProjection]
    #[derive(Debug)]
    enum State<F, R> {
        Passed { #[pin] answer: F },
        Refused { refusal: Option<R> },
    }
}

impl<F, R> Gated<F, R> {
    /// What comes from further in.
    pub const fn passed(answer: F) -> Self {
        Self {
            state: State::Passed { answer },
        }
    }

    /// Goes no further.
    pub const fn refused(refusal: R) -> Self {
        let refusal = Some(refusal);
        Self {
            state: State::Refused { refusal },
        }
    }
}

impl<F, R, T, E> Future for Gated<F, R>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
    R: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Passed { answer } => answer.poll(cx).map_err(Into::into),
            StateProjection::Refused { refusal } => {
                #[expect(clippy::expect_used, reason = "a future polled after it is done")]
                let refusal = refusal.take().expect("polled after completion");
                Poll::Ready(Err(refusal.into()))
            }
        }
    }
}

impl<S, F> MapBody<S, F> {
    /// Calls `inner` with the bodies that `map` makes.
    pub const fn new(inner: S, map: F) -> Self {
        Self { inner, map }
    }
}

impl<S, F, A, B> Service<Request<A>> for MapBody<S, F>
where
    S: Service<Request<B>>,
    F: Fn(A) -> B,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<A>) -> S::Future {
        self.inner.call(request.map(&self.map))
    }
}

impl<S, Req> Service<Req> for Ready<S>
where
    S: tower::Service<Req> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Oneshot<S, Req>;

    fn call(&self, request: Req) -> Self::Future {
        self.0.clone().oneshot(request)
    }
}

// === impl Erased ===

impl Erased {
    /// Forgets the type of `service`.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self(Arc::new(move |request| {
            let answering = service.call(request);
            Box::pin(async move {
                let response = answering.await.map_err(Into::into)?;
                Ok(response.map(Body::boxed))
            })
        }))
    }
}

impl Service<Request<Incoming>> for Erased {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        (self.0)(request)
    }
}

impl fmt::Debug for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Erased")
    }
}
