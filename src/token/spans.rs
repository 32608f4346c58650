//! What the traces of renewals tell.
//!
//! A flight is a trace of its own. Its first span is `renewal` if the token endpoint was called, each
//! call of which is a span below it, and otherwise `token read`: the store had what was needed. Neither has a token, nor what the provider said.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Error, entry::Outcome, observer::Renewal};
use crate::{
    base::ids::ConnectionKey,
    store::Redemption,
    telemetry::trace::{self, Kind, Trace},
};

/// A call to a token endpoint is over; told of in the trace of its flight.
pub(super) fn call(renewal: &Renewal<'_>, has_failed: bool) {
    let Some(trace) = trace::current() else {
        return;
    };
    let now = Instant::now();
    let since = now.checked_sub(renewal.took).unwrap_or(now);
    let open = trace.open("token call", Kind::Client, trace.context().span_id, since);
    open.end(|span| {
        span.tell("http.request.method", "POST");
        span.tell("daypass.provider", renewal.key.provider.to_string());
        let redemption = match renewal.redemption {
            Redemption::Standard => "standard",
            Redemption::Force => "force",
        };
        span.tell("daypass.redemption", redemption);
        span.tell("daypass.generation", renewal.from.get());
        span.tell("daypass.outcome", renewal.outcome.as_str());
        if has_failed {
            span.tell_error(renewal.outcome.as_str());
        }
    });
}

/// A flight is over.
pub(super) fn finish(trace: &Arc<Trace>, key: &ConnectionKey, outcome: &Outcome) {
    let name = if trace.has_spans() {
        "renewal"
    } else {
        "token read"
    };
    trace.finish(name, Kind::Internal, |span| {
        span.tell("daypass.provider", key.provider.to_string());
        if let Some((name, value)) = trace.tracer().user(key.user.as_str()) {
            span.tell(name, value);
        }
        match outcome {
            Ok(bearer) => span.tell("daypass.generation", bearer.generation().get()),
            Err(error) => span.tell_error(kind_of(error)),
        }
    });
}

const fn kind_of(error: &Error) -> &'static str {
    match error {
        Error::NotConnected { .. } => "not-connected",
        Error::NeedsReauth { .. } => "needs-reauth",
        Error::RefreshFailed { .. } => "refresh-failed",
        Error::Misconfigured { .. } => "provider-misconfigured",
        Error::AnswerStands { .. } => "answer-stands",
        Error::Store { .. } => "store-unavailable",
        Error::UnknownProvider { .. } => "unknown-provider",
        Error::ShuttingDown => "shutting-down",
    }
}
