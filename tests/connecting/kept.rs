//! Records that end by themselves and the way from accounts to connections, in memory.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use daypass::{
    base::{
        clock::{Clock as _, ManualClock, Timestamp},
        ids::{ConnectionId, ConnectionKey, ProviderName},
    },
    store::{
        Accounts, Connection, Digest, Error, Expiring, Fenced, Filter, Purpose, Store as _,
        seal::Sealed,
    },
};
use parking_lot::Mutex;

use crate::memory_store::MemoryStore;

type Rows = BTreeMap<(Purpose, Digest), (Sealed, Option<Timestamp>)>;

/// Keeps what [`MemoryStore`] does not; fails when that is down.
pub(crate) struct Kept {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: ManualClock,
    rows: Mutex<Rows>,
}

impl Kept {
    pub(crate) fn new(store: Arc<MemoryStore>, clock: ManualClock) -> Arc<Self> {
        Arc::new(Self {
            store,
            clock,
            rows: Mutex::default(),
        })
    }

    /// How many records of `purpose` there are.
    pub(crate) fn count(&self, purpose: Purpose) -> usize {
        let rows = self.rows.lock();
        rows.keys().filter(|(of, _)| *of == purpose).count()
    }

    /// Everything that somebody who reads the store would see.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let rows = self.rows.lock();
        let all = rows.iter().flat_map(|((_, digest), (sealed, _))| {
            [digest.0.as_slice(), sealed.as_bytes()].concat()
        });
        all.collect()
    }

    fn up(&self) -> Result<(), Error> {
        if self.store.faults.lock().down {
            return Err(Error::Unavailable {
                what: "it is down".to_owned(),
                source: None,
            });
        }
        Ok(())
    }

    fn is_there(&self, row: &(Sealed, Option<Timestamp>)) -> bool {
        row.1.is_none_or(|end| self.clock.now() < end)
    }
}

#[async_trait]
impl Expiring for Kept {
    async fn put(
        &self,
        purpose: Purpose,
        digest: &Digest,
        record: Sealed,
        ttl: Option<Duration>,
    ) -> Result<(), Error> {
        self.up()?;
        let end = ttl.map(|ttl| self.clock.now().saturating_add(ttl));
        self.rows.lock().insert((purpose, *digest), (record, end));
        Ok(())
    }

    async fn peek(&self, purpose: Purpose, digest: &Digest) -> Result<Option<Sealed>, Error> {
        self.up()?;
        let rows = self.rows.lock();
        let row = rows.get(&(purpose, *digest));
        Ok(row
            .filter(|row| self.is_there(row))
            .map(|row| row.0.clone()))
    }

    async fn take(&self, purpose: Purpose, digest: &Digest) -> Result<Option<Sealed>, Error> {
        self.up()?;
        let row = self.rows.lock().remove(&(purpose, *digest));
        Ok(row.filter(|row| self.is_there(row)).map(|row| row.0))
    }

    async fn sweep(&self, _: usize) -> Result<u64, Error> {
        Ok(0)
    }
}

#[async_trait]
impl Accounts for Kept {
    async fn of_account(
        &self,
        provider: &ProviderName,
        account: &str,
    ) -> Result<Vec<Connection>, Error> {
        let filter = Filter {
            provider: Some(provider.clone()),
            ..Filter::default()
        };
        let mut all = self.store.page(&filter, None, usize::MAX).await?;
        all.retain(|connection| {
            let managed = connection.managed_user_id.map(|id| id.to_string());
            [connection.external_id.as_deref(), managed.as_deref()].contains(&Some(account))
        });
        Ok(all)
    }

    async fn unidentified(
        &self,
        _: &ProviderName,
        _: Option<&ConnectionKey>,
        _: usize,
    ) -> Result<Vec<Connection>, Error> {
        unreachable!("nobody asks in these tests")
    }

    async fn identify(
        &self,
        _: &ConnectionKey,
        _: ConnectionId,
        _: &str,
        _: Option<&str>,
    ) -> Result<Fenced, Error> {
        unreachable!("nobody asks in these tests")
    }
}
