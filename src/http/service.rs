//! Services that are called through `&self`: what the outbound stack is made of.
//!
//! 1. Nothing here is ever not ready. What has no room for a request answers so; nobody waits for room.
//! 2. So a request clones no service. A layer that needs what is inside it for longer than a call, to call
//!    it once more, shares it.
//! 3. A service of `tower`'s, such as a router, is made one of these by [`Ready`].

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::Request;
use pin_project_lite::pin_project;
use tower::{BoxError, ServiceExt, util::Oneshot};

pub use hyper::service::Service;

/// A service of `tower`'s, cloned for each request and waited for until it is ready.
#[derive(Clone, Copy, Debug)]
pub struct Ready<S>(pub S);

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
