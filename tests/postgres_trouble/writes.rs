//! Writes whose caller leaves, and leases by the server's clock.

use std::time::Duration;

use daypass::store::{Lease, Store};
use tokio::time::{sleep, timeout};

use crate::{
    postgres_server::{FAST, Server},
    records::{LONG, key, new, open, owner},
};

#[tokio::test]
async fn a_caller_that_leaves_does_not_take_its_write_along() {
    let server = Server::start(FAST);
    let store = open(&server.url("postgres")).await.unwrap();
    for n in 0..20_u64 {
        let user = format!("user-{n}");
        let mut write = Box::pin(store.save(vec![new(&user)]));
        // At a different point of the way each time.
        let began = futures_util::poll!(write.as_mut()).is_pending();
        assert!(began, "it waits for the server");
        let _left = timeout(Duration::from_micros(n * 300), write).await;
        let written = async {
            while store.load(&key(&user)).await.unwrap().is_none() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, written).await.unwrap();
    }
    // None of the connections that were left is in a transaction, or answers somebody else's question.
    store.check().await.unwrap();
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    assert_eq!(server.sql("postgres", busy), "0");
}

#[tokio::test]
async fn leases_go_by_the_clock_of_the_server() {
    let server = Server::start(FAST);
    let store = open(&server.url("postgres")).await.unwrap();
    store.save(vec![new("anna")]).await.unwrap();
    let (anna, short) = (key("anna"), Duration::from_secs(1));
    let granted = store.acquire(&anna, owner(), short).await.unwrap();
    assert!(matches!(granted, Lease::Granted(_)), "{granted:?}");
    let held = store.acquire(&anna, owner(), short).await.unwrap();
    assert!(
        matches!(held, Lease::Held(left) if left <= short && !left.is_zero()),
        "{held:?}"
    );
    sleep(short).await;
    let granted = store.acquire(&anna, owner(), short).await.unwrap();
    assert!(matches!(granted, Lease::Granted(_)), "{granted:?}");
    let left = "SELECT lease_until - extract(epoch FROM now()) * 1000 BETWEEN 0 AND 1000 \
                FROM daypass.connections";
    assert_eq!(server.sql("postgres", left), "t");
}
