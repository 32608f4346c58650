//! The table of intake: why a webhook was not taken, and what its sender is answered.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    base::ids::ProviderName,
    provider::{Forged, NotJson},
    store,
};

/// Why a webhook was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No such provider, or no such route: a wrong address, or one that was given up long ago.
    #[error("there is no such route")]
    UnknownRoute,
    /// Not proven genuine.
    #[error("it is not genuine")]
    NotGenuine(#[from] Forged),
    /// Too large.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// `ingress.max_body_bytes`.
        limit: usize,
    },
    /// The body did not come in time.
    #[error("its body did not come in time")]
    Slow,
    /// The body ended before its end.
    #[error("its body was cut short")]
    Cut,
    /// Genuine, and no JSON.
    #[error("it is genuine, and no JSON")]
    NotJson(NotJson),
    /// The store does not take it: the sender is to send it again.
    #[error("the store does not take it")]
    Store(#[from] store::Error),
}

/// What became of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Kept, and on its way.
    Accepted,
    /// Taken before: acknowledged and dropped.
    Known,
    /// Kept as nobody's.
    Unrouted,
    /// Signature missing or wrong, too old, or from the future.
    Forged,
    /// Refused for its address, size or form.
    Invalid,
    /// The store failed.
    Failed,
}

// === impl Refusal ===

impl Refusal {
    /// Status, slug and title of the answer.
    const fn row(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::UnknownRoute => (
                StatusCode::NOT_FOUND,
                "unknown-route",
                "There is no such webhook",
            ),
            Self::NotGenuine(_) => (
                StatusCode::UNAUTHORIZED,
                "bad-signature",
                "The webhook is not proven genuine",
            ),
            Self::TooLarge { .. } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "The webhook is too large",
            ),
            Self::Slow => (
                StatusCode::REQUEST_TIMEOUT,
                "too-slow",
                "The webhook did not come in time",
            ),
            Self::Cut | Self::NotJson(_) => (
                StatusCode::BAD_REQUEST,
                "invalid-webhook",
                "The webhook cannot be read",
            ),
            Self::Store(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "store-unavailable",
                "The webhook cannot be kept just now",
            ),
        }
    }

    /// As it is counted.
    pub(super) const fn verdict(&self) -> Verdict {
        match self {
            Self::NotGenuine(_) => Verdict::Forged,
            Self::Store(_) => Verdict::Failed,
            _ => Verdict::Invalid,
        }
    }

    /// Says in the log what an operator can do something about.
    pub(super) fn tell(&self, provider: &ProviderName) {
        let error: &dyn std::error::Error = self;
        match self {
            Self::Store(_) => tracing::error!(%provider, error, "a webhook could not be kept"),
            Self::NotGenuine(Forged::NoKey) => tracing::warn!(
                %provider,
                "a webhook came to the shared address, and no key is configured to verify it with: it \
                 is refused",
            ),
            Self::NotGenuine(_) => tracing::warn!(%provider, error, "a webhook was refused"),
            _ => tracing::info!(%provider, error, "a webhook was refused"),
        }
    }

    /// For whoever looks at the answer; says nothing that helps forging.
    fn detail(&self) -> String {
        match self {
            Self::NotGenuine(forged) => forged.to_string(),
            other => other.to_string(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, slug, title) = self.row();
        let body = json!({
            "type": format!("urn:daypass:problem:{slug}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail(),
        });
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, content_type, body.to_string()).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let wait = HeaderValue::from_static("5");
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        response
    }
}
