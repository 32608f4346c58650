//! Webhooks as a provider has them: subscribing, looking after a subscription, taking what it sends.
//!
//! 1. A callback address and its secret belong together for good: whoever wants another secret takes
//!    another address. So a subscription to our address is ours, with our secret, and is adopted
//!    rather than made twice; a provider would not tell its secret, nor let it be changed.
//! 2. A plan without webhooks, or a user who did not grant them, is an answer and no error: connecting
//!    succeeds all the same.
//! 3. One connection has one subscription. What a provider offers in no scope of ours is left out.

use async_trait::async_trait;
use url::Url;

use std::sync::Arc;

use super::{Account, ApiError, Denial, Event, Forged, Genuine, NotJson, Received};
use crate::base::{clock::Timestamp, secret::Secret};

/// What webhooks need of a provider.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// The key that signs for the whole client, where one is configured: it verifies what comes on the
    /// shared address, and what comes on a connection's own too.
    fn shared_key(&self) -> Option<Arc<Secret<String>>>;

    /// Whose events a subscription made by [`Webhooks::subscribe`] covers, as configured. One of another
    /// coverage, from before a change of the configuration, is for the caller to unsubscribe.
    fn coverage(&self) -> Coverage;

    /// Subscribes to every event that the grant allows, or adopts the subscription that is there.
    ///
    /// May be called again at any time, as after a crash or when [`Webhooks::inspect`] finds fault: it
    /// ends with one sound subscription at `wanted.url`. Where a provider cannot mend one, the broken
    /// one is deleted first.
    ///
    /// # Errors
    ///
    /// [`ApiError::Rejected`] if the provider does not deliver to this address, as if it is not public.
    async fn subscribe(
        &self,
        token: &Secret<String>,
        wanted: &Wanted<'_>,
    ) -> Result<Subscribed, ApiError>;

    /// How the subscription `id`, made for `wanted`, is doing.
    async fn inspect(
        &self,
        token: &Secret<String>,
        id: &str,
        wanted: &Wanted<'_>,
    ) -> Result<Health, ApiError>;

    /// Deletes the subscription `id`. One that is not there any more is as good as deleted.
    async fn unsubscribe(&self, token: &Secret<String>, id: &str) -> Result<(), ApiError>;

    /// Whether a webhook is genuine. [`Webhooks::read`] nothing that is not.
    fn verify(&self, received: &Received<'_>) -> Result<Genuine, Forged>;

    /// What a webhook says: leniently, for the app can make sense of what is new to Daypass.
    fn read(&self, body: &[u8]) -> Result<Event, NotJson>;
}

/// What to subscribe to.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Wanted<'a> {
    /// Whose events.
    pub account: &'a Account,
    /// The granted scope, space separated, as far as it is known: events beyond it are not asked for.
    pub granted: Option<&'a str>,
    /// Where the provider shall deliver; nobody else knows it.
    pub url: &'a Url,
    /// What it shall sign with, always the same for this `url`.
    pub secret: &'a Secret<String>,
}

/// Whose events a subscription covers, and so how to tell for whom one of them is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coverage {
    /// Those of the user who made it.
    User,
    /// Those of everybody in the user's organization.
    Organization,
    /// Those of everybody in a group of the organization.
    Group,
    /// Those of all users of a client: what comes on the shared address, whatever it was subscribed as.
    Client,
}

/// What came of subscribing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// There was none, or none that could be kept.
    Made(Subscription),
    /// There was one already.
    Adopted(Subscription),
    /// There can be none, until the plan, the grant or the role changes.
    Unavailable(Denial),
}

/// A webhook subscription at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The provider's id; opaque.
    pub id: String,
    /// Whose events it covers.
    pub coverage: Coverage,
    /// The events it was made for.
    pub events: Vec<String>,
}

/// How a subscription is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Active,
    /// Active, but the provider is trying again what was not taken.
    Retrying {
        /// Since when.
        since: Timestamp,
    },
    /// Switched off: subscribe again.
    Disabled,
    /// Changed by somebody, so that it does not deliver as wanted: subscribe again.
    Altered,
    /// Not there any more: subscribe again.
    Gone,
}

// === impl Coverage ===

impl Coverage {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Organization => "organization",
            Self::Group => "group",
            Self::Client => "client",
        }
    }

    /// The reverse of [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::User, Self::Organization, Self::Group, Self::Client]
            .into_iter()
            .find(|coverage| coverage.as_str() == text)
    }
}

// === impl Health ===

impl Health {
    /// Whether [`Webhooks::subscribe`] is to be called again.
    pub const fn needs_mending(self) -> bool {
        matches!(self, Self::Disabled | Self::Altered | Self::Gone)
    }
}
