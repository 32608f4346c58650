//! The token calls of managed users (§1a, §2), and the two routes that judge a token.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{
    Calcom,
    answer::{Refusal, success, with_status},
    auth::Guard,
    grants::Pair,
};
use crate::sandbox::{
    front::{note, noted, token_call},
    log::{TokenCall, token_id},
    switches::{Call, TokenMischief},
    wire::header,
};

pub(crate) fn routes() -> Router<Arc<Calcom>> {
    Router::new()
        .route("/v2/oauth/{client}/refresh", post(refresh))
        .route(
            "/v2/oauth-clients/{client}/users/{user}/force-refresh",
            post(force),
        )
        .route("/v2/provider/{client}", get(provider))
        .route("/v2/provider/{client}/access-token", get(access_token))
}

async fn refresh(
    State(calcom): State<Arc<Calcom>>,
    Path(client): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = calcom.stage.token_fault(Call::Refresh);
    let refused = refused(fault.as_ref());
    let work = async {
        let mut call = note(Call::Refresh, "ok");
        let done = match refused {
            Some(refusal) => Err(refusal),
            None => calcom.redeem(&client, &headers, &body, &mut call).await,
        };
        answered(done, call)
    };
    token_call(&calcom.stage, fault, work).await
}

async fn force(
    State(calcom): State<Arc<Calcom>>,
    Path((client, user)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let fault = calcom.stage.token_fault(Call::ForceRefresh);
    let refused = refused(fault.as_ref());
    let work = async {
        let mut call = note(Call::ForceRefresh, "ok");
        let done = match refused {
            Some(refusal) => Err(refusal),
            None => calcom.force(&client, &user, &headers, &mut call).await,
        };
        answered(done, call)
    };
    token_call(&calcom.stage, fault, work).await
}

async fn provider(
    State(calcom): State<Arc<Calcom>>,
    Path(client): Path<String>,
) -> Result<Response, Refusal> {
    if client != super::state::PLATFORM_CLIENT {
        return Err(Refusal::unauthorized("Invalid client ID."));
    }
    drop(calcom);
    Ok(success(&json!({
        "clientId": client, "name": "Sandbox", "isDefault": false, "organizationId": 1,
    })))
}

async fn access_token(
    State(calcom): State<Arc<Calcom>>,
    Path(_client): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    calcom.caller(&headers, Guard::Plain)?;
    Ok(success(&Value::Null))
}

pub(crate) fn keys(pair: &Pair) -> Value {
    json!({
        "accessToken": pair.access,
        "refreshToken": pair.refresh,
        "accessTokenExpiresAt": pair.access_expires_at.as_millis(),
        "refreshTokenExpiresAt": pair.refresh_expires_at.as_millis(),
    })
}

pub(crate) fn minted(call: &mut TokenCall, pair: &Pair) {
    call.new_access = Some(token_id(&pair.access));
    call.new_refresh = Some(token_id(&pair.refresh));
}

/// Faults that are a refusal in the words of this family.
pub(crate) fn refused(fault: Option<&TokenMischief>) -> Option<Refusal> {
    match fault? {
        TokenMischief::InvalidClient | TokenMischief::UnauthorizedClient => Some(
            Refusal::unauthorized("ApiAuthStrategy - oAuth client - Invalid client secret"),
        ),
        TokenMischief::InvalidGrant => Some(Refusal::bad_request("Invalid refresh token")),
        TokenMischief::RaceLost => Some(Refusal::race_lost()),
        _ => None,
    }
}

fn answered(done: Result<Value, Refusal>, mut call: TokenCall) -> Response {
    match done {
        Ok(data) => noted(success(&data), call),
        Err(refusal) => {
            call.outcome = refusal.outcome();
            noted(refusal.into(), call)
        }
    }
}

pub(crate) fn created(data: &Value) -> Response {
    with_status(StatusCode::CREATED, data)
}

// === impl Calcom ===

impl Calcom {
    /// §2: one transaction purges expired access rows of the whole client, deletes the used refresh
    /// row, and inserts a new pair. The check before it is not part of it, so a race has a loser.
    async fn redeem(
        &self,
        client: &str,
        headers: &HeaderMap,
        body: &[u8],
        call: &mut TokenCall,
    ) -> Result<Value, Refusal> {
        let token = header(headers, "content-type")
            .filter(|kind| kind.starts_with("application/json"))
            .and_then(|_| serde_json::from_slice::<Value>(body).ok())
            .and_then(|body| Some(body.get("refreshToken")?.as_str()?.to_owned()));
        call.refresh = token.as_deref().map(token_id);
        self.platform(headers, client)?;
        let token = token.ok_or_else(|| {
            Refusal::bad_request("refreshToken should not be empty, refreshToken must be a string")
        })?;
        call.user = self.state.lock().names.get(&token_id(&token)).cloned();
        if !self.state.lock().refresh.contains_key(&token) {
            return Err(Refusal::bad_request("Invalid refresh token"));
        }
        self.stage.gap().await;
        let now = self.stage.now();
        let mut state = self.state.lock();
        let Some(row) = state.refresh.remove(&token) else {
            return Err(Refusal::race_lost());
        };
        state.access.retain(|_, row| row.expires_at > now);
        let pair = self.mint_managed(&mut state, row.user);
        minted(call, &pair);
        Ok(keys(&pair))
    }

    /// §2: all access and refresh tokens of the user die, then a new pair is made.
    async fn force(
        &self,
        client: &str,
        user: &str,
        headers: &HeaderMap,
        call: &mut TokenCall,
    ) -> Result<Value, Refusal> {
        self.platform(headers, client)?;
        let id = self.managed_user(user)?.id;
        call.user = self.state.lock().name_of(id);
        self.stage.gap().await;
        let mut state = self.state.lock();
        state.kill_access(id);
        state.kill_refresh(id);
        let pair = self.mint_managed(&mut state, id);
        minted(call, &pair);
        Ok(keys(&pair))
    }
}
