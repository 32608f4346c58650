//! Puts the connection's access token on an attempt to reach the provider.
//!
//! Sits directly above the deadline and the client: everything outside this layer sees a request
//! without a provider credential, everything inside sees it with one.
//!
//! * Request: takes the token in memory without waiting, else asks for one and waits; a replay brings
//!   its own. `Authorization` is set, never added to. No token, no request: the provider would treat
//!   it as anonymous, and some of its calls would even succeed.
//! * Where calls are limited, one is charged when it is about to be sent: a user who is not connected
//!   uses up nothing. A replay is free: the app made one call, and the token was not its fault.
//! * Response: comes with the [`Bearer`] that was used, so that a refusal can name its generation.
//! * Order: inside recover, which decides whether there is a second attempt.
//!
//! Bearer syntax: RFC 6750 §2.1.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, header::AUTHORIZATION};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{BoxError, Layer};

use super::{
    policy::{Gate, RateLimited},
    route::{Upstream, User},
};
use crate::{
    http::{access_log::Record, body::Body, replay::ReplayBody, service::Service},
    telemetry::trace::{self, Kind, OpenSpan, SpanContext, TRACEPARENT},
    token::{Bearer, TokenFuture, TokenSource},
};

/// One try to get an answer.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) request: Request<ReplayBody>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) user: User,
    pub(super) record: Arc<Record>,
    /// The token to use; `None` takes whichever is valid.
    pub(super) bearer: Option<Arc<Bearer>>,
    /// The span of the replay that this is part of, if that is traced.
    pub(super) replay: Option<SpanContext>,
}

/// An answer, and the token it was given to.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) bearer: Arc<Bearer>,
}

/// Applies [`Inject`].
#[derive(Clone)]
pub(super) struct InjectLayer {
    tokens: Arc<dyn TokenSource>,
}

/// Sets `Authorization`; see the [module docs](self).
#[derive(Clone)]
pub(super) struct Inject<S> {
    inner: S,
    tokens: Arc<dyn TokenSource>,
}

pin_project! {
    /// Response future of [`Inject`].
    pub(super) struct ResponseFuture<S>
    where
        S: Service<Request<ReplayBody>>,
    {
        record: Arc<Record>,
        since: Instant,
        #[pin]
        state: State<S, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        Invalid { error: Option<BoxError> },
        Token {
            inner: S,
            request: Option<Request<ReplayBody>>,
            toll: Option<Toll>,
            lookup: Option<OpenSpan>,
            token: TokenFuture,
        },
        Inner {
            bearer: Option<Arc<Bearer>>,
            span: Option<OpenSpan>,
            #[pin]
            response: F,
        },
    }
}

/// What a call is charged to.
struct Toll {
    upstream: Arc<Upstream>,
    user: User,
}

// === impl Toll ===

impl Toll {
    fn pay(&self, record: &Record) -> Result<(), RateLimited> {
        match &self.upstream.gate {
            Some(gate) => gate.charge(self.user.as_str(), record),
            None => Ok(()),
        }
    }
}

// === impl InjectLayer ===

impl InjectLayer {
    /// Injects tokens of `tokens`.
    pub(super) const fn new(tokens: Arc<dyn TokenSource>) -> Self {
        Self { tokens }
    }
}

impl<S> Layer<S> for InjectLayer {
    type Service = Inject<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Inject {
            inner,
            tokens: Arc::clone(&self.tokens),
        }
    }
}

// === impl Inject ===

impl<S> Inject<S> {
    fn bearer(&self, attempt: &mut Attempt) -> Option<Arc<Bearer>> {
        let provider = attempt.upstream.provider.name();
        attempt
            .bearer
            .take()
            .or_else(|| self.tokens.cached(provider, attempt.user.as_str()))
    }
}

impl<S> Service<Attempt> for Inject<S>
where
    S: Service<Request<ReplayBody>, Response = Response<Body>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Answer;
    type Error = BoxError;
    type Future = ResponseFuture<S>;

    fn call(&self, mut attempt: Attempt) -> Self::Future {
        let is_replay = attempt.bearer.is_some();
        let lookup = if is_replay {
            None
        } else {
            open_lookup(&attempt.record, attempt.replay)
        };
        let bearer = self.bearer(&mut attempt);
        let Attempt {
            request,
            upstream,
            user,
            record,
            replay,
            ..
        } = attempt;
        let has_toll = !is_replay && upstream.gate.as_ref().is_some_and(Gate::has_limits);
        let state = if let Some(bearer) = bearer {
            end_lookup(lookup, "hit");
            let toll = has_toll.then_some(Toll { upstream, user });
            toll.map_or(Ok(()), |toll| toll.pay(&record)).map_or_else(
                |error| invalid(error.into()),
                |()| send(&self.inner, request, bearer, &record, replay),
            )
        } else {
            match user.at(upstream.provider.name()) {
                Ok(key) => State::Token {
                    inner: self.inner.clone(),
                    request: Some(request),
                    toll: has_toll.then_some(Toll { upstream, user }),
                    lookup,
                    token: self.tokens.bearer(key),
                },
                Err(error) => invalid(error.into()),
            }
        };
        ResponseFuture {
            record,
            since: Instant::now(),
            state,
        }
    }
}

fn send<S>(
    inner: &S,
    mut request: Request<ReplayBody>,
    bearer: Arc<Bearer>,
    record: &Record,
    replay: Option<SpanContext>,
) -> State<S, S::Future>
where
    S: Service<Request<ReplayBody>>,
{
    let span = open_upstream(&mut request, record, replay);
    let authorization = bearer.authorization().clone();
    request.headers_mut().insert(AUTHORIZATION, authorization);
    record.note(|facts| facts.generation = Some(bearer.generation()));
    State::Inner {
        response: inner.call(request),
        bearer: Some(bearer),
        span,
    }
}

/// The span of a search for a token.
pub(super) fn open_lookup(record: &Record, replay: Option<SpanContext>) -> Option<OpenSpan> {
    let trace = record.trace()?;
    let parent = replay.unwrap_or_else(|| trace.context()).span_id;
    Some(trace.open("lookup", Kind::Internal, parent, Instant::now()))
}

/// Ends the span of a search, with the renewal that it waited for or began.
pub(super) fn end_lookup(lookup: Option<OpenSpan>, result: &'static str) {
    if let Some(lookup) = lookup {
        lookup.end_with_links(|span| {
            span.tell("daypass.lookup.result", result);
            if result == "failed" {
                span.tell_error("no-token");
            }
        });
    }
}

/// The span of an attempt, which the provider is told of if it may know. Queries are not told.
fn open_upstream(
    request: &mut Request<ReplayBody>,
    record: &Record,
    replay: Option<SpanContext>,
) -> Option<OpenSpan> {
    let trace = record.trace()?;
    let parent = replay.unwrap_or_else(|| trace.context()).span_id;
    let name = trace::method_of(request.method());
    let mut open = trace.open(name, Kind::Client, parent, Instant::now());
    if let Some(value) = trace.propagated(open.context()) {
        request.headers_mut().insert(TRACEPARENT, value);
    }
    let uri = request.uri();
    let (scheme, host) = (
        uri.scheme_str().unwrap_or("http"),
        uri.host().unwrap_or_default(),
    );
    let port = uri
        .port_u16()
        .unwrap_or(if scheme == "https" { 443 } else { 80 });
    let authority = uri
        .authority()
        .map_or_else(String::new, ToString::to_string);
    open.note(|span| {
        span.tell_method(request.method());
        span.tell("server.address", host.to_owned());
        span.tell("server.port", port);
        span.tell("url.full", format!("{scheme}://{authority}{}", uri.path()));
        if replay.is_some() {
            span.tell("http.request.resend_count", 1_u64);
        }
    });
    Some(open)
}

fn end_upstream<E>(open: Option<OpenSpan>, response: &Result<Response<Body>, E>) {
    let Some(open) = open else { return };
    open.end(|span| match response {
        Ok(response) => {
            let status = response.status();
            span.tell("http.response.status_code", status.as_u16());
            if status.is_client_error() || status.is_server_error() {
                span.tell_error(status.as_u16().to_string());
            }
        }
        Err(_) => span.tell_error("no-answer"),
    });
}

const fn invalid<S, F>(error: BoxError) -> State<S, F> {
    State::Invalid { error: Some(error) }
}

impl<S: fmt::Debug> fmt::Debug for Inject<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inject")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

// === impl ResponseFuture ===

impl<S> Future for ResponseFuture<S>
where
    S: Service<Request<ReplayBody>, Response = Response<Body>>,
    S::Error: Into<BoxError>,
{
    type Output = Result<Answer, BoxError>;

    #[expect(clippy::expect_used, reason = "a future polled after it is done")]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Invalid { error } => {
                    return Poll::Ready(Err(error.take().expect("polled after completion")));
                }
                StateProj::Token {
                    inner,
                    request,
                    toll,
                    lookup,
                    token,
                } => {
                    let token = ready!(token.as_mut().poll(cx));
                    let waited = lap(this.since);
                    this.record.note(|facts| facts.token_wait += waited);
                    let request = request.take().expect("polled after completion");
                    let found = if token.is_ok() { "wait" } else { "failed" };
                    end_lookup(lookup.take(), found);
                    let token = token?;
                    if let Some(toll) = toll.take() {
                        toll.pay(this.record)?;
                    }
                    send(inner, request, token, this.record, None)
                }
                StateProj::Inner {
                    bearer,
                    span,
                    response,
                } => {
                    let response = ready!(response.poll(cx));
                    end_upstream(span.take(), &response);
                    let waited = lap(this.since);
                    this.record.note(|facts| facts.upstream += waited);
                    let bearer = bearer.take().expect("polled after completion");
                    let answer = response.map(|response| Answer { response, bearer });
                    return Poll::Ready(answer.map_err(Into::into));
                }
            };
            this.state.set(next);
        }
    }
}

fn lap(since: &mut Instant) -> std::time::Duration {
    let now = Instant::now();
    let lap = now.saturating_duration_since(*since);
    *since = now;
    lap
}
