//! Opening stores, and short names for records.

use std::{error::Error as _, sync::Arc, time::Duration};

use daypass::{
    base::{
        clock::Timestamp,
        ids::{ConnectionId, ConnectionKey, EventId, GrantId, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::OsRandom,
    },
    store::{
        Connection, Deliveries, DeliveryStatus, Error, NewConnection, NewEvent, Redemption,
        Renewed, Saved, SealedTokens, Store, StoredMeeting,
        redis::{Address, Options, Parts, Redis, Time, Trust},
        seal::Sealed,
    },
};

/// Opens the store at `url`.
pub(crate) async fn open(url: &str) -> Result<Redis, Error> {
    open_trusting(url, None).await
}

/// Opens the store at `url`, trusting `trust` if given.
pub(crate) async fn open_trusting(url: &str, trust: Option<String>) -> Result<Redis, Error> {
    daypass::http::tls::install_crypto();
    let mut parts = parts();
    parts.trust = trust.map(|pem| Trust::always(pem.into_bytes()));
    Redis::open(Address::parse(url).unwrap(), parts).await
}

/// Opens the store at `url`, to be treated as `options` say.
pub(crate) async fn open_with(url: &str, options: Options) -> Redis {
    let opening = Redis::open_with(Address::parse(url).unwrap(), parts(), options);
    opening.await.unwrap()
}

fn parts() -> Parts {
    Parts {
        trust: None,
        time: Time::Server,
        random: Arc::new(OsRandom),
        lifecycle: Lifecycle::new(),
    }
}

/// Everything that an error says, its causes too.
pub(crate) fn whole(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The key of `user`.
pub(crate) fn key(user: &str) -> ConnectionKey {
    ConnectionKey {
        provider: ProviderName::parse("calendly").unwrap(),
        user: UserId::parse(user).unwrap(),
    }
}

/// Tokens called `name`.
pub(crate) fn tokens(name: &str) -> SealedTokens {
    SealedTokens {
        access: Sealed::from_bytes(name.as_bytes().to_vec()),
        refresh: Some(Sealed::from_bytes(b"refresh".to_vec())),
        renewed_at: Timestamp::from_secs(1_800_000_000),
        access_expires_at: Timestamp::from_secs(1_800_007_200),
        refresh_expires_at: None,
    }
}

/// A connection of `user` to save.
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
        at: Timestamp::from_secs(1_800_000_000),
    }
}

/// A renewal whose access token is called `name`.
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

/// Saves a connection of `user`.
pub(crate) async fn connect(store: &dyn Store, user: &str) -> Connection {
    let saved = store.save(vec![new(user)]).await.unwrap();
    saved.first().map(Saved::connection).unwrap().clone()
}

/// An event called `name` for `users`, or for whoever connects `account-1`.
pub(crate) fn event(name: &str, users: &[&str]) -> NewEvent {
    let mut dedupe = [0; 32];
    dedupe[..name.len()].copy_from_slice(name.as_bytes());
    NewEvent {
        id: EventId::random(&OsRandom),
        provider: ProviderName::parse("calendly").unwrap(),
        name: name.to_owned(),
        dedupe,
        payload: Sealed::from_bytes(name.as_bytes().to_vec()),
        recipients: users.iter().map(|user| key(user)).collect(),
        accounts: vec!["account-1".to_owned()],
        at: Timestamp::from_secs(1_800_000_000),
    }
}

/// How many deliveries there are of `status`.
pub(crate) async fn count(store: &Redis, status: DeliveryStatus) -> u64 {
    let tallies = store.tally().await.unwrap();
    let of_status = tallies.iter().find(|tally| tally.status == status);
    of_status.map_or(0, |tally| tally.count)
}

/// A meeting of anna's that begins in an hour.
pub(crate) fn meeting(external_id: &str) -> StoredMeeting {
    StoredMeeting {
        key: key("anna"),
        external_id: external_id.to_owned(),
        status: "confirmed".to_owned(),
        is_over: false,
        starts_at: Timestamp::from_secs(1_800_003_600),
        ends_at: Timestamp::from_secs(1_800_005_400),
        version: Timestamp::from_secs(1_800_000_000),
        details: Sealed::from_bytes(b"details".to_vec()),
    }
}

/// Tries `step` until it succeeds, for at most ten seconds.
pub(crate) async fn persist<T>(mut step: impl AsyncFnMut() -> Result<T, Error>) -> T {
    let mut last = None;
    for _ in 0..100 {
        match step().await {
            Ok(done) => return done,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{last:?}");
}
