//! Who did what; see [`Trail`].

use async_trait::async_trait;
use rusqlite::{Connection as Db, Row, params};

use super::{Sqlite, failure::Failure};
use crate::{
    base::{
        clock::Timestamp,
        ids::{AuditId, ProviderName, UserId},
    },
    store::{Deed, DeedFilter, Error, Trail},
};

const RECORD: &str = "\
    INSERT OR IGNORE INTO audit \
        (id, at, via, who, action, provider, user, outcome, reason, detail) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

pub(super) const PRUNE: &str = "\
    DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < ?1 ORDER BY id LIMIT ?2)";

#[async_trait]
impl Trail for Sqlite {
    async fn record(&self, deed: &Deed) -> Result<(), Error> {
        let deed = deed.clone();
        self.write(move |db, _desk| record(db, &deed)).await
    }

    async fn deeds(
        &self,
        filter: &DeedFilter,
        before: Option<AuditId>,
        limit: usize,
    ) -> Result<Vec<Deed>, Error> {
        let filter = filter.clone();
        self.list(move |db| deeds(db, &filter, before, limit)).await
    }

    async fn prune_deeds(&self, before: Timestamp, limit: usize) -> Result<u64, Error> {
        let (end, limit) = (
            AuditId::first_of(before),
            i64::try_from(limit).unwrap_or(i64::MAX),
        );
        self.write(move |db, _desk| {
            let pruned = db
                .prepare_cached(PRUNE)?
                .execute(params![end.as_bytes().as_slice(), limit])?;
            Ok(u64::try_from(pruned).unwrap_or(u64::MAX))
        })
        .await
    }
}

fn record(db: &Db, deed: &Deed) -> Result<(), Failure> {
    db.prepare_cached(RECORD)?.execute(params![
        deed.id.as_bytes().as_slice(),
        deed.at.as_millis(),
        deed.via,
        deed.who,
        deed.action,
        deed.provider.as_ref().map(ProviderName::as_str),
        deed.user.as_ref().map(UserId::as_str),
        deed.outcome,
        deed.reason,
        deed.detail,
    ])?;
    Ok(())
}

fn deeds(
    db: &Db,
    filter: &DeedFilter,
    before: Option<AuditId>,
    limit: usize,
) -> Result<Vec<Deed>, Failure> {
    let (first, end) = filter.bounds(before);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(&list_sql(filter))?;
    let mut rows = statement.query(params![
        first.as_bytes().as_slice(),
        end.as_bytes().as_slice(),
        limit,
        filter.user.as_ref().map(UserId::as_str),
        filter.provider.as_ref().map(ProviderName::as_str),
        filter.action,
    ])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Each condition names its parameter in any case, so that there are as many always.
pub(super) fn list_sql(filter: &DeedFilter) -> String {
    let is = |wanted: bool, column: &str, parameter: &str| {
        if wanted {
            format!("{column} = {parameter}")
        } else {
            format!("{parameter} IS NULL")
        }
    };
    format!(
        "SELECT id, at, via, who, action, provider, user, outcome, reason, detail FROM audit \
         WHERE id >= ?1 AND id < ?2 AND {} AND {} AND {} ORDER BY id DESC LIMIT ?3",
        is(filter.user.is_some(), "user", "?4"),
        is(filter.provider.is_some(), "provider", "?5"),
        is(filter.action.is_some(), "action", "?6"),
    )
}

fn read(row: &Row<'_>) -> Result<Deed, Failure> {
    let bytes: Vec<u8> = row.get(0)?;
    let unfit = |what: &str| Failure::Row {
        row: format!("audit {}", hex::encode(&bytes)),
        what: what.to_owned(),
    };
    let provider: Option<String> = row.get(5)?;
    let user: Option<String> = row.get(6)?;
    Ok(Deed {
        id: AuditId::from_slice(&bytes).map_err(|_not_one| unfit("its id is none"))?,
        at: Timestamp::from_millis(row.get(1)?),
        via: row.get(2)?,
        who: row.get(3)?,
        action: row.get(4)?,
        provider: provider
            .map(|name| ProviderName::parse(&name))
            .transpose()
            .map_err(|_not_one| unfit("its provider is none"))?,
        user: user
            .map(|user| UserId::parse(&user))
            .transpose()
            .map_err(|_not_one| unfit("its user is none"))?,
        outcome: row.get(7)?,
        reason: row.get(8)?,
        detail: row.get(9)?,
    })
}
