//! `/users/me`, `/users/{uuid}` and `/organizations/{uuid}` (§3).

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::get,
};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::{
    Calendly,
    answer::{Refusal, denied, missing, resource},
};

pub(crate) fn routes() -> Router<Arc<Calendly>> {
    Router::new()
        .route("/users/{id}", get(user))
        .route("/organizations/{id}", get(organization))
}

async fn user(
    State(calendly): State<Arc<Calendly>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let caller = calendly.caller(&headers)?.need("users:read")?;
    let state = calendly.state.lock();
    let id = if id == "me" { &caller.id } else { &id };
    let user = state.users.get(id).ok_or_else(missing)?;
    if user.organization != caller.organization {
        return Err(denied(
            "You do not have permission to access this resource.",
        ));
    }
    Ok(resource(
        StatusCode::OK,
        &user.shown(&calendly.stage.base_url),
    ))
}

async fn organization(
    State(calendly): State<Arc<Calendly>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let caller = calendly.caller(&headers)?.need("organizations:read")?;
    if caller.organization != id {
        return Err(denied(
            "You do not have permission to access this resource.",
        ));
    }
    let base = &calendly.stage.base_url;
    Ok(resource(
        StatusCode::OK,
        &json!({
            "uri": format!("{base}/organizations/{id}"),
            "name": format!("{}'s organization", caller.name),
            "slug": caller.name,
            "plan": if caller.free_plan { "free" } else { "standard" },
            "stage": "paid",
            "timezone": "Europe/Berlin",
        }),
    ))
}
