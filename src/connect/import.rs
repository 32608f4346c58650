//! Tokens that an operator brings from elsewhere: a connection without a consent.
//!
//! 1. What follows from a consent follows from an import, too: the subscription, the sync, the app being
//!    told. The same tokens handed in again change nothing, and nothing follows.
//! 2. The tokens before are not revoked: an import may well bring the same grant, renewed elsewhere, and
//!    some providers end a grant with any of its tokens.
//! 3. A managed user belongs to one user of the app ([`managed`](super::managed)).

use super::{Connect, Error, arrive::account_of, follower::Arrival, managed::managed_users};
use crate::{
    store::{self, Saved},
    token::Grant,
};

// === impl Connect ===

impl Connect {
    /// Connects whoever `grant` belongs to. To be run to its end, whoever waits for it.
    pub async fn import(&self, grant: &Grant) -> Result<Saved, Error> {
        let room = &self.0;
        let key = &grant.key;
        let provider = room.known(&key.provider)?;
        if let Some(id) = grant.account.managed_user_id {
            managed_users(provider)?;
            let owner = room.owner(&key.provider, id).await?;
            if let Some(user) = owner.filter(|owner| *owner != key.user) {
                return Err(Error::Taken { user });
            }
        }
        let former = room.tokens.connection(key).await?;
        let other = former
            .as_ref()
            .filter(|former| account_of(former).is_other_than(&grant.account));
        if let Some(other) = other {
            // While its token still works.
            room.followers.disconnecting(other).await;
        }
        let saved = match room.tokens.save(std::slice::from_ref(grant)).await {
            Ok(saved) => saved.into_iter().next(),
            Err(error) => {
                if let Some(other) = other {
                    room.followers.connected(other, Arrival::Again).await;
                }
                return Err(error.into());
            }
        };
        let saved = saved.ok_or_else(|| store::Error::Inconsistent {
            row: key.to_string(),
            what: "it was saved, and nothing came back".to_owned(),
        })?;
        let arrival = match (&saved, other) {
            (Saved::Unchanged(_), _) => return Ok(saved),
            (_, Some(_)) => Arrival::OtherAccount,
            (Saved::Created(_), None) => Arrival::First,
            (Saved::Replaced(_), None) => Arrival::Again,
        };
        let connection = saved.connection();
        tracing::info!(
            provider = %key.provider, user = %key.user,
            generation = %connection.generation, arrival = arrival.as_str(), "imported",
        );
        room.followers.connected(connection, arrival).await;
        Ok(saved)
    }
}
