//! Everything sealed, table by table; see [`Seals`].
//!
//! What the spared key has sealed is cut off by the server: only its head travels. A batch is one
//! statement, which waits for whoever is writing to one of its rows, and looks again at what is there
//! then.

use async_trait::async_trait;
use tokio_postgres::{
    Row as Cells,
    types::{ToSql, Type},
};

use super::{
    Postgres, ask,
    desk::{Desk, now},
    failure::Failure,
    pool::Param,
};
use crate::store::{
    Bookmark, Drawer, Error, Row, SealedPage, SealedRow, Seals, Swap,
    seal::{Sealed, head_of},
};

/// A seal, or only its head where `$all`, all seals of the row, begin with `$2`, which is `$1` long. 66
/// is [`HEAD_LEN`](crate::store::seal::HEAD_LEN).
macro_rules! seal {
    ($column:literal) => {
        seal!($column, of $column)
    };
    ($column:literal, of $($all:literal),+) => {
        concat!(
            "CASE WHEN true",
            $(" AND coalesce(substr(", $all, ", 1, $1) = $2, true)",)+
            " THEN substr(",
            $column,
            ", 1, 66) ELSE ",
            $column,
            " END"
        )
    };
}

const CONNECTIONS: &str = concat!(
    "SELECT provider, user_id, ''::text, ",
    seal!("access", of "access", "refresh"),
    ", ",
    seal!("refresh", of "access", "refresh"),
    " FROM daypass.connections WHERE (provider, user_id) > ($3, $4) \
     ORDER BY provider, user_id LIMIT $5"
);

const RECORDS: &str = concat!(
    "SELECT encode(digest, 'hex'), purpose, ''::text, ",
    seal!("record"),
    ", NULL::bytea FROM daypass.expiring WHERE (digest, purpose) > (decode($3, 'hex'), $4) \
     AND (ends_at IS NULL OR ends_at > ",
    now!("$6"),
    ") ORDER BY digest, purpose LIMIT $5"
);

const JOBS: &str = concat!(
    "SELECT kind, provider, user_id, ",
    seal!("state"),
    ", NULL::bytea FROM daypass.jobs WHERE (kind, provider, user_id) > ($3, $4, $5) \
     ORDER BY kind, provider, user_id LIMIT $6"
);

const EVENTS: &str = concat!(
    "SELECT n::text, provider, encode(id, 'hex') || encode(dedupe, 'hex'), ",
    seal!("payload"),
    ", NULL::bytea FROM daypass.events WHERE n > $3 ORDER BY n LIMIT $4"
);

const MEETINGS: &str = concat!(
    "SELECT user_id, provider, external_id, ",
    seal!("details"),
    ", NULL::bytea FROM daypass.meetings WHERE (user_id, provider, external_id) > ($3, $4, $5) \
     ORDER BY user_id, provider, external_id LIMIT $6"
);

/// `UPDATE` of the column `$column` of a table whose rows `$key` finds, by numbers, old seals, new ones,
/// and three arrays `a`, `b`, `c` of what a row is named by.
macro_rules! put {
    ($table:literal, $column:literal, $key:literal) => {
        concat!(
            "UPDATE daypass.",
            $table,
            " t SET ",
            $column,
            " = s.new FROM unnest($1::int8[], $2::bytea[], $3::bytea[], $4::text[], $5::text[], \
                $6::text[]) AS s (number, was, new, a, b, c) WHERE ",
            $key,
            " AND t.",
            $column,
            " = s.was RETURNING s.number"
        )
    };
}

const PUT_CONNECTIONS: &str = "\
    UPDATE daypass.connections t SET access = s.new, refresh = s.new_refresh \
    FROM unnest($1::int8[], $2::bytea[], $3::bytea[], $4::text[], $5::text[], $6::text[], \
        $7::bytea[], $8::bytea[]) AS s (number, was, new, a, b, c, was_refresh, new_refresh) \
    WHERE t.provider = s.a AND t.user_id = s.b AND t.access = s.was \
        AND t.refresh IS NOT DISTINCT FROM s.was_refresh RETURNING s.number";

const PUT_RECORDS: &str = put!(
    "expiring",
    "record",
    "t.purpose = s.b AND t.digest = decode(s.a, 'hex')"
);

const PUT_JOBS: &str = put!(
    "jobs",
    "state",
    "t.kind = s.a AND t.provider = s.b AND t.user_id = s.c"
);

const PUT_EVENTS: &str = put!("events", "payload", "t.dedupe = decode(s.a, 'hex')");

const PUT_MEETINGS: &str = put!(
    "meetings",
    "details",
    "t.user_id = s.a AND t.provider = s.b AND t.external_id = s.c"
);

#[async_trait]
impl Seals for Postgres {
    async fn sealed(
        &self,
        drawer: Drawer,
        from: Option<&Bookmark>,
        limit: usize,
        spare: Option<&str>,
    ) -> Result<SealedPage, Error> {
        let after = Bookmark::parts(from).map(str::to_owned);
        let spare = spare.map(head_of).unwrap_or_default();
        ask!(lists self, |desk| page(&desk, drawer, &after, limit, &spare))
    }

    async fn reseal(&self, swaps: Vec<Swap>) -> Result<Vec<bool>, Error> {
        ask!(lists self, |desk| put(&desk, &swaps))
    }
}

async fn page(
    desk: &Desk,
    drawer: Drawer,
    [one, two, three]: &[String; 3],
    limit: usize,
    spare: &[u8],
) -> Result<SealedPage, Failure> {
    let sql = match drawer {
        Drawer::Connections => CONNECTIONS,
        Drawer::Records => RECORDS,
        Drawer::Jobs => JOBS,
        Drawer::Events => EVENTS,
        Drawer::Meetings => MEETINGS,
    };
    let (length, most) = (
        i32::try_from(spare.len()).unwrap_or(0),
        i64::try_from(limit).unwrap_or(i64::MAX),
    );
    let (now, number) = (desk.now(), one.parse::<i64>().unwrap_or(0));
    let mut params: Vec<Param<'_>> = vec![(&length, Type::INT4), (&spare, Type::BYTEA)];
    match drawer {
        Drawer::Events => params.push((&number, Type::INT8)),
        Drawer::Connections | Drawer::Records => {
            params.extend([(one as _, Type::TEXT), (two as _, Type::TEXT)]);
        }
        Drawer::Jobs | Drawer::Meetings => {
            let texts = [one, two, three];
            params.extend(texts.map(|text| (text as _, Type::TEXT)));
        }
    }
    params.push((&most, Type::INT8));
    if drawer == Drawer::Records {
        params.push((&now, Type::INT8));
    }
    let rows = desk.query(sql, &params).await?;
    let mut found = SealedPage::default();
    let mut last = None;
    for cells in &rows {
        let name: [String; 3] = [cells.try_get(0)?, cells.try_get(1)?, cells.try_get(2)?];
        let seals = seals(cells)?;
        let [one, two, three] = name.each_ref().map(String::as_str);
        // The table of records has the digest first.
        let columns = match drawer {
            Drawer::Records => [two, one, three],
            _ => [one, two, three],
        };
        match Row::named(drawer, columns) {
            Some(row) if !seals.is_empty() => found.rows.push(SealedRow { row, seals }),
            Some(_) => {}
            None => found.unreadable.push(name.join(" ")),
        }
        last = Some(name);
    }
    found.next = last.filter(|_| rows.len() == limit).map(Bookmark::of);
    Ok(found)
}

fn seals(cells: &Cells) -> Result<Vec<Sealed>, Failure> {
    let (first, second): (Option<Vec<u8>>, Option<Vec<u8>>) =
        (cells.try_get(3)?, cells.try_get(4)?);
    Ok([first, second]
        .into_iter()
        .flatten()
        .map(Sealed::from_bytes)
        .collect())
}

async fn put(desk: &Desk, swaps: &[Swap]) -> Result<Vec<bool>, Failure> {
    let Some(first) = swaps.first() else {
        return Ok(Vec::new());
    };
    let sql = match first.row.drawer() {
        Drawer::Connections => PUT_CONNECTIONS,
        Drawer::Records => PUT_RECORDS,
        Drawer::Jobs => PUT_JOBS,
        Drawer::Events => PUT_EVENTS,
        Drawer::Meetings => PUT_MEETINGS,
    };
    let numbers: Vec<i64> = (0..).take(swaps.len()).collect();
    let seal = |seals: fn(&Swap) -> &Vec<Sealed>, n: usize| -> Vec<Option<&[u8]>> {
        let each = swaps.iter().map(|swap| seals(swap).get(n));
        each.map(|seal| seal.map(Sealed::as_bytes)).collect()
    };
    let (was, new) = (seal(|swap| &swap.from, 0), seal(|swap| &swap.to, 0));
    let (was_refresh, new_refresh) = (seal(|swap| &swap.from, 1), seal(|swap| &swap.to, 1));
    let names: Vec<[String; 3]> = swaps.iter().map(|swap| name_of(&swap.row)).collect();
    let column = |n: usize| -> Vec<&str> {
        let cells = names.iter().filter_map(|name| name.get(n));
        cells.map(String::as_str).collect()
    };
    let (a, b, c) = (column(0), column(1), column(2));
    let mut params: Vec<Param<'_>> = vec![
        (&numbers as &(dyn ToSql + Sync), Type::INT8_ARRAY),
        (&was, Type::BYTEA_ARRAY),
        (&new, Type::BYTEA_ARRAY),
        (&a, Type::TEXT_ARRAY),
        (&b, Type::TEXT_ARRAY),
        (&c, Type::TEXT_ARRAY),
    ];
    if first.row.drawer() == Drawer::Connections {
        params.push((&was_refresh, Type::BYTEA_ARRAY));
        params.push((&new_refresh, Type::BYTEA_ARRAY));
    }
    let mut done = vec![false; swaps.len()];
    for row in desk.query(sql, &params).await? {
        let number: i64 = row.try_get(0)?;
        if let Some(done) = usize::try_from(number).ok().and_then(|n| done.get_mut(n)) {
            *done = true;
        }
    }
    Ok(done)
}

/// As the statements take it.
fn name_of(row: &Row) -> [String; 3] {
    let text = str::to_owned;
    match row {
        Row::Connection(key) => [
            text(key.provider.as_str()),
            text(key.user.as_str()),
            String::new(),
        ],
        Row::Record(purpose, digest) => {
            [hex::encode(digest.0), text(purpose.as_str()), String::new()]
        }
        Row::Job(kind, key) => [
            text(kind.as_str()),
            text(key.provider.as_str()),
            text(key.user.as_str()),
        ],
        Row::Event { dedupe, .. } => [hex::encode(dedupe), String::new(), String::new()],
        Row::Meeting(key, id) => [
            text(key.user.as_str()),
            text(key.provider.as_str()),
            id.clone(),
        ],
    }
}
