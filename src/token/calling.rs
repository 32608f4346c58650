//! A call of a provider's API with a user's token, recovered once like a forwarded request.
//!
//! 1. A refused token is replaced by one newer than that generation, and the call is made once more. A
//!    second refusal stands.
//! 2. That the account is gone is told to the token room, which marks the connection.

use std::sync::Arc;

use super::{Bearer, Error, TokenSource};
use crate::{
    base::{ids::ConnectionKey, secret::Secret},
    provider::ApiError,
};

/// Why a call with a user's token came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WithTokenError {
    /// There is no token.
    #[error(transparent)]
    Token(#[from] Error),
    /// The provider did not do it.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Calls with a token of `key`, and once more if it is refused.
///
/// Dropping the future drops the call, never a renewal.
pub async fn with_token<T, F>(
    tokens: &dyn TokenSource,
    key: &ConnectionKey,
    mut call: impl FnMut(Secret<String>) -> F + Send,
) -> Result<T, WithTokenError>
where
    F: Future<Output = Result<T, ApiError>> + Send,
{
    let bearer = tokens.bearer(key.clone()).await?;
    let first = call(bearer.danger_token()).await;
    let (outcome, used): (_, Arc<Bearer>) = match first {
        Err(ApiError::TokenRefused { .. }) => {
            let newer = tokens.newer_than(key.clone(), bearer.generation());
            let newer = newer.await?;
            (call(newer.danger_token()).await, newer)
        }
        other => (other, bearer),
    };
    if let Err(ApiError::AccountGone { .. }) = &outcome {
        tokens.account_gone(key.clone(), &used);
    }
    Ok(outcome?)
}

// === impl WithTokenError ===

impl WithTokenError {
    /// Whether the same call may succeed later without anybody doing anything.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Token(error) => !matches!(
                error,
                Error::NotConnected { .. }
                    | Error::NeedsReauth { .. }
                    | Error::UnknownProvider { .. }
            ),
            Self::Api(error) => error.is_transient(),
        }
    }
}
