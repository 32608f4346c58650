//! From accounts to connections, and how their indices are kept whole.
//!
//! 1. Each bucket has its own index of accounts, which changes in one step with the rows. Asking for an
//!    account asks every bucket: in one step on one server, 64 small ones in a cluster.
//! 2. The index may name a user too many, never one too few; rows decide.
//! 3. Versions before this one know of no such index. What they left is indexed when the store is
//!    opened, and what they still write beside this version is found in the log, which says of each
//!    change whether it was indexed ([`mend`]). They read and write all the rest as before, so both may
//!    run on one store, and the schema is the same.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::{
    Redis,
    desk::Desk,
    failure::Failure,
    grants::outcome,
    keys::{name, parse_name},
    listing,
    portions::PORTION,
    scripts,
};
use crate::{
    base::ids::{ConnectionId, ConnectionKey, ProviderName, UserId},
    store::{Accounts, Connection, Error, Fenced, Filter, Status},
};

/// Where a walk through all connections begins, and what stands there when the first one has ended.
const FIRST: &str = "0 ";
const DONE: &str = "done";

/// How many steps one look at the log may add to the work of whoever looks.
const STEPS: usize = 50;

/// How many changes one look at the log reads.
const LOOK: usize = 2000;

/// For how long a process that indexes is believed to do so.
const HELD: Duration = Duration::from_secs(5);

#[async_trait]
impl Accounts for Redis {
    async fn of_account(
        &self,
        provider: &ProviderName,
        account: &str,
    ) -> Result<Vec<Connection>, Error> {
        self.told(of_account(&self.desk, provider, account).await)
    }

    async fn unidentified(
        &self,
        provider: &ProviderName,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Connection>, Error> {
        self.told(unidentified(&self.desk, provider, after, limit).await)
    }

    async fn identify(
        &self,
        key: &ConnectionKey,
        id: ConnectionId,
        external_id: &str,
        organization: Option<&str>,
    ) -> Result<Fenced, Error> {
        self.told(identify(&self.desk, key, id, external_id, organization).await)
    }
}

async fn of_account(
    desk: &Desk,
    provider: &ProviderName,
    account: &str,
) -> Result<Vec<Connection>, Failure> {
    let mut users: Vec<UserId> = users_of(desk, provider, account)
        .await?
        .iter()
        .flat_map(|users| users.split(' '))
        .filter_map(|user| UserId::parse(user).ok())
        .collect();
    users.sort_unstable();
    let keys: Vec<ConnectionKey> = users
        .into_iter()
        .map(|user| ConnectionKey {
            provider: provider.clone(),
            user,
        })
        .collect();
    let rows = try_join_all(keys.iter().map(|key| listing::load(desk, key))).await?;
    let mut found = Vec::new();
    for (key, row) in keys.iter().zip(rows) {
        match row {
            Some(connection) if is_of(&connection, account) => found.push(connection),
            _ => {
                reindex(desk, key, account).await?;
            }
        }
    }
    Ok(found)
}

/// What each bucket says of `account`: users, separated by spaces.
async fn users_of(
    desk: &Desk,
    provider: &ProviderName,
    account: &str,
) -> Result<Vec<String>, Failure> {
    let indices = desk.keys.each(&format!("of:{provider}"));
    if !desk.is_cluster() {
        let mut call = scripts::OF_ACCOUNT.prepare_invoke();
        call.key(indices).arg(account);
        return desk.ask(&call).await;
    }
    let asked = try_join_all(indices.into_iter().map(async |index| {
        let mut command = redis::cmd("HGET");
        command.arg(index).arg(account);
        desk.command::<Option<String>>(&command).await
    }));
    Ok(asked.await?.into_iter().flatten().collect())
}

fn is_of(connection: &Connection, account: &str) -> bool {
    let managed = connection.managed_user_id.map(|id| id.to_string());
    connection.external_id.as_deref() == Some(account) || managed.as_deref() == Some(account)
}

async fn unidentified(
    desk: &Desk,
    provider: &ProviderName,
    after: Option<&ConnectionKey>,
    limit: usize,
) -> Result<Vec<Connection>, Failure> {
    let filter = Filter {
        provider: Some(provider.clone()),
        needs_reauth: None,
    };
    let indices = desk.keys.each(&format!("anon:{provider}"));
    let is_unidentified = |connection: &Connection| {
        connection.status == Status::Active
            && connection.external_id.is_none()
            && connection.managed_user_id.is_none()
    };
    let after = after.map(name);
    listing::follow(desk, &indices, &filter, after, limit, is_unidentified).await
}

/// The connection is told of as changed, like any other.
async fn identify(
    desk: &Desk,
    key: &ConnectionKey,
    id: ConnectionId,
    external_id: &str,
    organization: Option<&str>,
) -> Result<Fenced, Failure> {
    let (mut call, place) = desk.call_about(&scripts::IDENTIFY, key);
    call.arg(hex::encode(id.as_bytes()))
        .arg(external_id)
        .arg(organization.unwrap_or_default());
    let answer = desk.answer(&call, &place).await?;
    Ok(outcome(&answer))
}

/// Makes the indices say what the row says; `account` may be noted there without reason.
async fn reindex(desk: &Desk, key: &ConnectionKey, account: &str) -> Result<(), Failure> {
    let (mut call, _) = desk.call_about(&scripts::REINDEX, key);
    call.arg(account);
    desk.ask(&call).await
}

/// Sees to it that all accounts are indexed. One process does it, the others wait.
pub(super) async fn index_all(desk: &Desk) -> Result<(), Failure> {
    let walk = desk.keys.single("accounts");
    while progress(desk, &walk).await?.as_deref() != Some(DONE) {
        if !hold(desk).await? {
            sleep(HELD / 50).await;
            continue;
        }
        while index_some(desk, &walk).await? {
            prolong(desk).await?;
        }
    }
    Ok(())
}

/// Indexes again whatever a version without such indices has written since the last look. If too much
/// was written to tell, everything is gone through again, a little with every look.
pub(super) async fn mend(desk: &Desk) -> Result<(), Failure> {
    while mend_some(desk).await? {}
    let walk = desk.keys.single("again");
    for _ in 0..STEPS {
        if progress(desk, &walk).await?.is_none() {
            break;
        }
        if !index_some(desk, &walk).await? {
            let () = desk.command(redis::cmd("DEL").arg(&walk)).await?;
        }
    }
    Ok(())
}

/// As [`mend`], for the next part of the log; whether there is more of it.
async fn mend_some(desk: &Desk) -> Result<bool, Failure> {
    let mended = desk.keys.single("mended");
    let mut call = scripts::MEND.prepare_invoke();
    call.key(desk.keys.single("log")).key(&mended).arg(LOOK);
    let (end, names, is_all): (String, Vec<String>, bool) = desk.ask(&call).await?;
    if end.is_empty() {
        let mut again = redis::cmd("SET");
        again.arg(desk.keys.single("again")).arg(FIRST);
        let () = desk.command(&again).await?;
        let () = desk.command(redis::cmd("DEL").arg(&mended)).await?;
        super::opening::make(desk).await?;
        return Ok(false);
    }
    for key in names.iter().filter_map(|name| parse_name(name)) {
        reindex(desk, &key, "").await?;
    }
    let () = desk.command(redis::cmd("SET").arg(mended).arg(end)).await?;
    Ok(!is_all)
}

/// How far a walk through all connections is: the number of an index of names, and the last name of it.
async fn progress(desk: &Desk, walk: &str) -> Result<Option<String>, Failure> {
    desk.command(redis::cmd("GET").arg(walk)).await
}

/// Indexes the next portion of a walk; whether there are more.
async fn index_some(desk: &Desk, walk: &str) -> Result<bool, Failure> {
    let indices = [desk.keys.each("ok"), desk.keys.each("reauth")].concat();
    let progress = progress(desk, walk).await?;
    let progress = progress.as_deref().unwrap_or(FIRST);
    let (number, after) = progress.split_once(' ').unwrap_or((progress, ""));
    let number: usize = number.parse().unwrap_or(0);
    let mut next = DONE.to_owned();
    if let Some(index) = indices.get(number) {
        let mut call = desk.call(&scripts::REINDEX_SOME);
        call.key(index);
        match after {
            "" => call.arg("-"),
            after => call.arg(format!("({after}")),
        };
        let last: String = desk.ask(call.arg(PORTION)).await?;
        if !last.is_empty() {
            next = format!("{number} {last}");
        } else if number + 1 < indices.len() {
            next = format!("{} ", number + 1);
        }
    }
    let () = desk.command(redis::cmd("SET").arg(walk).arg(&next)).await?;
    Ok(next != DONE)
}

/// Whether it falls to this process to go through everything.
async fn hold(desk: &Desk) -> Result<bool, Failure> {
    let mut claim = redis::cmd("SET");
    claim.arg(desk.keys.single("indexing")).arg(1).arg("NX");
    claim.arg("EX").arg(HELD.as_secs());
    let claimed: Option<String> = desk.command(&claim).await?;
    Ok(claimed.is_some())
}

async fn prolong(desk: &Desk) -> Result<(), Failure> {
    let mut claim = redis::cmd("SET");
    claim.arg(desk.keys.single("indexing")).arg(1);
    claim.arg("EX").arg(HELD.as_secs());
    desk.command(&claim).await
}
