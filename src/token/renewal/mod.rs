//! One flight: from a need to a token that meets it, or to the reason why there is none.
//!
//! The steps, and what each protects from:
//!
//! 1. Read the store: another process may have renewed already.
//! 2. Take the lease, and read *again* under it: what was read before it may be spent.
//! 3. Record the intent, then call the provider: after a crash the next holder knows that the refresh
//!    token may be spent. No call is made once the lease may have run out, and it is prolonged while
//!    the provider thinks.
//! 4. Commit, fenced by the generation and the grant that were read; if the store refuses, spool. Only then may
//!    anybody use the new token. While the store thinks, the spool has it too.
//! 5. A refusal is believed after one more look at the store: a sibling may just have rotated. If an
//!    earlier attempt had no clear answer, the store is looked at for a while.
//!
//! A flight first looks (step 1), and does the rest when it is its turn: see [`super::turns`]. It runs in
//! tasks of its own. Nothing in it is cancelled by callers.
//!
//! Here are the steps in their order; the [`lease`] that they need, [`keeping`] what was minted, and
//! [`judging`] what failed have files of their own.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{
    Bearer, Error,
    engine::Engine,
    entry::{Entry, News, Outcome},
    held::{Need, Reason},
    policy::{self, Failure, Means},
    queue::{Queue, Turn},
};
use crate::{
    base::ids::OwnerId,
    provider::{Account, CallError, Headroom, Minted, SharedProvider},
    store::{self, Begun, Connection, Cooldown, Fence, Lease, ReauthReason, Redemption, Spent},
};

mod judging;
mod keeping;
mod lease;

/// How often a waiter looks at the store, should every notification be lost.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long an answer that only a change in the store can overturn is kept in memory.
const REMEMBER: Duration = Duration::from_secs(10);

/// How long a store that failed is left alone for this connection.
const STORE_REST: Duration = Duration::from_secs(1);

/// A healthy store answers sooner. After this, new tokens are spooled as well: what only memory holds is
/// lost with the process. And nobody waits any longer for a lease to be given back.
const PROMPT: Duration = Duration::from_secs(1);

/// One flight of one connection.
pub(super) struct Renewal<'a> {
    pub(super) engine: &'a Engine,
    pub(super) entry: &'a Arc<Entry>,
    pub(super) provider: &'a SharedProvider,
    pub(super) queue: &'a Queue,
    /// The turn to call the provider; while it looks it has none.
    pub(super) turn: Option<&'a Turn>,
    pub(super) need: Need,
    /// A flight is an owner of its own, so that even two in one process exclude each other.
    pub(super) owner: OwnerId,
    /// When the lease was last asked for, or asked to be prolonged, with success.
    pub(super) leased: Mutex<Instant>,
    /// What had been told when the store was last asked for the connection.
    pub(super) asked_after: Mutex<News>,
}

// === impl Renewal ===

impl Renewal<'_> {
    /// Looks whether it takes a renewal; at the store in any case, if it looks `anew`.
    pub(super) async fn look(&self, anew: bool) -> Looked {
        match self.find(anew).await {
            Ok(None) => Looked::Renew,
            Ok(Some(held)) => Looked::Over(Ok(held)),
            Err(error) => Looked::Over(Err(error)),
        }
    }

    async fn find(&self, anew: bool) -> Result<Option<Arc<Bearer>>, Error> {
        if let Some(held) = self.entry.meeting(self.need, Instant::now()) {
            return Ok(Some(held));
        }
        if (anew || self.must_read())
            && let Some(held) = self.read().await?
        {
            return Ok(Some(held));
        }
        self.may_call()?;
        if !anew {
            self.may_answer_refusal()?;
        }
        Ok(None)
    }

    /// Renews, when it is its turn.
    pub(super) async fn run(&self) -> Flown {
        match self.renew().await {
            Ok(Some(held)) => Flown::Over(Ok(held)),
            Ok(None) => Flown::Back,
            Err(error) => Flown::Over(Err(error)),
        }
    }

    /// A token that meets the need, or `None` if the call was one too many.
    async fn renew(&self) -> Result<Option<Arc<Bearer>>, Error> {
        if let Some(held) = self.entry.meeting(self.need, Instant::now()) {
            return Ok(Some(held));
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
                        return Ok(Some(held));
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
        self.listen();
        match self.engine.store.load(&self.entry.key).await {
            Ok(Some(connection)) => self.consider(&connection).await,
            Ok(None) => Err(self.gone()),
            Err(error) => Err(self.store_failed(error)),
        }
    }

    /// From here on, news may overtake what the store answers.
    fn listen(&self) {
        *self.asked_after.lock() = self.entry.news();
    }

    /// What had been told before the connection was read.
    fn news(&self) -> News {
        *self.asked_after.lock()
    }

    /// Takes what `connection` has to offer: a token that meets the need, or `None` if it takes a
    /// renewal that may be tried.
    async fn consider(&self, connection: &Connection) -> Result<Option<Arc<Bearer>>, Error> {
        self.engine.adopt(self.entry, connection, self.news())?;
        // It may be stale already, by news that came since the store was asked. The caller came before
        // that; whoever comes now asks anew.
        let held = self.entry.held();
        if let Some(held) = held.filter(|held| held.meets(self.need, Instant::now())) {
            return Ok(Some(held));
        }
        if let store::Status::NeedsReauth { reason, since } = connection.status {
            let error = Error::NeedsReauth {
                key: self.entry.key.clone(),
                reason,
                since,
            };
            self.block(REMEMBER, &error);
            return Err(error);
        }
        let (config, now) = (&self.engine.config, self.engine.clock.now());
        if let Some(cooldown) = policy::shortened(config, connection, now) {
            self.record_failure(connection, cooldown, Spent::Maybe)
                .await;
        }
        match policy::cooling(config, connection, now) {
            Duration::ZERO => Ok(None),
            left => {
                let error = self.failed(left, "the provider is left alone after a failure");
                self.block(left.min(REMEMBER), &error);
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
        Ok(())
    }

    /// Whether one more renewal on a refused token is within its allowance.
    fn may_answer_refusal(&self) -> Result<(), Error> {
        let refused = matches!(self.need, Need::NewerThan(_, Reason::Refused));
        if refused && !self.entry.admit_refusal(Instant::now()) {
            return Err(Error::AnswerStands {
                key: self.entry.key.clone(),
            });
        }
        Ok(())
    }

    async fn under_lease(&self, read: Connection) -> Result<Option<Arc<Bearer>>, Error> {
        let connection = self.after_spool(read).await?;
        if let Some(held) = self.consider(&connection).await? {
            return Ok(Some(held));
        }
        let wanted = match self.need {
            Need::NewerThan(_, Reason::AskedByForce) => Redemption::Force,
            _ => Redemption::Standard,
        };
        let may_force = wanted == Redemption::Standard && self.can_force(&connection);
        let (attempted, is_forced) = match self.attempt(&connection, wanted).await? {
            Attempted::Refused { .. } if may_force => {
                self.leave_until_forced(&connection).await;
                (self.attempt(&connection, Redemption::Force).await?, true)
            }
            attempted => (attempted, false),
        };
        let reason = match attempted {
            Attempted::Done(held) => return Ok(Some(held)),
            Attempted::OneTooMany => return Ok(None),
            Attempted::Refused { .. } if is_forced => ReauthReason::AccountGone,
            // Another attempt at this generation had no clear answer: it was very likely the one that
            // the provider honoured. Its tokens may still be on their way here.
            Attempted::Refused { after_others: true } => {
                if let Some(held) = self.newer_soon(&connection).await? {
                    return Ok(Some(held));
                }
                ReauthReason::LostRotation
            }
            Attempted::Refused {
                after_others: false,
            } => ReauthReason::GrantRefused,
        };
        self.give_up(&connection, reason).await.map(Some)
    }

    /// What waits in the spool is newer than what was read: the store takes it first.
    async fn after_spool(&self, read: Connection) -> Result<Connection, Error> {
        let Some(spooled) = self.engine.spool.get(&self.entry.key) else {
            return Ok(read);
        };
        self.listen();
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
        self.wait_for_turn(connection)?;
        let now = self.engine.clock.now();
        let can_force = self.can_force(connection);
        let redemption =
            match policy::means(&self.engine.config, connection, can_force, wanted, now) {
                Means::Redeem(redemption) => redemption,
                Means::ForcedTooRecently(wait) => {
                    let error = self.failed(wait, "its tokens were minted by force just now");
                    self.block(wait.min(REMEMBER), &error);
                    return Err(error);
                }
                Means::None => return self.cannot_renew(connection).await.map(Attempted::Done),
            };
        if !self.begin(connection, redemption).await? {
            return Err(self.failed(STORE_REST, "the lease was lost before the call"));
        }
        if let Some(turn) = self.turn {
            turn.spend();
        }
        let started = Instant::now();
        let answer = self.call(connection, redemption).await?;
        self.report(connection, redemption, &answer, started);
        let is_clear = match &answer {
            Ok(_) => true,
            Err(error) => !matches!(Failure::of(error), Failure::Transient(_)),
        };
        if is_clear {
            self.engine.is_well(self.provider.name());
            let told = |minted: &Minted| minted.headroom;
            let headroom = answer.as_ref().map_or_else(|_| Headroom::default(), told);
            let took = Instant::now().saturating_duration_since(started);
            self.queue.answered(headroom, took);
        }
        match answer {
            Ok(minted) => self
                .keep(connection, redemption, minted)
                .await
                .map(Attempted::Done),
            Err(error) => self.judge(connection, &error).await,
        }
    }

    /// While the provider is in trouble, connections that have failed try one after the other.
    fn wait_for_turn(&self, connection: &Connection) -> Result<(), Error> {
        let has_failed = |cooldown: &Cooldown| cooldown.failures > 0;
        if !connection.cooldown.as_ref().is_some_and(has_failed) {
            return Ok(());
        }
        let (engine, provider) = (self.engine, self.provider.name());
        let turn = engine
            .troubles
            .take_turn(&engine.config, provider, &*engine.random);
        turn.map_err(|left| {
            let error = self.failed(left, "the provider's token endpoint does not work");
            self.block(left.min(REMEMBER), &error);
            error
        })
    }

    fn can_force(&self, connection: &Connection) -> bool {
        self.provider.can_force(&account_of(connection))
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

    /// Asks the provider, and keeps the lease meanwhile.
    async fn call(
        &self,
        connection: &Connection,
        redemption: Redemption,
    ) -> Result<Result<Minted, CallError>, Error> {
        let account = account_of(connection);
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
}

/// What a look came to.
pub(super) enum Looked {
    /// There is a token, or a reason why there is none.
    Over(Outcome),
    /// It takes a renewal.
    Renew,
}

/// How a flight went when it had its turn.
pub(super) enum Flown {
    /// To its end.
    Over(Outcome),
    /// Its call was one too many: it needs another turn.
    Back,
}

/// What an attempt came to, failures apart.
enum Attempted {
    /// A token that is newer.
    Done(Arc<Bearer>),
    /// The provider takes no more calls just now, whoever makes them.
    OneTooMany,
    /// The provider refused the grant, and the store has no newer one.
    Refused {
        /// Whether there were other attempts at this generation, whose end is not known.
        after_others: bool,
    },
}

/// Who the connection is at its provider.
pub fn account_of(connection: &Connection) -> Account {
    Account {
        external_id: connection.external_id.clone(),
        organization: connection.organization.clone(),
        managed_user_id: connection.managed_user_id,
    }
}
