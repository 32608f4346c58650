//! Tables of another version, of another program, or being made by many at once.

use std::time::Duration;

use daypass::{
    base::ids::GrantId,
    store::{Committed, Error, Fence, Filter, Store, postgres::Options},
};
use futures_util::future::join_all;

use crate::{
    postgres_server::{FAST, Server},
    records::{key, new, open, open_with, renewed},
};

fn migrated_to(server: &Server, version: u32, min_reader: u32) {
    let row = format!("INSERT INTO daypass.schema_versions VALUES ({version}, {min_reader})");
    server.sql("postgres", &row);
}

fn is_future(error: &Error) -> bool {
    matches!(error, Error::FromTheFuture { found: 9, .. })
}

#[tokio::test]
async fn a_schema_from_the_future_is_refused_and_stops_those_that_run() {
    let server = Server::start(FAST);
    let mut options = Options::default();
    options.poll_every = Duration::from_millis(20);
    options.listen = false;
    let running = open_with(&server.url("postgres"), options).await.unwrap();
    let start = running.changes(None, Duration::ZERO).await.unwrap().cursor;
    migrated_to(&server, 9, 9);
    let error = open(&server.url("postgres")).await.unwrap_err();
    assert!(is_future(&error), "{error:?}");
    let error = running
        .changes(Some(start), Duration::from_secs(20))
        .await
        .unwrap_err();
    assert!(is_future(&error), "{error:?}");
    let error = running.save(vec![new("anna")]).await.unwrap_err();
    assert!(is_future(&error), "{error:?}");
    let error = running.check().await.unwrap_err();
    assert!(is_future(&error), "{error:?}");
    assert_eq!(
        server.sql("postgres", "SELECT count(*) FROM daypass.connections"),
        "0"
    );
}

#[tokio::test]
async fn a_running_store_whose_tables_were_renamed_says_why_at_once() {
    let server = Server::start(FAST);
    let running = open(&server.url("postgres")).await.unwrap();
    server.sql(
        "postgres",
        "BEGIN; ALTER TABLE daypass.connections RENAME TO connections_2; \
         INSERT INTO daypass.schema_versions VALUES (9, 9); COMMIT",
    );
    let error = running.load(&key("anna")).await.unwrap_err();
    assert!(is_future(&error), "{error:?}");
    let error = running.save(vec![new("anna")]).await.unwrap_err();
    assert!(is_future(&error), "{error:?}");
}

#[tokio::test]
async fn a_newer_schema_that_this_version_can_work_with_is_worked_with() {
    let server = Server::start(FAST);
    drop(open(&server.url("postgres")).await.unwrap());
    migrated_to(&server, 9, 1);
    let store = open(&server.url("postgres")).await.unwrap();
    store.save(vec![new("anna")]).await.unwrap();
    store.changes(None, Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn tables_of_an_older_version_are_brought_up_to_date_and_keep_what_they_hold() {
    let server = Server::start(FAST);
    server.sql(
        "postgres",
        include_str!("../../src/store/postgres/migrations/0001_connections.sql"),
    );
    migrated_to(&server, 1, 1);
    server.sql(
        "postgres",
        "INSERT INTO daypass.connections (provider, user_id, id, generation, created_at, updated_at) \
         VALUES ('calendly', 'anna', decode(md5('a'), 'hex'), 0, 0, 0)",
    );
    let store = open(&server.url("postgres")).await.unwrap();
    let anna = store.load(&key("anna")).await.unwrap().unwrap();
    assert_eq!(anna.grant, GrantId::UNNAMED);
    let committed = store.commit(&Fence::of(&anna), renewed("second")).await;
    let Committed::Stored(second) = committed.unwrap() else {
        panic!("what a program of before wrote can be renewed");
    };
    // A program of before writes again, and leaves the name that it does not know.
    server.sql(
        "postgres",
        "UPDATE daypass.connections SET generation = 2, access = decode(md5('b'), 'hex')",
    );
    let third = store.load(&key("anna")).await.unwrap().unwrap();
    assert_eq!(third.grant, second.grant);
    let late = store.commit(&Fence::of(&second), renewed("late")).await;
    assert!(matches!(late.unwrap(), Committed::Superseded(_)));
    let committed = store.commit(&Fence::of(&third), renewed("fourth")).await;
    assert!(matches!(committed.unwrap(), Committed::Stored(_)));
    let old = "SELECT max(min_reader) FROM daypass.schema_versions";
    let why = "programs of the version before go on working with them";
    assert_eq!(server.sql("postgres", old), "1", "{why}");
}

/// A migration may add a column under a program of before that is at work.
#[tokio::test]
async fn a_column_that_is_added_meanwhile_disturbs_nobody() {
    let server = Server::start(FAST);
    let running = open(&server.url("postgres")).await.unwrap();
    let round = async || {
        running.save(vec![new("anna")]).await.unwrap();
        let first = running.load(&key("anna")).await.unwrap().unwrap();
        let committed = running.commit(&Fence::of(&first), renewed("second")).await;
        let Committed::Stored(second) = committed.unwrap() else {
            panic!("nobody else writes");
        };
        let page = running.page(&Filter::default(), None, 9).await.unwrap();
        assert_eq!(page, [*second]);
        running.remove(&key("anna")).await.unwrap().unwrap();
    };
    for n in 0..3 {
        // Often enough for the server to keep a plan of its own.
        for _ in 0..8 {
            round().await;
        }
        let column = format!("added_{n} int8 NOT NULL DEFAULT 0");
        server.sql(
            "postgres",
            &format!("ALTER TABLE daypass.connections ADD COLUMN {column}"),
        );
        round().await;
    }
}

#[tokio::test]
async fn of_many_that_start_on_an_empty_database_one_makes_the_tables() {
    let server = Server::start(FAST);
    let url = server.url("postgres");
    let opened = join_all((0..12).map(|_| open(&url))).await;
    for store in opened {
        store.unwrap().check().await.unwrap();
    }
    let once = "SELECT count(*) = max(version) FROM daypass.schema_versions";
    assert_eq!(server.sql("postgres", once), "t");
}

#[tokio::test]
async fn the_tables_of_another_program_are_left_alone() {
    let server = Server::start(FAST);
    server.sql(
        "postgres",
        "CREATE SCHEMA daypass; CREATE TABLE daypass.connections (a int)",
    );
    let error = open(&server.url("postgres")).await.unwrap_err();
    assert!(
        error.to_string().contains("belongs to another program"),
        "{error}"
    );
}
