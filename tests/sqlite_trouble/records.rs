//! Short names for records.

use std::{path::Path, sync::Arc, time::Duration};

use daypass::{
    base::{
        clock::{SystemClock, Timestamp},
        ids::{ConnectionId, ConnectionKey, GrantId, ProviderName, UserId},
        random::OsRandom,
    },
    store::{
        Error, NewConnection, Redemption, Renewed, SealedTokens,
        seal::Sealed,
        sqlite::{Options, Sqlite},
    },
};

/// Some time.
pub(crate) const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Opens the store at `path`, which gives up on a lock at once.
pub(crate) fn open(path: &Path) -> Result<Sqlite, Error> {
    let mut options = Options::default();
    options.busy_timeout = Duration::from_millis(20);
    open_with(path, options)
}

/// Opens the store at `path`.
pub(crate) fn open_with(path: &Path, options: Options) -> Result<Sqlite, Error> {
    Sqlite::open_with(path, Arc::new(SystemClock), options)
}

/// The key of `user` at Calendly.
pub(crate) fn calendly(user: &str) -> ConnectionKey {
    ConnectionKey {
        provider: ProviderName::parse("calendly").unwrap(),
        user: UserId::parse(user).unwrap(),
    }
}

/// Tokens whose access token is `access`, sealed or not: a store does not look.
pub(crate) fn tokens(access: Sealed) -> SealedTokens {
    SealedTokens {
        access,
        refresh: None,
        renewed_at: AT,
        access_expires_at: AT,
        refresh_expires_at: None,
    }
}

/// A seal in name only.
pub(crate) fn seal(content: &str) -> Sealed {
    Sealed::from_bytes(content.as_bytes().to_vec())
}

/// A connection of `user`.
pub(crate) fn new(user: &str, access: Sealed) -> NewConnection {
    NewConnection {
        key: calendly(user),
        id: ConnectionId::random(&OsRandom),
        grant: GrantId::random(&OsRandom),
        tokens: Some(tokens(access)),
        external_id: None,
        organization: None,
        managed_user_id: None,
        scope: None,
        fingerprint: None,
        at: AT,
    }
}

/// New tokens.
pub(crate) fn renewed(access: &str) -> Renewed {
    Renewed {
        grant: GrantId::random(&OsRandom),
        tokens: tokens(seal(access)),
        redemption: Redemption::Standard,
        scope: None,
        external_id: None,
        organization: None,
    }
}
