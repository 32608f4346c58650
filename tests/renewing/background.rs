//! Renewing before anyone has to wait, and keeping idle grants alive.

use std::time::Duration;

use tokio::time::{Instant, advance, sleep};

use crate::{
    scripted_provider::{ScriptedProvider, Trick},
    world::{HOUR, MINUTE, World, secs, settle},
};

#[tokio::test(start_paused = true)]
async fn a_token_under_the_buffer_is_used_and_renewed_behind_the_callers_back() {
    let world = World::new();
    let key = world.connect("u1", secs(299)).await;
    let sidecar = world.sidecar(1).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-0");
    settle().await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
    assert_eq!(world.provider.renewals(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_above_the_buffer_is_left_alone() {
    let world = World::new();
    let key = world.connect("u1", secs(301)).await;
    let sidecar = world.sidecar(1).await;
    for _ in 0..10 {
        assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-0");
        settle().await;
    }
    assert_eq!(world.provider.renewals(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_about_to_end_is_renewed_before_the_request_goes_on() {
    let world = World::new();
    let key = world.connect("u1", secs(29)).await;
    let sidecar = world.sidecar(1).await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
}

#[tokio::test(start_paused = true)]
async fn in_steady_state_no_request_waits_for_a_renewal() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let sidecar = world.sidecar(1).await;
    world.provider.always(Some(Trick::Slow(secs(5))));
    for _ in 0..(6 * 60) {
        let before = Instant::now();
        sidecar.bearer(&key).await.unwrap();
        assert_eq!(Instant::now(), before, "a request waited");
        sleep(MINUTE).await;
    }
    let renewals = world.provider.renewals();
    assert!(
        (6..=7).contains(&renewals),
        "six hours of one-hour tokens took {renewals} renewals"
    );
}

#[tokio::test(start_paused = true)]
async fn tokens_that_live_shorter_than_the_buffer_are_not_renewed_on_every_request() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.live_for(MINUTE);
    for _ in 0..600 {
        sidecar.bearer(&key).await.unwrap();
        sleep(secs(1)).await;
    }
    let renewals = world.provider.renewals();
    assert!(
        (19..=22).contains(&renewals),
        "ten minutes of one-minute tokens took {renewals}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_background_renewal_withholds_nothing() {
    let world = World::new();
    let key = world.connect("u1", secs(200)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.always(Some(Trick::ServerError));
    for _ in 0..160 {
        assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-0");
        sleep(secs(1)).await;
    }
    let tries = world.provider.renewals();
    assert!((3..=12).contains(&tries), "{tries} tries in 160 s");
}

#[tokio::test(start_paused = true)]
async fn an_idle_grant_is_renewed_before_it_dies() {
    let world = World::new();
    let key = world.connect("u1", HOUR).await;
    let _sidecar = world.sidecar(1).await;
    sleep(Duration::from_hours(7 * 24 - 2)).await;
    assert_eq!(world.provider.renewals(), 0);
    sleep(3 * HOUR).await;
    assert_eq!(world.provider.renewals(), 1);
    assert_eq!(world.stored(&key).await.generation.get(), 2);
    sleep(Duration::from_hours(6 * 24)).await;
    assert_eq!(world.provider.renewals(), 1, "it is fresh again");
}

#[tokio::test(start_paused = true)]
async fn two_sidecars_do_not_keep_the_same_grant_alive_twice() {
    let world = World::new();
    for n in 0..30 {
        let n = format!("{n}-x");
        world.provider.accept(&format!("refresh-{n}"));
        world.grant(&format!("u{n}"), &n, Some(HOUR), true).await;
    }
    let _sidecars = (world.sidecar(1).await, world.sidecar(2).await);
    sleep(Duration::from_hours(7 * 24 + 1)).await;
    assert_eq!(world.provider.renewals(), 30);
    assert_eq!(world.provider.spent_twice(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_sweep_stays_within_what_the_token_endpoint_allows() {
    let world = World::new();
    for n in 0..200 {
        let n = format!("{n}-x");
        world.provider.accept(&format!("refresh-{n}"));
        world.grant(&format!("u{n}"), &n, Some(HOUR), true).await;
    }
    let _sidecar = world.sidecar(1).await;
    sleep(Duration::from_hours(7 * 24 - 2)).await;
    let (mut before, mut worst) = (0, 0);
    for _ in 0..240 {
        sleep(MINUTE).await;
        let now = world.provider.renewals();
        worst = worst.max(now - before);
        before = now;
    }
    assert_eq!(before, 200, "all were renewed");
    assert!(worst <= 61, "{worst} calls in one minute");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_ten_minutes_disconnects_nobody() {
    for jump in [-600_000, 600_000] {
        let world = World::new();
        let key = world.connect("u1", HOUR).await;
        let sidecar = world.sidecar(1).await;
        sidecar.bearer(&key).await.unwrap();
        world.clock.jump_millis(jump);
        for _ in 0..180 {
            sidecar.bearer(&key).await.unwrap();
            advance(MINUTE).await;
            settle().await;
        }
        assert_eq!(world.provider.spent_twice(), Vec::<String>::new());
        assert!(world.provider.renewals() <= 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_provider_keeps_its_lease_for_as_long_as_it_takes() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let (one, two) = (world.sidecar(1).await, world.sidecar(2).await);
    ScriptedProvider::close(&world.provider.gate);
    let asked = key.clone();
    let first = tokio::spawn(async move { one.bearer(&asked).await });
    settle().await;
    // Three leases later another sidecar still does not get in.
    for _ in 0..9 {
        advance(secs(10)).await;
        settle().await;
    }
    let asked = key.clone();
    let second = tokio::spawn(async move { two.bearer(&asked).await });
    settle().await;
    ScriptedProvider::open(&world.provider.gate);
    assert_eq!(first.await.unwrap().unwrap(), "access-1");
    assert_eq!(second.await.unwrap().unwrap(), "access-1");
    assert_eq!(world.provider.renewals(), 1);
}
