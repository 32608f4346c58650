//! The recorder of the webhook room.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use super::{
    Metrics, OutcomeLabels, ProviderLabels,
    label::{Delivery, Label, Webhook},
    timing::Timing,
};

/// Records the webhooks and deliveries of one provider. Clones share the counters.
#[derive(Clone, Debug)]
pub struct WebhookMetrics {
    webhooks: Vec<Counter>,
    deliveries: Vec<Counter>,
    delivery_duration: Timing,
}

// === impl WebhookMetrics ===

impl WebhookMetrics {
    pub(super) fn new(metrics: &Metrics, provider: &str) -> Self {
        let labels = |outcome| OutcomeLabels {
            provider: provider.to_owned(),
            outcome,
        };
        let webhook = |webhook: &Webhook| {
            metrics
                .webhooks
                .get_or_create_owned(&labels(webhook.as_str()))
        };
        let delivery = |delivery: &Delivery| {
            metrics
                .deliveries
                .get_or_create_owned(&labels(delivery.as_str()))
        };
        let of_provider = ProviderLabels {
            provider: provider.to_owned(),
        };
        Self {
            webhooks: Webhook::ALL.iter().map(webhook).collect(),
            deliveries: Delivery::ALL.iter().map(delivery).collect(),
            delivery_duration: metrics.delivery_duration.get_or_create_owned(&of_provider),
        }
    }

    /// A webhook came.
    pub fn webhook(&self, webhook: Webhook) {
        if let Some(counter) = self.webhooks.get(webhook.index()) {
            counter.inc();
        }
    }

    /// A delivery was tried.
    pub fn delivery(&self, delivery: Delivery, took: Duration) {
        if let Some(counter) = self.deliveries.get(delivery.index()) {
            counter.inc();
        }
        self.delivery_duration.observe(took, None);
    }

    /// How many tries to deliver came to what `fits`.
    pub fn deliveries(&self, fits: impl Fn(Delivery) -> bool) -> u64 {
        let all = self.deliveries.iter().zip(Delivery::ALL);
        let fitting = all.filter(|(_, outcome)| fits(**outcome));
        fitting.map(|(counter, _)| counter.get()).sum()
    }
}
