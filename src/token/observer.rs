//! Who is told what this room does: metrics now, events to the app later.

use std::{fmt, time::Duration};

use crate::{
    base::ids::{ConnectionKey, Generation, ProviderName},
    provider::CallError,
    store::{self, Digest, ReauthReason, Redemption},
    telemetry::trace::Tracer,
};

/// Hears of everything that an operator or an app may want to know. Calls must return at once.
pub trait Observer: Send + Sync + fmt::Debug + 'static {
    /// A token was asked for.
    fn looked_up(&self, provider: &ProviderName, lookup: Lookup);

    /// A call to a provider's token endpoint is over.
    fn renewed(&self, renewal: &Renewal<'_>);

    /// A connection was marked as needing its user; heard once per grant.
    fn needs_reauth(&self, key: &ConnectionKey, reason: ReauthReason);

    /// A managed user has a new access token, which its app may hand to browsers.
    fn issued(&self, _: &Issued<'_>) {}

    /// So many renewals wait in the spool.
    fn spooled(&self, waiting: usize);

    /// The store failed like this.
    fn store_failed(&self, error: &store::Error);

    /// What traces renewals, if anything does.
    fn tracer(&self) -> Option<&Tracer> {
        None
    }
}

/// How a token was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// In memory.
    Hit,
    /// After asking the store, or waiting for a renewal.
    Waited,
    /// Not at all: the user has to connect.
    NotConnected,
    /// Not just now.
    Failed,
}

/// One call to a token endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Renewal<'a> {
    /// Whose token.
    pub key: &'a ConnectionKey,
    /// How it was asked for.
    pub redemption: Redemption,
    /// Which generation it started from.
    pub from: Generation,
    /// What came of it.
    pub outcome: RenewalOutcome,
    /// How long the provider took.
    pub took: Duration,
}

/// An access token of a managed user that was stored, or spooled, just now.
#[derive(Clone, Copy, Debug)]
pub struct Issued<'a> {
    /// Whose.
    pub key: &'a ConnectionKey,
    /// The provider's id of the managed user.
    pub managed_user_id: i64,
    /// Which writing of tokens it came with.
    pub generation: Generation,
    /// What it is recognised by.
    pub digest: Digest,
}

/// What came of a call to a token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RenewalOutcome {
    /// New tokens.
    Renewed,
    /// The provider refused the grant.
    GrantRefused,
    /// The provider refused the client, or the grant as another client's.
    ClientRefused,
    /// The provider wants fewer calls.
    RateLimited,
    /// It may work later.
    Failed,
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

// === impl RenewalOutcome ===

impl From<&CallError> for RenewalOutcome {
    fn from(error: &CallError) -> Self {
        match error {
            CallError::GrantRefused { .. } => Self::GrantRefused,
            CallError::ClientRefused { .. }
            | CallError::OtherClient { .. }
            | CallError::NotConfigured { .. } => Self::ClientRefused,
            CallError::RateLimited { .. } => Self::RateLimited,
            CallError::NotSent { .. }
            | CallError::Ambiguous { .. }
            | CallError::Unexpected { .. } => Self::Failed,
        }
    }
}

impl RenewalOutcome {
    /// As in metrics and the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::GrantRefused => "grant_refused",
            Self::ClientRefused => "client_refused",
            Self::RateLimited => "rate_limited",
            Self::Failed => "failed",
        }
    }
}

// === impl Unobserved ===

impl Observer for Unobserved {
    fn looked_up(&self, _: &ProviderName, _: Lookup) {}
    fn renewed(&self, _: &Renewal<'_>) {}
    fn needs_reauth(&self, _: &ConnectionKey, _: ReauthReason) {}
    fn spooled(&self, _: usize) {}
    fn store_failed(&self, _: &store::Error) {}
}
