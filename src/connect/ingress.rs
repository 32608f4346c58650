//! What the ingress listener serves: the routes of the rooms that face the public network, and around
//! them what holds for all.
//!
//! 1. The access log has the route in place of the path: `/connect/{ticket}`, never the ticket.
//! 2. At most [`PLACES`] requests are under way; more are answered 503 at once. Strangers are met here,
//!    who must not fill the memory of a sidecar.
//! 3. No answer is stored by a cache, framed, guessed at by its content, or told of where its links
//!    lead.
//! 4. Bodies are bounded for every handler that reads one whole.
//! 5. If the public address has a path, every route answers below it as well: an ingress in front of the
//!    cluster may take that path away or not.
//!
//! Deliberately without `Cross-Origin-Opener-Policy`: an app may open a link in a window of its own and
//! wait for that window to come back.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    middleware::{self, Next},
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tower::{ServiceBuilder, ServiceExt};

use super::{Config, place::Place, told::Reader, trouble::Trouble};
use crate::http::{
    access_log::{AccessLogLayer, LoggedBody, Observe, Path, Record, Tracked},
    service::{MapBody, Ready, Service},
};

/// Requests under way at once.
const PLACES: usize = 1024;

/// What every answer says, unless it says otherwise itself.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("x-robots-tag"), "noindex"),
];

/// Serves the routes of `rooms` as `config` says.
pub fn ingress(
    rooms: Router,
    config: &Config,
    observer: Arc<dyn Observe>,
) -> impl Service<
    http::Request<Incoming>,
    Response = http::Response<LoggedBody<Body>>,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ Sync
+ 'static {
    let router = also_below_the_public_path(rooms, config)
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(note_route))
        .layer(DefaultBodyLimit::max(config.max_body_bytes));
    let places = Arc::new(Semaphore::new(PLACES));
    let answering = tower::service_fn(move |tracked: Tracked<Body>| {
        let (router, places) = (router.clone(), Arc::clone(&places));
        // At once, so that not even a request that is dropped now leaves its path in the log.
        tracked.record.note(|facts| facts.path = None);
        async move { Ok::<_, Infallible>(with_headers(answer(router, &places, tracked).await)) }
    });
    ServiceBuilder::new()
        .layer_fn(|inner| MapBody::new(inner, Body::new::<Incoming>))
        .layer(AccessLogLayer::new(observer))
        .service(Ready(answering))
}

fn also_below_the_public_path(rooms: Router, config: &Config) -> Router {
    let place = config.public_url.as_ref().map(Place::new);
    match place.as_ref().map_or("", Place::prefix) {
        "" => rooms,
        prefix => rooms.clone().nest(prefix, rooms),
    }
}

async fn answer(router: Router, places: &Semaphore, tracked: Tracked<Body>) -> Response {
    let Tracked {
        mut request,
        record,
    } = tracked;
    let Ok(_place) = places.try_acquire() else {
        return Trouble::Overloaded.answer(Reader::of(request.headers()));
    };
    request.extensions_mut().insert(record);
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Tells the access log which route it was.
async fn note_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    if let (Some(record), Some(route)) = (request.extensions().get::<Arc<Record>>(), route) {
        let route = route.as_str().into();
        record.note(|facts| facts.path = Some(Path::Route(route)));
    }
    next.run(request).await
}

fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn not_found(headers: HeaderMap) -> Response {
    Trouble::NotFound.answer(Reader::of(&headers))
}

async fn wrong_method(headers: HeaderMap) -> Response {
    Trouble::WrongMethod.answer(Reader::of(&headers))
}
