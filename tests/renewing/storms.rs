//! Storms: more renewals at once than the provider's token endpoint takes.

#![expect(clippy::print_stdout, reason = "how long it took is of interest")]

use std::{sync::Arc, time::Duration};

use daypass::{
    base::{
        ids::{ConnectionKey, UserId},
        secret::Secret,
    },
    provider::Provider as _,
    token::{Error, Grant, GrantTokens, TokenSource as _},
};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    scripted_provider::{Call, Meter, ScriptedProvider, Trick},
    world::{HOUR, MINUTE, Sidecar, World, secs, settle, text},
};

/// A provider that takes 120 token calls a minute from everybody together.
fn limited(tells: bool) -> World {
    let world = World::new();
    *world.provider.meter.lock() = Some(Meter::new(120, tells));
    world
}

/// Connects users called `{name}{n}`, whose tokens live for so long.
async fn connect(world: &World, name: &str, count: usize, left: Duration) -> Vec<ConnectionKey> {
    let provider = world.provider.name().clone();
    let key = |n| ConnectionKey {
        provider: provider.clone(),
        user: UserId::parse(&format!("{name}{n}")).unwrap(),
    };
    let keys: Vec<_> = (0..count).map(key).collect();
    let end = world.now().saturating_add(left);
    let grants: Vec<_> = keys
        .iter()
        .map(|key| {
            let refresh = format!("refresh-{}", key.user);
            world.provider.accept(&refresh);
            Grant {
                key: key.clone(),
                account: world.account(),
                tokens: Some(GrantTokens {
                    access: Secret::from(format!("access-{}", key.user)),
                    refresh: Some(Secret::from(refresh)),
                    expires_at: Some(end),
                    refresh_expires_at: None,
                    issued_at: Some(end.saturating_sub(HOUR)),
                }),
                scope: None,
                once: false,
            }
        })
        .collect();
    let writer = world.sidecar(u64::MAX).await;
    writer.tokens.save(&grants).await.unwrap();
    writer.lifecycle.stop();
    keys
}

/// How long one is told to wait, where there is no token.
fn told(error: &Error) -> Duration {
    match error {
        Error::RefreshFailed { retry_after, .. } => *retry_after,
        other => panic!("{other}"),
    }
}

/// Asks until there is a token, each time when one is told to come again. How often, and how long a single
/// answer took at most.
async fn ask_as_told(sidecar: &Sidecar, key: &ConnectionKey) -> (u32, Duration) {
    let (mut times, mut longest) = (0, Duration::ZERO);
    loop {
        times += 1;
        let asked = Instant::now();
        let answer = sidecar.bearer(key).await;
        longest = longest.max(Instant::now() - asked);
        match answer {
            Ok(_) => return (times, longest),
            Err(error) => sleep(told(&error)).await,
        }
    }
}

/// Who was renewed in which order, of the users called `{name}{n}`.
fn renewed(world: &World, name: &str) -> Vec<usize> {
    let prefix = format!("refresh-{name}");
    let calls = world.provider.calls();
    let of = |call: &Call| match call {
        Call::Refresh(token) => token.strip_prefix(&prefix)?.parse().ok(),
        _ => None,
    };
    calls.iter().filter_map(of).collect()
}

#[expect(
    clippy::too_many_lines,
    reason = "one storm, looked at from every side"
)]
#[tokio::test(start_paused = true)]
async fn ten_thousand_expired_users_cost_ten_thousand_calls_and_nobody_elses_time() {
    const USERS: usize = 10_000;
    const REQUESTS: usize = 50;
    let world = limited(true);
    let expired = connect(&world, "e", USERS, secs(0)).await;
    let due = connect(&world, "d", 500, secs(290)).await;
    let fresh = connect(&world, "f", 500, 2 * HOUR).await;
    let sidecar = world.sidecar(1).await;
    // They are in memory before the storm.
    for key in due.iter().chain(&fresh) {
        sidecar.tokens.bearer(key.clone()).await.unwrap();
    }
    let start = Instant::now();
    let storm = expired.iter().map(|key| {
        let (sidecar, key) = (sidecar.clone(), key.clone());
        tokio::spawn(async move {
            let asks = (0..REQUESTS).map(|_| ask_as_told(&sidecar, &key));
            let asked = join_all(asks).await;
            (asked, Instant::now() - start)
        })
    });
    let storm: Vec<_> = storm.collect();
    // Whoever has a valid token is served with it, at once, all the while.
    let valid = tokio::spawn({
        let sidecar = sidecar.clone();
        async move {
            for _ in 0..240 {
                for key in due.iter().chain(&fresh) {
                    let bearer = sidecar.tokens.cached(&key.provider, key.user.as_str());
                    assert!(bearer.is_some(), "{key} has a valid token, and waits");
                }
                sleep(secs(1)).await;
            }
            (due, fresh)
        }
    });
    sleep(secs(1)).await;
    let waiting = sidecar.tokens.health().waiting;
    assert_eq!(waiting.len(), 1);
    assert!(waiting[0].asked > USERS - 200, "{waiting:?}");
    assert!(waiting[0].renewals > USERS, "{waiting:?}");
    let (due, fresh) = valid.await.unwrap();
    let mut ends = Vec::new();
    let (mut requests, mut tries, mut longest) = (0, 0, Duration::ZERO);
    for user in storm {
        let (asked, end) = user.await.unwrap();
        for (times, answer) in asked {
            requests += 1;
            tries += times;
            assert!(times <= 3, "told to come again {times} times");
            longest = longest.max(answer);
        }
        ends.push(end);
    }
    assert_eq!(requests, USERS * REQUESTS);
    let last = ends.iter().max().unwrap();
    let meter = world.provider.meter.lock();
    let meter = meter.as_ref().unwrap();
    println!(
        "{requests} requests of {USERS} users, {tries} tries; the longest answer took {longest:?}, the \
         last user was served after {last:?}; {} calls in the busiest minute",
        meter.busiest_minute()
    );
    assert_eq!(meter.refused, 0, "the provider was asked too often");
    assert!(meter.busiest_minute() <= 120);
    assert!(longest <= secs(10), "{longest:?}");
    // 120 a minute is 83 minutes; what is left to others, and the 500 who were due, comes on top.
    assert!(*last <= 110 * MINUTE, "{last:?}");
    // Those whose time came early have had theirs too, and nobody anything twice.
    let order = renewed(&world, "e");
    let early = renewed(&world, "d");
    assert_eq!(order.len(), USERS);
    assert_eq!(early.len(), due.len());
    assert_eq!(world.provider.renewals(), USERS + due.len());
    assert_eq!(world.provider.spent_twice(), Vec::<String>::new());
    assert!(renewed(&world, "f").is_empty(), "{}", fresh.len());
    // They asked at the same moment, one after the other: nobody was overtaken by more than go at once.
    let displaced = order
        .iter()
        .enumerate()
        .map(|(turn, user)| turn.abs_diff(*user));
    assert!(displaced.max().unwrap() <= 64);
}

#[tokio::test(start_paused = true)]
async fn whose_turn_comes_soon_waits_and_whose_comes_later_is_told_when() {
    let world = limited(true);
    let keys = connect(&world, "u", 60, secs(0)).await;
    let sidecar = world.sidecar(1).await;
    let start = Instant::now();
    let asked = keys.iter().map(|key| sidecar.bearer(key));
    let answers = join_all(asked).await;
    // Ten at once, and one each 0.6 s: within ten seconds some 27 in all.
    let served = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((24..=30).contains(&served), "{served}");
    assert!(Instant::now() - start <= secs(10));
    let waits = answers.iter().filter_map(|answer| answer.as_ref().err());
    let waits: Vec<_> = waits.map(told).collect();
    assert!(
        waits.iter().all(|wait| (secs(9)..=secs(35)).contains(wait)),
        "{waits:?}"
    );
    assert!(waits.is_sorted(), "who came later is told a later time");
    // They need not come again for it: they keep their places.
    sleep(secs(35)).await;
    assert_eq!(world.provider.renewals(), 60);
    for key in &keys {
        assert!(
            sidecar
                .tokens
                .cached(&key.provider, key.user.as_str())
                .is_some()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_about_to_end_is_used_although_its_turn_comes_soon() {
    let world = limited(true);
    let keys = connect(&world, "u", 20, secs(0)).await;
    let short = connect(&world, "s", 1, secs(20)).await.remove(0);
    let sidecar = world.sidecar(1).await;
    for key in keys {
        let sidecar = sidecar.clone();
        tokio::spawn(async move { sidecar.bearer(&key).await });
    }
    settle().await;
    let before = Instant::now();
    assert_eq!(sidecar.bearer(&short).await.unwrap(), "access-s0");
    assert_eq!(Instant::now(), before, "it waited");
    sleep(secs(10)).await;
    assert_ne!(sidecar.bearer(&short).await.unwrap(), "access-s0");
}

#[tokio::test(start_paused = true)]
async fn a_token_about_to_end_is_used_while_its_turn_has_not_come() {
    let world = limited(true);
    let keys = connect(&world, "u", 200, secs(0)).await;
    let short = connect(&world, "s", 1, secs(20)).await.remove(0);
    let sidecar = world.sidecar(1).await;
    for key in &keys {
        let (sidecar, key) = (sidecar.clone(), key.clone());
        tokio::spawn(async move { sidecar.bearer(&key).await });
    }
    settle().await;
    let before = Instant::now();
    assert_eq!(sidecar.bearer(&short).await.unwrap(), "access-s0");
    assert_eq!(Instant::now(), before, "it waited");
    sleep(secs(21)).await;
    assert!(sidecar.bearer(&short).await.is_err(), "it has ended");
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_it_was_too_much_holds_everybody_back() {
    let world = limited(true);
    let keys = connect(&world, "u", 30, secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.trick(Trick::RateLimit(Some(secs(60))));
    let start = Instant::now();
    let first = sidecar.bearer(&keys[0]).await;
    assert!((secs(60)..=secs(75)).contains(&told(&first.unwrap_err())));
    for key in &keys[1..] {
        let wait = told(&sidecar.bearer(key).await.unwrap_err());
        assert!(wait >= secs(60), "{wait:?}");
    }
    assert_eq!(world.provider.renewals(), 1, "nobody else has tried");
    let held = sidecar.tokens.health().waiting[0].held;
    assert!(held.is_some_and(|held| held >= secs(60)), "{held:?}");
    // The grant of whoever was refused is as it was, and its turn is the first.
    let stored = world.stored(&keys[0]).await;
    assert!(stored.intent.is_none() && stored.cooldown.is_none_or(|it| it.failures == 0));
    while world.provider.renewals() < 31 {
        sleep(secs(1)).await;
        assert!(Instant::now() - start < secs(120));
    }
    let order = renewed(&world, "u");
    let expected: Vec<_> = [0].into_iter().chain(0..30).collect();
    assert_eq!(order, expected);
}

#[tokio::test(start_paused = true)]
async fn whose_call_was_one_too_many_is_before_those_who_waited_meanwhile() {
    let world = limited(true);
    let keys = connect(&world, "u", 30, secs(0)).await;
    let sidecar = world.sidecar(1).await;
    world.provider.trick(Trick::RateLimit(Some(secs(5))));
    for key in keys {
        let sidecar = sidecar.clone();
        tokio::spawn(async move { sidecar.bearer(&key).await });
    }
    sleep(2 * MINUTE).await;
    let order = renewed(&world, "u");
    let expected: Vec<_> = [0].into_iter().chain(0..30).collect();
    assert_eq!(order, expected);
}

#[tokio::test(start_paused = true)]
async fn who_waits_holds_no_lease_and_leaves_when_a_sibling_has_renewed() {
    let world = limited(true);
    let keys = connect(&world, "u", 100, secs(0)).await;
    let (crowded, idle) = (world.sidecar(1).await, world.sidecar(2).await);
    let answers = join_all(keys.iter().map(|key| crowded.bearer(key))).await;
    let last = keys.last().unwrap();
    assert!(answers.last().unwrap().is_err());
    let calls = world.provider.renewals();
    // Another process has turns of its own, and finds no lease in its way.
    idle.bearer(last).await.unwrap();
    assert_eq!(world.provider.renewals(), calls + 1);
    settle().await;
    let before = Instant::now();
    crowded.bearer(last).await.unwrap();
    assert_eq!(Instant::now(), before);
    sleep(2 * MINUTE).await;
    assert_eq!(world.provider.renewals(), 100, "once each");
}

#[tokio::test(start_paused = true)]
async fn who_waits_and_is_disconnected_is_told_so() {
    let world = limited(true);
    let keys = connect(&world, "u", 100, secs(0)).await;
    let sidecar = world.sidecar(1).await;
    join_all(keys.iter().map(|key| sidecar.bearer(key))).await;
    let other = world.sidecar(2).await;
    other.tokens.disconnect(&keys[99]).await.unwrap();
    settle().await;
    let answer = sidecar.bearer(&keys[99]).await;
    assert!(
        matches!(answer, Err(Error::NotConnected { .. })),
        "{answer:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_somebody_asks_for_goes_before_what_nobody_waits_for_but_that_goes_on() {
    let world = limited(true);
    let ahead = connect(&world, "a", 300, secs(200)).await;
    let asked = connect(&world, "u", 300, secs(0)).await;
    let sidecar = world.sidecar(1).await;
    // Due: used, and renewed in the background.
    for key in &ahead {
        sidecar.bearer(key).await.unwrap();
    }
    settle().await;
    join_all(asked.iter().map(|key| sidecar.bearer(key))).await;
    while renewed(&world, "u").len() < 300 {
        sleep(secs(1)).await;
    }
    let early = renewed(&world, "a").len();
    assert!(
        (20..=30).contains(&early),
        "{early}: ten at first, then one in twenty"
    );
    sleep(200 * MINUTE / 60).await;
    assert!(renewed(&world, "a").len() >= 270);
}

#[tokio::test(start_paused = true)]
async fn who_waits_ahead_of_time_and_is_asked_for_goes_to_the_end_of_those_who_are() {
    let world = limited(true);
    let ahead = connect(&world, "a", 60, secs(200)).await;
    let asked = connect(&world, "u", 40, secs(0)).await;
    let sidecar = world.sidecar(1).await;
    // Due: ten are renewed at once, the others wait.
    for key in &ahead {
        sidecar.bearer(key).await.unwrap();
    }
    settle().await;
    for key in &asked {
        let (sidecar, key) = (sidecar.clone(), key.clone());
        tokio::spawn(async move { sidecar.bearer(&key).await });
    }
    settle().await;
    // Its token was refused: it is needed now.
    let refused = sidecar.newer_than(&ahead[59], 1).await;
    let wait = told(&refused.unwrap_err());
    assert!((secs(20)..=secs(30)).contains(&wait), "{wait:?}");
    while renewed(&world, "a").len() < 60 {
        sleep(secs(1)).await;
    }
    let order: Vec<_> = world.provider.calls();
    let turn_of = |user: &str| {
        let call = Call::Refresh(format!("refresh-{user}"));
        order.iter().position(|it| *it == call).unwrap()
    };
    let (last, needed) = (turn_of("u39"), turn_of("a59"));
    assert!(last < needed && needed <= last + 2, "{last}, {needed}");
    assert_eq!(order.len(), 100, "once each");
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_limited_for_all_no_more_than_64_calls_are_under_way() {
    let world = World::new();
    let keys = connect(&world, "u", 100, secs(0)).await;
    let sidecar = world.sidecar(1).await;
    ScriptedProvider::close(&world.provider.exit);
    let asked = keys.iter().map(|key| {
        let (sidecar, key) = (sidecar.clone(), key.clone());
        tokio::spawn(async move { sidecar.bearer(&key).await })
    });
    let asked: Vec<_> = asked.collect();
    sleep(secs(1)).await;
    assert_eq!(world.provider.renewals(), 64);
    ScriptedProvider::open(&world.provider.exit);
    for answer in asked {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(world.provider.renewals(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_takes_two_calls_is_charged_for_both() {
    let world = World::managed();
    *world.provider.meter.lock() = Some(Meter::new(120, false));
    let keys = connect(&world, "u", 200, secs(0)).await;
    // Each is refused first, and then forced.
    world.provider.revoke_everything();
    let sidecar = world.sidecar(1).await;
    let asked = keys.into_iter().map(|key| {
        let sidecar = sidecar.clone();
        tokio::spawn(async move { ask_as_told(&sidecar, &key).await })
    });
    let asked: Vec<_> = asked.collect();
    for user in asked {
        user.await.unwrap();
    }
    assert_eq!(world.provider.renewals(), 400);
    let meter = world.provider.meter.lock();
    assert_eq!(meter.as_ref().unwrap().refused, 0);
}

/// What fifty requests for the last of `users` get, where so many may wait for turns.
async fn fifty_for_the_last(users: usize, places: usize) -> Vec<Result<String, Error>> {
    let mut world = limited(true);
    world.config.queue_places = places;
    let mut keys = connect(&world, "u", users, secs(0)).await;
    let key = keys.pop().unwrap();
    let sidecar = world.sidecar(1).await;
    for other in keys {
        let sidecar = sidecar.clone();
        tokio::spawn(async move { sidecar.bearer(&other).await });
    }
    settle().await;
    let answers = join_all((0..50).map(|_| sidecar.bearer(&key))).await;
    sleep(MINUTE).await;
    assert_eq!(world.provider.renewals(), users);
    answers
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_wait_than_there_are_places_for() {
    // Ten are called for at once, two a second after that: eight of the others are more than three seconds
    // away, too.
    let answers = fifty_for_the_last(24, 16).await;
    let served = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((6..=11).contains(&served), "{served}");
    let told_of = answers.iter().filter_map(|answer| answer.as_ref().err());
    assert!(
        told_of.map(told).all(|wait| wait <= secs(10)),
        "{answers:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn whose_turn_is_about_to_come_waits_whether_there_are_places_or_not() {
    let answers = fifty_for_the_last(12, 1).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

/// Sidecars with users of their own behind one address; how often they were refused, and how long it took.
async fn fleet(sidecars: usize, users: usize, tells: bool) -> (u32, Duration) {
    let world = Arc::new(limited(tells));
    let start = Instant::now();
    let mut all = Vec::new();
    for n in 0..sidecars {
        let keys = connect(&world, &format!("s{n}-"), users, secs(0)).await;
        let sidecar = world.sidecar(n as u64 + 1).await;
        let asked = keys.into_iter().map(|key| {
            let sidecar = sidecar.clone();
            tokio::spawn(async move { ask_as_told(&sidecar, &key).await })
        });
        all.extend(asked);
    }
    for user in all {
        user.await.unwrap();
    }
    let took = Instant::now() - start;
    assert_eq!(world.provider.spent_twice(), Vec::<String>::new());
    let meter = world.provider.meter.lock();
    let meter = meter.as_ref().unwrap();
    assert_eq!(meter.taken.len(), sidecars * users);
    println!("{sidecars} sidecars: {} refused, {took:?}", meter.refused);
    (meter.refused, took)
}

#[tokio::test(start_paused = true)]
async fn sidecars_that_share_an_address_heed_what_is_left_for_all() {
    let (refused, took) = fleet(8, 240, true).await;
    assert!(refused <= 4 * 8, "{refused} refused of 1,920");
    assert!(took <= 25 * MINUTE, "{took:?} instead of 16 minutes");
}

#[tokio::test(start_paused = true)]
async fn sidecars_that_share_an_address_learn_from_refusals_alone() {
    let (refused, took) = fleet(8, 240, false).await;
    // Sixteen minutes at best.
    assert!(refused <= 8 * 12, "{refused} refused of 1,920");
    assert!(took <= 50 * MINUTE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_near_turns_only() {
    let world = limited(true);
    let keys = connect(&world, "u", 1_000, secs(0)).await;
    let sidecar = world.sidecar(1).await;
    let asked: Vec<_> = keys
        .iter()
        .map(|key| {
            let (sidecar, key) = (sidecar.clone(), key.clone());
            tokio::spawn(async move { sidecar.bearer(&key).await })
        })
        .collect();
    settle().await;
    let begun = Instant::now();
    timeout(secs(15), sidecar.lifecycle.drain(secs(25)))
        .await
        .unwrap();
    assert!(Instant::now() - begun <= secs(12));
    let mut served = 0;
    for asked in asked {
        served += usize::from(asked.await.unwrap().is_ok());
    }
    assert!((24..=30).contains(&served), "{served}");
    assert_eq!(
        world.provider.renewals(),
        served,
        "who waits is served, and nobody else"
    );
    let answer = sidecar.tokens.bearer(keys[999].clone()).await;
    assert!(answer.map(|bearer| text(&bearer)).is_err());
}
