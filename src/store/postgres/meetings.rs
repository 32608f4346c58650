//! Meetings. Which of two stands is decided in the statement that writes, as
//! [`StoredMeeting::stands_against`] says.

use std::collections::HashMap;

use async_trait::async_trait;
use tokio_postgres::{Row, types::Type};

use super::{
    Postgres, ask,
    desk::Desk,
    failure::Failure,
    grants::storable,
    pool::Param,
    rows::{self, Cells, Unfit},
    saving::{column, rounds},
};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, ProviderName},
    },
    store::{Error, MeetingCursor, MeetingFilter, Meetings, StoredMeeting, Upserted, seal::Sealed},
};

/// In the order in which [`read`] takes them.
macro_rules! columns {
    () => {
        "provider, user_id, external_id, status, is_over, starts_at, ends_at, version, details"
    };
}

/// Whether a row was made or changed shows in its `xmax`, which only a row that was locked first has.
/// What stands is not returned.
const UPSERT: &str = concat!(
    "INSERT INTO daypass.meetings AS m (",
    columns!(),
    ") SELECT ",
    columns!(),
    " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) WITH ORDINALITY AS new (",
    columns!(),
    ", n) ORDER BY n \
     ON CONFLICT (user_id, provider, external_id) DO UPDATE SET status = excluded.status, \
        is_over = excluded.is_over, starts_at = excluded.starts_at, ends_at = excluded.ends_at, \
        version = excluded.version, details = excluded.details \
     WHERE (excluded.is_over AND NOT m.is_over) \
        OR (excluded.is_over = m.is_over AND excluded.version > m.version) \
     RETURNING provider, user_id, external_id, xmax = 0"
);

const ONE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM daypass.meetings WHERE provider = $1 AND user_id = $2 AND external_id = $3"
);

const FORGET: &str = "\
    WITH gone AS (DELETE FROM daypass.meetings WHERE provider = $1 AND user_id = $2 RETURNING 1) \
    SELECT count(*) FROM gone";

const PRUNE: &str = "\
    WITH old AS MATERIALIZED (SELECT provider, user_id, external_id FROM daypass.meetings \
        WHERE ends_at < $1 ORDER BY ends_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
    gone AS (DELETE FROM daypass.meetings m USING old WHERE m.provider = old.provider \
        AND m.user_id = old.user_id AND m.external_id = old.external_id RETURNING 1) \
    SELECT count(*) FROM gone";

#[async_trait]
impl Meetings for Postgres {
    async fn upsert_meetings(&self, batch: Vec<StoredMeeting>) -> Result<Vec<Upserted>, Error> {
        ask!(lists self, |desk| upsert(&desk, batch))
    }

    async fn meeting(
        &self,
        key: &ConnectionKey,
        external_id: &str,
    ) -> Result<Option<StoredMeeting>, Error> {
        let (key, id) = (key.clone(), storable(Some(external_id)));
        ask!(self, |desk| find(&desk, key, id))
    }

    async fn meetings(
        &self,
        filter: &MeetingFilter,
        after: Option<&MeetingCursor>,
        limit: usize,
    ) -> Result<Vec<StoredMeeting>, Error> {
        let (filter, after) = (filter.clone(), after.cloned());
        ask!(lists self, |desk| page(&desk, filter, after, limit))
    }

    async fn forget_meetings(&self, key: &ConnectionKey) -> Result<u64, Error> {
        let key = key.clone();
        ask!(lists self, |desk| forget(&desk, key))
    }

    async fn prune_meetings(&self, ended: Timestamp, limit: usize) -> Result<u64, Error> {
        ask!(lists self, |desk| prune(&desk, ended, limit))
    }
}

/// A batch that names a meeting twice is written in rounds, so that each meeting is in one of them
/// once; all processes lock rows in the order of their keys.
async fn upsert(desk: &Desk, batch: Vec<StoredMeeting>) -> Result<Vec<Upserted>, Failure> {
    let ids: Vec<_> = batch.iter().map(id).collect();
    let mut done = vec![Upserted::Stands; batch.len()];
    for round in rounds(&ids) {
        let asked: Vec<&StoredMeeting> = round.iter().filter_map(|&at| batch.get(at)).collect();
        let written = write(desk, &asked).await?;
        for at in round {
            let written = ids.get(at).and_then(|id| written.get(id));
            if let (Some(place), Some(written)) = (done.get_mut(at), written) {
                *place = *written;
            }
        }
    }
    Ok(done)
}

/// As it is in the table.
type Id = (ConnectionKey, Option<String>);

fn id(meeting: &StoredMeeting) -> Id {
    (meeting.key.clone(), storable(Some(&meeting.external_id)))
}

async fn write(desk: &Desk, asked: &[&StoredMeeting]) -> Result<HashMap<Id, Upserted>, Failure> {
    let params: [Param<'_>; 9] = [
        (
            &column(asked, |m| m.key.provider.as_str()),
            Type::TEXT_ARRAY,
        ),
        (&column(asked, |m| m.key.user.as_str()), Type::TEXT_ARRAY),
        (
            &column(asked, |m| storable(Some(&m.external_id))),
            Type::TEXT_ARRAY,
        ),
        (
            &column(asked, |m| storable(Some(&m.status))),
            Type::TEXT_ARRAY,
        ),
        (&column(asked, |m| m.is_over), Type::BOOL_ARRAY),
        (
            &column(asked, |m| m.starts_at.as_millis()),
            Type::INT8_ARRAY,
        ),
        (&column(asked, |m| m.ends_at.as_millis()), Type::INT8_ARRAY),
        (&column(asked, |m| m.version.as_millis()), Type::INT8_ARRAY),
        (&column(asked, |m| m.details.as_bytes()), Type::BYTEA_ARRAY),
    ];
    let mut written = HashMap::new();
    for row in desk.query(UPSERT, &params).await? {
        let is_new: bool = row.try_get(3)?;
        let done = if is_new {
            Upserted::Created
        } else {
            Upserted::Changed
        };
        written.insert((rows::read_key(&row, 0)?, row.try_get(2)?), done);
    }
    Ok(written)
}

async fn find(
    desk: &Desk,
    key: ConnectionKey,
    id: Option<String>,
) -> Result<Option<StoredMeeting>, Failure> {
    let rows = desk
        .query(
            ONE,
            &[
                (&key.provider.as_str(), Type::TEXT),
                (&key.user.as_str(), Type::TEXT),
                (&id, Type::TEXT),
            ],
        )
        .await?;
    rows.first().map(read).transpose()
}

async fn page(
    desk: &Desk,
    filter: MeetingFilter,
    after: Option<MeetingCursor>,
    limit: usize,
) -> Result<Vec<StoredMeeting>, Failure> {
    let provider = filter.provider.as_ref().map(ProviderName::as_str);
    let place = after.as_ref().map(|after| after.provider.as_str());
    let rows = desk
        .query(
            &page_sql(&filter, after.as_ref()),
            &[
                (&filter.user.as_str(), Type::TEXT),
                (&provider, Type::TEXT),
                (&filter.from.map(Timestamp::as_millis), Type::INT8),
                (&filter.until.map(Timestamp::as_millis), Type::INT8),
                (
                    &after.as_ref().map(|after| after.starts_at.as_millis()),
                    Type::INT8,
                ),
                (&place, Type::TEXT),
                (
                    &after
                        .as_ref()
                        .and_then(|after| storable(Some(&after.external_id))),
                    Type::TEXT,
                ),
                (&i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8),
            ],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// What is not asked for names its parameter all the same, so that there are eight of them always.
fn page_sql(filter: &MeetingFilter, after: Option<&MeetingCursor>) -> String {
    let either = |asked: bool, condition, otherwise| if asked { condition } else { otherwise };
    let conditions = [
        either(filter.provider.is_some(), "provider = $2", "$2 IS NULL"),
        either(filter.from.is_some(), "ends_at > $3", "$3 IS NULL"),
        either(filter.until.is_some(), "starts_at < $4", "$4 IS NULL"),
        either(
            after.is_some(),
            "(starts_at, provider, external_id) > ($5, $6, $7)",
            "$5 IS NULL AND $6 IS NULL AND $7 IS NULL",
        ),
    ];
    let select = concat!(
        "SELECT ",
        columns!(),
        " FROM daypass.meetings WHERE user_id = $1"
    );
    format!(
        "{select} AND {} ORDER BY starts_at, provider, external_id LIMIT $8",
        conditions.join(" AND ")
    )
}

async fn forget(desk: &Desk, key: ConnectionKey) -> Result<u64, Failure> {
    let gone = desk
        .query(
            FORGET,
            &[
                (&key.provider.as_str(), Type::TEXT),
                (&key.user.as_str(), Type::TEXT),
            ],
        )
        .await?;
    count(&gone)
}

async fn prune(desk: &Desk, ended: Timestamp, limit: usize) -> Result<u64, Failure> {
    let gone = desk
        .query(
            PRUNE,
            &[
                (&ended.as_millis(), Type::INT8),
                (&i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8),
            ],
        )
        .await?;
    count(&gone)
}

/// The only cell of the only row.
fn count(rows: &[Row]) -> Result<u64, Failure> {
    let count: Option<i64> = rows.first().map(|row| row.try_get(0)).transpose()?;
    Ok(count
        .and_then(|count| u64::try_from(count).ok())
        .unwrap_or(0))
}

fn read(row: &Row) -> Result<StoredMeeting, Failure> {
    meeting(&mut Cells::of(row)).map_err(|what| rows::inconsistent(row, 0, what))
}

fn meeting(cells: &mut Cells<'_>) -> Result<StoredMeeting, Unfit> {
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
