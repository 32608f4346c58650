//! New tokens that the store refused, kept until it takes them.
//!
//! 1. The provider has rotated, so these tokens are the only ones that work: they are written here,
//!    sealed, before anyone uses them, and stay in memory for use.
//! 2. A file a connection, named by a hash of its key; written beside and renamed, so that there is
//!    always a whole one. Mode 0600.
//! 3. What is found at start is used at once, and offered to the store until it answers.
//! 4. A file that cannot be read is left where it is and named in the log: it may be the only copy.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;

use super::disk::{EXTENSION, SharedDisk};
use crate::{
    base::ids::{ConnectionId, ConnectionKey, Generation, GrantId},
    store::{Connection, Fence, Renewed, SealedTokens, seal::Sealed},
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
    /// Which of that generation. Files of versions that knew of none have none: the generation counts alone.
    #[serde(default)]
    from_grant: Option<GrantId>,
    pub(super) renewed: Renewed,
}

// === impl Spooled ===

impl Spooled {
    pub(super) fn new(fence: &Fence, renewed: Renewed) -> Self {
        Self {
            key: fence.key.clone(),
            id: fence.id,
            from: fence.generation,
            from_grant: fence.grant,
            renewed,
        }
    }

    /// What the commit must still find in the store.
    pub(super) fn fence(&self) -> Fence {
        Fence {
            key: self.key.clone(),
            id: self.id,
            generation: self.from,
            grant: self.from_grant,
        }
    }

    /// Whether the store has gone back since, to `now`: a backup was restored, or a failover lost what it had
    /// taken. What it has was spent on the way to these tokens. Who renewed it since by force has newer ones.
    pub(super) fn outlives(&self, now: &Connection) -> bool {
        let is_older = |tokens: &SealedTokens| tokens.renewed_at < self.renewed.tokens.renewed_at;
        now.id == self.id && now.generation < self.from && now.tokens.as_ref().is_none_or(is_older)
    }

    /// The keys that its tokens are sealed with.
    fn keys(&self) -> BTreeSet<String> {
        let tokens = &self.renewed.tokens;
        let seals = [Some(&tokens.access), tokens.refresh.as_ref()];
        let ids = seals.into_iter().flatten().map(Sealed::key_id);
        ids.map(|id| id.unwrap_or("?").to_owned()).collect()
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
    pub(super) async fn put(&self, spooled: Arc<Spooled>) -> io::Result<()> {
        let name = name(&spooled.key);
        let bytes = serde_json::to_vec(&*spooled).map_err(io::Error::other)?;
        self.waiting.lock().insert(spooled.key.clone(), spooled);
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
        // Before anything is forgotten: what is put meanwhile is written after the removal.
        let _writing = self.writing.lock().await;
        let settled = {
            let mut waiting = self.waiting.lock();
            let same = waiting
                .get(&spooled.key)
                .is_some_and(|found| Arc::ptr_eq(found, spooled));
            same && waiting.remove(&spooled.key).is_some()
        };
        if settled {
            return self.disk.remove(&name(&spooled.key)).await;
        }
        Ok(())
    }
}

/// How many of the renewals that wait in `directory` name which key; those that cannot be read name "?".
/// None that is there is no error.
pub fn spooled_keys(directory: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != EXTENSION) {
            continue;
        }
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // The store has taken it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let keys = match serde_json::from_slice::<Spooled>(&bytes) {
            Ok(spooled) => spooled.keys(),
            Err(_not_ours) => BTreeSet::from(["?".to_owned()]),
        };
        for key in keys {
            *found.entry(key).or_default() += 1;
        }
    }
    Ok(found)
}

/// What the file of a connection is called.
fn name(key: &ConnectionKey) -> String {
    hex::encode(Sha256::digest(key.to_string()))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{
        base::{clock::Timestamp, random::SeededRandom},
        store::{
            Redemption, SealedTokens,
            seal::{Aad, Field, Key, KeyRing, generate_key},
        },
        token::disk::Disk,
    };

    /// A disk that does nothing before it may.
    #[derive(Debug)]
    struct Slow {
        files: Mutex<BTreeMap<String, Vec<u8>>>,
        may_write: Semaphore,
        may_remove: Semaphore,
    }

    #[async_trait]
    impl Disk for Slow {
        async fn read_all(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
            Ok(self.files.lock().clone().into_iter().collect())
        }

        async fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
            self.may_write.acquire().await.unwrap().forget();
            self.files.lock().insert(name.to_owned(), bytes.to_vec());
            Ok(())
        }

        async fn remove(&self, name: &str) -> io::Result<()> {
            self.may_remove.acquire().await.unwrap().forget();
            self.files.lock().remove(name);
            Ok(())
        }
    }

    /// A spool on a disk that may write so often, and remove so often.
    async fn spool(writes: usize, removals: usize) -> (Arc<Slow>, Spool) {
        let disk = Arc::new(Slow {
            files: Mutex::default(),
            may_write: Semaphore::new(writes),
            may_remove: Semaphore::new(removals),
        });
        let spool = Spool::open(Arc::clone(&disk) as _).await.unwrap();
        (disk, spool)
    }

    fn key() -> ConnectionKey {
        ConnectionKey {
            provider: "calendly".parse().unwrap(),
            user: "u1".parse().unwrap(),
        }
    }

    fn renewal(from: u64) -> Spooled {
        let random = SeededRandom::new(1);
        let ring = Key::parse("k1", &generate_key(&random)).unwrap();
        let ring = KeyRing::new("k1", vec![ring]).unwrap();
        let (key, at) = (key(), Timestamp::from_secs(1));
        let aad = Aad::new(&key, Field::AccessToken);
        let tokens = SealedTokens {
            access: ring.seal(&random, &aad, &"access".to_owned().into()),
            refresh: None,
            renewed_at: at,
            access_expires_at: at,
            refresh_expires_at: None,
        };
        let (id, generation) = (ConnectionId::random(&random), Generation::new(from));
        let fence = Fence {
            key,
            id,
            generation,
            grant: Some(GrantId::random(&random)),
        };
        let renewed = Renewed {
            grant: GrantId::random(&random),
            tokens,
            redemption: Redemption::Standard,
            scope: None,
            external_id: None,
            organization: None,
        };
        Spooled::new(&fence, renewed)
    }

    /// Which renewals a process would find that starts now.
    async fn found(disk: &Arc<Slow>) -> Vec<Generation> {
        let spool = Spool::open(Arc::clone(disk) as _).await.unwrap();
        spool.all().iter().map(|found| found.from).collect()
    }

    #[tokio::test]
    async fn a_removal_that_takes_long_does_not_take_a_later_renewal_with_it() {
        let (disk, spool) = spool(2, 0).await;
        spool.put(Arc::new(renewal(7))).await.unwrap();
        let stored = spool.get(&key()).unwrap();
        let (settled, put, ()) = tokio::join!(
            biased;
            spool.settle(&stored),
            spool.put(Arc::new(renewal(8))),
            async {
                tokio::task::yield_now().await;
                disk.may_remove.add_permits(1);
            }
        );
        put.and(settled).unwrap();
        assert_eq!(found(&disk).await, [Generation::new(8)]);
    }

    #[tokio::test]
    async fn a_renewal_that_is_settled_while_it_is_being_written_leaves_no_file() {
        let (disk, spool) = spool(0, 1).await;
        let (put, settled, ()) = tokio::join!(
            biased;
            spool.put(Arc::new(renewal(7))),
            async { spool.settle(&spool.get(&key()).unwrap()).await },
            async {
                tokio::task::yield_now().await;
                disk.may_write.add_permits(1);
            }
        );
        put.and(settled).unwrap();
        assert_eq!(found(&disk).await, []);
        assert_eq!(spool.len(), 0);
    }

    #[tokio::test]
    async fn what_was_put_before_an_older_renewal_is_settled_stays_in_memory_and_on_disk() {
        let (disk, spool) = spool(1, 1).await;
        spool.put(Arc::new(renewal(7))).await.unwrap();
        let stored = spool.get(&key()).unwrap();
        let (put, settled, ()) = tokio::join!(
            biased;
            spool.put(Arc::new(renewal(8))),
            spool.settle(&stored),
            async {
                tokio::task::yield_now().await;
                disk.may_write.add_permits(1);
            }
        );
        put.and(settled).unwrap();
        assert_eq!(spool.get(&key()).unwrap().from, Generation::new(8));
        assert_eq!(found(&disk).await, [Generation::new(8)]);
    }

    #[test]
    fn a_file_of_a_version_that_knew_of_no_grants_goes_by_its_generation() {
        let now = renewal(7);
        let mut file = serde_json::to_value(&now).unwrap();
        let read = |file: &serde_json::Value| -> Spooled {
            serde_json::from_str(&file.to_string()).unwrap()
        };
        assert_eq!(read(&file).fence(), now.fence());
        assert_eq!(read(&file).renewed, now.renewed);
        file.as_object_mut().unwrap().remove("from_grant").unwrap();
        file["renewed"]
            .as_object_mut()
            .unwrap()
            .remove("grant")
            .unwrap();
        let older = read(&file);
        assert_eq!(older.fence().grant, None);
        assert_eq!(older.fence().generation, Generation::new(7));
        assert_eq!(older.renewed.grant, GrantId::UNNAMED);
    }
}
