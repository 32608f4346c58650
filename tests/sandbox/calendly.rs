//! Calendly: the OAuth server and the API.

use super::*;

async fn refresh(room: &Room, user: &Created, token: &str) -> (StatusCode, Value) {
    let call = room
        .http
        .post(room.calendly("/oauth/token"))
        .basic_auth(&user.client_id, Some(&user.client_secret))
        .form(&[("grant_type", "refresh_token"), ("refresh_token", token)]);
    read(call.send().await.unwrap()).await
}

#[tokio::test]
async fn a_refresh_token_works_once_and_takes_its_access_token_along() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calendly()
        .create_user(&NewUser::named("alice"))
        .unwrap();
    let me = room.calendly("/users/me");
    assert_eq!(room.get(&me, &alice.access_token).await.0, 200);
    let (status, fresh) = refresh(&room, &alice, &alice.refresh_token).await;
    assert_eq!(status, 200);
    assert_eq!(text(&fresh, "/owner"), alice.external_id);
    assert_eq!(fresh["expires_in"], 7200);
    let (status, body) = refresh(&room, &alice, &alice.refresh_token).await;
    assert_eq!(
        (status.as_u16(), text(&body, "/error")),
        (400, "invalid_grant")
    );
    let (status, body) = room.get(&me, &alice.access_token).await;
    assert_eq!(status, 401);
    assert_eq!(text(&body, "/message"), "The access token was revoked");
    assert_eq!(room.get(&me, text(&fresh, "/access_token")).await.0, 200);
}

#[tokio::test]
async fn the_old_access_token_may_live_on() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    calendly.set(|switches| switches.calendly.old_access_dies = false);
    let alice = calendly.create_user(&NewUser::named("alice")).unwrap();
    refresh(&room, &alice, &alice.refresh_token).await;
    assert_eq!(
        room.get(&room.calendly("/users/me"), &alice.access_token)
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn the_ninth_token_call_of_a_minute_is_refused() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calendly()
        .create_user(&NewUser::named("alice"))
        .unwrap();
    let mut token = alice.refresh_token.clone();
    for _ in 0..8 {
        let (status, body) = refresh(&room, &alice, &token).await;
        assert_eq!(status, 200);
        token = text(&body, "/refresh_token").to_owned();
    }
    assert_eq!(refresh(&room, &alice, &token).await.0, 429);
    room.clock.advance(std::time::Duration::from_mins(1));
    assert_eq!(refresh(&room, &alice, &token).await.0, 200);
}

#[tokio::test]
async fn credentials_pass_as_basic_form_or_json() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calendly()
        .create_user(&NewUser::named("alice"))
        .unwrap();
    let fields = |secret: &str| {
        json!({
            "grant_type": "refresh_token", "refresh_token": alice.refresh_token,
            "client_id": alice.client_id, "client_secret": secret,
        })
    };
    let url = room.calendly("/oauth/token");
    let (status, body) = room.post(&url, fields("wrong")).await;
    assert_eq!(
        (status.as_u16(), text(&body, "/error")),
        (401, "invalid_client")
    );
    assert_eq!(room.post(&url, fields(&alice.client_secret)).await.0, 200);
}

#[tokio::test]
async fn introspection_knows_both_tokens_and_revocation_ends_them() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calendly()
        .create_user(&NewUser::named("alice"))
        .unwrap();
    let call = async |path: &str, token: &str| {
        let fields = json!({"client_id": alice.client_id, "client_secret": alice.client_secret,
            "token": token});
        read(
            room.http
                .post(room.calendly(path))
                .form(&fields)
                .send()
                .await
                .unwrap(),
        )
        .await
    };
    for token in [&alice.access_token, &alice.refresh_token] {
        assert_eq!(call("/oauth/introspect", token).await.1["active"], true);
    }
    assert_eq!(call("/oauth/revoke", &alice.refresh_token).await.0, 200);
    for token in [&alice.access_token, &alice.refresh_token] {
        assert_eq!(call("/oauth/introspect", token).await.1["active"], false);
    }
}

#[tokio::test]
async fn every_answer_carries_the_edge_s_cookies_and_the_user_s_limit() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calendly()
        .create_user(&NewUser::named("alice"))
        .unwrap();
    let me = room
        .http
        .get(room.calendly("/users/me"))
        .bearer_auth(&alice.access_token);
    let answer = me.send().await.unwrap();
    assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 2);
    assert!(answer.headers().contains_key("x-request-id"));
    assert_eq!(answer.headers()["x-ratelimit-limit"], "500");
    assert_eq!(answer.headers()["x-ratelimit-reset"], "60");
}

#[tokio::test]
async fn a_missing_scope_is_a_403_that_names_it() {
    let room = Room::open().await;
    let order = NewUser {
        scope: Some("webhooks:read".to_owned()),
        ..NewUser::named("alice")
    };
    let alice = room.sandbox.calendly().create_user(&order).unwrap();
    let (status, body) = room
        .get(&room.calendly("/users/me"), &alice.access_token)
        .await;
    assert_eq!(status, 403);
    assert_eq!(text(&body, "/title"), "Insufficient scope");
    assert_eq!(text(&body, "/required_scopes/0"), "users:read");
}
