//! From accounts to connections.

use async_trait::async_trait;
use rusqlite::{Connection as Db, params};

use super::{Sqlite, desk::Desk, failure::Failure, grants, rows};
use crate::{
    base::ids::{ConnectionId, ConnectionKey, ProviderName},
    store::{Accounts, Connection, Error, Fenced, accounts::managed_user},
};

/// Two ways to have an account, each with an index of its own; who has it both ways comes once.
pub(super) const OF_ACCOUNT: &str = concat!(
    "SELECT ",
    rows::columns!(),
    " FROM connections INDEXED BY connections_by_account WHERE provider = ?1 AND external_id = ?2 \
     UNION SELECT ",
    rows::columns!(),
    " FROM connections INDEXED BY connections_by_managed_user \
     WHERE provider = ?1 AND managed_user_id = ?3 ORDER BY user"
);

pub(super) const UNIDENTIFIED: &str = concat!(
    "SELECT ",
    rows::columns!(),
    " FROM connections INDEXED BY connections_unidentified WHERE provider = ?1 AND user > ?2 \
     AND external_id IS NULL AND managed_user_id IS NULL AND reauth_reason IS NULL \
     ORDER BY user LIMIT ?3"
);

#[async_trait]
impl Accounts for Sqlite {
    async fn of_account(
        &self,
        provider: &ProviderName,
        account: &str,
    ) -> Result<Vec<Connection>, Error> {
        let (provider, account) = (provider.clone(), account.to_owned());
        self.read(move |db| {
            let number = managed_user(&account);
            rows::collect(
                db.prepare_cached(OF_ACCOUNT)?,
                params![provider.as_str(), account, number],
            )
        })
        .await
    }

    async fn unidentified(
        &self,
        provider: &ProviderName,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Connection>, Error> {
        let after = match after {
            Some(after) if after.provider > *provider => return Ok(Vec::new()),
            Some(after) if after.provider == *provider => after.user.as_str().to_owned(),
            // Below the first user of the provider: the empty text comes before any.
            _ => String::new(),
        };
        let provider = provider.clone();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.list(move |db| {
            rows::collect(
                db.prepare_cached(UNIDENTIFIED)?,
                params![provider.as_str(), after, limit],
            )
        })
        .await
    }

    async fn identify(
        &self,
        key: &ConnectionKey,
        id: ConnectionId,
        external_id: &str,
        organization: Option<&str>,
    ) -> Result<Fenced, Error> {
        let key = key.clone();
        let account = external_id.to_owned();
        let organization = organization.map(str::to_owned);
        self.write(move |db, desk| identify(db, desk, &key, id, (account, organization)))
            .await
    }
}

/// `known` are the account and, where that is known, its organization.
fn identify(
    db: &Db,
    desk: &Desk,
    key: &ConnectionKey,
    id: ConnectionId,
    known: (String, Option<String>),
) -> Result<Fenced, Failure> {
    let found = rows::find(db, key)?;
    let Some(mut stored) = found.filter(|stored| stored.connection.id == id) else {
        return Ok(Fenced::Refused);
    };
    let connection = &mut stored.connection;
    if connection.external_id.is_some() || connection.managed_user_id.is_some() {
        return Ok(Fenced::Unchanged);
    }
    let (account, organization) = known;
    connection.external_id = Some(account);
    connection.organization = organization.or_else(|| connection.organization.take());
    connection.updated_at = desk.now();
    grants::write(db, desk, &stored)?;
    Ok(Fenced::Written)
}
