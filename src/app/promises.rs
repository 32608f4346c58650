//! What the store could lose as it is set up: said in the log, and counted.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::sleep;

use super::Core;
use crate::{
    store::{Concern, Finding},
    telemetry::metrics::{Metrics, label},
};

/// Settings change seldom, a failover may bring others; and thousands of sidecars ask.
const LOOK_EVERY: Duration = Duration::from_mins(10);

/// How soon is asked again where there was no answer.
const RETRY: Duration = Duration::from_secs(30);

/// Looks at once and then now and again, and says what is new.
pub(super) async fn keep_looking(core: Core, gauges: Gauges) {
    let mut known = Vec::new();
    loop {
        let pause = match core.inspect.assurances().await {
            Ok(findings) => {
                gauges.set(&findings);
                say(&known, &findings);
                known = findings;
                LOOK_EVERY
            }
            Err(error) => {
                tracing::debug!(%error, "what the store could lose is not known");
                RETRY
            }
        };
        sleep(pause).await;
    }
}

fn say(known: &[Finding], findings: &[Finding]) {
    for finding in findings.iter().filter(|finding| !known.contains(finding)) {
        let concern = finding.concern.as_str();
        if finding.is_grave {
            tracing::warn!(concern, "{finding}");
        } else {
            tracing::info!(concern, "{finding}");
        }
    }
    for finding in known.iter().filter(|known| !findings.contains(known)) {
        let concern = finding.concern.as_str();
        tracing::info!(concern, "mended: {}", finding.what);
    }
}

const fn word(concern: Concern) -> label::Concern {
    match concern {
        Concern::Persistence => label::Concern::Persistence,
        Concern::Flush => label::Concern::Flush,
        Concern::Eviction => label::Concern::Eviction,
        Concern::Replication => label::Concern::Replication,
        Concern::Unchecked => label::Concern::Unchecked,
    }
}

/// A figure for each concern.
pub(super) struct Gauges([(Concern, Gauge); 5]);

// === impl Gauges ===

impl Gauges {
    /// All at zero until it is known better.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let gauge = |concern| (concern, metrics.store_concerns(word(concern)));
        Self(Concern::ALL.map(gauge))
    }

    fn set(&self, findings: &[Finding]) {
        for (concern, gauge) in &self.0 {
            let count = findings.iter().filter(|found| found.concern == *concern);
            gauge.set(i64::try_from(count.count()).unwrap_or(i64::MAX));
        }
    }
}
