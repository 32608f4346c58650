//! Traces: spans of what was done for a request, sent to an OTLP collector.
//!
//! * [`Tracer`] begins traces; there is none where no collector is configured, and then nothing of
//!   this costs anything. `export` sends them, `otlp` is how they look on the wire.
//! * [`Trace`] collects the spans of one request, or of one piece of background work, and hands them
//!   over at its end, whole.
//! * [`SpanContext`] is a place in a trace, as the W3C has it.
//!
//! 1. An app that sends `traceparent` decides whether its request is recorded; for the others the
//!    configured share is drawn.
//! 2. Which trace work belongs to is known while it is polled ([`enter`], [`within`]): so the log can
//!    say it, and a renewal knows what it was begun for.
//! 3. No span has a token, a header, a query or a body. A user is in it only as configured.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use url::Url;

use crate::base::{clock::SharedClock, random::SharedRandom};

mod context;
mod export;
mod otlp;
mod span;

pub use context::{SpanContext, SpanId, TRACE_HEADERS, TRACEPARENT};
pub use export::Exporter;
pub use span::{Kind, OpenSpan, Span, Value, method_of};

use export::Queue;

/// What of `[telemetry]` is about traces.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where they go: the base address of a collector, or that of its `/v1/traces`. Default: nowhere.
    pub endpoint: Option<Url>,
    /// Which share of the requests without a `traceparent` is recorded, from 0 to 1. Default 1.
    pub ratio: f64,
    /// Whether spans say for whom. Default: no.
    pub users: Users,
    /// Whether providers are sent the context. Default: no.
    pub propagate: bool,
}

/// How spans show a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Users {
    /// Not at all.
    #[default]
    Absent,
    /// As the first 16 bytes of SHA-256 of the id: enough to find one's spans, and no protection from
    /// who can guess ids.
    Hashed,
    /// As the id.
    Plain,
}

/// Begins traces. Clones share everything.
#[derive(Clone)]
pub struct Tracer(Arc<Inner>);

struct Inner {
    /// Of all numbers, those below are recorded.
    recorded_below: u64,
    users: Users,
    propagate: bool,
    clock: SharedClock,
    random: SharedRandom,
    queue: Queue,
}

/// The spans of one piece of work, under way.
pub struct Trace {
    tracer: Tracer,
    own: SpanContext,
    parent: Option<SpanId>,
    tracestate: Option<HeaderValue>,
    /// Wall time at `started`, since the Unix epoch.
    wall: Duration,
    started: Instant,
    /// What this trace was begun for, if that is another.
    cause: Option<SpanContext>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    spans: Vec<Span>,
    links: Vec<SpanContext>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Trace>>> = const { RefCell::new(None) };
}

/// While it lives, this thread works for a trace.
#[derive(Debug)]
pub struct Entered(Option<Arc<Trace>>);

pin_project! {
    /// A future that is polled for a trace.
    #[derive(Debug)]
    pub struct Within<F> {
        #[pin]
        inner: F,
        trace: Option<Arc<Trace>>,
    }
}

/// The trace that this thread works for just now.
pub fn current() -> Option<Arc<Trace>> {
    CURRENT.with_borrow(Clone::clone)
}

/// The place in the trace that this thread works for just now.
pub fn current_context() -> Option<SpanContext> {
    CURRENT.with_borrow(|trace| trace.as_ref().map(|trace| trace.own))
}

/// The same, if it is recorded: then somebody can look it up.
pub fn exemplar() -> Option<SpanContext> {
    current_context().filter(|context| context.is_sampled)
}

/// From here to the drop of the answer, this thread works for `trace`.
#[must_use]
pub fn enter(trace: &Arc<Trace>) -> Entered {
    Entered(CURRENT.replace(Some(Arc::clone(trace))))
}

/// Polls `inner` for `trace`.
pub const fn within<F: Future>(trace: Option<Arc<Trace>>, inner: F) -> Within<F> {
    Within { inner, trace }
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: None,
            ratio: 1.0,
            users: Users::default(),
            propagate: false,
        }
    }
}

// === impl Entered ===

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

// === impl Within ===

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.trace.as_ref().map(enter);
        this.inner.poll(cx)
    }
}

// === impl Tracer ===

impl Tracer {
    fn new(config: &Config, clock: SharedClock, random: SharedRandom, queue: Queue) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of all numbers; the cast saturates"
        )]
        let recorded_below = (config.ratio * u64::MAX as f64) as u64;
        Self(Arc::new(Inner {
            recorded_below,
            users: config.users,
            propagate: config.propagate,
            clock,
            random,
            queue,
        }))
    }

    /// The trace of a request with these headers; `None` if nobody asks for it and it is not drawn.
    pub fn request(&self, headers: &HeaderMap) -> Option<Arc<Trace>> {
        let Some(parent) = SpanContext::of_headers(headers) else {
            return self.is_drawn().then(|| self.begin(self.root(), None));
        };
        let own = SpanContext {
            span_id: self.span_id(),
            ..parent
        };
        let mut trace = self.trace(own, None);
        trace.parent = Some(parent.span_id);
        trace.tracestate = headers.get("tracestate").cloned();
        Some(Arc::new(trace))
    }

    /// The trace of work that outlives whoever began it; recorded if that is, or drawn if it was begun
    /// for nobody in particular.
    pub fn background(&self, cause: Option<SpanContext>) -> Option<Arc<Trace>> {
        let is_recorded = cause.map_or_else(|| self.is_drawn(), |cause| cause.is_sampled);
        is_recorded.then(|| self.begin(self.root(), cause))
    }

    /// How a span shows a user, if it does.
    pub fn user(&self, user: &str) -> Option<(&'static str, Value)> {
        match self.0.users {
            Users::Absent => None,
            Users::Plain => Some(("user.id", user.to_owned().into())),
            Users::Hashed => {
                let digest = Sha256::digest(user.as_bytes());
                let half = digest.get(..16).unwrap_or_default();
                Some(("user.hash", hex::encode(half).into()))
            }
        }
    }

    fn is_drawn(&self) -> bool {
        match self.0.recorded_below {
            u64::MAX => true,
            0 => false,
            below => self.0.random.next_u64() < below,
        }
    }

    fn root(&self) -> SpanContext {
        SpanContext {
            trace_id: self.0.random.bytes::<16>(),
            span_id: self.span_id(),
            is_sampled: true,
        }
    }

    fn span_id(&self) -> SpanId {
        self.0.random.bytes::<8>()
    }

    fn begin(&self, own: SpanContext, cause: Option<SpanContext>) -> Arc<Trace> {
        Arc::new(self.trace(own, cause))
    }

    fn trace(&self, own: SpanContext, cause: Option<SpanContext>) -> Trace {
        Trace {
            tracer: self.clone(),
            own,
            parent: None,
            tracestate: None,
            wall: self.0.clock.since_epoch(),
            started: Instant::now(),
            cause,
            open: Mutex::default(),
        }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").finish_non_exhaustive()
    }
}

// === impl Trace ===

impl Trace {
    /// The place of its first span.
    pub const fn context(&self) -> SpanContext {
        self.own
    }

    /// Who began it, and knows how spans show users.
    pub const fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// The place of a new span, if that is to be sent to a provider.
    pub fn propagated(&self, context: SpanContext) -> Option<HeaderValue> {
        self.tracer.0.propagate.then(|| context.to_header())
    }

    /// Notes other work that what is done now waits for, or has caused.
    pub fn link(&self, to: SpanContext) {
        self.open.lock().links.push(to);
    }

    /// Whether anything below its first span is over.
    pub fn has_spans(&self) -> bool {
        !self.open.lock().spans.is_empty()
    }

    /// Begins a span below `parent`.
    pub fn open(
        self: &Arc<Self>,
        name: impl Into<std::borrow::Cow<'static, str>>,
        kind: Kind,
        parent: SpanId,
        since: Instant,
    ) -> OpenSpan {
        let context = SpanContext {
            span_id: self.tracer.span_id(),
            ..self.own
        };
        let span = Span::new(context, Some(parent), name, kind);
        OpenSpan::new(Arc::clone(self), span, since)
    }

    /// Ends the trace with its first span, which `describe` completes, and hands all of it over.
    pub fn finish(
        &self,
        name: impl Into<std::borrow::Cow<'static, str>>,
        kind: Kind,
        describe: impl FnOnce(&mut Span),
    ) {
        if !self.own.is_sampled {
            return;
        }
        let mut span = Span::new(self.own, self.parent, name, kind);
        span.is_parent_remote = self.parent.is_some();
        span.tracestate.clone_from(&self.tracestate);
        describe(&mut span);
        self.time(&mut span, self.started, Instant::now());
        let mut open = std::mem::take(&mut *self.open.lock());
        span.links.extend(self.cause);
        span.links.append(&mut open.links);
        open.spans.push(span);
        self.tracer.0.queue.offer(open.spans);
    }

    fn time(&self, span: &mut Span, since: Instant, until: Instant) {
        let at = |instant: Instant| {
            let since = self.wall + instant.saturating_duration_since(self.started);
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        };
        (span.start, span.end) = (at(since), at(until));
    }

    /// A span below the first is over.
    fn record(&self, mut span: Span, since: Instant) {
        if !self.own.is_sampled {
            return;
        }
        self.time(&mut span, since, Instant::now());
        self.open.lock().spans.push(span);
    }

    fn take_links(&self) -> Vec<SpanContext> {
        std::mem::take(&mut self.open.lock().links)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}
