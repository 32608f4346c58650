//! Addresses that lead nowhere, and servers that do not let us in.

use daypass::store::{Error, Store};

use crate::{
    postgres_server::{FAST, Server},
    records::{open, told},
};

/// The complaint about opening `url`, which says `needle` and no password.
async fn refused(url: &str, needle: &str) {
    let error = open(url).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains(needle), "{error}");
    for text in [told(&error), format!("{error:?}")] {
        assert!(
            !text.contains("hidden") && !text.contains("secret"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn each_way_not_to_get_in_has_its_own_complaint() {
    let server = Server::start_as("scram-sha-256", FAST);
    let right = server.url("postgres");
    open(&right).await.unwrap().check().await.unwrap();
    refused(
        &right.replace(":secret@", ":hidden@"),
        "refuses the user or the password",
    )
    .await;
    refused(
        &right.replace("daypass:", "nobody:"),
        "refuses the user or the password",
    )
    .await;
    refused(&right.replace(":secret@", "@"), "check user and password").await;
    refused(
        &server.url("missing"),
        "there is no such database; create it",
    )
    .await;
    refused("postgres://u:hidden@127.0.0.1:1/d", "cannot be reached").await;
    refused(
        "postgres://u:hidden@no-such-host.invalid/d",
        "cannot be reached",
    )
    .await;
}

#[tokio::test]
async fn a_server_that_takes_no_more_connections_says_what_to_raise() {
    let few = [
        "max_connections=2",
        "superuser_reserved_connections=0",
        "max_wal_senders=0",
    ];
    let server = Server::start(&few);
    let url = server.url("postgres");
    let (one, _driven) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let (two, _driven) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    refused(&url, "takes no more connections; raise max_connections").await;
    drop((one, two));
}

#[tokio::test]
async fn a_user_without_the_right_to_make_the_schema_is_told_who_has_to() {
    let server = Server::start(FAST);
    server.sql("postgres", "CREATE ROLE app LOGIN");
    let url = server.url("postgres").replace("daypass:secret", "app");
    let error = open(&url).await.unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("CREATE SCHEMA daypass AUTHORIZATION"),
        "{error}"
    );
    server.sql("postgres", "CREATE SCHEMA daypass AUTHORIZATION app");
    open(&url).await.unwrap().check().await.unwrap();
}
