//! What an operator allows, and how often, through the binary: refused, or only observed.

use daypass::sandbox::{Killed, Revoke};
use http::Method;

use crate::{
    sidecar::{Answer, Sidecar, until},
    world::World,
};

/// The value of a sample, by how its line begins.
async fn sample(sidecar: &Sidecar, start: &str) -> u64 {
    let text = sidecar.admin("/metrics").await.body;
    let line = text.lines().find(|line| line.starts_with(start));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_off_the_allow_list_are_refused_and_told() {
    let world = World::open()
        .await
        .with("providers.calendly.policy.allow=GET /users/me, GET /scheduled_events*");
    world.valid_at_calendly("anna").await;
    world.managed("mona").await;
    let sidecar = world.sidecar().await;
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    let refused = sidecar.post("anna", "/calendly/_sink", vec![1]).await;
    refused.must_be_problem(403, "not-allowed-by-policy");
    assert_eq!(refused.json()["rule"], "POST /_sink");
    let tricked = sidecar
        .request(Method::GET, "anna", "/calendly/users/me")
        .header("x-http-method-override", "DELETE");
    Answer::read(tricked)
        .await
        .must_be_problem(403, "not-allowed-by-policy");
    // The other provider has no list, and the calls to Daypass itself are not on any.
    sidecar.get("mona", "/calcom/v2/me").await.must_be(200);
    sidecar.connection("anna", "calendly").await.must_be(200);
    assert_eq!(world.calendly_api_calls(), 1);
    let start = "daypass_policy_objections_total{provider=\"calendly\",check=\"allow\",outcome=\"refused\"}";
    assert_eq!(sample(&sidecar, start).await, 2);
    let start = "daypass_requests_total{provider=\"calendly\",outcome=\"not_allowed\"}";
    assert_eq!(sample(&sidecar, start).await, 2);
    let line = sidecar.log.line("not on the allow-list").unwrap();
    assert_eq!(
        (&line["rule"], &line["outcome"]),
        (&"POST /_sink".into(), &"refused".into()),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_observed_passes_and_is_counted_and_logged_once() {
    let world = World::open()
        .await
        .with("providers.calendly.policy.allow=GET /scheduled_events*")
        .with("providers.calendly.policy.mode=observe")
        .with("providers.calendly.limits.per_user=2/h")
        .with("providers.calendly.limits.mode=observe");
    world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    for _ in 0..5 {
        sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    }
    for (check, count) in [("allow", 5), ("per_user", 3), ("per_provider", 0)] {
        let start = format!(
            "daypass_policy_objections_total{{provider=\"calendly\",check=\"{check}\",outcome=\"observed\"}}"
        );
        until("the count", async || {
            (sample(&sidecar, &start).await == count).then_some(())
        })
        .await;
    }
    for message in ["not on the allow-list", "beyond a rate limit"] {
        let lines = sidecar.log.lines();
        let told = lines.iter().filter(|line| line["message"] == message);
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["outcome"], "observed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_cannot_use_up_the_providers_quota_and_a_replay_is_free() {
    let world = World::open()
        .await
        .with("providers.calendly.limits.per_user=2/h")
        .with("providers.calendly.limits.per_provider=3/h");
    for user in ["anna", "bob", "carl"] {
        world.valid_at_calendly(user).await;
    }
    let sidecar = world.sidecar().await;
    let revoked = Revoke {
        user: "anna".to_owned(),
        what: Killed::Access,
    };
    world.sandbox.calendly().revoke(&revoked).unwrap();
    let first = sidecar.get("anna", "/calendly/users/me").await;
    first.must_be(200);
    assert!(first.header("proxy-status").contains("replayed once"));
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    for _ in 0..3 {
        let refused = sidecar.get("anna", "/calendly/users/me").await;
        refused.must_be_problem(429, "rate-limited");
        assert_eq!(refused.json()["limit"], "per_user");
        assert!(
            (1700..=1800).contains(&refused.retry_after()),
            "{refused:?}"
        );
    }
    sidecar.get("bob", "/calendly/users/me").await.must_be(200);
    let refused = sidecar.get("carl", "/calendly/users/me").await;
    refused.must_be_problem(429, "rate-limited");
    assert_eq!(refused.json()["limit"], "per_provider");
    // Three calls, one of them sent twice.
    assert_eq!(world.calendly_api_calls(), 4);
}
