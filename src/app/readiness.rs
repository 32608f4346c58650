//! Looks after the parts that readiness speaks of, and the figures that are counted from the store.

use std::{collections::HashMap, time::Duration};

use tokio::time::sleep;

use super::Core;
use crate::{
    admin::{Check, Readiness},
    base::ids::ProviderName,
    store::{self, CHECKED_EVERY, Census},
    telemetry::metrics::{Metrics, TokenMetrics, label::Status},
    token::Health,
};

/// How soon a store that failed, or came back, shows.
const LOOK_EVERY: Duration = CHECKED_EVERY;

/// Counting a million rows is not for every look.
const COUNT_EVERY: u32 = 15;

/// The checks of one sidecar.
pub(super) struct Checks {
    store: Check,
    spool: Check,
    providers: Check,
    recorders: HashMap<ProviderName, TokenMetrics>,
}

// === impl Checks ===

impl Checks {
    pub(super) fn new(readiness: &Readiness, metrics: &Metrics, core: &Core) -> Self {
        let recorder = |name: &ProviderName| (name.clone(), metrics.token(name));
        Self {
            store: readiness.check("store"),
            spool: readiness.check("spool"),
            providers: readiness.check("providers"),
            recorders: core
                .providers
                .iter()
                .map(|provider| recorder(provider.name()))
                .collect(),
        }
    }

    /// Looks once; the parts are ready before the first probe can ask.
    pub(super) async fn look(&self, core: &Core) {
        self.tell_store(core.store.check().await.err().as_ref());
        self.tell_tokens(&core.tokens.health());
    }

    /// Looks again and again.
    pub(super) async fn keep_looking(self, core: Core) {
        loop {
            self.count(&core).await;
            for _ in 0..COUNT_EVERY {
                sleep(LOOK_EVERY).await;
                self.look(&core).await;
            }
        }
    }

    fn tell_store(&self, error: Option<&store::Error>) {
        match error {
            None => self.store.ready(),
            // Tokens in memory go on being used: the sidecar is of use, and its app is not to be
            // restarted for it.
            Some(error) => self.store.degraded(error.to_string()),
        }
    }

    fn tell_tokens(&self, health: &Health) {
        match health.spooled {
            0 => self.spool.ready(),
            waiting => self
                .spool
                .degraded(format!("{waiting} renewals wait for the store")),
        }
        if health.misconfigured.is_empty() {
            self.providers.ready();
        } else {
            let names: Vec<_> = health
                .misconfigured
                .iter()
                .map(ProviderName::as_str)
                .collect();
            self.providers.degraded(format!(
                "{} refuse the client credentials",
                names.join(", ")
            ));
        }
    }

    async fn count(&self, core: &Core) {
        // A store that fails is told of above.
        let Ok(census) = core.store.census().await else {
            return;
        };
        for (name, recorder) in &self.recorders {
            for (status, marked) in [(Status::Active, false), (Status::NeedsReauth, true)] {
                let line = |line: &&Census| line.provider == *name && line.needs_reauth == marked;
                let count = census.iter().find(line).map_or(0, |line| line.count);
                recorder.connections(status, count);
            }
        }
    }
}
