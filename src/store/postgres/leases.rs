//! Leases: who renews which connection, for how long.
//!
//! 1. A lease is held while the clock is before its end; from then on anybody may take it.
//! 2. Only its owner prolongs it or gives it back.
//! 3. If the clock was set back, no more than the lease's own length is left of it.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::{
    desk::{Desk, now},
    failure::Failure,
    rows::{self, columns},
};
use crate::{
    base::ids::{ConnectionKey, OwnerId},
    store::Lease,
};

const ACQUIRE: &str = concat!(
    "UPDATE daypass.connections SET lease_owner = $3, lease_ttl = $4, lease_until = ",
    now!("$5"),
    " + $4 WHERE provider = $1 AND user_id = $2 \
     AND (lease_owner IS NULL OR lease_owner = $3 OR lease_until <= ",
    now!("$5"),
    ") RETURNING ",
    columns!()
);

/// What is left of a lease that another holds; also shortens it if the clock was set back.
const HOLDER: &str = concat!(
    "WITH moment AS MATERIALIZED (SELECT ",
    now!("$3"),
    " AS now), shortened AS (UPDATE daypass.connections SET lease_until = now + lease_ttl FROM moment \
     WHERE provider = $1 AND user_id = $2 AND lease_until > now + lease_ttl) \
     SELECT least(lease_until - now, lease_ttl) FROM daypass.connections, moment \
     WHERE provider = $1 AND user_id = $2"
);

const EXTEND: &str = concat!(
    "UPDATE daypass.connections SET lease_ttl = $5, lease_until = ",
    now!("$4"),
    " + $5 WHERE provider = $1 AND user_id = $2 AND lease_owner = $3 AND lease_until > ",
    now!("$4"),
    " RETURNING 1"
);

const RELEASE: &str = concat!(
    "UPDATE daypass.connections SET lease_owner = NULL, lease_ttl = NULL, lease_until = NULL \
     WHERE provider = $1 AND user_id = $2 AND lease_owner = $3 AND lease_until > ",
    now!("$4"),
    " RETURNING 1"
);

/// A lease that is given back between two looks is asked for again, so often at most.
const TRIES: u32 = 3;

/// See [`Store::acquire`](crate::store::Store::acquire).
pub(super) async fn acquire(
    desk: &Desk,
    key: &ConnectionKey,
    owner: OwnerId,
    ttl: Duration,
) -> Result<Lease, Failure> {
    let (provider, user) = (key.provider.as_str(), key.user.as_str());
    let (owner, ttl) = (owner.as_bytes().as_slice(), millis(ttl));
    for _try in 0..TRIES {
        let now = desk.now();
        let granted = desk
            .query(
                ACQUIRE,
                &[
                    (&provider, Type::TEXT),
                    (&user, Type::TEXT),
                    (&owner, Type::BYTEA),
                    (&ttl, Type::INT8),
                    (&now, Type::INT8),
                ],
            )
            .await?;
        if let Some(row) = granted.first() {
            return Ok(Lease::Granted(Box::new(rows::read(row)?)));
        }
        let held = desk
            .query(
                HOLDER,
                &[
                    (&provider, Type::TEXT),
                    (&user, Type::TEXT),
                    (&now, Type::INT8),
                ],
            )
            .await?;
        let Some(row) = held.first() else {
            return Ok(Lease::Gone);
        };
        let left: Option<i64> = row.try_get(0)?;
        if let Some(left) = left
            .and_then(|left| u64::try_from(left).ok())
            .filter(|left| *left > 0)
        {
            return Ok(Lease::Held(Duration::from_millis(left)));
        }
    }
    Ok(Lease::Held(Duration::ZERO))
}

/// See [`Store::extend`](crate::store::Store::extend).
pub(super) async fn extend(
    desk: &Desk,
    key: &ConnectionKey,
    owner: OwnerId,
    ttl: Duration,
) -> Result<bool, Failure> {
    let extended = desk
        .query(
            EXTEND,
            &[
                (&key.provider.as_str(), Type::TEXT),
                (&key.user.as_str(), Type::TEXT),
                (&owner.as_bytes().as_slice(), Type::BYTEA),
                (&desk.now(), Type::INT8),
                (&millis(ttl), Type::INT8),
            ],
        )
        .await?;
    Ok(!extended.is_empty())
}

/// See [`Store::release`](crate::store::Store::release).
pub(super) async fn release(
    desk: &Desk,
    key: &ConnectionKey,
    owner: OwnerId,
) -> Result<bool, Failure> {
    let released = desk
        .query(
            RELEASE,
            &[
                (&key.provider.as_str(), Type::TEXT),
                (&key.user.as_str(), Type::TEXT),
                (&owner.as_bytes().as_slice(), Type::BYTEA),
                (&desk.now(), Type::INT8),
            ],
        )
        .await?;
    Ok(!released.is_empty())
}

/// Whole milliseconds, not so many that the server could not add them to a time.
pub(super) fn millis(duration: Duration) -> i64 {
    const MOST: i64 = 1 << 50;
    i64::try_from(duration.as_millis()).map_or(MOST, |millis| millis.min(MOST))
}
