//! Each row of "Cal.com, what a bad token looks like".

use http::HeaderValue;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const READ: Judgement = Judgement::ReadBody { limit: 16 * 1024 };

fn judged(status: u16, content_type: &str, encoding: Option<&'static str>) -> Judgement {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
    if let Some(encoding) = encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    head(StatusCode::from_u16(status).unwrap(), &headers)
}

fn verdict(status: u16, message: &str) -> Verdict {
    let envelope = json!({"status": "error", "timestamp": "2026-01-01T00:00:00.000Z",
        "path": "/v2/me", "error": {"code": "X", "message": message, "details": {}}});
    let status = StatusCode::from_u16(status).unwrap();
    body(status, envelope.to_string().as_bytes())
}

#[test]
fn only_498_is_refused_by_its_status() {
    for content_type in ["application/json", "text/html"] {
        assert_eq!(judged(498, content_type, None), Judgement::Refused);
        for status in [
            200, 204, 302, 400, 402, 404, 409, 424, 429, 499, 500, 502, 524,
        ] {
            assert_eq!(
                judged(status, content_type, None),
                Judgement::Passed,
                "{status}"
            );
        }
    }
    assert_eq!(
        head(StatusCode::UNAUTHORIZED, &HeaderMap::new()),
        Judgement::Passed
    );
}

#[test]
fn the_body_decides_for_401_and_403_in_json_only() {
    for status in [401, 403] {
        for json in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;x",
            "application/problem+json",
        ] {
            assert_eq!(judged(status, json, None), READ, "{status} {json}");
            assert_eq!(
                judged(status, json, Some("identity")),
                READ,
                "{status} {json}"
            );
        }
        for other in [
            "text/html",
            "text/plain; application/json",
            "application/jsonl",
            "",
        ] {
            assert_eq!(
                judged(status, other, None),
                Judgement::Passed,
                "{status} {other}"
            );
        }
    }
}

#[test]
fn a_compressed_message_leaves_each_status_its_default() {
    assert_eq!(
        judged(401, "application/json", Some("gzip")),
        Judgement::Refused
    );
    assert_eq!(
        judged(403, "application/json", Some("br")),
        Judgement::Passed
    );
    assert_eq!(judged(401, "text/html", Some("gzip")), Judgement::Passed);
}

#[test]
fn messages_of_a_bad_token_refuse_it() {
    for message in [
        "Invalid Access Token.",
        "ApiAuthStrategy - access token - OAuth client not found given the access token",
        "ApiAuthStrategy - access token - Invalid Access Token.",
        "ApiAuthStrategy - access token - No owner found for this access token.",
        "ApiAuthStrategy - Invalid Bearer token",
        "Something nobody has written down yet",
        "",
    ] {
        assert_eq!(verdict(401, message), Verdict::Refused, "{message}");
        assert_eq!(verdict(403, message), Verdict::Passed, "{message}");
    }
    assert_eq!(verdict(498, "ACCESS_TOKEN_IS_EXPIRED"), Verdict::Refused);
}

#[test]
fn one_403_refuses_the_token_and_no_other() {
    let leaking = "PermissionsGuard - no oAuth client found for access token=eyJ.eyJ.c2ln";
    assert_eq!(verdict(403, leaking), Verdict::Refused);
    for message in [
        "insufficient_scope: BOOKING_READ",
        "PermissionsGuard - oAuth client with id=x does not have the required permissions=8",
        "RolesGuard - user is not a member",
        "see: PermissionsGuard - no oAuth client found for access token",
    ] {
        assert_eq!(verdict(403, message), Verdict::Passed, "{message}");
    }
}

#[test]
fn messages_about_something_else_pass() {
    for message in [
        "ApiAuthStrategy - access token - Invalid request origin - please open x and add the origin",
        "ApiAuthStrategy - api key - Your api key is not valid",
        "ApiAuthStrategy - api key - Your api key is expired",
        "CustomThrottlerGuard - Invalid API Key",
        "ApiAuthStrategy - oAuth client - Client with ID x not found",
        "ApiAuthStrategy - oAuth client - Invalid client secret",
        "ApiAuthStrategy - No authentication method provided. Either pass an API key",
        "ApiAuthStrategy - Only 'x-cal-client-id' header provided. Please also provide it",
        "Only 'x-cal-secret-key' header provided",
        "Invalid authentication method",
        "insufficient_scope: BOOKING_READ",
    ] {
        assert_eq!(verdict(401, message), Verdict::Passed, "{message}");
    }
}

#[test]
fn messages_about_a_lost_account_say_so() {
    for message in [
        "ApiAuthStrategy - access token - User associated with the access token not found.",
        "ApiAuthStrategy - bearer token - No user associated with the provided token",
        "ApiAuthStrategy - third-party token - No user or team owner associated with it",
        "ApiAuthStrategy - third-party token - No owner found for the associated team.",
    ] {
        assert_eq!(verdict(401, message), Verdict::AccountGone, "{message}");
        assert_eq!(verdict(403, message), Verdict::Passed, "{message}");
    }
}

#[test]
fn other_statuses_never_refuse_whatever_they_say() {
    for status in [200, 400, 404, 429, 500, 503] {
        assert_eq!(
            verdict(status, "Invalid Access Token."),
            Verdict::Passed,
            "{status}"
        );
    }
}

#[test]
fn what_is_not_an_object_passes() {
    for bytes in [
        "",
        "<html>401</html>",
        "[]",
        "\"Invalid Access Token.\"",
        "{\"error\":",
    ] {
        for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
            assert_eq!(body(status, bytes.as_bytes()), Verdict::Passed, "{bytes}");
        }
    }
}

#[test]
fn a_message_without_the_envelope_counts_too() {
    let flat = json!({"message": "Unauthorized"}).to_string();
    assert_eq!(
        body(StatusCode::UNAUTHORIZED, flat.as_bytes()),
        Verdict::Refused
    );
    let flat = json!({"message": "CustomThrottlerGuard - Invalid API Key"}).to_string();
    assert_eq!(
        body(StatusCode::UNAUTHORIZED, flat.as_bytes()),
        Verdict::Passed
    );
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(bytes: Vec<u8>, status in 100_u16..600) {
        let _ = body(StatusCode::from_u16(status).unwrap(), &bytes);
    }
}
