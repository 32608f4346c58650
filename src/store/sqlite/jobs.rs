//! Jobs. While one is claimed, its `due_at` is when the claim runs out: what is due is free.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{CachedStatement, Connection as Db, OptionalExtension, Row, params};

use super::{
    Sqlite,
    desk::Desk,
    due,
    failure::Failure,
    rows::{self, Cells, Unfit},
};
use crate::{
    base::ids::{ConnectionKey, OwnerId},
    store::{Error, Existing, Job, JobKind, Jobs, seal::Sealed},
};

/// In the order in which [`read`] takes them.
macro_rules! columns {
    () => {
        "provider, user, state, due_at, owner, updated_at"
    };
}

const ONE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs WHERE kind = ?1 AND provider = ?2 AND user = ?3"
);

pub(super) const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs WHERE kind = ?1 AND (provider, user) > (?2, ?3) ORDER BY provider, user LIMIT ?4"
);

pub(super) const DUE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs INDEXED BY jobs_by_due WHERE kind = ?1 AND due_at <= ?2 ORDER BY due_at LIMIT ?3"
);

const CLAIM: &str = "\
    UPDATE jobs SET owner = ?4, due_at = ?5, since = ?6 \
    WHERE kind = ?1 AND provider = ?2 AND user = ?3";

/// Whoever works on it goes on; what is wanted of it is remembered until it is finished.
const HASTEN: &str = "\
    INSERT INTO jobs (kind, provider, user, state, due_at, since, updated_at) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) \
    ON CONFLICT (kind, provider, user) DO UPDATE SET \
        wanted_at = CASE WHEN owner IS NOT NULL \
            THEN min(coalesce(wanted_at, excluded.due_at), excluded.due_at) END, \
        since = CASE WHEN owner IS NULL AND (due_at IS NULL OR due_at > excluded.due_at) \
            THEN excluded.since ELSE since END, \
        due_at = CASE WHEN owner IS NULL \
            THEN min(coalesce(due_at, excluded.due_at), excluded.due_at) ELSE due_at END";

const REPLACE: &str = "\
    INSERT OR REPLACE INTO jobs (kind, provider, user, state, due_at, since, updated_at) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)";

const PROGRESS: &str = "\
    UPDATE jobs SET state = ?5, due_at = ?6, since = ?7, updated_at = ?7 \
    WHERE kind = ?1 AND provider = ?2 AND user = ?3 AND owner = ?4";

const FINISH: &str = "\
    UPDATE jobs SET state = ?5, owner = NULL, wanted_at = NULL, since = ?7, updated_at = ?7, \
        due_at = min(coalesce(?6, wanted_at), coalesce(wanted_at, ?6)) \
    WHERE kind = ?1 AND provider = ?2 AND user = ?3 AND owner = ?4";

#[async_trait]
impl Jobs for Sqlite {
    async fn schedule(
        &self,
        kind: JobKind,
        key: &ConnectionKey,
        state: Option<Sealed>,
        due_in: Duration,
        existing: Existing,
    ) -> Result<(), Error> {
        let key = key.clone();
        self.write(move |db, desk| {
            let now = desk.now();
            due::catch_up(db, due::JOBS, now)?;
            let sql = match existing {
                Existing::Hasten => HASTEN,
                Existing::Replace => REPLACE,
            };
            db.prepare_cached(sql)?.execute(params![
                kind.as_str(),
                key.provider.as_str(),
                key.user.as_str(),
                state.as_ref().map(Sealed::as_bytes),
                now.saturating_add(due_in).as_millis(),
                now.as_millis(),
            ])?;
            Ok(())
        })
        .await
    }

    async fn claim(
        &self,
        kind: JobKind,
        owner: OwnerId,
        ttl: Duration,
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        self.write(move |db, desk| claim(db, desk, kind, owner, (ttl, limit)))
            .await
    }

    async fn progress(
        &self,
        kind: JobKind,
        key: &ConnectionKey,
        owner: OwnerId,
        state: Option<Sealed>,
        ttl: Duration,
    ) -> Result<bool, Error> {
        self.of_worker(PROGRESS, (kind, key, owner), state, Some(ttl))
            .await
    }

    async fn finish(
        &self,
        kind: JobKind,
        key: &ConnectionKey,
        owner: OwnerId,
        state: Option<Sealed>,
        next: Option<Duration>,
    ) -> Result<bool, Error> {
        self.of_worker(FINISH, (kind, key, owner), state, next)
            .await
    }

    async fn job(&self, kind: JobKind, key: &ConnectionKey) -> Result<Option<Job>, Error> {
        let key = key.clone();
        self.read(move |db| {
            let (provider, user) = (key.provider.as_str(), key.user.as_str());
            db.prepare_cached(ONE)?
                .query_row([kind.as_str(), provider, user], |row| Ok(read(row)))
                .optional()?
                .transpose()
        })
        .await
    }

    async fn jobs(
        &self,
        kind: JobKind,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        let after = after.cloned();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.list(move |db| {
            let (provider, user) = after.as_ref().map_or(("", ""), |after| {
                (after.provider.as_str(), after.user.as_str())
            });
            collect(
                db.prepare_cached(PAGE)?,
                params![kind.as_str(), provider, user, limit],
            )
        })
        .await
    }

    async fn cancel(&self, kind: JobKind, key: &ConnectionKey) -> Result<bool, Error> {
        let key = key.clone();
        self.write(move |db, _desk| {
            let (provider, user) = (key.provider.as_str(), key.user.as_str());
            let gone = db
                .prepare_cached("DELETE FROM jobs WHERE kind = ?1 AND provider = ?2 AND user = ?3")?
                .execute([kind.as_str(), provider, user])?;
            Ok(gone > 0)
        })
        .await
    }
}

impl Sqlite {
    /// Does `sql` to the job of that key, if the owner has it.
    async fn of_worker(
        &self,
        sql: &'static str,
        (kind, key, owner): (JobKind, &ConnectionKey, OwnerId),
        state: Option<Sealed>,
        due_in: Option<Duration>,
    ) -> Result<bool, Error> {
        let key = key.clone();
        self.write(move |db, desk| {
            let now = desk.now();
            due::catch_up(db, due::JOBS, now)?;
            let changed = db.prepare_cached(sql)?.execute(params![
                kind.as_str(),
                key.provider.as_str(),
                key.user.as_str(),
                owner.as_bytes().as_slice(),
                state.as_ref().map(Sealed::as_bytes),
                due_in.map(|due_in| now.saturating_add(due_in).as_millis()),
                now.as_millis(),
            ])?;
            Ok(changed > 0)
        })
        .await
    }
}

fn claim(
    db: &Db,
    desk: &Desk,
    kind: JobKind,
    owner: OwnerId,
    (ttl, limit): (Duration, usize),
) -> Result<Vec<Job>, Failure> {
    let (now, limit) = (desk.now(), i64::try_from(limit).unwrap_or(i64::MAX));
    due::catch_up(db, due::JOBS, now)?;
    let mut jobs = collect(
        db.prepare_cached(DUE)?,
        params![kind.as_str(), now.as_millis(), limit],
    )?;
    let until = now.saturating_add(ttl);
    for job in &mut jobs {
        db.prepare_cached(CLAIM)?.execute(params![
            kind.as_str(),
            job.key.provider.as_str(),
            job.key.user.as_str(),
            owner.as_bytes().as_slice(),
            until.as_millis(),
            now.as_millis(),
        ])?;
        (job.owner, job.due_at) = (Some(owner), Some(until));
    }
    Ok(jobs)
}

fn collect(
    mut statement: CachedStatement<'_>,
    parameters: impl rusqlite::Params,
) -> Result<Vec<Job>, Failure> {
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn read(row: &Row<'_>) -> Result<Job, Failure> {
    let mut cells = Cells::of(row);
    job(&mut cells).map_err(|what| rows::inconsistent(row, what))
}

fn job(cells: &mut Cells<'_, '_>) -> Result<Job, Unfit> {
    Ok(Job {
        key: cells.key()?,
        state: cells.take::<Option<Vec<u8>>>()?.map(Sealed::from_bytes),
        due_at: cells.time()?,
        owner: cells.owner()?,
        updated_at: cells.moment()?,
    })
}
