//! Background sync: all meetings of a connection, page by page, at connect, on demand, and from time to
//! time for what webhooks have missed.
//!
//! 1. A sync is a job ([`Jobs`](crate::store::Jobs)): one process at a time works on it, and one that
//!    dies is replaced, at the page it had reached.
//! 2. The first sync reads the whole window, `sync_past` to `sync_future`. Later ones read what has
//!    changed since the last began, with an overlap, where the provider can tell; else all of it.
//! 3. It keeps within the provider's limits: when few calls are left in the provider's window, it rests
//!    until the next one, in the midst of a page if need be. What was read whole is not read again.
//! 4. How far it is can be seen at any time ([`Progress`]).

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::{Archive, Config, Followers};
use crate::{
    base::{clock::SharedClock, ids::ConnectionKey, lifecycle::Lifecycle, random::SharedRandom},
    provider::SharedProvider,
    store::{self, Everything, Existing, JobKind, JobStates, Lookout, seal::KeyRing},
    token::TokenSource,
};

mod state;
mod work;

use state::State;
pub use state::{Progress, Stage};

/// What syncs are made of.
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Parts {
    /// Whether, and how far.
    pub config: Config,
    /// Whose meetings.
    pub providers: Vec<SharedProvider>,
    /// Connections and jobs.
    pub store: Arc<dyn Everything>,
    /// Where meetings are kept.
    pub archive: Archive,
    /// Tokens, to read with.
    pub tokens: Arc<dyn TokenSource>,
    /// What the state of a sync is sealed with.
    pub keys: Arc<KeyRing>,
    /// Hears of syncs that are done.
    pub followers: Arc<dyn Followers>,
    /// Tells the time.
    pub clock: SharedClock,
    /// Draws jitter.
    pub random: SharedRandom,
    /// Runs the work.
    pub lifecycle: Lifecycle,
}

/// Reads all meetings. Clones share everything.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Sync(Arc<Inner>);

struct Inner {
    config: Config,
    providers: Vec<SharedProvider>,
    store: Arc<dyn Everything>,
    archive: Archive,
    tokens: Arc<dyn TokenSource>,
    states: JobStates<State>,
    /// Rung when one was asked for in this process.
    asked: Notify,
    followers: Arc<dyn Followers>,
    clock: SharedClock,
    random: SharedRandom,
    lifecycle: Lifecycle,
}

// === impl Sync ===

impl Sync {
    /// Works with what is in `parts`; nothing is read before it is asked for, or [`Sync::work`] runs.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            config: parts.config,
            providers: parts.providers,
            store: parts.store,
            archive: parts.archive,
            tokens: parts.tokens,
            states: JobStates::new(JobKind::Sync, parts.keys, Arc::clone(&parts.random)),
            followers: parts.followers,
            asked: Notify::new(),
            clock: parts.clock,
            random: parts.random,
            lifecycle: parts.lifecycle,
        }))
    }

    /// Asks for a sync now, or once more if one is under way. `false` if meetings are not kept, or the
    /// provider has none.
    pub async fn ask_for(&self, key: &ConnectionKey) -> Result<bool, store::Error> {
        if !self.0.config.store || self.0.meetings(key).is_none() {
            return Ok(false);
        }
        let store = &self.0.store;
        store
            .schedule(JobKind::Sync, key, None, Duration::ZERO, Existing::Hasten)
            .await?;
        self.0.asked.notify_one();
        Ok(true)
    }

    /// Reads all anew, whatever was read: for a connection whose account has changed.
    pub async fn begin_anew(&self, key: &ConnectionKey) -> Result<bool, store::Error> {
        if !self.0.config.store || self.0.meetings(key).is_none() {
            return Ok(false);
        }
        let store = &self.0.store;
        store
            .schedule(JobKind::Sync, key, None, Duration::ZERO, Existing::Replace)
            .await?;
        self.0.asked.notify_one();
        Ok(true)
    }

    /// Forgets the sync of a connection that is removed, and its meetings.
    pub async fn forget(&self, key: &ConnectionKey) -> Result<(), store::Error> {
        self.0.store.cancel(JobKind::Sync, key).await?;
        self.0.archive.forget(key).await?;
        Ok(())
    }

    /// How far the sync of a connection is; `None` if none was asked for.
    pub async fn progress(&self, key: &ConnectionKey) -> Result<Option<Progress>, store::Error> {
        let Some(job) = self.0.store.job(JobKind::Sync, key).await? else {
            return Ok(None);
        };
        let state = self.0.states.open(key, job.state.as_ref())?;
        Ok(Some(Progress::of(&job, state.as_ref())))
    }

    /// How far the syncs are of up to `limit` connections in the order of their keys, those after `after`
    /// only. What is stored of one may be beyond reading: `None`.
    pub async fn list(
        &self,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<(ConnectionKey, Option<Progress>)>, store::Error> {
        let jobs = self.0.store.jobs(JobKind::Sync, after, limit).await?;
        let progress = jobs.into_iter().map(|job| {
            let state = self.0.states.open(&job.key, job.state.as_ref());
            let progress = state.map(|state| Progress::of(&job, state.as_ref()));
            (job.key, progress.ok())
        });
        Ok(progress.collect())
    }

    /// Asks for a sync within `due_in`, if there is anything to ask for.
    pub(super) async fn bring_forward(&self, key: &ConnectionKey, due_in: Duration) {
        if !self.0.config.store {
            return;
        }
        let asked = self
            .0
            .store
            .schedule(JobKind::Sync, key, None, due_in, Existing::Hasten)
            .await;
        if let Err(error) = asked {
            tracing::warn!(
                provider = %key.provider, user = %key.user,
                error = &error as &dyn std::error::Error,
                "a sync could not be asked for",
            );
        }
    }

    /// Works until the drain begins, and looks for syncs when `lookout` says so.
    pub fn work(&self, lookout: Lookout) {
        if self.0.config.store {
            let lifecycle = &self.0.lifecycle;
            lifecycle.spawn_until_drain(work::work(Arc::clone(&self.0), lookout));
            lifecycle.spawn_until_drain(work::forget_old(Arc::clone(&self.0)));
        }
    }
}

// === impl Inner ===

impl Inner {
    fn meetings(&self, key: &ConnectionKey) -> Option<&dyn crate::provider::Meetings> {
        let mut providers = self.providers.iter();
        providers
            .find(|provider| *provider.name() == key.provider)
            .and_then(|provider| provider.meetings())
    }
}
