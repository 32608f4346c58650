//! Tells users who are not connected where to connect.
//!
//! * Request: untouched.
//! * Response: an error that says that its user is not connected gets the address, where there is one.
//! * Order: right inside the rescue layer, whose table knows nothing of links; outside everything that
//!   asks for tokens.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower::{BoxError, Layer};

use super::local::{LocalCalls, Unconnected};
use crate::{http::service::Service, token};

/// Applies [`ConnectUrl`].
#[derive(Clone)]
pub(super) struct ConnectUrlLayer(Arc<dyn LocalCalls>);

/// Adds the address; see the [module docs](self).
#[derive(Clone)]
pub(super) struct ConnectUrl<S> {
    inner: S,
    connections: Arc<dyn LocalCalls>,
}

pin_project! {
    /// Response future of [`ConnectUrl`].
    pub(super) struct ResponseFuture<F> {
        #[pin]
        inner: F,
        connections: Arc<dyn LocalCalls>,
    }
}

// === impl ConnectUrlLayer ===

impl ConnectUrlLayer {
    /// Addresses are those of `connections`.
    pub(super) const fn new(connections: Arc<dyn LocalCalls>) -> Self {
        Self(connections)
    }
}

impl<S> Layer<S> for ConnectUrlLayer {
    type Service = ConnectUrl<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ConnectUrl {
            inner,
            connections: Arc::clone(&self.0),
        }
    }
}

// === impl ConnectUrl ===

impl<S, Req> Service<Req> for ConnectUrl<S>
where
    S: Service<Req, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn call(&self, request: Req) -> Self::Future {
        ResponseFuture {
            inner: self.inner.call(request),
            connections: Arc::clone(&self.connections),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for ConnectUrl<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectUrl")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

// === impl ResponseFuture ===

impl<F, R> Future for ResponseFuture<F>
where
    F: Future<Output = Result<R, BoxError>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(match ready!(this.inner.poll(cx)) {
            Ok(response) => Ok(response),
            Err(error) => Err(with_connect_url(error, &**this.connections)),
        })
    }
}

fn with_connect_url(error: BoxError, connections: &dyn LocalCalls) -> BoxError {
    let error = match error.downcast::<token::Error>() {
        Ok(error) => *error,
        Err(other) => return other,
    };
    let (token::Error::NotConnected { key } | token::Error::NeedsReauth { key, .. }) = &error
    else {
        return error.into();
    };
    match connections.connect_url(key) {
        Some(connect_url) => Unconnected {
            source: error,
            connect_url,
        }
        .into(),
        None => error.into(),
    }
}
