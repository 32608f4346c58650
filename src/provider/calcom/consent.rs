//! Consent at Cal.com.
//!
//! 1. A client with a secret shows that and uses no PKCE; one without is public and uses PKCE. Both at
//!    once is a dead end: the challenge makes the verifier necessary, which beside the secret is one
//!    field too many (Cal.com, user-level OAuth 2.0).
//! 2. The scope is required of newer clients and unknown to the oldest: it is sent if configured.
//! 3. Scopes of legacy clients are not enforced, so nothing is missing there.

use async_trait::async_trait;
use url::Url;

use super::Calcom;
use crate::{
    base::secret::{ReloadableSecret, Secret},
    provider::{
        Account, ApiError, Ask, CallError, Consent, Identity, Lack, Minted, Pkce, Purpose, Redeem,
        api::Question,
        consent::{lacking, scopes},
        field, refusal,
    },
};

/// What Daypass does itself (Cal.com, scopes). Writing does not include reading here.
const NEEDS: [(&str, Purpose); 4] = [
    ("PROFILE_READ", Purpose::Identity),
    ("BOOKING_READ", Purpose::Meetings),
    ("WEBHOOK_READ", Purpose::Webhooks),
    ("WEBHOOK_WRITE", Purpose::Webhooks),
];

/// What legacy clients have; nobody looks at it.
const LEGACY: [&str; 2] = ["READ_BOOKING", "READ_PROFILE"];

#[async_trait]
impl Consent for Calcom {
    fn pkce(&self) -> Pkce {
        if self.config.client_secret.is_some() {
            Pkce::Unused
        } else {
            Pkce::S256
        }
    }

    fn redirect_uri(&self, callback: &Url) -> Url {
        let configured = self.config.redirect_uri.as_ref();
        configured.unwrap_or(callback).clone()
    }

    fn authorize_url(&self, ask: &Ask<'_>) -> Result<Url, CallError> {
        let id = self.client_id()?;
        let mut url = self.config.authorize_url.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("client_id", id)
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", ask.redirect_uri.as_str())
            .append_pair("state", ask.state);
        if !self.config.scope.is_empty() {
            query.append_pair("scope", &self.config.scope);
        }
        if let Some(verifier) = ask.verifier.filter(|_| self.pkce() == Pkce::S256) {
            query
                .append_pair("code_challenge", &verifier.challenge())
                .append_pair("code_challenge_method", "S256");
        }
        drop(query);
        Ok(url)
    }

    async fn exchange(&self, redeem: &Redeem<'_>) -> Result<Minted, CallError> {
        let name = &self.config.name;
        let secret = self.config.client_secret.as_ref();
        let secret = secret.map(ReloadableSecret::current);
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", self.client_id()?),
            ("code", redeem.code.danger_expose()),
            ("redirect_uri", redeem.redirect_uri.as_str()),
        ];
        match (&secret, redeem.verifier) {
            (Some(secret), _) => form.push(("client_secret", secret.danger_expose())),
            (None, Some(verifier)) => {
                form.push(("code_verifier", verifier.secret().danger_expose()));
            }
            (None, None) => return Err(self.missing("client_secret")),
        }
        let request = self.calls.post(self.config.token_url.clone()).form(&form);
        let answer = self.calls.send(name, request).await?;
        if answer.status.is_success() {
            self.minted_oauth(&answer)
        } else {
            Err(refusal::code(name, &answer))
        }
    }

    fn lacking(&self, granted: Option<&str>) -> Vec<Lack> {
        let enforced = granted.filter(|granted| is_enforced(granted));
        lacking(enforced, &self.config.scope, &NEEDS, covers)
    }

    /// `GET /v2/me` (Cal.com, sync reads).
    async fn identify(&self, token: &Secret<String>) -> Result<Identity, ApiError> {
        let body = self.ask(token, Question::get(&["v2", "me"])).await?.body;
        let account = Account {
            external_id: field::id(&body, "/data/id"),
            organization: field::id(&body, "/data/organizationId"),
            managed_user_id: None,
        };
        if account.external_id.is_none() {
            return Err(self.unreadable());
        }
        let text = |pointer| field::text(&body, pointer).map(ToOwned::to_owned);
        Ok(Identity {
            account,
            name: text("/data/name"),
            email: text("/data/email"),
            username: text("/data/username"),
        })
    }
}

// === impl Calcom ===

impl Calcom {
    pub(super) fn client_id(&self) -> Result<&str, CallError> {
        let id = self.config.client_id.as_deref();
        id.ok_or_else(|| self.missing("client_id"))
    }
}

/// Whether a grant, as far as it is known, includes `wanted`.
pub(super) fn grants(granted: Option<&str>, wanted: &str) -> bool {
    match granted.filter(|granted| is_enforced(granted)) {
        Some(granted) => scopes(granted).any(|one| covers(one, wanted)),
        None => true,
    }
}

fn is_enforced(granted: &str) -> bool {
    let mut granted = scopes(granted).peekable();
    granted.peek().is_some() && !granted.any(|scope| LEGACY.contains(&scope))
}

/// What is granted for an organization is granted for its teams (Cal.com, scopes).
fn covers(granted: &str, wanted: &str) -> bool {
    let team = |organization: &str| wanted.strip_prefix("TEAM_") == Some(organization);
    granted == wanted || granted.strip_prefix("ORG_").is_some_and(team)
}
