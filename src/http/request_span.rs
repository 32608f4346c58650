//! What the first span of a request tells: what its event in the log does.
//!
//! Names: OpenTelemetry's semantic conventions for HTTP servers, and `daypass.` for what they have no
//! word for. The path without the query; the user only as configured.

use super::access_log::{Facts, Outcome};
use crate::telemetry::trace::{Span, Trace};

/// Tells in `span` what the event of the request tells.
pub(super) fn describe(span: &mut Span, trace: &Trace, facts: &Facts) {
    span.tell_method(&facts.method);
    span.tell("url.scheme", "http");
    if let Some(path) = &facts.path {
        span.tell("url.path", path.as_str().to_owned());
    }
    if let Some(provider) = &facts.provider {
        span.tell("daypass.provider", provider.to_string());
    }
    let user = facts.user.as_ref().and_then(|user| user.to_str().ok());
    if let Some((name, value)) = user.and_then(|user| trace.tracer().user(user)) {
        span.tell(name, value);
    }
    if let Some(status) = facts.status {
        span.tell("http.response.status_code", status.as_u16());
    }
    if let Some(generation) = facts.generation {
        span.tell("daypass.generation", generation.get());
    }
    span.tell("daypass.replayed", facts.replayed);
    span.tell("daypass.outcome", facts.outcome.as_str());
    match (facts.problem, facts.status) {
        // What the caller did wrong is no error of this side (HTTP spans, "Status").
        (Some(slug), Some(status)) if status.is_server_error() => span.tell_error(slug),
        (Some(slug), _) => span.tell("error.type", slug),
        (None, Some(status)) if status.is_server_error() => {
            span.tell_error(status.as_u16().to_string());
        }
        (None, Some(_)) if facts.outcome == Outcome::Broken => span.tell_error("broken"),
        (None, None) => span.tell_error("cancelled"),
        (None, Some(_)) => {}
    }
}
