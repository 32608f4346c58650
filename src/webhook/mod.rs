//! Webhooks: intake from the providers, delivery to the app.
//!
//! | module | what it decides |
//! |---|---|
//! | [`intake`] | whether a request is a genuine event, and when it is acknowledged |
//! | `routing` | whose an event is |
//! | `route` | the unguessable paths, and what they lead to |
//! | [`subscription`] | that each connection has a subscription of its own, and that it lives |
//! | [`delivery`] | when and where an event is handed to the app, and what counts as handed over |
//! | [`own_events`] | what Daypass itself tells the app |
//! | [`replays`] | what is delivered again because somebody asks for it |
//! | [`newcomers`] | what connections lack that nobody told us of |
//! | [`payloads`] | what an event says, for those who may see it |
//! | [`upkeep`] | what is forgotten, and when |
//!
//! 1. An event is acknowledged when it is durable, never before; what follows cannot delay that.
//! 2. What is not proven genuine is refused: without a key there is no proof.
//! 3. An event reaches the users whose it is, or waits for them. It is never given to anybody else.

use std::time::Duration;

use crate::{
    base::{
        ids::{ConnectionKey, ProviderName},
        secret::ReloadableSecret,
    },
    provider::Event,
    store,
};

pub mod delivery;
mod envelope;
pub mod intake;
pub mod newcomers;
pub mod own_events;
pub mod payloads;
pub mod replays;
mod route;
mod routing;
mod standard;
pub mod subscription;
pub mod upkeep;

pub use delivery::{Delivered, Destination, InvalidDestination};
pub use intake::{Intake, Verdict};
pub use newcomers::Newcomers;
pub use own_events::{OwnEvent, Teller};
pub use payloads::Payloads;
pub use replays::{Replayed, Replays};
pub use subscription::Subscriptions;

/// `[app]` and `[webhooks]`.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Config {
    /// Where events are delivered to; without it, none are.
    pub destination: Option<Destination>,
    /// Signs the deliveries (`whsec_…`).
    pub signing_secret: Option<ReloadableSecret>,
    /// Signs them as well, while the app changes over to another secret.
    pub previous_signing_secret: Option<ReloadableSecret>,
    /// How long the app may take to answer one. Default 10 s.
    pub app_timeout: Duration,
    /// Which of Daypass's own events the app is told. Default all.
    pub own_events: Vec<OwnEvent>,
    /// How far a provider's timestamp may be off. Default 3 min.
    pub tolerance: Duration,
    /// How long a delivery is retried. Default 72 h.
    pub retry_for: Duration,
    /// How long an event is remembered, to drop its duplicates. Default 7 days.
    pub dedupe_for: Duration,
    /// How long dead letters and events that are nobody's are kept. Default 30 days.
    pub keep_for: Duration,
}

/// Hears what intake does. Calls must return at once.
pub trait Witness: Send + Sync + 'static {
    /// A webhook came, and this became of it.
    fn judged(&self, provider: &ProviderName, verdict: Verdict);

    /// A new event was kept for these users: what it is about can be read now.
    fn took(&self, recipients: &[ConnectionKey], event: &Event);
}

/// Why this room did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store does not answer. Whoever sent the event sends it again.
    #[error("the event cannot be kept")]
    Store(#[from] store::Error),
    /// The trust roots cannot be loaded.
    #[error("TLS for deliveries cannot be set up")]
    Tls(#[from] crate::http::tls::Error),
    /// The HTTP client refuses its settings.
    #[error("the client for deliveries cannot be built")]
    Client(#[from] reqwest::Error),
}
