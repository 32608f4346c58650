//! The same of what is kept beside connections: a call whose answer is lost is sent again, and must not
//! be carried out again, and must answer what it would have answered.

use std::time::Duration;

use daypass::{
    base::{clock::Timestamp, ids::OwnerId, random::OsRandom},
    store::{
        Accepted, Accounts, Deliveries, DeliveryFilter, DeliveryStatus, Digest, Existing, Expiring,
        Fenced, JobKind, Jobs, Meetings, Purpose, Settled, Upserted, redis::Redis, seal::Sealed,
    },
};

use crate::{
    lost_answers::Way,
    servers::Server,
    world::{connect, count, event, key, meeting, open},
};

const TTL: Duration = Duration::from_secs(30);
const SYNC: JobKind = JobKind::Sync;
const END: Timestamp = Timestamp::from_secs(2_800_000_000);

fn sealed() -> Sealed {
    Sealed::from_bytes(b"sealed".to_vec())
}

async fn way(server: &Server) -> (Way, Redis, OwnerId) {
    let way = Way::to(server.port).await;
    let store = open(&format!("redis://127.0.0.1:{}", way.port)).await;
    (way, store.unwrap(), OwnerId::random(&OsRandom))
}

/// Does `step` once so that the server knows its script, then again with its answer lost; what that
/// answered.
async fn lost<T>(way: &Way, mut step: impl AsyncFnMut(u8) -> T) -> T {
    step(1).await;
    way.lose_next();
    let answer = step(2).await;
    assert!(way.has_lost());
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_kept_once_and_told_of_as_new() {
    let server = Server::start(&[]);
    let (way, store, _) = way(&server).await;
    let accepted = lost(&way, async |n| {
        let event = event(&format!("event {n}"), &["anna", "ben"]);
        let id = event.id;
        (id, store.accept(event).await.unwrap())
    })
    .await;
    assert_eq!(accepted.1, Accepted::New { id: accepted.0 });
    assert_eq!(count(&store, DeliveryStatus::Pending).await, 4);
    way.lose_next();
    let again = store.accept(event("event 2", &["carl", "anna"])).await;
    assert!(way.has_lost());
    let (id, added) = (accepted.0, 1);
    assert_eq!(again.unwrap(), Accepted::Known { id, added });
    assert_eq!(count(&store, DeliveryStatus::Pending).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_claimed_and_tries_are_written_once() {
    let server = Server::start(&[]);
    let (way, store, me) = way(&server).await;
    for (name, user) in [("a1", "anna"), ("a2", "anna"), ("b1", "ben")] {
        store.accept(event(name, &[user])).await.unwrap();
    }
    let claimed = lost(&way, async |_| store.claim_lines(me, TTL, 1).await.unwrap()).await;
    let [ben] = claimed.as_slice() else {
        panic!("what was claimed without being heard of waits for its end: {claimed:?}");
    };
    assert_eq!(ben.delivery.name, "b1");
    let anna = store.deliveries(&DeliveryFilter::default(), None, 10).await;
    let anna: Vec<_> = anna.unwrap().into_iter().map(|one| one.id).rev().collect();
    let settled = lost(&way, async |n| {
        let (what, next_in) = ("503".to_owned(), Duration::ZERO);
        let id = if n == 1 { anna[0] } else { ben.delivery.id };
        store
            .settle(id, me, Settled::Failed { what, next_in })
            .await
            .unwrap()
    })
    .await;
    assert!(settled, "it was this call that settled it");
    let tried = store
        .delivery(ben.delivery.id)
        .await
        .unwrap()
        .unwrap()
        .delivery;
    assert_eq!((tried.attempts, tried.status), (1, DeliveryStatus::Pending));
    assert_eq!(store.claim_lines(me, TTL, 5).await.unwrap().len(), 2);
    way.lose_next();
    assert!(store.settle(anna[0], me, Settled::Delivered).await.unwrap());
    assert!(way.has_lost());
    let next = store.claim_lines(me, TTL, 5).await.unwrap();
    assert_eq!(
        next[0].delivery.name, "a2",
        "what follows was not settled too"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_back_given_away_and_forgotten_is_so_once() {
    let server = Server::start(&[]);
    let (way, store, me) = way(&server).await;
    for name in ["one", "two"] {
        store.accept(event(name, &[name])).await.unwrap();
    }
    let mut ids = Vec::new();
    for claimed in store.claim_lines(me, TTL, 5).await.unwrap() {
        let id = claimed.delivery.id;
        assert!(store.settle(id, me, Settled::Delivered).await.unwrap());
        ids.push(id);
    }
    let replayed = lost(&way, async |n| store.replay(ids[usize::from(n) - 1]).await).await;
    assert!(replayed.unwrap());
    let mut line = 0;
    for claimed in store.claim_lines(me, TTL, 5).await.unwrap() {
        assert!(
            store
                .settle(claimed.delivery.id, me, Settled::Delivered)
                .await
                .unwrap()
        );
        line += 1;
    }
    assert_eq!((line, count(&store, DeliveryStatus::Pending).await), (2, 0));
    let adopted = lost(&way, async |n| {
        for name in ["x", "y"] {
            store
                .accept(event(&format!("{name}{n}"), &[]))
                .await
                .unwrap();
        }
        store.adopt("account-1", &key("anna")).await.unwrap()
    });
    // `accept` is known to the server, so the answer that is lost is that of the first event.
    assert_eq!(adopted.await, 2);
    way.lose_next();
    assert_eq!(store.adopt("account-1", &key("ben")).await.unwrap(), 0);
    store.accept(event("z", &[])).await.unwrap();
    way.lose_next();
    assert_eq!(store.adopt("account-1", &key("ben")).await.unwrap(), 1);
    assert!(way.has_lost());
    let forgotten = lost(&way, async |_| store.prune(END, END, 1).await.unwrap()).await;
    assert_eq!(
        (forgotten, count(&store, DeliveryStatus::Delivered).await),
        (1, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_asked_for_claimed_and_finished_once() {
    let server = Server::start(&[]);
    let (way, store, me) = way(&server).await;
    let users = [key("anna"), key("ben")];
    let user = |n: u8| &users[usize::from(n) - 1];
    lost(&way, async |n| {
        let asked = store.schedule(
            SYNC,
            user(n),
            Some(sealed()),
            Duration::ZERO,
            Existing::Hasten,
        );
        asked.await.unwrap();
    })
    .await;
    let claimed = lost(&way, async |_| store.claim(SYNC, me, TTL, 1).await.unwrap()).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].key, *user(2));
    let finished = lost(&way, async |n| {
        store.finish(SYNC, user(n), me, None, None).await
    })
    .await;
    assert!(finished.unwrap(), "it was this call that finished it");
    let job = store.job(SYNC, user(2)).await.unwrap().unwrap();
    assert_eq!((job.due_at, job.owner), (None, None));
    let canceled = lost(&way, async |n| store.cancel(SYNC, user(n)).await.unwrap()).await;
    assert!(canceled && store.job(SYNC, user(2)).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_taken_by_the_one_whose_answer_was_lost() {
    let server = Server::start(&[]);
    let (way, store, _) = way(&server).await;
    let digest = |n: u8| Digest([n; 32]);
    for n in 1..=2 {
        let digest = digest(n);
        let kept = store.put(Purpose::Consent, &digest, sealed(), Some(TTL));
        kept.await.unwrap();
    }
    let taken = lost(&way, async |n| {
        store.take(Purpose::Consent, &digest(n)).await
    })
    .await;
    assert_eq!(taken.unwrap(), Some(sealed()));
    let again = store.take(Purpose::Consent, &digest(2)).await.unwrap();
    assert_eq!(again, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn meetings_are_created_and_forgotten_once() {
    let server = Server::start(&[]);
    let (way, store, _) = way(&server).await;
    let written = lost(&way, async |n| {
        let batch = (0..3).map(|m| meeting(&format!("{n}.{m}"))).collect();
        store.upsert_meetings(batch).await.unwrap()
    });
    assert_eq!(written.await, [Upserted::Created; 3]);
    let forgotten = lost(&way, async |n| {
        if n == 2 {
            store.upsert_meetings(vec![meeting("m")]).await.unwrap();
            way.lose_next();
        }
        store.forget_meetings(&key("anna")).await.unwrap()
    });
    assert_eq!(forgotten.await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_told_its_account_once() {
    let server = Server::start(&[]);
    let (way, store, _) = way(&server).await;
    let (one, two) = (connect(&store, "anna").await, connect(&store, "ben").await);
    let told = lost(&way, async |n| {
        let connection = if n == 1 { &one } else { &two };
        store
            .identify(&connection.key, connection.id, "account-1", None)
            .await
    });
    assert_eq!(told.await.unwrap(), Fenced::Written);
}
