//! One event per request, written when its answer's body has ended or the caller has left.
//!
//! Outermost of the outbound stack: everything that can answer is inside.
//!
//! * Request: passed on with a [`Record`] beside it, which inner layers fill in as they learn.
//! * Response: its body is wrapped, so that the event tells the whole time and the whole size.
//! * Order: outside the rescue layer, so that problems are logged like answers.
//!
//! Where there is a tracer, the record has the request's trace, everything inside is polled for it, and
//! its first span ends with the event.
//!
//! Fields: `user`, `provider`, `method`, `path` (never the query, which may hold personal data),
//! `status`, `generation`, `replayed`, `wait_ms` (for a token), `upstream_ms` (until the provider's
//! head), `total_ms`, `bytes`, `outcome`. No header is ever logged.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Layer;

use super::{problem::Slug, request_span, service::Service};
use crate::{
    base::ids::{Generation, ProviderName},
    telemetry::{
        access,
        trace::{self, Kind, SpanContext, Trace, Tracer},
    },
};

/// A request and the record kept of it.
#[derive(Debug)]
pub struct Tracked<B> {
    /// The request.
    pub request: Request<B>,
    /// Where layers note what they learn.
    pub record: Arc<Record>,
}

/// What is known of one request so far.
#[derive(Debug)]
pub struct Record {
    started: Instant,
    facts: Mutex<Facts>,
    trace: Option<Arc<Trace>>,
}

/// Everything the event and the metrics tell of one request.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The request's method.
    pub method: Method,
    /// What stands for the request's path.
    pub path: Option<Path>,
    /// For whom; as the header had it.
    pub user: Option<HeaderValue>,
    /// Of which provider.
    pub provider: Option<ProviderName>,
    /// Which token was sent, last.
    pub generation: Option<Generation>,
    /// Whether a refused request was sent once more.
    pub replayed: bool,
    /// What was done about a refused token, if one was refused.
    pub recovery: Option<Recovery>,
    /// What the operator's policy had against it.
    pub policy: Objections,
    /// The slug of the problem, if the answer is this proxy's own.
    pub problem: Option<&'static str>,
    /// The time spent waiting for tokens.
    pub token_wait: Duration,
    /// The time the provider took until its head, over all attempts.
    pub upstream: Duration,
    /// The answer's status; `None` if the caller left before there was one.
    pub status: Option<StatusCode>,
    /// The time until the body ended.
    pub total: Duration,
    /// The bytes of the answer's body.
    pub bytes: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Its span, if that is recorded.
    pub span: Option<SpanContext>,
}

/// What is told of a request's path.
#[derive(Clone)]
pub enum Path {
    /// The path as the caller wrote it; the rest of the target is not told. A share in the head that was
    /// read, which is there anyway.
    Of(Uri),
    /// The route.
    Route(Box<str>),
}

/// What was done about a refused token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// The request was sent again with a newer token, which was taken.
    Recovered,
    /// The request was sent again with a newer token, which was refused, too.
    RefusedAgain,
    /// There was no newer token.
    NoToken,
    /// The request's body was too long to be kept, so nothing could be sent again.
    BodyTooLong,
}

/// What a policy has against a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Objections {
    /// It is not on the allow-list.
    pub not_allowed: Option<Objection>,
    /// It is beyond the limit of its user.
    pub user_limit: Option<Objection>,
    /// It is beyond the limit of all users together.
    pub provider_limit: Option<Objection>,
}

/// What became of an objection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Objection {
    /// The request was passed on all the same.
    Observed,
    /// The request was refused.
    Refused,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The whole answer was handed to the caller.
    Done,
    /// The answer's body broke off on the provider's side.
    Broken,
    /// The caller left before the end.
    #[default]
    Abandoned,
}

/// Is told of every request; what the metrics hang on to. Called on the hot path: be quick.
pub trait Observe: Send + Sync + 'static {
    /// A request has come in.
    fn begun(&self);

    /// A request has ended, one way or another.
    fn ended(&self, facts: &Facts);
}

/// Observes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

/// Applies [`AccessLog`].
#[derive(Clone)]
pub struct AccessLogLayer {
    observer: Arc<dyn Observe>,
    tracer: Option<Tracer>,
}

/// Writes the event; see the [module docs](self).
#[derive(Clone)]
pub struct AccessLog<S> {
    inner: S,
    observer: Arc<dyn Observe>,
    tracer: Option<Tracer>,
}

pin_project! {
    /// Response future of [`AccessLog`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        entry: Option<Entry>,
    }
}

pin_project! {
    /// A body whose end is logged.
    #[derive(Debug)]
    pub struct LoggedBody<B> {
        #[pin]
        inner: B,
        entry: Entry,
    }
}

/// Writes the event when it is dropped, whatever the reason.
struct Entry {
    record: Arc<Record>,
    observer: Arc<dyn Observe>,
    status: Option<StatusCode>,
    problem: Option<&'static str>,
    outcome: Outcome,
    bytes: u64,
}

// === impl Record ===

impl Record {
    /// Begins now.
    pub fn begin(method: Method) -> Self {
        let facts = Facts {
            method,
            ..Facts::default()
        };
        Self {
            started: Instant::now(),
            facts: Mutex::new(facts),
            trace: None,
        }
    }

    /// Keeps the request's trace.
    #[must_use]
    pub fn traced(mut self, trace: Option<Arc<Trace>>) -> Self {
        self.trace = trace;
        self
    }

    /// The request's trace, if there is one.
    pub const fn trace(&self) -> Option<&Arc<Trace>> {
        self.trace.as_ref()
    }

    /// Adds to what is known.
    pub fn note(&self, note: impl FnOnce(&mut Facts)) {
        note(&mut self.facts.lock());
    }

    /// What is known so far.
    pub fn facts(&self) -> Facts {
        self.facts.lock().clone()
    }
}

// === impl Path ===

impl Path {
    /// As logged.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Of(uri) => uri.path(),
            Self::Route(route) => route,
        }
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

// === impl Objection ===

impl Objection {
    /// Of a policy that is enforced, or only observed.
    pub const fn of(is_enforced: bool) -> Self {
        if is_enforced {
            Self::Refused
        } else {
            Self::Observed
        }
    }

    /// As logged.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Refused => "refused",
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// As logged.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Broken => "broken",
            Self::Abandoned => "abandoned",
        }
    }
}

// === impl Unobserved ===

impl Observe for Unobserved {
    fn begun(&self) {}

    fn ended(&self, _: &Facts) {}
}

// === impl AccessLogLayer ===

impl AccessLogLayer {
    /// Logs, and tells `observer`.
    pub const fn new(observer: Arc<dyn Observe>) -> Self {
        Self {
            observer,
            tracer: None,
        }
    }

    /// Traces requests, too, if there is a `tracer`.
    #[must_use]
    pub fn traced(mut self, tracer: Option<Tracer>) -> Self {
        self.tracer = tracer;
        self
    }
}

impl<S> Layer<S> for AccessLogLayer {
    type Service = AccessLog<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AccessLog {
            inner,
            observer: Arc::clone(&self.observer),
            tracer: self.tracer.clone(),
        }
    }
}

impl fmt::Debug for AccessLogLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLogLayer").finish_non_exhaustive()
    }
}

// === impl AccessLog ===

impl<S, A, B> Service<Request<A>> for AccessLog<S>
where
    S: Service<Tracked<A>, Response = Response<B>>,
    B: HttpBody,
{
    type Response = Response<LoggedBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn call(&self, request: Request<A>) -> Self::Future {
        let trace = self
            .tracer
            .as_ref()
            .and_then(|tracer| tracer.request(request.headers()));
        let _entered = trace.as_ref().map(trace::enter);
        let is_traced = trace.is_some();
        let record = Arc::new(Record::begin(request.method().clone()).traced(trace));
        if is_traced || access::is_enabled() {
            let uri = request.uri().clone();
            record.note(|facts| facts.path = Some(Path::Of(uri)));
        }
        self.observer.begun();
        let entry = Entry {
            record: Arc::clone(&record),
            observer: Arc::clone(&self.observer),
            status: None,
            problem: None,
            outcome: Outcome::Abandoned,
            bytes: 0,
        };
        ResponseFuture {
            inner: self.inner.call(Tracked { request, record }),
            entry: Some(entry),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for AccessLog<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

// === impl ResponseFuture ===

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: HttpBody,
{
    type Output = Result<Response<LoggedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let trace = this.entry.as_ref().and_then(|entry| entry.record.trace());
        let entered = trace.map(trace::enter);
        let response = ready!(this.inner.poll(cx))?;
        drop(entered);
        #[expect(clippy::expect_used, reason = "a future polled after it is done")]
        let mut entry = this.entry.take().expect("polled after completion");
        entry.status = Some(response.status());
        entry.problem = response.extensions().get::<Slug>().map(|slug| slug.0);
        Poll::Ready(Ok(response.map(|inner| {
            // hyper drops an empty body without asking it for anything.
            if inner.is_end_stream() {
                entry.outcome = Outcome::Done;
            }
            LoggedBody { inner, entry }
        })))
    }
}

// === impl LoggedBody ===

impl<B: HttpBody> HttpBody for LoggedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let polled = ready!(this.inner.as_mut().poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => {
                let read = frame.data_ref().map_or(0, Buf::remaining);
                this.entry.bytes = this.entry.bytes.saturating_add(read as u64);
                // hyper does not ask again once a body of known length is through.
                if this.inner.is_end_stream() {
                    this.entry.outcome = Outcome::Done;
                }
            }
            Some(Err(_)) => this.entry.outcome = Outcome::Broken,
            None => this.entry.outcome = Outcome::Done,
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

// === impl Entry ===

impl Drop for Entry {
    fn drop(&mut self) {
        let mut facts = self.record.facts.lock();
        facts.status = self.status;
        facts.problem = self.problem;
        facts.outcome = self.outcome;
        facts.bytes = self.bytes;
        facts.total = Instant::now().saturating_duration_since(self.record.started);
        let trace = self.record.trace();
        let _entered = trace.map(trace::enter);
        facts.span = trace::exemplar();
        self.observer.ended(&facts);
        log(&facts);
        if let Some(trace) = trace {
            let name = match &facts.provider {
                Some(provider) => format!("{} {provider}", trace::method_of(&facts.method)),
                None => trace::method_of(&facts.method),
            };
            trace.finish(name, Kind::Server, |span| {
                request_span::describe(span, trace, &facts);
            });
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

fn log(facts: &Facts) {
    access::write(&access::Line {
        user: facts.user.as_ref().and_then(|user| user.to_str().ok()),
        provider: facts.provider.as_ref().map(ProviderName::as_str),
        method: facts.method.as_str(),
        path: facts.path.as_ref().map(Path::as_str),
        status: facts.status.map(|status| status.as_u16()),
        generation: facts.generation.map(Generation::get),
        replayed: facts.replayed,
        problem: facts.problem,
        wait_ms: millis(facts.token_wait),
        upstream_ms: millis(facts.upstream),
        total_ms: millis(facts.total),
        bytes: facts.bytes,
        outcome: facts.outcome.as_str(),
    });
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
