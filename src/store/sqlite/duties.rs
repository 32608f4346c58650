//! Duties: as [`leases`](super::leases), but of no connection.

use std::time::Duration;

use rusqlite::{Connection as Db, OptionalExtension, params};

use super::{desk::Desk, failure::Failure, leases::millis};
use crate::{
    base::{clock::Timestamp, ids::OwnerId},
    store::{Duty, Turn},
};

/// See [`Store::take_duty`](crate::store::Store::take_duty).
pub(super) fn take(
    db: &Db,
    desk: &Desk,
    duty: &Duty,
    owner: OwnerId,
    ttl: Duration,
) -> Result<Turn, Failure> {
    let now = desk.now();
    if let Some((holder, left)) = holder(db, duty, now)?
        && holder != *owner.as_bytes()
        && !left.is_zero()
    {
        return Ok(Turn::Anothers(left));
    }
    db.prepare_cached(
        "INSERT OR REPLACE INTO duties (name, owner, until, ttl) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        duty.as_str(),
        owner.as_bytes().as_slice(),
        now.saturating_add(ttl).as_millis(),
        millis(ttl),
    ])?;
    Ok(Turn::Mine)
}

/// See [`Store::leave_duty`](crate::store::Store::leave_duty).
pub(super) fn leave(db: &Db, desk: &Desk, duty: &Duty, owner: OwnerId) -> Result<bool, Failure> {
    let changed = db
        .prepare_cached("DELETE FROM duties WHERE name = ?1 AND owner = ?2 AND until > ?3")?
        .execute(params![
            duty.as_str(),
            owner.as_bytes().as_slice(),
            desk.now().as_millis(),
        ])?;
    Ok(changed > 0)
}

/// Who had `duty` last, and what is left of it. If the clock was set back, that is shortened in the
/// table too: it would not pass otherwise.
fn holder(db: &Db, duty: &Duty, now: Timestamp) -> Result<Option<([u8; 16], Duration)>, Failure> {
    let found: Option<([u8; 16], i64, i64)> = db
        .prepare_cached("SELECT owner, until, ttl FROM duties WHERE name = ?1")?
        .query_row([duty.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((owner, until, ttl)) = found else {
        return Ok(None);
    };
    let latest = now.as_millis().saturating_add(ttl);
    if until > latest {
        db.prepare_cached("UPDATE duties SET until = ?2 WHERE name = ?1")?
            .execute(params![duty.as_str(), latest])?;
    }
    let until = Timestamp::from_millis(until.min(latest));
    Ok(Some((owner, until.saturating_since(now))))
}
