//! Meetings. Which of two stands is decided by [`StoredMeeting::stands_against`], under the lock of the
//! thread that writes.

use async_trait::async_trait;
use rusqlite::{
    CachedStatement, Connection as Db, OptionalExtension, Row, params, params_from_iter,
    types::Value,
};

use super::{
    Sqlite,
    failure::Failure,
    rows::{self, Cells, Unfit},
};
use crate::{
    base::{clock::Timestamp, ids::ConnectionKey},
    store::{Error, MeetingCursor, MeetingFilter, Meetings, StoredMeeting, Upserted, seal::Sealed},
};

/// In the order in which [`read`] takes them and [`put`] gives them.
macro_rules! columns {
    () => {
        "provider, user, external_id, status, is_over, starts_at, ends_at, version, details"
    };
}

const ONE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM meetings WHERE user = ?2 AND provider = ?1 AND external_id = ?3"
);

const PUT: &str = concat!(
    "INSERT INTO meetings (",
    columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
     ON CONFLICT (user, provider, external_id) DO UPDATE SET status = excluded.status, \
        is_over = excluded.is_over, starts_at = excluded.starts_at, ends_at = excluded.ends_at, \
        version = excluded.version, details = excluded.details"
);

pub(super) const PRUNE: &str = "\
    DELETE FROM meetings WHERE rowid IN ( \
        SELECT rowid FROM meetings INDEXED BY meetings_by_end \
        WHERE ends_at < ?1 ORDER BY ends_at LIMIT ?2)";

#[async_trait]
impl Meetings for Sqlite {
    async fn upsert_meetings(&self, batch: Vec<StoredMeeting>) -> Result<Vec<Upserted>, Error> {
        self.write(move |db, _desk| batch.iter().map(|new| upsert(db, new)).collect())
            .await
    }

    async fn meeting(
        &self,
        key: &ConnectionKey,
        external_id: &str,
    ) -> Result<Option<StoredMeeting>, Error> {
        let (key, id) = (key.clone(), external_id.to_owned());
        self.read(move |db| find(db, &key, &id)).await
    }

    async fn meetings(
        &self,
        filter: &MeetingFilter,
        after: Option<&MeetingCursor>,
        limit: usize,
    ) -> Result<Vec<StoredMeeting>, Error> {
        let (sql, parameters) = page(filter, after, limit);
        self.list(move |db| collect(db.prepare_cached(&sql)?, params_from_iter(parameters)))
            .await
    }

    async fn forget_meetings(&self, key: &ConnectionKey) -> Result<u64, Error> {
        let key = key.clone();
        self.write(move |db, _desk| {
            let gone = db
                .prepare_cached("DELETE FROM meetings WHERE user = ?1 AND provider = ?2")?
                .execute([key.user.as_str(), key.provider.as_str()])?;
            Ok(u64::try_from(gone).unwrap_or(u64::MAX))
        })
        .await
    }

    async fn prune_meetings(&self, ended: Timestamp, limit: usize) -> Result<u64, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.write(move |db, _desk| {
            let gone = db
                .prepare_cached(PRUNE)?
                .execute(params![ended.as_millis(), limit])?;
            Ok(u64::try_from(gone).unwrap_or(u64::MAX))
        })
        .await
    }
}

fn upsert(db: &Db, new: &StoredMeeting) -> Result<Upserted, Failure> {
    let old = match find(db, &new.key, &new.external_id) {
        Ok(old) => old,
        // What cannot be read does not stand against what can.
        Err(Failure::Row { row, what }) => {
            tracing::warn!(meeting.row = row, what, "replacing an inconsistent row");
            None
        }
        Err(failure) => return Err(failure),
    };
    let done = match old {
        None => Upserted::Created,
        Some(old) if old.stands_against(new) => return Ok(Upserted::Stands),
        Some(_) => Upserted::Changed,
    };
    put(db, new)?;
    Ok(done)
}

fn put(db: &Db, new: &StoredMeeting) -> Result<(), Failure> {
    db.prepare_cached(PUT)?.execute(params![
        new.key.provider.as_str(),
        new.key.user.as_str(),
        new.external_id,
        new.status,
        new.is_over,
        new.starts_at.as_millis(),
        new.ends_at.as_millis(),
        new.version.as_millis(),
        new.details.as_bytes(),
    ])?;
    Ok(())
}

fn find(db: &Db, key: &ConnectionKey, id: &str) -> Result<Option<StoredMeeting>, Failure> {
    db.prepare_cached(ONE)?
        .query_row([key.provider.as_str(), key.user.as_str(), id], |row| {
            Ok(read(row))
        })
        .optional()?
        .transpose()
}

/// The question of a page, and its parameters.
pub(super) fn page(
    filter: &MeetingFilter,
    after: Option<&MeetingCursor>,
    limit: usize,
) -> (String, Vec<Value>) {
    let select = concat!(
        "SELECT ",
        columns!(),
        " FROM meetings INDEXED BY meetings_by_time WHERE user = ?"
    );
    let mut sql = select.to_owned();
    let text = |text: &str| Value::Text(text.to_owned());
    let mut parameters = vec![text(filter.user.as_str())];
    let mut and = |condition: &str, values: Vec<Value>| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        parameters.extend(values);
    };
    if let Some(provider) = &filter.provider {
        and("provider = ?", vec![text(provider.as_str())]);
    }
    if let Some(from) = filter.from {
        and("ends_at > ?", vec![from.as_millis().into()]);
    }
    if let Some(until) = filter.until {
        and("starts_at < ?", vec![until.as_millis().into()]);
    }
    if let Some(after) = after {
        let place = vec![
            after.starts_at.as_millis().into(),
            text(after.provider.as_str()),
            text(&after.external_id),
        ];
        and("(starts_at, provider, external_id) > (?, ?, ?)", place);
    }
    sql.push_str(" ORDER BY starts_at, provider, external_id LIMIT ?");
    parameters.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
    (sql, parameters)
}

fn collect(
    mut statement: CachedStatement<'_>,
    parameters: impl rusqlite::Params,
) -> Result<Vec<StoredMeeting>, Failure> {
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn read(row: &Row<'_>) -> Result<StoredMeeting, Failure> {
    let mut cells = Cells::of(row);
    meeting(&mut cells).map_err(|what| rows::inconsistent(row, what))
}

fn meeting(cells: &mut Cells<'_, '_>) -> Result<StoredMeeting, Unfit> {
    Ok(StoredMeeting {
        key: cells.key()?,
        external_id: cells.take()?,
        status: cells.take()?,
        is_over: cells.take()?,
        starts_at: cells.moment()?,
        ends_at: cells.moment()?,
        version: cells.moment()?,
        details: Sealed::from_bytes(cells.take()?),
    })
}
