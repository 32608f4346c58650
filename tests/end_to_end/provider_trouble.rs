//! Whatever a token endpoint does: the app is told what the contract says, and no user is
//! disconnected for a provider's fault.

use std::{collections::BTreeMap, fs};

use daypass::sandbox::{Call, Canned, Malformation, Switches, TokenFault, TokenMischief, token_id};

use crate::{
    sidecar::{Sidecar, until},
    world::World,
};

const API: &str = "/calendly/users/me";

async fn world() -> World {
    World::open()
        .await
        .with("refresh.timeout=500ms")
        .with("refresh.lease_ttl=2s")
        .with("refresh.cooldown=100ms")
        .with("refresh.cooldown_max=2s")
}

fn answer(status: u16, body: &str, headers: &[(&str, &str)]) -> Canned {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Canned {
        status,
        body: body.to_owned(),
        headers: headers.collect::<BTreeMap<_, _>>(),
    }
}

fn next(world: &World, what: TokenMischief) {
    let fault = TokenFault::next(1, what);
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_faults = vec![fault]);
}

/// Asks until the provider has been asked again and all is well.
async fn recovers(sidecar: &Sidecar, user: &str) {
    until("the provider is asked again", async || {
        let answer = sidecar.get(user, API).await;
        assert_ne!(answer.status, 424, "{answer:?}");
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_in_trouble_is_a_503_that_ends_by_itself() {
    let world = world().await;
    let html = "<html><body>We'll be back</body></html>";
    let troubles = [
        TokenMischief::DropBefore,
        TokenMischief::Answer(answer(500, "oh", &[])),
        TokenMischief::Answer(answer(502, html, &[("content-type", "text/html")])),
        TokenMischief::Answer(answer(503, "", &[("retry-after", "1")])),
        TokenMischief::Answer(answer(429, "{}", &[("retry-after", "999999999999")])),
        TokenMischief::Answer(answer(
            429,
            "{}",
            &[("retry-after", "Fri, 31 Dec 2055 23:59:59 GMT")],
        )),
        TokenMischief::Answer(answer(429, "{}", &[("retry-after", "-5")])),
        TokenMischief::Answer(answer(200, html, &[("content-type", "text/html")])),
        TokenMischief::Answer(answer(200, "", &[])),
        TokenMischief::Answer(answer(200, "[]", &[])),
        TokenMischief::Answer(answer(200, "{\"access_token\":7}", &[])),
        TokenMischief::Answer(answer(302, "", &[("location", "http://127.0.0.1:1/")])),
        TokenMischief::Missing,
    ];
    let sidecar = world.sidecar().await;
    for (nth, trouble) in troubles.into_iter().enumerate() {
        let user = format!("user-{nth}");
        world.expired_at_calendly(&user).await;
        next(&world, trouble.clone());
        let before = world.calendly_api_calls();
        let refused = sidecar.get(&user, API).await;
        assert_eq!(refused.slug(), "refresh-failed", "{trouble:?}: {refused:?}");
        refused.must_be_problem(503, "refresh-failed");
        assert!(refused.retry_after() <= 5, "{trouble:?}: {refused:?}");
        assert_eq!(world.calendly_api_calls(), before, "{trouble:?}");
        recovers(&sidecar, &user).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_is_too_slow_is_a_503() {
    let world = world().await;
    world.expired_at_calendly("anna").await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_ms = 700);
    let sidecar = world.sidecar().await;
    sidecar
        .get("anna", API)
        .await
        .must_be_problem(503, "refresh-failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_is_down_is_a_503() {
    let world = world().await;
    world.expired_at_calendly("anna").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", taken.local_addr().unwrap());
    drop(taken);
    world.reconfigure(
        &format!("auth_base = \"{}\"", world.sandbox.calendly_url()),
        &format!("auth_base = \"{nobody}\""),
    );
    let sidecar = world.sidecar().await;
    sidecar
        .get("anna", API)
        .await
        .must_be_problem(503, "refresh-failed");
    let answer = sidecar.connection("anna", "calendly").await;
    assert_eq!(answer.json()["status"], "active", "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_down_is_a_502_and_was_not_sent() {
    let world = world().await;
    world.valid_at_calendly("anna").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", taken.local_addr().unwrap());
    drop(taken);
    world.reconfigure(
        &format!("api_base = \"{}\"", world.sandbox.calendly_url()),
        &format!("api_base = \"{nobody}\""),
    );
    let sidecar = world.sidecar().await;
    sidecar
        .get("anna", API)
        .await
        .must_be_problem(502, "upstream-unreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_lost_after_the_rotation_is_tried_once_more_and_then_named() {
    let world = world().await;
    for (user, what) in [
        ("dropped", TokenMischief::DropAfter),
        (
            "empty",
            TokenMischief::Malformed {
                how: Malformation::Empty,
            },
        ),
        (
            "html",
            TokenMischief::Malformed {
                how: Malformation::Html,
            },
        ),
        (
            "cut",
            TokenMischief::Malformed {
                how: Malformation::Truncated,
            },
        ),
        (
            "without",
            TokenMischief::Malformed {
                how: Malformation::NoAccessToken,
            },
        ),
        (
            "replaced",
            TokenMischief::AnswerAfter(answer(500, "oh", &[])),
        ),
    ] {
        world.expired_at_calendly(user).await;
        next(&world, what);
        let sidecar = world.sidecar().await;
        sidecar
            .get(user, API)
            .await
            .must_be_problem(503, "refresh-failed");
        let settled = until("it is tried once more", async || {
            let answer = sidecar.get(user, API).await;
            (answer.slug() != "refresh-failed").then_some(answer)
        })
        .await;
        settled.must_be_problem(424, "needs-reauth");
        assert_eq!(settled.json()["reason"], "lost-rotation", "{user}");
        for _ in 0..5 {
            sidecar
                .get(user, API)
                .await
                .must_be_problem(424, "needs-reauth");
        }
        let calls = world.calendly_calls();
        let count = calls
            .iter()
            .filter(|call| call.user.as_deref() == Some(user))
            .count();
        assert_eq!(count, 2, "{user}: {calls:?}");
    }
    world.assert_no_double_redemption();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_new_refresh_token_the_old_one_is_kept() {
    let world = world().await;
    let anna = world.expired_at_calendly("anna").await;
    next(
        &world,
        TokenMischief::Malformed {
            how: Malformation::NoRefreshToken,
        },
    );
    let sidecar = world.sidecar().await;
    sidecar.get("anna", API).await.must_be(200);
    sidecar
        .post("anna", "/-/calendly/refresh", Vec::new())
        .await;
    let calls = world.calendly_calls();
    let old = token_id(&anna.refresh_token);
    assert_eq!(calls[1].refresh, Some(old), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_expiry_the_token_is_still_renewed_one_day() {
    let world = world().await;
    world.expired_at_calendly("anna").await;
    next(
        &world,
        TokenMischief::Malformed {
            how: Malformation::NoExpiry,
        },
    );
    let sidecar = world.sidecar().await;
    sidecar.get("anna", API).await.must_be(200);
    let connection = sidecar.connection("anna", "calendly").await;
    assert!(
        connection.json()["expires_at"].is_string(),
        "{connection:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_client_secret_disconnects_nobody_and_is_mended_without_a_restart() {
    let world = world().await;
    let wrong = world.path("secret");
    fs::write(&wrong, "wrong").unwrap();
    world.reconfigure(
        "client_id = \"sandbox-calendly-client\"\nclient_secret = \"sandbox-client-secret\"",
        &format!(
            "client_id = \"sandbox-calendly-client\"\nclient_secret_file = \"{}\"",
            wrong.display()
        ),
    );
    for user in ["anna", "ben"] {
        world.expired_at_calendly(user).await;
    }
    let sidecar = world.sidecar().await;
    for user in ["anna", "ben", "anna", "ben"] {
        sidecar
            .get(user, API)
            .await
            .must_be_problem(503, "provider-misconfigured");
        let connection = sidecar.connection(user, "calendly").await;
        assert_eq!(connection.json()["status"], "active", "{connection:?}");
    }
    fs::write(&wrong, "sandbox-client-secret\n").unwrap();
    for user in ["anna", "ben"] {
        until("the new secret is in use", async || {
            let answer = sidecar.get(user, API).await;
            (answer.status == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_grant_is_asked_for_once() {
    let world = world().await;
    world.expired_at_calendly("anna").await;
    let every = TokenFault {
        times: None,
        call: Some(Call::Refresh),
        what: TokenMischief::InvalidGrant,
    };
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_faults = vec![every]);
    let sidecar = world.sidecar().await;
    for _ in 0..50 {
        let answer = sidecar.get("anna", API).await;
        answer.must_be_problem(424, "needs-reauth");
        assert_eq!(answer.json()["reason"], "grant-refused");
    }
    drop(sidecar);
    let again = world.sidecar().await;
    again
        .get("anna", API)
        .await
        .must_be_problem(424, "needs-reauth");
    assert_eq!(world.calendly_calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_clock_is_wrong_is_called_as_usual() {
    for skew in [-600, 600] {
        let world = world().await;
        let skewed = |switches: &mut Switches| switches.clock_skew_secs = skew;
        world.sandbox.calendly().set(skewed);
        world.sandbox.calcom().set(skewed);
        world.expired_at_calendly("anna").await;
        world.managed("mona").await;
        let sidecar = world.sidecar().await;
        sidecar.post("mona", "/-/calcom/refresh", Vec::new()).await;
        for _ in 0..10 {
            sidecar.get("anna", API).await.must_be(200);
            sidecar.get("mona", "/calcom/v2/me").await.must_be(200);
        }
        assert_eq!(world.calendly_calls().len(), 1, "{skew}");
        assert_eq!(world.calcom_calls().len(), 1, "{skew}");
    }
}
