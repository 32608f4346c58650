//! Reads an OAuth error answer: was it the grant that was refused, or the client?
//!
//! RFC 6749 §5.2: 400 or 401 with a flat `{error, error_description}`. The words on the wire are
//! only compared, never kept: every code that ends up in a [`CallError`] is written here.
//!
//! 1. `invalid_grant` is final for this user's token and for nothing else.
//! 2. `invalid_client` and `unauthorized_client` are the configuration's fault, whoever's token was
//!    sent.
//! 3. Everything else refuses nobody: a page of HTML, `invalid_request`, 404.

use http::StatusCode;
use serde_json::Value;

use super::{CallError, call::Answer};
use crate::base::ids::ProviderName;

/// Refuses the token.
const GRANT: &str = "invalid_grant";

/// Refuse the client.
const CLIENT: [&str; 2] = ["invalid_client", "unauthorized_client"];

/// What Cal.com says in the description of a refused client (Cal.com, OAuth2 controller). Kept in
/// place of the bare code, for these differ in what the operator must do: a client that waits for
/// approval is mended elsewhere than a wrong secret.
const CLIENT_REASONS: [&str; 4] = [
    "client_not_found",
    "invalid_client_credentials",
    "client_not_approved",
    "client_rejected",
];

/// What Cal.com says in the description of an `invalid_grant` if the refresh token is good, and was
/// given to another client than the one that sends it (Cal.com, OAuth2 controller).
const OTHER_CLIENT: &str = "client_id_mismatch";

/// What an answer that is no success says of a refresh token, where the provider tells another client's
/// from a dead one.
///
/// This is a decision. `invalid_grant` disconnects a user for good, and an operator who configures
/// another client, or a wrong one, must not disconnect everybody by it: restored, the old client renews
/// all of them. Nor is the client refused as such, which would hold up the users who are its own because
/// of one grant that was imported from elsewhere. So the connection alone fails, and goes on failing,
/// until either is put right.
pub(super) fn refresh(provider: &ProviderName, answer: &Answer) -> CallError {
    let error = oauth(provider, answer);
    let body = answer.json();
    let description = body.as_ref().and_then(|body| body.get("error_description"));
    let is_anothers = description.and_then(Value::as_str) == Some(OTHER_CLIENT);
    match error {
        CallError::GrantRefused { provider, .. } if is_anothers => CallError::OtherClient {
            provider,
            code: OTHER_CLIENT.to_owned(),
        },
        error => error,
    }
}

/// What Cal.com says in the description of a refused code (Cal.com, OAuth2 controller): the code's own
/// fault.
const CODE_REASONS: [&str; 2] = ["code_invalid_or_expired", "pkce_verification_failed"];

/// The same, where the code is good and the request is not: a fault of the configuration.
const REQUEST_REASONS: [&str; 2] = ["redirect_uri_mismatch", "client_id_mismatch"];

/// What an answer that is no success says of a code. As [`oauth`], but of `invalid_grant` the reason is
/// kept where the provider tells it: a redirect URI that does not fit is not the user's fault.
pub(super) fn code(provider: &ProviderName, answer: &Answer) -> CallError {
    let error = oauth(provider, answer);
    if !matches!(error, CallError::GrantRefused { .. }) {
        return error;
    }
    let body = answer.json();
    let description = body.as_ref().and_then(|body| {
        let description = body.get("error_description")?;
        description.as_str()
    });
    let among = |list: &[&'static str]| {
        let known = |code: &&&'static str| Some(**code) == description;
        list.iter().find(known).copied()
    };
    match (among(&CODE_REASONS), among(&REQUEST_REASONS)) {
        (Some(reason), _) => grant(provider, reason),
        (None, Some(reason)) => client(provider, reason),
        (None, None) => error,
    }
}

/// What an answer that is no success says of grant and client.
pub(super) fn oauth(provider: &ProviderName, answer: &Answer) -> CallError {
    let refusing = [
        StatusCode::BAD_REQUEST,
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
    ];
    if !refusing.contains(&answer.status) {
        return answer.unexpected(provider);
    }
    let body = answer.json();
    let field = |name: &str| body.as_ref()?.get(name).and_then(Value::as_str);
    let Some(error) = field("error") else {
        return answer.unexpected(provider);
    };
    if error == GRANT {
        return grant(provider, GRANT);
    }
    let known =
        |list: &[&'static str], text: &str| list.iter().find(|code| **code == text).copied();
    match known(&CLIENT, error) {
        Some(code) => client(
            provider,
            field("error_description")
                .and_then(|reason| known(&CLIENT_REASONS, reason))
                .unwrap_or(code),
        ),
        None => answer.unexpected(provider),
    }
}

/// The token is refused, for good.
pub(super) fn grant(provider: &ProviderName, code: &'static str) -> CallError {
    CallError::GrantRefused {
        provider: provider.clone(),
        code: code.to_owned(),
    }
}

/// The client's credentials are refused.
pub(super) fn client(provider: &ProviderName, code: &'static str) -> CallError {
    CallError::ClientRefused {
        provider: provider.clone(),
        code: code.to_owned(),
    }
}
