//! Versions that know nothing of accounts: what they left is found by its account once the store is
//! opened, and so is, soon, what they write beside this version.

use std::time::Duration;

use daypass::{
    base::ids::GrantId,
    store::{Accounts, Committed, Error, Fence, NewConnection, Store},
};

use crate::{
    servers::{Server, cli, cluster, eventually},
    world::{connect, key, new, open, renewed},
};

fn known(user: &str) -> NewConnection {
    let mut known = new(user);
    known.external_id = Some("account-1".to_owned());
    known
}

async fn users(store: &dyn Accounts) -> Vec<String> {
    let provider = key("anna").provider;
    let found = store.of_account(&provider, "account-1").await.unwrap();
    let users = found
        .into_iter()
        .map(|connection| connection.key.user.to_string());
    users.collect()
}

async fn unidentified(store: &dyn Accounts) -> Vec<String> {
    let provider = key("anna").provider;
    let found = store.unidentified(&provider, None, 5000).await.unwrap();
    let users = found
        .into_iter()
        .map(|connection| connection.key.user.to_string());
    users.collect()
}

/// Takes away all that an older version would not have written.
fn make_older(ports: &[u16]) {
    for &port in ports {
        for pattern in ["*}:of:*", "*}:anon:*", "*}:accounts", "*}:mended"] {
            let keys = cli(port, &["KEYS", pattern]);
            for key in keys.lines() {
                cli(port, &["DEL", key]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_version_left_is_found_by_account() {
    let server = Server::start(&[]);
    let nodes = cluster();
    let cluster: Vec<u16> = nodes.iter().map(|node| node.port).collect();
    for (url, ports) in [
        (
            format!("redis://127.0.0.1:{}", server.port),
            vec![server.port],
        ),
        (format!("redis-cluster://127.0.0.1:{}", cluster[0]), cluster),
    ] {
        let store = open(&url).await.unwrap();
        // More than one portion of a bucket.
        let many = (0..1200).map(|n| new(&format!("user-{n}"))).collect();
        store.save(many).await.unwrap();
        store.save(vec![known("anna"), known("ben")]).await.unwrap();
        drop(store);
        make_older(&ports);
        let (one, other) = tokio::join!(open(&url), open(&url));
        for store in [one.unwrap(), other.unwrap()] {
            assert_eq!(users(&store).await, ["anna", "ben"], "{url}");
            assert_eq!(unidentified(&store).await.len(), 1200, "{url}");
        }
    }
}

/// What an older version does to a row and its log: it moves anna to another account, makes carl, and
/// removes ben.
fn write_as_older(port: u16) {
    let row = |user: &str| {
        let found = cli(port, &["KEYS", &format!("*}}:c:calendly/{user}")]);
        assert!(!found.is_empty());
        found
    };
    let log = "{daypass:log}:log";
    cli(port, &["HSET", &row("anna"), "external_id", "account-2"]);
    cli(port, &["HSET", &row("carl"), "external_id", "account-1"]);
    cli(port, &["DEL", &row("ben")]);
    for user in ["anna", "carl", "ben"] {
        cli(
            port,
            &["XADD", log, "*", "name", &format!("calendly {user}")],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_version_writes_beside_this_one_is_found_soon() {
    let server = Server::start(&[]);
    let store = open(&format!("redis://127.0.0.1:{}", server.port))
        .await
        .unwrap();
    store.save(vec![known("anna"), known("ben")]).await.unwrap();
    connect(&store, "carl").await;
    write_as_older(server.port);
    // Nobody is ever taken for somebody else's.
    assert_eq!(users(&store).await, Vec::<String>::new());
    look(&store, server.port).await;
    assert_eq!(users(&store).await, ["carl"]);
    assert_eq!(unidentified(&store).await, Vec::<String>::new());
}

/// Has the store look after its indices now, as it does every ten seconds.
async fn look(store: &dyn Store, port: u16) {
    let url = format!("redis://127.0.0.1:{port}");
    cli(port, &["DEL", "{daypass:log}:tidy"]);
    // A process that has just begun looks with its first question.
    let other = open(&url).await.unwrap();
    other.changes(None, Duration::ZERO).await.unwrap();
    store.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_too_much_was_written_to_tell_everything_is_gone_through() {
    let server = Server::start(&[]);
    let store = open(&format!("redis://127.0.0.1:{}", server.port))
        .await
        .unwrap();
    connect(&store, "carl").await;
    store.save(vec![known("anna"), known("ben")]).await.unwrap();
    write_as_older(server.port);
    cli(server.port, &["XTRIM", "{daypass:log}:log", "MAXLEN", "1"]);
    eventually("everything was gone through", || {
        cli(server.port, &["DEL", "{daypass:log}:tidy"]);
        let url = format!("redis://127.0.0.1:{}", server.port);
        let look = async {
            let other = open(&url).await.unwrap();
            other.changes(None, Duration::ZERO).await.unwrap();
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(look));
        cli(server.port, &["EXISTS", "{daypass:log}:again"]) == "0"
    });
    assert_eq!(users(&store).await, ["carl"]);
}

/// What an older version wrote has no name, or that of what was there before; either can be renewed.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_version_wrote_is_renewed_like_anything_else() {
    let server = Server::start(&[]);
    let url = format!("redis://127.0.0.1:{}", server.port);
    let store = open(&url).await.unwrap();
    let first = connect(&store, "anna").await;
    let row = cli(server.port, &["KEYS", "*}:c:calendly/anna"]);
    cli(server.port, &["HDEL", &row, "grant"]);
    let read = store.load(&first.key).await.unwrap().unwrap();
    assert_eq!(read.grant, GrantId::UNNAMED);
    // By who read it before, too.
    let committed = store.commit(&Fence::of(&first), renewed("second")).await;
    let Committed::Stored(second) = committed.unwrap() else {
        panic!("nobody else writes");
    };
    cli(server.port, &["HINCRBY", &row, "generation", "1"]);
    let third = store.load(&first.key).await.unwrap().unwrap();
    assert_eq!(third.grant, second.grant);
    let late = store.commit(&Fence::of(&second), renewed("late")).await;
    assert!(matches!(late.unwrap(), Committed::Superseded(_)));
    let committed = store.commit(&Fence::of(&third), renewed("fourth")).await;
    assert!(matches!(committed.unwrap(), Committed::Stored(_)));
    cli(server.port, &["HSET", &row, "grant", "-1"]);
    let error = store.load(&first.key).await.unwrap_err();
    assert!(matches!(error, Error::Inconsistent { .. }), "{error:?}");
}
