//! The sweep that keeps idle grants alive, by several processes on one store.

use std::{sync::atomic::Ordering, time::Duration};

use daypass::{
    base::{clock::Clock, secret::Secret},
    token::{Grant, GrantTokens},
};
use tokio::time::{Instant, sleep};

use crate::{
    scripted_provider::Trick,
    world::{HOUR, MINUTE, Sidecar, World, secs},
};

/// When a grant of an hour that is connected at the start is due.
const DUE_AFTER: Duration = Duration::from_hours(7 * 24);

/// Some while before that.
const NEARLY_DUE: Duration = Duration::from_hours(7 * 24 - 2);

/// So long a sweeper that died may be missed, and half a minute of jitter.
const RELIEF: Duration = Duration::from_secs(210);

impl World {
    /// Connects `count` users who then do nothing.
    async fn idlers(&self, count: usize) {
        for n in 0..count {
            self.provider.accept(&format!("refresh-{n}-x"));
            let tokens = format!("{n}-x");
            self.grant(&format!("u{n}"), &tokens, Some(HOUR), true)
                .await;
        }
    }

    fn sweeps(&self) -> usize {
        self.store.sweeps.load(Ordering::SeqCst)
    }

    async fn sidecars(&self, count: u64) -> Vec<Sidecar> {
        let mut sidecars = Vec::new();
        for seed in 1..=count {
            sidecars.push(self.sidecar(seed).await);
        }
        sidecars
    }

    /// Waits for the next sweep.
    async fn sweeping(&self) {
        let before = self.sweeps();
        while self.sweeps() == before {
            sleep(secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_sidecars_one_sweeps() {
    let world = World::new();
    let _sidecars = world.sidecars(8).await;
    sleep(HOUR).await;
    let sweeps = world.sweeps();
    assert!(
        (55..=60).contains(&sweeps),
        "{sweeps} sweeps in an hour of one a minute"
    );
}

#[tokio::test(start_paused = true)]
async fn a_sweeper_that_dies_is_relieved_within_its_turn() {
    let world = World::new();
    let mut sidecars = world.sidecars(4).await;
    world.sweeping().await;
    while let Some(sidecar) = sidecars.pop() {
        // Whether or not it was the sweeper: somebody else is, or will be.
        sidecar.lifecycle.stop();
        let (died, before) = (Instant::now(), world.sweeps());
        if sidecars.is_empty() {
            sleep(HOUR).await;
            assert_eq!(world.sweeps(), before, "nobody is left");
            return;
        }
        while world.sweeps() == before {
            sleep(secs(1)).await;
        }
        let missed = died.elapsed();
        assert!(missed <= RELIEF, "nobody swept for {missed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sweeper_that_goes_down_in_order_leaves_its_duty_to_whoever_starts() {
    let world = World::new();
    let first = world.sidecar(1).await;
    world.sweeping().await;
    first.lifecycle.drain(secs(5)).await;
    let before = world.sweeps();
    let _next = world.sidecar(2).await;
    // No more than what every sidecar waits before it sweeps for the first time.
    sleep(secs(90)).await;
    assert!(world.sweeps() > before);
}

#[tokio::test(start_paused = true)]
async fn a_sweeper_whose_client_is_refused_lets_another_try() {
    let mut world = World::new();
    (world.config.cooldown, world.config.cooldown_max) = (24 * HOUR, 24 * HOUR);
    world.idlers(3).await;
    let _sidecars = world.sidecars(2).await;
    sleep(NEARLY_DUE).await;
    // The first who tries is refused, and would not try again for a day.
    world.provider.trick(Trick::RefuseClient);
    sleep(3 * HOUR).await;
    assert_eq!(world.provider.renewals(), 4, "one refusal, three renewals");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_due_grants_are_renewed_at_the_providers_pace_by_all_sidecars_together() {
    let world = World::new();
    world.idlers(1000).await;
    let _sidecars = world.sidecars(5).await;
    sleep(NEARLY_DUE).await;
    let (mut worst, mut before, mut minutes) = (0, world.provider.renewals(), 0);
    assert_eq!(before, 0);
    while before < 1000 {
        sleep(MINUTE).await;
        let now = world.provider.renewals();
        worst = worst.max(now - before);
        before = now;
        minutes += u32::from(now > 0);
        assert!(minutes < 30, "{now} were renewed in {minutes} minutes");
    }
    sleep(HOUR).await;
    assert_eq!(world.provider.renewals(), 1000, "each once");
    assert_eq!(world.provider.spent_twice(), Vec::<String>::new());
    // Sixty are allowed; jitter may put the last of one minute into the next.
    assert!(worst <= 61, "{worst} calls in one minute");
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_a_minute_are_spread_over_it() {
    let world = World::new();
    world.idlers(100).await;
    let _sidecars = world.sidecars(2).await;
    sleep(DUE_AFTER).await;
    while world.provider.renewals() == 0 {
        sleep(secs(1)).await;
    }
    for _ in 0..6 {
        let before = world.provider.renewals();
        sleep(secs(10)).await;
        let calls = world.provider.renewals() - before;
        assert!((8..=12).contains(&calls), "{calls} calls in ten seconds");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_lives_shortly_is_renewed_in_the_second_half_of_its_life() {
    const DAY: Duration = Duration::from_hours(24);
    let world = World::new();
    let now = world.clock.now();
    world.provider.accept("refresh-short");
    let tokens = GrantTokens {
        access: Secret::from("access-short".to_owned()),
        refresh: Some(Secret::from("refresh-short".to_owned())),
        expires_at: Some(now.saturating_add(HOUR)),
        refresh_expires_at: Some(now.saturating_add(4 * DAY)),
        issued_at: Some(now),
    };
    let grant = Grant {
        key: world.key("u1"),
        account: world.account(),
        tokens: Some(tokens),
        scope: None,
        once: false,
    };
    world.save(grant).await;
    let _sidecar = world.sidecar(1).await;
    sleep(Duration::from_hours(47)).await;
    assert_eq!(world.provider.renewals(), 0, "near its end from the start");
    sleep(2 * HOUR).await;
    assert_eq!(world.provider.renewals(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_pace_holds_when_another_takes_over() {
    let world = World::new();
    world.idlers(400).await;
    let sidecars = world.sidecars(3).await;
    sleep(NEARLY_DUE).await;
    while world.provider.renewals() < 100 {
        sleep(secs(1)).await;
    }
    let (mut worst, mut before) = (0, world.provider.renewals());
    // One dies every two minutes, until one is left.
    for minute in 0..20 {
        if minute < 4 && minute % 2 == 0 {
            sidecars[minute / 2].lifecycle.stop();
        }
        sleep(MINUTE).await;
        let now = world.provider.renewals();
        worst = worst.max(now - before);
        before = now;
    }
    assert_eq!(before, 400);
    assert!(worst <= 61, "{worst} calls in one minute");
}
