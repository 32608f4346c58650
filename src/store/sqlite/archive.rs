//! Exact copies; see [`Archive`].

use async_trait::async_trait;
use rusqlite::{Connection as Db, OptionalExtension, params};

use super::{Sqlite, desk::Desk, failure::Failure, grants, rows};
use crate::{
    base::{clock::Timestamp, ids::ConnectionKey},
    store::{Archive, Error, Found, Record, Restored},
};

#[async_trait]
impl Archive for Sqlite {
    async fn records(
        &self,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Found>, Error> {
        let (now, after) = (self.clock.now(), after.cloned());
        self.list(move |db| records(db, now, after.as_ref(), limit))
            .await
    }

    async fn record(&self, key: &ConnectionKey) -> Result<Option<Found>, Error> {
        let (now, key) = (self.clock.now(), key.clone());
        self.list(move |db| record(db, now, &key)).await
    }

    async fn restore(&self, batch: Vec<Record>) -> Result<Vec<Restored>, Error> {
        self.write(move |db, desk| restore(db, desk, batch)).await
    }

    async fn pulse(&self) -> Result<u64, Error> {
        self.list(pulse).await
    }
}

fn records(
    db: &Db,
    now: Timestamp,
    after: Option<&ConnectionKey>,
    limit: usize,
) -> Result<Vec<Found>, Failure> {
    let (provider, user) = after.map_or(("", ""), |after| {
        (after.provider.as_str(), after.user.as_str())
    });
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let select = rows::SELECT_WHOLE;
    let statement = db.prepare_cached(&format!(
        "{select} WHERE (provider, user) > (?2, ?3) ORDER BY provider, user LIMIT ?4"
    ))?;
    rows::collect_whole(statement, params![now.as_millis(), provider, user, limit])
}

fn record(db: &Db, now: Timestamp, key: &ConnectionKey) -> Result<Option<Found>, Failure> {
    let select = rows::SELECT_WHOLE;
    let statement = db.prepare_cached(&format!("{select} WHERE provider = ?2 AND user = ?3"))?;
    let (provider, user) = (key.provider.as_str(), key.user.as_str());
    let found = rows::collect_whole(statement, params![now.as_millis(), provider, user])?;
    Ok(found.into_iter().next())
}

fn pulse(db: &Db) -> Result<u64, Failure> {
    let count: Option<i64> = db
        .prepare_cached("SELECT count FROM probe")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
}

fn restore(db: &Db, desk: &Desk, batch: Vec<Record>) -> Result<Vec<Restored>, Failure> {
    let restore_one = |record: Record| {
        let stands = rows::find(db, &record.connection.key)?.map(|old| old.connection);
        Ok(match stands {
            Some(old) if old.id != record.connection.id => Restored::Other,
            Some(old) if !record.is_at_least(old.id, old.generation, old.updated_at) => {
                Restored::Newer
            }
            _ => {
                grants::write(db, desk, &record)?;
                Restored::Written
            }
        })
    };
    batch.into_iter().map(restore_one).collect()
}
