//! What only this backend promises.

use tokio::time::Duration;

use super::*;
use crate::base::{
    clock::ManualClock,
    ids::{ConnectionId, GrantId, ProviderName, UserId},
    random::OsRandom,
};

fn open(folder: &tempfile::TempDir, options: Options) -> Sqlite {
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    Sqlite::open_with(folder.path().join("db"), clock, options).unwrap()
}

fn new(user: &str) -> NewConnection {
    NewConnection {
        key: ConnectionKey {
            provider: ProviderName::parse("calcom").unwrap(),
            user: UserId::parse(user).unwrap(),
        },
        id: ConnectionId::random(&OsRandom),
        grant: GrantId::random(&OsRandom),
        tokens: None,
        external_id: None,
        organization: None,
        managed_user_id: None,
        scope: None,
        fingerprint: None,
        at: Timestamp::EPOCH,
    }
}

#[tokio::test]
async fn a_write_of_this_process_wakes_its_waiters_without_polling() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        poll_every: Duration::from_hours(1),
        ..Options::default()
    };
    let store = open(&folder, options);
    let start = store.changes(None, Duration::ZERO).await.unwrap().cursor;
    let waiting = store.changes(Some(start), Duration::from_hours(1));
    tokio::pin!(waiting);
    let early = timeout(Duration::from_millis(20), waiting.as_mut()).await;
    assert!(early.is_err(), "nothing has changed yet");
    store.save(vec![new("anna")]).await.unwrap();
    let woken = timeout(Duration::from_secs(20), waiting).await;
    let keys = woken.unwrap().unwrap().keys.unwrap();
    assert_eq!(keys, [new("anna").key]);
}

#[tokio::test]
async fn a_list_in_progress_holds_up_neither_reads_nor_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, Options::default());
    let (go_on, held) = std::sync::mpsc::channel::<()>();
    let list = store.list(move |_db| {
        // Ends when the test lets go, or fails.
        let _gone = held.recv();
        Ok(())
    });
    let others = async {
        store.save(vec![new("anna")]).await.unwrap();
        let found = store.load(&new("anna").key).await.unwrap();
        drop(go_on);
        found.is_some()
    };
    let (listed, found) = tokio::join!(list, others);
    assert!(listed.is_ok() && found);
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_take_its_write_along() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, Options::default());
    let mut write = Box::pin(store.save(vec![new("anna")]));
    let polled = futures_util::poll!(write.as_mut());
    assert!(polled.is_pending());
    drop(write);
    // Writes are done in their order, so this one comes after.
    store.check().await.unwrap();
    assert!(store.load(&new("anna").key).await.unwrap().is_some());
}

#[tokio::test]
async fn the_check_writes_to_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, Options::default());
    let log = || {
        std::fs::metadata(folder.path().join("db-wal"))
            .unwrap()
            .len()
    };
    let before = log();
    store.check().await.unwrap();
    assert!(log() > before);
}
