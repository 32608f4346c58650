//! Writes of grants, each in one transaction: read the row, decide, write it whole.
//!
//! Every write but [`save`] and [`remove`] names the connection, generation and grant it started from;
//! if the row shows another, it changes nothing and says so.

use rusqlite::Connection as Db;

use super::{desk::Desk, failure::Failure, leases, rows};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, Generation},
    },
    store::{
        Attempt, Begun, Committed, Connection, Cooldown, Fence, Fenced, Intent, NewConnection,
        ReauthReason, Record, Redemption, Renewed, Saved, Spent, Status,
    },
};

/// See [`Store::save`](crate::store::Store::save).
pub(super) fn save(db: &Db, desk: &Desk, batch: Vec<NewConnection>) -> Result<Vec<Saved>, Failure> {
    batch
        .into_iter()
        .map(|new| save_one(db, desk, new))
        .collect()
}

fn save_one(db: &Db, desk: &Desk, new: NewConnection) -> Result<Saved, Failure> {
    let old = match rows::find(db, &new.key) {
        Ok(old) => old,
        // A row that cannot be read is no obstacle to a user who connects again.
        Err(Failure::Row { row, what }) => {
            tracing::warn!(connection.row = row, what, "replacing an inconsistent row");
            None
        }
        Err(failure) => return Err(failure),
    };
    if let Some(old) = &old
        && new.fingerprint.is_some()
        && new.fingerprint == old.fingerprint
    {
        return Ok(Saved::Unchanged(old.connection.clone()));
    }
    let fingerprint = new.fingerprint;
    let replaced = old.is_some();
    let connection = merged(new, old.map(|old| old.connection));
    let stored = Record {
        connection,
        before: None,
        fingerprint,
    };
    write(db, desk, &stored)?;
    Ok(if replaced {
        Saved::Replaced(stored.connection)
    } else {
        Saved::Created(stored.connection)
    })
}

/// The connection that `new` makes, in place of `old` if there is one: it keeps its identity, and
/// its generation only grows, also when the new grant has no tokens yet.
fn merged(new: NewConnection, old: Option<Connection>) -> Connection {
    let (id, generation, created_at) = match old {
        Some(old) => (old.id, old.generation.next(), old.created_at),
        None if new.tokens.is_some() => (new.id, Generation::NONE.next(), new.at),
        None => (new.id, Generation::NONE, new.at),
    };
    Connection {
        key: new.key,
        id,
        status: Status::Active,
        generation,
        grant: new.grant,
        tokens: new.tokens,
        external_id: new.external_id,
        organization: new.organization,
        managed_user_id: new.managed_user_id,
        scope: new.scope,
        intent: None,
        cooldown: None,
        forced_at: None,
        created_at,
        updated_at: new.at,
    }
}

/// See [`Store::remove`](crate::store::Store::remove).
pub(super) fn remove(
    db: &Db,
    desk: &Desk,
    key: &ConnectionKey,
) -> Result<Option<Connection>, Failure> {
    let last = match rows::find(db, key) {
        Ok(None) => return Ok(None),
        Ok(Some(stored)) => Some(stored.connection),
        // What cannot be read can still be forgotten.
        Err(Failure::Row { row, what }) => {
            tracing::warn!(connection.row = row, what, "removing an inconsistent row");
            None
        }
        Err(failure) => return Err(failure),
    };
    db.prepare_cached("DELETE FROM connections WHERE provider = ?1 AND user = ?2")?
        .execute([key.provider.as_str(), key.user.as_str()])?;
    leases::drop_all(db, key)?;
    desk.note(db, key)?;
    Ok(last)
}

/// See [`Store::begin`](crate::store::Store::begin). Not noted as a change: nobody waits for it.
pub(super) fn begin(
    db: &Db,
    desk: &Desk,
    fence: &Fence,
    attempt: Attempt,
) -> Result<Begun, Failure> {
    let Some(mut stored) = behind(db, fence)? else {
        return Ok(Begun::Refused);
    };
    if !leases::holds(db, desk, &fence.key, attempt.owner)? {
        return Ok(Begun::Refused);
    }
    let earlier = stored.connection.intent.take();
    let attempts = earlier
        .as_ref()
        .map_or(1, |intent| intent.attempts.saturating_add(1));
    stored.before = earlier.map(|intent| Attempt {
        owner: intent.owner,
        redemption: intent.redemption,
        at: intent.at,
    });
    stored.connection.intent = Some(attempt.counted(attempts));
    stored.connection.updated_at = desk.now();
    stored.put(db)?;
    Ok(Begun::Recorded { attempts })
}

/// See [`Store::commit`](crate::store::Store::commit).
pub(super) fn commit(
    db: &Db,
    desk: &Desk,
    fence: &Fence,
    renewed: Renewed,
) -> Result<Committed, Failure> {
    let Some(mut stored) = rows::find(db, &fence.key)? else {
        return Ok(Committed::Gone);
    };
    if !fence.admits(&stored.connection) {
        return Ok(Committed::Superseded(Box::new(stored.connection)));
    }
    let connection = &mut stored.connection;
    if renewed.redemption == Redemption::Force {
        connection.forced_at = Some(renewed.tokens.renewed_at);
    }
    connection.grant = renewed.grant;
    connection.tokens = Some(renewed.tokens);
    connection.generation = connection.generation.next();
    connection.status = Status::Active;
    connection.intent = None;
    connection.cooldown = None;
    connection.scope = renewed.scope.or_else(|| connection.scope.take());
    connection.external_id = renewed
        .external_id
        .or_else(|| connection.external_id.take());
    connection.organization = renewed
        .organization
        .or_else(|| connection.organization.take());
    connection.updated_at = desk.now();
    stored.before = None;
    write(db, desk, &stored)?;
    Ok(Committed::Stored(Box::new(stored.connection)))
}

/// See [`Store::fail`](crate::store::Store::fail).
pub(super) fn fail(
    db: &Db,
    desk: &Desk,
    fence: &Fence,
    cooldown: Cooldown,
    spent: Spent,
) -> Result<Fenced, Failure> {
    let Some(mut stored) = behind(db, fence)? else {
        return Ok(Fenced::Refused);
    };
    stored.connection.cooldown = Some(cooldown);
    if spent == Spent::No {
        stored.take_back_attempt();
    }
    stored.connection.updated_at = desk.now();
    write(db, desk, &stored)?;
    Ok(Fenced::Written)
}

/// See [`Store::mark_needs_reauth`](crate::store::Store::mark_needs_reauth).
pub(super) fn mark_needs_reauth(
    db: &Db,
    desk: &Desk,
    fence: &Fence,
    reason: ReauthReason,
    since: Timestamp,
) -> Result<Fenced, Failure> {
    let Some(mut stored) = behind(db, fence)? else {
        return Ok(Fenced::Refused);
    };
    if stored.connection.status != Status::Active {
        return Ok(Fenced::Unchanged);
    }
    stored.connection.status = Status::NeedsReauth { reason, since };
    stored.connection.updated_at = desk.now();
    write(db, desk, &stored)?;
    Ok(Fenced::Written)
}

/// The row in the state that `fence` names, if it still is.
fn behind(db: &Db, fence: &Fence) -> Result<Option<Record>, Failure> {
    let stored = rows::find(db, &fence.key)?;
    Ok(stored.filter(|stored| fence.admits(&stored.connection)))
}

/// Writes the row and notes the change.
pub(super) fn write(db: &Db, desk: &Desk, stored: &Record) -> Result<(), Failure> {
    stored.put(db)?;
    desk.note(db, &stored.connection.key)
}

// === impl Attempt ===

impl Attempt {
    /// The last of `attempts`.
    const fn counted(self, attempts: u32) -> Intent {
        Intent {
            owner: self.owner,
            redemption: self.redemption,
            attempts,
            at: self.at,
        }
    }
}

// === impl Record ===

impl Record {
    /// The last attempt spent nothing; an earlier one, whose end is not known, stays recorded.
    fn take_back_attempt(&mut self) {
        let Some(intent) = self.connection.intent.take() else {
            return;
        };
        let attempts = intent.attempts.saturating_sub(1);
        if attempts > 0 {
            let last = Attempt {
                owner: intent.owner,
                redemption: intent.redemption,
                at: intent.at,
            };
            let earlier = self.before.take().unwrap_or(last);
            self.connection.intent = Some(earlier.counted(attempts));
        }
        self.before = None;
    }
}
