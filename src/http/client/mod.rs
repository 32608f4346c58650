//! Connections to providers: HTTP/1.1 and HTTP/2 by ALPN, plain HTTP where the address says so.
//!
//! 1. Whether a failed request may have reached the provider is in the error:
//!    [`Error::Unreachable`] never left, [`Error::Refused`] was not processed, [`Error::Broken`] may have
//!    been.
//! 2. Nothing is retried here but what was certainly not processed: a request that a reused connection
//!    refused before its first byte; and, once, one that a provider of HTTP/2 refused by its word.
//! 3. Idle connections are closed before the providers' own limits, so that a reused one is alive.
//! 4. A request on a connection of HTTP/1.1 is driven by the task that wants its answer. Only what
//!    outlives that, and connections of HTTP/2, have tasks of their own, in the given [`Lifecycle`]. They
//!    end when the last clone of the client is dropped: whoever drains must not keep one.
//!
//! An [`origin`] is an address with a [`pool`] of connections, [`http1`] or [`http2`]; it makes new ones
//! through [`connect`]. An [`exchange`] is a request on a connection until the head of the answer has
//! come, and what is [`answered`] after that is its body.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, Uri, Version};
use parking_lot::RwLock;
use rustls::ClientConfig;
use thiserror::Error;
use tower::{BoxError, Service};

use self::{
    connect::Connector,
    exchange::{Exchange, Failure},
    origin::Origin,
};
use super::{body::Body, replay::ReplayBody};
use crate::base::lifecycle::Lifecycle;

mod answered;
mod connect;
mod exchange;
mod http1;
mod http2;
mod origin;
mod patient;
mod pool;
#[cfg(test)]
mod tests;

pub use connect::ConnectTimeout;

/// Sends requests to the address in their URI; see the [module docs](self).
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection: the request never left. Retrying is safe.
    #[error("the provider cannot be reached")]
    Unreachable(#[source] BoxError),
    /// The provider says that it did not process the request, also not when it was sent again, or it could
    /// not be sent again. Retrying is safe.
    #[error("the provider refused the request unprocessed")]
    Refused(#[source] BoxError),
    /// The connection broke, or what came was not HTTP. The request may have been carried out.
    #[error("the provider broke off before it answered")]
    Broken(#[source] BoxError),
}

/// A request has an address without a scheme or a host.
#[derive(Debug, Error)]
#[error("the address is not absolute")]
pub struct NoAddress(());

/// Response future of [`Client`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(State);

enum State {
    /// There was an idle connection: nothing had to be allocated.
    Exchange(Exchange),
    /// The long way: waits for a connection, or for another one.
    Elsewhere(Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>),
}

#[derive(Debug)]
struct Inner {
    connector: Connector,
    lifecycle: Lifecycle,
    /// As many as addresses are configured: going through them is cheaper than hashing.
    origins: RwLock<Vec<Arc<Origin>>>,
}

// === impl Client ===

impl Client {
    /// Opens connections as they are needed. `tls` must leave ALPN unset; it is set here.
    pub fn new(tls: ClientConfig, lifecycle: &Lifecycle) -> Self {
        Self {
            inner: Arc::new(Inner {
                connector: Connector::new(tls),
                lifecycle: lifecycle.clone(),
                origins: RwLock::default(),
            }),
        }
    }
}

impl Service<Request<ReplayBody>> for Client {
    type Response = Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<ReplayBody>) -> ResponseFuture {
        // The version is the connection's, whatever the caller spoke.
        *request.version_mut() = Version::HTTP_11;
        let Some(origin) = self.inner.origin_of(request.uri()) else {
            let error = Error::Unreachable(NoAddress(()).into());
            return ResponseFuture::elsewhere(std::future::ready(Err(error)));
        };
        match origin.take_idle() {
            Some(connection) => {
                let exchange = Exchange::begin(origin, connection, request);
                ResponseFuture(State::Exchange(exchange))
            }
            None => ResponseFuture::elsewhere(origin.send(request)),
        }
    }
}

// === impl Inner ===

impl Inner {
    fn origin_of(&self, uri: &Uri) -> Option<Arc<Origin>> {
        let (scheme, authority) = (uri.scheme()?, uri.authority()?);
        let known = |origins: &[Arc<Origin>]| {
            let origin = origins.iter().find(|origin| origin.is(scheme, authority))?;
            Some(Arc::clone(origin))
        };
        let found = known(&self.origins.read());
        found.or_else(|| {
            let mut origins = self.origins.write();
            // Somebody may have been faster.
            known(&origins).or_else(|| {
                let (connector, lifecycle) = (self.connector.clone(), self.lifecycle.clone());
                let origin = Origin::new(scheme, authority, connector, lifecycle)?;
                origins.push(Arc::clone(&origin));
                Some(origin)
            })
        })
    }
}

// === impl ResponseFuture ===

impl ResponseFuture {
    fn elsewhere(
        future: impl Future<Output = Result<Response<Body>, Error>> + Send + 'static,
    ) -> Self {
        Self(State::Elsewhere(Box::pin(future)))
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let failure = match &mut self.0 {
                State::Elsewhere(future) => return future.as_mut().poll(cx),
                State::Exchange(exchange) => match ready!(Pin::new(&mut *exchange).poll(cx)) {
                    Ok(response) => return Poll::Ready(Ok(response)),
                    Err(failure) => (failure, Arc::clone(exchange.origin())),
                },
            };
            match failure {
                (Failure::Unprocessed { error, .. }, _) => {
                    return Poll::Ready(Err(Error::Refused(error.into())));
                }
                (Failure::Broken(error), _) => {
                    return Poll::Ready(Err(Error::Broken(error.into())));
                }
                // It was closed while it was idle.
                (Failure::Refused { request, .. }, origin) => {
                    self.0 = State::Elsewhere(Box::pin(origin.send(*request)));
                }
            }
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Exchange(_) => "Exchange",
            Self::Elsewhere(_) => "Elsewhere",
        })
    }
}
