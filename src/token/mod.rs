//! The rules that make renewing safe, and the tokens that come of it. The only writer of grants.
//!
//! Whoever needs a user's token asks here, and nowhere else: the proxy, background work, the API.
//! What a caller gets is a [`Bearer`], which knows its generation; what a caller with a refused token
//! asks for is "newer than that generation".

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use http::HeaderValue;
use thiserror::Error;
use tokio::time::Instant;

use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionId, ConnectionKey, Generation, ProviderName},
        secret::Secret,
    },
    store,
};

mod cache;
mod calling;
mod config;
mod disk;
mod engine;
mod entry;
mod follow;
mod grant;
mod held;
mod keep_alive;
mod misconfigured;
mod observer;
mod pace;
mod policy;
mod queue;
mod refusals;
mod renewal;
mod spans;
mod spool;
mod tokens;
mod trouble;
mod turns;
mod vault;

pub use crate::store::ReauthReason;
pub use calling::{WithTokenError, with_token};
pub use config::Config;
pub use disk::{Directory, Disk, SharedDisk};
pub use grant::{Grant, GrantTokens};
pub use observer::{Issued, Lookup, Observer, Renewal, RenewalOutcome, Unobserved};
pub use queue::Waiting;
pub use renewal::account_of;
pub use spool::spooled_keys;
pub use tokens::{Health, Parts, Revocation, StartError, Tokens};

/// A token that may be sent: prepared once per generation, shared by all requests that use it.
pub struct Bearer {
    authorization: HeaderValue,
    generation: Generation,
    expires_at: Timestamp,
    id: ConnectionId,
    /// Which of its generation: see [`GrantId::hint`](crate::base::ids::GrantId::hint).
    grant: u32,
    /// From here on it is due, by the clock that does not jump.
    due: Instant,
    /// So many milliseconds later it is short…
    short_after: u32,
    /// …and so many later than `due` it is dead.
    dead_after: u32,
    /// The store may hold something else than this.
    stale: AtomicBool,
}

/// Hands out tokens; what the proxy needs of this room.
pub trait TokenSource: Send + Sync + 'static {
    /// The token in memory, if it can be used as it is. Never waits: this is the hot path. May start
    /// a renewal in the background.
    fn cached(&self, provider: &ProviderName, user: &str) -> Option<Arc<Bearer>>;

    /// A token with more than the minimal time to live, renewed if need be.
    fn bearer(&self, key: ConnectionKey) -> TokenFuture;

    /// A token newer than `refused`: from memory, from the store, or renewed once.
    fn newer_than(&self, key: ConnectionKey, refused: Generation) -> TokenFuture;

    /// The provider said that the account behind the token `used` no longer exists.
    fn account_gone(&self, key: ConnectionKey, used: &Arc<Bearer>);
}

/// The answer to asking for a token. Dropping it cancels the wait, never the renewal.
pub type TokenFuture = Pin<Box<dyn Future<Output = Result<Arc<Bearer>, Error>> + Send>>;

/// Why there is no token.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The user has never connected, or was disconnected. Fault of nobody; the user must act.
    #[error("{key} is not connected")]
    NotConnected {
        /// Whose token was asked for.
        key: ConnectionKey,
    },
    /// The grant is dead; the user must connect again.
    #[error("{key} must be connected again: {reason}", reason = reason.as_str())]
    NeedsReauth {
        /// Whose token was asked for.
        key: ConnectionKey,
        /// What killed it.
        reason: ReauthReason,
        /// When it was noticed.
        since: Timestamp,
    },
    /// The provider did not renew it just now. Retry after `retry_after`.
    #[error("the token of {key} could not be renewed: {what}")]
    RefreshFailed {
        /// Whose token was asked for.
        key: ConnectionKey,
        /// When a retry makes sense.
        retry_after: Duration,
        /// What was the matter, without any secret.
        what: Arc<str>,
    },
    /// The provider refuses this installation's client credentials. The operator must act.
    #[error(
        "{provider} refuses the client credentials ({what}): correct them in the configuration"
    )]
    Misconfigured {
        /// Which provider.
        provider: ProviderName,
        /// When the next attempt is made.
        retry_after: Duration,
        /// The provider's code, or the missing setting.
        what: Arc<str>,
    },
    /// A refused token is not renewed, and the provider's own answer stands: its tokens were refused
    /// so often just now that renewing would only spend the provider's quota, or there is no way to
    /// renew it at all.
    #[error("no renewal of {key} would help just now")]
    AnswerStands {
        /// Whose token was asked for.
        key: ConnectionKey,
    },
    /// The store does not answer, and memory does not hold the token.
    #[error("the store cannot be asked for the token of {key}")]
    Store {
        /// Whose token was asked for.
        key: ConnectionKey,
        /// The store's complaint.
        #[source]
        source: Arc<store::Error>,
    },
    /// No provider of this name is configured.
    #[error("no provider is called {provider}")]
    UnknownProvider {
        /// The name.
        provider: ProviderName,
    },
    /// The process is going down.
    #[error("shutting down")]
    ShuttingDown,
}

// === impl Bearer ===

impl Bearer {
    /// `Bearer …`, marked sensitive.
    pub const fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// The token itself, for the few who may read it.
    pub fn danger_token(&self) -> Secret<String> {
        let header = self.authorization.to_str().unwrap_or_default();
        Secret::from(
            header
                .strip_prefix("Bearer ")
                .unwrap_or_default()
                .to_owned(),
        )
    }

    /// Which writing of tokens this one came from.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// When it ends, by this machine's clock.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer")
            .field("generation", &self.generation)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Bearer {
    /// A bearer for tests of other rooms.
    pub(crate) fn for_tests(token: &str, generation: u64) -> Arc<Self> {
        let token = Secret::from(token.to_owned());
        Arc::new(Self {
            authorization: token.to_bearer_header().unwrap(),
            generation: Generation::new(generation),
            expires_at: Timestamp::from_millis(i64::MAX),
            id: ConnectionId::random(&crate::base::random::OsRandom),
            grant: 0,
            due: Instant::now() + Duration::from_hours(24),
            short_after: 0,
            dead_after: 0,
            stale: AtomicBool::new(false),
        })
    }
}
