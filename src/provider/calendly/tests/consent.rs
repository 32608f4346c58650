//! What users are sent to Calendly with, and how the code is redeemed.

use super::*;
use crate::provider::{Ask, Lack, Pkce, Purpose, Redeem, Verifier};

const CALLBACK: &str = "https://daypass.example.org/oauth/callback/calendly";

fn callback() -> Url {
    Url::parse(CALLBACK).unwrap()
}

fn verifier() -> Verifier {
    // RFC 7636, appendix B.
    Verifier::from_kept(secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"))
}

async fn authorized(change: impl FnOnce(&mut Config)) -> (String, Vec<(String, String)>) {
    let server = Scripted::start(Vec::new()).await;
    let mut config = config(&server);
    config.auth_base = ApiBase::parse("https://auth.calendly.com").unwrap();
    change(&mut config);
    let url = Calendly::new(config, calls()).authorize_url(&Ask {
        state: "st&te",
        redirect_uri: &callback(),
        verifier: Some(&verifier()),
    });
    let mut url = url.unwrap();
    let query = url.query_pairs().into_owned().collect();
    url.set_query(None);
    (url.to_string(), query)
}

#[tokio::test]
async fn consent_is_asked_for_with_pkce_and_without_an_empty_scope() {
    let (url, query) = authorized(|_| {}).await;
    assert_eq!(url, "https://auth.calendly.com/oauth/authorize");
    let expected = fields([
        ("client_id", "the-client"),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("state", "st&te"),
        (
            "code_challenge",
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        ),
        ("code_challenge_method", "S256"),
    ]);
    assert_eq!(query, expected);
}

#[tokio::test]
async fn scope_and_further_parameters_are_sent_as_configured() {
    let (_, query) = authorized(|config| {
        config.scope = "users:read webhooks:write".to_owned();
        config.authorize_params = vec![("prompt".to_owned(), "consent".to_owned())];
    })
    .await;
    let value = |name: &str| {
        let mut values = query.iter().filter(|(key, _)| key == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none());
        value
    };
    assert_eq!(value("scope"), Some("users:read webhooks:write"));
    assert_eq!(value("prompt"), Some("consent"));
}

#[tokio::test]
async fn the_redirect_uri_of_the_configuration_goes_first() {
    let server = Scripted::start(Vec::new()).await;
    let mut config = config(&server);
    let calendly = Calendly::new(config.clone(), calls());
    assert_eq!(calendly.redirect_uri(&callback()), callback());
    assert_eq!(calendly.pkce(), Pkce::S256);
    let other = Url::parse("https://app.example.org/cb").unwrap();
    config.redirect_uri = Some(other.clone());
    let calendly = Calendly::new(config, calls());
    assert_eq!(calendly.redirect_uri(&callback()), other);
}

#[tokio::test]
async fn nobody_is_sent_to_a_page_whose_code_could_not_be_redeemed() {
    let server = Scripted::start(Vec::new()).await;
    let without: [(fn(&mut Config), &str); 2] = [
        (|it| it.client_id = None, "not configured: client_id"),
        (
            |it| it.client_secret = None,
            "not configured: client_secret",
        ),
    ];
    for (change, expected) in without {
        let mut config = config(&server);
        change(&mut config);
        let url = Calendly::new(config, calls()).authorize_url(&Ask {
            state: "s",
            redirect_uri: &callback(),
            verifier: None,
        });
        assert_eq!(outcome(url), expected);
    }
}

async fn exchanged(answer: Vec<u8>) -> (Result<Minted, CallError>, Seen) {
    let server = Scripted::answering(answer).await;
    let (calendly, code, verifier) = (calendly(&server), secret("CODE"), verifier());
    let result = calendly
        .exchange(&Redeem {
            code: &code,
            redirect_uri: &callback(),
            verifier: Some(&verifier),
        })
        .await;
    (result, server.only())
}

#[tokio::test]
async fn a_code_is_redeemed_with_the_secret_and_the_verifier() {
    let body = json!({"access_token": "ACCESS", "refresh_token": "REFRESH", "expires_in": 7200,
        "scope": "users:read", "owner": "https://api.calendly.com/users/A",
        "organization": "https://api.calendly.com/organizations/O"});
    let (result, seen) = exchanged(json(200, &body)).await;
    assert_eq!(seen.target(), "POST /oauth/token");
    let basic = "Basic dGhlLWNsaWVudDpDTElFTlQtU0VDUkVU";
    assert_eq!(seen.header("authorization"), Some(basic));
    let expected = fields([
        ("grant_type", "authorization_code"),
        ("code", "CODE"),
        ("redirect_uri", CALLBACK),
        (
            "code_verifier",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
    ]);
    assert_eq!(seen.form(), expected);
    let minted = result.unwrap();
    let owner = minted.account.external_id.as_deref();
    assert_eq!(owner, Some("https://api.calendly.com/users/A"));
    let organization = minted.account.organization.as_deref();
    assert_eq!(
        organization,
        Some("https://api.calendly.com/organizations/O")
    );
}

#[tokio::test]
async fn a_refused_code_a_refused_client_and_trouble_are_told_apart() {
    for (status, error, expected) in [
        (400, "invalid_grant", "grant: invalid_grant"),
        (401, "invalid_grant", "grant: invalid_grant"),
        (401, "invalid_client", "client: invalid_client"),
        (400, "invalid_request", "unexpected: 400 Bad Request"),
        (500, "x", "ambiguous: status 500 Internal Server Error"),
    ] {
        let body = json!({"error": error, "error_description": "SENTINEL"});
        let (result, _) = exchanged(json(status, &body)).await;
        let error = result.unwrap_err();
        let text = printed(&error);
        for hidden in ["SENTINEL", "CODE", "SECRET", "dBjftJeZ4"] {
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
        Calendly::new(config, calls()).lacking(granted)
    };
    let lack = |scope: &'static str, purpose| Lack {
        scope: scope.into(),
        purpose,
    };
    let all = "users:read scheduled_events:read webhooks:write";
    for complete in [None, Some(""), Some(" "), Some("default"), Some(all)] {
        assert_eq!(lacking(all, complete), [], "{complete:?}");
    }
    // Writing includes reading.
    let more = "users:write scheduled_events:write webhooks:write";
    assert_eq!(lacking(all, Some(more)), []);
    assert_eq!(
        lacking("users:read shares:write", Some("users:read")),
        [
            lack("scheduled_events:read", Purpose::Meetings),
            lack("webhooks:write", Purpose::Webhooks),
            lack("shares:write", Purpose::App),
        ]
    );
    let read_only = "scheduled_events:read webhooks:read";
    let missing = lacking(all, Some(read_only));
    assert_eq!(
        missing,
        [
            lack("users:read", Purpose::Identity),
            lack("webhooks:write", Purpose::Webhooks)
        ]
    );
}
