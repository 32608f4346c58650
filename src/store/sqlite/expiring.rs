//! Records that end by themselves. Whether they have ended is asked of the clock whenever they are
//! looked for; sweeping only makes room.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};

use super::Sqlite;
use crate::{
    base::clock::Timestamp,
    store::{Digest, Error, Expiring, Purpose, seal::Sealed},
};

pub(super) const SWEEP: &str = "\
    DELETE FROM expiring WHERE (purpose, digest) IN ( \
        SELECT purpose, digest FROM expiring INDEXED BY expiring_by_end \
        WHERE ends_at <= ?1 ORDER BY ends_at LIMIT ?2)";

#[async_trait]
impl Expiring for Sqlite {
    async fn put(
        &self,
        purpose: Purpose,
        digest: &Digest,
        record: Sealed,
        ttl: Option<Duration>,
    ) -> Result<(), Error> {
        let digest = *digest;
        self.write(move |db, desk| {
            let ends_at = ttl.map(|ttl| desk.now().saturating_add(ttl).as_millis());
            db.prepare_cached(
                "INSERT OR REPLACE INTO expiring (purpose, digest, record, ends_at) \
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                purpose.as_str(),
                digest.0,
                record.as_bytes(),
                ends_at
            ])?;
            Ok(())
        })
        .await
    }

    async fn peek(&self, purpose: Purpose, digest: &Digest) -> Result<Option<Sealed>, Error> {
        let (digest, now) = (*digest, self.clock.now());
        let found = self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT record, ends_at FROM expiring WHERE purpose = ?1 AND digest = ?2",
            )?;
            let found = statement
                .query_row(params![purpose.as_str(), digest.0], record)
                .optional()?;
            Ok(found)
        });
        Ok(found.await?.and_then(|found| found.at(now)))
    }

    async fn take(&self, purpose: Purpose, digest: &Digest) -> Result<Option<Sealed>, Error> {
        let digest = *digest;
        self.write(move |db, desk| {
            let mut statement = db.prepare_cached(
                "DELETE FROM expiring WHERE purpose = ?1 AND digest = ?2 RETURNING record, ends_at",
            )?;
            let taken = statement
                .query_row(params![purpose.as_str(), digest.0], record)
                .optional()?;
            Ok(taken.and_then(|taken| taken.at(desk.now())))
        })
        .await
    }

    async fn sweep(&self, limit: usize) -> Result<u64, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.write(move |db, desk| {
            let swept = db
                .prepare_cached(SWEEP)?
                .execute(params![desk.now().as_millis(), limit])?;
            Ok(u64::try_from(swept).unwrap_or(u64::MAX))
        })
        .await
    }
}

/// A record as it was stored, which may have ended.
struct Kept {
    record: Sealed,
    ends_at: Option<Timestamp>,
}

fn record(row: &rusqlite::Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept {
        record: Sealed::from_bytes(row.get(0)?),
        ends_at: row.get::<_, Option<i64>>(1)?.map(Timestamp::from_millis),
    })
}

// === impl Kept ===

impl Kept {
    /// The record, if it lasts beyond `now`.
    fn at(self, now: Timestamp) -> Option<Sealed> {
        let ended = self.ends_at.is_some_and(|end| end <= now);
        (!ended).then_some(self.record)
    }
}
