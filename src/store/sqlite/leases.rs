//! Leases: who renews which connection, for how long.
//!
//! 1. A lease is held while the clock is before its end; from then on anybody may take it.
//! 2. Only its owner prolongs it or gives it back.
//! 3. If the clock was set back, no more than the lease's own length is left of it.

use std::time::Duration;

use rusqlite::{Connection as Db, OptionalExtension, params};

use super::{desk::Desk, failure::Failure, rows};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, OwnerId},
    },
    store::Lease,
};

/// See [`Store::acquire`](crate::store::Store::acquire).
pub(super) fn acquire(
    db: &Db,
    desk: &Desk,
    key: &ConnectionKey,
    owner: OwnerId,
    ttl: Duration,
) -> Result<Lease, Failure> {
    let Some(stored) = rows::find(db, key)? else {
        return Ok(Lease::Gone);
    };
    let now = desk.now();
    if let Some((holder, until)) = holder(db, key, now)?
        && holder != owner
    {
        return Ok(Lease::Held(until.saturating_since(now)));
    }
    let until = now.saturating_add(ttl);
    db.prepare_cached(
        "INSERT OR REPLACE INTO leases (provider, user, owner, until, ttl) \
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        key.provider.as_str(),
        key.user.as_str(),
        owner.as_bytes().as_slice(),
        until.as_millis(),
        millis(ttl),
    ])?;
    Ok(Lease::Granted(Box::new(stored.connection)))
}

/// See [`Store::extend`](crate::store::Store::extend).
pub(super) fn extend(
    db: &Db,
    desk: &Desk,
    key: &ConnectionKey,
    owner: OwnerId,
    ttl: Duration,
) -> Result<bool, Failure> {
    let now = desk.now();
    let changed = db
        .prepare_cached(
            "UPDATE leases SET until = ?5, ttl = ?6 \
             WHERE provider = ?1 AND user = ?2 AND owner = ?3 AND until > ?4",
        )?
        .execute(params![
            key.provider.as_str(),
            key.user.as_str(),
            owner.as_bytes().as_slice(),
            now.as_millis(),
            now.saturating_add(ttl).as_millis(),
            millis(ttl),
        ])?;
    Ok(changed > 0)
}

/// See [`Store::release`](crate::store::Store::release).
pub(super) fn release(
    db: &Db,
    desk: &Desk,
    key: &ConnectionKey,
    owner: OwnerId,
) -> Result<bool, Failure> {
    let changed = db
        .prepare_cached(
            "DELETE FROM leases WHERE provider = ?1 AND user = ?2 AND owner = ?3 AND until > ?4",
        )?
        .execute(params![
            key.provider.as_str(),
            key.user.as_str(),
            owner.as_bytes().as_slice(),
            desk.now().as_millis(),
        ])?;
    Ok(changed > 0)
}

/// Whether `owner` holds the lease of `key` at this moment.
pub(super) fn holds(
    db: &Db,
    desk: &Desk,
    key: &ConnectionKey,
    owner: OwnerId,
) -> Result<bool, Failure> {
    let holder = holder(db, key, desk.now())?;
    Ok(holder.is_some_and(|(holder, _until)| holder == owner))
}

/// Ends whatever lease there is, with its connection.
pub(super) fn drop_all(db: &Db, key: &ConnectionKey) -> Result<(), Failure> {
    db.prepare_cached("DELETE FROM leases WHERE provider = ?1 AND user = ?2")?
        .execute([key.provider.as_str(), key.user.as_str()])?;
    Ok(())
}

/// Who holds the lease of `key` at `now`, and until when.
fn holder(
    db: &Db,
    key: &ConnectionKey,
    now: Timestamp,
) -> Result<Option<(OwnerId, Timestamp)>, Failure> {
    let found: Option<([u8; 16], i64, i64)> = db
        .prepare_cached("SELECT owner, until, ttl FROM leases WHERE provider = ?1 AND user = ?2")?
        .query_row([key.provider.as_str(), key.user.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((owner, until, ttl)) = found else {
        return Ok(None);
    };
    let Ok(owner) = OwnerId::from_slice(&owner) else {
        return Ok(None);
    };
    let latest = now.as_millis().saturating_add(ttl);
    if until > latest {
        shorten(db, key, latest)?;
    }
    let until = Timestamp::from_millis(until.min(latest));
    Ok((until > now).then_some((owner, until)))
}

/// The clock was set back since the lease was taken: without this nobody could take it until the
/// clock has caught up.
fn shorten(db: &Db, key: &ConnectionKey, until: i64) -> Result<(), Failure> {
    db.prepare_cached("UPDATE leases SET until = ?3 WHERE provider = ?1 AND user = ?2")?
        .execute(params![key.provider.as_str(), key.user.as_str(), until])?;
    Ok(())
}

/// As a column has it.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
