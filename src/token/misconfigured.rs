//! Providers that refuse this installation's own credentials.
//!
//! A fault of the configuration is nobody's grant: no connection is touched. The provider is left
//! alone for a growing while, whichever user asks, and tried again after it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Config, Error, policy};
use crate::base::{ids::ProviderName, random::Random};

/// The marks of all providers.
#[derive(Debug, Default)]
pub(super) struct Misconfigured(Mutex<HashMap<ProviderName, Mark>>);

#[derive(Clone, Debug)]
struct Mark {
    until: Instant,
    failures: u32,
    what: Arc<str>,
}

// === impl Misconfigured ===

impl Misconfigured {
    /// The provider refused the client; the error that stands until the next try.
    pub(super) fn mark(
        &self,
        config: &Config,
        provider: &ProviderName,
        what: &str,
        random: &dyn Random,
    ) -> Error {
        let mut marks = self.0.lock();
        let failures = marks
            .get(provider)
            .map_or(0, |mark| mark.failures)
            .saturating_add(1);
        let wait = policy::backoff(config).after(failures, random);
        let what: Arc<str> = what.into();
        let mark = Mark {
            until: Instant::now() + wait,
            failures,
            what: Arc::clone(&what),
        };
        marks.insert(provider.clone(), mark);
        Error::Misconfigured {
            provider: provider.clone(),
            retry_after: wait,
            what,
        }
    }

    /// The error that stands, if it is not yet time to try again.
    pub(super) fn standing(&self, provider: &ProviderName, now: Instant) -> Option<Error> {
        let marks = self.0.lock();
        let mark = marks.get(provider)?;
        let left = mark.until.saturating_duration_since(now);
        (left > Duration::ZERO).then(|| Error::Misconfigured {
            provider: provider.clone(),
            retry_after: left,
            what: Arc::clone(&mark.what),
        })
    }

    /// The provider took the client's credentials.
    pub(super) fn clear(&self, provider: &ProviderName) {
        let mut marks = self.0.lock();
        if !marks.is_empty() {
            marks.remove(provider);
        }
    }

    /// Every provider gets another chance.
    pub(super) fn clear_all(&self) {
        self.0.lock().clear();
    }

    /// Which providers are marked.
    pub(super) fn names(&self) -> Vec<ProviderName> {
        self.0.lock().keys().cloned().collect()
    }
}
