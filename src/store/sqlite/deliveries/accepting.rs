//! Accepting events, and giving those that are nobody's to somebody.

use std::collections::BTreeSet;

use rusqlite::{Connection as Db, OptionalExtension, params};

use super::{super::failure::Failure, join_line};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, EventId, UserId},
    },
    store::{Accepted, NewEvent, sqlite::desk::Desk},
};

pub(super) const INSERT: &str = "\
    INSERT INTO events (id, dedupe, provider, name, accepted_at, payload) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (dedupe) DO NOTHING";

pub(super) const KNOWN: &str = "\
    SELECT e.n, e.id, e.accepted_at, e.provider, d.id FROM events e \
    LEFT JOIN deliveries d ON d.event = e.n AND d.user IS NULL WHERE e.dedupe = ?1";

pub(super) const WAITING: &str = "\
    SELECT d.id, d.event FROM waiting w \
    JOIN deliveries d ON d.event = w.event AND d.user IS NULL \
    WHERE w.provider = ?1 AND w.account = ?2 ORDER BY w.event";

pub(super) const FORGET_WAITING: &str = "DELETE FROM waiting WHERE event = ?1";

/// An event as it is stored.
struct Known {
    n: i64,
    id: EventId,
    accepted_at: Timestamp,
    provider: String,
    /// Its delivery to nobody.
    unrouted: Option<i64>,
}

/// See [`Deliveries::accept`](crate::store::Deliveries::accept).
pub(super) fn accept(db: &Db, desk: &Desk, event: &NewEvent) -> Result<Accepted, Failure> {
    let users: BTreeSet<&UserId> = event.recipients.iter().map(|key| &key.user).collect();
    let is_new = db.prepare_cached(INSERT)?.execute(params![
        event.id.as_bytes().as_slice(),
        event.dedupe,
        event.provider.as_str(),
        event.name,
        event.at.as_millis(),
        event.payload.as_bytes(),
    ])? > 0;
    let known = if is_new {
        Known {
            n: db.last_insert_rowid(),
            id: event.id,
            accepted_at: event.at,
            provider: event.provider.as_str().to_owned(),
            unrouted: None,
        }
    } else {
        known(db, event.dedupe)?
    };
    if users.is_empty() {
        if is_new {
            insert(db, &known, None, "unrouted", (0, desk.now()))?;
        }
        if is_new || known.unrouted.is_some() {
            wait_for(db, &known, &event.accounts)?;
        }
    } else if known.unrouted.is_some() {
        db.prepare_cached("DELETE FROM deliveries WHERE event = ?1 AND user IS NULL")?
            .execute([known.n])?;
        db.prepare_cached(FORGET_WAITING)?.execute([known.n])?;
    }
    let mut added = 0;
    for user in users {
        if is_new || !has(db, &known, user)? {
            let now = desk.now();
            let place = join_line(db, user, now)?;
            insert(db, &known, Some(user), "pending", (place, now))?;
            added += 1;
        }
    }
    let id = known.id;
    Ok(if is_new {
        Accepted::New { id }
    } else {
        Accepted::Known { id, added }
    })
}

fn known(db: &Db, dedupe: [u8; 32]) -> Result<Known, Failure> {
    let known = db.prepare_cached(KNOWN)?.query_row([dedupe], |row| {
        let id: [u8; 16] = row.get(1)?;
        Ok((row.get(0)?, id, row.get(2)?, row.get(3)?, row.get(4)?))
    })?;
    let (n, id, accepted_at, provider, unrouted) = known;
    let id = EventId::from_slice(&id).map_err(|error| Failure::Row {
        row: format!("event {n}"),
        what: format!("its id is {error}"),
    })?;
    Ok(Known {
        n,
        id,
        accepted_at: Timestamp::from_millis(accepted_at),
        provider,
        unrouted,
    })
}

fn has(db: &Db, event: &Known, user: &UserId) -> Result<bool, Failure> {
    let found = db
        .prepare_cached("SELECT 1 FROM deliveries WHERE event = ?1 AND user = ?2")?
        .query_row(params![event.n, user.as_str()], |_row| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

fn insert(
    db: &Db,
    event: &Known,
    user: Option<&UserId>,
    status: &str,
    (place, now): (i64, Timestamp),
) -> Result<(), Failure> {
    db.prepare_cached(
        "INSERT INTO deliveries (event, user, status, place, at, provider, accepted_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        event.n,
        user.map(UserId::as_str),
        status,
        place,
        now.as_millis(),
        event.provider,
        event.accepted_at.as_millis(),
    ])?;
    Ok(())
}

fn wait_for(db: &Db, event: &Known, accounts: &[String]) -> Result<(), Failure> {
    for account in accounts {
        db.prepare_cached(
            "INSERT INTO waiting (provider, account, event) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![event.provider, account, event.n])?;
    }
    Ok(())
}

/// See [`Deliveries::adopt`](crate::store::Deliveries::adopt).
pub(super) fn adopt(
    db: &Db,
    desk: &Desk,
    account: &str,
    key: &ConnectionKey,
) -> Result<u64, Failure> {
    let waiting: Vec<(i64, i64)> = db
        .prepare_cached(WAITING)?
        .query_map([key.provider.as_str(), account], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut adopted = 0;
    for (delivery, event) in waiting {
        let now = desk.now();
        let place = join_line(db, &key.user, now)?;
        db.prepare_cached(
            "UPDATE deliveries SET user = ?2, status = 'pending', place = ?3, at = ?4 WHERE id = ?1",
        )?
        .execute(params![delivery, key.user.as_str(), place, now.as_millis()])?;
        db.prepare_cached(FORGET_WAITING)?.execute([event])?;
        adopted += 1;
    }
    Ok(adopted)
}
