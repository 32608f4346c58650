//! Lists and counts of deliveries. Each follows an index; by provider alone, or by what most have
//! (delivered), they follow the numbers.

use rusqlite::{Connection as Db, params_from_iter, types::Value};

use super::{super::failure::Failure, columns, number, read, status};
use crate::{
    base::clock::Timestamp,
    store::{Delivery, DeliveryFilter, DeliveryId, DeliveryStatus, Tally},
};

/// Where each status is counted.
pub(super) const TALLY: &str = "\
    SELECT status, count(*), min(accepted_at) FROM deliveries INDEXED BY deliveries_by_status \
    WHERE status IN ('pending', 'dead', 'unrouted') GROUP BY status \
    UNION ALL SELECT 'delivered', count(*), min(accepted_at) \
    FROM deliveries INDEXED BY deliveries_delivered WHERE status = 'delivered'";

/// The question of a page, and its parameters.
pub(super) fn page(
    filter: &DeliveryFilter,
    before: Option<DeliveryId>,
    limit: usize,
) -> (String, Vec<Value>) {
    let select = concat!("SELECT ", columns!(), " FROM deliveries d ");
    let mut sql = format!(
        "{select}{} CROSS JOIN events e ON e.n = d.event WHERE d.status <> 'forgotten'",
        index(filter)
    );
    let mut parameters = Vec::new();
    let mut and = |condition: &str, value: Value| {
        sql.push_str(condition);
        parameters.push(value);
    };
    let text = |text: &str| Value::Text(text.to_owned());
    if let Some(user) = &filter.user {
        and(" AND d.user = ?", text(user.as_str()));
    }
    if let Some(status) = filter.status {
        // The first condition lets SQLite see that the index has all of them.
        let condition = if status == DeliveryStatus::Delivered {
            " AND d.status = ?"
        } else {
            " AND d.status IN ('pending', 'dead', 'unrouted') AND d.status = ?"
        };
        and(condition, text(status.as_str()));
    }
    if let Some(provider) = &filter.provider {
        and(" AND d.provider = ?", text(provider.as_str()));
    }
    if let Some(since) = filter.since {
        and(" AND d.accepted_at >= ?", since.as_millis().into());
    }
    if let Some(until) = filter.until {
        and(" AND d.accepted_at < ?", until.as_millis().into());
    }
    if let Some(before) = before {
        and(" AND d.id < ?", number(before).into());
    }
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    and(" ORDER BY d.id DESC LIMIT ?", limit.into());
    (sql, parameters)
}

/// What leads to the fewest rows that are not asked for.
fn index(filter: &DeliveryFilter) -> &'static str {
    let is_rare = filter
        .status
        .is_some_and(|status| status != DeliveryStatus::Delivered);
    if filter.user.is_some() {
        "INDEXED BY deliveries_by_user"
    } else if is_rare {
        "INDEXED BY deliveries_by_status"
    } else if filter.since.is_some() || filter.until.is_some() {
        "INDEXED BY deliveries_by_time"
    } else {
        "NOT INDEXED"
    }
}

/// See [`Deliveries::deliveries`](crate::store::Deliveries::deliveries).
pub(super) fn deliveries(
    db: &Db,
    sql: &str,
    parameters: Vec<Value>,
) -> Result<Vec<Delivery>, Failure> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(parameters))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// See [`Deliveries::tally`](crate::store::Deliveries::tally).
pub(super) fn tally(db: &Db) -> Result<Vec<Tally>, Failure> {
    let mut statement = db.prepare_cached(TALLY)?;
    let mut rows = statement.query([])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, count): (String, i64) = (row.get(0)?, row.get(1)?);
        let status = status(&name).map_err(|what| Failure::Row {
            row: "deliveries".to_owned(),
            what,
        })?;
        lines.push(Tally {
            status,
            count: u64::try_from(count).unwrap_or(0),
            oldest: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_millis),
        });
    }
    Ok(lines)
}
