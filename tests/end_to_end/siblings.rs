//! Two sidecars on one database, and commands beside them.

use std::time::Duration;

use daypass::sandbox::{Call, Killed, Revoke};
use futures_util::future::join_all;
use http::Method;
use tokio::time::{Instant, sleep};

use crate::{
    sidecar::{Answer, Sidecar, until},
    world::{World, expired, line},
};

/// What one process writes, the others must have seen by then.
const SOON: Duration = Duration::from_secs(1);

/// Asks until the answer is this one; it must not take longer than [`SOON`] and a little.
async fn soon(sidecar: &Sidecar, user: &str, status: u16, slug: &str) -> Answer {
    let began = Instant::now();
    let answer = until("the change is seen", async || {
        let answer = sidecar.get(user, "/calendly/users/me").await;
        (answer.status.as_u16() == status && answer.slug() == slug).then_some(answer)
    })
    .await;
    let took = Instant::now().saturating_duration_since(began);
    assert!(took < SOON * 2, "seen after {took:?}");
    answer
}

fn revoke(user: &str, what: Killed) -> Revoke {
    let user = user.to_owned();
    Revoke { user, what }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sidecars_renew_each_of_many_users_once() {
    let world = World::open().await;
    let names: Vec<String> = (0..40).map(|nth| format!("user-{nth}")).collect();
    let lines: Vec<_> = names
        .iter()
        .map(|name| expired(&line("calendly", &world.calendly_user(name))))
        .collect();
    world.import(&lines).await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_ms = 30);
    let (one, two) = (world.sidecar().await, world.sidecar().await);
    let calls = names.iter().flat_map(|name| {
        [&one, &two, &one, &two].map(|sidecar| sidecar.get(name, "/calendly/users/me"))
    });
    for answer in join_all(calls).await {
        answer.must_be(200);
    }
    let calls = world.calendly_calls();
    assert_eq!(calls.len(), names.len());
    world.assert_no_double_redemption();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_refused_at_two_sidecars_at_once_make_one_token_call() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    let (one, two) = (world.sidecar().await, world.sidecar().await);
    for sidecar in [&one, &two] {
        sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    }
    world
        .sandbox
        .calendly()
        .revoke(&revoke("anna", Killed::Access))
        .unwrap();
    let calls = (0..40).map(|nth| {
        let sidecar = if nth % 2 == 0 { &one } else { &two };
        sidecar.get("anna", "/calendly/users/me")
    });
    for answer in join_all(calls).await {
        answer.must_be(200);
    }
    assert_eq!(world.calendly_calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn forced_by_two_sidecars_at_once_managed_tokens_are_minted_once() {
    let world = World::open().await;
    world.managed("mona").await;
    let (one, two) = (world.sidecar().await, world.sidecar().await);
    for sidecar in [&one, &two] {
        sidecar.get("mona", "/calcom/v2/me").await.must_be(200);
    }
    world
        .sandbox
        .calcom()
        .revoke(&revoke("mona", Killed::Grant))
        .unwrap();
    let calls = (0..40).map(|nth| {
        let sidecar = if nth % 2 == 0 { &one } else { &two };
        sidecar.get("mona", "/calcom/v2/me")
    });
    for answer in join_all(calls).await {
        answer.must_be(200);
    }
    let calls = world.calcom_calls();
    let forced = calls
        .iter()
        .filter(|call| call.call == Call::ForceRefresh)
        .count();
    assert_eq!((forced, calls.len()), (1, 2), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_takes_over_from_one_that_was_killed_mid_renewal() {
    let world = World::open()
        .await
        .with("refresh.lease_ttl=2s")
        .with("refresh.timeout=1s");
    world.expired_at_calendly("anna").await;
    // Held before it commits; the provider drops the work of a caller that is gone only here.
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_ms = 400);
    let (one, two) = (world.sidecar().await, world.sidecar().await);
    let request = one.request(Method::GET, "anna", "/calendly/users/me");
    tokio::spawn(request.send());
    sleep(Duration::from_millis(150)).await;
    let waiting = two.get("anna", "/calendly/users/me");
    let (answer, ()) = tokio::join!(waiting, one.kill());
    // The killed one's call was honoured after all: its tokens died with it.
    assert!([424, 503].contains(&answer.status.as_u16()), "{answer:?}");
    let settled = until("an answer that stands", async || {
        let answer = two.get("anna", "/calendly/users/me").await;
        (answer.slug() != "refresh-failed").then_some(answer)
    })
    .await;
    settled.must_be_problem(424, "needs-reauth");
    assert_eq!(settled.json()["reason"], "lost-rotation");
    world.assert_no_double_redemption();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commands_change_is_seen_by_every_sidecar_within_a_second() {
    let world = World::open().await;
    let anna = world.valid_at_calendly("anna").await;
    let sidecars = [world.sidecar().await, world.sidecar().await];
    for sidecar in &sidecars {
        sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    }
    world
        .sandbox
        .calendly()
        .revoke(&revoke("anna", Killed::Grant))
        .unwrap();
    for sidecar in &sidecars {
        soon(sidecar, "anna", 424, "needs-reauth").await;
    }
    let again = world.calendly_user("anna");
    assert_ne!(again.access_token, anna.access_token);
    world.import(&[line("calendly", &again)]).await;
    for sidecar in &sidecars {
        soon(sidecar, "anna", 200, "").await;
    }
    world
        .done(&["connections", "revoke", "calendly", "anna"], "")
        .await;
    for sidecar in &sidecars {
        soon(sidecar, "anna", 424, "not-connected").await;
    }
    let again = world.calendly_user("anna");
    world.import(&[line("calendly", &again)]).await;
    for sidecar in &sidecars {
        soon(sidecar, "anna", 200, "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_removed_during_its_renewal_stays_removed_and_the_new_token_is_revoked() {
    let world = World::open().await;
    world.expired_at_calendly("anna").await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_after_ms = 1_500);
    let sidecar = world.sidecar().await;
    let (answer, ended) = tokio::join!(sidecar.get("anna", "/calendly/users/me"), async {
        sleep(Duration::from_millis(300)).await;
        world
            .command(&["connections", "revoke", "calendly", "anna"], "")
            .await
    });
    assert_eq!(ended.code, Some(0), "{ended:?}");
    answer.must_be_problem(424, "not-connected");
    let calls = world.calendly_calls();
    let minted = calls
        .iter()
        .find(|call| call.call == Call::Refresh)
        .unwrap();
    let revokes = calls
        .iter()
        .filter(|call| call.call == Call::Revoke)
        .count();
    assert!(minted.outcome == "ok" && revokes == 2, "{calls:?}");
    for _ in 0..3 {
        sidecar
            .get("anna", "/calendly/users/me")
            .await
            .must_be_problem(424, "not-connected");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnect_during_a_renewal_wins() {
    let world = World::open().await;
    world.expired_at_calendly("anna").await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_after_ms = 1_000);
    let sidecar = world.sidecar().await;
    let (answer, again) = tokio::join!(sidecar.get("anna", "/calendly/_echo"), async {
        sleep(Duration::from_millis(200)).await;
        let again = world.calendly_user("anna");
        world.import(&[line("calendly", &again)]).await;
        again
    });
    answer.must_be(200);
    for _ in 0..3 {
        let answer = sidecar.get("anna", "/calendly/_echo").await;
        let used = answer.must_be(200).json()["bearer"].clone();
        assert_eq!(used, daypass::sandbox::token_id(&again.access_token));
    }
}
