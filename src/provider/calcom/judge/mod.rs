//! Whether an answer of Cal.com's API refuses the token that was sent.
//!
//! The rule, and every message below, is of "Cal.com, what a bad token looks like"; the provider
//! tells these causes apart only by text.
//!
//! 1. 498: refused.
//! 2. 401: refused unless its message is known to mean something else.
//! 3. 403: refused only if its message begins with [`FORBIDDEN_TOKEN`]. That message goes on with
//!    the token itself, so whoever holds the body must not let it out.
//! 4. What is not JSON, such as a page from the edge, never refuses.
//! 5. Some messages say that the account is gone: no renewal helps.

use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use serde_json::Value;

use crate::provider::{Denial, Judgement, Verdict};

/// Error bodies are a few hundred bytes; longer ones are not read, in bytes.
const BODY_LIMIT: usize = 16 * 1024;

/// The status Cal.com gives an expired managed token; in no RFC.
const TOKEN_EXPIRED: u16 = 498;

/// Begins the message of the only 403 that refuses a token.
const FORBIDDEN_TOKEN: &str = "PermissionsGuard - no oAuth client found for access token";

/// Fragments of 401 messages that mean something else than a bad token.
const NOT_THE_TOKEN: [&str; 8] = [
    // An `Origin` header reached the API.
    "Invalid request origin - please open",
    // The token was taken for an API key.
    "ApiAuthStrategy - api key - ",
    "CustomThrottlerGuard - Invalid API Key",
    // Client credentials reached the API and are wrong.
    "ApiAuthStrategy - oAuth client - ",
    // No bearer token arrived.
    "No authentication method provided",
    "Only 'x-cal-",
    "Invalid authentication method",
    MISSING_SCOPE,
];

/// The token is good and may not do this.
const MISSING_SCOPE: &str = "insufficient_scope";

/// The longest known scope, `VERIFIED_RESOURCES_WRITE` in its organization's variant, has 28 letters.
const MAX_SCOPE_BYTES: usize = 40;

/// Fragments of 401 messages that say that the account no longer exists.
const ACCOUNT_GONE: [&str; 4] = [
    "User associated with the access token not found",
    "bearer token - No user associated with the provided token",
    "third-party token - No user or team owner associated",
    "third-party token - No owner found for the associated team",
];

/// What status and headers tell.
pub(super) fn head(status: StatusCode, headers: &HeaderMap) -> Judgement {
    if status.as_u16() == TOKEN_EXPIRED {
        return Judgement::Refused;
    }
    let by_message = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
    if !by_message || !is_json(headers) {
        return Judgement::Passed;
    }
    if is_plain(headers) {
        return Judgement::ReadBody { limit: BODY_LIMIT };
    }
    // Compressed, so its message cannot be known: each status falls to its default.
    if status == StatusCode::UNAUTHORIZED {
        Judgement::Refused
    } else {
        Judgement::Passed
    }
}

/// What the message tells.
pub(super) fn body(status: StatusCode, body: &[u8]) -> Verdict {
    if status.as_u16() == TOKEN_EXPIRED {
        return Verdict::Refused;
    }
    let Ok(body @ Value::Object(_)) = serde_json::from_slice(body) else {
        return Verdict::Passed;
    };
    match status {
        StatusCode::UNAUTHORIZED => unauthorized(message(&body)),
        StatusCode::FORBIDDEN if message(&body).starts_with(FORBIDDEN_TOKEN) => Verdict::Refused,
        _ => Verdict::Passed,
    }
}

/// Why a good token may not do something. Which scopes are missing is told in the message only: `Required:
/// A, B.`
pub(super) fn denial(body: &Value) -> Denial {
    let message = message(body);
    let Some((_, text)) = message.split_once(MISSING_SCOPE) else {
        return Denial::Permission;
    };
    let (_, named) = text.split_once("Required:").unwrap_or((text, ""));
    let words = named.split(|other: char| !other.is_ascii_uppercase() && other != '_');
    let missing = words.filter(|word| word.contains('_') && word.len() <= MAX_SCOPE_BYTES);
    Denial::Scope {
        missing: missing.map(ToOwned::to_owned).collect(),
    }
}

fn message(body: &Value) -> &str {
    body.pointer("/error/message")
        .or_else(|| body.get("message"))
        .and_then(Value::as_str)
        .unwrap_or("")
}

fn unauthorized(message: &str) -> Verdict {
    let has_one_of = |fragments: &[&str]| fragments.iter().any(|text| message.contains(text));
    if has_one_of(&ACCOUNT_GONE) {
        Verdict::AccountGone
    } else if has_one_of(&NOT_THE_TOKEN) {
        Verdict::Passed
    } else {
        Verdict::Refused
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let essence = content_type.and_then(|it| it.split(';').next());
    essence.is_some_and(|essence| {
        let essence = essence.trim().to_ascii_lowercase();
        essence == "application/json" || essence.ends_with("+json")
    })
}

fn is_plain(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

#[cfg(test)]
mod tests;
