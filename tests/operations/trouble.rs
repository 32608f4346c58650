//! Trouble as operators meet it: each has one clear message that says what to do, on standard error, in
//! `doctor` and in `/readyz`; and nothing is lost by it.

use serde_json::json;

use crate::{
    binary::Home,
    documents::documented,
    emulators::get,
    places::{Place, cluster_url},
    postgres_server::{FAST, Server as Postgres},
    redis_servers::{Server as Redis, cli, eventually, free_port},
    running::Running,
    standby,
};

/// On free ports, and nothing in the log but what goes wrong.
pub(crate) const RUN: [&str; 9] = [
    "run",
    "--set",
    "outbound.listen=127.0.0.1:0",
    "--set",
    "ingress.listen=127.0.0.1:0",
    "--set",
    "admin.listen=127.0.0.1:0",
    "--set",
    "telemetry.log=off",
];

/// Neither `run` nor `doctor` gets anywhere, and both say why: one message, with all of `texts`, and never
/// a secret.
#[track_caller]
pub(crate) fn refused(place: &Place, more: &[&str], texts: &[&str]) {
    let run = place.home.run(&[&RUN[..], more].concat());
    assert_eq!(run.code, Some(1), "{run:?}");
    let messages = run.err.lines().filter(|line| line.starts_with("daypass: "));
    assert_eq!(messages.count(), 1, "{}", run.err);
    let doctor = place.home.run(&[&["doctor"], more].concat());
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    assert_eq!(
        doctor.out.matches("error    store").count(),
        1,
        "{}",
        doctor.out
    );
    for text in texts {
        documented(text);
        assert!(run.err.contains(text), "no {text:?} in {}", run.err);
        assert!(doctor.out.contains(text), "no {text:?} in {}", doctor.out);
    }
    for told in [run.err, run.out, doctor.err, doctor.out] {
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn a_url_that_names_no_store_is_refused_with_what_is_expected() {
    for (url, text) in [
        (
            "mysql://daypass:hunter2@db/d",
            "expected \"sqlite:\" and the path of a file",
        ),
        (
            "postgres://daypass:hunter2@db:port/d",
            "expected \"postgres://user:password@host",
        ),
        ("postgres://daypass:hunter2@/d", "names no host"),
        (
            "postgres://daypass:hunter2@db/d?sslmode=on",
            "sslmode is one of disable",
        ),
        ("redis://app:hunter2@a,b", "redis-cluster://a,b,c"),
        (
            "redis-sentinel://app:hunter2@a,b",
            "expected the master's name",
        ),
        ("redis://app:hunter2@a/hunter2", "the number of a database"),
        ("sqlite::memory:", "databases in memory"),
        ("sqlite:", "must be followed by the path"),
    ] {
        let place = Place::at(url);
        for command in ["run", "doctor", "check"] {
            let answer = place.home.run(&[command]);
            let told = format!("{}{}", answer.out, answer.err);
            assert_eq!(answer.code, Some(2), "{command} {url}: {told}");
            assert!(told.contains("store.url_file"), "{command} {url}: {told}");
            assert!(told.contains(text), "{command} {url}: {told}");
            assert!(!told.contains("hunter2"), "{command}: {told}");
        }
    }
}

#[test]
fn a_server_that_is_not_there_is_named_with_what_to_look_at() {
    const UNREACHABLE: &str =
        "cannot be reached; check that it runs, and that host and port in store.url are right";
    let port = free_port();
    let postgres = Place::at(&format!("postgres://daypass:hunter2@127.0.0.1:{port}/d"));
    let told = format!("127.0.0.1:{port}/d {UNREACHABLE}");
    refused(&postgres, &[], &[&told]);
    let redis = Place::at(&format!("redis://:hunter2@127.0.0.1:{port}"));
    refused(
        &redis,
        &[],
        &[&format!(
            "nobody listens at 127.0.0.1:{port}; start Redis, or mend store.url"
        )],
    );
    let cluster = Place::at(&format!("redis-cluster://127.0.0.1:{port}"));
    refused(&cluster, &[], &["failed; look whether it runs"]);
    let sentinel = Place::at(&format!("redis-sentinel://127.0.0.1:{port}/main"));
    refused(&sentinel, &[], &["no sentinel names a usable master"]);
    let told = format!("no-such-host.invalid:5432/d {UNREACHABLE}");
    refused(
        &Place::at("postgres://u@no-such-host.invalid/d"),
        &[],
        &[&told],
    );
    let told = "Redis at no-such-host.invalid:6379 failed; look whether it runs";
    refused(&Place::at("redis://no-such-host.invalid"), &[], &[told]);
}

#[test]
fn a_password_or_a_database_that_is_wrong_is_told_apart() {
    let server = Postgres::start_as("scram-sha-256", FAST);
    let url = server.url("postgres");
    let wrong = Place::at(&url.replace(":secret@", ":hunter2@"));
    refused(
        &wrong,
        &[],
        &["refuses the user or the password; correct store.url"],
    );
    let elsewhere = Place::at(&server.url("nowhere"));
    refused(&elsewhere, &[], &["there is no such database; create it"]);
    let redis = Redis::start(&["--requirepass", "right"]);
    for credentials in [":hunter2@", "app:hunter2@", ""] {
        let place = Place::at(&format!("redis://{credentials}127.0.0.1:{}", redis.port));
        refused(
            &place,
            &[],
            &["refuses the user or password; mend them in store.url"],
        );
    }
}

#[test]
fn a_replica_is_named_with_whom_to_name_instead() {
    let master = Redis::start(&["--appendonly", "yes"]);
    let at_master = Place::at(&format!("redis://127.0.0.1:{}", master.port));
    at_master
        .home
        .run_with(&["connections", "import"], "user,provider\n")
        .fine();
    let port = master.port.to_string();
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &port]);
    eventually("the replica follows", || {
        cli(replica.port, &["INFO", "replication"]).contains("master_link_status:up")
    });
    let place = Place::at(&format!("redis://127.0.0.1:{}", replica.port));
    refused(
        &place,
        &[],
        &["is a read-only replica; name the master in store.url"],
    );
    let doctor = at_master.home.run(&["doctor"]).fine().out;
    assert!(
        doctor.contains("does not wait for its replicas"),
        "{doctor}"
    );

    // Nothing can be made on a standby that is empty.
    let primary = Postgres::start(&[]);
    let standby = standby::of(&primary);
    let place = Place::at(&standby.url("postgres"));
    let run = place.home.run(&RUN);
    run.fails(
        1,
        &["is read-only, most likely a replica; name the primary in store.url"],
    );

    // One with everything is read from: a sidecar starts, and says that it can renew nothing.
    let at_primary = Place::at(&primary.url("postgres"));
    at_primary
        .home
        .run_with(&["connections", "import"], "user,provider\n")
        .fine();
    standby.wait_for("postgres", "SELECT 1 FROM daypass.probe");
    let running = Running::on(&place);
    let expected = "is read-only, most likely a replica; name the primary in store.url";
    assert!(running.readiness().to_string().contains(expected));
    let doctor = place.home.run(&["doctor"]).fails(1, &[]);
    let expected = "is a replica, which takes no writes";
    assert!(doctor.out.contains(expected), "{}", doctor.out);
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn a_node_of_a_cluster_is_no_store_by_itself() {
    let url = cluster_url();
    let one = url.replace("redis-cluster://", "redis://");
    let one = one.split(',').next().unwrap();
    refused(
        &Place::at(one),
        &[],
        &["is a node of a cluster; write redis-cluster:// in store.url"],
    );
}

#[test]
fn a_redis_without_persistence_is_warned_of_in_the_log_and_counted() {
    let server = Redis::start(&["--maxmemory-policy", "volatile-lru"]);
    let place = Place::at(&format!("redis://127.0.0.1:{}", server.port));
    let mut running = Running::on(&place);
    // Before it is ready, or after: the two do not wait for each other.
    let told = running.sidecar.has_logged("keeps nothing on disk");
    assert!(told.contains("WARN"), "{told}");
    assert!(
        told.contains("every user has to connect again; set appendonly yes"),
        "{told}"
    );
    running
        .sidecar
        .has_logged("set maxmemory-policy noeviction");
    let metrics = get(&format!("{}/metrics", running.admin)).body;
    for line in [
        "daypass_store_concerns{concern=\"persistence\"} 1",
        "daypass_store_concerns{concern=\"eviction\"} 1",
        "daypass_store_concerns{concern=\"replication\"} 0",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    assert_eq!(running.stop(), Some(0));
}

/// `user,provider` and nothing else makes a store and no connection.
pub(crate) fn made(place: &Place) {
    place
        .home
        .run_with(&["connections", "import"], "user,provider\n")
        .fine();
}

#[test]
fn a_store_from_the_future_is_left_alone_by_those_that_start_and_those_that_run() {
    let postgres = Postgres::start(FAST);
    let redis = Redis::start(&["--appendonly", "yes"]);
    let sqlite = Home::new();
    let path = sqlite.path("daypass.db");
    let sql = "INSERT INTO daypass.schema_versions VALUES (9, 9)";
    let upgrades: [(String, &dyn Fn()); 3] = [
        (postgres.url("postgres"), &|| {
            postgres.sql("postgres", sql);
        }),
        (format!("redis://127.0.0.1:{}", redis.port), &|| {
            cli(redis.port, &["SET", "{daypass:log}:schema", "9"]);
        }),
        (format!("sqlite:{}", path.display()), &|| {
            let db = rusqlite::Connection::open(&path).unwrap();
            db.pragma_update(None, "user_version", 9).unwrap();
        }),
    ];
    for (url, upgrade) in upgrades {
        let place = Place::at(&url);
        made(&place);
        let running = Running::on(&place);
        assert_eq!(running.connect_and_ask(&place, "anna"), 200, "{url}");
        upgrade();
        let expected = "the store has schema 9, this version of daypass knows ";
        running.until_told(expected);
        assert_eq!(running.ask("anna"), 200, "from memory");
        assert_eq!(running.ask("nobody"), 503, "{url}");
        refused(&place, &[], &[expected]);
        assert_eq!(running.stop(), Some(0));
    }
}

#[test]
fn a_redis_out_of_memory_connects_nobody_new_and_goes_on_renewing() {
    let server = Redis::start(&["--appendonly", "yes"]);
    let place = Place::at(&format!("redis://127.0.0.1:{}", server.port));
    let running = Running::on(&place);
    assert_eq!(running.connect_and_ask(&place, "anna"), 200);
    cli(server.port, &["CONFIG", "SET", "maxmemory", "1"]);
    let import = ["connections", "import"];
    let ben = running.line("ben", 3600);
    let full = "is out of memory; raise maxmemory, and keep maxmemory-policy noeviction";
    place.home.run_with(&import, &ben).fails(1, &[full]);
    running.until_told(full);
    assert_eq!(running.renew("anna"), json!(3), "renewals go on");
    let doctor = place.home.run(&["doctor", "--offline"]).fails(1, &[]);
    assert!(doctor.out.contains(full), "{}", doctor.out);
    cli(server.port, &["CONFIG", "SET", "maxmemory", "0"]);
    place.home.run_with(&import, &ben).fine();
    running.until_ready();
    assert_eq!(running.ask("ben"), 200);
    running.assert_each_token_was_sent_once();
    assert_eq!(running.stop(), Some(0));
}
