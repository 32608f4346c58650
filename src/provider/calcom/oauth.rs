//! Tokens by a user's consent: OAuth 2.0 as Cal.com speaks it.
//!
//! 1. The body holds exactly the documented fields, for one more is refused (Cal.com, OAuth2
//!    controller). It is urlencoded, which the older endpoints insist on and the current one takes
//!    too.
//! 2. A client with a secret shows it in the body; one without is public. Configuration decides,
//!    and there is no second try another way, which would redeem the token twice.
//! 3. The token names its user, so the account is known without a call.

use super::Calcom;
use crate::{
    base::secret::{ReloadableSecret, Secret},
    provider::{Account, CallError, Minted, call::Answer, minted, refusal},
};

impl Calcom {
    pub(super) async fn refresh_oauth(&self, token: &Secret<String>) -> Result<Minted, CallError> {
        let name = &self.config.name;
        let id = self.config.client_id.as_deref();
        let id = id.ok_or_else(|| self.missing("client_id"))?;
        let secret = self
            .config
            .client_secret
            .as_ref()
            .map(ReloadableSecret::current);
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("client_id", id),
            ("refresh_token", token.danger_expose()),
        ];
        if let Some(secret) = &secret {
            form.push(("client_secret", secret.danger_expose()));
        }
        let request = self.calls.post(self.config.token_url.clone()).form(&form);
        let answer = self.calls.send(name, request).await?;
        if answer.status.is_success() {
            self.minted_oauth(&answer)
        } else {
            Err(refusal::refresh(name, &answer))
        }
    }

    /// Reads a pair of tokens; the access token names the account.
    pub(super) fn minted_oauth(&self, answer: &Answer) -> Result<Minted, CallError> {
        let success = minted::read(&self.config.name, answer)?;
        let account = Account {
            external_id: success.claims.and_then(|claims| claims.id("userId")),
            ..Account::default()
        };
        Ok(Minted {
            account,
            ..success.minted
        })
    }
}
