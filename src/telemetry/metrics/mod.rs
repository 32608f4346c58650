//! What is counted and measured, in `OpenMetrics` terms. `docs/metrics.md` lists it all.
//!
//! 1. A [`Metrics`] is a value, not a global: tests and the demo have one each.
//! 2. Labels are bounded: provider names of the configuration and the words of [`label`]. Never a
//!    user's id, a path or a message.
//! 3. [`ProxyMetrics`] and [`TokenMetrics`] are made once per provider and hold every counter they
//!    may need, so that recording is an addition: no look-up, no formatting, no lock but a
//!    histogram's own.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};

use self::{
    label::{Concern, Label as _},
    process::Process,
    timing::Timing,
};
use crate::base::{clock::Clock, ids::ProviderName};

pub mod label;
mod process;
mod proxy;
#[cfg(test)]
mod tests;
mod timing;
mod token;
mod webhook;

pub use proxy::ProxyMetrics;
pub use token::TokenMetrics;
pub use webhook::WebhookMetrics;

/// What [`Metrics::encode`] writes, as a `Content-Type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The provider label of requests that named none. No provider can have this name.
const NO_PROVIDER: &str = "-";

/// All metrics of one running sidecar.
pub struct Metrics {
    registry: Registry,
    requests: Family<OutcomeLabels, Counter>,
    request_duration: Timings,
    upstream_duration: Timings,
    in_flight: Gauge,
    replays: Family<OutcomeLabels, Counter>,
    objections: Family<ObjectionLabels, Counter>,
    lookups: Family<ResultLabels, Counter>,
    renewals: Family<RenewalLabels, Counter>,
    renewal_duration: Timings,
    renewals_waiting: Family<ProviderLabels, Gauge>,
    renewals_oldest_wait: Family<ProviderLabels, Gauge>,
    connections: Family<StatusLabels, Gauge>,
    spool_files: Gauge,
    store_errors: Counter,
    webhooks: Family<OutcomeLabels, Counter>,
    deliveries: Family<OutcomeLabels, Counter>,
    delivery_duration: Timings,
    left_alone: Gauge,
    store_concerns: Family<ConcernLabels, Gauge>,
    traces: Family<TraceLabels, Counter>,
    audit_failures: Counter,
}

/// Durations by provider.
type Timings = Family<ProviderLabels, Timing, fn() -> Timing>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabels {
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    provider: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectionLabels {
    provider: String,
    check: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    provider: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RenewalLabels {
    provider: String,
    redemption: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    provider: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConcernLabels {
    concern: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

// === impl Metrics ===

impl Metrics {
    /// All at zero; `clock` tells when the process started.
    pub fn new(clock: &dyn Clock) -> Self {
        Self::with(clock, Timing::plain)
    }

    /// The same, with room for the traces of requests beside their durations.
    pub fn with_exemplars(clock: &dyn Clock) -> Self {
        Self::with(clock, Timing::with_exemplars)
    }

    fn with(clock: &dyn Clock, timing: fn() -> Timing) -> Self {
        let timings = || Timings::new_with_constructor(timing);
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            request_duration: timings(),
            upstream_duration: timings(),
            in_flight: Gauge::default(),
            replays: Family::default(),
            objections: Family::default(),
            lookups: Family::default(),
            renewals: Family::default(),
            renewal_duration: timings(),
            renewals_waiting: Family::default(),
            renewals_oldest_wait: Family::default(),
            connections: Family::default(),
            spool_files: Gauge::default(),
            store_errors: Counter::default(),
            webhooks: Family::default(),
            deliveries: Family::default(),
            delivery_duration: timings(),
            left_alone: Gauge::default(),
            store_concerns: Family::default(),
            traces: Family::default(),
            audit_failures: Counter::default(),
        };
        metrics.register_proxy();
        metrics.register_token();
        metrics.register_webhook();
        metrics.register_process(clock);
        metrics
    }

    /// The recorder of requests to `provider`.
    pub fn proxy(&self, provider: &ProviderName) -> ProxyMetrics {
        ProxyMetrics::new(self, provider.as_str())
    }

    /// The recorder of requests that belong to no provider.
    pub fn unrouted(&self) -> ProxyMetrics {
        ProxyMetrics::new(self, NO_PROVIDER)
    }

    /// The recorder of what is done with the tokens of `provider`.
    pub fn token(&self, provider: &ProviderName) -> TokenMetrics {
        TokenMetrics::new(self, provider.as_str())
    }

    /// The recorder of the webhooks of `provider`, and of deliveries of them.
    pub fn webhook(&self, provider: &ProviderName) -> WebhookMetrics {
        WebhookMetrics::new(self, provider.as_str())
    }

    /// How many destinations of deliveries are left alone for a while.
    pub fn left_alone(&self) -> Gauge {
        self.left_alone.clone()
    }

    /// How many requests are under way.
    pub fn in_flight(&self) -> Gauge {
        self.in_flight.clone()
    }

    /// How many files with new tokens wait for the store; anything but zero wants looking at.
    pub fn spool_files(&self) -> Gauge {
        self.spool_files.clone()
    }

    /// Counts failed operations of the store.
    pub fn store_errors(&self) -> Counter {
        self.store_errors.clone()
    }

    /// Counts records of the audit that the store did not take; they are in the log.
    pub fn audit_failures(&self) -> Counter {
        self.audit_failures.clone()
    }

    /// In how many ways the store is set up so that something could be lost.
    pub fn store_concerns(&self, concern: Concern) -> Gauge {
        let labels = ConcernLabels {
            concern: concern.as_str(),
        };
        self.store_concerns.get_or_create_owned(&labels)
    }

    /// Counts spans of traces by what became of them.
    pub fn traces(&self, outcome: label::Trace) -> Counter {
        let labels = TraceLabels {
            outcome: outcome.as_str(),
        };
        self.traces.get_or_create_owned(&labels)
    }

    /// Everything as `OpenMetrics` text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn register_proxy(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "daypass_requests",
            "Requests of the app, by what came of them",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "daypass_request_duration",
            "From the head of a request to the end of its answer",
            Unit::Seconds,
            self.request_duration.clone(),
        );
        registry.register_with_unit(
            "daypass_upstream_duration",
            "From sending a request to the head of the provider's answer, each attempt by itself",
            Unit::Seconds,
            self.upstream_duration.clone(),
        );
        registry.register(
            "daypass_requests_in_flight",
            "Requests under way",
            self.in_flight.clone(),
        );
        registry.register(
            "daypass_replays",
            "Requests whose token was refused, by what came of the second attempt",
            self.replays.clone(),
        );
        registry.register(
            "daypass_policy_objections",
            "Requests that the operator's policy does not allow, by whether it is in force",
            self.objections.clone(),
        );
    }

    fn register_token(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "daypass_token_lookups",
            "Requests for a token, by where it came from",
            self.lookups.clone(),
        );
        registry.register(
            "daypass_renewals",
            "Calls to the token endpoint of the provider",
            self.renewals.clone(),
        );
        registry.register_with_unit(
            "daypass_renewal_duration",
            "How long the token endpoint of the provider took",
            Unit::Seconds,
            self.renewal_duration.clone(),
        );
        registry.register(
            "daypass_renewals_waiting",
            "Renewals that wait for their turn, as the provider takes only so many token calls",
            self.renewals_waiting.clone(),
        );
        registry.register_with_unit(
            "daypass_renewals_oldest_wait",
            "How long the first of the renewals that wait for their turn has waited",
            Unit::Seconds,
            self.renewals_oldest_wait.clone(),
        );
        registry.register(
            "daypass_connections",
            "Connections in the store",
            self.connections.clone(),
        );
        registry.register(
            "daypass_spool_files",
            "Files with new tokens that wait for the store",
            self.spool_files.clone(),
        );
        registry.register(
            "daypass_store_errors",
            "Failed operations of the store",
            self.store_errors.clone(),
        );
        registry.register(
            "daypass_store_concerns",
            "In how many ways the store is set up so that something could be lost",
            self.store_concerns.clone(),
        );
    }

    fn register_webhook(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "daypass_webhooks",
            "Webhooks that came, by what became of them",
            self.webhooks.clone(),
        );
        registry.register(
            "daypass_deliveries",
            "Tries to deliver an event to the app, by what came of them",
            self.deliveries.clone(),
        );
        registry.register_with_unit(
            "daypass_delivery_duration",
            "How long the app took to answer a delivery",
            Unit::Seconds,
            self.delivery_duration.clone(),
        );
        registry.register(
            "daypass_delivery_destinations_left_alone",
            "Destinations of the app that fail over and over and are left alone for a while",
            self.left_alone.clone(),
        );
    }

    fn register_process(&mut self, clock: &dyn Clock) {
        self.registry.register(
            "daypass_trace_spans",
            "Spans of traces, by what became of them",
            self.traces.clone(),
        );
        let version = env!("CARGO_PKG_VERSION");
        let build = Info::new(BuildLabels { version });
        self.registry.register(
            "daypass_audit_failures",
            "Records of who did what that the store did not take",
            self.audit_failures.clone(),
        );
        self.registry
            .register("daypass_build", "Which version runs", build);
        self.registry
            .register_collector(Box::new(Process::new(clock.now())));
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
