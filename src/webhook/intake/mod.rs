//! Intake: `POST /webhooks/{provider}/{route}`, and the shared `POST /webhooks/{provider}`.
//!
//! In this order, each step final if it fails:
//!
//! 1. The provider and the route exist: else 404.
//! 2. The body is whole, in time and not too large: else 400, 408 or 413.
//! 3. Its signature over the raw bytes is good, by the route's key or the provider's: else 401.
//! 4. It is JSON: else 400.
//! 5. It is kept, once: else 503, and the provider sends it again. Then 200; or 202 if it is nobody's.
//!
//! What follows, such as delivery, looking for its users, reading its meeting, is nobody's business here.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::json;
use tokio::{sync::Notify, time::timeout};
use zeroize::Zeroizing;

use super::{
    Config, Witness,
    envelope::{Envelope, Envelopes},
    route::{Routes, Target},
    routing::{Found, Routing},
};
use crate::{
    base::{
        clock::SharedClock,
        ids::{EventId, ProviderName},
        lifecycle::Lifecycle,
        random::SharedRandom,
        secret::Secret,
    },
    provider::{Event, Received, SharedProvider},
    store::{self, Accepted, Connection, Everything, NewEvent, seal::KeyRing},
    token::{TokenSource, account_of},
};

mod refusal;

pub use refusal::{Refusal, Verdict};

/// How long a body may take. Providers send a few KiB at once.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What is passed on of a webhook's headers, beside the provider's signature.
const KEPT: [HeaderName; 1] = [header::CONTENT_TYPE];

/// What begins so is the provider's own: its signature, the version of its payload.
const KEPT_PREFIXES: [&str; 2] = ["calendly-", "x-cal-"];

/// What intake is made of.
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Parts {
    /// The tolerance of signatures.
    pub config: Config,
    /// The largest body taken, in bytes.
    pub max_body_bytes: usize,
    /// Who may send.
    pub providers: Vec<SharedProvider>,
    /// Where it is kept.
    pub store: Arc<dyn Everything>,
    /// Tokens, to ask who somebody is.
    pub tokens: Arc<dyn TokenSource>,
    /// What it is sealed with.
    pub keys: Arc<KeyRing>,
    /// Rung when something was accepted.
    pub accepted: Arc<Notify>,
    /// Hears of new events.
    pub witness: Arc<dyn Witness>,
    /// Tells the time.
    pub clock: SharedClock,
    /// Draws ids.
    pub random: SharedRandom,
    /// Runs what follows.
    pub lifecycle: Lifecycle,
}

/// Takes webhooks. Clones share everything.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Intake(Arc<Inner>);

struct Inner {
    tolerance: Duration,
    max_body_bytes: usize,
    providers: BTreeMap<ProviderName, SharedProvider>,
    store: Arc<dyn Everything>,
    routes: Routes,
    routing: Routing,
    envelopes: Envelopes,
    accepted: Arc<Notify>,
    witness: Arc<dyn Witness>,
    clock: SharedClock,
    random: SharedRandom,
}

// === impl Intake ===

impl Intake {
    /// Takes webhooks of the providers in `parts`.
    pub fn new(parts: Parts) -> Self {
        let providers = parts.providers.into_iter();
        let routing = Routing::new(
            Arc::clone(&parts.store) as _,
            Arc::clone(&parts.store) as _,
            parts.tokens,
            parts.lifecycle,
            Arc::clone(&parts.accepted),
        );
        let routes = Routes::new(
            Arc::clone(&parts.store) as _,
            Arc::clone(&parts.keys),
            Arc::clone(&parts.random),
        );
        Self(Arc::new(Inner {
            tolerance: parts.config.tolerance,
            max_body_bytes: parts.max_body_bytes,
            providers: providers
                .map(|provider| (provider.name().clone(), provider))
                .collect(),
            store: parts.store,
            routes,
            routing,
            envelopes: Envelopes::new(parts.keys, Arc::clone(&parts.random)),
            accepted: parts.accepted,
            witness: parts.witness,
            clock: parts.clock,
            random: parts.random,
        }))
    }

    /// A user has connected: what waits for the account is delivered.
    pub async fn arrived(&self, connection: &Connection) -> Result<(), store::Error> {
        match account_of(connection).key() {
            Some(account) => self.0.routing.give(&account, &connection.key).await,
            None => Ok(()),
        }
    }

    /// Asks a connection of unknown account who it is, once, and gives it what waits for it. Whether it
    /// was asked now.
    pub(super) async fn identify(&self, connection: &Connection) -> Result<bool, store::Error> {
        match self.0.providers.get(&connection.key.provider) {
            Some(provider) => self.0.routing.identify(provider, connection).await,
            None => Ok(false),
        }
    }

    /// The routes of the ingress listener that are webhooks'.
    pub fn router(self) -> Router {
        Router::new()
            .route("/webhooks/{provider}", post(shared))
            .route("/webhooks/{provider}/{route}", post(routed))
            .with_state(self)
    }
}

async fn shared(
    State(intake): State<Intake>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    intake.0.answer(&provider, None, headers, body).await
}

async fn routed(
    State(intake): State<Intake>,
    Path((provider, route)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    intake
        .0
        .answer(&provider, Some(&route), headers, body)
        .await
}

// === impl Inner ===

impl Inner {
    async fn answer(
        &self,
        provider: &str,
        route: Option<&str>,
        headers: HeaderMap,
        body: Body,
    ) -> Response {
        let known = ProviderName::parse(provider).ok();
        let Some(provider) = known.and_then(|name| self.providers.get(&name)) else {
            return Refusal::UnknownRoute.into_response();
        };
        match self.take(provider, route, headers, body).await {
            Ok(verdict) => {
                self.witness.judged(provider.name(), verdict);
                let (status, word) = match verdict {
                    Verdict::Unrouted => (StatusCode::ACCEPTED, "unrouted"),
                    Verdict::Known => (StatusCode::OK, "known"),
                    _ => (StatusCode::OK, "accepted"),
                };
                (status, Json(json!({ "status": word }))).into_response()
            }
            Err(refusal) => {
                self.witness.judged(provider.name(), refusal.verdict());
                refusal.tell(provider.name());
                refusal.into_response()
            }
        }
    }

    async fn take(
        &self,
        provider: &SharedProvider,
        route: Option<&str>,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Verdict, Refusal> {
        let target = match route {
            Some(route) => match self.routes.find(provider.name(), route).await? {
                Some(target) => Some(target),
                None => return Err(Refusal::UnknownRoute),
            },
            None => None,
        };
        let body = self.read(body).await?;
        let event = self.proven(provider, target.as_ref(), &headers, &body)?;
        let found = self
            .routing
            .find(provider.name(), &event, target.as_ref())
            .await?;
        let envelope = Envelope {
            headers: kept(&headers),
            body,
        };
        self.keep(provider, target, &event, found, &envelope).await
    }

    async fn read(&self, body: Body) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let reading = Limited::new(body, self.max_body_bytes).collect();
        match timeout(BODY_TIME, reading).await {
            Ok(Ok(whole)) => Ok(Zeroizing::new(whole.to_bytes().to_vec())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge {
                limit: self.max_body_bytes,
            }),
            Ok(Err(_cut)) => Err(Refusal::Cut),
            Err(_late) => Err(Refusal::Slow),
        }
    }

    /// What a genuine webhook says.
    fn proven(
        &self,
        provider: &SharedProvider,
        target: Option<&Target>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Event, Refusal> {
        let Some(webhooks) = provider.webhooks() else {
            return Err(Refusal::UnknownRoute);
        };
        let shared = webhooks.shared_key();
        let own = target.map(|target| &target.secret);
        let keys: Vec<&Secret<String>> = own.into_iter().chain(shared.as_deref()).collect();
        webhooks.verify(&Received {
            headers,
            body,
            keys: &keys,
            at: self.clock.now(),
            tolerance: self.tolerance,
        })?;
        webhooks.read(body).map_err(Refusal::NotJson)
    }

    async fn keep(
        &self,
        provider: &SharedProvider,
        target: Option<Target>,
        event: &Event,
        found: Found,
        envelope: &Envelope,
    ) -> Result<Verdict, Refusal> {
        let id = EventId::random(&*self.random);
        let recipients = found.recipients.clone();
        let accepted = self.store.accept(NewEvent {
            id,
            provider: provider.name().clone(),
            name: event.name.clone(),
            dedupe: event.key.0,
            payload: self.envelopes.seal(provider.name(), id, envelope),
            recipients: found.recipients,
            accounts: found.accounts,
            at: self.clock.now(),
        });
        let accepted = accepted.await?;
        let is_news = match accepted {
            Accepted::New { .. } => true,
            Accepted::Known { added, .. } => added > 0,
        };
        if recipients.is_empty() {
            self.routing
                .look_further(Arc::clone(provider), target, found.hosts_of);
            return Ok(Verdict::Unrouted);
        }
        if !is_news {
            return Ok(Verdict::Known);
        }
        self.accepted.notify_one();
        self.witness.took(&recipients, event);
        Ok(Verdict::Accepted)
    }
}

/// Headers that the app may need: what the provider says of the body, and its signature.
fn kept(headers: &HeaderMap) -> HeaderMap {
    let is_kept = |name: &HeaderName| {
        KEPT.contains(name)
            || KEPT_PREFIXES
                .iter()
                .any(|prefix| name.as_str().starts_with(prefix))
    };
    headers
        .iter()
        .filter(|(name, _)| is_kept(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
