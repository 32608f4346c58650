//! Cal.com: two families of tokens behind one API.
//!
//! 1. A connection with a `managed_user_id` is a *managed* one: [`managed`]. Every other one was
//!    made by its user's consent: [`oauth`]. The family is never guessed from the look of a token.
//! 2. Whether an answer refuses the token is read from its status and, for 401 and 403, from its
//!    message: [`judge`].
//! 3. Only managed connections can be forced: only there does the client's secret mint a pair.
//! 4. Which user an account is, its number, is the same in both families, in webhooks and in bookings.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use url::Url;

use super::{
    Account, ApiBase, ApiError, CallError, Calls, Consent, Denial, Judgement, Kind, ManagedUsers,
    Meetings, Minted, Provider, TokenLimit, Unclear, Verdict, Webhooks,
    api::{self, Dialect, Question, Reply},
};
use crate::base::{
    ids::ProviderName,
    secret::{ReloadableSecret, Secret},
};

mod booking;
mod consent;
mod event;
mod judge;
mod managed;
mod managed_user;
mod meeting;
mod oauth;
mod signature;
mod subscription;

/// `[providers.<name>]` with `kind = "calcom"`.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Config {
    /// The table's name.
    pub name: ProviderName,
    /// The origin (and prefix) before `/v2`. Default `https://api.cal.com`.
    pub api_base: ApiBase,
    /// The consent page. Default `https://app.cal.com/auth/oauth2/authorize`.
    pub authorize_url: Url,
    /// The token endpoint. Default `{api_base}/v2/auth/oauth2/token`.
    pub token_url: Url,
    /// The user-level OAuth client.
    pub client_id: Option<String>,
    /// Its secret; without one the client is public and uses PKCE.
    pub client_secret: Option<ReloadableSecret>,
    /// The registered redirect URI; default `{ingress.public_url}/oauth/callback/{name}`.
    pub redirect_uri: Option<Url>,
    /// What users are asked to grant, space separated; may be empty.
    pub scope: String,
    /// The platform client that managed users belong to.
    pub platform_client_id: Option<String>,
    /// Its secret.
    pub platform_client_secret: Option<ReloadableSecret>,
    /// Verifies webhooks of the client.
    pub webhook_secret: Option<ReloadableSecret>,
    /// `cal-api-version` of Daypass's own reads. Default `2024-08-13`.
    pub api_version: String,
}

/// A managed token lives 59 to 60 minutes (Cal.com, rotation); a little less in case none is told.
const MANAGED_LIFETIME: Duration = Duration::from_mins(55);

/// A user's token lives 30 minutes (Cal.com, rotation); a little less in case none is told, as by
/// older servers.
const OAUTH_LIFETIME: Duration = Duration::from_mins(25);

/// Calls from one address without a bearer token are limited to 120 a minute (Cal.com, limits);
/// what is left over is for requests that wait.
const BACKGROUND_CALLS_PER_MINUTE: u32 = 90;

/// From one address, without a bearer token and a client's id in the head (Cal.com, limits).
const ADDRESS_CALLS_PER_MINUTE: u32 = 120;

/// With a platform client's id in the head, as calls for managed users have it (Cal.com, limits).
const CLIENT_CALLS_PER_MINUTE: u32 = 500;

/// A configured Cal.com.
pub struct Calcom {
    config: Config,
    calls: Calls,
}

// === impl Calcom ===

impl Calcom {
    /// The Cal.com of `config`, asked for tokens through `calls`.
    pub const fn new(config: Config, calls: Calls) -> Self {
        Self { config, calls }
    }

    /// Its settings: the consent page, the client, the scope.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Makes a call of the API.
    async fn ask(&self, token: &Secret<String>, question: Question<'_>) -> Result<Reply, ApiError> {
        self.calls.ask(self, question, token).await
    }

    fn unreadable(&self) -> ApiError {
        api::unclear(&self.config.name, Unclear::Unreadable)
    }

    fn missing(&self, setting: &'static str) -> CallError {
        CallError::NotConfigured {
            provider: self.config.name.clone(),
            setting,
        }
    }
}

impl Dialect for Calcom {
    fn denial(&self, body: &Value) -> Denial {
        judge::denial(body)
    }
}

#[async_trait]
impl Provider for Calcom {
    fn name(&self) -> &ProviderName {
        &self.config.name
    }

    fn kind(&self) -> Kind {
        Kind::Calcom
    }

    fn api_base(&self) -> &ApiBase {
        &self.config.api_base
    }

    fn judge(&self, status: StatusCode, headers: &HeaderMap) -> Judgement {
        judge::head(status, headers)
    }

    fn judge_body(&self, status: StatusCode, body: &[u8]) -> Verdict {
        judge::body(status, body)
    }

    fn has_absolute_page_links(&self) -> bool {
        false
    }

    async fn refresh(
        &self,
        account: &Account,
        token: &Secret<String>,
    ) -> Result<Minted, CallError> {
        match account.managed_user_id {
            Some(user) => self.refresh_managed(user, token).await,
            None => self.refresh_oauth(token).await,
        }
    }

    fn can_force(&self, account: &Account) -> bool {
        account.managed_user_id.is_some()
    }

    async fn force_refresh(&self, account: &Account) -> Result<Minted, CallError> {
        match account.managed_user_id {
            Some(user) => self.force_managed(user).await,
            None => Err(self.missing("force refresh for this account")),
        }
    }

    /// Cal.com has no such call (Cal.com, token endpoints).
    async fn revoke(&self, _token: &Secret<String>) -> Result<bool, CallError> {
        Ok(false)
    }

    fn default_lifetime(&self, account: &Account) -> Duration {
        if account.managed_user_id.is_some() {
            MANAGED_LIFETIME
        } else {
            OAUTH_LIFETIME
        }
    }

    fn background_calls_per_minute(&self) -> u32 {
        BACKGROUND_CALLS_PER_MINUTE
    }

    fn token_limit(&self) -> TokenLimit {
        let per_minute = match self.config.client_id {
            None if self.config.platform_client_id.is_some() => CLIENT_CALLS_PER_MINUTE,
            _ => ADDRESS_CALLS_PER_MINUTE,
        };
        TokenLimit::Shared { per_minute }
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

    fn managed_users(&self) -> Option<&dyn ManagedUsers> {
        self.config.platform_client_id.as_ref().map(|_| self as _)
    }
}

impl fmt::Debug for Calcom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calcom")
            .field("name", &self.config.name)
            .field("api_base", &self.config.api_base)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
