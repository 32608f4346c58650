//! Bookings over the API (§6), and what is done to them.
//!
//! Reading the list wants a permission, so a dead token gives the leaking 403. Everything else lets
//! anonymous callers in (§3): whoever knows a uid may read, cancel and move it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, RawQuery, State},
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{
    Calcom,
    answer::{Refusal, success, with_status},
    auth::{Caller, Guard},
    booking::Booking,
};
use crate::{
    base::clock::Timestamp,
    sandbox::{
        Action, BookingOrder,
        wire::{self, header, query},
    },
};

type Asked = BTreeMap<String, String>;

pub(crate) fn routes() -> Router<Arc<Calcom>> {
    Router::new()
        .route("/v2/bookings", get(list).post(create))
        .route("/v2/bookings/{uid}", get(read))
        .route("/v2/bookings/{uid}/cancel", post(cancel))
        .route("/v2/bookings/{uid}/reschedule", post(reschedule))
}

async fn list(
    State(calcom): State<Arc<Calcom>>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    let caller = calcom
        .caller(&headers, Guard::PermissionsFirst)?
        .need("BOOKING_READ")?;
    let mut asked = query(raw.as_deref().unwrap_or_default());
    if calcom.stage.switch(|switches| switches.calcom.old_server) {
        asked.retain(|name, _| !name.contains("Updated"));
    }
    let take = bounded(&asked, "take", 100, 1, 250)?;
    let skip = bounded(&asked, "skip", 0, 0, usize::MAX)?;
    let now = calcom.stage.now();
    let state = calcom.state.lock();
    let email = state.users.get(&caller.id).map(|user| user.email.clone());
    let mut counted: Vec<_> = state
        .bookings
        .values()
        .filter(|one| one.user == caller.id || Some(&one.attendee_email) == email.as_ref())
        .filter(|one| in_status(one, &asked, now) && in_time(one, &asked))
        .collect();
    // §6: the count does not know the created and updated filters, so the totals are wrong.
    let total = counted.len();
    counted.retain(|one| in_delta(one, &asked));
    sort(&mut counted, &asked);
    let page: Vec<_> = counted
        .into_iter()
        .skip(skip)
        .take(take)
        .map(|one| one.shown(state.users.get(&one.user)))
        .collect();
    if !is_current(&headers) {
        let old = json!({"bookings": page, "recurringInfo": [], "nextCursor": null});
        return Ok(success(&old));
    }
    let pagination = pagination(total, skip, take, page.len());
    let body = json!({"status": "success", "data": page, "pagination": pagination});
    Ok(wire::json(StatusCode::OK, &body))
}

async fn read(
    State(calcom): State<Arc<Calcom>>,
    Path(uid): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    calcom.anyone(&headers)?;
    calcom.one(&uid).map(|shown| success(&shown))
}

async fn create(
    State(calcom): State<Arc<Calcom>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    calcom.anyone(&headers)?;
    let body = object(&body)?;
    let start = body
        .get("start")
        .and_then(Value::as_str)
        .and_then(Timestamp::parse);
    let start = start.ok_or_else(|| Refusal::bad_request("start must be a valid ISO 8601 date"))?;
    let kind = body.get("eventTypeId").and_then(Value::as_i64).unwrap_or(0);
    let host = calcom.state.lock().name_of(kind.div_euclid(10));
    let host =
        host.ok_or_else(|| Refusal::not_found(format!("Event type with id {kind} not found.")))?;
    let attendee = body.pointer("/attendee/email").and_then(Value::as_str);
    let order = BookingOrder {
        user: host,
        start: Some(start),
        attendee_email: attendee.map(ToOwned::to_owned),
        ..BookingOrder::default()
    };
    let made = calcom.booked(&order).map_err(Refusal::bad_request)?;
    calcom
        .one(&made.id)
        .map(|shown| with_status(StatusCode::CREATED, &shown))
}

async fn cancel(
    State(calcom): State<Arc<Calcom>>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    change(&calcom, Action::Cancel, &uid, &headers, &body)
}

async fn reschedule(
    State(calcom): State<Arc<Calcom>>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    change(&calcom, Action::Reschedule, &uid, &headers, &body)
}

fn change(
    calcom: &Arc<Calcom>,
    action: Action,
    uid: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Refusal> {
    let _anyone: Option<Caller> = calcom.anyone(headers)?;
    calcom.one(uid)?;
    let body = object(body)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let reason = text("cancellationReason").or_else(|| text("reschedulingReason"));
    let order = BookingOrder {
        start: text("start").and_then(Timestamp::parse),
        reason: reason.map(ToOwned::to_owned),
        ..BookingOrder::to(action, uid)
    };
    let changed = calcom.booked(&order).map_err(Refusal::bad_request)?;
    let status = if action == Action::Cancel {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    calcom
        .one(&changed.id)
        .map(|shown| with_status(status, &shown))
}

fn object(body: &[u8]) -> Result<Value, Refusal> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(Value::Object(map)),
        _ => Err(Refusal::bad_request("body must be a JSON object")),
    }
}

/// §4: without this header, or an older one, the shapes are those of 2024-04-15.
fn is_current(headers: &HeaderMap) -> bool {
    header(headers, "cal-api-version")
        .is_some_and(|version| ["2024-08-13", "2026-02-25", "2026-05-01"].contains(&version))
}

pub(crate) fn bounded(
    asked: &Asked,
    name: &str,
    default: usize,
    min: usize,
    max: usize,
) -> Result<usize, Refusal> {
    match asked.get(name).map(|text| text.parse::<usize>()) {
        None => Ok(default),
        Some(Ok(number)) if (min..=max).contains(&number) => Ok(number),
        Some(_) => Err(Refusal::bad_request(format!(
            "{name} must not be less than {min} and not be greater than {max}"
        ))),
    }
}

fn in_status(one: &Booking, asked: &Asked, now: Timestamp) -> bool {
    asked.get("status").is_none_or(|list| {
        list.split(',').any(|status| match status {
            "upcoming" => one.status == "accepted" && one.end > now,
            "past" => one.status == "accepted" && one.end <= now,
            "cancelled" => one.status == "cancelled",
            "unconfirmed" => one.status == "pending",
            _ => false,
        })
    })
}

fn in_time(one: &Booking, asked: &Asked) -> bool {
    after(asked, "afterStart", one.start)
        && before(asked, "beforeEnd", one.end)
        && asked.get("bookingUid").is_none_or(|uid| *uid == one.uid)
        && asked
            .get("attendeeEmail")
            .is_none_or(|email| *email == one.attendee_email)
}

fn in_delta(one: &Booking, asked: &Asked) -> bool {
    after(asked, "afterUpdatedAt", one.updated)
        && before(asked, "beforeUpdatedAt", one.updated)
        && after(asked, "afterCreatedAt", one.created)
        && before(asked, "beforeCreatedAt", one.created)
}

fn limit(asked: &Asked, name: &str) -> Option<Timestamp> {
    asked.get(name).and_then(|text| Timestamp::parse(text))
}

fn after(asked: &Asked, name: &str, at: Timestamp) -> bool {
    limit(asked, name).is_none_or(|limit| at >= limit)
}

fn before(asked: &Asked, name: &str, at: Timestamp) -> bool {
    limit(asked, name).is_none_or(|limit| at <= limit)
}

fn sort(found: &mut [&Booking], asked: &Asked) {
    type Key = fn(&Booking) -> Timestamp;
    let keys: [(&str, Key); 4] = [
        ("sortStart", |one| one.start),
        ("sortEnd", |one| one.end),
        ("sortCreated", |one| one.created),
        ("sortUpdatedAt", |one| one.updated),
    ];
    for (name, key) in keys {
        match asked.get(name).map(String::as_str) {
            Some("asc") => found.sort_by_key(|one| key(one)),
            Some("desc") => found.sort_by_key(|one| std::cmp::Reverse(key(one))),
            _ => {}
        }
    }
}

fn pagination(total: usize, skip: usize, take: usize, returned: usize) -> Value {
    json!({
        "totalItems": total,
        "remainingItems": total.saturating_sub(skip + returned),
        "returnedItems": returned,
        "itemsPerPage": take,
        "currentPage": skip / take,
        "totalPages": total.div_ceil(take),
        "hasNextPage": skip + returned < total,
        "hasPreviousPage": skip > 0,
    })
}

// === impl Calcom ===

impl Calcom {
    fn one(&self, uid: &str) -> Result<Value, Refusal> {
        let state = self.state.lock();
        let booking = state
            .bookings
            .get(uid)
            .ok_or_else(|| Refusal::not_found(format!("Booking with uid={uid} was not found")))?;
        Ok(booking.shown(state.users.get(&booking.user)))
    }
}
