//! What every operation has at hand: connections, the time, the feed of changes.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::time::timeout;
use tokio_postgres::{Row, types::Type};

use super::{
    Options, TimeSource,
    failure::Failure,
    feed::{Feed, Noted},
    pool::{Lent, Param, Pool, TRIES},
    schema,
};
use crate::base::lifecycle::Lifecycle;

/// The time in milliseconds: the parameter if there is one, else the server's own.
macro_rules! now {
    ($parameter:literal) => {
        concat!(
            "coalesce(",
            $parameter,
            "::int8, (extract(epoch FROM clock_timestamp()) * 1000)::int8)"
        )
    };
}
pub(super) use now;

/// A `WITH` query of which `SELECT now FROM moment` is [`now`], for those who need the same time twice
/// or search an index with it.
macro_rules! moment {
    ($parameter:literal) => {
        concat!(
            "moment AS MATERIALIZED (SELECT ",
            $crate::store::postgres::desk::now!($parameter),
            " AS now)"
        )
    };
}
pub(super) use moment;

/// A query of a `WITH` beside [`moment`]: what was set later than `now`, in a table of what waits for a
/// time, by a clock that was set back since, is counted from `now`. So nothing is due later than in the
/// time that it was put off for, and no claim lasts longer than it was made for. `$set` does the same to
/// other columns. What this does may make something due, but not for the same statement: so the first row
/// that is answered has NULL in its first cell if there was anything ([`Desk::claim`]). The sum and the
/// order are there for the server to search the index of `since`, and no other.
macro_rules! catch_up {
    ($table:literal, $set:literal) => {
        concat!(
            "late AS MATERIALIZED (SELECT ctid FROM daypass.",
            $table,
            " WHERE since > (SELECT now FROM moment) AND due_at IS NOT NULL \
                AND due_at + 0 > (SELECT now FROM moment) ORDER BY since LIMIT 1000 \
                FOR UPDATE SKIP LOCKED), \
             ahead AS (UPDATE daypass.",
            $table,
            " SET ",
            $set,
            "due_at = (SELECT now FROM moment) + (due_at - since), since = (SELECT now FROM moment) \
                WHERE ctid = ANY (ARRAY(SELECT ctid FROM late)) RETURNING 1)"
        )
    };
}
pub(super) use catch_up;

/// How often a claim asks again because the clock was set back. The next one goes on from there.
const ROUNDS: u32 = 10;

/// More entries than this are not told one by one.
const TELL_EACH: usize = 64;

/// Shared by all that one store does.
pub(super) struct Desk {
    pub(super) pool: Arc<Pool>,
    pub(super) feed: Feed,
    pub(super) options: Options,
    pub(super) lifecycle: Lifecycle,
    /// The schema that a newer version has made of the tables, once that is found out; else zero.
    outdated: AtomicU32,
}

/// What is done in one transaction.
pub(super) trait Work: Sync {
    /// What it comes to.
    type Done: Send;

    /// Does it; again from the start, if the server has undone it for the sake of another.
    fn run(&self, db: &mut Lent) -> impl Future<Output = Result<Self::Done, Failure>> + Send;
}

// === impl Desk ===

impl Desk {
    pub(super) fn new(pool: Arc<Pool>, options: Options, lifecycle: Lifecycle) -> Self {
        Self {
            pool,
            feed: Feed::new(options.keep_changes),
            options,
            lifecycle,
            outdated: AtomicU32::new(0),
        }
    }

    /// For the parameter of [`now`].
    pub(super) fn now(&self) -> Option<i64> {
        match &self.options.time {
            TimeSource::Server => None,
            TimeSource::Clock(clock) => Some(clock.now().as_millis()),
        }
    }

    /// One statement, by itself.
    pub(super) async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Failure> {
        self.is_current()?;
        let answer = self.pool.query(sql, params).await;
        match answer {
            Err(failure) => Err(self.explained(failure).await),
            answer => answer,
        }
    }

    /// What a statement with [`catch_up`] has claimed.
    pub(super) async fn claim(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Failure> {
        for _round in 0..ROUNDS {
            let mut rows = self.query(sql, params).await?;
            let name: Option<&str> = rows
                .first()
                .map(|row| row.try_get(0))
                .transpose()?
                .flatten();
            if name.is_some() || rows.is_empty() {
                return Ok(rows);
            }
            if rows.len() > 1 {
                return Ok(rows.split_off(1));
            }
        }
        Ok(Vec::new())
    }

    /// Several statements, as one; done again if the server asks for it.
    pub(super) async fn transact<W: Work>(&self, work: &W) -> Result<W::Done, Failure> {
        self.is_current()?;
        let mut tries = 1;
        loop {
            match self.attempt(work).await {
                Err(failure) if failure.is_to_be_repeated() && tries < TRIES => tries += 1,
                Err(failure) => return Err(self.explained(failure).await),
                done => return done,
            }
        }
    }

    async fn attempt<W: Work>(&self, work: &W) -> Result<W::Done, Failure> {
        let mut db = self.pool.lend().await?;
        db.begin().await?;
        let done = work.run(&mut db).await?;
        db.commit().await?;
        Ok(done)
    }

    /// The reason behind `failure`, if the tables are no longer what this version knows.
    pub(super) async fn explained(&self, failure: Failure) -> Failure {
        if failure.is_about_tables()
            && let Err(reason) = schema::check(&self.pool).await
        {
            return reason;
        }
        failure
    }

    /// Refuses to work on tables that this version does not know.
    pub(super) fn is_current(&self) -> Result<(), Failure> {
        match self.outdated.load(Ordering::Relaxed) {
            0 => Ok(()),
            found => schema::admits(i64::from(found)),
        }
    }

    /// Takes note of which version the tables ask for.
    pub(super) fn asked_for(&self, min_reader: i64) -> Result<(), Failure> {
        let verdict = schema::admits(min_reader);
        if let Err(Failure::FromTheFuture { found, .. }) = &verdict {
            self.outdated.store(*found, Ordering::Relaxed);
        }
        verdict
    }

    /// Tells this process and the others what was written, and drops old entries of the log. Nobody
    /// waits for it: who is not told finds out by looking.
    pub(super) fn told(self: &Arc<Self>, noted: Vec<Noted>) {
        let (Some(first), Some(last)) = (noted.first(), noted.last()) else {
            return;
        };
        let keep = i64::from(self.options.keep_changes.max(1));
        // Dropped in portions, so that most writes touch one row of the log only.
        let portion = (keep / 8).max(1);
        let prune =
            (first.seq.saturating_sub(1)).div_euclid(portion) != last.seq.div_euclid(portion);
        let oldest = last.seq.saturating_sub(keep);
        let mut lines: Vec<String> = noted.iter().map(Noted::line).collect();
        if lines.len() > TELL_EACH {
            lines = vec![String::new()];
        }
        for entry in noted {
            self.feed.tell(entry);
        }
        let desk = Arc::clone(self);
        drop(self.lifecycle.spawn(async move {
            let limit = desk.options.timeout;
            let told = timeout(limit, async {
                desk.announce(&lines).await?;
                if prune {
                    desk.prune(oldest).await
                } else {
                    Ok(())
                }
            });
            if let Err(failure) = told.await.unwrap_or(Err(Failure::Late(limit))) {
                tracing::debug!(
                    ?failure,
                    "a change was not announced; others find it by looking"
                );
            }
        }));
    }

    /// By a statement of its own, after the commit: commits that carry notifications wait for each
    /// other, across all of the server.
    async fn announce(&self, lines: &[String]) -> Result<(), Failure> {
        self.query(
            "SELECT pg_notify($1, line) FROM unnest($2) line",
            &[(&super::CHANNEL, Type::TEXT), (&lines, Type::TEXT_ARRAY)],
        )
        .await
        .map(drop)
    }

    async fn prune(&self, oldest: i64) -> Result<(), Failure> {
        self.query(
            "WITH gone AS (DELETE FROM daypass.changes WHERE seq <= $1 RETURNING xid) \
             UPDATE daypass.feed SET pruned = greatest(pruned, (SELECT max(xid) FROM gone)) \
             WHERE EXISTS (SELECT FROM gone)",
            &[(&oldest, Type::INT8)],
        )
        .await
        .map(drop)
    }
}
