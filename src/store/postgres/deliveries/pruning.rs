//! Forgetting deliveries, and events with their last one.
//!
//! A delivery that is forgotten before the others of its event leaves its row, so that its user does
//! not get the event again; the rows go with the event. That is decided under the lock of the event,
//! which whoever adds a delivery holds too.

use std::collections::BTreeSet;

use tokio_postgres::types::Type;

use super::super::{
    desk::{Desk, Work},
    failure::Failure,
    pool::{Lent, Param},
};
use crate::base::clock::Timestamp;

const DELIVERED: &str = "\
    SELECT id, event FROM daypass.deliveries WHERE status = 'delivered' AND at < $1 \
    ORDER BY at LIMIT $2";

const OTHERS: &str = "\
    SELECT id, event FROM daypass.deliveries WHERE status IN ('dead', 'unrouted') \
        AND accepted_at < $1 LIMIT $2";

/// Whoever is adding to one of them keeps it: the next time is soon enough.
const LOCK: &str =
    "SELECT n FROM daypass.events WHERE n = ANY ($1) ORDER BY n FOR UPDATE SKIP LOCKED";

/// What was replayed or adopted since it was found stays.
const FORGET: &str = "\
    UPDATE daypass.deliveries SET status = 'forgotten', last_error = NULL \
    WHERE id = ANY ($1) AND event = ANY ($2) \
        AND (status = 'delivered' AND at < $3 \
            OR status IN ('dead', 'unrouted') AND accepted_at < $4) \
    RETURNING user_id";

const DROP: &str = "\
    WITH gone AS (DELETE FROM daypass.events WHERE n = ANY ($1) AND NOT EXISTS \
        (SELECT FROM daypass.deliveries d WHERE d.event = n AND d.status <> 'forgotten') \
        RETURNING n), \
    settled AS (DELETE FROM daypass.waiting WHERE event IN (SELECT n FROM gone)) \
    DELETE FROM daypass.deliveries WHERE event IN (SELECT n FROM gone)";

/// Nothing is pending in them, and nobody is known to have got anything in them: their row is of no
/// use. By a statement of its own: lines are locked before deliveries.
const DROP_LINES: &str = "\
    DELETE FROM daypass.lines WHERE user_id IN ( \
        SELECT user_id FROM daypass.lines l WHERE user_id = ANY ($1) AND due_at IS NULL \
            AND NOT EXISTS (SELECT FROM daypass.deliveries d WHERE d.user_id = l.user_id) \
        FOR UPDATE SKIP LOCKED)";

/// What may be forgotten.
struct Old {
    delivered: Timestamp,
    others: Timestamp,
    ids: Vec<i64>,
    events: Vec<i64>,
}

/// See [`Deliveries::prune`](crate::store::Deliveries::prune).
pub(super) async fn prune(
    desk: &Desk,
    delivered: Timestamp,
    others: Timestamp,
    limit: usize,
) -> Result<u64, Failure> {
    let mut found = find(desk, DELIVERED, delivered, limit).await?;
    let left = limit.saturating_sub(found.len());
    found.extend(find(desk, OTHERS, others, left).await?);
    if found.is_empty() {
        return Ok(0);
    }
    let events: BTreeSet<i64> = found.iter().map(|(_id, event)| *event).collect();
    let old = Old {
        delivered,
        others,
        ids: found.into_iter().map(|(id, _event)| id).collect(),
        events: events.into_iter().collect(),
    };
    let users = desk.transact(&old).await?;
    let count = u64::try_from(users.len()).unwrap_or(u64::MAX);
    let users: BTreeSet<String> = users.into_iter().flatten().collect();
    let users: Vec<String> = users.into_iter().collect();
    desk.query(DROP_LINES, &[(&users, Type::TEXT_ARRAY)])
        .await?;
    Ok(count)
}

async fn find(
    desk: &Desk,
    sql: &str,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<(i64, i64)>, Failure> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let params: [Param<'_>; 2] = [(&before.as_millis(), Type::INT8), (&limit, Type::INT8)];
    let rows = desk.query(sql, &params).await?;
    let ids = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    ids.collect()
}

impl Work for Old {
    /// Whose deliveries were forgotten.
    type Done = Vec<Option<String>>;

    async fn run(&self, db: &mut Lent) -> Result<Self::Done, Failure> {
        let locked = db.query(LOCK, &[(&self.events, Type::INT8_ARRAY)]).await?;
        let locked: Vec<i64> = locked
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?;
        let forgotten = db
            .query(
                FORGET,
                &[
                    (&self.ids, Type::INT8_ARRAY),
                    (&locked, Type::INT8_ARRAY),
                    (&self.delivered.as_millis(), Type::INT8),
                    (&self.others.as_millis(), Type::INT8),
                ],
            )
            .await?;
        db.query(DROP, &[(&locked, Type::INT8_ARRAY)]).await?;
        let users = forgotten.iter().map(|row| Ok(row.try_get(0)?));
        users.collect()
    }
}
