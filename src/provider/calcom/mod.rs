//! Cal.com.

use url::Url;

use super::ApiBase;
use crate::base::{ids::ProviderName, secret::ReloadableSecret};

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
