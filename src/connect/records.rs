//! Records that are found by a secret, sealed on their way into the store.
//!
//! 1. The store sees a digest and a sealed record; the secret itself is in a URL, and nowhere else.
//! 2. A record is bound to its provider, purpose and digest: moved elsewhere it does not open.
//! 3. What does not open, or is not understood, counts as not there, and is logged.

use std::{sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    base::{ids::ProviderName, random::SharedRandom},
    store::{
        self, Digest, Expiring, Purpose,
        seal::{Aad, Binding, KeyRing, Sealed},
    },
};

/// Keeps records; see the [module docs](self).
#[derive(Clone)]
pub(super) struct Records {
    store: Arc<dyn Expiring>,
    keys: Arc<KeyRing>,
    random: SharedRandom,
}

// === impl Records ===

impl Records {
    pub(super) fn new(store: Arc<dyn Expiring>, keys: Arc<KeyRing>, random: SharedRandom) -> Self {
        Self {
            store,
            keys,
            random,
        }
    }

    /// Keeps `record` of `provider` under `digest` for `ttl`.
    pub(super) async fn put(
        &self,
        purpose: Purpose,
        provider: &ProviderName,
        digest: &Digest,
        record: &(impl Serialize + Sync),
        ttl: Duration,
    ) -> Result<(), store::Error> {
        let binding = Binding::record(provider, purpose, digest);
        let sealed = self.seal(&binding.aad(), record);
        self.store.put(purpose, digest, sealed, Some(ttl)).await
    }

    /// The record under `digest`, which stays.
    pub(super) async fn peek<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        provider: &ProviderName,
        digest: &Digest,
    ) -> Result<Option<T>, store::Error> {
        let sealed = self.store.peek(purpose, digest).await?;
        Ok(sealed.and_then(|sealed| self.read(purpose, provider, digest, &sealed)))
    }

    /// The record under `digest`, which nobody gets again.
    pub(super) async fn take<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        provider: &ProviderName,
        digest: &Digest,
    ) -> Result<Option<T>, store::Error> {
        let sealed = self.store.take(purpose, digest).await?;
        Ok(sealed.and_then(|sealed| self.read(purpose, provider, digest, &sealed)))
    }

    /// Seals `record`, bound to `aad`.
    pub(super) fn seal(&self, aad: &Aad<'_>, record: &impl Serialize) -> Sealed {
        // Records are plain structs, which serialise without fail; an empty one would not be read.
        let plain = Zeroizing::new(serde_json::to_vec(record).unwrap_or_default());
        self.keys.seal_bytes(&*self.random, aad, &plain)
    }

    /// Opens what [`Self::seal`] made with the same `aad`.
    pub(super) fn open<T: DeserializeOwned>(&self, aad: &Aad<'_>, sealed: &Sealed) -> Option<T> {
        let plain = self.keys.open_bytes(aad, sealed).ok()?;
        serde_json::from_slice(&plain).ok()
    }

    fn read<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        provider: &ProviderName,
        digest: &Digest,
        sealed: &Sealed,
    ) -> Option<T> {
        let binding = Binding::record(provider, purpose, digest);
        let record = self.open(&binding.aad(), sealed);
        if record.is_none() {
            tracing::warn!(
                %provider, purpose = purpose.as_str(),
                "a record does not open: it is of another provider, was altered, or its key is no \
                 longer configured",
            );
        }
        record
    }
}

/// What finds the record of `secret`.
pub(super) fn digest(secret: &str) -> Digest {
    Digest(Sha256::digest(secret).into())
}
