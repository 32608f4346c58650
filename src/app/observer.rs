//! What the rooms tell, turned into metrics. Recorders are made once per provider, so that counting a
//! request looks nothing up but its provider.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::{events::Announcer, readiness::Alarm};
use crate::{
    admin::History,
    base::ids::{ConnectionKey, ProviderName},
    http::access_log::{self, Facts, Objection, Objections, Observe, Recovery},
    store::{self, Redemption},
    telemetry::{
        metrics::{
            Metrics, ProxyMetrics, TokenMetrics,
            label::{self, Check, Outcome, Redeem},
        },
        trace::Tracer,
    },
    token::{Issued, Lookup, Observer, ReauthReason, Renewal, RenewalOutcome},
};

/// Counts what the proxy tells.
pub(super) struct OfRequests {
    providers: BTreeMap<ProviderName, ProxyMetrics>,
    unrouted: ProxyMetrics,
    in_flight: Gauge,
}

/// Counts what the token room tells.
#[derive(Debug)]
pub(super) struct OfTokens {
    providers: BTreeMap<ProviderName, TokenMetrics>,
    spool_files: Gauge,
    store_errors: Counter,
    /// Rung when the store has failed.
    alarm: Arc<Alarm>,
    announcer: Announcer,
    tracer: Option<Tracer>,
    /// What the status page shows of it.
    history: History,
}

/// Hears of requests to the ingress listener; they are logged, and counted by the rooms.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfVisits;

// === impl OfVisits ===

impl Observe for OfVisits {
    fn begun(&self) {}
    fn ended(&self, _: &Facts) {}
}

// === impl OfRequests ===

impl OfRequests {
    pub(super) fn new(metrics: &Metrics, names: &[ProviderName]) -> Arc<Self> {
        Arc::new(Self {
            providers: names
                .iter()
                .map(|name| (name.clone(), metrics.proxy(name)))
                .collect(),
            unrouted: metrics.unrouted(),
            in_flight: metrics.in_flight(),
        })
    }
}

impl Observe for OfRequests {
    fn begun(&self) {
        self.in_flight.inc();
    }

    fn ended(&self, facts: &Facts) {
        self.in_flight.dec();
        let recorder = facts
            .provider
            .as_ref()
            .and_then(|provider| self.providers.get(provider))
            .unwrap_or(&self.unrouted);
        recorder.request(outcome(facts), facts.total, facts.span);
        if !facts.upstream.is_zero() {
            recorder.upstream(facts.upstream, facts.span);
        }
        if let Some(recovery) = facts.recovery {
            recorder.replay(match recovery {
                Recovery::Recovered => label::Replay::Recovered,
                Recovery::RefusedAgain => label::Replay::Refused,
                Recovery::NoToken => label::Replay::NoToken,
                Recovery::BodyTooLong => label::Replay::BodyTooLong,
            });
        }
        if facts.policy != Objections::default() {
            objections(recorder, facts.policy);
        }
    }
}

fn objections(recorder: &ProxyMetrics, found: Objections) {
    for (check, objection) in [
        (Check::Allow, found.not_allowed),
        (Check::PerUser, found.user_limit),
        (Check::PerProvider, found.provider_limit),
    ] {
        match objection {
            Some(Objection::Observed) => recorder.objection(check, label::Objection::Observed),
            Some(Objection::Refused) => recorder.objection(check, label::Objection::Refused),
            None => {}
        }
    }
}

fn outcome(facts: &Facts) -> Outcome {
    match (facts.outcome, facts.problem, facts.status) {
        (access_log::Outcome::Abandoned, ..) | (_, None, None) => Outcome::Aborted,
        (_, Some(slug), _) => of_problem(slug),
        (_, None, Some(status)) => Outcome::of_status(status),
    }
}

/// What a problem of ours counts as.
fn of_problem(slug: &str) -> Outcome {
    match slug {
        "not-connected" | "needs-reauth" => Outcome::NotConnected,
        "refresh-failed" | "provider-misconfigured" | "store-unavailable" => Outcome::NoToken,
        "upstream-unreachable" | "upstream-protocol" | "upstream-timeout" => Outcome::Unreachable,
        "overloaded" => Outcome::Overloaded,
        "not-allowed-by-policy" => Outcome::NotAllowed,
        "rate-limited" => Outcome::RateLimited,
        _ => Outcome::CallerFault,
    }
}

// === impl OfTokens ===

impl OfTokens {
    pub(super) fn new(
        metrics: &Metrics,
        names: &[ProviderName],
        alarm: Arc<Alarm>,
        announcer: Announcer,
        tracer: Option<Tracer>,
        history: History,
    ) -> Arc<Self> {
        Arc::new(Self {
            providers: names
                .iter()
                .map(|name| (name.clone(), metrics.token(name)))
                .collect(),
            spool_files: metrics.spool_files(),
            store_errors: metrics.store_errors(),
            alarm,
            announcer,
            tracer,
            history,
        })
    }
}

impl Observer for OfTokens {
    fn looked_up(&self, provider: &ProviderName, lookup: Lookup) {
        if let Some(recorder) = self.providers.get(provider) {
            recorder.lookup(match lookup {
                Lookup::Hit => label::Lookup::Hit,
                Lookup::Waited => label::Lookup::Wait,
                Lookup::NotConnected => label::Lookup::NotConnected,
                Lookup::Failed => label::Lookup::Failed,
            });
        }
    }

    fn renewed(&self, renewal: &Renewal<'_>) {
        self.history.renewed(renewal);
        let Some(recorder) = self.providers.get(&renewal.key.provider) else {
            return;
        };
        let redeem = match renewal.redemption {
            Redemption::Standard => Redeem::Standard,
            Redemption::Force => Redeem::Force,
        };
        let outcome = match renewal.outcome {
            RenewalOutcome::Renewed => label::Renewal::Renewed,
            RenewalOutcome::GrantRefused => label::Renewal::GrantRefused,
            RenewalOutcome::ClientRefused => label::Renewal::ClientRefused,
            RenewalOutcome::RateLimited => label::Renewal::RateLimited,
            RenewalOutcome::Failed => label::Renewal::Failed,
        };
        recorder.renewal(redeem, outcome, renewal.took);
        if renewal.outcome == RenewalOutcome::Renewed {
            self.announcer.refreshed(renewal.key);
        }
    }

    fn needs_reauth(&self, key: &ConnectionKey, reason: ReauthReason) {
        self.history.needs_reauth(key, reason);
        // Counted from the store, where it is right whichever process noticed.
        self.announcer.needs_reauth(key, reason);
    }

    fn issued(&self, issued: &Issued<'_>) {
        self.announcer.issued(issued);
    }

    fn spooled(&self, waiting: usize) {
        self.spool_files
            .set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    fn store_failed(&self, error: &store::Error) {
        self.store_errors.inc();
        self.alarm.ring(error);
    }

    fn tracer(&self) -> Option<&Tracer> {
        self.tracer.as_ref()
    }
}

impl fmt::Debug for OfRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfRequests").finish_non_exhaustive()
    }
}
