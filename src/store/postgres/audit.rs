//! Who did what; see [`Trail`].

use async_trait::async_trait;
use tokio_postgres::{Row, types::Type};

use super::{Postgres, ask, desk::Desk, failure::Failure, grants::storable};
use crate::{
    base::{
        clock::Timestamp,
        ids::{AuditId, ProviderName, UserId},
    },
    store::{Deed, DeedFilter, Error, Trail},
};

const RECORD: &str = "\
    INSERT INTO daypass.audit \
        (id, at, via, who, action, provider, user_id, outcome, reason, detail) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING";

const PRUNE: &str = "\
    WITH old AS MATERIALIZED (SELECT id FROM daypass.audit WHERE id < $1 ORDER BY id LIMIT $2 \
        FOR UPDATE SKIP LOCKED), \
    gone AS (DELETE FROM daypass.audit a USING old WHERE a.id = old.id RETURNING 1) \
    SELECT count(*) FROM gone";

#[async_trait]
impl Trail for Postgres {
    async fn record(&self, deed: &Deed) -> Result<(), Error> {
        let deed = deed.clone();
        ask!(self, |desk| record(&desk, deed))
    }

    async fn deeds(
        &self,
        filter: &DeedFilter,
        before: Option<AuditId>,
        limit: usize,
    ) -> Result<Vec<Deed>, Error> {
        let filter = filter.clone();
        ask!(lists self, |desk| deeds(&desk, filter, before, limit))
    }

    async fn prune_deeds(&self, before: Timestamp, limit: usize) -> Result<u64, Error> {
        ask!(lists self, |desk| prune(&desk, before, limit))
    }
}

async fn record(desk: &Desk, deed: Deed) -> Result<(), Failure> {
    let text = |text: &str| storable(Some(text));
    desk.query(
        RECORD,
        &[
            (&deed.id.as_bytes().as_slice(), Type::BYTEA),
            (&deed.at.as_millis(), Type::INT8),
            (&text(&deed.via), Type::TEXT),
            (&text(&deed.who), Type::TEXT),
            (&text(&deed.action), Type::TEXT),
            (
                &deed.provider.as_ref().map(ProviderName::as_str),
                Type::TEXT,
            ),
            (&deed.user.as_ref().map(UserId::as_str), Type::TEXT),
            (&text(&deed.outcome), Type::TEXT),
            (&storable(deed.reason.as_deref()), Type::TEXT),
            (&storable(deed.detail.as_deref()), Type::TEXT),
        ],
    )
    .await
    .map(drop)
}

async fn deeds(
    desk: &Desk,
    filter: DeedFilter,
    before: Option<AuditId>,
    limit: usize,
) -> Result<Vec<Deed>, Failure> {
    let (first, end) = filter.bounds(before);
    let rows = desk
        .query(
            &list_sql(&filter),
            &[
                (&first.as_bytes().as_slice(), Type::BYTEA),
                (&end.as_bytes().as_slice(), Type::BYTEA),
                (&i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8),
                (&filter.user.as_ref().map(UserId::as_str), Type::TEXT),
                (
                    &filter.provider.as_ref().map(ProviderName::as_str),
                    Type::TEXT,
                ),
                (&filter.action, Type::TEXT),
            ],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// Each condition names its parameter in any case, so that there are as many always.
fn list_sql(filter: &DeedFilter) -> String {
    let is = |wanted: bool, column: &str, parameter: &str| {
        if wanted {
            format!("{column} = {parameter}")
        } else {
            format!("{parameter} IS NULL")
        }
    };
    format!(
        "SELECT id, at, via, who, action, provider, user_id, outcome, reason, detail \
         FROM daypass.audit \
         WHERE id >= $1 AND id < $2 AND {} AND {} AND {} ORDER BY id DESC LIMIT $3",
        is(filter.user.is_some(), "user_id", "$4"),
        is(filter.provider.is_some(), "provider", "$5"),
        is(filter.action.is_some(), "action", "$6"),
    )
}

async fn prune(desk: &Desk, before: Timestamp, limit: usize) -> Result<u64, Failure> {
    let end = AuditId::first_of(before);
    let rows = desk
        .query(
            PRUNE,
            &[
                (&end.as_bytes().as_slice(), Type::BYTEA),
                (&i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8),
            ],
        )
        .await?;
    let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

fn read(row: &Row) -> Result<Deed, Failure> {
    let bytes: Vec<u8> = row.try_get(0)?;
    let unfit = |what: &str| Failure::Row {
        row: format!("audit {}", hex::encode(&bytes)),
        what: what.to_owned(),
    };
    let provider: Option<String> = row.try_get(5)?;
    let user: Option<String> = row.try_get(6)?;
    Ok(Deed {
        id: AuditId::from_slice(&bytes).map_err(|_not_one| unfit("its id is none"))?,
        at: Timestamp::from_millis(row.try_get(1)?),
        via: row.try_get(2)?,
        who: row.try_get(3)?,
        action: row.try_get(4)?,
        provider: provider
            .map(|name| ProviderName::parse(&name))
            .transpose()
            .map_err(|_not_one| unfit("its provider is none"))?,
        user: user
            .map(|user| UserId::parse(&user))
            .transpose()
            .map_err(|_not_one| unfit("its user is none"))?,
        outcome: row.try_get(7)?,
        reason: row.try_get(8)?,
        detail: row.try_get(9)?,
    })
}
