//! What all flights share, and the steps that are not part of one flight.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{
    Bearer, Config, Error,
    cache::Cache,
    entry::{Entry, News, Outcome, Ticket},
    held::Need,
    misconfigured::Misconfigured,
    observer::{self, Observer},
    queue::Queue,
    spans,
    spool::{Spool, Spooled},
    trouble::Troubles,
    turns::Awaited,
    vault::Vault,
};
use crate::{
    base::{
        clock::SharedClock,
        ids::{ConnectionKey, Generation, GrantId, ProviderName},
        lifecycle::Lifecycle,
        random::SharedRandom,
        secret::Secret,
    },
    provider::{Account, CallError, SharedProvider},
    store::{self, Committed, Connection, Fence, ReauthReason, SealedTokens, SharedStore},
    telemetry::trace,
};

/// How often a caller boards anew before it is told that it takes too long.
const BOARDINGS: u32 = 5;

/// The engine's parts; one per process.
pub(super) struct Engine {
    pub(super) config: Config,
    pub(super) store: SharedStore,
    pub(super) providers: BTreeMap<ProviderName, SharedProvider>,
    /// Of the same names.
    pub(super) queues: BTreeMap<ProviderName, Arc<Queue>>,
    /// Places for requests that wait for their turn.
    pub(super) queue_places: Semaphore,
    pub(super) vault: Vault,
    pub(super) cache: Cache,
    pub(super) spool: Spool,
    pub(super) misconfigured: Misconfigured,
    pub(super) troubles: Troubles,
    pub(super) clock: SharedClock,
    pub(super) random: SharedRandom,
    pub(super) lifecycle: Lifecycle,
    pub(super) observer: Arc<dyn Observer>,
    /// Rung whenever the store has told of changes.
    pub(super) changed: Notify,
    /// What has changed in the store, and could not be read when that was told.
    pub(super) unread: Mutex<BTreeMap<ConnectionKey, Arc<Entry>>>,
    /// Rung when something could not be read.
    pub(super) unread_some: Notify,
    /// Rung when something was put into the spool.
    pub(super) spooled: Notify,
}

// === impl Engine ===

impl Engine {
    /// A token of `key` that meets `need`.
    ///
    /// Dropping the future gives up the wait, not the renewal.
    pub(super) async fn obtain(self: &Arc<Self>, key: &ConnectionKey, need: Need) -> Outcome {
        let Some(queue) = self.queues.get(&key.provider) else {
            return Err(Error::UnknownProvider {
                provider: key.provider.clone(),
            });
        };
        let entry = self.cache.entry(key);
        for _ in 0..BOARDINGS {
            if let Some(held) = entry.meeting(need, Instant::now()) {
                return Ok(held);
            }
            let (flight, is_own) = match self.board(&entry, need) {
                Ticket::Started(flight, departure) => {
                    self.launch(&entry, queue, need, departure);
                    (flight, true)
                }
                Ticket::Joined(flight) => {
                    // What it waits to renew may be something else by now.
                    if entry.is_stale() {
                        self.look_anew(&flight.place, queue);
                    }
                    (flight, false)
                }
            };
            let same = flight.need == need;
            match self.wait_for(flight, &entry, queue, need).await {
                Awaited::Later(error) => return or_whatever_lives(Err(error), &entry, need),
                Awaited::Over(outcome) if is_own => {
                    return or_whatever_lives(outcome, &entry, need);
                }
                // It may have read the store before this caller came: see `Entry::news`.
                Awaited::Over(Ok(held))
                    if held.meets(need, Instant::now()) && !entry.is_stale() =>
                {
                    return Ok(held);
                }
                Awaited::Over(Err(error)) if same => {
                    return or_whatever_lives(Err(error), &entry, need);
                }
                // It flew for somebody else's need: ask again for one's own.
                Awaited::Over(_) => {}
            }
        }
        let what = "it is being renewed over and over".into();
        let retry_after = self.config.cooldown;
        Err(Error::RefreshFailed {
            key: key.clone(),
            retry_after,
            what,
        })
    }

    /// Begins a renewal that nobody waits for, unless one was begun just now.
    pub(super) fn renew_quietly(self: &Arc<Self>, entry: &Arc<Entry>) {
        let now = Instant::now();
        if !entry.may_renew_quietly(now, now + self.config.cooldown) {
            return;
        }
        let Some(queue) = self.queues.get(&entry.key.provider) else {
            return;
        };
        if let Ticket::Started(_, departure) = self.board(entry, Need::Fresh) {
            self.launch(entry, queue, Need::Fresh, departure);
        }
    }

    /// Joins a flight or begins one. It has a trace of its own, as it outlives whoever began it, and
    /// serves others: it is linked to what it was begun for, and each of them to it.
    fn board(&self, entry: &Entry, need: Need) -> Ticket {
        let asking = trace::current();
        let cause = asking.as_ref().map(|asking| asking.context());
        let ticket = entry.board(need, || self.observer.tracer()?.background(cause));
        let (Ticket::Started(flight, _) | Ticket::Joined(flight)) = &ticket;
        if let (Some(asking), Some(span)) = (asking, flight.span) {
            asking.link(span);
        }
        ticket
    }

    /// Takes the tokens of `connection`, or those that wait for it in the spool, into memory if they
    /// are newer than what memory has. `news` was taken before the store was asked for `connection`.
    pub(super) fn adopt(
        &self,
        entry: &Entry,
        connection: &Connection,
        news: News,
    ) -> Result<(), Error> {
        let spooled = self.spool.get(&connection.key);
        let spooled = spooled.filter(|spooled| spooled.fence().admits(connection));
        let (tokens, generation, grant) = match &spooled {
            Some(spooled) => (
                Some(&spooled.renewed.tokens),
                spooled.generation(),
                spooled.renewed.grant,
            ),
            None => (
                connection.tokens.as_ref(),
                connection.generation,
                connection.grant,
            ),
        };
        let Some(tokens) = tokens else {
            entry.clear(news);
            return Ok(());
        };
        if entry
            .held()
            .is_some_and(|held| !held.is_older_than(connection.id, generation, grant))
        {
            entry.confirm(news);
            return Ok(());
        }
        let held = self.prepare(connection, tokens, generation, grant)?;
        let is_renewed = entry
            .held()
            .is_some_and(|old| old.connection() == connection.id);
        entry.hold(Arc::new(held), news);
        if is_renewed {
            // By a sibling, for all that is known here: it got an answer.
            self.is_well(&connection.key.provider);
        }
        Ok(())
    }

    /// The access token of `tokens`, which `connection` has as `generation`, ready for the wire.
    fn prepare(
        &self,
        connection: &Connection,
        tokens: &SealedTokens,
        generation: Generation,
        grant: GrantId,
    ) -> Result<Bearer, Error> {
        let opened = self.vault.open_access(&connection.key, tokens);
        let prepared = opened.and_then(|access| {
            let now = self.clock.now();
            let named = (connection.id, generation, grant);
            Bearer::new(&self.config, named, tokens, &access, now).map_err(|error| {
                store::Error::Inconsistent {
                    row: connection.key.to_string(),
                    what: format!("its access token fits no header: {error}"),
                }
            })
        });
        prepared.map_err(|error| {
            self.store_failed(&connection.key, &error);
            Error::Store {
                key: connection.key.clone(),
                source: Arc::new(error),
            }
        })
    }

    /// Offers a spooled renewal to the store, also to one that has gone back to before it. The connection as the store has it now, or `None` if it
    /// is gone; the spool is rid of it in either case. Tokens of a connection that was removed, or made
    /// anew since, are revoked before the spool forgets them.
    pub(super) async fn unspool(
        &self,
        spooled: &Arc<Spooled>,
    ) -> Result<Option<Connection>, store::Error> {
        let fence = spooled.fence();
        let mut renewed = spooled.renewed.clone();
        renewed.tokens = self.vault.seal_again(&fence.key, renewed.tokens);
        let mut answer = self.store.commit(&fence, renewed.clone()).await?;
        if let Committed::Superseded(now) = &answer
            && spooled.outlives(now)
        {
            let back = Fence::of(now);
            answer = self.store.commit(&back, renewed).await?;
        }
        let connection = match answer {
            Committed::Stored(connection) | Committed::Superseded(connection) => Some(*connection),
            Committed::Gone => None,
        };
        if connection.as_ref().is_none_or(|now| now.id != fence.id) {
            self.forget(spooled).await;
        }
        self.settle(spooled).await;
        tracing::info!(
            provider = %fence.key.provider,
            user = %fence.key.user,
            generation = %spooled.generation(),
            "the store has answered for a spooled renewal",
        );
        Ok(connection)
    }

    /// The store has answered for `spooled`.
    pub(super) async fn settle(&self, spooled: &Arc<Spooled>) {
        let key = spooled.fence().key;
        if let Err(error) = self.spool.settle(spooled).await {
            tracing::warn!(
                provider = %key.provider,
                user = %key.user,
                error = &error as &dyn std::error::Error,
                "a spooled renewal is stored, but its file could not be removed",
            );
        }
        self.observer.spooled(self.spool.len());
    }

    /// The connection of a spooled renewal was removed: its tokens are revoked, as nobody will use
    /// them.
    async fn forget(&self, spooled: &Spooled) {
        let fence = spooled.fence();
        let tokens = &spooled.renewed.tokens;
        let token = match self.vault.open_refresh(&fence.key, tokens) {
            Ok(Some(refresh)) => Ok(refresh),
            _ => self.vault.open_access(&fence.key, tokens),
        };
        if let (Some(provider), Ok(token)) = (self.providers.get(&fence.key.provider), token) {
            self.revoke(provider, &token).await;
        }
    }

    /// The store could not be read, and holds something else than memory, for all that is known.
    pub(super) fn read_later(&self, entry: &Arc<Entry>) {
        self.unread
            .lock()
            .insert(entry.key.clone(), Arc::clone(entry));
        self.unread_some.notify_one();
    }

    /// Takes one connection that is still to be read.
    pub(super) fn next_unread(&self) -> Option<Arc<Entry>> {
        self.unread.lock().pop_first().map(|(_, entry)| entry)
    }

    /// Keeps tokens that the store has been asked to take, and has not answered for.
    pub(super) async fn keep_meanwhile(&self, spooled: Spooled) -> Arc<Spooled> {
        let spooled = Arc::new(spooled);
        if let Err(error) = self.spool.put(Arc::clone(&spooled)).await {
            let key = spooled.fence().key;
            tracing::warn!(
                provider = %key.provider,
                user = %key.user,
                error = &error as &dyn std::error::Error,
                "the spool took no new tokens that the store is slow to take",
            );
        }
        self.observer.spooled(self.spool.len());
        spooled
    }

    /// Keeps tokens that the store refused.
    pub(super) async fn spool_renewal(&self, spooled: Spooled) {
        let key = spooled.fence().key;
        let put = self.spool.put(Arc::new(spooled)).await;
        self.observer.spooled(self.spool.len());
        self.spooled.notify_one();
        match put {
            Ok(()) => tracing::warn!(
                provider = %key.provider,
                user = %key.user,
                "the store refused new tokens: they are used from the spool until it takes them",
            ),
            Err(error) => tracing::error!(
                provider = %key.provider,
                user = %key.user,
                error = &error as &dyn std::error::Error,
                "neither store nor spool took new tokens: they are lost if this process ends now",
            ),
        }
    }

    /// Revokes tokens that nobody will use; best effort.
    pub(super) async fn revoke(&self, provider: &SharedProvider, token: &Secret<String>) {
        if let Err(error) = provider.revoke(token).await {
            tracing::warn!(
                provider = %provider.name(),
                error = &error as &dyn std::error::Error,
                "tokens of a connection that was removed meanwhile could not be revoked",
            );
        }
    }

    /// The log line and the metric of one call.
    pub(super) fn tell_renewal(&self, renewal: &observer::Renewal<'_>, error: Option<&CallError>) {
        self.observer.renewed(renewal);
        spans::call(renewal, error.is_some());
        let millis = u64::try_from(renewal.took.as_millis()).unwrap_or(u64::MAX);
        let (key, from) = (renewal.key, renewal.from);
        let outcome = renewal.outcome.as_str();
        let redemption = match renewal.redemption {
            store::Redemption::Standard => "standard",
            store::Redemption::Force => "force",
        };
        match error {
            None => tracing::info!(
                provider = %key.provider, user = %key.user, redemption, outcome,
                generation = %from.next(), duration_ms = millis, "renewal",
            ),
            Some(error) => tracing::warn!(
                provider = %key.provider, user = %key.user, redemption, outcome,
                generation = %from, duration_ms = millis,
                error = error as &dyn std::error::Error, "renewal",
            ),
        }
    }

    /// Tells of an access token that may come to be shown to this process by a browser.
    pub(super) fn tell_issued(
        &self,
        key: &ConnectionKey,
        account: &Account,
        generation: Generation,
        access: &Secret<String>,
    ) {
        if let Some(managed_user_id) = account.managed_user_id {
            let digest = store::Digest(Sha256::digest(access.danger_expose()).into());
            self.observer.issued(&observer::Issued {
                key,
                managed_user_id,
                generation,
                digest,
            });
        }
    }

    /// A call for `key` failed without saying anything of its grant. If that is the provider's trouble
    /// and not the connection's: the longest cooldown that it justifies.
    pub(super) fn is_in_trouble(&self, key: &ConnectionKey, error: &CallError) -> Option<Duration> {
        let verdict = self
            .troubles
            .failed(&self.config, key, error, &*self.random);
        if verdict.is_new {
            tracing::warn!(
                provider = %key.provider,
                error = error as &dyn std::error::Error,
                "the provider's token endpoint does not work: it is tried now and then",
            );
        }
        verdict.longest
    }

    /// The provider gave a clear answer.
    pub(super) fn is_well(&self, provider: &ProviderName) {
        if self.troubles.end(provider) {
            tracing::info!(%provider, "the provider's token endpoint works again");
        }
    }

    pub(super) fn tell_needs_reauth(&self, key: &ConnectionKey, reason: ReauthReason) {
        self.observer.needs_reauth(key, reason);
        tracing::warn!(
            provider = %key.provider, user = %key.user, reason = reason.as_str(),
            "the user must connect again",
        );
    }

    pub(super) fn store_failed(&self, key: &ConnectionKey, error: &store::Error) {
        self.observer.store_failed(error);
        tracing::warn!(
            provider = %key.provider, user = %key.user,
            error = error as &dyn std::error::Error, "the store failed",
        );
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("connections", &self.cache.len())
            .finish_non_exhaustive()
    }
}

/// A request that waited for a renewal in vain still gets the old token, while that lives: nothing
/// but its end makes it useless.
fn or_whatever_lives(outcome: Outcome, entry: &Entry, need: Need) -> Outcome {
    match (outcome, need) {
        (Err(error), Need::Usable) => entry
            .held()
            .filter(|held| held.is_alive(Instant::now()))
            .ok_or(error),
        (outcome, _) => outcome,
    }
}
