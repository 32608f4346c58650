//! The nouns of the store: what a connection, its grant and a renewal in progress look like.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fence, seal::Sealed};
use crate::base::{
    clock::Timestamp,
    ids::{ConnectionId, ConnectionKey, Generation, GrantId, OwnerId},
};

/// One user at one provider, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Which user, at which provider.
    pub key: ConnectionKey,
    /// Made anew whenever a connection with this key is created.
    pub id: ConnectionId,
    /// Whether it can be used.
    pub status: Status,
    /// How often tokens were written; zero if there are none yet.
    pub generation: Generation,
    /// Which of all writes that ever had this generation, should the store have lost some.
    pub grant: GrantId,
    /// The grant; `None` for a managed user that was imported by its id alone.
    pub tokens: Option<SealedTokens>,
    /// The provider's own id or URI for the account.
    pub external_id: Option<String>,
    /// The provider's id or URI of the account's organization.
    pub organization: Option<String>,
    /// Cal.com only: the id of a managed user.
    pub managed_user_id: Option<i64>,
    /// The granted scope, space separated.
    pub scope: Option<String>,
    /// A redemption that was begun at this generation and whose end is not known.
    pub intent: Option<Intent>,
    /// Failures in a row at this generation, and until when to leave the provider alone.
    pub cooldown: Option<Cooldown>,
    /// When tokens were last minted by force.
    pub forced_at: Option<Timestamp>,
    /// When the connection was created.
    pub created_at: Timestamp,
    /// When anything of it last changed, leases apart.
    pub updated_at: Timestamp,
}

/// Whether a connection can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Yes.
    Active,
    /// Only its user can mend it, by connecting again.
    NeedsReauth {
        /// Why.
        reason: ReauthReason,
        /// Since when.
        since: Timestamp,
    },
}

/// Why only the user can mend a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReauthReason {
    /// The provider says that the grant is revoked, spent or expired.
    GrantRefused,
    /// The provider refused the grant after a renewal whose answer never came: the new tokens were
    /// very likely issued and lost on the way.
    LostRotation,
    /// There is no refresh token, and the access token has ended.
    NoRefreshToken,
    /// The provider no longer knows the account.
    AccountGone,
}

/// A stored grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedTokens {
    /// The access token.
    pub access: Sealed,
    /// The refresh token, if there is one.
    pub refresh: Option<Sealed>,
    /// When they were written.
    pub renewed_at: Timestamp,
    /// When the access token ends.
    pub access_expires_at: Timestamp,
    /// When the refresh token ends, if it does.
    pub refresh_expires_at: Option<Timestamp>,
}

/// How new tokens are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Redemption {
    /// With the refresh token.
    Standard,
    /// With the client's own secret.
    Force,
}

/// A redemption that was begun and whose end is not known: the refresh token may be spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// By whom, last.
    pub owner: OwnerId,
    /// How.
    pub redemption: Redemption,
    /// How often, at this generation.
    pub attempts: u32,
    /// When, last.
    pub at: Timestamp,
}

/// Leave the provider alone for this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooldown {
    /// Until then.
    pub until: Timestamp,
    /// After so many failures in a row.
    pub failures: u32,
}

/// A connection to create, or to give new tokens.
#[derive(Clone, Debug)]
pub struct NewConnection {
    /// Which.
    pub key: ConnectionKey,
    /// The id to give it if it is created.
    pub id: ConnectionId,
    /// Names this grant, and no other.
    pub grant: GrantId,
    /// Its grant; `None` for a managed user whose first request mints its tokens.
    pub tokens: Option<SealedTokens>,
    /// See [`Connection::external_id`].
    pub external_id: Option<String>,
    /// See [`Connection::organization`].
    pub organization: Option<String>,
    /// See [`Connection::managed_user_id`].
    pub managed_user_id: Option<i64>,
    /// See [`Connection::scope`].
    pub scope: Option<String>,
    /// A digest of what was handed in, by which the same is recognised later; `None` to replace
    /// whatever is there.
    pub fingerprint: Option<[u8; 32]>,
    /// Now.
    pub at: Timestamp,
}

/// The outcome of a successful renewal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// Names the new grant, and no other. Versions of before named none.
    #[serde(default)]
    pub grant: GrantId,
    /// The new grant.
    pub tokens: SealedTokens,
    /// How it was minted.
    pub redemption: Redemption,
    /// The granted scope, if the provider named it; otherwise the stored one stays.
    pub scope: Option<String>,
    /// The account, if the provider named it; otherwise the stored one stays.
    pub external_id: Option<String>,
    /// The organization, if the provider named it; otherwise the stored one stays.
    pub organization: Option<String>,
}

// === impl ReauthReason ===

impl ReauthReason {
    /// As in answers, events and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GrantRefused => "grant-refused",
            Self::LostRotation => "lost-rotation",
            Self::NoRefreshToken => "no-refresh-token",
            Self::AccountGone => "account-gone",
        }
    }

    /// The reverse of [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::GrantRefused,
            Self::LostRotation,
            Self::NoRefreshToken,
            Self::AccountGone,
        ]
        .into_iter()
        .find(|reason| reason.as_str() == text)
    }
}

// === impl Renewed ===

impl Renewed {
    /// Whether `stored` has these tokens, committed from `fence` by an earlier call whose answer was lost.
    /// They may have been sealed anew since.
    pub fn is_in(&self, stored: &Connection, fence: &Fence) -> bool {
        // A version that knows of no grants leaves the name of the last one when it writes the next.
        let is_next = stored.id == fence.id && stored.generation == fence.generation.next();
        is_next && stored.grant == self.grant && self.grant != GrantId::UNNAMED
    }
}
