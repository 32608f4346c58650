//! Lets in as many requests at once as configured, and refuses the rest at once.
//!
//! Sits inside the rescue layer, which answers [`Overloaded`], and outside all work.
//!
//! * Request: takes a place, or fails; nobody waits, because a queue in front of a slow provider only
//!   makes every answer late.
//! * Response: the place is given back when the answer's *body* has ended: a body that streams for
//!   minutes is work under way.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{BoxError, Layer};

use crate::http::{body::Body, service::Service};

/// Every place is taken.
#[derive(Debug, Error)]
#[error("too many requests are under way")]
pub(super) struct Overloaded(());

/// Applies [`Admit`].
#[derive(Clone, Debug)]
pub(super) struct AdmitLayer {
    places: Arc<Semaphore>,
}

/// Limits requests under way; see the [module docs](self).
#[derive(Clone, Debug)]
pub(super) struct Admit<S> {
    inner: S,
    places: Arc<Semaphore>,
}

pin_project! {
    /// Response future of [`Admit`].
    #[derive(Debug)]
    pub(super) struct ResponseFuture<F> {
        #[pin]
        inner: Option<F>,
        place: Option<OwnedSemaphorePermit>,
    }
}

// === impl AdmitLayer ===

impl AdmitLayer {
    /// At most `max` at once.
    pub(super) fn new(max: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
        }
    }
}

impl<S> Layer<S> for AdmitLayer {
    type Service = Admit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admit {
            inner,
            places: Arc::clone(&self.places),
        }
    }
}

// === impl Admit ===

impl<S, Req> Service<Req> for Admit<S>
where
    S: Service<Req, Response = Response<Body>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn call(&self, request: Req) -> Self::Future {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        ResponseFuture {
            inner: place.is_some().then(|| self.inner.call(request)),
            place,
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
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else {
            return Poll::Ready(Err(Overloaded(()).into()));
        };
        let mut response = ready!(inner.poll(cx)).map_err(Into::into)?;
        if let Some(place) = this.place.take() {
            response.body_mut().hold(place);
        }
        Poll::Ready(Ok(response))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::BodyExt;
    use parking_lot::Mutex;
    use tokio::sync::oneshot;
    use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};

    use super::*;

    type Reply = oneshot::Sender<Response<Body>>;

    /// Answers when the test does.
    #[derive(Clone, Default)]
    struct Upstream(Arc<Mutex<Vec<Reply>>>);

    impl Service<()> for Upstream {
        type Response = Response<Body>;
        type Error = oneshot::error::RecvError;
        type Future = oneshot::Receiver<Response<Body>>;

        fn call(&self, (): ()) -> Self::Future {
            let (reply, answer) = oneshot::channel();
            self.0.lock().push(reply);
            answer
        }
    }

    #[tokio::test]
    async fn a_place_is_taken_until_the_body_ends() {
        let upstream = Upstream::default();
        let admit = AdmitLayer::new(1).layer(upstream.clone());
        let mut first = task::spawn(admit.call(()));
        assert_pending!(first.poll());

        let mut second = task::spawn(admit.call(()));
        assert!(assert_ready_err!(second.poll()).is::<Overloaded>());

        let reply = upstream.0.lock().pop().unwrap();
        reply
            .send(Response::new(Body::from(Bytes::from_static(b"x"))))
            .unwrap();
        let response = assert_ready_ok!(first.poll());
        let mut third = task::spawn(admit.call(()));
        assert!(assert_ready_err!(third.poll()).is::<Overloaded>());

        response.into_body().collect().await.unwrap();
        let mut fourth = task::spawn(admit.call(()));
        assert_pending!(fourth.poll());
    }

    #[tokio::test]
    async fn a_caller_that_leaves_gives_its_place_back() {
        let admit = AdmitLayer::new(1).layer(Upstream::default());
        drop(admit.call(()));
        let mut next = task::spawn(admit.call(()));
        assert_pending!(next.poll());
    }
}
