//! `[store]`: which backend, and where the spool lies.

use std::path::PathBuf;

use super::postgres;

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
    /// A PostgreSQL database.
    Postgres {
        /// Which one, and who to be there; holds a password.
        address: postgres::Address,
    },
}

// === impl Backend ===

impl Backend {
    /// Whether a key file may be made where no key is configured: only beside a file.
    pub const fn may_keep_its_key(&self) -> bool {
        matches!(self, Self::Sqlite { .. })
    }
}
