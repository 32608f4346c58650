//! The proxy's local calls, answered by the token room.

use async_trait::async_trait;

use crate::{
    base::ids::ConnectionKey,
    proxy::{ConnectionView, Force, LocalCalls},
    store::{Connection, Status},
    token::{Error, Tokens},
};

/// Answers for [`Tokens`].
#[derive(Clone, Debug)]
pub(super) struct FromTokens(pub(super) Tokens);

#[async_trait]
impl LocalCalls for FromTokens {
    async fn connection(&self, key: ConnectionKey) -> Result<Option<ConnectionView>, Error> {
        Ok(self.0.connection(&key).await?.as_ref().map(view))
    }

    async fn refresh(&self, key: ConnectionKey, force: Force) -> Result<ConnectionView, Error> {
        self.0.refresh(&key, force == Force::Yes).await?;
        match self.0.connection(&key).await? {
            Some(connection) => Ok(view(&connection)),
            None => Err(Error::NotConnected { key }),
        }
    }
}

fn view(connection: &Connection) -> ConnectionView {
    let (status, reason, since) = match connection.status {
        Status::Active => ("active", None, None),
        Status::NeedsReauth { reason, since } => ("needs_reauth", Some(reason), Some(since)),
    };
    ConnectionView {
        provider: connection.key.provider.clone(),
        user: connection.key.user.clone(),
        status,
        reason,
        since,
        generation: connection.generation,
        expires_at: connection
            .tokens
            .as_ref()
            .map(|tokens| tokens.access_expires_at),
        external_id: connection.external_id.clone(),
        organization: connection.organization.clone(),
        managed: connection.managed_user_id.is_some(),
        scope: connection.scope.clone(),
    }
}
