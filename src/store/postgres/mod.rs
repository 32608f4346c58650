//! PostgreSQL: the store for many sidecars.
//!
//! 1. Every method is one statement, or one short transaction, that leaves nothing in its session: a
//!    pooler in transaction mode, such as PgBouncer, may stand in between.
//! 2. What was begun is finished, whether or not its caller still waits; a statement that is not
//!    answered in time costs its connection, and may have happened.
//! 3. Leases go by the server's clock, so that hosts need not agree on the time
//!    ([`TimeSource::Server`]).
//! 4. Changes are announced by `NOTIFY` ([`listener`]) and looked up in a log ([`feed`]), which is the
//!    truth: where notifications do not arrive, looking is all there is, and done more often.
//!
//! A commit is durable as the server is configured: with `synchronous_commit = off` it may be lost.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout};

use self::{desk::Desk, failure::Failure, pool::Pool, tls::Tls};
use super::{
    Begun, Census, Changes, Committed, Connection, Cooldown, Cursor, Due, Duty, Error, Fence,
    Fenced, Filter, Lease, NewConnection, ReauthReason, Redemption, Renewed, Saved, Spent, Store,
    Turn,
};
use crate::base::{
    clock::{SharedClock, Timestamp},
    ids::{ConnectionKey, OwnerId},
    lifecycle::Lifecycle,
    random::SharedRandom,
};

mod accounts;
mod address;
mod archive;
mod audit;
mod deliveries;
mod desk;
mod duties;
mod expiring;
mod failure;
mod feed;
mod grants;
mod jobs;
mod leases;
mod listener;
mod listing;
mod meetings;
mod pool;
mod rows;
mod saving;
mod schema;
mod seals;
mod survey;
mod tls;

pub use address::{Address, InvalidAddress};

/// What changes are announced on.
const CHANNEL: &str = "daypass_changes";

/// An open store. Its tasks end with the lifecycle that it was given.
pub struct Postgres {
    place: Arc<str>,
    desk: Arc<Desk>,
}

/// How to treat the server; the defaults suit a sidecar.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How long one operation may take, connecting included, before [`Error::Unavailable`]. Default
    /// 5 s; lists get three times that.
    pub timeout: Duration,
    /// Connections at once. Default 4; while nothing is to be done, there is one.
    pub connections: usize,
    /// Whether to listen for notifications. Default yes; it keeps one connection open.
    pub listen: bool,
    /// How often to look for changes while notifications do not arrive. Default 1 s.
    pub poll_every: Duration,
    /// How often to look while they do: what is lost is found then. Default 15 s.
    pub look_every: Duration,
    /// How many changes are remembered, at least, for those who ask what they missed. Default
    /// 16,384.
    pub keep_changes: u32,
    /// Whether to refuse, with [`Error::NotReady`], what would have to be made or changed first.
    /// Default no.
    pub existing_only: bool,
    /// What leases go by. Default the server's clock.
    pub time: TimeSource,
}

/// Whose time it is.
#[derive(Clone, Debug, Default)]
pub enum TimeSource {
    /// The server's: the same for everybody.
    #[default]
    Server,
    /// This process's, for tests and simulations.
    Clock(SharedClock),
}

/// What a store needs of its process.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Whom to trust, for servers that are reached by TLS.
    pub tls: ClientConfig,
    /// Runs what was begun.
    pub lifecycle: Lifecycle,
    /// Draws names.
    pub random: SharedRandom,
}

// === impl Postgres ===

impl Postgres {
    /// Connects, and brings the tables up to date.
    pub async fn open(address: &Address, surroundings: Surroundings) -> Result<Self, Error> {
        Self::open_with(address, surroundings, Options::default()).await
    }

    /// As [`Self::open`], treating the server as `options` say.
    pub async fn open_with(
        address: &Address,
        surroundings: Surroundings,
        options: Options,
    ) -> Result<Self, Error> {
        let Surroundings {
            tls,
            lifecycle,
            random,
        } = surroundings;
        let tls = Tls::new(tls, address.tls());
        let pool = Pool::new(address.clone(), tls, options.connections, &lifecycle);
        let store = Self {
            place: address.place().into(),
            desk: Arc::new(Desk::new(pool, options, lifecycle)),
        };
        let (pool, existing_only) = (
            Arc::clone(&store.desk.pool),
            store.desk.options.existing_only,
        );
        let ready = async move {
            if existing_only {
                schema::is_ready(&pool).await
            } else {
                schema::migrate(&pool).await
            }
        };
        store.ask(store.limit_of_lists(), ready).await?;
        if store.desk.options.listen {
            listener::start(&store.desk, random);
        }
        Ok(store)
    }

    fn limit_of_lists(&self) -> Duration {
        self.desk.options.timeout.saturating_mul(3)
    }

    /// Does it, whether or not the caller goes on waiting.
    async fn ask<T: Send + 'static>(
        &self,
        limit: Duration,
        operation: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Error> {
        let running = self.desk.lifecycle.spawn(timeout(limit, operation));
        let answer = match running.await {
            Ok(Some(Ok(answer))) => answer,
            Ok(Some(Err(_elapsed))) => Err(Failure::Late(limit)),
            Ok(None) | Err(_) => Err(Failure::Stopped),
        };
        answer.map_err(|failure| failure.into_error(&self.place))
    }
}

/// Runs `$operation`, which sees the desk as `$desk`, within the usual time.
macro_rules! ask {
    ($store:expr, |$desk:ident| $operation:expr) => {{
        let $desk = std::sync::Arc::clone(&$store.desk);
        let limit = $store.desk.options.timeout;
        $store.ask(limit, async move { $operation.await }).await
    }};
    (lists $store:expr, |$desk:ident| $operation:expr) => {{
        let $desk = std::sync::Arc::clone(&$store.desk);
        $store
            .ask($store.limit_of_lists(), async move { $operation.await })
            .await
    }};
}
use ask;

#[async_trait]
impl Store for Postgres {
    async fn load(&self, key: &ConnectionKey) -> Result<Option<Connection>, Error> {
        let key = key.clone();
        ask!(self, |desk| grants::load(&desk, &key))
    }

    async fn page(
        &self,
        filter: &Filter,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Connection>, Error> {
        let (filter, after) = (filter.clone(), after.cloned());
        ask!(lists self, |desk| listing::page(&desk, &filter, after.as_ref(), limit))
    }

    async fn save(&self, batch: Vec<NewConnection>) -> Result<Vec<Saved>, Error> {
        ask!(lists self, |desk| saving::save(&desk, batch))
    }

    async fn remove(&self, key: &ConnectionKey) -> Result<Option<Connection>, Error> {
        let key = key.clone();
        ask!(self, |desk| grants::remove(&desk, &key))
    }

    async fn acquire(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        ttl: Duration,
    ) -> Result<Lease, Error> {
        let key = key.clone();
        ask!(self, |desk| leases::acquire(&desk, &key, owner, ttl))
    }

    async fn extend(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        ttl: Duration,
    ) -> Result<bool, Error> {
        let key = key.clone();
        ask!(self, |desk| leases::extend(&desk, &key, owner, ttl))
    }

    async fn release(&self, key: &ConnectionKey, owner: OwnerId) -> Result<bool, Error> {
        let key = key.clone();
        ask!(self, |desk| leases::release(&desk, &key, owner))
    }

    async fn begin(
        &self,
        fence: &Fence,
        owner: OwnerId,
        redemption: Redemption,
        at: Timestamp,
    ) -> Result<Begun, Error> {
        let fence = fence.clone();
        ask!(self, |desk| grants::begin(
            &desk, &fence, owner, redemption, at
        ))
    }

    async fn commit(&self, fence: &Fence, renewed: Renewed) -> Result<Committed, Error> {
        let fence = fence.clone();
        ask!(self, |desk| grants::commit(&desk, &fence, renewed))
    }

    async fn fail(&self, fence: &Fence, cooldown: Cooldown, spent: Spent) -> Result<Fenced, Error> {
        let fence = fence.clone();
        ask!(self, |desk| grants::fail(&desk, &fence, cooldown, spent))
    }

    async fn mark_needs_reauth(
        &self,
        fence: &Fence,
        reason: ReauthReason,
        since: Timestamp,
    ) -> Result<Fenced, Error> {
        let fence = fence.clone();
        ask!(self, |desk| grants::mark_needs_reauth(
            &desk, &fence, reason, since
        ))
    }

    async fn take_duty(&self, duty: &Duty, owner: OwnerId, ttl: Duration) -> Result<Turn, Error> {
        let duty = duty.clone();
        ask!(self, |desk| duties::take(&desk, &duty, owner, ttl))
    }

    async fn leave_duty(&self, duty: &Duty, owner: OwnerId) -> Result<bool, Error> {
        let duty = duty.clone();
        ask!(self, |desk| duties::leave(&desk, &duty, owner))
    }

    async fn due(&self, due: &Due) -> Result<Vec<ConnectionKey>, Error> {
        let due = due.clone();
        ask!(lists self, |desk| listing::due(&desk, &due))
    }

    async fn changes(&self, cursor: Option<Cursor>, wait: Duration) -> Result<Changes, Error> {
        let (begun, feed) = (Instant::now(), &self.desk.feed);
        // While notifications arrive, what was seen and heard since the last look is all there is.
        let mut look = cursor.is_none() || wait.is_zero() || !feed.is_heard();
        loop {
            // Armed before looking, so that a change between the look and the wait is not missed.
            let changed = feed.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if look || feed.is_look_due() || self.until_look().is_zero() {
                self.ping().await?;
            }
            let found = feed.after(cursor);
            let left = wait.saturating_sub(Instant::now().saturating_duration_since(begun));
            let nothing = found.keys.as_ref().is_some_and(Vec::is_empty);
            if cursor.is_none() || !nothing || left.is_zero() {
                return Ok(found);
            }
            look = false;
            let _elapsed = timeout(left.min(self.until_look()), changed).await;
        }
    }

    async fn census(&self) -> Result<Vec<Census>, Error> {
        ask!(lists self, |desk| listing::census(&desk))
    }

    async fn check(&self) -> Result<(), Error> {
        ask!(self, |desk| listing::probe(&desk))
    }

    /// Looks at the log of changes, which is done every so often in any case.
    async fn ping(&self) -> Result<(), Error> {
        ask!(self, |desk| feed::look(&desk))?;
        self.desk.pool.close_idle();
        Ok(())
    }
}

impl Postgres {
    /// How long until the log is to be looked at again.
    fn until_look(&self) -> Duration {
        let (options, feed) = (&self.desk.options, &self.desk.feed);
        let every = if feed.is_heard() {
            options.look_every
        } else {
            options.poll_every
        };
        every.saturating_sub(feed.looked_ago())
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("place", &self.place)
            .field("options", &self.desk.options)
            .finish_non_exhaustive()
    }
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            connections: 4,
            listen: true,
            poll_every: Duration::from_secs(1),
            look_every: Duration::from_secs(15),
            keep_changes: 16_384,
            existing_only: false,
            time: TimeSource::Server,
        }
    }
}
