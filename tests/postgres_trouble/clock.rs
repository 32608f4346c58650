//! The server's clock, which leases and claims go by, is set back by a year. No test can do that to it, so
//! what was written is set forward instead.

use std::time::Duration;

use daypass::{
    base::ids::{EventId, OwnerId},
    store::{
        Deliveries, Duty, DutyKind, Existing, JobKind, Jobs, Lease, NewEvent, Settled, Store, Turn,
        postgres::Postgres, seal::Sealed,
    },
};
use tokio::time::{Instant, sleep};

use crate::{
    postgres_server::{FAST, Server},
    records::{AT, LONG, key, new, open, owner},
};

/// How long everything is claimed or put off for.
const TTL: Duration = Duration::from_millis(300);

const SYNC: JobKind = JobKind::Sync;

/// As if the clock had been a year ahead until now.
const AHEAD: &str = "\
    UPDATE daypass.lines SET due_at = due_at + 31536000000, since = since + 31536000000;
    UPDATE daypass.jobs SET due_at = due_at + 31536000000, wanted_at = wanted_at + 31536000000,
        since = since + 31536000000;
    UPDATE daypass.connections SET lease_until = lease_until + 31536000000;
    UPDATE daypass.duties SET until = until + 31536000000";

fn event(number: u8) -> NewEvent {
    NewEvent {
        id: EventId::random(&daypass::base::random::OsRandom),
        provider: key("anna").provider,
        name: "name".to_owned(),
        dedupe: [number; 32],
        payload: Sealed::from_bytes(vec![7]),
        recipients: vec![key("anna")],
        accounts: Vec::new(),
        at: AT,
    }
}

/// How long it takes until `attempt` succeeds, asking all the time.
async fn took(mut attempt: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !attempt().await {
        assert!(Instant::now() - begun < LONG, "it never succeeds");
        sleep(Duration::from_millis(10)).await;
    }
    Instant::now() - begun
}

/// Claims everything there is: the line, the job, the lease, the duty.
async fn claim(store: &Postgres, owner: OwnerId) -> [bool; 4] {
    let line = store.claim_lines(owner, TTL, 9).await.unwrap();
    let job = store.claim(SYNC, owner, TTL, 9).await.unwrap();
    let lease = store.acquire(&key("anna"), owner, TTL).await.unwrap();
    let duty = Duty::of(DutyKind::new("sweep"));
    let turn = store.take_duty(&duty, owner, TTL).await.unwrap();
    [
        !line.is_empty(),
        !job.is_empty(),
        matches!(lease, Lease::Granted(_)),
        turn == Turn::Mine,
    ]
}

async fn ask(store: &Postgres) {
    let anna = key("anna");
    let asked = store.schedule(SYNC, &anna, None, Duration::ZERO, Existing::Hasten);
    asked.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_claimed_by_a_clock_that_was_ahead_is_taken_over_after_its_own_length() {
    let server = Server::start(FAST);
    let store = open(&server.url("postgres")).await.unwrap();
    store.save(vec![new("anna")]).await.unwrap();
    store.accept(event(1)).await.unwrap();
    ask(&store).await;
    let (dead, me) = (owner(), owner());
    assert_eq!(claim(&store, dead).await, [true; 4]);
    server.sql("postgres", AHEAD);
    assert_eq!(claim(&store, me).await, [false; 4]);
    let mut had = [false; 4];
    took(async || {
        for (had, got) in had.iter_mut().zip(claim(&store, me).await) {
            *had |= got;
        }
        had == [true; 4]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_off_by_a_clock_that_was_ahead_waits_no_longer() {
    let server = Server::start(FAST);
    let store = open(&server.url("postgres")).await.unwrap();
    let me = owner();
    store.accept(event(1)).await.unwrap();
    ask(&store).await;
    server.sql("postgres", AHEAD);
    // What is due at once still is.
    let lines = store.claim_lines(me, LONG, 9).await.unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(store.claim(SYNC, me, LONG, 9).await.unwrap().len(), 1);
    let failed = Settled::Failed {
        what: "HTTP 500".to_owned(),
        next_in: TTL,
    };
    let id = lines[0].delivery.id;
    assert!(store.settle(id, me, failed).await.unwrap());
    let finished = store.finish(SYNC, &key("anna"), me, None, Some(TTL)).await;
    assert!(finished.unwrap());
    server.sql("postgres", AHEAD);
    let waited = took(async || !store.claim_lines(me, LONG, 9).await.unwrap().is_empty());
    assert!(waited.await >= TTL, "it is put off all the same");
    took(async || !store.claim(SYNC, me, LONG, 9).await.unwrap().is_empty()).await;
}
