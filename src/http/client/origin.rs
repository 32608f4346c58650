//! A scheme, a host and a port, and the way of a request to it.
//!
//! 1. A request takes an idle connection, or a place on a shared one, or a new connection.
//! 2. A connection that is refused before a byte was sent on it costs nothing: if it had served before,
//!    it has aged, and the request takes the next. A new one that does so cannot be used.
//! 3. A request of HTTP/2 that the provider did not process is sent once more on another connection, if
//!    its body is still there from the beginning. What becomes of that stands.
//! 4. Whether an origin speaks HTTP/2 is not known before the first connection, and then one is enough
//!    for many requests. So the first is waited for, and so is each that HTTP/2 needs; HTTP/1.1 needs one
//!    for each request, made side by side. Whoever waited for one that failed is told so, and does not
//!    try in his turn.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Uri, header,
    uri::{Authority, Parts, Scheme},
};
use hyper_util::client::legacy::connect::Connection as _;
use parking_lot::Mutex;
use tokio::{
    sync::MutexGuard,
    task::coop,
    time::{Instant, sleep},
};
use tower::BoxError;

use super::{
    Error,
    connect::Connector,
    exchange::{Exchange, Failure},
    http1::Http1,
    http2::{Http2, Slot, Which},
    pool::{Pool, ROUND},
};
use crate::{
    base::lifecycle::Lifecycle,
    http::{
        body::Body,
        replay::{ReplayBody, Rewind},
    },
};

/// See the [module docs](self).
pub(super) struct Origin {
    scheme: Scheme,
    authority: Authority,
    /// What `Host` says: the port only where it is not the scheme's own.
    host: HeaderValue,
    connector: Connector,
    lifecycle: Lifecycle,
    pool: Mutex<Pool>,
    /// Whether the last connection spoke HTTP/1.1.
    is_http1: AtomicBool,
    /// Held while connecting, where one connection may be enough for all who wait.
    turn: tokio::sync::Mutex<Option<Attempt>>,
}

/// How a connection did not come about.
struct Attempt {
    ended: Instant,
    error: Arc<BoxError>,
}

/// The error of an attempt that several have waited for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
struct SharedError(#[source] Arc<BoxError>);

/// What a request can be sent on.
enum Way {
    Http1(Box<Http1>),
    Http2(Slot),
}

/// What a request is made of once more; without its extensions, which nothing reads further in.
struct Again {
    method: Method,
    address: Uri,
    headers: HeaderMap,
    body: Rewind,
}

// === impl Origin ===

impl Origin {
    /// Nothing is connected yet. `None` if no header could name `authority`.
    pub(super) fn new(
        scheme: &Scheme,
        authority: &Authority,
        connector: Connector,
        lifecycle: Lifecycle,
    ) -> Option<Arc<Self>> {
        let usual = if *scheme == Scheme::HTTPS { 443 } else { 80 };
        let host = match authority.port_u16() {
            Some(port) if port != usual => HeaderValue::from_str(authority.as_str()),
            _ => HeaderValue::from_str(authority.host()),
        };
        Some(Arc::new(Self {
            scheme: scheme.clone(),
            authority: authority.clone(),
            host: host.ok()?,
            connector,
            lifecycle,
            pool: Mutex::default(),
            // Without TLS there is nobody to agree on anything else with.
            is_http1: AtomicBool::new(*scheme == Scheme::HTTP),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// Whether this is the origin of these.
    pub(super) fn is(&self, scheme: &Scheme, authority: &Authority) -> bool {
        let (ours, theirs) = (self.authority.as_str(), authority.as_str());
        // Addresses are made from the configured one, and share its bytes.
        let is_same = std::ptr::eq(ours, theirs) || self.authority == *authority;
        is_same && self.scheme == *scheme
    }

    pub(super) const fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// The connection that was used last, if one is idle. It may have been closed meanwhile.
    pub(super) fn take_idle(&self) -> Option<Box<Http1>> {
        self.pool.lock().take_idle()
    }

    /// Keeps an idle connection for the next request.
    pub(super) fn put_back(self: &Arc<Self>, mut connection: Box<Http1>) {
        connection.rest();
        let mut pool = self.pool.lock();
        let surplus = pool.put_back(connection);
        self.watch(&mut pool);
        drop(pool);
        drop(surplus);
    }

    /// Sends `request` on whatever connection there is.
    pub(super) async fn send(
        self: Arc<Self>,
        mut request: Request<ReplayBody>,
    ) -> Result<Response<Body>, Error> {
        let mut refused_by = None;
        loop {
            let mut again = None;
            let way = self.way(refused_by.as_ref()).await;
            let sent = match way.map_err(Error::Unreachable)? {
                Way::Http1(connection) => {
                    Exchange::begin(Arc::clone(&self), connection, request).await
                }
                Way::Http2(slot) => {
                    self.address_http2(&mut request);
                    again = refused_by.is_none().then(|| Again::of(&request));
                    slot.exchange(request).await
                }
            };
            request = match sent {
                Ok(response) => return Ok(response),
                Err(Failure::Broken(error)) => return Err(Error::Broken(error.into())),
                Err(Failure::Unprocessed { error, by }) => {
                    refused_by = Some(by);
                    let Some(request) = again.and_then(Again::into_request) else {
                        return Err(Error::Refused(error.into()));
                    };
                    request
                }
                Err(Failure::Refused {
                    request, is_reused, ..
                }) if is_reused => *request,
                Err(Failure::Refused { error, .. }) => {
                    return Err(Error::Unreachable(error.into()));
                }
            };
        }
    }

    /// Addresses `request` as HTTP/1.1 does: `Host` and a path.
    pub(super) fn address_http1(&self, request: &mut Request<ReplayBody>) {
        let parts = mem::take(request.uri_mut()).into_parts();
        *request.uri_mut() = parts.path_and_query.map_or_else(Uri::default, Uri::from);
        let host = request.headers_mut().entry(header::HOST);
        host.or_insert_with(|| self.host.clone());
    }

    /// Addresses `request` as HTTP/2 does: all in the address.
    fn address_http2(&self, request: &mut Request<ReplayBody>) {
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = mem::take(request.uri_mut()).into_parts().path_and_query;
        // With a scheme, a host and a path it is an address; `Uri` cannot know that they are ours.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }

    /// A way that is not the connection to `avoid`.
    async fn way(self: &Arc<Self>, avoid: Option<&Which>) -> Result<Way, BoxError> {
        if let Some(way) = self.known_way(avoid) {
            return Ok(way);
        }
        if self.is_http1.load(Ordering::Relaxed) {
            return self.connect().await;
        }
        let since = Instant::now();
        let turn = self.turn.lock().await;
        if let Some(way) = self.known_way(avoid) {
            return Ok(way);
        }
        if self.is_http1.load(Ordering::Relaxed) {
            drop(turn);
            return self.connect().await;
        }
        self.connect_in_turn(turn, since).await
    }

    fn known_way(&self, avoid: Option<&Which>) -> Option<Way> {
        let mut pool = self.pool.lock();
        let idle = pool.take_idle().map(Way::Http1);
        idle.or_else(|| pool.slot(avoid).map(Way::Http2))
    }

    /// Connects for all who wait for their turn; `since` when this one did.
    async fn connect_in_turn(
        self: &Arc<Self>,
        mut turn: MutexGuard<'_, Option<Attempt>>,
        since: Instant,
    ) -> Result<Way, BoxError> {
        if let Some(attempt) = turn.as_ref().filter(|attempt| attempt.ended >= since) {
            return Err(SharedError(Arc::clone(&attempt.error)).into());
        }
        let connected = self.connect().await;
        connected.map_err(|error| {
            let error = Arc::new(error);
            let ended = Instant::now();
            *turn = Some(Attempt {
                ended,
                error: Arc::clone(&error),
            });
            SharedError(error).into()
        })
    }

    async fn connect(self: &Arc<Self>) -> Result<Way, BoxError> {
        let mut address = Parts::default();
        address.scheme = Some(self.scheme.clone());
        address.authority = Some(self.authority.clone());
        address.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        let stream = self.connector.connect(Uri::from_parts(address)?).await?;
        let is_http1 = !stream.connected().is_negotiated_h2();
        self.is_http1.store(is_http1, Ordering::Relaxed);
        if is_http1 {
            return Ok(Way::Http1(Http1::handshake(stream).await?));
        }
        let connection = Http2::handshake(stream, &self.lifecycle).await?;
        let mut pool = self.pool.lock();
        self.watch(&mut pool);
        Ok(Way::Http2(pool.share(connection)))
    }

    /// Sees to it that somebody goes the rounds of `pool`, which is ours.
    fn watch(self: &Arc<Self>, pool: &mut Pool) {
        if mem::replace(&mut pool.is_watched, true) {
            return;
        }
        let origin = Arc::downgrade(self);
        self.lifecycle.spawn_until_drain(async move {
            loop {
                sleep(ROUND).await;
                let Some(origin) = origin.upgrade() else {
                    return;
                };
                // All of them, whatever this task's budget is: they are asked, not waited for.
                let round = coop::unconstrained(async {
                    let mut pool = origin.pool.lock();
                    let taken_out = pool.go_round();
                    pool.is_watched = !pool.is_empty();
                    (taken_out, pool.is_watched)
                });
                if !round.await.1 {
                    return;
                }
            }
        });
    }
}

// === impl Again ===

impl Again {
    fn of(request: &Request<ReplayBody>) -> Self {
        Self {
            method: request.method().clone(),
            address: request.uri().clone(),
            headers: request.headers().clone(),
            body: request.body().rewind(),
        }
    }

    /// `None` if the beginning of the body is gone.
    fn into_request(self) -> Option<Request<ReplayBody>> {
        let mut request = Request::new(self.body.into_body()?);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.address;
        *request.headers_mut() = self.headers;
        Some(request)
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Origin({}://{})", self.scheme, self.authority)
    }
}
