//! Which trouble becomes which answer: the one table of the admin listener.
//!
//! Reads top to bottom; what each kind of problem is called is in [`kinds`]. No answer repeats what came
//! with the request: that may have been a token. Faults of ours are logged once, here.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use thiserror::Error;

use super::{
    audit::Fault,
    kinds::{self, Kind},
};
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
            Self::NotFound => kinds::NOT_FOUND.problem(),
            Self::WrongMethod => kinds::METHOD_NOT_ALLOWED.problem(),
            Self::UnknownProvider(_) => kinds::UNKNOWN_PROVIDER.problem(),
            Self::NotConnected(_) => kinds::NOT_CONNECTED.problem(),
            Self::UnknownDelivery => kinds::UNKNOWN_DELIVERY.problem(),
            Self::NobodysDelivery => kinds::UNROUTED_DELIVERY.problem(),
            Self::MeetingsNotKept | Self::NoMeetings => kinds::NO_MEETINGS.problem(),
            Self::Stopping => later(kinds::OVERLOADED, SOON),
            Self::Broken => kinds::INTERNAL_ERROR.problem(),
            Self::Metrics => kinds::METRICS_UNAVAILABLE.problem(),
        }
        .with_detail(told(self))
    }

    fn of_gate(&self) -> Problem {
        let unauthorized = |challenge| {
            kinds::UNAUTHORIZED
                .problem()
                .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
        };
        match self {
            Self::NoToken => unauthorized("Bearer realm=\"daypass\""),
            Self::WrongToken => unauthorized("Bearer realm=\"daypass\", error=\"invalid_token\""),
            Self::NoAdminToken => kinds::ADMIN_TOKEN_NOT_CONFIGURED.problem(),
            _ => kinds::ORIGIN_NOT_ALLOWED.problem(),
        }
    }

    fn of_request(&self) -> Problem {
        match self {
            Self::Parameter { name, .. } => {
                let problem = kinds::INVALID_PARAMETER.problem();
                match name {
                    Some(name) => problem.with_member("parameter", name.as_str()),
                    None => problem,
                }
            }
            Self::Cursor => kinds::INVALID_CURSOR
                .problem()
                .with_member("parameter", "cursor"),
            Self::NotJson => kinds::NOT_JSON.problem(),
            Self::TooLarge => kinds::BODY_TOO_LARGE.problem(),
            Self::Body {
                field: Some(field), ..
            } => with_field(kinds::INVALID_BODY.problem(), field),
            _ => kinds::INVALID_BODY.problem(),
        }
    }
}

macro_rules! fault {
    ($error:ty, $problem:expr) => {
        impl Fault for $error {
            fn word(&self) -> &'static str {
                $problem(self).slug()
            }

            fn is_failure(&self) -> bool {
                $problem(self).status().is_server_error()
            }
        }
    };
}

fault!(Trouble, Trouble::problem);
fault!(connect::Error, of_connect);
fault!(token::Error, of_tokens);
fault!(store::Error, of_store);

fn of_connect(error: &connect::Error) -> Problem {
    use connect::Error;

    match error {
        Error::Tokens(error) => of_tokens(error),
        Error::Store(error) => of_store(error),
        Error::Call(error) => of_call(error),
        Error::UnknownProvider { .. } => kinds::UNKNOWN_PROVIDER.problem(),
        Error::ReturnTo(_) => with_field(kinds::INVALID_RETURN_TO.problem(), "return_to"),
        Error::NoManagedUsers { .. } => kinds::NO_MANAGED_USERS.problem(),
        Error::NotManaged => kinds::NOT_MANAGED.problem(),
        Error::OtherAccount { .. } => kinds::OTHER_ACCOUNT.problem(),
        Error::Taken { user } => kinds::MANAGED_USER_TAKEN
            .problem()
            .with_member("user", user.as_str()),
        Error::Faulty => kinds::MANAGED_USER_REFUSED.problem(),
        _ => later(kinds::CONNECT_NOT_CONFIGURED, PROVIDER_RETRY.0),
    }
}

fn of_call(error: &CallError) -> Problem {
    let (usual, most) = PROVIDER_RETRY;
    match error {
        CallError::NotConfigured { .. }
        | CallError::ClientRefused { .. }
        | CallError::OtherClient { .. } => later(kinds::PROVIDER_MISCONFIGURED, usual),
        CallError::RateLimited { retry_after, .. } => {
            later(kinds::PROVIDER_BUSY, retry_after.unwrap_or(usual).min(most))
        }
        CallError::NotSent { .. } => kinds::UPSTREAM_UNREACHABLE.problem(),
        _ => kinds::UPSTREAM_PROTOCOL.problem(),
    }
}

fn of_tokens(error: &token::Error) -> Problem {
    use token::Error;

    match error {
        Error::NotConnected { .. } => kinds::NOT_CONNECTED.problem(),
        Error::NeedsReauth { reason, since, .. } => kinds::NEEDS_REAUTH
            .problem()
            .with_member("reason", reason.as_str())
            .with_member("since", since.to_string()),
        Error::UnknownProvider { .. } => kinds::UNKNOWN_PROVIDER.problem(),
        Error::RefreshFailed { retry_after, .. } => later(kinds::REFRESH_FAILED, *retry_after),
        Error::Misconfigured { retry_after, .. } => {
            later(kinds::PROVIDER_MISCONFIGURED, *retry_after)
        }
        Error::AnswerStands { .. } => later(kinds::REFRESH_FAILED, SOON),
        Error::Store { source, .. } => of_store(source),
        Error::ShuttingDown => later(kinds::OVERLOADED, SOON),
    }
}

fn of_store(error: &store::Error) -> Problem {
    match error {
        store::Error::Inconsistent { .. } => kinds::INCONSISTENT_RECORD.problem(),
        _ => later(kinds::STORE_UNAVAILABLE, STORE_RETRY),
    }
}

fn later(kind: Kind, retry_after: Duration) -> Problem {
    kind.problem().with_retry_after(retry_after)
}

/// Bodies are flat and their fields have plain names, so that a pointer (RFC 6901) needs no escapes.
fn with_field(problem: Problem, field: &str) -> Problem {
    problem
        .with_member("field", field)
        .with_member("pointer", format!("/{field}"))
}

/// An error with its causes, in one line. None of them holds a secret.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}
