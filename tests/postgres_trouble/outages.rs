//! Servers that stop, crash, freeze, fill up or refuse writes while the store is in use.

use std::{io::Write as _, path::Path, process::Command, time::Duration};

use daypass::store::{
    Committed, Error, Fence, Saved, Store,
    postgres::{Options, Postgres},
};
use tokio::time::sleep;

use crate::{
    postgres_server::{FAST, Server},
    records::{key, new, open, open_with, recovered, renewed, tokens},
};

async fn connected(store: &Postgres, user: &str) -> Fence {
    let saved = store.save(vec![new(user)]).await.unwrap();
    Fence::of(saved.first().map(Saved::connection).unwrap())
}

#[tokio::test]
async fn what_was_committed_survives_a_killed_server_and_the_store_recovers_by_itself() {
    let mut server = Server::start(&[]);
    let store = open(&server.url("postgres")).await.unwrap();
    let was = connected(&store, "anna").await;
    let stored = store.commit(&was, renewed("second")).await.unwrap();
    assert!(matches!(stored, Committed::Stored(_)));
    server.stop("KILL");
    let error = store.load(&was.key).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    server.resume();
    recovered(&store).await;
    let read = store.load(&was.key).await.unwrap().unwrap();
    assert_eq!(read.tokens, Some(tokens("second")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_a_restart_cuts_off_happened_as_a_whole_or_not_at_all() {
    let mut server = Server::start(&[]);
    let store = open(&server.url("postgres")).await.unwrap();
    let was = connected(&store, "anna").await;
    let (other, driver) = tokio_postgres::connect(&server.url("postgres"), tokio_postgres::NoTls)
        .await
        .unwrap();
    let commit = async {
        let locked = "BEGIN; SELECT FROM daypass.connections FOR UPDATE";
        other.batch_execute(locked).await.unwrap();
        store.commit(&was, renewed("second")).await
    };
    let (watch, watching) = tokio_postgres::connect(&server.url("postgres"), tokio_postgres::NoTls)
        .await
        .unwrap();
    let restart = async {
        let blocked = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        while watch.query(blocked, &[]).await.unwrap().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        tokio::task::block_in_place(|| server.restart());
    };
    let (cut, (), _ended, _watched) = tokio::join!(commit, restart, driver, watching);
    recovered(&store).await;
    let read = store.load(&was.key).await.unwrap().unwrap();
    match cut {
        // The other's lock may go before this commit is cut off: then it is done, and stays so.
        Ok(stored) => {
            assert!(matches!(stored, Committed::Stored(_)), "{stored:?}");
            assert_eq!(read.generation, was.generation.next());
            assert_eq!(read.tokens, Some(tokens("second")));
        }
        Err(error) => {
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
            assert!(error.to_string().contains("by itself"), "{error}");
            assert_eq!(read.generation, was.generation);
            assert_eq!(read.tokens, Some(tokens("first")));
            let stored = store.commit(&was, renewed("second")).await.unwrap();
            assert!(matches!(stored, Committed::Stored(_)), "{stored:?}");
        }
    }
}

#[tokio::test]
async fn a_frozen_server_is_not_waited_for_for_ever() {
    let server = Server::start(FAST);
    let mut options = Options::default();
    options.timeout = Duration::from_millis(400);
    let store = open_with(&server.url("postgres"), options).await.unwrap();
    let was = connected(&store, "anna").await;
    server.signal_all("STOP");
    let error = store.load(&was.key).await.unwrap_err();
    assert!(error.to_string().contains("did not answer"), "{error}");
    let error = store.commit(&was, renewed("second")).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    server.signal_all("CONT");
    recovered(&store).await;
    assert!(store.load(&was.key).await.unwrap().is_some());
}

#[tokio::test]
async fn a_transaction_that_takes_too_long_is_undone_with_its_connection() {
    let server = Server::start(FAST);
    let url = server.url("postgres");
    let mut options = Options::default();
    options.timeout = Duration::from_millis(200);
    options.connections = 1;
    options.listen = false;
    let store = open_with(&url, options).await.unwrap();
    let was = connected(&store, "anna").await;
    let (other, driver) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let blocked = async {
        let lock = "BEGIN; SELECT FROM daypass.connections FOR UPDATE";
        other.batch_execute(lock).await.unwrap();
        let outcome = store.save(vec![new("ben"), new("anna")]).await;
        other.batch_execute("COMMIT").await.unwrap();
        drop(other);
        outcome
    };
    let (outcome, _ended) = tokio::join!(blocked, driver);
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("did not answer"), "{error}");
    recovered(&store).await;
    assert_eq!(store.load(&key("ben")).await.unwrap(), None);
    // Visible to everybody, not only inside of a transaction that was left open.
    store.commit(&was, renewed("second")).await.unwrap();
    let count = "SELECT count(*) FROM daypass.connections WHERE generation = 2";
    assert_eq!(server.sql("postgres", count), "1");
}

#[tokio::test]
async fn a_read_only_server_is_read_from_and_says_so_to_writes() {
    let server = Server::start(FAST);
    let store = open(&server.url("postgres")).await.unwrap();
    let was = connected(&store, "anna").await;
    server.sql(
        "postgres",
        "ALTER DATABASE postgres SET default_transaction_read_only = on",
    );
    server.sql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
    );
    sleep(Duration::from_millis(100)).await;
    let error = store.commit(&was, renewed("second")).await.unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains("name the primary"), "{error}");
    let error = store.check().await.unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
    assert!(store.load(&was.key).await.unwrap().is_some());
    open(&server.url("postgres")).await.unwrap();
    server.sql(
        "template1",
        "ALTER DATABASE postgres RESET default_transaction_read_only",
    );
    recovered(&store).await;
    store.commit(&was, renewed("second")).await.unwrap();
}

/// A small disk at a folder, until dropped.
struct Disk<'p>(&'p Path);

impl<'p> Disk<'p> {
    /// `None` if this user may not mount.
    fn try_new(at: &'p Path) -> Option<Self> {
        let mount = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                "size=12m,mode=700,uid=65534,gid=65534",
                "none",
            ])
            .arg(at)
            .output();
        mount
            .is_ok_and(|done| done.status.success())
            .then_some(Self(at))
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_keeps_what_it_has_and_recovers() {
    let folder = tempfile::Builder::new()
        .prefix("daypass-disk")
        .tempdir()
        .unwrap();
    let Some(_disk) = Disk::try_new(folder.path()) else {
        let _ = writeln!(std::io::stderr(), "not checked: this user may not mount");
        return;
    };
    let server = Server::start(FAST);
    let at = folder.path().display();
    // The folder above must be passable for the server's user.
    server.sql(
        "postgres",
        &format!("CREATE TABLESPACE small LOCATION '{at}'"),
    );
    server.sql("postgres", "CREATE DATABASE small TABLESPACE small");
    let store = open(&server.url("small")).await.unwrap();
    let was = connected(&store, "anna").await;
    let ballast = folder.path().join("ballast");
    let stuffed = std::fs::write(&ballast, vec![0; 16 << 20]);
    assert!(stuffed.is_err(), "the disk is full");
    let batch = (0..2000).map(|n| new(&format!("user-{n}"))).collect();
    let error = store.save(batch).await.unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains("full; make room"), "{error}");
    assert!(store.load(&was.key).await.unwrap().is_some());
    assert!(store.load(&key("user-0")).await.unwrap().is_none());
    std::fs::remove_file(&ballast).unwrap();
    store.commit(&was, renewed("second")).await.unwrap();
}
