//! Where connections are kept: records, the contract of a store, sealing, and the backends.
//!
//! 1. A store sees ciphertext only: tokens arrive [`Sealed`](seal::Sealed) and leave sealed.
//! 2. Absence is `Option`, never an error. Data that contradicts itself is [`Error::Inconsistent`].
//! 3. Every write of tokens is fenced: it names the connection, generation and grant it started from
//!    ([`Fence`]), and is refused when the store has moved on, or has gone back and moved on from there.
//! 4. Each method of [`Store`] is one atomic step (a batch may be several, see [`Store::save`]) that
//!    survives a crash once it has returned, and either happened or did not when it fails with
//!    anything but [`Error::Unavailable`].
//! 5. The clock that a store goes by may be set back. Then no lease, duty or claim lasts longer than it
//!    was made for, and nothing waits longer than it was put off for, counted from when somebody looks next.
//!
//! Beside connections a store keeps what the other direction needs, each with a contract of its own:
//! [`Expiring`] records, [`Jobs`], [`Deliveries`], [`Meetings`], the [`Trail`] of who did what, and the way
//! from [`Accounts`] to connections; [`Seals`] goes through whatever of it is sealed, for [`rotation`].
//! [`Everything`] is a backend that keeps them all.
//!
//! Backends: `sqlite` (embedded, the default), `postgres`, `redis` (one server, sentinels, a cluster).
//! To add one, implement [`Store`] and add an instance to `tests/store_contract`.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use thiserror::Error;

use crate::base::{
    clock::Timestamp,
    ids::{ConnectionId, ConnectionKey, Generation, GrantId, OwnerId, ProviderName},
};

mod accounts;
mod archive;
mod audit;
mod config;
mod deliveries;
mod duty;
mod expiring;
mod inspect;
mod job_states;
mod jobs;
mod lookout;
mod meetings;
pub mod postgres;
mod record;
pub mod redis;
pub mod rotation;
pub mod seal;
mod seals;
pub mod sqlite;

pub use accounts::Accounts;
pub use archive::{Archive, Attempt, Found, Record, Restored};
pub use audit::{Deed, DeedFilter, Trail};
pub use config::{Backend, Config, Way};
pub use deliveries::{
    Accepted, Claimed, Deliveries, Delivery, DeliveryFilter, DeliveryId, DeliveryStatus, NewEvent,
    Settled, Tally,
};
pub use duty::{Duty, DutyKind, Post, Turn};
pub use expiring::{Digest, Expiring, Purpose};
pub use inspect::{Concern, Finding, Inspect, Survey};
pub use job_states::JobStates;
pub use jobs::{Existing, Job, JobKind, Jobs};
pub use lookout::Lookout;
pub use meetings::{MeetingCursor, MeetingFilter, Meetings, StoredMeeting, Upserted};
pub use record::{
    Connection, Cooldown, Intent, NewConnection, ReauthReason, Redemption, Renewed, SealedTokens,
    Status,
};
pub use seals::{Bookmark, Drawer, Row, SealedPage, SealedRow, Seals, Swap};

/// Keeps connections; see the [module docs](self) for what every method guarantees.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// The connection as it is now.
    async fn load(&self, key: &ConnectionKey) -> Result<Option<Connection>, Error>;

    /// Up to `limit` connections in the order of their keys, those after `after` only.
    async fn page(
        &self,
        filter: &Filter,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Connection>, Error>;

    /// Creates connections or replaces their grants (a connect, a reconnect, an import), all of
    /// `batch` or none; a store that is spread over several servers does so for each connection, and
    /// may have saved a part of the batch when it fails. Saving the batch again completes it: what has
    /// a fingerprint is left as it is, the rest is replaced by itself. Replacing raises the generation, so that work in flight loses; it makes the
    /// connection active again and clears its intent and cooldown. Leases stay.
    ///
    /// A connection whose stored fingerprint equals the new one is left as it is: importing the same
    /// line twice must not bring back tokens that have since been rotated.
    async fn save(&self, batch: Vec<NewConnection>) -> Result<Vec<Saved>, Error>;

    /// Forgets the connection; its last state if there was one.
    async fn remove(&self, key: &ConnectionKey) -> Result<Option<Connection>, Error>;

    /// Takes the lease of a connection for `ttl`, if nobody else holds it, and reads the connection
    /// under it. The owner that holds it already gets it again.
    async fn acquire(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        ttl: Duration,
    ) -> Result<Lease, Error>;

    /// Prolongs a lease to `ttl` from now; `false` if `owner` no longer holds it.
    async fn extend(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        ttl: Duration,
    ) -> Result<bool, Error>;

    /// Gives a lease back; `false`, and no change, if `owner` does not hold it.
    async fn release(&self, key: &ConnectionKey, owner: OwnerId) -> Result<bool, Error>;

    /// Records that tokens are about to be redeemed. Needs the lease.
    ///
    /// An intent that is already there for the same generation has its attempts raised by one.
    async fn begin(
        &self,
        fence: &Fence,
        owner: OwnerId,
        redemption: Redemption,
        at: Timestamp,
    ) -> Result<Begun, Error>;

    /// Stores new tokens as the generation after the fence's, clears intent and cooldown, and makes
    /// the connection active, even if it was marked [`Status::NeedsReauth`] meanwhile. Needs no
    /// lease: whoever holds tokens minted from the stored generation may commit them. If the
    /// connection was removed and made anew, the new one stands ([`Committed::Superseded`]).
    async fn commit(&self, fence: &Fence, renewed: Renewed) -> Result<Committed, Error>;

    /// Records a failed attempt: sets the cooldown, and takes the attempt back if nothing was spent.
    /// An earlier attempt at this generation, whose end is not known, stays recorded as it was.
    async fn fail(&self, fence: &Fence, cooldown: Cooldown, spent: Spent) -> Result<Fenced, Error>;

    /// Marks the connection as needing its user, once: [`Fenced::Unchanged`] if it was marked already.
    async fn mark_needs_reauth(
        &self,
        fence: &Fence,
        reason: ReauthReason,
        since: Timestamp,
    ) -> Result<Fenced, Error>;

    /// Takes `duty` for `ttl` from now, by the store's clock, if nobody else has it. Who has it gets it
    /// again. See [`duty`].
    async fn take_duty(&self, duty: &Duty, owner: OwnerId, ttl: Duration) -> Result<Turn, Error>;

    /// Gives a duty back; `false`, and no change, if `owner` does not have it.
    async fn leave_duty(&self, duty: &Duty, owner: OwnerId) -> Result<bool, Error>;

    /// Active connections with a refresh token whose grant is older than `due` asks, or nearer to its
    /// end, those first that are by the most; without a scan of the others.
    async fn due(&self, due: &Due) -> Result<Vec<ConnectionKey>, Error>;

    /// What changed after `cursor`, by whatever process; waits up to `wait` if nothing did. Without a
    /// cursor: the present cursor at once, and no keys. Leases and intents are not told of.
    async fn changes(&self, cursor: Option<Cursor>, wait: Duration) -> Result<Changes, Error>;

    /// How many connections there are, by provider and status.
    async fn census(&self) -> Result<Vec<Census>, Error>;

    /// Whether the store can be written to. Writes. Whoever serves from it asks every
    /// [`CHECKED_EVERY`], which others can tell by its pulse ([`Archive::pulse`]).
    async fn check(&self) -> Result<(), Error>;

    /// Whether the store seems to be well, by whatever costs it least: each of thousands of sidecars
    /// asks this every few seconds. What only a write would show may show in [`Self::check`] alone.
    async fn ping(&self) -> Result<(), Error>;
}

/// How often, at least, whoever serves from a store checks it ([`Store::check`]).
pub const CHECKED_EVERY: Duration = Duration::from_secs(12);

/// Shared handle to whichever store the process runs on.
pub type SharedStore = Arc<dyn Store>;

/// A backend that keeps everything.
pub trait Everything:
    Store + Accounts + Expiring + Jobs + Deliveries + Meetings + Trail + Seals
{
}

impl<T: Store + Accounts + Expiring + Jobs + Deliveries + Meetings + Trail + Seals> Everything
    for T
{
}

/// The state that a write starts from. It is refused when the store holds another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Which connection.
    pub key: ConnectionKey,
    /// Which of those that ever had the key.
    pub id: ConnectionId,
    /// The generation that was read.
    pub generation: Generation,
    /// The grant that was read. A store that has lost writes gives out a generation once more, but no
    /// grant. `None` if it was not noted, by a version that knew of none.
    pub grant: Option<GrantId>,
}

/// Which connections to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those of this provider.
    pub provider: Option<ProviderName>,
    /// Only those that need their user (`true`) or do not (`false`).
    pub needs_reauth: Option<bool>,
}

/// What a save did to one connection.
#[derive(Clone, Debug)]
pub enum Saved {
    /// There was none.
    Created(Connection),
    /// There was one, which has new tokens now.
    Replaced(Connection),
    /// The same tokens had been saved before.
    Unchanged(Connection),
}

/// The answer to asking for a lease.
#[derive(Clone, Debug)]
pub enum Lease {
    /// Held by the asker now; the connection as read under it.
    Granted(Box<Connection>),
    /// Held by another process, for at least this long unless it is given back.
    Held(Duration),
    /// There is no such connection.
    Gone,
}

/// The answer to recording an intent.
#[derive(Clone, Debug)]
pub enum Begun {
    /// Recorded: this is the n-th attempt at this generation, from 1.
    Recorded {
        /// Attempts so far, this one included.
        attempts: u32,
    },
    /// The lease is no longer held, or the store has moved on.
    Refused,
}

/// The answer to a commit.
#[derive(Clone, Debug)]
pub enum Committed {
    /// Stored.
    Stored(Box<Connection>),
    /// Somebody stored newer tokens: those stand.
    Superseded(Box<Connection>),
    /// The connection was removed meanwhile.
    Gone,
}

/// The answer to a fenced write that stores no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// Done.
    Written,
    /// It was so already.
    Unchanged,
    /// The store has moved on, or the connection is gone.
    Refused,
}

/// Whether a single-use token that was sent may have been accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Certainly not.
    No,
    /// Perhaps.
    Maybe,
}

/// What the keep-alive sweep asks for.
#[derive(Clone, Debug)]
pub struct Due {
    /// Of this provider.
    pub provider: ProviderName,
    /// Grants that were last renewed before this…
    pub renewed_before: Timestamp,
    /// …or whose refresh token ends before this.
    pub refresh_ends_before: Timestamp,
    /// And that are not cooling down at this moment.
    pub now: Timestamp,
    /// What cools down for longer than until this does not count as cooling down: no cooldown lasts so
    /// long, so the clock was set back since it began.
    pub longest_cooldown: Timestamp,
    /// At most so many.
    pub limit: usize,
}

/// A place in the sequence of changes; meaningful to the backend that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub u64);

/// What changed.
#[derive(Clone, Debug)]
pub struct Changes {
    /// Where to go on from.
    pub cursor: Cursor,
    /// Which connections; `None` if too much was missed to tell: anything may have changed.
    pub keys: Option<Vec<ConnectionKey>>,
}

/// A line of the census.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// At this provider…
    pub provider: ProviderName,
    /// …that need their user, or do not…
    pub needs_reauth: bool,
    /// …so many connections.
    pub count: u64,
}

/// Why a store did not do what it was asked. Messages name paths and tables, never tokens.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be reached or is too busy; what was asked may have happened. Retry later.
    #[error("the store is unavailable: {what}")]
    Unavailable {
        /// What is the matter and what to do, in one sentence.
        what: String,
        /// The driver's complaint.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// It cannot be written to: a full disk, a read-only file or server. Mend it, then retry.
    #[error("the store refuses to be written to: {what}")]
    NotWritable {
        /// What is the matter and what to do, in one sentence.
        what: String,
        /// The driver's complaint.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The file is damaged or is no store at all. Restore a backup.
    #[error("{path} is not a usable database: {what}", path = path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is the matter and what to do, in one sentence.
        what: String,
        /// The driver's complaint.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A newer version has written it. Upgrade this one.
    #[error(
        "the store has schema {found}, this version of daypass knows {known}: upgrade daypass, or restore the backup made before the upgrade"
    )]
    FromTheFuture {
        /// What the store says.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// There is none yet, or one of an older version, and it was not to be made or changed.
    #[error("the store is not ready: {what}")]
    NotReady {
        /// What there is and what to do, in one sentence.
        what: String,
    },
    /// A row contradicts itself.
    #[error("the stored row of {row} is inconsistent: {what}")]
    Inconsistent {
        /// Whose row.
        row: String,
        /// What does not fit.
        what: String,
    },
}

// === impl Fence ===

impl Fence {
    /// The state that `connection` was read in.
    pub fn of(connection: &Connection) -> Self {
        Self {
            key: connection.key.clone(),
            id: connection.id,
            generation: connection.generation,
            grant: Some(connection.grant),
        }
    }

    /// Whether the store still holds that state, if `connection` is what it holds. Where a version that
    /// knows of no grants has written either of the two, the generation counts alone.
    pub fn admits(&self, connection: &Connection) -> bool {
        self.key == connection.key
            && self.id == connection.id
            && self.generation == connection.generation
            && self
                .grant
                .is_none_or(|grant| [grant, GrantId::UNNAMED].contains(&connection.grant))
    }
}

// === impl Saved ===

impl Saved {
    /// The connection as it is now.
    pub const fn connection(&self) -> &Connection {
        match self {
            Self::Created(connection)
            | Self::Replaced(connection)
            | Self::Unchanged(connection) => connection,
        }
    }
}
