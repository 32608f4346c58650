//! A server whose time is set back: no claim lasts longer than it was made for.

use std::time::Duration;

use daypass::{
    base::{
        clock::{ManualClock, Timestamp},
        ids::OwnerId,
        random::OsRandom,
    },
    store::{Deliveries, Existing, JobKind, Jobs},
};

use crate::{
    servers::Server,
    world::{event, key, open_by},
};

const TTL: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_hours(24);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_claimed_before_is_taken_over_after_its_own_length() {
    let server = Server::start(&[]);
    let today = Timestamp::from_secs(1_800_000_000);
    let clock = ManualClock::new(today.saturating_sub(DAY));
    let store = open_by(&format!("redis://127.0.0.1:{}", server.port), &clock).await;
    let (dead, other) = (OwnerId::random(&OsRandom), OwnerId::random(&OsRandom));
    let (users, sync) = (["anna", "ben", "carl"], JobKind::Sync);
    store.accept(event("one", &users)).await.unwrap();
    for user in users {
        let key = key(user);
        let asked = store.schedule(sync, &key, None, Duration::ZERO, Existing::Hasten);
        asked.await.unwrap();
    }
    clock.advance(DAY);
    assert_eq!(store.claim_lines(dead, TTL, 9).await.unwrap().len(), 3);
    assert_eq!(store.claim(sync, dead, TTL, 9).await.unwrap().len(), 3);
    clock.set(today.saturating_sub(DAY / 2));
    assert!(store.claim_lines(other, TTL, 9).await.unwrap().is_empty());
    assert!(store.claim(sync, other, TTL, 9).await.unwrap().is_empty());
    clock.advance(TTL);
    assert_eq!(store.claim_lines(other, TTL, 9).await.unwrap().len(), 3);
    assert_eq!(store.claim(sync, other, TTL, 9).await.unwrap().len(), 3);
}
