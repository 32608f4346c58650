//! What is sent to Cal.com for each family of tokens, and what its answers are taken for.

use serde_json::{Value, json};

use super::*;
use crate::provider::scripted::{
    DATE, Play, Scripted, Seen, answer, calls, json, name, outcome, printed, secret, setting,
};

mod consent;
mod event;
mod managed;
mod managed_user;
mod oauth;
mod signature;

const MANAGED: Account = Account {
    external_id: None,
    organization: None,
    managed_user_id: Some(42),
};

const CONSENTED: Account = Account {
    external_id: None,
    organization: None,
    managed_user_id: None,
};

fn config(server: &Scripted) -> Config {
    Config {
        name: name("calcom"),
        api_base: server.base(),
        authorize_url: Url::parse("https://app.cal.com/auth/oauth2/authorize").unwrap(),
        token_url: Url::parse(&format!("{}/v2/auth/oauth2/token", server.base())).unwrap(),
        client_id: Some("user client".to_owned()),
        client_secret: Some(setting("USER+SECRET&x=y")),
        redirect_uri: None,
        scope: String::new(),
        platform_client_id: Some("plat/form".to_owned()),
        platform_client_secret: Some(setting("PLATFORM-SECRET")),
        webhook_secret: None,
        api_version: "2024-08-13".to_owned(),
    }
}

fn calcom(server: &Scripted) -> Calcom {
    Calcom::new(config(server), calls())
}

fn keys() -> Value {
    let end = DATE.as_millis() + 3_600_000;
    json!({"status": "success", "data": {"accessToken": "ACCESS", "refreshToken": "REFRESH",
        "accessTokenExpiresAt": end, "refreshTokenExpiresAt": end + 1000}})
}

fn envelope(code: &str, message: &str) -> Value {
    json!({"status": "error", "error": {"code": code, "message": message}})
}

async fn refreshed(account: &Account, answer: Vec<u8>) -> (Result<Minted, CallError>, Seen) {
    let server = Scripted::answering(answer).await;
    let result = calcom(&server).refresh(account, &secret("OLD")).await;
    (result, server.only())
}

#[tokio::test]
async fn what_is_no_documented_answer_refuses_nobody() {
    for account in [&MANAGED, &CONSENTED] {
        for (status, kind, body) in [
            (404, "text/html", "Cannot POST /v2/auth/oauth2/token"),
            (
                400,
                "text/html",
                "<html>invalid_grant Invalid refresh token</html>",
            ),
            (403, "text/html", "<html>Attention required</html>"),
            (401, "application/json", "{\"message\":\"Unauthorized\"}"),
            (400, "application/json", "[]"),
            (400, "application/json", "{\"error\":7}"),
            (302, "text/plain", ""),
        ] {
            let (result, _) = refreshed(account, answer(status, kind, body)).await;
            let outcome = outcome(result);
            assert!(
                outcome.starts_with("unexpected: "),
                "{status} {body}: {outcome}"
            );
        }
    }
}

#[tokio::test]
async fn a_success_without_a_token_may_have_spent_it() {
    for account in [&MANAGED, &CONSENTED] {
        for (kind, body) in [
            ("application/json", ""),
            ("text/html", "<html>welcome</html>"),
            ("application/json", "{\"status\":\"success\",\"data\":{}}"),
            ("application/json", "{\"access_token\":\"\"}"),
            ("application/json", "{\"error\":\"invalid_grant\"}"),
        ] {
            let (result, _) = refreshed(account, answer(200, kind, body)).await;
            let expected = "ambiguous: a success without a token in it";
            assert_eq!(outcome(result), expected, "{body}");
        }
    }
}

#[tokio::test]
async fn a_server_error_is_ambiguous_for_both_families() {
    for account in [&MANAGED, &CONSENTED] {
        let body = json!({"error": "invalid_grant"});
        let (result, _) = refreshed(account, json(500, &body)).await;
        assert!(result.unwrap_err().may_have_spent());
    }
}

#[tokio::test]
async fn a_missing_setting_is_named_and_nothing_is_sent() {
    let server = Scripted::start(Vec::new()).await;
    let without = |change: fn(&mut Config)| {
        let mut config = config(&server);
        change(&mut config);
        Calcom::new(config, calls())
    };
    let cases: [(fn(&mut Config), &Account, &str); 5] = [
        (|it| it.client_id = None, &CONSENTED, "client_id"),
        (
            |it| it.platform_client_id = None,
            &MANAGED,
            "platform_client_id",
        ),
        (
            |it| it.platform_client_secret = None,
            &MANAGED,
            "platform_client_secret",
        ),
        (
            |it| it.platform_client_secret = Some(setting("a\nb")),
            &MANAGED,
            "platform_client_secret",
        ),
        (
            |it| it.platform_client_id = Some("a\nb".to_owned()),
            &MANAGED,
            "platform_client_id",
        ),
    ];
    for (change, account, expected) in cases {
        let calcom = without(change);
        let expected = format!("not configured: {expected}");
        let result = calcom.refresh(account, &secret("OLD")).await;
        assert_eq!(outcome(result), expected);
        if account.managed_user_id.is_some() {
            assert_eq!(outcome(calcom.force_refresh(account).await), expected);
        }
    }
}

#[tokio::test]
async fn each_family_needs_only_its_own_client() {
    let server = Scripted::answering(json(200, &keys())).await;
    let mut config = config(&server);
    (config.client_id, config.client_secret) = (None, None);
    let calcom = Calcom::new(config, calls());
    calcom.refresh(&MANAGED, &secret("OLD")).await.unwrap();
}

#[tokio::test]
async fn only_managed_connections_can_be_forced_and_nothing_can_be_revoked() {
    let server = Scripted::start(Vec::new()).await;
    let calcom = calcom(&server);
    assert!(calcom.can_force(&MANAGED));
    assert!(!calcom.can_force(&CONSENTED));
    let refused = outcome(calcom.force_refresh(&CONSENTED).await);
    assert!(refused.starts_with("not configured"), "{refused}");
    assert!(!calcom.revoke(&secret("OLD")).await.unwrap());
    assert!(!calcom.has_absolute_page_links());
    assert!(calcom.background_calls_per_minute() <= 90);
    assert!(calcom.default_lifetime(&MANAGED) < Duration::from_mins(59));
    assert!(calcom.default_lifetime(&CONSENTED) < Duration::from_mins(30));
}

#[tokio::test]
async fn no_error_prints_a_secret_a_token_or_a_word_of_the_answer() {
    let echo = "SECRET OLD ACCESS REFRESH PLATFORM-SECRET invalid_grant";
    let mut plays = vec![Play::Reset, Play::Answer(answer(200, "text/html", echo))];
    for status in [400, 401, 403, 404, 418, 429, 500] {
        plays.push(Play::Answer(json(status, &envelope(echo, echo))));
        let flat = json!({"error": "invalid_grant", "error_description": echo});
        plays.push(Play::Answer(json(status, &flat)));
        plays.push(Play::Answer(json(status, &envelope("NOT_FOUND", echo))));
        let guard = format!("ApiAuthStrategy - oAuth client - {echo}");
        plays.push(Play::Answer(json(status, &envelope(echo, &guard))));
    }
    for play in plays {
        for account in [&MANAGED, &CONSENTED] {
            let server = Scripted::start(vec![play.clone()]).await;
            let calcom = calcom(&server);
            let error = calcom.refresh(account, &secret("OLD")).await.unwrap_err();
            let text = format!("{} {calcom:?}", printed(&error));
            for hidden in ["SECRET", "OLD", "ACCESS", "REFRESH", "plat", "user client"] {
                assert!(!text.contains(hidden), "{hidden} in {text}");
            }
        }
    }
}
