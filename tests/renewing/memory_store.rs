//! A store in memory that keeps the contract, and breaks when a test says so.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use daypass::{
    base::{
        clock::{SharedClock, Timestamp},
        ids::{ConnectionId, ConnectionKey, Generation, OwnerId},
    },
    store::{
        Archive, Attempt, Begun, Census, Changes, Committed, Connection, Cooldown, Cursor, Due,
        Duty, Error, Fence, Fenced, Filter, Found, Intent, Lease, NewConnection, ReauthReason,
        Record, Redemption, Renewed, Restored, Saved, Spent, Status, Store, Turn,
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
    /// The answer to asking for a lease takes this long.
    pub(crate) acquire_takes: Duration,
    /// The answer to a question takes this long.
    pub(crate) load_takes: Duration,
    /// The answer to a commit takes this long.
    pub(crate) commit_takes: Duration,
    /// Commits get lost on the way, and are never answered.
    pub(crate) commit_never_arrives: bool,
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
    /// How often a sweep has asked what is due.
    pub(crate) sweeps: std::sync::atomic::AtomicUsize,
    /// How often somebody has asked for a duty.
    pub(crate) duties_asked: std::sync::atomic::AtomicUsize,
    checks: std::sync::atomic::AtomicU64,
}

/// Everything that a store holds at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    connections: BTreeMap<ConnectionKey, Row>,
    leases: BTreeMap<ConnectionKey, Held>,
    duties: BTreeMap<Duty, Held>,
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
            sweeps: 0.into(),
            duties_asked: 0.into(),
            checks: 0.into(),
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

    fn lease(&self, key: &ConnectionKey, owner: OwnerId, ttl: Duration) -> Lease {
        let since = self.clock.now();
        let mut rows = self.rows.lock();
        let Some(connection) = rows.connections.get(key).map(|row| row.connection.clone()) else {
            return Lease::Gone;
        };
        if let Some(held) = rows.leases.get_mut(key)
            && held.owner != owner
            && !held.left(since).is_zero()
        {
            // Seen from a clock that was set back, it began just now, and runs out from here.
            held.since = held.since.min(since);
            return Lease::Held(held.left(since));
        }
        rows.leases.insert(key.clone(), Held { owner, since, ttl });
        Lease::Granted(Box::new(connection))
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
        if !fence.admits(&row.connection) {
            return Err(Some(Box::new(row.connection.clone())));
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
        grant: new.grant,
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

/// Holds an answer back.
async fn late(takes: Duration) {
    if !takes.is_zero() {
        tokio::time::sleep(takes).await;
    }
}

/// By how much `connection` is due; `None` if it is not.
fn lateness(connection: &Connection, due: &Due) -> Option<Duration> {
    let tokens = connection.tokens.as_ref()?;
    let rests =
        |cooldown: Cooldown| cooldown.until > due.now && cooldown.until <= due.longest_cooldown;
    if connection.key.provider != due.provider
        || connection.status != Status::Active
        || connection.cooldown.is_some_and(rests)
        || tokens.refresh.is_none()
    {
        return None;
    }
    let by_age = due.renewed_before.saturating_since(tokens.renewed_at);
    let by_end = tokens.refresh_expires_at.map_or(Duration::ZERO, |end| {
        due.refresh_ends_before.saturating_since(end)
    });
    let late = by_age.max(by_end);
    (!late.is_zero()).then_some(late)
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
        let read = self.peek(key);
        let takes = self.faults.lock().load_takes;
        late(takes).await;
        Ok(read)
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
        let lease = self.lease(key, owner, ttl);
        let takes = self.faults.lock().acquire_takes;
        late(takes).await;
        Ok(lease)
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
        let takes = self.faults.lock().begin_takes;
        late(takes).await;
        Ok(begun.unwrap_or(Begun::Refused))
    }

    async fn commit(&self, fence: &Fence, renewed: Renewed) -> Result<Committed, Error> {
        self.up()?;
        if self.faults.lock().refuse_commits {
            return Err(unavailable("it takes no commits"));
        }
        if self.faults.lock().commit_never_arrives {
            std::future::pending::<()>().await;
        }
        let committed = self.fenced(fence, |row| {
            row.earlier.clear();
            let connection = &mut row.connection;
            if renewed.redemption == Redemption::Force {
                connection.forced_at = Some(renewed.tokens.renewed_at);
            }
            connection.generation = connection.generation.next();
            connection.grant = renewed.grant;
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
        let takes = self.faults.lock().commit_takes;
        late(takes).await;
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

    async fn take_duty(&self, duty: &Duty, owner: OwnerId, ttl: Duration) -> Result<Turn, Error> {
        self.duties_asked
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.up()?;
        let since = self.clock.now();
        let mut rows = self.rows.lock();
        if let Some(held) = rows.duties.get_mut(duty)
            && held.owner != owner
            && !held.left(since).is_zero()
        {
            held.since = held.since.min(since);
            return Ok(Turn::Anothers(held.left(since)));
        }
        rows.duties.insert(duty.clone(), Held { owner, since, ttl });
        Ok(Turn::Mine)
    }

    async fn leave_duty(&self, duty: &Duty, owner: OwnerId) -> Result<bool, Error> {
        self.up()?;
        let now = self.clock.now();
        let mut rows = self.rows.lock();
        let held = rows.duties.get(duty);
        let has = held.is_some_and(|held| held.is_held_by(owner, now));
        if has {
            rows.duties.remove(duty);
        }
        Ok(has)
    }

    async fn due(&self, due: &Due) -> Result<Vec<ConnectionKey>, Error> {
        self.up()?;
        let rows = self.rows.lock();
        self.sweeps
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut found: Vec<_> = rows
            .connections
            .values()
            .filter_map(|row| {
                let late = lateness(&row.connection, due)?;
                Some((std::cmp::Reverse(late), &row.connection.key))
            })
            .collect();
        found.sort();
        let first = found.into_iter().take(due.limit);
        Ok(first.map(|(_, key)| key.clone()).collect())
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
        self.checks
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.up()
    }

    async fn ping(&self) -> Result<(), Error> {
        self.up()
    }
}

impl Rows {
    fn found(&self, row: &Row, now: Timestamp) -> Found {
        let before = row.earlier.last().map(|earlier| Attempt {
            owner: earlier.owner,
            redemption: earlier.redemption,
            at: earlier.at,
        });
        let lease = self.leases.get(&row.connection.key);
        Found::Whole {
            record: Box::new(Record {
                connection: row.connection.clone(),
                before,
                fingerprint: row.fingerprint,
            }),
            leased: lease.is_some_and(|held| !held.left(now).is_zero()),
        }
    }

    fn restore(&mut self, record: &Record, kept: usize) -> Restored {
        let Record {
            connection,
            before,
            fingerprint,
        } = record.clone();
        let key = connection.key.clone();
        if let Some(row) = self.connections.get(&key) {
            let stands = &row.connection;
            if stands.id != connection.id {
                return Restored::Other;
            }
            if !record.is_at_least(stands.id, stands.generation, stands.updated_at) {
                return Restored::Newer;
            }
        }
        let attempts = connection
            .intent
            .as_ref()
            .map_or(0, |intent| intent.attempts);
        let earlier = before.map(|before| Intent {
            owner: before.owner,
            redemption: before.redemption,
            attempts: attempts.saturating_sub(1),
            at: before.at,
        });
        let row = Row {
            connection,
            earlier: earlier.into_iter().collect(),
            fingerprint,
        };
        self.connections.insert(key.clone(), row);
        self.tell(&key, kept);
        Restored::Written
    }
}

#[async_trait]
impl Archive for MemoryStore {
    async fn records(
        &self,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Found>, Error> {
        self.up()?;
        let rows = self.rows.lock();
        let wanted = rows.connections.values();
        let wanted = wanted.filter(|row| after.is_none_or(|after| row.connection.key > *after));
        let now = self.clock.now();
        Ok(wanted.take(limit).map(|row| rows.found(row, now)).collect())
    }

    async fn record(&self, key: &ConnectionKey) -> Result<Option<Found>, Error> {
        self.up()?;
        let rows = self.rows.lock();
        let row = rows.connections.get(key);
        Ok(row.map(|row| rows.found(row, self.clock.now())))
    }

    async fn restore(&self, batch: Vec<Record>) -> Result<Vec<Restored>, Error> {
        self.up()?;
        let mut rows = self.rows.lock();
        let one = |record| rows.restore(record, self.kept);
        let done = batch.iter().map(one).collect();
        drop(rows);
        self.rung.notify_waiters();
        Ok(done)
    }

    async fn pulse(&self) -> Result<u64, Error> {
        self.up()?;
        Ok(self.checks.load(std::sync::atomic::Ordering::SeqCst))
    }
}
