//! Routes that no real provider has, under its authenticated API: they prove what a proxy did.
//!
//! All of them need a bearer that the provider accepts.
//!
//! * `_echo`: method, path, headers and body digest, as they arrived; the bearer by its id.
//! * `_bytes?n=&chunk=&delay_ms=&trailers=1`: streams `n` bytes.
//! * `_sse?n=&interval_ms=`: server-sent events.
//! * `_sink`: swallows an upload and tells its length and SHA-256.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, Request, State},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use super::{
    front::Emulator,
    log::token_id,
    wire::{self, bearer, query},
};

/// What a body turned out to be.
struct Swallowed {
    bytes: u64,
    sha256: String,
    trailers: Value,
}

pub(crate) fn routes<E: Emulator>(prefix: &str, emulator: Arc<E>) -> Router {
    Router::new()
        .route(&format!("{prefix}/_echo"), any(echo::<E>))
        .route(&format!("{prefix}/_echo/{{*rest}}"), any(echo::<E>))
        .route(&format!("{prefix}/_bytes"), get(bytes::<E>))
        .route(&format!("{prefix}/_sse"), get(sse::<E>))
        .route(&format!("{prefix}/_sink"), any(sink::<E>))
        .with_state(emulator)
}

async fn echo<E: Emulator>(State(emulator): State<Arc<E>>, request: Request) -> Response {
    let user = match emulator.admit(request.headers()) {
        Ok(user) => user,
        Err(refusal) => return *refusal,
    };
    let (parts, body) = request.into_parts();
    let id = bearer(&parts.headers).map(token_id);
    let Some(body) = swallow(body).await else {
        return wire::withheld();
    };
    wire::json(
        StatusCode::OK,
        &json!({
            "method": parts.method.as_str(),
            "path": parts.uri.path(),
            "query": parts.uri.query(),
            "version": format!("{:?}", parts.version),
            "headers": shown(&parts.headers),
            "bearer": id,
            "user": user,
            "body_bytes": body.bytes,
            "body_sha256": body.sha256,
            "trailers": body.trailers,
        }),
    )
}

async fn sink<E: Emulator>(State(emulator): State<Arc<E>>, request: Request) -> Response {
    let user = match emulator.admit(request.headers()) {
        Ok(user) => user,
        Err(refusal) => return *refusal,
    };
    match swallow(request.into_body()).await {
        None => wire::withheld(),
        Some(body) => wire::json(
            StatusCode::OK,
            &json!({
                "user": user,
                "bytes": body.bytes,
                "sha256": body.sha256,
                "trailers": body.trailers,
            }),
        ),
    }
}

async fn bytes<E: Emulator>(
    State(emulator): State<Arc<E>>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Response {
    if let Err(refusal) = emulator.admit(&headers) {
        return *refusal;
    }
    let asked = query(raw.as_deref().unwrap_or_default());
    let total = number(&asked, "n", 1024);
    let chunk = number(&asked, "chunk", 16 * 1024).clamp(1, 1 << 20);
    let delay = Duration::from_millis(number(&asked, "delay_ms", 0));
    let trailers = asked.contains_key("trailers");
    let frames = stream::unfold((0_u64, trailers), move |(sent, trailers)| async move {
        if sent >= total {
            let frame = trailers.then(|| Ok::<_, Infallible>(Frame::trailers(trailer(sent))))?;
            return Some((frame, (sent, false)));
        }
        if sent > 0 && !delay.is_zero() {
            sleep(delay).await;
        }
        let size = chunk.min(total - sent);
        let data = Bytes::from(vec![b'x'; usize::try_from(size).unwrap_or(0)]);
        Some((Ok(Frame::data(data)), (sent + size, trailers)))
    });
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    let mut response = (kind, Body::new(StreamBody::new(Box::pin(frames)))).into_response();
    if asked.contains_key("trailers") {
        let name = HeaderValue::from_static("x-sandbox-bytes");
        response.headers_mut().insert(header::TRAILER, name);
    }
    response
}

async fn sse<E: Emulator>(
    State(emulator): State<Arc<E>>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Response {
    if let Err(refusal) = emulator.admit(&headers) {
        return *refusal;
    }
    let asked = query(raw.as_deref().unwrap_or_default());
    let total = number(&asked, "n", 3);
    let interval = Duration::from_millis(number(&asked, "interval_ms", 100));
    let events = stream::unfold(0_u64, move |sent| async move {
        if sent >= total {
            return None;
        }
        if sent > 0 {
            sleep(interval).await;
        }
        let event = format!("id: {sent}\nevent: tick\ndata: {{\"n\":{sent}}}\n\n");
        Some((Ok::<_, Infallible>(Bytes::from(event)), sent + 1))
    });
    let kind = [(header::CONTENT_TYPE, "text/event-stream")];
    (kind, Body::from_stream(events)).into_response()
}

fn trailer(sent: u64) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sandbox-bytes", HeaderValue::from(sent));
    trailers
}

fn number(asked: &BTreeMap<String, String>, name: &str, default: u64) -> u64 {
    asked
        .get(name)
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Every header with all its values; the credential by its id.
fn shown(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut shown = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let text = match text.strip_prefix("Bearer ") {
            Some(token) if name == header::AUTHORIZATION => format!("Bearer {}", token_id(token)),
            _ => text,
        };
        shown.entry(name.to_string()).or_default().push(text);
    }
    shown
}

/// Reads `body` to its end; `None` if it breaks.
async fn swallow(mut body: Body) -> Option<Swallowed> {
    let mut digest = Sha256::new();
    let mut bytes = 0_u64;
    let mut trailers = BTreeMap::new();
    while let Some(frame) = body.frame().await {
        match frame.ok()?.into_data() {
            Ok(data) => {
                bytes += data.len() as u64;
                digest.update(&data);
            }
            Err(frame) => {
                trailers = frame
                    .into_trailers()
                    .map(|map| shown(&map))
                    .unwrap_or_default();
            }
        }
    }
    let digest: [u8; 32] = digest.finalize().into();
    Some(Swallowed {
        bytes,
        sha256: hex::encode(digest),
        trailers: json!(trailers),
    })
}
