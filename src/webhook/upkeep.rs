//! What is forgotten: deliveries that are over, records that have ended, and old ones of the audit.
//!
//! 1. What was delivered is remembered for `dedupe_for`, so that duplicates are known for so long.
//! 2. Dead letters and what is nobody's are kept for `keep_for`.
//! 3. Records of who did what are kept for `audit_for`.
//! 4. Work is done in small portions, so that it holds nobody up. Several processes may do it at once.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::Config;
use crate::{
    base::{clock::SharedClock, random::SharedRandom},
    store::{self, Deliveries, Expiring, Trail},
};

const EVERY: Duration = Duration::from_mins(10);

/// How much is forgotten at a time.
const PORTION: usize = 500;

/// Forgets for ever.
pub async fn forget<S: Deliveries + Expiring + Trail + ?Sized>(
    config: Config,
    audit_for: Duration,
    store: Arc<S>,
    clock: SharedClock,
    random: SharedRandom,
) {
    loop {
        sleep(EVERY / 2 + random.up_to(EVERY)).await;
        if let Err(error) = once(&config, audit_for, &*store, &clock).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what is over could not be forgotten",
            );
        }
    }
}

async fn once<S: Deliveries + Expiring + Trail + ?Sized>(
    config: &Config,
    audit_for: Duration,
    store: &S,
    clock: &SharedClock,
) -> Result<(), store::Error> {
    let now = clock.now();
    let delivered = now.saturating_sub(config.dedupe_for);
    let others = now.saturating_sub(config.keep_for);
    let full = u64::try_from(PORTION).unwrap_or(u64::MAX);
    while store.prune(delivered, others, PORTION).await? >= full {}
    while store.sweep(PORTION).await? >= full {}
    let audited = now.saturating_sub(audit_for);
    while store.prune_deeds(audited, PORTION).await? >= full {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{
            clock::{ManualClock, Timestamp},
            ids::AuditId,
            random::SeededRandom,
        },
        store::{Deed, DeedFilter, sqlite::Sqlite},
    };

    const DAY: Duration = Duration::from_hours(24);

    fn config() -> Config {
        Config {
            destination: None,
            signing_secret: None,
            previous_signing_secret: None,
            app_timeout: DAY,
            own_events: Vec::new(),
            tolerance: DAY,
            retry_for: DAY,
            dedupe_for: DAY,
            keep_for: DAY,
        }
    }

    fn deed(at: Timestamp) -> Deed {
        Deed {
            id: AuditId::at(at, &SeededRandom::new(1)),
            at,
            via: "api".to_owned(),
            who: "admin".to_owned(),
            action: "connection.sync".to_owned(),
            provider: None,
            user: None,
            outcome: "done".to_owned(),
            reason: None,
            detail: None,
        }
    }

    #[tokio::test]
    async fn records_of_the_audit_are_kept_for_their_time_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let start = Timestamp::from_secs(1_800_000_000);
        let clock: SharedClock = Arc::new(ManualClock::new(start));
        let store = Sqlite::open(folder.path().join("db"), Arc::clone(&clock)).unwrap();
        let (old, young) = (
            deed(start.saturating_sub(DAY * 91)),
            deed(start.saturating_sub(DAY * 89)),
        );
        for deed in [&old, &young] {
            store.record(deed).await.unwrap();
        }
        once(&config(), DAY * 90, &store, &clock).await.unwrap();
        let left = store.deeds(&DeedFilter::default(), None, 9).await;
        assert_eq!(left.unwrap(), [young]);
    }
}
