//! The token endpoint of user-level `OAuth2` (§1b): strict fields, flat answers.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Router, body::Bytes, extract::State, response::Response, routing::post};
use http::{HeaderMap, HeaderValue, StatusCode, header::CACHE_CONTROL};
use serde_json::{Value, json};

use super::{
    Calcom,
    grants::Pair,
    managed_token::minted,
    state::{CLIENT, PUBLIC_CLIENT},
};
use crate::sandbox::{
    front::{note, noted, token_call},
    jwt,
    log::{TokenCall, token_id},
    switches::{Call, ClientStatus, TokenMischief},
    wire::{fields, json as answer, s256},
};

/// A flat error: status, `error`, `error_description`.
#[derive(Clone, Copy, Debug)]
struct Flat(StatusCode, &'static str, &'static str);

type Fields = BTreeMap<String, String>;

/// What a redemption gives.
struct Done {
    pair: Pair,
    scope: String,
}

pub(crate) fn routes() -> Router<Arc<Calcom>> {
    Router::new().route("/v2/auth/oauth2/token", post(token))
}

async fn token(State(calcom): State<Arc<Calcom>>, headers: HeaderMap, body: Bytes) -> Response {
    let fields = fields(&headers, &body);
    let kind = match fields.as_ref().and_then(|fields| fields.get("grant_type")) {
        Some(grant) if grant == "authorization_code" => Call::Code,
        Some(grant) if grant == "refresh_token" => Call::Refresh,
        _ => Call::Unknown,
    };
    let fault = calcom.stage.token_fault(kind);
    let refused = refused(fault.as_ref());
    let work = async {
        let mut call = note(kind, "ok");
        let done = match (refused, fields) {
            (Some(refusal), _) => Err(refusal),
            (None, None) => Err(invalid_request("body_malformed")),
            (None, Some(fields)) => calcom.grant(kind, &fields, &mut call).await,
        };
        answered(done, call)
    };
    token_call(&calcom.stage, fault, work).await
}

const fn invalid_request(why: &'static str) -> Flat {
    Flat(StatusCode::BAD_REQUEST, "invalid_request", why)
}

const fn invalid_grant(why: &'static str) -> Flat {
    Flat(StatusCode::BAD_REQUEST, "invalid_grant", why)
}

const fn invalid_client(why: &'static str) -> Flat {
    Flat(StatusCode::UNAUTHORIZED, "invalid_client", why)
}

const fn unauthorized_client(why: &'static str) -> Flat {
    Flat(StatusCode::UNAUTHORIZED, "unauthorized_client", why)
}

const fn refused(fault: Option<&TokenMischief>) -> Option<Flat> {
    match fault {
        Some(TokenMischief::InvalidClient) => Some(invalid_client("invalid_client_credentials")),
        Some(TokenMischief::UnauthorizedClient) => Some(unauthorized_client("client_not_approved")),
        Some(TokenMischief::InvalidGrant | TokenMischief::RaceLost) => {
            Some(invalid_grant("refresh_token_revoked"))
        }
        _ => None,
    }
}

fn answered(done: Result<Done, Flat>, mut call: TokenCall) -> Response {
    let (status, body) = match done {
        Ok(done) => {
            minted(&mut call, &done.pair);
            let body = json!({
                "access_token": done.pair.access,
                "refresh_token": done.pair.refresh,
                "token_type": "bearer",
                "expires_in": done.pair.lifetime.as_secs(),
                "scope": done.scope,
            });
            (StatusCode::OK, body)
        }
        Err(Flat(status, error, why)) => {
            error.clone_into(&mut call.outcome);
            (status, json!({"error": error, "error_description": why}))
        }
    };
    let mut response = answer(status, &body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    noted(response, call)
}

/// §1b: exactly the fields of the shape; `client_secret` selects the confidential one.
fn check_fields(kind: Call, fields: &Fields) -> Result<(), Flat> {
    let confidential = fields.contains_key("client_secret");
    let wanted: &[&str] = match (kind, confidential) {
        (Call::Code, true) => &["client_id", "code", "redirect_uri", "client_secret"],
        (Call::Code, false) => &["client_id", "code", "redirect_uri", "code_verifier"],
        (Call::Refresh, true) => &["client_id", "refresh_token", "client_secret"],
        (Call::Refresh, false) => &["client_id", "refresh_token"],
        _ => return Err(invalid_request("grant_type_invalid")),
    };
    let extra = |key: &&String| *key != "grant_type" && !wanted.contains(&key.as_str());
    if fields.keys().any(|key| extra(&key)) {
        return Err(invalid_request("property_should_not_exist"));
    }
    let full = |name: &&str| fields.get(*name).is_some_and(|text| !text.is_empty());
    if wanted.iter().all(full) {
        Ok(())
    } else {
        Err(invalid_request("property_missing"))
    }
}

fn get<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).map(String::as_str).unwrap_or_default()
}

// === impl Calcom ===

impl Calcom {
    async fn grant(&self, kind: Call, fields: &Fields, call: &mut TokenCall) -> Result<Done, Flat> {
        if let Some(token) = fields.get("refresh_token") {
            let id = token_id(token);
            call.user = self.state.lock().names.get(&id).cloned();
            call.refresh = Some(id);
        }
        check_fields(kind, fields)?;
        self.check_client(fields)?;
        if kind == Call::Code {
            self.stage.gap().await;
            self.exchange(fields, call)
        } else {
            self.rotate(fields).await
        }
    }

    fn check_client(&self, fields: &Fields) -> Result<(), Flat> {
        let given = fields.get("client_secret");
        let right = match get(fields, "client_id") {
            PUBLIC_CLIENT => given.is_none(),
            CLIENT => {
                given.is_some()
                    && self
                        .stage
                        .switch(|switches| given == Some(&switches.client_secret))
            }
            _ => return Err(invalid_client("client_not_found")),
        };
        // The status comes before the secret: a client that is not approved is told so.
        match self.stage.switch(|switches| switches.client_status) {
            ClientStatus::Pending => Err(unauthorized_client("client_not_approved")),
            ClientStatus::Rejected => Err(unauthorized_client("client_rejected")),
            ClientStatus::Approved if right => Ok(()),
            ClientStatus::Approved => Err(invalid_client("invalid_client_credentials")),
        }
    }

    /// §1b: a wrong redirect does not burn the code; a wrong verifier does.
    fn exchange(&self, fields: &Fields, call: &mut TokenCall) -> Result<Done, Flat> {
        let now = self.stage.now();
        let mut state = self.state.lock();
        let known = state
            .codes
            .get(get(fields, "code"))
            .filter(|code| code.client == get(fields, "client_id") && code.expires_at > now)
            .ok_or(invalid_grant("code_invalid_or_expired"))?;
        if known.redirect_uri != get(fields, "redirect_uri") {
            return Err(invalid_grant("redirect_uri_mismatch"));
        }
        let code = state
            .codes
            .remove(get(fields, "code"))
            .ok_or(invalid_grant("code_invalid_or_expired"))?;
        match (&code.challenge, fields.get("code_verifier")) {
            (Some(_), None) => {
                return Err(invalid_request("pkce_missing_parameters_or_invalid_method"));
            }
            (Some(challenge), Some(verifier)) if *challenge != s256(verifier) => {
                return Err(invalid_grant("pkce_verification_failed"));
            }
            _ => {}
        }
        call.user = state.name_of(code.user);
        let pair = self.mint_oauth2(&mut state, &code.client, code.user, &code.scope);
        Ok(Done {
            pair,
            scope: code.scope,
        })
    }

    /// §2: check and rotation are two steps, so two concurrent calls may both succeed, and one of
    /// them is left with a dead refresh token.
    async fn rotate(&self, fields: &Fields) -> Result<Done, Flat> {
        let claims = self.refresh_claims(get(fields, "refresh_token"))?;
        let client = get(fields, "client_id");
        if claims.get("clientId").and_then(Value::as_str) != Some(client) {
            return Err(invalid_grant("client_id_mismatch"));
        }
        let rotates = self
            .stage
            .switch(|switches| switches.calcom.oauth2_rotation);
        let secret = claims
            .get("secret")
            .and_then(Value::as_str)
            .unwrap_or_default();
        {
            let state = self.state.lock();
            let dead = state.dead_secrets.contains(secret)
                || rotates && !state.rotating.contains_key(secret);
            if dead {
                return Err(invalid_grant("refresh_token_revoked"));
            }
        }
        self.stage.gap().await;
        let user = claims.get("userId").and_then(Value::as_i64).unwrap_or(0);
        let scope = scope_of(&claims);
        let mut state = self.state.lock();
        if rotates {
            state
                .rotating
                .retain(|_, (of, owner)| of != client || *owner != user);
        }
        let pair = self.mint_oauth2(&mut state, client, user, &scope);
        Ok(Done { pair, scope })
    }

    fn refresh_claims(&self, token: &str) -> Result<Value, Flat> {
        jwt::verify(token, &self.key)
            .filter(|claims| {
                claims.get("token_type").and_then(Value::as_str) == Some("Refresh Token")
                    && claims.get("exp").and_then(Value::as_i64).unwrap_or(0)
                        > self.stage.now().as_secs()
            })
            .ok_or(invalid_grant("invalid_refresh_token"))
    }
}

fn scope_of(claims: &Value) -> String {
    let scopes = claims.get("scope").and_then(Value::as_array);
    let texts: Vec<_> = scopes
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    texts.join(" ")
}
