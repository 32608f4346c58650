//! SIGKILL at every step of a renewal, and a new process on the same database.

use std::{fs, time::Duration};

use daypass::sandbox::{Call, Created};
use http::Method;
use tokio::time::sleep;

use crate::{
    sidecar::{Sidecar, until},
    world::{World, expired, line},
};

/// Cooldowns so short that no test waits for one.
const QUICK: [&str; 4] = [
    "refresh.lease_ttl=2s",
    "refresh.timeout=1s",
    "refresh.cooldown=50ms",
    "refresh.cooldown_max=100ms",
];

async fn world() -> World {
    let mut world = World::open().await;
    world.settings.extend(QUICK.map(ToOwned::to_owned));
    world
}

/// Begins a request that nobody waits for.
fn begin(sidecar: &Sidecar, user: &str, path: &str) {
    let request = sidecar.request(Method::GET, user, path);
    tokio::spawn(request.send());
}

/// Waits until the store holds an attempt: the call is on its way.
async fn until_begun(world: &World) {
    until("the intent in the store", async || {
        let db = rusqlite::Connection::open(world.database()).unwrap();
        let begun = "SELECT count(*) FROM connections WHERE intent_attempts > 0";
        let found: Result<i64, _> = db.query_row(begun, [], |row| row.get(0));
        (found.unwrap() > 0).then_some(())
    })
    .await;
}

/// Waits until Calendly refuses the access token that went with the spent refresh token.
async fn until_rotated(world: &World, user: &Created) {
    let url = format!("{}/users/me", world.sandbox.calendly_url());
    until("the rotation", async || {
        let old = world.http.get(&url).bearer_auth(&user.access_token);
        (old.send().await.unwrap().status() != 200).then_some(())
    })
    .await;
}

/// Asks until there is an answer that is not a cooldown or a lease of the dead.
async fn settled(sidecar: &Sidecar, user: &str, path: &str) -> crate::sidecar::Answer {
    until("an answer that stands", async || {
        let answer = sidecar.get(user, path).await;
        (answer.slug() != "refresh-failed").then_some(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_provider_rotates_the_user_never_notices() {
    let world = world().await;
    world.expired_at_calendly("anna").await;
    // The provider hears nothing: a listener that accepts and is silent.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let auth = format!("auth_base = \"{}\"", world.sandbox.calendly_url());
    let deaf = format!("auth_base = \"http://{}\"", silent.local_addr().unwrap());
    world.reconfigure(&auth, &deaf);
    let sidecar = world.sidecar().await;
    begin(&sidecar, "anna", "/calendly/users/me");
    until_begun(&world).await;
    sidecar.kill().await;
    world.reconfigure(&deaf, &auth);
    let sidecar = world.sidecar().await;
    settled(&sidecar, "anna", "/calendly/users/me")
        .await
        .must_be(200);
    assert_eq!(world.calendly_calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_provider_has_rotated_the_loss_is_named() {
    let world = world().await;
    let anna = world.expired_at_calendly("anna").await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_after_ms = 600);
    let sidecar = world.sidecar().await;
    begin(&sidecar, "anna", "/calendly/users/me");
    until_rotated(&world, &anna).await;
    sidecar.kill().await;
    until("the rotation", async || {
        (!world.calendly_calls().is_empty()).then_some(())
    })
    .await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_after_ms = 0);
    let sidecar = world.sidecar().await;
    let answer = settled(&sidecar, "anna", "/calendly/users/me").await;
    answer.must_be_problem(424, "needs-reauth");
    assert_eq!(answer.json()["reason"], "lost-rotation");
    for _ in 0..5 {
        sidecar
            .get("anna", "/calendly/users/me")
            .await
            .must_be_problem(424, "needs-reauth");
    }
    let calls = world.calendly_calls();
    assert!(calls.len() <= 3, "{calls:?}");
    world.assert_no_double_redemption();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_provider_has_rotated_a_managed_user_is_renewed_by_force() {
    let world = world().await;
    let mona = world.managed("mona").await;
    world.import_again(&expired(&line("calcom", &mona))).await;
    world
        .sandbox
        .calcom()
        .set(|switches| switches.token_latency_after_ms = 600);
    let sidecar = world.sidecar().await;
    begin(&sidecar, "mona", "/calcom/v2/me");
    until_begun(&world).await;
    // Nothing outside tells when the call has arrived; it does so long before its answer leaves.
    sleep(Duration::from_millis(200)).await;
    sidecar.kill().await;
    until("the rotation", async || {
        (!world.calcom_calls().is_empty()).then_some(())
    })
    .await;
    world
        .sandbox
        .calcom()
        .set(|switches| switches.token_latency_after_ms = 0);
    let sidecar = world.sidecar().await;
    settled(&sidecar, "mona", "/calcom/v2/me")
        .await
        .must_be(200);
    let calls = world.calcom_calls();
    assert_eq!(calls.last().unwrap().call, Call::ForceRefresh, "{calls:?}");
    assert_eq!(calls.len(), 3, "{calls:?}");
    world.assert_no_double_redemption();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_the_store_refused_survive_a_kill() {
    let world = world().await;
    world.expired_at_calendly("anna").await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.token_latency_after_ms = 400);
    let sidecar = world.sidecar().await;
    begin(&sidecar, "anna", "/calendly/users/me");
    until_begun(&world).await;
    let locker = rusqlite::Connection::open(world.database()).unwrap();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    until("the new tokens are spooled", async || {
        let spool = fs::read_dir(world.path("daypass-spool")).ok()?;
        let named = |entry: fs::DirEntry| entry.path().extension() == Some("renewal".as_ref());
        spool.flatten().any(named).then_some(())
    })
    .await;
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    let ready = sidecar.admin("/readyz").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    sidecar.kill().await;
    locker.execute_batch("ROLLBACK").unwrap();
    let sidecar = world.sidecar().await;
    settled(&sidecar, "anna", "/calendly/users/me")
        .await
        .must_be(200);
    sidecar.until_generation("anna", "calendly", 2).await;
    until("the spool is empty", async || {
        let left = fs::read_dir(world.path("daypass-spool")).unwrap().count();
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(world.calendly_calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_restarted_over_and_over_no_refresh_token_is_honoured_twice() {
    let world = world().await;
    let names: Vec<String> = (0..20).map(|nth| format!("user-{nth}")).collect();
    let lines: Vec<_> = names
        .iter()
        .map(|name| expired(&line("calendly", &world.calendly_user(name))))
        .collect();
    world.import(&lines).await;
    world.sandbox.calendly().set(|switches| {
        (switches.token_latency_ms, switches.token_latency_after_ms) = (30, 30);
    });
    for round in 0..4 {
        let sidecar = world.sidecar().await;
        for name in &names {
            begin(&sidecar, name, "/calendly/users/me");
        }
        sleep(Duration::from_millis(15 + 15 * round)).await;
        sidecar.kill().await;
    }
    let sidecar = world.sidecar().await;
    let mut lost = 0;
    for name in &names {
        let answer = settled(&sidecar, name, "/calendly/users/me").await;
        if answer.status == 424 {
            assert_eq!(answer.json()["reason"], "lost-rotation", "{answer:?}");
            lost += 1;
        } else {
            answer.must_be(200);
        }
    }
    let ok = world
        .calendly_calls()
        .iter()
        .filter(|call| call.outcome == "ok")
        .count();
    assert_eq!(ok, names.len(), "{lost} were lost");
    world.assert_no_double_redemption();
}
