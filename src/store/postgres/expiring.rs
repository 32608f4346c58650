//! Records that end by themselves. Whether they have ended is asked of the clock whenever they are
//! looked for; sweeping only makes room.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::types::Type;

use super::{
    Postgres, ask,
    desk::{Desk, moment, now},
    failure::Failure,
    leases::millis,
};
use crate::store::{Digest, Error, Expiring, Purpose, seal::Sealed};

const PUT: &str = concat!(
    "INSERT INTO daypass.expiring (purpose, digest, record, ends_at) VALUES ($1, $2, $3, ",
    now!("$5"),
    " + $4) ON CONFLICT (digest, purpose) \
     DO UPDATE SET record = excluded.record, ends_at = excluded.ends_at"
);

const PEEK: &str = concat!(
    "SELECT record FROM daypass.expiring WHERE purpose = $1 AND digest = $2 \
     AND (ends_at IS NULL OR ends_at > ",
    now!("$3"),
    ")"
);

/// Of two that delete one row, the one that comes second finds none.
const TAKE: &str = concat!(
    "DELETE FROM daypass.expiring WHERE purpose = $1 AND digest = $2 \
     AND (ends_at IS NULL OR ends_at > ",
    now!("$3"),
    ") RETURNING record"
);

const SWEEP: &str = concat!(
    "WITH ",
    moment!("$1"),
    ", ended AS MATERIALIZED (SELECT purpose, digest FROM daypass.expiring \
        WHERE ends_at <= (SELECT now FROM moment) ORDER BY ends_at LIMIT $2 \
        FOR UPDATE SKIP LOCKED) \
     DELETE FROM daypass.expiring e USING ended \
     WHERE e.purpose = ended.purpose AND e.digest = ended.digest RETURNING 1"
);

#[async_trait]
impl Expiring for Postgres {
    async fn put(
        &self,
        purpose: Purpose,
        digest: &Digest,
        record: Sealed,
        ttl: Option<Duration>,
    ) -> Result<(), Error> {
        let digest = *digest;
        ask!(self, |desk| put(&desk, purpose, digest, record, ttl))
    }

    async fn peek(&self, purpose: Purpose, digest: &Digest) -> Result<Option<Sealed>, Error> {
        let digest = *digest;
        ask!(self, |desk| find(&desk, PEEK, purpose, digest))
    }

    async fn take(&self, purpose: Purpose, digest: &Digest) -> Result<Option<Sealed>, Error> {
        let digest = *digest;
        ask!(self, |desk| find(&desk, TAKE, purpose, digest))
    }

    async fn sweep(&self, limit: usize) -> Result<u64, Error> {
        ask!(lists self, |desk| sweep(&desk, limit))
    }
}

async fn put(
    desk: &Desk,
    purpose: Purpose,
    digest: Digest,
    record: Sealed,
    ttl: Option<Duration>,
) -> Result<(), Failure> {
    desk.query(
        PUT,
        &[
            (&purpose.as_str(), Type::TEXT),
            (&digest.0.as_slice(), Type::BYTEA),
            (&record.as_bytes(), Type::BYTEA),
            (&ttl.map(millis), Type::INT8),
            (&desk.now(), Type::INT8),
        ],
    )
    .await
    .map(drop)
}

async fn find(
    desk: &Desk,
    sql: &str,
    purpose: Purpose,
    digest: Digest,
) -> Result<Option<Sealed>, Failure> {
    let rows = desk
        .query(
            sql,
            &[
                (&purpose.as_str(), Type::TEXT),
                (&digest.0.as_slice(), Type::BYTEA),
                (&desk.now(), Type::INT8),
            ],
        )
        .await?;
    let record = rows.first().map(|row| row.try_get(0)).transpose()?;
    Ok(record.map(Sealed::from_bytes))
}

async fn sweep(desk: &Desk, limit: usize) -> Result<u64, Failure> {
    let swept = desk
        .query(
            SWEEP,
            &[
                (&desk.now(), Type::INT8),
                (&i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8),
            ],
        )
        .await?;
    Ok(u64::try_from(swept.len()).unwrap_or(u64::MAX))
}
