//! Everything sealed, table by table; see [`Seals`].
//!
//! What the spared key has sealed is cut off within SQLite: only its head is copied.

use async_trait::async_trait;
use rusqlite::{Connection as Db, Row as Cells, params, types::Value};

use super::{Sqlite, failure::Failure};
use crate::{
    base::clock::Timestamp,
    store::{
        Bookmark, Drawer, Error, Row, SealedPage, SealedRow, Seals, Swap,
        seal::{Sealed, head_of},
    },
};

/// A seal, or only its head where `$all`, all seals of the row, begin with `?2`, which is `?1` long. 66
/// is [`HEAD_LEN`](crate::store::seal::HEAD_LEN).
macro_rules! seal {
    ($column:literal) => {
        seal!($column, of $column)
    };
    ($column:literal, of $($all:literal),+) => {
        concat!(
            "CASE WHEN true",
            $(" AND coalesce(substr(", $all, ", 1, ?1) = ?2, true)",)+
            " THEN substr(",
            $column,
            ", 1, 66) ELSE ",
            $column,
            " END"
        )
    };
}

const CONNECTIONS: &str = concat!(
    "SELECT provider, user, '', ",
    seal!("access", of "access", "refresh"),
    ", ",
    seal!("refresh", of "access", "refresh"),
    " FROM connections WHERE (provider, user) > (?3, ?4) ORDER BY provider, user LIMIT ?6"
);

const RECORDS: &str = concat!(
    "SELECT purpose, hex(digest), '', ",
    seal!("record"),
    ", NULL FROM expiring WHERE (purpose, digest) > (?3, unhex(?4)) \
     AND (ends_at IS NULL OR ends_at > ?7) ORDER BY purpose, digest LIMIT ?6"
);

const JOBS: &str = concat!(
    "SELECT kind, provider, user, ",
    seal!("state"),
    ", NULL FROM jobs WHERE (kind, provider, user) > (?3, ?4, ?5) \
     ORDER BY kind, provider, user LIMIT ?6"
);

const EVENTS: &str = concat!(
    "SELECT CAST(n AS TEXT), provider, hex(id) || hex(dedupe), ",
    seal!("payload"),
    ", NULL FROM events WHERE n > CAST(?3 AS INTEGER) ORDER BY n LIMIT ?6"
);

const MEETINGS: &str = concat!(
    "SELECT user, provider, external_id, ",
    seal!("details"),
    ", NULL FROM meetings WHERE (user, provider, external_id) > (?3, ?4, ?5) \
     ORDER BY user, provider, external_id LIMIT ?6"
);

/// Where a page begins, and what is asked of it.
struct Question {
    drawer: Drawer,
    after: [String; 3],
    limit: usize,
    spare: Vec<u8>,
    now: Timestamp,
}

#[async_trait]
impl Seals for Sqlite {
    async fn sealed(
        &self,
        drawer: Drawer,
        from: Option<&Bookmark>,
        limit: usize,
        spare: Option<&str>,
    ) -> Result<SealedPage, Error> {
        let question = Question {
            drawer,
            after: Bookmark::parts(from).map(str::to_owned),
            limit,
            spare: spare.map(head_of).unwrap_or_default(),
            now: self.clock.now(),
        };
        self.list(move |db| page(db, &question)).await
    }

    async fn reseal(&self, swaps: Vec<Swap>) -> Result<Vec<bool>, Error> {
        self.write(move |db, _desk| swaps.iter().map(|swap| put(db, swap)).collect())
            .await
    }
}

fn page(db: &Db, question: &Question) -> Result<SealedPage, Failure> {
    let sql = match question.drawer {
        Drawer::Connections => CONNECTIONS,
        Drawer::Records => RECORDS,
        Drawer::Jobs => JOBS,
        Drawer::Events => EVENTS,
        Drawer::Meetings => MEETINGS,
    };
    let mut statement = db.prepare_cached(sql)?;
    // Each statement has as many parameters as it names; the others would be an error.
    let mut values = vec![
        Value::Integer(i64::try_from(question.spare.len()).unwrap_or(0)),
        Value::Blob(question.spare.clone()),
    ];
    values.extend(question.after.iter().cloned().map(Value::Text));
    values.push(Value::Integer(
        i64::try_from(question.limit).unwrap_or(i64::MAX),
    ));
    values.push(Value::Integer(question.now.as_millis()));
    values.truncate(statement.parameter_count());
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    let (mut found, mut visited) = (SealedPage::default(), 0);
    let mut last = None;
    while let Some(cells) = rows.next()? {
        visited += 1;
        let name: [String; 3] = [cells.get(0)?, cells.get(1)?, cells.get(2)?];
        let seals = seals(cells)?;
        let columns = name.each_ref().map(String::as_str);
        match Row::named(question.drawer, columns) {
            Some(row) if !seals.is_empty() => found.rows.push(SealedRow { row, seals }),
            Some(_) => {}
            None => found.unreadable.push(name.join(" ")),
        }
        last = Some(name);
    }
    found.next = last.filter(|_| visited == question.limit).map(Bookmark::of);
    Ok(found)
}

fn seals(cells: &Cells<'_>) -> Result<Vec<Sealed>, Failure> {
    let (first, second): (Option<Vec<u8>>, Option<Vec<u8>>) = (cells.get(3)?, cells.get(4)?);
    Ok([first, second]
        .into_iter()
        .flatten()
        .map(Sealed::from_bytes)
        .collect())
}

fn put(db: &Db, swap: &Swap) -> Result<bool, Failure> {
    let bytes = |seals: &[Sealed], n: usize| seals.get(n).map(|seal| seal.as_bytes().to_vec());
    let (was, new) = (bytes(&swap.from, 0), bytes(&swap.to, 0));
    let changed = match &swap.row {
        Row::Connection(key) => db
            .prepare_cached(
                "UPDATE connections SET access = ?1, refresh = ?2 WHERE provider = ?3 AND user = ?4 \
                 AND access = ?5 AND refresh IS ?6",
            )?
            .execute(params![
                new,
                bytes(&swap.to, 1),
                key.provider.as_str(),
                key.user.as_str(),
                was,
                bytes(&swap.from, 1),
            ])?,
        Row::Record(purpose, digest) => db
            .prepare_cached(
                "UPDATE expiring SET record = ?1 WHERE purpose = ?2 AND digest = ?3 AND record = ?4",
            )?
            .execute(params![new, purpose.as_str(), digest.0, was])?,
        Row::Job(kind, key) => db
            .prepare_cached(
                "UPDATE jobs SET state = ?1 WHERE kind = ?2 AND provider = ?3 AND user = ?4 \
                 AND state = ?5",
            )?
            .execute(params![
                new,
                kind.as_str(),
                key.provider.as_str(),
                key.user.as_str(),
                was
            ])?,
        Row::Event { dedupe, .. } => db
            .prepare_cached("UPDATE events SET payload = ?1 WHERE dedupe = ?2 AND payload = ?3")?
            .execute(params![new, dedupe, was])?,
        Row::Meeting(key, id) => db
            .prepare_cached(
                "UPDATE meetings SET details = ?1 WHERE user = ?2 AND provider = ?3 \
                 AND external_id = ?4 AND details = ?5",
            )?
            .execute(params![
                new,
                key.user.as_str(),
                key.provider.as_str(),
                id,
                was
            ])?,
    };
    Ok(changed > 0)
}

#[cfg(test)]
mod tests {
    use crate::store::seal::HEAD_LEN;

    #[test]
    fn as_much_is_copied_as_a_head_may_be_long() {
        assert_eq!(HEAD_LEN, 66);
    }
}
