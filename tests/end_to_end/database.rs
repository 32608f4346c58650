//! Databases that are locked, read-only, damaged, foreign or too new: one clear message, no panic.

use std::fs;

use rusqlite::Connection;

use crate::world::{World, expired, line};

/// The message of `daypass run` on what `spoil` left of a database with one user.
async fn refused(spoil: impl FnOnce(&World)) -> (World, String) {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    spoil(&world);
    let ended = world.command(&["run"], "").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told: Vec<_> = ended
        .stderr
        .lines()
        .filter(|line| line.starts_with("daypass: "))
        .collect();
    assert_eq!(told.len(), 1, "{ended:?}");
    (world, ended.stderr)
}

fn edit(world: &World, sql: &str) {
    Connection::open(world.database())
        .unwrap()
        .execute_batch(sql)
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_database_is_named_with_what_to_do() {
    let (world, told) =
        refused(|world| fs::write(world.database(), "not a database, just text").unwrap()).await;
    assert!(
        told.contains(&world.database().display().to_string()),
        "{told}"
    );
    assert!(told.contains("restore a backup"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_program_is_named_with_what_to_do() {
    let (world, told) = refused(|world| edit(world, "PRAGMA application_id = 7")).await;
    assert!(
        told.contains(&world.database().display().to_string()),
        "{told}"
    );
    assert!(told.contains("name another file in store.url"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_from_the_future_is_refused() {
    let (world, told) = refused(|world| edit(world, "PRAGMA user_version = 99")).await;
    assert!(told.contains("99"), "{told}");
    assert!(
        told.contains(&world.database().display().to_string()),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_there_is_named_with_what_to_do() {
    let (world, told) = refused(|world| {
        let url = format!("sqlite:{}", world.database().display());
        world.reconfigure(
            &url,
            &format!("sqlite:{}/nowhere/db", world.home.path().display()),
        );
    })
    .await;
    assert!(
        told.contains(&format!("{}/nowhere/db", world.home.path().display())),
        "{told}"
    );
    assert!(told.contains("its folder must exist"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_sealed_with_another_key_are_a_503_that_says_so() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    world.reconfigure("c2VudGluZWwta2V5", "b3RoZXIta2V5LW90");
    let sidecar = world.sidecar().await;
    let answer = sidecar.get("anna", "/calendly/users/me").await;
    answer.must_be_problem(503, "store-unavailable");
    assert_eq!(world.calendly_calls().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_copied_to_another_user_gives_that_user_nothing() {
    let world = World::open().await;
    for name in ["anna", "ben"] {
        let created = world.calendly_user(name);
        world.import(&[expired(&line("calendly", &created))]).await;
    }
    edit(
        &world,
        "UPDATE connections SET (access, refresh, access_expires_at) = \
         (SELECT access, refresh, 9999999999999 FROM connections WHERE user = 'anna') \
         WHERE user = 'ben'",
    );
    let sidecar = world.sidecar().await;
    let answer = sidecar.get("ben", "/calendly/users/me").await;
    answer.must_be_problem(503, "store-unavailable");
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    assert_eq!(world.calendly_calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_ciphertext_harms_one_user_only() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    world.valid_at_calendly("ben").await;
    for broken in [
        "substr(access, 1, length(access) - 1)",
        "substr(access, 1, 5)",
        "x''",
    ] {
        edit(
            &world,
            &format!("UPDATE connections SET access = {broken} WHERE user = 'anna'"),
        );
        let sidecar = world.sidecar().await;
        let answer = sidecar.get("anna", "/calendly/users/me").await;
        answer.must_be_problem(503, "store-unavailable");
        sidecar.get("ben", "/calendly/users/me").await.must_be(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_locked_fails_only_what_must_be_written() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    world.expired_at_calendly("ben").await;
    let sidecar = world.sidecar().await;
    let locker = Connection::open(world.database()).unwrap();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    let answer = sidecar.get("ben", "/calendly/users/me").await;
    answer.must_be_problem(503, "store-unavailable");
    assert_eq!(sidecar.admin("/livez").await.status, 200);
    assert_eq!(
        world.calendly_calls().len(),
        0,
        "not without a recorded intent"
    );
    locker.execute_batch("ROLLBACK").unwrap();
    crate::sidecar::until("the store is used again", async || {
        let answer = sidecar.get("ben", "/calendly/users/me").await;
        (answer.status == 200).then_some(())
    })
    .await;
}
