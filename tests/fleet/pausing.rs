//! A process that stands still past its lease, and a provider that is slower than a lease.

use std::time::Duration;

use daypass::sandbox::{Created, token_id};
use tokio::time::sleep;

use crate::{
    ground::{Ground, line, until},
    keeper::{Backend, STORES},
    on_each,
};

/// A lease of a second: the pauses are longer, and what is left of a call is not.
const SETTINGS: &[&str] = &[
    "refresh.lease_ttl=1s",
    "refresh.timeout=800ms",
    "refresh.cooldown=50ms",
    "refresh.cooldown_max=100ms",
];

/// Waits until Calendly refuses the access token that went with the spent refresh token.
async fn until_rotated(ground: &Ground, user: &Created) {
    let url = format!("{}/users/me", ground.sandbox.calendly_url());
    until("the rotation", async || {
        let old = ground.http.get(&url).bearer_auth(&user.access_token);
        (old.send().await.unwrap().status() != 200).then_some(())
    })
    .await;
}

/// The access token that goes with a request of `user` at `place`, once there is one.
async fn bearer(ground: &Ground, place: usize, user: &str) -> String {
    until("an answer of the provider", async || {
        let answer = ground.get(place, user, "/calendly/_echo").await;
        (answer.status == 200).then(|| answer.json()["bearer"].as_str().unwrap().to_owned())
    })
    .await
}

/// The first process renews for three users and stops while the provider answers. Meanwhile nobody
/// asks for `left`; another process tries to renew `tried`, in vain; `again` connects anew.
async fn paused_past_its_lease(backend: Backend) {
    let ground = Ground::open(backend, 2, SETTINGS).await;
    let mut users = Vec::new();
    for user in ["left", "tried", "again"] {
        users.push(ground.expired(user).await);
    }
    ground.start().await;
    let calendly = ground.sandbox.calendly();
    calendly.set(|switches| switches.token_latency_after_ms = 500);
    let asking = async {
        let ask = |user| ground.get(0, user, "/calendly/_echo");
        tokio::join!(ask("left"), ask("tried"), ask("again"))
    };
    let meanwhile = async {
        for user in &users {
            until_rotated(&ground, user).await;
        }
        ground.places[0].signal("STOP");
        until("the provider has answered", async || {
            (calendly.stats().minted() == 3).then_some(())
        })
        .await;
        // Longer than the lease, and longer than the process would have waited for the answer.
        sleep(Duration::from_millis(2_500)).await;
        let tried = until("the other process gives up", async || {
            let answer = ground.get(1, "tried", "/calendly/_echo").await;
            (answer.status == 424).then_some(answer)
        })
        .await;
        assert_eq!(tried.json()["reason"], "lost-rotation");
        let again = ground.calendly_user("again");
        ground.import(&[line("calendly", &again)]).await;
        ground.places[0].signal("CONT");
        again
    };
    let ((left, tried, _again), again) = tokio::join!(asking, meanwhile);
    left.must_be(200);
    tried.must_be(200);
    for user in ["left", "tried", "again"] {
        let (here, there) = (
            bearer(&ground, 0, user).await,
            bearer(&ground, 1, user).await,
        );
        assert_eq!(here, there, "{user}");
    }
    assert_eq!(
        bearer(&ground, 1, "again").await,
        token_id(&again.access_token)
    );
    let stats = calendly.stats();
    assert_eq!(stats.token_calls["refresh:ok"], 3, "{stats:?}");
    assert_eq!(stats.token_calls["refresh:invalid_grant"], 1, "{stats:?}");
    let spooled = ground.places[0].spooled();
    assert!(spooled.is_empty(), "{spooled:?}");
}

#[test]
fn what_a_paused_process_got_is_stored_when_it_comes_back() {
    on_each(&STORES, paused_past_its_lease);
}

/// The provider takes three leases and more to answer, and two processes are asked.
async fn slower_than_three_leases(backend: Backend) {
    let settings = ["refresh.lease_ttl=1s", "refresh.timeout=20s"];
    let ground = Ground::open(backend, 2, &settings).await;
    ground.expired("anna").await;
    ground.start().await;
    let calendly = ground.sandbox.calendly();
    // Before it rotates: a second call would be accepted instead of the first.
    calendly.set(|switches| switches.token_latency_ms = 3_500);
    let ask = |place| ground.get(place, "anna", "/calendly/users/me");
    let (one, two, three) = tokio::join!(ask(0), ask(1), async {
        sleep(Duration::from_millis(1_500)).await;
        ask(1).await
    });
    for answer in [one, two, three] {
        answer.must_be(200);
    }
    let stats = calendly.stats();
    assert_eq!(stats.redemptions.len(), 1, "{stats:?}");
    let used = stats.redemptions.values().next().unwrap();
    assert_eq!((used.ok, used.refused), (1, 0), "{stats:?}");
}

#[test]
fn a_provider_that_takes_three_leases_is_called_once() {
    on_each(&STORES, slower_than_three_leases);
}
