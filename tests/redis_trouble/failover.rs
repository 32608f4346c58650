//! Sentinels: a master that dies under commits is replaced, and the store follows.

use std::time::Duration;

use daypass::store::{Committed, Deliveries, DeliveryFilter, Fence, Store};

use crate::{
    servers::{Server, cli, eventually},
    world::{connect, event, open, persist, renewed, tokens},
};

/// A master, a replica of it that has everything, and three sentinels.
fn guarded() -> (Server, Server, Vec<Server>) {
    let master = Server::start(&["--appendonly", "yes"]);
    let port = master.port.to_string();
    let replica = Server::start(&["--appendonly", "yes", "--replicaof", "127.0.0.1", &port]);
    eventually("the replica follows", || {
        cli(replica.port, &["INFO", "replication"]).contains("master_link_status:up")
    });
    cli(
        master.port,
        &["CONFIG", "SET", "min-replicas-to-write", "1"],
    );
    let sentinels: Vec<Server> = (0..3).map(|_| Server::sentinel(master.port, 2)).collect();
    for sentinel in &sentinels {
        eventually("the sentinels know each other and the replica", || {
            let said = cli(sentinel.port, &["INFO", "sentinel"]);
            said.contains("slaves=1,sentinels=3")
        });
    }
    (master, replica, sentinels)
}

fn url(sentinels: &[Server]) -> String {
    let hosts: Vec<String> = sentinels
        .iter()
        .map(|sentinel| format!("127.0.0.1:{}", sentinel.port))
        .collect();
    format!("redis-sentinel://{}/main", hosts.join(","))
}

/// Commits are made one after the other while the master is killed. The replica has what it was sent,
/// so at most what was acknowledged in the last moment may be missing; that the chain of generations
/// goes on unbroken from whatever the new master has is what the store answers for.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_during_commits_is_followed() {
    let (master, replica, sentinels) = guarded();
    let store = open(&url(&sentinels)).await.unwrap();
    let mut last = connect(&store, "anna").await;
    let mut failed = 0;
    for n in 0..60 {
        if n == 20 {
            // Let the replica have what is on its way: this test is of the store, not of Redis.
            tokio::time::sleep(Duration::from_millis(300)).await;
            master.signal("KILL");
        }
        let name = format!("renewal {n}");
        let committed = persist(async || {
            let outcome = store.commit(&Fence::of(&last), renewed(&name)).await;
            failed += i32::from(outcome.is_err());
            outcome
        })
        .await;
        match committed {
            Committed::Stored(stored) => last = *stored,
            // Its answer was lost for good, and it had been carried out.
            Committed::Superseded(stored) => {
                assert_eq!(stored.tokens, Some(tokens(&name)));
                last = *stored;
            }
            Committed::Gone => panic!("an acknowledged connection is gone"),
        }
    }
    assert!(failed > 0, "the failover was not noticed at all");
    assert_eq!(last.generation.get(), 61);
    let role = cli(replica.port, &["ROLE"]);
    assert!(role.starts_with("master"), "{role}");
}

/// Events go on being accepted, each sent again until it was taken. What was acknowledged in the last
/// moment may be missing after that, which is Redis's to answer for; nothing is there twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_during_intake_makes_no_event_twice() {
    let (master, _replica, sentinels) = guarded();
    let store = open(&url(&sentinels)).await.unwrap();
    let mut failed = 0;
    for n in 0..60 {
        if n == 20 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            master.signal("KILL");
        }
        let name = format!("event {n:02}");
        persist(async || {
            let outcome = store.accept(event(&name, &["anna"])).await;
            failed += i32::from(outcome.is_err());
            outcome
        })
        .await;
    }
    assert!(failed > 0, "the failover was not noticed at all");
    let filter = DeliveryFilter::default();
    let listed = store.deliveries(&filter, None, 100).await.unwrap();
    let names: Vec<_> = listed.iter().rev().map(|delivery| &delivery.name).collect();
    let all: Vec<_> = (0..60).map(|n| format!("event {n:02}")).collect();
    assert_eq!(names, all.iter().collect::<Vec<_>>());
}

/// The old master is alive and becomes a replica: its connections are of no use any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_demoted_is_left() {
    let (_master, replica, sentinels) = guarded();
    let store = open(&url(&sentinels)).await.unwrap();
    let anna = connect(&store, "anna").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let said = cli(sentinels[0].port, &["SENTINEL", "FAILOVER", "main"]);
    assert_eq!(said, "OK");
    eventually("the replica is the master", || {
        cli(replica.port, &["ROLE"]).starts_with("master")
    });
    let committed =
        persist(async || store.commit(&Fence::of(&anna), renewed("second")).await).await;
    assert!(matches!(committed, Committed::Stored(_)), "{committed:?}");
    let found = store.load(&anna.key).await.unwrap().unwrap();
    assert_eq!(found.tokens, Some(tokens("second")));
}
