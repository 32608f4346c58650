//! Lines: claimed, held, settled.

use std::{collections::HashMap, time::Duration};

use tokio_postgres::types::Type;

use super::{
    super::{
        desk::{Desk, catch_up, moment},
        failure::Failure,
        grants::storable,
        leases::millis,
    },
    columns, number, read_claimed,
};
use crate::{
    base::ids::{OwnerId, UserId},
    store::{Claimed, DeliveryId, Settled},
};

/// The time is a sub-select, so that it is asked for once and the index can be searched with it.
/// Passes over what somebody else is writing to at the moment: who writes makes it due or not. What is due
/// cannot be ahead of the time; the first row says whether anything was.
const CLAIM: &str = concat!(
    "WITH ",
    moment!("$3"),
    ", ",
    catch_up!("lines", ""),
    ", due AS MATERIALIZED (SELECT user_id, due_at AS was FROM daypass.lines \
        WHERE due_at <= (SELECT now FROM moment) ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED), \
     claimed AS (UPDATE daypass.lines l SET owner = $1, \
            due_at = (SELECT now FROM moment) + $2, since = (SELECT now FROM moment) \
        FROM due WHERE l.user_id = due.user_id RETURNING l.user_id, l.tail, due.was) \
     SELECT NULL AS user_id, count(*) AS tail, NULL::int8 AS was FROM ahead HAVING count(*) > 0 \
     UNION ALL SELECT user_id, tail, was FROM claimed"
);

/// The first of each line of `$1`, with what to deliver. By a statement of its own, after the claim:
/// it sees all that joined before.
const FIRST: &str = concat!(
    "SELECT ",
    columns!(),
    ", e.payload FROM unnest($1) AS claimed (user_id) CROSS JOIN LATERAL ( \
        SELECT * FROM daypass.deliveries \
        WHERE user_id = claimed.user_id AND status = 'pending' ORDER BY place LIMIT 1) d \
     JOIN daypass.events e ON e.n = d.event"
);

/// A claimed line in which nothing is pending; unless something has joined it since it was looked at.
const LEAVE: &str = "\
    UPDATE daypass.lines SET owner = NULL, due_at = CASE WHEN tail = $3 THEN NULL ELSE 0 END, since = 0 \
    WHERE user_id = $1 AND owner = $2";

const HOLD: &str = concat!(
    "WITH ",
    moment!("$4"),
    " UPDATE daypass.lines SET due_at = now + $3, since = now FROM moment \
     WHERE user_id = $1 AND owner = $2 RETURNING 1"
);

/// `$4` is when it is due again, if it is; else what has joined the line behind it is due at once.
/// Whether anything has is asked of the row that is locked.
const SETTLE: &str = concat!(
    "WITH ",
    moment!("$7"),
    ", first AS MATERIALIZED (SELECT id, user_id, place FROM daypass.deliveries d \
        WHERE id = $1 AND status = 'pending' AND NOT EXISTS (SELECT FROM daypass.deliveries b \
            WHERE b.user_id = d.user_id AND b.status = 'pending' AND b.place < d.place)), \
     line AS (UPDATE daypass.lines l SET owner = NULL, since = now, \
            due_at = CASE WHEN $4 IS NOT NULL THEN now + $4 WHEN l.tail > first.place THEN now END \
        FROM first, moment WHERE l.user_id = first.user_id AND l.owner = $2 RETURNING 1) \
     UPDATE daypass.deliveries SET status = $3, at = now + coalesce($4, 0), \
        attempts = attempts + CASE WHEN $5 THEN 1 ELSE 0 END, \
        first_tried_at = CASE WHEN $5 THEN coalesce(first_tried_at, now) ELSE first_tried_at END, \
        last_error = CASE WHEN $5 THEN $6 ELSE last_error END \
     FROM line, moment WHERE id = $1 AND status = 'pending' RETURNING 1"
);

/// See [`Deliveries::claim_lines`](crate::store::Deliveries::claim_lines).
pub(super) async fn claim(
    desk: &Desk,
    owner: OwnerId,
    ttl: Duration,
    limit: usize,
) -> Result<Vec<Claimed>, Failure> {
    let lines = desk
        .claim(
            CLAIM,
            &[
                (&owner.as_bytes().as_slice(), Type::BYTEA),
                (&millis(ttl), Type::INT8),
                (&desk.now(), Type::INT8),
                (&i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8),
            ],
        )
        .await?;
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    // Of each user: the tail, and since when the line was due.
    let mut claimed: HashMap<String, (i64, i64)> = HashMap::new();
    for row in &lines {
        claimed.insert(row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?));
    }
    let users: Vec<&String> = claimed.keys().collect();
    let firsts = desk.query(FIRST, &[(&users, Type::TEXT_ARRAY)]).await?;
    let mut found = Vec::with_capacity(firsts.len());
    for row in &firsts {
        let user: String = row.try_get(4)?;
        let (_tail, was) = claimed.remove(&user).unwrap_or_default();
        match read_claimed(row) {
            Ok(first) => found.push((was, first)),
            // Its line stays claimed, and comes back later; the others must not wait for it.
            Err(Failure::Row { row, what }) => {
                tracing::error!(
                    row,
                    what,
                    "an inconsistent row holds up the deliveries of its user"
                );
            }
            Err(failure) => return Err(failure),
        }
    }
    for (user, (tail, _was)) in claimed {
        leave(desk, &user, owner, tail).await?;
    }
    found.sort_by_key(|(was, _first)| *was);
    Ok(found.into_iter().map(|(_was, first)| first).collect())
}

async fn leave(desk: &Desk, user: &str, owner: OwnerId, tail: i64) -> Result<(), Failure> {
    desk.query(
        LEAVE,
        &[
            (&user, Type::TEXT),
            (&owner.as_bytes().as_slice(), Type::BYTEA),
            (&tail, Type::INT8),
        ],
    )
    .await
    .map(drop)
}

/// See [`Deliveries::hold_line`](crate::store::Deliveries::hold_line).
pub(super) async fn hold(
    desk: &Desk,
    user: &UserId,
    owner: OwnerId,
    ttl: Duration,
) -> Result<bool, Failure> {
    let held = desk
        .query(
            HOLD,
            &[
                (&user.as_str(), Type::TEXT),
                (&owner.as_bytes().as_slice(), Type::BYTEA),
                (&millis(ttl), Type::INT8),
                (&desk.now(), Type::INT8),
            ],
        )
        .await?;
    Ok(!held.is_empty())
}

/// See [`Deliveries::settle`](crate::store::Deliveries::settle).
pub(super) async fn settle(
    desk: &Desk,
    delivery: DeliveryId,
    owner: OwnerId,
    settled: Settled,
) -> Result<bool, Failure> {
    let (status, next_in, is_tried, error) = match settled {
        Settled::Delivered => ("delivered", None, true, None),
        Settled::Dead { what } => ("dead", None, true, Some(what)),
        Settled::Failed { what, next_in } => ("pending", Some(next_in), true, Some(what)),
        Settled::Postponed { next_in } => ("pending", Some(next_in), false, None),
    };
    let written = desk
        .query(
            SETTLE,
            &[
                (&number(delivery), Type::INT8),
                (&owner.as_bytes().as_slice(), Type::BYTEA),
                (&status, Type::TEXT),
                (&next_in.map(millis), Type::INT8),
                (&is_tried, Type::BOOL),
                (&storable(error.as_deref()), Type::TEXT),
                (&desk.now(), Type::INT8),
            ],
        )
        .await?;
    Ok(!written.is_empty())
}
