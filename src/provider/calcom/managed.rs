//! Tokens of managed users, whom a platform client created and whom its secret can mint tokens for.
//!
//! 1. The client shows itself by headers: the secret, and its id so that calls are counted per
//!    client and not per address (Cal.com, limits).
//! 2. A spent refresh token has two faces, by how close the race was: 400 `Invalid refresh token`
//!    or 404 `NOT_FOUND` (Cal.com, rotation). Both are final for the token; force refresh is the
//!    way out.
//! 3. A 404 in other words, as from a route that does not exist, refuses nobody.
//!
//! The provider tells these causes apart only by text, which is compared and never kept (Cal.com,
//! token endpoints, errors).

use http::{HeaderValue, Method, StatusCode};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::Calcom;
use crate::{
    base::secret::Secret,
    provider::{Account, CallError, Minted, call::Answer, minted, refusal},
};

/// Begins the message of a refused client in the guard that runs first.
const CLIENT_GUARD: &str = "ApiAuthStrategy - oAuth client - ";

/// Begins the messages of the guard behind it: the client is missing or another organization's.
const OWNER_GUARD: &str = "OAuthClientGuard - ";

impl Calcom {
    /// `POST /v2/oauth/{clientId}/refresh`.
    pub(super) async fn refresh_managed(
        &self,
        user: i64,
        token: &Secret<String>,
    ) -> Result<Minted, CallError> {
        let request = self
            .platform_call(Method::POST, None, |client| {
                vec!["v2", "oauth", client, "refresh"]
            })?
            .json(&json!({ "refreshToken": token.danger_expose() }));
        self.mint(user, request).await
    }

    /// `POST /v2/oauth-clients/{clientId}/users/{userId}/force-refresh`; every earlier token of the
    /// user dies.
    pub(super) async fn force_managed(&self, user: i64) -> Result<Minted, CallError> {
        let id = user.to_string();
        let request = self.platform_call(Method::POST, None, |client| {
            vec!["v2", "oauth-clients", client, "users", &id, "force-refresh"]
        })?;
        self.mint(user, request).await
    }

    async fn mint(&self, user: i64, request: RequestBuilder) -> Result<Minted, CallError> {
        let answer = self.calls.send(&self.config.name, request).await?;
        if !answer.status.is_success() {
            return Err(self.managed_refusal(&answer));
        }
        let success = minted::read(&self.config.name, &answer)?;
        Ok(Minted {
            account: account(user),
            ..success.minted
        })
    }

    /// Begins a call that the platform client makes for itself.
    pub(super) fn platform_call<'a>(
        &'a self,
        method: Method,
        query: Option<&str>,
        path: impl FnOnce(&'a str) -> Vec<&'a str>,
    ) -> Result<RequestBuilder, CallError> {
        let no_client = || self.missing("platform_client_id");
        let no_secret = || self.missing("platform_client_secret");
        let id = self.config.platform_client_id.as_deref();
        let id = id.ok_or_else(no_client)?;
        let secret = self.config.platform_client_secret.as_ref();
        let secret = secret.ok_or_else(no_secret)?.current();
        // What no header may carry cannot be sent, and the complaint would show where it is wrong.
        let id_header = HeaderValue::from_str(id).map_err(|_byte| no_client())?;
        let secret_header = secret.to_header().map_err(|_byte| no_secret())?;
        let url = self.config.api_base.resource(path(id));
        let mut url = url.ok_or_else(|| self.missing("api_base"))?;
        url.set_query(query);
        Ok(self
            .calls
            .request(method, url)
            .header("x-cal-client-id", id_header)
            .header("x-cal-secret-key", secret_header))
    }

    pub(super) fn managed_refusal(&self, answer: &Answer) -> CallError {
        let name = &self.config.name;
        let body = answer.json();
        let field = |field: &str| {
            let error = body.as_ref()?.get("error")?;
            error.get(field).and_then(Value::as_str)
        };
        let Some(message) = field("message") else {
            return answer.unexpected(name);
        };
        match answer.status {
            StatusCode::BAD_REQUEST if message.starts_with("Invalid refresh token") => {
                refusal::grant(name, "invalid_refresh_token")
            }
            StatusCode::BAD_REQUEST if message.starts_with("Invalid OAuthClient credentials") => {
                refusal::client(name, "invalid_client_credentials")
            }
            StatusCode::NOT_FOUND if field("code") == Some("NOT_FOUND") => {
                refusal::grant(name, "refresh_token_not_found")
            }
            StatusCode::NOT_FOUND if is_foreign_user(message) => {
                refusal::grant(name, "user_not_found")
            }
            StatusCode::UNAUTHORIZED => refused_client(message).map_or_else(
                || answer.unexpected(name),
                |code| refusal::client(name, code),
            ),
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND if message.starts_with(OWNER_GUARD) => {
                refusal::client(name, "client_not_owned")
            }
            _ => answer.unexpected(name),
        }
    }
}

/// A managed user as an account. Its number is what bookings and webhooks call it, too.
pub(super) fn account(user: i64) -> Account {
    Account {
        external_id: Some(user.to_string()),
        organization: None,
        managed_user_id: Some(user),
    }
}

/// `User with ID N is not part of this OAuth client.`
pub(super) fn is_foreign_user(message: &str) -> bool {
    message.starts_with("User with ID ") && message.contains("is not part of this OAuth client")
}

/// What a 401 says of the client, if it speaks of it at all.
fn refused_client(message: &str) -> Option<&'static str> {
    if let Some(about) = message.strip_prefix(CLIENT_GUARD) {
        return Some(if about.starts_with("Client with ID") {
            "client_not_found"
        } else if about.starts_with("Invalid client secret") {
            "invalid_client_credentials"
        } else {
            "invalid_client"
        });
    }
    // The secret was lost on the way: a header that somebody strips.
    let lost = ["No authentication method provided", "Only 'x-cal-"];
    lost.iter()
        .any(|text| message.contains(text))
        .then_some("client_not_authenticated")
}
