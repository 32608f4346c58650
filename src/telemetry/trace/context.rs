//! A place in a trace, and `traceparent`, by which it travels (W3C Trace Context, Level 1).
//!
//! A header that is repeated or malformed is as good as none: the trace begins anew (§3.2.2.5 there).
//! Of a version that is not known, what version 00 has is read (§3.2.4).

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Where a trace continues.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The headers by which traces and what belongs to them travel.
pub const TRACE_HEADERS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// Names a span within its trace; not all zeros.
pub type SpanId = [u8; 8];

/// A place in a trace.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanContext {
    /// Names the trace; not all zeros.
    pub trace_id: [u8; 16],
    /// Names the span.
    pub span_id: SpanId,
    /// Whether it is recorded.
    pub is_sampled: bool,
}

// === impl SpanContext ===

impl SpanContext {
    /// Where the sender of these headers is.
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.to_str().ok()?),
            _ => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let version: [u8; 1] = bytes(parts.next()?)?;
        let (trace_id, span_id) = (bytes(parts.next()?)?, bytes(parts.next()?)?);
        let [flags]: [u8; 1] = bytes(parts.next()?)?;
        let has_more = parts.next().is_some();
        let is_valid = trace_id != [0; 16] && span_id != [0; 8] && version != [0xff];
        (is_valid && !(version == [0] && has_more)).then_some(Self {
            trace_id,
            span_id,
            is_sampled: flags & 1 == 1,
        })
    }

    /// As the value of `traceparent`.
    pub fn to_header(&self) -> HeaderValue {
        let text = format!(
            "00-{}-{}-0{}",
            self.trace_id(),
            self.span_id(),
            u8::from(self.is_sampled)
        );
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// The trace's id as it is written everywhere.
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace_id)
    }

    /// The span's id as it is written everywhere.
    pub fn span_id(&self) -> String {
        hex::encode(self.span_id)
    }
}

impl fmt::Debug for SpanContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.trace_id(), self.span_id())
    }
}

/// Exactly `N` bytes in lower case.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_header_is_read_and_written_as_the_standard_has_it() {
        for (text, is_sampled) in [
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-00"), false),
            (format!("00-{TRACE}-{SPAN}-03"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-comes-later"), true),
        ] {
            let read = SpanContext::parse(&text).unwrap();
            assert_eq!(read.is_sampled, is_sampled, "{text}");
            assert_eq!((&*read.trace_id(), &*read.span_id()), (TRACE, SPAN));
            let again = format!("00-{TRACE}-{SPAN}-0{}", u8::from(is_sampled));
            assert_eq!(read.to_header(), again.as_str());
        }
    }

    #[test]
    fn what_is_no_context_is_none() {
        let zeros = |count: usize| "0".repeat(count);
        for text in [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", zeros(32)),
            format!("00-{TRACE}-{}-01", zeros(16)),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}{SPAN}-01"),
        ] {
            assert_eq!(SpanContext::parse(&text), None, "{text}");
        }
        let mut twice = HeaderMap::new();
        for _ in 0..2 {
            let value = format!("00-{TRACE}-{SPAN}-01").parse().unwrap();
            twice.append(TRACEPARENT, value);
        }
        assert_eq!(SpanContext::of_headers(&twice), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[0-9a-fA-F-]{0,70}|\\PC{0,70}") {
            let _ = SpanContext::parse(&text);
        }
    }
}
