//! Renews grants before they die of idleness.
//!
//! 1. A grant that was not renewed for `keep_alive` is due; so is one whose refresh token is near its
//!    end and past half its life.
//! 2. Of all processes that share the store, one sweeps a provider: it has the [`Duty`] to, takes it
//!    again while it sweeps, and is relieved within [`TURN`] if it dies. The others ask when its turn
//!    would end, and not before. A process that the provider refuses lets another try.
//! 3. Every minute the sweeper takes as many as the provider's token endpoint allows background work,
//!    spread evenly over the minute with jitter: so the pace holds across all processes.
//! 4. A sweeper that stood still may sweep beside its successor for a moment. A grant that another has
//!    renewed meanwhile is found fresh, and costs no call.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    engine::Engine,
    held::{Need, Reason},
};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, OwnerId},
    },
    provider::SharedProvider,
    store::{self, Connection, Due, Duty, DutyKind, Post, Turn},
};

const KEEP_ALIVE: DutyKind = DutyKind::new("keep-alive");

const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// For how long a sweeper that died is missed at most. Grants have days left when they are due.
const TURN: Duration = Duration::from_mins(3);

/// How near the end of a refresh token is near, unless `keep_alive` is shorter.
const NEAR_END: Duration = Duration::from_hours(7 * 24);

/// How long a process that goes down waits for its duty to be taken back.
const PARTING: Duration = Duration::from_secs(1);

/// The sweeping of one provider, by this process or another.
struct Sweep {
    engine: Arc<Engine>,
    provider: SharedProvider,
    post: Post,
}

/// Keeps the grants of `provider` alive until the drain begins.
pub(super) async fn keep(engine: Arc<Engine>, provider: SharedProvider) {
    let draining = engine.lifecycle.draining();
    let duty = Duty::at(KEEP_ALIVE, provider.name());
    let owner = OwnerId::random(&*engine.random);
    let mut sweep = Sweep {
        post: Post::new(Arc::clone(&engine.store), duty, owner, TURN),
        engine,
        provider,
    };
    tokio::select! {
        () = draining => {}
        () = sweep.watch() => {}
    }
    // A successor need not wait for the end of the turn. If this fails, it does.
    let _late = timeout(PARTING, sweep.leave()).await;
}

// === impl Sweep ===

impl Sweep {
    async fn watch(&mut self) {
        // The first time too: sidecars that start together must not ask together.
        let mut pause = SWEEP_EVERY / 2 + self.jitter(SWEEP_EVERY);
        loop {
            sleep(pause).await;
            let begun = Instant::now();
            if self.is_refused() {
                self.leave().await;
                pause = SWEEP_EVERY + self.jitter(SWEEP_EVERY);
                continue;
            }
            pause = match self.post.take().await {
                Ok(Turn::Mine) => {
                    self.sweep().await;
                    let took = Instant::now().saturating_duration_since(begun);
                    SWEEP_EVERY.saturating_sub(took)
                }
                Ok(Turn::Anothers(left)) => left.min(TURN) + self.jitter(SWEEP_EVERY / 2),
                Err(error) => {
                    self.store_failed(&error);
                    SWEEP_EVERY + self.jitter(SWEEP_EVERY)
                }
            };
        }
    }

    /// Whether this process may go on sweeping.
    async fn goes_on(&mut self) -> bool {
        if self.is_refused() {
            return false;
        }
        match self.post.goes_on().await {
            Ok(goes_on) => goes_on,
            Err(error) => {
                self.store_failed(&error);
                false
            }
        }
    }

    async fn leave(&mut self) {
        if let Err(error) = self.post.leave().await {
            self.store_failed(&error);
        }
    }

    /// Whether the provider refuses this process's client.
    fn is_refused(&self) -> bool {
        let (provider, now) = (self.provider.name(), Instant::now());
        self.engine.misconfigured.standing(provider, now).is_some()
    }

    async fn sweep(&mut self) {
        let engine = Arc::clone(&self.engine);
        let allowed = self.provider.background_calls_per_minute().max(1);
        let now = engine.clock.now();
        let due = Due {
            provider: self.provider.name().clone(),
            renewed_before: now.saturating_sub(engine.config.keep_alive),
            refresh_ends_before: now.saturating_add(engine.config.keep_alive.min(NEAR_END)),
            now,
            longest_cooldown: now.saturating_add(engine.config.cooldown_max),
            limit: allowed as usize,
        };
        let keys = match engine.store.due(&due).await {
            Ok(keys) => keys,
            Err(error) => return self.store_failed(&error),
        };
        if !keys.is_empty() {
            tracing::info!(provider = %due.provider, grants = keys.len(), "keeping idle grants alive");
        }
        let step = SWEEP_EVERY / allowed;
        let started = Instant::now();
        for (nth, key) in (0_u32..).zip(keys) {
            sleep_until(started + step.saturating_mul(nth) + self.jitter(step)).await;
            if !self.goes_on().await {
                return;
            }
            renew_if_still_due(&engine, &due, key).await;
        }
    }

    fn jitter(&self, up_to: Duration) -> Duration {
        self.engine.random.up_to(up_to)
    }

    fn store_failed(&self, error: &store::Error) {
        self.engine.observer.store_failed(error);
        tracing::warn!(
            duty = %self.post.duty(),
            error = error as &dyn std::error::Error,
            "the keep-alive sweep could not ask the store",
        );
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
    // A refresh token that lives no longer than "near its end" would be renewed without end.
    let is_past_half = |renewed_at: Timestamp, end: Timestamp| {
        end.saturating_since(due.now) <= end.saturating_since(renewed_at) / 2
    };
    connection.tokens.as_ref().is_some_and(|tokens| {
        tokens.renewed_at < due.renewed_before
            || tokens.refresh_expires_at.is_some_and(|end| {
                end < due.refresh_ends_before && is_past_half(tokens.renewed_at, end)
            })
    })
}
