//! Renews grants before they die of idleness.
//!
//! 1. A grant that was not renewed for `keep_alive`, or whose refresh token ends within it, is due.
//! 2. Every minute each provider gets as many as its token endpoint allows background work, spread
//!    evenly over the minute with jitter.
//! 3. Several processes may sweep the same store: each starts with the longest idle, and a grant that
//!    another has renewed meanwhile is found fresh under the lease and costs no call.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    engine::Engine,
    held::{Need, Reason},
};
use crate::{
    base::ids::ConnectionKey,
    provider::SharedProvider,
    store::{Connection, Due},
};

const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// Sweeps for ever.
pub(super) async fn sweep(engine: Arc<Engine>) {
    loop {
        // The first sweep too: sidecars that start together must not sweep together.
        sleep(SWEEP_EVERY / 2 + engine.random.up_to(SWEEP_EVERY)).await;
        for provider in engine.providers.values() {
            sweep_provider(&engine, provider).await;
        }
    }
}

async fn sweep_provider(engine: &Arc<Engine>, provider: &SharedProvider) {
    if engine
        .misconfigured
        .standing(provider.name(), Instant::now())
        .is_some()
    {
        return;
    }
    let allowed = provider.background_calls_per_minute().max(1);
    let now = engine.clock.now();
    let due = Due {
        provider: provider.name().clone(),
        renewed_before: now.saturating_sub(engine.config.keep_alive),
        refresh_ends_before: now.saturating_add(engine.config.keep_alive),
        now,
        limit: allowed as usize,
    };
    let keys = match engine.store.due(&due).await {
        Ok(keys) => keys,
        Err(error) => {
            engine.observer.store_failed();
            tracing::warn!(
                provider = %due.provider,
                error = &error as &dyn std::error::Error,
                "the keep-alive sweep could not ask the store",
            );
            return;
        }
    };
    if !keys.is_empty() {
        tracing::info!(provider = %due.provider, grants = keys.len(), "keeping idle grants alive");
    }
    let step = SWEEP_EVERY / allowed;
    let started = Instant::now();
    for (nth, key) in (0_u32..).zip(keys) {
        sleep_until(started + step.saturating_mul(nth) + engine.random.up_to(step)).await;
        renew_if_still_due(engine, &due, key).await;
    }
}

/// Renews unless somebody did since the sweep looked.
async fn renew_if_still_due(engine: &Arc<Engine>, due: &Due, key: ConnectionKey) {
    let Ok(Some(connection)) = engine.store.load(&key).await else {
        return;
    };
    if !is_due(&connection, due) {
        return;
    }
    let need = Need::NewerThan(connection.generation, Reason::KeepAlive);
    if let Err(error) = engine.obtain(&key, need).await {
        tracing::warn!(
            provider = %key.provider, user = %key.user,
            error = &error as &dyn std::error::Error,
            "an idle grant could not be renewed",
        );
    }
}

fn is_due(connection: &Connection, due: &Due) -> bool {
    connection.tokens.as_ref().is_some_and(|tokens| {
        tokens.renewed_at < due.renewed_before
            || tokens
                .refresh_expires_at
                .is_some_and(|end| end < due.refresh_ends_before)
    })
}
