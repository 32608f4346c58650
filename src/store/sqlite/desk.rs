//! What every operation on the file has at hand, and the log of changes that writes leave.

use std::cell::Cell;

use rusqlite::{Connection as Db, params};

use super::failure::Failure;
use crate::{
    base::{
        clock::{SharedClock, Timestamp},
        ids::ConnectionKey,
    },
    store::{Changes, Cursor},
};

/// What the thread that writes knows.
#[derive(Debug)]
pub(super) struct Desk {
    clock: SharedClock,
    /// How many entries of the log of changes are kept, at least.
    keep_changes: u32,
    /// Whether anything was noted since somebody last asked.
    noted: Cell<bool>,
}

// === impl Desk ===

impl Desk {
    pub(super) const fn new(clock: SharedClock, keep_changes: u32) -> Self {
        Self {
            clock,
            keep_changes,
            noted: Cell::new(false),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Notes, in the transaction of the change itself, that `key` changed.
    pub(super) fn note(&self, db: &Db, key: &ConnectionKey) -> Result<(), Failure> {
        db.prepare_cached("INSERT INTO changes (provider, user) VALUES (?1, ?2)")?
            .execute([key.provider.as_str(), key.user.as_str()])?;
        self.noted.set(true);
        let seq = db.last_insert_rowid();
        let keep = i64::from(self.keep_changes.max(1));
        // Pruned in portions, so that most writes touch one row of the log only.
        let portion = (keep / 8).max(1);
        if seq.rem_euclid(portion) == 0 {
            db.prepare_cached("DELETE FROM changes WHERE seq <= ?1")?
                .execute([seq.saturating_sub(keep)])?;
        }
        Ok(())
    }

    /// Whether a change was noted since the last call.
    pub(super) fn take_noted(&self) -> bool {
        self.noted.take()
    }
}

/// What changed after `cursor`; see [`Store::changes`](crate::store::Store::changes).
pub(super) fn changes_after(db: &Db, cursor: Option<Cursor>) -> Result<Changes, Failure> {
    // One snapshot: between two statements another process could prune what the first one saw.
    let tx = db.unchecked_transaction()?;
    let (first, last) = bounds(&tx)?;
    let keys = match cursor.map(|cursor| i64::try_from(cursor.0).unwrap_or(i64::MAX)) {
        None => Some(Vec::new()),
        Some(seen) if seen == last => Some(Vec::new()),
        // Older than the log, or from a file that was since replaced by an older one.
        Some(seen) if seen.saturating_add(1) < first || seen > last => None,
        Some(seen) => Some(keys_after(&tx, seen)?),
    };
    let cursor = Cursor(u64::try_from(last).unwrap_or(0));
    Ok(Changes { cursor, keys })
}

fn bounds(db: &Db) -> Result<(i64, i64), Failure> {
    let bounds = db
        .prepare_cached(
            "SELECT coalesce((SELECT min(seq) FROM changes), 0), \
             coalesce((SELECT max(seq) FROM changes), 0)",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(bounds)
}

fn keys_after(db: &Db, seen: i64) -> Result<Vec<ConnectionKey>, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT provider, user FROM changes WHERE seq > ?1 GROUP BY provider, user ORDER BY max(seq)",
    )?;
    let mut rows = statement.query(params![seen])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push(super::rows::read_key(row)?);
    }
    Ok(keys)
}
