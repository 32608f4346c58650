//! The calls under `/-/{provider}/`, which this process answers itself.
//!
//! | call | answer |
//! |---|---|
//! | `GET connection` | [`ConnectionView`], or 424 `not-connected` |
//! | `POST refresh[?force=true]` | [`ConnectionView`] after the renewal |
//! | `POST connect-link` | where the user connects: `{"url","expires_at"}`; takes `{"return_to"}` |
//! | `GET token` | the token, if `token_reads` is on; else 403 `token-reads-disabled` |
//!
//! * Request: a [`LocalCall`] is answered here; anything else goes inward.
//! * Response: JSON that no cache stores. No view has a token in it.
//! * Order: right inside the route layer. A wrong method is 405 with `Allow`, an unknown call 404.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use pin_project_lite::pin_project;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::time::Instant;
use tower::{BoxError, Layer};
use zeroize::Zeroizing;

use super::route::{Destination, LocalCall, Routed};
use crate::{
    base::{
        clock::{SharedClock, Timestamp},
        ids::{ConnectionKey, Generation, ProviderName, UserId},
    },
    http::{
        body::{Body, Read},
        service::Service,
    },
    token::{self, ReauthReason, TokenSource},
};

/// The body of a local call is a line of JSON, in bytes.
const BODY_LIMIT: usize = 16 * 1024;

/// How long it may take.
const BODY_TIME: Duration = Duration::from_secs(5);

/// What the local calls ask of the rooms that know connections.
#[async_trait]
pub trait LocalCalls: Send + Sync + 'static {
    /// The connection as it is; `None` if there is none.
    async fn connection(&self, key: ConnectionKey) -> Result<Option<ConnectionView>, token::Error>;

    /// Renews the connection's token now.
    async fn refresh(
        &self,
        key: ConnectionKey,
        force: Force,
    ) -> Result<ConnectionView, token::Error>;

    /// A link at which the user connects, and that leads to `return_to` afterwards.
    async fn connect_link(
        &self,
        key: ConnectionKey,
        return_to: Option<String>,
    ) -> Result<ConnectLink, LinkError>;

    /// A link that costs nothing to make, for answers to users who are not connected; `None` where
    /// nobody can be connected.
    fn connect_url(&self, key: &ConnectionKey) -> Option<String>;
}

/// Where a user connects.
#[derive(Clone, Serialize)]
#[expect(missing_debug_implementations, reason = "whoever has it can connect")]
pub struct ConnectLink {
    /// To be opened in the user's browser, and shown to nobody else.
    pub url: String,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// Why there is no link.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Nobody can be connected here: a setting is missing. The operator must act.
    #[error("{0}")]
    NotConfigured(String),
    /// The browser must not be sent there. The caller's fault.
    #[error("{0}")]
    ReturnTo(String),
    /// The store does not answer.
    #[error("the store cannot keep the link")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A user who is not connected, and where to connect.
#[derive(Debug, Error)]
#[error("{source}")]
pub(super) struct Unconnected {
    pub(super) source: token::Error,
    pub(super) connect_url: String,
}

/// How a renewal was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// The standard refresh.
    No,
    /// With the client's own secret, where the provider has that.
    Yes,
}

/// A connection as its app may see it. Never has a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionView {
    /// Where.
    pub provider: ProviderName,
    /// Who.
    pub user: UserId,
    /// `active` or `needs_reauth`.
    pub status: &'static str,
    /// Why it needs its user, if it does.
    pub reason: Option<ReauthReason>,
    /// Since when it needs its user, if it does.
    pub since: Option<Timestamp>,
    /// How often tokens were written.
    pub generation: Generation,
    /// When the access token ends, if there is one.
    pub expires_at: Option<Timestamp>,
    /// The provider's own id or URI for the account.
    pub external_id: Option<String>,
    /// The provider's id or URI of the account's organization.
    pub organization: Option<String>,
    /// Whether it is a managed user of the provider's platform.
    pub managed: bool,
    /// The granted scope, space separated.
    pub scope: Option<String>,
    /// How its webhook subscription is doing, as the API for operators shows it; `None` if none was
    /// asked for, or that cannot be told now.
    pub subscription: Option<Value>,
    /// How far its meetings are read; the same.
    pub sync: Option<Value>,
}

/// Why a local call has no answer, token errors apart.
#[derive(Debug, Error)]
pub(super) enum LocalError {
    #[error("there is no call of this name")]
    NoSuchCall,
    #[error("this call takes {0} only")]
    WrongMethod(Method),
    #[error("reading tokens is not allowed")]
    TokenReadsDisabled,
    #[error("the body is not {{\"return_to\": \"https://…\"}}, nor empty")]
    InvalidBody,
}

/// Applies [`Local`].
#[derive(Clone)]
pub(super) struct LocalLayer(Arc<Calls>);

/// Answers local calls; see the [module docs](self).
#[derive(Clone)]
pub(super) struct Local<S> {
    inner: S,
    calls: Arc<Calls>,
}

/// What local calls are answered from.
pub(super) struct Calls {
    pub(super) connections: Arc<dyn LocalCalls>,
    pub(super) tokens: Arc<dyn TokenSource>,
    pub(super) clock: SharedClock,
    pub(super) token_reads: bool,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

pin_project! {
    /// Response future of [`Local`].
    #[project = Projected]
    pub(super) enum ResponseFuture<F> {
        Answer { answer: Answer },
        Inner { #[pin] inner: F },
    }
}

// === impl ConnectionView ===

impl ConnectionView {
    /// `status` of a connection that works.
    pub const ACTIVE: &'static str = "active";
    /// `status` of a connection that only its user can mend.
    pub const NEEDS_REAUTH: &'static str = "needs_reauth";
}

// === impl LocalLayer ===

impl LocalLayer {
    /// Answers from `calls`.
    pub(super) fn new(calls: Calls) -> Self {
        Self(Arc::new(calls))
    }
}

impl<S> Layer<S> for LocalLayer {
    type Service = Local<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Local {
            inner,
            calls: Arc::clone(&self.0),
        }
    }
}

// === impl Local ===

impl<S> Service<Destination> for Local<S>
where
    S: Service<Routed, Response = Response<Body>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn call(&self, destination: Destination) -> Self::Future {
        match destination {
            Destination::Provider(routed) => ResponseFuture::Inner {
                inner: self.inner.call(routed),
            },
            Destination::Local(call) => ResponseFuture::Answer {
                answer: Box::pin(Arc::clone(&self.calls).answer(call)),
            },
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Local<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

// === impl Calls ===

impl Calls {
    async fn answer(self: Arc<Self>, call: LocalCall) -> Result<Response<Body>, BoxError> {
        let method = match call.action.as_str() {
            "connection" | "token" => Method::GET,
            "refresh" | "connect-link" => Method::POST,
            _ => return Err(LocalError::NoSuchCall.into()),
        };
        if call.method != method {
            return Err(LocalError::WrongMethod(method).into());
        }
        match call.action.as_str() {
            "connection" => self.connection(call.key).await,
            "refresh" => self.refresh(call).await,
            "connect-link" => self.connect_link(call).await,
            _ => self.token(call.key).await,
        }
    }

    async fn connection(&self, key: ConnectionKey) -> Result<Response<Body>, BoxError> {
        match self.connections.connection(key.clone()).await? {
            Some(view) => json(serde_json::to_vec(&view)?),
            None => Err(token::Error::NotConnected { key }.into()),
        }
    }

    async fn refresh(&self, call: LocalCall) -> Result<Response<Body>, BoxError> {
        let forced = |pair: &str| matches!(pair, "force=true" | "force=1" | "force");
        let force = if call.query.split('&').any(forced) {
            Force::Yes
        } else {
            Force::No
        };
        let view = self.connections.refresh(call.key, force).await?;
        json(serde_json::to_vec(&view)?)
    }

    async fn connect_link(&self, call: LocalCall) -> Result<Response<Body>, BoxError> {
        let deadline = Instant::now() + BODY_TIME;
        let Read::All(body) = call.body.read_up_to(BODY_LIMIT, deadline).await? else {
            return Err(LocalError::InvalidBody.into());
        };
        let order = if body.is_empty() {
            LinkOrder::default()
        } else {
            match serde_json::from_slice(&body) {
                Ok(order) => order,
                Err(_invalid) => return Err(LocalError::InvalidBody.into()),
            }
        };
        let link = self
            .connections
            .connect_link(call.key, order.return_to)
            .await?;
        json(serde_json::to_vec(&link)?)
    }

    async fn token(&self, key: ConnectionKey) -> Result<Response<Body>, BoxError> {
        if !self.token_reads {
            return Err(LocalError::TokenReadsDisabled.into());
        }
        let bearer = self.tokens.bearer(key).await?;
        let now = self.clock.now();
        let expires_in = bearer.expires_at().saturating_since(now).as_secs();
        let header = bearer.authorization().as_bytes();
        let token = header.strip_prefix(b"Bearer ").unwrap_or_default();
        let body = Zeroizing::new(serde_json::to_vec(&TokenView {
            access_token: std::str::from_utf8(token)?,
            token_type: "Bearer",
            expires_at: bearer.expires_at(),
            expires_in,
            generation: bearer.generation(),
        })?);
        json(body.to_vec())
    }
}

/// What `POST connect-link` takes.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkOrder {
    return_to: Option<String>,
}

/// What `GET token` answers.
#[derive(Serialize)]
struct TokenView<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_at: Timestamp,
    /// In seconds.
    expires_in: u64,
    generation: Generation,
}

#[expect(clippy::unnecessary_wraps, reason = "every call ends with it")]
fn json(body: Vec<u8>) -> Result<Response<Body>, BoxError> {
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

// === impl ResponseFuture ===

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Inner { inner } => inner.poll(cx).map_err(Into::into),
            Projected::Answer { answer } => answer.as_mut().poll(cx),
        }
    }
}
