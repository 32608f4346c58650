//! Lists and counts of deliveries. Each follows an index; by provider alone, or by what most have
//! (delivered), they follow the numbers.

use tokio_postgres::types::Type;

use super::{
    super::{desk::Desk, failure::Failure},
    columns, number, read, status,
};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ProviderName, UserId},
    },
    store::{Delivery, DeliveryFilter, DeliveryId, DeliveryStatus, Tally},
};

/// Where each status is counted.
const TALLY: &str = "\
    SELECT status, count(*), min(accepted_at) FROM daypass.deliveries \
    WHERE status IN ('pending', 'dead', 'unrouted') GROUP BY status \
    UNION ALL SELECT 'delivered', count(*), min(accepted_at) \
    FROM daypass.deliveries WHERE status = 'delivered'";

/// See [`Deliveries::deliveries`](crate::store::Deliveries::deliveries).
pub(super) async fn page(
    desk: &Desk,
    filter: &DeliveryFilter,
    before: Option<DeliveryId>,
    limit: usize,
) -> Result<Vec<Delivery>, Failure> {
    let provider = filter.provider.as_ref().map(ProviderName::as_str);
    let rows = desk
        .query(
            &page_sql(filter),
            &[
                (&before.map_or(i64::MAX, number), Type::INT8),
                (&filter.user.as_ref().map(UserId::as_str), Type::TEXT),
                (&provider, Type::TEXT),
                (&filter.since.map(Timestamp::as_millis), Type::INT8),
                (&filter.until.map(Timestamp::as_millis), Type::INT8),
                (&i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8),
            ],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// What is not asked for names its parameter all the same, so that there are six of them always. The
/// status is written out, so that its index is seen to fit.
fn page_sql(filter: &DeliveryFilter) -> String {
    let either = |asked: bool, condition, otherwise| if asked { condition } else { otherwise };
    let status = filter.status.map_or_else(
        || "d.status <> 'forgotten'".to_owned(),
        |status| format!("d.status = '{}'", status.as_str()),
    );
    let is_rare = filter
        .status
        .is_some_and(|status| status != DeliveryStatus::Delivered);
    // As the index of rare ones has them.
    let (place, order) = if is_rare {
        ("-d.id > -$1", "-d.id")
    } else {
        ("d.id < $1", "d.id DESC")
    };
    let conditions = [
        place,
        &status,
        either(filter.user.is_some(), "d.user_id = $2", "$2 IS NULL"),
        either(filter.provider.is_some(), "d.provider = $3", "$3 IS NULL"),
        either(filter.since.is_some(), "d.accepted_at >= $4", "$4 IS NULL"),
        either(filter.until.is_some(), "d.accepted_at < $5", "$5 IS NULL"),
    ];
    let select = concat!(
        "SELECT ",
        columns!(),
        " FROM daypass.deliveries d JOIN daypass.events e ON e.n = d.event WHERE "
    );
    format!(
        "{select}{} ORDER BY {order} LIMIT $6",
        conditions.join(" AND ")
    )
}

/// See [`Deliveries::tally`](crate::store::Deliveries::tally).
pub(super) async fn tally(desk: &Desk) -> Result<Vec<Tally>, Failure> {
    let rows = desk.query(TALLY, &[]).await?;
    let line = |row: &tokio_postgres::Row| {
        let (name, count): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
        let oldest: Option<i64> = row.try_get(2)?;
        let status = status(name).map_err(|what| Failure::Row {
            row: "deliveries".to_owned(),
            what,
        })?;
        Ok(Tally {
            status,
            count: u64::try_from(count).unwrap_or(0),
            oldest: oldest.map(Timestamp::from_millis),
        })
    };
    rows.iter().map(line).collect()
}
