//! What is sent for users who gave consent, and what the answers are taken for.

use super::*;
use crate::provider::scripted::{fields, jwt};

#[tokio::test]
async fn a_client_with_a_secret_sends_exactly_four_fields() {
    let access = jwt(&json!({"userId": 7, "iat": 1_000, "exp": 2_800}));
    let body = json!({"access_token": access, "refresh_token": "REFRESH", "token_type": "bearer",
        "expires_in": 1700, "scope": "PROFILE_READ BOOKING_READ"});
    let (result, seen) = refreshed(&CONSENTED, json(200, &body)).await;
    assert_eq!(seen.target(), "POST /v2/auth/oauth2/token");
    let expected = fields([
        ("grant_type", "refresh_token"),
        ("client_id", "user client"),
        ("refresh_token", "OLD"),
        ("client_secret", "USER+SECRET&x=y"),
    ]);
    assert_eq!(seen.form(), expected);
    for header in ["authorization", "x-cal-client-id", "x-cal-secret-key"] {
        assert_eq!(seen.header(header), None);
    }
    assert!(!seen.head.contains("SECRET"));
    let minted = result.unwrap();
    assert_eq!(minted.expires_in, Some(Duration::from_secs(1700)));
    assert_eq!(minted.scope.as_deref(), Some("PROFILE_READ BOOKING_READ"));
    assert_eq!(minted.account.external_id.as_deref(), Some("7"));
    assert_eq!(minted.account.managed_user_id, None);
}

#[tokio::test]
async fn a_public_client_sends_no_secret() {
    let server = Scripted::answering(json(200, &json!({"access_token": "ACCESS"}))).await;
    let mut config = config(&server);
    config.client_secret = None;
    let calcom = Calcom::new(config, calls());
    let minted = calcom.refresh(&CONSENTED, &secret("OLD")).await.unwrap();
    assert!(minted.refresh.is_none(), "the old one stays");
    let expected = fields([
        ("grant_type", "refresh_token"),
        ("client_id", "user client"),
        ("refresh_token", "OLD"),
    ]);
    assert_eq!(server.only().form(), expected);
}

#[tokio::test]
async fn a_replaced_secret_is_used_by_the_next_call() {
    let bad = Play::Answer(json(401, &json!({"error": "invalid_client"})));
    let server = Scripted::start(vec![
        bad,
        Play::Answer(json(200, &json!({"access_token": "A"}))),
    ]);
    let server = server.await;
    let config = config(&server);
    let shared = config.client_secret.clone().unwrap();
    let calcom = Calcom::new(config, calls());
    let first = calcom.refresh(&CONSENTED, &secret("OLD")).await;
    assert_eq!(outcome(first), "client: invalid_client");
    shared.replace(secret("RENEWED"));
    calcom.refresh(&CONSENTED, &secret("OLD")).await.unwrap();
    let second = server.last();
    assert!(
        second
            .form()
            .contains(&("client_secret".to_owned(), "RENEWED".to_owned()))
    );
}

#[tokio::test]
async fn refusals_are_told_apart() {
    for (status, error, description, expected) in [
        (
            400,
            "invalid_grant",
            "refresh_token_revoked",
            "grant: invalid_grant",
        ),
        (
            400,
            "invalid_grant",
            "invalid_refresh_token",
            "grant: invalid_grant",
        ),
        (
            400,
            "invalid_grant",
            "client_id_mismatch",
            "another client's: client_id_mismatch",
        ),
        (
            401,
            "invalid_client",
            "client_not_found",
            "client: client_not_found",
        ),
        (
            401,
            "invalid_client",
            "a sentence",
            "client: invalid_client",
        ),
        (
            401,
            "unauthorized_client",
            "client_not_approved",
            "client: client_not_approved",
        ),
        (
            401,
            "unauthorized_client",
            "client_rejected",
            "client: client_rejected",
        ),
        (
            400,
            "invalid_request",
            "extra field",
            "unexpected: 400 Bad Request",
        ),
        (404, "invalid_grant", "x", "unexpected: 404 Not Found"),
    ] {
        let body = json!({"error": error, "error_description": description});
        let (result, _) = refreshed(&CONSENTED, json(status, &body)).await;
        assert_eq!(outcome(result), expected, "{status} {error} {description}");
    }
}

#[tokio::test]
async fn a_refused_client_is_shown_in_one_way_only_and_the_token_sent_once() {
    let wrong = "ApiAuthStrategy - oAuth client - Invalid client secret";
    for (account, refusal, way) in [
        (
            CONSENTED,
            json!({"error": "invalid_client"}),
            "client_secret",
        ),
        (
            MANAGED,
            envelope("UnauthorizedException", wrong),
            "x-cal-secret-key",
        ),
    ] {
        // A second try would be honoured.
        let honoured = Play::Answer(json(200, &keys()));
        let server = Scripted::start(vec![Play::Answer(json(401, &refusal)), honoured]).await;
        let result = calcom(&server).refresh(&account, &secret("OLD")).await;
        assert!(
            matches!(result, Err(CallError::ClientRefused { .. })),
            "{result:?}"
        );
        assert_eq!(server.only().client_is_shown_by(), [way]);
    }
}
