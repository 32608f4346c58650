//! Calls of a provider's API with a user's token: what Daypass reads and sets up by itself.
//!
//! 1. Nothing is retried here. [`ApiError::TokenRefused`] is for the caller, who asks the token room
//!    for a newer token than the one refused and calls once more.
//! 2. Which answer refuses a token is the same rule as for forwarded requests:
//!    [`Provider::judge`](super::Provider::judge).
//! 3. A token goes to the configured API only: links in an answer are taken apart, never followed.
//! 4. Bodies hold personal data, and at Cal.com the token or a webhook's secret: no error keeps a word
//!    of one.

use std::time::Duration;

use http::StatusCode;
use thiserror::Error;

use super::Unclear;
use crate::base::ids::ProviderName;

/// Why a call of the API did not do what it should. Messages carry nothing of the answer's body.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The token is refused: get a newer one and call once more.
    #[error("{provider} refused the token")]
    TokenRefused {
        /// Whose call it was.
        provider: ProviderName,
    },
    /// The account itself is gone: only its user can mend that, by connecting again.
    #[error("{provider} no longer knows the account")]
    AccountGone {
        /// Whose call it was.
        provider: ProviderName,
    },
    /// The token is good and may not do this. Final until the grant, the role or the plan changes.
    #[error("{provider} does not allow it: {denial}")]
    Forbidden {
        /// Whose call it was.
        provider: ProviderName,
        /// Why, as far as the provider tells.
        denial: Denial,
    },
    /// Too many calls. Transient.
    #[error("{provider} asks for fewer calls")]
    RateLimited {
        /// Whose call it was.
        provider: ProviderName,
        /// How long the provider wants to be left alone, as it said; not yet clamped.
        retry_after: Option<Duration>,
    },
    /// What was asked for does not exist, or not for this account. Final.
    #[error("{provider} knows nothing of the kind")]
    NotFound {
        /// Whose call it was.
        provider: ProviderName,
    },
    /// The provider finds fault with the request. Final: the same request is refused again.
    #[error("{provider} answered {status}")]
    Rejected {
        /// Whose call it was.
        provider: ProviderName,
        /// What it answered.
        status: StatusCode,
    },
    /// No connection: the request never left. Transient.
    #[error("{provider} could not be reached")]
    NotSent {
        /// Whose call it was.
        provider: ProviderName,
        /// The transport's complaint.
        #[source]
        source: reqwest::Error,
    },
    /// The request may have been carried out; its answer is missing or unclear. Transient.
    #[error("{provider} gave no clear answer: {what}")]
    Unclear {
        /// Whose call it was.
        provider: ProviderName,
        /// What was wrong, in a few words.
        what: Unclear,
        /// The transport's complaint, if there was one.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// The call cannot be made: what it needs is not known, or cannot be sent.
    #[error("{provider} cannot be asked without {what}")]
    Impossible {
        /// Whose call it was.
        provider: ProviderName,
        /// What is missing.
        what: &'static str,
    },
}

/// Why a good token may not do something.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denial {
    /// The user did not grant enough: a new consent helps.
    #[error("a scope is missing")]
    Scope {
        /// The scopes that are missing, as far as the provider names ones that are known here.
        missing: Vec<String>,
    },
    /// The account's plan does not have it.
    #[error("the account's plan does not include it")]
    Plan,
    /// The account lacks the role, or something else is in the way.
    #[error("permission denied")]
    Permission,
}

/// How many calls the provider still takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headroom {
    /// In the current window; `None` if the provider does not tell.
    pub remaining: Option<u32>,
    /// When the window ends, from the answer on.
    pub resets_in: Option<Duration>,
}

// === impl ApiError ===

impl ApiError {
    /// Whether the same call may succeed later without anybody doing anything.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. } | Self::NotSent { .. } | Self::Unclear { .. }
        )
    }
}
