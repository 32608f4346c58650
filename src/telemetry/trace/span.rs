//! One span: what was done, when, and what is told of it.
//!
//! Attributes have the names of OpenTelemetry's semantic conventions (HTTP 1.23 and later) where
//! these have one, and begin with `daypass.` where not.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderValue, Method};
use tokio::time::Instant;

use super::{SpanContext, SpanId, Trace};

/// What of text is told, in bytes: paths can be long.
const TOLD: usize = 512;

/// What is done, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something of our own.
    Internal,
    /// Somebody's request is answered.
    Server,
    /// Somebody else is asked.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
    /// Yes or no.
    Truth(bool),
}

/// One span, over or about to be.
#[derive(Clone, Debug)]
pub struct Span {
    pub(super) context: SpanContext,
    pub(super) parent: Option<SpanId>,
    pub(super) is_parent_remote: bool,
    pub(super) tracestate: Option<HeaderValue>,
    pub(super) name: Cow<'static, str>,
    pub(super) kind: Kind,
    /// In nanoseconds since the Unix epoch.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) links: Vec<SpanContext>,
    pub(super) is_error: bool,
}

/// A span under way. If it is dropped, its work was given up.
#[derive(Debug)]
pub struct OpenSpan {
    trace: Arc<Trace>,
    since: Instant,
    /// Until its end.
    span: Option<Span>,
}

// === impl Span ===

impl Span {
    pub(super) fn new(
        context: SpanContext,
        parent: Option<SpanId>,
        name: impl Into<Cow<'static, str>>,
        kind: Kind,
    ) -> Self {
        Self {
            context,
            parent,
            is_parent_remote: false,
            tracestate: None,
            name: name.into(),
            kind,
            start: 0,
            end: 0,
            attributes: Vec::new(),
            links: Vec::new(),
            is_error: false,
        }
    }

    /// Adds an attribute.
    pub fn tell(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push((name, value.into()));
    }

    /// The request's method, by its conventional name.
    pub fn tell_method(&mut self, method: &Method) {
        self.tell("http.request.method", method_of(method));
    }

    /// The work failed, in this way: a status, or a word.
    pub fn tell_error(&mut self, kind: impl Into<Value>) {
        self.is_error = true;
        self.tell("error.type", kind);
    }
}

/// A method as spans have it: few different ones.
pub fn method_of(method: &Method) -> String {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    if known.contains(method) {
        method.to_string()
    } else {
        "_OTHER".to_owned()
    }
}

// === impl OpenSpan ===

impl OpenSpan {
    pub(super) const fn new(trace: Arc<Trace>, span: Span, since: Instant) -> Self {
        Self {
            trace,
            since,
            span: Some(span),
        }
    }

    /// Its place.
    pub fn context(&self) -> SpanContext {
        match &self.span {
            Some(span) => span.context,
            None => self.trace.context(),
        }
    }

    /// Adds to what is told.
    pub fn note(&mut self, note: impl FnOnce(&mut Span)) {
        if let Some(span) = &mut self.span {
            note(span);
        }
    }

    /// The work is over.
    pub fn end(mut self, describe: impl FnOnce(&mut Span)) {
        if let Some(mut span) = self.span.take() {
            describe(&mut span);
            self.trace.record(span, self.since);
        }
    }

    /// The work is over, and what was linked meanwhile belongs to it.
    pub fn end_with_links(mut self, describe: impl FnOnce(&mut Span)) {
        let links = self.trace.take_links();
        self.note(|span| span.links.extend(links));
        self.end(describe);
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            span.tell_error("cancelled");
            self.trace.record(span, self.since);
        }
    }
}

// === impl Value ===

impl From<String> for Value {
    fn from(mut text: String) -> Self {
        if text.len() > TOLD {
            text.truncate(text.floor_char_boundary(TOLD));
        }
        Self::Text(text.into())
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}
