//! States of jobs between their worker and the store: sealed on the way in, opened on the way out.

use std::{fmt, marker::PhantomData, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{
    Error, JobKind,
    seal::{Binding, KeyRing, Sealed},
};
use crate::base::{ids::ConnectionKey, random::SharedRandom};

/// Seals and opens the states of the jobs of one kind. A state that was moved to another connection
/// does not open; one of another kind cannot be read.
pub struct JobStates<T> {
    kind: JobKind,
    keys: Arc<KeyRing>,
    random: SharedRandom,
    state: PhantomData<fn() -> T>,
}

// === impl JobStates ===

impl<T: Serialize + DeserializeOwned> JobStates<T> {
    /// Those of `kind`, sealed with `keys`.
    pub const fn new(kind: JobKind, keys: Arc<KeyRing>, random: SharedRandom) -> Self {
        Self {
            kind,
            keys,
            random,
            state: PhantomData,
        }
    }

    /// Seals the state of the job of `key`.
    pub fn seal(&self, key: &ConnectionKey, state: &T) -> Sealed {
        let text = Zeroizing::new(serde_json::to_vec(state).unwrap_or_default());
        let binding = Binding::job(key);
        self.keys.seal_bytes(&*self.random, &binding.aad(), &text)
    }

    /// Opens what the job of `key` keeps, if it keeps anything.
    pub fn open(&self, key: &ConnectionKey, sealed: Option<&Sealed>) -> Result<Option<T>, Error> {
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let inconsistent = |what: String| Error::Inconsistent {
            row: format!("{} ({} job)", key, self.kind.as_str()),
            what,
        };
        let binding = Binding::job(key);
        let text = self
            .keys
            .open_bytes(&binding.aad(), sealed)
            .map_err(|error| inconsistent(error.to_string()))?;
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| inconsistent(error.to_string()))
    }
}

impl<T> fmt::Debug for JobStates<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobStates")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
