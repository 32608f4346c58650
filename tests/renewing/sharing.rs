//! One renewal serves everyone who needs it.

use std::sync::atomic::Ordering;

use daypass::token::Error;
use tokio::time::{Instant, advance};

use crate::{
    scripted_provider::{Call, ScriptedProvider, Trick},
    world::{HOUR, World, secs, settle},
};

#[tokio::test(start_paused = true)]
async fn five_hundred_requests_for_one_expired_token_cost_one_call() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    ScriptedProvider::close(&world.provider.gate);
    let requests: Vec<_> = (0..500)
        .map(|_| {
            let (sidecar, key) = (sidecar.clone(), key.clone());
            tokio::spawn(async move { sidecar.bearer(&key).await.unwrap() })
        })
        .collect();
    settle().await;
    ScriptedProvider::open(&world.provider.gate);
    for request in requests {
        assert_eq!(request.await.unwrap(), "access-1");
    }
    assert_eq!(world.provider.calls(), [Call::Refresh("refresh-0".into())]);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_outlives_every_caller() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    ScriptedProvider::close(&world.provider.exit);
    let (impatient, asked) = (sidecar.clone(), key.clone());
    let caller = tokio::spawn(async move { impatient.bearer(&asked).await });
    settle().await;
    assert_eq!(world.provider.renewals(), 1, "the call is under way");
    caller.abort();
    settle().await;
    ScriptedProvider::open(&world.provider.exit);
    settle().await;
    assert_eq!(world.stored(&key).await.generation.get(), 2);
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
    assert_eq!(world.provider.renewals(), 1);
}

#[tokio::test(start_paused = true)]
async fn readers_of_a_valid_token_never_wait_for_a_slow_renewal() {
    let world = World::new();
    let key = world.connect("u1", secs(200)).await;
    let sidecar = world.sidecar(1).await;
    ScriptedProvider::close(&world.provider.gate);
    let before = Instant::now();
    for _ in 0..50 {
        assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-0");
        settle().await;
    }
    assert_eq!(Instant::now(), before, "nobody waited");
    ScriptedProvider::open(&world.provider.gate);
    settle().await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
    assert_eq!(world.provider.renewals(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cold_start_reads_the_store_once_for_all_callers() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    settle().await;
    world.store.loads.store(0, Ordering::SeqCst);
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let (sidecar, key) = (sidecar.clone(), key.clone());
            tokio::spawn(async move { sidecar.bearer(&key).await.unwrap() })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), "access-0");
    }
    assert_eq!(world.store.loads.load(Ordering::SeqCst), 1);
    assert_eq!(world.provider.renewals(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_asked_to_be_newer_is_never_the_same_one() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-0");
    // A cold read and a refused token at once: the read must not satisfy the refusal.
    let other = world.sidecar(2).await;
    let (first, second) = tokio::join!(other.tokens_bearer(&key), other.newer_than(&key, 1));
    assert_eq!(
        (first.unwrap().as_str(), second.unwrap().as_str()),
        ("access-0", "access-1")
    );
    assert_eq!(world.provider.renewals(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_refreshes_in_a_row_use_each_others_tokens() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    for expected in ["access-1", "access-2", "access-3"] {
        let bearer = sidecar.tokens.refresh(&key, false).await.unwrap();
        assert_eq!(crate::world::text(&bearer), expected);
    }
    assert_eq!(world.provider.spent_twice(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn every_waiter_of_a_failed_renewal_is_told_so() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.always(Some(Trick::ServerError));
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let (sidecar, key) = (sidecar.clone(), key.clone());
            tokio::spawn(async move { sidecar.bearer(&key).await })
        })
        .collect();
    for request in requests {
        assert!(matches!(
            request.await.unwrap(),
            Err(Error::RefreshFailed { .. })
        ));
    }
    assert_eq!(world.provider.renewals(), 1);
    advance(secs(1)).await;
    assert!(sidecar.bearer(&key).await.is_err());
    assert_eq!(world.provider.renewals(), 1, "the cooldown holds");
}

impl crate::world::Sidecar {
    async fn tokens_bearer(
        &self,
        key: &daypass::base::ids::ConnectionKey,
    ) -> Result<String, Error> {
        use daypass::token::TokenSource;
        self.tokens
            .bearer(key.clone())
            .await
            .map(|bearer| crate::world::text(&bearer))
    }
}
