//! Calendly: the OAuth server and the API.

use std::time::Duration;

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
    room.clock.advance(Duration::from_mins(1));
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

#[tokio::test]
async fn pages_are_absolute_and_their_tokens_go_stale() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    let alice = calendly.create_user(&NewUser::named("alice")).unwrap();
    for _ in 0..3 {
        calendly.book(&BookingOrder::create("alice")).unwrap();
    }
    let url = room.calendly(&format!(
        "/scheduled_events?user={}&count=2",
        alice.external_id
    ));
    let (status, page) = room.get(&url, &alice.access_token).await;
    assert_eq!(status, 200);
    assert_eq!(page["collection"].as_array().unwrap().len(), 2);
    let next = text(&page, "/pagination/next_page").to_owned();
    assert!(next.starts_with(room.sandbox.calendly_url()) && next.contains("count=2"));
    let (_, last) = room.get(&next, &alice.access_token).await;
    assert_eq!(last["collection"].as_array().unwrap().len(), 1);
    assert!(last["pagination"]["next_page"].is_null());
    room.clock.advance(Duration::from_mins(61));
    let (status, stale) = room.get(&next, &alice.access_token).await;
    assert_eq!(status, 400);
    assert_eq!(text(&stale, "/details/0/parameter"), "page_token");
}

#[tokio::test]
async fn whose_events_may_be_read_depends_on_the_organization() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    let alice = calendly.create_user(&NewUser::named("alice")).unwrap();
    let order = NewUser {
        colleague_of: Some("alice".to_owned()),
        ..NewUser::named("bob")
    };
    let bob = calendly.create_user(&order).unwrap();
    let carol = calendly.create_user(&NewUser::named("carol")).unwrap();
    let list = async |who: &Created, query: String| {
        let url = room.calendly(&format!("/scheduled_events?{query}"));
        let (status, body) = room.get(&url, &who.access_token).await;
        let message = body
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or_default();
        (status.as_u16(), message.to_owned())
    };
    let user = |who: &Created| format!("user={}", who.external_id);
    let organization = format!("organization={}", alice.organization.as_ref().unwrap());
    assert_eq!(list(&alice, user(&alice)).await.0, 200);
    assert_eq!(list(&alice, String::new()).await.0, 400);
    let (status, message) = list(&alice, user(&bob)).await;
    assert_eq!(status, 403);
    assert!(message.starts_with("Please also specify organization"));
    assert_eq!(
        list(&alice, format!("{}&{organization}", user(&bob)))
            .await
            .0,
        200
    );
    assert_eq!(
        list(&bob, format!("{}&{organization}", user(&alice)))
            .await
            .0,
        403
    );
    let (_, message) = list(&alice, user(&carol)).await;
    assert_eq!(message, "This user is not in your organization");
}

async fn subscribe(room: &Room, who: &Created, scope: &str, url: &str) -> (StatusCode, Value) {
    let body = json!({
        "url": url, "events": ["invitee.created", "invitee.canceled"], "scope": scope,
        "organization": who.organization, "user": who.external_id, "signing_key": "calendly_key",
    });
    let call = room.http.post(room.calendly("/webhook_subscriptions"));
    read(
        call.bearer_auth(&who.access_token)
            .json(&body)
            .send()
            .await
            .unwrap(),
    )
    .await
}

#[tokio::test]
async fn subscriptions_follow_the_plan_the_scope_and_the_url() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    let free = NewUser {
        free_plan: true,
        ..NewUser::named("free")
    };
    let free = calendly.create_user(&free).unwrap();
    let (status, body) = subscribe(&room, &free, "user", "http://127.0.0.1:9/").await;
    assert_eq!(
        (status.as_u16(), text(&body, "/title")),
        (403, "Permission Denied")
    );
    let alice = calendly.create_user(&NewUser::named("alice")).unwrap();
    let member = NewUser {
        colleague_of: Some("alice".to_owned()),
        ..NewUser::named("bob")
    };
    let bob = calendly.create_user(&member).unwrap();
    let url = "http://127.0.0.1:9/hook";
    assert_eq!(subscribe(&room, &bob, "organization", url).await.0, 403);
    let (status, made) = subscribe(&room, &bob, "user", url).await;
    assert_eq!(status, 201);
    assert!(made["resource"].get("signing_key").is_none());
    let (status, again) = subscribe(&room, &bob, "user", url).await;
    assert_eq!(
        (status.as_u16(), text(&again, "/title")),
        (409, "Already Exists")
    );
    let uri = text(&made, "/resource/uri");
    let gone = room
        .http
        .delete(uri)
        .bearer_auth(&bob.access_token)
        .send()
        .await
        .unwrap();
    assert_eq!(gone.status(), 204);
    // A missing read scope shows as a 400.
    let poor = NewUser {
        scope: Some("webhooks:write".to_owned()),
        ..NewUser::named("alice")
    };
    let poor = calendly.create_user(&poor).unwrap();
    assert_eq!(subscribe(&room, &poor, "user", url).await.0, 400);
    drop(alice);
}

#[tokio::test]
async fn deliveries_are_signed_and_name_the_subscriber_not_the_host() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    let alice = calendly.create_user(&NewUser::named("alice")).unwrap();
    let member = NewUser {
        colleague_of: Some("alice".to_owned()),
        ..NewUser::named("bob")
    };
    let bob = calendly.create_user(&member).unwrap();
    let mut inbox = Inbox::open(StatusCode::OK).await;
    assert_eq!(
        subscribe(&room, &alice, "organization", &inbox.url).await.0,
        201
    );
    let booked = calendly.book(&BookingOrder::create("bob")).unwrap();
    let got = inbox.next().await;
    let secs = NOW.as_secs();
    let signed = [format!("{secs}.").as_bytes(), &got.body].concat();
    let header = format!("t={secs},v1={}", hmac_hex(b"calendly_key", &signed));
    assert_eq!(got.headers["calendly-webhook-signature"], header.as_str());
    let body = got.json();
    assert_eq!(text(&body, "/event"), "invitee.created");
    assert_eq!(text(&body, "/created_by"), alice.external_id);
    let host = "/payload/scheduled_event/event_memberships/0/user";
    assert_eq!(text(&body, host), bob.external_id);
    let moved = calendly
        .book(&BookingOrder::to(Action::Reschedule, &booked.id))
        .unwrap();
    assert_eq!(moved.deliveries, 2);
    let mut two = [inbox.next().await.json(), inbox.next().await.json()];
    two.sort_by_key(|one| text(one, "/event").to_owned());
    let [canceled, created] = &two;
    assert_eq!(text(canceled, "/event"), "invitee.canceled");
    assert_eq!(canceled["payload"]["rescheduled"], true);
    assert_eq!(
        canceled["payload"]["new_invitee"],
        created["payload"]["uri"]
    );
    assert_eq!(
        created["payload"]["old_invitee"],
        canceled["payload"]["uri"]
    );
}

#[tokio::test]
async fn a_day_of_failures_disables_a_subscription() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    let alice = calendly.create_user(&NewUser::named("alice")).unwrap();
    let inbox = Inbox::open(StatusCode::FOUND).await;
    let (_, made) = subscribe(&room, &alice, "user", &inbox.url).await;
    let uri = text(&made, "/resource/uri").to_owned();
    // A day in less than a second.
    calendly.set(|switches| switches.webhook_compression = 200_000);
    calendly.book(&BookingOrder::create("alice")).unwrap();
    let mut hook = Value::Null;
    for _ in 0..500 {
        hook = room.get(&uri, &alice.access_token).await.1;
        if hook["resource"]["state"] == "disabled" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        calendly.set(|switches| switches.api_per_minute = 0);
    }
    assert_eq!(text(&hook, "/resource/state"), "disabled");
    assert!(!hook["resource"]["retry_started_at"].is_null());
    let attempts = calendly.deliveries();
    assert!(attempts.len() > 5 && attempts.iter().all(|one| one.status == 302));
    assert_eq!(
        calendly
            .book(&BookingOrder::create("alice"))
            .unwrap()
            .deliveries,
        0
    );
}

#[tokio::test]
async fn a_legacy_app_takes_no_granular_scope() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    calendly.set(|switches| switches.calendly.legacy_app = true);
    calendly.set(|switches| switches.consent_as = Some("alice".to_owned()));
    let authorize = async |scope: &str| {
        let asked = [
            ("client_id", "sandbox-calendly-client"),
            ("redirect_uri", "http://localhost:9/back"),
            ("response_type", "code"),
            ("scope", scope),
        ];
        let call = room
            .http
            .get(with_query(&room.calendly("/oauth/authorize"), &asked));
        call.send().await.unwrap().headers()["location"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert!(
        authorize("users:read")
            .await
            .contains("error=invalid_scope")
    );
    assert!(authorize("").await.contains("code="));
}

#[tokio::test]
async fn the_consent_page_asks_and_takes_no_for_an_answer() {
    let room = Room::open().await;
    let back = "redirect_uri=http%3A%2F%2Flocalhost%3A9%2Fback";
    let path = format!(
        "/oauth/authorize?client_id=sandbox-calendly-client&response_type=code&{back}\
        &state=a%26b&prompt=consent&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM\
        &code_challenge_method=S256"
    );
    let page = room.http.get(room.calendly(&path)).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("prompt"));
    let answer = async |form: &[(&str, &str)]| {
        let call = room
            .http
            .post(room.calendly(&path))
            .form(form)
            .send()
            .await
            .unwrap();
        call.headers()["location"].to_str().unwrap().to_owned()
    };
    let denied = answer(&[("decision", "deny")]).await;
    assert!(denied.contains("error=access_denied") && denied.ends_with("state=a%26b"));
    let approved = answer(&[("decision", "approve"), ("user", "erin")]).await;
    let code = approved.split(['=', '&']).nth(1).unwrap();
    let exchange = async |verifier: &str| {
        let call = room.http.post(room.calendly("/oauth/token"));
        let call = call.basic_auth("sandbox-calendly-client", Some("sandbox-client-secret"));
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", "http://localhost:9/back"),
            ("code_verifier", verifier),
        ];
        call.form(&form).send().await.unwrap().status().as_u16()
    };
    assert_eq!(
        exchange("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").await,
        200
    );
    assert_eq!(
        exchange("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").await,
        400
    );
    let evil = path.replace("localhost", "evil.test");
    let page = room.http.get(room.calendly(&evil)).send().await.unwrap();
    assert_eq!(page.status(), 400);
    assert!(!page.headers().contains_key("location"));
}
