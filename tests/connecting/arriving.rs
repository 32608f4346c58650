//! Users who come through: what the provider was asked, what is stored, what the app reads.

use daypass::{
    http::access_log::Path,
    sandbox::{Filter, Killed, Kind, Revoke, token_id},
    store::{Purpose, Status},
};
use url::Url;

use crate::{
    browser::{Browser, client},
    world::{APP, CALCOM_SCOPE, CALENDLY_SCOPE, Wanted, World, until},
};

/// The parameter of an authorize request.
fn asked(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap();
    let mut pairs = url.query_pairs();
    pairs
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn a_user_connects_at_calendly_and_the_token_works() {
    let (world, browser) = (World::open().await, Browser::new());
    let link = world.link("calendly", "u_1").await;
    assert!(
        link.starts_with(&format!("{}/connect/calendly.", world.ingress)),
        "{link}"
    );
    let page = browser.get(&link).await.location(302);
    let authorize = format!("{}/oauth/authorize?", world.sandbox.calendly_url());
    assert!(page.starts_with(&authorize), "{page}");
    assert_eq!(asked(&page, "prompt").as_deref(), Some("consent"));
    assert_eq!(asked(&page, "scope").as_deref(), Some(CALENDLY_SCOPE));
    assert_eq!(
        asked(&page, "code_challenge_method").as_deref(),
        Some("S256")
    );
    let callback = format!("{}/oauth/callback/calendly", world.ingress);
    assert_eq!(asked(&page, "redirect_uri"), Some(callback));
    let back = browser.decide(&page, "alice", "approve").await;
    let done = browser.get(&back).await;
    assert_eq!(
        done.location(303),
        format!("{APP}/done?tab=1&connection=connected&provider=calendly")
    );
    let stored = world.stored("calendly", "u_1").unwrap();
    assert_eq!(
        (stored.status, stored.generation.get()),
        (Status::Active, 1)
    );
    assert!(stored.external_id.unwrap().contains("/users/"));
    assert!(stored.organization.unwrap().contains("/organizations/"));
    assert_eq!(stored.scope.as_deref(), Some(CALENDLY_SCOPE));
    let me = client()
        .get(format!("{}/users/me", world.sandbox.calendly_url()))
        .bearer_auth(world.token("calendly", "u_1").await);
    let me = me.send().await.unwrap().text().await.unwrap();
    assert!(me.contains("alice@sandbox.test"), "{me}");
    assert_eq!(world.heard().len(), 1);
}

#[tokio::test]
async fn a_user_connects_at_calcom_by_secret_or_by_pkce_and_never_by_both() {
    for public_client in [false, true] {
        let world = World::with(Wanted {
            public_client,
            ..Wanted::default()
        })
        .await;
        let browser = Browser::new();
        let page = browser.get(&world.link("calcom", "u_1").await).await;
        let page = page.location(302);
        assert_eq!(asked(&page, "code_challenge").is_some(), public_client);
        assert_eq!(asked(&page, "prompt"), None);
        let back = browser.decide(&page, "alice", "approve").await;
        let done = browser.get(&back).await;
        assert_eq!(done.result(), "tab=1&connection=connected&provider=calcom");
        let stored = world.stored("calcom", "u_1").unwrap();
        assert!(stored.external_id.unwrap().parse::<i64>().is_ok());
        assert_eq!(stored.managed_user_id, None);
        assert_eq!(stored.scope.as_deref(), Some(CALCOM_SCOPE));
    }
}

#[tokio::test]
async fn a_legacy_app_asks_for_no_scope_and_nothing_is_missing() {
    let world = World::with(Wanted {
        calendly_scope: "",
        ..Wanted::default()
    })
    .await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.calendly.legacy_app = true);
    let browser = Browser::new();
    let page = browser
        .get(&world.link("calendly", "u_1").await)
        .await
        .location(302);
    assert_eq!(asked(&page, "scope"), None);
    let back = browser.decide(&page, "alice", "approve").await;
    let done = browser.get(&back).await;
    assert_eq!(
        done.result(),
        "tab=1&connection=connected&provider=calendly"
    );
}

#[tokio::test]
async fn scopes_that_were_not_granted_are_told_and_the_user_is_connected() {
    let (world, browser) = (World::open().await, Browser::new());
    let page = browser
        .get(&world.link("calendly", "u_1").await)
        .await
        .location(302);
    // What a user does who unticks two boxes.
    let less = page.replace(
        "users%3Aread+scheduled_events%3Aread+webhooks%3Awrite",
        "users%3Aread",
    );
    assert_ne!(less, page);
    let back = browser.decide(&less, "alice", "approve").await;
    assert_eq!(
        browser.get(&back).await.result(),
        "tab=1&connection=connected&provider=calendly&note=scope-missing\
         &missing=scheduled_events:read webhooks:write"
    );
    let stored = world.stored("calendly", "u_1").unwrap();
    assert_eq!(stored.scope.as_deref(), Some("users:read"));
}

#[tokio::test]
async fn a_scope_that_was_not_asked_for_is_not_missing() {
    let world = World::with(Wanted {
        calendly_scope: "users:read",
        ..Wanted::default()
    })
    .await;
    let done = Browser::new()
        .allow(&world.link("calendly", "u_1").await, "alice")
        .await;
    assert_eq!(
        done.result(),
        "tab=1&connection=connected&provider=calendly"
    );
}

#[tokio::test]
async fn a_reconnect_mends_a_dead_connection_and_ends_the_old_grant() {
    let (world, browser) = (World::open().await, Browser::new());
    browser
        .allow(&world.link("calendly", "u_1").await, "alice")
        .await;
    let old = world.token("calendly", "u_1").await;
    let revoke = Revoke {
        user: "alice".to_owned(),
        what: Killed::Grant,
    };
    world.sandbox.calendly().revoke(&revoke).unwrap();
    let key = World::key("calendly", "u_1");
    world.tokens.refresh(&key, false).await.unwrap_err();
    let dead = world.stored("calendly", "u_1").unwrap();
    assert!(matches!(dead.status, Status::NeedsReauth { .. }));
    world.heard();
    let done = browser
        .allow(&world.link("calendly", "u_1").await, "alice")
        .await;
    assert_eq!(
        done.result(),
        "tab=1&connection=connected&provider=calendly"
    );
    let mended = world.stored("calendly", "u_1").unwrap();
    assert_eq!((mended.status, mended.id), (Status::Active, dead.id));
    assert_eq!(mended.generation, dead.generation.next());
    let new = world.token("calendly", "u_1").await;
    assert_ne!(new, old);
    let account = mended.external_id.unwrap();
    let account = account.rsplit('/').next().unwrap();
    assert_eq!(
        world.heard(),
        [format!("connected calendly/u_1 {account} again")]
    );
    until("the old grant is revoked", || revocations(&world)).await;
    assert_eq!(status_at_calendly(&world, &new).await, 200);
}

#[tokio::test]
async fn another_account_takes_the_place_of_the_old_one_whose_grant_ends_afterwards() {
    let (world, browser) = (World::open().await, Browser::new());
    browser
        .allow(&world.link("calendly", "u_1").await, "alice")
        .await;
    let (old, alice) = (
        world.token("calendly", "u_1").await,
        world.stored("calendly", "u_1").unwrap(),
    );
    world.heard();
    let done = browser
        .allow(&world.link("calendly", "u_1").await, "bob")
        .await;
    assert_eq!(
        done.result(),
        "tab=1&connection=connected&provider=calendly&note=account-changed"
    );
    let bob = world.stored("calendly", "u_1").unwrap();
    assert_ne!(bob.external_id, alice.external_id);
    let account = bob.external_id.unwrap();
    let account = account.rsplit('/').next().unwrap();
    assert_eq!(
        world.heard(),
        [
            "disconnecting calendly/u_1".to_owned(),
            format!("connected calendly/u_1 {account} other_account"),
        ]
    );
    until("the old grant is revoked", || revocations(&world)).await;
    assert_eq!(status_at_calendly(&world, &old).await, 401);
    let new = world.token("calendly", "u_1").await;
    assert_eq!(status_at_calendly(&world, &new).await, 200);
}

#[tokio::test]
async fn two_users_may_connect_one_account_and_the_second_is_told() {
    let (world, browser) = (World::open().await, Browser::new());
    let first = browser
        .allow(&world.link("calendly", "u_1").await, "alice")
        .await;
    assert_eq!(
        first.result(),
        "tab=1&connection=connected&provider=calendly"
    );
    let second = browser
        .allow(&world.link("calendly", "u_2").await, "alice")
        .await;
    assert_eq!(
        second.result(),
        "tab=1&connection=connected&provider=calendly&note=account-shared"
    );
    for user in ["u_1", "u_2"] {
        let token = world.token("calendly", user).await;
        assert_eq!(status_at_calendly(&world, &token).await, 200, "{user}");
    }
}

#[tokio::test]
async fn a_link_may_be_opened_several_times_and_in_several_windows() {
    let (world, browser) = (World::open().await, Browser::new());
    let link = world.link("calendly", "u_1").await;
    // Whoever looks at links before people do.
    Browser::new().get(&link).await.location(302);
    let first = browser.get(&link).await.location(302);
    let second = browser.get(&link).await.location(302);
    assert_ne!(asked(&first, "state"), asked(&second, "state"));
    for page in [first, second] {
        let back = browser.decide(&page, "alice", "approve").await;
        assert!(
            browser
                .get(&back)
                .await
                .result()
                .contains("connection=connected")
        );
    }
    assert_eq!(world.stored("calendly", "u_1").unwrap().generation.get(), 2);
}

#[tokio::test]
async fn a_browser_that_leaves_in_the_middle_is_connected_all_the_same() {
    let (world, browser) = (World::open().await, Browser::new());
    let page = browser
        .get(&world.link("calendly", "u_1").await)
        .await
        .location(302);
    let back = browser.decide(&page, "alice", "approve").await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_ms = 500);
    let leaving = tokio::spawn(async move { browser.get(&back).await });
    until("the code is on its way", || {
        (world.kept.count(Purpose::Consent) == 0).then_some(())
    })
    .await;
    leaving.abort();
    until("the connection", || world.stored("calendly", "u_1")).await;
    until("the followers", || {
        (!world.heard().is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_an_address_to_return_to_there_is_a_page() {
    let (world, browser) = (World::open().await, Browser::new());
    let link = world.link_to("calcom", "u_1", None).await;
    let done = browser.allow(&link, "alice").await;
    assert_eq!(done.page(200), "Cal.com is connected");
    let program = Browser::program();
    let link = world.link_to("calcom", "u_2", None).await;
    let done = program.allow(&link, "bob").await;
    assert_eq!(done.status, 200);
    assert_eq!(
        done.json(),
        serde_json::json!({ "connection": "connected", "provider": "calcom" })
    );
}

#[tokio::test]
async fn a_link_works_below_a_path_of_the_public_address_and_without_it() {
    let world = World::with(Wanted {
        prefix: "/daypass",
        ..Wanted::default()
    })
    .await;
    let link = world.link("calendly", "u_1").await;
    assert!(
        link.starts_with(&format!("{}/daypass/connect/", world.ingress)),
        "{link}"
    );
    let done = Browser::new().allow(&link, "alice").await;
    assert!(done.result().contains("connection=connected"));
    // An ingress that takes the path away.
    let stripped = link.replace("/daypass/connect/", "/connect/");
    let page = Browser::new().get(&stripped).await.location(302);
    assert!(
        asked(&page, "redirect_uri")
            .unwrap()
            .ends_with("/daypass/oauth/callback/calendly")
    );
}

#[tokio::test]
async fn what_the_store_sees_has_no_secret_in_it() {
    let (world, browser) = (World::open().await, Browser::new());
    let link = world.link("calendly", "u_1").await;
    let page = browser.get(&link).await.location(302);
    let ticket = link.rsplit('.').next().unwrap();
    let (state, bytes) = (asked(&page, "state").unwrap(), world.kept.bytes());
    for secret in [ticket, state.as_str(), "u_1", "app.example.org"] {
        let found = bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "{secret}");
    }
}

#[tokio::test]
async fn no_log_line_has_a_ticket_a_state_or_a_code() {
    let (world, browser) = (World::open().await, Browser::new());
    browser
        .allow(&world.link("calendly", "u_1").await, "alice")
        .await;
    browser
        .get(&format!("{}/connect/calendly.secret/", world.ingress))
        .await;
    let logged = world.logged.0.lock().clone();
    let paths = logged.iter().map(|facts| facts.path.as_ref());
    let paths: Vec<_> = paths.map(|path| path.map(Path::as_str)).collect();
    assert_eq!(
        paths,
        [
            Some("/connect/{ticket}"),
            Some("/oauth/callback/{provider}"),
            None
        ]
    );
    let (user, provider) = (logged[1].user.clone().unwrap(), logged[1].provider.clone());
    assert_eq!(
        (user.to_str().unwrap(), provider.unwrap().as_str()),
        ("u_1", "calendly")
    );
}

fn revocations(world: &World) -> Option<()> {
    let calls = world.sandbox.calendly().stats().token_calls;
    calls.contains_key("revoke:ok").then_some(())
}

async fn status_at_calendly(world: &World, token: &str) -> u16 {
    let url = format!("{}/users/me", world.sandbox.calendly_url());
    let answer = client().get(url).bearer_auth(token).send().await;
    answer.unwrap().status().as_u16()
}

#[tokio::test]
async fn the_account_is_asked_for_only_if_the_tokens_do_not_name_it() {
    let (world, browser) = (World::open().await, Browser::new());
    browser
        .allow(&world.link("calendly", "u_1").await, "alice")
        .await;
    let filter = Filter {
        kind: Some(Kind::Api),
        ..Filter::default()
    };
    assert_eq!(world.sandbox.calendly().entries(&filter).len(), 0);
    browser
        .allow(&world.link("calcom", "u_1").await, "alice")
        .await;
    let asked = world.sandbox.calcom().entries(&filter);
    assert_eq!(asked.len(), 1, "for the organization");
    assert_eq!(asked[0].path, "/v2/me");
    let token = token_id(&world.token("calcom", "u_1").await);
    assert_eq!(asked[0].bearer.as_deref(), Some(&*token));
}
