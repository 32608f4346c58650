//! Saving: whole batches of connections from outside, in one transaction.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use tokio_postgres::{Row, types::Type};

use super::{
    desk::Desk,
    failure::Failure,
    feed::Noted,
    grants::{entry, noted, storable},
    pool::{Lent, Param},
    rows::{self, COLUMNS, columns},
};
use crate::{
    base::{clock::Timestamp, ids::ConnectionKey},
    store::{NewConnection, Saved},
};

/// The id and the generation of a connection that is there stay its own: the generation only grows,
/// also when the new grant has no tokens yet. Whether a row was made or replaced shows in its `xmax`,
/// which only a row that was locked first has.
const SAVE: &str = noted!(
    "INSERT INTO daypass.connections AS c (provider, user_id, id, generation, access, refresh, \
        renewed_at, access_expires_at, refresh_expires_at, external_id, organization, \
        managed_user_id, scope, fingerprint, created_at, updated_at, grant_id) \
     SELECT provider, user_id, id, CASE WHEN access IS NULL THEN 0 ELSE 1 END, access, refresh, \
        renewed_at, access_expires_at, refresh_expires_at, external_id, organization, \
        managed_user_id, scope, fingerprint, at, at, grant_id \
     FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
        WITH ORDINALITY \
        AS new (provider, user_id, id, access, refresh, renewed_at, access_expires_at, \
        refresh_expires_at, external_id, organization, managed_user_id, scope, fingerprint, at, \
        grant_id, n) \
     ORDER BY n \
     ON CONFLICT (provider, user_id) DO UPDATE SET generation = c.generation + 1, \
        grant_id = excluded.grant_id, access = excluded.access, refresh = excluded.refresh, renewed_at = excluded.renewed_at, \
        access_expires_at = excluded.access_expires_at, \
        refresh_expires_at = excluded.refresh_expires_at, external_id = excluded.external_id, \
        organization = excluded.organization, managed_user_id = excluded.managed_user_id, \
        scope = excluded.scope, fingerprint = excluded.fingerprint, \
        updated_at = excluded.updated_at, reauth_reason = NULL, reauth_since = NULL, \
        intent_owner = NULL, intent_redemption = NULL, intent_attempts = NULL, intent_at = NULL, \
        before_owner = NULL, before_redemption = NULL, before_at = NULL, cooldown_until = NULL, \
        cooldown_failures = NULL, forced_at = NULL \
     WHERE excluded.fingerprint IS NULL OR c.fingerprint IS DISTINCT FROM excluded.fingerprint";
    "xmax = 0"
);

const LOAD_ALL: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM daypass.connections WHERE (provider, user_id) IN (SELECT * FROM unnest($1, $2))"
);

/// See [`Store::save`](crate::store::Store::save).
pub(super) async fn save(
    desk: &Arc<Desk>,
    batch: Vec<NewConnection>,
) -> Result<Vec<Saved>, Failure> {
    desk.is_current()?;
    let (saved, told) = match write(desk, &batch).await {
        Ok(done) => done,
        Err(failure) => return Err(desk.explained(failure).await),
    };
    desk.told(told);
    let saved: Option<Vec<Saved>> = saved.into_iter().collect();
    saved.ok_or(Failure::Unfit("a connection that was saved is not there"))
}

/// What became of each of `batch`, once that is committed.
async fn write(
    desk: &Desk,
    batch: &[NewConnection],
) -> Result<(Vec<Option<Saved>>, Vec<Noted>), Failure> {
    let keys: Vec<&ConnectionKey> = batch.iter().map(|new| &new.key).collect();
    let rounds = rounds(&keys);
    let mut saved: Vec<Option<Saved>> = batch.iter().map(|_| None).collect();
    let mut told = Vec::new();
    let mut db = desk.pool.lend().await?;
    db.begin().await?;
    for round in rounds {
        let asked: Vec<&NewConnection> = round.iter().filter_map(|&at| batch.get(at)).collect();
        let mut found = save_round(&mut db, &asked, &mut told).await?;
        for (at, new) in round.into_iter().zip(asked) {
            if let Some(place) = saved.get_mut(at) {
                *place = found.remove(&new.key);
            }
        }
    }
    db.commit().await?;
    Ok((saved, told))
}

/// The places in `keys`, so ordered that all processes lock rows in one order, and so divided that
/// no key is twice in one round.
pub(super) fn rounds<K: Ord + Hash>(keys: &[K]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|&at| keys.get(at));
    let mut times: HashMap<&K, usize> = HashMap::new();
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for at in order {
        let Some(key) = keys.get(at) else { continue };
        let time = times.entry(key).or_default();
        if rounds.len() <= *time {
            rounds.push(Vec::new());
        }
        if let Some(round) = rounds.get_mut(*time) {
            round.push(at);
        }
        *time += 1;
    }
    rounds
}

async fn save_round(
    db: &mut Lent,
    asked: &[&NewConnection],
    told: &mut Vec<Noted>,
) -> Result<HashMap<ConnectionKey, Saved>, Failure> {
    let mut found = HashMap::new();
    for row in insert(db, asked).await? {
        let connection = rows::read(&row)?;
        let created: bool = row.try_get(COLUMNS + 2)?;
        told.push(entry(&row)?);
        let key = connection.key.clone();
        let saved = if created {
            Saved::Created(connection)
        } else {
            Saved::Replaced(connection)
        };
        found.insert(key, saved);
    }
    let same: Vec<&NewConnection> = asked
        .iter()
        .copied()
        .filter(|new| !found.contains_key(&new.key))
        .collect();
    if !same.is_empty() {
        let providers = column(&same, |new| new.key.provider.as_str());
        let users = column(&same, |new| new.key.user.as_str());
        let params: [Param<'_>; 2] = [(&providers, Type::TEXT_ARRAY), (&users, Type::TEXT_ARRAY)];
        for row in db.query(LOAD_ALL, &params).await? {
            let connection = rows::read(&row)?;
            found.insert(connection.key.clone(), Saved::Unchanged(connection));
        }
    }
    told.sort_by_key(|entry| entry.seq);
    Ok(found)
}

async fn insert(db: &mut Lent, asked: &[&NewConnection]) -> Result<Vec<Row>, Failure> {
    let tokens = |new: &NewConnection| new.tokens.clone();
    let access = column(asked, |new| {
        new.tokens.as_ref().map(|t| t.access.as_bytes())
    });
    let refresh = column(asked, |new| {
        let tokens = new.tokens.as_ref()?;
        Some(tokens.refresh.as_ref()?.as_bytes())
    });
    let renewed_at = column(asked, |new| Some(tokens(new)?.renewed_at.as_millis()));
    let access_ends = column(asked, |new| {
        Some(tokens(new)?.access_expires_at.as_millis())
    });
    let refresh_ends = column(asked, |new| {
        tokens(new)?.refresh_expires_at.map(Timestamp::as_millis)
    });
    let fingerprint = column(asked, |new| {
        new.fingerprint.as_ref().map(<[u8; 32]>::as_slice)
    });
    let params: [Param<'_>; 15] = [
        (
            &column(asked, |new| new.key.provider.as_str()),
            Type::TEXT_ARRAY,
        ),
        (
            &column(asked, |new| new.key.user.as_str()),
            Type::TEXT_ARRAY,
        ),
        (
            &column(asked, |new| new.id.as_bytes().as_slice()),
            Type::BYTEA_ARRAY,
        ),
        (&access, Type::BYTEA_ARRAY),
        (&refresh, Type::BYTEA_ARRAY),
        (&renewed_at, Type::INT8_ARRAY),
        (&access_ends, Type::INT8_ARRAY),
        (&refresh_ends, Type::INT8_ARRAY),
        (
            &column(asked, |new| storable(new.external_id.as_deref())),
            Type::TEXT_ARRAY,
        ),
        (
            &column(asked, |new| storable(new.organization.as_deref())),
            Type::TEXT_ARRAY,
        ),
        (&column(asked, |new| new.managed_user_id), Type::INT8_ARRAY),
        (
            &column(asked, |new| storable(new.scope.as_deref())),
            Type::TEXT_ARRAY,
        ),
        (&fingerprint, Type::BYTEA_ARRAY),
        (&column(asked, |new| new.at.as_millis()), Type::INT8_ARRAY),
        (
            &column(asked, |new| new.grant.to_stored()),
            Type::INT8_ARRAY,
        ),
    ];
    db.query(SAVE, &params).await
}

/// The cells of one column, for `unnest`.
pub(super) fn column<'n, N, T>(asked: &[&'n N], cell: impl Fn(&'n N) -> T) -> Vec<T> {
    asked.iter().copied().map(cell).collect()
}
