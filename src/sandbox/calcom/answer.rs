//! The envelopes of API v2 (§3): how it says yes and no, and what every answer carries.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_LENGTH};
use serde_json::{Value, json};

use crate::sandbox::{
    dates,
    front::Seen,
    stage::{Stage, Usage},
    switches::ApiMischief,
    wire,
};

/// Why a request was turned down, in the words of the service.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    code: &'static str,
    message: String,
}

/// `{"status":"success","data":…}`.
pub(crate) fn success(data: &Value) -> Response {
    with_status(StatusCode::OK, data)
}

pub(crate) fn with_status(status: StatusCode, data: &Value) -> Response {
    wire::json(status, &json!({"status": "success", "data": data}))
}

pub(crate) async fn not_found(request: axum::extract::Request) -> Response {
    let what = format!("Cannot {} {}", request.method(), request.uri().path());
    Refusal::not_found(what).into()
}

/// A switched-on fault in the service's own words.
pub(crate) fn mischief(what: &ApiMischief, token: Option<&str>) -> Refusal {
    match what {
        ApiMischief::Unauthorized => Refusal::unauthorized("Invalid Access Token."),
        ApiMischief::Expired => Refusal::expired(),
        ApiMischief::LeakingForbidden => Refusal::leaking(token.unwrap_or_default()),
        ApiMischief::InsufficientScope => Refusal::scope("BOOKING_READ"),
        ApiMischief::RateLimited { .. } => Refusal::too_many(),
        _ => Refusal::server_error(),
    }
}

pub(crate) fn finish(stage: &Stage, seen: &Seen, usage: Option<Usage>, response: &mut Response) {
    if let Some(refusal) = response.extensions().get::<Refusal>() {
        let path = seen.path.as_str();
        let body = json!({
            "status": "error",
            "timestamp": dates::millis(stage.now()),
            "path": path,
            "error": {"code": refusal.code, "message": refusal.message, "details": {
                "message": refusal.message, "error": refusal.status.canonical_reason(),
                "statusCode": refusal.status.as_u16(),
            }},
        });
        // The router has already measured the placeholder.
        response.headers_mut().remove(CONTENT_LENGTH);
        *response.body_mut() = Body::from(body.to_string());
    }
    if let Ok(id) = HeaderValue::from_str(&stage.uuid()) {
        response.headers_mut().insert("x-request-id", id);
    }
    // §4: the suffix is the limit's name; there is no Retry-After.
    for (name, value) in usage.into_iter().flat_map(|usage| {
        [
            ("x-ratelimit-limit-default", i64::from(usage.limit)),
            ("x-ratelimit-remaining-default", i64::from(usage.remaining)),
            ("x-ratelimit-reset-default", usage.reset_secs),
        ]
    }) {
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
}

// === impl Refusal ===

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UnauthorizedException", message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "ForbiddenException", message)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequestException", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFoundException", message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "ConflictException", message)
    }

    /// §3 row 1. 498 has no name in the standard.
    pub(crate) fn expired() -> Self {
        let status = StatusCode::from_u16(498).unwrap_or(StatusCode::UNAUTHORIZED);
        Self::new(status, "TokenExpiredException", "ACCESS_TOKEN_IS_EXPIRED")
    }

    /// §3 row 6: the text gives the token away.
    pub(crate) fn leaking(token: &str) -> Self {
        Self::forbidden(format!(
            "PermissionsGuard - no oAuth client found for access token={token}"
        ))
    }

    pub(crate) fn scope(needed: &str) -> Self {
        Self::forbidden(format!(
            "insufficient_scope: token does not have the required scopes. Required: {needed}."
        ))
    }

    /// §1a: the loser of a race on one refresh token.
    pub(crate) fn race_lost() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NOT_FOUND",
            "Invalid Query: The requested record was not found.",
        )
    }

    pub(crate) fn too_many() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "ThrottlerException",
            "CustomThrottlerGuard - Too many requests. Please try again later.",
        )
    }

    pub(crate) fn server_error() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_SERVER_ERROR",
            "There was an error, please try again later.",
        )
    }
}

impl Refusal {
    /// For the log: what came of a token call.
    pub(crate) fn outcome(&self) -> String {
        let text = match self.message.rsplit_once(" - ") {
            Some((_, last)) => last,
            None => &self.message,
        };
        match self.code {
            "NOT_FOUND" => "race_lost".to_owned(),
            _ => text.to_lowercase().replace(' ', "_"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = wire::json(self.status, &Value::Null);
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        refusal.into_response()
    }
}
