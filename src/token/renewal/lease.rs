//! The lease of a flight: taken for it, prolonged while the provider thinks, given back by who took it.
//!
//! By the flight's own clock a lease has run out early: it is counted from when it was asked for. After
//! that nothing is sent.

use tokio::time::{Instant, sleep, timeout};

use super::{PROMPT, Renewal};
use crate::{store::Lease, token::Error};

impl Renewal<'_> {
    pub(super) async fn acquire(&self) -> Result<Lease, Error> {
        let (ttl, asked) = (self.engine.config.lease_ttl, Instant::now());
        self.listen();
        let lease = self
            .engine
            .store
            .acquire(&self.entry.key, self.owner, ttl)
            .await;
        *self.leased.lock() = asked;
        lease.map_err(|error| self.store_failed(error))
    }

    /// Gives the lease back, so that nobody waits for it to run out.
    pub(super) async fn release(&self) {
        let release = self.engine.store.release(&self.entry.key, self.owner);
        if let Ok(Err(error)) = timeout(PROMPT, release).await {
            tracing::debug!(
                provider = %self.entry.key.provider,
                user = %self.entry.key.user,
                error = &error as &dyn std::error::Error,
                "a lease could not be given back; it runs out by itself",
            );
        }
    }

    /// Whether nobody else can take the lease before it is next prolonged. A process that stood still
    /// must not send what its successor may have spent.
    pub(super) async fn lease_stands(&self) -> bool {
        let is_young = || Instant::now() < *self.leased.lock() + self.engine.config.lease_ttl / 3;
        is_young() || (self.prolong().await && is_young())
    }

    /// Prolongs the lease; whether that is certain.
    async fn prolong(&self) -> bool {
        let (ttl, asked) = (self.engine.config.lease_ttl, Instant::now());
        let (key, store) = (&self.entry.key, &self.engine.store);
        let kept = matches!(store.extend(key, self.owner, ttl).await, Ok(true));
        if kept {
            *self.leased.lock() = asked;
        }
        kept
    }

    pub(super) async fn holding_the_lease<T>(&self, work: impl Future<Output = T>) -> T {
        let ttl = self.engine.config.lease_ttl;
        let prolonging = async {
            loop {
                sleep(ttl / 3).await;
                // Losing it is no reason to stop: the commit is fenced.
                let _kept = self.prolong().await;
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            never = prolonging => never,
        }
    }
}
