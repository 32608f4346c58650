//! The control API under `/_sandbox`, the same on both listeners.
//!
//! It has no authentication: the sandbox binds loopback and holds nothing of value. A wrong order is
//! 400 with `{"error": …}`.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::StatusCode;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    front::Emulator,
    log::Filter,
    wire::{self, query},
};

const INDEX: &str = include_str!("index.txt");

pub(crate) fn routes<E: Emulator>(emulator: Arc<E>) -> Router {
    Router::new()
        .route("/_sandbox", get(index::<E>))
        .route("/_sandbox/", get(index::<E>))
        .route(
            "/_sandbox/switches",
            get(switches::<E>).patch(patch::<E>).delete(reset::<E>),
        )
        .route("/_sandbox/log", get(log::<E>).delete(clear::<E>))
        .route("/_sandbox/stats", get(stats::<E>))
        .route("/_sandbox/users", post(create::<E>))
        .route("/_sandbox/revoke", post(revoke::<E>))
        .route("/_sandbox/bookings", post(book::<E>))
        .route("/_sandbox/events", post(announce::<E>))
        .route("/_sandbox/disable", post(disable::<E>))
        .route("/_sandbox/deliveries", get(deliveries::<E>))
        .with_state(emulator)
}

async fn index<E: Emulator>(State(emulator): State<Arc<E>>) -> Response {
    let switches = emulator
        .stage()
        .switch(|switches| serde_json::to_string_pretty(switches).unwrap_or_default());
    format!("{INDEX}\n{switches}\n").into_response()
}

async fn switches<E: Emulator>(State(emulator): State<Arc<E>>) -> Response {
    emulator
        .stage()
        .switch(|switches| shown(StatusCode::OK, switches))
}

async fn patch<E: Emulator>(State(emulator): State<Arc<E>>, body: Bytes) -> Response {
    let changed = read::<Value>(&body).and_then(|patch| {
        emulator.stage().set(|switches| {
            *switches = switches
                .patched(&patch)
                .map_err(|error| error.to_string())?;
            Ok(switches.clone())
        })
    });
    answer(StatusCode::OK, changed)
}

async fn reset<E: Emulator>(State(emulator): State<Arc<E>>) -> Response {
    emulator.stage().set(|switches| {
        *switches = emulator.defaults();
        shown(StatusCode::OK, switches)
    })
}

async fn log<E: Emulator>(State(emulator): State<Arc<E>>, RawQuery(raw): RawQuery) -> Response {
    let asked = query(raw.as_deref().unwrap_or_default());
    let after = asked
        .get("after")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0_u64);
    let kind = asked
        .get("kind")
        .map(|text| serde_json::from_value(json!(text)))
        .transpose();
    let found = kind.map_err(|error| error.to_string()).map(|kind| {
        emulator.stage().log.matching(&Filter {
            user: asked.get("user").cloned(),
            path: asked.get("path").cloned(),
            kind,
            after,
        })
    });
    answer(StatusCode::OK, found)
}

async fn clear<E: Emulator>(State(emulator): State<Arc<E>>) -> StatusCode {
    emulator.stage().log.clear();
    StatusCode::NO_CONTENT
}

async fn stats<E: Emulator>(State(emulator): State<Arc<E>>) -> Response {
    shown(StatusCode::OK, &emulator.stage().log.stats())
}

async fn deliveries<E: Emulator>(State(emulator): State<Arc<E>>) -> Response {
    shown(StatusCode::OK, &emulator.stage().deliveries())
}

async fn create<E: Emulator>(State(emulator): State<Arc<E>>, body: Bytes) -> Response {
    let created = read(&body).and_then(|order| emulator.create(&order));
    answer(StatusCode::CREATED, created)
}

async fn revoke<E: Emulator>(State(emulator): State<Arc<E>>, body: Bytes) -> Response {
    let killed = read(&body).and_then(|order| emulator.kill(&order));
    answer(StatusCode::OK, killed)
}

async fn book<E: Emulator>(State(emulator): State<Arc<E>>, body: Bytes) -> Response {
    let booked = read(&body).and_then(|order| emulator.book(&order));
    answer(StatusCode::CREATED, booked)
}

async fn announce<E: Emulator>(State(emulator): State<Arc<E>>, body: Bytes) -> Response {
    let announced = read(&body).and_then(|order| emulator.announce(&order));
    answer(StatusCode::CREATED, announced)
}

async fn disable<E: Emulator>(State(emulator): State<Arc<E>>, body: Bytes) -> Response {
    let disabled = read(&body).and_then(|order| emulator.disable(&order));
    answer(StatusCode::OK, disabled)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn answer<T: Serialize>(status: StatusCode, outcome: Result<T, String>) -> Response {
    match outcome {
        Ok(value) => shown(status, &value),
        Err(error) => wire::json(StatusCode::BAD_REQUEST, &json!({ "error": error })),
    }
}

fn shown<T: Serialize>(status: StatusCode, value: &T) -> Response {
    wire::json(status, &serde_json::to_value(value).unwrap_or_default())
}
