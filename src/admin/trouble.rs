//! Which trouble becomes which answer: the one table of the admin listener.
//!
//! Reads top to bottom. The slugs are those of the outbound listener where the trouble is the same. No
//! answer repeats what came with the request: that may have been a token. Faults of ours are logged
//! once, here.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use thiserror::Error;

use crate::{
    base::ids::{ConnectionKey, ProviderName},
    connect,
    http::problem::Problem,
    provider::CallError,
    store, token,
};

/// Why a call is not answered as it wanted to be.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    #[error("there is nothing at this address")]
    NotFound,
    #[error("this address is for another method")]
    WrongMethod,
    #[error("show the admin token: Authorization: Bearer …")]
    NoToken,
    #[error("this is not the admin token")]
    WrongToken,
    #[error(
        "nobody can be told from anybody else here: set admin.token or admin.token_file, or listen on \
         a loopback address"
    )]
    NoAdminToken,
    #[error(
        "calls from pages of other origins, or by other names than that of this machine, need an admin \
         token"
    )]
    ForeignPage,
    /// A part of the address or of the query.
    #[error("{what}")]
    Parameter { name: Option<String>, what: String },
    #[error("the cursor is none that an answer to this list had")]
    Cursor,
    #[error("the body must be JSON, with Content-Type: application/json")]
    NotJson,
    #[error("the body must be a form")]
    NotForm,
    #[error(
        "the form was made for another login, or has been changed: go back, reload the page, try again"
    )]
    StaleForm,
    #[error("nothing was chosen: go back, and choose what to deliver again")]
    NothingChosen,
    #[error("the body is too large")]
    TooLarge,
    /// A field of the body, or all of it.
    #[error("{what}")]
    Body { field: Option<String>, what: String },
    #[error("no provider is called {0}")]
    UnknownProvider(ProviderName),
    #[error("{0} is not connected")]
    NotConnected(ConnectionKey),
    #[error("there is no delivery of this number; old ones are forgotten")]
    UnknownDelivery,
    #[error("the event is nobody's so far: it is delivered when its user connects")]
    NobodysDelivery,
    #[error("no meetings are kept here: meetings.store is off")]
    MeetingsNotKept,
    #[error("no meetings can be read from this provider, or none are kept")]
    NoMeetings,
    #[error(transparent)]
    Connect(#[from] connect::Error),
    #[error(transparent)]
    Tokens(#[from] token::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the process is going down; another one will answer")]
    Stopping,
    #[error("the work on it broke off")]
    Broken,
    #[error("the metrics cannot be written")]
    Metrics,
}

/// When to come back if nobody knows better.
const SOON: Duration = Duration::from_secs(1);
/// When to come back to a store that does not answer.
const STORE_RETRY: Duration = Duration::from_secs(5);
/// When to come back to a provider that wants to be left alone, if it does not say; and at most.
const PROVIDER_RETRY: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));

// === impl Trouble ===

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let problem = self.problem();
        self.complain(&problem);
        problem.into_response()
    }
}

/// A [`Trouble`] as people read it.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    pub(super) detail: String,
}

impl Trouble {
    /// For a page; faults of ours are logged here, as those of answers are.
    pub(super) fn told(&self) -> Told {
        let problem = self.problem();
        self.complain(&problem);
        Told {
            status: problem.status(),
            title: problem.title(),
            detail: told(self),
        }
    }

    fn complain(&self, problem: &Problem) {
        if problem.status().is_server_error() {
            tracing::warn!(
                problem = problem.slug(),
                error = self as &dyn std::error::Error,
                "a call of the API failed",
            );
        }
    }

    fn problem(&self) -> Problem {
        match self {
            Self::Connect(error) => of_connect(error),
            Self::Tokens(error) => of_tokens(error),
            Self::Store(error) => of_store(error),
            Self::NotFound | Self::WrongMethod => self.of_address(),
            Self::NoToken
            | Self::WrongToken
            | Self::NoAdminToken
            | Self::ForeignPage
            | Self::StaleForm => self.of_gate(),
            Self::Parameter { .. }
            | Self::Cursor
            | Self::NotJson
            | Self::NotForm
            | Self::NothingChosen
            | Self::TooLarge
            | Self::Body { .. } => self.of_request(),
            Self::UnknownProvider(_)
            | Self::NotConnected(_)
            | Self::UnknownDelivery
            | Self::NobodysDelivery
            | Self::MeetingsNotKept
            | Self::NoMeetings => self.of_resource(),
            Self::Stopping => unavailable("overloaded", "Shutting down", SOON),
            Self::Broken => ours("internal-error", "Something is broken"),
            Self::Metrics => ours("metrics-unavailable", "The metrics cannot be written"),
        }
        .with_detail(told(self))
    }

    fn of_address(&self) -> Problem {
        match self {
            Self::WrongMethod => callers(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "This address cannot be used like that",
            ),
            _ => callers(StatusCode::NOT_FOUND, "not-found", "There is nothing here"),
        }
    }

    fn of_gate(&self) -> Problem {
        let unauthorized = |challenge| {
            callers(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "The admin token is needed",
            )
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
        };
        match self {
            Self::NoToken => unauthorized("Bearer realm=\"daypass\""),
            Self::WrongToken => unauthorized("Bearer realm=\"daypass\", error=\"invalid_token\""),
            Self::NoAdminToken => callers(
                StatusCode::FORBIDDEN,
                "admin-token-not-configured",
                "There is no admin token to show",
            ),
            _ => callers(
                StatusCode::FORBIDDEN,
                "origin-not-allowed",
                "Not from this page",
            ),
        }
    }

    fn of_request(&self) -> Problem {
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Self::Parameter { name, .. } => {
                let problem = callers(bad, "invalid-parameter", "A parameter cannot be used");
                with_name(problem, "parameter", name.as_deref())
            }
            Self::Cursor => callers(bad, "invalid-cursor", "The cursor cannot be used"),
            Self::NotJson => callers(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not-json",
                "The body is not JSON",
            ),
            Self::TooLarge => callers(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "The body is too large",
            ),
            Self::Body { field, .. } => {
                let problem = callers(bad, "invalid-body", "The body cannot be used");
                with_name(problem, "field", field.as_deref())
            }
            _ => callers(bad, "invalid-body", "The request cannot be used"),
        }
    }

    fn of_resource(&self) -> Problem {
        let (missing, conflict) = (StatusCode::NOT_FOUND, StatusCode::CONFLICT);
        match self {
            Self::UnknownProvider(_) => callers(missing, "unknown-provider", "No such provider"),
            Self::NotConnected(_) => callers(missing, "not-connected", "The user is not connected"),
            Self::UnknownDelivery => callers(missing, "unknown-delivery", "No such delivery"),
            Self::NobodysDelivery => callers(
                conflict,
                "unrouted-delivery",
                "The event has nobody to be delivered to",
            ),
            _ => callers(conflict, "no-meetings", "There are no meetings here"),
        }
    }
}

fn of_connect(error: &connect::Error) -> Problem {
    use connect::Error;

    let conflict = StatusCode::CONFLICT;
    match error {
        Error::Tokens(error) => of_tokens(error),
        Error::Store(error) => of_store(error),
        Error::Call(error) => of_call(error),
        Error::UnknownProvider { .. } => callers(
            StatusCode::NOT_FOUND,
            "unknown-provider",
            "No such provider",
        ),
        Error::ReturnTo(_) => with_name(
            callers(
                StatusCode::BAD_REQUEST,
                "invalid-return-to",
                "The browser cannot be sent there",
            ),
            "field",
            Some("return_to"),
        ),
        Error::NoManagedUsers { .. } => {
            callers(conflict, "no-managed-users", "There are no managed users")
        }
        Error::NotManaged => callers(conflict, "not-managed", "The user is not a managed one"),
        Error::OtherAccount { .. } => callers(
            conflict,
            "other-account",
            "The user is connected with another account",
        ),
        Error::Taken { user } => callers(
            conflict,
            "managed-user-taken",
            "The managed user belongs to another user",
        )
        .with_member("user", user.as_str()),
        Error::Faulty => callers(
            StatusCode::UNPROCESSABLE_ENTITY,
            "managed-user-refused",
            "The provider does not make such a user",
        ),
        _ => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "connect-not-configured",
            "Nobody can be connected here",
            "proxy_configuration_error",
        )
        .with_retry_after(PROVIDER_RETRY.0),
    }
}

fn of_call(error: &CallError) -> Problem {
    let (usual, most) = PROVIDER_RETRY;
    match error {
        CallError::NotConfigured { .. }
        | CallError::ClientRefused { .. }
        | CallError::OtherClient { .. } => unavailable(
            "provider-misconfigured",
            "The provider refuses this installation",
            usual,
        ),
        CallError::RateLimited { retry_after, .. } => unavailable(
            "provider-busy",
            "The provider asks for fewer calls",
            retry_after.unwrap_or(usual).min(most),
        ),
        CallError::NotSent { .. } => Problem::new(
            StatusCode::BAD_GATEWAY,
            "upstream-unreachable",
            "The provider cannot be reached",
            "destination_unavailable",
        ),
        _ => Problem::new(
            StatusCode::BAD_GATEWAY,
            "upstream-protocol",
            "The provider did not do it",
            "http_protocol_error",
        ),
    }
}

fn of_tokens(error: &token::Error) -> Problem {
    use token::Error;

    match error {
        Error::NotConnected { .. } => callers(
            StatusCode::NOT_FOUND,
            "not-connected",
            "The user is not connected",
        ),
        Error::NeedsReauth { reason, since, .. } => callers(
            StatusCode::CONFLICT,
            "needs-reauth",
            "The user must connect again",
        )
        .with_member("reason", reason.as_str())
        .with_member("since", since.to_string()),
        Error::UnknownProvider { .. } => callers(
            StatusCode::NOT_FOUND,
            "unknown-provider",
            "No such provider",
        ),
        Error::RefreshFailed { retry_after, .. } => unavailable(
            "refresh-failed",
            "The token could not be renewed",
            *retry_after,
        ),
        Error::Misconfigured { retry_after, .. } => unavailable(
            "provider-misconfigured",
            "The provider refuses this installation",
            *retry_after,
        ),
        Error::AnswerStands { .. } => {
            unavailable("refresh-failed", "The token could not be renewed", SOON)
        }
        Error::Store { source, .. } => of_store(source),
        Error::ShuttingDown => unavailable("overloaded", "Shutting down", SOON),
    }
}

fn of_store(error: &store::Error) -> Problem {
    match error {
        store::Error::Inconsistent { .. } => {
            ours("inconsistent-record", "What is stored contradicts itself")
        }
        _ => unavailable("store-unavailable", "The store does not do it", STORE_RETRY),
    }
}

fn callers(status: StatusCode, slug: &'static str, title: &'static str) -> Problem {
    Problem::new(status, slug, title, "http_request_error")
}

fn ours(slug: &'static str, title: &'static str) -> Problem {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Problem::new(status, slug, title, "proxy_internal_error")
}

fn unavailable(slug: &'static str, title: &'static str, retry_after: Duration) -> Problem {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Problem::new(status, slug, title, "proxy_internal_response").with_retry_after(retry_after)
}

fn with_name(problem: Problem, member: &str, name: Option<&str>) -> Problem {
    match name {
        Some(name) => problem.with_member(member, name),
        None => problem,
    }
}

/// An error with its causes, in one line. None of them holds a secret.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}
