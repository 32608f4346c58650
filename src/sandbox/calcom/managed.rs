//! Managed users (§1a): create, list, read, change, delete.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, RawQuery, State},
    response::Response,
    routing::{get, post},
};
use http::HeaderMap;
use serde_json::{Value, json};

use super::{
    Calcom,
    answer::{Refusal, success},
    grants::rewritten,
    managed_token::{created, keys, minted, refused},
    state::{PLATFORM_CLIENT, User},
};
use crate::sandbox::{
    front::{note, noted, token_call},
    log::TokenCall,
    switches::Call,
    wire::query,
};

/// What a create or patch may name; anything else is refused (§1a).
const FIELDS: [&str; 9] = [
    "email",
    "name",
    "timeFormat",
    "weekStart",
    "timeZone",
    "locale",
    "avatarUrl",
    "bio",
    "metadata",
];

pub(crate) fn routes() -> Router<Arc<Calcom>> {
    Router::new()
        .route("/v2/oauth-clients/{client}/users", post(create).get(list))
        .route(
            "/v2/oauth-clients/{client}/users/{user}",
            get(read).patch(change).delete(delete),
        )
}

async fn create(
    State(calcom): State<Arc<Calcom>>,
    Path(client): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = calcom.stage.token_fault(Call::CreateUser);
    let refused = refused(fault.as_ref());
    let work = async {
        let mut call = note(Call::CreateUser, "ok");
        let done = match refused {
            Some(refusal) => Err(refusal),
            None => {
                calcom
                    .create_managed(&client, &headers, &body, &mut call)
                    .await
            }
        };
        match done {
            Ok(data) => noted(created(&data), call),
            Err(refusal) => {
                call.outcome = refusal.outcome();
                noted(refusal.into(), call)
            }
        }
    };
    token_call(&calcom.stage, fault, work).await
}

async fn list(
    State(calcom): State<Arc<Calcom>>,
    Path(client): Path<String>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    calcom.platform(&headers, &client)?;
    let asked = query(raw.as_deref().unwrap_or_default());
    let limit = within(&asked, "limit", 50, 1..=250)?;
    let offset = within(&asked, "offset", 0, 0..=250)?;
    let emails = asked
        .get("emails")
        .map(|text| text.split(',').collect::<Vec<_>>());
    let state = calcom.state.lock();
    let users: Vec<_> = state
        .users
        .values()
        .filter(|user| user.managed)
        .filter(|user| {
            emails.as_ref().is_none_or(|emails| {
                emails
                    .iter()
                    .any(|one| user.email == *one || user.email == rewritten(one))
            })
        })
        .skip(offset)
        .take(limit)
        .map(User::shown)
        .collect();
    Ok(success(&json!(users)))
}

async fn read(
    State(calcom): State<Arc<Calcom>>,
    Path((client, user)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    calcom.platform(&headers, &client)?;
    Ok(success(&calcom.managed_user(&user)?.shown()))
}

async fn change(
    State(calcom): State<Arc<Calcom>>,
    Path((client, user)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    calcom.platform(&headers, &client)?;
    let id = calcom.managed_user(&user)?.id;
    let fields = object(&body)?;
    let mut state = calcom.state.lock();
    let Some(user) = state.users.get_mut(&id) else {
        return Err(foreign(id));
    };
    if let Some(email) = fields.get("email").and_then(Value::as_str) {
        user.email = rewritten(email);
    }
    if let Some(zone) = fields.get("timeZone").and_then(Value::as_str) {
        zone.clone_into(&mut user.time_zone);
    }
    if let Some(metadata) = fields.get("metadata") {
        user.metadata = metadata.clone();
    }
    Ok(success(&user.shown()))
}

async fn delete(
    State(calcom): State<Arc<Calcom>>,
    Path((client, user)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    calcom.platform(&headers, &client)?;
    let user = calcom.managed_user(&user)?;
    let mut state = calcom.state.lock();
    state.kill_access(user.id);
    state.kill_refresh(user.id);
    state.users.remove(&user.id);
    Ok(success(&user.shown()))
}

fn within(
    asked: &std::collections::BTreeMap<String, String>,
    name: &str,
    default: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<usize, Refusal> {
    let Some(text) = asked.get(name) else {
        return Ok(default);
    };
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(Refusal::bad_request(format!(
            "{name} must not be less than {} and not be greater than {}",
            range.start(),
            range.end()
        ))),
    }
}

fn object(body: &[u8]) -> Result<serde_json::Map<String, Value>, Refusal> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return Err(Refusal::bad_request("body must be a JSON object"));
    };
    match fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        Some(extra) => Err(Refusal::bad_request(format!(
            "property {extra} should not exist"
        ))),
        None => Ok(fields),
    }
}

/// At most 50 keys of 40 characters with values of 500 (§1a).
fn small_enough(metadata: &Value) -> bool {
    metadata.as_object().is_some_and(|map| {
        map.len() <= 50
            && map.iter().all(|(key, value)| {
                key.len() <= 40 && value.as_str().is_none_or(|text| text.len() <= 500)
            })
    })
}

fn foreign(id: i64) -> Refusal {
    Refusal::not_found(format!(
        "User with ID {id} is not part of this OAuth client."
    ))
}

// === impl Calcom ===

impl Calcom {
    /// The managed user of a path: 400 if it is no number, 404 if it is not the client's.
    pub(crate) fn managed_user(&self, id: &str) -> Result<User, Refusal> {
        let Ok(id) = id.parse() else {
            return Err(Refusal::bad_request(
                "Validation failed (numeric string is expected)",
            ));
        };
        let state = self.state.lock();
        let user = state.users.get(&id).filter(|user| user.managed);
        user.cloned().ok_or_else(|| foreign(id))
    }

    async fn create_managed(
        &self,
        client: &str,
        headers: &HeaderMap,
        body: &[u8],
        call: &mut TokenCall,
    ) -> Result<Value, Refusal> {
        self.platform(headers, client)?;
        let fields = object(body)?;
        let text = |name| fields.get(name).and_then(Value::as_str);
        let (Some(email), Some(name)) = (text("email"), text("name")) else {
            return Err(Refusal::bad_request(
                "email must be an email, name must be a string",
            ));
        };
        let metadata = fields.get("metadata").cloned().unwrap_or_else(|| json!({}));
        if !email.contains('@') || !small_enough(&metadata) {
            return Err(Refusal::bad_request("email must be an email"));
        }
        self.stage.gap().await;
        let mut state = self.state.lock();
        let email = rewritten(email);
        if let Some(user) = state.by_email(&email) {
            return Err(Refusal::conflict(format!(
                "User with the provided e-mail already exists. Existing user ID={}",
                user.id
            )));
        }
        let user = User {
            id: state.next_id(),
            name: name.to_owned(),
            email,
            managed: true,
            time_zone: text("timeZone").unwrap_or("Europe/London").to_owned(),
            metadata,
            created: self.stage.now(),
        };
        state.users.insert(user.id, user.clone());
        let pair = self.mint_managed(&mut state, user.id);
        minted(call, &pair);
        call.user = Some(user.name.clone());
        let mut data = keys(&pair);
        if let Value::Object(map) = &mut data {
            map.insert("user".to_owned(), user.shown());
        }
        debug_assert!(user.email.contains(PLATFORM_CLIENT));
        Ok(data)
    }
}
