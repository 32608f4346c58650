//! Which trouble becomes which answer: the one table of this room's part of the ingress listener.
//!
//! Reads top to bottom. The page says in words what a person can do who knows nothing of OAuth; the
//! problem says what went wrong. Faults of ours are logged once, here.

use std::time::Duration;

use axum::response::Response;
use http::StatusCode;
use thiserror::Error;

use super::{
    flow,
    return_to::ReturnFault,
    ticket,
    told::{Reader, Told},
};
use crate::{base::ids::ProviderName, provider::CallError, store, token};

/// Why a request at the ingress listener is not answered as it wanted to be.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    #[error("there is nothing at this address")]
    NotFound,
    #[error("this address is for another method")]
    WrongMethod,
    #[error("too many requests are under way")]
    Overloaded,
    #[error("the process is going down")]
    ShuttingDown,
    #[error("no provider of this name can be connected here")]
    UnknownProvider,
    #[error("the link has ended, or never was one")]
    LinkEnded,
    #[error("the link was opened too often")]
    OpenedTooOften(Duration),
    #[error("return_to cannot be used: {0}")]
    ReturnTo(#[from] ReturnFault),
    #[error("nobody can be connected to {provider}")]
    NotConfigured {
        provider: ProviderName,
        #[source]
        source: CallError,
    },
    #[error("this is nothing that a consent page sends")]
    NotACallback,
    #[error("the state is unknown, used or too old")]
    StateUnknown,
    #[error("another browser began this")]
    OtherBrowser,
    #[error("the store failed")]
    Store(#[from] store::Error),
    #[error("this origin may not ask for tokens")]
    OriginNotAllowed,
    #[error("the token shown is none that was issued lately")]
    TokenUnknown,
    #[error("tokens are asked for too often")]
    AskedTooOften(Duration),
    #[error("there is no newer token")]
    NoToken(#[from] token::Error),
}

// === impl Trouble ===

impl Trouble {
    /// The answer for `reader`.
    pub(super) fn answer(&self, reader: Reader) -> Response {
        let told = self.told();
        if told.status.is_server_error() {
            tracing::warn!(
                problem = told.slug,
                error = self as &dyn std::error::Error,
                "a request failed",
            );
        }
        told.answer(reader, None, &[])
    }

    fn told(&self) -> Told {
        match self {
            Self::NotFound | Self::WrongMethod | Self::UnknownProvider => self.of_address(),
            Self::Overloaded | Self::ShuttingDown | Self::Store(_) => self.of_ours(),
            Self::OriginNotAllowed | Self::TokenUnknown | Self::AskedTooOften(_) => {
                self.of_tokens()
            }
            Self::NoToken(error) => without_token(error),
            Self::LinkEnded
            | Self::OpenedTooOften(_)
            | Self::ReturnTo(_)
            | Self::NotConfigured { .. } => self.of_links(),
            Self::NotACallback | Self::StateUnknown | Self::OtherBrowser => self.of_callbacks(),
        }
    }

    fn of_address(&self) -> Told {
        let (status, slug, title) = match self {
            Self::WrongMethod => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "This address cannot be used like that",
            ),
            Self::UnknownProvider => (
                StatusCode::NOT_FOUND,
                "unknown-provider",
                "There is no such service",
            ),
            _ => (StatusCode::NOT_FOUND, "not-found", "There is nothing here"),
        };
        let text = "The address may be incomplete. Go back to the app, and start again there.";
        Told::new(status, slug, title, text).with_detail(self.to_string())
    }

    fn of_ours(&self) -> Told {
        let slug = match self {
            Self::Store(_) => "store-unavailable",
            _ => "overloaded",
        };
        let mut told = Told::new(
            StatusCode::SERVICE_UNAVAILABLE,
            slug,
            "This does not work just now",
            "It is not your fault, and nothing is lost. Load this page again in a minute.",
        )
        .with_detail(format!("{self}. Retry later"))
        .with_retry_after(Duration::from_secs(5));
        told.proxy_error = "proxy_internal_response";
        told
    }

    fn of_links(&self) -> Told {
        match self {
            Self::OpenedTooOften(wait) => Told::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-requests",
                "One moment, please",
                "This link was opened very often in a short time. Wait a minute, and open it again.",
            )
            .with_detail(self.to_string())
            .with_retry_after(*wait),
            Self::ReturnTo(fault) => Told::new(
                StatusCode::BAD_REQUEST,
                "return-not-allowed",
                "This link is not set up correctly",
                "It names an address to return to that is not allowed. Please tell the people who \
                 run the app.",
            )
            .with_detail(format!("return_to cannot be used: {fault}")),
            Self::NotConfigured { provider, .. } => Told::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "provider-misconfigured",
                "This account cannot be connected just now",
                "The app is not set up correctly for it. You cannot mend that; please tell the \
                 people who run the app.",
            )
            .with_detail(format!(
                "nobody can be connected to {provider} as it is configured: the log says what is \
                 missing"
            ))
            .with_retry_after(Duration::from_mins(1)),
            _ => Told::new(
                StatusCode::GONE,
                "link-expired",
                "This link has expired",
                format!(
                    "Links to connect an account work for {} minutes. Go back to the app, and start \
                     again there.",
                    minutes(ticket::LIFE)
                ),
            )
            .with_detail("the ticket has ended, or never was one: ask for a new link"),
        }
    }

    fn of_callbacks(&self) -> Told {
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Self::StateUnknown => Told::new(
                bad,
                "state-unknown",
                "This was used already, or took too long",
                format!(
                    "If your account was connected a moment ago, all is well: go back to the app. \
                     If not, start again there; there are {} minutes for it.",
                    minutes(flow::LIFE)
                ),
            )
            .with_detail("no consent is under way with this state: it is unknown, used or too old"),
            Self::OtherBrowser => Told::new(
                bad,
                "other-browser",
                "Please go on where you began",
                "For your safety an account can only be connected in the browser in which that was \
                 begun, and this seems to be another one. Go back to the app in this browser, and \
                 start again there. If this comes up again, allow cookies for this site.",
            )
            .with_detail("the cookie of the browser that began this is missing or another one"),
            _ => Told::new(
                bad,
                "callback-invalid",
                "There is nothing to see here",
                "People are sent here by the service that they connect. Go back to the app, and \
                 start again there.",
            )
            .with_detail("expected state and either code or error, once each"),
        }
    }

    fn of_tokens(&self) -> Told {
        let text = "This address is for programs.";
        match self {
            Self::AskedTooOften(wait) => Told::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-requests",
                "Too many requests",
                text,
            )
            .with_retry_after(*wait),
            Self::OriginNotAllowed => Told::new(
                StatusCode::FORBIDDEN,
                "origin-not-allowed",
                "The origin is not allowed",
                text,
            ),
            _ => Told::new(
                StatusCode::UNAUTHORIZED,
                "token-unknown",
                "The token is not known",
                text,
            ),
        }
        .with_detail(self.to_string())
    }
}

fn without_token(error: &token::Error) -> Told {
    use token::Error;

    let (status, slug, title, retry_after) = match error {
        Error::NotConnected { .. } => (
            StatusCode::FAILED_DEPENDENCY,
            "not-connected",
            "The user is not connected",
            None,
        ),
        Error::NeedsReauth { .. } => (
            StatusCode::FAILED_DEPENDENCY,
            "needs-reauth",
            "The user must connect again",
            None,
        ),
        Error::RefreshFailed { retry_after, .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            "refresh-failed",
            "The token could not be renewed",
            Some(*retry_after),
        ),
        Error::Misconfigured { retry_after, .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            "provider-misconfigured",
            "The provider refuses this installation",
            Some(*retry_after),
        ),
        Error::Store { .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            "store-unavailable",
            "The store does not answer",
            Some(Duration::from_secs(5)),
        ),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            "refresh-failed",
            "The token could not be renewed",
            Some(Duration::from_secs(5)),
        ),
    };
    // Whoever asks here is a stranger with an old token: it learns nothing of the user.
    let told = Told::new(status, slug, title, "This address is for programs.").with_detail(title);
    match retry_after {
        Some(after) => told.with_retry_after(after),
        None => told,
    }
}

const fn minutes(duration: Duration) -> u64 {
    duration.as_secs() / 60
}
