//! The recorder of the proxy.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use super::{
    Metrics, ObjectionLabels, OutcomeLabels, ProviderLabels,
    label::{Check, Label, Objection, Outcome, Replay},
    timing::Timing,
};
use crate::telemetry::trace::SpanContext;

/// Records requests to one provider. Clones share the counters.
#[derive(Clone, Debug)]
pub struct ProxyMetrics {
    requests: Vec<Counter>,
    replays: Vec<Counter>,
    objections: Vec<Vec<Counter>>,
    request_duration: Timing,
    upstream_duration: Timing,
}

// === impl ProxyMetrics ===

impl ProxyMetrics {
    pub(super) fn new(metrics: &Metrics, provider: &str) -> Self {
        let labels = ProviderLabels {
            provider: provider.to_owned(),
        };
        let counter = |family: &super::Family<OutcomeLabels, Counter>, outcome| {
            let provider = provider.to_owned();
            family.get_or_create_owned(&OutcomeLabels { provider, outcome })
        };
        let requests = Outcome::ALL
            .iter()
            .map(|outcome| counter(&metrics.requests, outcome.as_str()));
        let replays = Replay::ALL
            .iter()
            .map(|outcome| counter(&metrics.replays, outcome.as_str()));
        let objection = |check: &Check, outcome: &Objection| {
            let labels = ObjectionLabels {
                provider: provider.to_owned(),
                check: check.as_str(),
                outcome: outcome.as_str(),
            };
            metrics.objections.get_or_create_owned(&labels)
        };
        let objections = |check: &Check| {
            Objection::ALL
                .iter()
                .map(|outcome| objection(check, outcome))
                .collect()
        };
        Self {
            requests: requests.collect(),
            replays: replays.collect(),
            objections: Check::ALL.iter().map(objections).collect(),
            request_duration: metrics.request_duration.get_or_create_owned(&labels),
            upstream_duration: metrics.upstream_duration.get_or_create_owned(&labels),
        }
    }

    /// A request has ended, its body included; `of` is its span, if that is recorded.
    pub fn request(&self, outcome: Outcome, took: Duration, of: Option<SpanContext>) {
        if let Some(counter) = self.requests.get(outcome.index()) {
            counter.inc();
        }
        self.request_duration.observe(took, of);
    }

    /// The head of the provider's answer is there.
    pub fn upstream(&self, took: Duration, of: Option<SpanContext>) {
        self.upstream_duration.observe(took, of);
    }

    /// A request was sent a second time, or should have been.
    pub fn replay(&self, outcome: Replay) {
        if let Some(counter) = self.replays.get(outcome.index()) {
            counter.inc();
        }
    }

    /// The operator's policy has something against a request.
    pub fn objection(&self, check: Check, outcome: Objection) {
        let counters = self.objections.get(check.index());
        if let Some(counter) = counters.and_then(|counters| counters.get(outcome.index())) {
            counter.inc();
        }
    }

    /// How many requests have ended with an outcome that `fits`.
    pub fn requests(&self, fits: impl Fn(Outcome) -> bool) -> u64 {
        let all = self.requests.iter().zip(Outcome::ALL);
        let fitting = all.filter(|(_, outcome)| fits(**outcome));
        fitting.map(|(counter, _)| counter.get()).sum()
    }
}
