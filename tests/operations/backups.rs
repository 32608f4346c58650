//! Backups, made and restored by the very commands of docs/operations.md, while a sidecar serves: into a
//! fresh store each time. What they bring back is older than what was used since.

use std::{fs, path::Path, process::Command, time::Duration};

use daypass::store::Changes;
use serde_json::json;

use crate::{
    documents::block,
    emulators::get,
    places::Place,
    population::Open,
    postgres_server::{FAST, Server as Postgres, USER, program},
    redis_servers::{Server as Redis, cli, cluster, cluster_that, eventually},
    running::{Running, wait_until},
};

/// Anna and ben are connected and in use.
fn in_use(place: &Place) -> Running {
    let running = Running::on(place);
    for user in ["anna", "ben"] {
        assert_eq!(running.connect_and_ask(place, user), 200);
    }
    running
}

/// Runs what the document says below this marker, in the directory of the place.
#[track_caller]
fn follow(place: &Place, marker: &str, variables: &[(&str, &str)]) {
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &block(marker)])
        .current_dir(place.home.path("."))
        .env("BACKUP", place.home.path("."))
        .envs(variables.iter().copied());
    let done = bash.output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{marker}: {told}");
}

/// What was restored works for those who were not renewed since; whoever was, has to connect again, and
/// is told so after one call.
fn restored(place: &Place, running: Running) {
    restored_at(place, running, 3);
}

/// As [`restored`]; anna's next renewal leads to this generation.
fn restored_at(place: &Place, running: Running, generation: u64) {
    let doctor = place.home.run(&["doctor", "--offline"]);
    assert!(
        doctor.out.contains("all tokens of 2 connections open"),
        "{}",
        doctor.out
    );
    let running = running.again(place);
    assert_eq!(running.renew("anna"), json!(generation));
    let before = refused_calls(&running);
    // His access token came back, too; Calendly ended it when it was renewed.
    assert_eq!(running.ask("ben"), 424);
    let dead = ["connections", "list", "--needs-reauth", "--json"];
    let dead = place.home.run(&dead).fine().json();
    assert_eq!(dead[0]["user"], "ben");
    assert_eq!(dead.as_array().unwrap().len(), 1);
    // However often his app asks, the provider is not asked again.
    for _ in 0..3 {
        assert_eq!(running.ask("ben"), 424);
    }
    assert_eq!(refused_calls(&running), before + 1, "it was sent once");
    let line = running.line("ben", 3600);
    place
        .home
        .run_with(&["connections", "import"], &line)
        .fine();
    wait_until("he is served", || running.ask("ben") == 200);
    assert_eq!(running.stop(), Some(0));
}

/// How often the provider was sent a refresh token that was spent.
fn refused_calls(running: &Running) -> u64 {
    let stats = get(&format!("{}/_sandbox/stats", running.emulators.calendly)).json();
    let uses = stats["redemptions"].as_object().unwrap().values();
    uses.map(|uses| uses["refused"].as_u64().unwrap()).sum()
}

/// Renews ben, which the backup knows nothing of, and stops the sidecar.
fn after_the_backup(running: &mut Running) {
    assert_eq!(running.renew("ben"), json!(3));
    running.sidecar.signal("TERM");
    assert_eq!(running.sidecar.ended(), Some(0));
}

#[test]
fn a_backup_of_sqlite_is_made_and_restored_as_documented() {
    let place = Place::at("sqlite:daypass.db");
    let mut running = in_use(&place);
    let kept = tempfile::tempdir().unwrap();
    let variables = [("BACKUP", kept.path().to_str().unwrap())];
    follow(&place, "backup: sqlite", &variables);
    after_the_backup(&mut running);
    follow(&place, "restore: sqlite", &variables);
    restored(&place, running);
}

/// As `psql` is told where a server is.
pub(crate) fn with_postgres(place: &Place, marker: &str, server: &Postgres) {
    let programs = program("pg_dump");
    let programs = programs.parent().unwrap().display();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let port = server.port.to_string();
    let variables = [
        ("PATH", path.as_str()),
        ("PGHOST", server.folder.to_str().unwrap()),
        ("PGPORT", &port),
        ("PGUSER", USER),
        ("PGDATABASE", "postgres"),
    ];
    follow(place, marker, &variables);
}

/// Into a fresh server, whose transactions are counted anew.
#[test]
fn a_backup_of_postgres_is_made_and_restored_as_documented() {
    let server = Postgres::start(FAST);
    let place = Place::at(&server.url("postgres"));
    let mut running = in_use(&place);
    // Far ahead of what a fresh one has counted.
    for _ in 0..3_000 / 50 {
        server.sql("postgres", &"SELECT pg_current_xact_id();".repeat(50));
    }
    assert_eq!(running.renew("anna"), json!(3));
    with_postgres(&place, "backup: postgres", &server);
    after_the_backup(&mut running);
    let fresh = Postgres::start(FAST);
    with_postgres(&place, "restore: postgres", &fresh);
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

/// In the directory of the place, under the name of the server's folder.
fn with_redis(place: &Place, marker: &str, kept: &Path, server: &Redis) {
    let port = server.port.to_string();
    let variables = [
        ("BACKUP", kept.to_str().unwrap()),
        ("REDIS_HOST", "127.0.0.1"),
        ("REDIS_PORT", &port),
        ("REDIS_DIR", server.folder.to_str().unwrap()),
    ];
    follow(place, marker, &variables);
}

/// Puts what was kept into a fresh server that appends nothing yet.
fn restore_redis(place: &Place, kept: &Path, fresh: &mut Redis) {
    with_redis(place, "restore: redis, stopped", kept, fresh);
    fresh.start_again();
    with_redis(place, "restore: redis, running", kept, fresh);
    eventually("everything is in the appended file", || {
        let said = cli(fresh.port, &["INFO", "persistence"]);
        said.contains("aof_rewrite_in_progress:0") && said.contains("aof_rewrite_scheduled:0")
    });
}

#[test]
fn a_backup_of_redis_is_made_and_restored_as_documented() {
    let server = Redis::start(&["--appendonly", "yes"]);
    let place = Place::at(&format!("redis://127.0.0.1:{}", server.port));
    let mut running = in_use(&place);
    let kept = tempfile::tempdir().unwrap();
    with_redis(&place, "backup: redis", kept.path(), &server);
    after_the_backup(&mut running);
    let mut fresh = Redis::start(&["--appendonly", "no"]);
    restore_redis(&place, kept.path(), &mut fresh);
    let restarted = with_what_was_appended(&fresh);
    place.name_store(&format!("redis://127.0.0.1:{}", restarted.port));
    restored(&place, running);
}

/// A server as the next start with `appendonly yes` makes it.
fn with_what_was_appended(fresh: &Redis) -> Redis {
    let mut server = Redis::start(&["--appendonly", "yes"]);
    let appended = server.folder.join("appendonlydir");
    fs::remove_dir_all(&appended).unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .args([&fresh.folder.join("appendonlydir"), &appended])
        .status();
    assert!(copied.unwrap().success());
    server.start_again();
    server
}

#[test]
fn a_backup_of_a_redis_cluster_is_made_and_restored_as_documented() {
    let url = |nodes: &[Redis]| {
        let hosts = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        format!("redis-cluster://{}", hosts.collect::<Vec<_>>().join(","))
    };
    let nodes = cluster();
    let place = Place::at(&url(&nodes));
    let mut running = in_use(&place);
    let kept: Vec<_> = nodes.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    for (node, kept) in nodes.iter().zip(&kept) {
        with_redis(&place, "backup: redis", kept.path(), node);
    }
    after_the_backup(&mut running);
    // Of as many nodes, each of which has the slots of one of the others.
    let mut fresh = cluster_that(&["--appendonly", "no"]);
    for (node, kept) in fresh.iter_mut().zip(&kept) {
        restore_redis(&place, kept.path(), node);
    }
    for node in &fresh {
        eventually("the cluster is up", || {
            cli(node.port, &["CLUSTER", "INFO"]).contains("cluster_state:ok")
        });
    }
    place.name_store(&url(&fresh));
    restored(&place, running);
}

/// The lost store had refused them: they are the only ones that work.
#[test]
fn what_waits_in_a_spool_is_newer_than_a_backup_and_is_stored_in_what_was_restored() {
    let place = Place::at("sqlite:daypass.db");
    let mut running = Running::on(&place);
    let line = running.line("anna", 3600);
    place
        .home
        .run_with(&["connections", "import"], &line)
        .fine();
    assert_eq!(running.ask("anna"), 200);
    let kept = tempfile::tempdir().unwrap();
    let variables = [("BACKUP", kept.path().to_str().unwrap())];
    follow(&place, "backup: sqlite", &variables);
    assert_eq!(
        running.renew("anna"),
        json!(2),
        "the backup's token is spent"
    );
    running.rotate(&place, "anna");
    let db = rusqlite::Connection::open(place.home.path("daypass.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    wait_until("the new tokens are in the spool", || place.spooled() == 1);
    running.sidecar.signal("KILL");
    running.sidecar.ended();
    drop(db);
    running.slow_down(0);
    follow(&place, "restore: sqlite", &variables);
    let running = running.again(&place);
    wait_until("they are stored", || place.spooled() == 0);
    assert_eq!(running.ask("anna"), 200);
    assert_eq!(Running::generation(&place, "anna"), json!(2));
    assert_eq!(running.renew("anna"), json!(3));
    running.assert_each_token_was_sent_once();
    assert_eq!(running.stop(), Some(0));
}
