//! Connections and deliveries as the API shows them. Never with a token.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Parts, connections, deliveries};
use crate::{
    admin::Trouble,
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, EventId, Generation, ProviderName, UserId},
    },
    meeting::Progress,
    store::{Connection, Delivery, ReauthReason, Status},
    webhook::{delivery::webhook_id, subscription},
};

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Connection", example = serde_json::json!({
    "provider": "calendly", "user": "u_42", "status": "active", "reason": null, "since": null,
    "generation": 7, "expires_at": "2026-11-26T11:05:00Z", "renewed_at": "2026-11-26T09:05:00Z",
    "refresh_expires_at": null, "renewable": true, "failures": 0, "retry_at": null,
    "external_id": "https://api.calendly.com/users/AAAA", "organization": null,
    "managed_user_id": null, "scope": null, "created_at": "2026-10-01T08:00:00Z",
    "updated_at": "2026-11-26T09:05:00Z",
}))]
pub struct ConnectionView {
    /// Where.
    pub provider: ProviderName,
    /// Who.
    pub user: UserId,
    /// `active` or `needs_reauth`.
    #[schemars(with = "connections::StatusWord")]
    pub status: &'static str,
    /// Why it needs its user, if it does.
    pub reason: Option<ReauthReason>,
    /// Since when it needs its user, if it does.
    pub since: Option<Timestamp>,
    /// How often tokens were written.
    pub generation: Generation,
    /// When the access token ends, if there is one.
    pub expires_at: Option<Timestamp>,
    /// When tokens were last written.
    pub renewed_at: Option<Timestamp>,
    /// When the refresh token ends, if it does.
    pub refresh_expires_at: Option<Timestamp>,
    /// Whether there is a way to renew it.
    pub renewable: bool,
    /// Failures in a row of the renewal under way.
    pub failures: u32,
    /// Until when the provider is left alone after these.
    pub retry_at: Option<Timestamp>,
    /// The provider's own id or URI for the account.
    pub external_id: Option<String>,
    /// The provider's id or URI of the account's organization.
    pub organization: Option<String>,
    /// Cal.com: the id of a managed user.
    pub managed_user_id: Option<i64>,
    /// The granted scope, space separated.
    pub scope: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When anything of it last changed.
    pub updated_at: Timestamp,
}

/// A connection with all that belongs to it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WholeConnection", transform = without_examples)]
pub(in crate::admin) struct WholeView {
    #[serde(flatten)]
    pub(in crate::admin) connection: ConnectionView,
    /// Its webhook subscription; `null` if none was asked for.
    pub(in crate::admin) subscription: Option<subscription::View>,
    /// How far its meetings are read; `null` if nobody asked.
    pub(in crate::admin) sync: Option<Progress>,
}

/// A delivery.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Delivery", example = serde_json::json!({
    "id": 17, "webhook_id": "msg_0199c1a2b3c47d5e8f90a1b2c3d4e5f6_u_42",
    "event": "0199c1a2-b3c4-7d5e-8f90-a1b2c3d4e5f6", "name": "invitee.created",
    "provider": "calendly", "user": "u_42", "status": "dead", "attempts": 19,
    "accepted_at": "2026-11-23T09:05:00Z", "first_tried_at": "2026-11-23T09:05:00Z",
    "at": "2026-11-26T09:05:00Z", "last_error": "the app answered 500",
}))]
pub(in crate::admin) struct DeliveryView {
    /// Its number.
    pub(in crate::admin) id: u64,
    /// What the app knows it by, over all tries and replays: `webhook-id`.
    pub(in crate::admin) webhook_id: String,
    /// What is delivered.
    pub(in crate::admin) event: EventId,
    /// The event's name, such as `invitee.created`.
    pub(in crate::admin) name: String,
    /// The event's provider.
    pub(in crate::admin) provider: ProviderName,
    /// For whom; `null` if it is nobody's.
    pub(in crate::admin) user: Option<UserId>,
    /// How far it is.
    #[schemars(with = "deliveries::StatusWord")]
    pub(in crate::admin) status: &'static str,
    /// How often it was tried, since it was accepted or last replayed.
    pub(in crate::admin) attempts: u32,
    /// When the event was accepted.
    pub(in crate::admin) accepted_at: Timestamp,
    /// When it was first tried, since it was accepted or last replayed.
    pub(in crate::admin) first_tried_at: Option<Timestamp>,
    /// When it is tried next, or was delivered or given up.
    pub(in crate::admin) at: Timestamp,
    /// What the last try came to, for people.
    pub(in crate::admin) last_error: Option<String>,
}

/// Those of a part are none of the whole.
fn without_examples(schema: &mut schemars::Schema) {
    schema.remove("examples");
}

// === impl ConnectionView ===

impl From<&Connection> for ConnectionView {
    fn from(connection: &Connection) -> Self {
        let (status, reason, since) = match connection.status {
            Status::Active => ("active", None, None),
            Status::NeedsReauth { reason, since } => ("needs_reauth", Some(reason), Some(since)),
        };
        let tokens = connection.tokens.as_ref();
        Self {
            provider: connection.key.provider.clone(),
            user: connection.key.user.clone(),
            status,
            reason,
            since,
            generation: connection.generation,
            expires_at: tokens.map(|tokens| tokens.access_expires_at),
            renewed_at: tokens.map(|tokens| tokens.renewed_at),
            refresh_expires_at: tokens.and_then(|tokens| tokens.refresh_expires_at),
            renewable: tokens.is_some_and(|tokens| tokens.refresh.is_some())
                || connection.managed_user_id.is_some(),
            failures: connection.cooldown.map_or(0, |cooldown| cooldown.failures),
            retry_at: connection.cooldown.map(|cooldown| cooldown.until),
            external_id: connection.external_id.clone(),
            organization: connection.organization.clone(),
            managed_user_id: connection.managed_user_id,
            scope: connection.scope.clone(),
            created_at: connection.created_at,
            updated_at: connection.updated_at,
        }
    }
}

// === impl Parts ===

impl Parts {
    /// The connection of `key`; one of a provider that is no longer configured is shown, too.
    pub(in crate::admin) async fn load(&self, key: &ConnectionKey) -> Result<Connection, Trouble> {
        let Some(connection) = self.store.load(key).await? else {
            self.knows(&key.provider)?;
            return Err(Trouble::NotConnected(key.clone()));
        };
        Ok(connection)
    }

    /// `connection` with all that belongs to it.
    pub(in crate::admin) async fn whole(
        &self,
        connection: &Connection,
    ) -> Result<WholeView, Trouble> {
        let key = &connection.key;
        let (subscription, sync) =
            futures_util::future::try_join(self.subscriptions.view(key), self.sync.progress(key))
                .await?;
        Ok(WholeView {
            connection: connection.into(),
            subscription,
            sync,
        })
    }
}

// === impl DeliveryView ===

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id.0,
            webhook_id: webhook_id(&delivery),
            event: delivery.event,
            name: delivery.name,
            provider: delivery.provider,
            user: delivery.user,
            status: delivery.status.as_str(),
            attempts: delivery.attempts,
            accepted_at: delivery.accepted_at,
            first_tried_at: delivery.first_tried_at,
            at: delivery.at,
            last_error: delivery.last_error,
        }
    }
}
