//! Servers that are full, restart, are killed, are replicas, are newer, or are not there.

use std::time::Duration;

use daypass::{
    base::{ids::OwnerId, random::OsRandom},
    store::{
        Begun, Committed, Connection, Deliveries, DeliveryFilter, DeliveryId, DeliveryStatus,
        Error, Fence, Lease, Redemption, Store, redis::Redis,
    },
};
use tokio::time::Instant;

use crate::{
    servers::{Server, cli, cluster, eventually, free_port},
    world::{connect, event, key, new, open, persist, renewed, tokens, whole},
};

fn url(server: &Server) -> String {
    format!("redis://127.0.0.1:{}", server.port)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_out_of_memory_takes_nobody_new_and_goes_on_renewing() {
    let server = Server::start(&[]);
    let store = open(&url(&server)).await.unwrap();
    let anna = connect(&store, "anna").await;
    cli(server.port, &["CONFIG", "SET", "maxmemory", "1"]);
    let batch = vec![new("ben"), new("carl")];
    for error in [
        store.save(batch).await.unwrap_err(),
        store.check().await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
        assert!(whole(&error).contains("maxmemory"), "{}", whole(&error));
    }
    let (me, fence, ttl) = (
        OwnerId::random(&OsRandom),
        Fence::of(&anna),
        Duration::from_secs(30),
    );
    let lease = store.acquire(&anna.key, me, ttl).await.unwrap();
    assert!(matches!(lease, Lease::Granted(read) if *read == anna));
    assert!(store.extend(&anna.key, me, ttl).await.unwrap());
    let begun = store
        .begin(&fence, me, Redemption::Standard, anna.created_at)
        .await
        .unwrap();
    assert!(matches!(begun, Begun::Recorded { attempts: 1 }));
    let committed = store.commit(&fence, renewed("second")).await;
    assert!(matches!(committed.unwrap(), Committed::Stored(_)));
    cli(server.port, &["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(store.load(&key("ben")).await.unwrap(), None);
    assert_eq!(store.load(&key("carl")).await.unwrap(), None);
    assert_eq!(store.census().await.unwrap().len(), 1);
    store.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_accepted_survives_a_kill() {
    let options = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Server::start(&options);
    let store = open(&url(&server)).await.unwrap();
    let mut names = Vec::new();
    for round in 0..3 {
        for number in 0..20 {
            let name = format!("event {round} {number}");
            store.accept(event(&name, &["anna"])).await.unwrap();
            names.push(name);
        }
        server.signal("KILL");
        server.start_again();
        let claimed = persist(async || {
            let me = OwnerId::random(&OsRandom);
            store.claim_lines(me, Duration::from_millis(1), 5).await
        });
        let line = claimed.await;
        assert_eq!(line[0].delivery.name, names[0]);
        let filter = DeliveryFilter::default();
        let listed = store.deliveries(&filter, None, 100).await.unwrap();
        let listed: Vec<_> = listed
            .into_iter()
            .rev()
            .map(|delivery| delivery.name)
            .collect();
        assert_eq!(listed, names);
    }
}

/// A server that evicts, or a hand that deletes, takes a payload; another hand spoils a row.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_damaged_does_not_hold_up_the_others() {
    let server = Server::start(&[]);
    let store = open(&url(&server)).await.unwrap();
    for (name, user) in [
        ("lost", "anna"),
        ("next", "anna"),
        ("bad", "ben"),
        ("good", "carl"),
    ] {
        store.accept(event(name, &[user])).await.unwrap();
    }
    let lost = cli(server.port, &["HGET", "{daypass:q}:d:1", "digest"]);
    cli(server.port, &["DEL", &format!("{{daypass:q}}:p:{lost}")]);
    cli(server.port, &["HSET", "{daypass:q}:d:3", "accepted", "x"]);
    let (me, ttl) = (OwnerId::random(&OsRandom), Duration::from_secs(30));
    let mut handed_out = Vec::new();
    while let claimed @ [_, ..] = &store.claim_lines(me, ttl, 9).await.unwrap()[..] {
        handed_out.extend(claimed.iter().map(|claimed| claimed.delivery.name.clone()));
    }
    handed_out.sort();
    assert_eq!(handed_out, ["good", "next"]);
    let only = DeliveryFilter {
        status: Some(DeliveryStatus::Dead),
        ..DeliveryFilter::default()
    };
    let dead = store.deliveries(&only, None, 9).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert!(dead[0].last_error.as_deref().unwrap().contains("lost"));
    let error = store.delivery(DeliveryId(3)).await.unwrap_err();
    assert!(matches!(error, Error::Inconsistent { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_and_a_kill_lose_nothing_that_was_acknowledged() {
    let options = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Server::start(&options);
    let store = open(&url(&server)).await.unwrap();
    let mut last = connect(&store, "anna").await;
    for (round, signal) in ["TERM", "KILL", "KILL"].into_iter().enumerate() {
        let name = format!("renewal {round}");
        let committed = store.commit(&Fence::of(&last), renewed(&name)).await;
        assert!(matches!(committed.unwrap(), Committed::Stored(_)));
        server.signal(signal);
        eventually("the server is gone", || {
            cli(server.port, &["PING"]) != "PONG"
        });
        let error = store.load(&last.key).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(
            whole(&error).contains("nobody listens"),
            "{}",
            whole(&error)
        );
        server.start_again();
        let found = persist(async || store.load(&last.key).await).await.unwrap();
        assert_eq!(found.tokens, Some(tokens(&name)));
        last = found;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_at_rest_is_back_at_once_after_a_restart() {
    let mut server = Server::start(&["--appendonly", "yes"]);
    let store = open(&url(&server)).await.unwrap();
    let anna = connect(&store, "anna").await;
    server.signal("TERM");
    eventually("the server is gone", || {
        cli(server.port, &["PING"]) != "PONG"
    });
    server.start_again();
    // The very first call finds the lost connection, and is sent again.
    let committed = store.commit(&Fence::of(&anna), renewed("second")).await;
    assert!(matches!(committed.unwrap(), Committed::Stored(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_under_writes_stores_each_once() {
    let server = Server::start(&[]);
    let store = open(&url(&server)).await.unwrap();
    let mut last = connect(&store, "anna").await;
    for n in 0..100 {
        let fence = Fence::of(&last);
        let cut = tokio::task::spawn_blocking({
            let port = server.port;
            move || cli(port, &["CLIENT", "KILL", "TYPE", "normal"])
        });
        let committed = store.commit(&fence, renewed(&n.to_string())).await.unwrap();
        let Committed::Stored(stored) = committed else {
            panic!("its own commit has overtaken it: {committed:?}");
        };
        assert_eq!(stored.generation, last.generation.next());
        last = *stored;
        cut.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_keeps_nobody_waiting_for_long() {
    let server = Server::start(&[]);
    let store = open(&url(&server)).await.unwrap();
    let anna = connect(&store, "anna").await;
    server.signal("STOP");
    let begun = Instant::now();
    let error = store.load(&anna.key).await.unwrap_err();
    assert!(Instant::now().saturating_duration_since(begun) < Duration::from_secs(6));
    assert!(
        whole(&error).contains("does not answer"),
        "{}",
        whole(&error)
    );
    server.signal("CONT");
    persist(async || store.load(&anna.key).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_replica_says_so() {
    let master = Server::start(&[]);
    let port = master.port.to_string();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port]);
    eventually("the replica follows", || {
        cli(replica.port, &["INFO", "replication"]).contains("master_link_status:up")
    });
    let error = open(&url(&replica)).await.unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
    assert!(
        whole(&error).contains("read-only replica"),
        "{}",
        whole(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_from_the_future_is_left_alone() {
    let server = Server::start(&[]);
    drop(open(&url(&server)).await.unwrap());
    cli(server.port, &["SET", "{daypass:log}:schema", "9"]);
    let error = open(&url(&server)).await.unwrap_err();
    assert!(
        matches!(error, Error::FromTheFuture { found: 9, known: 1 }),
        "{error:?}"
    );
    assert!(whole(&error).contains("upgrade daypass"));
    assert_eq!(cli(server.port, &["GET", "{daypass:log}:schema"]), "9");
}

/// A newer version that older ones must not work beside says so in every bucket before it changes
/// anything; no script of an older one does anything there any more.
async fn stops(url: &str, set_schema: impl Fn(&str)) {
    let store = open(url).await.unwrap();
    let anna = connect(&store, "anna").await;
    set_schema("9");
    refuses_everything(&store, &anna).await;
    is_from_the_future(open(url).await);
    set_schema("1");
    let again = open(url).await.unwrap();
    assert_eq!(
        again.load(&anna.key).await.unwrap(),
        Some(anna),
        "nothing was written"
    );
}

async fn refuses_everything(store: &Redis, anna: &Connection) {
    let (me, fence) = (OwnerId::random(&OsRandom), Fence::of(anna));
    let ttl = Duration::from_secs(30);
    is_from_the_future(store.acquire(&anna.key, me, ttl).await);
    is_from_the_future(store.commit(&fence, renewed("second")).await);
    is_from_the_future(store.save(vec![new("anna")]).await);
    is_from_the_future(store.remove(&anna.key).await);
    is_from_the_future(store.check().await);
    // Who has found it out reads no more, either.
    is_from_the_future(store.load(&anna.key).await);
    is_from_the_future(store.changes(None, Duration::ZERO).await);
}

#[track_caller]
fn is_from_the_future<T>(answer: Result<T, Error>) {
    let error = answer.err().unwrap();
    let is_future = matches!(error, Error::FromTheFuture { found: 9, known: 1 });
    assert!(is_future, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_a_newer_version_has_taken_over_is_left_by_those_that_run() {
    let server = Server::start(&[]);
    stops(&url(&server), |schema| set_schema(&[server.port], schema)).await;
    let nodes = cluster();
    let ports: Vec<u16> = nodes.iter().map(|node| node.port).collect();
    let url = format!("redis-cluster://127.0.0.1:{}", ports[0]);
    stops(&url, |schema| set_schema(&ports, schema)).await;
}

/// Events have a slot of their own, and so a word of their own.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_newer_version_are_left_alone_by_those_that_run() {
    let server = Server::start(&[]);
    let store = open(&url(&server)).await.unwrap();
    assert!(store.tally().await.unwrap().is_empty());
    cli(server.port, &["SET", "{daypass:q}:schema", "9"]);
    is_from_the_future(store.tally().await);
}

/// As a newer version does it: in each bucket that there is, and for all.
fn set_schema(ports: &[u16], schema: &str) {
    for port in ports {
        let keys = cli(*port, &["KEYS", "{daypass:*}:census"]);
        for key in keys.lines() {
            cli(*port, &["HSET", key, "schema", schema]);
        }
    }
    cli(ports[0], &["-c", "SET", "{daypass:log}:schema", schema]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_or_is_a_cluster_says_so() {
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    let error = open(&nowhere).await.unwrap_err();
    assert!(
        whole(&error).contains("nobody listens"),
        "{}",
        whole(&error)
    );
    let nodes = cluster();
    let mut said = Vec::new();
    for node in &nodes {
        if let Err(error) = open(&url(node)).await {
            said.push(whole(&error));
        }
    }
    assert_eq!(said.len(), 3, "no node has everything");
    assert!(
        said.iter().all(|said| said.contains("redis-cluster://")),
        "{said:?}"
    );
}
