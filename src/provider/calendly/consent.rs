//! Consent at Calendly.
//!
//! 1. PKCE is always used: newer pages direct every app to it (Calendly, endpoints and authorize
//!    request).
//! 2. An empty scope is left out altogether, for legacy apps refuse any (Calendly, scopes).
//! 3. The extra parameters, `prompt=consent` unless configured otherwise, are documented nowhere and
//!    come last.

use async_trait::async_trait;
use serde_json::Value;
use url::Url;

use super::Calendly;
use crate::{
    base::secret::Secret,
    provider::{
        Account, ApiError, Ask, CallError, Consent, Identity, Lack, Minted, Pkce, Purpose, Redeem,
        Unclear,
        api::{self, Question},
        consent::{lacking, scopes},
        field, refusal,
    },
};

/// What Daypass does itself. Writing includes reading (Calendly, scopes).
const NEEDS: [(&str, Purpose); 3] = [
    ("users:read", Purpose::Identity),
    ("scheduled_events:read", Purpose::Meetings),
    ("webhooks:write", Purpose::Webhooks),
];

/// What legacy apps have, which is everything.
const LEGACY: &str = "default";

#[async_trait]
impl Consent for Calendly {
    fn pkce(&self) -> Pkce {
        Pkce::S256
    }

    fn redirect_uri(&self, callback: &Url) -> Url {
        let configured = self.config.redirect_uri.as_ref();
        configured.unwrap_or(callback).clone()
    }

    fn authorize_url(&self, ask: &Ask<'_>) -> Result<Url, CallError> {
        let (id, _secret) = self.client()?;
        let mut url = self.endpoint("/oauth/authorize")?;
        let mut query = url.query_pairs_mut();
        query
            .append_pair("client_id", id)
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", ask.redirect_uri.as_str())
            .append_pair("state", ask.state);
        if !self.config.scope.is_empty() {
            query.append_pair("scope", &self.config.scope);
        }
        if let Some(verifier) = ask.verifier {
            query
                .append_pair("code_challenge", &verifier.challenge())
                .append_pair("code_challenge_method", "S256");
        }
        query.extend_pairs(&self.config.authorize_params);
        drop(query);
        Ok(url)
    }

    async fn exchange(&self, redeem: &Redeem<'_>) -> Result<Minted, CallError> {
        let (id, secret) = self.client()?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", redeem.code.danger_expose().as_str()),
            ("redirect_uri", redeem.redirect_uri.as_str()),
        ];
        if let Some(verifier) = redeem.verifier {
            form.push(("code_verifier", verifier.secret().danger_expose()));
        }
        let request = self
            .calls
            .post(self.endpoint("/oauth/token")?)
            .basic_auth(id, Some(secret.danger_expose()))
            .form(&form);
        let answer = self.calls.send(&self.config.name, request).await?;
        if answer.status.is_success() {
            self.minted(&answer)
        } else {
            Err(refusal::code(&self.config.name, &answer))
        }
    }

    fn lacking(&self, granted: Option<&str>) -> Vec<Lack> {
        lacking(granted, &self.config.scope, &NEEDS, covers)
    }

    /// `GET /users/me` (Calendly, reads).
    async fn identify(&self, token: &Secret<String>) -> Result<Identity, ApiError> {
        let me = Question::get(&["users", "me"]);
        let body: Value = self.ask(token, me).await?.body;
        let text = |pointer| field::text(&body, pointer).map(ToOwned::to_owned);
        let account = Account {
            external_id: text("/resource/uri"),
            organization: text("/resource/current_organization"),
            managed_user_id: None,
        };
        if account.external_id.is_none() {
            return Err(api::unclear(&self.config.name, Unclear::Unreadable));
        }
        Ok(Identity {
            account,
            name: text("/resource/name"),
            email: text("/resource/email"),
            username: text("/resource/slug"),
        })
    }
}

/// Whether a grant, as far as it is known, includes `wanted`.
pub(super) fn grants(granted: Option<&str>, wanted: &str) -> bool {
    granted.is_none_or(|granted| scopes(granted).any(|one| covers(one, wanted)))
}

fn covers(granted: &str, wanted: &str) -> bool {
    let written = |family: &str| wanted.strip_suffix(":read") == Some(family);
    granted == wanted || granted == LEGACY || granted.strip_suffix(":write").is_some_and(written)
}

/// Whether a text of an answer has the form of a scope, and so nothing else in it.
pub(super) fn is_scope(text: &str) -> bool {
    let family = text
        .strip_suffix(":read")
        .or_else(|| text.strip_suffix(":write"));
    family.is_some_and(|family| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        (1..=40).contains(&family.len()) && family.bytes().all(plain)
    })
}
