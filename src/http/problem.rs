//! Errors as `application/problem+json` (RFC 9457), and the layer that makes them.
//!
//! 1. Every problem carries `Proxy-Status: daypass; error=…` (RFC 9209), so that a caller can tell it
//!    from an answer of the provider.
//! 2. Which error becomes which problem is a table that each listener gives to [`RescueLayer`]; this
//!    layer knows no room and no cause.
//! 3. A problem is never stored by a cache.

use std::{
    convert::Infallible,
    fmt::Write as _,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use pin_project_lite::pin_project;
use serde_json::{Map, Value};
use tower::{BoxError, Layer};

use super::service::Service;

/// `Proxy-Status` (RFC 9209).
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// How this proxy calls itself in `Via` and `Proxy-Status`.
pub const PROXY_NAME: &str = "daypass";

/// One error, as a caller sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    proxy_error: &'static str,
    detail: String,
    retry_after: Option<Duration>,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Tells the layers outside that an answer is this proxy's own, and which; an extension of the
/// response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slug(pub &'static str);

/// Applies [`Rescue`].
#[derive(Clone, Copy, Debug)]
pub struct RescueLayer {
    table: fn(&BoxError) -> Problem,
}

/// Answers errors by a table; see the [module docs](self).
#[derive(Clone, Copy, Debug)]
pub struct Rescue<S> {
    inner: S,
    table: fn(&BoxError) -> Problem,
}

pin_project! {
    /// Response future of [`Rescue`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        table: fn(&BoxError) -> Problem,
    }
}

// === impl Problem ===

impl Problem {
    /// A problem `urn:daypass:problem:<slug>`; `proxy_error` is a type of RFC 9209 §2.3.
    pub fn new(
        status: StatusCode,
        slug: &'static str,
        title: &'static str,
        proxy_error: &'static str,
    ) -> Self {
        Self {
            status,
            slug,
            title,
            proxy_error,
            detail: String::new(),
            retry_after: None,
            members: Map::new(),
            headers: Vec::new(),
        }
    }

    /// What happened, for whom, and what to do next. Never a secret.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// When trying again makes sense; sent in whole seconds, at least one.
    #[must_use]
    pub const fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// An extension member (RFC 9457 §3.2).
    #[must_use]
    pub fn with_member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// A header of the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// What it is called.
    pub const fn title(&self) -> &'static str {
        self.title
    }

    /// What follows `urn:daypass:problem:`.
    pub const fn slug(&self) -> &'static str {
        self.slug
    }

    /// As an answer.
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let proxy_status = self.proxy_status();
        let retry_after = self.retry_after.map(whole_seconds);
        let mut response = Response::new(B::from(self.json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PROXY_STATUS, proxy_status);
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        headers.extend(self.headers);
        response.extensions_mut().insert(Slug(self.slug));
        response
    }

    fn proxy_status(&self) -> HeaderValue {
        let mut text = format!("{PROXY_NAME}; error={}; details=", self.proxy_error);
        quote(&mut text, self.slug);
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(PROXY_NAME))
    }

    fn json(&self) -> Bytes {
        let mut object = Map::new();
        object.insert(
            "type".to_owned(),
            format!("urn:daypass:problem:{}", self.slug).into(),
        );
        object.insert("title".to_owned(), self.title.into());
        object.insert("status".to_owned(), self.status.as_u16().into());
        object.insert("detail".to_owned(), self.detail.clone().into());
        object.extend(self.members.clone());
        Value::Object(object).to_string().into()
    }
}

/// Appends `text` as a string of RFC 9651 §3.3.3; what may not be in one becomes `?`.
pub fn quote(to: &mut String, text: &str) {
    to.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                to.push('\\');
                to.push(character);
            }
            ' '..='~' => to.push(character),
            _ => to.push('?'),
        }
    }
    to.push('"');
}

/// `Proxy-Status` of an answer that is the provider's own, with a word about it.
pub fn received(status: StatusCode, details: &str) -> HeaderValue {
    let mut text = format!("{PROXY_NAME}; received-status=");
    let _never = write!(text, "{}; details=", status.as_u16());
    quote(&mut text, details);
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(PROXY_NAME))
}

/// Rounded up: a caller that waits as told must not come too early.
fn whole_seconds(after: Duration) -> u64 {
    let up = u64::from(after.subsec_nanos() > 0);
    after.as_secs().saturating_add(up).max(1)
}

// === impl RescueLayer ===

impl RescueLayer {
    /// Answers errors as `table` says.
    pub const fn new(table: fn(&BoxError) -> Problem) -> Self {
        Self { table }
    }
}

impl<S> Layer<S> for RescueLayer {
    type Service = Rescue<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Rescue {
            inner,
            table: self.table,
        }
    }
}

// === impl Rescue ===

impl<S, Req, B> Service<Req> for Rescue<S>
where
    S: Service<Req, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: From<Bytes>,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn call(&self, request: Req) -> Self::Future {
        ResponseFuture {
            inner: self.inner.call(request),
            table: self.table,
        }
    }
}

// === impl ResponseFuture ===

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: From<Bytes>,
{
    type Output = Result<Response<B>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(Ok(match ready!(this.inner.poll(cx)) {
            Ok(response) => response,
            Err(error) => rescue(&error.into(), *this.table),
        }))
    }
}

fn rescue<B: From<Bytes>>(error: &BoxError, table: fn(&BoxError) -> Problem) -> Response<B> {
    let problem = table(error);
    if problem.status().is_server_error() {
        tracing::warn!(
            problem = problem.slug(),
            error = %Chain(error.as_ref()),
            "a request failed"
        );
    }
    problem.into_response()
}

/// An error and its causes, on one line.
struct Chain<'a>(&'a (dyn std::error::Error + Send + Sync + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::http::service::Ready;

    fn table(error: &BoxError) -> Problem {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "Too busy",
            "connection_limit_reached",
        )
        .with_detail(error.to_string())
        .with_retry_after(Duration::from_millis(1500))
        .with_member("limit", 3)
    }

    #[tokio::test]
    async fn an_error_becomes_a_problem() {
        let failing =
            tower::service_fn(|(): ()| async { Err::<Response<Full<Bytes>>, _>("too many") });
        let rescued = RescueLayer::new(table).layer(Ready(failing));
        let response = rescued.call(()).await.unwrap();
        assert_eq!(response.status(), 503);
        let headers = response.headers();
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["retry-after"], "2");
        assert_eq!(
            headers["proxy-status"],
            "daypass; error=connection_limit_reached; details=\"overloaded\""
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let json: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:daypass:problem:overloaded",
                "title": "Too busy",
                "status": 503,
                "detail": "too many",
                "limit": 3,
            })
        );
    }

    #[test]
    fn details_are_quoted_for_a_header() {
        let value = received(StatusCode::UNAUTHORIZED, "a \"b\" \\ ü\r\n");
        assert_eq!(
            value,
            "daypass; received-status=401; details=\"a \\\"b\\\" \\\\ ???\""
        );
    }

    #[test]
    fn waiting_as_told_is_never_too_early() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_secs(5)), 5);
        assert_eq!(whole_seconds(Duration::from_millis(5001)), 6);
    }
}
