//! Recovers once from a refused token.
//!
//! 1. Whether an answer means "token refused" is the provider's rule, never ours: by the head, or by
//!    the first bytes of the body.
//! 2. A refused request is sent once more with a token *newer than the generation that was refused*,
//!    if all of its body that was sent has been kept. Never twice: the second answer stands.
//! 3. Nothing else is ever sent again here: no transport error, no 5xx.
//! 4. Where there is no second attempt, the provider's own answer is passed on, and `Proxy-Status`
//!    says why.
//! 5. A provider may echo the token in a refusal: what was read for judging is passed on with every
//!    occurrence of the token replaced.
//!
//! * Request: its body streams through a [`ReplayBody`].
//! * Response: an answer that is not a refusal passes at once and untouched.
//! * Order: outside inject, which makes one attempt; inside strip, so that both attempts are clean.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{BoxError, Layer};

use super::{
    inject::{self, Answer, Attempt},
    kept::KeptHead,
    route::{Routed, Upstream, User},
};
use crate::{
    http::{
        access_log::{self, Record},
        body::{Body, Read},
        problem::{self, PROXY_STATUS},
        replay::{Replay, ReplayBody},
        service::Service,
    },
    provider::{Judgement, Verdict},
    telemetry::trace::{Kind, OpenSpan},
    token::{self, Bearer, TokenSource},
};

/// How much of a refusal that was judged by its head is read, to redact it or to free its connection.
const REFUSAL_LIMIT: usize = 16 * 1024;
/// How long a refusal's body may take; one that is slower passes unread.
const REFUSAL_TIME: Duration = Duration::from_secs(5);
/// What stands where a token stood.
const REDACTED: &[u8] = b"[redacted]";

/// Applies [`Recover`].
#[derive(Clone)]
pub(super) struct RecoverLayer {
    tokens: Arc<dyn TokenSource>,
    keep: usize,
}

/// Recovers from refused tokens; see the [module docs](self).
#[derive(Clone)]
pub(super) struct Recover<S> {
    inner: Arc<S>,
    tokens: Arc<dyn TokenSource>,
    keep: usize,
}

/// Everything a second attempt is made of.
struct Again {
    head: KeptHead,
    replay: Replay,
    upstream: Arc<Upstream>,
    user: User,
    record: Arc<Record>,
    tokens: Arc<dyn TokenSource>,
}

/// What became of a judged answer.
enum Judged {
    Passed(Response<Body>),
    Refused(Response<Body>),
    AccountGone(Response<Body>),
}

type Recovery = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

pin_project! {
    /// Response future of [`Recover`].
    pub(super) struct ResponseFuture<S>
    where
        S: Service<Attempt>,
    {
        inner: Option<Arc<S>>,
        again: Option<Again>,
        #[pin]
        state: State<S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        First { #[pin] answer: F },
        /// Boxed, because it is rare.
        Recovering { recovery: Recovery },
    }
}

// === impl RecoverLayer ===

impl RecoverLayer {
    /// Keeps up to `keep` bytes of each request body; newer tokens come from `tokens`.
    pub(super) const fn new(tokens: Arc<dyn TokenSource>, keep: usize) -> Self {
        Self { tokens, keep }
    }
}

impl<S> Layer<S> for RecoverLayer {
    type Service = Recover<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Recover {
            inner: Arc::new(inner),
            tokens: Arc::clone(&self.tokens),
            keep: self.keep,
        }
    }
}

// === impl Recover ===

impl<S> Service<Routed> for Recover<S>
where
    S: Service<Attempt, Response = Answer, Error = BoxError> + Send + Sync + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = BoxError;
    /// Boxed here, so that everything further out moves a pointer instead of all that is kept for a
    /// second attempt.
    type Future = Pin<Box<ResponseFuture<S>>>;

    fn call(&self, routed: Routed) -> Self::Future {
        let (parts, body) = routed.request.into_parts();
        let (body, replay) = ReplayBody::new(body, self.keep);
        let again = Again {
            head: KeptHead::of(&parts, routed.target),
            replay,
            upstream: Arc::clone(&routed.upstream),
            user: routed.user.clone(),
            record: Arc::clone(&routed.record),
            tokens: Arc::clone(&self.tokens),
        };
        let answer = self.inner.call(Attempt {
            request: Request::from_parts(parts, body),
            upstream: routed.upstream,
            user: routed.user,
            record: routed.record,
            bearer: None,
            replay: None,
        });
        Box::pin(ResponseFuture {
            inner: Some(Arc::clone(&self.inner)),
            again: Some(again),
            state: State::First { answer },
        })
    }
}

impl<S: fmt::Debug> fmt::Debug for Recover<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recover")
            .field("inner", &self.inner)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

// === impl ResponseFuture ===

impl<S> Future for ResponseFuture<S>
where
    S: Service<Attempt, Response = Answer, Error = BoxError> + Send + Sync + 'static,
    S::Future: Send,
{
    type Output = Result<Response<Body>, BoxError>;

    #[expect(clippy::expect_used, reason = "a future polled after it is done")]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let recovery = match this.state.as_mut().project() {
                StateProj::Recovering { recovery } => return recovery.as_mut().poll(cx),
                StateProj::First { answer } => {
                    let answer = ready!(answer.poll(cx))?;
                    let again = this.again.take().expect("polled after completion");
                    let judgement = again.judge(&answer.response);
                    if judgement == Judgement::Passed {
                        return Poll::Ready(Ok(answer.response));
                    }
                    let inner = this.inner.take().expect("polled after completion");
                    Box::pin(again.recover(inner, answer, judgement))
                }
            };
            this.state.set(State::Recovering { recovery });
        }
    }
}

// === impl Again ===

impl Again {
    fn judge(&self, response: &Response<Body>) -> Judgement {
        let provider = &self.upstream.provider;
        provider.judge(response.status(), response.headers())
    }

    /// Dropping the future loses the answer, never a renewal that was begun.
    async fn recover<S>(
        self,
        inner: Arc<S>,
        answer: Answer,
        judgement: Judgement,
    ) -> Result<Response<Body>, BoxError>
    where
        S: Service<Attempt, Response = Answer, Error = BoxError> + Send + Sync,
        S::Future: Send,
    {
        let refused = match self
            .read(answer.response, &answer.bearer, judgement)
            .await?
        {
            Judged::Passed(response) => return Ok(response),
            Judged::AccountGone(response) => {
                self.account_gone(&answer.bearer)?;
                return Ok(noted(response, "the account behind this token is gone"));
            }
            Judged::Refused(response) => response,
        };
        let key = self.user.at(self.upstream.provider.name())?;
        // Asked for even if there can be no replay: the next request shall find a token that works.
        let newer = self.tokens.newer_than(key, answer.bearer.generation());
        let since = Instant::now();
        let span = self.open_span(since);
        let place = span.as_ref().map(OpenSpan::context);
        let lookup = inject::open_lookup(&self.record, place);
        let newer = newer.await;
        inject::end_lookup(lookup, if newer.is_ok() { "wait" } else { "failed" });
        self.record.note(|facts| {
            facts.token_wait += Instant::now().saturating_duration_since(since);
            facts.recovery = newer.is_err().then_some(access_log::Recovery::NoToken);
        });
        let bearer = match newer {
            Ok(bearer) => bearer,
            Err(token::Error::AnswerStands { .. }) => {
                end(span, "no_token");
                let why = "token refused; not renewed again so soon, so not replayed";
                return Ok(noted(refused, why));
            }
            Err(error) => {
                end(span, "no_token");
                return Err(error.into());
            }
        };
        self.replay(inner, refused, bearer, span).await
    }

    /// The span of all that follows from a refusal.
    fn open_span(&self, since: Instant) -> Option<OpenSpan> {
        let trace = self.record.trace()?;
        let parent = trace.context().span_id;
        Some(trace.open("replay", Kind::Internal, parent, since))
    }

    async fn replay<S>(
        self,
        inner: Arc<S>,
        refused: Response<Body>,
        bearer: Arc<Bearer>,
        span: Option<OpenSpan>,
    ) -> Result<Response<Body>, BoxError>
    where
        S: Service<Attempt, Response = Answer, Error = BoxError> + Send + Sync,
        S::Future: Send,
    {
        let Self {
            head,
            replay,
            upstream,
            user,
            record,
            ..
        } = self;
        let told = Arc::clone(&record);
        let tell = |what| told.note(|facts| facts.recovery = Some(what));
        let Some(body) = replay.into_body() else {
            tell(access_log::Recovery::BodyTooLong);
            end(span, "body_too_long");
            let why =
                "token refused and renewed; not replayed, the request body was too long to keep";
            return Ok(noted(refused, why));
        };
        drop(refused);
        record.note(|facts| facts.replayed = true);
        let attempt = Attempt {
            request: head.into_request(&upstream, body)?,
            upstream: Arc::clone(&upstream),
            user,
            record,
            bearer: Some(bearer),
            replay: span.as_ref().map(OpenSpan::context),
        };
        let answer = inner.call(attempt).await?;
        let head = &answer.response;
        let judgement = upstream.provider.judge(head.status(), head.headers());
        let second = read(&upstream, answer.response, &answer.bearer, judgement).await?;
        Ok(match second {
            Judged::Passed(response) => {
                tell(access_log::Recovery::Recovered);
                end(span, "recovered");
                noted(response, "replayed once with a newer token")
            }
            Judged::Refused(response) | Judged::AccountGone(response) => {
                tell(access_log::Recovery::RefusedAgain);
                end(span, "refused");
                let why = "replayed once with a newer token, which was refused, too";
                noted(response, why)
            }
        })
    }

    fn account_gone(&self, bearer: &Arc<Bearer>) -> Result<(), BoxError> {
        let key = self.user.at(self.upstream.provider.name())?;
        self.tokens.account_gone(key, bearer);
        Ok(())
    }

    async fn read(
        &self,
        response: Response<Body>,
        bearer: &Bearer,
        judgement: Judgement,
    ) -> Result<Judged, BoxError> {
        read(&self.upstream, response, bearer, judgement).await
    }
}

/// Ends the span of a replay, with what the metrics call it.
fn end(span: Option<OpenSpan>, outcome: &'static str) {
    if let Some(span) = span {
        span.end(|span| {
            span.tell("daypass.replay.outcome", outcome);
            if outcome != "recovered" {
                span.tell_error(outcome);
            }
        });
    }
}

/// Reads as much of `response` as judging and redacting take.
async fn read(
    upstream: &Upstream,
    response: Response<Body>,
    bearer: &Bearer,
    judgement: Judgement,
) -> Result<Judged, BoxError> {
    let limit = match judgement {
        Judgement::Passed => return Ok(Judged::Passed(response)),
        Judgement::Refused => REFUSAL_LIMIT,
        Judgement::ReadBody { limit } => limit,
    };
    let (mut parts, body) = response.into_parts();
    let by_head = judgement == Judgement::Refused;
    let body = match body
        .read_up_to(limit, Instant::now() + REFUSAL_TIME)
        .await?
    {
        Read::All(body) => body,
        Read::TooLong(body) => {
            let response = Response::from_parts(parts, body);
            return Ok(if by_head {
                Judged::Refused(response)
            } else {
                Judged::Passed(response)
            });
        }
    };
    let verdict = if by_head {
        Verdict::Refused
    } else {
        upstream.provider.judge_body(parts.status, &body)
    };
    let body = redact(&mut parts.headers, body, bearer);
    let response = Response::from_parts(parts, Body::from(body));
    Ok(match verdict {
        Verdict::Passed => Judged::Passed(response),
        Verdict::Refused => Judged::Refused(response),
        Verdict::AccountGone => Judged::AccountGone(response),
    })
}

/// Replaces the token of `bearer` in a whole body and in the head, and corrects the length.
fn redact(headers: &mut HeaderMap, body: Bytes, bearer: &Bearer) -> Bytes {
    let token = bearer.authorization().as_bytes();
    let token = token.strip_prefix(b"Bearer ").unwrap_or(token);
    for value in headers.values_mut() {
        if let Some(clean) = without(value.as_bytes(), token)
            && let Ok(clean) = http::HeaderValue::from_bytes(&clean)
        {
            *value = clean;
        }
    }
    let Some(clean) = without(&body, token) else {
        return body;
    };
    // Checksums and validators were made of other bytes.
    for name in [
        "content-md5",
        "digest",
        "content-digest",
        "repr-digest",
        "etag",
    ] {
        headers.remove(name);
    }
    if headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, clean.len().into());
    }
    clean.into()
}

/// `bytes` with every occurrence of `token` replaced; `None` if there is none.
fn without(bytes: &[u8], token: &[u8]) -> Option<Vec<u8>> {
    let finder = memchr::memmem::Finder::new(token);
    if token.is_empty() || finder.find(bytes).is_none() {
        return None;
    }
    let mut clean = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((before, after)) = finder
        .find(rest)
        .and_then(|at| Some((rest.get(..at)?, rest.get(at + token.len()..)?)))
    {
        clean.extend_from_slice(before);
        clean.extend_from_slice(REDACTED);
        rest = after;
    }
    clean.extend_from_slice(rest);
    Some(clean)
}

/// Says in `Proxy-Status` (RFC 9209) what this proxy did about an answer.
fn noted(mut response: Response<Body>, details: &str) -> Response<Body> {
    let status = problem::received(response.status(), details);
    response.headers_mut().append(PROXY_STATUS, status);
    response
}
