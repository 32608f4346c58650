//! The log of changes: told to everybody who shares the store, in order, or admitted to be lost.

use std::time::Duration;

use daypass::{
    base::ids::ConnectionKey,
    store::{Cursor, Fence, ReauthReason, Redemption, SharedStore, Spent},
};
use futures_util::{FutureExt, future::join};

use crate::bench::{Bench, KEPT, START, calendly, cooldown, fence, new, owner, renewed};

/// Longer than any test may take: who waits this long was forgotten.
const LONG: Duration = Duration::from_secs(20);

async fn cursor(store: &SharedStore) -> Cursor {
    store.changes(None, Duration::ZERO).await.unwrap().cursor
}

/// What changed after `cursor`, which moves on.
async fn told(store: &SharedStore, cursor: &mut Cursor) -> Vec<ConnectionKey> {
    let changes = store.changes(Some(*cursor), Duration::ZERO).await.unwrap();
    *cursor = changes.cursor;
    changes.keys.unwrap()
}

/// Exactly one change, of `key`, made by what is called `what`.
async fn assert_told(store: &SharedStore, at: &mut Cursor, key: &ConnectionKey, what: &str) {
    assert_eq!(told(store, at).await, vec![key.clone()], "{what}");
}

pub(crate) async fn the_first_question_answers_at_once_with_a_cursor(bench: &Bench) {
    bench.connect("anna").await;
    let changes = bench.store.changes(None, LONG).await.unwrap();
    assert_eq!(changes.keys, Some(Vec::new()));
    let mut cursor = changes.cursor;
    assert!(told(&bench.store, &mut cursor).await.is_empty());
}

pub(crate) async fn every_write_that_others_must_know_of_is_told(bench: &Bench) {
    let (store, mut at) = (&bench.store, cursor(&bench.store).await);
    let first = bench.connect("anna").await;
    assert_told(store, &mut at, &first.key, "created").await;
    let was = fence(&first);
    let failed = store.fail(&was, cooldown(), Spent::No).await;
    failed.unwrap();
    assert_told(store, &mut at, &first.key, "failed").await;
    let reason = ReauthReason::GrantRefused;
    let marked = store.mark_needs_reauth(&was, reason, START).await;
    marked.unwrap();
    assert_told(store, &mut at, &first.key, "marked").await;
    renew_and_remove(bench, &mut at, &was).await;
    assert!(told(store, &mut at).await.is_empty());
}

/// The rest of the writes to a connection.
async fn renew_and_remove(bench: &Bench, at: &mut Cursor, was: &Fence) {
    let store = &bench.store;
    store.commit(was, renewed("second")).await.unwrap();
    assert_told(store, at, &was.key, "committed").await;
    bench.save(new(&was.key, "third")).await;
    assert_told(store, at, &was.key, "replaced").await;
    store.remove(&was.key).await.unwrap();
    assert_told(store, at, &was.key, "removed").await;
}

pub(crate) async fn writes_that_changed_nothing_are_not_told(bench: &Bench) {
    let (store, me) = (&bench.store, owner());
    let mut line = new(&calendly("anna"), "t");
    line.fingerprint = Some([7; 32]);
    let first = bench.save(line.clone()).await;
    let stale = fence(&first);
    store.commit(&stale, renewed("second")).await.unwrap();
    let mut at = cursor(store).await;
    store.save(vec![line]).await.unwrap();
    store.commit(&stale, renewed("stale")).await.unwrap();
    store.fail(&stale, cooldown(), Spent::No).await.unwrap();
    store.remove(&calendly("nobody")).await.unwrap();
    store.check().await.unwrap();
    let now = bench.lease(&first.key, me).await;
    let kind = Redemption::Standard;
    store.begin(&fence(&now), me, kind, START).await.unwrap();
    store.release(&first.key, me).await.unwrap();
    assert!(told(store, &mut at).await.is_empty());
}

pub(crate) async fn another_handle_on_the_same_store_is_told(bench: &Bench) {
    let mut at = cursor(&bench.other).await;
    let (anna, ben) = (bench.connect("anna").await, bench.connect("ben").await);
    bench.save(new(&anna.key, "again")).await;
    let mut keys = told(&bench.other, &mut at).await;
    keys.sort();
    assert_eq!(keys, [anna.key, ben.key], "each once");
    let waiting = bench.other.changes(Some(at), LONG);
    let (changes, carl) = join(waiting, bench.connect("carl")).await;
    assert_eq!(changes.unwrap().keys, Some(vec![carl.key]));
}

pub(crate) async fn a_waiting_question_is_answered_by_the_next_write(bench: &Bench) {
    let at = cursor(&bench.store).await;
    let mut waiting = Box::pin(bench.store.changes(Some(at), LONG));
    assert!((&mut waiting).now_or_never().is_none());
    let anna = bench.connect("anna").await;
    let changes = waiting.await.unwrap();
    assert_eq!(changes.keys, Some(vec![anna.key]));
    let mut at = changes.cursor;
    let again = told(&bench.store, &mut at).await;
    assert_eq!(again, [], "it is told once");
}

pub(crate) async fn waiting_ends_with_nothing(bench: &Bench) {
    let at = cursor(&bench.store).await;
    let wait = Duration::from_millis(20);
    let changes = bench.store.changes(Some(at), wait).await.unwrap();
    assert_eq!((changes.cursor, changes.keys), (at, Some(Vec::new())));
}

pub(crate) async fn who_missed_too_much_is_told_so(bench: &Bench) {
    bench.connect("before").await;
    let at = cursor(&bench.store).await;
    for n in 0..KEPT {
        bench.connect(&n.to_string()).await;
    }
    let kept = bench.store.changes(Some(at), Duration::ZERO).await.unwrap();
    let told = kept.keys.map(|keys| keys.len());
    assert_eq!(
        told,
        usize::try_from(KEPT).ok(),
        "so many are kept at least"
    );
    for n in 0..KEPT {
        bench.connect(&n.to_string()).await;
    }
    let missed = bench.store.changes(Some(at), LONG).await.unwrap();
    assert_eq!(missed.keys, None);
    assert!(missed.cursor > at);
    let mut after = missed;
    // Each time that old changes are dropped may be told of, and the last ones may be dropped in the
    // background after the last write: once for every two changes, as many as are remembered.
    for _ in 0..KEPT {
        let quiet = bench.store.changes(Some(after.cursor), Duration::ZERO);
        after = quiet.await.unwrap();
        if after.keys.is_some() {
            break;
        }
    }
    assert_eq!(after.keys, Some(Vec::new()));
}

pub(crate) async fn a_cursor_from_elsewhere_means_anything_may_have_changed(bench: &Bench) {
    bench.connect("anna").await;
    let at = cursor(&bench.store).await;
    let beyond = Cursor(at.0 + 1000);
    let changes = bench.store.changes(Some(beyond), LONG).await.unwrap();
    assert_eq!((changes.cursor, changes.keys), (at, None));
}
