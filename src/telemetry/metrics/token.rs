//! The recorder of the token room.

use std::time::Duration;

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::{
    Metrics, ProviderLabels, RenewalLabels, ResultLabels, StatusLabels,
    label::{Label, Lookup, Redeem, Renewal, Status},
    timing::Timing,
};
use crate::telemetry::trace;

/// Records what is done with the tokens of one provider. Clones share the counters.
#[derive(Clone, Debug)]
pub struct TokenMetrics {
    lookups: Vec<Counter>,
    renewals: Vec<Vec<Counter>>,
    renewal_duration: Timing,
    waiting: Gauge,
    oldest_wait: Gauge,
    connections: Vec<Gauge>,
}

// === impl TokenMetrics ===

impl TokenMetrics {
    pub(super) fn new(metrics: &Metrics, provider: &str) -> Self {
        let provider = || provider.to_owned();
        let lookup = |lookup: &Lookup| {
            let labels = ResultLabels {
                provider: provider(),
                result: lookup.as_str(),
            };
            metrics.lookups.get_or_create_owned(&labels)
        };
        let renewal = |redeem: Redeem, renewal: &Renewal| {
            let labels = RenewalLabels {
                provider: provider(),
                redemption: redeem.as_str(),
                outcome: renewal.as_str(),
            };
            metrics.renewals.get_or_create_owned(&labels)
        };
        let status = |status: &Status| {
            let labels = StatusLabels {
                provider: provider(),
                status: status.as_str(),
            };
            metrics.connections.get_or_create_owned(&labels)
        };
        let renewals = |redeem: &Redeem| {
            Renewal::ALL
                .iter()
                .map(|outcome| renewal(*redeem, outcome))
                .collect()
        };
        let labels = ProviderLabels {
            provider: provider(),
        };
        Self {
            lookups: Lookup::ALL.iter().map(lookup).collect(),
            renewals: Redeem::ALL.iter().map(renewals).collect(),
            renewal_duration: metrics.renewal_duration.get_or_create_owned(&labels),
            waiting: metrics.renewals_waiting.get_or_create_owned(&labels),
            oldest_wait: metrics.renewals_oldest_wait.get_or_create_owned(&labels),
            connections: Status::ALL.iter().map(status).collect(),
        }
    }

    /// Somebody asked for a token.
    pub fn lookup(&self, lookup: Lookup) {
        if let Some(counter) = self.lookups.get(lookup.index()) {
            counter.inc();
        }
    }

    /// A renewal has ended, in the trace that this thread works for.
    pub fn renewal(&self, redeem: Redeem, outcome: Renewal, took: Duration) {
        let counters = self.renewals.get(redeem.index());
        if let Some(counter) = counters.and_then(|counters| counters.get(outcome.index())) {
            counter.inc();
        }
        self.renewal_duration.observe(took, trace::exemplar());
    }

    /// How many renewals wait for their turn, and how long the first of them has.
    pub fn waiting(&self, renewals: usize, oldest: Duration) {
        self.waiting
            .set(i64::try_from(renewals).unwrap_or(i64::MAX));
        self.oldest_wait
            .set(i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX));
    }

    /// How many connections are in this state.
    pub fn connections(&self, status: Status, count: u64) {
        if let Some(gauge) = self.connections.get(status.index()) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// How many renewals have ended with an outcome that `fits`.
    pub fn renewals(&self, fits: impl Fn(Renewal) -> bool) -> u64 {
        let all = self
            .renewals
            .iter()
            .flat_map(|counters| counters.iter().zip(Renewal::ALL));
        let fitting = all.filter(|(_, outcome)| fits(**outcome));
        fitting.map(|(counter, _)| counter.get()).sum()
    }
}
