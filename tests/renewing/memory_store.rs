//! A store in memory that keeps the contract, and breaks when a test says so.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use daypass::{
    base::{
        clock::{SharedClock, Timestamp},
        ids::{ConnectionKey, OwnerId},
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
    /// Commits fail.
    pub(crate) refuse_commits: bool,
    /// Nobody hears of changes.
    pub(crate) deaf: bool,
    /// `extend` is never done.
    pub(crate) forget_leases: bool,
}

#[derive(Debug)]
pub(crate) struct MemoryStore {
    clock: SharedClock,
    rows: Mutex<Rows>,
    rung: Notify,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) loads: std::sync::atomic::AtomicUsize,
}

#[derive(Debug, Default)]
struct Rows {
    connections: BTreeMap<ConnectionKey, Row>,
    leases: BTreeMap<ConnectionKey, (OwnerId, Timestamp)>,
    changes: Vec<ConnectionKey>,
}

#[derive(Debug)]
struct Row {
    connection: Connection,
    fingerprint: Option<[u8; 32]>,
}

impl MemoryStore {
    pub(crate) fn new(clock: SharedClock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            rows: Mutex::default(),
            rung: Notify::new(),
            faults: Mutex::default(),
            loads: 0.into(),
        })
    }

    fn up(&self) -> Result<(), Error> {
        if self.faults.lock().down {
            Err(unavailable("it is down"))
        } else {
            Ok(())
        }
    }

    /// Runs `change` on the fenced row.
    fn fenced<T>(
        &self,
        fence: &Fence,
        change: impl FnOnce(&mut Connection) -> T,
    ) -> Result<T, Option<Box<Connection>>> {
        let mut rows = self.rows.lock();
        let Some(row) = rows.connections.get_mut(&fence.key) else {
            return Err(None);
        };
        if row.connection.id != fence.id {
            return Err(None);
        }
        if row.connection.generation != fence.generation {
            return Err(Some(Box::new(row.connection.clone())));
        }
        let changed = change(&mut row.connection);
        row.connection.updated_at = self.clock.now();
        rows.changes.push(fence.key.clone());
        drop(rows);
        self.rung.notify_waiters();
        Ok(changed)
    }
}

fn saved(rows: &mut Rows, new: NewConnection) -> Saved {
    rows.changes.push(new.key.clone());
    let found = rows.connections.get_mut(&new.key);
    if let Some(row) = found {
        if new.fingerprint.is_some() && row.fingerprint == new.fingerprint {
            return Saved::Unchanged(row.connection.clone());
        }
        row.fingerprint = new.fingerprint;
        let connection = &mut row.connection;
        *connection = fresh(
            new,
            connection.id,
            connection.created_at,
            connection.generation.next(),
        );
        return Saved::Replaced(connection.clone());
    }
    let generation = daypass::base::ids::Generation::new(u64::from(new.tokens.is_some()));
    let (id, at, fingerprint) = (new.id, new.at, new.fingerprint);
    let connection = fresh(new, id, at, generation);
    let row = Row {
        connection: connection.clone(),
        fingerprint,
    };
    rows.connections.insert(connection.key.clone(), row);
    Saved::Created(connection)
}

fn fresh(
    new: NewConnection,
    id: daypass::base::ids::ConnectionId,
    created_at: Timestamp,
    generation: daypass::base::ids::Generation,
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
        let mut rows = self.rows.lock();
        let saved = batch.into_iter().map(|new| saved(&mut rows, new)).collect();
        drop(rows);
        self.rung.notify_waiters();
        Ok(saved)
    }

    async fn remove(&self, key: &ConnectionKey) -> Result<Option<Connection>, Error> {
        self.up()?;
        let mut rows = self.rows.lock();
        rows.leases.remove(key);
        rows.changes.push(key.clone());
        let removed = rows.connections.remove(key).map(|row| row.connection);
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
        let now = self.clock.now();
        let mut rows = self.rows.lock();
        let Some(connection) = rows.connections.get(key).map(|row| row.connection.clone()) else {
            return Ok(Lease::Gone);
        };
        if let Some((holder, until)) = rows.leases.get(key)
            && *holder != owner
            && *until > now
        {
            return Ok(Lease::Held(until.saturating_since(now)));
        }
        rows.leases
            .insert(key.clone(), (owner, now.saturating_add(ttl)));
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
        let until = self.clock.now().saturating_add(ttl);
        match self.rows.lock().leases.get_mut(key) {
            Some((holder, end)) if *holder == owner => {
                *end = until;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn release(&self, key: &ConnectionKey, owner: OwnerId) -> Result<bool, Error> {
        self.up()?;
        let mut rows = self.rows.lock();
        let held = rows
            .leases
            .get(key)
            .is_some_and(|(holder, _)| *holder == owner);
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
        if !lease.is_some_and(|(holder, until)| holder == owner && until > now) {
            return Ok(Begun::Refused);
        }
        let begun = self.fenced(fence, |connection| {
            let attempts = connection
                .intent
                .as_ref()
                .map_or(0, |intent| intent.attempts)
                + 1;
            connection.intent = Some(Intent {
                owner,
                redemption,
                attempts,
                at,
            });
            Begun::Recorded { attempts }
        });
        Ok(begun.unwrap_or(Begun::Refused))
    }

    async fn commit(&self, fence: &Fence, renewed: Renewed) -> Result<Committed, Error> {
        self.up()?;
        if self.faults.lock().refuse_commits {
            return Err(unavailable("it takes no commits"));
        }
        let committed = self.fenced(fence, |connection| {
            connection.generation = connection.generation.next();
            connection.tokens = Some(renewed.tokens);
            connection.status = Status::Active;
            connection.intent = None;
            connection.cooldown = None;
            if renewed.redemption == Redemption::Force {
                connection.forced_at = Some(self.clock.now());
            }
            connection.scope = renewed.scope.or_else(|| connection.scope.take());
            connection.external_id = renewed
                .external_id
                .or_else(|| connection.external_id.take());
            connection.organization = renewed
                .organization
                .or_else(|| connection.organization.take());
            connection.clone()
        });
        Ok(match committed {
            Ok(connection) => Committed::Stored(Box::new(connection)),
            Err(Some(newer)) => Committed::Superseded(newer),
            Err(None) => Committed::Gone,
        })
    }

    async fn fail(&self, fence: &Fence, cooldown: Cooldown, spent: Spent) -> Result<Fenced, Error> {
        self.up()?;
        let failed = self.fenced(fence, |connection| {
            connection.cooldown = Some(cooldown);
            if spent == Spent::No
                && let Some(intent) = &mut connection.intent
            {
                intent.attempts -= 1;
                if intent.attempts == 0 {
                    connection.intent = None;
                }
            }
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
        let marked = self.fenced(fence, |connection| match connection.status {
            Status::Active => {
                connection.status = Status::NeedsReauth { reason, since };
                Fenced::Written
            }
            Status::NeedsReauth { .. } => Fenced::Unchanged,
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
                let end = Cursor(rows.changes.len() as u64);
                let Some(Cursor(from)) = cursor else {
                    return Ok(Changes {
                        cursor: end,
                        keys: Some(Vec::new()),
                    });
                };
                let news = rows.changes[usize::try_from(from).unwrap()..].to_vec();
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
