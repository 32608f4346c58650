//! Work that belongs to a connection and is due at a time: a sync, the watch over a webhook
//! subscription.
//!
//! 1. There is at most one job of a kind for a connection, with a state that only its worker reads.
//! 2. A due job is claimed by one worker for a while. If the worker dies, the claim runs out and
//!    another takes the job over, with the state as it was last written.
//! 3. A worker whose job another has taken over has lost its claim and changes nothing
//!    ([`Jobs::progress`] and [`Jobs::finish`] answer `false`); until then it may be late.
//! 4. A job that is asked for while it is worked on is done once more afterwards, also if another
//!    worker takes it over meanwhile.
//! 5. Removing a connection leaves its jobs: whoever removes it cancels them.

use std::time::Duration;

use async_trait::async_trait;

use super::{Error, seal::Sealed};
use crate::base::{
    clock::Timestamp,
    ids::{ConnectionKey, OwnerId},
};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum JobKind {
    /// Read all meetings of the connection.
    Sync,
    /// Make the webhook subscription, look after it, or take it back.
    Subscription,
}

/// A job as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Whose.
    pub key: ConnectionKey,
    /// How far it is; opaque to the store.
    pub state: Option<Sealed>,
    /// When it is due; while it is claimed, when the claim runs out. `None` if it waits for being
    /// asked for.
    pub due_at: Option<Timestamp>,
    /// Who works on it, as far as the store knows.
    pub owner: Option<OwnerId>,
    /// When its state was last written.
    pub updated_at: Timestamp,
}

/// What becomes of a job that is there already when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Its state stays, its time is brought forward if need be; whoever works on it goes on.
    Hasten,
    /// Its state and time are replaced, and whoever works on it has lost it.
    Replace,
}

/// Keeps jobs; see the [module docs](self). Times are relative to the store's clock.
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// Asks for a job `due_in` from now. A new one gets `state`; see [`Existing`] for one that exists.
    async fn schedule(
        &self,
        kind: JobKind,
        key: &ConnectionKey,
        state: Option<Sealed>,
        due_in: Duration,
        existing: Existing,
    ) -> Result<(), Error>;

    /// Claims up to `limit` jobs that are due, those due longest first, for `ttl`.
    async fn claim(
        &self,
        kind: JobKind,
        owner: OwnerId,
        ttl: Duration,
        limit: usize,
    ) -> Result<Vec<Job>, Error>;

    /// Writes how far a claimed job is, and keeps the claim for `ttl` from now; `false`, and no change,
    /// if it was lost. `None` forgets how far it was, here and in [`Self::finish`].
    async fn progress(
        &self,
        kind: JobKind,
        key: &ConnectionKey,
        owner: OwnerId,
        state: Option<Sealed>,
        ttl: Duration,
    ) -> Result<bool, Error>;

    /// Writes how far a claimed job is, and ends the claim: the job is due again in `next`, or when it
    /// was asked for meanwhile, whichever comes first, or else not before it is asked for; `false`, and
    /// no change, if the claim was lost.
    async fn finish(
        &self,
        kind: JobKind,
        key: &ConnectionKey,
        owner: OwnerId,
        state: Option<Sealed>,
        next: Option<Duration>,
    ) -> Result<bool, Error>;

    /// The job, if there is one.
    async fn job(&self, kind: JobKind, key: &ConnectionKey) -> Result<Option<Job>, Error>;

    /// Up to `limit` jobs in the order of their keys, those after `after` only.
    async fn jobs(
        &self,
        kind: JobKind,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Job>, Error>;

    /// Forgets the job, whoever works on it; whether there was one.
    async fn cancel(&self, kind: JobKind, key: &ConnectionKey) -> Result<bool, Error>;
}

// === impl JobKind ===

impl JobKind {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Sync, Self::Subscription];

    /// As in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Subscription => "subscription",
        }
    }
    /// The reverse of [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}
