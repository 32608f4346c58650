//! The status page in a real browser: Debian's Chromium, driven by Playwright, against the real binary
//! with the emulated providers. What the browser does is in `page.mjs`; `./test` installs both.
//!
//! `DAYPASS_SCREENSHOTS=SECONDS` has the pictures of the documentation made anew, after so many seconds
//! in which the charts fill. Otherwise nothing is written outside `target`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that meets the unexpected must fail loudly, and its servers are tasks of its own"
)]

mod app;
#[path = "../servers/sandbox.rs"]
mod sandbox;
mod stage;

use stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_finds_what_is_broken_and_mends_it() {
    let stage = Stage::open().await;
    stage.drive("with-script").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_works_without_a_script() {
    let stage = Stage::open().await;
    stage.drive("without-script").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn screenshots_are_made_when_they_are_asked_for() {
    let Some(seconds) = stage::screenshots() else {
        return;
    };
    let stage = Stage::open().await;
    stage.be_busy(seconds).await;
    stage.drive("screenshots").await;
}
