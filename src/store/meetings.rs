//! Meetings, as far as a store must know of them: when, whose, how they stand. The rest is sealed.
//!
//! 1. A meeting belongs to one connection. Two users who share one have it twice.
//! 2. What is over stays over: no provider brings back a meeting that was canceled or rejected
//!    ([`StoredMeeting::is_over`]), so what says that it is over stands against what does not, in
//!    whichever order they come and whatever their times.
//! 3. Apart from that, what is newer by the provider's own time stands. Of two of the same time the
//!    first one stands, so writing the same twice changes nothing.

use async_trait::async_trait;

use super::{Error, seal::Sealed};
use crate::base::{
    clock::Timestamp,
    ids::{ConnectionKey, ProviderName, UserId},
};

/// A meeting of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMeeting {
    /// Whose.
    pub key: ConnectionKey,
    /// The provider's id or URI for it.
    pub external_id: String,
    /// How it stands, as in the API.
    pub status: String,
    /// Whether that is final: canceled or rejected.
    pub is_over: bool,
    /// When it begins.
    pub starts_at: Timestamp,
    /// When it ends.
    pub ends_at: Timestamp,
    /// Since when it is as it is, by the provider's time.
    pub version: Timestamp,
    /// Title, people, places: sealed.
    pub details: Sealed,
}

/// What writing a meeting came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upserted {
    /// It was not known.
    Created,
    /// It was known, and is now as written.
    Changed,
    /// What is stored stands.
    Stands,
}

/// Which meetings to list.
#[derive(Clone, Debug)]
pub struct MeetingFilter {
    /// Whose.
    pub user: UserId,
    /// Only of this provider.
    pub provider: Option<ProviderName>,
    /// Only those that end after this.
    pub from: Option<Timestamp>,
    /// Only those that begin before this.
    pub until: Option<Timestamp>,
}

/// Where a page of meetings ends: begin, provider and id of its last one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MeetingCursor {
    /// See [`StoredMeeting::starts_at`].
    pub starts_at: Timestamp,
    /// The provider.
    pub provider: ProviderName,
    /// See [`StoredMeeting::external_id`].
    pub external_id: String,
}

/// Keeps meetings; see the [module docs](self).
#[async_trait]
pub trait Meetings: Send + Sync + 'static {
    /// Writes meetings, each as one step, and answers in their order.
    async fn upsert_meetings(&self, batch: Vec<StoredMeeting>) -> Result<Vec<Upserted>, Error>;

    /// One meeting.
    async fn meeting(
        &self,
        key: &ConnectionKey,
        external_id: &str,
    ) -> Result<Option<StoredMeeting>, Error>;

    /// Up to `limit` meetings in the order of [`MeetingCursor`], those after `after` only.
    async fn meetings(
        &self,
        filter: &MeetingFilter,
        after: Option<&MeetingCursor>,
        limit: usize,
    ) -> Result<Vec<StoredMeeting>, Error>;

    /// Forgets all meetings of a connection; how many.
    async fn forget_meetings(&self, key: &ConnectionKey) -> Result<u64, Error>;

    /// Forgets up to `limit` meetings that ended before `ended`; how many.
    async fn prune_meetings(&self, ended: Timestamp, limit: usize) -> Result<u64, Error>;
}

// === impl StoredMeeting ===

impl StoredMeeting {
    /// Whether this one stays as it is when `new` is written.
    pub(super) fn stands_against(&self, new: &Self) -> bool {
        if self.is_over == new.is_over {
            new.version <= self.version
        } else {
            self.is_over
        }
    }
}
