//! What a provider *is*: where it lives, how it is asked for tokens, and how its answers are read.
//!
//! A new provider is one new folder that implements [`Provider`] and as many of [`Consent`],
//! [`Webhooks`], [`Meetings`] and [`ManagedUsers`] as the service has, and one arm in the configuration:
//! nobody else asks which service it is. This room knows nothing of users, stores or caches: it is given
//! a token and says what came of it.
//!
//! Decision rules that all providers share:
//!
//! 1. A call that never left the process ([`CallError::NotSent`]) spent nothing. A call that may have
//!    reached the provider and has no clear answer is [`CallError::Ambiguous`]: a single-use refresh
//!    token *may* be spent.
//! 2. Only an explicit refusal of the grant is [`CallError::GrantRefused`]; a refusal of the client's
//!    own credentials is [`CallError::ClientRefused`] and says nothing about any user. A grant that the
//!    provider says is another client's is neither: [`CallError::OtherClient`].
//! 3. What cannot be understood is never fatal.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use thiserror::Error;

use crate::base::{ids::ProviderName, secret::Secret};

mod api;
mod api_base;
pub mod calcom;
pub mod calendly;
mod call;
mod consent;
mod event;
mod field;
mod managed;
mod meeting;
mod minted;
mod refusal;
#[cfg(test)]
mod scripted;
mod signature;
mod subscription;
mod wait;

pub use api::{ApiError, Denial, Headroom};
pub use api_base::{ApiBase, InvalidApiBase, secure_url};
pub use call::{Calls, SetupError};
pub use consent::{
    Ask, Callback, Consent, ConsentRefusal, Identity, Lack, Pkce, Purpose, Redeem, Verifier,
};
pub use event::{About, Addressees, Event, EventKey, Names, NotJson};
pub use managed::{Creation, ManagedPage, ManagedUser, ManagedUsers, More, NewManagedUser};
pub use meeting::{
    Attendee, AttendeeStatus, Attendees, Cursor, Meeting, MeetingStatus, Meetings, Page, Window,
};
pub use minted::jwt_expiry;
pub use signature::{Forged, Genuine, Received};
pub use subscription::{Coverage, Health, Subscribed, Subscription, Wanted, Webhooks};

/// Which service a configured provider is an instance of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Cal.com, hosted or self-hosted.
    Calcom,
    /// Calendly.
    Calendly,
}

/// Everything the rest of the house may ask of a provider.
#[async_trait]
pub trait Provider: Send + Sync + fmt::Debug + 'static {
    /// Its name in the configuration.
    fn name(&self) -> &ProviderName;

    /// Which service it is.
    fn kind(&self) -> Kind;

    /// Where its API lives.
    fn api_base(&self) -> &ApiBase;

    /// Whether an API answer means that the token was refused, as far as its head tells.
    ///
    /// The words of a compressed answer cannot be read: whoever forwards requests asks the provider
    /// for no content coding, or gets a guess by status.
    fn judge(&self, status: StatusCode, headers: &HeaderMap) -> Judgement;

    /// Decides what [`Provider::judge`] left open, from the first bytes of the body.
    fn judge_body(&self, status: StatusCode, body: &[u8]) -> Verdict;

    /// Whether list answers carry absolute links under `pagination` that lead past the proxy.
    fn has_absolute_page_links(&self) -> bool;

    /// Redeems a refresh token: the standard refresh.
    async fn refresh(&self, account: &Account, token: &Secret<String>)
    -> Result<Minted, CallError>;

    /// Whether [`Provider::force_refresh`] exists for this account.
    fn can_force(&self, account: &Account) -> bool;

    /// Mints a new pair with the client's own secret; every earlier token of the account dies.
    async fn force_refresh(&self, account: &Account) -> Result<Minted, CallError>;

    /// Revokes a token at the provider; `Ok(false)` where the provider has no such call.
    async fn revoke(&self, token: &Secret<String>) -> Result<bool, CallError>;

    /// How long to trust an access token whose lifetime the provider did not tell.
    fn default_lifetime(&self, account: &Account) -> Duration;

    /// How many token calls a minute background work may make at this provider.
    fn background_calls_per_minute(&self) -> u32;

    /// How the provider limits calls to its token endpoint. By default it does so for each user.
    fn token_limit(&self) -> TokenLimit {
        TokenLimit::PerUser
    }

    /// How users come to be connected; `None` if they can only be imported.
    fn consent(&self) -> Option<&dyn Consent> {
        None
    }

    /// Its webhooks; `None` if it has none.
    fn webhooks(&self) -> Option<&dyn Webhooks> {
        None
    }

    /// Its meetings; `None` if it has none.
    fn meetings(&self) -> Option<&dyn Meetings> {
        None
    }

    /// Its managed users; `None` if it has none, or no platform client is configured.
    fn managed_users(&self) -> Option<&dyn ManagedUsers> {
        None
    }
}

/// How a provider limits calls to its token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenLimit {
    /// Each user has a limit of its own: who is refused speaks for nobody else.
    PerUser,
    /// All users have one together, as it is counted by address: who is refused, or is told what is left,
    /// speaks for all.
    Shared {
        /// Calls in any minute.
        per_minute: u32,
    },
}

/// Shared handle to a configured provider.
pub type SharedProvider = Arc<dyn Provider>;

/// Who a connection is at its provider, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The provider's own id or URI for the account.
    pub external_id: Option<String>,
    /// The provider's id or URI of the account's organization.
    pub organization: Option<String>,
    /// Cal.com only: the id of a managed user. Its presence makes the connection a managed one.
    pub managed_user_id: Option<i64>,
}

/// What the head of an API answer says about the token that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Not refused: pass the answer on.
    Passed,
    /// Refused: renew and replay.
    Refused,
    /// The body decides: read up to `limit` bytes, then ask [`Provider::judge_body`]. A longer body
    /// counts as passed.
    ReadBody {
        /// In bytes.
        limit: usize,
    },
}

/// What the body of an API answer says about the token that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not refused: pass the answer on.
    Passed,
    /// Refused: renew and replay.
    Refused,
    /// The account itself is gone: no renewal will help, the user must connect again.
    AccountGone,
}

/// A new pair of tokens. Times are relative to the moment of the answer, by the provider's clock.
pub struct Minted {
    /// The new access token.
    pub access: Secret<String>,
    /// The new refresh token; `None` means that the old one stays in use.
    pub refresh: Option<Secret<String>>,
    /// What the access token has to live; `None` if nothing in the answer tells.
    pub expires_in: Option<Duration>,
    /// What the refresh token has to live; `None` if it does not age or nothing tells.
    pub refresh_expires_in: Option<Duration>,
    /// The granted scope, space separated, if the answer names it.
    pub scope: Option<String>,
    /// The account, if the answer names it.
    pub account: Account,
    /// How many more token calls the provider takes, if the answer tells.
    pub headroom: Headroom,
}

/// Why a token call gave no tokens. Messages carry codes that the provider documents, never a body.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The request never left the process: nothing was spent. Transient.
    #[error("{provider} could not be reached")]
    NotSent {
        /// Whose call it was.
        provider: ProviderName,
        /// The transport's complaint.
        #[source]
        source: reqwest::Error,
    },
    /// The request may have reached the provider, whose answer is missing or unclear: a single-use
    /// token may be spent. Transient.
    #[error("{provider} gave no clear answer: {what}")]
    Ambiguous {
        /// Whose call it was.
        provider: ProviderName,
        /// What was wrong, in a few words.
        what: Unclear,
        /// The transport's complaint, if there was one.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// The provider knows the client and refuses this token. Final for the token.
    #[error("{provider} refused the grant: {code}")]
    GrantRefused {
        /// Whose call it was.
        provider: ProviderName,
        /// The provider's error code.
        code: String,
    },
    /// The provider refuses the client's own credentials: a fault of the configuration.
    #[error("{provider} refused the client credentials: {code}")]
    ClientRefused {
        /// Whose call it was.
        provider: ProviderName,
        /// The provider's error code.
        code: String,
    },
    /// The provider says that the grant was given to another client than the one configured here. The
    /// grant may be good, and so may the client: the configuration was changed, or the grant was
    /// imported from elsewhere. Nothing was spent; the operator must act.
    #[error(
        "{provider} gave this grant to another client ({code}): configure that client, or let the user connect again"
    )]
    OtherClient {
        /// Whose call it was.
        provider: ProviderName,
        /// The provider's error code.
        code: String,
    },
    /// The call cannot be made because a setting is missing or cannot be sent (a secret with a line
    /// break in it): a fault of the configuration.
    #[error("{provider} has no usable {setting}")]
    NotConfigured {
        /// Whose call it was.
        provider: ProviderName,
        /// The key, as in the provider's table; or the call that the provider does not have.
        setting: &'static str,
    },
    /// Too many calls. Transient.
    #[error("{provider} asks for fewer token calls")]
    RateLimited {
        /// Whose call it was.
        provider: ProviderName,
        /// How long the provider wants to be left alone, as it said; not yet clamped.
        retry_after: Option<Duration>,
    },
    /// An answer that belongs to no documented case, such as 404 from the token URL: nobody was
    /// refused. Transient.
    #[error("{provider} answered {status}, which means nothing here")]
    Unexpected {
        /// Whose call it was.
        provider: ProviderName,
        /// What it answered.
        status: StatusCode,
    },
}

/// What made an answer unclear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unclear {
    /// None came in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke after the request was sent.
    #[error("the connection broke after the request was sent")]
    Broken,
    /// 5xx.
    #[error("status {0}")]
    ServerError(StatusCode),
    /// 200 with something that holds no token.
    #[error("a success without a token in it")]
    NoToken,
    /// A success of the API that is not what was asked for.
    #[error("a success that cannot be read")]
    Unreadable,
    /// A refusal that is not the provider's own: a page of something before it.
    #[error("status {0}, from something before the provider")]
    Foreign(StatusCode),
}

// === impl Kind ===

impl Kind {
    /// As in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calcom => "calcom",
            Self::Calendly => "calendly",
        }
    }

    /// As people call it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Calcom => "Cal.com",
            Self::Calendly => "Calendly",
        }
    }
}

// === impl Account ===

impl Account {
    /// What names this account in the provider's events: its id, or that of the managed user.
    pub fn key(&self) -> Option<String> {
        let managed = || self.managed_user_id.map(|id| id.to_string());
        self.external_id.clone().or_else(managed)
    }

    /// Whether the two are known not to be the same.
    pub fn is_other_than(&self, other: &Self) -> bool {
        matches!((self.key(), other.key()), (Some(this), Some(that)) if this != that)
    }
}

// === impl CallError ===

impl CallError {
    /// Whether a single-use refresh token that was sent may be spent.
    pub const fn may_have_spent(&self) -> bool {
        matches!(self, Self::Ambiguous { .. })
    }
}

// === impl Minted ===

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted")
            .field("rotated", &self.refresh.is_some())
            .field("expires_in", &self.expires_in)
            .field("refresh_expires_in", &self.refresh_expires_in)
            .field("scope", &self.scope)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}
