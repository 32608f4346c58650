//! Changes by other processes: heard of at once, and found by looking when the message is lost.

use std::time::Duration;

use daypass::store::{Cursor, Store, redis::Options};
use tokio::time::{Instant, sleep};

use crate::{
    servers::{Server, cli, cluster, eventually},
    world::{connect, key, open, open_with},
};

const HOUR: Duration = Duration::from_hours(1);

/// How long after a write by another process a hearer question is answered.
async fn delay(hearer: &dyn Store, writer: &dyn Store, user: &str) -> Duration {
    let Cursor(at) = hearer.changes(None, Duration::ZERO).await.unwrap().cursor;
    let question = async {
        let changes = hearer.changes(Some(Cursor(at)), HOUR).await.unwrap();
        (Instant::now(), changes.keys)
    };
    let write = async {
        sleep(Duration::from_millis(100)).await;
        connect(writer, user).await;
        Instant::now()
    };
    let ((answered, keys), written) = tokio::join!(question, write);
    assert_eq!(keys, Some(vec![key(user)]));
    answered.saturating_duration_since(written)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_another_process_is_heard_of_at_once() {
    let server = Server::start(&[]);
    let nodes = cluster();
    for url in [
        format!("redis://127.0.0.1:{}", server.port),
        format!("redis-cluster://127.0.0.1:{}", nodes[0].port),
    ] {
        let mut never = Options::default();
        (never.poll_every, never.poll_unheard_every) = (HOUR, HOUR);
        let hearer = open_with(&url, never).await;
        let writer = open(&url).await.unwrap();
        // The subscription is made in the background.
        sleep(Duration::from_millis(500)).await;
        let delay = delay(&hearer, &writer, "anna").await;
        assert!(delay < Duration::from_millis(500), "{url}: {delay:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_was_cut_is_made_again() {
    let server = Server::start(&[]);
    let url = format!("redis://127.0.0.1:{}", server.port);
    let mut never = Options::default();
    (never.poll_every, never.poll_unheard_every) = (HOUR, HOUR);
    let hearer = open_with(&url, never).await;
    let writer = open_with(&url, Options::default()).await;
    let subscribed = || cli(server.port, &["PUBSUB", "NUMSUB", "daypass:changes"]).ends_with('2');
    eventually("both listen", subscribed);
    cli(server.port, &["CLIENT", "KILL", "TYPE", "pubsub"]);
    eventually("both listen again", subscribed);
    let delay = delay(&hearer, &writer, "anna").await;
    assert!(delay < Duration::from_millis(500), "{delay:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_message_is_lost_is_found_by_looking() {
    let server = Server::start(&[]);
    let words = [
        "ACL",
        "SETUSER",
        "mute",
        "on",
        ">p",
        "~*",
        "+@all",
        "resetchannels",
    ];
    assert_eq!(cli(server.port, &words), "OK");
    let url = format!("redis://mute:p@127.0.0.1:{}", server.port);
    let (hearer, writer) = (open(&url).await.unwrap(), open(&url).await.unwrap());
    let delay = delay(&hearer, &writer, "anna").await;
    assert!(delay < Duration::from_secs(2), "{delay:?}");
}
