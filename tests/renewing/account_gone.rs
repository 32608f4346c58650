//! A provider that says that the account behind a token is gone: its connection is marked, and no other.

use std::sync::Arc;

use daypass::{
    base::ids::ConnectionKey,
    store::{ReauthReason, Status, Store as _},
    token::{Bearer, TokenSource as _},
};

use crate::world::{HOUR, Sidecar, World, secs, settle};

/// Whom the answer comes too late for: `u1` has connected, and `used` is the token that was sent.
async fn asked(world: &World) -> (ConnectionKey, Sidecar, Arc<Bearer>) {
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    let used = sidecar.tokens.bearer(key.clone()).await.unwrap();
    (key, sidecar, used)
}

#[tokio::test(start_paused = true)]
async fn the_connection_whose_account_is_gone_is_marked() {
    let world = World::new();
    let (key, sidecar, used) = asked(&world).await;
    sidecar.tokens.account_gone(key.clone(), &used);
    settle().await;
    let status = world.stored(&key).await.status;
    let reason = ReauthReason::AccountGone;
    assert!(matches!(status, Status::NeedsReauth { reason: told, .. } if told == reason));
    assert_eq!(*sidecar.heard.needs_reauth.lock(), [reason]);
}

/// A connection that is made anew counts from one again.
#[tokio::test(start_paused = true)]
async fn one_that_was_made_anew_since_is_not() {
    let world = World::new();
    let (key, sidecar, used) = asked(&world).await;
    world.store.remove(&key).await.unwrap();
    world.grant("u1", "again", Some(HOUR), true).await;
    assert_eq!(world.stored(&key).await.generation, used.generation());
    sidecar.tokens.account_gone(key.clone(), &used);
    settle().await;
    assert_eq!(world.stored(&key).await.status, Status::Active);
}

/// A store that went back gives out a generation once more.
#[tokio::test(start_paused = true)]
async fn one_that_was_connected_again_at_a_store_that_went_back_is_not() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    let replica = world.store.snapshot();
    let used = sidecar.tokens.bearer(key.clone()).await.unwrap();
    world.store.fail_over(replica);
    world.grant("u1", "again", Some(HOUR), true).await;
    assert_eq!(world.stored(&key).await.generation, used.generation());
    sidecar.tokens.account_gone(key.clone(), &used);
    settle().await;
    assert_eq!(world.stored(&key).await.status, Status::Active);
}
