//! SQLite: the store in a file, for one machine. The default.
//!
//! One thread writes ([`writer`]), two read ([`reader`]): one for what requests wait for, one for
//! lists. Several processes may share the file; what they agree on (leases, fences, the log of
//! changes) is in it, and the clock they go by is the machine's.
//!
//! Writes are durable when they return. A call that is cancelled may still be carried out.

use std::{
    fmt, mem,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use rusqlite::Connection as Db;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, timeout},
};

use self::{desk::Desk, failure::Failure};
use super::{
    Attempt, Begun, Census, Changes, Committed, Connection, Cooldown, Cursor, Due, Duty, Error,
    Fence, Fenced, Filter, Lease, NewConnection, ReauthReason, Redemption, Renewed, Saved, Spent,
    Store, Turn,
};
use crate::base::{
    clock::{SharedClock, Timestamp},
    ids::{ConnectionKey, OwnerId},
    lifecycle::Lifecycle,
};

mod accounts;
mod archive;
mod audit;
mod deliveries;
mod desk;
mod due;
mod duties;
mod expiring;
mod failure;
mod file;
mod grants;
mod jobs;
mod leases;
mod listing;
mod meetings;
mod reader;
mod rows;
mod schema;
mod seals;
mod survey;
mod writer;

/// An open store. Dropping it waits for what is queued and closes the file.
pub struct Sqlite {
    path: Arc<Path>,
    options: Options,
    clock: SharedClock,
    threads: Threads,
    changed: Arc<Notify>,
}

/// How to treat the file; the defaults suit a sidecar.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How long to wait while another process writes, before [`Error::Unavailable`]. Default 5 s:
    /// much longer than any write of daypass, shorter than most callers' patience.
    pub busy_timeout: Duration,
    /// How often to look for changes by other processes. Default 200 ms.
    pub poll_every: Duration,
    /// How many changes are remembered, at least, for those who ask what they missed. Default
    /// 16,384.
    pub keep_changes: u32,
    /// The largest size of the file, in pages of 4 KiB; default none.
    pub max_pages: Option<u32>,
    /// Whether to refuse, with [`Error::NotReady`], what would have to be made or changed first.
    /// Default no.
    pub existing_only: bool,
}

/// The queues of the threads, and the threads themselves.
struct Threads {
    writes: mpsc::Sender<writer::Queued>,
    /// Single rows, for requests that wait.
    reads: mpsc::Sender<reader::Question>,
    /// Many rows: a long list must not hold up the others.
    lists: mpsc::Sender<reader::Question>,
    readers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

// === impl Sqlite ===

impl Sqlite {
    /// Opens the file, or creates it, readable and writable for this user only. Blocks for some
    /// milliseconds.
    pub fn open(path: impl Into<PathBuf>, clock: SharedClock) -> Result<Self, Error> {
        Self::open_with(path, clock, Options::default())
    }

    /// As [`Self::open`], treating the file as `options` say.
    pub fn open_with(
        path: impl Into<PathBuf>,
        clock: SharedClock,
        options: Options,
    ) -> Result<Self, Error> {
        let path: Arc<Path> = path.into().into();
        let db = file::open_writer(&path, &options)?;
        let changed = Arc::new(Notify::new());
        let desk = Desk::new(Arc::clone(&clock), options.keep_changes);
        let threads = Threads::start(db, desk, &path, &options, &changed)?;
        Ok(Self {
            path,
            options,
            clock,
            threads,
            changed,
        })
    }

    async fn write<A, T>(&self, act: A) -> Result<T, Error>
    where
        A: FnOnce(&Db, &Desk) -> Result<T, Failure> + Send + 'static,
        T: Send + 'static,
    {
        let (operation, answered) = writer::asked(act);
        self.ask(&self.threads.writes, operation, answered).await
    }

    async fn read<A, T>(&self, ask: A) -> Result<T, Error>
    where
        A: FnOnce(&Db) -> Result<T, Failure> + Send + 'static,
        T: Send + 'static,
    {
        let (question, answered) = reader::question(ask);
        self.ask(&self.threads.reads, question, answered).await
    }

    async fn list<A, T>(&self, ask: A) -> Result<T, Error>
    where
        A: FnOnce(&Db) -> Result<T, Failure> + Send + 'static,
        T: Send + 'static,
    {
        let (question, answered) = reader::question(ask);
        self.ask(&self.threads.lists, question, answered).await
    }

    async fn ask<Q, T>(
        &self,
        queue: &mpsc::Sender<Q>,
        item: Q,
        answered: oneshot::Receiver<Result<T, Failure>>,
    ) -> Result<T, Error> {
        let answer = match queue.send(item).await {
            Ok(()) => answered.await.unwrap_or(Err(Failure::Ended)),
            Err(_closed) => Err(Failure::Ended),
        };
        answer.map_err(|failure| failure.into_error(&self.path))
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn load(&self, key: &ConnectionKey) -> Result<Option<Connection>, Error> {
        let key = key.clone();
        let found = self.read(move |db| rows::find(db, &key)).await?;
        Ok(found.map(|stored| stored.connection))
    }

    async fn page(
        &self,
        filter: &Filter,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Connection>, Error> {
        let (filter, after) = (filter.clone(), after.cloned());
        self.list(move |db| listing::page(db, &filter, after.as_ref(), limit))
            .await
    }

    async fn save(&self, batch: Vec<NewConnection>) -> Result<Vec<Saved>, Error> {
        self.write(move |db, desk| grants::save(db, desk, batch))
            .await
    }

    async fn remove(&self, key: &ConnectionKey) -> Result<Option<Connection>, Error> {
        let key = key.clone();
        self.write(move |db, desk| grants::remove(db, desk, &key))
            .await
    }

    async fn acquire(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        ttl: Duration,
    ) -> Result<Lease, Error> {
        let key = key.clone();
        self.write(move |db, desk| leases::acquire(db, desk, &key, owner, ttl))
            .await
    }

    async fn extend(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        ttl: Duration,
    ) -> Result<bool, Error> {
        let key = key.clone();
        self.write(move |db, desk| leases::extend(db, desk, &key, owner, ttl))
            .await
    }

    async fn release(&self, key: &ConnectionKey, owner: OwnerId) -> Result<bool, Error> {
        let key = key.clone();
        self.write(move |db, desk| leases::release(db, desk, &key, owner))
            .await
    }

    async fn begin(
        &self,
        fence: &Fence,
        owner: OwnerId,
        redemption: Redemption,
        at: Timestamp,
    ) -> Result<Begun, Error> {
        let fence = fence.clone();
        let attempt = Attempt {
            owner,
            redemption,
            at,
        };
        self.write(move |db, desk| grants::begin(db, desk, &fence, attempt))
            .await
    }

    async fn commit(&self, fence: &Fence, renewed: Renewed) -> Result<Committed, Error> {
        let fence = fence.clone();
        self.write(move |db, desk| grants::commit(db, desk, &fence, renewed))
            .await
    }

    async fn fail(&self, fence: &Fence, cooldown: Cooldown, spent: Spent) -> Result<Fenced, Error> {
        let fence = fence.clone();
        self.write(move |db, desk| grants::fail(db, desk, &fence, cooldown, spent))
            .await
    }

    async fn mark_needs_reauth(
        &self,
        fence: &Fence,
        reason: ReauthReason,
        since: Timestamp,
    ) -> Result<Fenced, Error> {
        let fence = fence.clone();
        self.write(move |db, desk| grants::mark_needs_reauth(db, desk, &fence, reason, since))
            .await
    }

    async fn take_duty(&self, duty: &Duty, owner: OwnerId, ttl: Duration) -> Result<Turn, Error> {
        let duty = duty.clone();
        self.write(move |db, desk| duties::take(db, desk, &duty, owner, ttl))
            .await
    }

    async fn leave_duty(&self, duty: &Duty, owner: OwnerId) -> Result<bool, Error> {
        let duty = duty.clone();
        self.write(move |db, desk| duties::leave(db, desk, &duty, owner))
            .await
    }

    async fn due(&self, due: &Due) -> Result<Vec<ConnectionKey>, Error> {
        let due = due.clone();
        self.list(move |db| listing::due(db, &due)).await
    }

    async fn changes(&self, cursor: Option<Cursor>, wait: Duration) -> Result<Changes, Error> {
        let begun = Instant::now();
        loop {
            // Armed before looking, so that a write between the look and the wait is not missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let found = self.read(move |db| desk::changes_after(db, cursor)).await?;
            let left = wait.saturating_sub(Instant::now().saturating_duration_since(begun));
            let nothing = found.keys.as_ref().is_some_and(Vec::is_empty);
            if cursor.is_none() || !nothing || left.is_zero() {
                return Ok(found);
            }
            // Other processes cannot notify this one: look again after a while.
            let _elapsed = timeout(left.min(self.options.poll_every), changed).await;
        }
    }

    async fn census(&self) -> Result<Vec<Census>, Error> {
        self.list(listing::census).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.write(|db, _desk| {
            // Committed, since only that needs the disk; and another value each time, since SQLite
            // does not write what is there already.
            db.prepare_cached("UPDATE probe SET count = count + 1")?
                .execute([])?;
            Ok(())
        })
        .await
    }

    /// Writes: the file is this machine's own, and a lock or a full disk shows in no other way.
    async fn ping(&self) -> Result<(), Error> {
        self.check().await
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite")
            .field("path", &self.path)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            poll_every: Duration::from_millis(200),
            keep_changes: 16_384,
            max_pages: None,
            existing_only: false,
        }
    }
}

// === impl Threads ===

impl Threads {
    fn start(
        db: Db,
        desk: Desk,
        path: &Arc<Path>,
        options: &Options,
        changed: &Arc<Notify>,
    ) -> Result<Self, Error> {
        let (reads, read_thread) = start_reader("sqlite-read", path, options)?;
        let (lists, list_thread) = start_reader("sqlite-list", path, options)?;
        let (writes, queue) = mpsc::channel(writer::QUEUE);
        let changed = Arc::clone(changed);
        let write_thread = Lifecycle::spawn_thread("sqlite-write", move || {
            writer::write_all(db, &desk, queue, &changed);
        })
        .map_err(no_thread)?;
        Ok(Self {
            writes,
            reads,
            lists,
            readers: vec![read_thread, list_thread],
            writer: Some(write_thread),
        })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Closing a queue ends its thread. All are waited for, so that the file is free when the
        // drop returns; the writer goes last, since only a last connection that has written folds
        // the log back into the file. A thread that panicked has nothing left to wait for.
        self.reads = mpsc::channel(1).0;
        self.lists = mpsc::channel(1).0;
        for reader in mem::take(&mut self.readers) {
            let _panicked = reader.join();
        }
        self.writes = mpsc::channel(1).0;
        if let Some(writer) = self.writer.take() {
            let _panicked = writer.join();
        }
    }
}

fn start_reader(
    name: &str,
    path: &Arc<Path>,
    options: &Options,
) -> Result<(mpsc::Sender<reader::Question>, JoinHandle<()>), Error> {
    let (questions, queue) = mpsc::channel(reader::QUEUE);
    let (path, options) = (Arc::clone(path), options.clone());
    let thread = Lifecycle::spawn_thread(name, move || {
        reader::answer_all(&path, &options, queue);
    })
    .map_err(no_thread)?;
    Ok((questions, thread))
}

fn no_thread(error: std::io::Error) -> Error {
    Error::Unavailable {
        what: "no thread could be started; raise the limit of processes".to_owned(),
        source: Some(Box::new(error)),
    }
}

#[cfg(test)]
mod tests;
