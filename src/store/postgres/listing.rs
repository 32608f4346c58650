//! Reads of many rows: pages, the sweep's list, the census. Each follows an index.

use tokio_postgres::types::Type;

use super::{
    desk::Desk,
    failure::Failure,
    rows::{self, columns},
};
use crate::{
    base::ids::{ConnectionKey, ProviderName},
    store::{Census, Connection, Due, Filter},
};

/// Two ways to be due, each in the order of an index of its own. Those that are due by the most are
/// among the first of each way, so each is cut to the limit before they are merged; what is due in
/// both ways counts by the more urgent.
const DUE: &str = "\
    SELECT provider, user_id FROM ( \
        (SELECT provider, user_id, $2 - renewed_at AS late FROM daypass.connections \
            WHERE provider = $1 AND renewed_at < $2 \
                AND reauth_reason IS NULL AND refresh IS NOT NULL \
                AND (cooldown_until IS NULL OR cooldown_until <= $4 \
                    OR cooldown_until > $6) \
            ORDER BY renewed_at LIMIT $5) \
        UNION ALL \
        (SELECT provider, user_id, $3 - refresh_expires_at AS late FROM daypass.connections \
            WHERE provider = $1 AND refresh_expires_at < $3 \
                AND reauth_reason IS NULL AND refresh_expires_at IS NOT NULL \
                AND (cooldown_until IS NULL OR cooldown_until <= $4 \
                    OR cooldown_until > $6) \
            ORDER BY refresh_expires_at LIMIT $5)) due \
    GROUP BY provider, user_id ORDER BY max(late) DESC, user_id LIMIT $5";

const CENSUS: &str = "\
    SELECT provider, needs_reauth, count(*) FROM daypass.connections \
    GROUP BY needs_reauth, provider ORDER BY provider, needs_reauth";

/// See [`Store::page`](crate::store::Store::page).
pub(super) async fn page(
    desk: &Desk,
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
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = desk
        .query(
            &page_sql(filter),
            &[
                (&provider, Type::TEXT),
                (&user, Type::TEXT),
                (&limit, Type::INT8),
                (&filter.needs_reauth, Type::BOOL),
            ],
        )
        .await?;
    rows.iter().map(rows::read).collect()
}

/// The last condition names its parameter in any case, so that there are four of them always.
fn page_sql(filter: &Filter) -> String {
    let place = if filter.provider.is_some() {
        "provider = $1 AND user_id > $2"
    } else {
        "(provider, user_id) > ($1, $2)"
    };
    let health = if filter.needs_reauth.is_some() {
        "needs_reauth = $4"
    } else {
        "$4 IS NULL"
    };
    let select = concat!("SELECT ", columns!(), " FROM daypass.connections");
    format!("{select} WHERE {place} AND {health} ORDER BY provider, user_id LIMIT $3")
}

/// See [`Store::due`](crate::store::Store::due).
pub(super) async fn due(desk: &Desk, due: &Due) -> Result<Vec<ConnectionKey>, Failure> {
    let rows = desk
        .query(
            DUE,
            &[
                (&due.provider.as_str(), Type::TEXT),
                (&due.renewed_before.as_millis(), Type::INT8),
                (&due.refresh_ends_before.as_millis(), Type::INT8),
                (&due.now.as_millis(), Type::INT8),
                (&i64::try_from(due.limit).unwrap_or(i64::MAX), Type::INT8),
                (&due.longest_cooldown.as_millis(), Type::INT8),
            ],
        )
        .await?;
    rows.iter().map(|row| rows::read_key(row, 0)).collect()
}

/// See [`Store::census`](crate::store::Store::census).
pub(super) async fn census(desk: &Desk) -> Result<Vec<Census>, Failure> {
    let rows = desk.query(CENSUS, &[]).await?;
    let line = |row: &tokio_postgres::Row| {
        let (name, count): (String, i64) = (row.try_get(0)?, row.try_get(2)?);
        let provider = ProviderName::parse(&name).map_err(|error| Failure::Row {
            row: format!("{name}/*"),
            what: error.to_string(),
        })?;
        Ok(Census {
            provider,
            needs_reauth: row.try_get(1)?,
            count: u64::try_from(count).unwrap_or(0),
        })
    };
    rows.iter().map(line).collect()
}

/// Writes, though not to the disk at once: thousands of sidecars ask this every few seconds.
const PROBE: &str = "\
    WITH relaxed AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)) \
    UPDATE daypass.probe SET count = count + 1 FROM relaxed RETURNING count";

/// See [`Store::check`](crate::store::Store::check).
pub(super) async fn probe(desk: &Desk) -> Result<(), Failure> {
    let written = desk.query(PROBE, &[]).await?;
    if written.is_empty() {
        return Err(Failure::Unfit(
            "a table is empty that never is; restore a backup",
        ));
    }
    Ok(())
}
