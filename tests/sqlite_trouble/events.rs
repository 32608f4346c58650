//! Events in processes that are killed or share a file, and rows that somebody else has written to.

use std::{path::Path, time::Duration};

use daypass::{
    base::{
        ids::{EventId, OwnerId},
        random::OsRandom,
    },
    store::{
        Accepted, Deliveries, DeliveryFilter, DeliveryStatus, Error, NewEvent, Settled, Store,
        sqlite::{Options, Sqlite},
    },
};

use crate::{
    processes::{named_store, report, reports, start},
    records::{AT, calendly, open, open_with, seal},
    rows::tamper,
};

/// Processes in the race, and events that each of them takes.
const PROCESSES: usize = 3;
const EVENTS: u64 = 40;

/// Longer than the race: no claim may end during it, or two workers would be right.
const HOLD: Duration = Duration::from_mins(10);

/// The event with this number, for these users.
fn event(number: u64, users: &[&str]) -> NewEvent {
    let mut dedupe = [0; 32];
    dedupe[..8].copy_from_slice(&number.to_le_bytes());
    NewEvent {
        id: EventId::random(&OsRandom),
        provider: calendly("x").provider,
        name: number.to_string(),
        dedupe,
        payload: seal("payload"),
        recipients: users.iter().map(|user| calendly(user)).collect(),
        accounts: Vec::new(),
        at: AT,
    }
}

#[tokio::test]
async fn an_event_that_was_acknowledged_survives_the_kill_of_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let mut child = start("events::child_accepts_without_end", &path);
    // Reading on until the pipe is empty: what it said before it died counts too.
    let mut acknowledged = Vec::new();
    for number in reports(&mut child) {
        acknowledged.push(number);
        if acknowledged.len() == 100 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= 100);
    let store = open_with(&path, Options::default()).unwrap();
    for number in acknowledged {
        let again = store.accept(event(number, &["anna"])).await.unwrap();
        let is_whole = matches!(again, Accepted::Known { added: 0, .. });
        assert!(is_whole, "{number} is lost, or its delivery: {again:?}");
    }
}

#[tokio::test]
#[ignore = "done by another test, in a process of its own"]
async fn child_accepts_without_end() {
    let Some(store) = named_store() else { return };
    for number in 0.. {
        store.accept(event(number, &["anna"])).await.unwrap();
        report(number);
    }
}

#[tokio::test]
async fn processes_on_one_file_deliver_each_event_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let mut children: Vec<_> = (0..PROCESSES)
        .map(|_| start("events::child_takes_and_delivers", &path))
        .collect();
    let mut delivered: Vec<u64> = Vec::new();
    for child in &mut children {
        delivered.extend(reports(child));
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    delivered.sort_unstable();
    // Each process takes the same events, for a user of its own and one of all.
    let expected = usize::try_from(EVENTS).unwrap() * (PROCESSES + 1);
    assert_eq!(delivered.len(), expected);
    delivered.dedup();
    assert_eq!(delivered.len(), expected, "each once");
}

#[tokio::test]
#[ignore = "done by another test, in a process of its own"]
async fn child_takes_and_delivers() {
    let Some(store) = named_store() else { return };
    let me = OwnerId::random(&OsRandom);
    let own = me.to_string();
    for number in 0..EVENTS {
        store.accept(event(number, &[&own, "all"])).await.unwrap();
        deliver(&store, me).await;
    }
    while pending(&store).await > 0 {
        deliver(&store, me).await;
    }
}

async fn deliver(store: &Sqlite, me: OwnerId) {
    for line in store.claim_lines(me, HOLD, 2).await.unwrap() {
        let settled = store.settle(line.delivery.id, me, Settled::Delivered);
        assert!(settled.await.unwrap());
        report(line.delivery.id.0);
    }
}

async fn pending(store: &Sqlite) -> u64 {
    let tally = store.tally().await.unwrap();
    let pending = tally
        .iter()
        .find(|line| line.status == DeliveryStatus::Pending);
    pending.map_or(0, |line| line.count)
}

#[tokio::test]
async fn a_delivery_that_contradicts_itself_is_named_and_holds_up_no_other_line() {
    for damage in [
        "UPDATE deliveries SET provider = 'No Provider' WHERE user = 'anna'",
        "UPDATE deliveries SET attempts = -1 WHERE user = 'anna'",
        "UPDATE deliveries SET event = 2 WHERE user = 'anna'; UPDATE events SET id = x'00' WHERE n = 2",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let store = open(&path).unwrap();
        store.accept(event(1, &["anna", "ben"])).await.unwrap();
        store.accept(event(2, &["carl"])).await.unwrap();
        tamper(&path, damage);
        tamper(&path, "UPDATE deliveries SET event = 1 WHERE user = 'carl'");
        let me = OwnerId::random(&OsRandom);
        let claimed = store.claim_lines(me, HOLD, 9).await.unwrap();
        assert_eq!(claimed.len(), 2, "{damage}: {claimed:?}");
        for line in claimed {
            assert!(
                store
                    .settle(line.delivery.id, me, Settled::Delivered)
                    .await
                    .unwrap()
            );
        }
        let listed = store.deliveries(&DeliveryFilter::default(), None, 9).await;
        let Err(Error::Inconsistent { row, .. }) = &listed else {
            panic!("{damage}: {listed:?}");
        };
        assert_eq!(row, "delivery 1", "{damage}");
        store.check().await.unwrap();
    }
}

#[tokio::test]
async fn asking_in_vain_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = open(&path).unwrap();
    store.accept(event(1, &["anna"])).await.unwrap();
    let me = OwnerId::random(&OsRandom);
    assert_eq!(store.claim_lines(me, HOLD, 9).await.unwrap().len(), 1);
    let written = || log(&path);
    let before = written();
    for _ in 0..10 {
        assert!(store.claim_lines(me, HOLD, 9).await.unwrap().is_empty());
    }
    assert_eq!(written(), before);
}

/// How long the log beside the file is.
fn log(path: &Path) -> u64 {
    let log = path.with_file_name("db-wal");
    std::fs::metadata(log).unwrap().len()
}
