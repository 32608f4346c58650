//! One flight: from a need to a token that meets it, or to the reason why there is none.
//!
//! The steps, and what each protects from:
//!
//! 1. Read the store: another process may have renewed already.
//! 2. Take the lease, and read *again* under it: what was read before it may be spent.
//! 3. Record the intent, then call the provider: after a crash the next holder knows that the refresh
//!    token may be spent. No call is made once the lease may have run out, and it is prolonged while
//!    the provider thinks.
//! 4. Commit, fenced by the generation that was read; if the store refuses, spool. Only then may
//!    anybody use the new token.
//! 5. A refusal is believed after one more look at the store: a sibling may just have rotated.
//!
//! A flight runs in a task of its own. Nothing in it is cancelled by callers.

use std::{future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Bearer, Error,
    engine::Engine,
    entry::{Entry, Outcome},
    held::{Need, Reason},
    observer::{self, RenewalOutcome},
    policy::{self, Failure, Means},
    spool::Spooled,
};
use crate::{
    base::ids::OwnerId,
    provider::{Account, CallError, Minted, SharedProvider},
    store::{
        self, Begun, Committed, Connection, Cooldown, Fence, Fenced, Lease, ReauthReason,
        Redemption, Renewed, Spent,
    },
};

/// How often a waiter looks at the store, should every notification be lost.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long an answer that only a change in the store can overturn is kept in memory.
const REMEMBER: Duration = Duration::from_secs(10);

/// How long a store that failed is left alone for this connection.
const STORE_REST: Duration = Duration::from_secs(1);

/// One flight of one connection.
pub(super) struct Renewal<'a> {
    pub(super) engine: &'a Engine,
    pub(super) entry: &'a Arc<Entry>,
    pub(super) provider: &'a SharedProvider,
    pub(super) need: Need,
    /// A flight is an owner of its own, so that even two in one process exclude each other.
    pub(super) owner: OwnerId,
    /// When the lease was last asked for, or asked to be prolonged, with success.
    pub(super) leased: Mutex<Instant>,
}

// === impl Renewal ===

impl Renewal<'_> {
    /// Runs the flight to its end.
    pub(super) async fn run(&self) -> Outcome {
        if self.must_read()
            && let Some(held) = self.read().await?
        {
            return Ok(held);
        }
        self.may_call()?;
        // A provider may be asked twice in one flight, each time up to the limit.
        let patience = Instant::now() + self.engine.config.timeout.saturating_mul(2);
        loop {
            let changed = self.engine.changed.notified();
            match self.acquire().await? {
                Lease::Granted(connection) => {
                    let outcome = self.under_lease(*connection).await;
                    self.release().await;
                    return outcome;
                }
                Lease::Gone => return Err(self.gone()),
                Lease::Held(left) if Instant::now() < patience => {
                    // Whether told, late or lost: the store is read next.
                    let _told = timeout(left.min(LOOK_EVERY), changed).await;
                    if let Some(held) = self.read().await? {
                        return Ok(held);
                    }
                }
                Lease::Held(left) => {
                    return Err(
                        self.failed(left, "another process has been renewing it for too long")
                    );
                }
            }
        }
    }

    /// Whether memory alone cannot tell that a renewal is needed.
    fn must_read(&self) -> bool {
        matches!(self.need, Need::NewerThan(..))
            || self.entry.is_stale()
            || self.entry.held().is_none()
    }

    /// Reads the store: a token that meets the need, or `None` if it takes a renewal.
    async fn read(&self) -> Result<Option<Arc<Bearer>>, Error> {
        match self.engine.store.load(&self.entry.key).await {
            Ok(Some(connection)) => self.consider(&connection),
            Ok(None) => Err(self.gone()),
            Err(error) => Err(self.store_failed(error)),
        }
    }

    /// Takes what `connection` has to offer: a token that meets the need, or `None` if it takes a
    /// renewal that may be tried.
    fn consider(&self, connection: &Connection) -> Result<Option<Arc<Bearer>>, Error> {
        self.engine.adopt(self.entry, connection)?;
        if let Some(held) = self.entry.meeting(self.need, Instant::now()) {
            return Ok(Some(held));
        }
        if let store::Status::NeedsReauth { reason, since } = connection.status {
            let error = Error::NeedsReauth {
                key: self.entry.key.clone(),
                reason,
                since,
            };
            self.entry.block(Instant::now() + REMEMBER, error.clone());
            return Err(error);
        }
        match policy::cooling(&self.engine.config, connection, self.engine.clock.now()) {
            Duration::ZERO => Ok(None),
            left => {
                let error = self.failed(left, "the provider is left alone after a failure");
                self.entry
                    .block(Instant::now() + left.min(REMEMBER), error.clone());
                Err(error)
            }
        }
    }

    /// Whether anything that memory knows speaks against a call.
    fn may_call(&self) -> Result<(), Error> {
        let now = Instant::now();
        if let Some(error) = self.entry.blocked(now) {
            return Err(error);
        }
        if let Some(error) = self
            .engine
            .misconfigured
            .standing(self.provider.name(), now)
        {
            return Err(error);
        }
        let refused = matches!(self.need, Need::NewerThan(_, Reason::Refused));
        if refused && !self.entry.admit_refusal(now) {
            return Err(Error::AnswerStands {
                key: self.entry.key.clone(),
            });
        }
        Ok(())
    }

    async fn acquire(&self) -> Result<Lease, Error> {
        let (ttl, asked) = (self.engine.config.lease_ttl, Instant::now());
        let lease = self
            .engine
            .store
            .acquire(&self.entry.key, self.owner, ttl)
            .await;
        *self.leased.lock() = asked;
        lease.map_err(|error| self.store_failed(error))
    }

    /// Gives the lease back, so that nobody waits for it to run out.
    async fn release(&self) {
        if let Err(error) = self.engine.store.release(&self.entry.key, self.owner).await {
            tracing::debug!(
                provider = %self.entry.key.provider,
                user = %self.entry.key.user,
                error = &error as &dyn std::error::Error,
                "a lease could not be given back; it runs out by itself",
            );
        }
    }

    async fn under_lease(&self, read: Connection) -> Outcome {
        let connection = self.after_spool(read).await?;
        if let Some(held) = self.consider(&connection)? {
            return Ok(held);
        }
        let wanted = match self.need {
            Need::NewerThan(_, Reason::AskedByForce) => Redemption::Force,
            _ => Redemption::Standard,
        };
        match self.attempt(&connection, wanted).await? {
            Attempted::Done(held) => Ok(held),
            Attempted::Refused if wanted == Redemption::Standard && self.can_force(&connection) => {
                match self.attempt(&connection, Redemption::Force).await? {
                    Attempted::Done(held) => Ok(held),
                    Attempted::Refused => {
                        self.give_up(&connection, ReauthReason::AccountGone).await
                    }
                }
            }
            Attempted::Refused => {
                // An earlier attempt at this generation had no clear answer: it was very likely the
                // one that the provider honoured.
                let reason = match connection.intent {
                    Some(_) => ReauthReason::LostRotation,
                    None => ReauthReason::GrantRefused,
                };
                self.give_up(&connection, reason).await
            }
        }
    }

    /// What waits in the spool is newer than what was read: the store takes it first.
    async fn after_spool(&self, read: Connection) -> Result<Connection, Error> {
        let Some(spooled) = self.engine.spool.get(&self.entry.key) else {
            return Ok(read);
        };
        match self.engine.unspool(&spooled).await {
            Ok(Some(connection)) => Ok(connection),
            Ok(None) => Err(self.gone()),
            Err(error) => Err(self.store_failed(error)),
        }
    }

    /// One call to the provider and what follows from its answer.
    async fn attempt(
        &self,
        connection: &Connection,
        wanted: Redemption,
    ) -> Result<Attempted, Error> {
        let now = self.engine.clock.now();
        let can_force = self.can_force(connection);
        let redemption =
            match policy::means(&self.engine.config, connection, can_force, wanted, now) {
                Means::Redeem(redemption) => redemption,
                Means::ForcedTooRecently(wait) => {
                    let error = self.failed(wait, "its tokens were minted by force just now");
                    self.entry
                        .block(Instant::now() + wait.min(REMEMBER), error.clone());
                    return Err(error);
                }
                Means::None => return self.cannot_renew(connection).await.map(Attempted::Done),
            };
        if !self.begin(connection, redemption).await? {
            return Err(self.failed(STORE_REST, "the lease was lost before the call"));
        }
        let started = Instant::now();
        let answer = self.call(connection, redemption).await?;
        self.report(connection, redemption, &answer, started);
        match answer {
            Ok(minted) => self
                .keep(connection, redemption, minted)
                .await
                .map(Attempted::Done),
            Err(error) => self.judge(connection, &error).await,
        }
    }

    fn can_force(&self, connection: &Connection) -> bool {
        self.provider.can_force(&account(connection))
    }

    /// Records the intent; `false` if the lease or the generation is no longer what it was.
    async fn begin(&self, connection: &Connection, redemption: Redemption) -> Result<bool, Error> {
        let fence = Fence::of(connection);
        let at = self.engine.clock.now();
        match self
            .engine
            .store
            .begin(&fence, self.owner, redemption, at)
            .await
        {
            Ok(Begun::Recorded { .. }) => {
                let stands = self.lease_stands().await;
                if !stands {
                    self.take_back(connection).await;
                }
                Ok(stands)
            }
            Ok(Begun::Refused) => Ok(false),
            Err(error) => Err(self.store_failed(error)),
        }
    }

    /// Whether nobody else can take the lease before it is next prolonged. A process that stood still
    /// must not send what its successor may have spent.
    async fn lease_stands(&self) -> bool {
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

    /// Asks the provider, and keeps the lease meanwhile.
    async fn call(
        &self,
        connection: &Connection,
        redemption: Redemption,
    ) -> Result<Result<Minted, CallError>, Error> {
        let account = account(connection);
        let refresh = match &connection.tokens {
            Some(tokens) => self.engine.vault.open_refresh(&connection.key, tokens),
            None => Ok(None),
        };
        let refresh = refresh.map_err(|error| self.store_failed(error))?;
        let answer = match (redemption, refresh) {
            (Redemption::Standard, Some(token)) => {
                self.holding_the_lease(self.provider.refresh(&account, &token))
                    .await
            }
            _ => {
                self.holding_the_lease(self.provider.force_refresh(&account))
                    .await
            }
        };
        Ok(answer)
    }

    async fn holding_the_lease<T>(&self, work: impl Future<Output = T>) -> T {
        let ttl = self.engine.config.lease_ttl;
        let prolonging = async {
            loop {
                sleep(ttl / 3).await;
                // Losing it is no reason to stop: the commit is fenced by the generation.
                let _kept = self.prolong().await;
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            never = prolonging => never,
        }
    }

    /// Stores new tokens, or spools them; either way they can be used.
    async fn keep(
        &self,
        connection: &Connection,
        redemption: Redemption,
        minted: Minted,
    ) -> Outcome {
        self.engine.misconfigured.clear(self.provider.name());
        let default_lifetime = self.provider.default_lifetime(&account(connection));
        let tokens = self
            .engine
            .vault
            .seal_minted(connection, &minted, default_lifetime);
        let renewed = Renewed {
            tokens,
            redemption,
            scope: minted.scope.clone(),
            external_id: minted.account.external_id.clone(),
            organization: minted.account.organization.clone(),
        };
        let fence = Fence::of(connection);
        match self.engine.store.commit(&fence, renewed.clone()).await {
            Ok(Committed::Stored(stored)) => self.adopted(&stored),
            Ok(Committed::Superseded(newer)) => {
                if newer.id != connection.id {
                    self.revoke(&minted).await;
                }
                self.adopted(&newer)
            }
            Ok(Committed::Gone) => {
                self.revoke(&minted).await;
                Err(self.gone())
            }
            Err(error) => {
                self.engine.store_failed(&self.entry.key, &error);
                self.engine
                    .spool_renewal(Spooled::new(&fence, renewed))
                    .await;
                self.adopted(connection)
            }
        }
    }

    /// The connection was removed while its tokens were minted: nobody will use them.
    async fn revoke(&self, minted: &Minted) {
        let token = minted.refresh.as_ref().unwrap_or(&minted.access);
        self.engine.revoke(self.provider, token).await;
    }

    /// The token in memory after the store, or the spool, has shown the newest.
    fn adopted(&self, connection: &Connection) -> Outcome {
        self.engine.adopt(self.entry, connection)?;
        self.entry
            .held()
            .ok_or_else(|| self.failed(STORE_REST, "the renewed token could not be read back"))
    }

    /// Decides what a failed call means.
    async fn judge(&self, connection: &Connection, error: &CallError) -> Result<Attempted, Error> {
        match Failure::of(error) {
            Failure::GrantRefused => match self.newer_in_store(connection).await? {
                Some(held) => Ok(Attempted::Done(held)),
                None => Ok(Attempted::Refused),
            },
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
                let now = self.engine.clock.now();
                let random = &*self.engine.random;
                let cooldown =
                    policy::cooldown(&self.engine.config, connection, error, random, now);
                self.record_failure(connection, cooldown, spent).await;
                let wait = cooldown.until.saturating_since(now);
                let failed = self.failed(wait, &error.to_string());
                self.entry.block(Instant::now() + wait, failed.clone());
                Err(failed)
            }
        }
    }

    /// A refusal may only mean that somebody else has just rotated: what the store has by now.
    async fn newer_in_store(&self, refused: &Connection) -> Result<Option<Arc<Bearer>>, Error> {
        match self.engine.store.load(&self.entry.key).await {
            Ok(Some(now)) if now.id != refused.id || now.generation != refused.generation => {
                self.adopted(&now).map(Some)
            }
            Ok(Some(_)) => Ok(None),
            Ok(None) => Err(self.gone()),
            Err(error) => Err(self.store_failed(error)),
        }
    }

    /// No grant was judged: the attempt does not count.
    async fn take_back(&self, connection: &Connection) {
        let none = Cooldown {
            until: self.engine.clock.now(),
            failures: 0,
        };
        let unchanged = connection.cooldown.unwrap_or(none);
        self.record_failure(connection, unchanged, Spent::No).await;
    }

    async fn record_failure(&self, connection: &Connection, cooldown: Cooldown, spent: Spent) {
        let fence = Fence::of(connection);
        if let Err(error) = self.engine.store.fail(&fence, cooldown, spent).await {
            self.engine.store_failed(&self.entry.key, &error);
        }
    }

    /// There is neither a refresh token nor another way.
    async fn cannot_renew(&self, connection: &Connection) -> Outcome {
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
                self.entry.block(Instant::now() + REMEMBER, error.clone());
                Err(error)
            }
            _ => self.give_up(connection, ReauthReason::NoRefreshToken).await,
        }
    }

    /// Marks the connection, once, unless somebody did better meanwhile.
    async fn give_up(&self, connection: &Connection, reason: ReauthReason) -> Outcome {
        let since = self.engine.clock.now();
        let marked = self
            .engine
            .store
            .mark_needs_reauth(&Fence::of(connection), reason, since)
            .await;
        match marked {
            Ok(Fenced::Refused) => {
                if let Some(held) = self.newer_in_store(connection).await? {
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
        self.entry.block(Instant::now() + REMEMBER, error.clone());
        Err(error)
    }

    fn report(
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

    fn gone(&self) -> Error {
        self.entry.clear();
        Error::NotConnected {
            key: self.entry.key.clone(),
        }
    }

    fn failed(&self, retry_after: Duration, what: &str) -> Error {
        Error::RefreshFailed {
            key: self.entry.key.clone(),
            retry_after,
            what: what.into(),
        }
    }

    fn store_failed(&self, error: store::Error) -> Error {
        self.engine.store_failed(&self.entry.key, &error);
        // The token in memory is as good as it was: it is used, and checked when the store is back.
        if self.entry.is_stale() {
            self.engine.read_later(self.entry);
        }
        self.entry.confirm();
        let error = Error::Store {
            key: self.entry.key.clone(),
            source: Arc::new(error),
        };
        self.entry.block(Instant::now() + STORE_REST, error.clone());
        error
    }
}

/// What an attempt came to, failures apart.
enum Attempted {
    /// A token that is newer.
    Done(Arc<Bearer>),
    /// The provider refused the grant, and the store has no newer one.
    Refused,
}

/// Who the connection is at its provider.
pub(super) fn account(connection: &Connection) -> Account {
    Account {
        external_id: connection.external_id.clone(),
        organization: connection.organization.clone(),
        managed_user_id: connection.managed_user_id,
    }
}

fn code(error: &CallError) -> String {
    match error {
        CallError::ClientRefused { code, .. } => code.clone(),
        CallError::NotConfigured { setting, .. } => format!("{setting} is not set"),
        other => other.to_string(),
    }
}
