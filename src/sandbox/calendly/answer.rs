//! How Calendly refuses (§2), and what every answer carries (§6).

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header::SET_COOKIE};
use serde_json::{Value, json};

use crate::sandbox::{
    stage::{Stage, Usage},
    switches::ApiMischief,
    wire,
};

/// Why a request was turned down. Boxed, since an answer is large and most requests pass.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Response>);

pub(crate) fn resource(status: StatusCode, resource: &Value) -> Response {
    wire::json(status, &json!({ "resource": resource }))
}

pub(crate) fn problem(status: StatusCode, title: &str, message: &str) -> Refusal {
    Refusal::of(wire::json(
        status,
        &json!({"title": title, "message": message}),
    ))
}

pub(crate) fn unauthenticated(why: &str) -> Refusal {
    let message = format!("The access token {why}");
    problem(StatusCode::UNAUTHORIZED, "Unauthenticated", &message)
}

pub(crate) fn denied(message: &str) -> Refusal {
    problem(StatusCode::FORBIDDEN, "Permission Denied", message)
}

pub(crate) fn upgrade() -> Refusal {
    denied("Please upgrade your Calendly account to Standard")
}

pub(crate) fn insufficient_scope(needed: &str) -> Refusal {
    Refusal::of(wire::json(
        StatusCode::FORBIDDEN,
        &json!({
            "title": "Insufficient scope",
            "message": "The access token does not have the required scope.",
            "required_scopes": [needed],
        }),
    ))
}

/// 400, with the parameter at fault.
pub(crate) fn invalid(parameter: &str, message: &str) -> Refusal {
    Refusal::of(wire::json(
        StatusCode::BAD_REQUEST,
        &json!({
            "title": "Invalid Argument",
            "message": "The supplied parameters are invalid.",
            "details": [{"parameter": parameter, "message": message}],
        }),
    ))
}

pub(crate) fn missing() -> Refusal {
    problem(
        StatusCode::NOT_FOUND,
        "Resource Not Found",
        "The server could not find the requested resource.",
    )
}

pub(crate) async fn not_found() -> Refusal {
    missing()
}

/// The body is undocumented; this one is made up.
pub(crate) fn too_many() -> Refusal {
    problem(
        StatusCode::TOO_MANY_REQUESTS,
        "Too Many Requests",
        "You have exceeded your request limit.",
    )
}

pub(crate) fn mischief(what: &ApiMischief) -> Refusal {
    match what {
        ApiMischief::Expired => unauthenticated("expired"),
        ApiMischief::Unauthorized | ApiMischief::LeakingForbidden => unauthenticated("is invalid"),
        ApiMischief::InsufficientScope => insufficient_scope("scheduled_events:read"),
        ApiMischief::RateLimited { .. } => too_many(),
        _ => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal Server Error",
            "The server encountered an unexpected condition.",
        ),
    }
}

pub(crate) fn finish(stage: &Stage, usage: Option<Usage>, response: &mut Response) {
    let headers = response.headers_mut();
    let texts = [
        (HeaderName::from_static("x-request-id"), stage.uuid()),
        (
            HeaderName::from_static("cf-ray"),
            format!("{}-FRA", stage.hex::<8>()),
        ),
        (
            SET_COOKIE,
            format!(
                "__cf_bm={}; path=/; domain=.calendly.com; HttpOnly; Secure",
                stage.hex::<16>()
            ),
        ),
    ];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    let second = format!(
        "_cfuvid={}; path=/; domain=.calendly.com; HttpOnly; Secure",
        stage.hex::<16>()
    );
    if let Ok(value) = HeaderValue::from_str(&second) {
        headers.append(SET_COOKIE, value);
    }
    // §6: the reset is in seconds left, whatever the name suggests.
    for (name, value) in usage.into_iter().flat_map(|usage| {
        [
            ("x-ratelimit-limit", i64::from(usage.limit)),
            ("x-ratelimit-remaining", i64::from(usage.remaining)),
            ("x-ratelimit-reset", usage.reset_secs),
        ]
    }) {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
}

// === impl Refusal ===

impl Refusal {
    fn of(response: Response) -> Self {
        Self(Box::new(response))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        *self.0
    }
}
