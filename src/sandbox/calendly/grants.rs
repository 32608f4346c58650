//! Minting and killing tokens, whoever asks: the endpoints, the control API, tests.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Calendly,
    state::{CLIENT, Grant, State, User},
};
use crate::{
    base::clock::Timestamp,
    sandbox::{Created, Killed, NewUser, Revoke, jwt, log::token_id},
};

/// §1.4.
const ACCESS: Duration = Duration::from_hours(2);

/// §1.5, without the families that no emulated route looks at.
pub(crate) const ALL_SCOPES: &str = "availability:read event_types:write locations:read \
    scheduled_events:write organizations:write users:read webhooks:write";

/// Every scope of the catalogue (§1.5); anything else breaks authorize.
pub(crate) const CATALOGUE: [&str; 26] = [
    "availability:read",
    "availability:write",
    "event_types:read",
    "event_types:write",
    "locations:read",
    "routing_forms:read",
    "shares:write",
    "scheduled_events:read",
    "scheduled_events:write",
    "scheduling_links:write",
    "groups:read",
    "organizations:read",
    "organizations:write",
    "users:read",
    "webhooks:read",
    "webhooks:write",
    "activity_log:read",
    "data_compliance:write",
    "outgoing_communications:read",
    "contacts:read",
    "contacts:write",
    "meeting_recaps:read",
    "default",
    "openid",
    "email",
    "profile",
];

/// A new pair.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) grant: Grant,
    pub(crate) lifetime: Duration,
}

// === impl Calendly ===

impl Calendly {
    pub(crate) fn mint(&self, state: &mut State, user: &str, scope: &str) -> Pair {
        let now = self.stage.now();
        let lifetime = self
            .stage
            .switch(|switches| switches.access_lifetime_secs)
            .map_or(ACCESS, Duration::from_secs);
        let grant = Grant {
            user: user.to_owned(),
            scope: scope.to_owned(),
            created: now,
            expires_at: now.saturating_add(lifetime),
            access_revoked: false,
            refresh_spent: false,
        };
        let claims = json!({
            "iss": "https://auth.calendly.com/sandbox",
            "iat": now.as_secs(),
            "exp": grant.expires_at.as_secs(),
            "jti": format!("sandbox-{}", self.stage.uuid()),
            "user_uuid": user,
            "app_uid": CLIENT,
        });
        let pair = Pair {
            access: jwt::sign(&claims, &self.key),
            refresh: self.stage.hex::<32>(),
            grant,
            lifetime,
        };
        let number = state.next();
        state.grants.insert(number, pair.grant.clone());
        state.access.insert(pair.access.clone(), number);
        state.refresh.insert(pair.refresh.clone(), number);
        if let Some(name) = state.name_of(user) {
            state.names.insert(token_id(&pair.access), name.clone());
            state.names.insert(token_id(&pair.refresh), name);
        }
        pair
    }

    /// The answer of the token endpoint (§1.3).
    pub(crate) fn shown(&self, pair: &Pair) -> Value {
        let base = &self.stage.base_url;
        let state = self.state.lock();
        let organization = state
            .users
            .get(&pair.grant.user)
            .map(|user| user.organization_uri(base));
        json!({
            "token_type": "Bearer",
            "access_token": pair.access,
            "refresh_token": pair.refresh,
            "scope": pair.grant.scope,
            "created_at": pair.grant.created.as_secs(),
            "expires_in": pair.lifetime.as_secs(),
            "owner": format!("{base}/users/{}", pair.grant.user),
            "organization": organization,
        })
    }

    pub(crate) fn user_named(&self, state: &mut State, order: &NewUser) -> Result<User, String> {
        if let Some(user) = state.by_name(&order.name) {
            return Ok(user.clone());
        }
        let colleague = match &order.colleague_of {
            Some(name) => {
                let known = state.by_name(name).map(|user| user.organization.clone());
                Some(known.ok_or_else(|| format!("there is no user {name}"))?)
            }
            None => None,
        };
        let user = User {
            id: self.stage.short_id(),
            name: order.name.clone(),
            email: format!("{}@sandbox.test", order.name),
            owner: colleague.is_none(),
            organization: colleague.unwrap_or_else(|| self.stage.uuid()),
            group: order.group.clone(),
            free_plan: order.free_plan,
            created: self.stage.now(),
        };
        state.users.insert(user.id.clone(), user.clone());
        Ok(user)
    }

    pub(crate) fn mint_for(&self, order: &NewUser) -> Result<Created, String> {
        if order.name.is_empty() {
            return Err("a user needs a name".to_owned());
        }
        let (legacy, client_secret) = self
            .stage
            .switch(|switches| (switches.calendly.legacy_app, switches.client_secret.clone()));
        let all = if legacy { "default" } else { ALL_SCOPES };
        let scope = order.scope.as_deref().unwrap_or(all);
        let mut state = self.state.lock();
        let user = self.user_named(&mut state, order)?;
        let pair = self.mint(&mut state, &user.id, scope);
        drop(state);
        let base = &self.stage.base_url;
        Ok(Created {
            external_id: user.uri(base),
            managed_user_id: None,
            organization: Some(user.organization_uri(base)),
            name: user.name,
            email: user.email,
            client_id: CLIENT.to_owned(),
            client_secret,
            access_token: pair.access,
            refresh_token: pair.refresh,
            access_expires_at: pair.grant.expires_at,
            refresh_expires_at: None,
            scope: Some(scope.to_owned()),
        })
    }

    pub(crate) fn kill_tokens(&self, order: &Revoke) -> Result<(), String> {
        let now = self.stage.now();
        let mut state = self.state.lock();
        let id = state.by_name(&order.user).map(|user| user.id.clone());
        let id = id.ok_or_else(|| format!("there is no user {}", order.user))?;
        for grant in state.grants.values_mut().filter(|grant| grant.user == id) {
            grant.kill(order.what, now);
        }
        if order.what == Killed::User {
            state.users.remove(&id);
        }
        Ok(())
    }
}

// === impl Grant ===

impl Grant {
    fn kill(&mut self, what: Killed, now: Timestamp) {
        match what {
            Killed::Access => self.access_revoked = true,
            Killed::Expire => self.expires_at = self.expires_at.min(now),
            Killed::Grant | Killed::User => {
                self.access_revoked = true;
                self.refresh_spent = true;
            }
        }
    }
}
