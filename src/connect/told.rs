//! One thing to say, said twice: as a page for a person, as a problem for a program.
//!
//! 1. `Accept` decides who is there: browsers ask for `text/html`.
//! 2. Status and headers are the same for both. A page knows its slug, too, so that the access log
//!    tells it from other answers.
//! 3. Nothing that came with a request is repeated.

use std::{borrow::Cow, time::Duration};

use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::page::Page;
use crate::http::problem::Problem;

/// Who reads an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// Somebody with a browser.
    Person,
    /// Something that wants data.
    Program,
}

/// A trouble, or the end of a consent, as it is told.
pub(super) struct Told {
    pub(super) status: StatusCode,
    pub(super) slug: &'static str,
    /// A type of RFC 9209 §2.3.
    pub(super) proxy_error: &'static str,
    title: Cow<'static, str>,
    /// For people.
    text: Cow<'static, str>,
    /// For programs.
    detail: String,
    retry_after: Option<Duration>,
}

// === impl Reader ===

impl Reader {
    /// Whoever sent `headers`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let wants_html = |value: &HeaderValue| {
            value
                .to_str()
                .is_ok_and(|text| text.contains("text/html") || text.contains("application/xhtml"))
        };
        if headers.get_all(header::ACCEPT).iter().any(wants_html) {
            Self::Person
        } else {
            Self::Program
        }
    }
}

// === impl Told ===

impl Told {
    pub(super) fn new(
        status: StatusCode,
        slug: &'static str,
        title: impl Into<Cow<'static, str>>,
        text: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            slug,
            proxy_error: "http_request_error",
            title: title.into(),
            text: text.into(),
            detail: String::new(),
            retry_after: None,
        }
    }

    pub(super) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    pub(super) const fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    pub(super) fn answer(
        self,
        reader: Reader,
        again: Option<&str>,
        members: &[(&'static str, String)],
    ) -> Response {
        let title = match &self.title {
            Cow::Borrowed(title) => title,
            Cow::Owned(_) => "The account is not connected",
        };
        let mut problem =
            Problem::new(self.status, self.slug, title, self.proxy_error).with_detail(self.detail);
        if let Some(after) = self.retry_after {
            problem = problem.with_retry_after(after);
        }
        for (name, value) in members {
            problem = problem.with_member(name, value.clone());
        }
        let told: Response = problem.into_response();
        if reader == Reader::Program {
            return told;
        }
        let page = Page {
            title: self.title.into_owned(),
            text: self.text.into_owned(),
            link: again.map(|address| (address.to_owned(), "Start again")),
        };
        // The page has what a problem has, but for the words: the layers outside read it.
        let (head, _) = told.into_parts();
        let mut response = page.into_response(head.status);
        let typed = [header::CONTENT_TYPE, header::CONTENT_LENGTH];
        for (name, value) in &head.headers {
            if !typed.contains(name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        *response.extensions_mut() = head.extensions;
        response
    }
}
