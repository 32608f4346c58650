//! The other direction, wired: who hears of connections that come and go, of events, of syncs, and what
//! the app is told of it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Value, json};

use crate::{
    admin::audit::{Action, Actor, Audit, Order, Via},
    base::{
        ids::{ConnectionKey, ProviderName},
        lifecycle::Lifecycle,
    },
    connect::{Arrival, Follower, IssuedTokens},
    meeting::{self, Enricher, Sync},
    provider::Event,
    store::{self, Connection},
    telemetry::metrics::{Metrics, WebhookMetrics, label},
    token::{Issued, ReauthReason, Revocation, account_of},
    webhook::{Delivered, Intake, OwnEvent, Subscriptions, Teller, Verdict, Witness, delivery},
};

/// Tells the app of Daypass's own events. It is there before the store is, and says nothing until then.
#[derive(Clone, Default)]
pub(super) struct Announcer(Arc<OnceLock<Wired>>);

struct Wired {
    teller: Teller,
    issued: Option<IssuedTokens>,
    lifecycle: Lifecycle,
}

/// Does for webhooks, meetings and the app what follows from a user's coming and going.
pub(super) struct Following {
    pub(super) intake: Intake,
    pub(super) subscriptions: Subscriptions,
    pub(super) sync: Sync,
    pub(super) announcer: Announcer,
    /// Notes consents; commands see none.
    pub(super) audit: Option<Audit>,
}

/// Tells that meetings were read.
pub(super) struct Synced(pub(super) Announcer);

/// Counts what becomes of webhooks and deliveries, and has the meetings of new events read.
pub(super) struct OfWebhooks {
    providers: BTreeMap<ProviderName, WebhookMetrics>,
    left_alone: Gauge,
    enricher: OnceLock<Enricher>,
}

// === impl Announcer ===

impl Announcer {
    /// From now on the app is told by `teller`, and issued tokens are remembered by `issued`.
    pub(super) fn wire(&self, teller: Teller, issued: Option<IssuedTokens>, lifecycle: Lifecycle) {
        let wired = Wired {
            teller,
            issued,
            lifecycle,
        };
        // Wired once, at the start.
        let _already = self.0.set(wired);
    }

    /// Tells the app, and waits until that survives a crash.
    async fn tell(
        &self,
        event: OwnEvent,
        key: &ConnectionKey,
        data: Value,
    ) -> Result<(), store::Error> {
        match self.0.get() {
            Some(wired) => wired.teller.tell(event, key, data).await,
            None => Ok(()),
        }
    }

    /// The same, complaining in the log only.
    async fn tell_or_complain(&self, event: OwnEvent, key: &ConnectionKey, data: Value) {
        if let Err(error) = self.tell(event, key, data).await {
            tracing::warn!(
                provider = %key.provider, user = %key.user, event = event.as_str(),
                error = &error as &dyn std::error::Error,
                "the app could not be told",
            );
        }
    }

    /// The same, from where nobody can wait.
    fn tell_later(&self, event: OwnEvent, key: &ConnectionKey, data: Value) {
        let Some(wired) = self.0.get() else {
            return;
        };
        let (announcer, key) = (self.clone(), key.clone());
        drop(wired.lifecycle.spawn(async move {
            announcer.tell_or_complain(event, &key, data).await;
        }));
    }

    /// A connection was renewed.
    pub(super) fn refreshed(&self, key: &ConnectionKey) {
        self.tell_later(OwnEvent::Refreshed, key, json!({}));
    }

    /// A connection was marked.
    pub(super) fn needs_reauth(&self, key: &ConnectionKey, reason: ReauthReason) {
        let data = json!({ "reason": reason.as_str() });
        self.tell_later(OwnEvent::NeedsReauth, key, data);
    }

    /// A managed user has a new token.
    pub(super) fn issued(&self, issued: &Issued<'_>) {
        if let Some(remembers) = self.0.get().and_then(|wired| wired.issued.as_ref()) {
            remembers.remember(issued);
        }
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer")
            .field("wired", &self.0.get().is_some())
            .finish()
    }
}

// === impl Following ===

#[async_trait]
impl Follower for Following {
    async fn connected(&self, connection: &Connection, arrival: Arrival) {
        let key = &connection.key;
        let complain = |what: &str, outcome: Result<(), store::Error>| {
            if let Err(error) = outcome {
                tracing::warn!(
                    provider = %key.provider, user = %key.user,
                    error = &error as &dyn std::error::Error,
                    "a user is connected, and {what} could not be asked for",
                );
            }
        };
        complain("webhooks", self.subscriptions.ask_for(key).await);
        complain("waiting events", self.intake.arrived(connection).await);
        let synced = match arrival {
            Arrival::OtherAccount => self.sync.begin_anew(key).await,
            Arrival::First | Arrival::Again => self.sync.ask_for(key).await,
        };
        complain("meetings", synced.map(drop));
        let data = json!({
            "arrival": arrival.as_str(),
            "account": account_of(connection).key(),
            "organization": connection.organization,
        });
        self.announcer
            .tell_or_complain(OwnEvent::Connected, key, data)
            .await;
    }

    async fn consented(&self, key: &ConnectionKey, outcome: Result<(), &'static str>) {
        let Some(audit) = &self.audit else {
            return;
        };
        // Whoever had the link; nobody else is asked who they are.
        let actor = Actor::new(Via::Ingress, "user");
        let order = Order::to(Action::Connect).about(key);
        match outcome {
            Ok(()) => audit.done(&actor, order).await,
            Err(reason) => audit.refused(&actor, order, reason).await,
        }
    }

    async fn disconnecting(&self, connection: &Connection) {
        let key = &connection.key;
        if let Err(error) = self.subscriptions.take_back(key).await {
            tracing::warn!(
                provider = %key.provider, user = %key.user,
                error = &error as &dyn std::error::Error,
                "the webhook subscription of a connection could not be taken back",
            );
        }
    }

    async fn disconnected(&self, connection: &Connection, revocation: Revocation) {
        let key = &connection.key;
        if let Err(error) = self.sync.forget(key).await {
            tracing::warn!(
                provider = %key.provider, user = %key.user,
                error = &error as &dyn std::error::Error,
                "the meetings of a removed connection could not be forgotten",
            );
        }
        let revocation = match revocation {
            Revocation::Revoked => "revoked",
            Revocation::NotOffered => "not_offered",
            Revocation::Failed => "failed",
        };
        let data = json!({ "revocation": revocation });
        self.announcer
            .tell_or_complain(OwnEvent::Disconnected, key, data)
            .await;
    }
}

// === impl Synced ===

#[async_trait]
impl meeting::Followers for Synced {
    async fn synced(&self, key: &ConnectionKey, changed: u64) -> Result<(), store::Error> {
        let data = json!({ "changed": changed });
        self.0.tell(OwnEvent::MeetingsSynced, key, data).await
    }
}

// === impl OfWebhooks ===

impl OfWebhooks {
    pub(super) fn new(metrics: &Metrics, names: &[ProviderName]) -> Arc<Self> {
        let recorders = names.iter();
        Arc::new(Self {
            providers: recorders
                .map(|name| (name.clone(), metrics.webhook(name)))
                .collect(),
            left_alone: metrics.left_alone(),
            enricher: OnceLock::new(),
        })
    }

    /// From now on the meetings of new events are read.
    pub(super) fn wire(&self, enricher: Enricher) {
        // Wired once, at the start.
        let _already = self.enricher.set(enricher);
    }
}

impl Witness for OfWebhooks {
    fn judged(&self, provider: &ProviderName, verdict: Verdict) {
        if let Some(recorder) = self.providers.get(provider) {
            recorder.webhook(match verdict {
                Verdict::Accepted => label::Webhook::Accepted,
                Verdict::Known => label::Webhook::Known,
                Verdict::Unrouted => label::Webhook::Unrouted,
                Verdict::Forged => label::Webhook::Forged,
                Verdict::Invalid => label::Webhook::Invalid,
                Verdict::Failed => label::Webhook::Failed,
            });
        }
    }

    fn took(&self, recipients: &[ConnectionKey], event: &Event) {
        if let Some(enricher) = self.enricher.get() {
            enricher.enrich(recipients, event);
        }
    }
}

impl delivery::Observer for OfWebhooks {
    fn tried(&self, provider: &ProviderName, delivered: Delivered, took: Duration) {
        if let Some(recorder) = self.providers.get(provider) {
            let outcome = match delivered {
                Delivered::Yes => label::Delivery::Delivered,
                Delivered::NotYet => label::Delivery::Failed,
                Delivered::GivenUp => label::Delivery::Dead,
            };
            recorder.delivery(outcome, took);
        }
    }

    fn left_alone(&self, destinations: usize) {
        self.left_alone
            .set(i64::try_from(destinations).unwrap_or(i64::MAX));
    }
}
