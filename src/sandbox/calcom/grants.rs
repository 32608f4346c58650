//! Minting and killing tokens, whoever asks: the endpoints, the control API, tests.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Calcom,
    state::{CLIENT, PLATFORM_CLIENT, Row, State, User},
};
use crate::{
    base::clock::Timestamp,
    sandbox::{Created, Family, Killed, NewUser, Revoke, jwt, log::token_id},
};

/// §2: hard-coded in the service.
const MANAGED_ACCESS: Duration = Duration::from_hours(1);
const MANAGED_REFRESH: Duration = Duration::from_hours(365 * 24);
/// §1b.
const OAUTH2_ACCESS: Duration = Duration::from_mins(30);
const OAUTH2_REFRESH: Duration = Duration::from_hours(30 * 24);

const MINUTE_MILLIS: i64 = 60_000;
const DAY_MILLIS: i64 = 86_400_000;

/// Every scope of §1b that the emulated routes look at, and some that they do not.
pub(crate) const ALL_SCOPES: &str = "PROFILE_READ PROFILE_WRITE BOOKING_READ BOOKING_WRITE \
    EVENT_TYPE_READ EVENT_TYPE_WRITE SCHEDULE_READ SCHEDULE_WRITE WEBHOOK_READ WEBHOOK_WRITE";

/// A new pair.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) access_expires_at: Timestamp,
    pub(crate) refresh_expires_at: Timestamp,
    /// Whole life of the access token.
    pub(crate) lifetime: Duration,
}

// === impl Calcom ===

impl Calcom {
    /// Makes a user, unless there is one of that name and family.
    pub(crate) fn user_named(&self, state: &mut State, name: &str, managed: bool) -> User {
        if let Some(user) = state.by_name(name, managed) {
            return user.clone();
        }
        let email = format!("{name}@sandbox.test");
        let user = User {
            id: state.next_id(),
            name: name.to_owned(),
            email: if managed { rewritten(&email) } else { email },
            managed,
            time_zone: "Europe/Berlin".to_owned(),
            metadata: json!({}),
            created: self.stage.now(),
        };
        state.users.insert(user.id, user.clone());
        user
    }

    pub(crate) fn mint_managed(&self, state: &mut State, user: i64) -> Pair {
        let now = self.stage.now();
        let (access_life, refresh_life, floors) = self.stage.switch(|switches| {
            (
                switches.access_lifetime_secs,
                switches.refresh_lifetime_secs,
                switches.calcom.floor_times,
            )
        });
        let lifetime = access_life.map_or(MANAGED_ACCESS, Duration::from_secs);
        let access_floor = floors && access_life.is_none();
        let refresh_floor = floors && refresh_life.is_none();
        let access_at = floored(now.saturating_add(lifetime), MINUTE_MILLIS, access_floor);
        let refresh_life = refresh_life.map_or(MANAGED_REFRESH, Duration::from_secs);
        let refresh_at = floored(now.saturating_add(refresh_life), DAY_MILLIS, refresh_floor);
        let pair = Pair {
            access: self.managed_jwt("access_token", access_at),
            refresh: self.managed_jwt("refresh_token", refresh_at),
            access_expires_at: access_at,
            refresh_expires_at: refresh_at,
            lifetime,
        };
        let row = |expires_at| Row { user, expires_at };
        state.access.insert(pair.access.clone(), row(access_at));
        state.refresh.insert(pair.refresh.clone(), row(refresh_at));
        state.remember(&pair, user);
        pair
    }

    /// §1b: the access token has no `jti`, so two of the same second are identical.
    pub(crate) fn mint_oauth2(
        &self,
        state: &mut State,
        client: &str,
        user: i64,
        scope: &str,
    ) -> Pair {
        let now = self.stage.now();
        let (access_life, refresh_life) = self.stage.switch(|switches| {
            (
                switches.access_lifetime_secs,
                switches.refresh_lifetime_secs,
            )
        });
        let lifetime = access_life.map_or(OAUTH2_ACCESS, Duration::from_secs);
        let access_at = now.saturating_add(lifetime);
        let refresh_at =
            now.saturating_add(refresh_life.map_or(OAUTH2_REFRESH, Duration::from_secs));
        let scopes: Vec<_> = scope.split_whitespace().collect();
        let secret = self.stage.hex::<16>();
        let claims = |kind: &str, expires: Timestamp| {
            json!({
                "userId": user,
                "teamId": null,
                "scope": scopes,
                "token_type": kind,
                "clientId": client,
                "iat": now.as_secs(),
                "exp": expires.as_secs(),
            })
        };
        let mut refresh_claims = claims("Refresh Token", refresh_at);
        if let Value::Object(map) = &mut refresh_claims {
            map.insert("secret".to_owned(), json!(secret));
        }
        let pair = Pair {
            access: jwt::sign(&claims("Access Token", access_at), &self.key),
            refresh: jwt::sign(&refresh_claims, &self.key),
            access_expires_at: access_at,
            refresh_expires_at: refresh_at,
            lifetime,
        };
        state.rotating.insert(secret, (client.to_owned(), user));
        let id = token_id(&pair.access);
        // Two of one second are the same token: a new one revives what was refused.
        state.revoked.remove(&id);
        state.issued.insert(id, user);
        state.remember(&pair, user);
        pair
    }

    pub(crate) fn mint_for(&self, order: &NewUser) -> Result<Created, String> {
        if order.name.is_empty() {
            return Err("a user needs a name".to_owned());
        }
        let managed = order.family == Family::Managed;
        let scope = order.scope.as_deref().unwrap_or(ALL_SCOPES);
        let mut state = self.state.lock();
        let user = self.user_named(&mut state, &order.name, managed);
        let pair = if managed {
            self.mint_managed(&mut state, user.id)
        } else {
            self.mint_oauth2(&mut state, CLIENT, user.id, scope)
        };
        drop(state);
        let secret = self.stage.switch(|switches| {
            if managed {
                switches.calcom.platform_client_secret.clone()
            } else {
                switches.client_secret.clone()
            }
        });
        Ok(Created {
            name: user.name,
            external_id: user.id.to_string(),
            managed_user_id: managed.then_some(user.id),
            organization: None,
            email: user.email,
            client_id: if managed { PLATFORM_CLIENT } else { CLIENT }.to_owned(),
            client_secret: secret,
            access_token: pair.access,
            refresh_token: pair.refresh,
            access_expires_at: pair.access_expires_at,
            refresh_expires_at: Some(pair.refresh_expires_at),
            scope: (!managed).then(|| scope.to_owned()),
        })
    }

    pub(crate) fn kill_tokens(&self, order: &Revoke) -> Result<(), String> {
        let now = self.stage.now();
        let mut state = self.state.lock();
        let ids: Vec<_> = state
            .users
            .values()
            .filter(|user| user.name == order.user)
            .map(|user| user.id)
            .collect();
        if ids.is_empty() {
            return Err(format!("there is no user {}", order.user));
        }
        for id in ids {
            match order.what {
                Killed::Access => state.kill_access(id),
                Killed::Expire => state.expire_access(id, now),
                Killed::Grant => {
                    state.kill_access(id);
                    state.kill_refresh(id);
                }
                Killed::User => {
                    state.kill_refresh(id);
                    state.users.remove(&id);
                }
            }
        }
        Ok(())
    }

    fn managed_jwt(&self, kind: &str, expires_at: Timestamp) -> String {
        let claims = json!({
            "type": kind,
            "clientId": PLATFORM_CLIENT,
            "ownerId": 1,
            "expiresAt": expires_at.as_millis(),
            "iat": self.stage.now().as_secs(),
            "jti": self.stage.uuid(),
        });
        jwt::sign(&claims, &self.key)
    }
}

/// §1a: the stored address carries the client id.
pub(crate) fn rewritten(email: &str) -> String {
    match email.split_once('@') {
        Some((local, domain)) => format!("{local}+{PLATFORM_CLIENT}@{domain}"),
        None => email.to_owned(),
    }
}

fn floored(at: Timestamp, unit_millis: i64, floors: bool) -> Timestamp {
    if floors {
        Timestamp::from_millis(at.as_millis().div_euclid(unit_millis) * unit_millis)
    } else {
        at
    }
}

// === impl State ===

impl State {
    /// Deletes the managed access tokens of `user`, and refuses the `OAuth2` ones.
    pub(crate) fn kill_access(&mut self, user: i64) {
        let dead: Vec<_> = self
            .access
            .extract_if(|_, row| row.user == user)
            .map(|(token, _)| token)
            .collect();
        self.killed.extend(dead);
        let issued = self.issued.iter().filter(|(_, owner)| **owner == user);
        self.revoked.extend(issued.map(|(id, _)| id.clone()));
    }

    pub(crate) fn kill_refresh(&mut self, user: i64) {
        self.refresh.retain(|_, row| row.user != user);
        let dead = self.rotating.extract_if(|_, (_, owner)| *owner == user);
        self.dead_secrets.extend(dead.map(|(secret, _)| secret));
    }

    /// Managed tokens stay as expired rows, until a refresh of any user purges them.
    fn expire_access(&mut self, user: i64, now: Timestamp) {
        for row in self.access.values_mut().filter(|row| row.user == user) {
            row.expires_at = row.expires_at.min(now);
        }
        let issued = self.issued.iter().filter(|(_, owner)| **owner == user);
        self.revoked.extend(issued.map(|(id, _)| id.clone()));
    }

    fn remember(&mut self, pair: &Pair, user: i64) {
        if let Some(name) = self.name_of(user) {
            self.names.insert(token_id(&pair.access), name.clone());
            self.names.insert(token_id(&pair.refresh), name);
        }
    }
}
