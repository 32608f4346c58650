//! Enrichment: the meeting that a webhook is about, read with its user's own token.
//!
//! 1. The event's own words are kept at once; what the provider tells when asked is kept after that.
//! 2. A bounded number is read at once, in the background. What finds no place, or fails, is left to a
//!    sync that is brought forward.
//! 3. Each recipient's meeting is read with that recipient's token.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use super::{Archive, Sync, Told};
use crate::{
    base::{ids::ConnectionKey, lifecycle::Lifecycle},
    provider::{self, Event, SharedProvider},
    token::{TokenSource, with_token},
};

/// How many meetings wait to be read at most.
const WAITING: usize = 256;

/// How many are read at once.
const AT_ONCE: usize = 8;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// When a sync reads what could not be read here.
const SYNC_INSTEAD: Duration = Duration::from_mins(5);

/// Reads the meetings of events. Clones share everything.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Enricher {
    providers: Arc<[SharedProvider]>,
    archive: Archive,
    sync: Sync,
    tokens: Arc<dyn TokenSource>,
    lifecycle: Lifecycle,
    waiting: Arc<Semaphore>,
    at_once: Arc<Semaphore>,
}

// === impl Enricher ===

impl Enricher {
    /// Reads into `archive`, and leaves to `sync` what it cannot read.
    pub fn new(
        providers: &[SharedProvider],
        archive: Archive,
        sync: Sync,
        tokens: Arc<dyn TokenSource>,
        lifecycle: Lifecycle,
    ) -> Self {
        Self {
            providers: providers.into(),
            archive,
            sync,
            tokens,
            lifecycle,
            waiting: Arc::new(Semaphore::new(WAITING)),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Reads the meeting of `event` for each of `recipients`, later.
    pub fn enrich(&self, recipients: &[ConnectionKey], event: &Event) {
        if event.meeting_id.is_none() && event.meeting.is_none() {
            return;
        }
        for key in recipients {
            let (enricher, key) = (self.clone(), key.clone());
            let (id, told) = (event.meeting_id.clone(), event.meeting.clone());
            let place = Arc::clone(&self.waiting).try_acquire_owned().ok();
            drop(self.lifecycle.spawn(async move {
                let read = match place {
                    Some(_place) => enricher.read(&key, id, told).await,
                    None => false,
                };
                if !read {
                    enricher.sync.bring_forward(&key, SYNC_INSTEAD).await;
                }
            }));
        }
    }

    /// Whether all that is to be known of the meeting is known.
    async fn read(
        &self,
        key: &ConnectionKey,
        id: Option<String>,
        told: Option<provider::Meeting>,
    ) -> bool {
        if let Some(told) = told
            && !self.keep(key, told, Told::Partly).await
        {
            return false;
        }
        let Some(id) = id else {
            return true;
        };
        let Ok(_turn) = self.at_once.acquire().await else {
            return false;
        };
        match timeout(PATIENCE, self.fetch(key, &id)).await {
            Ok(Some(meeting)) => self.keep(key, meeting, Told::Whole).await,
            Ok(None) | Err(_) => false,
        }
    }

    async fn fetch(&self, key: &ConnectionKey, id: &str) -> Option<provider::Meeting> {
        let mut providers = self.providers.iter();
        let provider = providers.find(|provider| *provider.name() == key.provider)?;
        let meetings = provider.meetings()?;
        let fetching = with_token(&*self.tokens, key, |token| async move {
            meetings.fetch(&token, id).await
        });
        match fetching.await {
            Ok(meeting) => Some(meeting),
            Err(error) => {
                tracing::warn!(
                    provider = %key.provider, user = %key.user,
                    error = &error as &dyn std::error::Error,
                    "the meeting of an event could not be read; the next sync reads it",
                );
                None
            }
        }
    }

    async fn keep(&self, key: &ConnectionKey, meeting: provider::Meeting, told: Told) -> bool {
        match self.archive.keep(key, &[meeting], told).await {
            Ok(_kept) => true,
            Err(error) => {
                tracing::warn!(
                    provider = %key.provider, user = %key.user,
                    error = &error as &dyn std::error::Error,
                    "a meeting could not be kept; the next sync reads it",
                );
                false
            }
        }
    }
}
