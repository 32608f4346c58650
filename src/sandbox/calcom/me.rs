//! `GET /v2/me` (§6).

use std::sync::Arc;

use axum::{Router, extract::State, response::Response, routing::get};
use http::HeaderMap;
use serde_json::json;

use super::{
    Calcom,
    answer::{Refusal, success},
    auth::Guard,
};

pub(crate) fn routes() -> Router<Arc<Calcom>> {
    Router::new().route("/v2/me", get(me))
}

async fn me(State(calcom): State<Arc<Calcom>>, headers: HeaderMap) -> Result<Response, Refusal> {
    let caller = calcom
        .caller(&headers, Guard::Plain)?
        .need("PROFILE_READ")?;
    let state = calcom.state.lock();
    let user = state.users.get(&caller.id);
    Ok(success(&json!({
        "id": caller.id,
        "username": caller.name,
        "email": user.map(|user| &user.email),
        "name": caller.name,
        "avatarUrl": null,
        "bio": null,
        "timeFormat": 24,
        "defaultScheduleId": 1,
        "weekStart": "Monday",
        "timeZone": user.map(|user| &user.time_zone),
        "organizationId": null,
        "organization": {"id": null, "isPlatform": user.is_some_and(|user| user.managed)},
    })))
}
