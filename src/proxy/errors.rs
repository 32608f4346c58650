//! Which error becomes which answer: the one table of the outbound listener.
//!
//! Reads top to bottom. What is not listed is a fault of ours: 502 with nothing about its cause, which
//! goes to the log. `Proxy-Status` error types are those of RFC 9209 §2.3.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use tower::BoxError;

use super::{
    admit::Overloaded,
    deadline::TimedOut,
    local::{LinkError, LocalError, Unconnected},
    policy::{NotAllowed, RateLimited, Why},
    route::Refusal,
    target::InvalidTarget,
};
use crate::{http::client, http::problem::Problem, token};

/// When to come back if nobody knows better.
const SOON: Duration = Duration::from_secs(1);
/// When to come back to a store that does not answer.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// The answer to `error`.
pub(super) fn problem(error: &BoxError) -> Problem {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        refused(refusal)
    } else if let Some(refusal) = error.downcast_ref::<NotAllowed>() {
        not_allowed(refusal)
    } else if let Some(error) = error.downcast_ref::<RateLimited>() {
        rate_limited(error)
    } else if let Some(error) = error.downcast_ref::<LocalError>() {
        local(error)
    } else if let Some(error) = error.downcast_ref::<LinkError>() {
        without_link(error)
    } else if let Some(error) = error.downcast_ref::<Unconnected>() {
        without_token(&error.source).with_member("connect_url", error.connect_url.as_str())
    } else if let Some(error) = error.downcast_ref::<token::Error>() {
        without_token(error)
    } else if let Some(error) = error.downcast_ref::<client::Error>() {
        upstream(error)
    } else if let Some(error) = error.downcast_ref::<TimedOut>() {
        Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream-timeout",
            "The provider took too long",
            "http_response_timeout",
        )
        .with_detail(format!(
            "{error} from the provider. The call may have been carried out: \
             check before sending it again"
        ))
    } else if let Some(error) = error.downcast_ref::<Overloaded>() {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "Too many requests at once",
            "connection_limit_reached",
        )
        .with_detail(format!(
            "{error}. Retry shortly, or raise outbound.max_in_flight"
        ))
        .with_retry_after(SOON)
    } else {
        broken("the answer could not be passed on")
    }
}

fn refused(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::Connect => Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "connect-not-supported",
            "CONNECT is not supported",
            "http_request_denied",
        )
        .with_detail(format!(
            "{refusal}. Call the provider with a plain http:// address through this proxy (it is \
             upgraded to TLS), or use the path prefix: http://<this address>/<provider>/<path>"
        ))
        .with_header(
            header::ALLOW,
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        ),
        Refusal::Host(_) => misdirected(format!(
            "{refusal}. Use http://<this address>/<provider>/<path>, or the host of a provider's \
             api_base"
        )),
        Refusal::AmbiguousHost(_) => misdirected(format!(
            "{refusal}. Say which with a path prefix: http://<this address>/<provider>/<path>"
        )),
        Refusal::Target(why) => invalid_target(*why),
        Refusal::UnknownProvider { known, .. } => Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-provider",
            "No such provider",
            "destination_not_found",
        )
        .with_detail(format!(
            "{refusal}. The path begins with one of the configured names, as in /{}/…",
            known.first().map_or("<provider>", String::as_str)
        ))
        .with_member("providers", known.clone()),
        Refusal::MissingUser(name) => caller(
            "missing-user",
            "The user is missing",
            format!("{refusal}. Send the app's own id of the user in the {name} header"),
        ),
        Refusal::InvalidUser(..) => caller(
            "invalid-user",
            "The user id is not valid",
            format!("{refusal}. Send it once: 1 to 256 visible ASCII characters without spaces"),
        ),
    }
}

fn invalid_target(why: InvalidTarget) -> Problem {
    caller(
        "invalid-target",
        "The target is not valid",
        format!(
            "{why}. Targets are passed on byte for byte and never rewritten: send the exact path"
        ),
    )
}

fn caller(slug: &'static str, title: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, slug, title, "http_request_error").with_detail(detail)
}

fn misdirected(detail: String) -> Problem {
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "host-not-allowed",
        "The host is not allowed",
        "destination_not_found",
    )
    .with_detail(detail)
}

fn not_allowed(refusal: &NotAllowed) -> Problem {
    let key = format!("providers.{}.policy.allow", refusal.provider);
    let problem = Problem::new(
        StatusCode::FORBIDDEN,
        "not-allowed-by-policy",
        "The call is not allowed",
        "http_request_denied",
    );
    match &refusal.why {
        Why::NoRule(rule) => problem
            .with_detail(format!(
                "{refusal}. If it should be, whoever runs Daypass adds \"{rule}\" to {key}"
            ))
            .with_member("rule", rule.as_str()),
        Why::Ambiguous => problem.with_detail(format!(
            "{refusal}, and no rule of {key} can put it there, as its path could be read as that of \
             another call: send it without escapes, parameters and doubled slashes"
        )),
        Why::Header(name) => problem.with_detail(format!(
            "{refusal} with its header {name}, which may make another call of it: leave the header out"
        )),
    }
}

fn rate_limited(error: &RateLimited) -> Problem {
    let (provider, key) = (&error.provider, error.whose.key());
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate-limited",
        "Too many calls",
        "http_request_denied",
    )
    .with_detail(format!(
        "{error}. Retry later, or raise providers.{provider}.limits.{key}; the call was not sent"
    ))
    .with_member("limit", key)
    .with_retry_after(error.retry_after)
}

fn local(error: &LocalError) -> Problem {
    match error {
        LocalError::NoSuchCall => Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-call",
            "No such call",
            "destination_not_found",
        )
        .with_detail(format!(
            "{error}. There are GET /-/<provider>/connection, POST /-/<provider>/refresh, POST \
             /-/<provider>/connect-link and GET /-/<provider>/token"
        )),
        LocalError::WrongMethod(allowed) => {
            let allow = HeaderValue::from_str(allowed.as_str());
            let problem = Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Wrong method",
                "http_request_denied",
            )
            .with_detail(error.to_string());
            match allow {
                Ok(allow) => problem.with_header(header::ALLOW, allow),
                Err(_) => problem,
            }
        }
        LocalError::TokenReadsDisabled => Problem::new(
            StatusCode::FORBIDDEN,
            "token-reads-disabled",
            "Reading tokens is disabled",
            "http_request_denied",
        )
        .with_detail(format!(
            "{error}. Let Daypass add the token to your calls, or set outbound.token_reads = true"
        )),
        LocalError::InvalidBody => caller(
            "invalid-body",
            "The body cannot be read",
            format!("{error}. Send it as application/json, or leave it out"),
        ),
    }
}

fn without_link(error: &LinkError) -> Problem {
    match error {
        LinkError::NotConfigured(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "connect-not-configured",
            "Nobody can be connected here",
            "proxy_configuration_error",
        )
        .with_detail(error.to_string()),
        LinkError::ReturnTo(_) => caller(
            "invalid-return-to",
            "The browser cannot be sent there",
            error.to_string(),
        ),
        LinkError::Store(_) => unavailable(
            "store-unavailable",
            "The store does not answer",
            STORE_RETRY,
            format!("{error}. Retry later"),
        ),
    }
}

fn without_token(error: &token::Error) -> Problem {
    use token::Error;

    match error {
        Error::NotConnected { .. } => Problem::new(
            StatusCode::FAILED_DEPENDENCY,
            "not-connected",
            "The user is not connected",
            "http_request_denied",
        )
        .with_detail(format!("{error}. Let the user connect the account")),
        Error::NeedsReauth { reason, since, .. } => Problem::new(
            StatusCode::FAILED_DEPENDENCY,
            "needs-reauth",
            "The user must connect again",
            "http_request_denied",
        )
        .with_detail(format!("{error}. Let the user connect the account again"))
        .with_member("reason", reason.as_str())
        .with_member("since", since.to_string()),
        Error::RefreshFailed { retry_after, .. } => unavailable(
            "refresh-failed",
            "The token could not be renewed",
            *retry_after,
            format!("{error}. Retry later; the user has nothing to do"),
        ),
        Error::Misconfigured { retry_after, .. } => unavailable(
            "provider-misconfigured",
            "The provider refuses this installation",
            *retry_after,
            format!("{error}. No user needs to do anything"),
        ),
        Error::Store { .. } => unavailable(
            "store-unavailable",
            "The store does not answer",
            STORE_RETRY,
            format!("{error}. Retry later; the user has nothing to do"),
        ),
        Error::UnknownProvider { .. } => Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-provider",
            "No such provider",
            "destination_not_found",
        )
        .with_detail(error.to_string()),
        Error::AnswerStands { .. } => unavailable(
            "refresh-failed",
            "The token could not be renewed",
            SOON,
            error.to_string(),
        ),
        Error::ShuttingDown => unavailable(
            "overloaded",
            "Shutting down",
            SOON,
            format!("{error}. Retry: another instance will answer"),
        ),
    }
}

fn unavailable(
    slug: &'static str,
    title: &'static str,
    retry_after: Duration,
    detail: String,
) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        slug,
        title,
        "proxy_internal_response",
    )
    .with_detail(detail)
    .with_retry_after(retry_after)
}

fn upstream(error: &client::Error) -> Problem {
    match error {
        client::Error::Unreachable(_) => unreachable(format!(
            "{error}. The request was not sent: retrying is safe"
        )),
        client::Error::Refused(_) => {
            unreachable(format!("{error}. It was not carried out: retrying is safe"))
        }
        client::Error::Broken(_) => broken(
            "the connection broke before the provider answered. The call may have been carried out: \
             check before sending it again",
        ),
    }
}

fn unreachable(detail: String) -> Problem {
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "upstream-unreachable",
        "The provider cannot be reached",
        "destination_unavailable",
    )
    .with_detail(detail)
}

fn broken(detail: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "upstream-protocol",
        "The provider's answer was broken",
        "http_protocol_error",
    )
    .with_detail(detail)
}
