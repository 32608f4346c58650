//! The end of a process, and the listeners beside TCP with HTTP/1.1.

use std::time::Duration;

use http::Method;

use crate::{
    sidecar::{Answer, until},
    world::{World, client},
};

#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_it_finishes_what_flows_and_takes_nothing_new() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    let mut sidecar = world.sidecar().await;
    let path = "/calendly/_sse?n=8&interval_ms=150";
    let mut events = sidecar
        .request(Method::GET, "anna", path)
        .send()
        .await
        .unwrap();
    let mut got = events.chunk().await.unwrap().unwrap().to_vec();
    sidecar.terminate();
    until("new connections are refused", async || {
        let fresh = client().build().unwrap();
        let tried = fresh.get(format!("{}/x", sidecar.outbound)).send().await;
        tried.is_err_and(|error| error.is_connect()).then_some(())
    })
    .await;
    while let Some(chunk) = events.chunk().await.unwrap() {
        got.extend_from_slice(&chunk);
    }
    let got = String::from_utf8(got).unwrap();
    assert_eq!(got.matches("data:").count(), 8, "{got}");
    assert_eq!(sidecar.ended().await, Some(0));
    assert!(sidecar.log.line("drained").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_it_has_ended_every_request_is_in_the_log() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    let mut sidecar = world.sidecar().await;
    for _ in 0..40 {
        sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    }
    sidecar.terminate();
    assert_eq!(sidecar.ended().await, Some(0));
    until("what was written is read", async || {
        let lines = sidecar.log.lines();
        let told = lines.iter().filter(|line| line["message"] == "request");
        (told.count() == 40).then_some(())
    })
    .await;
}

/// Lines are gathered for a tenth of a second. Here nothing is left to do once the request has ended, so
/// that the process is gone before that, unless it waits for its last lines.
#[tokio::test(flavor = "multi_thread")]
async fn the_request_that_the_end_waits_for_is_in_the_log_too() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    for _ in 0..3 {
        let mut sidecar = world.sidecar().await;
        let path = "/calendly/_sse?n=3&interval_ms=150";
        let events = sidecar.request(Method::GET, "anna", path).send();
        let mut events = events.await.unwrap();
        events.chunk().await.unwrap().unwrap();
        sidecar.terminate();
        while events.chunk().await.unwrap().is_some() {}
        assert_eq!(sidecar.ended().await, Some(0));
        let told = sidecar.log.request("/calendly/_sse").await;
        assert_eq!(told["outcome"], "done", "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_linger_it_serves_on_and_says_that_it_is_going() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    // Longer than the test: it is the second signal that ends it.
    let mut sidecar = world.sidecar_that(&["--linger", "1h"]).await;
    sidecar.terminate();
    let report = until("probes say that it is going", async || {
        let answer = sidecar.admin("/readyz").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    let report = report.json();
    assert_eq!(report["status"], "draining", "{report}");
    let reason = report["components"]["process"]["reason"].as_str().unwrap();
    assert!(reason.contains("3600 s"), "{report}");
    let fresh = client().build().unwrap();
    let call = fresh.get(format!("{}/calendly/users/me", sidecar.outbound));
    Answer::read(call.header("x-user-id", "anna"))
        .await
        .must_be(200);
    sidecar.admin("/livez").await.must_be(200);
    sidecar.terminate();
    assert_eq!(sidecar.ended().await, Some(0));
    assert!(sidecar.log.line("drained").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_it_finishes_a_renewal_that_was_begun() {
    let world = World::open().await;
    world.expired_at_calendly("anna").await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_after_ms = 600);
    let mut sidecar = world.sidecar().await;
    let request = sidecar
        .request(Method::GET, "anna", "/calendly/users/me")
        .timeout(Duration::from_millis(200));
    assert!(request.send().await.unwrap_err().is_timeout());
    sidecar.terminate();
    assert_eq!(sidecar.ended().await, Some(0));
    let sidecar = world.sidecar().await;
    let connection = sidecar.connection("anna", "calendly").await;
    assert_eq!(connection.json()["generation"], 2, "{connection:?}");
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    assert_eq!(world.calendly_calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_may_speak_http2_without_tls() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    let h2 = client().http2_prior_knowledge().build().unwrap();
    let url = format!("{}/calendly/_echo", sidecar.outbound);
    let answer = h2.post(url).header("x-user-id", "anna").body("hello");
    let answer = Answer::read(answer).await;
    assert_eq!(answer.must_be(200).json()["body_bytes"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_may_come_by_a_unix_socket_which_is_removed_at_the_end() {
    let mut world = World::open().await;
    let socket = world.path("app.sock");
    world
        .settings
        .push(format!("outbound.listen=unix:{}", socket.display()));
    world.valid_at_calendly("anna").await;
    let mut sidecar = world.sidecar().await;
    let local = client().unix_socket(socket.clone()).build().unwrap();
    let answer = local
        .get("http://localhost/calendly/users/me")
        .header("x-user-id", "anna");
    Answer::read(answer).await.must_be(200);
    sidecar.terminate();
    assert_eq!(sidecar.ended().await, Some(0));
    assert!(!socket.exists());
}
