//! Calls of a provider's API with a user's token: what Daypass reads and sets up by itself.
//!
//! 1. Nothing is retried here. [`ApiError::TokenRefused`] is for the caller, who asks the token room
//!    for a newer token than the one refused and calls once more.
//! 2. Which answer refuses a token is the same rule as for forwarded requests:
//!    [`super::Provider::judge`].
//! 3. A token goes to the configured API only: links in an answer are taken apart, never followed.
//! 4. Bodies hold personal data, and at Cal.com the token or a webhook's secret: no error keeps a word
//!    of one.

use std::time::Duration;

use http::{
    HeaderMap, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::Value;
use thiserror::Error;
use url::Url;

use super::{ApiBase, Calls, Judgement, Provider, Unclear, Verdict, call, wait};
use crate::base::{ids::ProviderName, secret::Secret};

/// The longest lists hold a few KiB for each of 100 meetings; what is longer than this, in bytes, is
/// something else.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// UUIDs have 36 characters, the longest ids known are booking uids of 22.
const MAX_ID_BYTES: usize = 128;

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

/// A call to make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    method: &'static Method,
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    body: Option<&'a Value>,
    header: Option<(&'static str, &'a str)>,
}

/// A success.
pub(super) struct Reply {
    /// What it holds; null if it is empty. May hold personal data.
    pub body: Value,
    /// How many calls are left.
    pub headroom: Headroom,
}

/// What a provider says in its own words about a token that may not do something.
pub(super) trait Dialect: Provider {
    /// Reads a refusal that is not about the token itself.
    fn denial(&self, body: &Value) -> Denial;
}

// === impl Question ===

impl<'a> Question<'a> {
    const fn new(method: &'static Method, path: &'a [&'a str]) -> Self {
        Self {
            method,
            path,
            query: &[],
            body: None,
            header: None,
        }
    }

    /// Reads the resource of these path segments.
    pub(super) const fn get(path: &'a [&'a str]) -> Self {
        Self::new(&Method::GET, path)
    }

    /// Deletes it.
    pub(super) const fn delete(path: &'a [&'a str]) -> Self {
        Self::new(&Method::DELETE, path)
    }

    /// Adds `body` to it.
    pub(super) const fn post(path: &'a [&'a str], body: &'a Value) -> Self {
        Self {
            body: Some(body),
            ..Self::new(&Method::POST, path)
        }
    }

    /// Changes of it what `body` names.
    pub(super) const fn patch(path: &'a [&'a str], body: &'a Value) -> Self {
        Self {
            body: Some(body),
            ..Self::new(&Method::PATCH, path)
        }
    }

    /// With these parameters.
    pub(super) const fn with_query(self, query: &'a [(&'a str, &'a str)]) -> Self {
        Self { query, ..self }
    }

    /// With this header.
    pub(super) const fn with_header(self, name: &'static str, value: &'a str) -> Self {
        Self {
            header: Some((name, value)),
            ..self
        }
    }

    fn url(&self, base: &ApiBase) -> Option<Url> {
        let mut url = base.resource(self.path.iter().copied())?;
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(self.query);
        }
        Some(url)
    }
}

// === impl Calls ===

impl Calls {
    /// Makes a call of the API with a user's token, once.
    pub(super) async fn ask(
        &self,
        dialect: &dyn Dialect,
        question: Question<'_>,
        token: &Secret<String>,
    ) -> Result<Reply, ApiError> {
        let provider = dialect.name();
        let Ok(bearer) = token.to_bearer_header() else {
            return Err(impossible(provider, "a token that fits into a header"));
        };
        let url = question.url(dialect.api_base());
        let url = url.ok_or_else(|| impossible(provider, "a usable api_base"))?;
        let mut request = self.api(question.method.clone(), url);
        if let Some((name, value)) = question.header {
            request = request.header(name, value);
        }
        if let Some(body) = question.body {
            request = request.json(body);
        }
        let failed = |error| transport(provider, error);
        let response = request.header(AUTHORIZATION, bearer).send().await;
        let response = response.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let at = self.answered_at(&headers);
        if status.is_server_error() {
            return Err(unclear(provider, Unclear::ServerError(status)));
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(ApiError::RateLimited {
                provider: provider.clone(),
                retry_after: wait::retry_after(&headers, at),
            });
        }
        let bytes = call::read(response, MAX_BODY_BYTES).await.map_err(failed)?;
        if !status.is_success() {
            return Err(refused(dialect, status, &headers, &bytes));
        }
        let body = match serde_json::from_slice(&bytes) {
            Ok(body) => body,
            Err(_) if status == StatusCode::NO_CONTENT => Value::Null,
            Err(_) => return Err(unclear(provider, Unclear::Unreadable)),
        };
        Ok(Reply {
            body,
            headroom: wait::headroom(&headers, at),
        })
    }
}

/// What an answer that is no success means.
fn refused(
    dialect: &dyn Dialect,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> ApiError {
    let provider = dialect.name().clone();
    let verdict = match dialect.judge(status, headers) {
        Judgement::Refused => Verdict::Refused,
        Judgement::Passed => Verdict::Passed,
        Judgement::ReadBody { .. } => dialect.judge_body(status, body),
    };
    match verdict {
        Verdict::Refused => return ApiError::TokenRefused { provider },
        Verdict::AccountGone => return ApiError::AccountGone { provider },
        Verdict::Passed => {}
    }
    let json = is_json(headers)
        .then(|| serde_json::from_slice::<Value>(body).ok())
        .flatten();
    match (status, json) {
        // A page of the edge, or a redirect by it, says nothing about what exists or is allowed.
        (_, None) => unclear(&provider, Unclear::Foreign(status)),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(body)) => ApiError::Forbidden {
            denial: dialect.denial(&body),
            provider,
        },
        (StatusCode::NOT_FOUND, Some(_)) => ApiError::NotFound { provider },
        (status, Some(_)) => ApiError::Rejected { provider, status },
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    kind.is_some_and(|kind| kind.to_ascii_lowercase().contains("json"))
}

fn transport(provider: &ProviderName, error: reqwest::Error) -> ApiError {
    // The address may name a person.
    let source = error.without_url();
    let provider = provider.clone();
    if source.is_connect() || source.is_builder() {
        return ApiError::NotSent { provider, source };
    }
    let what = if source.is_timeout() {
        Unclear::TimedOut
    } else {
        Unclear::Broken
    };
    ApiError::Unclear {
        provider,
        what,
        source: Some(source),
    }
}

/// An answer that says nothing clear, from a transport that worked.
pub(super) fn unclear(provider: &ProviderName, what: Unclear) -> ApiError {
    ApiError::Unclear {
        provider: provider.clone(),
        what,
        source: None,
    }
}

/// A call that cannot be made.
pub(super) fn impossible(provider: &ProviderName, what: &'static str) -> ApiError {
    ApiError::Impossible {
        provider: provider.clone(),
        what,
    }
}

/// An id of the provider's as a path segment: the last one, if it is a URI. `None` if it could be
/// anything but an id.
pub(super) fn segment(id: &str) -> Option<&str> {
    let last = id.trim_end_matches('/').rsplit('/').next()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let fits = (1..=MAX_ID_BYTES).contains(&last.len());
    (fits && last.bytes().all(plain)).then_some(last)
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

#[cfg(test)]
mod tests;
