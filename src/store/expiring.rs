//! Records that end by themselves and are found by whoever shows a secret: connect tickets, the state
//! of a consent, the routes of webhooks, tokens that were handed to browsers.
//!
//! 1. A record is found by the digest of its secret. Who reads the store cannot show the secret.
//! 2. Of many who take one record, one gets it ([`Expiring::take`]).
//! 3. A record that has ended is not there, whether or not it was swept away. Ends go by the store's
//!    clock.

use std::time::Duration;

use async_trait::async_trait;

use super::{Error, seal::Sealed};

/// What a record is for; two purposes never find each other's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// A link that lets one user connect. Read as often as it is opened.
    Ticket,
    /// The state of a consent under way. Taken once.
    Consent,
    /// The path of a webhook subscription.
    Route,
    /// An access token that a browser may show when it has ended.
    IssuedToken,
}

/// The SHA-256 digest of the secret that finds a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// Keeps records that end by themselves; see the [module docs](self).
#[async_trait]
pub trait Expiring: Send + Sync + 'static {
    /// Keeps `record` for `ttl`, or until it is taken if there is none; replaces what is there.
    async fn put(
        &self,
        purpose: Purpose,
        digest: &Digest,
        record: Sealed,
        ttl: Option<Duration>,
    ) -> Result<(), Error>;

    /// The record, which stays.
    async fn peek(&self, purpose: Purpose, digest: &Digest) -> Result<Option<Sealed>, Error>;

    /// The record, which is gone from then on.
    async fn take(&self, purpose: Purpose, digest: &Digest) -> Result<Option<Sealed>, Error>;

    /// Forgets up to `limit` records that have ended; how many. Where the store does so by itself,
    /// none.
    async fn sweep(&self, limit: usize) -> Result<u64, Error>;
}

// === impl Purpose ===

impl Purpose {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Ticket, Self::Consent, Self::Route, Self::IssuedToken];

    /// As in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Consent => "consent",
            Self::Route => "route",
            Self::IssuedToken => "issued-token",
        }
    }
    /// The reverse of [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == text)
    }
}
