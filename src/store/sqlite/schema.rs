//! The tables, and how a file of an older version becomes one of this version.
//!
//! 1. `user_version` counts the migrations that were applied. A higher number than is known here is
//!    refused: an older program must not write to a newer file.
//! 2. Migrations run in one transaction that excludes other processes; of two that start together,
//!    one migrates and the other finds it done.
//! 3. Each transaction, and each question, looks at the number first: during a rolling upgrade a newer
//!    program may take the file over from one that has it open, which then stops.
//! 4. A migration that was released is never edited; the next one is appended.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::failure::Failure;
use crate::store::Error;

/// "DayP": tells a daypass file from another program's (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x4461_7950;

/// In order; the n-th leads to `user_version` n.
const MIGRATIONS: &[&str] = &[include_str!("migrations/0001_connections.sql")];

/// Refuses to work on a file that a newer version has taken over since it was opened.
pub(super) fn admits(db: &Connection) -> Result<(), Failure> {
    let found: i64 = db
        .prepare_cached("PRAGMA user_version")?
        .query_row([], |row| row.get(0))?;
    if found <= i64::from(known()) {
        return Ok(());
    }
    Err(Failure::FromTheFuture {
        found: u32::try_from(found).unwrap_or(u32::MAX),
        known: known(),
    })
}

/// Says whether the file is up to date, and changes nothing.
pub(super) fn check(db: &Connection, path: &Path) -> Result<(), Error> {
    if pending(db, path)?.is_empty() {
        return Ok(());
    }
    Err(Error::NotReady {
        what: format!(
            "{} has no tables of this version yet; `daypass run` makes them",
            path.display()
        ),
    })
}

/// Brings the file up to date, or says why not.
pub(super) fn migrate(db: &mut Connection, path: &Path) -> Result<(), Error> {
    let failed = |error: rusqlite::Error| Failure::from(error).into_error(path);
    if pending(db, path)?.is_empty() {
        return Ok(());
    }
    let tx = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    // Asked again now that nobody else can be migrating.
    for migration in pending(&tx, path)? {
        tx.execute_batch(migration).map_err(failed)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)
        .and_then(|()| tx.pragma_update(None, "user_version", known()))
        .and_then(|()| tx.commit())
        .map_err(failed)
}

/// The migrations that the file still needs.
fn pending(db: &Connection, path: &Path) -> Result<&'static [&'static str], Error> {
    let failed = |error: rusqlite::Error| Failure::from(error).into_error(path);
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let found = pragma("user_version").map_err(failed)?;
    let owner = pragma("application_id").map_err(failed)?;
    if owner != APPLICATION_ID && !(owner == 0 && found == 0 && is_empty(db).map_err(failed)?) {
        return Err(Error::Corrupt {
            path: path.to_owned(),
            what: "it belongs to another program; name another file in store.url".to_owned(),
            source: None,
        });
    }
    let future = || Error::FromTheFuture {
        found: u32::try_from(found).unwrap_or(u32::MAX),
        known: known(),
    };
    let done = usize::try_from(found).map_err(|_negative| future())?;
    MIGRATIONS.get(done..).ok_or_else(future)
}

/// The schema of this version.
pub(super) fn known() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

fn is_empty(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| {
        row.get(0)
    })
}
