//! What follows from "the provider refused generation g".

use daypass::token::Error;
use tokio::time::{advance, sleep};

use crate::{
    scripted_provider::{Call, ScriptedProvider, Trick},
    world::{HOUR, MINUTE, World, secs, settle, text},
};

#[tokio::test(start_paused = true)]
async fn many_refusals_of_one_generation_cost_one_call() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    ScriptedProvider::close(&world.provider.gate);
    let requests: Vec<_> = (0..200)
        .map(|_| {
            let (sidecar, key) = (sidecar.clone(), key.clone());
            tokio::spawn(async move { sidecar.newer_than(&key, 1).await.unwrap() })
        })
        .collect();
    settle().await;
    ScriptedProvider::open(&world.provider.gate);
    for request in requests {
        assert_eq!(request.await.unwrap(), "access-1");
    }
    assert_eq!(world.provider.renewals(), 1);
}

#[tokio::test(start_paused = true)]
async fn refusals_on_many_sidecars_cost_one_call() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let mut requests = Vec::new();
    for seed in 0..20 {
        let (sidecar, key) = (world.sidecar(seed).await, key.clone());
        requests.push(tokio::spawn(async move {
            sidecar.newer_than(&key, 1).await.unwrap()
        }));
    }
    for request in requests {
        assert_eq!(request.await.unwrap(), "access-1");
    }
    assert_eq!(world.provider.renewals(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_refusal_of_an_old_generation_gets_the_newer_token_without_a_call() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    assert_eq!(sidecar.newer_than(&key, 1).await.unwrap(), "access-1");
    assert_eq!(sidecar.newer_than(&key, 1).await.unwrap(), "access-1");
    assert_eq!(world.provider.renewals(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_managed_user_whose_tokens_were_killed_is_renewed_by_force() {
    let world = World::managed();
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    world.provider.revoke_everything();
    assert_eq!(sidecar.newer_than(&key, 1).await.unwrap(), "access-1");
    assert_eq!(
        world.provider.calls(),
        [Call::Refresh("refresh-0".into()), Call::Force(77)]
    );
    assert!(world.stored(&key).await.forced_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_standard_refresh_comes_first_even_where_force_exists() {
    let world = World::managed();
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    assert_eq!(sidecar.newer_than(&key, 1).await.unwrap(), "access-1");
    assert_eq!(world.provider.calls(), [Call::Refresh("refresh-0".into())]);
}

#[tokio::test(start_paused = true)]
async fn two_parties_that_kill_each_others_tokens_force_at_most_once_a_minute() {
    let world = World::managed();
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    for _ in 0..60 {
        // The other party forces, which kills everything we have.
        world.provider.revoke_everything();
        let generation = world.stored(&key).await.generation.get();
        let _outcome = sidecar.newer_than(&key, generation).await;
        sleep(secs(5)).await;
    }
    let forced = world
        .provider
        .calls()
        .iter()
        .filter(|call| **call == Call::Force(77))
        .count();
    assert!(forced <= 6, "{forced} forced renewals in five minutes");
    assert!(forced >= 4, "{forced} forced renewals in five minutes");
}

#[tokio::test(start_paused = true)]
async fn a_force_that_was_asked_for_keeps_its_interval_too() {
    let world = World::managed();
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    assert_eq!(
        text(&sidecar.tokens.refresh(&key, true).await.unwrap()),
        "access-1"
    );
    let again = sidecar.tokens.refresh(&key, true).await;
    assert!(
        matches!(again, Err(Error::RefreshFailed { .. })),
        "{again:?}"
    );
    sleep(MINUTE).await;
    assert_eq!(
        text(&sidecar.tokens.refresh(&key, true).await.unwrap()),
        "access-2"
    );
    assert_eq!(world.provider.calls(), [Call::Force(77), Call::Force(77)]);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_always_refuses_cannot_spend_the_providers_quota() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    let mut stood = 0;
    for _ in 0..60 {
        let generation = world.stored(&key).await.generation.get();
        if let Err(Error::AnswerStands { .. }) = sidecar.newer_than(&key, generation).await {
            stood += 1;
        }
        sleep(secs(1)).await;
    }
    assert!(
        world.provider.renewals() <= 8,
        "{} calls in a minute",
        world.provider.renewals()
    );
    assert!(stood >= 50);
    assert!(
        sidecar.bearer(&key).await.is_ok(),
        "and nothing is withheld"
    );
}

#[tokio::test(start_paused = true)]
async fn refusals_now_and_then_are_always_followed_by_a_renewal() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    for generation in 1..=20 {
        sidecar.newer_than(&key, generation).await.unwrap();
        advance(secs(16)).await;
    }
    assert_eq!(world.provider.renewals(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_without_a_refresh_token_leaves_the_providers_answer_alone() {
    let world = World::new();
    let key = world.grant("u1", "0", Some(HOUR), false).await;
    let sidecar = world.sidecar(1).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-0");
    assert!(matches!(
        sidecar.newer_than(&key, 1).await,
        Err(Error::AnswerStands { .. })
    ));
    assert_eq!(
        sidecar.bearer(&key).await.unwrap(),
        "access-0",
        "it may well be valid elsewhere"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_while_the_token_endpoint_is_down_is_an_error_and_no_storm() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    world.provider.always(Some(Trick::ServerError));
    for _ in 0..100 {
        let outcome = sidecar.newer_than(&key, 1).await;
        assert!(outcome.is_err(), "{outcome:?}");
    }
    assert_eq!(world.provider.renewals(), 1);
}
