//! `/oauth/token`, `/oauth/revoke` and `/oauth/introspect` (§1.2 to §1.4, §1.6).

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
    routing::post,
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{
    Calendly, answer,
    grants::Pair,
    state::{CLIENT, Grant},
};
use crate::sandbox::{
    front::{note, noted, token_call},
    log::{TokenCall, token_id},
    switches::{Call, ClientStatus, TokenMischief},
    wire::{basic, fields, json as reply, s256},
};

type Fields = BTreeMap<String, String>;

/// An OAuth error (RFC 6749 §5.2), in Doorkeeper's words.
#[derive(Clone, Copy, Debug)]
enum Refused {
    Client,
    Unauthorized,
    Request,
    GrantType,
    Grant,
    TooMany,
}

pub(crate) fn routes() -> Router<Arc<Calendly>> {
    Router::new()
        .route("/oauth/token", post(token))
        .route("/oauth/revoke", post(revoke))
        .route("/oauth/introspect", post(introspect))
}

async fn token(State(calendly): State<Arc<Calendly>>, headers: HeaderMap, body: Bytes) -> Response {
    let fields = fields(&headers, &body).unwrap_or_default();
    let kind = match fields.get("grant_type").map(String::as_str) {
        Some("authorization_code") => Call::Code,
        Some("refresh_token") => Call::Refresh,
        _ => Call::Unknown,
    };
    let fault = calendly.stage.token_fault(kind);
    let refused = refused(fault.as_ref());
    let work = async {
        let mut call = note(kind, "ok");
        let done = match refused {
            Some(refused) => Err(refused),
            None => calendly.grant(kind, &headers, &fields, &mut call).await,
        };
        calendly.answered(done, call)
    };
    token_call(&calendly.stage, fault, work).await
}

async fn revoke(
    State(calendly): State<Arc<Calendly>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fields = fields(&headers, &body).unwrap_or_default();
    let fault = calendly.stage.token_fault(Call::Revoke);
    let work = async {
        let mut call = note(Call::Revoke, "ok");
        if !calendly.knows_client(&headers, &fields) {
            "invalid_client".clone_into(&mut call.outcome);
            let body = json!({"error": "unauthorized_client",
                "error_description": "You are not authorized to revoke this token"});
            return noted(reply(StatusCode::FORBIDDEN, &body), call);
        }
        let Some(token) = fields.get("token") else {
            return calendly.answered(Err(Refused::Request), call);
        };
        call.user = calendly.state.lock().names.get(&token_id(token)).cloned();
        calendly.revoke_pair(token);
        noted(reply(StatusCode::OK, &json!({})), call)
    };
    token_call(&calendly.stage, fault, work).await
}

async fn introspect(
    State(calendly): State<Arc<Calendly>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fields = fields(&headers, &body).unwrap_or_default();
    let fault = calendly.stage.token_fault(Call::Introspect);
    let work = async {
        let mut call = note(Call::Introspect, "ok");
        if !calendly.knows_client(&headers, &fields) {
            return calendly.answered(Err(Refused::Client), call);
        }
        let Some(token) = fields.get("token") else {
            return calendly.answered(Err(Refused::Request), call);
        };
        call.user = calendly.state.lock().names.get(&token_id(token)).cloned();
        noted(reply(StatusCode::OK, &calendly.introspected(token)), call)
    };
    token_call(&calendly.stage, fault, work).await
}

const fn refused(fault: Option<&TokenMischief>) -> Option<Refused> {
    match fault {
        Some(TokenMischief::InvalidClient) => Some(Refused::Client),
        Some(TokenMischief::UnauthorizedClient) => Some(Refused::Unauthorized),
        Some(TokenMischief::InvalidGrant | TokenMischief::RaceLost) => Some(Refused::Grant),
        _ => None,
    }
}

// === impl Refused ===

impl Refused {
    const fn code(self) -> &'static str {
        match self {
            Self::Client => "invalid_client",
            Self::Unauthorized => "unauthorized_client",
            Self::Request => "invalid_request",
            Self::GrantType => "unsupported_grant_type",
            Self::Grant => "invalid_grant",
            Self::TooMany => "rate_limited",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Client => {
                "Client authentication failed due to unknown client, no client authentication \
                 included, or unsupported authentication method."
            }
            Self::Unauthorized => {
                "The client is not authorized to perform this request using this method."
            }
            Self::Request => {
                "The request is missing a required parameter, includes an unsupported parameter \
                 value, or is otherwise malformed."
            }
            Self::GrantType => {
                "The authorization grant type is not supported by the authorization server."
            }
            Self::Grant => {
                "The provided authorization grant is invalid, expired, revoked, does not match \
                 the redirection URI used in the authorization request, or was issued to another \
                 client."
            }
            Self::TooMany => "Too many requests.",
        }
    }
}

// === impl Calendly ===

impl Calendly {
    async fn grant(
        &self,
        kind: Call,
        headers: &HeaderMap,
        fields: &Fields,
        call: &mut TokenCall,
    ) -> Result<Pair, Refused> {
        if let Some(token) = fields.get("refresh_token") {
            let id = token_id(token);
            call.user = self.state.lock().names.get(&id).cloned();
            call.refresh = Some(id);
        }
        if !self.knows_client(headers, fields) {
            return Err(Refused::Client);
        }
        if self.stage.switch(|switches| switches.client_status) != ClientStatus::Approved {
            return Err(Refused::Unauthorized);
        }
        self.stage.gap().await;
        match kind {
            Call::Refresh => self.redeem(fields, call),
            Call::Code => self.exchange(fields, call),
            _ if fields.contains_key("grant_type") => Err(Refused::GrantType),
            _ => Err(Refused::Request),
        }
    }

    /// §1.4: single use, and one row: with the refresh token its access token may go.
    fn redeem(&self, fields: &Fields, call: &TokenCall) -> Result<Pair, Refused> {
        let token = fields.get("refresh_token").ok_or(Refused::Request)?;
        self.within_limit(call.user.as_deref())?;
        let kills = self
            .stage
            .switch(|switches| switches.calendly.old_access_dies);
        let mut state = self.state.lock();
        let number = *state.refresh.get(token).ok_or(Refused::Grant)?;
        let grant = state.grants.get_mut(&number).ok_or(Refused::Grant)?;
        if grant.refresh_spent {
            return Err(Refused::Grant);
        }
        grant.refresh_spent = true;
        grant.access_revoked |= kills;
        let Grant { user, scope, .. } = grant.clone();
        Ok(self.mint(&mut state, &user, &scope))
    }

    /// §1.1: ten minutes, once, with the same redirect URI and the verifier of the challenge.
    fn exchange(&self, fields: &Fields, call: &mut TokenCall) -> Result<Pair, Refused> {
        let code = fields.get("code").ok_or(Refused::Request)?;
        let redirect = fields.get("redirect_uri").ok_or(Refused::Request)?;
        let code = self.state.lock().codes.remove(code).ok_or(Refused::Grant)?;
        call.user = self.state.lock().name_of(&code.user);
        self.within_limit(call.user.as_deref())?;
        let verified = code.challenge.as_ref().is_none_or(|challenge| {
            fields
                .get("code_verifier")
                .map(|verifier| s256(verifier))
                .as_ref()
                == Some(challenge)
        });
        if code.expires_at <= self.stage.now() || code.redirect_uri != *redirect || !verified {
            return Err(Refused::Grant);
        }
        Ok(self.mint(&mut self.state.lock(), &code.user, &code.scope))
    }

    /// §6: 8 per user and minute.
    fn within_limit(&self, user: Option<&str>) -> Result<(), Refused> {
        let limit = self.stage.switch(|switches| switches.token_per_minute);
        let Some(user) = user else { return Ok(()) };
        match self.stage.spend(&format!("token:{user}"), limit) {
            Some(usage) if usage.exceeded => Err(Refused::TooMany),
            _ => Ok(()),
        }
    }

    /// §1.2: Basic is documented; form and JSON fields work in practice.
    fn knows_client(&self, headers: &HeaderMap, fields: &Fields) -> bool {
        let given = basic(headers).or_else(|| {
            let id = fields.get("client_id")?.clone();
            Some((id, fields.get("client_secret")?.clone()))
        });
        given.is_some_and(|(id, secret)| {
            id == CLIENT
                && self
                    .stage
                    .switch(|switches| switches.client_secret == secret)
        })
    }

    fn answered(&self, done: Result<Pair, Refused>, mut call: TokenCall) -> Response {
        match done {
            Ok(pair) => {
                call.new_access = Some(token_id(&pair.access));
                call.new_refresh = Some(token_id(&pair.refresh));
                noted(reply(StatusCode::OK, &self.shown(&pair)), call)
            }
            Err(Refused::TooMany) => {
                Refused::TooMany.code().clone_into(&mut call.outcome);
                noted(answer::too_many().into_response(), call)
            }
            Err(refused) => {
                refused.code().clone_into(&mut call.outcome);
                let body = json!({"error": refused.code(), "error_description": refused.text()});
                noted(reply(self.status(refused), &body), call)
            }
        }
    }

    fn status(&self, refused: Refused) -> StatusCode {
        match refused {
            Refused::Client | Refused::Unauthorized => StatusCode::UNAUTHORIZED,
            Refused::Grant => {
                let status = self.stage.switch(|switches| switches.calendly.spent_status);
                StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST)
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn revoke_pair(&self, token: &str) {
        let mut state = self.state.lock();
        let number = state.access.get(token).or_else(|| state.refresh.get(token));
        let Some(number) = number.copied() else {
            return;
        };
        if let Some(grant) = state.grants.get_mut(&number) {
            grant.access_revoked = true;
            grant.refresh_spent = true;
        }
    }

    fn introspected(&self, token: &str) -> Value {
        let now = self.stage.now();
        let state = self.state.lock();
        let base = &self.stage.base_url;
        let by_access = state.access.get(token);
        let number = by_access.or_else(|| state.refresh.get(token));
        let live =
            number
                .and_then(|number| state.grants.get(number))
                .filter(|grant| match by_access {
                    Some(_) => !grant.access_revoked && grant.expires_at > now,
                    None => !grant.refresh_spent,
                });
        let Some(grant) = live else {
            return json!({"active": false});
        };
        let user = state.users.get(&grant.user);
        json!({
            "active": true,
            "scope": grant.scope,
            "client_id": CLIENT,
            "token_type": "Bearer",
            "exp": grant.expires_at.as_secs(),
            "iat": grant.created.as_secs(),
            "owner": user.map(|user| user.uri(base)),
            "organization": user.map(|user| user.organization_uri(base)),
        })
    }
}
