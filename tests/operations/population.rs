//! Connections of every kind, put into a store and compared with what another one has.

use std::{sync::Arc, time::Duration};

use daypass::{
    app::Opener,
    base::{
        clock::Timestamp,
        ids::{ConnectionId, ConnectionKey, Generation, GrantId, OwnerId, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::SeededRandom,
        secret::Secret,
    },
    config::parse_store,
    store::{
        Archive, Attempt, Connection, Cooldown, Drawer, Found, Intent, ReauthReason, Record,
        Redemption, Restored, SealedTokens, Seals, Status,
        rotation::Rotation,
        seal::{Aad, Field, Key, KeyRing, key_id_of},
    },
};
use tokio::runtime::Runtime;

/// Changed last then; the clocks of servers are ahead of it.
const THEN: Timestamp = Timestamp::from_secs(1_700_000_000);

/// An open store, and what keeps it open.
pub(crate) struct Open {
    runtime: Runtime,
    lifecycle: Lifecycle,
    archive: Arc<dyn Archive>,
    seals: Arc<dyn Seals>,
}

/// What the configuration of every place names.
pub(crate) fn keys() -> KeyRing {
    ring("k1", "c2VudGluZWwta2V5LW9mLTMyLWJ5dGVzLXRlc3RzISE=")
}

pub(crate) fn ring(id: &str, value: &str) -> KeyRing {
    let key = Key::parse(id, &Secret::new(value.to_owned())).unwrap();
    KeyRing::new(id, vec![key]).unwrap()
}

/// `count` connections, each different, sealed with `keys`.
pub(crate) fn population(count: u64, keys: &KeyRing) -> Vec<Record> {
    (0..count).map(|n| person(n, keys)).collect()
}

/// So much later for each: no two have the same times.
fn after(secs: u64, n: u64) -> Timestamp {
    THEN.saturating_add(Duration::from_secs(secs + n))
}

fn tokens(n: u64, key: &ConnectionKey, keys: &KeyRing) -> SealedTokens {
    let random = SeededRandom::new(n);
    let seal = |field, text: &str| {
        let secret = Secret::new(format!("{text} {n}"));
        keys.seal(&random, &Aad::new(key, field), &secret)
    };
    SealedTokens {
        access: seal(Field::AccessToken, "access"),
        refresh: (!n.is_multiple_of(5)).then(|| seal(Field::RefreshToken, "refresh")),
        renewed_at: after(0, n),
        access_expires_at: after(7200, n),
        refresh_expires_at: n.is_multiple_of(3).then(|| after(1_000_000, n)),
    }
}

/// Some are as a version left them that named none.
fn grant(n: u64, random: &SeededRandom) -> GrantId {
    if n.is_multiple_of(13) {
        GrantId::UNNAMED
    } else {
        GrantId::random(random)
    }
}

fn person(n: u64, keys: &KeyRing) -> Record {
    let random = SeededRandom::new(n);
    let later = |secs| after(secs, n);
    let key = ConnectionKey {
        provider: ProviderName::parse(["calcom", "calendly"][usize::from(n.is_multiple_of(2))])
            .unwrap(),
        user: UserId::parse(&format!("user/{n}~{}", "x".repeat((n % 200) as usize))).unwrap(),
    };
    let is_marked = n % 4 == 1;
    let attempts = u32::try_from(n % 3).unwrap();
    let connection = Connection {
        id: ConnectionId::random(&random),
        status: if is_marked {
            Status::NeedsReauth {
                reason: ReauthReason::LostRotation,
                since: later(3),
            }
        } else {
            Status::Active
        },
        generation: Generation::new(if n.is_multiple_of(11) { 0 } else { n }),
        grant: grant(n, &random),
        tokens: (!n.is_multiple_of(11)).then(|| tokens(n, &key, keys)),
        external_id: n
            .is_multiple_of(2)
            .then(|| format!("https://api.example/users/{n}/\u{1f511}")),
        organization: n
            .is_multiple_of(3)
            .then(|| "https://api.example/organizations/1".to_owned()),
        managed_user_id: n
            .is_multiple_of(6)
            .then(|| i64::MAX - i64::try_from(n).unwrap()),
        scope: n
            .is_multiple_of(7)
            .then(|| "READ_PROFILE BOOKING_READ".to_owned()),
        intent: (attempts > 0).then(|| Intent {
            owner: OwnerId::random(&random),
            redemption: Redemption::Force,
            attempts,
            at: later(4),
        }),
        cooldown: n.is_multiple_of(9).then(|| Cooldown {
            until: later(60),
            failures: 7,
        }),
        forced_at: n.is_multiple_of(8).then(|| later(1)),
        created_at: THEN,
        updated_at: later(5),
        key,
    };
    Record {
        connection,
        before: (attempts > 1).then(|| Attempt {
            owner: OwnerId::random(&random),
            redemption: Redemption::Standard,
            at: later(2),
        }),
        fingerprint: n
            .is_multiple_of(2)
            .then(|| [u8::try_from(n % 251).unwrap(); 32]),
    }
}

// === impl Open ===

impl Open {
    /// Opens the store at `url`; makes it if there is none.
    pub(crate) fn at(url: &str) -> Self {
        daypass::http::tls::install_crypto();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let lifecycle = Lifecycle::new();
        let opener = Opener::of_system(None, &lifecycle);
        let backend = parse_store(url).unwrap();
        let stores = runtime.block_on(opener.open(&backend)).unwrap();
        Self {
            runtime,
            lifecycle,
            archive: stores.archive,
            seals: stores.seals,
        }
    }

    /// Writes `records`, whatever is there.
    pub(crate) fn put(&self, records: &[Record]) {
        for batch in records.chunks(500) {
            let restored = self.archive.restore(batch.to_vec());
            let restored = self.runtime.block_on(restored).unwrap();
            assert!(restored.iter().all(|one| *one == Restored::Written));
        }
    }

    /// Everything, in the order of keys.
    pub(crate) fn all(&self) -> Vec<Record> {
        let mut all: Vec<Record> = Vec::new();
        loop {
            let after = all.last().map(|record| record.connection.key.clone());
            let page = self.archive.records(after.as_ref(), 500);
            let page = self.runtime.block_on(page).unwrap();
            let is_last = page.len() < 500;
            all.extend(page.into_iter().map(|found| match found {
                Found::Whole { record, .. } => *record,
                Found::Broken { .. } => panic!("{found:?}"),
            }));
            if is_last {
                return all;
            }
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        let census = self.runtime.block_on(self.archive.census()).unwrap();
        census.iter().map(|line| line.count).sum()
    }

    /// Whether the first connections that a rotation comes to are still sealed with `key`.
    pub(crate) fn begins_with(&self, key: &str) -> bool {
        let page = self.seals.sealed(Drawer::Connections, None, 5, None);
        let page = self.runtime.block_on(page).unwrap();
        let seals = page.rows.iter().flat_map(|row| &row.seals);
        seals.clone().count() > 0
            && seals
                .into_iter()
                .all(|seal| key_id_of(seal.as_bytes()) == Ok(key))
    }

    /// How many rows are sealed with `key`.
    pub(crate) fn sealed_with(&self, key: &str) -> u64 {
        let (keys, random) = (keys(), SeededRandom::new(1));
        let rotation = Rotation {
            seals: &*self.seals,
            keys: &keys,
            random: &random,
            providers: &[],
        };
        let in_use = self.runtime.block_on(rotation.count(|_| {}));
        in_use.unwrap().rows(key)
    }

    /// Does something to it.
    pub(crate) fn ask<T>(&self, ask: impl AsyncFnOnce(&dyn Archive) -> T) -> T {
        self.runtime.block_on(ask(&*self.archive))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}

/// In the order of keys.
pub(crate) fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by(|one, other| one.connection.key.cmp(&other.connection.key));
    records
}

/// Like `assert_eq!`, but names the first that differs instead of printing all.
#[track_caller]
pub(crate) fn assert_same(found: &[Record], expected: &[Record]) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}
