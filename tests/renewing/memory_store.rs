//! A store in memory that keeps the contract, and breaks when a test says so.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use daypass::{
    base::{
        clock::{SharedClock, Timestamp},
        ids::{ConnectionId, ConnectionKey, Generation, OwnerId},
    },
    store::{
        Begun, Census, Changes, Committed, Connection, Cooldown, Cursor, Due, Error, Fence, Fenced,
        Filter, Intent, Lease, NewConnection, ReauthReason, Redemption, Renewed, Saved, Spent,
        Status, Store,
    },
};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What a test can break.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Faults {
    /// Every call fails.
    pub(crate) down: bool,
    /// The answer to a recorded intent takes this long.
    pub(crate) begin_takes: Duration,
    /// Reads fail.
    pub(crate) refuse_loads: bool,
    /// Commits fail.
    pub(crate) refuse_commits: bool,
    /// New grants are not taken.
    pub(crate) refuse_saves: bool,
    /// Nobody hears of changes.
    pub(crate) deaf: bool,
    /// `extend` is never done.
    pub(crate) forget_leases: bool,
}

#[derive(Debug)]
pub(crate) struct MemoryStore {
    clock: SharedClock,
    kept: usize,
    rows: Mutex<Rows>,
    rung: Notify,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) loads: std::sync::atomic::AtomicUsize,
}

/// Everything that a store holds at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    connections: BTreeMap<ConnectionKey, Row>,
    leases: BTreeMap<ConnectionKey, Held>,
    changes: Vec<ConnectionKey>,
    /// How many changes were forgotten.
    forgotten: usize,
}

/// A lease, taken at `since` for `ttl`.
#[derive(Clone, Copy, Debug)]
struct Held {
    owner: OwnerId,
    since: Timestamp,
    ttl: Duration,
}

#[derive(Clone, Debug)]
struct Row {
    connection: Connection,
    /// Attempts before the one that the connection shows.
    earlier: Vec<Intent>,
    fingerprint: Option<[u8; 32]>,
}

impl Held {
    /// What is left of it; nothing if it has ended. A clock that was set back prolongs nothing.
    fn left(&self, now: Timestamp) -> Duration {
        let end = self.since.saturating_add(self.ttl);
        end.saturating_since(now).min(self.ttl)
    }

    fn is_held_by(&self, owner: OwnerId, now: Timestamp) -> bool {
        self.owner == owner && !self.left(now).is_zero()
    }
}

impl Rows {
    fn tell(&mut self, key: &ConnectionKey, kept: usize) {
        self.changes.push(key.clone());
        let surplus = self.changes.len().saturating_sub(kept);
        self.changes.drain(..surplus);
        self.forgotten += surplus;
    }
}

impl MemoryStore {
    /// A store that forgets changes but for the last `kept`.
    pub(crate) fn remembering(clock: SharedClock, kept: usize) -> Arc<Self> {
        Arc::new(Self {
            clock,
            kept,
            rows: Mutex::default(),
            rung: Notify::new(),
            faults: Mutex::default(),
            loads: 0.into(),
        })
    }

    /// The connection as it is, whether the store answers or not.
    pub(crate) fn peek(&self, key: &ConnectionKey) -> Option<Connection> {
        let rows = self.rows.lock();
        rows.connections.get(key).map(|row| row.connection.clone())
    }

    /// What a replica has at this moment.
    pub(crate) fn snapshot(&self) -> Rows {
        self.rows.lock().clone()
    }

    /// A replica takes over, with what it had. Its changes cannot be told from those that were told
    /// before, so that everybody has missed some.
    pub(crate) fn fail_over(&self, replica: Rows) {
        let mut rows = self.rows.lock();
        let told = rows.forgotten + rows.changes.len();
        *rows = replica;
        rows.changes.clear();
        rows.forgotten = told + 1;
        drop(rows);
        self.rung.notify_waiters();
    }

    /// Ends whatever lease there is.
    pub(crate) fn drop_lease(&self, key: &ConnectionKey) {
        self.rows.lock().leases.remove(key);
    }

    /// Forgets that anything was begun.
    pub(crate) fn drop_intent(&self, key: &ConnectionKey) {
        if let Some(row) = self.rows.lock().connections.get_mut(key) {
            row.connection.intent = None;
            row.earlier.clear();
        }
    }

    fn up(&self) -> Result<(), Error> {
        if self.faults.lock().down {
            Err(unavailable("it is down"))
        } else {
            Ok(())
        }
    }

    /// Runs `change` on the fenced row; what it answers with `true` is told to everyone.
    fn fenced<T>(
        &self,
        fence: &Fence,
        change: impl FnOnce(&mut Row) -> (T, bool),
    ) -> Result<T, Option<Box<Connection>>> {
        let mut rows = self.rows.lock();
        let Some(row) = rows.connections.get_mut(&fence.key) else {
            return Err(None);
        };
        let connection = &row.connection;
        if connection.id != fence.id || connection.generation != fence.generation {
            return Err(Some(Box::new(connection.clone())));
        }
        let (changed, tell) = change(row);
        if tell {
            row.connection.updated_at = self.clock.now();
            rows.tell(&fence.key, self.kept);
        }
        drop(rows);
        self.rung.notify_waiters();
        Ok(changed)
    }
}

fn saved(rows: &mut Rows, new: NewConnection, kept: usize) -> Saved {
    let key = new.key.clone();
    let Some(row) = rows.connections.get_mut(&key) else {
        let generation = Generation::new(u64::from(new.tokens.is_some()));
        let (id, at, fingerprint) = (new.id, new.at, new.fingerprint);
        let connection = fresh(new, id, at, generation);
        let row = Row {
            connection: connection.clone(),
            earlier: Vec::new(),
            fingerprint,
        };
        rows.connections.insert(key.clone(), row);
        rows.tell(&key, kept);
        return Saved::Created(connection);
    };
    if new.fingerprint.is_some() && row.fingerprint == new.fingerprint {
        return Saved::Unchanged(row.connection.clone());
    }
    row.fingerprint = new.fingerprint;
    row.earlier.clear();
    let old = &row.connection;
    row.connection = fresh(new, old.id, old.created_at, old.generation.next());
    let connection = row.connection.clone();
    rows.tell(&key, kept);
    Saved::Replaced(connection)
}

fn fresh(
    new: NewConnection,
    id: ConnectionId,
    created_at: Timestamp,
    generation: Generation,
) -> Connection {
    Connection {
        key: new.key,
        id,
        status: Status::Active,
        generation,
        tokens: new.tokens,
        external_id: new.external_id,
        organization: new.organization,
        managed_user_id: new.managed_user_id,
        scope: new.scope,
        intent: None,
        cooldown: None,
        forced_at: None,
        created_at,
        updated_at: new.at,
    }
}

fn unavailable(what: &str) -> Error {
    Error::Unavailable {
        what: what.to_owned(),
        source: None,
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self, key: &ConnectionKey) -> Result<Option<Connection>, Error> {
        self.up()?;
        if self.faults.lock().refuse_loads {
            return Err(unavailable("it answers no questions"));
        }
        self.loads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(self
            .rows
            .lock()
            .connections
            .get(key)
            .map(|row| row.connection.clone()))
    }

    async fn page(
        &self,
        filter: &Filter,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Connection>, Error> {
        self.up()?;
        let rows = self.rows.lock();
        let wanted = |connection: &&Connection| {
            after.is_none_or(|after| connection.key > *after)
                && filter
                    .provider
                    .as_ref()
                    .is_none_or(|name| *name == connection.key.provider)
                && filter
                    .needs_reauth
                    .is_none_or(|marked| marked == (connection.status != Status::Active))
        };
        let all = rows.connections.values().map(|row| &row.connection);
        Ok(all.filter(wanted).take(limit).cloned().collect())
    }

    async fn save(&self, batch: Vec<NewConnection>) -> Result<Vec<Saved>, Error> {
        self.up()?;
        if self.faults.lock().refuse_saves {
            return Err(unavailable("it takes nothing new"));
        }
        let mut rows = self.rows.lock();
        let saved = batch
            .into_iter()
            .map(|new| saved(&mut rows, new, self.kept))
            .collect();
        drop(rows);
        self.rung.notify_waiters();
        Ok(saved)
    }

    async fn remove(&self, key: &ConnectionKey) -> Result<Option<Connection>, Error> {
        self.up()?;
        let mut rows = self.rows.lock();
        rows.leases.remove(key);
        let removed = rows.connections.remove(key).map(|row| row.connection);
        if removed.is_some() {
            rows.tell(key, self.kept);
        }
        drop(rows);
        self.rung.notify_waiters();
        Ok(removed)
    }

    async fn acquire(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        ttl: Duration,
    ) -> Result<Lease, Error> {
        self.up()?;
        let since = self.clock.now();
        let mut rows = self.rows.lock();
        let Some(connection) = rows.connections.get(key).map(|row| row.connection.clone()) else {
            return Ok(Lease::Gone);
        };
        if let Some(held) = rows.leases.get_mut(key)
            && held.owner != owner
            && !held.left(since).is_zero()
        {
            // Seen from a clock that was set back, it began just now, and runs out from here.
            held.since = held.since.min(since);
            return Ok(Lease::Held(held.left(since)));
        }
        rows.leases.insert(key.clone(), Held { owner, since, ttl });
        Ok(Lease::Granted(Box::new(connection)))
    }

    async fn extend(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        ttl: Duration,
    ) -> Result<bool, Error> {
        self.up()?;
        if self.faults.lock().forget_leases {
            return Ok(true);
        }
        let since = self.clock.now();
        match self.rows.lock().leases.get_mut(key) {
            Some(held) if held.is_held_by(owner, since) => {
                *held = Held { owner, since, ttl };
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn release(&self, key: &ConnectionKey, owner: OwnerId) -> Result<bool, Error> {
        self.up()?;
        let now = self.clock.now();
        let mut rows = self.rows.lock();
        let held = rows
            .leases
            .get(key)
            .is_some_and(|held| held.is_held_by(owner, now));
        if held {
            rows.leases.remove(key);
        }
        drop(rows);
        self.rung.notify_waiters();
        Ok(held)
    }

    async fn begin(
        &self,
        fence: &Fence,
        owner: OwnerId,
        redemption: Redemption,
        at: Timestamp,
    ) -> Result<Begun, Error> {
        self.up()?;
        let now = self.clock.now();
        let lease = self.rows.lock().leases.get(&fence.key).copied();
        if !lease.is_some_and(|held| held.is_held_by(owner, now)) {
            return Ok(Begun::Refused);
        }
        let begun = self.fenced(fence, |row| {
            let attempts = row
                .connection
                .intent
                .as_ref()
                .map_or(0, |intent| intent.attempts)
                + 1;
            let intent = Intent {
                owner,
                redemption,
                attempts,
                at,
            };
            row.earlier.extend(row.connection.intent.replace(intent));
            (Begun::Recorded { attempts }, false)
        });
        let answered = self.faults.lock().begin_takes;
        if !answered.is_zero() {
            tokio::time::sleep(answered).await;
        }
        Ok(begun.unwrap_or(Begun::Refused))
    }

    async fn commit(&self, fence: &Fence, renewed: Renewed) -> Result<Committed, Error> {
        self.up()?;
        if self.faults.lock().refuse_commits {
            return Err(unavailable("it takes no commits"));
        }
        let committed = self.fenced(fence, |row| {
            row.earlier.clear();
            let connection = &mut row.connection;
            if renewed.redemption == Redemption::Force {
                connection.forced_at = Some(renewed.tokens.renewed_at);
            }
            connection.generation = connection.generation.next();
            connection.tokens = Some(renewed.tokens);
            connection.status = Status::Active;
            connection.intent = None;
            connection.cooldown = None;
            connection.scope = renewed.scope.or_else(|| connection.scope.take());
            connection.external_id = renewed
                .external_id
                .or_else(|| connection.external_id.take());
            connection.organization = renewed
                .organization
                .or_else(|| connection.organization.take());
            connection.updated_at = self.clock.now();
            (connection.clone(), true)
        });
        Ok(match committed {
            Ok(connection) => Committed::Stored(Box::new(connection)),
            Err(Some(newer)) => Committed::Superseded(newer),
            Err(None) => Committed::Gone,
        })
    }

    async fn fail(&self, fence: &Fence, cooldown: Cooldown, spent: Spent) -> Result<Fenced, Error> {
        self.up()?;
        let failed = self.fenced(fence, |row| {
            row.connection.cooldown = Some(cooldown);
            if spent == Spent::No {
                row.connection.intent = row.earlier.pop();
            }
            ((), true)
        });
        Ok(if failed.is_ok() {
            Fenced::Written
        } else {
            Fenced::Refused
        })
    }

    async fn mark_needs_reauth(
        &self,
        fence: &Fence,
        reason: ReauthReason,
        since: Timestamp,
    ) -> Result<Fenced, Error> {
        self.up()?;
        let marked = self.fenced(fence, |row| match row.connection.status {
            Status::Active => {
                row.connection.status = Status::NeedsReauth { reason, since };
                (Fenced::Written, true)
            }
            Status::NeedsReauth { .. } => (Fenced::Unchanged, false),
        });
        Ok(marked.unwrap_or(Fenced::Refused))
    }

    async fn due(&self, due: &Due) -> Result<Vec<ConnectionKey>, Error> {
        self.up()?;
        let rows = self.rows.lock();
        let is_due = |connection: &&Connection| {
            connection.key.provider == due.provider
                && connection.status == Status::Active
                && connection
                    .cooldown
                    .is_none_or(|cooldown| cooldown.until <= due.now)
                && connection.tokens.as_ref().is_some_and(|tokens| {
                    tokens.refresh.is_some()
                        && (tokens.renewed_at < due.renewed_before
                            || tokens
                                .refresh_expires_at
                                .is_some_and(|end| end < due.refresh_ends_before))
                })
        };
        let mut found: Vec<_> = rows
            .connections
            .values()
            .map(|row| &row.connection)
            .filter(is_due)
            .collect();
        found.sort_by_key(|connection| connection.tokens.as_ref().map(|tokens| tokens.renewed_at));
        Ok(found
            .into_iter()
            .take(due.limit)
            .map(|connection| connection.key.clone())
            .collect())
    }

    async fn changes(&self, cursor: Option<Cursor>, wait: Duration) -> Result<Changes, Error> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            self.up()?;
            let rung = self.rung.notified();
            let deaf = self.faults.lock().deaf;
            {
                let rows = self.rows.lock();
                let end = Cursor((rows.forgotten + rows.changes.len()) as u64);
                let Some(Cursor(from)) = cursor else {
                    return Ok(Changes {
                        cursor: end,
                        keys: Some(Vec::new()),
                    });
                };
                let from = usize::try_from(from).unwrap();
                let known = from
                    .checked_sub(rows.forgotten)
                    .and_then(|from| rows.changes.get(from..));
                let Some(known) = known else {
                    return Ok(Changes {
                        cursor: end,
                        keys: None,
                    });
                };
                let mut news = Vec::new();
                for key in known {
                    if !news.contains(key) {
                        news.push(key.clone());
                    }
                }
                if !news.is_empty() && !deaf {
                    return Ok(Changes {
                        cursor: end,
                        keys: Some(news),
                    });
                }
            }
            if tokio::time::timeout_at(deadline, rung).await.is_err() {
                let cursor = cursor.unwrap();
                return Ok(Changes {
                    cursor,
                    keys: Some(Vec::new()),
                });
            }
        }
    }

    async fn census(&self) -> Result<Vec<Census>, Error> {
        self.up()?;
        let mut counts = BTreeMap::<_, u64>::new();
        for row in self.rows.lock().connections.values() {
            let marked = row.connection.status != Status::Active;
            *counts
                .entry((row.connection.key.provider.clone(), marked))
                .or_default() += 1;
        }
        let line = |((provider, needs_reauth), count)| Census {
            provider,
            needs_reauth,
            count,
        };
        Ok(counts.into_iter().map(line).collect())
    }

    async fn check(&self) -> Result<(), Error> {
        self.up()
    }
}
