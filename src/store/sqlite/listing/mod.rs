//! Reads of many rows: pages, the sweep's list, the census. Each follows an index.

use rusqlite::{Connection as Db, params};

use super::{failure::Failure, rows};
use crate::{
    base::ids::{ConnectionKey, ProviderName},
    store::{Census, Connection, Due, Filter},
};

/// Two ways to be due, each in the order of an index of its own. Those that are due by the most are
/// among the first of each way, so each is cut to the limit before they are merged; what is due in
/// both ways counts by the more urgent.
pub(super) const DUE: &str = "\
    SELECT provider, user FROM ( \
        SELECT * FROM ( \
            SELECT provider, user, ?2 - renewed_at AS late \
            FROM connections INDEXED BY connections_by_age \
            WHERE provider = ?1 AND renewed_at < ?2 \
                AND reauth_reason IS NULL AND refresh IS NOT NULL \
                AND (cooldown_until IS NULL OR cooldown_until <= ?4 \
                    OR cooldown_until > ?6) \
            ORDER BY renewed_at LIMIT ?5) \
        UNION ALL \
        SELECT * FROM ( \
            SELECT provider, user, ?3 - refresh_expires_at AS late \
            FROM connections INDEXED BY connections_by_end \
            WHERE provider = ?1 AND refresh_expires_at < ?3 \
                AND reauth_reason IS NULL AND refresh_expires_at IS NOT NULL \
                AND (cooldown_until IS NULL OR cooldown_until <= ?4 \
                    OR cooldown_until > ?6) \
            ORDER BY refresh_expires_at LIMIT ?5)) \
    GROUP BY provider, user ORDER BY max(late) DESC, user LIMIT ?5";

pub(super) const CENSUS: &str = "\
    SELECT provider, needs_reauth, count(*) FROM connections INDEXED BY connections_by_health \
    GROUP BY needs_reauth, provider ORDER BY provider, needs_reauth";

/// See [`Store::page`](crate::store::Store::page).
pub(super) fn page(
    db: &Db,
    filter: &Filter,
    after: Option<&ConnectionKey>,
    limit: usize,
) -> Result<Vec<Connection>, Failure> {
    let (provider, user) = match (&filter.provider, after) {
        (Some(only), Some(after)) if after.provider > *only => return Ok(Vec::new()),
        // Below the first user of the provider: the empty text comes before any.
        (Some(only), Some(after)) if after.provider < *only => (only.as_str(), ""),
        (_, Some(after)) => (after.provider.as_str(), after.user.as_str()),
        (Some(only), None) => (only.as_str(), ""),
        (None, None) => ("", ""),
    };
    let statement = db.prepare_cached(&page_sql(filter))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    rows::collect(
        statement,
        params![provider, user, limit, filter.needs_reauth],
    )
}

/// The last condition names its parameter in any case, so that there are four of them always.
pub(super) fn page_sql(filter: &Filter) -> String {
    let place = if filter.provider.is_some() {
        "provider = ?1 AND user > ?2"
    } else {
        "(provider, user) > (?1, ?2)"
    };
    let health = if filter.needs_reauth.is_some() {
        "needs_reauth = ?4"
    } else {
        "?4 IS NULL"
    };
    let select = rows::SELECT;
    format!("{select} WHERE {place} AND {health} ORDER BY provider, user LIMIT ?3")
}

/// See [`Store::due`](crate::store::Store::due).
pub(super) fn due(db: &Db, due: &Due) -> Result<Vec<ConnectionKey>, Failure> {
    let mut statement = db.prepare_cached(DUE)?;
    let mut rows = statement.query(params![
        due.provider.as_str(),
        due.renewed_before.as_millis(),
        due.refresh_ends_before.as_millis(),
        due.now.as_millis(),
        i64::try_from(due.limit).unwrap_or(i64::MAX),
        due.longest_cooldown.as_millis(),
    ])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push(rows::read_key(row)?);
    }
    Ok(keys)
}

/// See [`Store::census`](crate::store::Store::census).
pub(super) fn census(db: &Db) -> Result<Vec<Census>, Failure> {
    let mut statement = db.prepare_cached(CENSUS)?;
    let mut rows = statement.query([])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, count): (String, i64) = (row.get(0)?, row.get(2)?);
        let provider = ProviderName::parse(&name).map_err(|error| Failure::Row {
            row: format!("{name}/*"),
            what: error.to_string(),
        })?;
        lines.push(Census {
            provider,
            needs_reauth: row.get(1)?,
            count: u64::try_from(count).unwrap_or(0),
        });
    }
    Ok(lines)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::plan;
