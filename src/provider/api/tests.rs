//! What an answer of the API is taken for, at both providers.

use std::fmt::Write as _;

use serde_json::json;

use super::*;
use crate::provider::{
    Consent, Identity, calcom, calendly,
    scripted::{Play, Scripted, Seen, answer, calls, json as answer_json, name, secret},
};

fn calendly(server: &Scripted) -> calendly::Calendly {
    let config = calendly::Config {
        name: name("calendly"),
        api_base: server.base(),
        auth_base: server.base(),
        client_id: None,
        client_secret: None,
        redirect_uri: None,
        scope: String::new(),
        authorize_params: Vec::new(),
        webhook_signing_key: None,
        webhook_scope: calendly::WebhookScope::User,
    };
    calendly::Calendly::new(config, calls())
}

fn calcom(server: &Scripted) -> calcom::Calcom {
    let url = Url::parse(&server.base().to_string()).unwrap();
    let config = calcom::Config {
        name: name("calcom"),
        api_base: server.base(),
        authorize_url: url.clone(),
        token_url: url,
        client_id: None,
        client_secret: None,
        redirect_uri: None,
        scope: String::new(),
        platform_client_id: None,
        platform_client_secret: None,
        webhook_secret: None,
        api_version: "2024-08-13".to_owned(),
    };
    calcom::Calcom::new(config, calls())
}

async fn asked(play: &Play) -> [(Result<Identity, ApiError>, Seen); 2] {
    let server = Scripted::start(vec![play.clone()]).await;
    let first = calendly(&server).identify(&secret("TOKEN")).await;
    let first = (first, server.only());
    let server = Scripted::start(vec![play.clone()]).await;
    let second = calcom(&server).identify(&secret("TOKEN")).await;
    [first, (second, server.only())]
}

fn outcome<T>(result: Result<T, ApiError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(ApiError::TokenRefused { .. }) => "token refused".to_owned(),
        Err(ApiError::AccountGone { .. }) => "gone".to_owned(),
        Err(ApiError::Forbidden { denial, .. }) => format!("forbidden: {denial:?}"),
        Err(ApiError::RateLimited { retry_after, .. }) => format!("limited: {retry_after:?}"),
        Err(ApiError::NotFound { .. }) => "not found".to_owned(),
        Err(ApiError::Rejected { status, .. }) => format!("rejected: {}", status.as_u16()),
        Err(ApiError::NotSent { .. }) => "not sent".to_owned(),
        Err(ApiError::Unclear { what, .. }) => format!("unclear: {what}"),
        Err(ApiError::Impossible { what, .. }) => format!("impossible: {what}"),
    }
}

async fn outcomes(play: &Play) -> [String; 2] {
    asked(play).await.map(|(result, _)| outcome(result))
}

/// An error in the words of both providers at once.
fn refusal(status: u16, message: &str) -> Play {
    let body = json!({"title": "x", "message": message, "status": "error",
        "error": {"code": "x", "message": message}});
    Play::Answer(answer_json(status, &body))
}

#[tokio::test]
async fn the_token_goes_out_as_a_bearer_and_nothing_else_does() {
    let body = json!({"resource": {"uri": "https://api.calendly.com/users/A"}, "data": {"id": 7}});
    let [(first, seen), (second, _)] = asked(&Play::Answer(answer_json(200, &body))).await;
    assert_eq!(seen.header("authorization"), Some("Bearer TOKEN"));
    assert_eq!(seen.header("accept"), Some("application/json"));
    for absent in [
        "cookie",
        "origin",
        "referer",
        "x-cal-client-id",
        "x-cal-secret-key",
    ] {
        assert_eq!(seen.header(absent), None, "{absent}");
    }
    let id = first.unwrap().account.external_id;
    assert_eq!(id.as_deref(), Some("https://api.calendly.com/users/A"));
    assert_eq!(second.unwrap().account.external_id.as_deref(), Some("7"));
}

#[tokio::test]
async fn a_refused_token_is_told_by_each_providers_own_rule() {
    let both = |what: &str| [what.to_owned(), what.to_owned()];
    let refused = refusal(401, "Invalid Access Token.");
    assert_eq!(outcomes(&refused).await, both("token refused"));
    let expired = refusal(498, "ACCESS_TOKEN_IS_EXPIRED");
    let expected = ["rejected: 498".to_owned(), "token refused".to_owned()];
    assert_eq!(outcomes(&expired).await, expected);
    let leaking = "PermissionsGuard - no oAuth client found for access token=TOKEN";
    let expected = [
        "forbidden: Permission".to_owned(),
        "token refused".to_owned(),
    ];
    assert_eq!(outcomes(&refusal(403, leaking)).await, expected);
    let gone = "ApiAuthStrategy - access token - User associated with the access token not found.";
    let expected = ["token refused".to_owned(), "gone".to_owned()];
    assert_eq!(outcomes(&refusal(401, gone)).await, expected);
}

#[tokio::test]
async fn a_good_token_that_may_not_is_told_apart() {
    let body = json!({"title": "Insufficient scope", "message": "m",
        "required_scopes": ["users:read", "TOKEN", "x y"]});
    let [calendly, _] = outcomes(&Play::Answer(answer_json(403, &body))).await;
    assert_eq!(calendly, "forbidden: Scope { missing: [\"users:read\"] }");
    let upgrade = refusal(403, "Please upgrade your Calendly account to Standard");
    let [calendly, _] = outcomes(&upgrade).await;
    assert_eq!(calendly, "forbidden: Plan");
    let scope = "insufficient_scope: token does not have the required scopes. Required: \
        PROFILE_READ, BOOKING_READ. TOKEN";
    for status in [401, 403] {
        let [_, calcom] = outcomes(&refusal(status, scope)).await;
        let expected = "forbidden: Scope { missing: [\"PROFILE_READ\", \"BOOKING_READ\"] }";
        assert_eq!(calcom, expected, "{status}");
    }
    let role = refusal(403, "You do not have permission to access this resource.");
    let expected = "forbidden: Permission".to_owned();
    assert_eq!(outcomes(&role).await, [expected.clone(), expected]);
}

#[tokio::test]
async fn final_and_transient_answers_are_told_apart() {
    for (status, expected, transient) in [
        (400, "rejected: 400", false),
        (404, "not found", false),
        (409, "rejected: 409", false),
        (424, "rejected: 424", false),
        (429, "limited: None", true),
        (500, "unclear: status 500 Internal Server Error", true),
        (503, "unclear: status 503 Service Unavailable", true),
    ] {
        let [calendly, calcom] = asked(&refusal(status, "m")).await;
        for (result, _) in [calendly, calcom] {
            let error = result.unwrap_err();
            assert_eq!(error.is_transient(), transient, "{status}");
            assert_eq!(outcome::<()>(Err(error)), expected, "{status}");
        }
    }
}

#[tokio::test]
async fn a_page_from_before_the_provider_says_nothing() {
    for status in [302, 400, 403, 404, 409] {
        let play = Play::Answer(answer(status, "text/html", "<html>Attention</html>"));
        for outcome in outcomes(&play).await {
            let expected = format!("unclear: status {status}");
            assert!(outcome.starts_with(&expected), "{status}: {outcome}");
        }
    }
    for body in ["<html>", "", "{\"resource\":{},\"data\":{}}", "[]"] {
        let play = Play::Answer(answer(200, "application/json", body));
        for outcome in outcomes(&play).await {
            assert_eq!(outcome, "unclear: a success that cannot be read", "{body}");
        }
    }
}

#[tokio::test]
async fn a_limit_says_how_long_it_lasts() {
    let head = "HTTP/1.1 429 No\r\nx-ratelimit-reset: 60\r\ncontent-length: 0\r\n\r\n";
    for outcome in outcomes(&Play::Answer(head.as_bytes().to_vec())).await {
        assert_eq!(outcome, "limited: Some(60s)");
    }
}

#[tokio::test]
async fn a_transport_that_fails_is_transient() {
    for (result, _) in asked(&Play::Reset).await {
        assert!(result.unwrap_err().is_transient());
    }
    let server = Scripted::start(Vec::new()).await;
    let config = calendly::Config {
        // Nobody listens on port 1.
        api_base: ApiBase::parse("http://127.0.0.1:1").unwrap(),
        ..calendly(&server).config().clone()
    };
    let unreachable = calendly::Calendly::new(config, calls());
    let error = unreachable.identify(&secret("TOKEN")).await.unwrap_err();
    assert!(error.is_transient());
    assert_eq!(outcome::<()>(Err(error)), "not sent");
}

#[tokio::test]
async fn a_token_that_fits_into_no_header_is_not_sent() {
    let server = Scripted::start(Vec::new()).await;
    let result = calendly(&server).identify(&secret("a\r\nb")).await;
    assert!(outcome(result).starts_with("impossible: "));
}

#[tokio::test]
async fn no_error_prints_the_token_or_a_word_of_the_answer() {
    let echo = "TOKEN SENTINEL";
    let mut plays = vec![
        Play::Reset,
        Play::Answer(answer(200, "application/json", echo)),
        Play::Answer(answer(403, "text/html", echo)),
    ];
    for status in [400, 401, 403, 404, 409, 429, 498, 500] {
        plays.push(refusal(status, echo));
        let leaking = format!("PermissionsGuard - no oAuth client found for access token={echo}");
        plays.push(refusal(status, &leaking));
        plays.push(refusal(
            status,
            &format!("insufficient_scope Required: {echo}"),
        ));
    }
    for play in plays {
        for (result, _) in asked(&play).await {
            let error = result.unwrap_err();
            let mut text = format!("{error} {error:?} {error:#?}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                write!(text, "{error} {error:?}").unwrap();
                cause = error.source();
            }
            for hidden in ["TOKEN", "SENTINEL"] {
                assert!(!text.contains(hidden), "{hidden} in {text}");
            }
        }
    }
}

#[test]
fn only_what_is_an_id_becomes_part_of_a_path() {
    for (id, expected) in [
        (
            "https://api.calendly.com/scheduled_events/GBGBDCAADAEDCRZ2",
            Some("GBGBDCAADAEDCRZ2"),
        ),
        ("https://evil.example/x/abc-DEF_1", Some("abc-DEF_1")),
        ("2NtaeaVcKfpmSZ4CthFdfk", Some("2NtaeaVcKfpmSZ4CthFdfk")),
        ("a/", Some("a")),
        ("", None),
        ("/", None),
        ("..", None),
        ("a/..", None),
        ("a?b", None),
        ("a%2Fb", None),
        ("a b", None),
    ] {
        assert_eq!(segment(id), expected, "{id}");
    }
    assert_eq!(segment(&"a".repeat(129)), None);
}
