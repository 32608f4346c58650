//! What is sent for managed users, and what the answers are taken for.

use super::*;

async fn forced(answer: Vec<u8>) -> (Result<Minted, CallError>, Seen) {
    let server = Scripted::answering(answer).await;
    let result = calcom(&server).force_refresh(&MANAGED).await;
    (result, server.only())
}

fn assert_platform_headers(seen: &Seen) {
    assert_eq!(seen.header("x-cal-client-id"), Some("plat/form"));
    assert_eq!(seen.header("x-cal-secret-key"), Some("PLATFORM-SECRET"));
    assert_eq!(seen.header("authorization"), None);
    assert!(!seen.body.contains("SECRET"));
}

#[tokio::test]
async fn a_managed_refresh_sends_the_token_alone_and_the_client_in_headers() {
    let (result, seen) = refreshed(&MANAGED, json(200, &keys())).await;
    assert_eq!(seen.target(), "POST /v2/oauth/plat%2Fform/refresh");
    assert_platform_headers(&seen);
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.body, r#"{"refreshToken":"OLD"}"#);
    let minted = result.unwrap();
    assert_eq!(minted.access.danger_expose(), "ACCESS");
    assert_eq!(minted.refresh.unwrap().danger_expose(), "REFRESH");
    // By the answer's own date: our clock is hours away.
    assert_eq!(minted.expires_in, Some(Duration::from_hours(1)));
    assert_eq!(minted.refresh_expires_in, Some(Duration::from_secs(3601)));
    // Bookings and webhooks know the user by the same number.
    assert_eq!(minted.account.external_id.as_deref(), Some("42"));
    assert_eq!(minted.account.managed_user_id, Some(42));
}

#[tokio::test]
async fn a_force_refresh_names_the_user_and_sends_no_body() {
    let (result, seen) = forced(json(200, &keys())).await;
    assert_eq!(
        seen.target(),
        "POST /v2/oauth-clients/plat%2Fform/users/42/force-refresh"
    );
    assert_platform_headers(&seen);
    assert_eq!(seen.body, "");
    assert_eq!(result.unwrap().access.danger_expose(), "ACCESS");
}

#[tokio::test]
async fn the_prefix_of_the_api_base_is_kept() {
    let server = Scripted::answering(json(200, &keys())).await;
    let mut config = config(&server);
    config.api_base = ApiBase::parse(&format!("{}/api", server.base())).unwrap();
    let calcom = Calcom::new(config, calls());
    calcom.force_refresh(&MANAGED).await.unwrap();
    let target = "POST /api/v2/oauth-clients/plat%2Fform/users/42/force-refresh";
    assert_eq!(server.only().target(), target);
}

/// Status, code and message of Cal.com's answer, and what it is taken for.
const REFUSALS: &str = "
400 | BadRequestException | Invalid refresh token | grant: invalid_refresh_token
404 | NOT_FOUND | Invalid Query: The requested record was not found. | grant: refresh_token_not_found
404 | NotFoundException | User with ID 42 is not part of this OAuth client. | grant: user_not_found
401 | UnauthorizedException | ApiAuthStrategy - oAuth client - Client with ID x not found | client: client_not_found
401 | UnauthorizedException | ApiAuthStrategy - oAuth client - Invalid client secret | client: invalid_client_credentials
401 | UnauthorizedException | ApiAuthStrategy - oAuth client - anything | client: invalid_client
401 | UnauthorizedException | No authentication method provided. Either pass | client: client_not_authenticated
401 | UnauthorizedException | Only 'x-cal-client-id' header provided. | client: client_not_authenticated
400 | BadRequestException | Invalid OAuthClient credentials. | client: invalid_client_credentials
403 | ForbiddenException | OAuthClientGuard - another organization | client: client_not_owned
404 | NotFoundException | OAuthClientGuard - OAuth client not found | client: client_not_owned
404 | NotFoundException | Cannot POST /v2/oauth/x/refresh | unexpected: 404 Not Found
400 | BadRequestException | Something else | unexpected: 400 Bad Request
401 | UnauthorizedException | Something else | unexpected: 401 Unauthorized
403 | ForbiddenException | Something else | unexpected: 403 Forbidden
409 | ConflictException | Invalid refresh token | unexpected: 409 Conflict";

#[tokio::test]
async fn refusals_are_told_apart() {
    for row in REFUSALS.lines().skip(1) {
        let mut cells = row.split(" | ");
        let mut cell = || cells.next().unwrap();
        let (status, code, message, expected) = (cell(), cell(), cell(), cell());
        let bytes = json(status.parse().unwrap(), &envelope(code, message));
        let (standard, _) = refreshed(&MANAGED, bytes.clone()).await;
        assert_eq!(outcome(standard), expected, "refresh: {row}");
        let (force, _) = forced(bytes).await;
        assert_eq!(outcome(force), expected, "force refresh: {row}");
    }
}
