//! A cluster: changes whose writer died are told, and a node that is gone takes only its part along.

use std::time::Duration;

use daypass::store::{Error, Filter, Store};
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use crate::{
    servers::{Server, cli, cluster},
    world::{connect, key, new, open, persist, whole},
};

fn url(nodes: &[Server]) -> String {
    let nodes: Vec<String> = nodes
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port))
        .collect();
    format!("redis-cluster://{}", nodes.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_writer_died_before_telling_it_is_told_by_another() {
    let nodes = cluster();
    let store = open(&url(&nodes)).await.unwrap();
    let anna = connect(&store, "anna").await;
    let start = store.changes(None, Duration::ZERO).await.unwrap();
    // What a writer leaves that dies between the change and the telling, long ago.
    let port = nodes[0].port;
    let outbox = cli(port, &["-c", "EVAL", "return redis.sha1hex('')", "0"]);
    assert!(!outbox.is_empty());
    let tag = tag_of(port, "calendly", "anna");
    let out = format!("{tag}:out");
    cli(port, &["-c", "HSET", &out, "777", "1000 calendly anna"]);
    // Another process, which looks after the outboxes when it first asks.
    let other = open(&url(&nodes)).await.unwrap();
    cli(port, &["-c", "DEL", "{daypass:log}:tidy"]);
    let changes = other
        .changes(Some(start.cursor), Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(changes.keys, Some(vec![anna.key]));
    assert_eq!(cli(port, &["-c", "HEXISTS", &out, "777"]), "0", "told once");
}

/// The hash tag under which a connection lies.
fn tag_of(port: u16, provider: &str, user: &str) -> String {
    let row = format!("c:{provider}/{user}");
    let nodes = cli(port, &["CLUSTER", "NODES"]);
    let ports = nodes.lines().filter_map(|line| {
        let address = line.split(' ').nth(1)?;
        address.split('@').next()?.rsplit(':').next()?.parse().ok()
    });
    ports
        .flat_map(|port: u16| {
            cli(port, &["KEYS", &format!("*{row}")])
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .find_map(|key| Some(key.strip_suffix(&format!(":{row}"))?.to_owned()))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_node_what_it_held_is_unavailable_and_comes_back_with_it() {
    let mut nodes = cluster();
    for node in &nodes {
        cli(
            node.port,
            &["CONFIG", "SET", "cluster-require-full-coverage", "no"],
        );
    }
    let store = open(&url(&nodes)).await.unwrap();
    let users: Vec<String> = (0..30).map(|n| format!("user-{n}")).collect();
    store
        .save(users.iter().map(|user| new(user)).collect())
        .await
        .unwrap();
    nodes[0].signal("KILL");
    let (mut there, mut gone) = (0, 0);
    for user in &users {
        match store.load(&key(user)).await {
            Ok(found) => {
                assert!(found.is_some());
                there += 1;
            }
            Err(error) => {
                assert!(
                    matches!(error, Error::Unavailable { .. }),
                    "{}",
                    whole(&error)
                );
                gone += 1;
            }
        }
    }
    assert!(there > 0 && gone > 0, "{there} there, {gone} gone");
    nodes[0].start_again();
    for user in &users {
        let found = persist(async || store.load(&key(user)).await).await;
        assert!(found.is_some());
    }
}

/// A page asks every node for several things at once.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_much_while_a_node_is_gone_is_answered_once_it_is_back() {
    let mut nodes = cluster();
    let store = open(&url(&nodes)).await.unwrap();
    connect(&store, "anna").await;
    let everything = Filter::default();
    let asking = join_all((0..2).map(|_| async {
        for _time in 0_u64.. {
            let _answer_or_failure = store.page(&everything, None, 100).await;
            sleep(Duration::from_millis(50)).await;
        }
    }));
    let striking = async {
        for (node, signal) in nodes.iter_mut().zip(["STOP", "TERM", "KILL"]) {
            node.signal(signal);
            sleep(Duration::from_secs(3)).await;
            if signal == "STOP" {
                node.signal("CONT");
            } else {
                node.start_again();
            }
            let answered = async {
                while store.page(&everything, None, 100).await.is_err() {
                    sleep(Duration::from_millis(50)).await;
                }
            };
            let in_time = timeout(Duration::from_secs(20), answered).await;
            assert!(in_time.is_ok(), "no answer after {signal}");
        }
    };
    tokio::select! {
        _never = asking => unreachable!("they ask for ever"),
        () = striking => {}
    }
}
