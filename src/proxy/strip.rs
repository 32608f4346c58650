//! Takes away what must not pass: credentials of the caller, traces of it, hop-by-hop fields.
//!
//! * Request: credential-like fields ([`FORBIDDEN`], `Proxy-*`, `X-Forwarded-*`) and hop-by-hop
//!   fields go; `Via` and `TE: trailers` are set; every other field passes byte for byte.
//! * Response: hop-by-hop fields, `Set-Cookie` (a provider's cookie would be shared by all users
//!   behind this proxy) and `Alt-Svc` (it speaks of the provider's host, not of ours) go; `Via` is
//!   appended.
//! * Order: outside of inject, which adds the one credential that does pass. From here inward, a
//!   request without a token is a request without any credential.
//!
//! The context of the app's trace (`traceparent`, `tracestate`, `baggage`) goes, too, unless it is to be
//! propagated: baggage can hold anything.
//!
//! `Accept-Encoding` goes where an answer's body must be read: at providers that tell a refused token
//! by the body of an error.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderValue, Response, Version, header};
use pin_project_lite::pin_project;
use tower::Layer;

use super::route::Routed;
use crate::{
    http::{body::Body, hop_by_hop, names::Names, service::Service},
    telemetry::trace::TRACE_HEADERS,
};

/// Fields that could stand in for a credential, or that tell whom the caller serves.
///
/// `x-cal-*`: together they outrank a bearer at Cal.com. `origin`: makes Cal.com refuse a managed
/// user's token. `host`: is the provider's.
const FORBIDDEN: Names = Names::new(&[
    "authorization",
    "cookie",
    "origin",
    "referer",
    "forwarded",
    "via",
    "host",
    "cookie2",
    "x-real-ip",
    "x-cal-client-id",
    "x-cal-secret-key",
]);
/// Families of such fields.
const FORBIDDEN_PREFIXES: [&str; 2] = ["x-forwarded-", "proxy-"];

/// Applies [`Strip`].
#[derive(Clone, Copy, Debug)]
pub(super) struct StripLayer {
    propagate: bool,
}

/// Strips; see the [module docs](self).
#[derive(Clone, Debug)]
pub(super) struct Strip<S> {
    inner: S,
    propagate: bool,
}

pin_project! {
    /// Response future of [`Strip`].
    #[derive(Debug)]
    pub(super) struct ResponseFuture<F> {
        #[pin]
        inner: F,
    }
}

// === impl StripLayer ===

impl StripLayer {
    /// Lets the context of the app's trace pass if it is to be propagated.
    pub(super) const fn new(propagate: bool) -> Self {
        Self { propagate }
    }
}

impl<S> Layer<S> for StripLayer {
    type Service = Strip<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Strip {
            inner,
            propagate: self.propagate,
        }
    }
}

// === impl Strip ===

impl<S> Service<Routed> for Strip<S>
where
    S: Service<Routed, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn call(&self, mut routed: Routed) -> Self::Future {
        let version = routed.request.version();
        let headers = routed.request.headers_mut();
        strip_request(headers, self.propagate);
        if routed.upstream.judges_bodies {
            headers.remove(header::ACCEPT_ENCODING);
        }
        headers.insert(header::VIA, via(version));
        // Our own word to the next hop: we pass trailers on.
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        ResponseFuture {
            inner: self.inner.call(routed),
        }
    }
}

fn strip_request(headers: &mut HeaderMap, propagate: bool) {
    hop_by_hop::strip(headers, |name| {
        let name = name.as_str();
        FORBIDDEN.has(name)
            || (!propagate && TRACE_HEADERS.contains(&name))
            || FORBIDDEN_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
    });
}

fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2 daypass",
        Version::HTTP_10 => "1.0 daypass",
        _ => "1.1 daypass",
    })
}

// === impl ResponseFuture ===

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = ready!(self.project().inner.poll(cx))?;
        let version = response.version();
        // The version is each connection's own; hyper would take it for the caller's.
        *response.version_mut() = Version::HTTP_11;
        let headers = response.headers_mut();
        hop_by_hop::strip(headers, |name| {
            *name == header::SET_COOKIE || *name == header::ALT_SVC
        });
        headers.append(header::VIA, via(version));
        Poll::Ready(Ok(response))
    }
}
