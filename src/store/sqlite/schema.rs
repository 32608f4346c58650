//! The tables, and how a file of an older version becomes one of this version.
//!
//! 1. `schema_versions` has a row for each migration that was applied. Each says the oldest version of
//!    the schema that a program must know to work with the outcome.
//! 2. `user_version` is the greatest of those: a program that knows less refuses the file. So a
//!    migration that only adds leaves it as it is, and programs of before go on working with the file.
//! 3. Migrations run in one transaction that excludes other processes; of two that start together,
//!    one migrates and the other finds it done.
//! 4. Each transaction, and each question, looks at the number first: during a rolling upgrade a newer
//!    program may take the file over from one that has it open, which then stops.
//! 5. A migration that was released is never edited; the next one is appended.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::failure::Failure;
use crate::store::Error;

/// "DayP": tells a daypass file from another program's (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x4461_7950;

struct Migration {
    sql: &'static str,
    /// The oldest schema that a program must know to work with the outcome.
    min_reader: i32,
}

/// In order; the n-th leads to version n.
const MIGRATIONS: &[Migration] = &[
    Migration {
        sql: include_str!("migrations/0001_connections.sql"),
        min_reader: 1,
    },
    Migration {
        sql: include_str!("migrations/0002_duties.sql"),
        min_reader: 1,
    },
    Migration {
        sql: include_str!("migrations/0003_events.sql"),
        min_reader: 1,
    },
    Migration {
        sql: include_str!("migrations/0004_rows_in_order.sql"),
        min_reader: 1,
    },
    Migration {
        sql: include_str!("migrations/0005_audit.sql"),
        min_reader: 1,
    },
    Migration {
        sql: include_str!("migrations/0006_grants.sql"),
        min_reader: 1,
    },
];

/// Files of before this table were at version 1, as their `user_version` says.
const VERSIONS: &str = "\
    CREATE TABLE IF NOT EXISTS schema_versions ( \
        version INTEGER PRIMARY KEY, min_reader INTEGER NOT NULL) STRICT; \
    INSERT OR IGNORE INTO schema_versions SELECT 1, 1 FROM pragma_user_version \
        WHERE user_version > 0";

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
    // One snapshot: between two questions another process could migrate.
    let look = db.unchecked_transaction().map_err(failed)?;
    if pending(&look, path)?.is_empty() {
        return Ok(());
    }
    drop(look);
    let tx = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    // Asked again now that nobody else can be migrating.
    let pending = pending(&tx, path)?;
    apply(&tx, pending)
        .and_then(|()| tx.commit())
        .map_err(failed)
}

fn apply(db: &Connection, pending: &[Migration]) -> rusqlite::Result<()> {
    db.execute_batch(VERSIONS)?;
    let done = MIGRATIONS.len().saturating_sub(pending.len());
    for (version, migration) in (1_i64..).zip(MIGRATIONS).skip(done) {
        db.execute_batch(migration.sql)?;
        db.execute(
            "INSERT INTO schema_versions (version, min_reader) VALUES (?1, ?2)",
            (version, migration.min_reader),
        )?;
    }
    let least: i32 = db.query_row("SELECT max(min_reader) FROM schema_versions", [], |row| {
        row.get(0)
    })?;
    db.pragma_update(None, "application_id", APPLICATION_ID)?;
    db.pragma_update(None, "user_version", least)
}

/// The migrations that the file still needs.
fn pending(db: &Connection, path: &Path) -> Result<&'static [Migration], Error> {
    let failed = |error: rusqlite::Error| Failure::from(error).into_error(path);
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let least = pragma("user_version").map_err(failed)?;
    let owner = pragma("application_id").map_err(failed)?;
    if owner != APPLICATION_ID && !(owner == 0 && least == 0 && is_empty(db).map_err(failed)?) {
        return Err(Error::Corrupt {
            path: path.to_owned(),
            what: "it belongs to another program; name another file in store.url".to_owned(),
            source: None,
        });
    }
    let known = known();
    match u32::try_from(least) {
        Ok(least) if least <= known => {}
        found => {
            return Err(Error::FromTheFuture {
                found: found.unwrap_or(u32::MAX),
                known,
            });
        }
    }
    let version = version(db, least).map_err(failed)?;
    if version > MIGRATIONS.len() {
        tracing::info!(
            found = version,
            known,
            "the tables are of a newer version, which this one can work with",
        );
    }
    Ok(MIGRATIONS.get(version..).unwrap_or_default())
}

/// How many migrations were applied; `least` is the `user_version`.
fn version(db: &Connection, least: i32) -> rusqlite::Result<usize> {
    let named = db
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE name = 'schema_versions'",
            [],
            |_row| Ok(()),
        )
        .optional()?;
    let version: i64 = match named {
        None => least.into(),
        Some(()) => db.query_row(
            "SELECT coalesce(max(version), 0) FROM schema_versions",
            [],
            |row| row.get(0),
        )?,
    };
    Ok(usize::try_from(version).unwrap_or(0))
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
