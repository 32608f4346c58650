//! What is found about servers that could lose connections.

use daypass::store::{Concern, Finding, Inspect as _};

use crate::{
    servers::{Server, cli, eventually},
    world::open,
};

/// Keeps everything that it has acknowledged.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

async fn findings(url: &str) -> Vec<Finding> {
    open(url).await.unwrap().assurances().await.unwrap()
}

fn url(server: &Server) -> String {
    format!("redis://127.0.0.1:{}", server.port)
}

fn concerns(findings: &[Finding]) -> Vec<(Concern, bool)> {
    findings
        .iter()
        .map(|finding| (finding.concern, finding.is_grave))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_everything_gives_no_cause_for_worry() {
    let server = Server::start(&DURABLE);
    assert_eq!(findings(&url(&server)).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restart_would_lose_is_said() {
    for (options, said) in [
        (&["--appendonly", "no"][..], "keeps nothing on disk"),
        (&["--save", "60 1"], "snapshots only"),
        (
            &["--appendonly", "yes", "--appendfsync", "no"],
            "half minute",
        ),
    ] {
        let server = Server::start(options);
        let found = findings(&url(&server)).await;
        assert_eq!(concerns(&found), [(Concern::Persistence, true)]);
        assert!(found[0].to_string().contains(said), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_may_lose_of_the_last_second_is_said_and_is_not_grave() {
    let server = Server::start(&["--appendonly", "yes"]);
    let found = findings(&url(&server)).await;
    assert_eq!(concerns(&found), [(Concern::Flush, false)]);
    let told = found[0].to_string();
    for words in [
        "acknowledged in the last second or two",
        "appendfsync always",
    ] {
        assert!(told.contains(words), "no {words:?} in {told}");
    }
    cli(server.port, &["CONFIG", "SET", "appendfsync", "always"]);
    assert_eq!(findings(&url(&server)).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_throw_connections_away_is_named() {
    let evicting = ["--maxmemory-policy", "allkeys-lru"];
    let server = Server::start(&[&DURABLE[..], &evicting].concat());
    let found = findings(&url(&server)).await;
    assert_eq!(concerns(&found), [(Concern::Eviction, true)]);
    assert!(found[0].mend.contains("noeviction"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_nobody_waits_for_are_named() {
    let server = Server::start(&DURABLE);
    let port = server.port.to_string();
    let _replica = Server::start(&["--replicaof", "127.0.0.1", &port]);
    eventually("the replica is there", || {
        cli(server.port, &["INFO", "replication"]).contains("connected_slaves:1")
    });
    assert_eq!(
        concerns(&findings(&url(&server)).await),
        [(Concern::Replication, false)]
    );
    cli(
        server.port,
        &["CONFIG", "SET", "min-replicas-to-write", "1"],
    );
    eventually("the replica has confirmed", || {
        cli(server.port, &["SET", "probe", "1"]) == "OK"
    });
    assert_eq!(findings(&url(&server)).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_ask_is_told_what_was_not_looked_at() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru"]);
    let words = [
        "ACL", "SETUSER", "shy", "on", ">p", "~*", "&*", "+@all", "-config",
    ];
    assert_eq!(cli(server.port, &words), "OK");
    let shy = format!("redis://shy:p@127.0.0.1:{}", server.port);
    let found = findings(&shy).await;
    assert!(
        concerns(&found).contains(&(Concern::Unchecked, false)),
        "{found:?}"
    );
    assert!(
        concerns(&found).contains(&(Concern::Eviction, true)),
        "{found:?}"
    );
    cli(server.port, &["ACL", "SETUSER", "shy", "-info"]);
    assert_eq!(
        concerns(&findings(&shy).await),
        [(Concern::Unchecked, false)]
    );
}
