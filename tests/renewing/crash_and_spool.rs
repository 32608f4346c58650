//! Processes that die at the worst moment, answers that get lost, stores that refuse.

use std::time::Duration;

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
async fn an_answer_lost_after_rotation_is_tried_once_more_and_then_named() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.trick(Trick::LoseAnswer);
    assert!(matches!(
        sidecar.bearer(&key).await,
        Err(Error::RefreshFailed { .. })
    ));
    assert_eq!(world.stored(&key).await.intent.unwrap().attempts, 1);
    for _ in 0..100 {
        sleep(secs(10)).await;
        let outcome = sidecar.bearer(&key).await;
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
    let once = Call::Refresh("refresh-0".into());
    assert_eq!(
        world.provider.calls(),
        [once.clone(), once],
        "two calls, ever"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_lost_after_rotation_is_recovered_by_force_where_that_exists() {
    let world = World::managed();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.trick(Trick::LoseAnswer);
    assert!(sidecar.bearer(&key).await.is_err());
    sleep(secs(5)).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-2");
    assert_eq!(world.provider.calls().last(), Some(&Call::Force(77)));
}

#[tokio::test(start_paused = true)]
async fn an_ambiguous_failure_that_spent_nothing_is_recovered_by_the_next_try() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.trick(Trick::ServerError);
    assert!(sidecar.bearer(&key).await.is_err());
    sleep(secs(5)).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
    assert_eq!(world.stored(&key).await.status, Status::Active);
    assert_eq!(world.stored(&key).await.intent, None);
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_call_costs_a_lease_and_nothing_else() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let doomed = world.sidecar(1).await;
    ScriptedProvider::close(&world.provider.gate);
    let (caller, asked) = (doomed.clone(), key.clone());
    let request = tokio::spawn(async move { caller.bearer(&asked).await });
    settle().await;
    doomed.lifecycle.stop();
    assert!(matches!(request.await.unwrap(), Err(Error::ShuttingDown)));
    ScriptedProvider::open(&world.provider.gate);

    assert_eq!(world.provider.renewals(), 0);
    let heir = world.sidecar(2).await;
    advance(secs(31)).await;
    assert_eq!(heir.bearer(&key).await.unwrap(), "access-1");
    assert_eq!(world.provider.spent_twice(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_between_rotation_and_commit_the_heir_knows_what_happened() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let doomed = world.sidecar(1).await;
    ScriptedProvider::close(&world.provider.exit);
    let (caller, asked) = (doomed.clone(), key.clone());
    let request = tokio::spawn(async move { caller.bearer(&asked).await });
    settle().await;
    doomed.lifecycle.stop();
    drop(request.await.unwrap());
    ScriptedProvider::open(&world.provider.exit);

    let heir = world.sidecar(2).await;
    advance(secs(31)).await;
    let outcome = heir.bearer(&key).await;
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
    assert_eq!(
        *heir.heard.needs_reauth.lock(),
        [ReauthReason::LostRotation]
    );
}

#[tokio::test(start_paused = true)]
async fn tokens_that_the_store_refuses_are_used_at_once_and_stored_later() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.store.faults.lock().refuse_commits = true;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
    assert_eq!(sidecar.tokens.health().spooled, 1);
    assert_eq!(
        world.stored(&key).await.generation.get(),
        1,
        "the store does not have it"
    );
    for _ in 0..20 {
        sleep(secs(10)).await;
        assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
    }
    world.store.faults.lock().refuse_commits = false;
    sleep(secs(30)).await;
    settle_files(&sidecar).await;
    assert_eq!(world.stored(&key).await.generation.get(), 2);
    assert_eq!(sidecar.tokens.health().spooled, 0);
    assert_eq!(world.provider.renewals(), 1);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_the_store_is_slow_to_take_outlive_the_process() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let doomed = world.sidecar(1).await;
    world.store.faults.lock().commit_never_arrives = true;
    let asking = tokio::spawn({
        let (doomed, key) = (doomed.clone(), key.clone());
        async move { doomed.bearer(&key).await }
    });
    let spool = world.spool.path().join("spool/");
    let in_spool = || std::fs::read_dir(&spool).is_ok_and(|files| files.count() == 1);
    for _ in 0..100 {
        if !in_spool() {
            sleep(Duration::from_millis(100)).await;
        }
    }
    assert!(in_spool() && doomed.tokens.health().spooled == 1);
    assert!(!asking.is_finished(), "the store may still answer");
    doomed.lifecycle.stop();
    asking.abort();

    world.store.faults.lock().commit_never_arrives = false;
    let heir = world.sidecar(2).await;
    assert_eq!(heir.bearer(&key).await.unwrap(), "access-1");
    sleep(secs(30)).await;
    settle_files(&heir).await;
    assert_eq!(world.stored(&key).await.generation.get(), 2);
    assert_eq!(world.provider.renewals(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_spool_is_rid_of_what_the_store_took_at_last() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.store.faults.lock().commit_takes = secs(4);
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
    assert_eq!(world.stored(&key).await.generation.get(), 2);
    assert_eq!(sidecar.tokens.health().spooled, 0);
    let spool = world.spool.path().join("spool");
    let files = std::fs::read_dir(spool).unwrap();
    assert_eq!(files.count(), 0, "it was there, and is not any more");
}

#[tokio::test(start_paused = true)]
async fn spooled_tokens_survive_a_crash() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let doomed = world.sidecar(1).await;
    world.store.faults.lock().refuse_commits = true;
    assert_eq!(doomed.bearer(&key).await.unwrap(), "access-1");
    doomed.lifecycle.stop();

    // The next process uses them before the store has taken them.
    let heir = world.sidecar(2).await;
    assert_eq!(heir.tokens.health().spooled, 1);
    assert_eq!(heir.bearer(&key).await.unwrap(), "access-1");
    world.store.faults.lock().refuse_commits = false;
    sleep(secs(30)).await;
    settle_files(&heir).await;
    assert_eq!(world.stored(&key).await.generation.get(), 2);
    assert_eq!(world.provider.renewals(), 1);
    let left = std::fs::read_dir(world.spool.path().join("spool"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "the file is gone");
}

#[tokio::test(start_paused = true)]
async fn a_spool_file_holds_no_plain_token() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.store.faults.lock().refuse_commits = true;
    sidecar.bearer(&key).await.unwrap();
    let files: Vec<_> = std::fs::read_dir(world.spool.path().join("spool"))
        .unwrap()
        .collect();
    assert_eq!(files.len(), 1);
    for file in files {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(
            !text.contains("access-1") && !text.contains("refresh-1"),
            "{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_on_top_of_spooled_tokens_spends_the_spooled_ones() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.store.faults.lock().refuse_commits = true;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
    world.store.faults.lock().refuse_commits = false;
    assert_eq!(sidecar.newer_than(&key, 2).await.unwrap(), "access-2");
    assert_eq!(world.stored(&key).await.generation.get(), 3);
    assert_eq!(world.provider.spent_twice(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn spooled_tokens_of_a_removed_connection_are_revoked_by_the_flight_that_meets_them() {
    for is_connected_again in [false, true] {
        let world = World::new();
        let key = world.connect("u1", secs(0)).await;
        let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
        world.store.faults.lock().refuse_commits = true;
        assert_eq!(one.bearer(&key).await.unwrap(), "access-1");
        // The next offer is seconds away: the flight is first.
        sleep(secs(60)).await;
        world.store.faults.lock().acquire_takes = Duration::from_millis(2);
        let (caller, asked) = (one.clone(), key.clone());
        let flight = tokio::spawn(async move { caller.newer_than(&asked, 2).await });
        settle().await;
        two.tokens.disconnect(&key).await.unwrap();
        if is_connected_again {
            world.grant("u1", "successor", Some(HOUR), true).await;
        }
        world.store.faults.lock().refuse_commits = false;
        sleep(Duration::from_millis(2)).await;
        settle_files(&one).await;

        let outcome = flight.await.unwrap();
        if is_connected_again {
            assert_eq!(outcome.unwrap(), "access-successor");
        } else {
            assert!(
                matches!(outcome, Err(Error::NotConnected { .. })),
                "{outcome:?}"
            );
        }
        assert_eq!(one.tokens.health().spooled, 0);
        let calls = world.provider.calls();
        assert!(
            calls.contains(&Call::Revoke("refresh-1".into())),
            "{calls:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn spooled_tokens_of_a_removed_connection_are_revoked_and_forgotten_when_the_store_is_back() {
    for is_connected_again in [false, true] {
        let world = World::new();
        let key = world.connect("u1", secs(0)).await;
        let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
        world.store.faults.lock().refuse_commits = true;
        assert_eq!(one.bearer(&key).await.unwrap(), "access-1");
        two.tokens.disconnect(&key).await.unwrap();
        if is_connected_again {
            world.grant("u1", "successor", Some(HOUR), true).await;
        }
        world.store.faults.lock().refuse_commits = false;
        sleep(secs(30)).await;
        settle_files(&one).await;
        assert_eq!(one.tokens.health().spooled, 0);
        let calls = world.provider.calls();
        assert!(
            calls.contains(&Call::Revoke("refresh-1".into())),
            "{calls:?}"
        );
        let outcome = one.bearer(&key).await;
        if is_connected_again {
            assert_eq!(outcome.unwrap(), "access-successor");
        } else {
            assert!(
                matches!(outcome, Err(Error::NotConnected { .. })),
                "{outcome:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_that_the_store_refuses_are_not_kept_for_a_connection_that_was_removed_meanwhile() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    settle().await;
    ScriptedProvider::close(&world.provider.exit);
    let (caller, asked) = (one.clone(), key.clone());
    let before = tokio::spawn(async move { caller.bearer(&asked).await });
    settle().await;
    two.tokens.disconnect(&key).await.unwrap();
    world.store.faults.lock().refuse_commits = true;
    ScriptedProvider::open(&world.provider.exit);
    drop(before.await.unwrap());
    let outcome = one.bearer(&key).await;
    assert!(
        matches!(outcome, Err(Error::NotConnected { .. })),
        "{outcome:?}"
    );
    world.store.faults.lock().refuse_commits = false;
    sleep(secs(30)).await;
    settle_files(&one).await;
    assert!(
        world
            .provider
            .calls()
            .contains(&Call::Revoke("refresh-1".into()))
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_outage_withholds_no_valid_token_and_ends_without_a_restart() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    sidecar.bearer(&key).await.unwrap();
    world.store.faults.lock().down = true;
    for _ in 0..10 {
        sleep(secs(60)).await;
        assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-0");
    }
    let outcome = sidecar.bearer(&world.key("cold")).await;
    assert!(matches!(outcome, Err(Error::Store { .. })), "{outcome:?}");
    world.store.faults.lock().down = false;
    sleep(secs(16)).await;
    let outcome = sidecar.bearer(&world.key("cold")).await;
    assert!(
        matches!(outcome, Err(Error::NotConnected { .. })),
        "{outcome:?}"
    );
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-0");
}

#[tokio::test(start_paused = true)]
async fn no_renewal_begins_while_the_store_cannot_record_it() {
    let world = World::new();
    let key = world.connect("u1", secs(100)).await;
    let sidecar = world.sidecar(1).await;
    sidecar.bearer(&key).await.unwrap();
    settle().await;
    let before = world.provider.renewals();
    world.store.faults.lock().down = true;
    advance(HOUR + HOUR).await;
    assert!(sidecar.bearer(&key).await.is_err());
    assert_eq!(
        world.provider.renewals(),
        before,
        "a token that cannot be recorded is not spent"
    );
}

/// File operations run on threads of their own, which paused time does not wait for.
async fn settle_files(sidecar: &crate::world::Sidecar) {
    for _ in 0..1000 {
        if sidecar.tokens.health().spooled == 0 {
            break;
        }
        std::thread::yield_now();
        settle().await;
    }
}
