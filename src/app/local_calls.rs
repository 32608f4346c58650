//! The proxy's local calls, answered by the rooms that know connections.

use async_trait::async_trait;

use crate::{
    base::ids::ConnectionKey,
    connect::{self, Connect},
    proxy::{ConnectLink, ConnectionView, Force, LinkError, LocalCalls},
    store::{Connection, Status},
    token::{Error, Tokens},
};

/// Answers for [`Tokens`] and [`Connect`].
#[derive(Clone, Debug)]
pub(super) struct FromRooms {
    pub(super) tokens: Tokens,
    pub(super) connect: Connect,
}

#[async_trait]
impl LocalCalls for FromRooms {
    async fn connection(&self, key: ConnectionKey) -> Result<Option<ConnectionView>, Error> {
        Ok(self.tokens.connection(&key).await?.as_ref().map(view))
    }

    async fn refresh(&self, key: ConnectionKey, force: Force) -> Result<ConnectionView, Error> {
        self.tokens.refresh(&key, force == Force::Yes).await?;
        match self.tokens.connection(&key).await? {
            Some(connection) => Ok(view(&connection)),
            None => Err(Error::NotConnected { key }),
        }
    }

    async fn connect_link(
        &self,
        key: ConnectionKey,
        return_to: Option<String>,
    ) -> Result<ConnectLink, LinkError> {
        match self.connect.link(&key, return_to.as_deref()).await {
            Ok(link) => Ok(ConnectLink {
                url: link.url,
                expires_at: link.expires_at,
            }),
            Err(error @ connect::Error::ReturnTo(_)) => Err(LinkError::ReturnTo(told(&error))),
            Err(connect::Error::Store(source)) => Err(LinkError::Store(source.into())),
            Err(error) => Err(LinkError::NotConfigured(told(&error))),
        }
    }

    fn connect_url(&self, key: &ConnectionKey) -> Option<String> {
        self.connect.url(key)
    }
}

/// An error with its causes, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
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
