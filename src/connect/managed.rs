//! Managed users: accounts that the platform client makes and owns. Nobody consents; the app's user is
//! connected by being created.
//!
//! 1. A managed user belongs to one user of the app. Two connections to one would each mint tokens by
//!    force, which kills the other's.
//! 2. Creating twice is harmless. An account that exists already, with the same address, is adopted: it
//!    gets its tokens with the first request. Whoever may create may therefore take over any account
//!    of the platform client, as its owner can anyway.
//! 3. Deleting ends the account at the provider first: what remains if that fails can be deleted again.

use super::{Connect, Error, Room, arrive::account_of, follower::Arrival};
use crate::{
    base::ids::{ConnectionKey, ProviderName, UserId},
    provider::{
        Account, Creation, ManagedUser, ManagedUsers, Minted, More, NewManagedUser, SharedProvider,
    },
    store::Connection,
    token::{Grant, GrantTokens},
};

/// What came of creating a managed user.
#[derive(Clone, Debug)]
pub enum Managed {
    /// The account is new.
    Created(Connection),
    /// The account was there, and belongs to this user from now on.
    Adopted(Connection),
    /// It was this user's already.
    Unchanged(Connection),
}

/// A page of the managed users that a platform client has.
#[derive(Clone, Debug)]
pub struct ManagedList {
    /// Each account, and which user of the app has it, if one does.
    pub users: Vec<(ManagedUser, Option<UserId>)>,
    /// How the list goes on.
    pub more: More,
}

// === impl Connect ===

impl Connect {
    /// Makes a managed user for `key` and connects it.
    pub async fn create_managed(
        &self,
        key: &ConnectionKey,
        order: &NewManagedUser,
    ) -> Result<Managed, Error> {
        let room = &self.0;
        let provider = room.known(&key.provider)?;
        let users = managed_users(provider)?;
        let present = room.tokens.connection(key).await?;
        if let Some(consented) = present.as_ref().filter(|one| one.managed_user_id.is_none()) {
            let key = consented.key.clone();
            return Err(Error::OtherAccount { key });
        }
        match users.create(order).await? {
            Creation::Made { user, minted } => {
                if let Some(other) = present.filter(|present| !has(present, user.id)) {
                    // Made for nothing; the operator must say what is meant.
                    let _removed = users.delete(user.id).await;
                    return Err(Error::OtherAccount { key: other.key });
                }
                let connection = room.keep_managed(key, user.id, Some(*minted)).await?;
                Ok(Managed::Created(connection))
            }
            Creation::Exists { id } => match present {
                Some(present) if has(&present, id) => Ok(Managed::Unchanged(present)),
                Some(other) => Err(Error::OtherAccount { key: other.key }),
                None => room.adopt(key, id).await,
            },
            Creation::Faulty => Err(Error::Faulty),
        }
    }

    /// The managed users of `provider`'s platform client; `after` as the page before told.
    pub async fn list_managed(
        &self,
        provider: &ProviderName,
        after: Option<u32>,
    ) -> Result<ManagedList, Error> {
        let room = &self.0;
        let page = managed_users(room.known(provider)?)?.list(after).await?;
        let mut users = Vec::with_capacity(page.users.len());
        for user in page.users {
            let owner = room.owner(provider, user.id).await?;
            users.push((user, owner));
        }
        let more = page.more;
        Ok(ManagedList { users, more })
    }

    /// Deletes the managed user of `key`, with everything of theirs, and its connection; `false` if
    /// there was none.
    pub async fn delete_managed(&self, key: &ConnectionKey) -> Result<bool, Error> {
        let room = &self.0;
        let users = managed_users(room.known(&key.provider)?)?;
        let Some(connection) = room.tokens.connection(key).await? else {
            return Ok(false);
        };
        let id = connection.managed_user_id.ok_or(Error::NotManaged)?;
        room.followers.disconnecting(&connection).await;
        users.delete(id).await?;
        self.disconnect(key).await?;
        Ok(true)
    }
}

// === impl Room ===

impl Room {
    async fn adopt(&self, key: &ConnectionKey, id: i64) -> Result<Managed, Error> {
        match self.owner(&key.provider, id).await? {
            Some(user) => Err(Error::Taken { user }),
            None => Ok(Managed::Adopted(self.keep_managed(key, id, None).await?)),
        }
    }

    /// Which user has the managed user `id`.
    pub(super) async fn owner(
        &self,
        provider: &ProviderName,
        id: i64,
    ) -> Result<Option<UserId>, Error> {
        let all = self.accounts.of_account(provider, &id.to_string()).await?;
        let owner = all.into_iter().find(|connection| has(connection, id));
        Ok(owner.map(|connection| connection.key.user))
    }

    async fn keep_managed(
        &self,
        key: &ConnectionKey,
        id: i64,
        minted: Option<Minted>,
    ) -> Result<Connection, Error> {
        let now = self.clock.now();
        let after = |left| now.saturating_add(left);
        let grant = Grant {
            key: key.clone(),
            account: Account {
                managed_user_id: Some(id),
                ..Account::default()
            },
            tokens: minted.map(|minted| GrantTokens {
                access: minted.access,
                refresh: minted.refresh,
                expires_at: minted.expires_in.map(after),
                refresh_expires_at: minted.refresh_expires_in.map(after),
                issued_at: Some(now),
            }),
            scope: None,
            once: true,
        };
        let connection = self.save_once(&grant).await?;
        let adopted = grant.tokens.is_none();
        tracing::info!(
            provider = %key.provider, user = %key.user, managed_user = id, adopted, "connected",
        );
        self.followers.connected(&connection, Arrival::First).await;
        Ok(connection)
    }
}

pub(super) fn managed_users(provider: &SharedProvider) -> Result<&dyn ManagedUsers, Error> {
    provider
        .managed_users()
        .ok_or_else(|| Error::NoManagedUsers {
            provider: provider.name().clone(),
        })
}

fn has(connection: &Connection, id: i64) -> bool {
    account_of(connection).managed_user_id == Some(id)
}
