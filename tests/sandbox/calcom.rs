//! Cal.com: both token families.

use std::time::Duration;

use super::*;

async fn refresh_managed(room: &Room, user: &Created, token: &str) -> (StatusCode, Value) {
    let url = room.calcom(&format!("/v2/oauth/{}/refresh", user.client_id));
    let call = room
        .http
        .post(url)
        .header("x-cal-secret-key", &user.client_secret)
        .json(&json!({ "refreshToken": token }));
    read(call.send().await.unwrap()).await
}

async fn force(room: &Room, user: &Created) -> (StatusCode, Value) {
    let id = user.managed_user_id.unwrap();
    let path = format!(
        "/v2/oauth-clients/{}/users/{id}/force-refresh",
        user.client_id
    );
    let call = room
        .http
        .post(room.calcom(&path))
        .header("x-cal-secret-key", &user.client_secret);
    read(call.send().await.unwrap()).await
}

async fn refresh_oauth2(room: &Room, user: &Created, token: &str) -> (StatusCode, Value) {
    let body = json!({
        "grant_type": "refresh_token",
        "client_id": user.client_id,
        "client_secret": user.client_secret,
        "refresh_token": token,
    });
    room.post(&room.calcom("/v2/auth/oauth2/token"), body).await
}

#[tokio::test]
async fn a_managed_refresh_token_works_once() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calcom()
        .create_user(&NewUser::managed("alice"))
        .unwrap();
    let (status, first) = refresh_managed(&room, &alice, &alice.refresh_token).await;
    assert_eq!(status, 200);
    let (status, again) = refresh_managed(&room, &alice, &alice.refresh_token).await;
    assert_eq!(status, 400);
    assert_eq!(text(&again, "/error/message"), "Invalid refresh token");
    assert_eq!(text(&again, "/status"), "error");
    // The old access token works to its end; the new one too.
    for token in [&alice.access_token, text(&first, "/data/accessToken")] {
        assert_eq!(room.get(&room.calcom("/v2/me"), token).await.0, 200);
    }
    let counters = room.sandbox.calcom().stats();
    let uses = &counters.redemptions[&token_id(&alice.refresh_token)];
    assert_eq!((uses.ok, uses.refused), (1, 1));
    assert_eq!(uses.user.as_deref(), Some("alice"));
}

#[tokio::test]
async fn managed_times_are_floored_to_the_minute_and_the_day() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calcom()
        .create_user(&NewUser::managed("alice"))
        .unwrap();
    assert_eq!(alice.access_expires_at.as_millis() % 60_000, 0);
    assert_eq!(
        alice.refresh_expires_at.unwrap().as_millis() % 86_400_000,
        0
    );
    let left = alice.access_expires_at.saturating_since(NOW);
    assert!(left > Duration::from_mins(59) && left <= Duration::from_hours(1));
    room.sandbox
        .calcom()
        .set(|switches| switches.access_lifetime_secs = Some(2));
    let short = room
        .sandbox
        .calcom()
        .create_user(&NewUser::managed("alice"))
        .unwrap();
    assert_eq!(
        short.access_expires_at,
        NOW.saturating_add(Duration::from_secs(2))
    );
}

#[tokio::test]
async fn of_two_racing_managed_refreshes_one_loses() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calcom()
        .create_user(&NewUser::managed("alice"))
        .unwrap();
    room.sandbox
        .calcom()
        .set(|switches| switches.token_latency_ms = 200);
    let (one, two) = tokio::join!(
        refresh_managed(&room, &alice, &alice.refresh_token),
        refresh_managed(&room, &alice, &alice.refresh_token),
    );
    let mut statuses = [one.0.as_u16(), two.0.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 404]);
    let loser = if one.0 == 404 { one.1 } else { two.1 };
    assert_eq!(text(&loser, "/error/code"), "NOT_FOUND");
}

#[tokio::test]
async fn a_forced_refresh_kills_every_earlier_token() {
    let room = Room::open().await;
    let calcom = room.sandbox.calcom();
    let alice = calcom.create_user(&NewUser::managed("alice")).unwrap();
    let twin = calcom.create_user(&NewUser::managed("alice")).unwrap();
    let (status, fresh) = force(&room, &alice).await;
    assert_eq!(status, 200);
    for dead in [&alice, &twin] {
        let (status, body) = room.get(&room.calcom("/v2/me"), &dead.access_token).await;
        assert_eq!(status, 401);
        assert_eq!(text(&body, "/error/message"), "Invalid Access Token.");
        assert_eq!(
            refresh_managed(&room, &alice, &dead.refresh_token).await.0,
            400
        );
    }
    let token = text(&fresh, "/data/accessToken");
    assert_eq!(room.get(&room.calcom("/v2/me"), token).await.0, 200);
}

#[tokio::test]
async fn an_expired_row_says_498_until_any_refresh_purges_it() {
    let room = Room::open().await;
    let calcom = room.sandbox.calcom();
    let alice = calcom.create_user(&NewUser::managed("alice")).unwrap();
    let bob = calcom.create_user(&NewUser::managed("bob")).unwrap();
    room.clock.advance(Duration::from_mins(61));
    let me = room.calcom("/v2/me");
    let (status, body) = room.get(&me, &alice.access_token).await;
    assert_eq!(status.as_u16(), 498);
    assert_eq!(text(&body, "/error/code"), "TokenExpiredException");
    assert_eq!(text(&body, "/error/message"), "ACCESS_TOKEN_IS_EXPIRED");
    assert_eq!(
        refresh_managed(&room, &bob, &bob.refresh_token).await.0,
        200
    );
    assert_eq!(room.get(&me, &alice.access_token).await.0, 401);
    calcom.set(|switches| switches.calcom.cached_kills = true);
    let carol = calcom.create_user(&NewUser::managed("carol")).unwrap();
    assert_eq!(force(&room, &carol).await.0, 200);
    let (status, body) = room.get(&me, &carol.access_token).await;
    assert_eq!(status, 401);
    assert!(text(&body, "/error/message").ends_with("client not found given the access token"));
}

#[tokio::test]
async fn client_credentials_are_refused_in_the_exact_words() {
    let room = Room::open().await;
    let url = |client: &str| room.calcom(&format!("/v2/oauth/{client}/refresh"));
    let body = json!({"refreshToken": "x"});
    let (status, answer) = room
        .post(&url("sandbox-platform-client"), body.clone())
        .await;
    assert_eq!(status, 401);
    assert!(text(&answer, "/error/message").contains("No authentication method provided"));
    for (client, secret, words) in [
        (
            "nobody",
            "sandbox-platform-secret",
            "Client with ID nobody not found",
        ),
        ("sandbox-platform-client", "wrong", "Invalid client secret"),
    ] {
        let call = room
            .http
            .post(url(client))
            .header("x-cal-secret-key", secret)
            .json(&body);
        let (status, answer) = read(call.send().await.unwrap()).await;
        assert_eq!(status, 401);
        let message = format!("ApiAuthStrategy - oAuth client - {words}");
        assert_eq!(text(&answer, "/error/message"), message);
    }
}

#[tokio::test]
async fn client_headers_outrank_the_bearer() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calcom()
        .create_user(&NewUser::managed("alice"))
        .unwrap();
    let call = room
        .http
        .get(room.calcom("/v2/me"))
        .bearer_auth(&alice.access_token)
        .header("x-cal-client-id", &alice.client_id)
        .header("x-cal-secret-key", &alice.client_secret);
    let (_, body) = read(call.send().await.unwrap()).await;
    assert_eq!(text(&body, "/data/username"), "platform-owner");
}

#[tokio::test]
async fn a_second_managed_user_of_one_address_is_a_conflict_that_names_the_first() {
    let room = Room::open().await;
    let create = || {
        room.http
            .post(room.calcom("/v2/oauth-clients/sandbox-platform-client/users"))
            .header("x-cal-secret-key", "sandbox-platform-secret")
            .json(&json!({"email": "carol@example.com", "name": "carol"}))
            .send()
    };
    let (status, first) = read(create().await.unwrap()).await;
    assert_eq!(status, 201);
    assert_eq!(
        text(&first, "/data/user/email"),
        "carol+sandbox-platform-client@example.com"
    );
    let (status, second) = read(create().await.unwrap()).await;
    assert_eq!(status, 409);
    let id = first.pointer("/data/user/id").unwrap();
    let message = format!("User with the provided e-mail already exists. Existing user ID={id}");
    assert_eq!(text(&second, "/error/message"), message);
}

#[tokio::test]
async fn rotation_kills_every_refresh_token_of_the_user_and_client() {
    let room = Room::open().await;
    let calcom = room.sandbox.calcom();
    let alice = calcom.create_user(&NewUser::named("alice")).unwrap();
    let twin = calcom.create_user(&NewUser::named("alice")).unwrap();
    let bob = calcom.create_user(&NewUser::named("bob")).unwrap();
    let (status, fresh) = refresh_oauth2(&room, &alice, &alice.refresh_token).await;
    assert_eq!(status, 200);
    assert_eq!(fresh["expires_in"], 1800);
    assert_eq!(fresh["token_type"], "bearer");
    for dead in [&alice, &twin] {
        let (status, body) = refresh_oauth2(&room, dead, &dead.refresh_token).await;
        assert_eq!(status, 400);
        assert_eq!(body["error"], "invalid_grant");
        assert_eq!(body["error_description"], "refresh_token_revoked");
    }
    assert_eq!(refresh_oauth2(&room, &bob, &bob.refresh_token).await.0, 200);
    let next = text(&fresh, "/refresh_token");
    assert_eq!(refresh_oauth2(&room, &alice, next).await.0, 200);
}

#[tokio::test]
async fn without_rotation_a_refresh_token_is_reusable() {
    let room = Room::open().await;
    let calcom = room.sandbox.calcom();
    calcom.set(|switches| switches.calcom.oauth2_rotation = false);
    let alice = calcom.create_user(&NewUser::named("alice")).unwrap();
    for _ in 0..3 {
        assert_eq!(
            refresh_oauth2(&room, &alice, &alice.refresh_token).await.0,
            200
        );
    }
    calcom
        .revoke(&Revoke {
            user: "alice".into(),
            what: Killed::Grant,
        })
        .unwrap();
    assert_eq!(
        refresh_oauth2(&room, &alice, &alice.refresh_token).await.0,
        400
    );
}

#[tokio::test]
async fn two_access_tokens_of_one_second_are_identical() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calcom()
        .create_user(&NewUser::named("alice"))
        .unwrap();
    let (_, fresh) = refresh_oauth2(&room, &alice, &alice.refresh_token).await;
    assert_eq!(text(&fresh, "/access_token"), alice.access_token);
    room.clock.advance(Duration::from_secs(1));
    let (_, later) = refresh_oauth2(&room, &alice, text(&fresh, "/refresh_token")).await;
    assert_ne!(text(&later, "/access_token"), alice.access_token);
}

#[tokio::test]
async fn the_oauth2_body_is_strict() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calcom()
        .create_user(&NewUser::named("alice"))
        .unwrap();
    let url = room.calcom("/v2/auth/oauth2/token");
    let good = json!({
        "grant_type": "refresh_token", "client_id": alice.client_id,
        "client_secret": alice.client_secret, "refresh_token": alice.refresh_token,
    });
    let cases = [
        ("scope", json!("BOOKING_READ"), 400, "invalid_request"),
        ("code_verifier", json!("v"), 400, "invalid_request"),
        ("grant_type", json!("password"), 400, "invalid_request"),
        ("client_id", json!(""), 400, "invalid_request"),
        ("client_id", json!("nobody"), 401, "invalid_client"),
        ("client_secret", json!("wrong"), 401, "invalid_client"),
        ("refresh_token", json!("wrong"), 400, "invalid_grant"),
    ];
    for (field, value, status, error) in cases {
        let mut body = good.clone();
        body[field] = value;
        let (found, answer) = room.post(&url, body).await;
        assert_eq!(
            (found.as_u16(), text(&answer, "/error")),
            (status, error),
            "{field}"
        );
        assert!(answer.get("status").is_none(), "flat");
    }
    let form = room.http.post(&url).form(&good).send().await.unwrap();
    assert_eq!(form.headers()["cache-control"], "no-store");
    assert_eq!(form.status(), 200);
}

#[tokio::test]
async fn an_expired_oauth2_token_is_a_plain_401() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calcom()
        .create_user(&NewUser::named("alice"))
        .unwrap();
    room.clock.advance(Duration::from_secs(1801));
    let (status, body) = room.get(&room.calcom("/v2/me"), &alice.access_token).await;
    assert_eq!(status, 401);
    assert_eq!(text(&body, "/error/message"), "Invalid Access Token.");
}

#[tokio::test]
async fn limits_have_the_suffix_and_no_retry_after() {
    let room = Room::open().await;
    let calcom = room.sandbox.calcom();
    let alice = calcom.create_user(&NewUser::named("alice")).unwrap();
    calcom.set(|switches| switches.api_per_minute = 1);
    let me = room.calcom("/v2/me");
    let first = room
        .http
        .get(&me)
        .bearer_auth(&alice.access_token)
        .send()
        .await
        .unwrap();
    assert_eq!(first.headers()["X-RateLimit-Limit-Default"], "1");
    assert_eq!(first.headers()["X-RateLimit-Remaining-Default"], "0");
    let second = room
        .http
        .get(&me)
        .bearer_auth(&alice.access_token)
        .send()
        .await
        .unwrap();
    assert_eq!(second.status(), 429);
    assert!(!second.headers().contains_key("retry-after"));
    let (_, body) = read(second).await;
    assert_eq!(text(&body, "/error/code"), "ThrottlerException");
}

#[tokio::test]
async fn bookings_leak_a_dead_token_where_permissions_come_first() {
    let room = Room::open().await;
    let calcom = room.sandbox.calcom();
    let alice = calcom.create_user(&NewUser::managed("alice")).unwrap();
    let url = room.calcom("/v2/bookings");
    assert_eq!(room.get(&url, &alice.access_token).await.0, 200);
    room.clock.advance(Duration::from_mins(61));
    // The row is still there: the permissions guard finds it, the next one says that it is old.
    assert_eq!(room.get(&url, &alice.access_token).await.0.as_u16(), 498);
    assert_eq!(force(&room, &alice).await.0, 200);
    let (status, body) = room.get(&url, &alice.access_token).await;
    assert_eq!(status, 403);
    let token = &alice.access_token;
    assert_eq!(
        text(&body, "/error/message"),
        format!("PermissionsGuard - no oAuth client found for access token={token}")
    );
}

#[tokio::test]
async fn a_booking_can_be_made_without_any_token() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calcom()
        .create_user(&NewUser::named("alice"))
        .unwrap();
    let kind: i64 = alice.external_id.parse::<i64>().unwrap() * 10 + 1;
    let order = json!({"start": "2026-12-01T09:00:00Z", "eventTypeId": kind,
        "attendee": {"name": "Guest", "email": "g@example.com", "timeZone": "Europe/Berlin"}});
    let url = room.calcom("/v2/bookings");
    let (status, made) = room.post(&url, order.clone()).await;
    assert_eq!(status, 201);
    let path = format!("/v2/bookings/{}", text(&made, "/data/uid"));
    assert_eq!(
        room.http
            .get(room.calcom(&path))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    // No token passes, a bad one does not.
    let bad = room
        .http
        .post(&url)
        .bearer_auth("bad")
        .json(&order)
        .send()
        .await
        .unwrap();
    assert_eq!(bad.status(), 401);
}

#[tokio::test]
async fn totals_do_not_know_the_delta_filters() {
    let room = Room::open().await;
    let calcom = room.sandbox.calcom();
    let alice = calcom.create_user(&NewUser::named("alice")).unwrap();
    for _ in 0..3 {
        calcom.book(&BookingOrder::create("alice")).unwrap();
        room.clock.advance(Duration::from_mins(1));
    }
    let since = NOW.saturating_add(Duration::from_secs(90));
    let url = room.calcom(&format!("/v2/bookings?afterUpdatedAt={since}&take=2"));
    let call = room.http.get(url).bearer_auth(&alice.access_token);
    let (_, body) = read(
        call.header("cal-api-version", "2024-08-13")
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(body["data"].as_array().unwrap().len(), 1);
    assert_eq!(body["pagination"]["totalItems"], 3);
    assert_eq!(body["pagination"]["hasNextPage"], true);
    // Without the version the shape is an older one.
    let (_, old) = room
        .get(&room.calcom("/v2/bookings"), &alice.access_token)
        .await;
    assert_eq!(old["data"]["bookings"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_code_works_once_for_ten_minutes_and_with_its_redirect_uri() {
    let room = Room::open().await;
    room.sandbox
        .calcom()
        .set(|switches| switches.consent_as = Some("dora".to_owned()));
    let back = "http://localhost:9/back?x=1";
    let code = async || {
        let url = room.calcom("/auth/oauth2/authorize");
        let asked = [
            ("client_id", "sandbox-oauth2-client"),
            ("redirect_uri", back),
            ("scope", "PROFILE_READ,BOOKING_READ"),
            ("state", "s"),
        ];
        let answer = room
            .http
            .get(with_query(&url, &asked))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 302);
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        assert!(
            location.starts_with("http://localhost:9/back?x=1&code=")
                && location.ends_with("&state=s")
        );
        location.split(['=', '&']).nth(3).unwrap().to_owned()
    };
    let exchange = async |code: &str, redirect: &str| {
        let body = json!({"grant_type": "authorization_code", "client_id": "sandbox-oauth2-client",
            "client_secret": "sandbox-client-secret", "code": code, "redirect_uri": redirect});
        room.post(&room.calcom("/v2/auth/oauth2/token"), body).await
    };
    let first = code().await;
    let (_, wrong) = exchange(&first, "http://localhost:9/other").await;
    assert_eq!(wrong["error_description"], "redirect_uri_mismatch");
    let (status, tokens) = exchange(&first, back).await;
    assert_eq!(status, 200);
    assert_eq!(tokens["scope"], "PROFILE_READ BOOKING_READ");
    let (_, me) = room
        .get(&room.calcom("/v2/me"), text(&tokens, "/access_token"))
        .await;
    assert_eq!(text(&me, "/data/username"), "dora");
    assert_eq!(exchange(&first, back).await.0, 400);
    let late = code().await;
    room.clock.advance(Duration::from_secs(601));
    assert_eq!(exchange(&late, back).await.0, 400);
}

#[tokio::test]
async fn a_public_client_needs_the_verifier_and_a_wrong_one_burns_the_code() {
    let room = Room::open().await;
    room.sandbox
        .calcom()
        .set(|switches| switches.consent_as = Some("dora".to_owned()));
    // RFC 7636 appendix B.
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let url = room.calcom("/auth/oauth2/authorize");
    let mut asked = vec![
        ("client_id", "sandbox-public-client"),
        ("redirect_uri", "http://localhost:9/back"),
        ("scope", "PROFILE_READ"),
    ];
    let plain = room
        .http
        .get(with_query(&url, &asked))
        .send()
        .await
        .unwrap();
    assert!(
        plain.headers()["location"]
            .to_str()
            .unwrap()
            .contains("error=invalid_request")
    );
    asked.push((
        "code_challenge",
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    ));
    asked.push(("code_challenge_method", "S256"));
    for (verifier, statuses) in [("wrong", [400, 400]), (verifier, [200, 400])] {
        let answer = room
            .http
            .get(with_query(&url, &asked))
            .send()
            .await
            .unwrap();
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        let code = location.split_once("code=").unwrap().1;
        for status in statuses {
            let body = json!({"grant_type": "authorization_code", "code": code,
                "client_id": "sandbox-public-client", "code_verifier": verifier,
                "redirect_uri": "http://localhost:9/back"});
            let (found, _) = room.post(&room.calcom("/v2/auth/oauth2/token"), body).await;
            assert_eq!(found.as_u16(), status);
        }
    }
}

#[tokio::test]
async fn webhooks_are_signed_over_the_bytes_and_sent_once() {
    let room = Room::open().await;
    let calcom = room.sandbox.calcom();
    let alice = calcom.create_user(&NewUser::named("alice")).unwrap();
    let mut inbox = Inbox::open(StatusCode::INTERNAL_SERVER_ERROR).await;
    let target = inbox.url.clone();
    let subscribe = |secret: Option<&str>, path: &str| {
        let mut body = json!({"active": true, "subscriberUrl": format!("{target}{path}"),
            "triggers": ["BOOKING_CREATED", "BOOKING_CANCELLED", "MEETING_ENDED"]});
        if let Some(secret) = secret {
            body["secret"] = json!(secret);
        }
        let call = room
            .http
            .post(room.calcom("/v2/webhooks"))
            .bearer_auth(&alice.access_token);
        call.json(&body).send()
    };
    let (status, made) = read(subscribe(Some("shh"), "/a").await.unwrap()).await;
    assert_eq!((status.as_u16(), text(&made, "/data/secret")), (201, "shh"));
    assert_eq!(subscribe(Some("shh"), "/a").await.unwrap().status(), 409);
    let booked = calcom.book(&BookingOrder::create("alice")).unwrap();
    assert_eq!(booked.deliveries, 1);
    let got = inbox.next().await;
    let signature = hmac_hex(b"shh", &got.body);
    assert_eq!(got.headers["x-cal-signature-256"], signature.as_str());
    assert_eq!(
        got.json()["payload"]["organizer"]["id"].to_string(),
        alice.external_id
    );
    calcom
        .book(&BookingOrder::to(Action::End, &booked.id))
        .unwrap();
    let flat = inbox.next().await.json();
    assert!(flat.get("payload").is_none());
    assert_eq!(flat["userId"].to_string(), alice.external_id);
    assert_eq!(subscribe(None, "/b").await.unwrap().status(), 201);
    calcom
        .book(&BookingOrder::to(Action::Cancel, &booked.id))
        .unwrap();
    let two = [inbox.next().await, inbox.next().await];
    assert!(
        two.iter()
            .any(|one| one.headers["x-cal-signature-256"] == "no-secret-provided")
    );
    // Four deliveries, all refused with 500, none sent again.
    settle(|| calcom.deliveries().len() == 4).await;
    assert!(
        calcom
            .deliveries()
            .iter()
            .all(|one| one.attempt == 1 && one.status == 500)
    );
}

#[tokio::test]
async fn a_foreign_origin_is_refused_with_a_managed_token() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calcom()
        .create_user(&NewUser::managed("alice"))
        .unwrap();
    let call = room
        .http
        .get(room.calcom("/v2/me"))
        .bearer_auth(&alice.access_token);
    let (status, body) = read(
        call.header("origin", "https://evil.test")
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(status, 401);
    assert!(text(&body, "/error/message").contains("Invalid request origin"));
}
