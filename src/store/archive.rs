//! Exact copies: what a store keeps of its connections, read and written whole, for moving them to
//! another store.
//!
//! 1. A [`Record`] is everything that a store keeps of a connection but its lease, which is somebody's
//!    and not the connection's.
//! 2. Restoring replaces what is older and never what is newer ([`Record::is_at_least`]); it never
//!    touches another connection that has the same key. So it may be repeated, and may be late.
//! 3. A row that cannot be read is named and passed over: the others are to be had all the same.

use async_trait::async_trait;

use super::{Connection, Error, Redemption, Store};
use crate::base::{
    clock::Timestamp,
    ids::{ConnectionId, ConnectionKey, Generation, OwnerId},
};

/// Reads and writes exact copies.
#[async_trait]
pub trait Archive: Store {
    /// Up to `limit` places in the order of their keys, those after `after` only. Fewer than `limit`
    /// are the last.
    async fn records(
        &self,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Found>, Error>;

    /// What is kept of one connection.
    async fn record(&self, key: &ConnectionKey) -> Result<Option<Found>, Error>;

    /// Writes copies as they are, ids, generations and times too, and tells of the changes; of each,
    /// what became of it. All of `batch` or none, but connection by connection where the store is
    /// spread over several servers. The keys of a batch are distinct. Leases stay.
    async fn restore(&self, batch: Vec<Record>) -> Result<Vec<Restored>, Error>;

    /// A number that grows whenever somebody checks the store, which all that serve from it do at
    /// least every [`CHECKED_EVERY`](super::CHECKED_EVERY).
    async fn pulse(&self) -> Result<u64, Error>;
}

/// All that is kept of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The connection.
    pub connection: Connection,
    /// The attempt before the one that its intent shows, for when that one turns out not to have
    /// happened.
    pub before: Option<Attempt>,
    /// See [`NewConnection::fingerprint`](super::NewConnection::fingerprint).
    pub fingerprint: Option<[u8; 32]>,
}

/// One attempt at a redemption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// By whom.
    pub owner: OwnerId,
    /// How.
    pub redemption: Redemption,
    /// When.
    pub at: Timestamp,
}

/// What was found at one place.
#[derive(Clone, Debug)]
pub enum Found {
    /// A connection.
    Whole {
        /// All that is kept of it.
        record: Box<Record>,
        /// Whether somebody holds its lease at this moment: most likely, it is being renewed.
        leased: bool,
    },
    /// A row that contradicts itself.
    Broken {
        /// Whose.
        key: ConnectionKey,
        /// What does not fit.
        what: String,
    },
}

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// It is stored.
    Written,
    /// What is there is newer, and stands.
    Newer,
    /// Another connection has the key, and stands.
    Other,
}

// === impl Record ===

impl Record {
    /// Whether this may stand in the place of a connection with `id`, last written at `generation` and
    /// last changed at `updated_at`: the same one, and not newer.
    pub fn is_at_least(
        &self,
        id: ConnectionId,
        generation: Generation,
        updated_at: Timestamp,
    ) -> bool {
        let mine = &self.connection;
        mine.id == id && (mine.generation, mine.updated_at) >= (generation, updated_at)
    }
}

// === impl Found ===

impl Found {
    /// Whose place it is.
    pub const fn key(&self) -> &ConnectionKey {
        match self {
            Self::Whole { record, .. } => &record.connection.key,
            Self::Broken { key, .. } => key,
        }
    }
}
