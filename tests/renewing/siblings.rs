//! Two processes, one store.

use daypass::{
    store::{ReauthReason, Status},
    token::Error,
};
use tokio::time::{advance, sleep};

use crate::{
    scripted_provider::{Call, ScriptedProvider, Trick},
    world::{HOUR, World, secs, settle},
};

#[tokio::test(start_paused = true)]
async fn what_one_sidecar_renews_the_other_uses() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    assert_eq!(one.bearer(&key).await.unwrap(), "access-0");
    assert_eq!(two.bearer(&key).await.unwrap(), "access-0");
    one.tokens.refresh(&key, false).await.unwrap();
    settle().await;
    assert_eq!(two.bearer(&key).await.unwrap(), "access-1");
    assert_eq!(world.provider.renewals(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_reads_again_under_the_lease_instead_of_spending_what_it_read_before() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    world.store.faults.lock().deaf = true;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    ScriptedProvider::close(&world.provider.exit);
    let mut requests = Vec::new();
    for sidecar in [one, two] {
        let asked = key.clone();
        requests.push(tokio::spawn(async move {
            sidecar.bearer(&asked).await.unwrap()
        }));
        settle().await;
    }
    ScriptedProvider::open(&world.provider.exit);
    for request in requests {
        assert_eq!(request.await.unwrap(), "access-1");
    }
    assert_eq!(world.provider.calls(), [Call::Refresh("refresh-0".into())]);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_on_another_sidecar_is_told_at_once() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    ScriptedProvider::close(&world.provider.exit);
    let asked = key.clone();
    let first = tokio::spawn(async move { one.bearer(&asked).await.unwrap() });
    settle().await;
    let asked = key.clone();
    let second = tokio::spawn(async move { two.bearer(&asked).await.unwrap() });
    settle().await;
    let before = tokio::time::Instant::now();
    ScriptedProvider::open(&world.provider.exit);
    assert_eq!(first.await.unwrap(), "access-1");
    assert_eq!(second.await.unwrap(), "access-1");
    assert_eq!(tokio::time::Instant::now(), before, "no poll was needed");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_sibling_rotated_is_not_a_dead_grant() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    // One is so slow that its lease is lost to two, which rotates.
    world.store.faults.lock().forget_leases = true;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    ScriptedProvider::close(&world.provider.gate);
    let asked = key.clone();
    let first = tokio::spawn(async move { one.bearer(&asked).await });
    settle().await;
    advance(secs(31)).await;
    let asked = key.clone();
    let second = tokio::spawn(async move { two.bearer(&asked).await });
    settle().await;
    ScriptedProvider::open(&world.provider.gate);
    let (first, second) = (
        first.await.unwrap().unwrap(),
        second.await.unwrap().unwrap(),
    );
    assert_eq!((first.as_str(), second.as_str()), ("access-1", "access-1"));
    let stored = world.stored(&key).await;
    assert_eq!(
        (stored.status, stored.generation.get()),
        (Status::Active, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_siblings_answer_was_lost_is_a_lost_rotation() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    // One is so slow that its lease is lost to two, whose answer is lost.
    world.store.faults.lock().forget_leases = true;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    world.provider.trick(Trick::Slow(secs(60)));
    world.provider.trick(Trick::LoseAnswer);
    let asked = key.clone();
    let first = tokio::spawn(async move { one.bearer(&asked).await });
    settle().await;
    advance(secs(31)).await;
    assert!(matches!(
        two.bearer(&key).await,
        Err(Error::RefreshFailed { .. })
    ));
    let outcome = first.await.unwrap();
    assert!(
        matches!(
            outcome,
            Err(Error::NeedsReauth {
                reason: ReauthReason::LostRotation,
                ..
            })
        ),
        "{outcome:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_predecessor_that_comes_back_with_tokens_overrules_the_mark_of_its_successor() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    world.store.faults.lock().forget_leases = true;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    // One has rotated and is paused before it can commit.
    ScriptedProvider::close(&world.provider.exit);
    let asked = key.clone();
    let first = tokio::spawn(async move { one.bearer(&asked).await });
    settle().await;
    advance(secs(31)).await;
    let outcome = two.bearer(&key).await;
    assert!(
        matches!(outcome, Err(Error::NeedsReauth { .. })),
        "{outcome:?}"
    );

    ScriptedProvider::open(&world.provider.exit);
    assert_eq!(first.await.unwrap().unwrap(), "access-1");
    assert_eq!(world.stored(&key).await.status, Status::Active);
    settle().await;
    assert_eq!(two.bearer(&key).await.unwrap(), "access-1");
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_a_siblings_spool_is_not_called_lost() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    world.store.faults.lock().refuse_commits = true;
    assert_eq!(one.bearer(&key).await.unwrap(), "access-1");
    sleep(secs(300)).await;
    // Two asks before one has offered it again; the lease has long run out.
    world.store.faults.lock().refuse_commits = false;
    assert_eq!(two.bearer(&key).await.unwrap(), "access-1");
    assert!(two.heard.needs_reauth.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_connection_removed_during_its_renewal_stays_removed_and_its_tokens_are_revoked() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    ScriptedProvider::close(&world.provider.exit);
    let asked = key.clone();
    let first = tokio::spawn(async move { one.bearer(&asked).await });
    settle().await;
    assert!(two.tokens.disconnect(&key).await.unwrap().is_some());
    ScriptedProvider::open(&world.provider.exit);
    let outcome = first.await.unwrap();
    assert!(
        matches!(outcome, Err(Error::NotConnected { .. })),
        "{outcome:?}"
    );
    assert!(two.tokens.connection(&key).await.unwrap().is_none());
    assert!(
        world
            .provider
            .calls()
            .contains(&Call::Revoke("refresh-1".into()))
    );
}

#[tokio::test(start_paused = true)]
async fn tokens_minted_for_a_connection_that_was_made_anew_are_revoked_and_not_its_own() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    ScriptedProvider::close(&world.provider.exit);
    let asked = key.clone();
    let first = tokio::spawn(async move { one.bearer(&asked).await });
    settle().await;
    assert!(two.tokens.disconnect(&key).await.unwrap().is_some());
    world.grant("u1", "successor", Some(HOUR), true).await;
    ScriptedProvider::open(&world.provider.exit);
    assert_eq!(first.await.unwrap().unwrap(), "access-successor");
    let calls = world.provider.calls();
    assert!(
        calls.contains(&Call::Revoke("refresh-1".into())),
        "{calls:?}"
    );
    assert_eq!(world.stored(&key).await.generation.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_removed_connection_is_forgotten_by_every_sidecar() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    one.bearer(&key).await.unwrap();
    two.bearer(&key).await.unwrap();
    one.tokens.disconnect(&key).await.unwrap();
    settle().await;
    assert!(matches!(
        one.bearer(&key).await,
        Err(Error::NotConnected { .. })
    ));
    assert!(matches!(
        two.bearer(&key).await,
        Err(Error::NotConnected { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_stood_still_past_its_lease_before_the_call_does_not_make_it() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    world.store.faults.lock().begin_takes = secs(40);
    let (paused, asked) = (one.clone(), key.clone());
    let request = tokio::spawn(async move { paused.bearer(&asked).await });
    settle().await;
    world.store.faults.lock().begin_takes = secs(0);
    sleep(secs(35)).await;
    assert_eq!(two.bearer(&key).await.unwrap(), "access-1");
    drop(request.await.unwrap());
    assert_eq!(world.provider.spent_twice(), Vec::<String>::new());
    assert_eq!(one.bearer(&key).await.unwrap(), "access-1");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_about_to_run_out_is_prolonged_before_the_call() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    world.store.faults.lock().begin_takes = secs(29);
    ScriptedProvider::close(&world.provider.exit);
    let mut requests = Vec::new();
    for sidecar in [one, two] {
        let asked = key.clone();
        requests.push(tokio::spawn(async move { sidecar.bearer(&asked).await }));
        sleep(secs(15)).await;
    }
    world.store.faults.lock().begin_takes = secs(0);
    sleep(secs(4)).await;
    assert_eq!(world.provider.calls(), [Call::Refresh("refresh-0".into())]);
    ScriptedProvider::open(&world.provider.exit);
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap(), "access-1");
    }
    assert_eq!(world.provider.renewals(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_could_not_be_read_when_it_was_told_is_read_later() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    two.bearer(&key).await.unwrap();
    world.store.faults.lock().refuse_loads = true;
    one.tokens.disconnect(&key).await.unwrap();
    settle().await;
    let meanwhile = two.bearer(&key).await.unwrap();
    assert_eq!(meanwhile, "access-0", "nobody can tell that it is gone");
    world.store.faults.lock().refuse_loads = false;
    sleep(secs(30)).await;
    assert!(matches!(
        two.bearer(&key).await,
        Err(Error::NotConnected { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_a_removal_has_overtaken_is_not_kept() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    settle().await;
    world.store.faults.lock().load_takes = secs(10);
    let (caller, asked) = (one.clone(), key.clone());
    let before = tokio::spawn(async move { caller.bearer(&asked).await });
    settle().await;
    world.store.faults.lock().load_takes = secs(0);
    two.tokens.disconnect(&key).await.unwrap();
    settle().await;
    // It asks after the removal, while the old answer is still on its way.
    let (caller, asked) = (one.clone(), key.clone());
    let after = tokio::spawn(async move { caller.bearer(&asked).await });
    sleep(secs(11)).await;
    drop(before.await.unwrap());
    for outcome in [after.await.unwrap(), one.bearer(&key).await] {
        assert!(
            matches!(outcome, Err(Error::NotConnected { .. })),
            "{outcome:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_a_removal_by_this_very_process_has_overtaken_is_not_kept() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    world.store.faults.lock().deaf = true;
    let one = world.sidecar(1).await;
    world.store.faults.lock().load_takes = secs(10);
    let (caller, asked) = (one.clone(), key.clone());
    let before = tokio::spawn(async move { caller.bearer(&asked).await });
    settle().await;
    world.store.faults.lock().load_takes = secs(0);
    one.tokens.disconnect(&key).await.unwrap();
    sleep(secs(11)).await;
    drop(before.await.unwrap());
    let outcome = one.bearer(&key).await;
    assert!(
        matches!(outcome, Err(Error::NotConnected { .. })),
        "{outcome:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_a_removed_connection_does_not_outlast_its_successor() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    settle().await;
    world.store.faults.lock().load_takes = secs(10);
    let (caller, asked) = (one.clone(), key.clone());
    let before = tokio::spawn(async move { caller.bearer(&asked).await });
    settle().await;
    world.store.faults.lock().load_takes = secs(0);
    two.tokens.disconnect(&key).await.unwrap();
    world.grant("u1", "successor", Some(HOUR), true).await;
    sleep(secs(11)).await;
    drop(before.await.unwrap());
    assert_eq!(one.bearer(&key).await.unwrap(), "access-successor");
    assert_eq!(world.provider.renewals(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_a_removal_has_overtaken_is_not_kept() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    settle().await;
    world.store.faults.lock().commit_takes = secs(10);
    let (caller, asked) = (one.clone(), key.clone());
    let before = tokio::spawn(async move { caller.bearer(&asked).await });
    settle().await;
    two.tokens.disconnect(&key).await.unwrap();
    sleep(secs(11)).await;
    drop(before.await.unwrap());
    let outcome = one.bearer(&key).await;
    assert!(
        matches!(outcome, Err(Error::NotConnected { .. })),
        "{outcome:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_during_a_renewal_wins() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let one = world.sidecar(1).await;
    ScriptedProvider::close(&world.provider.exit);
    let (caller, asked) = (one.clone(), key.clone());
    let first = tokio::spawn(async move { caller.bearer(&asked).await });
    settle().await;
    world.grant("u1", "reconnected", Some(HOUR), true).await;
    ScriptedProvider::open(&world.provider.exit);
    assert_eq!(first.await.unwrap().unwrap(), "access-reconnected");
    assert_eq!(one.bearer(&key).await.unwrap(), "access-reconnected");
    assert_eq!(world.stored(&key).await.generation.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_sibling_that_hears_nothing_still_finds_the_newer_token_when_refused() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    world.store.faults.lock().deaf = true;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    two.bearer(&key).await.unwrap();
    one.tokens.refresh(&key, false).await.unwrap();
    assert_eq!(
        two.bearer(&key).await.unwrap(),
        "access-0",
        "it does not know yet"
    );
    assert_eq!(two.newer_than(&key, 1).await.unwrap(), "access-1");
    assert_eq!(world.provider.renewals(), 1);
    sleep(secs(1)).await;
}
