//! Answers of the API that mean a bad token, and those that only look like it.

use daypass::sandbox::{ApiFault, ApiMischief, Killed, NewUser, Revoke};
use sha2::{Digest, Sha256};

use crate::{
    sidecar::Answer,
    world::{World, line},
};

fn fault(world: &World, times: u32, what: &ApiMischief) {
    let faults = vec![ApiFault::next(times, what.clone())];
    world
        .sandbox
        .calcom()
        .set(|switches| switches.api_faults.clone_from(&faults));
    world
        .sandbox
        .calendly()
        .set(|switches| switches.api_faults = faults);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_replaced_and_the_call_replayed_once() {
    let world = World::open().await;
    let sidecar = world.sidecar().await;
    for (nth, what) in [
        ApiMischief::Unauthorized,
        ApiMischief::Expired,
        ApiMischief::LeakingForbidden,
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("user-{nth}");
        world.managed(&user).await;
        world.valid_at_calendly(&user).await;
        for (path, provider) in [
            ("/calcom/v2/_sink", "calcom"),
            ("/calendly/_sink", "calendly"),
        ] {
            fault(&world, 1, &what);
            let body: Vec<u8> = (0..2_000_u32).map(|nth| (nth % 251) as u8).collect();
            let sum = hex::encode(Sha256::digest(&body));
            let answer = sidecar.post(&user, path, body).await;
            assert_eq!(answer.must_be(200).json()["sha256"], sum, "{what:?}");
            assert_eq!(answer.json()["bytes"], 2_000, "{what:?}");
            assert!(
                answer.header("proxy-status").contains("replayed once"),
                "{answer:?}"
            );
            let connection = sidecar.connection(&user, provider).await;
            assert_eq!(
                connection.json()["generation"],
                2,
                "{what:?}: {connection:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_refusal_is_the_providers_answer_without_the_token() {
    let world = World::open().await;
    let calcom = world.sandbox.calcom();
    let carl = calcom.create_user(&NewUser::named("carl")).unwrap();
    world.import(&[line("calcom", &carl)]).await;
    let sidecar = world.sidecar().await;
    fault(&world, 9, &ApiMischief::LeakingForbidden);
    let answer = sidecar.get("carl", "/calcom/v2/me").await;
    answer.must_be(403);
    assert!(
        answer.body.contains("[redacted]") && !answer.body.contains("eyJ"),
        "{answer:?}"
    );
    assert_eq!(
        calcom.stats().api_by_status.values().sum::<u64>(),
        2,
        "once replayed"
    );
    assert_eq!(world.calcom_calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_fault_of_the_token_passes_untouched_and_renews_nothing() {
    let world = World::open().await;
    world.managed("mona").await;
    world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    for (what, status) in [
        (ApiMischief::InsufficientScope, 403),
        (
            ApiMischief::RateLimited {
                retry_after: Some("17".to_owned()),
            },
            429,
        ),
        (ApiMischief::ServerError, 500),
        (ApiMischief::HtmlForbidden, 403),
    ] {
        for (user, path) in [("mona", "/calcom/v2/me"), ("anna", "/calendly/users/me")] {
            fault(&world, 1, &what);
            let answer = sidecar.get(user, path).await;
            answer.must_be(status);
            if status == 429 {
                assert_eq!(answer.header("retry-after"), "17");
            }
            sidecar.get(user, path).await.must_be(200);
        }
    }
    assert_eq!(world.calcom_calls().len() + world.calendly_calls().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_too_long_to_keep_gets_the_providers_answer_and_the_token_is_renewed() {
    let world = World::open().await.with("outbound.replay_body_bytes=1KiB");
    world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    world
        .sandbox
        .calendly()
        .revoke(&Revoke {
            user: "anna".to_owned(),
            what: Killed::Access,
        })
        .unwrap();
    let answer = sidecar
        .post("anna", "/calendly/_sink", vec![b'x'; 2_000])
        .await;
    answer.must_be(401);
    assert!(
        answer.header("proxy-status").contains("too long to keep"),
        "{answer:?}"
    );
    sidecar
        .post("anna", "/calendly/_sink", vec![b'x'; 2_000])
        .await
        .must_be(200);
    assert_eq!(world.calendly_calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_or_breaks_off_is_told_apart() {
    let world = World::open().await.with("outbound.response_timeout=300ms");
    world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    fault(&world, 1, &ApiMischief::Hang);
    sidecar
        .get("anna", "/calendly/users/me")
        .await
        .must_be_problem(504, "upstream-timeout");
    fault(&world, 1, &ApiMischief::Drop);
    let answer: Answer = sidecar.get("anna", "/calendly/users/me").await;
    answer.must_be_problem(502, "upstream-protocol");
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    assert_eq!(world.calendly_calls().len(), 0);
}
