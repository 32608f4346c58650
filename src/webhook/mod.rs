//! Webhooks: intake from the providers, delivery to the app.
//!
//! So far this room holds its configuration only: no webhook is taken yet.

use std::time::Duration;

use url::Url;

use crate::base::secret::ReloadableSecret;

/// `[app]` and `[webhooks]`.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Config {
    /// Where events are delivered to.
    pub app_url: Option<Url>,
    /// Signs the deliveries (`whsec_…`).
    pub signing_secret: Option<ReloadableSecret>,
    /// How long the app may take to answer one. Default 10 s.
    pub app_timeout: Duration,
    /// How far a provider's timestamp may be off. Default 3 min.
    pub tolerance: Duration,
    /// How long a delivery is retried. Default 72 h.
    pub retry_for: Duration,
    /// How long an event is remembered, to drop its duplicates. Default 7 days.
    pub dedupe_for: Duration,
}
