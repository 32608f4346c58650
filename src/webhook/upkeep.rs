//! What is forgotten: deliveries that are over, and records that have ended.
//!
//! 1. What was delivered is remembered for `dedupe_for`, so that duplicates are known for so long.
//! 2. Dead letters and what is nobody's are kept for `keep_for`.
//! 3. Work is done in small portions, so that it holds nobody up. Several processes may do it at once.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::Config;
use crate::{
    base::{clock::SharedClock, random::SharedRandom},
    store::{self, Deliveries, Expiring},
};

const EVERY: Duration = Duration::from_mins(10);

/// How much is forgotten at a time.
const PORTION: usize = 500;

/// Forgets for ever.
pub async fn forget<S: Deliveries + Expiring + ?Sized>(
    config: Config,
    store: Arc<S>,
    clock: SharedClock,
    random: SharedRandom,
) {
    loop {
        sleep(EVERY / 2 + random.up_to(EVERY)).await;
        if let Err(error) = once(&config, &*store, &clock).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what is over could not be forgotten",
            );
        }
    }
}

async fn once<S: Deliveries + Expiring + ?Sized>(
    config: &Config,
    store: &S,
    clock: &SharedClock,
) -> Result<(), store::Error> {
    let now = clock.now();
    let delivered = now.saturating_sub(config.dedupe_for);
    let others = now.saturating_sub(config.keep_for);
    let full = u64::try_from(PORTION).unwrap_or(u64::MAX);
    while store.prune(delivered, others, PORTION).await? >= full {}
    while store.sweep(PORTION).await? >= full {}
    Ok(())
}
