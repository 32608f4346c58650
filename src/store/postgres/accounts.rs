//! From accounts to connections.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::types::Type;

use super::{
    Postgres, ask,
    desk::{Desk, now},
    failure::Failure,
    grants::{entry, noted, storable},
    rows::{self, columns},
};
use crate::{
    base::ids::{ConnectionId, ConnectionKey, ProviderName},
    store::{Accounts, Connection, Error, Fenced, accounts::managed_user},
};

/// Two ways to have an account, each with an index of its own; who has it both ways comes once.
const OF_ACCOUNT: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM daypass.connections WHERE provider = $1 AND external_id IS NOT NULL \
        AND left(external_id, 256) = left($2, 256) AND external_id = $2 \
     UNION ALL SELECT ",
    columns!(),
    " FROM daypass.connections WHERE provider = $1 AND managed_user_id = $3 \
        AND external_id IS DISTINCT FROM $2 \
     ORDER BY user_id"
);

const UNIDENTIFIED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM daypass.connections WHERE provider = $1 AND user_id > $2 \
        AND external_id IS NULL AND managed_user_id IS NULL AND reauth_reason IS NULL \
     ORDER BY user_id LIMIT $3"
);

const IDENTIFY: &str = noted!(
    "UPDATE daypass.connections SET external_id = $4, organization = coalesce($5, organization), \
     updated_at = ",
    now!("$6"),
    " WHERE provider = $1 AND user_id = $2 AND id = $3 \
     AND external_id IS NULL AND managed_user_id IS NULL"
);

const IS_THERE: &str =
    "SELECT 1 FROM daypass.connections WHERE provider = $1 AND user_id = $2 AND id = $3";

#[async_trait]
impl Accounts for Postgres {
    async fn of_account(
        &self,
        provider: &ProviderName,
        account: &str,
    ) -> Result<Vec<Connection>, Error> {
        let (provider, account) = (provider.clone(), storable(Some(account)));
        ask!(self, |desk| of_account(&desk, &provider, account))
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
        ask!(lists self, |desk| unidentified(&desk, &provider, after, limit))
    }

    async fn identify(
        &self,
        key: &ConnectionKey,
        id: ConnectionId,
        external_id: &str,
        organization: Option<&str>,
    ) -> Result<Fenced, Error> {
        let key = key.clone();
        let known = (storable(Some(external_id)), storable(organization));
        ask!(self, |desk| identify(&desk, &key, id, known))
    }
}

async fn of_account(
    desk: &Desk,
    provider: &ProviderName,
    account: Option<String>,
) -> Result<Vec<Connection>, Failure> {
    let number = account.as_deref().and_then(managed_user);
    let rows = desk
        .query(
            OF_ACCOUNT,
            &[
                (&provider.as_str(), Type::TEXT),
                (&account, Type::TEXT),
                (&number, Type::INT8),
            ],
        )
        .await?;
    rows.iter().map(rows::read).collect()
}

async fn unidentified(
    desk: &Desk,
    provider: &ProviderName,
    after: String,
    limit: usize,
) -> Result<Vec<Connection>, Failure> {
    let rows = desk
        .query(
            UNIDENTIFIED,
            &[
                (&provider.as_str(), Type::TEXT),
                (&after, Type::TEXT),
                (&i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8),
            ],
        )
        .await?;
    rows.iter().map(rows::read).collect()
}

/// The account and, where that is known, its organization.
async fn identify(
    desk: &Arc<Desk>,
    key: &ConnectionKey,
    id: ConnectionId,
    (account, organization): (Option<String>, Option<String>),
) -> Result<Fenced, Failure> {
    let (provider, user, id) = (key.provider.as_str(), key.user.as_str(), id.as_bytes());
    let params: [super::pool::Param<'_>; 6] = [
        (&provider, Type::TEXT),
        (&user, Type::TEXT),
        (&id.as_slice(), Type::BYTEA),
        (&account, Type::TEXT),
        (&organization, Type::TEXT),
        (&desk.now(), Type::INT8),
    ];
    let told = desk.query(IDENTIFY, &params).await?;
    if let Some(row) = told.first() {
        desk.told(vec![entry(row)?]);
        return Ok(Fenced::Written);
    }
    let [provider, user, id, ..] = params;
    let found = desk.query(IS_THERE, &[provider, user, id]).await?;
    Ok(if found.is_empty() {
        Fenced::Refused
    } else {
        Fenced::Unchanged
    })
}
