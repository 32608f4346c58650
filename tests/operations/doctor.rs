//! `doctor`: what it says of a sidecar's surroundings, and that it changes nothing.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use crate::{
    binary::{Answer, Home},
    places::{Place, postgres_url, redis_url},
    population::{Open, keys, population, ring},
    postgres_server::{Bouncer, FAST, Server as Postgres},
    redis_servers::{Server as Redis, cli},
};

/// What `doctor` finds there, and how it ends.
fn examined(place: &Place, arguments: &[&str]) -> (Value, Option<i32>) {
    let answer = place.home.run(&[&["doctor", "--json"], arguments].concat());
    (answer.json(), answer.code)
}

/// The findings of `check` that are as bad as `severity`, as text.
pub(crate) fn found(report: &Value, check: &str, severity: &str) -> Vec<String> {
    let all = report["findings"].as_array().unwrap().iter();
    let wanted = all.filter(|found| found["check"] == check && found["severity"] == severity);
    wanted.map(ToString::to_string).collect()
}

/// Expects exactly one finding like that, with all of `texts`.
#[track_caller]
pub(crate) fn one(report: &Value, check: &str, severity: &str, texts: &[&str]) {
    let found = found(report, check, severity);
    let [only] = found.as_slice() else {
        panic!("{} of {check}: {report:#}", found.len());
    };
    for text in texts {
        assert!(only.contains(text), "no {text:?} in {only}");
    }
}

#[test]
fn where_nothing_is_yet_nothing_is_made_and_nothing_is_wrong() {
    let home = Home::new();
    let answer = home.run(&["doctor"]).fine();
    assert!(
        answer.out.contains("there is no database at daypass.db"),
        "{}",
        answer.out
    );
    assert!(
        answer
            .out
            .contains("none yet; `daypass run` makes daypass.key"),
        "{}",
        answer.out
    );
    assert!(
        fs::read_dir(home.path(".")).unwrap().next().is_none(),
        "nothing was made"
    );
    for url in [redis_url(), postgres_url()] {
        let place = Place::at(&url);
        let (report, code) = examined(&place, &[]);
        one(&report, "store", "warning", &["yet", "`daypass run`"]);
        assert_eq!(code, Some(0));
        let refused = place.home.run(&["store", "migrate", "--to", "sqlite:x.db"]);
        refused.fails(1, &["yet"]);
    }
}

#[test]
fn warnings_count_as_errors_when_they_are_to() {
    let place = Place::at("sqlite:daypass.db");
    place
        .home
        .run_with(&["connections", "import"], "user,provider\n")
        .fine();
    let plain = place.home.run(&["doctor"]).fine();
    assert!(
        plain.out.contains("warning  configuration"),
        "{}",
        plain.out
    );
    place
        .home
        .run(&["doctor", "--strict"])
        .fails(1, &["0 errors and"]);
    let wrong = place.home.run(&["doctor", "--set", "outbound.listen=7"]);
    assert!(wrong.out.starts_with("error    configuration"), "{wrong:?}");
    assert_eq!(wrong.code, Some(2));
}

#[test]
fn each_store_says_what_it_is_and_that_its_tokens_open() {
    for (url, what, schema) in [
        ("sqlite:daypass.db".to_owned(), "SQLite", "schema 1"),
        (postgres_url(), "PostgreSQL", "schema 5"),
        (redis_url(), "Redis", "schema 1"),
    ] {
        let place = Place::at(&url);
        place
            .home
            .run_with(&["connections", "import"], &lines(7))
            .fine();
        let (report, _) = examined(&place, &[]);
        one(&report, "store", "ok", &[what, schema]);
        one(&report, "keys", "ok", &["k1", "7 connections open"]);
        one(&report, "spool", "ok", &["takes files"]);
        one(&report, "clock", "ok", &[]);
        assert!(!place.home.path("spool").exists(), "nothing was made");
    }
}

fn lines(count: usize) -> String {
    let row = |n| json!({ "user": format!("u{n}"), "provider": "calcom", "refresh_token": "r" });
    let rows: Vec<String> = (0..count).map(|n| row(n).to_string()).collect();
    rows.join("\n")
}

#[test]
fn tokens_that_do_not_open_are_counted_with_the_key_that_they_need() {
    let place = Place::at(&postgres_url());
    let other = ring("k0", "YW5vdGhlci1rZXktb2YtMzItYnl0ZXMtZm9yLXlvdSE=");
    let mut people = population(20, &keys());
    let mut stranger = population(2, &other).remove(1);
    stranger.connection.key.user = "moved".parse().unwrap();
    people.push(stranger);
    let url = fs::read_to_string(place.home.path("store-url")).unwrap();
    Open::at(url.trim()).put(&people);
    let (report, code) = examined(&place, &[]);
    one(
        &report,
        "keys",
        "error",
        &["1 of 21 connections", "\\\"k0\\\"", "[encryption]"],
    );
    assert_eq!(code, Some(1));
}

#[test]
fn what_redis_could_lose_is_an_error_that_says_how_to_mend_it() {
    let server = Redis::start(&["--maxmemory-policy", "allkeys-lru"]);
    let place = Place::at(&format!("redis://127.0.0.1:{}", server.port));
    place
        .home
        .run_with(&["connections", "import"], &lines(1))
        .fine();
    let (report, code) = examined(&place, &[]);
    let told = found(&report, "store", "error").join("\n");
    for text in [
        "keeps nothing on disk",
        "may throw connections away when memory is short",
        "every user has to connect again",
        "set appendonly yes",
        "maxmemory-policy allkeys-lru",
        "set maxmemory-policy noeviction",
    ] {
        assert!(told.contains(text), "no {text:?} in {told}");
    }
    assert_eq!(code, Some(1));
    cli(server.port, &["CONFIG", "SET", "appendonly", "yes"]);
    cli(
        server.port,
        &["CONFIG", "SET", "maxmemory-policy", "noeviction"],
    );
    assert_eq!(examined(&place, &[]).1, Some(0));
}

#[test]
fn what_postgres_could_lose_is_an_error_that_says_how_to_mend_it() {
    let server = Postgres::start(&["synchronous_commit=off"]);
    let place = Place::at(&server.url("postgres"));
    place
        .home
        .run_with(&["connections", "import"], &lines(1))
        .fine();
    let (report, code) = examined(&place, &[]);
    one(
        &report,
        "store",
        "error",
        &[
            "acknowledges commits before they are on disk",
            "synchronous_commit",
        ],
    );
    assert_eq!(code, Some(1));
    server.sql("postgres", "ALTER ROLE daypass SET synchronous_commit = on");
    let (report, code) = examined(&place, &[]);
    assert_eq!(found(&report, "store", "error"), [""; 0]);
    assert_eq!(code, Some(0));
}

#[test]
fn a_pooler_that_swallows_announcements_is_told_of() {
    let server = Postgres::start(FAST);
    let bouncer = Bouncer::before(&server);
    let place = Place::at(&bouncer.url("postgres"));
    place
        .home
        .run_with(&["connections", "import"], &lines(1))
        .fine();
    let (report, _) = examined(&place, &[]);
    one(&report, "store", "warning", &["not announced", "pooler"]);
    let direct = Place::at(&server.url("postgres"));
    let (report, _) = examined(&direct, &[]);
    assert_eq!(found(&report, "store", "warning"), [""; 0]);
}

#[test]
fn files_that_others_may_read_and_renewals_that_wait_are_told_of() {
    let home = Home::new();
    home.run_with(&["connections", "import"], &lines(1)).fine();
    let open = |name: &str, mode| {
        fs::set_permissions(home.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    open("daypass.db", 0o644);
    open("daypass.key", 0o640);
    fs::create_dir(home.path("daypass-spool")).unwrap();
    open("daypass-spool", 0o777);
    let waiting = home.path("daypass-spool/0123.renewal");
    fs::write(&waiting, "{}").unwrap();
    let yesterday = SystemTime::now() - Duration::from_hours(25);
    fs::File::options()
        .write(true)
        .open(&waiting)
        .unwrap()
        .set_modified(yesterday)
        .unwrap();
    let report = home.run(&["doctor", "--json"]).fine().json();
    one(&report, "store", "warning", &["daypass.db", "chmod 600"]);
    one(&report, "keys", "warning", &["daypass.key", "chmod 600"]);
    let told = found(&report, "spool", "warning").join("\n");
    assert!(
        told.contains("1 renewal in daypass-spool, the oldest for 1500 minutes"),
        "{told}"
    );
    assert!(told.contains("only copies"), "{told}");
    assert!(
        told.contains("every user of this machine may write"),
        "{told}"
    );
}

#[test]
fn a_spool_that_takes_no_files_is_an_error() {
    let home = Home::new();
    home.write("daypass-spool", "a file in its place");
    let report: Answer = home.run(&["doctor", "--json"]);
    one(
        &report.json(),
        "spool",
        "error",
        &["takes no files", "store.spool_dir"],
    );
    assert_eq!(report.code, Some(1));
}

#[test]
fn a_full_disk_and_one_that_does_not_last_are_told_of() {
    let home = Home::new();
    fs::create_dir(home.path("small")).unwrap();
    let mount = |arguments: &[&str]| {
        let done = Command::new("mount")
            .args(arguments)
            .arg(home.path("small"))
            .output();
        done.unwrap().status.success()
    };
    if !mount(&["-t", "tmpfs", "-o", "size=4m", "none"]) {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"not checked: may not mount\n");
        return;
    }
    let set = ["--set", "store.url=sqlite:small/daypass.db"];
    let import = [&["connections", "import"], &set[..]].concat();
    home.run_with(&import, &lines(1)).fine();
    let examined = home.run(&[&["doctor", "--json"], &set[..]].concat());
    let unmounted = Command::new("umount").arg(home.path("small")).status();
    assert!(unmounted.unwrap().success());
    let report = examined.json();
    for check in ["store", "spool"] {
        one(&report, check, "error", &["MiB are left", "make room"]);
        one(
            &report,
            check,
            "warning",
            &["lies on tmpfs", "volume that stays"],
        );
    }
    assert_eq!(examined.code, Some(1));
}
