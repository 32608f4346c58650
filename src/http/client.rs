//! Pooled connections to providers: HTTP/1.1 and HTTP/2 by ALPN, plain HTTP where the address says so.
//!
//! 1. Whether a failed request may have reached the provider is in the error:
//!    [`Error::Unreachable`] never left, [`Error::Broken`] may have.
//! 2. Nothing is retried here but a request that a reused connection refused before its first byte.
//! 3. Idle connections are closed before the providers' own limits, so that a reused one is alive.
//! 4. Connection tasks run in the given [`Lifecycle`] and end when the last clone of the client is
//!    dropped: whoever drains must not keep one.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response, Uri, Version};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioTimer,
};
use pin_project_lite::pin_project;
use rustls::ClientConfig;
use thiserror::Error;
use tower::{BoxError, Service, ServiceExt, util::BoxCloneSyncService};

use super::{body::Body, executor::Executor, replay::ReplayBody};
use crate::base::lifecycle::Lifecycle;

/// How long name lookup, TCP and TLS may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Below the 75 s after which common front ends close a quiet connection.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// How often a quiet HTTP/2 connection is asked whether it lives, and how long it may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends requests to the address in their URI; see the [module docs](self).
#[derive(Clone, Debug)]
pub struct Client {
    /// Shared, because the library's own clone copies all of its settings.
    inner: Arc<legacy::Client<Connector, ReplayBody>>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection: the request never left. Retrying is safe.
    #[error("the provider cannot be reached")]
    Unreachable(#[source] BoxError),
    /// The connection broke, or what came was not HTTP. The request may have been carried out.
    #[error("the provider broke off before it answered")]
    Broken(#[source] BoxError),
}

/// No connection came about in time.
#[derive(Debug, Error)]
#[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
pub struct ConnectTimeout(());

pin_project! {
    /// Response future of [`Client`].
    #[derive(Debug)]
    pub struct ResponseFuture {
        #[pin]
        inner: legacy::ResponseFuture,
    }
}

type Connection = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
type Connector = BoxCloneSyncService<Uri, Connection, BoxError>;

// === impl Client ===

impl Client {
    /// Opens connections as they are needed. `tls` must leave ALPN unset; it is set here.
    pub fn new(tls: ClientConfig, lifecycle: &Lifecycle) -> Self {
        let inner = legacy::Client::builder(Executor(lifecycle.clone()))
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .build(connector(tls));
        Self {
            inner: Arc::new(inner),
        }
    }
}

fn connector(tls: ClientConfig) -> Connector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(IDLE_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    // One limit over all steps; boxing costs nothing against a handshake.
    BoxCloneSyncService::new(tower::service_fn(move |uri: Uri| {
        let connecting = connector.clone().oneshot(uri);
        async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(ConnectTimeout(()).into()),
            }
        }
    }))
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
        ResponseFuture {
            inner: self.inner.request(request),
        }
    }
}

// === impl ResponseFuture ===

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = ready!(self.project().inner.poll(cx));
        Poll::Ready(match answered {
            Ok(response) => Ok(response.map(Body::from)),
            Err(error) if error.is_connect() => Err(Error::Unreachable(error.into())),
            Err(error) => Err(Error::Broken(error.into())),
        })
    }
}
