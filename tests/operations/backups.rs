//! Backups as docs/operations.md says to make them, while a sidecar serves, and what is restored from them.

use std::{fs, process::Command, time::Duration};

use daypass::store::Changes;
use serde_json::json;

use crate::{
    places::Place,
    population::Open,
    postgres_server::{FAST, Server as Postgres, USER, program},
    redis_servers::{Server as Redis, cli, eventually},
    running::Running,
};

/// Anna and ben are connected and in use.
fn in_use(place: &Place) -> Running {
    let running = Running::on(place);
    for user in ["anna", "ben"] {
        assert_eq!(running.connect_and_ask(place, user), 200);
    }
    running
}

/// What was restored works for those who were not renewed since; whoever was, has to connect again, and
/// is told so after one call.
fn restored(place: &Place, running: Running) {
    restored_at(place, running, 3);
}

/// As [`restored`]; anna's next renewal leads to this generation.
fn restored_at(place: &Place, running: Running, generation: u64) {
    let doctor = place.home.run(&["doctor"]);
    assert!(
        doctor.out.contains("all tokens of 2 connections open"),
        "{}",
        doctor.out
    );
    let running = running.again(place);
    assert_eq!(running.renew("anna"), json!(generation));
    assert_eq!(running.ask("ben"), 200, "his token is valid for a while");
    let refresh = ["connections", "refresh", "calendly", "ben"];
    place.home.run(&refresh).fails(1, &["calendly/ben"]);
    let dead = ["connections", "list", "--needs-reauth", "--json"];
    let dead = place.home.run(&dead).fine().json();
    assert_eq!(dead[0]["user"], "ben");
    assert_eq!(dead.as_array().unwrap().len(), 1);
    let line = running.line("ben", 3600);
    place
        .home
        .run_with(&["connections", "import"], &line)
        .fine();
    assert_eq!(running.ask("ben"), 200);
    assert_eq!(running.stop(), Some(0));
}

/// Renews ben, which the backup knows nothing of, and stops the sidecar.
fn after_the_backup(running: &mut Running) {
    assert_eq!(running.renew("ben"), json!(3));
    running.sidecar.signal("TERM");
    assert_eq!(running.sidecar.ended(), Some(0));
}

#[test]
fn a_copy_of_sqlite_that_is_made_while_it_is_in_use_can_be_restored() {
    let place = Place::at("sqlite:daypass.db");
    let mut running = in_use(&place);
    let backup = place.home.path("backup.db");
    let db = rusqlite::Connection::open(place.home.path("daypass.db")).unwrap();
    db.execute("VACUUM INTO ?1", [backup.to_str().unwrap()])
        .unwrap();
    drop(db);
    after_the_backup(&mut running);
    for name in ["daypass.db", "daypass.db-wal", "daypass.db-shm"] {
        let _absent = fs::remove_file(place.home.path(name));
    }
    fs::copy(backup, place.home.path("daypass.db")).unwrap();
    restored(&place, running);
}

/// Into a fresh cluster, whose transactions are counted anew.
#[test]
fn a_dump_of_postgres_can_be_restored_into_another_server() {
    let server = Postgres::start(FAST);
    let place = Place::at(&server.url("postgres"));
    let mut running = in_use(&place);
    // Far ahead of what a fresh one has counted.
    for _ in 0..3_000 / 50 {
        server.sql("postgres", &"SELECT pg_current_xact_id();".repeat(50));
    }
    assert_eq!(running.renew("anna"), json!(3));
    let dump = place.home.path("daypass.dump");
    let done = Command::new(program("pg_dump"))
        .args(["--schema=daypass", "--format=custom", "--host"])
        .arg(&server.folder)
        .args([
            "--port",
            &server.port.to_string(),
            "--username",
            USER,
            "--file",
        ])
        .arg(&dump)
        .arg("postgres")
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    after_the_backup(&mut running);
    let fresh = Postgres::start(FAST);
    let done = Command::new(program("pg_restore"))
        .args(["--exit-on-error", "--no-owner", "--host"])
        .arg(&fresh.folder)
        .args([
            "--port",
            &fresh.port.to_string(),
            "--username",
            USER,
            "--dbname=postgres",
        ])
        .arg(&dump)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let url = fresh.url("postgres");
    place.name_store(&url);
    assert_feed_is_quiet(&Open::at(&url));
    restored_at(&place, running, 4);
}

/// The log came with the dump, with numbers of transactions that this server has not had yet.
fn assert_feed_is_quiet(open: &Open) {
    open.ask(async |store| {
        let first = store.changes(None, Duration::ZERO).await.unwrap().cursor;
        for _ in 0..3 {
            let Changes { cursor, keys } =
                store.changes(Some(first), Duration::ZERO).await.unwrap();
            assert_eq!((cursor, keys), (first, Some(Vec::new())));
        }
    });
}

#[test]
fn a_snapshot_of_redis_can_be_restored_into_another_server() {
    let server = Redis::start(&["--appendonly", "yes"]);
    let place = Place::at(&format!("redis://127.0.0.1:{}", server.port));
    let mut running = in_use(&place);
    assert!(cli(server.port, &["BGSAVE"]).contains("started"));
    eventually("it is saved", || {
        cli(server.port, &["INFO", "persistence"]).contains("rdb_bgsave_in_progress:0")
            && server.folder.join("dump.rdb").exists()
    });
    let snapshot = fs::read(server.folder.join("dump.rdb")).unwrap();
    after_the_backup(&mut running);
    // A server that appends reads its appended file only: it is turned on again when all is loaded.
    let mut fresh = Redis::start(&["--appendonly", "no"]);
    fs::write(fresh.folder.join("dump.rdb"), snapshot).unwrap();
    fresh.start_again();
    cli(fresh.port, &["CONFIG", "SET", "appendonly", "yes"]);
    place.name_store(&format!("redis://127.0.0.1:{}", fresh.port));
    restored(&place, running);
}
