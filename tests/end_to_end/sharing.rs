//! Many requests at once, and what they have in common.

use std::time::Duration;

use daypass::sandbox::{ApiFault, ApiMischief, Killed, Revoke, TokenFault, TokenMischief};
use futures_util::{StreamExt, future::join_all, stream};
use http::Method;

use crate::{
    sidecar::{Answer, until},
    world::{World, expired, line},
};

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_requests_with_one_expired_token_make_one_token_call() {
    let world = World::open().await;
    world.expired_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    let calls = (0..500).map(|_| sidecar.get("anna", "/calendly/users/me"));
    for answer in join_all(calls).await {
        answer.must_be(200);
        assert_eq!(
            answer.json()["resource"]["email"],
            "anna@sandbox.test",
            "{answer:?}"
        );
    }
    assert_eq!(world.calendly_calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_users_whose_tokens_end_at_once_make_one_token_call_each() {
    let world = World::open().await;
    let names: Vec<String> = (0..200).map(|nth| format!("user-{nth:03}")).collect();
    let lines: Vec<_> = names
        .iter()
        .map(|name| expired(&line("calendly", &world.calendly_user(name))))
        .collect();
    world.import(&lines).await;
    let sidecar = world.sidecar().await;
    let calls = (0..10_000).map(|nth| {
        let (name, sidecar) = (&names[nth % names.len()], &sidecar);
        async move { (name, sidecar.get(name, "/calendly/users/me").await) }
    });
    let mut answers = stream::iter(calls).buffer_unordered(400);
    while let Some((name, answer)) = answers.next().await {
        answer.must_be(200);
        let email = answer.json()["resource"]["email"].clone();
        assert_eq!(email, format!("{name}@sandbox.test"));
    }
    let calls = world.calendly_calls();
    assert_eq!(calls.len(), 200);
    assert!(calls.iter().all(|call| call.outcome == "ok"), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_that_are_refused_at_once_make_one_token_call() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    let order = Revoke {
        user: "anna".to_owned(),
        what: Killed::Access,
    };
    world.sandbox.calendly().revoke(&order).unwrap();
    let calls = (0..100).map(|_| sidecar.get("anna", "/calendly/users/me"));
    for answer in join_all(calls).await {
        answer.must_be(200);
    }
    assert_eq!(world.calendly_calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_outlives_the_caller_who_began_it() {
    let world = World::open().await;
    world.expired_at_calendly("anna").await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_ms = 300);
    let sidecar = world.sidecar().await;
    let impatient = sidecar
        .request(Method::GET, "anna", "/calendly/users/me")
        .timeout(Duration::from_millis(100));
    assert!(impatient.send().await.unwrap_err().is_timeout());
    sidecar.until_generation("anna", "calendly", 2).await;
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    assert_eq!(world.calendly_calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_due_token_is_used_at_once_while_its_renewal_is_slow() {
    let world = World::open().await;
    world.due_at_calendly("anna", 120).await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_ms = 1_500);
    let sidecar = world.sidecar().await;
    for _ in 0..5 {
        let quick = sidecar
            .request(Method::GET, "anna", "/calendly/users/me")
            .timeout(Duration::from_secs(1));
        Answer::read(quick).await.must_be(200);
    }
    until("one renewal", async || {
        (!world.calendly_calls().is_empty()).then_some(())
    })
    .await;
    assert_eq!(world.calendly_calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_token_is_used_while_the_token_endpoint_is_down() {
    let world = World::open().await;
    world.sandbox.calendly().set(|switches| {
        switches.token_faults = vec![TokenFault {
            times: None,
            call: None,
            what: TokenMischief::DropBefore,
        }];
    });
    world.due_at_calendly("anna", 120).await;
    let sidecar = world.sidecar().await;
    for _ in 0..20 {
        sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    }
    let refresh = sidecar
        .post("anna", "/-/calendly/refresh", Vec::new())
        .await;
    refresh.must_be_problem(503, "refresh-failed");
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_never_sent() {
    let world = World::open().await;
    world.expired_at_calendly("anna").await;
    world.sandbox.calendly().set(|switches| {
        switches.token_faults = vec![TokenFault::next(1, TokenMischief::DropBefore)];
    });
    let sidecar = world.sidecar().await;
    let answer = sidecar.get("anna", "/calendly/users/me").await;
    answer.must_be_problem(503, "refresh-failed");
    assert_eq!(world.calendly_api_calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_for_nobody_or_for_strangers() {
    let world = World::open().await;
    world.sandbox.calendly().set(|switches| {
        switches.api_faults = vec![ApiFault::next(9, ApiMischief::ServerError)];
    });
    let sidecar = world.sidecar().await;
    let nobody = world
        .http
        .get(format!("{}/calendly/users/me", sidecar.outbound));
    Answer::read(nobody)
        .await
        .must_be_problem(400, "missing-user");
    let bearer = world
        .http
        .get(format!("{}/calendly/users/me", sidecar.outbound))
        .bearer_auth("mine");
    Answer::read(bearer)
        .await
        .must_be_problem(400, "missing-user");
    let stranger = sidecar.get("stranger", "/calendly/users/me").await;
    stranger.must_be_problem(424, "not-connected");
    assert_eq!(world.calendly_api_calls(), 0);
}
