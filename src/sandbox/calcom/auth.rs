//! Who is calling: the guards of API v2 (§3, §4), in the order in which they run.

use http::HeaderMap;
use serde_json::Value;

use super::{
    Calcom,
    answer::Refusal,
    state::{PLATFORM_CLIENT, PLATFORM_OWNER, State},
};
use crate::sandbox::{
    front::Seen,
    jwt,
    log::{Kind, token_id},
    stage::Stage,
    wire::header,
};

/// Which guards a controller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// The token is looked at first: 401 or 498.
    Plain,
    /// The permissions are looked at first: a dead token gives the leaking 403 (§3 row 6).
    PermissionsFirst,
}

/// Whoever passed the guards.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) id: i64,
    pub(crate) name: String,
    /// Granted scopes; `None` where none are enforced.
    scopes: Option<Vec<String>>,
}

const NO_METHOD: &str = "ApiAuthStrategy - No authentication method provided. Either pass an API \
    key as 'Bearer' header or OAuth client credentials as 'x-cal-secret-key' and 'x-cal-client-id' \
    headers";
const ONLY_ID: &str = "ApiAuthStrategy - Only 'x-cal-client-id' header provided. Please also \
    provide 'x-cal-secret-key' header or Auth bearer token as 'Authorization: Bearer ${accessToken}'";
const ONLY_SECRET: &str = "ApiAuthStrategy - Only 'x-cal-secret-key' header provided. Please also \
    provide 'x-cal-client-id' header";

/// §4: what a request counts against.
pub(crate) fn bucket(stage: &Stage, seen: &Seen) -> Option<(String, u32)> {
    let per_token = stage.switch(|switches| switches.api_per_minute);
    let per_address = stage.switch(|switches| switches.token_per_minute);
    if seen.kind == Kind::Page {
        return None;
    }
    if let Some(credential) = header(&seen.headers, "authorization") {
        return Some((format!("token:{}", token_id(credential)), per_token));
    }
    match header(&seen.headers, "x-cal-client-id") {
        Some(client) => Some((format!("client:{client}"), per_token)),
        // Every caller comes from this machine: one address, one bucket.
        None => Some(("address".to_owned(), per_address)),
    }
}

// === impl Caller ===

impl Caller {
    /// Refuses a caller whose grant lacks `scope`.
    pub(crate) fn need(self, scope: &str) -> Result<Self, Refusal> {
        match &self.scopes {
            Some(granted) if !granted.iter().any(|one| one == scope) => Err(Refusal::scope(scope)),
            _ => Ok(self),
        }
    }
}

// === impl Calcom ===

impl Calcom {
    /// Who sent `headers`. Client credentials outrank the bearer, and act as the owner of the client.
    pub(crate) fn caller(&self, headers: &HeaderMap, guard: Guard) -> Result<Caller, Refusal> {
        let client = header(headers, "x-cal-client-id");
        let secret = header(headers, "x-cal-secret-key");
        if let (Some(client), Some(secret)) = (client, secret) {
            self.check_platform_client(client, secret)?;
            return self.owner();
        }
        let Some(credential) = header(headers, "authorization") else {
            return Err(Refusal::unauthorized(match (client, secret) {
                (Some(_), _) => ONLY_ID,
                (None, Some(_)) => ONLY_SECRET,
                (None, None) => NO_METHOD,
            }));
        };
        let token = credential.replace("Bearer ", "");
        if token.starts_with("cal_") {
            return Err(Refusal::unauthorized(
                "ApiAuthStrategy - api key - Your api key is not valid",
            ));
        }
        if guard == Guard::PermissionsFirst && !self.has_client(&token) {
            return Err(Refusal::leaking(&token));
        }
        match self.oauth2_claims(&token) {
            Some(claims) => self.oauth2_caller(&claims),
            None => self.managed_caller(&token, headers),
        }
    }

    /// As [`Self::caller`], but nobody at all is let in too: the optional guard of §3.
    pub(crate) fn anyone(&self, headers: &HeaderMap) -> Result<Option<Caller>, Refusal> {
        let named = ["authorization", "x-cal-client-id", "x-cal-secret-key"];
        if named.iter().any(|name| headers.contains_key(*name)) {
            return self.caller(headers, Guard::Plain).map(Some);
        }
        Ok(None)
    }

    /// §1a: the exact refusals of client credentials.
    pub(crate) fn check_platform_client(&self, id: &str, secret: &str) -> Result<(), Refusal> {
        if id != PLATFORM_CLIENT {
            return Err(Refusal::unauthorized(format!(
                "ApiAuthStrategy - oAuth client - Client with ID {id} not found"
            )));
        }
        let right = self
            .stage
            .switch(|switches| switches.calcom.platform_client_secret == secret);
        if right {
            Ok(())
        } else {
            Err(Refusal::unauthorized(
                "ApiAuthStrategy - oAuth client - Invalid client secret",
            ))
        }
    }

    /// The guard of managed-user routes: the client is named by the path, the secret by a header.
    pub(crate) fn platform(&self, headers: &HeaderMap, client: &str) -> Result<(), Refusal> {
        match header(headers, "x-cal-secret-key") {
            Some(secret) => self.check_platform_client(client, secret),
            None if headers.contains_key("x-cal-client-id") => Err(Refusal::unauthorized(ONLY_ID)),
            None => Err(Refusal::unauthorized(NO_METHOD)),
        }
    }

    /// The claims of a live `OAuth2` access token.
    pub(crate) fn oauth2_claims(&self, token: &str) -> Option<Value> {
        let claims = jwt::verify(token, &self.key)?;
        let live = claims.get("token_type")? == "Access Token"
            && claims.get("exp")?.as_i64()? > self.stage.now().as_secs()
            && !self.state.lock().revoked.contains(&token_id(token));
        live.then_some(claims)
    }

    fn owner(&self) -> Result<Caller, Refusal> {
        known(&self.state.lock(), PLATFORM_OWNER, None)
    }

    fn oauth2_caller(&self, claims: &Value) -> Result<Caller, Refusal> {
        let id = claims.get("userId").and_then(Value::as_i64).unwrap_or(0);
        let scopes = claims.get("scope").and_then(Value::as_array).map(|list| {
            list.iter()
                .filter_map(Value::as_str)
                .map(ToOwned::to_owned)
                .collect()
        });
        known(&self.state.lock(), id, scopes)
    }

    /// §3 rows 1 to 3, then the origin check.
    fn managed_caller(&self, token: &str, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let cached = self.stage.switch(|switches| switches.calcom.cached_kills);
        let now = self.stage.now();
        let state = self.state.lock();
        let Some(row) = state.access.get(token) else {
            return Err(Refusal::unauthorized(
                if cached && state.killed.contains(token) {
                    "ApiAuthStrategy - access token - OAuth client not found given the access token"
                } else {
                    "Invalid Access Token."
                },
            ));
        };
        if row.expires_at <= now {
            return Err(Refusal::expired());
        }
        let user = row.user;
        if let Some(origin) = header(headers, "origin")
            && !self.stage.may_redirect(origin)
        {
            return Err(Refusal::unauthorized(format!(
                "ApiAuthStrategy - access token - Invalid request origin - please open \
                 https://app.cal.com/settings/platform and add the origin '{origin}' to the \
                 'Redirect uris' of your OAuth client with ID '{PLATFORM_CLIENT}'"
            )));
        }
        known(&state, user, None)
    }

    /// Whether the permissions guard finds a client: it looks for the row, not at its age.
    fn has_client(&self, token: &str) -> bool {
        self.oauth2_claims(token).is_some() || self.state.lock().access.contains_key(token)
    }
}

fn known(state: &State, id: i64, scopes: Option<Vec<String>>) -> Result<Caller, Refusal> {
    let name = state.name_of(id).ok_or_else(|| {
        Refusal::unauthorized(
            "ApiAuthStrategy - access token - User associated with the access token not found.",
        )
    })?;
    Ok(Caller { id, name, scopes })
}
