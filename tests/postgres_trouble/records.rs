//! Stores to open and short names for records.

use std::{sync::Arc, time::Duration};

use daypass::{
    base::{
        clock::Timestamp,
        ids::{ConnectionId, ConnectionKey, GrantId, OwnerId, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::OsRandom,
    },
    http::tls::{Alpn, client_config},
    store::{
        Error, NewConnection, Redemption, Renewed, SealedTokens,
        postgres::{Address, Options, Postgres, Surroundings},
        seal::Sealed,
    },
};

pub(crate) const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Longer than anything should take that is not stuck.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) fn surroundings() -> Surroundings {
    Surroundings {
        tls: client_config(None, Alpn::Unset).unwrap(),
        lifecycle: Lifecycle::new(),
        random: Arc::new(OsRandom),
    }
}

pub(crate) async fn open(url: &str) -> Result<Postgres, Error> {
    open_with(url, Options::default()).await
}

pub(crate) async fn open_with(url: &str, options: Options) -> Result<Postgres, Error> {
    Postgres::open_with(&Address::parse(url).unwrap(), surroundings(), options).await
}

/// Waits until `store` can be written to again.
pub(crate) async fn recovered(store: &dyn daypass::store::Store) {
    let trying = async {
        while store.check().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, trying).await.unwrap();
}

/// The message of an error, all causes included.
pub(crate) fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

pub(crate) fn owner() -> OwnerId {
    OwnerId::random(&OsRandom)
}

pub(crate) fn key(user: &str) -> ConnectionKey {
    ConnectionKey {
        provider: ProviderName::parse("calendly").unwrap(),
        user: UserId::parse(user).unwrap(),
    }
}

pub(crate) fn tokens(name: &str) -> SealedTokens {
    SealedTokens {
        access: Sealed::from_bytes(format!("access {name}").into_bytes()),
        refresh: Some(Sealed::from_bytes(format!("refresh {name}").into_bytes())),
        renewed_at: AT,
        access_expires_at: AT.saturating_add(Duration::from_hours(2)),
        refresh_expires_at: None,
    }
}

pub(crate) fn new(user: &str) -> NewConnection {
    NewConnection {
        key: key(user),
        id: ConnectionId::random(&OsRandom),
        grant: GrantId::random(&OsRandom),
        tokens: Some(tokens("first")),
        external_id: None,
        organization: None,
        managed_user_id: None,
        scope: None,
        fingerprint: None,
        at: AT,
    }
}

pub(crate) fn renewed(name: &str) -> Renewed {
    Renewed {
        grant: GrantId::random(&OsRandom),
        tokens: tokens(name),
        redemption: Redemption::Standard,
        scope: None,
        external_id: None,
        organization: None,
    }
}
