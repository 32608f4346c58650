//! Reading requests and writing answers, where both emulators do it alike.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::Value;

use super::switches::{Canned, Malformation};

/// Marks an answer that must not be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Withheld;

/// Bodies that the emulators read whole end here, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 1 << 20;

pub(crate) fn json(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(CONTENT_TYPE, "application/json; charset=utf-8")],
        body.to_string(),
    )
        .into_response()
}

pub(crate) fn html(status: StatusCode, body: impl Into<Body>) -> Response {
    (
        status,
        [(CONTENT_TYPE, "text/html; charset=utf-8")],
        body.into(),
    )
        .into_response()
}

/// An edge's page: HTML that says nothing an API client could read.
pub(crate) fn edge_page(status: StatusCode) -> Response {
    let reason = status.canonical_reason().unwrap_or("Error");
    html(
        status,
        format!(
            "<!DOCTYPE html><html><head><title>{reason}</title></head><body><h1>{reason}</h1></body></html>"
        ),
    )
}

/// No answer at all.
pub(crate) fn withheld() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.extensions_mut().insert(Withheld);
    response
}

pub(crate) fn canned(canned: &Canned) -> Response {
    let status = StatusCode::from_u16(canned.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, canned.body.clone()).into_response();
    for (name, value) in &canned.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Breaks a successful token answer; refusals are left alone.
pub(crate) async fn broken(response: Response, how: Malformation) -> Response {
    if !response.status().is_success() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES)
        .await
        .unwrap_or_default();
    parts.headers.remove(http::header::CONTENT_LENGTH);
    let body = match how {
        Malformation::Empty => Body::empty(),
        Malformation::Html => {
            parts
                .headers
                .insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
            Body::from("<!DOCTYPE html><html><body>Welcome</body></html>")
        }
        Malformation::Truncated => Body::from(bytes.slice(..bytes.len() / 2)),
        Malformation::NoAccessToken => without(&bytes, &["access_token", "accessToken"]),
        Malformation::NoRefreshToken => without(&bytes, &["refresh_token", "refreshToken"]),
        Malformation::NoExpiry => without(
            &bytes,
            &[
                "expires_in",
                "created_at",
                "accessTokenExpiresAt",
                "refreshTokenExpiresAt",
            ],
        ),
    };
    Response::from_parts(parts, body)
}

fn without(bytes: &[u8], keys: &[&str]) -> Body {
    let mut value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    strip(&mut value, keys);
    Body::from(value.to_string())
}

fn strip(value: &mut Value, keys: &[&str]) {
    if let Value::Object(map) = value {
        map.retain(|key, _| !keys.contains(&key.as_str()));
        map.values_mut().for_each(|inner| strip(inner, keys));
    }
}

/// The token after exactly `Bearer `, as Cal.com strips it: case-sensitively.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Client id and secret of HTTP Basic, form-decoded as RFC 6749 §2.3.1 wants them.
pub(crate) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = header(headers, "authorization")?.strip_prefix("Basic ")?;
    let plain = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = plain.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    url::form_urlencoded::parse(format!("v={text}").as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

/// The fields of a JSON object or a form; `None` if the body is neither, or a field is no text.
pub(crate) fn fields(headers: &HeaderMap, body: &[u8]) -> Option<BTreeMap<String, String>> {
    let kind = header(headers, "content-type").unwrap_or_default();
    if kind.starts_with("application/json") {
        let object: BTreeMap<String, Value> = serde_json::from_slice(body).ok()?;
        return object
            .into_iter()
            .map(|(key, value)| Some((key, value.as_str()?.to_owned())))
            .collect();
    }
    if kind.starts_with("application/x-www-form-urlencoded") {
        return Some(query(std::str::from_utf8(body).ok()?));
    }
    None
}

/// The pairs of a query or form; of repeated names the last counts.
pub(crate) fn query(text: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

/// Base64url of the SHA-256 of a PKCE verifier (RFC 7636 §4.2).
pub(crate) fn s256(verifier: &str) -> String {
    use sha2::{Digest, Sha256};
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}
