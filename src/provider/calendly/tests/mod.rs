//! What is sent to Calendly, and what its answers are taken for.

use serde_json::json;

use super::*;
use crate::provider::scripted::{
    Play, Scripted, Seen, answer, calls, fields, json, name, outcome, printed, secret, setting,
};

mod consent;
mod event;
mod signature;

fn config(server: &Scripted) -> Config {
    Config {
        name: name("calendly"),
        api_base: ApiBase::parse("https://api.calendly.com").unwrap(),
        auth_base: server.base(),
        client_id: Some("the-client".to_owned()),
        client_secret: Some(setting("CLIENT-SECRET")),
        redirect_uri: None,
        scope: String::new(),
        authorize_params: Vec::new(),
        webhook_signing_key: None,
        webhook_scope: WebhookScope::User,
    }
}

fn calendly(server: &Scripted) -> Calendly {
    Calendly::new(config(server), calls())
}

async fn refreshed(answer: Vec<u8>) -> (Result<Minted, CallError>, Seen) {
    let server = Scripted::answering(answer).await;
    let account = Account::default();
    let result = calendly(&server).refresh(&account, &secret("OLD")).await;
    (result, server.only())
}

async fn revoked(answer: Vec<u8>) -> (Result<bool, CallError>, Seen) {
    let server = Scripted::answering(answer).await;
    let result = calendly(&server).revoke(&secret("OLD")).await;
    (result, server.only())
}

#[tokio::test]
async fn a_refresh_shows_the_client_by_basic_and_the_token_by_form() {
    let body = json!({"token_type": "Bearer", "access_token": "ACCESS", "refresh_token": "REFRESH",
        "scope": "users:read", "created_at": 1_600_000_000, "expires_in": 7200,
        "owner": "https://api.calendly.com/users/AAA",
        "organization": "https://api.calendly.com/organizations/BBB"});
    let (result, seen) = refreshed(json(200, &body)).await;
    assert_eq!(seen.target(), "POST /oauth/token");
    // the-client:CLIENT-SECRET
    let basic = "Basic dGhlLWNsaWVudDpDTElFTlQtU0VDUkVU";
    assert_eq!(seen.header("authorization"), Some(basic));
    let expected = fields([("grant_type", "refresh_token"), ("refresh_token", "OLD")]);
    assert_eq!(seen.form(), expected);
    let minted = result.unwrap();
    assert_eq!(minted.access.danger_expose(), "ACCESS");
    assert_eq!(minted.refresh.unwrap().danger_expose(), "REFRESH");
    assert_eq!(minted.expires_in, Some(Duration::from_hours(2)));
    assert_eq!(minted.refresh_expires_in, None);
    assert_eq!(minted.scope.as_deref(), Some("users:read"));
    let account = Account {
        external_id: Some("https://api.calendly.com/users/AAA".to_owned()),
        organization: Some("https://api.calendly.com/organizations/BBB".to_owned()),
        managed_user_id: None,
    };
    assert_eq!(minted.account, account);
}

#[tokio::test]
async fn an_answer_that_names_nobody_is_good_too() {
    let body = json!({"access_token": "ACCESS", "owner": null, "organization": ""});
    let (result, _) = refreshed(json(200, &body)).await;
    let minted = result.unwrap();
    assert_eq!(minted.account, Account::default());
    assert!(minted.refresh.is_none());
    assert_eq!(minted.expires_in, None);
}

#[tokio::test]
async fn a_revocation_shows_the_client_by_form_alone() {
    let (result, seen) = revoked(json(200, &json!({}))).await;
    assert!(result.unwrap());
    assert_eq!(seen.target(), "POST /oauth/revoke");
    assert_eq!(seen.header("authorization"), None);
    let expected = fields([
        ("client_id", "the-client"),
        ("client_secret", "CLIENT-SECRET"),
        ("token", "OLD"),
    ]);
    assert_eq!(seen.form(), expected);
}

#[tokio::test]
async fn refusals_are_told_apart() {
    for (status, error, expected) in [
        (400, "invalid_grant", "grant: invalid_grant"),
        (401, "invalid_grant", "grant: invalid_grant"),
        (400, "invalid_client", "client: invalid_client"),
        (401, "invalid_client", "client: invalid_client"),
        (403, "unauthorized_client", "client: unauthorized_client"),
        (400, "invalid_request", "unexpected: 400 Bad Request"),
        (401, "anything", "unexpected: 401 Unauthorized"),
        (404, "invalid_grant", "unexpected: 404 Not Found"),
    ] {
        let body = json!({"error": error, "error_description": "The provided grant is invalid"});
        let (result, _) = refreshed(json(status, &body)).await;
        assert_eq!(outcome(result), expected, "refresh: {status} {error}");
        let (result, _) = revoked(json(status, &body)).await;
        assert_eq!(outcome(result), expected, "revoke: {status} {error}");
    }
}

#[tokio::test]
async fn what_is_no_documented_answer_refuses_nobody() {
    for (status, body) in [
        (400, "<html>invalid_grant</html>"),
        (401, ""),
        (403, "no"),
        (404, ""),
    ] {
        let (result, _) = refreshed(answer(status, "text/html", body)).await;
        let outcome = outcome(result);
        assert!(outcome.starts_with("unexpected: "), "{status}: {outcome}");
    }
}

#[tokio::test]
async fn unclear_answers_may_have_spent_the_token() {
    for (status, kind, body) in [
        (200, "application/json", ""),
        (200, "text/html", "<html>maintenance</html>"),
        (200, "application/json", "{\"token_type\":\"Bearer\"}"),
        (500, "application/json", "{\"error\":\"invalid_grant\"}"),
        (503, "text/html", ""),
    ] {
        let (result, _) = refreshed(answer(status, kind, body)).await;
        assert!(result.unwrap_err().may_have_spent(), "{status} {body}");
    }
}

#[tokio::test]
async fn too_many_calls_say_how_long_to_wait() {
    let bytes = b"HTTP/1.1 429 No\r\nx-ratelimit-reset: 60\r\ncontent-length: 0\r\n\r\n";
    let (result, _) = refreshed(bytes.to_vec()).await;
    assert_eq!(outcome(result), "limited: Some(60s)");
}

#[tokio::test]
async fn a_missing_setting_is_named_and_nothing_is_sent() {
    let server = Scripted::start(Vec::new()).await;
    let cases: [(fn(&mut Config), &str); 2] = [
        (|it| it.client_id = None, "not configured: client_id"),
        (
            |it| it.client_secret = None,
            "not configured: client_secret",
        ),
    ];
    for (change, expected) in cases {
        let mut config = config(&server);
        change(&mut config);
        let calendly = Calendly::new(config, calls());
        let result = calendly.refresh(&Account::default(), &secret("OLD")).await;
        assert_eq!(outcome(result), expected);
        assert_eq!(outcome(calendly.revoke(&secret("OLD")).await), expected);
    }
}

#[tokio::test]
async fn only_401_refuses_a_token_whatever_the_body_says() {
    let server = Scripted::start(Vec::new()).await;
    let calendly = calendly(&server);
    let body = br#"{"title":"Unauthenticated","message":"The access token expired"}"#;
    for status in [200, 302, 400, 403, 404, 409, 424, 429, 498, 500, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        let judged = calendly.judge(status, &HeaderMap::new());
        assert_eq!(judged, Judgement::Passed, "{status}");
        assert_eq!(
            calendly.judge_body(status, body),
            Verdict::Passed,
            "{status}"
        );
    }
    let judged = calendly.judge(StatusCode::UNAUTHORIZED, &HeaderMap::new());
    assert_eq!(judged, Judgement::Refused);
}

#[tokio::test]
async fn nothing_can_be_forced() {
    let server = Scripted::start(Vec::new()).await;
    let calendly = calendly(&server);
    let managed = Account {
        managed_user_id: Some(1),
        ..Account::default()
    };
    assert!(!calendly.can_force(&managed));
    assert!(calendly.force_refresh(&managed).await.is_err());
    assert!(calendly.has_absolute_page_links());
    assert!(calendly.default_lifetime(&managed) < Duration::from_hours(2));
}

#[tokio::test]
async fn no_error_prints_a_secret_a_token_or_a_word_of_the_answer() {
    let echo = "CLIENT-SECRET OLD ACCESS";
    let mut plays = vec![Play::Reset, Play::Answer(answer(200, "text/html", echo))];
    for status in [400, 401, 403, 404, 429, 500] {
        for error in ["invalid_grant", "invalid_client", echo] {
            let body = json!({"error": error, "error_description": echo});
            plays.push(Play::Answer(json(status, &body)));
        }
    }
    for play in plays {
        let server = Scripted::start(vec![play.clone(), play]).await;
        let calendly = calendly(&server);
        let account = Account::default();
        let mut text = format!("{calendly:?}");
        let refused = calendly.refresh(&account, &secret("OLD")).await;
        text.push_str(&printed(&refused.unwrap_err()));
        if let Err(error) = calendly.revoke(&secret("OLD")).await {
            text.push_str(&printed(&error));
        }
        for hidden in ["SECRET", "OLD", "ACCESS", "the-client"] {
            assert!(!text.contains(hidden), "{hidden} in {text}");
        }
    }
}

#[tokio::test]
async fn a_refused_client_is_shown_in_one_way_only_and_the_token_sent_once() {
    // A second try would be honoured.
    let server = Scripted::start(vec![
        Play::Answer(json(401, &json!({"error": "invalid_client"}))),
        Play::Answer(json(200, &json!({"access_token": "ACCESS"}))),
    ])
    .await;
    let account = Account::default();
    let result = calendly(&server).refresh(&account, &secret("OLD")).await;
    assert_eq!(outcome(result), "client: invalid_client");
    assert_eq!(server.only().client_is_shown_by(), ["authorization"]);
}
