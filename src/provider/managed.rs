//! Users that a platform client makes and owns, where a provider has such.

use std::fmt;

use async_trait::async_trait;
use serde::Deserialize;

use super::{CallError, Minted};

/// What managed users need of a provider.
#[async_trait]
pub trait ManagedUsers: Send + Sync {
    /// Makes a user.
    async fn create(&self, order: &NewManagedUser) -> Result<Creation, CallError>;

    /// Lists users, `after` as the answer before told. Providers end such lists early; the last page
    /// says whether this one did.
    async fn list(&self, after: Option<u32>) -> Result<ManagedPage, CallError>;

    /// Deletes a user and everything of theirs; `false` if there was none.
    async fn delete(&self, id: i64) -> Result<bool, CallError>;
}

/// A managed user to make.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewManagedUser {
    /// The person's address; one user of a client has it at most.
    pub email: String,
    /// What to call the person.
    pub name: String,
    /// IANA name; the provider's default if absent.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// BCP 47; the provider's default if absent.
    #[serde(default)]
    pub locale: Option<String>,
}

/// What came of making a user.
#[derive(Debug)]
pub enum Creation {
    /// The user is new. The first pair of tokens exists nowhere else.
    Made {
        /// The user.
        user: ManagedUser,
        /// Its first pair.
        minted: Box<Minted>,
    },
    /// The client has a user with this address already. Minting tokens for it kills those that
    /// others may hold, so it is left to the rules of renewing: a connection that has the id and no
    /// tokens gets them by force with its first request.
    Exists {
        /// The user's id.
        id: i64,
    },
    /// The provider finds fault with the order.
    Faulty,
}

/// A user that belongs to a platform client.
#[derive(Clone, PartialEq, Eq)]
pub struct ManagedUser {
    /// The provider's id.
    pub id: i64,
    /// The address as the provider keeps it: Cal.com adds the client's id to it.
    pub email: Option<String>,
    /// What the person is called.
    pub name: Option<String>,
    /// The account's name in links.
    pub username: Option<String>,
}

/// A page of managed users.
#[derive(Clone, Debug)]
pub struct ManagedPage {
    /// The users.
    pub users: Vec<ManagedUser>,
    /// How the list goes on.
    pub more: More,
}

/// How a list goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Ask again, after this.
    After(u32),
    /// That was all.
    End,
    /// There may be more, which the provider gives no way to ask for.
    OutOfReach,
}

// === impl NewManagedUser ===

impl fmt::Debug for NewManagedUser {
    /// Without personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewManagedUser").finish_non_exhaustive()
    }
}

// === impl ManagedUser ===

impl fmt::Debug for ManagedUser {
    /// Without personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedUser")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
