//! Forgetting deliveries, and events with their last one.
//!
//! A delivery that is forgotten before the others of its event leaves its row, so that its user does
//! not get the event again; the rows go with the event.

use std::collections::BTreeSet;

use rusqlite::{Connection as Db, params};

use super::{super::failure::Failure, accepting::FORGET_WAITING};
use crate::base::clock::Timestamp;

pub(super) const DELIVERED: &str = "\
    SELECT id, event FROM deliveries INDEXED BY deliveries_delivered \
    WHERE status = 'delivered' AND at < ?1 ORDER BY at LIMIT ?2";

pub(super) const OTHERS: &str = "\
    SELECT id, event FROM deliveries INDEXED BY deliveries_by_status \
    WHERE status IN ('dead', 'unrouted') AND status IN ('pending', 'dead', 'unrouted') \
        AND accepted_at < ?1 LIMIT ?2";

const FORGET: &str = "UPDATE deliveries SET status = 'forgotten', last_error = NULL WHERE id = ?1";

pub(super) const IS_ALIVE: &str = "\
    SELECT EXISTS (SELECT 1 FROM deliveries WHERE event = ?1 AND status <> 'forgotten')";

/// See [`Deliveries::prune`](crate::store::Deliveries::prune).
pub(super) fn prune(
    db: &Db,
    delivered: Timestamp,
    others: Timestamp,
    limit: usize,
) -> Result<u64, Failure> {
    let mut found = find(db, DELIVERED, delivered, limit)?;
    let left = limit.saturating_sub(found.len());
    found.extend(find(db, OTHERS, others, left)?);
    for (delivery, _event) in &found {
        db.prepare_cached(FORGET)?.execute([delivery])?;
    }
    let events: BTreeSet<i64> = found.iter().map(|(_delivery, event)| *event).collect();
    for event in events {
        let is_alive: bool = db
            .prepare_cached(IS_ALIVE)?
            .query_row([event], |row| row.get(0))?;
        if !is_alive {
            for sql in [
                "DELETE FROM deliveries WHERE event = ?1",
                "DELETE FROM events WHERE n = ?1",
                FORGET_WAITING,
            ] {
                db.prepare_cached(sql)?.execute([event])?;
            }
        }
    }
    Ok(u64::try_from(found.len()).unwrap_or(u64::MAX))
}

fn find(db: &Db, sql: &str, before: Timestamp, limit: usize) -> Result<Vec<(i64, i64)>, Failure> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = db
        .prepare_cached(sql)?
        .query_map(params![before.as_millis(), limit], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    Ok(found)
}
