//! What users are sent to Cal.com with, and how the code is redeemed.

use super::*;
use crate::provider::{
    Ask, Lack, Pkce, Purpose, Redeem, Verifier,
    scripted::{fields, jwt},
};

const CALLBACK: &str = "https://daypass.example.org/oauth/callback/calcom";

fn callback() -> Url {
    Url::parse(CALLBACK).unwrap()
}

fn verifier() -> Verifier {
    // RFC 7636, appendix B.
    Verifier::from_kept(secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"))
}

async fn of(change: fn(&mut Config)) -> (Calcom, Scripted) {
    let access = jwt(&json!({"userId": 7}));
    let body = json!({"access_token": access, "refresh_token": "REFRESH", "expires_in": 1800});
    let server = Scripted::answering(json(200, &body)).await;
    let mut config = config(&server);
    change(&mut config);
    (Calcom::new(config, calls()), server)
}

fn asked(calcom: &Calcom) -> Vec<(String, String)> {
    let verifier = verifier();
    let url = calcom.authorize_url(&Ask {
        state: "st&te",
        redirect_uri: &callback(),
        verifier: (calcom.pkce() == Pkce::S256).then_some(&verifier),
    });
    url.unwrap().query_pairs().into_owned().collect()
}

async fn redeemed(calcom: &Calcom, verifier: Option<&Verifier>) -> Result<Minted, CallError> {
    let code = secret("CODE");
    let redeem = Redeem {
        code: &code,
        redirect_uri: &callback(),
        verifier,
    };
    calcom.exchange(&redeem).await
}

/// Secret and PKCE together are a dead end (Cal.com, user-level OAuth 2.0).
#[tokio::test]
async fn a_client_with_a_secret_never_uses_pkce() {
    let (calcom, server) = of(|config| config.scope = "PROFILE_READ".to_owned()).await;
    assert_eq!(calcom.pkce(), Pkce::Unused);
    let expected = fields([
        ("client_id", "user client"),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("state", "st&te"),
        ("scope", "PROFILE_READ"),
    ]);
    assert_eq!(asked(&calcom), expected);
    // Not even if it is handed a verifier.
    let minted = redeemed(&calcom, Some(&verifier())).await.unwrap();
    assert_eq!(minted.account.external_id.as_deref(), Some("7"));
    let expected = fields([
        ("grant_type", "authorization_code"),
        ("client_id", "user client"),
        ("code", "CODE"),
        ("redirect_uri", CALLBACK),
        ("client_secret", "USER+SECRET&x=y"),
    ]);
    assert_eq!(server.only().form(), expected);
}

#[tokio::test]
async fn a_public_client_uses_pkce_and_sends_no_secret() {
    let (calcom, server) = of(|config| config.client_secret = None).await;
    assert_eq!(calcom.pkce(), Pkce::S256);
    let expected = fields([
        ("client_id", "user client"),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("state", "st&te"),
        (
            "code_challenge",
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        ),
        ("code_challenge_method", "S256"),
    ]);
    assert_eq!(asked(&calcom), expected);
    redeemed(&calcom, Some(&verifier())).await.unwrap();
    let expected = fields([
        ("grant_type", "authorization_code"),
        ("client_id", "user client"),
        ("code", "CODE"),
        ("redirect_uri", CALLBACK),
        (
            "code_verifier",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
    ]);
    assert_eq!(server.only().form(), expected);
}

#[tokio::test]
async fn a_code_that_nothing_proves_is_not_sent() {
    let (calcom, _) = of(|config| config.client_secret = None).await;
    let result = redeemed(&calcom, None).await;
    assert_eq!(outcome(result), "not configured: client_secret");
    let (calcom, _) = of(|config| config.client_id = None).await;
    let result = redeemed(&calcom, None).await;
    assert_eq!(outcome(result), "not configured: client_id");
}

#[tokio::test]
async fn the_redirect_uri_of_the_configuration_goes_first() {
    let (calcom, _) = of(|_| {}).await;
    assert_eq!(calcom.redirect_uri(&callback()), callback());
    let other = "https://app.example.org/cb";
    let (calcom, _) = of(|config| {
        config.redirect_uri = Url::parse("https://app.example.org/cb").ok();
    })
    .await;
    assert_eq!(calcom.redirect_uri(&callback()).as_str(), other);
}

#[tokio::test]
async fn a_refused_code_a_refused_client_and_a_wrong_request_are_told_apart() {
    for (status, error, description, expected) in [
        (
            400,
            "invalid_grant",
            "code_invalid_or_expired",
            "grant: code_invalid_or_expired",
        ),
        (
            400,
            "invalid_grant",
            "pkce_verification_failed",
            "grant: pkce_verification_failed",
        ),
        (400, "invalid_grant", "SENTINEL", "grant: invalid_grant"),
        (
            400,
            "invalid_grant",
            "redirect_uri_mismatch",
            "client: redirect_uri_mismatch",
        ),
        (
            400,
            "invalid_grant",
            "client_id_mismatch",
            "client: client_id_mismatch",
        ),
        (
            401,
            "invalid_client",
            "invalid_client_credentials",
            "client: invalid_client_credentials",
        ),
        (
            401,
            "unauthorized_client",
            "client_not_approved",
            "client: client_not_approved",
        ),
        (
            400,
            "invalid_request",
            "property_should_not_exist",
            "unexpected: 400 Bad Request",
        ),
    ] {
        let body = json!({"error": error, "error_description": description});
        let server = Scripted::answering(json(status, &body)).await;
        let error = redeemed(&calcom(&server), None).await.unwrap_err();
        let text = printed(&error);
        for hidden in ["SENTINEL", "CODE", "USER+SECRET"] {
            assert!(!text.contains(hidden), "{text}");
        }
        assert_eq!(outcome::<()>(Err(error)), expected);
    }
}

#[tokio::test]
async fn what_is_missing_of_a_grant_is_told_with_its_purpose() {
    let server = Scripted::start(Vec::new()).await;
    let lacking = |asked: &str, granted: Option<&str>| {
        let mut config = config(&server);
        config.scope = asked.to_owned();
        Calcom::new(config, calls()).lacking(granted)
    };
    let all = "PROFILE_READ BOOKING_READ WEBHOOK_READ WEBHOOK_WRITE";
    let commas = "PROFILE_READ,BOOKING_READ,WEBHOOK_READ,WEBHOOK_WRITE";
    // Nobody looks at what legacy clients have.
    for complete in [
        None,
        Some(""),
        Some(all),
        Some(commas),
        Some("READ_BOOKING READ_PROFILE"),
    ] {
        assert_eq!(lacking(all, complete), [], "{complete:?}");
    }
    let missing = lacking(
        "APPS_READ TEAM_BOOKING_READ",
        Some("PROFILE_READ ORG_BOOKING_READ"),
    );
    let expected = [
        ("BOOKING_READ", Purpose::Meetings),
        ("WEBHOOK_READ", Purpose::Webhooks),
        ("WEBHOOK_WRITE", Purpose::Webhooks),
        ("APPS_READ", Purpose::App),
    ]
    .map(|(scope, purpose)| Lack {
        scope: scope.into(),
        purpose,
    });
    assert_eq!(missing, expected);
}
