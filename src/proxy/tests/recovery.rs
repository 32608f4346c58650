//! Refused tokens: one renewal, one replay, and what is said about it.

use std::sync::atomic::Ordering;

use super::world::*;
use crate::{base::ids::ConnectionKey, token};

fn key() -> ConnectionKey {
    ConnectionKey {
        provider: "calendly".parse().unwrap(),
        user: "u_1".parse().unwrap(),
    }
}

/// Refuses the old token with `code` and `text`.
fn refusing(code: u16, text: &'static str) -> World {
    World::new(move |seen| {
        if seen.bearer().ends_with(OLD) {
            answer(code, text)
        } else {
            answer(200, "fine")
        }
    })
}

#[tokio::test]
async fn a_refused_request_is_replayed_once_with_the_same_body() {
    let world = refusing(401, "no");
    let got = world
        .send("POST", "/calendly/x?q=1", "x-custom: 1\r\n", "payload")
        .await;
    assert_eq!((status(&got), body(&got)), (200, "fine"));
    let note = header(&got, "proxy-status").unwrap();
    assert!(
        note.starts_with("daypass; received-status=200; details=\"replayed"),
        "{note}"
    );
    let seen = world.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1].bearer(), format!("Bearer {NEW}"));
    assert_eq!((&seen[0].body, &seen[0].uri), (&seen[1].body, &seen[1].uri));
    assert_eq!(seen[1].body, "payload");
    assert_eq!(seen[1].headers["x-custom"], "1");
    assert_eq!(seen[1].headers["content-length"], "7");
    assert_eq!(world.renewals(), 1);
}

#[tokio::test]
async fn a_body_can_be_what_refuses() {
    let world = refusing(403, "refused: no client for access token");
    let got = world.get("/calendly/x", "").await;
    assert_eq!((status(&got), body(&got)), (200, "fine"));
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test]
async fn a_second_refusal_is_the_providers_answer() {
    let world = World::new(|_| answer(401, "never"));
    let got = world.get("/calendly/x", "").await;
    assert_eq!((status(&got), body(&got)), (401, "never"));
    let note = header(&got, "proxy-status").unwrap();
    assert!(
        note.contains("received-status=401") && note.contains("too"),
        "{note}"
    );
    assert_eq!(world.seen().len(), 2);
    assert_eq!(world.renewals(), 1);
}

#[tokio::test]
async fn a_body_too_long_to_keep_is_not_replayed() {
    let world = refusing(401, "no");
    let got = world
        .send("POST", "/calendly/x", "", &"x".repeat(1025))
        .await;
    assert_eq!((status(&got), body(&got)), (401, "no"));
    let note = header(&got, "proxy-status").unwrap();
    assert!(
        note.contains("received-status=401") && note.contains("too long"),
        "{note}"
    );
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn permission_quota_and_server_errors_never_renew() {
    for code in [400, 403, 404, 409, 429, 500, 502, 503] {
        let world = World::new(move |_| answer(code, "whatever"));
        let got = world.get("/calendly/x", "").await;
        assert_eq!((status(&got), body(&got)), (code, "whatever"));
        assert_eq!(header(&got, "proxy-status"), None);
        assert_eq!((world.seen().len(), world.renewals()), (1, 0), "{code}");
    }
}

#[tokio::test]
async fn an_echoed_token_is_redacted() {
    let world = World::new(|seen| {
        let token = seen.bearer().replace("Bearer ", "");
        let mut response = answer(403, &format!("no client for access token={token} {token}"));
        response
            .headers_mut()
            .insert("x-echo", token.parse().unwrap());
        response
    });
    let got = world.get("/calendly/x", "").await;
    assert_eq!(
        body(&got),
        "no client for access token=[redacted] [redacted]"
    );
    assert_eq!(header(&got, "x-echo"), Some("[redacted]"));
    assert!(!got.contains(OLD));
    assert_eq!(
        header(&got, "content-length"),
        Some(&*body(&got).len().to_string())
    );
}

#[tokio::test]
async fn an_echo_after_the_replay_is_redacted_too() {
    let world = World::new(|seen| answer(403, &format!("refused {}", seen.bearer())));
    let got = world.get("/calendly/x", "").await;
    assert_eq!(body(&got), "refused Bearer [redacted]");
}

#[tokio::test]
async fn a_gone_account_is_reported_and_its_answer_passed_on() {
    let world = World::new(|_| answer(403, "gone for good"));
    let got = world.get("/calendly/x", "").await;
    assert_eq!((status(&got), body(&got)), (403, "gone for good"));
    assert_eq!(world.tokens.gone.load(Ordering::SeqCst), 1);
    assert_eq!(world.renewals(), 0);
}

#[tokio::test]
async fn a_dead_grant_is_told_from_the_providers_401() {
    let world = refusing(401, "no");
    let error = token::Error::NotConnected { key: key() };
    world.tokens.next.lock().push_back(Err(error));
    let got = world.get("/calendly/x", "").await;
    assert_eq!(status(&got), 424);
    assert!(body(&got).contains("urn:daypass:problem:not-connected"));
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn too_many_refusals_pass_the_providers_answer() {
    let world = refusing(401, "no");
    let error = token::Error::AnswerStands { key: key() };
    world.tokens.next.lock().push_back(Err(error));
    let got = world.get("/calendly/x", "").await;
    assert_eq!((status(&got), body(&got)), (401, "no"));
    assert!(
        header(&got, "proxy-status")
            .unwrap()
            .contains("not renewed again")
    );
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let world = World::new(|_| answer(200, "anonymous"));
    *world.tokens.miss.lock() = Some(token::Error::RefreshFailed {
        key: key(),
        retry_after: std::time::Duration::from_secs(7),
        what: "the provider is down".into(),
    });
    let got = world.get("/calendly/x", "").await;
    assert_eq!(status(&got), 503);
    assert!(body(&got).contains("urn:daypass:problem:refresh-failed"));
    assert_eq!(header(&got, "retry-after"), Some("7"));
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn a_token_that_is_not_in_memory_is_waited_for() {
    let world = refusing(403, "not yours");
    world.tokens.cold.store(true, Ordering::SeqCst);
    let got = world.get("/calendly/x", "").await;
    assert_eq!((status(&got), body(&got)), (403, "not yours"));
    assert_eq!(world.seen()[0].bearer(), format!("Bearer {OLD}"));
}
