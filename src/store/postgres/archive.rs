//! Exact copies; see [`Archive`].

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use super::{
    Postgres,
    desk::{Desk, now},
    failure::Failure,
    feed::Noted,
    grants::{entry, noted, number, storable},
    pool::Param,
    rows::{self, columns, redemption_text},
};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionId, ConnectionKey},
    },
    store::{
        Archive, Error, Found, Intent, ReauthReason, Record, Restored, SealedTokens, Status,
        seal::Sealed,
    },
};

/// `SELECT` of whole rows, and of whether their lease is held; `$1` is for [`now`].
macro_rules! select {
    () => {
        concat!(
            "SELECT ",
            columns!(),
            ", before_owner, before_redemption, before_at, fingerprint, \
             coalesce(lease_until > ",
            now!("$1"),
            ", false) FROM daypass.connections"
        )
    };
}

const RECORDS: &str = concat!(
    select!(),
    " WHERE (provider, user_id) > ($2, $3) ORDER BY provider, user_id LIMIT $4"
);

const RECORD: &str = concat!(select!(), " WHERE provider = $2 AND user_id = $3");

/// What is newer stands, and so does another connection that has the key.
const RESTORE: &str = noted!(
    "INSERT INTO daypass.connections AS c (provider, user_id, id, generation, reauth_reason, \
        reauth_since, access, refresh, renewed_at, access_expires_at, refresh_expires_at, \
        external_id, organization, managed_user_id, scope, intent_owner, intent_redemption, \
        intent_attempts, intent_at, before_owner, before_redemption, before_at, cooldown_until, \
        cooldown_failures, forced_at, created_at, updated_at, fingerprint, grant_id) \
     SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
        $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29) AS new (provider, user_id) \
     ORDER BY new.provider COLLATE \"C\", new.user_id COLLATE \"C\" \
     ON CONFLICT (provider, user_id) DO UPDATE SET generation = excluded.generation, \
        reauth_reason = excluded.reauth_reason, reauth_since = excluded.reauth_since, \
        access = excluded.access, refresh = excluded.refresh, renewed_at = excluded.renewed_at, \
        access_expires_at = excluded.access_expires_at, \
        refresh_expires_at = excluded.refresh_expires_at, external_id = excluded.external_id, \
        organization = excluded.organization, managed_user_id = excluded.managed_user_id, \
        scope = excluded.scope, intent_owner = excluded.intent_owner, \
        intent_redemption = excluded.intent_redemption, \
        intent_attempts = excluded.intent_attempts, intent_at = excluded.intent_at, \
        before_owner = excluded.before_owner, before_redemption = excluded.before_redemption, \
        before_at = excluded.before_at, cooldown_until = excluded.cooldown_until, \
        cooldown_failures = excluded.cooldown_failures, forced_at = excluded.forced_at, \
        created_at = excluded.created_at, updated_at = excluded.updated_at, \
        fingerprint = excluded.fingerprint, grant_id = excluded.grant_id \
     WHERE c.id = excluded.id \
        AND (c.generation, c.updated_at) <= (excluded.generation, excluded.updated_at)"
);

const IDS: &str = "SELECT provider, user_id, id FROM daypass.connections \
                   WHERE (provider, user_id) IN (SELECT * FROM unnest($1, $2))";

#[async_trait]
impl Archive for Postgres {
    async fn records(
        &self,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Found>, Error> {
        let after = after.cloned();
        let desk = Arc::clone(&self.desk);
        let ask = async move { records(&desk, after.as_ref(), limit).await };
        self.ask(self.limit_of_lists(), ask).await
    }

    async fn record(&self, key: &ConnectionKey) -> Result<Option<Found>, Error> {
        let (desk, key) = (Arc::clone(&self.desk), key.clone());
        let ask = async move { record(&desk, &key).await };
        self.ask(self.limit_of_lists(), ask).await
    }

    async fn restore(&self, batch: Vec<Record>) -> Result<Vec<Restored>, Error> {
        let desk = Arc::clone(&self.desk);
        let ask = async move { restore(&desk, &batch).await };
        self.ask(self.limit_of_lists(), ask).await
    }

    async fn pulse(&self) -> Result<u64, Error> {
        let desk = Arc::clone(&self.desk);
        let ask = async move { pulse(&desk).await };
        self.ask(self.limit_of_lists(), ask).await
    }
}

async fn records(
    desk: &Desk,
    after: Option<&ConnectionKey>,
    limit: usize,
) -> Result<Vec<Found>, Failure> {
    let (provider, user) = after.map_or(("", ""), |after| {
        (after.provider.as_str(), after.user.as_str())
    });
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let params: [Param<'_>; 4] = [
        (&desk.now(), Type::INT8),
        (&provider, Type::TEXT),
        (&user, Type::TEXT),
        (&limit, Type::INT8),
    ];
    let rows = desk.query(RECORDS, &params).await?;
    rows.iter().map(found).collect()
}

async fn record(desk: &Desk, key: &ConnectionKey) -> Result<Option<Found>, Failure> {
    let params: [Param<'_>; 3] = [
        (&desk.now(), Type::INT8),
        (&key.provider.as_str(), Type::TEXT),
        (&key.user.as_str(), Type::TEXT),
    ];
    let rows = desk.query(RECORD, &params).await?;
    rows.first().map(found).transpose()
}

fn found(row: &Row) -> Result<Found, Failure> {
    let key = rows::read_key(row, 0)?;
    match rows::read_whole(row) {
        Ok((record, leased)) => Ok(Found::Whole {
            record: Box::new(record),
            leased,
        }),
        Err(Failure::Row { what, .. }) => Ok(Found::Broken { key, what }),
        Err(failure) => Err(failure),
    }
}

async fn pulse(desk: &Desk) -> Result<u64, Failure> {
    let rows = desk.query("SELECT count FROM daypass.probe", &[]).await?;
    let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

async fn restore(desk: &Arc<Desk>, batch: &[Record]) -> Result<Vec<Restored>, Failure> {
    let rows = write(desk, batch).await?;
    let mut told = rows.iter().map(entry).collect::<Result<Vec<Noted>, _>>()?;
    told.sort_by_key(|entry| entry.seq);
    let written: HashSet<ConnectionKey> = told.iter().map(|entry| entry.key.clone()).collect();
    desk.told(told);
    let left: Vec<&ConnectionKey> = batch
        .iter()
        .map(|record| &record.connection.key)
        .filter(|key| !written.contains(key))
        .collect();
    let ids = if left.is_empty() {
        HashMap::new()
    } else {
        ids(desk, &left).await?
    };
    let outcome = |record: &Record| {
        let connection = &record.connection;
        if written.contains(&connection.key) {
            Restored::Written
        } else if ids.get(&connection.key) == Some(&connection.id) {
            Restored::Newer
        } else {
            Restored::Other
        }
    };
    Ok(batch.iter().map(outcome).collect())
}

async fn ids(
    desk: &Desk,
    keys: &[&ConnectionKey],
) -> Result<HashMap<ConnectionKey, ConnectionId>, Failure> {
    let providers: Vec<&str> = keys.iter().map(|key| key.provider.as_str()).collect();
    let users: Vec<&str> = keys.iter().map(|key| key.user.as_str()).collect();
    let params: [Param<'_>; 2] = [(&providers, Type::TEXT_ARRAY), (&users, Type::TEXT_ARRAY)];
    let mut ids = HashMap::new();
    for row in desk.query(IDS, &params).await? {
        // One that cannot be read is another.
        if let Ok(id) = ConnectionId::from_slice(row.try_get(2)?) {
            ids.insert(rows::read_key(&row, 0)?, id);
        }
    }
    Ok(ids)
}

/// Writes those that may be written; these are returned.
async fn write(desk: &Desk, batch: &[Record]) -> Result<Vec<Row>, Failure> {
    let columns = Columns::of(batch);
    let params: Vec<Param<'_>> = columns
        .cells
        .iter()
        .map(|(cells, kind)| (&**cells as &(dyn ToSql + Sync), kind.clone()))
        .collect();
    desk.query(RESTORE, &params).await
}

/// A batch, column by column, in the order of [`RESTORE`].
struct Columns<'r> {
    batch: &'r [Record],
    cells: Vec<(Box<dyn ToSql + Sync + Send + 'r>, Type)>,
}

// === impl Columns ===

impl<'r> Columns<'r> {
    fn of(batch: &'r [Record]) -> Self {
        let mut columns = Self {
            batch,
            cells: Vec::new(),
        };
        columns.of_connection();
        columns.of_tokens();
        columns.of_account();
        columns.of_attempts();
        columns.of_times();
        columns.bytes(|record| record.fingerprint.as_ref().map(<[u8; 32]>::as_slice));
        columns.number(|record| Some(record.connection.grant.to_stored()));
        columns
    }

    fn add<T: ToSql + Sync + Send + 'r>(&mut self, kind: Type, cell: impl Fn(&'r Record) -> T) {
        let cells: Vec<T> = self.batch.iter().map(cell).collect();
        self.cells.push((Box::new(cells), kind));
    }

    fn text(&mut self, cell: impl Fn(&'r Record) -> Option<&'r str>) {
        self.add(Type::TEXT_ARRAY, |record| storable(cell(record)));
    }

    fn bytes(&mut self, cell: impl Fn(&'r Record) -> Option<&'r [u8]>) {
        self.add(Type::BYTEA_ARRAY, cell);
    }

    fn number(&mut self, cell: impl Fn(&'r Record) -> Option<i64>) {
        self.add(Type::INT8_ARRAY, cell);
    }

    fn time(&mut self, cell: impl Fn(&'r Record) -> Option<Timestamp>) {
        self.number(|record| cell(record).map(Timestamp::as_millis));
    }

    fn of_connection(&mut self) {
        self.text(|r| Some(r.connection.key.provider.as_str()));
        self.text(|r| Some(r.connection.key.user.as_str()));
        self.bytes(|r| Some(r.connection.id.as_bytes().as_slice()));
        self.number(|r| Some(number(r.connection.generation)));
        self.text(|r| mark(r).map(|(reason, _)| reason.as_str()));
        self.time(|r| mark(r).map(|(_, since)| since));
    }

    fn of_tokens(&mut self) {
        self.bytes(|r| tokens(r).map(|t| t.access.as_bytes()));
        self.bytes(|r| tokens(r)?.refresh.as_ref().map(Sealed::as_bytes));
        self.time(|r| tokens(r).map(|t| t.renewed_at));
        self.time(|r| tokens(r).map(|t| t.access_expires_at));
        self.time(|r| tokens(r)?.refresh_expires_at);
    }

    fn of_account(&mut self) {
        self.text(|r| r.connection.external_id.as_deref());
        self.text(|r| r.connection.organization.as_deref());
        self.number(|r| r.connection.managed_user_id);
        self.text(|r| r.connection.scope.as_deref());
    }

    fn of_attempts(&mut self) {
        self.bytes(|r| intent(r).map(|i| i.owner.as_bytes().as_slice()));
        self.text(|r| intent(r).map(|i| redemption_text(i.redemption)));
        self.number(|r| intent(r).map(|i| i64::from(i.attempts)));
        self.time(|r| intent(r).map(|i| i.at));
        self.bytes(|r| Some(r.before.as_ref()?.owner.as_bytes().as_slice()));
        self.text(|r| r.before.map(|b| redemption_text(b.redemption)));
        self.time(|r| r.before.map(|b| b.at));
    }

    fn of_times(&mut self) {
        self.time(|r| r.connection.cooldown.map(|cooldown| cooldown.until));
        self.number(|r| r.connection.cooldown.map(|c| i64::from(c.failures)));
        self.time(|r| r.connection.forced_at);
        self.time(|r| Some(r.connection.created_at));
        self.time(|r| Some(r.connection.updated_at));
    }
}

const fn tokens(record: &Record) -> Option<&SealedTokens> {
    record.connection.tokens.as_ref()
}

const fn intent(record: &Record) -> Option<&Intent> {
    record.connection.intent.as_ref()
}

const fn mark(record: &Record) -> Option<(ReauthReason, Timestamp)> {
    match record.connection.status {
        Status::Active => None,
        Status::NeedsReauth { reason, since } => Some((reason, since)),
    }
}
