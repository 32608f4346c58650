//! Keeps links to the provider usable for a caller that addresses it by path prefix.
//!
//! 1. Only for path-prefix calls. Whoever speaks to the provider's own host gets its links as they
//!    are, and they lead here again.
//! 2. `Location`: an address under the provider's `api_base`, or a path, becomes an address under
//!    `http://{the host the caller used}/{provider}`. Any other address is the provider's word.
//! 3. `pagination.next_page` and `previous_page` in a JSON answer to a `GET`, of providers that have
//!    such: only those two string values are replaced, in place; every other byte stays.
//! 4. An answer that is too long ([`MAX_PAGE`]), compressed, or not what was expected passes
//!    untouched.
//!
//! * Request: loses `Accept-Encoding` where the answer must be read.
//! * Response: as above; a changed body loses its validators and checksums.
//! * Order: right outside strip; inside route, which knows how the caller addressed us.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, uri::Authority};
use pin_project_lite::pin_project;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tower::{BoxError, Layer};

use super::route::{Caller, Routed, Upstream};
use crate::http::{
    body::{Body, Read},
    service::Service,
};

/// Longer list answers pass untouched: a page of 100 events has about 200 KiB.
const MAX_PAGE: usize = 4 * 1024 * 1024;
/// A list answer that takes longer passes untouched.
const PAGE_TIME: Duration = Duration::from_secs(30);
/// What was made of other bytes than the ones that are sent.
const OF_OTHER_BYTES: [&str; 5] = [
    "etag",
    "content-md5",
    "digest",
    "content-digest",
    "repr-digest",
];

/// Applies [`Links`].
#[derive(Clone, Copy, Debug)]
pub(super) struct LinksLayer;

/// Rewrites links; see the [module docs](self).
#[derive(Clone, Debug)]
pub(super) struct Links<S> {
    inner: S,
}

/// How links to one provider look to one caller.
#[derive(Clone, Debug)]
struct Rewrite {
    upstream: Arc<Upstream>,
    /// What the caller calls us, if it said.
    host: Option<Authority>,
    pages: bool,
}

type Paging = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

pin_project! {
    /// Response future of [`Links`].
    pub(super) struct ResponseFuture<F> {
        #[pin]
        inner: F,
        rewrite: Option<Rewrite>,
        paging: Option<Paging>,
    }
}

/// As much of a list answer as matters here.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    pagination: Option<Pagination<'a>>,
}

#[derive(Deserialize)]
struct Pagination<'a> {
    #[serde(borrow)]
    next_page: Option<&'a RawValue>,
    #[serde(borrow)]
    previous_page: Option<&'a RawValue>,
}

impl<S> Layer<S> for LinksLayer {
    type Service = Links<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Links { inner }
    }
}

// === impl Links ===

impl<S> Service<Routed> for Links<S>
where
    S: Service<Routed, Response = Response<Body>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn call(&self, mut routed: Routed) -> Self::Future {
        let rewrite = Rewrite::of(&routed);
        if rewrite.as_ref().is_some_and(|rewrite| rewrite.pages) {
            let headers = routed.request.headers_mut();
            headers.remove(header::ACCEPT_ENCODING);
        }
        ResponseFuture {
            inner: self.inner.call(routed),
            rewrite,
            paging: None,
        }
    }
}

// === impl ResponseFuture ===

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(paging) = this.paging {
            return paging.as_mut().poll(cx);
        }
        let mut response = ready!(this.inner.poll(cx)).map_err(Into::into)?;
        let Some(rewrite) = this.rewrite.take() else {
            return Poll::Ready(Ok(response));
        };
        rewrite.location(response.headers_mut());
        if !(rewrite.pages && may_be_page(&response)) {
            return Poll::Ready(Ok(response));
        }
        this.paging
            .insert(Box::pin(rewrite.page(response)))
            .as_mut()
            .poll(cx)
    }
}

fn may_be_page(response: &Response<Body>) -> bool {
    let headers = response.headers();
    let json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    json && response.status() == StatusCode::OK && !headers.contains_key(header::CONTENT_ENCODING)
}

// === impl Rewrite ===

impl Rewrite {
    fn of(routed: &Routed) -> Option<Self> {
        let Caller::Prefix(host) = &routed.caller else {
            return None;
        };
        Some(Self {
            upstream: Arc::clone(&routed.upstream),
            host: host.clone(),
            pages: routed.upstream.provider.has_absolute_page_links()
                && routed.request.method() == Method::GET,
        })
    }

    /// `link` as the caller can use it; `None` if it does not lead to the API.
    fn link(&self, link: &str) -> Option<String> {
        let base = self.upstream.provider.api_base();
        let rest = if link.starts_with('/') && !link.starts_with("//") {
            link.strip_prefix(base.prefix())?
        } else {
            let (scheme, after) = link.split_once("://")?;
            let end = after.find(['/', '?', '#']).unwrap_or(after.len());
            let (authority, path) = after.split_at_checked(end)?;
            let same = scheme.eq_ignore_ascii_case(base.scheme().as_str())
                && authority.eq_ignore_ascii_case(base.authority().as_str());
            path.strip_prefix(base.prefix()).filter(|_| same)?
        };
        let whole = rest.is_empty() || rest.starts_with(['/', '?', '#']);
        whole.then(|| format!("{}{rest}", self.here()))
    }

    /// `http://host/provider`, or `/provider`. Made when it is needed: few answers have links.
    fn here(&self) -> String {
        let provider = self.upstream.provider.name();
        match &self.host {
            Some(host) => format!("http://{host}/{provider}"),
            None => format!("/{provider}"),
        }
    }

    fn location(&self, headers: &mut HeaderMap) {
        let link = headers
            .get(header::LOCATION)
            .and_then(|location| self.link(location.to_str().ok()?))
            .and_then(|link| HeaderValue::try_from(link).ok());
        if let Some(link) = link {
            headers.insert(header::LOCATION, link);
        }
    }

    async fn page(self, response: Response<Body>) -> Result<Response<Body>, BoxError> {
        let (mut parts, body) = response.into_parts();
        let deadline = Instant::now() + PAGE_TIME;
        let body = match body.read_up_to(MAX_PAGE, deadline).await? {
            Read::TooLong(body) => return Ok(Response::from_parts(parts, body)),
            Read::All(body) => body,
        };
        let body = match self.splice(&body) {
            None => body,
            Some(changed) => {
                for name in OF_OTHER_BYTES {
                    parts.headers.remove(name);
                }
                if parts.headers.contains_key(header::CONTENT_LENGTH) {
                    let length = changed.len().into();
                    parts.headers.insert(header::CONTENT_LENGTH, length);
                }
                changed.into()
            }
        };
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    /// `body` with its page links replaced; `None` if there are none to replace.
    fn splice(&self, body: &Bytes) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(body).ok()?;
        let page: Page<'_> = serde_json::from_str(text).ok()?;
        let pagination = page.pagination?;
        let mut links: Vec<(usize, usize, String)> =
            [pagination.next_page, pagination.previous_page]
                .into_iter()
                .flatten()
                .filter_map(|raw| {
                    let link: String = serde_json::from_str(raw.get()).ok()?;
                    let link = serde_json::to_string(&self.link(&link)?).ok()?;
                    // The value borrows from the text, so that its address tells its place.
                    let at = raw.get().as_ptr().addr() - text.as_ptr().addr();
                    Some((at, raw.get().len(), link))
                })
                .collect();
        if links.is_empty() {
            return None;
        }
        links.sort_unstable();
        let mut changed = Vec::with_capacity(body.len() + 64);
        let mut copied = 0;
        for (at, length, link) in links {
            changed.extend_from_slice(body.get(copied..at)?);
            changed.extend_from_slice(link.as_bytes());
            copied = at + length;
        }
        changed.extend_from_slice(body.get(copied..)?);
        Some(changed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{provider::ApiBase, proxy::tests::world::scripted};

    fn rewrite(base: &str) -> Rewrite {
        let mut provider = scripted("127.0.0.1:1".parse().unwrap());
        provider.base = ApiBase::parse(base).unwrap();
        Rewrite {
            upstream: Arc::new(Upstream::new(Arc::new(provider), None)),
            host: Some("127.0.0.1:7420".parse().unwrap()),
            pages: true,
        }
    }

    #[test]
    fn only_links_to_the_api_are_rewritten() {
        let plain = rewrite("https://api.calendly.com");
        for (link, wanted) in [
            ("https://api.calendly.com/a?b#c", Some("/a?b#c")),
            ("https://API.calendly.com/a", Some("/a")),
            ("https://api.calendly.com", Some("")),
            ("/a/b", Some("/a/b")),
            ("https://api.calendly.com.evil.com/a", None),
            ("https://api.calendly.com@evil.com/a", None),
            ("http://api.calendly.com/a", None),
            ("https://calendly.com/a", None),
            ("//evil.com/a", None),
            ("a/b", None),
            ("", None),
        ] {
            let wanted = wanted.map(|rest| format!("http://127.0.0.1:7420/calendly{rest}"));
            assert_eq!(plain.link(link), wanted, "{link}");
        }
        let prefixed = rewrite("https://cal.example.org/api");
        assert!(
            prefixed
                .link("https://cal.example.org/api/x")
                .unwrap()
                .ends_with("/calendly/x")
        );
        assert_eq!(prefixed.link("https://cal.example.org/apis/x"), None);
        assert_eq!(prefixed.link("https://cal.example.org/other"), None);
    }

    #[test]
    fn nothing_but_the_two_links_changes() {
        let page = r#"{ "collection":[{"next_page":"https://api.calendly.com/no"}] ,
            "pagination" : {"count":1.0e0, "previous_page":null,
            "next_page" : "https:\/\/api.calendly.com/events?page_token=x\u0026y" } }  "#;
        let changed = rewrite("https://api.calendly.com")
            .splice(&page.into())
            .unwrap();
        let wanted = page.replace(
            r#""https:\/\/api.calendly.com/events?page_token=x\u0026y""#,
            r#""http://127.0.0.1:7420/calendly/events?page_token=x&y""#,
        );
        assert_eq!(String::from_utf8(changed).unwrap(), wanted);
    }

    #[test]
    fn what_is_no_page_is_left_alone() {
        let rewrite = rewrite("https://api.calendly.com");
        for page in [
            "",
            "[]",
            "{}",
            r#"{"pagination":null}"#,
            r#"{"pagination":{"next_page":null,"previous_page":null}}"#,
            r#"{"pagination":{"next_page":7}}"#,
            r#"{"pagination":{"next_page":"https://evil.com/"}}"#,
            r#"{"pagination":{"next_page":"https://api.calendly.com/a"}"#,
        ] {
            assert_eq!(
                rewrite.splice(&Bytes::from_static(page.as_bytes())),
                None,
                "{page}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _either = rewrite("https://api.calendly.com").splice(&bytes.into());
        }
    }
}
