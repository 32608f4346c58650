//! Writes of grants. Each is one statement that finds the row in the state it starts from, changes it
//! and notes the change in the log, or finds it in another state and does nothing. A row that somebody
//! else is writing is waited for and looked at again.

use tokio_postgres::{Row, types::Type};

use super::{
    desk::{Desk, now},
    failure::Failure,
    feed::Noted,
    pool::Param,
    rows::{self, COLUMNS, columns, redemption_text},
};
use std::sync::Arc;

use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, Generation, GrantId, OwnerId},
    },
    store::{
        Begun, Committed, Connection, Cooldown, Fence, Fenced, ReauthReason, Redemption, Renewed,
        Spent, seal::Sealed,
    },
};

/// `$statement`, whose rows are noted in the log and returned with their entries; and with the
/// expression `$more`, if there is one.
macro_rules! noted {
    ($statement:expr $(, $next:expr)* $(; $more:literal)?) => {
        concat!(
            "WITH written AS (", $statement, $($next,)* " RETURNING *", $(", ", $more, " AS more",)?
            "), noted AS (INSERT INTO daypass.changes (provider, user_id) \
             SELECT provider, user_id FROM written RETURNING seq, xid, provider, user_id) SELECT ",
            columns!(),
            ", seq, xid", $(noted!(@more $more),)? " FROM written JOIN noted USING (provider, user_id)"
        )
    };
    (@more $more:literal) => {
        ", more"
    };
}
pub(super) use noted;

/// The row in the state that a fence names: see [`Fence::admits`].
macro_rules! fenced {
    () => {
        " WHERE provider = $1 AND user_id = $2 AND id = $3 AND generation = $4 \
         AND ($5 IS NULL OR grant_id IN ($5, 0))"
    };
}

const LOAD: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM daypass.connections WHERE provider = $1 AND user_id = $2"
);

const REMOVE: &str = noted!("DELETE FROM daypass.connections WHERE provider = $1 AND user_id = $2");

const BEGIN: &str = concat!(
    "UPDATE daypass.connections SET before_owner = intent_owner, \
     before_redemption = intent_redemption, before_at = intent_at, intent_owner = $6, \
     intent_redemption = $7, intent_attempts = coalesce(intent_attempts, 0) + 1, intent_at = $8, \
     updated_at = ",
    now!("$9"),
    fenced!(),
    " AND lease_owner = $6 AND lease_until > ",
    now!("$9"),
    " RETURNING intent_attempts"
);

const COMMIT: &str = noted!(
    "UPDATE daypass.connections SET generation = generation + 1, grant_id = $16, access = $6, \
     refresh = $7, renewed_at = $8, access_expires_at = $9, refresh_expires_at = $10, \
     forced_at = CASE WHEN $11 THEN $8 ELSE forced_at END, scope = coalesce($12, scope), \
     external_id = coalesce($13, external_id), organization = coalesce($14, organization), \
     reauth_reason = NULL, reauth_since = NULL, intent_owner = NULL, intent_redemption = NULL, \
     intent_attempts = NULL, intent_at = NULL, before_owner = NULL, before_redemption = NULL, \
     before_at = NULL, cooldown_until = NULL, cooldown_failures = NULL, updated_at = ",
    now!("$15"),
    fenced!()
);

/// Where nothing was spent (`$8`), the last attempt is taken back; an earlier one, whose end is not
/// known, stays recorded.
const FAIL: &str = noted!(
    "UPDATE daypass.connections SET cooldown_until = $6, cooldown_failures = $7, \
     intent_owner = CASE WHEN NOT $8 THEN intent_owner \
        WHEN intent_attempts > 1 THEN coalesce(before_owner, intent_owner) END, \
     intent_redemption = CASE WHEN NOT $8 THEN intent_redemption \
        WHEN intent_attempts > 1 THEN coalesce(before_redemption, intent_redemption) END, \
     intent_at = CASE WHEN NOT $8 THEN intent_at \
        WHEN intent_attempts > 1 THEN coalesce(before_at, intent_at) END, \
     intent_attempts = CASE WHEN NOT $8 THEN intent_attempts \
        WHEN intent_attempts > 1 THEN intent_attempts - 1 END, \
     before_owner = CASE WHEN NOT $8 THEN before_owner END, \
     before_redemption = CASE WHEN NOT $8 THEN before_redemption END, \
     before_at = CASE WHEN NOT $8 THEN before_at END, updated_at = ",
    now!("$9"),
    fenced!()
);

const MARK: &str = noted!(
    "UPDATE daypass.connections SET reauth_reason = $6, reauth_since = $7, updated_at = ",
    now!("$8"),
    fenced!(),
    " AND reauth_reason IS NULL"
);

const STANDS: &str = concat!("SELECT 1 FROM daypass.connections", fenced!());

/// See [`Store::load`](crate::store::Store::load).
pub(super) async fn load(desk: &Desk, key: &ConnectionKey) -> Result<Option<Connection>, Failure> {
    let rows = desk
        .query(LOAD, &of_key(&key.provider.as_str(), &key.user.as_str()))
        .await?;
    rows.first().map(rows::read).transpose()
}

/// See [`Store::remove`](crate::store::Store::remove).
pub(super) async fn remove(
    desk: &Arc<Desk>,
    key: &ConnectionKey,
) -> Result<Option<Connection>, Failure> {
    let removed = desk
        .query(REMOVE, &of_key(&key.provider.as_str(), &key.user.as_str()))
        .await?;
    let Some(row) = removed.first() else {
        return Ok(None);
    };
    desk.told(vec![entry(row)?]);
    match rows::read(row) {
        Ok(last) => Ok(Some(last)),
        // What cannot be read can still be forgotten.
        Err(Failure::Row { row, what }) => {
            tracing::warn!(connection.row = row, what, "removed an inconsistent row");
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// See [`Store::begin`](crate::store::Store::begin). Not noted as a change: nobody waits for it.
pub(super) async fn begin(
    desk: &Desk,
    fence: &Fence,
    owner: OwnerId,
    redemption: Redemption,
    at: Timestamp,
) -> Result<Begun, Failure> {
    let begun = desk
        .query(
            BEGIN,
            &[
                (&fence.key.provider.as_str(), Type::TEXT),
                (&fence.key.user.as_str(), Type::TEXT),
                (&fence.id.as_bytes().as_slice(), Type::BYTEA),
                (&number(fence.generation), Type::INT8),
                (&fence.grant.map(GrantId::to_stored), Type::INT8),
                (&owner.as_bytes().as_slice(), Type::BYTEA),
                (&redemption_text(redemption), Type::TEXT),
                (&at.as_millis(), Type::INT8),
                (&desk.now(), Type::INT8),
            ],
        )
        .await?;
    let Some(row) = begun.first() else {
        return Ok(Begun::Refused);
    };
    let attempts: i64 = row.try_get(0)?;
    Ok(Begun::Recorded {
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
    })
}

/// See [`Store::commit`](crate::store::Store::commit).
pub(super) async fn commit(
    desk: &Arc<Desk>,
    fence: &Fence,
    renewed: Renewed,
) -> Result<Committed, Failure> {
    let tokens = &renewed.tokens;
    let stored = desk
        .query(
            COMMIT,
            &[
                (&fence.key.provider.as_str(), Type::TEXT),
                (&fence.key.user.as_str(), Type::TEXT),
                (&fence.id.as_bytes().as_slice(), Type::BYTEA),
                (&number(fence.generation), Type::INT8),
                (&fence.grant.map(GrantId::to_stored), Type::INT8),
                (&tokens.access.as_bytes(), Type::BYTEA),
                (&tokens.refresh.as_ref().map(Sealed::as_bytes), Type::BYTEA),
                (&tokens.renewed_at.as_millis(), Type::INT8),
                (&tokens.access_expires_at.as_millis(), Type::INT8),
                (
                    &tokens.refresh_expires_at.map(Timestamp::as_millis),
                    Type::INT8,
                ),
                (&(renewed.redemption == Redemption::Force), Type::BOOL),
                (&storable(renewed.scope.as_deref()), Type::TEXT),
                (&storable(renewed.external_id.as_deref()), Type::TEXT),
                (&storable(renewed.organization.as_deref()), Type::TEXT),
                (&desk.now(), Type::INT8),
                (&renewed.grant.to_stored(), Type::INT8),
            ],
        )
        .await?;
    if let Some(row) = stored.first() {
        desk.told(vec![entry(row)?]);
        return Ok(Committed::Stored(Box::new(rows::read(row)?)));
    }
    // Whoever stored newer tokens, or removed the connection, has done so before this is read.
    Ok(match load(desk, &fence.key).await? {
        Some(newer) => Committed::Superseded(Box::new(newer)),
        None => Committed::Gone,
    })
}

/// See [`Store::fail`](crate::store::Store::fail).
pub(super) async fn fail(
    desk: &Arc<Desk>,
    fence: &Fence,
    cooldown: Cooldown,
    spent: Spent,
) -> Result<Fenced, Failure> {
    let failed = desk
        .query(
            FAIL,
            &[
                (&fence.key.provider.as_str(), Type::TEXT),
                (&fence.key.user.as_str(), Type::TEXT),
                (&fence.id.as_bytes().as_slice(), Type::BYTEA),
                (&number(fence.generation), Type::INT8),
                (&fence.grant.map(GrantId::to_stored), Type::INT8),
                (&cooldown.until.as_millis(), Type::INT8),
                (&i64::from(cooldown.failures), Type::INT8),
                (&(spent == Spent::No), Type::BOOL),
                (&desk.now(), Type::INT8),
            ],
        )
        .await?;
    let Some(row) = failed.first() else {
        return Ok(Fenced::Refused);
    };
    desk.told(vec![entry(row)?]);
    Ok(Fenced::Written)
}

/// See [`Store::mark_needs_reauth`](crate::store::Store::mark_needs_reauth).
pub(super) async fn mark_needs_reauth(
    desk: &Arc<Desk>,
    fence: &Fence,
    reason: ReauthReason,
    since: Timestamp,
) -> Result<Fenced, Failure> {
    let (provider, user) = (fence.key.provider.as_str(), fence.key.user.as_str());
    let (id, generation) = (fence.id.as_bytes().as_slice(), number(fence.generation));
    let grant = fence.grant.map(GrantId::to_stored);
    let mut params: Vec<Param<'_>> = vec![
        (&provider, Type::TEXT),
        (&user, Type::TEXT),
        (&id, Type::BYTEA),
        (&generation, Type::INT8),
        (&grant, Type::INT8),
    ];
    let fence_only = params.len();
    let (reason, since, now) = (reason.as_str(), since.as_millis(), desk.now());
    params.push((&reason, Type::TEXT));
    params.push((&since, Type::INT8));
    params.push((&now, Type::INT8));
    let marked = desk.query(MARK, &params).await?;
    if let Some(row) = marked.first() {
        desk.told(vec![entry(row)?]);
        return Ok(Fenced::Written);
    }
    params.truncate(fence_only);
    let stands = desk.query(STANDS, &params).await?;
    Ok(if stands.is_empty() {
        Fenced::Refused
    } else {
        Fenced::Unchanged
    })
}

fn of_key<'a>(provider: &'a &'a str, user: &'a &'a str) -> [Param<'a>; 2] {
    [(provider, Type::TEXT), (user, Type::TEXT)]
}

/// The entry of the log that came with a row of [`noted`].
pub(super) fn entry(row: &Row) -> Result<Noted, Failure> {
    Ok(Noted {
        seq: row.try_get(COLUMNS)?,
        xid: row.try_get(COLUMNS + 1)?,
        key: rows::read_key(row, 0)?,
    })
}

pub(super) fn number(generation: Generation) -> i64 {
    i64::try_from(generation.get()).unwrap_or(i64::MAX)
}

/// PostgreSQL keeps every text but those with a NUL, which no provider has a reason to send.
pub(super) fn storable(text: Option<&str>) -> Option<String> {
    text.map(|text| text.replace('\0', "\u{fffd}"))
}
