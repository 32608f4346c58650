//! The tables, and how those of an older version become those of this one.
//!
//! 1. `daypass.schema_versions` has a row for each migration that was applied. Each says the oldest
//!    version of the schema that a program must know to work with the outcome: a program that knows
//!    less refuses, and one that is already running finds out within seconds and stops.
//! 2. Migrations run in one transaction under a lock that other processes wait for; of two that start
//!    together, one migrates and the other finds it done.
//! 3. A migration that was released is never edited; the next one is appended. One that older programs
//!    cannot work with raises `min_reader` and renames a table that they write to, so that nothing
//!    they do between two looks is done to the new tables.

use super::{
    failure::Failure,
    pool::{Lent, Pool},
};
use std::sync::Arc;
use tokio_postgres::types::Type;

/// The oldest server that has what the statements need (`xid8`).
const OLDEST_SERVER: i64 = 130_000;

/// "DayPass": keeps others out while migrating.
const LOCK: i64 = 0x0044_6179_5061_7373;

struct Migration {
    sql: &'static str,
    /// The oldest schema that a program must know to work with the outcome.
    min_reader: i64,
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
        sql: include_str!("migrations/0004_audit.sql"),
        min_reader: 1,
    },
    Migration {
        sql: include_str!("migrations/0005_grants.sql"),
        min_reader: 1,
    },
];

/// What the database holds.
struct Found {
    version: i64,
    min_reader: i64,
}

/// Brings the tables up to date, or says why not.
pub(super) async fn migrate(pool: &Arc<Pool>) -> Result<(), Failure> {
    let mut db = pool.lend().await?;
    if pending(&mut db).await?.is_empty() {
        return Ok(());
    }
    db.begin().await?;
    db.query("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)])
        .await?;
    // Asked again now that nobody else can be migrating.
    let pending = pending(&mut db).await?;
    let done = MIGRATIONS.len().saturating_sub(pending.len());
    for (n, migration) in pending.iter().enumerate() {
        db.batch(migration.sql).await?;
        let version = i64::try_from(done + n + 1).unwrap_or(i64::MAX);
        db.query(
            "INSERT INTO daypass.schema_versions (version, min_reader) VALUES ($1, $2)",
            &[(&version, Type::INT8), (&migration.min_reader, Type::INT8)],
        )
        .await?;
    }
    db.commit().await
}

/// Says whether the tables are up to date, and changes nothing.
pub(super) async fn is_ready(pool: &Arc<Pool>) -> Result<(), Failure> {
    let mut db = pool.lend().await?;
    if pending(&mut db).await?.is_empty() {
        return Ok(());
    }
    Err(Failure::NotReady)
}

/// Whether a program that knows this version may work where `min_reader` is asked for.
pub(super) fn admits(min_reader: i64) -> Result<(), Failure> {
    if min_reader <= known() {
        return Ok(());
    }
    Err(Failure::FromTheFuture {
        found: u32::try_from(min_reader).unwrap_or(u32::MAX),
        known: u32::try_from(known()).unwrap_or(u32::MAX),
    })
}

/// Whether this version may work with the tables as they are now.
pub(super) async fn check(pool: &Arc<Pool>) -> Result<(), Failure> {
    let mut db = pool.lend().await?;
    pending(&mut db).await.map(drop)
}

/// The migrations that the database still needs.
async fn pending(db: &mut Lent) -> Result<&'static [Migration], Failure> {
    let Some(found) = look(db).await? else {
        return Ok(MIGRATIONS);
    };
    if found.version > known() {
        admits(found.min_reader).map_err(|refused| match refused {
            Failure::FromTheFuture { known, .. } => Failure::FromTheFuture {
                found: u32::try_from(found.version).unwrap_or(u32::MAX),
                known,
            },
            other => other,
        })?;
        tracing::info!(
            found = found.version,
            known = known(),
            "the tables are of a newer version, which this one can work with",
        );
    }
    let done = usize::try_from(found.version).unwrap_or(0);
    Ok(MIGRATIONS.get(done..).unwrap_or_default())
}

async fn look(db: &mut Lent) -> Result<Option<Found>, Failure> {
    let rows = db
        .query(
            "SELECT current_setting('server_version_num')::int8, \
             EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = 'daypass'), \
             EXISTS (SELECT FROM pg_catalog.pg_tables \
                WHERE schemaname = 'daypass' AND tablename = 'schema_versions')",
            &[],
        )
        .await?;
    let Some(row) = rows.first() else {
        return Err(Failure::Unfit("the server gives no answer to what it is"));
    };
    let (server, tables, ours): (i64, bool, bool) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if server < OLDEST_SERVER {
        return Err(Failure::Unfit(
            "the server is too old: daypass needs PostgreSQL 13 or newer",
        ));
    }
    if !ours {
        return if tables {
            Err(Failure::Unfit(
                "the schema \"daypass\" belongs to another program; name another database in store.url",
            ))
        } else {
            Ok(None)
        };
    }
    let versions = "SELECT coalesce(max(version), 0), coalesce(max(min_reader), 0) \
                    FROM daypass.schema_versions";
    let rows = db.query(versions, &[]).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    Ok(Some(Found {
        version: row.try_get(0)?,
        min_reader: row.try_get(1)?,
    }))
}

/// The schema of this version.
pub(super) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}
