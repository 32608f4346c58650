//! Attempts: recorded before a token leaves the process, taken back only if nothing was spent.

use std::time::Duration;

use daypass::store::{Begun, Connection, Cooldown, Fenced, Intent, Redemption, Spent};

use crate::bench::{Bench, START, TTL, calendly, cooldown, fence, owner, renewed};

/// Records an attempt, which is the `n`-th.
async fn begin(bench: &Bench, at: &Connection, me: daypass::base::ids::OwnerId, n: u32) {
    let begun = bench
        .store
        .begin(&fence(at), me, Redemption::Standard, START)
        .await;
    let begun = begun.unwrap();
    assert!(
        matches!(begun, Begun::Recorded { attempts } if attempts == n),
        "{begun:?}"
    );
}

pub(crate) async fn an_attempt_is_recorded_under_the_lease(bench: &Bench) {
    let (first, me) = (bench.connect("anna").await, owner());
    bench.lease(&first.key, me).await;
    begin(bench, &first, me, 1).await;
    let expected = Intent {
        owner: me,
        redemption: Redemption::Standard,
        attempts: 1,
        at: START,
    };
    let read = bench.read(&first.key).await;
    assert_eq!(read.intent, Some(expected));
    assert_eq!(read.tokens, first.tokens);
    assert_eq!(read.generation, first.generation);
}

pub(crate) async fn without_the_lease_no_attempt_is_recorded(bench: &Bench) {
    let (first, holder) = (bench.connect("anna").await, owner());
    let (was, kind) = (fence(&first), Redemption::Standard);
    let free = bench.store.begin(&was, holder, kind, START).await.unwrap();
    assert!(matches!(free, Begun::Refused), "{free:?}");
    bench.lease(&first.key, holder).await;
    let other = bench.store.begin(&was, owner(), kind, START).await.unwrap();
    assert!(matches!(other, Begun::Refused), "{other:?}");
    assert_eq!(bench.read(&first.key).await.intent, None);
}

pub(crate) async fn with_a_lease_that_ended_no_attempt_is_recorded(bench: &Bench) {
    let (first, me) = (bench.connect("anna").await, owner());
    bench.lease(&first.key, me).await;
    bench.clock.advance(TTL);
    let late = bench
        .store
        .begin(&fence(&first), me, Redemption::Standard, START)
        .await;
    assert!(matches!(late.unwrap(), Begun::Refused));
}

pub(crate) async fn from_an_old_generation_no_attempt_is_recorded(bench: &Bench) {
    let (first, me) = (bench.connect("anna").await, owner());
    bench.lease(&first.key, me).await;
    bench
        .store
        .commit(&fence(&first), renewed("second"))
        .await
        .unwrap();
    let late = bench
        .store
        .begin(&fence(&first), me, Redemption::Standard, START)
        .await;
    assert!(matches!(late.unwrap(), Begun::Refused));
    bench.store.remove(&first.key).await.unwrap();
    let gone = bench
        .store
        .begin(&fence(&first), me, Redemption::Standard, START)
        .await;
    assert!(matches!(gone.unwrap(), Begun::Refused));
}

pub(crate) async fn attempts_at_one_generation_are_counted(bench: &Bench) {
    let (first, crashed, next) = (bench.connect("anna").await, owner(), owner());
    bench.lease(&first.key, crashed).await;
    begin(bench, &first, crashed, 1).await;
    bench.clock.advance(TTL);
    let found = bench.lease(&first.key, next).await;
    assert_eq!(
        found.intent.as_ref().map(|intent| intent.owner),
        Some(crashed)
    );
    begin(bench, &first, next, 2).await;
    let intent = bench.read(&first.key).await.intent.unwrap();
    assert_eq!((intent.owner, intent.attempts), (next, 2));
}

pub(crate) async fn an_attempt_that_spent_nothing_is_taken_back(bench: &Bench) {
    let (first, me) = (bench.connect("anna").await, owner());
    bench.lease(&first.key, me).await;
    begin(bench, &first, me, 1).await;
    let failed = bench
        .store
        .fail(&fence(&first), cooldown(), Spent::No)
        .await;
    assert_eq!(failed.unwrap(), Fenced::Written);
    let read = bench.read(&first.key).await;
    assert_eq!(read.intent, None);
    assert_eq!(read.cooldown, Some(cooldown()));
}

pub(crate) async fn an_attempt_that_may_have_spent_stays(bench: &Bench) {
    let (first, me) = (bench.connect("anna").await, owner());
    bench.lease(&first.key, me).await;
    begin(bench, &first, me, 1).await;
    bench
        .store
        .fail(&fence(&first), cooldown(), Spent::Maybe)
        .await
        .unwrap();
    let read = bench.read(&first.key).await;
    assert_eq!(read.intent.map(|intent| intent.attempts), Some(1));
    assert_eq!(read.cooldown, Some(cooldown()));
}

pub(crate) async fn taking_back_an_attempt_leaves_the_older_one(bench: &Bench) {
    let (first, crashed, next) = (bench.connect("anna").await, owner(), owner());
    bench.lease(&first.key, crashed).await;
    begin(bench, &first, crashed, 1).await;
    let ambiguous = bench.read(&first.key).await.intent;
    bench.clock.advance(TTL);
    bench.lease(&first.key, next).await;
    let was = fence(&first);
    let later = START.saturating_add(Duration::from_secs(40));
    bench
        .store
        .begin(&was, next, Redemption::Force, later)
        .await
        .unwrap();
    bench.store.fail(&was, cooldown(), Spent::No).await.unwrap();
    assert_eq!(bench.read(&first.key).await.intent, ambiguous);
}

pub(crate) async fn a_failure_without_an_attempt_cools_down_only(bench: &Bench) {
    let first = bench.connect("anna").await;
    let twice = Cooldown {
        failures: 2,
        ..cooldown()
    };
    bench
        .store
        .fail(&fence(&first), cooldown(), Spent::No)
        .await
        .unwrap();
    bench
        .store
        .fail(&fence(&first), twice, Spent::No)
        .await
        .unwrap();
    let read = bench.read(&first.key).await;
    assert_eq!((read.intent, read.cooldown), (None, Some(twice)));
    assert_eq!(read.tokens, first.tokens);
}

pub(crate) async fn a_failure_from_an_old_generation_is_refused(bench: &Bench) {
    let first = bench.connect("anna").await;
    bench
        .store
        .commit(&fence(&first), renewed("second"))
        .await
        .unwrap();
    let late = bench
        .other
        .fail(&fence(&first), cooldown(), Spent::No)
        .await;
    assert_eq!(late.unwrap(), Fenced::Refused);
    assert_eq!(bench.read(&first.key).await.cooldown, None);
    let mut nobody = fence(&first);
    nobody.key = calendly("nobody");
    let gone = bench.other.fail(&nobody, cooldown(), Spent::No).await;
    assert_eq!(gone.unwrap(), Fenced::Refused);
}

pub(crate) async fn a_commit_clears_attempts_and_cooldown(bench: &Bench) {
    let (first, me) = (bench.connect("anna").await, owner());
    bench.lease(&first.key, me).await;
    begin(bench, &first, me, 1).await;
    bench
        .store
        .fail(&fence(&first), cooldown(), Spent::Maybe)
        .await
        .unwrap();
    begin(bench, &first, me, 2).await;
    bench
        .store
        .commit(&fence(&first), renewed("second"))
        .await
        .unwrap();
    let second = bench.read(&first.key).await;
    assert_eq!((&second.intent, second.cooldown), (&None, None));
    begin(bench, &second, me, 1).await;
    bench
        .store
        .fail(&fence(&second), cooldown(), Spent::No)
        .await
        .unwrap();
    assert_eq!(bench.read(&first.key).await.intent, None);
}
