//! The control API, the faults, the probes and the log.

use sha2::{Digest, Sha256};

use super::*;

async fn refresh(room: &Room, user: &Created) -> reqwest::Result<Response> {
    room.http
        .post(room.calendly("/oauth/token"))
        .basic_auth(&user.client_id, Some(&user.client_secret))
        .form(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", &user.refresh_token),
        ])
        .send()
        .await
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_token_was_rotated() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    let alice = calendly.create_user(&NewUser::named("alice")).unwrap();
    calendly.fault_token(TokenFault::next(1, TokenMischief::DropAfter));
    assert!(refresh(&room, &alice).await.is_err());
    assert_eq!(refresh(&room, &alice).await.unwrap().status(), 400);
    let log = calendly.entries(&Filter::default());
    assert_eq!(
        log.iter().map(|entry| entry.status).collect::<Vec<_>>(),
        [0, 400]
    );
    let stats = calendly.stats();
    let uses = &stats.redemptions[&token_id(&alice.refresh_token)];
    assert_eq!((uses.ok, uses.refused), (1, 1));
}

#[tokio::test]
async fn an_answer_can_be_lost_before_anything_happened() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    let alice = calendly.create_user(&NewUser::named("alice")).unwrap();
    calendly.fault_token(TokenFault::next(1, TokenMischief::DropBefore));
    assert!(refresh(&room, &alice).await.is_err());
    assert_eq!(refresh(&room, &alice).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_success_can_be_malformed_in_every_way() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    calendly.set(|switches| switches.token_per_minute = 0);
    for (how, key) in [
        (Malformation::Empty, None),
        (Malformation::Html, None),
        (Malformation::Truncated, None),
        (Malformation::NoAccessToken, Some("access_token")),
        (Malformation::NoRefreshToken, Some("refresh_token")),
        (Malformation::NoExpiry, Some("expires_in")),
    ] {
        let alice = calendly.create_user(&NewUser::named("alice")).unwrap();
        let fault = TokenFault::next(1, TokenMischief::Malformed { how });
        calendly.fault_token(fault);
        let (status, body) = read(refresh(&room, &alice).await.unwrap()).await;
        assert_eq!(status, 200);
        match key {
            None => assert!(body.as_str().is_some(), "{how:?}: {body}"),
            Some(key) => assert!(
                body.is_object() && body.get(key).is_none(),
                "{how:?}: {body}"
            ),
        }
        assert_eq!(
            refresh(&room, &alice).await.unwrap().status(),
            400,
            "{how:?} rotates"
        );
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_stop_the_rotation() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    let alice = calendly.create_user(&NewUser::named("alice")).unwrap();
    calendly.set(|switches| switches.token_latency_ms = 100);
    let impatient = tokio::time::timeout(Duration::from_millis(30), refresh(&room, &alice));
    assert!(impatient.await.is_err());
    calendly.set(|switches| switches.token_latency_ms = 0);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(refresh(&room, &alice).await.unwrap().status(), 400);
}

#[tokio::test]
async fn api_faults_hit_whom_they_name_and_no_oftener_than_told() {
    let room = Room::open().await;
    let calcom = room.sandbox.calcom();
    let alice = calcom.create_user(&NewUser::named("alice")).unwrap();
    let bob = calcom.create_user(&NewUser::named("bob")).unwrap();
    let what = ApiMischief::RateLimited {
        retry_after: Some("soon".to_owned()),
    };
    calcom.fault_api(ApiFault {
        user: Some("alice".into()),
        ..ApiFault::next(1, what)
    });
    let me = room.calcom("/v2/me");
    assert_eq!(room.get(&me, &bob.access_token).await.0, 200);
    let refused = room
        .http
        .get(&me)
        .bearer_auth(&alice.access_token)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "soon");
    assert_eq!(room.get(&me, &alice.access_token).await.0, 200);
    calcom.fault_api(ApiFault::next(1, ApiMischief::LeakingForbidden));
    let (status, body) = room.get(&me, &alice.access_token).await;
    assert_eq!(status, 403);
    assert!(text(&body, "/error/message").ends_with(&alice.access_token));
}

#[tokio::test]
async fn everything_can_be_driven_over_http() {
    let room = Room::open().await;
    for base in [room.sandbox.calcom_url(), room.sandbox.calendly_url()] {
        let at = |path: &str| format!("{base}/_sandbox{path}");
        let (status, made) = room.post(&at("/users"), json!({"name": "carol"})).await;
        assert_eq!(status, 201);
        let token = text(&made, "/access_token");
        let patch =
            json!({"clock_skew_secs": 60, "api_faults": [{"kind": "server_error", "times": 1}]});
        let call = room.http.patch(at("/switches")).json(&patch);
        let switches: Switches =
            serde_json::from_value(read(call.send().await.unwrap()).await.1).unwrap();
        assert_eq!(switches.clock_skew_secs, 60);
        let echo = if base == room.sandbox.calcom_url() {
            "/v2/_echo"
        } else {
            "/_echo"
        };
        assert_eq!(room.get(&format!("{base}{echo}"), token).await.0, 500);
        let (_, echoed) = room.get(&format!("{base}{echo}?x=1"), token).await;
        assert_eq!(
            (text(&echoed, "/user"), text(&echoed, "/query")),
            ("carol", "x=1")
        );
        assert_eq!(text(&echoed, "/bearer"), token_id(token));
        let (_, log) = room.get(&at("/log?user=carol&kind=api"), "").await;
        assert_eq!(log.as_array().unwrap().len(), 2);
        let (status, _) = room
            .post(&at("/revoke"), json!({"user": "carol", "what": "access"}))
            .await;
        assert_eq!(status, 200);
        assert_eq!(room.get(&format!("{base}{echo}"), token).await.0, 401);
        let (_, counters) = room.get(&at("/stats"), "").await;
        assert_eq!(counters["api_by_user"]["carol"], 3);
        assert_eq!(
            room.post(&at("/revoke"), json!({"user": "x", "what": "all"}))
                .await
                .0,
            400
        );
        assert_eq!(
            room.http
                .patch(at("/switches"))
                .json(&json!({"nope": 1}))
                .send()
                .await
                .unwrap()
                .status(),
            400
        );
        assert_eq!(
            room.http.delete(at("/log")).send().await.unwrap().status(),
            204
        );
        assert_eq!(room.get(&at("/log"), "").await.1, json!([]));
    }
}

#[tokio::test]
async fn the_clock_can_be_wrong() {
    let room = Room::open().await;
    room.sandbox
        .calcom()
        .set(|switches| switches.clock_skew_secs = -7200);
    let alice = room
        .sandbox
        .calcom()
        .create_user(&NewUser::managed("alice"))
        .unwrap();
    assert!(alice.access_expires_at < NOW);
    let answer = room
        .http
        .get(room.calcom("/v2/me"))
        .bearer_auth(&alice.access_token);
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["date"], "Sat, 21 Nov 2026 03:36:03 GMT");
}

#[tokio::test]
async fn probes_stream_and_swallow() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calendly()
        .create_user(&NewUser::named("alice"))
        .unwrap();
    let get = |path: &str| {
        room.http
            .get(room.calendly(path))
            .bearer_auth(&alice.access_token)
    };
    let bytes = get("/_bytes?n=100000")
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!(bytes.len(), 100_000);
    let events = get("/_sse?n=2&interval_ms=1").send().await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    assert_eq!(
        events.text().await.unwrap().matches("event: tick").count(),
        2
    );
    let upload = vec![7_u8; 300_000];
    let sink = room
        .http
        .put(room.calendly("/_sink"))
        .bearer_auth(&alice.access_token);
    let (_, swallowed) = read(sink.body(upload.clone()).send().await.unwrap()).await;
    assert_eq!(swallowed["bytes"], 300_000);
    assert_eq!(
        text(&swallowed, "/sha256"),
        hex::encode(Sha256::digest(&upload))
    );
    assert_eq!(room.get(&room.calendly("/_bytes"), "nobody").await.0, 401);
}

#[tokio::test]
async fn tls_speaks_http_2_and_seeds_are_there() {
    daypass::http::tls::install_crypto();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let lifecycle = Lifecycle::new();
    let sandbox = Sandbox::start(
        Options {
            tls: Some(Arc::new(tls)),
            seed: true,
            ..Options::default()
        },
        lifecycle.clone(),
        Arc::new(ManualClock::new(NOW)),
        Arc::new(SeededRandom::new(7)),
    )
    .await
    .unwrap();
    let trusted = reqwest::Certificate::from_der(made.cert.der()).unwrap();
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only([trusted])
        .build()
        .unwrap();
    let alice = sandbox
        .calendly()
        .create_user(&NewUser::named("alice"))
        .unwrap();
    let url = format!(
        "{}/scheduled_events?user={}",
        sandbox.calendly_url(),
        alice.external_id
    );
    let answer = client
        .get(url)
        .bearer_auth(&alice.access_token)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    let (_, page) = read(answer).await;
    assert_eq!(page["collection"].as_array().unwrap().len(), 3);
    drop(client);
    let ended = lifecycle.drain(Duration::from_secs(5)).await;
    assert_eq!(ended, daypass::base::lifecycle::Drained::Clean);
}

#[tokio::test]
async fn a_reset_brings_back_each_provider_s_own_start() {
    let room = Room::open().await;
    for (url, limit) in [
        (room.calcom("/_sandbox/switches"), 120),
        (room.calendly("/_sandbox/switches"), 8),
    ] {
        let patch = json!({"token_per_minute": 1});
        room.http.patch(&url).json(&patch).send().await.unwrap();
        let (_, reset) = read(room.http.delete(&url).send().await.unwrap()).await;
        assert_eq!(reset["token_per_minute"], limit);
    }
}
