//! Redis: the store on a server, for many sidecars; also behind sentinels, and as a cluster.
//!
//! 1. A connection is one hash, its lease a part of it. Every write is one script, which reads the
//!    row, decides, writes it and its indices, and tells of the change: all of that or nothing.
//! 2. Everything that a script touches lies in one slot ([`keys`]), so a cluster changes nothing of
//!    this, with two exceptions: changes reach the log in a second step ([`changes`]), and a batch
//!    that is saved is atomic by connection, not as a whole. The same goes for what is kept beside
//!    connections: all events and deliveries lie in one slot, the jobs of one kind in another,
//!    meetings and records that end in those of the connections.
//! 3. Time is the server's, so that sidecars with different clocks agree on leases.
//! 4. A call that is lost with its connection is sent again, and recognised if it was carried out.
//!    What a failover loses is lost, though: Redis acknowledges before its replicas have it.
//!    [`Inspect::assurances`](super::Inspect::assurances) says how much that may be.
//!
//! Needs Redis 6.2 or newer, or Valkey. A call that is cancelled may still be carried out.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::{desk::Desk, door::Door, failure::Failure, hearsay::Hearsay, keys::Keys};
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
mod assurances;
mod audit;
mod changes;
mod deliveries;
mod desk;
mod door;
mod duties;
mod failure;
mod grants;
mod hearsay;
mod jobs;
mod keys;
mod leases;
mod listing;
mod meetings;
mod opening;
mod plug;
mod portions;
mod probing;
mod records;
mod rows;
mod scripts;
mod seals;
mod sentinel;
mod survey;
mod trust;

pub use address::Address;
pub use trust::Trust;

/// An open store. Clones of its connection end when it is dropped.
pub struct Redis {
    desk: Arc<Desk>,
}

/// What a store needs of the process.
#[derive(Debug)]
pub struct Parts {
    /// Whom to trust, for TLS; without it, the platform's authorities.
    pub trust: Option<Trust>,
    /// Whose time leases go by.
    pub time: Time,
    /// Tells calls apart.
    pub random: SharedRandom,
    /// Runs the task that listens for changes.
    pub lifecycle: Lifecycle,
}

/// Whose time it is.
#[derive(Clone, Debug)]
pub enum Time {
    /// The server's: one for all sidecars.
    Server,
    /// A clock's; for tests and simulations.
    Clock(SharedClock),
}

/// How to treat the servers; the defaults suit a sidecar.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How often to look for changes while they are also heard of as they are made. Default 10 s: only
    /// a message that was lost waits so long.
    pub poll_every: Duration,
    /// How often to look for changes while they are not heard of. Default 500 ms.
    pub poll_unheard_every: Duration,
    /// The least time between two looks for changes; what comes sooner is found by one look. Default
    /// 20 ms.
    pub gather: Duration,
    /// How many changes are remembered, at least, for those who ask what they missed. Default 16,384.
    pub keep_changes: u32,
    /// Whether to refuse, with [`Error::NotReady`], what would have to be made or changed first.
    /// Default no.
    pub existing_only: bool,
}

// === impl Redis ===

impl Redis {
    /// Connects, and makes the store if there is none.
    pub async fn open(address: Address, parts: Parts) -> Result<Self, Error> {
        Self::open_with(address, parts, Options::default()).await
    }

    /// As [`Self::open`], treating the servers as `options` say.
    pub async fn open_with(
        address: Address,
        parts: Parts,
        options: Options,
    ) -> Result<Self, Error> {
        let address = Arc::new(address);
        let desk = Arc::new(Desk {
            door: Door::new(Arc::clone(&address), parts.trust),
            keys: Keys::new(&address.prefix),
            address,
            hearsay: Hearsay::new(options.keep_changes),
            options,
            time: parts.time,
            random: parts.random,
            changed: Notify::new(),
            listening: AtomicBool::new(false),
            outdated: AtomicU32::new(0),
            tidied: Mutex::default(),
            pings: AtomicUsize::default(),
            checks: AtomicUsize::default(),
        });
        let store = Self { desk };
        store.told(Box::pin(opening::open(&store.desk)).await)?;
        changes::listen(&store.desk, &parts.lifecycle);
        Ok(store)
    }

    fn told<T>(&self, outcome: Result<T, Failure>) -> Result<T, Error> {
        outcome.map_err(|failure| failure.into_error(&self.desk.address))
    }
}

#[async_trait]
impl Store for Redis {
    async fn load(&self, key: &ConnectionKey) -> Result<Option<Connection>, Error> {
        self.told(listing::load(&self.desk, key).await)
    }

    async fn page(
        &self,
        filter: &Filter,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Connection>, Error> {
        self.told(listing::page(&self.desk, filter, after, limit).await)
    }

    async fn save(&self, batch: Vec<NewConnection>) -> Result<Vec<Saved>, Error> {
        self.told(grants::save(&self.desk, batch).await)
    }

    async fn remove(&self, key: &ConnectionKey) -> Result<Option<Connection>, Error> {
        self.told(grants::remove(&self.desk, key).await)
    }

    async fn acquire(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        ttl: Duration,
    ) -> Result<Lease, Error> {
        self.told(leases::acquire(&self.desk, key, owner, ttl).await)
    }

    async fn extend(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        ttl: Duration,
    ) -> Result<bool, Error> {
        self.told(leases::extend(&self.desk, key, owner, ttl).await)
    }

    async fn release(&self, key: &ConnectionKey, owner: OwnerId) -> Result<bool, Error> {
        self.told(leases::release(&self.desk, key, owner).await)
    }

    async fn begin(
        &self,
        fence: &Fence,
        owner: OwnerId,
        redemption: Redemption,
        at: Timestamp,
    ) -> Result<Begun, Error> {
        self.told(grants::begin(&self.desk, fence, owner, redemption, at).await)
    }

    async fn commit(&self, fence: &Fence, renewed: Renewed) -> Result<Committed, Error> {
        self.told(grants::commit(&self.desk, fence, &renewed).await)
    }

    async fn fail(&self, fence: &Fence, cooldown: Cooldown, spent: Spent) -> Result<Fenced, Error> {
        self.told(grants::fail(&self.desk, fence, cooldown, spent).await)
    }

    async fn mark_needs_reauth(
        &self,
        fence: &Fence,
        reason: ReauthReason,
        since: Timestamp,
    ) -> Result<Fenced, Error> {
        self.told(grants::mark_needs_reauth(&self.desk, fence, reason, since).await)
    }

    async fn take_duty(&self, duty: &Duty, owner: OwnerId, ttl: Duration) -> Result<Turn, Error> {
        self.told(duties::take(&self.desk, duty, owner, ttl).await)
    }

    async fn leave_duty(&self, duty: &Duty, owner: OwnerId) -> Result<bool, Error> {
        self.told(duties::leave(&self.desk, duty, owner).await)
    }

    async fn due(&self, due: &Due) -> Result<Vec<ConnectionKey>, Error> {
        self.told(listing::due(&self.desk, due).await)
    }

    async fn changes(&self, cursor: Option<Cursor>, wait: Duration) -> Result<Changes, Error> {
        self.told(changes::changes(&self.desk, cursor, wait).await)
    }

    async fn census(&self) -> Result<Vec<Census>, Error> {
        self.told(listing::census(&self.desk).await)
    }

    /// Writes: in a cluster to some buckets at a time, since each may lie on another server.
    async fn check(&self) -> Result<(), Error> {
        self.told(probing::write(&self.desk).await)
    }

    /// Reads: of a cluster a few buckets, evenly apart and others each time, so that a large cluster
    /// is gone round in some pings.
    async fn ping(&self) -> Result<(), Error> {
        self.told(probing::read(&self.desk).await)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("address", &self.desk.address)
            .field("options", &self.desk.options)
            .finish_non_exhaustive()
    }
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            poll_every: Duration::from_secs(10),
            poll_unheard_every: Duration::from_millis(500),
            gather: Duration::from_millis(20),
            keep_changes: 16_384,
            existing_only: false,
        }
    }
}
