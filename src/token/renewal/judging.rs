//! What a failed call means for the connection, and what is recorded of it.
//!
//! A refusal is believed after one more look at the store, for a sibling may just have rotated; and after
//! several, if an earlier attempt had no clear answer.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::{Attempted, LOOK_EVERY, REMEMBER, Renewal, STORE_REST};
use crate::{
    provider::{CallError, Minted},
    store::{self, Connection, Cooldown, Fence, Fenced, ReauthReason, Redemption, Spent},
    token::{
        Bearer, Error,
        entry::Outcome,
        held::{Need, Reason},
        observer::{self, RenewalOutcome},
        policy::{self, Failure},
    },
};

/// Before a rotation is called lost, siblings have this part of a lease to store it: six of thirty
/// seconds, twice what lies between two offers of a spool.
const SIBLINGS_PART: u32 = 5;

impl Renewal<'_> {
    /// Decides what a failed call means.
    pub(super) async fn judge(
        &self,
        connection: &Connection,
        error: &CallError,
    ) -> Result<Attempted, Error> {
        match Failure::of(error) {
            Failure::GrantRefused => self.look_again(connection).await,
            Failure::ClientRefused => {
                self.take_back(connection).await;
                let provider = self.provider.name();
                let (config, random) = (&self.engine.config, &*self.engine.random);
                Err(self
                    .engine
                    .misconfigured
                    .mark(config, provider, &code(error), random))
            }
            Failure::Transient(spent) => {
                if let CallError::RateLimited { retry_after, .. } = error {
                    let (key, config) = (&self.entry.key, &self.engine.config);
                    let held = self.queue.refused(key, *retry_after, config);
                    if held.is_some() {
                        self.take_back(connection).await;
                        return Ok(Attempted::OneTooMany);
                    }
                }
                let now = self.engine.clock.now();
                let (config, random) = (&self.engine.config, &*self.engine.random);
                let longest = self.engine.is_in_trouble(&self.entry.key, error);
                let cooldown = policy::cooldown(config, connection, error, longest, random, now);
                self.record_failure(connection, cooldown, spent).await;
                let wait = cooldown.until.saturating_since(now);
                let failed = self.failed(wait, &error.to_string());
                self.block(wait, &failed);
                Err(failed)
            }
        }
    }

    /// A refusal may only mean that somebody else has just rotated, or has tried to: what the store has
    /// by now. An attempt may have been made since the connection was read, by who had the lease after
    /// us.
    async fn look_again(&self, refused: &Connection) -> Result<Attempted, Error> {
        self.listen();
        match self.engine.store.load(&self.entry.key).await {
            Ok(Some(now)) if !Fence::of(refused).admits(&now) => {
                self.adopted(&now, self.news()).map(Attempted::Done)
            }
            Ok(Some(now)) => Ok(Attempted::Refused {
                after_others: now.intent.is_some_and(|intent| intent.attempts > 1),
            }),
            Ok(None) => Err(self.gone()),
            Err(error) => Err(self.store_failed(error)),
        }
    }

    /// What the store has before long: whoever redeemed the token may have its successor in a spool,
    /// which is offered every few seconds.
    pub(super) async fn newer_soon(
        &self,
        refused: &Connection,
    ) -> Result<Option<Arc<Bearer>>, Error> {
        let patience = Instant::now() + self.engine.config.lease_ttl / SIBLINGS_PART;
        self.holding_the_lease(async {
            loop {
                let changed = self.engine.changed.notified();
                if let Attempted::Done(held) = self.look_again(refused).await? {
                    return Ok(Some(held));
                }
                let left = patience.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(None);
                }
                let _told = timeout(left.min(LOOK_EVERY), changed).await;
            }
        })
        .await
    }

    /// What was refused is not sent again, by nobody, before force may help.
    pub(super) async fn leave_until_forced(&self, connection: &Connection) {
        let now = self.engine.clock.now();
        let wait = policy::force_wait(&self.engine.config, connection, now);
        if !wait.is_zero() {
            let cooldown = Cooldown {
                until: now.saturating_add(wait),
                failures: connection.cooldown.map_or(0, |cooldown| cooldown.failures),
            };
            self.record_failure(connection, cooldown, Spent::Maybe)
                .await;
        }
    }

    /// No grant was judged: the attempt does not count.
    pub(super) async fn take_back(&self, connection: &Connection) {
        let none = Cooldown {
            until: self.engine.clock.now(),
            failures: 0,
        };
        let unchanged = connection.cooldown.unwrap_or(none);
        self.record_failure(connection, unchanged, Spent::No).await;
    }

    pub(super) async fn record_failure(
        &self,
        connection: &Connection,
        cooldown: Cooldown,
        spent: Spent,
    ) {
        let fence = Fence::of(connection);
        if let Err(error) = self.engine.store.fail(&fence, cooldown, spent).await {
            self.engine.store_failed(&self.entry.key, &error);
        }
    }

    /// There is neither a refresh token nor another way.
    pub(super) async fn cannot_renew(&self, connection: &Connection) -> Outcome {
        let alive = self
            .entry
            .held()
            .is_some_and(|held| held.is_alive(Instant::now()));
        match self.need {
            Need::NewerThan(_, Reason::Refused) if alive => Err(Error::AnswerStands {
                key: self.entry.key.clone(),
            }),
            _ if alive => {
                let error = self.failed(REMEMBER, "there is no refresh token");
                self.block(REMEMBER, &error);
                Err(error)
            }
            _ => self.give_up(connection, ReauthReason::NoRefreshToken).await,
        }
    }

    /// Marks the connection, once, unless somebody did better meanwhile.
    pub(super) async fn give_up(&self, connection: &Connection, reason: ReauthReason) -> Outcome {
        let since = self.engine.clock.now();
        let marked = self
            .engine
            .store
            .mark_needs_reauth(&Fence::of(connection), reason, since)
            .await;
        match marked {
            Ok(Fenced::Refused) => {
                if let Attempted::Done(held) = self.look_again(connection).await? {
                    return Ok(held);
                }
            }
            Ok(Fenced::Written) => self.engine.tell_needs_reauth(&self.entry.key, reason),
            Ok(Fenced::Unchanged) => {}
            Err(error) => self.engine.store_failed(&self.entry.key, &error),
        }
        let error = Error::NeedsReauth {
            key: self.entry.key.clone(),
            reason,
            since,
        };
        self.block(REMEMBER, &error);
        Err(error)
    }

    pub(super) fn report(
        &self,
        connection: &Connection,
        redemption: Redemption,
        answer: &Result<Minted, CallError>,
        started: Instant,
    ) {
        let renewal = observer::Renewal {
            key: &self.entry.key,
            redemption,
            from: connection.generation,
            outcome: match answer {
                Ok(_) => RenewalOutcome::Renewed,
                Err(error) => error.into(),
            },
            took: Instant::now().saturating_duration_since(started),
        };
        self.engine.tell_renewal(&renewal, answer.as_ref().err());
    }

    /// For `long`, `error` answers whoever needs a renewal; not if there was news since the store was
    /// asked.
    pub(super) fn block(&self, long: Duration, error: &Error) {
        let until = Instant::now() + long;
        self.entry.block(until, error.clone(), self.news());
    }

    pub(super) fn gone(&self) -> Error {
        self.entry.clear(self.news());
        Error::NotConnected {
            key: self.entry.key.clone(),
        }
    }

    pub(super) fn failed(&self, retry_after: Duration, what: &str) -> Error {
        Error::RefreshFailed {
            key: self.entry.key.clone(),
            retry_after,
            what: what.into(),
        }
    }

    pub(super) fn store_failed(&self, error: store::Error) -> Error {
        self.engine.store_failed(&self.entry.key, &error);
        // The token in memory is as good as it was: it is used, and checked when the store is back.
        if self.entry.is_stale() {
            self.engine.read_later(self.entry);
        }
        self.entry.trust();
        let error = Error::Store {
            key: self.entry.key.clone(),
            source: Arc::new(error),
        };
        let until = Instant::now() + STORE_REST;
        self.entry.block(until, error.clone(), self.entry.news());
        error
    }
}

fn code(error: &CallError) -> String {
    match error {
        CallError::ClientRefused { code, .. } => code.clone(),
        CallError::NotConfigured { setting, .. } => format!("{setting} is not set"),
        other => other.to_string(),
    }
}
