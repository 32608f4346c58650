//! `[store]`: which backend, and where the spool lies.

use std::{fmt, path::PathBuf};

use super::{postgres, redis};

/// The settings of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which backend.
    pub backend: Backend,
    /// Where new tokens wait, sealed, while the store refuses them.
    pub spool_dir: PathBuf,
}

/// A backend and its address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// A file.
    Sqlite {
        /// Which one.
        path: PathBuf,
    },
    /// One or several servers.
    Redis {
        /// Which ones, and as whom.
        address: redis::Address,
    },
    /// A PostgreSQL database.
    Postgres {
        /// Which one, and who to be there; holds a password.
        address: postgres::Address,
    },
}

/// How the way to a store is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It does not leave this machine.
    Local,
    /// It is, and who is at its end is verified.
    Verified,
    /// It is, and who is at its end is not verified.
    Unverified,
    /// It is not, or only if the server likes.
    Open,
}

// === impl Backend ===

impl fmt::Display for Backend {
    /// For messages: the path or the hosts, never a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path } => write!(f, "{}", path.display()),
            Self::Postgres { address } => write!(f, "PostgreSQL at {}", address.place()),
            Self::Redis { address } => write!(f, "Redis at {}", address.shown()),
        }
    }
}

impl Backend {
    /// Takes over user and password of `other`, for connections made from now on; whether they are
    /// new. `None` if it is another store, which only a restart can move to.
    pub fn adopt(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::Sqlite { path }, Self::Sqlite { path: other }) => {
                (path == other).then_some(false)
            }
            (Self::Postgres { address }, Self::Postgres { address: other }) => address.adopt(other),
            (Self::Redis { address }, Self::Redis { address: other }) => address.adopt(other),
            _ => None,
        }
    }

    /// Whether its address has a password.
    pub fn has_password(&self) -> bool {
        match self {
            Self::Sqlite { .. } => false,
            Self::Postgres { address } => address.has_password(),
            Self::Redis { address } => address.has_password(),
        }
    }

    /// How the way to it is protected.
    pub fn way(&self) -> Way {
        match self {
            Self::Sqlite { .. } => Way::Local,
            Self::Postgres { address } => address.way(),
            Self::Redis { address } => address.way(),
        }
    }

    /// Whether a key file may be made where no key is configured: only beside a file.
    pub const fn may_keep_its_key(&self) -> bool {
        matches!(self, Self::Sqlite { .. })
    }
}
