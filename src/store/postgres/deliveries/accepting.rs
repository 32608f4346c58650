//! Accepting events, and giving those that are nobody's to somebody.
//!
//! A new event is one statement. One that is known is looked at again under its lock, by statements
//! that see all that was written before.

use std::collections::BTreeSet;

use tokio_postgres::{Row, types::Type};

use super::super::{
    desk::{Desk, Work, moment},
    failure::Failure,
    grants::storable,
    pool::{Lent, Param, TRIES},
};
use crate::{
    base::ids::{ConnectionKey, EventId},
    store::{Accepted, NewEvent},
};

/// Puts each of `$users`, a `SELECT` of users and numbers, into a line, or so many deliveries at its
/// end. Lines are locked in one order by all, so that nobody waits for each other.
macro_rules! join_lines {
    ($users:literal) => {
        concat!(
            "line AS (INSERT INTO daypass.lines AS l (user_id, tail, due_at, since) \
             SELECT joining.user_id, joining.count, now, now FROM (",
            $users,
            ") AS joining (user_id, count), moment ORDER BY joining.user_id COLLATE \"C\" \
             ON CONFLICT (user_id) DO UPDATE SET tail = l.tail + excluded.tail, \
                due_at = coalesce(l.due_at, excluded.due_at), \
                since = CASE WHEN l.due_at IS NULL THEN excluded.since ELSE l.since END \
             RETURNING user_id, tail)"
        )
    };
}
pub(super) use join_lines;

const ACCEPT: &str = concat!(
    "WITH ",
    moment!("$9"),
    ", event AS (INSERT INTO daypass.events (id, dedupe, provider, name, accepted_at, payload) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (dedupe) DO NOTHING RETURNING n), ",
    join_lines!("SELECT unnest($7), 1 FROM event"),
    ", made AS (INSERT INTO daypass.deliveries \
        (event, user_id, status, place, at, provider, accepted_at) \
        SELECT n, user_id, 'pending', tail, now, $3, $5 FROM event, line, moment \
        UNION ALL SELECT n, NULL, 'unrouted', 0, now, $3, $5 FROM event, moment \
            WHERE cardinality($7) = 0), \
     waits AS (INSERT INTO daypass.waiting (provider, account, event) \
        SELECT DISTINCT $3, named, n FROM event, unnest($8) named) \
     SELECT n FROM event"
);

const KNOWN: &str = "SELECT n, id FROM daypass.events WHERE dedupe = $1 FOR UPDATE";

/// For those of `$2` that lack it.
const ADD: &str = concat!(
    "WITH ",
    moment!("$3"),
    ", routed AS (DELETE FROM daypass.deliveries WHERE event = $1 AND status = 'unrouted'), \
     settled AS (DELETE FROM daypass.waiting WHERE event = $1), ",
    join_lines!(
        "SELECT asked, 1 FROM unnest($2) asked WHERE NOT EXISTS \
            (SELECT FROM daypass.deliveries d WHERE d.event = $1 AND d.user_id = asked)"
    ),
    ", made AS (INSERT INTO daypass.deliveries \
        (event, user_id, status, place, at, provider, accepted_at) \
        SELECT $1, user_id, 'pending', tail, now, e.provider, e.accepted_at \
        FROM line, moment, daypass.events e WHERE e.n = $1 RETURNING 1) \
     SELECT count(*) FROM made"
);

/// As long as it is nobody's.
const WAIT_FOR: &str = "\
    INSERT INTO daypass.waiting (provider, account, event) \
    SELECT DISTINCT e.provider, named, e.n FROM daypass.events e, unnest($2) named \
    WHERE e.n = $1 \
        AND EXISTS (SELECT FROM daypass.deliveries d WHERE d.event = $1 AND d.status = 'unrouted') \
        AND NOT EXISTS (SELECT FROM daypass.waiting w WHERE w.event = $1 AND w.account = named)";

const WAITING: &str = "\
    SELECT e.n FROM daypass.waiting w JOIN daypass.events e ON e.n = w.event \
    WHERE w.provider = $1 AND left(w.account, 256) = left($2, 256) AND w.account = $2 \
    ORDER BY e.n FOR UPDATE OF e";

/// Those of the events `$1` that still are nobody's.
const ADOPT: &str = concat!(
    "WITH ",
    moment!("$3"),
    ", found AS MATERIALIZED (SELECT d.id, d.event, \
            row_number() OVER (ORDER BY d.event) AS nth, count(*) OVER () AS total \
        FROM daypass.deliveries d WHERE d.event = ANY ($1) AND d.status = 'unrouted'), \
     settled AS (DELETE FROM daypass.waiting WHERE event IN (SELECT event FROM found)), ",
    join_lines!("SELECT $2, count(*) FROM found HAVING count(*) > 0"),
    ", given AS (UPDATE daypass.deliveries d SET user_id = $2, status = 'pending', \
            place = line.tail - found.total + found.nth, at = now \
        FROM found, line, moment WHERE d.id = found.id RETURNING 1) \
     SELECT count(*) FROM given"
);

/// An event to accept, as its statements take it.
struct Accepting {
    event: NewEvent,
    users: Vec<String>,
    /// If it is for nobody.
    accounts: Vec<Option<String>>,
    now: Option<i64>,
}

/// What waits for an account, and who gets it.
struct Adopting {
    account: Option<String>,
    key: ConnectionKey,
    now: Option<i64>,
}

/// See [`Deliveries::accept`](crate::store::Deliveries::accept).
pub(super) async fn accept(desk: &Desk, event: NewEvent) -> Result<Accepted, Failure> {
    let accepting = Accepting::new(event, desk.now());
    for _try in 0..TRIES {
        if accepting.is_new(desk).await? {
            let id = accepting.event.id;
            return Ok(Accepted::New { id });
        }
        // It may have been forgotten between two looks.
        if let Some((id, added)) = desk.transact(&accepting).await? {
            return Ok(Accepted::Known { id, added });
        }
    }
    Err(Failure::Unfit("an event is there and is not"))
}

/// See [`Deliveries::adopt`](crate::store::Deliveries::adopt).
pub(super) async fn adopt(
    desk: &Desk,
    account: Option<String>,
    key: ConnectionKey,
) -> Result<u64, Failure> {
    let now = desk.now();
    let adopted = desk.transact(&Adopting { account, key, now }).await?;
    Ok(u64::try_from(adopted).unwrap_or(0))
}

/// The only cell of the only row.
fn count(rows: &[Row]) -> Result<i64, Failure> {
    let count: Option<i64> = rows.first().map(|row| row.try_get(0)).transpose()?;
    Ok(count.unwrap_or(0))
}

// === impl Accepting ===

impl Accepting {
    fn new(event: NewEvent, now: Option<i64>) -> Self {
        let users = event.recipients.iter().map(|key| key.user.as_str());
        let users: BTreeSet<&str> = users.collect();
        let accounts = if users.is_empty() {
            let accounts = event.accounts.iter();
            accounts.map(|text| storable(Some(text))).collect()
        } else {
            Vec::new()
        };
        Self {
            users: users.into_iter().map(str::to_owned).collect(),
            accounts,
            event,
            now,
        }
    }

    /// Keeps the event with all its deliveries, unless it is known.
    async fn is_new(&self, desk: &Desk) -> Result<bool, Failure> {
        let event = &self.event;
        let made = desk
            .query(
                ACCEPT,
                &[
                    (&event.id.as_bytes().as_slice(), Type::BYTEA),
                    (&event.dedupe.as_slice(), Type::BYTEA),
                    (&event.provider.as_str(), Type::TEXT),
                    (&storable(Some(&event.name)), Type::TEXT),
                    (&event.at.as_millis(), Type::INT8),
                    (&event.payload.as_bytes(), Type::BYTEA),
                    (&self.users, Type::TEXT_ARRAY),
                    (&self.accounts, Type::TEXT_ARRAY),
                    (&self.now, Type::INT8),
                ],
            )
            .await?;
        Ok(!made.is_empty())
    }
}

impl Work for Accepting {
    /// The id of the event, if it is there, and how many of the users lacked it.
    type Done = Option<(EventId, usize)>;

    async fn run(&self, db: &mut Lent) -> Result<Self::Done, Failure> {
        let dedupe: Param<'_> = (&self.event.dedupe.as_slice(), Type::BYTEA);
        let found = db.query(KNOWN, &[dedupe]).await?;
        let Some(row) = found.first() else {
            return Ok(None);
        };
        let (n, id): (i64, &[u8]) = (row.try_get(0)?, row.try_get(1)?);
        let id = EventId::from_slice(id).map_err(|error| Failure::Row {
            row: format!("event {n}"),
            what: format!("its id is {error}"),
        })?;
        if self.users.is_empty() {
            let accounts: Param<'_> = (&self.accounts, Type::TEXT_ARRAY);
            db.query(WAIT_FOR, &[(&n, Type::INT8), accounts]).await?;
            return Ok(Some((id, 0)));
        }
        let users: Param<'_> = (&self.users, Type::TEXT_ARRAY);
        let params = [(&n as _, Type::INT8), users, (&self.now, Type::INT8)];
        let added = count(&db.query(ADD, &params).await?)?;
        Ok(Some((id, usize::try_from(added).unwrap_or(0))))
    }
}

// === impl Adopting ===

impl Work for Adopting {
    /// How many events.
    type Done = i64;

    async fn run(&self, db: &mut Lent) -> Result<i64, Failure> {
        let provider: Param<'_> = (&self.key.provider.as_str(), Type::TEXT);
        let account: Param<'_> = (&self.account, Type::TEXT);
        let waiting = db.query(WAITING, &[provider, account]).await?;
        if waiting.is_empty() {
            return Ok(0);
        }
        let events: Vec<i64> = waiting
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?;
        let given = db
            .query(
                ADOPT,
                &[
                    (&events, Type::INT8_ARRAY),
                    (&self.key.user.as_str(), Type::TEXT),
                    (&self.now, Type::INT8),
                ],
            )
            .await?;
        count(&given)
    }
}
