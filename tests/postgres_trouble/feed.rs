//! The feed of changes: announced, looked up, and complete whatever order commits come in.

use std::time::Duration;

use daypass::store::{
    Cursor, Store,
    postgres::{Options, Postgres},
};
use tokio::time::{Instant, timeout};

use crate::{
    postgres_server::{Bouncer, FAST, Server, USER},
    records::{LONG, key, new, open_with},
};

/// Would look by itself only when the test is long over.
fn only_listening() -> Options {
    let mut options = Options::default();
    options.poll_every = Duration::from_hours(1);
    options.look_every = Duration::from_hours(1);
    options
}

async fn cursor(store: &Postgres) -> Cursor {
    store.changes(None, Duration::ZERO).await.unwrap().cursor
}

/// Waits for `store` to hear of a change of `user` that `writer` makes; how long that took.
async fn heard(store: &Postgres, writer: &Postgres, user: &str) -> Option<Duration> {
    let at = cursor(store).await;
    let waiting = store.changes(Some(at), LONG);
    let write = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        writer.save(vec![new(user)]).await.unwrap();
        Instant::now()
    };
    let (changes, written) = timeout(Duration::from_secs(3), async {
        let (changes, written) = tokio::join!(waiting, write);
        (changes.unwrap(), written)
    })
    .await
    .ok()?;
    assert_eq!(changes.keys, Some(vec![key(user)]));
    Some(Instant::now().saturating_duration_since(written))
}

#[tokio::test]
async fn changes_of_other_processes_are_announced() {
    let server = Server::start(FAST);
    let listening = open_with(&server.url("postgres"), only_listening())
        .await
        .unwrap();
    let writer = open_with(&server.url("postgres"), only_listening())
        .await
        .unwrap();
    let mut took = None;
    // The listener connects in the background; what comes before it is ready is not announced to it.
    for n in 0..20 {
        took = heard(&listening, &writer, &format!("user-{n}")).await;
        if took.is_some() {
            break;
        }
    }
    let took = took.expect("nothing is announced");
    assert!(took < Duration::from_millis(500), "{took:?}");
}

/// How many connections to `server` there are, its operator's apart.
fn connections(server: &Server) -> usize {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE client_addr IS NOT NULL";
    server.sql("postgres", count).parse().unwrap()
}

#[tokio::test]
async fn a_process_that_has_nothing_to_do_has_one_connection_on_which_it_listens() {
    let server = Server::start(FAST);
    let url = server.url("postgres");
    let listening = open_with(&url, only_listening()).await.unwrap();
    let mut silent = only_listening();
    silent.listen = false;
    let writer = open_with(&url, silent).await.unwrap();
    let hears = async {
        let mut n = 0;
        while heard(&listening, &writer, &format!("user-{n}"))
            .await
            .is_none()
        {
            n += 1;
        }
    };
    timeout(LONG, hears).await.unwrap();
    drop(writer);
    let at_rest = async {
        while connections(&server) != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, at_rest).await.unwrap();
    for _time in 0..3 {
        listening.ping().await.unwrap();
        listening.check().await.unwrap();
    }
    assert_eq!(connections(&server), 1, "what it asks goes the same way");
}

#[tokio::test]
async fn listening_is_resumed_after_a_restart() {
    let mut server = Server::start(FAST);
    let listening = open_with(&server.url("postgres"), only_listening())
        .await
        .unwrap();
    let writer = open_with(&server.url("postgres"), only_listening())
        .await
        .unwrap();
    server.restart();
    crate::records::recovered(&writer).await;
    crate::records::recovered(&listening).await;
    let mut took = None;
    for n in 0..20 {
        took = heard(&listening, &writer, &format!("user-{n}")).await;
        if took.is_some() {
            break;
        }
    }
    assert!(took.is_some(), "nothing is announced");
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tasks are the test's own, and end with its runtime"
)]
/// Passes connections on to whichever port it was last told; those from before are cut then.
async fn relay(to: u16) -> (u16, tokio::sync::watch::Sender<u16>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (target, targets) = tokio::sync::watch::channel(to);
    tokio::spawn(async move {
        loop {
            let (mut near, _peer) = listener.accept().await.unwrap();
            let mut targets = targets.clone();
            tokio::spawn(async move {
                let to = *targets.borrow_and_update();
                let mut far = tokio::net::TcpStream::connect(("127.0.0.1", to))
                    .await
                    .unwrap();
                tokio::select! {
                    _ended = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _cut = targets.changed() => {}
                }
            });
        }
    });
    (port, target)
}

/// Not taken for a pooler that delivers nothing, which would not be tried again for minutes.
#[tokio::test]
async fn a_connection_that_ends_before_it_was_heard_is_made_again_at_once() {
    let server = Server::start(FAST);
    let bouncer = Bouncer::before(&server);
    let (port, target) = relay(bouncer.port).await;
    let url = format!("postgres://{USER}@127.0.0.1:{port}/postgres");
    let listening = open_with(&url, only_listening()).await.unwrap();
    let writer = open_with(&server.url("postgres"), only_listening())
        .await
        .unwrap();
    let called = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_notify(%'";
    let waits = async {
        while server.sql("postgres", called) == "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, waits).await.unwrap();
    target.send(server.port).unwrap();
    crate::records::recovered(&listening).await;
    let mut took = None;
    for n in 0..4 {
        took = heard(&listening, &writer, &format!("user-{n}")).await;
        if took.is_some() {
            break;
        }
    }
    assert!(took.is_some(), "nothing is announced");
}

#[tokio::test]
async fn where_announcements_do_not_arrive_changes_are_found_by_looking() {
    let server = Server::start(FAST);
    let bouncer = Bouncer::before(&server);
    let mut options = Options::default();
    options.poll_every = Duration::from_millis(50);
    options.look_every = Duration::from_hours(1);
    let store = open_with(&bouncer.url("postgres"), options.clone())
        .await
        .unwrap();
    let writer = open_with(&server.url("postgres"), options).await.unwrap();
    // Longer than it takes to find out that the pooler delivers nothing.
    for n in 0..3 {
        assert!(heard(&store, &writer, &format!("user-{n}")).await.is_some());
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

#[tokio::test]
async fn a_change_that_is_committed_after_a_later_one_is_told() {
    let server = Server::start(FAST);
    let url = server.url("postgres");
    let mut options = only_listening();
    options.listen = false;
    let store = open_with(&url, options).await.unwrap();
    let at = cursor(&store).await;
    let (slow, driver) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let (told, ()) = tokio::join!(
        async {
            let noted = "BEGIN; INSERT INTO daypass.changes (provider, user_id) \
                         VALUES ('calendly', 'slow')";
            slow.batch_execute(noted).await.unwrap();
            store.save(vec![new("quick")]).await.unwrap();
            let first = store.changes(Some(at), Duration::ZERO).await.unwrap();
            let again = store
                .changes(Some(first.cursor), Duration::ZERO)
                .await
                .unwrap();
            slow.batch_execute("COMMIT").await.unwrap();
            let second = store
                .changes(Some(again.cursor), Duration::ZERO)
                .await
                .unwrap();
            let third = store
                .changes(Some(second.cursor), Duration::ZERO)
                .await
                .unwrap();
            drop(slow);
            [first.keys, again.keys, second.keys, third.keys]
        },
        async { driver.await.unwrap() },
    );
    let keys = |users: &[&str]| Some(users.iter().map(|user| key(user)).collect::<Vec<_>>());
    assert_eq!(
        told,
        [keys(&["quick"]), keys(&[]), keys(&["slow"]), keys(&[])]
    );
}

/// A store that looks only when it is asked, on a log of which entries were dropped that it has not
/// seen; and the cursor that it was at.
async fn on_a_pruned_log(server: &Server) -> (Postgres, Cursor) {
    let mut options = only_listening();
    options.listen = false;
    let store = open_with(&server.url("postgres"), options.clone())
        .await
        .unwrap();
    // Who looks remembers more than who writes leaves in the log.
    options.keep_changes = 16;
    let writer = open_with(&server.url("postgres"), options).await.unwrap();
    let at = cursor(&store).await;
    for n in 0..40 {
        writer.save(vec![new(&format!("user-{n}"))]).await.unwrap();
    }
    let count = || -> u32 {
        server
            .sql("postgres", "SELECT count(*) FROM daypass.changes")
            .parse()
            .unwrap()
    };
    let pruned = async {
        while count() > 16 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, pruned).await.unwrap();
    assert_eq!(count(), 16, "nobody drops any more");
    (store, at)
}

#[tokio::test]
async fn who_looks_after_the_log_was_pruned_is_told_that_anything_may_have_changed() {
    let server = Server::start(FAST);
    let (store, at) = on_a_pruned_log(&server).await;
    let missed = store.changes(Some(at), Duration::ZERO).await.unwrap();
    assert_eq!(missed.keys, None);
}

#[tokio::test]
async fn while_somebodys_transaction_lasts_a_pruned_log_is_told_of_once() {
    let server = Server::start(FAST);
    let (slow, driver) = tokio_postgres::connect(&server.url("template1"), tokio_postgres::NoTls)
        .await
        .unwrap();
    let holding = async {
        // In another database even: the oldest transaction of all is what the log is looked at from.
        slow.batch_execute("BEGIN; SELECT pg_current_xact_id()")
            .await
            .unwrap();
        let (store, at) = on_a_pruned_log(&server).await;
        let missed = store.changes(Some(at), Duration::ZERO).await.unwrap();
        assert_eq!(missed.keys, None);
        for _ in 0..3 {
            let quiet = store.changes(Some(missed.cursor), Duration::ZERO).await;
            assert_eq!(quiet.unwrap().keys, Some(Vec::new()));
        }
        drop(slow);
    };
    let ((), ended) = tokio::join!(holding, driver);
    ended.unwrap();
}
