//! Jobs, each method one statement. While one is claimed, its `due_at` is when the claim runs out:
//! what is due is free. Who claims passes over what somebody else is claiming at the same moment.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::{Row, types::Type};

use super::{
    Postgres, ask,
    desk::{Desk, catch_up, moment},
    failure::Failure,
    leases::millis,
    pool::Param,
    rows::{self, Cells, Unfit},
};
use crate::{
    base::ids::{ConnectionKey, OwnerId},
    store::{Error, Existing, Job, JobKind, Jobs, seal::Sealed},
};

/// In the order in which [`read`] takes them.
macro_rules! columns {
    () => {
        "j.provider, j.user_id, j.state, j.due_at, j.owner, j.updated_at"
    };
}

const ONE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM daypass.jobs j WHERE kind = $1 AND provider = $2 AND user_id = $3"
);

const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM daypass.jobs j WHERE kind = $1 AND (provider, user_id) > ($2, $3) \
     ORDER BY provider, user_id LIMIT $4"
);

/// The time is a sub-select, so that it is asked for once and the index can be searched with it.
const CLAIM: &str = concat!(
    "WITH ",
    moment!("$4"),
    ", ",
    catch_up!(
        "jobs",
        "wanted_at = (SELECT now FROM moment) + (wanted_at - since), "
    ),
    ", due AS MATERIALIZED (SELECT provider, user_id, due_at AS was FROM daypass.jobs \
        WHERE kind = $1 AND due_at <= (SELECT now FROM moment) ORDER BY due_at LIMIT $5 \
        FOR UPDATE SKIP LOCKED), \
     claimed AS (UPDATE daypass.jobs j SET owner = $2, \
            due_at = (SELECT now FROM moment) + $3, since = (SELECT now FROM moment) FROM due \
        WHERE j.kind = $1 AND j.provider = due.provider AND j.user_id = due.user_id RETURNING ",
    columns!(),
    ", due.was) \
     SELECT NULL AS provider, NULL AS user_id, NULL::bytea AS state, NULL::int8 AS due_at, \
        NULL::bytea AS owner, NULL::int8 AS updated_at, count(*) AS was \
        FROM ahead HAVING count(*) > 0 \
     UNION ALL SELECT provider, user_id, state, due_at, owner, updated_at, was FROM claimed"
);

/// Whoever works on it goes on; what is wanted of it is remembered until it is finished. If the clock was
/// set back since, it wanted or was due for that much earlier.
const HASTEN: &str = concat!(
    "WITH ",
    moment!("$6"),
    " INSERT INTO daypass.jobs AS j (kind, provider, user_id, state, due_at, since, updated_at) \
     SELECT $1, $2, $3, $4, now + $5, now, now FROM moment \
     ON CONFLICT (kind, provider, user_id) DO UPDATE SET \
        wanted_at = CASE WHEN j.owner IS NOT NULL THEN least( \
            j.wanted_at - greatest(j.since - excluded.since, 0), excluded.due_at) END, \
        due_at = least(j.due_at - greatest(j.since - excluded.since, 0), \
            CASE WHEN j.owner IS NULL THEN excluded.due_at END), \
        since = CASE WHEN j.since > excluded.since \
                OR j.owner IS NULL AND (j.due_at IS NULL OR j.due_at > excluded.due_at) \
            THEN excluded.since ELSE j.since END"
);

const REPLACE: &str = concat!(
    "WITH ",
    moment!("$6"),
    " INSERT INTO daypass.jobs AS j (kind, provider, user_id, state, due_at, since, updated_at) \
     SELECT $1, $2, $3, $4, now + $5, now, now FROM moment \
     ON CONFLICT (kind, provider, user_id) DO UPDATE SET state = excluded.state, \
        due_at = excluded.due_at, since = excluded.since, owner = NULL, wanted_at = NULL, updated_at = excluded.updated_at"
);

const PROGRESS: &str = concat!(
    "WITH ",
    moment!("$7"),
    " UPDATE daypass.jobs SET state = $5, due_at = now + $6, since = now, updated_at = now, \
        wanted_at = wanted_at - greatest(since - now, 0) FROM moment \
     WHERE kind = $1 AND provider = $2 AND user_id = $3 AND owner = $4 RETURNING 1"
);

const FINISH: &str = concat!(
    "WITH ",
    moment!("$7"),
    " UPDATE daypass.jobs SET state = $5, owner = NULL, since = now, updated_at = now, \
        due_at = least(now + $6, wanted_at - greatest(since - now, 0)), wanted_at = NULL FROM moment \
     WHERE kind = $1 AND provider = $2 AND user_id = $3 AND owner = $4 RETURNING 1"
);

const CANCEL: &str = "\
    DELETE FROM daypass.jobs WHERE kind = $1 AND provider = $2 AND user_id = $3 RETURNING 1";

/// A job, and who has it.
struct Worker {
    kind: JobKind,
    key: ConnectionKey,
    owner: OwnerId,
}

#[async_trait]
impl Jobs for Postgres {
    async fn schedule(
        &self,
        kind: JobKind,
        key: &ConnectionKey,
        state: Option<Sealed>,
        due_in: Duration,
        existing: Existing,
    ) -> Result<(), Error> {
        let key = key.clone();
        let sql = match existing {
            Existing::Hasten => HASTEN,
            Existing::Replace => REPLACE,
        };
        ask!(self, |desk| schedule(
            &desk,
            sql,
            (kind, key),
            state,
            due_in
        ))
    }

    async fn claim(
        &self,
        kind: JobKind,
        owner: OwnerId,
        ttl: Duration,
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        ask!(self, |desk| claim(&desk, kind, owner, ttl, limit))
    }

    async fn progress(
        &self,
        kind: JobKind,
        key: &ConnectionKey,
        owner: OwnerId,
        state: Option<Sealed>,
        ttl: Duration,
    ) -> Result<bool, Error> {
        let key = key.clone();
        let worker = Worker { kind, key, owner };
        ask!(self, |desk| write(
            &desk,
            PROGRESS,
            worker,
            state,
            Some(ttl)
        ))
    }

    async fn finish(
        &self,
        kind: JobKind,
        key: &ConnectionKey,
        owner: OwnerId,
        state: Option<Sealed>,
        next: Option<Duration>,
    ) -> Result<bool, Error> {
        let key = key.clone();
        let worker = Worker { kind, key, owner };
        ask!(self, |desk| write(&desk, FINISH, worker, state, next))
    }

    async fn job(&self, kind: JobKind, key: &ConnectionKey) -> Result<Option<Job>, Error> {
        let key = key.clone();
        let rows = ask!(self, |desk| of_key(&desk, ONE, kind, key))?;
        Ok(rows.into_iter().next())
    }

    async fn jobs(
        &self,
        kind: JobKind,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        let after = after.cloned();
        ask!(lists self, |desk| page(&desk, kind, after, limit))
    }

    async fn cancel(&self, kind: JobKind, key: &ConnectionKey) -> Result<bool, Error> {
        let key = key.clone();
        ask!(self, |desk| cancel(&desk, kind, key))
    }
}

async fn schedule(
    desk: &Desk,
    sql: &str,
    (kind, key): (JobKind, ConnectionKey),
    state: Option<Sealed>,
    due_in: Duration,
) -> Result<(), Failure> {
    desk.query(
        sql,
        &[
            (&kind.as_str(), Type::TEXT),
            (&key.provider.as_str(), Type::TEXT),
            (&key.user.as_str(), Type::TEXT),
            (&state.as_ref().map(Sealed::as_bytes), Type::BYTEA),
            (&millis(due_in), Type::INT8),
            (&desk.now(), Type::INT8),
        ],
    )
    .await
    .map(drop)
}

async fn claim(
    desk: &Desk,
    kind: JobKind,
    owner: OwnerId,
    ttl: Duration,
    limit: usize,
) -> Result<Vec<Job>, Failure> {
    let rows = desk
        .claim(
            CLAIM,
            &[
                (&kind.as_str(), Type::TEXT),
                (&owner.as_bytes().as_slice(), Type::BYTEA),
                (&millis(ttl), Type::INT8),
                (&desk.now(), Type::INT8),
                (&i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8),
            ],
        )
        .await?;
    let mut claimed = Vec::with_capacity(rows.len());
    for row in &rows {
        let was: i64 = row.try_get("was")?;
        claimed.push((was, read(row)?));
    }
    claimed.sort_by_key(|(was, _job)| *was);
    Ok(claimed.into_iter().map(|(_was, job)| job).collect())
}

async fn write(
    desk: &Desk,
    sql: &str,
    worker: Worker,
    state: Option<Sealed>,
    due_in: Option<Duration>,
) -> Result<bool, Failure> {
    let Worker { kind, key, owner } = worker;
    let written = desk
        .query(
            sql,
            &[
                (&kind.as_str(), Type::TEXT),
                (&key.provider.as_str(), Type::TEXT),
                (&key.user.as_str(), Type::TEXT),
                (&owner.as_bytes().as_slice(), Type::BYTEA),
                (&state.as_ref().map(Sealed::as_bytes), Type::BYTEA),
                (&due_in.map(millis), Type::INT8),
                (&desk.now(), Type::INT8),
            ],
        )
        .await?;
    Ok(!written.is_empty())
}

async fn of_key(
    desk: &Desk,
    sql: &str,
    kind: JobKind,
    key: ConnectionKey,
) -> Result<Vec<Job>, Failure> {
    let (kind, provider, user) = (kind.as_str(), key.provider.as_str(), key.user.as_str());
    let params: [Param<'_>; 3] = [
        (&kind, Type::TEXT),
        (&provider, Type::TEXT),
        (&user, Type::TEXT),
    ];
    desk.query(sql, &params).await?.iter().map(read).collect()
}

async fn page(
    desk: &Desk,
    kind: JobKind,
    after: Option<ConnectionKey>,
    limit: usize,
) -> Result<Vec<Job>, Failure> {
    let (provider, user) = after.as_ref().map_or(("", ""), |after| {
        (after.provider.as_str(), after.user.as_str())
    });
    let rows = desk
        .query(
            PAGE,
            &[
                (&kind.as_str(), Type::TEXT),
                (&provider, Type::TEXT),
                (&user, Type::TEXT),
                (&i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8),
            ],
        )
        .await?;
    rows.iter().map(read).collect()
}

async fn cancel(desk: &Desk, kind: JobKind, key: ConnectionKey) -> Result<bool, Failure> {
    let (kind, provider, user) = (kind.as_str(), key.provider.as_str(), key.user.as_str());
    let params: [Param<'_>; 3] = [
        (&kind, Type::TEXT),
        (&provider, Type::TEXT),
        (&user, Type::TEXT),
    ];
    let canceled = desk.query(CANCEL, &params).await?;
    Ok(!canceled.is_empty())
}

fn read(row: &Row) -> Result<Job, Failure> {
    job(&mut Cells::of(row)).map_err(|what| rows::inconsistent(row, 0, what))
}

fn job(cells: &mut Cells<'_>) -> Result<Job, Unfit> {
    Ok(Job {
        key: cells.key()?,
        state: cells.take::<Option<Vec<u8>>>()?.map(Sealed::from_bytes),
        due_at: cells.time()?,
        owner: cells.owner()?,
        updated_at: cells.moment()?,
    })
}
