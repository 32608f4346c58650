//! Duties: as [`leases`](super::leases), but of no connection.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::{
    desk::{Desk, now},
    failure::Failure,
    leases::millis,
};
use crate::{
    base::ids::OwnerId,
    store::{Duty, Turn},
};

/// Whoever does not get it has only read: thousands of sidecars ask for what one of them has. If the
/// clock was set back, no more is left of it than what it was taken for.
const TAKE: &str = concat!(
    "WITH moment AS MATERIALIZED (SELECT ",
    now!("$4"),
    " AS now), \
     taken AS (UPDATE daypass.duties SET owner = $2, until = now + $3, ttl = $3 FROM moment \
        WHERE name = $1 AND (owner = $2 OR until <= now) RETURNING 1), \
     made AS (INSERT INTO daypass.duties (name, owner, until, ttl) \
        SELECT $1, $2, now + $3, $3 FROM moment \
        WHERE NOT EXISTS (SELECT FROM daypass.duties WHERE name = $1) \
        ON CONFLICT DO NOTHING RETURNING 1), \
     shortened AS (UPDATE daypass.duties SET until = now + ttl FROM moment \
        WHERE name = $1 AND owner <> $2 AND until > now + ttl) \
     SELECT EXISTS (SELECT FROM taken) OR EXISTS (SELECT FROM made), \
        (SELECT least(until - now, ttl) FROM daypass.duties, moment WHERE name = $1)"
);

const LEAVE: &str = concat!(
    "DELETE FROM daypass.duties WHERE name = $1 AND owner = $2 AND until > ",
    now!("$3"),
    " RETURNING 1"
);

/// See [`Store::take_duty`](crate::store::Store::take_duty).
pub(super) async fn take(
    desk: &Desk,
    duty: &Duty,
    owner: OwnerId,
    ttl: Duration,
) -> Result<Turn, Failure> {
    let rows = desk
        .query(
            TAKE,
            &[
                (&duty.as_str(), Type::TEXT),
                (&owner.as_bytes().as_slice(), Type::BYTEA),
                (&millis(ttl), Type::INT8),
                (&desk.now(), Type::INT8),
            ],
        )
        .await?;
    let Some(row) = rows.first() else {
        return Err(Failure::Unfit("the server does not say whose a duty is"));
    };
    if row.try_get(0)? {
        return Ok(Turn::Mine);
    }
    // Nothing, if it was made or left between two looks of one statement: ask again at once.
    let left: Option<i64> = row.try_get(1)?;
    let left = left.and_then(|left| u64::try_from(left).ok()).unwrap_or(0);
    Ok(Turn::Anothers(Duration::from_millis(left)))
}

/// See [`Store::leave_duty`](crate::store::Store::leave_duty).
pub(super) async fn leave(desk: &Desk, duty: &Duty, owner: OwnerId) -> Result<bool, Failure> {
    let left = desk
        .query(
            LEAVE,
            &[
                (&duty.as_str(), Type::TEXT),
                (&owner.as_bytes().as_slice(), Type::BYTEA),
                (&desk.now(), Type::INT8),
            ],
        )
        .await?;
    Ok(!left.is_empty())
}
