//! Event types, schedules and slots (§4, §6): enough to look at.
//!
//! Each route wants its own `cal-api-version`; without it the older shape comes back, and slots, which
//! are newer than that, do not exist.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{RawQuery, State},
    response::Response,
    routing::get,
};
use http::HeaderMap;
use serde_json::{Value, json};

use super::{
    Calcom,
    answer::{Refusal, success},
    auth::Guard,
};
use crate::{
    base::clock::Timestamp,
    sandbox::{
        dates,
        wire::{header, query},
    },
};

pub(crate) fn routes() -> Router<Arc<Calcom>> {
    Router::new()
        .route("/v2/event-types", get(event_types))
        .route("/v2/schedules", get(schedules))
        .route("/v2/slots", get(slots))
}

fn has_version(headers: &HeaderMap, version: &str) -> bool {
    header(headers, "cal-api-version") == Some(version)
}

async fn event_types(
    State(calcom): State<Arc<Calcom>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let caller = calcom
        .caller(&headers, Guard::PermissionsFirst)?
        .need("EVENT_TYPE_READ")?;
    let kinds: Vec<_> = [("intro", 30), ("deep-dive", 60)]
        .iter()
        .zip(1..)
        .map(|((slug, minutes), nth)| {
            json!({
                "id": caller.id * 10 + nth, "ownerId": caller.id, "title": slug, "slug": slug,
                "lengthInMinutes": minutes, "description": "", "hidden": false,
            })
        })
        .collect();
    if has_version(&headers, "2024-06-14") {
        return Ok(success(&Value::Array(kinds)));
    }
    Ok(success(
        &json!({"eventTypeGroups": [{"eventTypes": kinds}]}),
    ))
}

async fn schedules(
    State(calcom): State<Arc<Calcom>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let caller = calcom
        .caller(&headers, Guard::Plain)?
        .need("SCHEDULE_READ")?;
    let days = if has_version(&headers, "2024-06-11") {
        json!(["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"])
    } else {
        json!([1, 2, 3, 4, 5])
    };
    Ok(success(&json!([{
        "id": caller.id * 10, "ownerId": caller.id, "name": "Working hours",
        "timeZone": "Europe/Berlin", "isDefault": true,
        "availability": [{"days": days, "startTime": "09:00", "endTime": "17:00"}],
        "overrides": [],
    }])))
}

async fn slots(
    State(calcom): State<Arc<Calcom>>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    calcom.anyone(&headers)?;
    if !has_version(&headers, "2024-09-04") {
        return Err(Refusal::not_found("Cannot GET /v2/slots"));
    }
    let asked = query(raw.as_deref().unwrap_or_default());
    let start = asked
        .get("start")
        .and_then(|day| {
            Timestamp::parse(day).or_else(|| Timestamp::parse(&format!("{day}T00:00:00Z")))
        })
        .ok_or_else(|| Refusal::bad_request("start must be a valid date"))?;
    let slots: Vec<_> = (9..17)
        .map(|hour| start.saturating_add(Duration::from_hours(hour)))
        .map(|at| json!({"start": dates::millis(at)}))
        .collect();
    let day: String = dates::millis(start).chars().take(10).collect();
    Ok(success(&json!({ day: slots })))
}
