//! Who did what, by whose order: the records of what operators, the app and its users have changed.
//!
//! 1. A record is written once and never changed. Writing the same one again, after an answer that was
//!    lost, changes nothing.
//! 2. Records are in the order of their ids, which is that of their times: lists and pages follow it,
//!    the newest first. Whose clock that is does not matter to the store.
//! 3. Words (`via`, `action`, …) are text here: what a newer version has written, an older one can list.
//! 4. Never a secret: a record holds names and words, and whoever reads the store may read it.
//! 5. Records are forgotten by [`Trail::prune_deeds`] only.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::base::{
    clock::Timestamp,
    ids::{AuditId, ProviderName, UserId},
};

/// One thing that was done, or tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// Which record.
    pub id: AuditId,
    /// When it was done.
    pub at: Timestamp,
    /// By which way: `api`, `page`, `cli`, `outbound`, `ingress`.
    pub via: String,
    /// By whom, as far as that way can tell.
    pub who: String,
    /// What: `connection.refresh`.
    pub action: String,
    /// At which provider, if it was at one.
    pub provider: Option<ProviderName>,
    /// For which user, if it was for one.
    pub user: Option<UserId>,
    /// `done`, `refused` or `failed`.
    pub outcome: String,
    /// Why not, in a word.
    pub reason: Option<String>,
    /// What else is to be known: `force`, `3 replayed`.
    pub detail: Option<String>,
}

/// Which records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeedFilter {
    /// Only those about this user.
    pub user: Option<UserId>,
    /// Only those about this provider.
    pub provider: Option<ProviderName>,
    /// Only those of this action.
    pub action: Option<String>,
    /// Only of then or later.
    pub since: Option<Timestamp>,
    /// Only of before.
    pub until: Option<Timestamp>,
}

/// Keeps records; see the [module docs](self).
#[async_trait]
pub trait Trail: Send + Sync + 'static {
    /// Writes a record down.
    async fn record(&self, deed: &Deed) -> Result<(), Error>;

    /// Up to `limit` records that fit, the newest first; those before `before` only.
    async fn deeds(
        &self,
        filter: &DeedFilter,
        before: Option<AuditId>,
        limit: usize,
    ) -> Result<Vec<Deed>, Error>;

    /// Forgets up to `limit` records of before `before`, the oldest first; how many.
    async fn prune_deeds(&self, before: Timestamp, limit: usize) -> Result<u64, Error>;
}

// === impl Deed ===

impl Deed {
    /// Whether `filter` asks for it, its place in the order aside.
    pub(super) fn fits(&self, filter: &DeedFilter) -> bool {
        let is = |wanted: Option<&str>, has: Option<&str>| wanted.is_none() || wanted == has;
        is(
            filter.user.as_ref().map(UserId::as_str),
            self.user.as_ref().map(UserId::as_str),
        ) && is(
            filter.provider.as_ref().map(ProviderName::as_str),
            self.provider.as_ref().map(ProviderName::as_str),
        ) && is(filter.action.as_deref(), Some(&self.action))
    }
}

// === impl DeedFilter ===

impl DeedFilter {
    /// The ids between which it looks: from the first, up to but without the last.
    pub(super) fn bounds(&self, before: Option<AuditId>) -> (AuditId, AuditId) {
        let first = self.since.map_or(AuditId::FIRST, AuditId::first_of);
        let end = self.until.map_or(AuditId::LAST, AuditId::first_of);
        (first, before.map_or(end, |before| before.min(end)))
    }
}
