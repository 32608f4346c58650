//! The store is down: cached tokens go on being used, nothing is redeemed that could not be recorded,
//! and what was minted just before waits in the spool.

use std::{sync::Arc, time::Duration};

use daypass::sandbox::{Created, token_id};
use tokio::time::Instant;

use super::{
    Asker, BACK, LATE, Outage, PLACES, SETTINGS, connect, connect_for, everywhere_ready, names,
    ready, served, words,
};
use crate::{
    ground::{Answer, Ground, line, until},
    keeper::{Backend, STORES},
    on_each,
};

/// When every sidecar has noticed, also one that has not used the store: it looks within 10 s, rests
/// for 1 s between two looks, and a file that is locked lets it wait for 5 s.
const NOTICED: Duration = Duration::from_secs(16);

/// Asks for `user` while nothing can be stored: its new tokens are in the spool of the first place.
async fn leave_one_in_the_spool(ground: &Ground, user: &str) -> Created {
    let created = ground.expired(user).await;
    let calendly = ground.sandbox.calendly();
    calendly.set(|switches| switches.token_latency_after_ms = 2_000);
    let (renewed, ()) = tokio::join!(ground.get(0, user, "/calendly/users/me"), async {
        let url = format!("{}/users/me", ground.sandbox.calendly_url());
        until("the rotation", async || {
            let old = ground.http.get(&url).bearer_auth(&created.access_token);
            (old.send().await.unwrap().status() != 200).then_some(())
        })
        .await;
        stop(ground).await;
    });
    renewed.must_be(200);
    calendly.set(|switches| switches.token_latency_after_ms = 0);
    assert_eq!(ground.places[0].spooled().len(), 1);
    created
}

#[expect(
    clippy::too_many_lines,
    clippy::cognitive_complexity,
    reason = "an outage is told from its beginning to its end"
)]
async fn the_store_is_down(backend: Backend) {
    let mut outage = Outage::new();
    let ground = Ground::open(backend, PLACES, SETTINGS).await;
    let (long, short, cold) = (names("long", 10), names("short", 10), names("cold", 5));
    connect(&ground, &long).await;
    connect(&ground, &cold).await;
    ground.start().await;
    served(&ground, &long, Instant::now()).await;
    let life = Duration::from_secs(outage.long.as_secs() * 4 / 10);
    let minted = Instant::now();
    connect_for(&ground, &short, life.as_secs()).await;
    let spooled = ["spooled".to_owned()];
    let created = leave_one_in_the_spool(&ground, &spooled[0]).await;
    let calls = ground.sandbox.calendly().stats().minted();

    let is_served = |_, answer: &Answer| answer.status == 200;
    let is_refused = |_, answer: &Answer| answer.slug() == "store-unavailable";
    let before = Instant::now().saturating_duration_since(minted);
    let while_it_lives = |at: Duration, answer: &Answer| {
        let is_long_gone = at + before + LATE > life * 3 / 4;
        (answer.status == 200 && at < life) || (is_refused(at, answer) && is_long_gone)
    };
    let asker = |user, place, may_be| Asker {
        user,
        place,
        may_be,
    };
    let mut askers = vec![asker(
        &*spooled[0],
        Some(0),
        &is_served as &(dyn Fn(_, &_) -> _ + Sync),
    )];
    askers.extend(long.iter().map(|user| asker(user, None, &is_served as _)));
    askers.extend(
        short
            .iter()
            .map(|user| asker(user, None, &while_it_lives as _)),
    );
    // A file that somebody has locked can be read all the same.
    let of_the_cold: &(dyn Fn(_, &_) -> _ + Sync) = match backend {
        Backend::Sqlite => &is_served,
        _ => &is_refused,
    };
    askers.extend(cold.iter().map(|user| asker(user, None, of_the_cold)));
    let part = outage.part();
    outage
        .last(&ground, &askers, async |nth| {
            if part * (nth - 1) >= NOTICED {
                for place in 0..PLACES {
                    let (status, reason) = ready(&ground, place, "store").await;
                    assert_eq!(status, "degraded");
                    assert!(reason.contains("unavailable"), "{reason}");
                }
            }
            if backend == Backend::Sqlite {
                "locked"
            } else {
                "down"
            }
        })
        .await;
    let newcomer = line("calendly", &ground.calendly_user("new"));
    let is_taken = ground.try_import(&[newcomer]).await;
    assert!(!is_taken, "nothing new is promised");
    resume(&ground).await;
    let since = Instant::now();
    let everybody = [&long[..], &short, &cold, &spooled].concat();
    let (ready, served, spool) = tokio::join!(
        everywhere_ready(&ground, since),
        served(&ground, &everybody, since),
        unspooled(&ground, since),
    );
    outage.back = [ready, served, spool];
    words::tell_of_store(backend, &outage);
    assert!(ready.max(served).max(spool) < BACK);
    assert_eq!(outage.calls(), 0, "without the store nothing is redeemed");
    assert_eq!(calls, 1);
    let lives = ground.places.iter().map(|place| place.life());
    assert_eq!(lives.max(), Some(1), "nobody was started again");
    let stats = ground.sandbox.calendly().stats();
    for (token, used) in &stats.redemptions {
        // A sibling may ask before the spool is offered; then it waits for it.
        let is_spooled = *token == token_id(&created.refresh_token);
        assert!(
            used.ok == 1 && (used.refused == 0 || is_spooled),
            "{stats:?}"
        );
    }
    assert_eq!(stats.redemptions.len(), 11, "each that had ended, once");
}

async fn unspooled(ground: &Ground, since: Instant) -> Duration {
    until("the spool is empty", async || {
        ground.places[0].spooled().is_empty().then_some(())
    })
    .await;
    Instant::now().saturating_duration_since(since)
}

async fn stop(ground: &Ground) {
    let keeper = Arc::clone(&ground.keeper);
    tokio::task::spawn_blocking(move || keeper.lock().stop("KILL"))
        .await
        .unwrap();
}

async fn resume(ground: &Ground) {
    let keeper = Arc::clone(&ground.keeper);
    tokio::task::spawn_blocking(move || keeper.lock().resume())
        .await
        .unwrap();
}

#[test]
fn while_the_store_is_down_cached_tokens_are_used_and_all_is_well_after() {
    on_each(&STORES, the_store_is_down);
}
