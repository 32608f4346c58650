//! The proxy's local calls, answered by the rooms that know connections.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

use crate::{
    admin::audit::{Action, Actor, Audit, Fault, Order, Via},
    base::{ids::ConnectionKey, lifecycle::Lifecycle},
    connect::{self, Connect},
    meeting::Sync,
    proxy::{ConnectLink, ConnectionView, Force, LinkError, LocalCalls},
    store::{self, Connection, Status},
    token::{Error, Tokens},
    webhook::Subscriptions,
};

/// Answers for the rooms.
#[derive(Clone)]
pub(super) struct FromRooms {
    pub(super) tokens: Tokens,
    pub(super) connect: Connect,
    pub(super) subscriptions: Subscriptions,
    pub(super) sync: Sync,
    pub(super) audit: Audit,
    /// Finishes what was begun.
    pub(super) lifecycle: Lifecycle,
}

// === impl FromRooms ===

impl FromRooms {
    /// Does `work` by the app's order to its end, whoever waits; `None` if the process goes down first.
    async fn audited<T: Send + 'static, E: Fault + Send + 'static>(
        &self,
        order: Order,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Option<Result<T, E>> {
        let audit = self.audit.clone();
        let doing = async move {
            let app = Actor::new(Via::Outbound, "app");
            audit.of(&app, order, work).await
        };
        self.lifecycle.spawn(doing).await.ok().flatten()
    }

    /// `connection` with what belongs to it. That it can be used counts more than the rest: what cannot
    /// be told of that is left out.
    async fn view(&self, connection: &Connection) -> ConnectionView {
        let key = &connection.key;
        let (subscription, sync) =
            futures_util::future::join(self.subscriptions.view(key), self.sync.progress(key)).await;
        ConnectionView {
            subscription: told_of(key, subscription),
            sync: told_of(key, sync),
            ..view(connection)
        }
    }
}

#[async_trait]
impl LocalCalls for FromRooms {
    async fn connection(&self, key: ConnectionKey) -> Result<Option<ConnectionView>, Error> {
        match self.tokens.connection(&key).await? {
            Some(connection) => Ok(Some(self.view(&connection).await)),
            None => Ok(None),
        }
    }

    async fn refresh(&self, key: ConnectionKey, force: Force) -> Result<ConnectionView, Error> {
        let (tokens, of) = (self.tokens.clone(), key.clone());
        let forced = (force == Force::Yes).then(|| "force".to_owned());
        let order = Order::to(Action::Refresh).about(&key).with(forced);
        let renewing = async move { tokens.refresh(&of, force == Force::Yes).await.map(drop) };
        self.audited(order, renewing)
            .await
            .unwrap_or(Err(Error::ShuttingDown))?;
        match self.tokens.connection(&key).await? {
            Some(connection) => Ok(self.view(&connection).await),
            None => Err(Error::NotConnected { key }),
        }
    }

    async fn connect_link(
        &self,
        key: ConnectionKey,
        return_to: Option<String>,
    ) -> Result<ConnectLink, LinkError> {
        let order = Order::to(Action::ConnectLink).about(&key);
        let connect = self.connect.clone();
        let making = async move { connect.link(&key, return_to.as_deref()).await };
        let made = self.audited(order, making).await;
        match made.unwrap_or(Err(connect::Error::Tokens(Error::ShuttingDown))) {
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
        subscription: None,
        sync: None,
    }
}

/// What belongs to the connection of `key`, as JSON.
fn told_of(
    key: &ConnectionKey,
    read: Result<Option<impl Serialize>, store::Error>,
) -> Option<Value> {
    match read {
        Ok(found) => serde_json::to_value(found?).ok(),
        Err(error) => {
            tracing::warn!(
                provider = %key.provider, user = %key.user,
                error = &error as &dyn std::error::Error,
                "a part of what is known of a connection cannot be read",
            );
            None
        }
    }
}
