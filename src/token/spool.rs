//! New tokens that the store refused, kept until it takes them.
//!
//! 1. The provider has rotated, so these tokens are the only ones that work: they are written here,
//!    sealed, before anyone uses them, and stay in memory for use.
//! 2. A file a connection, named by a hash of its key; written beside and renamed, so that there is
//!    always a whole one. Mode 0600.
//! 3. What is found at start is used at once, and offered to the store until it answers.
//! 4. A file that cannot be read is left where it is and named in the log: it may be the only copy.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{fs, io::AsyncWriteExt};

use crate::{
    base::ids::{ConnectionId, ConnectionKey, Generation},
    store::{Fence, Renewed},
};

/// The spool of one process.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    waiting: Mutex<HashMap<ConnectionKey, Arc<Spooled>>>,
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
    /// Opens the spool in `dir`, which need not exist until something is written to it.
    pub(super) async fn open(dir: PathBuf) -> io::Result<Self> {
        let mut waiting = HashMap::new();
        for path in files(&dir).await? {
            match read(&path).await {
                Ok(spooled) => {
                    waiting.insert(spooled.key.clone(), Arc::new(spooled));
                }
                Err(error) => tracing::error!(
                    path = %path.display(),
                    error = &error as &dyn std::error::Error,
                    "a spooled renewal cannot be read; it is left where it is",
                ),
            }
        }
        Ok(Self {
            dir,
            waiting: Mutex::new(waiting),
        })
    }

    /// Keeps `spooled` in memory, then on disk. Fails if the disk does not take it; memory has it.
    pub(super) async fn put(&self, spooled: Spooled) -> io::Result<()> {
        let path = self.path(&spooled.key);
        let bytes = serde_json::to_vec(&spooled).map_err(io::Error::other)?;
        self.waiting
            .lock()
            .insert(spooled.key.clone(), Arc::new(spooled));
        fs::create_dir_all(&self.dir).await?;
        write_whole(&self.dir, &path, &bytes).await
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
            match fs::remove_file(self.path(&spooled.key)).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, key: &ConnectionKey) -> PathBuf {
        let name = Sha256::digest(key.to_string());
        self.dir.join(hex::encode(name)).with_extension(EXTENSION)
    }
}

const EXTENSION: &str = "renewal";

async fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = match fs::read_dir(dir).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == EXTENSION)
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

async fn read(path: &Path) -> io::Result<Spooled> {
    serde_json::from_slice(&fs::read(path).await?).map_err(io::Error::other)
}

/// Writes beside, syncs, renames, syncs the directory: after a crash there is the old file or the new.
async fn write_whole(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("partial");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    fs::rename(&beside, path).await?;
    fs::File::open(dir).await?.sync_all().await
}
