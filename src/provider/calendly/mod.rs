//! Calendly.

use url::Url;

use super::ApiBase;
use crate::base::{ids::ProviderName, secret::ReloadableSecret};

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
    /// What users are asked to grant, space separated. Default empty: legacy apps accept nothing else.
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
