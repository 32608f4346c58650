//! The examples of `docs/examples`, run as their readers would: an app in its own language, the sidecar
//! and the emulated providers, each a process, and a browser that walks through the consent.
//!
//! 1. Everything starts from the files as they are in the repository, addresses apart.
//! 2. Signatures are checked by the examples with the public library of their language. What the test
//!    forges it makes itself from the specification, and a genuine twin of each forgery is taken.
//! 3. `./test` installs the packages; without them these tests fail, and say so.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets the unexpected must fail loudly"
)]

mod browser;
mod examples;
mod forging;
mod process;
mod stage;

use http::StatusCode;
use serde_json::Value;

use browser::Browser;
use examples::{EXPRESS, Example, FASTAPI, NEXTJS};
use stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn the_express_app_connects_calls_and_believes_only_daypass() {
    is_played_through(&EXPRESS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nextjs_handlers_connect_call_and_believe_only_daypass() {
    is_played_through(&NEXTJS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fastapi_app_connects_calls_and_believes_only_daypass() {
    is_played_through(&FASTAPI).await;
}

async fn is_played_through(example: &'static Example) {
    let stage = Stage::open(example).await;
    let mut alice = stage.browser("alice");

    nobody_is_connected_yet(&stage, &mut alice).await;
    who_says_no_is_told_so(&stage, &mut alice).await;
    who_consents_is_connected(&stage, &mut alice).await;
    calls_are_made_for_the_user(&stage, &mut alice).await;
    a_booking_arrives_at_its_own_user(&stage, &mut alice).await;
    stage.takes_only_what_daypass_signed(&mut alice).await;
}

async fn nobody_is_connected_yet(stage: &Stage, alice: &mut Browser) {
    let meetings = alice.open(&stage.at("/meetings")).await;
    assert_eq!(meetings.status, StatusCode::CONFLICT, "{meetings:?}");
}

/// The connect button, up to the provider's consent page.
async fn press_the_button(stage: &Stage, alice: &mut Browser) -> browser::Page {
    let page = alice.open(&stage.at("/")).await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    let consent = alice.submit(&page, &[]).await;
    assert_eq!(consent.status, StatusCode::OK, "{consent:?}");
    assert!(
        consent.url.as_str().starts_with(stage.provider()),
        "{consent:?}"
    );
    consent
}

async fn who_says_no_is_told_so(stage: &Stage, alice: &mut Browser) {
    let consent = press_the_button(stage, alice).await;
    let back = alice.submit(&consent, &[("decision", "deny")]).await;
    assert!(back.url.as_str().starts_with(&stage.at("/")), "{back:?}");
    assert!(
        back.body.contains("Not connected: access-denied."),
        "{back:?}"
    );
}

async fn who_consents_is_connected(stage: &Stage, alice: &mut Browser) {
    let consent = press_the_button(stage, alice).await;
    let approval = [("decision", "approve"), ("user", "alice")];
    let back = alice.submit(&consent, &approval).await;
    assert!(back.url.as_str().starts_with(&stage.at("/")), "{back:?}");
    assert!(back.body.contains(" is connected."), "{back:?}");
}

async fn calls_are_made_for_the_user(stage: &Stage, alice: &mut Browser) {
    let meetings = alice.open(&stage.at("/meetings")).await;
    assert_eq!(meetings.status, StatusCode::OK, "{meetings:?}");
    let meetings: Value = serde_json::from_str(&meetings.body).unwrap();
    let names = meetings.as_array().unwrap().iter();
    assert!(
        names
            .map(|meeting| meeting["name"].as_str().unwrap())
            .any(|name| name.contains("Intro")),
        "{meetings}"
    );
}

async fn a_booking_arrives_at_its_own_user(stage: &Stage, alice: &mut Browser) {
    stage.until_subscribed().await;
    stage.book("alice").await;
    let booked = stage.until_told(alice, stage.example.booked).await;
    assert!(booked["data"]["payload"].is_object(), "{booked}");
    let connected = stage.until_told(alice, "connection.connected").await;
    assert_eq!(connected["data"]["provider"], stage.example.provider);
    let bob = stage.browser("bob").open(&stage.at("/news")).await;
    assert_eq!(bob.body, "[]");
}
