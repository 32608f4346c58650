//! The refresh URL of atoms: who gets a token for a token.

use std::time::Duration;

use daypass::{
    provider::NewManagedUser,
    sandbox::{Killed, Revoke},
    store::Purpose,
};
use http::{Method, StatusCode};

use crate::{
    browser::{Browser, Seen, client},
    world::{APP, World, until},
};

async fn managed(world: &World, user: &str) -> String {
    let order = NewManagedUser {
        email: format!("{user}@example.org"),
        name: user.to_owned(),
        ..NewManagedUser::default()
    };
    let before = world.kept.count(Purpose::IssuedToken);
    let key = World::key("calcom", user);
    world.connect.create_managed(&key, &order).await.unwrap();
    remembered(world, before + 1).await;
    world.token("calcom", user).await
}

async fn remembered(world: &World, count: usize) {
    until("the token is remembered", || {
        (world.kept.count(Purpose::IssuedToken) >= count).then_some(())
    })
    .await;
}

/// What an atom on a page of `origin` gets for `token`.
async fn refresh(world: &World, origin: &str, token: &str) -> Seen {
    let url = format!("{}/atoms/calcom/refresh", world.ingress);
    let request = client().get(url).header("origin", origin);
    let request = request
        .header("content-type", "application/json")
        .bearer_auth(token);
    Browser::program().send(request).await
}

fn token(seen: &Seen) -> String {
    assert_eq!(seen.status, 200, "{seen:?}");
    assert_eq!(seen.header("access-control-allow-origin"), APP);
    assert_eq!(seen.header("vary"), "origin");
    assert_eq!(seen.header("cache-control"), "no-store");
    let json = seen.json();
    let object = json.as_object().unwrap();
    assert_eq!(object.len(), 1, "nothing but the access token: {object:?}");
    object["accessToken"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_that_has_ended_gets_the_next_one_and_many_tabs_cost_one_renewal() {
    let world = World::open().await;
    let old = managed(&world, "u_1").await;
    world.clock.advance(Duration::from_mins(61));
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(token(&refresh(&world, APP, &old).await));
    }
    assert_ne!(tokens[0], old);
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(world.stored("calcom", "u_1").unwrap().generation.get(), 2);
    // The new one is remembered in its turn.
    remembered(&world, 2).await;
    world.clock.advance(Duration::from_mins(61));
    assert_ne!(token(&refresh(&world, APP, &tokens[0]).await), tokens[0]);
}

#[tokio::test]
async fn a_token_that_was_killed_before_its_end_is_renewed_when_it_is_shown() {
    let world = World::open().await;
    let old = managed(&world, "u_1").await;
    let kill = Revoke {
        user: "u_1".to_owned(),
        what: Killed::Access,
    };
    world.sandbox.calcom().revoke(&kill).unwrap();
    assert_ne!(token(&refresh(&world, APP, &old).await), old);
}

#[tokio::test]
async fn tokens_are_remembered_for_three_days() {
    let world = World::open().await;
    let old = managed(&world, "u_1").await;
    world
        .clock
        .advance(daypass::connect::REMEMBERED.saturating_sub(Duration::from_secs(1)));
    token(&refresh(&world, APP, &old).await);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(
        refresh(&world, APP, &old).await.problem(401),
        "token-unknown"
    );
}

#[tokio::test]
async fn nobody_gets_anything_for_what_was_not_issued() {
    let (world, browser) = (World::open().await, Browser::new());
    let old = managed(&world, "u_1").await;
    browser
        .allow(&world.link("calcom", "u_2").await, "alice")
        .await;
    let consented = world.token("calcom", "u_2").await;
    for stranger in ["x", &consented, &format!("{old}x"), &"x".repeat(9000)] {
        let refused = refresh(&world, APP, stranger).await;
        assert_eq!(refused.problem(401), "token-unknown");
        assert_eq!(
            refused.header("access-control-allow-origin"),
            APP,
            "a page may read why"
        );
    }
    let url = format!("{}/atoms/calcom/refresh", world.ingress);
    let none = client().get(&url).header("origin", APP);
    assert_eq!(
        Browser::program().send(none).await.problem(401),
        "token-unknown"
    );
    let basic = client()
        .get(&url)
        .header("origin", APP)
        .basic_auth("u", Some(&old));
    assert_eq!(
        Browser::program().send(basic).await.problem(401),
        "token-unknown"
    );
}

#[tokio::test]
async fn a_user_who_is_no_longer_that_managed_user_gets_nothing() {
    let (world, browser) = (World::open().await, Browser::new());
    let old = managed(&world, "u_1").await;
    let key = World::key("calcom", "u_1");
    world.connect.disconnect(&key).await.unwrap();
    assert_eq!(
        refresh(&world, APP, &old).await.problem(401),
        "token-unknown"
    );
    browser
        .allow(&world.link("calcom", "u_1").await, "alice")
        .await;
    assert_eq!(
        refresh(&world, APP, &old).await.problem(401),
        "token-unknown"
    );
    world.connect.disconnect(&key).await.unwrap();
    let other = NewManagedUser {
        email: "other@example.org".to_owned(),
        name: "other".to_owned(),
        ..NewManagedUser::default()
    };
    world.connect.create_managed(&key, &other).await.unwrap();
    assert_eq!(
        refresh(&world, APP, &old).await.problem(401),
        "token-unknown"
    );
}

#[tokio::test]
async fn pages_of_other_origins_are_kept_out() {
    let world = World::open().await;
    let old = managed(&world, "u_1").await;
    for origin in [
        "https://evil.example",
        "https://app.example.org.evil.example",
        "null",
        "http://app.example.org",
    ] {
        let refused = refresh(&world, origin, &old).await;
        assert_eq!(refused.problem(403), "origin-not-allowed");
        assert_eq!(refused.header("access-control-allow-origin"), "");
    }
    let url = format!("{}/atoms/calcom/refresh", world.ingress);
    let none = client().get(&url).bearer_auth(&old);
    assert_eq!(
        Browser::program().send(none).await.problem(403),
        "origin-not-allowed"
    );
    let own = client()
        .get(&url)
        .bearer_auth(&old)
        .header("sec-fetch-site", "same-origin");
    assert_eq!(Browser::program().send(own).await.status, 200);
}

#[tokio::test]
async fn a_browser_may_ask_first() {
    let world = World::open().await;
    let url = format!("{}/atoms/calcom/refresh", world.ingress);
    let ask = |origin| {
        let request = client()
            .request(Method::OPTIONS, &url)
            .header("origin", origin);
        request
            .header("access-control-request-method", "GET")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            )
    };
    let allowed = Browser::program().send(ask(APP)).await;
    assert_eq!(allowed.status, StatusCode::NO_CONTENT);
    assert_eq!(allowed.header("access-control-allow-origin"), APP);
    assert_eq!(allowed.header("access-control-allow-methods"), "GET");
    assert_eq!(
        allowed.header("access-control-allow-headers"),
        "authorization, content-type"
    );
    let refused = Browser::program().send(ask("https://evil.example")).await;
    assert_eq!(refused.problem(403), "origin-not-allowed");
    assert_eq!(refused.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn one_user_is_limited_and_others_are_not() {
    let world = World::open().await;
    let (one, two) = (managed(&world, "u_1").await, managed(&world, "u_2").await);
    world.clock.advance(Duration::from_mins(61));
    let mut served = 0;
    let refused = loop {
        let seen = refresh(&world, APP, &one).await;
        if seen.status != 200 {
            break seen;
        }
        served += 1;
    };
    assert!((10..15).contains(&served), "{served}");
    assert_eq!(refused.problem(429), "too-many-requests");
    assert!(!refused.header("retry-after").is_empty());
    token(&refresh(&world, APP, &two).await);
}
