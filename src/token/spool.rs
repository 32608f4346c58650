//! New tokens that the store refused, kept until it takes them.
//!
//! 1. The provider has rotated, so these tokens are the only ones that work: they are written here,
//!    sealed, before anyone uses them, and stay in memory for use.
//! 2. A file a connection, named by a hash of its key; written beside and renamed, so that there is
//!    always a whole one. Mode 0600.
//! 3. What is found at start is used at once, and offered to the store until it answers.
//! 4. A file that cannot be read is left where it is and named in the log: it may be the only copy.

use std::{collections::BTreeMap, io, sync::Arc};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;

use super::disk::SharedDisk;
use crate::{
    base::ids::{ConnectionId, ConnectionKey, Generation},
    store::{Fence, Renewed},
};

/// The spool of one process.
#[derive(Debug)]
pub(super) struct Spool {
    disk: SharedDisk,
    waiting: Mutex<BTreeMap<ConnectionKey, Arc<Spooled>>>,
    /// Held while the disk is written to, so that a file is not removed that was just replaced.
    writing: AsyncMutex<()>,
}

/// A renewal that waits for the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Spooled {
    key: ConnectionKey,
    id: ConnectionId,
    from: Generation,
    pub(super) renewed: Renewed,
}

// === impl Spooled ===

impl Spooled {
    pub(super) fn new(fence: &Fence, renewed: Renewed) -> Self {
        Self {
            key: fence.key.clone(),
            id: fence.id,
            from: fence.generation,
            renewed,
        }
    }

    /// What the commit must still find in the store.
    pub(super) fn fence(&self) -> Fence {
        Fence {
            key: self.key.clone(),
            id: self.id,
            generation: self.from,
        }
    }

    /// The generation that these tokens will have.
    pub(super) const fn generation(&self) -> Generation {
        self.from.next()
    }
}

// === impl Spool ===

impl Spool {
    /// Opens the spool on `disk`.
    pub(super) async fn open(disk: SharedDisk) -> io::Result<Self> {
        let mut waiting = BTreeMap::new();
        for (name, bytes) in disk.read_all().await? {
            match serde_json::from_slice::<Spooled>(&bytes) {
                Ok(spooled) => {
                    waiting.insert(spooled.key.clone(), Arc::new(spooled));
                }
                Err(error) => tracing::error!(
                    %name,
                    error = &error as &dyn std::error::Error,
                    "a spooled renewal cannot be read; it is left where it is",
                ),
            }
        }
        Ok(Self {
            disk,
            waiting: Mutex::new(waiting),
            writing: AsyncMutex::default(),
        })
    }

    /// Keeps `spooled` in memory, then on disk. Fails if the disk does not take it; memory has it.
    pub(super) async fn put(&self, spooled: Spooled) -> io::Result<()> {
        let name = name(&spooled.key);
        let bytes = serde_json::to_vec(&spooled).map_err(io::Error::other)?;
        self.waiting
            .lock()
            .insert(spooled.key.clone(), Arc::new(spooled));
        let _writing = self.writing.lock().await;
        self.disk.write(&name, &bytes).await
    }

    /// What waits for this connection.
    pub(super) fn get(&self, key: &ConnectionKey) -> Option<Arc<Spooled>> {
        let waiting = self.waiting.lock();
        if waiting.is_empty() {
            None
        } else {
            waiting.get(key).cloned()
        }
    }

    /// Everything that waits.
    pub(super) fn all(&self) -> Vec<Arc<Spooled>> {
        self.waiting.lock().values().cloned().collect()
    }

    /// How many renewals wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// The store has answered for `spooled`: forgets it, unless something newer waits already.
    pub(super) async fn settle(&self, spooled: &Arc<Spooled>) -> io::Result<()> {
        let settled = {
            let mut waiting = self.waiting.lock();
            let same = waiting
                .get(&spooled.key)
                .is_some_and(|found| Arc::ptr_eq(found, spooled));
            same && waiting.remove(&spooled.key).is_some()
        };
        if settled {
            let _writing = self.writing.lock().await;
            let replaced = self.waiting.lock().contains_key(&spooled.key);
            if !replaced {
                return self.disk.remove(&name(&spooled.key)).await;
            }
        }
        Ok(())
    }
}

/// What the file of a connection is called.
fn name(key: &ConnectionKey) -> String {
    hex::encode(Sha256::digest(key.to_string()))
}
