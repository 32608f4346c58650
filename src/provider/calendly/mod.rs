//! Calendly.
//!
//! 1. 401 is the only answer that refuses a token; the text beside it is not to be relied on
//!    (Calendly, how API calls fail).
//! 2. A refresh token is redeemed once: `invalid_grant` is final, and nothing can be forced.
//! 3. The client shows itself by HTTP Basic at the token endpoint and by form fields at the
//!    revocation endpoint, as documented for each, never by both (Calendly, client authentication).

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, StatusCode, uri::PathAndQuery};
use serde_json::Value;
use url::Url;

use self::consent::is_scope;
use super::{
    Account, ApiBase, ApiError, CallError, Calls, Consent, Denial, Judgement, Kind, Meetings,
    Minted, Provider, Verdict, Webhooks,
    api::{self, Dialect, Question, Reply},
    call::Answer,
    field, minted, refusal,
};
use crate::base::{
    ids::ProviderName,
    secret::{ReloadableSecret, Secret},
};

mod consent;
mod event;
mod meeting;
mod pages;
mod signature;
mod subscription;

/// `[providers.<name>]` with `kind = "calendly"`.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Config {
    /// The table's name.
    pub name: ProviderName,
    /// The API. Default `https://api.calendly.com`.
    pub api_base: ApiBase,
    /// Where `/oauth/authorize`, `/oauth/token` and `/oauth/revoke` live. Default
    /// `https://auth.calendly.com`.
    pub auth_base: ApiBase,
    /// The OAuth client.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<ReloadableSecret>,
    /// The registered redirect URI; default `{ingress.public_url}/oauth/callback/{name}`.
    pub redirect_uri: Option<Url>,
    /// What users are asked to grant, space separated. Default empty: legacy apps accept nothing
    /// else.
    pub scope: String,
    /// What is added to the authorize request. Default `prompt=consent`.
    pub authorize_params: Vec<(String, String)>,
    /// The app-wide webhook signing key.
    pub webhook_signing_key: Option<ReloadableSecret>,
    /// The scope of webhook subscriptions: `user` or `organization`. Default `user`.
    pub webhook_scope: WebhookScope,
}

/// Whose events a webhook subscription covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookScope {
    /// The user's own.
    User,
    /// The whole organization's; needs an admin's grant.
    Organization,
}

/// An access token lives two hours (Calendly, lifetimes); half of it in case none is told.
const LIFETIME: Duration = Duration::from_hours(1);

/// Calendly limits token calls per user (8 a minute) and says nothing of all users together
/// (Calendly, rate limits); two a second is a pace that no server minds.
const BACKGROUND_CALLS_PER_MINUTE: u32 = 120;

/// A configured Calendly.
pub struct Calendly {
    config: Config,
    calls: Calls,
}

// === impl Calendly ===

impl Calendly {
    /// The Calendly of `config`, asked for tokens through `calls`.
    pub const fn new(config: Config, calls: Calls) -> Self {
        Self { config, calls }
    }

    /// Its settings: where consent is asked for, the client, the scope.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    fn client(&self) -> Result<(&str, Arc<Secret<String>>), CallError> {
        let id = self.config.client_id.as_deref();
        let secret = self.config.client_secret.as_ref();
        Ok((
            id.ok_or_else(|| self.missing("client_id"))?,
            secret
                .ok_or_else(|| self.missing("client_secret"))?
                .current(),
        ))
    }

    fn endpoint(&self, path: &'static str) -> Result<Url, CallError> {
        let joined = self.config.auth_base.join(&PathAndQuery::from_static(path));
        joined
            .ok()
            .and_then(|uri| Url::parse(&uri.to_string()).ok())
            .ok_or_else(|| self.missing("auth_base"))
    }

    /// Reads a pair of tokens; the answer names the account (Calendly, token response).
    fn minted(&self, answer: &Answer) -> Result<Minted, CallError> {
        let success = minted::read(&self.config.name, answer)?;
        let named = |field: &str| match success.fields.get(field) {
            Some(Value::String(uri)) if !uri.is_empty() => Some(uri.clone()),
            _ => None,
        };
        let account = Account {
            external_id: named("owner"),
            organization: named("organization"),
            managed_user_id: None,
        };
        Ok(Minted {
            account,
            ..success.minted
        })
    }

    /// Makes a call of the API.
    async fn ask(&self, token: &Secret<String>, question: Question<'_>) -> Result<Reply, ApiError> {
        self.calls.ask(self, question, token).await
    }

    fn impossible(&self, what: &'static str) -> ApiError {
        api::impossible(&self.config.name, what)
    }

    fn missing(&self, setting: &'static str) -> CallError {
        CallError::NotConfigured {
            provider: self.config.name.clone(),
            setting,
        }
    }
}

/// Refusals that are not about the token (Calendly, how API calls fail). They are told apart by
/// `required_scopes` and by the word that asks for money; the titles are not to be relied on.
impl Dialect for Calendly {
    fn denial(&self, body: &Value) -> Denial {
        if body.get("required_scopes").is_some() {
            let missing = field::texts(body, "/required_scopes").filter(|text| is_scope(text));
            return Denial::Scope {
                missing: missing.map(ToOwned::to_owned).collect(),
            };
        }
        match field::text(body, "/message") {
            Some(message) if message.contains("upgrade") => Denial::Plan,
            _ => Denial::Permission,
        }
    }
}

#[async_trait]
impl Provider for Calendly {
    fn name(&self) -> &ProviderName {
        &self.config.name
    }

    fn kind(&self) -> Kind {
        Kind::Calendly
    }

    fn api_base(&self) -> &ApiBase {
        &self.config.api_base
    }

    fn judge(&self, status: StatusCode, _headers: &HeaderMap) -> Judgement {
        if status == StatusCode::UNAUTHORIZED {
            Judgement::Refused
        } else {
            Judgement::Passed
        }
    }

    fn judge_body(&self, status: StatusCode, _body: &[u8]) -> Verdict {
        if status == StatusCode::UNAUTHORIZED {
            Verdict::Refused
        } else {
            Verdict::Passed
        }
    }

    fn has_absolute_page_links(&self) -> bool {
        true
    }

    async fn refresh(
        &self,
        _account: &Account,
        token: &Secret<String>,
    ) -> Result<Minted, CallError> {
        let (id, secret) = self.client()?;
        let request = self
            .calls
            .post(self.endpoint("/oauth/token")?)
            .basic_auth(id, Some(secret.danger_expose()))
            .form(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", token.danger_expose()),
            ]);
        let answer = self.calls.send(&self.config.name, request).await?;
        if answer.status.is_success() {
            self.minted(&answer)
        } else {
            Err(refusal::oauth(&self.config.name, &answer))
        }
    }

    fn can_force(&self, _account: &Account) -> bool {
        false
    }

    async fn force_refresh(&self, _account: &Account) -> Result<Minted, CallError> {
        Err(self.missing("force refresh"))
    }

    async fn revoke(&self, token: &Secret<String>) -> Result<bool, CallError> {
        let (id, secret) = self.client()?;
        let request = self.calls.post(self.endpoint("/oauth/revoke")?).form(&[
            ("client_id", id),
            ("client_secret", secret.danger_expose()),
            ("token", token.danger_expose()),
        ]);
        let answer = self.calls.send(&self.config.name, request).await?;
        if answer.status.is_success() {
            Ok(true)
        } else {
            Err(refusal::oauth(&self.config.name, &answer))
        }
    }

    fn default_lifetime(&self, _account: &Account) -> Duration {
        LIFETIME
    }

    fn background_calls_per_minute(&self) -> u32 {
        BACKGROUND_CALLS_PER_MINUTE
    }

    fn consent(&self) -> Option<&dyn Consent> {
        Some(self)
    }

    fn webhooks(&self) -> Option<&dyn Webhooks> {
        Some(self)
    }

    fn meetings(&self) -> Option<&dyn Meetings> {
        Some(self)
    }
}

impl fmt::Debug for Calendly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calendly")
            .field("name", &self.config.name)
            .field("api_base", &self.config.api_base)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
