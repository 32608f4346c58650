//! What `/readyz` answers in each kind of trouble: whether to send requests, and why.

use http::Method;
use rusqlite::Connection;

use crate::{
    sidecar::{Sidecar, until},
    world::{KEY, World},
};

/// Another key, base64 of 32 bytes.
const OTHER_KEY: &str = "b3RoZXIta2V5LW90aGVyLWtleS1vdGhlci1rZXktMzI=";

/// Waits until `component` is `status`: the answer's status and the reason.
async fn told(sidecar: &Sidecar, component: &str, status: &str) -> (u16, String) {
    let answer = until(component, async || {
        let answer = sidecar.admin("/readyz").await;
        (answer.json()["components"][component]["status"] == status).then_some(answer)
    })
    .await;
    let json = answer.json();
    assert_eq!(json["status"], status, "{json}");
    let reason = json["components"][component]["reason"].as_str();
    (
        answer.status.as_u16(),
        reason.unwrap_or_default().to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_is_told_and_requests_may_come() {
    let world = World::open().await;
    let sidecar = world.sidecar().await;
    let thief = Connection::open(world.database()).unwrap();
    thief.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (status, reason) = told(&sidecar, "store", "degraded").await;
    assert_eq!(status, 200);
    assert!(reason.contains("another process keeps"), "{reason}");
    thief.execute_batch("ROLLBACK").unwrap();
    told(&sidecar, "store", "ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_failed_a_request_is_told_by_the_time_that_the_request_is_answered() {
    let world = World::open().await;
    world.expired_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    told(&sidecar, "store", "ready").await;
    let thief = Connection::open(world.database()).unwrap();
    thief.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = sidecar.get("anna", "/calendly/users/me").await;
    answer.must_be_problem(503, "store-unavailable");
    let report = sidecar.admin("/readyz").await.json();
    let store = &report["components"]["store"];
    assert_eq!(store["status"], "degraded", "{report}");
    let reason = store["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("another process keeps"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_missing_is_told_by_its_name() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    world.reconfigure(
        &format!("id = \"k1\"\nvalue = \"{KEY}\""),
        &format!("id = \"k2\"\nvalue = \"{OTHER_KEY}\""),
    );
    let sidecar = world.sidecar().await;
    let answer = sidecar.get("anna", "/calendly/users/me").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let (status, reason) = told(&sidecar, "keys", "degraded").await;
    assert_eq!(status, 200);
    assert!(
        reason.contains("not configured: \"k1\"; add it to encryption.keys"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_the_client_is_told_by_its_name() {
    let world = World::open().await;
    world.expired_at_calendly("anna").await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.client_secret = "another".to_owned());
    let sidecar = world.sidecar().await;
    let answer = sidecar.get("anna", "/calendly/users/me").await;
    answer.must_be_problem(503, "provider-misconfigured");
    let (status, reason) = told(&sidecar, "providers", "degraded").await;
    assert_eq!(
        (status, reason.as_str()),
        (200, "calendly refuses the client credentials")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_told_with_how_long_it_may_take() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    let mut sidecar = world.sidecar().await;
    let path = "/calendly/_sse?n=8&interval_ms=150";
    let events = sidecar
        .request(Method::GET, "anna", path)
        .send()
        .await
        .unwrap();
    sidecar.terminate();
    let (status, reason) = told(&sidecar, "process", "draining").await;
    assert_eq!(status, 503);
    assert_eq!(
        reason,
        "told to end; finishes what is under way, within 25 s"
    );
    assert_eq!(events.text().await.unwrap().matches("data:").count(), 8);
    assert_eq!(sidecar.ended().await, Some(0));
}
