//! A server out of memory, and what is kept beside connections: nothing new is taken, whole or in part;
//! what is there goes its way, and can be forgotten.

use std::time::Duration;

use daypass::{
    base::{clock::Timestamp, ids::OwnerId, random::OsRandom},
    store::{
        Accepted, Committed, Connection, Deliveries, DeliveryStatus, Digest, Error, Existing,
        Expiring, Fence, JobKind, Jobs, Meetings, Purpose, Settled, Store, redis::Redis,
        seal::Sealed,
    },
};

use crate::{
    servers::{Server, cli},
    world::{connect, count, event, key, meeting, open, renewed, whole},
};

const TTL: Duration = Duration::from_secs(30);
const SYNC: JobKind = JobKind::Sync;
const TICKET: Purpose = Purpose::Ticket;
const DIGEST: Digest = Digest([1; 32]);

fn sealed() -> Sealed {
    Sealed::from_bytes(b"sealed".to_vec())
}

/// A store with some of everything, whose server is out of memory by now.
async fn full(server: &Server) -> (Redis, Connection) {
    let url = format!("redis://127.0.0.1:{}", server.port);
    let store = open(&url).await.unwrap();
    let anna = connect(&store, "anna").await;
    for name in ["one", "two", "three"] {
        store.accept(event(name, &["anna"])).await.unwrap();
    }
    store.accept(event("nobody's", &[])).await.unwrap();
    let asked = store.schedule(SYNC, &anna.key, None, Duration::ZERO, Existing::Hasten);
    asked.await.unwrap();
    store.upsert_meetings(vec![meeting("m1")]).await.unwrap();
    let kept = store.put(TICKET, &DIGEST, sealed(), Some(TTL));
    kept.await.unwrap();
    cli(server.port, &["CONFIG", "SET", "maxmemory", "1"]);
    (store, anna)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_is_refused_and_leaves_nothing() {
    let server = Server::start(&[]);
    let (store, _) = full(&server).await;
    let keys = cli(server.port, &["DBSIZE"]);
    let (ben, other) = (key("ben"), Digest([2; 32]));
    let asked = store.schedule(SYNC, &ben, None, TTL, Existing::Hasten);
    let both = vec![meeting("m1"), meeting("m2")];
    for error in [
        store.accept(event("four", &["anna"])).await.unwrap_err(),
        store.accept(event("one", &["ben"])).await.unwrap_err(),
        store.accept(event("five", &[])).await.unwrap_err(),
        store.upsert_meetings(both).await.unwrap_err(),
        store.put(TICKET, &other, sealed(), None).await.unwrap_err(),
        asked.await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
        assert!(whole(&error).contains("maxmemory"), "{}", whole(&error));
    }
    assert_eq!(cli(server.port, &["DBSIZE"]), keys);
    assert_eq!(count(&store, DeliveryStatus::Pending).await, 3);
    let again = store.accept(event("one", &["anna"])).await.unwrap();
    assert!(
        matches!(again, Accepted::Known { added: 0, .. }),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_delivered_put_back_and_given_away() {
    let server = Server::start(&[]);
    let (store, anna) = full(&server).await;
    let me = OwnerId::random(&OsRandom);
    let first = store.claim_lines(me, TTL, 5).await.unwrap().remove(0);
    let id = first.delivery.id;
    assert!(store.hold_line(&anna.key.user, me, TTL).await.unwrap());
    let (what, next_in) = ("503".to_owned(), Duration::ZERO);
    let failed = Settled::Failed { what, next_in };
    assert!(store.settle(id, me, failed).await.unwrap());
    for _ in 0..3 {
        let next = store.claim_lines(me, TTL, 5).await.unwrap().remove(0);
        let settled = store.settle(next.delivery.id, me, Settled::Delivered);
        assert!(settled.await.unwrap());
    }
    assert!(store.replay(id).await.unwrap());
    assert_eq!(store.adopt("account-1", &anna.key).await.unwrap(), 1);
    assert_eq!(count(&store, DeliveryStatus::Pending).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_worked_on_taken_and_forgotten() {
    let server = Server::start(&[]);
    let (store, anna) = full(&server).await;
    let me = OwnerId::random(&OsRandom);
    assert_eq!(store.claim(SYNC, me, TTL, 5).await.unwrap().len(), 1);
    let written = store.progress(SYNC, &anna.key, me, Some(sealed()), TTL);
    assert!(written.await.unwrap());
    assert!(store.finish(SYNC, &anna.key, me, None, None).await.unwrap());
    let asked = store.schedule(SYNC, &anna.key, None, TTL, Existing::Hasten);
    asked.await.unwrap();
    assert_eq!(store.take(TICKET, &DIGEST).await.unwrap(), Some(sealed()));
    let end = Timestamp::from_secs(2_800_000_000);
    assert_eq!(store.prune(end, end, 10).await.unwrap(), 1);
    assert_eq!(store.prune_meetings(end, 10).await.unwrap(), 1);
    assert!(store.cancel(SYNC, &anna.key).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_still_told_of() {
    let server = Server::start(&[]);
    let (store, anna) = full(&server).await;
    let start = store.changes(None, Duration::ZERO).await.unwrap();
    let committed = store.commit(&Fence::of(&anna), renewed("second")).await;
    assert!(matches!(committed.unwrap(), Committed::Stored(_)));
    let changes = store.changes(Some(start.cursor), TTL).await.unwrap();
    assert_eq!(changes.keys, Some(vec![anna.key]));
}
