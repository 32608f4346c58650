//! Replaying: what waits becomes due, what is settled joins its line again.

use tokio_postgres::types::Type;

use super::{
    super::{
        desk::{Desk, moment},
        failure::Failure,
        pool::{Param, TRIES},
    },
    accepting::join_lines,
    number,
};
use crate::store::DeliveryId;

/// The line first: who settles locks it first too. It is due if the delivery is its first one and
/// nobody has it; whoever is at it says when it is due.
const HASTEN: &str = concat!(
    "WITH ",
    moment!("$2"),
    ", line AS (UPDATE daypass.lines l SET due_at = now, since = now FROM daypass.deliveries d, moment \
        WHERE d.id = $1 AND d.status = 'pending' AND l.user_id = d.user_id AND l.owner IS NULL \
            AND l.due_at > now AND NOT EXISTS (SELECT FROM daypass.deliveries b \
                WHERE b.user_id = d.user_id AND b.status = 'pending' AND b.place < d.place) \
        RETURNING 1) \
     UPDATE daypass.deliveries SET at = now FROM moment \
     WHERE id = $1 AND status = 'pending' AND (SELECT count(*) FROM line) >= 0 RETURNING 1"
);

const BEGIN_ANEW: &str = concat!(
    "WITH ",
    moment!("$2"),
    ", ",
    join_lines!(
        "SELECT user_id, 1 FROM daypass.deliveries \
         WHERE id = $1 AND status IN ('delivered', 'dead')"
    ),
    " UPDATE daypass.deliveries SET status = 'pending', place = line.tail, at = now, attempts = 0, \
        first_tried_at = NULL, last_error = NULL FROM line, moment \
     WHERE id = $1 AND status IN ('delivered', 'dead') RETURNING 1"
);

const IS_SOMEBODYS: &str = "\
    SELECT 1 FROM daypass.deliveries WHERE id = $1 AND status IN ('pending', 'delivered', 'dead')";

/// See [`Deliveries::replay`](crate::store::Deliveries::replay).
pub(super) async fn replay(desk: &Desk, delivery: DeliveryId) -> Result<bool, Failure> {
    let (id, now) = (number(delivery), desk.now());
    let params: [Param<'_>; 2] = [(&id, Type::INT8), (&now, Type::INT8)];
    for _try in 0..TRIES {
        for sql in [HASTEN, BEGIN_ANEW] {
            if !desk.query(sql, &params).await?.is_empty() {
                return Ok(true);
            }
        }
        // Or else somebody has settled or replayed it between two statements.
        let found = desk.query(IS_SOMEBODYS, &[(&id, Type::INT8)]).await?;
        if found.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}
