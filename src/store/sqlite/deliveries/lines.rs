//! Lines: claimed, held, settled; and what joins them again.

use std::time::Duration;

use rusqlite::{Connection as Db, OptionalExtension, params};

use super::{
    super::{due, failure::Failure},
    columns, join_line, number, read_claimed,
};
use crate::{
    base::{
        clock::Timestamp,
        ids::{OwnerId, UserId},
    },
    store::{Claimed, DeliveryId, Settled, sqlite::desk::Desk},
};

pub(super) const DUE: &str = "\
    SELECT user FROM lines INDEXED BY lines_by_due WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2";

/// The first of a line, with what to deliver.
pub(super) const FIRST: &str = concat!(
    "SELECT ",
    columns!(),
    ", e.payload FROM deliveries d INDEXED BY deliveries_in_line JOIN events e ON e.n = d.event \
     WHERE d.user = ?1 AND d.status = 'pending' ORDER BY d.place LIMIT 1"
);

pub(super) const FIRST_NUMBER: &str = "\
    SELECT id FROM deliveries INDEXED BY deliveries_in_line \
    WHERE user = ?1 AND status = 'pending' ORDER BY place LIMIT 1";

const SETTLE: &str = "\
    UPDATE deliveries SET status = ?2, at = ?3, attempts = attempts + ?4, \
        first_tried_at = CASE WHEN ?4 THEN coalesce(first_tried_at, ?5) ELSE first_tried_at END, \
        last_error = CASE WHEN ?4 THEN ?6 ELSE last_error END \
    WHERE id = ?1";

const BEGIN_ANEW: &str = "\
    UPDATE deliveries SET status = 'pending', place = ?2, at = ?3, attempts = 0, \
        first_tried_at = NULL, last_error = NULL \
    WHERE id = ?1";

/// See [`Deliveries::claim_lines`](crate::store::Deliveries::claim_lines).
pub(super) fn claim(
    db: &Db,
    desk: &Desk,
    owner: OwnerId,
    ttl: Duration,
    limit: usize,
) -> Result<Vec<Claimed>, Failure> {
    let now = desk.now();
    due::catch_up(db, due::LINES, now)?;
    let users: Vec<String> = db
        .prepare_cached(DUE)?
        .query_map(
            params![now.as_millis(), i64::try_from(limit).unwrap_or(i64::MAX)],
            |row| row.get(0),
        )?
        .collect::<Result<_, _>>()?;
    let mut claimed = Vec::with_capacity(users.len());
    for user in users {
        let first = db
            .prepare_cached(FIRST)?
            .query_row([&user], |row| Ok(read_claimed(row)))
            .optional()?;
        let Some(first) = first else {
            db.prepare_cached("DELETE FROM lines WHERE user = ?1")?
                .execute([&user])?;
            continue;
        };
        db.prepare_cached("UPDATE lines SET owner = ?2, due_at = ?3, since = ?4 WHERE user = ?1")?
            .execute(params![
                user,
                owner.as_bytes().as_slice(),
                now.saturating_add(ttl).as_millis(),
                now.as_millis(),
            ])?;
        match first {
            Ok(first) => claimed.push(first),
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
    Ok(claimed)
}

/// See [`Deliveries::hold_line`](crate::store::Deliveries::hold_line).
pub(super) fn hold(
    db: &Db,
    desk: &Desk,
    user: &UserId,
    owner: OwnerId,
    ttl: Duration,
) -> Result<bool, Failure> {
    let now = desk.now();
    let held = db
        .prepare_cached("UPDATE lines SET due_at = ?3, since = ?4 WHERE user = ?1 AND owner = ?2")?
        .execute(params![
            user.as_str(),
            owner.as_bytes().as_slice(),
            now.saturating_add(ttl).as_millis(),
            now.as_millis(),
        ])?;
    Ok(held > 0)
}

/// See [`Deliveries::settle`](crate::store::Deliveries::settle).
pub(super) fn settle(
    db: &Db,
    desk: &Desk,
    delivery: DeliveryId,
    owner: OwnerId,
    settled: &Settled,
) -> Result<bool, Failure> {
    let user: Option<String> = db
        .prepare_cached(
            "SELECT d.user FROM deliveries d JOIN lines l ON l.user = d.user \
             WHERE d.id = ?1 AND d.status = 'pending' AND l.owner = ?2",
        )?
        .query_row(
            params![number(delivery), owner.as_bytes().as_slice()],
            |row| row.get(0),
        )
        .optional()?;
    let Some(user) = user else {
        return Ok(false);
    };
    if first(db, &user)? != Some(number(delivery)) {
        return Ok(false);
    }
    let now = desk.now();
    let (status, at, is_tried, error) = match settled {
        Settled::Delivered => ("delivered", now, true, None),
        Settled::Dead { what } => ("dead", now, true, Some(what)),
        Settled::Failed { what, next_in } => {
            ("pending", now.saturating_add(*next_in), true, Some(what))
        }
        Settled::Postponed { next_in } => ("pending", now.saturating_add(*next_in), false, None),
    };
    db.prepare_cached(SETTLE)?.execute(params![
        number(delivery),
        status,
        at.as_millis(),
        is_tried,
        now.as_millis(),
        error,
    ])?;
    // What follows was never tried: it is due at once, whatever the clock was when it came.
    let due_at = if status == "pending" { at } else { now };
    leave(db, &user, due_at, now)?;
    Ok(true)
}

/// Ends the claim on a line, which is due at that time; or the line, if it is empty.
fn leave(db: &Db, user: &str, due_at: Timestamp, now: Timestamp) -> Result<(), Failure> {
    if first(db, user)?.is_none() {
        db.prepare_cached("DELETE FROM lines WHERE user = ?1")?
            .execute([user])?;
    } else {
        db.prepare_cached(
            "UPDATE lines SET owner = NULL, due_at = ?2, since = ?3 WHERE user = ?1",
        )?
        .execute(params![user, due_at.as_millis(), now.as_millis()])?;
    }
    Ok(())
}

fn first(db: &Db, user: &str) -> Result<Option<i64>, Failure> {
    let first = db
        .prepare_cached(FIRST_NUMBER)?
        .query_row([user], |row| row.get(0))
        .optional()?;
    Ok(first)
}

/// See [`Deliveries::replay`](crate::store::Deliveries::replay).
pub(super) fn replay(db: &Db, desk: &Desk, delivery: DeliveryId) -> Result<bool, Failure> {
    let id = number(delivery);
    let found: Option<(String, Option<String>)> = db
        .prepare_cached("SELECT status, user FROM deliveries WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let now = desk.now();
    match found {
        Some((status, Some(user))) if status == "pending" => {
            db.prepare_cached("UPDATE deliveries SET at = ?2 WHERE id = ?1")?
                .execute([id, now.as_millis()])?;
            if first(db, &user)? == Some(id) {
                db.prepare_cached(
                    "UPDATE lines SET due_at = ?2, since = ?2 WHERE user = ?1 AND owner IS NULL",
                )?
                .execute(params![user, now.as_millis()])?;
            }
            Ok(true)
        }
        Some((status, Some(user))) if status == "delivered" || status == "dead" => {
            let user = UserId::parse(&user).map_err(|error| Failure::Row {
                row: format!("delivery {id}"),
                what: error.to_string(),
            })?;
            let place = join_line(db, &user, now)?;
            db.prepare_cached(BEGIN_ANEW)?
                .execute([id, place, now.as_millis()])?;
            Ok(true)
        }
        _ => Ok(false),
    }
}
